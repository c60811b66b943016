//! Requests of an operator's tool, and what they change in the store.

use hb_proto::arbiter::{MAX_ARBITER_KEYS, Port as Side};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::service::{self, Answer, Ask, Refusal, Request, TestShown};
use heapless::Vec;

use crate::board::{Port, Store};
use crate::keys::Keys;
use crate::line::Line;

/// Between two answers in the clear: anybody can ask.
const CLEAR_EVERY: Duration = Duration::from_millis(200);
/// Until a life ends that has new keys: the answer leaves meanwhile.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Version of this program.
pub(crate) const FIRMWARE: [u8; 3] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
];

const fn number(text: &str) -> u8 {
    let (mut value, mut at) = (0, 0);
    while at < text.len() {
        value = value * 10 + (text.as_bytes()[at] - b'0');
        at += 1;
    }
    value
}

type Keyring = KeyRing<MAX_ARBITER_KEYS>;
/// A request, who asked, and whether it was signed.
type Asked = (Side, Request, bool);

/// One request waits here until the turn comes to it: one a turn is served.
#[derive(Debug)]
pub(crate) struct Desk {
    asked: Vec<u8, MAX_FRAME>,
    asked_by: Option<Side>,
    /// How many requests changed something in this life.
    pub(crate) token: u32,
    clear_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// The last test of a line.
    pub(crate) test: Option<TestShown>,
    /// The longest turn since the last self-test, or of this life.
    pub(crate) longest_turn: Duration,
    /// It was told in this turn.
    pub(crate) told_longest: bool,
}

impl Desk {
    pub(crate) const fn new() -> Self {
        Self {
            asked: Vec::new(),
            asked_by: None,
            token: 0,
            clear_at: None,
            ends_at: None,
            test: None,
            longest_turn: Duration::ZERO,
            told_longest: false,
        }
    }

    /// Takes a frame if it is a service frame. One that finds the desk occupied is lost: who asks asks again.
    pub(crate) fn takes(&mut self, side: Side, frame: &[u8]) -> bool {
        let ours = service::is_service(frame);
        if ours && self.asked_by.is_none() && service::is_request(frame) {
            self.asked.clear();
            self.asked_by = self.asked.extend_from_slice(frame).ok().map(|()| side);
        }
        ours
    }

    /// The request that waits, if it is one and is answered now: who asks, for what, and whether it is signed. Without
    /// keys none is.
    #[inline(never)]
    pub(crate) fn next(&mut self, now: Instant, keys: Option<&Keyring>) -> Option<Asked> {
        let side = self.asked_by.take()?;
        let (request, signed) = service::open_request(&self.asked, keys).ok()?;
        (signed || self.may_answer_in_the_clear(now)).then_some((side, request, signed))
    }

    fn may_answer_in_the_clear(&mut self, now: Instant) -> bool {
        let may = self.clear_at.is_none_or(|at| now.since(at) >= CLEAR_EVERY);
        if may {
            self.clear_at = Some(now);
        }
        may
    }

    /// Something was changed by request: the next challenge is another one.
    pub(crate) fn served(&mut self) -> u32 {
        self.token = self.token.wrapping_add(1);
        self.token
    }

    /// This life ends soon.
    pub(crate) fn end(&mut self, now: Instant) {
        self.ends_at = Some(now + LAST_WORDS);
    }

    pub(crate) const fn ends(&self) -> Option<Instant> {
        self.ends_at
    }
}

/// SetKey, DropKey and Settings.
pub(crate) fn change_stored<S: Store>(store: &mut S, ask: &Ask) -> Result<(), Refusal> {
    let mut keys = Keys::none();
    keys.load(store).map_err(|_| Refusal::StoreFailed)?;
    match ask {
        Ask::SetKey { key, signs, crc, number, secret } => {
            if *number != 0 {
                keys.set_number(*number);
            }
            if keys.number() == 0 {
                return Err(Refusal::NoNumber);
            }
            keys.set(*key, *crc, secret, *signs)?;
        }
        Ask::DropKey { key } => keys.drop(*key)?,
        Ask::Settings(settings) if settings.are_in_range() => keys.set_settings(settings),
        Ask::Settings(_) => return Err(Refusal::OutOfRange),
        _ => return Err(Refusal::Unknown),
    }
    keys.save(store).map_err(|_| Refusal::StoreFailed)?;
    #[cfg(feature = "defmt")]
    crate::log::stored(ask);
    Ok(())
}

/// Sends by the port that asked, signed or in the clear.
#[inline(never)]
pub(crate) fn reply<P1: Port, P2: Port>(
    one: &mut Line<'_, P1>,
    two: &mut Line<'_, P2>,
    side: Side,
    answer: &Answer,
    keys: Option<&Keyring>,
) {
    let mut buf = [0; MAX_FRAME];
    let len = service::encode_answer(answer, keys, &mut buf);
    let frame = &buf[..len];
    match side {
        Side::One => one.send(frame),
        Side::Two => two.send(frame),
    }
}
