//! Process 1 of a machine, and the process that makes its namespaces.
//!
//! `hb rig-init SPEC` runs twice. First it leaves for fresh namespaces and starts itself again as
//! the first process of the new PID namespace; that one builds the machine's root, waits until
//! the rig has plugged in its interfaces, and then does what an init does. It talks with the rig
//! in lines over standard input and output, and dies with it: on end of file, and by
//! PR_SET_PDEATHSIG even when it is stopped.

use std::io::{self, BufRead, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, wait};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use signal_hook::consts::SIGCHLD;

use super::{Doing, RigError, links, sys};

mod root;

pub use root::HOST;

/// What a machine is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// `uname -n`.
    pub hostname: String,
    /// A directory with `etc`, `state`, `log` and `run`: the machine's /etc/ha.d,
    /// /var/lib/heartbeat, /var/log and /run. The first three survive the machine, as a disk does.
    pub disk: PathBuf,
    /// Name in /dev, and the pty's slave that it shows.
    pub ttys: Vec<(String, PathBuf)>,
    /// Interfaces that the rig plugs in before it says `go`.
    pub interfaces: Vec<Interface>,
    /// Names for /etc/hosts.
    pub hosts: Vec<(Ipv4Addr, String)>,
    /// The daemon, as the host sees it.
    pub heartbeatd: PathBuf,
    /// It has a watchdog ([`super::watchdog`]).
    #[serde(default)]
    pub watchdog: bool,
}

/// An interface of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// Its own address, with a prefix of 24.
    pub address: Ipv4Addr,
}

/// Prefix length of both networks of the guide.
pub const PREFIX: u8 = 24;

/// The second argument that marks the second run.
const AS_INIT: &str = "--as-init";

/// `hb rig-init SPEC [--as-init]`: the arguments behind `rig-init`.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let (spec, inside) = match arguments {
        [spec] => (spec, false),
        [spec, flag] if flag == AS_INIT => (spec, true),
        _ => {
            eprintln!("hb rig-init: for the rig only: hb rig-init SPEC");
            return ExitCode::from(2);
        }
    };
    let outcome = serde_json::from_str::<Spec>(spec)
        .map_err(|error| RigError::io("reading the machine's description", error))
        .and_then(|parsed| if inside { live(&parsed) } else { make(spec) });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the rig reads up to the line's end.
            say(&format!("failed {}", error.to_string().replace('\n', " | ")));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // The rig is gone when this fails; end of file on standard input says so too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// First run: the namespaces, then the init inside, then wait for it.
fn make(spec: &str) -> Result<(), RigError> {
    set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "asking to die with it".into())?;
    sys::unshare(
        UnshareFlags::NEWNET
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWPID,
    )
    .doing(|| "making the machine's namespaces".into())?;
    let myself = std::env::current_exe().doing(|| "finding this program".into())?;
    let mut init = Command::new(myself)
        .args(["rig-init", spec, AS_INIT])
        .spawn()
        .doing(|| "starting the machine's init".into())?;
    say(&format!("init {}", init.id()));
    init.wait().doing(|| "waiting for the machine's init".into())?;
    Ok(())
}

/// Second run: process 1.
fn live(spec: &Spec) -> Result<(), RigError> {
    set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "asking to die with it".into())?;
    root::build(spec)?;
    rustix::system::sethostname(spec.hostname.as_bytes())
        .doing(|| "setting the hostname".into())?;
    let mut lines = io::stdin().lock();
    let mut line = String::new();
    lines.read_line(&mut line).doing(|| "waiting for the interfaces".into())?;
    if line.trim() != "go" {
        return Ok(());
    }
    links::up("lo").doing(|| "bringing up lo".into())?;
    for Interface { name, address } in &spec.interfaces {
        sys::checksums_in_software(name).doing(|| format!("turning off offload on {name}"))?;
        links::add_address(name, *address, PREFIX)
            .doing(|| format!("adding {address} to {name}"))?;
        links::up(name).doing(|| format!("bringing up {name}"))?;
    }
    say("up");
    drop(lines);
    serve(spec)
}

/// Reaps, and does what the rig says, until the rig is gone.
fn serve(spec: &Spec) -> Result<(), RigError> {
    let (mut child_ended, its_end) =
        UnixStream::pair().doing(|| "making a pipe for SIGCHLD".into())?;
    child_ended.set_nonblocking(true).doing(|| "making a pipe for SIGCHLD".into())?;
    signal_hook::low_level::pipe::register(SIGCHLD, its_end).doing(|| "catching SIGCHLD".into())?;
    let stdin = io::stdin();
    let mut daemon = None;
    let mut pending = Vec::new();
    loop {
        let mut fds =
            [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&child_ended, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        let (commanded, _) = (!fds[0].revents().is_empty(), fds[1].revents());
        while matches!(child_ended.read(&mut [0_u8; 64]), Ok(1..)) {}
        reap(&mut daemon);
        if !commanded {
            continue;
        }
        // Unbuffered: what a BufReader had taken, poll would not see.
        let mut bytes = [0_u8; 256];
        match rustix::io::read(&stdin, &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => pending.extend_from_slice(&bytes[..count]),
            Err(_) => continue,
        }
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            obey(String::from_utf8_lossy(&line).trim(), spec, &mut daemon);
        }
    }
}

fn reap(daemon: &mut Option<Pid>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if *daemon == Some(pid) {
            *daemon = None;
            match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => say(&format!("exited code {code}")),
                (_, signal) => say(&format!("exited signal {}", signal.unwrap_or(0))),
            }
        }
    }
}

fn obey(command: &str, spec: &Spec, daemon: &mut Option<Pid>) {
    let answer = match (command, *daemon) {
        ("start", Some(_)) => Err("heartbeatd is running already".to_owned()),
        ("start", None) => start(spec).map(|pid| {
            *daemon = Some(pid);
            "started"
        }),
        (_, None) => Err(format!("{command}: heartbeatd is not running")),
        (name, Some(pid)) => match signal_named(name) {
            Some(signal) => rustix::process::kill_process(pid, signal)
                .map(|()| "done")
                .map_err(|error| format!("{name}: {error}")),
            None => Err(format!("{name}: expected start, kill, stop, continue or terminate")),
        },
    };
    match answer {
        Ok(word) => say(word),
        Err(reason) => say(&format!("error {reason}")),
    }
}

fn signal_named(name: &str) -> Option<Signal> {
    Some(match name {
        "kill" => Signal::KILL,
        "stop" => Signal::STOP,
        "continue" => Signal::CONT,
        "terminate" => Signal::TERM,
        _ => return None,
    })
}

/// Starts the daemon as a service manager does: no terminal, its words into a file.
fn start(spec: &Spec) -> Result<Pid, String> {
    let program = inside(&spec.heartbeatd);
    let words = std::fs::File::options()
        .create(true)
        .append(true)
        .open("/var/log/heartbeatd.out")
        .map_err(|error| format!("/var/log/heartbeatd.out: {error}"))?;
    let errors = words.try_clone().map_err(|error| error.to_string())?;
    let watchdog = ["--rig-watchdog", super::watchdog::DEVICE];
    let child = Command::new(&program)
        .args(["--config-dir", "/etc/ha.d", "--state-dir", "/var/lib/heartbeat"])
        .args(["--run-dir", "/run/heartbeat"])
        .args(&watchdog[..if spec.watchdog { 2 } else { 0 }])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(words)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(Pid::from_child(&child))
}

/// A path of the host as the machine sees it.
#[must_use]
pub fn inside(path: &Path) -> PathBuf {
    Path::new(HOST).join(path.strip_prefix("/").unwrap_or(path))
}
