//! Finding a resource script and starting it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;

use super::message::Verb;

/// What scripts find programs by: FHS 3.0's directories, administrator's first.
pub(super) const SCRIPT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where resource scripts are looked for: the configuration's own, then the system's init scripts
/// as Red Hat's family and Debian's place them.
#[must_use]
pub fn script_dirs(config_dir: &Path) -> [PathBuf; 3] {
    [config_dir.join("resource.d"), "/etc/rc.d/init.d".into(), "/etc/init.d".into()]
}

/// A script that can't be run: errno, and the sentence for the log.
#[derive(Debug)]
pub struct NotFound {
    /// ENOENT, EACCES (there, but not executable) or EINVAL (not a file name).
    pub errno: Errno,
    /// Names every place that was searched.
    pub message: String,
}

/// The first executable file called `script` in `dirs`.
///
/// # Errors
/// There is none; the message says what was found where.
pub fn find<P: AsRef<Path>>(script: &str, dirs: &[P]) -> Result<PathBuf, NotFound> {
    if script.is_empty() || script.contains(['/', '\0']) || script == "." || script == ".." {
        return Err(NotFound {
            errno: Errno::INVAL,
            message: format!(
                "resource script '{script}': expected a file name without a directory; scripts are \
                 looked for in the script directories only"
            ),
        });
    }
    let mut errno = Errno::NOENT;
    let mut message = format!("resource script '{script}' not found; searched");
    for dir in dirs {
        let path = dir.as_ref().join(script);
        let state = match path.metadata() {
            Ok(meta) if !meta.is_file() => "there, but not a file".to_owned(),
            Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
                errno = Errno::ACCESS;
                "there, but not executable: chmod 755 it".to_owned()
            }
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "not there".to_owned(),
            Err(error) => error.to_string(),
        };
        // Writing to a String can't fail.
        let _ = write!(message, " {} ({state}),", dir.as_ref().display());
    }
    message.pop();
    Err(NotFound { errno, message })
}

/// What every script finds in its environment, besides PATH.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(&'static str, OsString)>,
}

impl Environment {
    /// The classics' variables that have a meaning here. Everything else of the daemon's own
    /// environment stays behind, but the settings of language and time zone.
    #[must_use]
    pub fn new(node: &str, config_dir: &Path, logfile: &Path, debugfile: Option<&Path>) -> Self {
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("PATH", SCRIPT_PATH.into()),
            ("HOME", "/".into()),
            ("HA_DIR", config_dir.into()),
            ("HA_CURHOST", node.into()),
            ("HA_LOGFILE", logfile.into()),
            ("HA_DATEFMT", "%Y/%m/%d_%T ".into()),
        ];
        variables.extend(debugfile.map(|path| ("HA_DEBUGLOG", path.into())));
        for name in ["LANG", "LC_ALL", "TZ"] {
            variables.extend(std::env::var_os(name).map(|value| (name, value)));
        }
        Self { variables }
    }
}

impl Environment {
    /// Each variable and its value.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }
}

/// Starts `path args… verb` in a process group of its own, with /dev/null as its input.
///
/// The signal mask comes out empty and SIGPIPE default (std's doing), the other signals default
/// because the helper handles, not ignores, them (signal(7): handlers don't survive execve).
///
/// # Errors
/// What the kernel answered: ENOEXEC for a script without a `#!` line, for example.
pub fn start(
    path: &Path,
    args: &[String],
    verb: Verb,
    environment: &Environment,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> io::Result<Child> {
    let mut command = Command::new(path);
    command.args(args).arg(verb.word()).env_clear().current_dir("/").process_group(0);
    command.envs(environment.variables());
    if verb == Verb::Status {
        // The judge knows the English words only.
        command.env("LC_ALL", "C");
    }
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()
}

/// The command line as the log shows it.
#[must_use]
pub fn command_line(path: &Path, args: &[String], verb: Verb) -> String {
    let mut line = path.display().to_string();
    for word in args.iter().map(String::as_str).chain([verb.word()]) {
        line.push(' ');
        line.push_str(word);
    }
    line
}
