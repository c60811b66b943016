//! What the client saw, and what follows from it.

use std::time::{Duration, Instant};

use super::super::Mac;

/// How a question ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// `200 OK`.
    Answered,
    /// The address is there, the service isn't.
    Refused,
    /// Nothing within the time to give up.
    Timeout,
    /// Another error, or an answer that is not `200`.
    Failed,
}

/// One question and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// When the connection was opened.
    pub sent: Instant,
    /// When the answer was read, or given up.
    pub done: Instant,
    /// What became of it.
    pub outcome: Outcome,
    /// Who answered, read from the frames that came for this question.
    pub mac: Option<Mac>,
}

/// A frame by which a hardware address showed that it has the service address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// When the client received it.
    pub at: Instant,
    /// Who sent it.
    pub mac: Mac,
}

/// A time without good answers, between two that were good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// The last good answer before it.
    pub last_good: Answer,
    /// The first good answer after it; None when there was none.
    pub first_good: Option<Answer>,
    /// From the one to the other, or to the end of what was looked at.
    pub lasted: Duration,
}

/// Two hardware addresses that had the service address at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlap {
    /// When it was certain.
    pub at: Instant,
    /// Who.
    pub macs: [Mac; 2],
}

/// Everything the client has seen, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// By the time they ended.
    pub answers: Vec<Answer>,
    /// By time.
    pub sightings: Vec<Sighting>,
}

/// A holder that is seen again this soon never let go in between: it would have had to stop, hand
/// over and take back. Six times as long as the pause between two ARP questions.
const RETURN: Duration = Duration::from_millis(300);
/// A hand-over's last frames may pass each other on two wires.
const CROSSING: Duration = Duration::from_millis(10);

impl Record {
    /// Adds a sighting, unless the same holder was seen just before.
    pub(super) fn saw(&mut self, sighting: Sighting) {
        let known = self
            .sightings
            .last()
            .is_some_and(|last| last.mac == sighting.mac && sighting.at - last.at < CROSSING / 2);
        if !known {
            self.sightings.push(sighting);
        }
    }

    /// The good answers that ended within the given time.
    fn good(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Answer> {
        self.answers
            .iter()
            .filter(move |answer| answer.outcome == Outcome::Answered)
            .filter(move |answer| answer.done >= from && answer.done <= to)
    }

    /// The newest good answer.
    #[must_use]
    pub fn last_good(&self) -> Option<&Answer> {
        self.answers.iter().rev().find(|answer| answer.outcome == Outcome::Answered)
    }

    /// Who gave good answers within the given time, in order of their first.
    #[must_use]
    pub fn answered_by(&self, from: Instant, to: Instant) -> Vec<Mac> {
        let mut macs = Vec::new();
        for mac in self.good(from, to).filter_map(|answer| answer.mac) {
            if !macs.contains(&mac) {
                macs.push(mac);
            }
        }
        macs
    }

    /// The longest time without a good answer that ended after `event` and began before `to`:
    /// the last good answer before `event` counts as its beginning. None without any good answer
    /// before `to`.
    #[must_use]
    pub fn outage(&self, event: Instant, to: Instant) -> Option<Outage> {
        let before = self
            .answers
            .iter()
            .rev()
            .find(|answer| answer.outcome == Outcome::Answered && answer.done < event);
        let mut good = before.into_iter().chain(self.good(event, to));
        let mut last = *good.next()?;
        let mut longest: Option<Outage> = None;
        let mut note = |outage: Outage| {
            if longest.is_none_or(|longest| outage.lasted > longest.lasted) {
                longest = Some(outage);
            }
        };
        for &answer in good {
            let lasted = answer.done - last.done;
            note(Outage { last_good: last, first_good: Some(answer), lasted });
            last = answer;
        }
        let lasted = to.saturating_duration_since(last.done);
        note(Outage { last_good: last, first_good: None, lasted });
        longest
    }

    /// The first time that two machines had the service address at once, at or after `from`: each
    /// was seen before and after the other, by more than a hand-over's last frames explain.
    #[must_use]
    pub fn overlap(&self, from: Instant) -> Option<Overlap> {
        let mut spans: Vec<Span> = Vec::new();
        for seen in self.sightings.iter().filter(|sighting| sighting.at >= from) {
            let start = match spans.iter_mut().find(|span| span.mac == seen.mac) {
                Some(span) => {
                    if seen.at - span.last > RETURN {
                        span.first = seen.at;
                    }
                    span.last = seen.at;
                    span.first
                }
                None => {
                    spans.push(Span { mac: seen.mac, first: seen.at, last: seen.at });
                    seen.at
                }
            };
            for other in spans.iter().filter(|span| span.mac != seen.mac) {
                if other.last.saturating_duration_since(other.first.max(start)) >= CROSSING {
                    return Some(Overlap { at: seen.at, macs: [other.mac, seen.mac] });
                }
            }
        }
        None
    }
}

/// A time in which one holder was seen again and again, at most [`RETURN`] apart.
#[derive(Clone, Copy, Debug)]
struct Span {
    mac: Mac,
    first: Instant,
    last: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Mac = [2, 0, 0, 0, 1, 1];
    const TWO: Mac = [2, 0, 0, 0, 2, 1];

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn answers(start: Instant, spans: &[(u64, u64, Mac)]) -> Record {
        let mut record = Record::default();
        for &(from, to, mac) in spans {
            for ms in (from..to).step_by(5) {
                record.answers.push(Answer {
                    sent: at(start, ms),
                    done: at(start, ms),
                    outcome: Outcome::Answered,
                    mac: Some(mac),
                });
            }
        }
        record
    }

