//! What travels: a header, and a status or a hello; the arbiter has kinds of its own ([`arbiter`]).
//!
//! How messages may change (hold these rules when editing, they keep a pair upgradable one node at a time):
//!
//! 1. The first byte's version grows with every change that an older program would misread or refuse.
//! 2. A program understands [`CURRENT_VERSION`] and [`MIN_VERSION`] = the one before. It speaks the newest that
//!    everybody understands whom it hears ([`Versions::to_speak`]), so nothing that safety rests on may need it.
//! 3. Fields are never reordered, resized or given a new meaning within a version.
//! 4. New rarely-changing fields go to the end of [`Hello`] in a new version, never into [`Status`]
//!    unless it still fits its 32 bytes on the line.
//! 5. Golden vectors (`tests/golden.rs`) are only ever added to.
//!
//! | bytes | status frame on a serial line: what each is for |
//! |---|---|
//! | 1 | COBS overhead |
//! | 1 | version (3 bits), sender (2), the sender's link (3) |
//! | 1 | kind (4 bits), number of the signing key (4) |
//! | 3 | boot id of the sender's life |
//! | 4 | sequence number within that life |
//! | 1 | set of the receiver's links that the sender hears |
//! | 7 | echo of each of the two other voters: 8 low bits of boot id, 20 of sequence number |
//! | 4 | state of 16 groups, 2 bits each |
//! | 1 | life (2 bits), off schedule, asks for a hello, fence, armed, direct, hears the arbiter |
//! | 8 | tag |
//! | 1 | delimiter |
//!
//! 32 in all, whatever the values: every field has a fixed size.

pub mod arbiter;
mod hello;
mod version;

#[cfg(feature = "mutants")]
pub use version::INVENTED_VERSION;
pub use version::{CURRENT_VERSION, MIN_VERSION, Versions};

pub use hello::{ForArbiter, Hello, HelloEcho, Settings, duration_of_ms, ms_of_duration};

use super::auth::{Key, KeyRing};
use super::fields::{Reader, Writer, packed};
use super::{MAX_FRAME, Reject};
use crate::config::MAX_GROUPS;
use crate::id::{BootId, GroupId, LinkId, Voter};

/// Bytes of the header.
pub const HEADER_LEN: usize = 9;

/// Bytes of a status' body.
pub const STATUS_LEN: usize = 13;

const KIND_STATUS: u8 = 1;
const KIND_HELLO: u8 = 2;
/// A hello of a node with an arbiter: has a tail for it.
const KIND_HELLO_FOR_ARBITER: u8 = 5;

/// Who sent a frame, by which link, in which life, and when in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Who.
    pub sender: Voter,
    /// By which of the sender's own links.
    pub link: LinkId,
    /// In which life.
    pub boot: BootId,
    /// Which frame of that life. Never 0, nor any number whose low 20 bits are 0 (see [`Echo`]).
    pub seq: u32,
}

/// Names the newest status that a voter processed from another one: what makes a frame *fresh* (protocol.md §2).
///
/// Carries the low bits only. They name a frame of the last 2²⁰ (29 hours at 100 ms) in one of 256
/// successive lives; anything older than `lease` is of no use to an echo anyway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Echo(u32);

const ECHO_SEQ_BITS: u32 = 20;
const ECHO_SEQ_MASK: u32 = (1 << ECHO_SEQ_BITS) - 1;

impl Echo {
    /// The echo of frame `seq` of life `boot`.
    #[must_use]
    pub const fn of(boot: BootId, seq: u32) -> Self {
        Self((boot.value() & 0xFF) << ECHO_SEQ_BITS | seq & ECHO_SEQ_MASK)
    }

    /// Whether this names a frame of `boot` that a life which has come to `newest` has not sent: somebody
    /// else uses, or used, the same number of life. Told only while `newest` is small enough to tell.
    #[must_use]
    pub const fn is_ahead_of(self, boot: BootId, newest: u32) -> bool {
        let (life, seq) = (self.0 >> ECHO_SEQ_BITS, self.0 & ECHO_SEQ_MASK);
        life == boot.value() & 0xFF && newest <= ECHO_SEQ_MASK / 2 && seq > newest
    }

    /// What is told of the life that is echoed: the low byte of its number.
    #[must_use]
    pub const fn life(self) -> u8 {
        (self.0 >> ECHO_SEQ_BITS) as u8
    }

