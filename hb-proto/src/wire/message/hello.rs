//! What of a node changes rarely.

use serde::{Deserialize, Serialize};

use super::{CURRENT_VERSION, MIN_VERSION, Status};
use crate::config::Digests;
use crate::id::BootId;
use crate::time::{Duration, Millis};
use crate::wire::fields::{Reader, Writer};

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

const VOTELESS: u8 = 1;

impl ForArbiter {
    fn write(&self, to: &mut Writer<'_>) {
        to.u16(self.homes_b);
        to.u24(self.knows.map_or(0, BootId::value));
        to.u8(if self.voteless { VOTELESS } else { 0 });
        to.postcard(&ms_of_duration(self.longest));
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let (homes_b, knows, flags) = (from.u16(), BootId::new(from.u24()), from.u8());
        from.meant((flags & !VOTELESS == 0).then_some(()));
        let longest = duration_of_ms(from.postcard().unwrap_or(0));
        Self { homes_b, knows, voteless: flags & VOTELESS != 0, longest }
    }
}

impl Hello {
    /// What stands behind the status: the settings as postcard has them, then what is of fixed size, so that no figure
    /// for people changes how long a frame occupies the line.
    pub(super) fn write_rest(&self, to: &mut Writer<'_>) {
        to.postcard(&self.settings);
        for groups in [self.declines, self.failed, self.wants] {
            to.u16(groups);
        }
        to.u24(self.knows.map_or(0, BootId::value));
        // Number 0 for none.
        to.u32(self.echo.map_or(0, |echo| echo.seq));
        to.u32(self.echo.map_or(0, |echo| echo.held_us));
        if let Some(tail) = &self.for_arbiter {
            tail.write(to);
        }
    }

    /// None if its settings are no encoding of any.
    pub(super) fn read_rest(
        status: Status,
        for_arbiter: bool,
        from: &mut Reader<'_>,
    ) -> Option<Self> {
        let settings = from.postcard()?;
        let (declines, failed, wants) = (from.u16(), from.u16(), from.u16());
        let knows = BootId::new(from.u24());
        let (seq, held_us) = (from.u32(), from.u32());
        Some(Self {
            status,
            settings,
            declines,
            failed,
            wants,
            knows,
            echo: (seq != 0).then_some(HelloEcho { seq, held_us }),
            for_arbiter: for_arbiter.then(|| ForArbiter::read(from)),
        })
    }
}

/// Milliseconds as a hello says them, rounded up: who binds itself by them must not be bound too briefly.
/// What doesn't fit is unbounded (R10).
#[must_use]
pub fn ms_of_duration(span: Duration) -> u32 {
    Millis::of(span).0
}

/// A time as a hello said it.
#[must_use]
pub const fn duration_of_ms(ms: u32) -> Duration {
    Millis(ms).span()
}
