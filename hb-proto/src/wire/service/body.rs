//! The bodies of service frames, field by field.

use heapless::Vec;

use super::{Answer, Ask, Challenge, MAX_SECRET};
use crate::id::Voter;
use crate::wire::MAX_FRAME;
use crate::wire::message::arbiter::{LineShown, ResetReason};

/// On what a dongle's program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// A process of the namespace rig.
    Host = 0,
    /// Stellaris' evaluation board, as QEMU emulates it.
    Lm3s6965evb = 1,
    /// Raspberry Pi Pico.
    Rp2040Pico = 2,
    /// ST's Nucleo-L476RG.
    NucleoL476rg = 3,
    /// One that this program doesn't know.
    Unknown = 255,
}

/// Who a dongle is, and how it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The present one.
    pub challenge: Challenge,
    /// Version of its program.
    pub firmware: [u8; 3],
    /// What it runs on.
    pub board: Board,
    /// The port that this leaves by: 0 or 1.
    pub port: u8,
    /// Numbers of the keys that it accepts, one bit each.
    pub keys: u16,
    /// Number of the key that signs; none while it has no key.
    pub signing: Option<u8>,
    /// Why its present life began.
    pub reset: ResetReason,
    /// Since when it lives, seconds.
    pub uptime_s: u32,
    /// Whether A and B feed it with power; `None` where nothing is wired.
    pub feeds: [Option<bool>; 2],
    /// The reset lines to A and B.
    pub lines: [LineShown; 2],
    /// The last test of a line in this life.
    pub test: Option<TestShown>,
    /// Its times; `None` from a program that has no choice of them.
    pub settings: Option<Settings>,
}

/// Times that a dongle keeps with its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a reset line is pulled, milliseconds, within [`Settings::PULSES_MS`].
    pub pulse_ms: u16,
    /// The silence after which a node that armed the external watchdog is reset unasked (R13), milliseconds.
    /// What is shorter than deadtime counts as deadtime.
    pub watchdog_ms: u32,
}

impl Settings {
    /// Shorter ones are taken for bounces of a button by some boards. Longer ones would leave no time for the
    /// line to rise again while it is evidence ([`crate::arbiter::CONFIRM_WINDOW`]).
    pub const PULSES_MS: core::ops::RangeInclusive<u16> = 50..=1500;

    /// Whether a dongle keeps them.
    #[must_use]
    pub const fn are_in_range(&self) -> bool {
        *Self::PULSES_MS.start() <= self.pulse_ms && self.pulse_ms <= *Self::PULSES_MS.end()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { pulse_ms: 200, watchdog_ms: 0 }
    }
}

/// How a line's test stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestShown {
    /// Whose line.
    pub node: Voter,
    /// How it stands.
    pub state: TestState,
}

/// How a line's test stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestState {
    /// Not over.
    UnderWay = 1,
    /// The pulse ended this node's life, and no other's.
    Proved = 2,
    /// It did not.
    Failed = 3,
}

/// Why something was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// It must be signed.
    NotSigned = 1,
    /// The challenge is not the present one.
    OldChallenge = 2,
    /// No key: nothing else can be asked.
    NoKey = 3,
    /// The node may be running something.
    InUse = 4,
    /// The node is not heard.
    NotHeard = 5,
    /// Another test is under way.
    UnderWay = 6,
    /// No room for another key.
    NoRoom = 7,
    /// It can't be stored.
    StoreFailed = 8,
    /// No such key, or the one that signs.
    WrongKey = 9,
    /// That is no node.
    NotANode = 10,
    /// The dongle's number is missing.
    NoNumber = 11,
    /// This dongle's program doesn't know what was asked.
    Unknown = 12,
    /// A time is out of range.
    OutOfRange = 13,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// A life began; `arg` is its number.
    Began = 1,
    /// A node was heard (`arg` bit 8) or fell silent; bits 0–7: 0 is A, 1 is B.
    Heard = 2,
    /// Nobody was heard for a lease.
    Forgot = 3,
    /// A reset line was pulled.
    Pulsed = 4,
    /// Evidence that the pulse stopped the node.
    Confirmed = 5,
    /// The pulse hit the other node.
    Miswired = 6,
    /// The program was late by `arg` ms.
    Stall = 7,
    /// A frame was dropped: port in bit 8, reason in bits 0–7.
    Rejected = 8,
    /// Something was done by request.
    Served = 9,
    /// A request was refused; `arg` is why.
    Refused = 10,
    /// A line's test ended; bits 0–7 the node, bit 8 whether proved.
    Tested = 11,
    /// One that this program doesn't know.
    Unknown = 255,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Since the life began, milliseconds.
    pub at_ms: u32,
    /// What happened.
    pub what: Note,
    /// More of it, 24 bits.
    pub arg: u32,
}