    /// What an echo of a frame of `boot` tells of that life.
    #[must_use]
    pub const fn life_of(boot: BootId) -> u8 {
        (boot.value() & 0xFF) as u8
    }

    /// Whether this echoes frame `seq` of life `boot`.
    #[must_use]
    pub const fn names(self, boot: BootId, seq: u32) -> bool {
        self.0 == Self::of(boot, seq).0
    }
}

/// The frame number after `seq`; `None` at the end of the numbers, before which a new life must begin.
///
/// Leaves out numbers whose low 20 bits are 0: with a boot id ending in 0 their echo would read as none.
#[must_use]
pub const fn next_seq(seq: u32) -> Option<u32> {
    let Some(next) = seq.checked_add(1) else { return None };
    if next & ECHO_SEQ_MASK == 0 { next.checked_add(1) } else { Some(next) }
}

/// One voter's standing in one group, as it shows it (protocol.md R3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GroupState {
    /// Neither asks, runs, nor shows a promise: a fresh one releases (R5).
    #[default]
    Idle = 0,
    /// Asks for the others' promise.
    Asking = 1,
    /// Runs it, from just before the first start until every stop is confirmed; asks too.
    Running = 2,
    /// Shows a promise: the frame that this one echoes renewed it (R6).
    Promised = 3,
}

impl GroupState {
    /// Whether a frame with this state asks for promises (running asks too).
    #[must_use]
    pub const fn asks(self) -> bool {
        matches!(self, Self::Asking | Self::Running)
    }
}

/// The states of all groups, two bits each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct GroupStates([u8; MAX_GROUPS / 4]);

impl GroupStates {
    /// State of one group; idle beyond the last.
    #[must_use]
    pub fn state(&self, group: GroupId) -> GroupState {
        let bits = self.0.get(group.index() / 4).map_or(0, |byte| byte >> (group.0 % 4 * 2) & 3);
        match bits {
            1 => GroupState::Asking,
            2 => GroupState::Running,
            3 => GroupState::Promised,
            _ => GroupState::Idle,
        }
    }

    /// Sets the state of one group; groups beyond the last are left out.
    pub fn set(&mut self, group: GroupId, state: GroupState) {
        if let Some(byte) = self.0.get_mut(group.index() / 4) {
            let shift = group.0 % 4 * 2;
            *byte = *byte & !(3 << shift) | (state as u8) << shift;
        }
    }
}

/// What a life says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Life {
    /// In service.
    #[default]
    Up = 0,
    /// Gives up its groups, one after the other, and takes none.
    Leaving = 1,
    /// Has given up everything and goes: no deadtime need be waited.
    Left = 2,
}

const LIFE_BITS: u8 = 0b11;
const FLAGS_SHIFT: u8 = 2;
const OFF_SCHEDULE: u8 = 1 << 2;
const WANTS_HELLO: u8 = 1 << 3;
const FENCE: u8 = 1 << 4;
const ARMED: u8 = 1 << 5;
const DIRECT: u8 = 1 << 6;
const HEARS_ARBITER: u8 = 1 << 7;

/// The heartbeat itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Status {
    /// The receiver's links (bits by the receiver's own numbers) on which the sender hears it.
    pub hears: u8,
    /// Newest status processed from each of the other two voters, in [`Voter`] order.
    pub echoes: [Option<Echo>; 2],
    /// Standing in every group.
    pub groups: GroupStates,
    /// The sender's life.
    pub life: Life,
    /// Sent between two keepalives because something changed; says nothing of the link's jitter.
    pub off_schedule: bool,
    /// The sender has no hello of this life of the receiver yet.
    pub wants_hello: bool,
    /// R12: asks the arbiter to reset the peer in this life. The request travels in place of the echo of
    /// the peer, which has been silent for deadtime: an echo that old is of no use (protocol.md §5).
    pub fence: Option<BootId>,
    /// R13: the arbiter may reset the sender when it falls silent.
    pub armed: bool,
    /// This copy leaves by the sender's line to the arbiter: whoever gets it elsewhere got it relayed.
    pub direct: bool,
    /// The sender hears the arbiter by its own line: nobody need relay its frames.
    pub hears_arbiter: bool,
}

impl Status {
    /// The slot of [`Status::echoes`] in which `sender` puts its echo of `of`.
    #[must_use]
    pub const fn echo_slot(sender: Voter, of: Voter) -> usize {
        let skip = if of.index() > sender.index() { 1 } else { 0 };
        of.index() - skip
    }
}

