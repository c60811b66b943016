//! When both ends hear each other: bits, speed by speed. One end leads, the other follows.

use std::io;
use std::time::{Duration, Instant};

use super::super::beacon::Say;
use super::super::blocks::{BLOCK, Count, Counter, block};
use super::super::hearing::Hearing;
use super::super::report::{Speed, UNANSWERED, Way};
use super::super::time_of;
use super::{End, TURN, pause};

/// An answer to an order takes at most this long, beside its time on the line.
const ANSWER: Duration = Duration::from_millis(2500);
const ATTEMPTS: usize = 4;
/// How long one speed's blocks are on the line.
const STRETCH: Duration = Duration::from_millis(500);
/// Between a change of speed and the first block: the other end changes a moment later.
const SETTLE: Duration = Duration::from_millis(400);
/// How much later than expected the last block may come.
const LATE: Duration = Duration::from_millis(1000);
/// The last block may still be in a buffer behind the kernel's back when it counts as sent; a change of speed would
/// cut it.
const FLUSH: Duration = Duration::from_millis(200);
/// The other end comes back to the first speed a moment later than this one.
const BACK: Duration = Duration::from_millis(400);
/// The one that follows gives up when the leader says nothing for this long.
const LEADERLESS: Duration = Duration::from_secs(15);

/// What the one that follows has counted and not yet compared: speed, blocks, what arrived.
type Counts = Vec<(u32, u32, Result<Count, String>)>;

