//! What the arbiter says: its own status and hello (protocol.md §4, §5).
//!
//! | bytes | the arbiter's status on a serial line: what each is for |
//! |---|---|
//! | 1 | COBS overhead |
//! | 9 | header, as in every frame; the link is the port that it leaves by |
//! | 7 | echo of A and of B, 28 bits each |
//! | 4 | promisee of 16 groups, 2 bits each |
//! | 2 × 5 | A and B as it sees them: newest life (3), silence in units of 10 ms (1), flags (1) |
//! | 4 | uptime, seconds |
//! | 1 | why it last reset (4 bits), off schedule, asks A for a hello, asks B |
//! | 8 | tag |
//! | 1 | delimiter |
//!
//! 45 in all, whatever the values; 48 are allowed.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{
    Echo, GroupState, GroupStates, Header, MIN_VERSION, Opened, Status, read_28_bits, seal,
    write_28_bits,
};
use crate::config::MAX_GROUPS;
use crate::id::{BootId, GroupId, Voter};
use crate::time::Duration;
use crate::wire::auth::{Key, KeyRing};
use crate::wire::fields::{Reader, Writer, packed};
use crate::wire::{MAX_FRAME, Reject};

const KIND_STATUS: u8 = 3;
pub(super) const KIND_HELLO: u8 = 4;

/// Longest status of an arbiter on a serial line (protocol.md §4).
pub const ARBITER_SERIAL_BYTES: usize = 48;

/// Whom the arbiter shows as bound to for one group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Shown {
    /// Nothing is promised.
    #[default]
    Nobody = 0,
    /// A promise to A that the echoed frame of A renewed (R6).
    A = 1,
    /// A promise to B that the echoed frame of B renewed.
    B = 2,
    /// A promise stands, and nobody may count it: to *unknown* (R8), or not renewed by what is echoed.
    Withheld = 3,
}

impl Shown {
    /// A promise to this node; the arbiter itself never gets one.
    #[must_use]
    pub const fn to(node: Voter) -> Self {
        match node {
            Voter::A => Self::A,
            Voter::B => Self::B,
            Voter::Arbiter => Self::Withheld,
        }
    }

    /// The node that may count it.
    #[must_use]
    pub const fn promisee(self) -> Option<Voter> {
        match self {
            Self::A => Some(Voter::A),
            Self::B => Some(Voter::B),
            Self::Nobody | Self::Withheld => None,
        }
    }
}

/// What is shown for all groups, two bits each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Promisees([u8; MAX_GROUPS / 4]);

impl Promisees {
    /// From [`Promisees::bytes`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; MAX_GROUPS / 4]) -> Self {
        Self(bytes)
    }

    /// As they travel: the first group in the lowest bits of the first byte.
    #[must_use]
    pub const fn bytes(self) -> [u8; MAX_GROUPS / 4] {
        self.0
    }

    /// What is shown for one group; nothing beyond the last.
    #[must_use]
    pub fn shown(&self, group: GroupId) -> Shown {
        match self.0.get(group.index() / 4).map_or(0, |byte| byte >> (group.0 % 4 * 2) & 3) {
            1 => Shown::A,
            2 => Shown::B,
            3 => Shown::Withheld,
            _ => Shown::Nobody,
        }
    }

    /// Sets one group; groups beyond the last are left out.
    pub fn set(&mut self, group: GroupId, shown: Shown) {
        if let Some(byte) = self.0.get_mut(group.index() / 4) {
            let shift = group.0 % 4 * 2;
            *byte = *byte & !(3 << shift) | (shown as u8) << shift;
        }
    }

    /// As the group states that `node` would read in another node's status: promised to it, or nothing.
    #[must_use]
    pub fn states_for(&self, node: Voter) -> GroupStates {
        let mut states = GroupStates::default();
        for group in (0..MAX_GROUPS as u8).map(GroupId) {
            if self.shown(group).promisee() == Some(node) {
                states.set(group, GroupState::Promised);
            }
        }
        states
    }
}

