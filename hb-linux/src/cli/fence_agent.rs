//! `fence_heartbeat_dongle`: lets Pacemaker, or whoever else speaks the fence agents' API, reset the peer by the dongle.
//!
//! The API (FenceAgentAPI of the ClusterLabs): options as `KEY=VALUE` lines on stdin, or as arguments; the exit code is 0
//! for done, 1 for not; `status` answers 0 for on, 2 for off, 1 for unknown.

mod options;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use hb_proto::id::Voter;
use hb_proto::wire::service::{Answer, Ask, Refusal};

use super::dongle::{Line, Place, pulled_test, refused};
use crate::config::{Loaded, Settings};
use crate::control::client;
use crate::control::snapshot::{ArbiterState, PeerState, ResetLine, Snapshot};
use crate::net;
use options::{Action, Options};

/// For a peer that has just fallen silent to be called dead.
const LOOKS: u32 = 5;

/// What `status` and the other actions answer.
enum Outcome {
    /// Done; on.
    Yes,
    /// Off.
    Off,
}

/// Runs the agent; `args` without the program's name.
pub fn main(args: &[String]) -> ExitCode {
    let options = match Options::read(args, std::io::stdin()) {
        Ok(options) => options,
        Err(problem) => return failed(&problem),
    };
    match act(&options) {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::Off) => ExitCode::from(2),
        Err(problem) => failed(&problem),
    }
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("fence_heartbeat_dongle: {problem}");
    ExitCode::FAILURE
}

fn say(line: &str) {
    let _ = super::print(&format!("{line}\n"));
}

fn act(options: &Options) -> Result<Outcome, String> {
    match options.action {
        Action::Metadata => {
            let _ = super::print(&options::metadata());
            return Ok(Outcome::Yes);
        }
        Action::Help => {
            let _ = super::print(&options::usage());
            return Ok(Outcome::Yes);
        }
        _ => {}
    }
    let settings = settings(options)?;
    match options.action {
        Action::Metadata | Action::Help | Action::Validate => {
            // One configuration of a cluster manager is for both machines.
            let plug = options.plug.as_deref();
            if plug.is_some_and(|plug| !plug.eq_ignore_ascii_case(&settings.node)) {
                target(options, &settings)?;
            }
        }
        Action::List => say(&format!("{},", settings.peer)),
        Action::Monitor => monitor(&look(options)?)?,
        Action::Status => {
            target(options, &settings)?;
            return status(&look(options)?);
        }
        Action::On => {
            target(options, &settings)?;
            on(options)?;
        }
        Action::Off | Action::Reboot => {
            target(options, &settings)?;
            reset(options, &settings)?;
        }
    }
    Ok(Outcome::Yes)
}

fn settings(options: &Options) -> Result<Settings, String> {
    let interfaces = net::interfaces().unwrap_or_default();
    let loaded = Settings::load(&options.config_dir, options.node.as_deref(), &interfaces);
    let Loaded { settings, .. } = loaded
        .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    if settings.dongle.is_none() {
        return Err("ha.cf has no `arbiter serial DEVICE` with `fence dongle`".to_owned());
    }
    Ok(settings)
}

fn target(options: &Options, settings: &Settings) -> Result<(), String> {
    let peer = &settings.peer;
    let Some(plug) = &options.plug else {
        return Err(format!("no plug is given: which machine? (plug={peer})"));
    };
    if plug.eq_ignore_ascii_case(peer) {
        Ok(())
    } else if plug.eq_ignore_ascii_case(&settings.node) {
        Err(format!("{plug} is this machine, and nobody resets himself. Run it on {peer}"))
    } else {
        Err(format!("read plug {plug:?}, expected {peer}, this node's peer in ha.cf"))
    }
}

fn look(options: &Options) -> Result<Snapshot, String> {
    client::observe(&options.run_dir).map_err(|error| error.to_string())
}