    fn sightings(start: Instant, seen: &[(u64, Mac)]) -> Record {
        let sightings = seen.iter().map(|&(ms, mac)| Sighting { at: at(start, ms), mac }).collect();
        Record { sightings, ..Record::default() }
    }

    #[test]
    fn an_outage_lasts_from_the_last_good_answer_to_the_first() {
        let start = Instant::now();
        let record = answers(start, &[(0, 1000, ONE), (1620, 2000, TWO)]);
        let outage = record.outage(at(start, 1000), at(start, 2000)).unwrap();
        assert_eq!(outage.lasted, Duration::from_millis(625));
        assert_eq!(outage.first_good.unwrap().mac, Some(TWO));
        assert_eq!(record.answered_by(at(start, 0), at(start, 3000)), [ONE, TWO]);
    }

    #[test]
    fn an_outage_without_end_lasts_until_now() {
        let start = Instant::now();
        let record = answers(start, &[(0, 1000, ONE)]);
        let outage = record.outage(at(start, 1000), at(start, 6000)).unwrap();
        assert_eq!(outage.first_good, None);
        assert_eq!(outage.lasted, Duration::from_millis(5005));
    }

    #[test]
    fn a_record_without_good_answers_has_no_outage_to_show() {
        let start = Instant::now();
        assert_eq!(Record::default().outage(start, at(start, 10)), None);
    }

    #[test]
    fn two_machines_answering_in_turns_hold_it_both() {
        let start = Instant::now();
        let record = sightings(start, &[(0, ONE), (0, TWO), (50, ONE), (50, TWO)]);
        let overlap = record.overlap(start).unwrap();
        assert_eq!(overlap.at, at(start, 50));
        assert!(overlap.macs.contains(&ONE) && overlap.macs.contains(&TWO));
        assert_eq!(record.overlap(at(start, 50)), None, "what was before doesn't count");
    }

    #[test]
    fn a_hand_over_and_a_failback_are_no_double_holding() {
        let start = Instant::now();
        let record = sightings(start, &[(0, ONE), (50, ONE), (700, TWO), (750, TWO), (2000, ONE)]);
        assert_eq!(record.overlap(start), None);
        let crossing = sightings(start, &[(0, ONE), (1, TWO), (2, ONE), (50, TWO), (100, TWO)]);
        assert_eq!(crossing.overlap(start), None);
    }
}
