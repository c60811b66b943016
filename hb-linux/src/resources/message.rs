//! What the daemon and its helper say to each other: postcard over a `SOCK_SEQPACKET` pair, one
//! message a packet. Both ends are the same binary of the same build, so there is no version here.

use std::net::IpAddr;
use std::path::Path;

use hb_proto::config::{MAX_GROUPS, MAX_RESOURCES};
use serde::{Deserialize, Serialize};

use crate::config::AuthKeys;
use crate::log::Level;

/// Longest message either way, in bytes. A group's line of haresources is the largest thing said.
pub const MAX_MESSAGE: usize = 4096;
/// Every resource that a standing order can name.
pub const MAX_STEPS: usize = MAX_GROUPS * MAX_RESOURCES;

/// What a script is called for: its last argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verb {
    /// `start`: must succeed when already started.
    Start,
    /// `stop`: must succeed when already stopped.
    Stop,
    /// `status`: judged by what it prints; see [`super::judge()`].
    Status,
}

impl Verb {
    /// As the script gets it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Status => "status",
        }
    }
}

/// One resource, as the helper needs to know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What<'a> {
    /// A service address: the daemon's own work, named here for the standing order alone.
    Address(IpAddr),
    /// A script of the script directories and its arguments without the verb.
    Script {
        /// File name, without a directory.
        script: &'a str,
        /// Between the script's name and the verb.
        #[serde(borrow)]
        args: Vec<&'a str>,
    },
}

/// What the helper must know before its first order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup<'a> {
    /// This node's name: HA_CURHOST.
    pub node: &'a str,
    /// Configuration directory: HA_DIR.
    pub config_dir: &'a Path,
    /// Where scripts are looked for, first match counts.
    #[serde(borrow)]
    pub script_dirs: Vec<&'a Path>,
    /// ha-log.
    pub logfile: &'a Path,
    /// ha-debug: gets everything, debug lines included.
    pub debugfile: Option<&'a Path>,
    /// How long each stop of the standing order may take, in milliseconds.
    pub stop_timeout_ms: u32,
    /// Programs that run for as long as the daemon does.
    #[serde(borrow)]
    pub companions: Vec<Companion<'a>>,
    /// The alert script, if there is one.
    pub alert: Option<&'a Path>,
    /// The other node's name.
    pub peer: &'a str,
}

/// What an operator is alerted of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AlertKind {
    /// The dongle is not heard any more, or never was.
    DongleLost,
    /// A reset pulse hit the wrong machine.
    DongleMiswired,
    /// The peer was reset, with evidence.
    Fenced,
    /// It was pulled, and nothing proves that it went down.
    FenceUnconfirmed,
    /// Nothing is heard on a link.
    LinkLost,
    /// A resource group can't be started, or can't be stopped.
    GroupFailed,
    /// The peer was silent for deadtime.
    PeerDead,
}

impl AlertKind {
    /// All of them, by their numbers.
    pub const ALL: [Self; 7] = [
        Self::DongleLost,
        Self::DongleMiswired,
        Self::Fenced,
        Self::FenceUnconfirmed,
        Self::LinkLost,
        Self::GroupFailed,
        Self::PeerDead,
    ];

    /// The script's first argument.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DongleLost => "dongle-lost",
            Self::DongleMiswired => "dongle-miswired",
            Self::Fenced => "fenced",
            Self::FenceUnconfirmed => "fence-unconfirmed",
            Self::LinkLost => "link-lost",
            Self::GroupFailed => "group-failed",
            Self::PeerDead => "peer-dead",
        }
    }
}

/// A program that runs for as long as the daemon does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Companion<'a> {
    /// What the log calls it.
    pub name: &'a str,
    /// Its full path.
    pub program: &'a str,
    /// Its arguments.
    #[serde(borrow)]
    pub args: Vec<&'a str>,
}

/// Group and place within the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Number of the group, as in haresources.
    pub group: u8,
    /// Number of the resource within the group, in starting order.
    pub resource: u8,
}

/// What to give up, in this order, should the daemon vanish.
pub type Steps = heapless::Vec<Step, MAX_STEPS>;

/// From the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one call, never in a table")]
pub enum ToHelper<'a> {
    /// First message of all.
    #[serde(borrow)]
    Setup(Setup<'a>),
    /// What group `group` consists of, in starting order.
    Group {
        /// Number of the group.
        group: u8,
        /// At most [`MAX_RESOURCES`].
        resources: Vec<What<'a>>,
    },
    /// Run a script; answered by exactly one [`FromHelper::Done`].
    Run {
        /// Comes back in the answer.
        ticket: u32,
        /// Which resource.
        step: Step,
        /// What for.
        verb: Verb,
    },
    /// Kill what this ticket runs: SIGTERM to its process group, SIGKILL one second later. A ticket
    /// that has ended meanwhile is not an error.
    Abort {
        /// Of the [`ToHelper::Run`].
        ticket: u32,
    },
    /// One line for the log.
    Log {
        /// How grave it is.
        level: Level,
        /// Wall time of the event, in seconds since 1970.
        at: i64,
        /// Without a line feed.
        text: &'a str,
    },
    /// Something that an operator should know at once.
    Alert {
        /// What.
        kind: AlertKind,
        /// Of whom or what: a node, a link, a group.
        subject: &'a str,
        /// A sentence.
        text: &'a str,
    },
    /// Read authkeys again; answered by one [`FromHelper::Keys`].
    ReadKeys,
    /// Replaces the standing order.
    StandingOrder(Steps),
    /// The daemon leaves in good order: the standing order is void.
    Farewell,
}

