//! What the state machines need to know before they start, checked once.
//!
//! [`Config::check`] refuses what can't work and says why with the numbers; a driver turns that into
//! the line of ha.cf it came from.

use core::fmt;

use heapless::Vec;

use crate::id::{LinkId, Voter};
use crate::time::Duration;
use crate::wire::message::arbiter::ARBITER_SERIAL_BYTES;

/// Resource groups a cluster can have: two bits each must fit the status frame (protocol.md §5).
pub const MAX_GROUPS: usize = 16;
/// Links a node can have: one bit each must fit the status frame.
pub const MAX_LINKS: usize = 8;
/// Resources in one group. The classic's longest real lines hold about ten.
pub const MAX_RESOURCES: usize = 16;

/// Longest status frame on a serial line: COBS, tag and delimiter included (protocol.md §5).
pub const STATUS_SERIAL_BYTES: usize = 32;
/// How far apart two voters' clocks may run, in percent, unless a firmware knows its own to be worse.
pub const DRIFT_PERCENT: u8 = 5;
/// Frames may be on their way for so long after their sender was stopped, or its wire cut.
pub const LAST_WORDS: Duration = Duration::from_millis(300);
/// Bits on the line for one byte at 8N1: start, eight data bits, stop.
pub const BITS_PER_BYTE: u64 = 10;

/// The times of protocol.md §3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timing {
    /// Between two status frames on every link.
    pub keepalive: Duration,
    /// Silence after which the peer is called late.
    pub warntime: Duration,
    /// Silence after which the peer is called dead.
    pub deadtime: Duration,
    /// How long a starting node waits for a peer that it has never heard.
    pub initdead: Duration,
    /// How long a promise lasts for its user, from the sending of the frame that it answers.
    pub lease: Duration,
    /// How long a node can go on running beyond its authority: what a promise outlasts its use by.
    /// Zero in classic mode, where nothing stops such a node.
    pub guard: Duration,
    /// How far apart two voters' clocks may run, in percent.
    pub drift_percent: u8,
}

impl Timing {
    /// The defaults of protocol.md §3, for two voters: 100 ms, 300 ms, 500 ms, 10 s, lease 0.8 × deadtime.
    #[must_use]
    pub const fn classic_defaults() -> Self {
        Self {
            keepalive: Duration::from_millis(100),
            warntime: Duration::from_millis(300),
            deadtime: Duration::from_millis(500),
            initdead: Duration::from_secs(10),
            lease: Duration::from_millis(400),
            guard: Duration::ZERO,
            drift_percent: DRIFT_PERCENT,
        }
    }

    /// The default lease for a deadtime: 0.8 × deadtime, so that lease × (1 + drift) ≤ deadtime.
    #[must_use]
    pub const fn default_lease(deadtime: Duration) -> Duration {
        deadtime.percent(80)
    }

    /// How long a promise binds its giver: lease × (1 + drift) + guard (protocol.md §2), each in the whole
    /// milliseconds that a hello says, rounded up.
    #[must_use]
    pub fn full(&self) -> Duration {
        full(self.lease.whole_millis(), self.drift_percent, self.guard.whole_millis())
    }

    /// How long deadtime is by the clock of who waits for an arbiter that counts it.
    #[must_use]
    pub fn deadtime_by_any_clock(&self) -> Duration {
        self.deadtime.percent(100 + u64::from(self.drift_percent))
    }

    /// How long a promise lasts by the clock of who waits for its end: its giver's may be slower.
    #[must_use]
    pub fn full_by_any_clock(&self) -> Duration {
        let full = self.full();
        // Unbounded stays so.
        if full == Duration::MAX { full } else { full.percent(100 + u64::from(self.drift_percent)) }
    }
}

/// lease × (1 + drift) + guard: how long after its last frame a life that used a promise can have run on.
#[must_use]
pub fn full(lease: Duration, drift_percent: u8, guard: Duration) -> Duration {
    lease.percent(100 + u64::from(drift_percent)) + guard
}

/// The silence that counts where hints say that nobody is there: the least that a configuration may have for
/// deadtime (protocol.md §3).
#[must_use]
pub fn shortest_silence(lease: Duration, drift_percent: u8, keepalive: Duration) -> Duration {
    lease.percent(100 + u64::from(drift_percent)).max(keepalive.times(2))
}

