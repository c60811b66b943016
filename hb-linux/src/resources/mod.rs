//! The helper process: runs resource scripts as told, reports, and writes the log files, so that the
//! daemon's loop never touches the file system and never forks. It decides nothing.
//!
//! The daemon starts it first of all, before memory is locked and priority is raised: it executes
//! its own binary again with [`HELPER_ARGUMENT`], one end of a socket pair as standard input.
//! `main` therefore begins with
//!
//! ```no_run
//! # use std::{io, process::ExitCode};
//! use hb_linux::{net::Addresses, resources};
//!
//! # fn main() -> io::Result<ExitCode> {
//! if resources::is_helper() {
//!     return Ok(resources::helper_main(&mut |ip| {
//!         Addresses::open()?.release(ip).map(drop).map_err(io::Error::other)
//!     }));
//! }
//! let mut helper = resources::Helper::spawn()?;
//! # Ok(ExitCode::SUCCESS)
//! # }
//! ```
//!
//! # The dead man's order
//! When the socket closes without a [`ToHelper::Farewell`] the daemon is gone (killed, panicked), and
//! the helper carries out the last [`ToHelper::StandingOrder`]: the addresses first, one system call
//! each, then the scripts' `stop`, in the order given within a group, groups side by side. It is a
//! help, not a proof: the watchdog is what ends a node whose helper died as well. A service manager
//! must leave the helper and the services alone when the daemon dies (systemd.kill(5):
//! `KillMode=process`), or it kills both and leaves the addresses.
//!
//! So a resource belongs into the standing order before its `start` is ordered, and out of it after
//! its `stop` is confirmed.
//!
//! # Companions
//! Programs that the daemon needs beside it (pppd) run as the helper's children: started with the first set-up,
//! started again when they end, later each time up to 30 s, and told to end when the daemon leaves or is gone,
//! after the dead man's order. They die with the helper.
//!
//! # Alerts
//! The operator's alert script ([`ToHelper::Alert`]) runs for one alert at a time and 10 s at most; its end is told in
//! the log and to nobody else.
//!
//! # What a script can rely on
//! Called as `script ARG… start|stop|status`, in a process group of its own, working directory `/`,
//! input /dev/null, signals default, priority normal, umask 022. Environment: PATH, HOME, HA_DIR,
//! HA_CURHOST, HA_LOGFILE, HA_DEBUGLOG (when configured), HA_DATEFMT, and LANG, LC_ALL, TZ as the
//! daemon has them; `status` runs with LC_ALL=C. One script at a time in a group; groups side by side.
//! It has ended when it exits, even if something that it started keeps its output open.

mod alert;
mod companion;
mod handle;
mod helper;
mod judge;
mod message;
mod output;
mod process;
mod process_group;
mod run;
mod script;

pub use companion::companion_main;
pub use handle::{ConfigureError, Helper, Received, SendError, Sent};
pub use helper::helper_main;
pub use judge::{STATUS_BYTES, judge};
pub use message::{
    AlertKind, Companion, FromHelper, MAX_MESSAGE, MAX_STEPS, Outcome, Setup, Step, Steps,
    ToHelper, Verb, What, decode, encode,
};
pub use script::{NotFound, command_line, find, script_dirs};

/// The hidden first argument that makes the daemon's binary the helper.
pub const HELPER_ARGUMENT: &str = "--resource-helper";

/// Has this process been started to become a companion?
#[must_use]
pub fn is_companion() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == companion::COMPANION_ARGUMENT)
}

/// Has this process been started as the helper?
#[must_use]
pub fn is_helper() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == HELPER_ARGUMENT)
}
