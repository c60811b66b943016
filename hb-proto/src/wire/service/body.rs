//! The bodies of service frames, field by field.

use heapless::Vec;

use super::{Answer, Ask, Challenge, MAX_SECRET};
use crate::id::Voter;
use crate::wire::fields::{Reader, Writer, packed};
use crate::wire::message::arbiter::{LineShown, ResetReason};

/// A list that later versions add to, with a member for what this program doesn't know.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $member:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum $name {
            $($(#[$of])* $member = $number,)*
        }

        impl $name {
            const fn from_code(code: u8) -> Self {
                match code {
                    $($number => Self::$member,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

numbered! {
/// On what a dongle's program runs.
Board {
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

numbered! {
/// Why something was not done.
Refusal {
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
}

numbered! {
/// What happened.
Note {
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

impl Writer<'_> {
    pub(in crate::wire) fn challenge(&mut self, challenge: &Challenge) {
        for number in [challenge.id, challenge.boot, challenge.token] {
            self.u32(number);
        }
    }

    pub(in crate::wire) fn ask(&mut self, ask: &Ask) {
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

    pub(in crate::wire) fn answer(&mut self, answer: &Answer) {
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
                let [a, b] = found.outputs_at_rest;
                self.u8(4);
                self.u8(packed(&[found.store, found.crypto, a, b]));
                self.u8(two(found.line_high) | two(found.sense_high) << 4);
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
        self.u16(identity.keys);
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
        self.u16(settings.pulse_ms);
        self.u32(settings.watchdog_ms);
    }
}

/// Two inputs in four bits: wired, high.
fn two([a, b]: [Option<bool>; 2]) -> u8 {
    packed(&[a.is_some(), a == Some(true), b.is_some(), b == Some(true)])
}

fn from_two(bits: u8) -> [Option<bool>; 2] {
    [bits, bits >> 2].map(|bits| (bits & 1 != 0).then_some(bits & 2 != 0))
}

/// What lies behind the last field is a later version's.
impl Reader<'_> {
    pub(in crate::wire) fn challenge(&mut self) -> Challenge {
        Challenge { id: self.u32(), boot: self.u32(), token: self.u32() }
    }

    /// Breaks on what is no node.
    fn node(&mut self, code: u8) -> Voter {
        Voter::from_code(code).unwrap_or_else(|| {
            self.breaks();
            Voter::A
        })
    }

    pub(in crate::wire) fn ask(&mut self) -> Ask {
        match self.u8() {
            0 => Ask::Identify,
            1 => {
                let (key, flags, number) = (self.u8(), self.u8(), self.u32());
                let (signs, crc) = (flags & 1 != 0, flags & 2 != 0);
                Ask::SetKey { key, signs, crc, number, secret: self.secret() }
            }
            2 => Ask::DropKey { key: self.u8() },
            3 => {
                let code = self.u8();
                Ask::TestLine { node: self.node(code) }
            }
            4 => Ask::Trace { after: self.u32() },
            5 => Ask::SelfTest,
            6 => Ask::Settings(self.settings()),
            _ => Ask::Unknown,
        }
    }

    fn secret(&mut self) -> Vec<u8, MAX_SECRET> {
        let mut secret = Vec::new();
        let len = self.u8();
        for _ in 0..len {
            let byte = self.u8();
            if secret.push(byte).is_err() {
                self.breaks();
            }
        }
        secret
    }

    /// One that a later version gives is none.
    pub(in crate::wire) fn answer(&mut self) -> Option<Answer> {
        Some(match self.u8() {
            0 => Answer::Identity(self.identity()),
            1 => Answer::Done { token: self.u32() },
            2 => {
                let why = Refusal::from_code(self.u8());
                Answer::Refused { token: self.u32(), why }
            }
            3 => {
                let (newest, first, count) = (self.u32(), self.u32(), self.u8());
                let mut entries = Vec::new();
                for _ in 0..count {
                    let (at_ms, packed) = (self.u32(), self.u32());
                    let what = Note::from_code((packed >> 24) as u8);
                    entries.push(Entry { at_ms, what, arg: packed & 0x00FF_FFFF }).ok()?;
                }
                Answer::Trace { newest, first, entries }
            }
            4 => {
                let (sound, levels) = (self.u8(), self.u8());
                Answer::SelfTest(SelfTest {
                    store: sound & 1 != 0,
                    crypto: sound & 2 != 0,
                    outputs_at_rest: [sound & 4 != 0, sound & 8 != 0],
                    line_high: from_two(levels),
                    sense_high: from_two(levels >> 4),
                    longest_turn_us: self.u32(),
                    port_failures: self.u32(),
                })
            }
            _ => return None,
        })
    }

    fn settings(&mut self) -> Settings {
        Settings { pulse_ms: self.u16(), watchdog_ms: self.u32() }
    }

    fn identity(&mut self) -> Identity {
        let challenge = self.challenge();
        let firmware = self.bytes();
        let (board, port, keys) = (self.u8(), self.u8(), self.u16());
        let (signing, reset, uptime_s) = (self.u8(), self.u8(), self.u32());
        let (feeds, lines, test) = (self.u8(), self.u8(), self.u8());
        let line = |code: u8| LineShown::from_code(code & 0x0F).unwrap_or_default();
        let state = match test & 0x0F {
            1 => Some(TestState::UnderWay),
            2 => Some(TestState::Proved),
            3 => Some(TestState::Failed),
            _ => None,
        };
        Identity {
            challenge,
            firmware,
            board: Board::from_code(board),
            port,
            keys,
            signing: (signing != u8::MAX).then_some(signing),
            reset: ResetReason::from_code(reset).unwrap_or(ResetReason::Unknown),
            uptime_s,
            feeds: from_two(feeds),
            lines: [line(lines), line(lines >> 4)],
            test: state
                .zip(Voter::from_code(test >> 4))
                .map(|(state, node)| TestShown { node, state }),
            settings: (self.left().len() >= SETTINGS).then(|| self.settings()),
        }
    }
}

/// Bytes of [`Settings`].
const SETTINGS: usize = 6;
