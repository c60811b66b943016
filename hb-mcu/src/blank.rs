//! A dongle without keys: it can't tell whose frames are genuine, so it forwards nothing, votes for nobody and
//! has no reset output. It says who it is, and takes its first key.

use hb_proto::arbiter::Port as Side;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{LineShown, ResetReason};
use hb_proto::wire::service::{Answer, Ask, Board, Challenge, Identity, Refusal};

use crate::board::{Clock, Port, Store, Watchdog};
use crate::desk::{Desk, FIRMWARE, change_stored, reply};
use crate::line::Line;
use crate::room::Room;

/// Nothing is due, but the watchdog.
const AT_MOST: Duration = Duration::from_millis(100);
/// While bytes wait for a UART.
const PUMP_EVERY: Duration = Duration::from_micros(500);

/// A dongle that waits for its first key.
#[derive(Debug)]
pub struct Blank<'r, P1, P2, C, S, W> {
    one: Line<'r, P1>,
    two: Line<'r, P2>,
    clock: C,
    store: S,
    watchdog: W,
    board: Board,
    reset: ResetReason,
    began: Instant,
    desk: &'r mut Desk,
}

impl<'r, P1: Port, P2: Port, C: Clock, S: Store, W: Watchdog> Blank<'r, P1, P2, C, S, W> {
    /// Between these ports.
    #[must_use]
    pub fn new(
        room: &'r mut Room,
        (one, two): (P1, P2),
        (mut clock, store, watchdog): (C, S, W),
        board: Board,
        reset: ResetReason,
    ) -> Self {
        let began = clock.now();
        #[cfg(feature = "defmt")]
        crate::log::began(None, reset);
        let Room { lines: [room_one, room_two], desk, .. } = room;
        let (one, two) = (Line::new(one, room_one), Line::new(two, room_two));
        let desk = desk.write(Desk::new());
        Self { one, two, clock, store, watchdog, board, reset, began, desk }
    }

    /// One turn; when the next one is due at the latest.
    pub fn turn(&mut self) -> Instant {
        listen(&mut self.one, Side::One, self.desk);
        listen(&mut self.two, Side::Two, self.desk);
        let now = self.clock.now();
        self.serve(now);
        self.one.pump();
        self.two.pump();
        if self.desk.ends().is_none() {
            self.watchdog.feed();
        }
        let sending = self.one.is_sending() || self.two.is_sending();
        now + if sending { PUMP_EVERY } else { AT_MOST }
    }

    /// It has got a key: reset the chip, a life with it begins.
    #[must_use]
    pub fn is_over(&mut self) -> bool {
        let now = self.clock.now();
        self.desk.ends().is_some_and(|at| at <= now)
    }

    fn serve(&mut self, now: Instant) {
        let Some((side, request, _)) = self.desk.next(now, None) else { return };
        let answer = match request.ask {
            Ask::Identify => Answer::Identity(self.identity(now, side)),
            Ask::SetKey { .. } => match change_stored(&mut self.store, &request.ask) {
                Ok(()) => {
                    self.desk.end(now);
                    Answer::Done { token: self.desk.served() }
                }
                Err(why) => Answer::Refused { token: self.desk.token, why },
            },
            _ => Answer::Refused { token: self.desk.token, why: Refusal::NoKey },
        };
        reply(&mut self.one, &mut self.two, side, &answer, None);
    }

    fn identity(&self, now: Instant, side: Side) -> Identity {
        Identity {
            challenge: Challenge { token: self.desk.token, ..Challenge::default() },
            firmware: FIRMWARE,
            board: self.board,
            port: side as u8,
            keys: 0,
            signing: None,
            reset: self.reset,
            uptime_s: now.since(self.began).whole_secs(),
            feeds: [None; 2],
            lines: [LineShown::Untested; 2],
            test: None,
            settings: None,
        }
    }
}

/// One chunk: a flood on one port leaves the other its turn.
fn listen<P: Port>(line: &mut Line<'_, P>, side: Side, desk: &mut Desk) {
    if !line.fill() {
        return;
    }
    while let Some(found) = line.next_frame() {
        if let Ok(frame) = found {
            desk.takes(side, frame);
        }
    }
}
