//! rig.toml: what the rig `metal` is made of.
//!
//! ```toml
//! # Two daemons on this machine, in namespaces; the first line is their /dev/ttyS0, and so on.
//! [[line]]
//! a = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0"
//! b = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0"
//! ```

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

/// Where it lies, unless `--config` says otherwise.
pub const DEFAULT: &str = "rig.toml";

/// A rig.toml that makes sense.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Null-modem lines: the port of machine A, and that of machine B.
    pub lines: Vec<[PathBuf; 2]>,
    /// How each machine is reached; `None`: both are namespaces of this one.
    pub hosts: Option<[Host; 2]>,
    /// A dongle is in the first line.
    pub dongle: bool,
    /// This machine's interface on the service's network, where two hosts serve: the client asks from there.
    pub client: String,
}

/// A machine of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// `[USER@]HOST` for ssh(1).
    pub ssh: String,
    /// The machine's interface on the service's network.
    pub public: String,
    /// Its interface to the other machine alone.
    pub private: String,
    /// Shell commands, run on the machine that runs the rig.
    pub power: Power,
}

/// What switches a machine off and on. What isn't given is asked of the person.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Power off.
    pub off: Option<String>,
    /// Power on.
    pub on: Option<String>,
    /// The reset button.
    pub reset: Option<String>,
}

/// What is wrong with a rig.toml, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    file: PathBuf,
    line: Option<usize>,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.what)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    line: Vec<Spanned<LineTable>>,
    a: Option<Spanned<HostTable>>,
    b: Option<Spanned<HostTable>>,
    #[serde(default)]
    dongle: bool,
    #[serde(default = "public")]
    client: String,
}

fn public() -> String {
    "eth0".into()
}

fn private() -> String {
    "eth1".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTable {
    a: Spanned<PathBuf>,
    b: Spanned<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    ssh: Spanned<String>,
    #[serde(default = "public")]
    public: String,
    #[serde(default = "private")]
    private: String,
    #[serde(default)]
    power: Power,
}

/// Reads a rig.toml.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn read(file: &Path) -> Result<Config, Vec<Problem>> {
    match fs::read_to_string(file) {
        Ok(text) => parse(file, &text),
        Err(error) => Err(vec![Problem {
            file: file.to_owned(),
            line: None,
            what: format!("{error}; `cargo xtask rig metal --detect` writes a first one"),
        }]),
    }
}

/// Reads its text; `file` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let at = |span: Option<Range<usize>>, what: String| {
        let line = span.map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        Problem { file: file.to_owned(), line, what }
    };
    let table: File = toml::from_str(text)
        .map_err(|error| vec![at(error.span(), error.message().replace('\n', "; "))])?;
    let mut problems = Vec::new();
    let mut lines = Vec::new();
    let mut taken: Vec<(PathBuf, char)> = Vec::new();
    let one_host = table.a.is_none() && table.b.is_none();
    for line in &table.line {
        let ports = line.get_ref();
        for (port, side) in [(&ports.a, 'a'), (&ports.b, 'b')] {
            let (path, span) = (port.get_ref(), port.span());
            if !path.is_absolute() {
                problems.push(at(
                    Some(span.clone()),
                    format!(
                        "{side} = {path:?}: expected an absolute path such as /dev/serial/by-path/…; \
                         `hb serial ports` lists them"
                    ),
                ));
            }
            let before = taken.iter().find(|(of, at)| of == path && (one_host || *at == side));
            if let Some((_, at_side)) = before {
                problems.push(at(
                    Some(span),
                    format!("{side} = {path:?}: already used as {at_side}; each port has one line"),
                ));
            }
            taken.push((path.clone(), side));
        }
        lines.push([ports.a.get_ref().clone(), ports.b.get_ref().clone()]);
    }
    if table.line.is_empty() {
        let what = "no [[line]]: expected at least one, with its two ports: a = \"/dev/…\", b = \"/dev/…\"";
        problems.push(at(None, what.into()));
    }
    let hosts = match (table.a, table.b) {
        (Some(a), Some(b)) => {
            let host = |table: Spanned<HostTable>| {
                let HostTable { ssh, public, private, power } = table.into_inner();
                Host { ssh: ssh.into_inner(), public, private, power }
            };
            Some([a, b].map(host))
        }
        (None, None) => None,
        (Some(only), None) | (None, Some(only)) => {
            let what = "one of [a] and [b] alone: expected both (two machines over ssh) or neither (two \
                        daemons in namespaces of this one)";
            problems.push(at(Some(only.span()), what.into()));
            None
        }
    };
    let interfaces = |host: &Host| [host.public.clone(), host.private.clone()];
    for interface in hosts.iter().flatten().flat_map(interfaces).chain([table.client.clone()]) {
        if !is_interface(&interface) {
            let what =
                format!("{interface:?}: expected the name of a network interface, such as eth0");
            problems.push(at(None, what));
        }
    }
    for ssh in hosts.iter().flatten().map(|host| &host.ssh) {
        if ssh.is_empty() || ssh.starts_with('-') || ssh.contains(char::is_whitespace) {
            problems.push(at(None, format!("ssh = {ssh:?}: expected [USER@]HOST")));
        }
    }
    if problems.is_empty() {
        Ok(Config { lines, hosts, dongle: table.dongle, client: table.client })
    } else {
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}