/// How a link carries bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LinkKind {
    /// A null-modem line, 8N1.
    Serial {
        /// Bits a second.
        baud: u32,
    },
    /// UDP to the interface's broadcast address.
    Broadcast,
    /// UDP to one address.
    Unicast,
    /// UDP to a multicast group.
    Multicast,
}

impl LinkKind {
    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial { .. } => "serial",
            Self::Broadcast => "bcast",
            Self::Unicast => "ucast",
            Self::Multicast => "mcast",
        }
    }

    /// Time that `bytes` occupy the line; nothing on a network.
    #[must_use]
    pub fn time_on_line(self, bytes: usize) -> Duration {
        match self {
            Self::Serial { baud } => {
                // 32 bits are enough for 429 bytes, four of the longest frames; no chip's divider has more.
                let bits = (bytes as u32).saturating_mul(BITS_PER_BYTE as u32);
                let micros = bits.saturating_mul(1_000_000) / baud.max(1);
                Duration::from_micros(micros.into())
            }
            Self::Broadcast | Self::Unicast | Self::Multicast => Duration::ZERO,
        }
    }
}

/// What the decisions need to know of a resource; what it is called is the driver's affair.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ResourceKind {
    /// A service address: goes at once when authority ends (R10).
    Address,
    /// Anything behind a script.
    Script,
}

/// One resource group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// The node that the group prefers: A or B.
    pub home: Voter,
    /// Its resources, in starting order (left to right).
    pub resources: Vec<ResourceKind, MAX_RESOURCES>,
}

/// Patience with resource scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Patience {
    /// For one `start`.
    pub start: Duration,
    /// For one `stop`.
    pub stop: Duration,
    /// For one `status`.
    pub status: Duration,
    /// A `stop` that failed is tried again this often …
    pub stop_retries: u8,
    /// … after this long.
    pub stop_retry_wait: Duration,
    /// A failed start is forgotten after this long; until then the node doesn't ask for the group.
    pub failed_start_retry: Duration,
    /// What the budget allows for the start of one address, announcement apart.
    pub address_allowance: Duration,
    /// What the budget allows for the start of one script. An assumption, shown as such.
    pub script_allowance: Duration,
    /// What the budget allows for the first gratuitous ARP to reach the neighbours.
    pub announce_allowance: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            stop: Duration::from_secs(60),
            status: Duration::from_secs(10),
            stop_retries: 10,
            stop_retry_wait: Duration::from_secs(1),
            failed_start_retry: Duration::from_secs(300),
            address_allowance: Duration::from_millis(20),
            script_allowance: Duration::from_secs(1),
            announce_allowance: Duration::from_millis(20),
        }
    }
}

/// Fingerprints by which two nodes notice that their files differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Digests {
    /// Of the groups: their number, order, homes and resources. No promise while it differs.
    pub haresources: u64,
    /// Of everything else that both nodes should agree on. A difference is told, no more.
    pub settings: u64,
}

/// The third voter, as a node is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ArbiterConfig {
    /// The serial line that it sits in.
    pub link: LinkId,
    /// It may reset this node when it falls silent while it runs something (R13).
    pub external_watchdog: bool,
    /// It may be asked to reset the peer (R12): an operator said that its reset lines are wired. Without, a line that
    /// was proved under an earlier configuration is left alone.
    pub fences: bool,
    /// With reset lines: how long a fence takes, from the request to the evidence. For the budget only.
    pub fence: Option<Duration>,
}

/// Everything a node's state machine is told before it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Which node this is: A or B.
    pub me: Voter,
    /// The times.
    pub timing: Timing,
    /// This node's links, in the order of ha.cf.
    pub links: Vec<LinkKind, MAX_LINKS>,
    /// The groups, in the order of haresources.
    pub groups: Vec<GroupConfig, MAX_GROUPS>,
    /// A returning node gets its own groups back.
    pub auto_failback: bool,
    /// The dongle, when one is configured.
    pub arbiter: Option<ArbiterConfig>,
    /// Patience with scripts.
    pub patience: Patience,
    /// Fingerprints of the files.
    pub digests: Digests,
}

