//! `hb standby`, `hb takeover`, `hb reload`, `hb stop`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::{fail, unreached};
use crate::control::client::{self, Call, ClientError};
use crate::control::snapshot::{ArbiterState, GroupState, Snapshot};
use crate::control::{Command, Reply};

/// `hb standby [GROUP]`.
pub fn standby(run_dir: &Path, group: Option<&str>) -> ExitCode {
    move_groups(run_dir, group, Command::Standby)
}

/// `hb takeover [GROUP]`.
pub fn takeover(run_dir: &Path, group: Option<&str>) -> ExitCode {
    move_groups(run_dir, group, Command::Takeover)
}

/// `hb takeover --peer-is-off`.
pub fn takeover_peer_is_off(run_dir: &Path) -> ExitCode {
    command(run_dir, &Command::TakeoverPeerIsOff)
}

/// `hb reload`.
pub fn reload(run_dir: &Path) -> ExitCode {
    command(run_dir, &Command::Reload)
}

fn command(run_dir: &Path, command: &Command) -> ExitCode {
    match client::command(run_dir, command) {
        Ok(Reply { ok: true, message }) => {
            say(&message);
            ExitCode::SUCCESS
        }
        Ok(Reply { ok: false, message }) => fail(&message),
        Err(error) => unreached(&error),
    }
}

fn move_groups(
    run_dir: &Path,
    group: Option<&str>,
    command: fn(Option<String>) -> Command,
) -> ExitCode {
    let groups = match meant(run_dir, group) {
        Ok(groups) => groups,
        Err(error) => return unreached(&error),
    };
    if groups.is_empty() {
        return fail(&format!("haresources has no {} group", group.unwrap_or_default()));
    }
    let mut exit = ExitCode::SUCCESS;
    for group in groups {
        match client::command(run_dir, &command(group)) {
            Ok(Reply { ok: true, message }) => say(&message),
            Ok(Reply { ok: false, message }) => exit = fail(&message),
            Err(error) => return unreached(&error),
        }
    }
    exit
}

/// The groups that a word means; `None` in the list is "all of them, in one command".
///
/// `all`, `local`, `foreign` and `failback` are the classic tools' words.
fn meant(run_dir: &Path, word: Option<&str>) -> Result<Vec<Option<String>>, ClientError> {
    let at_home = match word {
        None | Some("all") => return Ok(vec![None]),
        Some("local") => true,
        Some("foreign" | "failback") => false,
        Some(group) => return Ok(vec![Some(group.to_owned())]),
    };
    let snapshot = client::observe(run_dir)?;
    let chosen = snapshot.groups.into_iter().filter(|group| {
        // Node names are compared as haresources does it, without regard to case.
        group.preferred.eq_ignore_ascii_case(&snapshot.node) == at_home
    });
    Ok(chosen.map(|group| Some(group.name)).collect())
}

/// `hb dongle fence NODE --confirm`: asks heartbeatd, then watches what becomes of it. True when there is evidence
/// of the reset.
///
/// # Errors
/// It was told on stderr.
pub fn fence(run_dir: &Path, node: &str) -> Result<bool, ExitCode> {
    /// The pulse, and what the dongle waits for as evidence (R12), twice.
    const LOOKS: u32 = 60;
    match client::command(run_dir, &Command::Fence(node.to_owned())) {
        Ok(Reply { ok: true, message }) => say(&message),
        Ok(Reply { ok: false, message }) => return Err(fail(&message)),
        Err(error) => return Err(unreached(&error)),
    }
    let mut sent = false;
    for _ in 0..LOOKS {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let snapshot = client::observe(run_dir).map_err(|error| unreached(&error))?;
        let Some(arbiter) = snapshot.arbiter.filter(|of| of.state == ArbiterState::Present) else {
            continue;
        };
        match arbiter.fences.get(&snapshot.peer.name).and_then(Option::as_deref) {
            Some("confirmed") => {
                say(&format!("{node} was reset, there is evidence"));
                return Ok(true);
            }
            Some("sent") if !std::mem::replace(&mut sent, true) => {
                say(&format!("{node}'s reset line is pulled; evidence is awaited"));
            }
            // A new life is evidence, too, and ends what was shown of the former one (R12).
            None if sent => {
                say(&format!("{node} was reset, there is evidence: it is heard in a new life"));
                return Ok(true);
            }
            _ => {}
        }
    }
    let reason = if sent {
        "no evidence that it was reset: look at its reset line"
    } else {
        "the dongle did not pull its line: it hears that node, its life was pulled already, or the line is not tested \
         (`hb dongle trace`, `hb dongle status`)"
    };
    Err(fail(&reason))
}

/// `hb stop`: asks, then stays until the process is gone, saying what it waits for.
pub fn stop(run_dir: &Path) -> ExitCode {
    match ask_to_stop(run_dir) {
        Ok((daemon, Reply { ok: true, message })) => {
            say(&message);
            wait(run_dir, &daemon)
        }
        Ok((_, Reply { ok: false, message })) => fail(&message),
        // What init scripts answer too: it is as it was asked to be (LSB, "stop").
        Err(ClientError::NotRunning { .. }) => {
            say("heartbeatd is not running: nothing to stop");
            ExitCode::SUCCESS
        }
        Err(error) => unreached(&error),
    }
}

fn ask_to_stop(run_dir: &Path) -> Result<(OwnedFd, Reply), ClientError> {
    let call = Call::connect(run_dir)?;
    // Before the command: afterwards its process may be gone already.
    let daemon = call.daemon().map_err(|source| ClientError::Io {
        socket: PathBuf::from("heartbeatd's process"),
        source,
    })?;
    Ok((daemon, call.command(&Command::Stop)?))
}

fn wait(run_dir: &Path, daemon: &OwnedFd) -> ExitCode {
    const SECOND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut said = String::new();
    loop {
        match poll(&mut [PollFd::new(daemon, PollFlags::IN)], Some(&SECOND)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return fail(&format!("can't wait for heartbeatd's end: {error}")),
        }
        // It may exit between the two questions; the next poll tells.
        let waiting = client::observe(run_dir).map_or_else(|_| String::new(), |s| waits_for(&s));
        if !waiting.is_empty() && waiting != said {
            say(&format!("waiting for {waiting}"));
            said = waiting;
        }
    }
    say("heartbeatd is gone");
    ExitCode::SUCCESS
}

fn waits_for(snapshot: &Snapshot) -> String {
    let busy = snapshot.groups.iter().filter(|group| group.state != GroupState::Stopped);
    let names: Vec<_> = busy.map(|group| format!("{} ({})", group.name, group.state)).collect();
    names.join(", ")
}

/// A line on stdout. That nobody reads it any more is no reason to leave a command half done.
fn say(line: &str) {
    let _ = super::print(&format!("{line}\n"));
}