/// As the kernel has them (IFNAMSIZ); a shell reads it, too.
fn is_interface(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    (1..16).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-')
}

/// A rig.toml for lines that were found on this machine; each with a remark.
#[must_use]
pub fn text(lines: &[([PathBuf; 2], String)]) -> String {
    let mut text = String::from(
        "# What `cargo xtask rig metal` plays on (docs/testing/metal.md). Without [a] and [b]: two daemons on this\n\
         # machine, in namespaces. The first line is /dev/ttyS0 of both, the second /dev/ttyS1, …\n",
    );
    for ([a, b], remark) in lines {
        for words in remark.lines() {
            text.push_str(&format!("\n# {words}"));
        }
        // Debug form: a TOML basic string, for the names that udev makes.
        text.push_str(&format!("\n[[line]]\na = {a:?}\nb = {b:?}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let problems = parse(Path::new("rig.toml"), text).expect_err("it is wrong");
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_detection_writes_can_be_read() {
        let lines =
            [(["/dev/ttyS0".into(), "/dev/serial/by-path/x".into()], "two\nlines".to_owned())];
        let config = parse(Path::new("rig.toml"), &text(&lines)).expect("it is right");
        assert_eq!(config.lines, [lines[0].0.clone()]);
        assert_eq!((config.hosts, config.dongle), (None, false));
    }

    #[test]
    fn two_hosts_have_their_power_commands() {
        let text = "[[line]]\na = \"/dev/ttyS0\"\nb = \"/dev/ttyS0\"\n[a]\nssh = \"root@one\"\n\
                    power.off = \"outlet 1 off\"\n[b]\nssh = \"two\"\n";
        let config = parse(Path::new("rig.toml"), text).expect("the same name on two machines");
        let [a, b] = config.hosts.expect("two");
        assert_eq!((a.ssh.as_str(), a.power.off.as_deref()), ("root@one", Some("outlet 1 off")));
        assert_eq!((b.ssh.as_str(), b.power), ("two", Power::default()));
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let said = wrong(
            "[[line]]\na = \"ttyUSB0\"\nb = \"/dev/ttyS1\"\n\n[[line]]\na = \"/dev/ttyS1\"\nb = \"/dev/ttyS2\"\n",
        );
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(said[0].starts_with("rig.toml:2: a = \"ttyUSB0\": expected an absolute path"));
        assert!(said[1].starts_with("rig.toml:6: a = \"/dev/ttyS1\": already used as b"));
        let said = wrong("[[line]]\na = \"/dev/ttyS0\"\nc = 1\n");
        assert!(said[0].starts_with("rig.toml:3: unknown field `c`, expected"), "{said:#?}");
        let said = wrong("[[line]]\na = \"/dev/ttyS0\"\nb = 7\n");
        assert!(said[0].starts_with("rig.toml:3: invalid type: integer `7`"), "{said:#?}");
        let said = wrong("dongle = false\n");
        assert!(said[0].contains("no [[line]]: expected at least one"), "{said:#?}");
        let said = wrong("[[line]]\na = \"/dev/ttyS0\"\nb = \"/dev/ttyS1\"\n[a]\nssh = \"one\"\n");
        assert!(said[0].starts_with("rig.toml:4: one of [a] and [b] alone"), "{said:#?}");
        let said =
            wrong("client = \"eth0; reboot\"\n[[line]]\na = \"/dev/ttyS0\"\nb = \"/dev/ttyS1\"\n");
        assert!(said[0].contains("expected the name of a network interface"), "{said:#?}");
        let said = wrong("[[line]\n");
        assert!(said[0].starts_with("rig.toml:1: "), "{said:#?}");
    }

    #[test]
    fn a_missing_file_says_what_writes_one() {
        let problems = read(Path::new("/no/such/rig.toml")).expect_err("it isn't there");
        assert!(problems[0].to_string().contains("--detect"), "{}", problems[0]);
    }
}
