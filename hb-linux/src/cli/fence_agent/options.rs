//! What a fence agent is told, and what it says of itself.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use crate::control::DEFAULT_RUN_DIR;

/// Lines of stdin that are read: a cluster manager sends a dozen.
const MAX_LINES: usize = 256;
/// Characters of a line.
const MAX_LINE: u64 = 4096;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    On,
    Off,
    Reboot,
    Status,
    List,
    Monitor,
    Metadata,
    Validate,
    Help,
}

impl Action {
    const ALL: [(&'static str, Self); 8] = [
        ("on", Self::On),
        ("off", Self::Off),
        ("reboot", Self::Reboot),
        ("status", Self::Status),
        ("list", Self::List),
        ("monitor", Self::Monitor),
        ("metadata", Self::Metadata),
        ("validate-all", Self::Validate),
    ];

    fn of(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, action)| *action).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("read action {word:?}, expected one of {}", names.join(", "))
        })
    }
}

/// An option, in all its spellings.
struct Known {
    key: &'static str,
    /// `-o`, `--action=[action]`, as the API's metadata wants them.
    getopt: &'static str,
    short: Option<&'static str>,
    required: bool,
    default: Option<&'static str>,
    about: &'static str,
}

const KNOWN: [Known; 6] = [
    Known {
        key: "action",
        getopt: "-o, --action=[action]",
        short: Some("-o"),
        required: true,
        default: Some("reboot"),
        about: "What to do. `off` resets as `reboot` does: a reset line can't keep a machine off",
    },
    Known {
        key: "plug",
        getopt: "-n, --plug=[node]",
        short: Some("-n"),
        required: true,
        default: None,
        about: "The machine: the peer of this node, by its name in ha.cf",
    },
    Known {
        key: "config_dir",
        getopt: "--config-dir=[directory]",
        short: None,
        required: false,
        default: Some("/etc/ha.d"),
        about: "Directory of ha.cf and authkeys",
    },
    Known {
        key: "run_dir",
        getopt: "--run-dir=[directory]",
        short: None,
        required: false,
        default: Some(DEFAULT_RUN_DIR),
        about: "Directory of heartbeatd's sockets",
    },
    Known {
        key: "local_node",
        getopt: "--local-node=[node]",
        short: None,
        required: false,
        default: None,
        about: "This node's name in ha.cf, unless `uname -n` says it",
    },
    Known {
        key: "power_timeout",
        getopt: "--power-timeout=[seconds]",
        short: None,
        required: false,
        default: Some("120"),
        about: "How long a machine that was reset may take until heartbeat runs on it again",
    },
];

/// What was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub action: Action,
    pub plug: Option<String>,
    pub config_dir: PathBuf,
    pub run_dir: PathBuf,
    pub node: Option<String>,
    pub power_timeout: Duration,
}

impl Options {
    /// From the command line or, if that is empty, from stdin.
    ///
    /// # Errors
    /// What was read and what was expected.
    pub fn read(args: &[String], stdin: impl Read) -> Result<Self, String> {
        let mut options = Self {
            action: Action::Reboot,
            plug: None,
            config_dir: "/etc/ha.d".into(),
            run_dir: DEFAULT_RUN_DIR.into(),
            node: None,
            power_timeout: Duration::from_secs(120),
        };
        if args.is_empty() {
            let mut stdin = BufReader::new(stdin);
            for _ in 0..MAX_LINES {
                let mut line = String::new();
                match stdin.by_ref().take(MAX_LINE).read_line(&mut line) {
                    Ok(0) => break,
                    Ok(_) => options.line(line.trim())?,
                    Err(error) => return Err(format!("stdin: {error}")),
                }
            }
        } else {
            options.arguments(args)?;
        }
        Ok(options)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("stdin: read {line:?}, expected KEY=VALUE"));
        };
        // Cluster managers send what other agents want, too (`nodename`): that is no error (FenceAgentAPI).
        self.set(key.trim(), value.trim()).map(drop)
    }

    fn arguments(&mut self, args: &[String]) -> Result<(), String> {
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            if matches!(arg, "-h" | "--help") {
                self.action = Action::Help;
                return Ok(());
            }
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (arg, None),
            };
            let key = KNOWN.iter().map(|known| (known.key, known.short)).find(|(key, short)| {
                *short == Some(name)
                    || name.strip_prefix("--").is_some_and(|name| name.replace('-', "_") == *key)
            });
            let key = match key {
                Some((key, _)) => key,
                None if matches!(name, "--port") => "plug",
                None => return Err(format!("read {arg:?}; --help names all options")),
            };
            let value = value.or_else(|| args.next());
            let value = value.ok_or_else(|| format!("no value behind {arg}"))?;
            self.set(key, value)?;
        }
        Ok(())
    }

    /// False: it is no option of this agent.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "action" | "option" => self.action = Action::of(value)?,
            "plug" | "port" => self.plug = Some(value.to_owned()),
            "config_dir" => self.config_dir = value.into(),
            "run_dir" => self.run_dir = value.into(),
            "local_node" => self.node = Some(value.to_owned()),
            "power_timeout" => {
                let seconds = value.parse().map_err(|_| {
                    format!("power_timeout: read {value:?}, expected whole seconds")
                })?;
                self.power_timeout = Duration::from_secs(seconds);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `--help`.
pub fn usage() -> String {
    let mut text = "Usage: fence_heartbeat_dongle [options]\nWithout options they are read from stdin, KEY=VALUE \
                    in each line.\n\n"
        .to_owned();
    for known in &KNOWN {
        let _ = writeln!(text, "  {:<28}{}", known.getopt, known.about);
        if let Some(default) = known.default {
            let _ = writeln!(text, "  {:<28}({default})", "");
        }
    }
    let names: Vec<_> = Action::ALL.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "\nActions: {}", names.join(", "));
    text
}

