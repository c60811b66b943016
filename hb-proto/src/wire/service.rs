//! Between an operator's tool and a dongle: who it is, its keys, its lines' tests, what it remembers.
//!
//! These frames travel on a serial line among the others, between a node and the dongle at its end: they are
//! neither forwarded nor given to an arbiter or a node. Their version bits say 7, so that whoever doesn't know
//! them counts them as [`Reject::Version`]. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version bits 7, below them the version of this table: 1 |
//! | 1 | kind (4 bits), number of the key that signed (4) |
//! | … | body |
//! | 8 or 4 | tag: of that key, or a CRC-32 in the clear |
//!
//! A request's body is the [`Challenge`] and an [`Ask`], an answer's an [`Answer`]. Nobody has a source of
//! randomness: a challenge names the dongle, its life, and the number of what was done in it so far, and so
//! never comes again. Whatever changes something must name the present one. A later version may add bytes
//! behind a body and numbers to a list; a reader ignores the former and says that it doesn't know the latter.

mod body;

use heapless::Vec;

pub use body::{Board, Entry, Identity, Note, Refusal, SelfTest, Settings, TestShown, TestState};

use super::auth::{IN_THE_CLEAR, Key, KeyRing};
use super::fields::{Reader, Writer};
use super::{MAX_FRAME, Reject};
use crate::id::Voter;

/// The first byte of every service frame.
const FIRST: u8 = 0b1110_0001;
const VERSION_BITS: u8 = 0b1110_0000;
const HEAD: usize = 2;
/// Longest secret: a longer one is sent as its SHA-256, which is the same key (RFC 2104 §2).
pub const MAX_SECRET: usize = 64;
/// Entries of a trace in one answer.
pub const MAX_ENTRIES: usize = 8;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Request = 1,
    Answer = 2,
    ClearRequest = 3,
    ClearAnswer = 4,
}

/// Names a moment in the life of one dongle. What is signed for another one is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Challenge {
    /// The dongle's number; 0 while it has none.
    pub id: u32,
    /// Its life.
    pub boot: u32,
    /// What was done by request in this life.
    pub token: u32,
}

/// What is asked of a dongle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Who are you? Answered also in the clear.
    Identify,
    /// Keep this key. In the clear only while there is none; the dongle then begins a new life.
    SetKey {
        /// Its number in authkeys.
        key: u8,
        /// It signs from now on; the first one does in any case.
        signs: bool,
        /// `crc` of authkeys: no secret.
        crc: bool,
        /// The dongle's own number; 0 leaves it as it is, and is refused the first time.
        number: u32,
        /// The secret.
        secret: Vec<u8, MAX_SECRET>,
    },
    /// Forget this key, which doesn't sign.
    DropKey {
        /// Its number.
        key: u8,
    },
    /// Pull this node's reset line, and see whose life ends (R12).
    TestLine {
        /// Whose.
        node: Voter,
    },
    /// What happened after event number `after`.
    Trace {
        /// 0 for the oldest that is kept.
        after: u32,
    },
    /// Look at yourself.
    SelfTest,
    /// Keep these times, from now on.
    Settings(Settings),
    /// Something that a later version asks.
    Unknown,
}

/// A request, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Of which moment.
    pub challenge: Challenge,
    /// What.
    pub ask: Ask,
}

/// What a dongle says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Who it is.
    Identity(Identity),
    /// It is done, or begun; the next challenge has this token.
    Done {
        /// The next token.
        token: u32,
    },
    /// It is not done.
    Refused {
        /// The token that would have been right.
        token: u32,
        /// Why not.
        why: Refusal,
    },
    /// Some events.
    Trace {
        /// Number of the newest event.
        newest: u32,
        /// Number of the first entry.
        first: u32,
        /// The entries, in order.
        entries: Vec<Entry, MAX_ENTRIES>,
    },
    /// What it found.
    SelfTest(SelfTest),
}

/// Whether a frame is of this module.
#[must_use]
pub fn is_service(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & VERSION_BITS == VERSION_BITS)
}

