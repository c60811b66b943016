//! The daemon: one loop, one thread, the only reader of the clock.
//!
//! ```text
//! wake up ── node.handle_wakeup        a stall of our own ends what authority no longer covers
//!    │  ├─── frames of every link      a bounded number each: a flood starves nobody
//!    │  ├─── answers, commands, signals
//!    │  └─── node.handle_timeout       only now do timers expire: a stalled reader kills no peer
//!    └────── drain actions, frames, events; feed the watchdog; sleep until the next deadline
//! ```
//!
//! Nothing on it blocks: no file system, no DNS, no fork, no lock. Scripts and log files are the
//! helper process's. In the steady state it allocates nothing, which `tests/steady_state.rs` counts.

mod alerts;
pub mod boot_id;
mod carriers;
pub mod clock;
mod commands;
mod dongle;
mod effects;
mod event_loop;
mod keys;
mod link;
pub mod notify;
mod predecessor;
mod privileges;
pub mod realtime;
mod report;
mod start;
mod third_voter;
mod votes;
mod watch;
mod words;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use hb_proto::id::BootId;
use rustix::io::Errno;
use tracing::{error, info, warn};

pub use event_loop::{Daemon, Turn};
pub(crate) use keys::key_ring;
pub use link::ServiceLine;
pub use start::{Options, StartError, start};

use crate::log::Sink;
use crate::net::Addresses;
use crate::resources::{self, Helper};

/// Exit code for files that can't be used (sysexits.h: EX_CONFIG): the unit does not restart on it.
const BAD_CONFIGURATION: u8 = 78;
/// In the environment of a process that goes on as a new life: the id that it must begin above.
const LIFE_ABOVE: &str = "HEARTBEAT_LIFE_ABOVE";

/// `heartbeatd`: in the foreground, until SIGTERM or `hb stop`.
#[must_use]
pub fn main() -> ExitCode {
    if resources::is_helper() {
        return resources::helper_main(&mut |ip| {
            let mut addresses = Addresses::open()?;
            addresses.release(ip).map(drop).map_err(std::io::Error::other)
        });
    }
    if resources::is_companion() {
        return resources::companion_main();
    }
    let options = Options::parse();
    // Debug lines go to the debugfile alone, if ha.cf names one; none is made in the steady state.
    let sink = Sink::new(true);
    // Only a second subscriber could be refused, and this is the first.
    let _ = sink.install();
    let lock = match predecessor::wait(&options.run_dir) {
        Ok(lock) => lock,
        Err(error) => {
            error!("{}: {error}", options.run_dir.display());
            return ExitCode::FAILURE;
        }
    };
    let helper = match Helper::spawn_holding(lock) {
        Ok(helper) => helper,
        Err(error) => {
            error!("the helper process can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let floor =
        std::env::var(LIFE_ABOVE).ok().and_then(|text| text.parse().ok()).and_then(BootId::new);
    match start(&options, helper, sink, floor) {
        Ok(daemon) => run(daemon, &options.state_dir),
        Err(StartError::Configuration(diagnostics)) => {
            for diagnostic in &diagnostics {
                eprintln!("{diagnostic}");
            }
            eprintln!("heartbeatd: not started; `hb check` shows the same");
            ExitCode::from(BAD_CONFIGURATION)
        }
        Err(error) => {
            eprintln!("heartbeatd: not started: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut daemon: Daemon, state_dir: &Path) -> ExitCode {
    if let Err(error) = notify::ready() {
        warn!("systemd was not told that heartbeat is ready: {error}");
    }
    loop {
        match daemon.turn() {
            Ok(Turn::GoOn) => {}
            Ok(Turn::Depart(restart_above)) => {
                info!("Heartbeat shutdown complete.");
                let longest = daemon.node().longest_promise();
                if let Err(error) = boot_id::shorten_longest_promise(state_dir, longest) {
                    warn!("{error}; the next life is bound for longer than it need be");
                }
                let unguarded = daemon.is_unguarded();
                daemon.close();
                if unguarded {
                    return ExitCode::from(BAD_CONFIGURATION);
                }
                return restart_above.map_or(ExitCode::SUCCESS, live_again);
            }
            Err(errno) => return fail(&errno),
        }
    }
}

/// The loop's own epoll failed: a defect, or a kernel out of memory. The helper carries out the dead
/// man's order, and the watchdog, unfed, does the rest.
fn fail(errno: &Errno) -> ExitCode {
    error!(target: crate::log::CRIT, "the event loop can't wait: {errno}");
    ExitCode::FAILURE
}

/// R9: everything is stopped and said; this program begins again above the life that was heard.
fn live_again(above: BootId) -> ExitCode {
    let error = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(LIFE_ABOVE, above.to_string())
        .exec();
    eprintln!("heartbeatd: can't start again above life {above}: {error}");
    ExitCode::FAILURE
}