/// What became of the last reset pulse for a node (R12).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FenceShown {
    /// None for the life shown.
    #[default]
    None = 0,
    /// Pulsed, and nothing proves yet that the node went down: nothing ends early.
    Sent = 1,
    /// The life shown is over: there is evidence.
    Confirmed = 2,
}

/// The reset line to a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LineShown {
    /// Not proved by a test: never pulsed.
    #[default]
    Untested = 0,
    /// Proved by a test.
    Commissioned = 1,
    /// A pulse hit another machine: never pulsed again until tested anew.
    Miswired = 2,
}

impl LineShown {
    /// From what it is as a number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Untested),
            1 => Some(Self::Commissioned),
            2 => Some(Self::Miswired),
            _ => None,
        }
    }
}

/// One node, as the arbiter sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeSeen {
    /// Its newest life that is known.
    pub boot: Option<BootId>,
    /// Silent for so many times 10 ms; 255 is that or longer, or never heard.
    pub silent_10ms: u8,
    /// Heard within deadtime, directly or by relay.
    pub heard: bool,
    /// Heard within deadtime on its own line.
    pub direct: bool,
    /// It armed the external watchdog (R13).
    pub armed: bool,
    /// It feeds the arbiter with power.
    pub feeds: bool,
    /// What became of the last pulse.
    pub fence: FenceShown,
    /// Its reset line.
    pub line: LineShown,
}

const HEARD: u8 = 1;
const DIRECT: u8 = 1 << 1;
const ARMED: u8 = 1 << 2;
const FEEDS: u8 = 1 << 3;
const FENCE_SHIFT: u8 = 4;
const LINE_SHIFT: u8 = 6;

impl NodeSeen {
    /// The figure for a silence.
    #[must_use]
    pub fn silence(span: Option<Duration>) -> u8 {
        let tens =
            span.and_then(|span| u32::try_from(span.millis()).ok()).map(|millis| millis / 10);
        tens.and_then(|tens| u8::try_from(tens).ok()).unwrap_or(u8::MAX)
    }

    #[inline(never)]
    fn flags(&self) -> u8 {
        let flags = packed(&[self.heard, self.direct, self.armed, self.feeds]);
        flags | (self.fence as u8) << FENCE_SHIFT | (self.line as u8) << LINE_SHIFT
    }

    /// What of it nodes should know at once when it changes.
    pub(crate) fn news(&self) -> u8 {
        self.flags() & !(ARMED | FEEDS)
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.u24(self.boot.map_or(0, BootId::value));
        to.u8(self.silent_10ms);
        to.u8(self.flags());
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let (boot, silent_10ms, flags) = (BootId::new(from.u24()), from.u8(), from.u8());
        let has = |bit| flags & bit != 0;
        Self {
            boot,
            silent_10ms,
            heard: has(HEARD),
            direct: has(DIRECT),
            armed: has(ARMED),
            feeds: has(FEEDS),
            fence: from.meant(match flags >> FENCE_SHIFT & 3 {
                0 => Some(FenceShown::None),
                1 => Some(FenceShown::Sent),
                2 => Some(FenceShown::Confirmed),
                _ => None,
            }),
            line: from.meant(LineShown::from_code(flags >> LINE_SHIFT)),
        }
    }
}

/// Why the arbiter last reset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ResetReason {
    /// Nobody knows: counts as a loss of power.
    #[default]
    Unknown = 0,
    /// Power came.
    PowerOn = 1,
    /// Power dipped.
    BrownOut = 2,
    /// Its own watchdog.
    Watchdog = 3,
    /// Its program, a panic included.
    Software = 4,
    /// Its reset pin.
    Pin = 5,
}

impl ResetReason {
    /// Whether power stayed: it can't have been in another place meanwhile, and its memory is of here.
    #[must_use]
    pub const fn kept_power(self) -> bool {
        matches!(self, Self::Watchdog | Self::Software | Self::Pin)
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Unknown,
            1 => Self::PowerOn,
            2 => Self::BrownOut,
            3 => Self::Watchdog,
            4 => Self::Software,
            5 => Self::Pin,
            _ => return None,
        })
    }
}