/// The `metadata` action: the resource-agent XML that cluster managers read.
pub fn metadata() -> String {
    let mut text = String::from(
        r#"<?xml version="1.0" ?>
<resource-agent name="fence_heartbeat_dongle" shortdesc="Fence agent for heartbeat's dongle" >
<longdesc>Resets the other one of two machines through heartbeat's dongle, the third voter in the null-modem line. heartbeatd has to run on both machines, with an empty haresources. A machine that is silent is reset by a fence request, one that is heard by the test of its reset line; both count only with evidence.</longdesc>
<vendor-url>https://linux-ha.org/</vendor-url>
<parameters>
"#,
    );
    for known in &KNOWN {
        let required = u8::from(known.required);
        let default =
            known.default.map(|value| format!(r#" default="{value}""#)).unwrap_or_default();
        let (key, getopt, about) = (known.key, known.getopt, known.about);
        let kind = if key == "power_timeout" { "second" } else { "string" };
        let obsoletes = if key == "plug" { r#" obsoletes="port""# } else { "" };
        let _ = write!(
            text,
            "\t<parameter name=\"{key}\" unique=\"0\" required=\"{required}\"{obsoletes}>\n\
             \t\t<getopt mixed=\"{getopt}\" />\n\
             \t\t<content type=\"{kind}\"{default} />\n\
             \t\t<shortdesc lang=\"en\">{about}</shortdesc>\n\t</parameter>\n"
        );
    }
    text.push_str("</parameters>\n<actions>\n");
    for (name, _) in Action::ALL {
        let automatic = if name == "on" { r#" automatic="0""# } else { "" };
        let _ = writeln!(text, "\t<action name=\"{name}\"{automatic} />");
    }
    text.push_str("</actions>\n</resource-agent>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], stdin: &str) -> Result<Options, String> {
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        Options::read(&args, stdin.as_bytes())
    }

    #[test]
    fn stdin_and_arguments_say_the_same() {
        let stdin = "# from a cluster manager\naction=off\nplug=linuxha2\nnodename=linuxha2\npower_timeout=60\n";
        let from_stdin = read(&[], stdin).expect("good");
        for args in [
            &["-o", "off", "-n", "linuxha2", "--power-timeout", "60"][..],
            &["--action=off", "--plug=linuxha2", "--power-timeout=60"],
            &["--action", "off", "--port", "linuxha2", "--power-timeout=60"],
        ] {
            assert_eq!(read(args, "action=on"), Ok(from_stdin.clone()), "{args:?}");
        }
        assert_eq!(read(&[], &stdin.replace("plug=", "port=")), Ok(from_stdin), "its older name");
        assert_eq!(read(&[], "").expect("good").action, Action::Reboot, "the API's default");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, stdin, said) in [
            (&["-o", "explode"][..], "", "read action \"explode\", expected one of on, off,"),
            (&["--colour=red"], "", "read \"--colour=red\""),
            (&["-n"], "", "no value behind -n"),
            (&[], "reboot", "expected KEY=VALUE"),
            (&[], "power_timeout=soon", "read \"soon\", expected whole seconds"),
        ] {
            let problem = read(args, stdin).expect_err(said);
            assert!(problem.contains(said), "{problem}");
        }
    }
}