impl ToHelper<'_> {
    /// Log lines may be lost under load, orders may not.
    #[must_use]
    pub const fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Log { .. })
    }
}

/// How a script ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned this code.
    Exit(u8),
    /// This signal killed it, and not on our account.
    Signal(u8),
    /// It never ran; errno says why: ENOENT no such script, EACCES not executable, ENOEXEC no `#!`
    /// line, EINVAL no such resource or not a script, EAGAIN too many orders queued.
    SpawnFailed(i32),
    /// Ended by [`ToHelper::Abort`]; nothing of its process group is left.
    Aborted,
    /// Aborted, but two seconds after SIGKILL something of it still hangs in the kernel.
    Stuck,
}

/// From the helper.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromHelper {
    /// The script runs, in a process group of this number: who must end it when the helper is gone.
    Started {
        /// Of the order.
        ticket: u32,
        /// Process group.
        group: i32,
    },
    /// The answer to one [`ToHelper::Run`].
    Done {
        /// Of the order.
        ticket: u32,
        /// How it ended.
        outcome: Outcome,
        /// For status: is the resource held? `None`: can't be told from what the script did.
        held: Option<bool>,
        /// From the start of the script to its end.
        duration_ms: u32,
    },
    /// So many log lines never reached the log file since the last such message.
    LogDropped {
        /// Lines.
        lines: u32,
    },
    /// What authkeys holds now, or how many errors it has: the log has them.
    Keys(Result<AuthKeys, u32>),
}

/// `message` as bytes in `buffer`.
///
/// # Errors
/// The message is longer than the buffer.
pub fn encode<'b, T: Serialize>(message: &T, buffer: &'b mut [u8]) -> postcard::Result<&'b [u8]> {
    postcard::to_slice(message, buffer).map(|bytes| &*bytes)
}

/// The message in `bytes`, which must contain nothing else.
///
/// # Errors
/// Not a message, or followed by something.
pub fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> postcard::Result<T> {
    match postcard::take_from_bytes(bytes)? {
        (message, []) => Ok(message),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuthKey, Method};

    fn there_and_back(message: &ToHelper<'_>) {
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = encode(message, &mut buffer).unwrap();
        assert_eq!(&decode::<ToHelper<'_>>(bytes).unwrap(), message);
    }

    #[test]
    fn messages_survive_the_journey() {
        there_and_back(&ToHelper::Setup(Setup {
            node: "linuxha1",
            config_dir: Path::new("/etc/ha.d"),
            script_dirs: vec![Path::new("/etc/ha.d/resource.d"), Path::new("/etc/init.d")],
            logfile: Path::new("/var/log/ha-log"),
            debugfile: None,
            stop_timeout_ms: 60_000,
            companions: vec![Companion {
                name: "ppp on /dev/ttyS1",
                program: "/usr/sbin/pppd",
                args: vec!["/dev/ttyS1", "19200"],
            }],
            alert: Some(Path::new("/etc/ha.d/alert")),
            peer: "linuxha2",
        }));
        there_and_back(&ToHelper::Group {
            group: 15,
            resources: vec![
                What::Address("192.168.85.3".parse().unwrap()),
                What::Script { script: "Filesystem", args: vec!["/dev/sda1", "/srv", "ext4"] },
            ],
        });
        there_and_back(&ToHelper::Run {
            ticket: u32::MAX,
            step: Step { group: 15, resource: 15 },
            verb: Verb::Status,
        });
        there_and_back(&ToHelper::ReadKeys);
        there_and_back(&ToHelper::Farewell);
        for (number, kind) in AlertKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "limits are counted by number");
            there_and_back(&ToHelper::Alert { kind, subject: "eth1", text: "link eth1 is dead" });
        }
    }

    /// Sixteen keys as `hb keygen` makes them.
    #[test]
    fn as_many_keys_as_there_are_numbers_fit() {
        let key = |id| AuthKey { id, method: Method::Hmac, secret: vec![b'f'; 64] };
        let keys = AuthKeys { signing_key: 15, keys: (0..16).map(key).collect() };
        let mut buffer = [0; MAX_MESSAGE];
        let answer = FromHelper::Keys(Ok(keys));
        let bytes = encode(&answer, &mut buffer).unwrap();
        assert_eq!(decode::<FromHelper>(bytes).unwrap(), answer);
    }

    #[test]
    fn the_longest_standing_order_fits() {
        let mut steps = Steps::new();
        while steps.push(Step { group: 255, resource: 255 }).is_ok() {}
        there_and_back(&ToHelper::StandingOrder(steps));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut buffer = [0; 16];
        let used = encode(&ToHelper::Farewell, &mut buffer).unwrap().len();
        assert!(decode::<ToHelper<'_>>(&buffer[..=used]).is_err());
    }
}
