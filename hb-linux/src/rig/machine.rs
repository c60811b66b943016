//! One machine of a rig, seen from outside: its power switch, its daemon, its files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::init::{self, Spec};
use super::{Doing, RigError};
use crate::control::client;

/// An init that says nothing for this long has failed.
const INIT_PATIENCE: Duration = Duration::from_secs(10);

/// What can be done to a machine's daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Start it (a service manager's part).
    Start,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGTERM: orderly leave.
    Terminate,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Continue => "continue",
            Self::Terminate => "terminate",
        }
    }
}

/// The executables that a rig starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// `hb`, which is also a machine's init.
    pub hb: PathBuf,
    /// The daemon.
    pub heartbeatd: PathBuf,
}

impl Programs {
    /// This program, and the daemon beside it.
    ///
    /// # Errors
    /// This program has no path, or no heartbeatd lies beside it.
    pub fn of_this_program() -> Result<Self, RigError> {
        let hb = std::env::current_exe().doing(|| "finding this program".into())?;
        let heartbeatd = hb.with_file_name("heartbeatd");
        fs::metadata(&heartbeatd)
            .doing(|| format!("{}: expected the daemon beside hb", heartbeatd.display()))?;
        Ok(Self { hb, heartbeatd })
    }
}

/// What a machine's init has said, as its reader thread collects it.
#[derive(Debug, Default)]
struct Heard {
    lines: Vec<String>,
    /// How each daemon that ended did: `code 0`, `signal 9`.
    exits: Vec<String>,
    running: bool,
    closed: bool,
}

type Mailbox = Arc<(Mutex<Heard>, Condvar)>;

/// A machine with its power on.
#[derive(Debug)]
struct Powered {
    maker: Child,
    orders: ChildStdin,
    mailbox: Mailbox,
    pid: u32,
    pidfd: OwnedFd,
}

/// One machine. Dropping it pulls its plug.
#[derive(Debug)]
pub struct Machine {
    spec: Spec,
    programs: Programs,
    powered: Option<Powered>,
}

impl Machine {
    /// A machine without power, with an empty disk under `spec.disk`.
    ///
    /// # Errors
    /// The disk can't be made.
    pub fn new(spec: Spec, programs: Programs) -> Result<Self, RigError> {
        for part in ["etc", "etc/resource.d", "state", "log", "run"] {
            let path = spec.disk.join(part);
            fs::create_dir_all(&path).doing(|| format!("making {}", path.display()))?;
        }
        Ok(Self { spec, programs, powered: None })
    }

