//! What the client of a group says, in the rig's time.

use std::time::Duration as StdDuration;

use hb_linux::rig::Mac;
use hb_linux::rig::probe::{Answer, Outcome, Record};
use hb_proto::time::{Duration, Instant};

use super::Clock;
use crate::scenario::cluster::Machine;
use crate::scenario::rig::{Moment, Source};

/// Who answers: whoever did last, unless that is `silent` ago.
#[must_use]
pub fn answering(
    record: &Record,
    silent: StdDuration,
    owner: impl Fn(Mac) -> Option<Machine>,
) -> Option<Machine> {
    let last = record.last_good().filter(|answer| answer.done.elapsed() < silent)?;
    last.mac.and_then(owner)
}

/// How long nobody has answered since `from`: until the outage's end, or until now.
#[must_use]
pub fn dark(record: &Record, clock: Clock, from: Instant) -> Duration {
    let outage = record.outage(clock.host(from), std::time::Instant::now());
    outage.map_or_else(|| clock.now().since(from), |outage| outage.lasted.into())
}

/// When two machines were first seen to answer at once, at or after `from`.
#[must_use]
pub fn overlap(record: &Record, clock: Clock, from: Instant) -> Option<Instant> {
    record.overlap(clock.host(from)).map(|overlap| clock.at(overlap.at))
}

/// When the client of the group `name` was answered by another machine than before, and when it wasn't
/// answered for `gap` and longer. `owner` tells a machine by its hardware address.
#[must_use]
pub fn lines(
    clock: Clock,
    name: &str,
    record: &Record,
    gap: StdDuration,
    owner: impl Fn(Mac) -> Option<Machine>,
) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut note = |at: std::time::Instant, text: String| {
        moments.push(Moment { at: clock.at(at), source: Source::Client, text });
    };
    let silence = |span: StdDuration| format!("{name}: no answer for {} ms", span.as_millis());
    let mut last: Option<Answer> = None;
    for answer in record.answers.iter().filter(|answer| answer.outcome == Outcome::Answered) {
        if let Some(before) = last
            && answer.done - before.done >= gap
        {
            note(before.done, silence(answer.done - before.done));
        }
        if last.is_none_or(|before| before.mac != answer.mac) {
            let who = answer.mac.and_then(&owner).map_or("a stranger", Machine::name);
            note(answer.done, format!("{name}: {who} answers"));
        }
        last = Some(*answer);
    }
    if let Some(last) = last
        && last.done.elapsed() >= gap
    {
        note(last.done, silence(last.done.elapsed()));
    }
    moments
}