/// Why a configuration can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConfigError {
    /// A time that must be positive is zero.
    ZeroTime {
        /// Which one, as ha.cf calls it.
        what: &'static str,
    },
    /// deadtime must exceed 2 × keepalive: one lost heartbeat must not kill.
    DeadtimeTooShort {
        /// As configured.
        deadtime: Duration,
        /// As configured.
        keepalive: Duration,
    },
    /// warntime must lie between keepalive and deadtime.
    WarntimeOutOfRange {
        /// As configured.
        warntime: Duration,
        /// The lower bound.
        keepalive: Duration,
        /// The upper bound.
        deadtime: Duration,
    },
    /// initdead must be at least deadtime.
    InitdeadTooShort {
        /// As configured.
        initdead: Duration,
        /// The lower bound.
        deadtime: Duration,
    },
    /// lease × (1 + drift) must be at most deadtime (protocol.md §3).
    LeaseTooLong {
        /// lease × (1 + drift).
        stretched: Duration,
        /// The upper bound.
        deadtime: Duration,
    },
    /// A serial line is slower than its frames (protocol.md §3).
    SerialTooSlow {
        /// Which link, in the order of ha.cf.
        link: u8,
        /// Its speed.
        baud: u32,
        /// Time the frames of one keepalive occupy the line.
        needed: Duration,
        /// Half of keepalive.
        allowed: Duration,
    },
    /// A node without any link would never hear its peer.
    NoLink,
    /// The arbiter's line is not a serial line of this node.
    ArbiterLink,
    /// A dead arbiter takes its line along: without a network link nobody would vote for anybody.
    ArbiterAlone,
    /// With an arbiter nothing but guard keeps a node that hangs from running beside the next (R10).
    NoGuard,
    /// The arbiter can't own a group or be configured as a node.
    NotANode,
    /// A group without resources serves nothing.
    EmptyGroup {
        /// Which group, in the order of haresources.
        group: u8,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ZeroTime { what } => write!(f, "{what} is 0; it must be a positive time"),
            Self::DeadtimeTooShort { deadtime, keepalive } => write!(
                f,
                "deadtime {deadtime} must be more than 2 × keepalive = {}: at {deadtime} one lost \
                 heartbeat kills a healthy peer",
                keepalive.times(2)
            ),
            Self::WarntimeOutOfRange { warntime, keepalive, deadtime } => write!(
                f,
                "warntime {warntime} must lie between keepalive {keepalive} and deadtime {deadtime}"
            ),
            Self::InitdeadTooShort { initdead, deadtime } => {
                write!(f, "initdead {initdead} must be at least deadtime {deadtime}")
            }
            Self::LeaseTooLong { stretched, deadtime } => write!(
                f,
                "lease with its allowance for clock drift is {stretched}; it must be at most \
                 deadtime {deadtime}"
            ),
            Self::SerialTooSlow { baud, needed, allowed, .. } => write!(
                f,
                "at {baud} baud one keepalive's frames take {needed} on the line; half of \
                 keepalive, {allowed}, is all they may take: raise baud or keepalive"
            ),
            Self::NoLink => {
                write!(f, "no heartbeat medium: name at least one of serial, bcast, ucast, mcast")
            }
            Self::ArbiterLink => write!(f, "the arbiter's line must be one of the serial lines"),
            Self::ArbiterAlone => write!(
                f,
                "the only link is the arbiter's serial line: when the arbiter dies, both nodes lose \
                 both votes and nobody serves. Add bcast, ucast or mcast"
            ),
            Self::NoGuard => write!(
                f,
                "an arbiter needs guard, the time within which a node that hangs is surely stopped: a \
                 watchdog, or a reset line, gives one"
            ),
            Self::NotANode => {
                write!(f, "a group's home and this node must be one of the two nodes")
            }
            Self::EmptyGroup { group } => write!(f, "group {group} has no resources"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// The longest that the service is gone after a power loss, and how that comes about (protocol.md §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Budget {
    /// Until the peer is known to be dead.
    pub detection: Duration,
    /// What the group's resources may take to start.
    pub start: Duration,
    /// Until the neighbours know the address's new place.
    pub announce: Duration,
}

impl Budget {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.detection + self.start + self.announce
    }
}

impl Config {
    /// Checks every rule and returns the first that is broken; see [`Config::problems`] for all.
    ///
    /// # Errors
    /// The first of [`Config::problems`].
    pub fn check(&self) -> Result<(), ConfigError> {
        self.problems().first().map_or(Ok(()), |&error| Err(error))
    }