    /// `uname -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.hostname
    }

    /// A file of the machine's /etc/ha.d, as the host sees it.
    #[must_use]
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.spec.disk.join("etc").join(name)
    }

    /// A file of the machine's /var/log, as the host sees it.
    #[must_use]
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.spec.disk.join("log").join(name)
    }

    /// The machine's /run, as the host sees it.
    #[must_use]
    pub fn run_files(&self) -> PathBuf {
        self.spec.disk.join("run")
    }

    /// The machine's /run/heartbeat, as the host sees it.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.run_files().join("heartbeat")
    }

    /// All of the machine's ha-log; empty while there is none.
    #[must_use]
    pub fn ha_log(&self) -> String {
        fs::read(self.log_file("ha-log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether its power is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.powered.is_some()
    }

    /// Makes the machine's namespaces and starts its init. `plug` is called with the descriptor
    /// of the network namespace when interfaces can be moved there; the machine configures them.
    ///
    /// # Errors
    /// Namespaces or a mount are refused, or the init says why it can't go on.
    pub fn power_on(
        &mut self,
        ttys: Vec<(String, PathBuf)>,
        plug: impl FnOnce(&File) -> Result<(), RigError>,
    ) -> Result<(), RigError> {
        self.power_off();
        self.spec.ttys = ttys;
        let run = self.spec.disk.join("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).doing(|| format!("making {}", run.display()))?;
        let text = serde_json::to_string(&self.spec)
            .map_err(|error| RigError::io("describing the machine", error))?;
        let mut maker = Command::new(&self.programs.hb)
            .args(["rig-init", &text])
            // Ctrl-C at the terminal is for the rig, which then pulls the plugs.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("starting {}", self.programs.hb.display()))?;
        let (Some(orders), Some(words)) = (maker.stdin.take(), maker.stdout.take()) else {
            return Err(self.error("its init has no pipes"));
        };
        let mailbox = Mailbox::default();
        let its_mailbox = mailbox.clone();
        std::thread::Builder::new()
            .name("machine".into())
            .spawn(move || listen(BufReader::new(words), &its_mailbox))
            .doing(|| "starting a thread".into())?;
        let first = answer(&mailbox);
        let Some(pid) = first.strip_prefix("init ").and_then(|pid| pid.parse::<u32>().ok()) else {
            let _ = maker.kill();
            let _ = maker.wait();
            return Err(self.error(&first));
        };
        let pidfd = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .doing(|| "finding the machine's init".into())?;
        self.powered = Some(Powered { maker, orders, mailbox, pid, pidfd });
        let network = self.network()?;
        plug(&network)?;
        match self.order("go")?.as_str() {
            "up" => Ok(()),
            other => Err(self.error(other)),
        }
    }

    /// Pulls the plug: SIGKILL for the machine's init, with which the kernel kills all that runs
    /// in it; returns when nothing does any more. Only the disk stays.
    pub fn power_off(&mut self) {
        if let Some(mut powered) = self.powered.take() {
            let _ = pidfd_send_signal(&powered.pidfd, Signal::KILL);
            let _ = powered.maker.wait();
        }
    }

    /// The machine's network namespace.
    ///
    /// # Errors
    /// The machine has no power.
    pub fn network(&self) -> Result<File, RigError> {
        let pid = self.pid()?;
        File::open(format!("/proc/{pid}/ns/net"))
            .doing(|| format!("opening the network of {}", self.name()))
    }

    /// The PID of the machine's init, as the host sees it.
    ///
    /// # Errors
    /// The machine has no power.
    pub fn pid(&self) -> Result<u32, RigError> {
        self.powered
            .as_ref()
            .map(|powered| powered.pid)
            .ok_or_else(|| self.error("it has no power"))
    }

    /// The machine's init, to be watched or killed from elsewhere.
    ///
    /// # Errors
    /// The machine has no power, or no descriptor is left.
    pub fn pidfd(&self) -> Result<OwnedFd, RigError> {
        let powered = self.powered.as_ref().ok_or_else(|| self.error("it has no power"))?;
        powered.pidfd.try_clone().doing(|| "watching the machine's init".into())
    }

    /// Starts the daemon, or sends it a signal.
    ///
    /// # Errors
    /// The machine has no power, the daemon isn't running (or is already), or can't be started.
    pub fn daemon(&mut self, verb: Verb) -> Result<(), RigError> {
        match self.order(verb.word())?.as_str() {
            "done" | "started" => Ok(()),
            other => Err(self.error(other)),
        }
    }

    /// Whether the daemon runs, as far as the machine's init has said.
    #[must_use]
    pub fn daemon_runs(&self) -> bool {
        self.powered.as_ref().is_some_and(|powered| lock(&powered.mailbox.0).running)
    }

    /// How each daemon of this power-on ended: `code 0`, `signal 9`.
    #[must_use]
    pub fn daemon_exits(&self) -> Vec<String> {
        self.powered
            .as_ref()
            .map(|powered| lock(&powered.mailbox.0).exits.clone())
            .unwrap_or_default()
    }

    /// A command that runs inside the machine. `program` is a path as the machine sees it, or a
    /// name to be found on its PATH.
    ///
    /// # Errors
    /// The machine has no power.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Command, RigError> {
        let mut command = Command::new(&self.programs.hb);
        command.args(["rig-run", &self.pid()?.to_string(), program]).args(arguments);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a program inside the machine, and waits for it.
    ///
    /// # Errors
    /// The machine has no power, or the program can't be run.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output, RigError> {
        self.command(program, arguments)?
            .output()
            .doing(|| format!("running {program} in {}", self.name()))
    }

    /// Runs `hb` inside the machine.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn hb(&self, arguments: &[&str]) -> Result<Output, RigError> {
        let hb = init::inside(&self.programs.hb);
        self.run(&hb.to_string_lossy(), arguments)
    }

    /// What `hb status --json` says of this machine; None while it says nothing.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        if self.is_on() { status(&self.run_dir()) } else { None }
    }

    /// Runs `work` on a thread inside the machine's network.
    ///
    /// # Errors
    /// The machine has no power, or the namespace can't be entered.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, RigError> {
        let network = self.network()?;
        let outcome = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                    rustix::thread::move_into_link_name_space(network.as_fd(), kind)?;
                    Ok::<T, rustix::io::Errno>(work())
                })
                .join()
        });
        match outcome {
            Ok(outcome) => outcome.doing(|| format!("entering the network of {}", self.name())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn order(&mut self, word: &str) -> Result<String, RigError> {
        let name = self.spec.hostname.clone();
        let Some(powered) = &mut self.powered else {
            return Err(self.error("it has no power"));
        };
        writeln!(powered.orders, "{word}").doing(|| format!("telling the init of {name}"))?;
        Ok(answer(&powered.mailbox))
    }

    fn error(&self, reason: &str) -> RigError {
        RigError::Machine { machine: self.spec.hostname.clone(), reason: reason.to_owned() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(words: impl BufRead, mailbox: &Mailbox) {
    for line in words.lines().map_while(Result::ok) {
        let mut heard = lock(&mailbox.0);
        match line.strip_prefix("exited ") {
            Some(how) => {
                heard.exits.push(how.to_owned());
                heard.running = false;
            }
            None => {
                heard.running |= line == "started";
                heard.lines.push(line);
            }
        }
        mailbox.1.notify_all();
    }
    let mut heard = lock(&mailbox.0);
    heard.closed = true;
    heard.running = false;
    mailbox.1.notify_all();
}

/// The next line of the machine's init, or what to say instead.
fn answer(mailbox: &Mailbox) -> String {
    let deadline = Instant::now() + INIT_PATIENCE;
    let mut heard = lock(&mailbox.0);
    loop {
        if !heard.lines.is_empty() {
            return heard.lines.remove(0);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if heard.closed || left.is_zero() {
            return "its init ended or says nothing".into();
        }
        heard = mailbox.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What `hb status --json` prints, asked from outside through the machine's own /run: a Unix
/// socket is found by its path, whatever the network namespace (unix(7)). None while the daemon
/// says nothing; a stopped one is waited for as long as `hb status` waits.
#[must_use]
pub fn status(run_dir: &Path) -> Option<Value> {
    serde_json::from_str(&client::observe_text(run_dir).ok()?).ok()
}

/// The last lines of a file of a machine, for a message.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
