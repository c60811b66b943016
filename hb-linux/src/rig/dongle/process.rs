//! `hb rig-dongle SPEC`: the dongle's process. Killing it is its reset; what it remembers lies in files.
//!
//! Runs [`hb_mcu::Dongle`], as the firmware does. With the rig it talks in lines:
//!
//! | from the rig | is |
//! |---|---|
//! | `line N L`, `sense N L`, `feed N L` | the level of an input for node N (0 or 1) |
//! | `test N` | somebody wants N's reset line tested |
//! | `reset`, `hang` | for a whole chip: its reset button; its program loops for ever from now on |
//!
//! | to the rig | is |
//! |---|---|
//! | `up BOOT` | a life began |
//! | `reset N L` | the level of a reset output |
//! | `fed` | its own watchdog was fed |
//! | `tested N HOW` | `proved`, `failed`, or why it was refused |
//! | `event …` | what the arbiter told |
//! | `chip` | this is a whole chip, emulated: its own watchdog resets it, so its process never ends by itself |
//! | `broken WHY` | the emulator is, whatever the chip does |

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;

use hb_mcu::{Blank, Clock as _, Dongle, Parts, Room, Wires, is_provisioned};
use hb_proto::arbiter;
use hb_proto::id::Voter;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service::Board;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::super::{Doing, RigError};
use super::parts::{self, Feeder, Files, HostClock, Input, ResetOutput, Tty};
use crate::config::Settings;
use crate::daemon::clock::Clock;
use crate::daemon::key_ring;

/// Of what a dongle is made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its number, not 0.
    pub id: u32,
    /// Speed of both lines, bit/s.
    pub baud: u32,
    /// Both UARTs, as the rig sees them.
    pub ports: [PathBuf; 2],
    /// Its own directory.
    pub memory: PathBuf,
    /// Where authkeys lies: it is provisioned with the pair's keys. `None`: it goes by the keys that it was given over
    /// its line, and has none at first.
    pub config_dir: Option<PathBuf>,
    /// A node's name in that ha.cf.
    pub node: String,
    /// Why this life begins, by its name in [`ResetReason`].
    pub reset: String,
    /// The reset lines are supervised.
    pub supervised: bool,
    /// It has sense inputs.
    pub sensed: bool,
}

/// The process's poll interval, so that a lost wake-up costs little.
const AT_MOST: Duration = Duration::from_millis(50);

type HostDongle<'r> = Dongle<'r, Tty, Tty, ResetOutput, Input, HostClock, Files, Feeder>;

/// Levels of the inputs for A and for B.
#[derive(Clone, Debug, Default)]
struct Levels {
    line: [Input; 2],
    sense: [Input; 2],
    feed: [Input; 2],
}

/// `hb rig-dongle SPEC`: the arguments behind `rig-dongle`. Ends with the rig.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let [spec] = arguments else {
        eprintln!("hb rig-dongle: for the rig only: hb rig-dongle SPEC");
        return ExitCode::from(2);
    };
    let outcome = serde_json::from_str::<Spec>(spec)
        .map_err(|error| RigError::io("reading the dongle's description", error))
        .and_then(|spec| live(&spec));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hb rig-dongle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn live(spec: &Spec) -> Result<(), RigError> {
    set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "asking to die with it".into())?;
    let mut ports = Vec::with_capacity(2);
    let mut watched = Vec::with_capacity(2);
    for path in &spec.ports {
        let tty = Tty::open(path, spec.baud).doing(|| format!("opening {}", path.display()))?;
        watched.push(tty.watch().doing(|| format!("opening {}", path.display()))?);
        ports.push(tty);
    }
    let [one, two] = ports.try_into().expect("a dongle has two ports");
    let levels = Levels::default();
    let wires = [0, 1].map(|number| Wires {
        reset: ResetOutput { number, high: None },
        line: spec.supervised.then(|| levels.line[number].clone()),
        sense: spec.sensed.then(|| levels.sense[number].clone()),
        feed: Some(levels.feed[number].clone()),
    });
    let clock = HostClock(Rc::new(RefCell::new(Clock::new())));
    let mut store = Files(spec.memory.clone());
    let given = spec.config_dir.as_ref().map(|dir| keys_of(dir, &spec.node)).transpose()?;
    let stored = is_provisioned(&mut store).doing(|| "reading its keys".into())?;
    let (reset, mut room) = (reason(&spec.reset), Box::new(Room::new()));
    let room = &mut room;
    if given.is_none() && !stored {
        let parts = (clock.clone(), store, Feeder::default());
        let blank = Blank::new(room, (one, two), parts, Board::Host, reset);
        return wait_for_a_key(blank, clock, &watched);
    }
    let (board, watchdog) = (Board::Host, Feeder::default());
    let parts = Parts { board, one, two, wires, clock: clock.clone(), store, watchdog };
    let config = arbiter::Config::new(spec.id, spec.baud);
    let dongle = match given {
        None => Dongle::start_stored(room, spec.baud, reset, parts),
        Some(keys) => Dongle::start(room, config, &keys, reset, parts),
    };
    let dongle = dongle.map_err(|error| RigError::Machine {
        machine: "the dongle".into(),
        reason: format!("it can't begin a life: {error:?}"),
    })?;
    let ends = spec.config_dir.is_some();
    let is_over = serve(dongle, &levels, clock, &watched)?;
    if is_over && !ends { live_again() } else { Ok(()) }
}