/// Whether a frame is a request, to a dongle.
#[must_use]
pub fn is_request(frame: &[u8]) -> bool {
    let kind = frame.get(1).map_or(0, |byte| byte >> 4);
    is_service(frame) && (kind == Kind::Request as u8 || kind == Kind::ClearRequest as u8)
}

/// By a key, or in the clear.
fn seal(kind: Kind, key: &Key, writer: Writer<'_>) -> Option<usize> {
    let Writer { buf, at } = writer;
    buf[0] = FIRST;
    buf[1] = (kind as u8) << 4 | key.id();
    key.seal(buf, at)
}

/// Body of a frame of one of two kinds, and whether it was signed.
fn open<'f, const N: usize>(
    frame: &'f [u8],
    keys: Option<&KeyRing<N>>,
    signed: Kind,
    clear: Kind,
) -> Result<(Reader<'f>, bool), Reject> {
    let &[first, second, ..] = frame else { return Err(Reject::Length) };
    if first != FIRST {
        return Err(Reject::Version);
    }
    let (kind, key) = (second >> 4, second & 0x0F);
    let (body, is_signed) = if kind == signed as u8 {
        (keys.ok_or(Reject::Key)?.open(frame, key)?, true)
    } else if kind == clear as u8 && key == 0 {
        (IN_THE_CLEAR.open(frame)?, false)
    } else {
        return Err(Reject::Decode);
    };
    Ok((Reader::new(body.get(HEAD..).ok_or(Reject::Length)?), is_signed))
}

/// Writes a request, signed by `keys` or, without them, in the clear; its length.
///
/// # Panics
/// Never: [`MAX_FRAME`] holds the longest request, which a test asserts.
#[must_use]
pub fn encode_request(
    request: &Request,
    keys: Option<&KeyRing>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    let mut writer = Writer { buf, at: HEAD };
    writer.challenge(&request.challenge);
    writer.ask(&request.ask);
    let (kind, key) = match keys {
        Some(keys) => (Kind::Request, keys.signing()),
        None => (Kind::ClearRequest, &IN_THE_CLEAR),
    };
    seal(kind, key, writer).expect("MAX_FRAME holds every request")
}

/// Reads a request; and whether it was signed.
///
/// # Errors
/// Why it is none.
pub fn open_request<const N: usize>(
    frame: &[u8],
    keys: Option<&KeyRing<N>>,
) -> Result<(Request, bool), Reject> {
    let (mut reader, signed) = open(frame, keys, Kind::Request, Kind::ClearRequest)?;
    let request = Request { challenge: reader.challenge(), ask: reader.ask() };
    if reader.is_broken() { Err(Reject::Decode) } else { Ok((request, signed)) }
}

/// Writes an answer, signed by `keys` or, without them, in the clear; its length.
///
/// # Panics
/// Never: [`MAX_FRAME`] holds the longest answer, which a test asserts.
#[must_use]
pub fn encode_answer<const N: usize>(
    answer: &Answer,
    keys: Option<&KeyRing<N>>,
    buf: &mut [u8; MAX_FRAME],
) -> usize {
    let mut writer = Writer { buf, at: HEAD };
    writer.answer(answer);
    let (kind, key) = match keys {
        Some(keys) => (Kind::Answer, keys.signing()),
        None => (Kind::ClearAnswer, &IN_THE_CLEAR),
    };
    seal(kind, key, writer).expect("MAX_FRAME holds every answer")
}

/// Reads an answer; and whether it was signed.
///
/// # Errors
/// Why it is none.
pub fn open_answer(frame: &[u8], keys: Option<&KeyRing>) -> Result<(Answer, bool), Reject> {
    let (mut reader, signed) = open(frame, keys, Kind::Answer, Kind::ClearAnswer)?;
    let answer = reader.answer().filter(|_| !reader.is_broken()).ok_or(Reject::Decode)?;
    Ok((answer, signed))
}

#[cfg(test)]
mod tests;
