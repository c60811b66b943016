//! Two complete machines on one Linux host: what `hb demo` plays on and what the namespace
//! scenarios drive.
//!
//! One supervising process owns a rig. It lives in a network and a mount namespace of its own
//! ([`host::enter`]), so that nothing it does is seen by the host; an ordinary user gets a user
//! namespace first. Each machine ([`machine::Machine`]) has its own network, mount, UTS, PID and
//! IPC namespaces with a small init as process 1 ([`init`]): killing that init is pulling the plug.
//!
//! | what | where |
//! |---|---|
//! | the public and the private network | [`switch`], a user-space switch between veth ends |
//! | the null-modem line | [`mod@line`], ptys joined by a model of two UARTs and a cable |
//! | the third voter in that line | [`mod@dongle`], a process that runs the firmware's library |
//! | what ends everything on a machine at once | [`outlet`]: its plug, the dongle's reset outputs, its [`watchdog`] |
//! | what goes wrong on a wire | [`faults`] |
//! | somebody else on the network | [`intruder`] |
//! | the client, whose observations are the only verdict | [`probe`] |
//! | the web service of the demo | [`web`] |
//! | the guide's test, played | [`demo`] |

pub mod bench;
pub mod demo;
pub mod dongle;
pub mod faults;
pub mod host;
pub mod init;
pub mod intruder;
pub mod line;
pub mod links;
pub mod machine;
mod node;
pub mod outlet;
pub mod probe;
pub mod run;
pub mod switch;
pub mod sys;
pub mod trace;
mod tty;
pub mod watchdog;
pub mod web;

use std::io;

use thiserror::Error;

/// What can go wrong with a rig, said to the person who started it.
#[derive(Debug, Error)]
pub enum RigError {
    /// The kernel refuses namespaces; the text names the setting to change.
    #[error("{0}")]
    Forbidden(String),
    /// A system call failed while doing something that can be named.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, in a few words.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A machine's init said why it could not go on, or said nothing at all.
    #[error("machine {machine}: {reason}")]
    Machine {
        /// The machine's name.
        machine: String,
        /// The init's own words, or what was expected of it.
        reason: String,
    },
}

impl RigError {
    /// Wraps a failed system call with what it was for.
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }
}

/// Adds what was being done to a failed system call.
pub(crate) trait Doing<T> {
    /// `what` is only built when the call failed.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RigError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RigError> {
        self.map_err(|source| RigError::io(what(), source))
    }
}

/// A hardware address.
pub type Mac = [u8; 6];

/// `02:00:00:00:01:01`.
#[must_use]
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
