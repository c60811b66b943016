//! What of a node changes rarely.

use serde::{Deserialize, Serialize};

use super::{CURRENT_VERSION, MIN_VERSION, PackedStatus, Status, from_three, three_bytes};
use crate::config::Digests;
use crate::id::BootId;
use crate::time::Duration;
use crate::wire::Reject;

/// What changes rarely, at the end of a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub struct Settings {
    /// Oldest version the sender understands.
    pub min_version: u8,
    /// Newest version it speaks.
    pub current_version: u8,
    /// Between two of its status frames, milliseconds.
    pub keepalive_ms: u32,
    /// Its deadtime, milliseconds.
    pub deadtime_ms: u32,
    /// The lease that its promises allow for, milliseconds.
    pub lease_ms: u32,
    /// The guard that its promises allow for, milliseconds.
    pub guard_ms: u32,
    /// The dongle it is configured with.
    pub arbiter: Option<u32>,
    /// Digest of haresources.
    pub haresources: [u8; 8],
    /// Digest of the other settings.
    pub settings: [u8; 8],
}

impl Settings {
    /// Settings with these digests; the rest zero or absent.
    #[must_use]
    pub const fn new(digests: Digests) -> Self {
        Self {
            min_version: MIN_VERSION,
            current_version: CURRENT_VERSION,
            keepalive_ms: 0,
            deadtime_ms: 0,
            lease_ms: 0,
            guard_ms: 0,
            arbiter: None,
            haresources: digests.haresources.to_le_bytes(),
            settings: digests.settings.to_le_bytes(),
        }
    }

    /// The digests.
    #[must_use]
    pub const fn digests(&self) -> Digests {
        Digests {
            haresources: u64::from_le_bytes(self.haresources),
            settings: u64::from_le_bytes(self.settings),
        }
    }
}

/// Answers the last hello that came by the link which this one leaves by: gives that link's round trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct HelloEcho {
    /// Sequence number of that hello.
    pub seq: u32,
    /// How long ago it came, microseconds.
    pub held_us: u32,
}

impl HelloEcho {
    fn from_bytes(bytes: [[u8; 4]; 2]) -> Option<Self> {
        let [seq, held_us] = bytes.map(u32::from_le_bytes);
        (seq != 0).then_some(Self { seq, held_us })
    }
}

/// A status with what changes rarely. Replaces every tenth status, and goes out at once when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Hello {
    /// As in a status frame.
    pub status: Status,
    /// The sender's settings.
    pub settings: Settings,
    /// Groups (one bit each) that the sender doesn't ask for though it could: standby, or a failed start.
    pub declines: u16,
    /// Those of [`Hello::declines`] whose start failed.
    pub failed: u16,
    /// Groups that the sender wants handed over: failback, or an operator's takeover.
    pub wants: u16,
    /// The receiver's newest life that the sender knows of: whoever reads an id of its own above its
    /// present one has lost count and restarts above it (R9).
    pub knows: Option<BootId>,
    /// Round trip on this link.
    pub echo: Option<HelloEcho>,
    /// What only an arbiter needs: present in the hellos of a node that has one configured.
    pub for_arbiter: Option<ForArbiter>,
}

/// The tail of a hello that only an arbiter needs: it has no configuration of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ForArbiter {
    /// Groups (one bit each) whose home is node B: of two that ask, the home is preferred (R4).
    pub homes_b: u16,
    /// The arbiter's newest life that the sender knows of: a spare begins above it (R9).
    pub knows: Option<BootId>,
    /// The sender couldn't run anything now: nobody whose promise it could count is there. Nothing should
    /// be handed over to it.
    pub voteless: bool,
    /// The longest that a promise may last which somebody gave before the sender can tell: by the terms of
    /// its own former lives, and of its peer (R8).
    pub longest: Duration,
}

#[derive(Serialize, Deserialize)]
pub(super) struct PackedHello {
    status: PackedStatus,
    settings: Settings,
    declines: [u8; 2],
    failed: [u8; 2],
    wants: [u8; 2],
    knows: [u8; 3],
    /// Number and holding time; number 0 for none. Of fixed size, so that no figure for people changes
    /// how long a frame occupies the line.
    echo: [[u8; 4]; 2],
}

#[derive(Serialize, Deserialize)]
pub(super) struct PackedForArbiter {
    homes_b: [u8; 2],
    knows: [u8; 3],
    flags: u8,
    longest_ms: u32,
}

const VOTELESS: u8 = 1;

impl From<&ForArbiter> for PackedForArbiter {
    fn from(tail: &ForArbiter) -> Self {
        Self {
            homes_b: tail.homes_b.to_le_bytes(),
            knows: three_bytes(tail.knows.map_or(0, BootId::value)),
            flags: if tail.voteless { VOTELESS } else { 0 },
            longest_ms: ms_of_duration(tail.longest),
        }
    }
}

impl PackedForArbiter {
    pub(super) fn unpack(&self) -> Result<ForArbiter, Reject> {
        if self.flags & !VOTELESS != 0 {
            return Err(Reject::Meaning);
        }
        Ok(ForArbiter {
            homes_b: u16::from_le_bytes(self.homes_b),
            knows: BootId::new(from_three(self.knows)),
            voteless: self.flags & VOTELESS != 0,
            longest: duration_of_ms(self.longest_ms),
        })
    }
}

impl From<&Hello> for PackedHello {
    fn from(hello: &Hello) -> Self {
        let echo = hello.echo.map(|echo| [echo.seq, echo.held_us].map(u32::to_le_bytes));
        Self {
            status: PackedStatus::from(&hello.status),
            settings: hello.settings,
            declines: hello.declines.to_le_bytes(),
            failed: hello.failed.to_le_bytes(),
            wants: hello.wants.to_le_bytes(),
            knows: three_bytes(hello.knows.map_or(0, BootId::value)),
            echo: echo.unwrap_or([[0; 4]; 2]),
        }
    }
}

impl PackedHello {
    pub(super) fn unpack(self, for_arbiter: Option<ForArbiter>) -> Result<Hello, Reject> {
        Ok(Hello {
            status: self.status.unpack()?,
            settings: self.settings,
            declines: u16::from_le_bytes(self.declines),
            failed: u16::from_le_bytes(self.failed),
            wants: u16::from_le_bytes(self.wants),
            knows: BootId::new(from_three(self.knows)),
            echo: HelloEcho::from_bytes(self.echo),
            for_arbiter,
        })
    }
}

/// Milliseconds as a hello says them, rounded up: who binds itself by them must not be bound too briefly.
/// What doesn't fit is unbounded (R10).
#[must_use]
pub fn ms_of_duration(span: Duration) -> u32 {
    u32::try_from(span.whole_millis().millis()).unwrap_or(u32::MAX)
}

/// A time as a hello said it.
#[must_use]
pub const fn duration_of_ms(ms: u32) -> Duration {
    if ms == u32::MAX { Duration::MAX } else { Duration::from_millis(ms as u64) }
}