fn keys_of(config_dir: &Path, node: &str) -> Result<KeyRing, RigError> {
    let loaded = Settings::load(config_dir, Some(node), &[]);
    let settings = loaded.map_err(|diagnostics| RigError::Machine {
        machine: "the dongle".into(),
        reason: diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(key_ring(&settings.settings.keys, settings.settings.signing_key))
}

/// A dongle without keys, until it has one.
fn wait_for_a_key(
    mut blank: Blank<'_, Tty, Tty, HostClock, Files, Feeder>,
    mut clock: HostClock,
    watched: &[OwnedFd],
) -> Result<(), RigError> {
    let mut pending = Vec::new();
    loop {
        let due = blank.turn();
        if blank.is_over() {
            return live_again();
        }
        if !wait(due, &mut clock, watched, &mut pending)? {
            return Ok(());
        }
    }
}

/// The chip is reset: the same program from its beginning. Levels of inputs must be told again.
fn live_again() -> Result<(), RigError> {
    let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
    Err(RigError::io("beginning a new life", error))
}

fn reason(name: &str) -> ResetReason {
    match name {
        "PowerOn" => ResetReason::PowerOn,
        "Watchdog" => ResetReason::Watchdog,
        "Software" => ResetReason::Software,
        "Pin" => ResetReason::Pin,
        _ => ResetReason::Unknown,
    }
}

/// Until the rig is gone; true: until this life is over.
fn serve(
    mut dongle: HostDongle<'_>,
    levels: &Levels,
    mut clock: HostClock,
    watched: &[OwnedFd],
) -> Result<bool, RigError> {
    let (mut said, mut pending) = (None, Vec::new());
    loop {
        let due = dongle.turn();
        if dongle.is_over() {
            // Other keys: the process is the chip, and its end is told to the rig like any other.
            return Ok(true);
        }
        let boot = dongle.arbiter().boot();
        if said.replace(boot) != Some(boot) {
            parts::up(boot);
        }
        while let Some(event) = dongle.poll_event() {
            parts::tell(&event);
        }
        if let Some((node, proved)) = dongle.poll_line_test() {
            parts::tested(node.index(), if proved { "proved" } else { "failed" });
        }
        if !wait(due, &mut clock, watched, &mut pending)? {
            return Ok(false);
        }
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["test", number] => {
                    let node = if *number == "0" { Voter::A } else { Voter::B };
                    if let Err(refused) = dongle.request_line_test(node) {
                        parts::tested(node.index(), &format!("{refused:?}"));
                    }
                }
                words => set_level(levels, words),
            }
        }
    }
}

fn set_level(levels: &Levels, words: &[&str]) {
    let [which, number, level] = words else { return };
    let inputs = match *which {
        "line" => &levels.line,
        "sense" => &levels.sense,
        "feed" => &levels.feed,
        _ => return,
    };
    if let Some(input) = number.parse().ok().and_then(|number: usize| inputs.get(number)) {
        input.0.set(*level == "1");
    }
}

/// Sleeps until `due` or until something comes; false when the rig is gone.
fn wait(
    due: Instant,
    clock: &mut HostClock,
    watched: &[OwnedFd],
    pending: &mut Vec<u8>,
) -> Result<bool, RigError> {
    let left = due.since(clock.now()).min(AT_MOST).micros();
    // Rounded up: a timeout that comes early would only be a turn for nothing.
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left * 1000 + 1000).unwrap_or(0) };
    let mut fds = vec![PollFd::from_borrowed_fd(parts::stdin(), PollFlags::IN)];
    fds.extend(watched.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
    // EINTR only makes the turn come early.
    let _ = poll(&mut fds, Some(&timeout));
    if !fds[0].revents().is_empty() {
        let mut bytes = [0; 256];
        match rustix::io::read(parts::stdin(), &mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => pending.extend_from_slice(&bytes[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(RigError::io("listening to the rig", error)),
        }
    }
    Ok(true)
}
