//! How people and programs look at the daemon, and how root commands it.
//!
//! Two Unix stream sockets in the run directory, on purpose (architecture: control/):
//!
//! | socket | mode | the daemon | the client |
//! |---|---|---|---|
//! | [`OBSERVE_SOCKET`] | 0666 | writes one [`snapshot::Snapshot`] as JSON and closes; never reads | reads |
//! | [`CONTROL_SOCKET`] | 0600 | reads one line, answers one line of JSON, closes | root writes a [`Command`] |
//!
//! Who may only look can't reach a parser, and who may command has shown its credentials.

use std::fmt;

use serde::{Deserialize, Serialize};

mod bind;
pub mod client;
pub mod hex;
pub mod server;
pub mod snapshot;

pub use bind::BindError;

/// File name of the read-only socket.
pub const OBSERVE_SOCKET: &str = "observe.sock";
/// File name of root's socket.
pub const CONTROL_SOCKET: &str = "control.sock";
/// File name of the daemon's lock; holds its process id as text.
pub const PID_FILE: &str = "heartbeatd.pid";
/// Where they lie unless `--run-dir` says otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/heartbeat";

/// The longest line that the control socket reads, its newline included.
///
/// A group's name is its first resource as written in haresources; 512 bytes leave room for the
/// longest that ha.cf's readers accept and bound what a connection may make the daemon keep.
pub const LINE_MAX: usize = 512;

/// The word that says it, on `hb`'s command line and in the socket. No resource begins with a hyphen.
const PEER_IS_OFF: &str = "--peer-is-off";

/// What root may ask of the daemon. A group is named by its first resource, as haresources writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Give up this group, or all of them, to the peer.
    Standby(Option<String>),
    /// Take this group, or all of them, from the peer.
    Takeover(Option<String>),
    /// Take all groups on an operator's word that the peer is off, in place of its vote (R14).
    TakeoverPeerIsOff,
    /// Read authkeys again, as SIGHUP. Answered when that is done.
    Reload,
    /// Hand this service frame to the dongle; answered with the frame that comes back, in hexadecimal digits.
    Dongle(Vec<u8>),
    /// Have the dongle reset this node's machine, which is silent (R12).
    Fence(String),
    /// Release everything and exit: an orderly leave, as SIGTERM.
    Stop,
}

/// Why a line is no command; its text goes back to the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing before the newline.
    #[error("empty line; expected one of: standby [GROUP], takeover [GROUP], reload, stop")]
    Empty,
    /// A word that isn't a command.
    #[error(
        "unknown command {0:?}; expected one of: standby [GROUP], takeover [GROUP], reload, stop"
    )]
    Unknown(String),
    /// More words than the command takes.
    #[error("{command}: unexpected {word:?} after it")]
    Surplus { command: &'static str, word: String },
    /// `dongle` without a frame, `fence` without a node.
    #[error("{command}: read {read:?}, expected {expected}")]
    Value { command: &'static str, read: String, expected: &'static str },
    /// Bytes that aren't UTF-8.
    #[error("the line is not UTF-8 text")]
    NotText,
    /// No newline within [`LINE_MAX`].
    #[error("the line is longer than {LINE_MAX} bytes")]
    TooLong,
}

impl Command {
    /// Reads one line without its newline.
    ///
    /// # Errors
    /// Says what was read and what was expected.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
        let mut words = text.split_ascii_whitespace();
        let word = words.next().ok_or(CommandError::Empty)?;
        let (name, command) = match word {
            "standby" => ("standby", Self::Standby(words.next().map(str::to_owned))),
            "takeover" => match words.next() {
                Some(PEER_IS_OFF) => ("takeover --peer-is-off", Self::TakeoverPeerIsOff),
                group => ("takeover", Self::Takeover(group.map(str::to_owned))),
            },
            "reload" => ("reload", Self::Reload),
            "dongle" => {
                let word = words.next().unwrap_or_default();
                let frame = hex::decode(word).filter(|frame| !frame.is_empty());
                let expected = "a frame in hexadecimal digits";
                let read = word.to_owned();
                let frame =
                    frame.ok_or(CommandError::Value { command: "dongle", read, expected })?;
                ("dongle", Self::Dongle(frame))
            }
            "fence" => {
                let node = words.next().map(str::to_owned);
                let (read, expected) = (String::new(), "the name of the node");
                (
                    "fence",
                    Self::Fence(node.ok_or(CommandError::Value {
                        command: "fence",
                        read,
                        expected,
                    })?),
                )
            }
            "stop" => ("stop", Self::Stop),
            other => return Err(CommandError::Unknown(other.to_owned())),
        };
        match words.next() {
            None => Ok(command),
            Some(word) => Err(CommandError::Surplus { command: name, word: word.to_owned() }),
        }
    }
}

/// The line that [`Command::parse`] reads, without a newline.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standby(None) => f.write_str("standby"),
            Self::Standby(Some(group)) => write!(f, "standby {group}"),
            Self::Takeover(None) => f.write_str("takeover"),
            Self::Takeover(Some(group)) => write!(f, "takeover {group}"),
            Self::TakeoverPeerIsOff => write!(f, "takeover {PEER_IS_OFF}"),
            Self::Reload => f.write_str("reload"),
            Self::Dongle(frame) => write!(f, "dongle {}", hex::encode(frame)),
            Self::Fence(node) => write!(f, "fence {node}"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

/// The daemon's answer to a command: one line of JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Whether the daemon does what was asked. It answers at once; the doing shows in the snapshots.
    pub ok: bool,
    /// A sentence for a person.
    pub message: String,
}

impl Reply {
    /// It will be done.
    pub fn accepted(message: impl Into<String>) -> Self {
        Self { ok: true, message: message.into() }
    }

    /// It won't, and why.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { ok: false, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_survives_its_own_line() {
        let group = || Some("IPaddr::192.168.85.3/27".to_owned());
        for command in [
            Command::Standby(None),
            Command::Standby(group()),
            Command::Takeover(None),
            Command::Takeover(group()),
            Command::TakeoverPeerIsOff,
            Command::Reload,
            Command::Stop,
            Command::Dongle(vec![0xE1, 0x30, 0]),
            Command::Fence("linuxha2".to_owned()),
        ] {
            assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
        }
    }

    #[test]
    fn lines_that_are_no_command_say_what_was_expected() {
        assert_eq!(Command::parse(b"  "), Err(CommandError::Empty));
        assert_eq!(Command::parse(b"\xff\xfe"), Err(CommandError::NotText));
        assert_eq!(
            Command::parse(b"reboot now").unwrap_err().to_string(),
            "unknown command \"reboot\"; expected one of: standby [GROUP], takeover [GROUP], reload, stop"
        );
        assert_eq!(
            Command::parse(b"stop it").unwrap_err().to_string(),
            "stop: unexpected \"it\" after it"
        );
        for bad in ["dongle", "dongle e", "dongle zz", "dongle e1 e1", "fence", "fence a b"] {
            assert!(Command::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Command::parse(b"standby a b").is_err());
        assert!(Command::parse(b"takeover --peer-is-off web").is_err());
    }
}
