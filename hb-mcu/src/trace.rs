//! The last events of a life, numbered: what an operator reads over the serial line when something went wrong.

#[cfg(feature = "defmt")]
use hb_proto::arbiter::Arbiter;
use hb_proto::arbiter::Event;
use hb_proto::id::BootId;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service::{Answer, Entry, Note, Refusal};
use heapless::Vec;

/// Events kept: some minutes of a pair in trouble. A sound pair makes none.
const KEPT: usize = 24;

/// A ring of events.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Instant,
    entries: [Entry; KEPT],
    /// Events so far; the newest has this number.
    newest: u32,
    #[cfg(feature = "defmt")]
    requests: crate::log::Requests,
}

impl Trace {
    pub(crate) fn new(began: Instant) -> Self {
        let entries = [Entry { at_ms: 0, what: Note::Unknown, arg: 0 }; KEPT];
        Self {
            began,
            entries,
            newest: 0,
            #[cfg(feature = "defmt")]
            requests: crate::log::Requests::default(),
        }
    }

    /// Notes an event. One like the last is not noted again: a flood of damaged frames must not wash away what
    /// came before it.
    pub(crate) fn note(&mut self, now: Instant, what: Note, arg: u32) {
        let last = self.entries[slot(self.newest)];
        if self.newest > 0 && (last.what, last.arg) == (what, arg) {
            return;
        }
        self.newest = self.newest.wrapping_add(1);
        let at_ms = ms(now.since(self.began));
        self.entries[slot(self.newest)] = Entry { at_ms, what, arg };
        #[cfg(feature = "defmt")]
        crate::log::note(at_ms, what, arg);
    }

    /// The first event. Why it began is in every frame, and in the log.
    pub(crate) fn note_life(&mut self, boot: BootId, _reset: ResetReason) {
        #[cfg(feature = "defmt")]
        crate::log::began(Some(boot), _reset);
        self.note(self.began, Note::Began, boot.value());
    }

    pub(crate) fn note_refusal(&mut self, now: Instant, why: Refusal) {
        self.note(now, Note::Refused, why as u32);
        #[cfg(feature = "defmt")]
        crate::log::refused(why);
    }

    /// What nodes ask for goes to the log alone.
    #[cfg(feature = "defmt")]
    pub(crate) fn note_requests(&mut self, now: Instant, arbiter: &Arbiter) {
        self.requests.look(ms(now.since(self.began)), now, arbiter);
    }

    pub(crate) fn note_event(&mut self, now: Instant, event: &Event) {
        let (what, arg) = match *event {
            Event::Heard { node, heard } => (Note::Heard, node as u32 | u32::from(heard) << 8),
            Event::Forgot => (Note::Forgot, 0),
            Event::Pulsed { node, .. } => (Note::Pulsed, node as u32),
            Event::Confirmed { node } => (Note::Confirmed, node as u32),
            Event::Miswired => (Note::Miswired, 0),
            Event::Stall { late } => (Note::Stall, ms(late)),
            Event::Rejected { port, reason } => {
                (Note::Rejected, reason.index() as u32 | (port as u32) << 8)
            }
        };
        self.note(now, what, arg);
    }

    /// What came after event `after`, or after what is forgotten.
    pub(crate) fn answer(&self, after: u32) -> Answer {
        let oldest = self.newest.saturating_sub(KEPT as u32) + 1;
        let first = oldest.max(after.saturating_add(1));
        let mut entries = Vec::new();
        for number in first..=self.newest {
            if entries.push(self.entries[slot(number)]).is_err() {
                break;
            }
        }
        Answer::Trace { newest: self.newest, first, entries }
    }

    /// When it began to count.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }
}

const fn slot(number: u32) -> usize {
    number as usize % KEPT
}

/// Whole milliseconds, as far as they fit.
fn ms(span: Duration) -> u32 {
    u32::try_from(span.millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn read(trace: &Trace, after: u32) -> (u32, std::vec::Vec<u32>) {
        match trace.answer(after) {
            Answer::Trace { first, entries, .. } => {
                (first, entries.iter().map(|entry| entry.arg).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_events_are_kept_and_read_in_parts() {
        let mut trace = Trace::new(Instant::from_millis(1000));
        assert_eq!(read(&trace, 0), (1, vec![]));
        for arg in 1..=30 {
            trace.note(Instant::from_millis(1000 + u64::from(arg)), Note::Stall, arg);
            trace.note(Instant::from_millis(2000), Note::Stall, arg);
        }
        assert_eq!(read(&trace, 0), (7, (7..15).collect()), "30 - 24 are forgotten");
        assert_eq!(read(&trace, 28), (29, vec![29, 30]));
        assert_eq!(read(&trace, 30), (31, vec![]));
        assert_eq!(read(&trace, u32::MAX).1, []);
    }
}
