//! What a person should know: told once, when it happens. Nothing is decided from events.

use crate::config::Digests;
use crate::group::Change;
use crate::id::{BootId, GroupId, LinkId};
use crate::link::LinkState;
use crate::node::ArbiterState;
use crate::peer::PeerState;
use crate::time::Duration;
use crate::wire::Reject;

/// Why a group is taken or given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Cause {
    /// Both nodes are there and nobody runs it.
    Startup,
    /// The peer was silent for deadtime.
    PeerDead,
    /// The peer said that it goes.
    PeerLeft,
    /// The peer was told to stand by.
    Standby,
    /// Its start failed on the peer.
    PeerFailed,
    /// This node was told to take over.
    Takeover,
    /// The group's home is back.
    Failback,
    /// The peer is heard, and hears nobody.
    PeerDeaf,
    /// The peer asks for it: its home is back, or an operator wants it there.
    PeerWants,
    /// This node leaves.
    Leave,
    /// Authority ended: the peer's promise ran out, or the peer won after a split.
    AuthorityLost,
}

impl Cause {
    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::PeerDead => "peer-dead",
            Self::PeerLeft => "peer-left",
            Self::Standby => "standby",
            Self::PeerFailed => "peer-failed",
            Self::Takeover => "takeover",
            Self::Failback => "failback",
            Self::PeerDeaf => "peer-deaf",
            Self::PeerWants => "the peer wants it",
            Self::Leave => "leave",
            Self::AuthorityLost => "authority-lost",
        }
    }
}

/// A failover, measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Failover {
    /// Why.
    pub cause: Cause,
    /// From the peer's last frame to the decision; none where nothing had to be detected.
    pub detection: Option<Duration>,
    /// From the decision until the group ran.
    pub takeover: Duration,
    /// What the configuration promises for both.
    pub budget: Duration,
}

/// Something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// Every group is confirmed stopped; from here on this node is heard.
    Clean,
    /// The peer's state changed.
    Peer {
        /// To this.
        state: PeerState,
        /// How long it had been silent.
        silent: Duration,
    },
    /// A new life of the peer is heard.
    PeerLife {
        /// Which.
        boot: BootId,
    },
    /// The peer was taken for dead and is back in the same life.
    ReturnedAfterPartition,
    /// A heartbeat came later than warntime.
    LateHeartbeat {
        /// After this long.
        interval: Duration,
    },
    /// A link's state changed.
    Link {
        /// Which.
        link: LinkId,
        /// To this.
        state: LinkState,
        /// For one-way: whether we hear the peer on it.
        heard: bool,
    },
    /// The peer's files differ from ours; told again when the difference changes.
    Mismatch {
        /// Ours.
        ours: Digests,
        /// The peer's.
        theirs: Digests,
    },
    /// The peer's files agree with ours again.
    Match,
    /// The group is being taken.
    Acquiring {
        /// Which.
        group: GroupId,
        /// Why.
        cause: Cause,
    },
    /// The group is being given up.
    Releasing {
        /// Which.
        group: GroupId,
        /// Why.
        cause: Cause,
    },
    /// The group runs or stopped, or something about it failed.
    Group {
        /// Which.
        group: GroupId,
        /// What.
        change: Change,
    },
    /// The group runs here after a failover: measured.
    Failover {
        /// Which.
        group: GroupId,
        /// The figures.
        failover: Failover,
    },
    /// Its start failed on both nodes: nobody runs it until that is cleared or forgotten.
    BothFailed {
        /// Which.
        group: GroupId,
    },
    /// Both nodes ran the group; the home node goes on, the other stops.
    Conflict {
        /// Which.
        group: GroupId,
        /// Whether this node goes on.
        won: bool,
    },
    /// This node was not scheduled for so long.
    Stall {
        /// Beyond what was due.
        late: Duration,
    },
    /// The arbiter is heard, or is lost.
    Arbiter {
        /// Its state.
        state: ArbiterState,
    },
    /// The arbiter is asked to reset the peer (R12).
    FenceAsked {
        /// In this life.
        boot: BootId,
    },
    /// There is evidence that this life of the peer is over: promises to it ended.
    Fenced {
        /// Which life.
        boot: BootId,
    },
    /// A later life of this very node is heard: its boot id was lost or copied.
    BootIdTaken {
        /// That life.
        heard: BootId,
    },
    /// A frame was dropped.
    Rejected {
        /// On this link.
        link: LinkId,
        /// For this reason.
        reason: Reject,
    },
}