const FLAGS_SHIFT: u8 = 4;
const OFF_SCHEDULE: u8 = 1 << FLAGS_SHIFT;
/// Of A; the next bit is B's.
const WANTS_HELLO: u8 = 1 << 5;
const WANTS_HELLO_OF_B: u8 = 1 << 6;
const ALL_FLAGS: u8 = 0x0F | OFF_SCHEDULE | WANTS_HELLO | WANTS_HELLO_OF_B;

/// The arbiter's heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ArbiterStatus {
    /// Newest status processed from A and from B.
    pub echoes: [Option<Echo>; 2],
    /// Whom it is bound to, group by group.
    pub promisees: Promisees,
    /// A and B as it sees them.
    pub nodes: [NodeSeen; 2],
    /// Seconds since its life began.
    pub uptime_s: u32,
    /// Why it last reset.
    pub reset: ResetReason,
    /// Sent between two keepalives because something changed.
    pub off_schedule: bool,
    /// It hears A, or B, and lacks the hello of its present life.
    pub wants_hello: [bool; 2],
}

impl ArbiterStatus {
    /// This status as the status that `node` would read from a node: what the shared rules work with.
    #[must_use]
    pub fn for_node(&self, node: Voter) -> Status {
        Status {
            echoes: self.echoes,
            groups: self.promisees.states_for(node),
            off_schedule: self.off_schedule,
            wants_hello: self.wants_hello.get(node.index()).is_some_and(|&wants| wants),
            ..Status::default()
        }
    }
}

/// What of the arbiter changes rarely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ArbiterSettings {
    /// Oldest version it understands.
    pub min_version: u8,
    /// Newest version it speaks.
    pub current_version: u8,
    /// Its own number: two nodes agree on their arbiter by it. Not 0.
    pub id: u32,
    /// The lease that its promises allow for, milliseconds.
    pub lease_ms: u32,
    /// The guard in force, milliseconds; [`u32::MAX`] is unbounded (R10).
    pub guard_ms: u32,
    /// The silence after which it would fence, milliseconds.
    pub deadtime_ms: u32,
    /// The drift that its promises allow for, percent.
    pub drift_percent: u8,
    /// Number of the key that it signs with: old keys go when all voters show the new one (R14).
    pub key: u8,
    /// The haresources that its promises are about; zeros for none.
    pub haresources: [u8; 8],
}

impl ArbiterSettings {
    /// Settings of arbiter `id`; the rest zero.
    #[must_use]
    pub const fn new(id: u32) -> Self {
        Self {
            min_version: MIN_VERSION,
            current_version: super::CURRENT_VERSION,
            id,
            lease_ms: 0,
            guard_ms: 0,
            deadtime_ms: 0,
            drift_percent: 0,
            key: 0,
            haresources: [0; 8],
        }
    }
}

/// A status with what changes rarely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ArbiterHello {
    /// As in a status frame.
    pub status: ArbiterStatus,
    /// Its settings.
    pub settings: ArbiterSettings,
}

/// The body of a frame of the arbiter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArbiterMessage {
    /// A heartbeat.
    Status(ArbiterStatus),
    /// A heartbeat with settings.
    Hello(ArbiterHello),
}

impl ArbiterMessage {
    /// The status that every message carries.
    #[must_use]
    pub const fn status(&self) -> &ArbiterStatus {
        match self {
            Self::Status(status) => status,
            Self::Hello(hello) => &hello.status,
        }
    }
}