/// The body of a frame of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Message {
    /// A heartbeat.
    Status(Status),
    /// A heartbeat with settings.
    Hello(Hello),
}

impl Message {
    /// The status that every message carries.
    #[must_use]
    pub const fn status(&self) -> &Status {
        match self {
            Self::Status(status) => status,
            Self::Hello(hello) => &hello.status,
        }
    }

    /// The copy that leaves by the line to the arbiter, or one of the others.
    #[must_use]
    pub const fn leaving_by(self, arbiters_line: bool) -> Self {
        match self {
            Self::Status(status) => Self::Status(Status { direct: arbiters_line, ..status }),
            Self::Hello(hello) => {
                let status = Status { direct: arbiters_line, ..hello.status };
                Self::Hello(Hello { status, ..hello })
            }
        }
    }
}

/// Two echoes.
fn write_28_bits([first, second]: [u32; 2], to: &mut Writer<'_>) {
    to.u32(first | second << 28);
    to.u24(second >> 4);
}

fn read_28_bits(from: &mut Reader<'_>) -> [u32; 2] {
    let (low, high) = (from.u32(), from.u24());
    [low & 0x0FFF_FFFF, low >> 28 | high << 4]
}

impl Echo {
    fn bits(echo: Option<Self>) -> u32 {
        echo.map_or(0, |echo| echo.0)
    }

    fn from_bits(bits: u32) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }
}

impl Status {
    fn write(&self, to: &mut Writer<'_>) {
        let flags = [
            self.off_schedule,
            self.wants_hello,
            self.fence.is_some(),
            self.armed,
            self.direct,
            self.hears_arbiter,
        ];
        to.u8(self.hears);
        let [peer, arbiter] = self.echoes.map(Echo::bits);
        write_28_bits([self.fence.map_or(peer, BootId::value), arbiter], to);
        to.put(&self.groups.0);
        to.u8(self.life as u8 | packed(&flags) << FLAGS_SHIFT);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let hears = from.u8();
        let [peer, arbiter] = read_28_bits(from);
        let groups = GroupStates(from.bytes());
        let flags = from.u8();
        let life = from.meant(match flags & LIFE_BITS {
            0 => Some(Life::Up),
            1 => Some(Life::Leaving),
            2 => Some(Life::Left),
            _ => None,
        });
        let has = |bit| flags & bit != 0;
        // It stands in place of the echo, and leaves four of its bits free.
        let fence = has(FENCE).then(|| BootId::new(peer));
        let peer = if fence.is_some() { None } else { Echo::from_bits(peer) };
        Self {
            hears,
            echoes: [peer, Echo::from_bits(arbiter)],
            groups,
            life,
            off_schedule: has(OFF_SCHEDULE),
            wants_hello: has(WANTS_HELLO),
            fence: fence.and_then(|boot| from.meant(boot.map(Some))),
            armed: has(ARMED),
            direct: has(DIRECT),
            hears_arbiter: has(HEARS_ARBITER),
        }
    }
}

/// Writes a sealed frame of [`CURRENT_VERSION`] into `buf`; its length.
///
/// # Panics
/// Never: [`MAX_FRAME`] holds every message with worst-case values, which a test asserts.
#[must_use]
pub fn encode<const N: usize>(
    header: &Header,
    message: &Message,
    keys: &KeyRing<N>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    encode_in(CURRENT_VERSION, header, message, keys, buf)
}

/// As [`encode`], in any version that this program speaks.
///
/// # Panics
/// Never, as [`encode`].
#[must_use]
pub fn encode_in<const N: usize>(
    version: u8,
    header: &Header,
    message: &Message,
    keys: &KeyRing<N>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    let kind = match message {
        Message::Status(_) => KIND_STATUS,
        Message::Hello(Hello { for_arbiter: None, .. }) => KIND_HELLO,
        Message::Hello(_) => KIND_HELLO_FOR_ARBITER,
    };
    let mut to = Writer { buf, at: HEADER_LEN };
    message.status().write(&mut to);
    if let Message::Hello(hello) = message {
        hello.write_rest(&mut to);
    }
    let len = to.at - HEADER_LEN;
    let len = append_invented(version, matches!(message, Message::Hello(_)), len, buf);
    seal(version, header, kind, len, keys.signing(), buf)
}

/// Bytes that a body has at its end in a version that was invented for tests.
#[cfg(feature = "mutants")]
fn invented(version: u8, hello: bool) -> usize {
    usize::from(hello && version >= INVENTED_VERSION)
}