/// Could a fence be carried out now, as far as anybody can tell?
fn monitor(snapshot: &Snapshot) -> Result<(), String> {
    let arbiter = snapshot.arbiter.as_ref().filter(|of| of.state == ArbiterState::Present);
    let arbiter = arbiter.ok_or("the dongle is not heard")?;
    let peer = &snapshot.peer.name;
    match arbiter.reset_lines.get(peer) {
        Some(Some(ResetLine::Tested)) => {}
        Some(Some(ResetLine::Miswired)) => {
            return Err(format!("the reset line to {peer} is miswired"));
        }
        _ => {
            return Err(format!(
                "the reset line to {peer} is not proved: hb dongle commission {peer} --confirm"
            ));
        }
    }
    let problems = snapshot.dongle.as_ref().map_or(&[][..], |dongle| &dongle.problems);
    for problem in problems {
        eprintln!("fence_heartbeat_dongle: {problem}");
    }
    Ok(())
}

const fn is_heard(snapshot: &Snapshot) -> bool {
    matches!(snapshot.peer.state, PeerState::Alive | PeerState::Late)
}

fn was_fenced(snapshot: &Snapshot) -> bool {
    let arbiter = snapshot.arbiter.as_ref().filter(|of| of.state == ArbiterState::Present);
    let fence = arbiter.and_then(|of| of.fences.get(&snapshot.peer.name)?.as_deref());
    fence == Some("confirmed")
}

fn status(snapshot: &Snapshot) -> Result<Outcome, String> {
    let peer = &snapshot.peer.name;
    if is_heard(snapshot) {
        say("Status: ON");
        Ok(Outcome::Yes)
    } else if was_fenced(snapshot) {
        say("Status: OFF");
        Ok(Outcome::Off)
    } else {
        Err(format!("{peer} is not heard, and nothing proves that it is off"))
    }
}

/// A reset line switches nothing on: a machine that was reset boots by itself.
fn on(options: &Options) -> Result<(), String> {
    let end = Instant::now() + options.power_timeout;
    loop {
        let snapshot = look(options)?;
        if is_heard(&snapshot) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(format!(
                "{} is not heard. A reset line can't switch a machine on: press its button",
                snapshot.peer.name
            ));
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Resets the peer and sees that it was: a silent one by a fence (R12), one that is heard by the test of its line, which
/// the dongle makes only while heartbeat has promised nothing to it.
fn reset(options: &Options, settings: &Settings) -> Result<(), String> {
    for _ in 0..LOOKS {
        let snapshot = look(options)?;
        if !is_heard(&snapshot) {
            if was_fenced(&snapshot) {
                // That life is over already; a later one would be heard.
                return Ok(());
            }
            return match super::commands::fence(&options.run_dir, &settings.peer) {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(format!("{} was not reset for certain", settings.peer)),
            };
        }
        if pull(options, settings)? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(settings.proto.timing.deadtime.millis()));
    }
    Err(format!("the dongle does not hear {}, and this node does: look at its line", settings.peer))
}

/// False: the dongle does not hear it any more.
fn pull(options: &Options, settings: &Settings) -> Result<bool, String> {
    let mut line = Line::open(&Place {
        config_dir: &options.config_dir,
        run_dir: &options.run_dir,
        node: options.node.as_deref(),
    })?;
    let peer = &settings.peer;
    let node = if settings.me == Voter::A { Voter::B } else { Voter::A };
    let lines = line.identify(true)?.lines;
    if lines[node.index()] != hb_proto::wire::message::arbiter::LineShown::Commissioned {
        return Err(format!(
            "the reset line to {peer} is not proved: hb dongle commission {peer} --confirm"
        ));
    }
    match line.ask(&Ask::TestLine { node })? {
        Answer::Done { .. } => {}
        Answer::Refused { why: Refusal::NotHeard, .. } => return Ok(false),
        Answer::Refused { why: Refusal::InUse, .. } => {
            return Err(format!(
                "{peer} is heard and may run something for heartbeat, so it is not reset. For another cluster \
                 manager's use haresources has to be empty"
            ));
        }
        Answer::Refused { why, .. } => return Err(refused(why)),
        other => return Err(format!("the dongle answered something else: {other:?}")),
    }
    say(&format!("{peer}'s reset line is pulled; waiting until it is heard in a new life"));
    match pulled_test(&mut line, node, options.power_timeout)? {
        true => Ok(true),
        false => Err(format!(
            "the pulse did not end {peer}'s life, or ended the other's: test the lines again"
        )),
    }
}