impl End<'_> {
    pub(super) fn lead(&mut self) -> io::Result<()> {
        for baud in self.settings.speeds.clone() {
            let blocks = blocks_for(baud);
            (self.tell)(&format!("{}: bits at {baud} baud", self.settings.device));
            let ready = |say: &Say| *say == Say::Ready { baud };
            let speed = if self.order(Say::Go { baud, blocks }, ready)?.is_some() {
                let back = self.exchange(baud, blocks);
                self.settle_speed(baud, blocks, back)?
            } else {
                let not_tried = Some(UNANSWERED.to_owned());
                Speed { baud, not_tried, out: None, back: Way::default() }
            };
            self.report.speeds.push(speed);
        }
        for _ in 0..2 {
            self.say(Say::Bye)?;
        }
        pause(time_of(2 * self.line(Say::Bye).len(), self.settings.baud));
        Ok(())
    }

    /// Asks what arrived there, and tells what arrived here.
    fn settle_speed(
        &mut self,
        baud: u32,
        blocks: u32,
        back: Result<Count, String>,
    ) -> io::Result<Speed> {
        pause(BACK);
        let counted = |say: &Say| matches!(say, Say::Counted { baud: of, .. } if *of == baud);
        let answer = self.order(Say::Ask { baud }, counted)?;
        if let Some((say, took)) = answer {
            let on_line = self.line(Say::Ask { baud }).len() + self.line(say).len();
            let beyond = took.saturating_sub(time_of(on_line, self.settings.baud));
            let millis = u64::try_from(beyond.as_millis()).unwrap_or(u64::MAX);
            let best = self.report.round_trip_ms.map_or(millis, |best| best.min(millis));
            self.report.round_trip_ms = Some(best);
        }
        let out = answer.and_then(|(say, _)| way_of(say, blocks));
        if let Ok(count) = &back {
            self.say(counted_here(baud, count))?;
        }
        Ok(speed_of(baud, blocks, back, out))
    }

    /// Says it until it is answered so; the answer, and how long after the last saying it came.
    fn order(
        &mut self,
        order: Say,
        answers: impl Fn(&Say) -> bool,
    ) -> io::Result<Option<(Say, Duration)>> {
        for _ in 0..ATTEMPTS {
            let said = Instant::now();
            self.say(order)?;
            let patience = ANSWER + time_of(512, self.settings.baud);
            while said.elapsed() < patience {
                let heard = self.listen(TURN)?;
                if let Some(beacon) = heard.into_iter().find(|beacon| answers(&beacon.say)) {
                    return Ok(Some((beacon.say, said.elapsed())));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn follow(&mut self) -> io::Result<()> {
        let mut last = Instant::now();
        let mut said = Instant::now();
        let mut counts = Counts::new();
        let mut orders: Vec<Say> = self.pending.take().into_iter().collect();
        while last.elapsed() < LEADERLESS {
            for order in std::mem::take(&mut orders) {
                if order == Say::Bye {
                    return Ok(());
                }
                self.obey(order, &mut counts)?;
                last = Instant::now();
            }
            if self.report.speeds.is_empty()
                && counts.is_empty()
                && said.elapsed() >= self.interval()
            {
                // The leader may not know yet that it is heard.
                self.say(Say::Hail)?;
                said = Instant::now();
            }
            orders.extend(self.listen(TURN)?.into_iter().map(|beacon| beacon.say));
        }
        Err(io::Error::other("the other end fell silent in the middle of the test"))
    }

    fn obey(&mut self, order: Say, counts: &mut Counts) -> io::Result<()> {
        match order {
            Say::Go { baud, blocks } => {
                self.say(Say::Ready { baud })?;
                let line = self.line(Say::Ready { baud }).len();
                pause(time_of(line, self.settings.baud) + TURN);
                let count = self.exchange(baud, blocks);
                counts.retain(|(of, ..)| *of != baud);
                counts.push((baud, blocks, count));
            }
            Say::Ask { baud } => {
                if let Some((_, _, Ok(count))) = counts.iter().find(|(of, ..)| *of == baud) {
                    self.say(counted_here(baud, count))?;
                }
            }
            Say::Counted { baud, .. } => {
                let at = counts.iter().position(|(of, ..)| *of == baud);
                if let Some((_, blocks, back)) = at.map(|at| counts.remove(at)) {
                    self.report.speeds.push(speed_of(baud, blocks, back, way_of(order, blocks)));
                }
            }
            Say::Hail | Say::Ready { .. } | Say::Bye => {}
        }
        Ok(())
    }

    /// Both ends send blocks at once; what arrived here. Comes back to the first speed.
    fn exchange(&mut self, baud: u32, blocks: u32) -> Result<Count, String> {
        let began = Instant::now();
        let end = SETTLE + time_of(blocks as usize * BLOCK, baud) + LATE;
        let outcome = match self.wire.set_baud(baud) {
            Ok(()) => self.send_and_count(baud, blocks, began, end).map_err(|e| e.to_string()),
            Err(error) => {
                pause(end);
                Err(format!("this port doesn't do {baud} baud: {error}"))
            }
        };
        if let Err(error) = self.wire.set_baud(self.settings.baud) {
            return Err(error.to_string());
        }
        self.hearing = Hearing::new(self.settings.id);
        outcome
    }

    fn send_and_count(
        &mut self,
        baud: u32,
        blocks: u32,
        began: Instant,
        end: Duration,
    ) -> io::Result<Count> {
        let mut counter = Counter::default();
        let bytes: Vec<u8> = (0..blocks).flat_map(|n| block(n as u16)).collect();
        let mut sent = 0;
        let mut buffer = [0; 512];
        while began.elapsed() < end && !(sent == bytes.len() && counter.has_seen(blocks)) {
            // No further ahead than the line is: a port's own queue is seconds long at 9600 baud.
            let on_line = began.elapsed().saturating_sub(SETTLE).as_micros() as u64;
            let due = (on_line * u64::from(baud) / 10_000_000) as usize;
            let due = if began.elapsed() < SETTLE { 0 } else { due + 2 * BLOCK };
            if sent < due.min(bytes.len()) {
                sent += self.wire.write(&bytes[sent..due.min(bytes.len())])?;
            }
            let count = self.wire.read(&mut buffer, Duration::from_millis(2))?;
            // A change of speed makes a few bytes of nothing; behind the last block comes text again.
            if began.elapsed() > SETTLE / 3 && !counter.has_seen(blocks) {
                counter.feed(&buffer[..count]);
            }
        }
        // What was just written is still on its way, and would be thrown away with the speed.
        pause(time_of(2 * BLOCK, baud) + FLUSH);
        Ok(counter.count())
    }
}

fn counted_here(baud: u32, count: &Count) -> Say {
    Say::Counted { baud, blocks: count.blocks, bits_wrong: count.bits_wrong, strays: count.strays }
}

fn way_of(say: Say, sent: u32) -> Option<Way> {
    let Say::Counted { blocks, bits_wrong, strays, .. } = say else { return None };
    Some(Way { sent, arrived: blocks, bits_wrong, strays })
}

fn speed_of(baud: u32, sent: u32, back: Result<Count, String>, out: Option<Way>) -> Speed {
    let (count, not_tried) = match back {
        Ok(count) => (count, None),
        Err(why) => (Count::default(), Some(why)),
    };
    let Count { blocks, bits_wrong, strays } = count;
    Speed { baud, not_tried, out, back: Way { sent, arrived: blocks, bits_wrong, strays } }
}

/// As many as fit into one stretch.
fn blocks_for(baud: u32) -> u32 {
    let one = time_of(BLOCK, baud).as_micros().max(1);
    u32::try_from(STRETCH.as_micros() / one).unwrap_or(u32::MAX).clamp(8, u16::MAX.into())
}
