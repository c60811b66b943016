//! What a voter asks for itself, group by group: nothing, if it is an arbiter.

use core::fmt::Debug;
use core::hash::Hash;

use crate::id::Voter;
use crate::time::{Duration, Instant};

/// What this voter does about a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stance {
    /// Neither asks nor runs; may promise.
    #[default]
    Idle,
    /// Asks; gives way to a runner or to the group's home.
    Asking,
    /// Runs; promises to nobody.
    Running,
}

/// A voter's own part in one group: [`Request`], or `()` for one that only promises. That takes no room and no code,
/// both of which a dongle has little of; the rules are the same.
pub trait Part: Copy + Eq + Hash + Debug + Default {
    /// Who it is, if only one voter can be.
    const ME: Option<Voter>;

    /// What this voter does about the group.
    fn stance(&self) -> Stance;
    /// It does something else, and asks from frame `first` on if it asks.
    fn set_stance(&mut self, stance: Stance, first: u32);
    /// It neither asks nor runs any more: it uses no promise from here on (R5).
    fn end(&mut self);
    /// R7: `by` shows a promise and echoes our frame `seq`, sent at `sent_at`.
    fn count(&mut self, by: Voter, seq: u32, sent_at: Instant, lease: Duration);
    /// Until when `by`'s promise counts; in the past if it doesn't.
    fn counted_until(&self, by: Voter) -> Instant;
    /// The same as seen from an epoch that lies `by` later.
    #[must_use]
    fn rebased(self, by: Duration) -> Self;
    /// For an explorer: own frames have other numbers, and times that are over become one.
    #[cfg(feature = "explore")]
    fn simplify(&mut self, own: Option<&dyn Fn(u32) -> u32>, now: Instant);
}

/// An arbiter promises and asks for nothing.
impl Part for () {
    const ME: Option<Voter> = Some(Voter::Arbiter);

    fn stance(&self) -> Stance {
        Stance::Idle
    }

    fn set_stance(&mut self, _stance: Stance, _first: u32) {}

    fn end(&mut self) {}

    fn count(&mut self, _by: Voter, _seq: u32, _sent_at: Instant, _lease: Duration) {}

    fn counted_until(&self, _by: Voter) -> Instant {
        Instant::ZERO
    }

    fn rebased(self, _by: Duration) -> Self {}

    #[cfg(feature = "explore")]
    fn simplify(&mut self, _own: Option<&dyn Fn(u32) -> u32>, _now: Instant) {}
}

/// A node's: what it does, and the promises that it may count, for the present, unbroken request alone (R7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Request {
    stance: Stance,
    /// Number of the first frame of the present request.
    from: Option<u32>,
    counted_until: [Instant; Voter::COUNT],
}

impl Part for Request {
    const ME: Option<Voter> = None;

    fn stance(&self) -> Stance {
        self.stance
    }

    fn set_stance(&mut self, stance: Stance, first: u32) {
        self.stance = stance;
        if stance == Stance::Idle {
            self.end();
        } else {
            self.from.get_or_insert(first);
        }
    }

    fn end(&mut self) {
        self.from = None;
        self.counted_until = [Instant::ZERO; Voter::COUNT];
    }

    fn count(&mut self, by: Voter, seq: u32, sent_at: Instant, lease: Duration) {
        if self.from.is_some_and(|first| seq >= first) {
            let until = &mut self.counted_until[by.index()];
            *until = (*until).max(sent_at + lease);
        }
    }

    fn counted_until(&self, by: Voter) -> Instant {
        self.counted_until[by.index()]
    }

    fn rebased(mut self, by: Duration) -> Self {
        self.counted_until = self.counted_until.map(|until| until.rebased(by));
        self
    }

    #[cfg(feature = "explore")]
    fn simplify(&mut self, own: Option<&dyn Fn(u32) -> u32>, now: Instant) {
        if let Some(own) = own {
            self.from = self.from.map(own);
            return;
        }
        for until in &mut self.counted_until {
            if *until <= now {
                *until = Instant::ZERO;
            }
        }
    }
}