#[cfg(not(feature = "mutants"))]
const fn invented(_version: u8, _hello: bool) -> usize {
    0
}

/// The body's length with them.
fn append_invented(version: u8, hello: bool, len: usize, buf: &mut [u8; MAX_FRAME]) -> usize {
    let more = invented(version, hello);
    buf[HEADER_LEN + len..][..more].fill(0);
    len + more
}

/// Header and tag around the body of `body_len` bytes that stands in `buf`; the frame's length.
fn seal(
    version: u8,
    header: &Header,
    kind: u8,
    body_len: usize,
    key: &Key,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    buf[0] = version << 5 | (header.sender as u8) << 3 | header.link.0 & 7;
    buf[1] = kind << 4 | key.id() & 0x0F;
    buf[2..5].copy_from_slice(&three_bytes(header.boot.value()));
    buf[5..9].copy_from_slice(&header.seq.to_le_bytes());
    key.seal(buf, HEADER_LEN + body_len).expect("MAX_FRAME holds every tag")
}

/// A frame whose tag and version are right: its header is to be believed, its body not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'f> {
    /// The header.
    pub header: Header,
    /// Number of the key that signed it.
    pub key: u8,
    /// The version of the wire in which it is written.
    pub version: u8,
    kind: u8,
    body: &'f [u8],
}

/// Checks tag and version of a frame. The replay check is the caller's; then [`Opened::message`].
///
/// # Errors
/// [`Reject::Length`], [`Reject::Key`], [`Reject::Tag`], [`Reject::Version`] or [`Reject::Meaning`].
pub fn open<'f, const N: usize>(frame: &'f [u8], keys: &KeyRing<N>) -> Result<Opened<'f>, Reject> {
    open_in(Versions::OURS, frame, keys)
}

/// As [`open`], for a program that understands these versions.
///
/// # Errors
/// As [`open`].
pub fn open_in<'f, const N: usize>(
    versions: Versions,
    frame: &'f [u8],
    keys: &KeyRing<N>,
) -> Result<Opened<'f>, Reject> {
    if frame.len() < super::MIN_FRAME || frame.len() > MAX_FRAME {
        return Err(Reject::Length);
    }
    let frame = keys.open(frame, frame[1] & 0x0F)?;
    let (head, body) = frame.split_at_checked(HEADER_LEN).ok_or(Reject::Length)?;
    let version = head[0] >> 5;
    if !versions.has(version) {
        return Err(Reject::Version);
    }
    let header = Header {
        sender: Voter::from_code(head[0] >> 3 & 3).ok_or(Reject::Meaning)?,
        link: LinkId(head[0] & 7),
        boot: BootId::new(from_three([head[2], head[3], head[4]])).ok_or(Reject::Meaning)?,
        seq: u32::from_le_bytes([head[5], head[6], head[7], head[8]]),
    };
    let kind = head[1] >> 4;
    let more = invented(version, is_hello(kind));
    let body = body.len().checked_sub(more).map_or(body, |len| &body[..len]);
    Ok(Opened { header, key: head[1] & 0x0F, version, kind, body })
}

const fn is_hello(kind: u8) -> bool {
    matches!(kind, KIND_HELLO | KIND_HELLO_FOR_ARBITER | arbiter::KIND_HELLO)
}

impl Opened<'_> {
    /// Decodes the body of a node's frame: nothing may be left over, and every value must mean something.
    ///
    /// # Errors
    /// [`Reject::Decode`], [`Reject::Trailing`] or [`Reject::Meaning`].
    #[inline(never)] // Its temporaries are large, and gone when the message is processed.
    pub fn message(&self) -> Result<Message, Reject> {
        let mut from = Reader::new(self.body);
        let status = Status::read(&mut from);
        let message = match self.kind {
            KIND_STATUS => Message::Status(status),
            KIND_HELLO | KIND_HELLO_FOR_ARBITER => {
                let for_arbiter = self.kind == KIND_HELLO_FOR_ARBITER;
                let hello = Hello::read_rest(status, for_arbiter, &mut from);
                Message::Hello(hello.ok_or(Reject::Decode)?)
            }
            _ => return Err(Reject::Decode),
        };
        from.end()?;
        Ok(message)
    }
}

const fn three_bytes(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}

const fn from_three([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

#[cfg(test)]
mod tests;