/// What a dongle found when it looked at itself. Indices: A, B.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SelfTest {
    /// What is stored can be read, and is whole.
    pub store: bool,
    /// HMAC-SHA-256 gives what RFC 4231 says.
    pub crypto: bool,
    /// No reset output is pulled.
    pub outputs_at_rest: [bool; 2],
    /// Levels of the nodes' reset lines; `None` where nothing is wired.
    pub line_high: [Option<bool>; 2],
    /// Levels of the sense inputs.
    pub sense_high: [Option<bool>; 2],
    /// The longest turn since the last self-test, or of this life, microseconds.
    pub longest_turn_us: u32,
    /// Times that a UART lost bytes.
    pub port_failures: u32,
}

/// Writes fields one after the other. What finds no room is left out: a test holds the longest against the room.
pub(super) struct Writer<'b> {
    pub(super) buf: &'b mut [u8; MAX_FRAME],
    pub(super) at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buf.get_mut(self.at..self.at + bytes.len()) {
            room.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    pub(super) fn challenge(&mut self, challenge: &Challenge) {
        for number in [challenge.id, challenge.boot, challenge.token] {
            self.u32(number);
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) {
        match ask {
            Ask::Identify => self.u8(0),
            Ask::SetKey { key, signs, crc, number, secret } => {
                self.put(&[1, *key, u8::from(*signs) | u8::from(*crc) << 1]);
                self.u32(*number);
                self.u8(secret.len() as u8);
                self.put(secret);
            }
            Ask::DropKey { key } => self.put(&[2, *key]),
            Ask::TestLine { node } => self.put(&[3, *node as u8]),
            Ask::Trace { after } => {
                self.u8(4);
                self.u32(*after);
            }
            Ask::SelfTest => self.u8(5),
            Ask::Settings(settings) => {
                self.u8(6);
                self.settings(settings);
            }
            Ask::Unknown => self.u8(255),
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Identity(identity) => self.identity(identity),
            Answer::Done { token } => {
                self.u8(1);
                self.u32(*token);
            }
            Answer::Refused { token, why } => {
                self.put(&[2, *why as u8]);
                self.u32(*token);
            }
            Answer::Trace { newest, first, entries } => {
                self.u8(3);
                self.u32(*newest);
                self.u32(*first);
                self.u8(entries.len() as u8);
                for entry in entries {
                    self.u32(entry.at_ms);
                    self.u32(entry.arg & 0x00FF_FFFF | (entry.what as u32) << 24);
                }
            }
            Answer::SelfTest(found) => {
                let sound = u8::from(found.store) | u8::from(found.crypto) << 1;
                let at_rest = found.outputs_at_rest.map(u8::from);
                let levels = two(found.line_high) | two(found.sense_high) << 4;
                self.put(&[4, sound | at_rest[0] << 2 | at_rest[1] << 3, levels]);
                self.u32(found.longest_turn_us);
                self.u32(found.port_failures);
            }
        }
    }

    fn identity(&mut self, identity: &Identity) {
        self.u8(0);
        self.challenge(&identity.challenge);
        self.put(&identity.firmware);
        self.put(&[identity.board as u8, identity.port]);
        self.put(&identity.keys.to_le_bytes());
        self.put(&[identity.signing.unwrap_or(u8::MAX), identity.reset as u8]);
        self.u32(identity.uptime_s);
        let [a, b] = identity.lines.map(|line| line as u8);
        self.put(&[two(identity.feeds), a | b << 4]);
        self.u8(identity.test.map_or(0, |test| (test.node as u8) << 4 | test.state as u8));
        if let Some(settings) = &identity.settings {
            self.settings(settings);
        }
    }

    fn settings(&mut self, settings: &Settings) {
        self.put(&settings.pulse_ms.to_le_bytes());
        self.u32(settings.watchdog_ms);
    }
}

/// Two inputs in four bits: wired, high.
fn two([a, b]: [Option<bool>; 2]) -> u8 {
    let bits = |input: Option<bool>| u8::from(input.is_some()) | u8::from(input == Some(true)) << 1;
    bits(a) | bits(b) << 2
}

fn from_two(bits: u8) -> [Option<bool>; 2] {
    [bits, bits >> 2].map(|bits| (bits & 1 != 0).then_some(bits & 2 != 0))
}

/// Reads fields one after the other. What lies behind the last is a later version's.
pub(super) struct Reader<'f>(pub(super) &'f [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn challenge(&mut self) -> Option<Challenge> {
        Some(Challenge { id: self.u32()?, boot: self.u32()?, token: self.u32()? })
    }

    pub(super) fn ask(&mut self) -> Option<Ask> {
        Some(match self.u8()? {
            0 => Ask::Identify,
            1 => {
                let [key, flags] = self.take()?;
                let number = self.u32()?;
                let len = usize::from(self.u8()?);
                let secret = Vec::from_slice(self.0.get(..len)?).ok()?;
                debug_assert!(secret.len() <= MAX_SECRET);
                let (signs, crc) = (flags & 1 != 0, flags & 2 != 0);
                Ask::SetKey { key, signs, crc, number, secret }
            }
            2 => Ask::DropKey { key: self.u8()? },
            3 => Ask::TestLine { node: Voter::from_code(self.u8()?)? },
            4 => Ask::Trace { after: self.u32()? },
            5 => Ask::SelfTest,
            6 => Ask::Settings(self.settings()?),
            _ => Ask::Unknown,
        })
    }

    pub(super) fn answer(&mut self) -> Option<Answer> {
        Some(match self.u8()? {
            0 => Answer::Identity(self.identity()?),
            1 => Answer::Done { token: self.u32()? },
            2 => {
                let why = refusal(self.u8()?);
                Answer::Refused { token: self.u32()?, why }
            }
            3 => {
                let (newest, first, count) = (self.u32()?, self.u32()?, self.u8()?);
                let mut entries = Vec::new();
                for _ in 0..count {
                    let (at_ms, packed) = (self.u32()?, self.u32()?);
                    let (what, arg) = (note((packed >> 24) as u8), packed & 0x00FF_FFFF);
                    entries.push(Entry { at_ms, what, arg }).ok()?;
                }
                Answer::Trace { newest, first, entries }
            }
            4 => {
                let [sound, levels] = self.take()?;
                Answer::SelfTest(SelfTest {
                    store: sound & 1 != 0,
                    crypto: sound & 2 != 0,
                    outputs_at_rest: [sound & 4 != 0, sound & 8 != 0],
                    line_high: from_two(levels),
                    sense_high: from_two(levels >> 4),
                    longest_turn_us: self.u32()?,
                    port_failures: self.u32()?,
                })
            }
            _ => return None,
        })
    }

    fn settings(&mut self) -> Option<Settings> {
        let pulse_ms = self.take().map(u16::from_le_bytes)?;
        Some(Settings { pulse_ms, watchdog_ms: self.u32()? })
    }

    fn identity(&mut self) -> Option<Identity> {
        let challenge = self.challenge()?;
        let firmware = self.take()?;
        let [board, port] = self.take()?;
        let keys = self.take().map(u16::from_le_bytes)?;
        let [signing, reset] = self.take()?;
        let uptime_s = self.u32()?;
        let [feeds, lines, test] = self.take()?;
        let line = |code: u8| match code & 0x0F {
            1 => LineShown::Commissioned,
            2 => LineShown::Miswired,
            _ => LineShown::Untested,
        };
        let state = match test & 0x0F {
            1 => Some(TestState::UnderWay),
            2 => Some(TestState::Proved),
            3 => Some(TestState::Failed),
            _ => None,
        };
        Some(Identity {
            challenge,
            firmware,
            board: match board {
                0 => Board::Host,
                1 => Board::Lm3s6965evb,
                2 => Board::Rp2040Pico,
                3 => Board::NucleoL476rg,
                _ => Board::Unknown,
            },
            port,
            keys,
            signing: (signing != u8::MAX).then_some(signing),
            reset: ResetReason::from_code(reset)?,
            uptime_s,
            feeds: from_two(feeds),
            lines: [line(lines), line(lines >> 4)],
            test: state
                .zip(Voter::from_code(test >> 4))
                .map(|(state, node)| TestShown { node, state }),
            settings: self.settings(),
        })
    }
}

const REFUSALS: [Refusal; 13] = [
    Refusal::NotSigned,
    Refusal::OldChallenge,
    Refusal::NoKey,
    Refusal::InUse,
    Refusal::NotHeard,
    Refusal::UnderWay,
    Refusal::NoRoom,
    Refusal::StoreFailed,
    Refusal::WrongKey,
    Refusal::NotANode,
    Refusal::NoNumber,
    Refusal::Unknown,
    Refusal::OutOfRange,
];

fn refusal(code: u8) -> Refusal {
    let found = REFUSALS.into_iter().find(|&refusal| refusal as u8 == code);
    found.unwrap_or(Refusal::Unknown)
}

const NOTES: [Note; 11] = [
    Note::Began,
    Note::Heard,
    Note::Forgot,
    Note::Pulsed,
    Note::Confirmed,
    Note::Miswired,
    Note::Stall,
    Note::Rejected,
    Note::Served,
    Note::Refused,
    Note::Tested,
];

fn note(code: u8) -> Note {
    NOTES.into_iter().find(|&note| note as u8 == code).unwrap_or(Note::Unknown)
}