    /// Everything that is wrong, in the order of ha.cf; 16 at most.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigError, 16> {
        let mut found = Vec::new();
        let t = &self.timing;
        let mut note = |error| {
            // More than 16 problems at once: the first 16 are work enough for one reading.
            let _ = found.push(error);
        };
        for (what, time) in
            [("keepalive", t.keepalive), ("deadtime", t.deadtime), ("lease", t.lease)]
        {
            if time == Duration::ZERO {
                note(ConfigError::ZeroTime { what });
            }
        }
        if t.deadtime <= t.keepalive.times(2) {
            note(ConfigError::DeadtimeTooShort { deadtime: t.deadtime, keepalive: t.keepalive });
        } else if t.warntime < t.keepalive || t.warntime > t.deadtime {
            note(ConfigError::WarntimeOutOfRange {
                warntime: t.warntime,
                keepalive: t.keepalive,
                deadtime: t.deadtime,
            });
        }
        if t.initdead < t.deadtime {
            note(ConfigError::InitdeadTooShort { initdead: t.initdead, deadtime: t.deadtime });
        }
        let stretched = t.lease.percent(100 + u64::from(t.drift_percent));
        if stretched > t.deadtime {
            note(ConfigError::LeaseTooLong { stretched, deadtime: t.deadtime });
        }
        if self.links.is_empty() {
            note(ConfigError::NoLink);
        }
        for (i, &kind) in self.links.iter().enumerate() {
            if let LinkKind::Serial { baud } = kind {
                let (needed, allowed) = self.serial_load(LinkId(i as u8), baud);
                if needed > allowed {
                    note(ConfigError::SerialTooSlow { link: i as u8, baud, needed, allowed });
                }
            }
        }
        self.arbiter_problems().into_iter().flatten().for_each(&mut note);
        if !self.me.is_node() || self.groups.iter().any(|group| !group.home.is_node()) {
            note(ConfigError::NotANode);
        }
        for (i, group) in self.groups.iter().enumerate() {
            if group.resources.is_empty() {
                note(ConfigError::EmptyGroup { group: i as u8 });
            }
        }
        found
    }

    fn arbiter_problems(&self) -> [Option<ConfigError>; 3] {
        let Some(arbiter) = self.arbiter else { return [None; 3] };
        let serial = |kind: &LinkKind| matches!(kind, LinkKind::Serial { .. });
        let line = self.links.get(arbiter.link.index());
        [
            (!line.is_some_and(serial)).then_some(ConfigError::ArbiterLink),
            self.links.iter().all(serial).then_some(ConfigError::ArbiterAlone),
            (self.timing.guard == Duration::ZERO).then_some(ConfigError::NoGuard),
        ]
    }

    /// Time that one keepalive's frames occupy a line of `baud`, and the most they may (protocol.md §3).
    ///
    /// Alone on the line a node sends its own status; the arbiter's line carries the peer's forwarded
    /// status and the arbiter's as well.
    #[must_use]
    pub fn serial_load(&self, link: LinkId, baud: u32) -> (Duration, Duration) {
        let shared = self.arbiter.is_some_and(|arbiter| arbiter.link == link);
        let bytes = if shared {
            2 * STATUS_SERIAL_BYTES + ARBITER_SERIAL_BYTES
        } else {
            STATUS_SERIAL_BYTES
        };
        (LinkKind::Serial { baud }.time_on_line(bytes), self.timing.keepalive.percent(50))
    }

    /// A request's way to the arbiter and its answer's, on a line that is idle.
    #[must_use]
    pub fn way(&self) -> Duration {
        let line = self.arbiter.and_then(|arbiter| self.links.get(arbiter.link.index()));
        let both = STATUS_SERIAL_BYTES + ARBITER_SERIAL_BYTES;
        line.map_or(Duration::ZERO, |line| line.time_on_line(both))
    }

    /// The failover budget of one group; `None` for a group that doesn't exist.
    #[must_use]
    pub fn budget(&self, group: usize) -> Option<Budget> {
        let group = self.groups.get(group)?;
        let start = group.resources.iter().fold(Duration::ZERO, |sum, kind| {
            sum + match kind {
                ResourceKind::Address => self.patience.address_allowance,
                ResourceKind::Script => self.patience.script_allowance,
            }
        });
        // Without a fence the promises to the dead must end first (protocol.md §3).
        let detection = match self.arbiter {
            None => self.timing.deadtime,
            Some(ArbiterConfig { fence: Some(fence), .. }) => {
                self.timing.deadtime_by_any_clock() + fence
            }
            Some(_) => self.timing.deadtime.max(self.timing.full_by_any_clock()) + self.way(),
        };
        Some(Budget { detection, start, announce: self.patience.announce_allowance })
    }
}