impl ArbiterStatus {
    fn write(&self, to: &mut Writer<'_>) {
        let [a, b] = self.wants_hello;
        write_28_bits(self.echoes.map(Echo::bits), to);
        to.put(&self.promisees.0);
        self.nodes.iter().for_each(|node| node.write(to));
        to.u32(self.uptime_s);
        to.u8(self.reset as u8 | packed(&[self.off_schedule, a, b]) << FLAGS_SHIFT);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let echoes = read_28_bits(from).map(Echo::from_bits);
        let promisees = Promisees(from.bytes());
        let nodes = [NodeSeen::read(from), NodeSeen::read(from)];
        let (uptime_s, flags) = (from.u32(), from.u8());
        from.meant((flags & !ALL_FLAGS == 0).then_some(()));
        Self {
            echoes,
            promisees,
            nodes,
            uptime_s,
            reset: from.meant(ResetReason::from_code(flags & 0x0F)),
            off_schedule: flags & OFF_SCHEDULE != 0,
            wants_hello: [WANTS_HELLO, WANTS_HELLO_OF_B].map(|bit| flags & bit != 0),
        }
    }
}

/// Writes a sealed frame of [`super::CURRENT_VERSION`] into `buf`; its length.
///
/// # Panics
/// Never: [`MAX_FRAME`] holds every message with worst-case values, which a test asserts.
#[must_use]
pub fn encode<const N: usize>(
    header: &Header,
    message: &ArbiterMessage,
    keys: &KeyRing<N>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    encode_in(super::CURRENT_VERSION, header, message, keys, buf)
}

/// As [`encode`], in any version that this program speaks.
///
/// # Panics
/// Never, as [`encode`].
#[must_use]
pub fn encode_in<const N: usize>(
    version: u8,
    header: &Header,
    message: &ArbiterMessage,
    keys: &KeyRing<N>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    let settings = match message {
        ArbiterMessage::Status(_) => None,
        ArbiterMessage::Hello(hello) => Some(&hello.settings),
    };
    Body::new(message.status(), settings).encode_in(version, header, keys.signing(), buf)
}

/// Longest body: a hello's.
const MAX_BODY: usize = 26 + 2 + 4 * 5 + 2 + 8;

/// An arbiter's status or hello, written already: the same for both ports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Body {
    kind: u8,
    bytes: Vec<u8, MAX_BODY>,
}

impl Body {
    /// Of a status, or with settings of a hello.
    pub(crate) fn new(status: &ArbiterStatus, settings: Option<&ArbiterSettings>) -> Self {
        let mut bytes = Vec::new();
        // As long as it can be.
        let _ = bytes.resize_default(MAX_BODY);
        let mut to = Writer { buf: &mut bytes, at: 0 };
        status.write(&mut to);
        if let Some(settings) = settings {
            to.postcard(settings);
        }
        let len = to.at;
        bytes.truncate(len);
        Self { kind: if settings.is_some() { KIND_HELLO } else { KIND_STATUS }, bytes }
    }

    /// The frame around it; its length.
    pub(crate) fn encode_in(
        &self,
        version: u8,
        header: &Header,
        key: &Key,
        buf: &mut [u8; MAX_FRAME],
    ) -> usize {
        let len = self.bytes.len();
        buf[super::HEADER_LEN..][..len].copy_from_slice(&self.bytes);
        let len = super::append_invented(version, self.kind == KIND_HELLO, len, buf);
        seal(version, header, self.kind, len, key, buf)
    }
}

impl Opened<'_> {
    /// Decodes the body of an arbiter's frame.
    ///
    /// # Errors
    /// [`Reject::Decode`], [`Reject::Trailing`] or [`Reject::Meaning`].
    pub fn arbiter_message(&self) -> Result<ArbiterMessage, Reject> {
        let mut from = Reader::new(self.body);
        let status = ArbiterStatus::read(&mut from);
        let message = match self.kind {
            KIND_STATUS => ArbiterMessage::Status(status),
            KIND_HELLO => {
                let settings: ArbiterSettings = from.postcard().ok_or(Reject::Decode)?;
                from.meant((settings.id != 0).then_some(()));
                ArbiterMessage::Hello(ArbiterHello { status, settings })
            }
            _ => return Err(Reject::Decode),
        };
        from.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
