//! One group's promises, as one voter holds and counts them (protocol.md §2).

#[cfg(feature = "explore")]
mod explore;

use super::request::{Part, Request, Stance};
use crate::id::{BootId, Voter};
use crate::time::{Duration, Instant};

/// Whom a promise binds its giver to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Promisee {
    /// A node.
    To(Voter),
    /// Somebody, in a life that was forgotten: a starting arbiter without memory (R8).
    Unknown,
}

/// A frame's name: the life that sent it, and its number in that life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameName {
    /// The life.
    pub boot: BootId,
    /// The number.
    pub seq: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Given {
    to: Promisee,
    until: Instant,
    /// The frame that gave or last renewed it; none for the promise that a life begins with.
    renewed_by: Option<FrameName>,
}

/// The promises of one group: the one this voter gave, and those it may count.
///
/// At most one is given at a time (R1); a promise is counted only for the present, unbroken request (R7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Promises<P = Request> {
    given: Option<Given>,
    own: P,
}

impl<P: Part> Promises<P> {
    /// R8: a life begins with a promise already given, since a former life may have given it.
    #[must_use]
    pub fn starting(to: Promisee, until: Instant) -> Self {
        Self { given: Some(Given { to, until, renewed_by: None }), own: P::default() }
    }

    /// The promise given, apart from what this voter asks for itself.
    #[must_use]
    pub const fn given(&self) -> Promises<()> {
        Promises { given: self.given, own: () }
    }

    /// R8: a former life may have promised on longer terms than the present ones.
    pub fn starting_lasts_until(&mut self, until: Instant) {
        if let Some(given) = self.given.as_mut().filter(|given| given.renewed_by.is_none()) {
            given.until = given.until.max(until);
        }
    }

    /// R8: terms that were in force before this life began are learnt late. What was taken for over isn't.
    pub fn starting_lasted_until(&mut self, now: Instant, until: Instant) {
        match &mut self.given {
            Some(given) if given.renewed_by.is_none() => given.until = given.until.max(until),
            Some(given) if given.until > now => {}
            _ if until > now => self.forget(until),
            _ => {}
        }
    }

    /// R14: the lives that may use it are known, and their own terms: it need not last longer.
    pub fn starting_ends_by(&mut self, until: Instant) {
        if let Some(given) = self.given.as_mut().filter(|given| given.renewed_by.is_none()) {
            given.until = given.until.min(until);
        }
    }

    /// Whom the promise outstanding at `now` binds this voter to.
    #[must_use]
    pub fn promised_to(&self, now: Instant) -> Option<Promisee> {
        self.given.as_ref().filter(|given| given.until > now).map(|given| given.to)
    }

    /// When the promise given ends by its time.
    #[must_use]
    pub fn promise_ends(&self) -> Option<Instant> {
        self.given.map(|given| given.until)
    }

    /// R1: whether nothing promised stands in the way of promising to `to`.
    #[must_use]
    pub fn may_promise(&self, to: Voter, now: Instant) -> bool {
        self.promised_to(now).is_none_or(|promisee| promisee == Promisee::To(to))
    }

    /// R4: gives or renews, answering `frame` received at `now`. `full` is that of the life which asks.
    /// Call only if [`Promises::may_promise`].
    ///
    /// A former end, be it later, is of no use to anybody: lives before the one that asks are over (R9), and
    /// this one counts no promise of ours for longer than its lease, runs on for no longer than its guard.
    pub fn promise(&mut self, to: Voter, frame: FrameName, now: Instant, full: Duration) {
        debug_assert!(self.may_promise(to, now), "R1: one promise at a time");
        self.given =
            Some(Given { to: Promisee::To(to), until: now + full, renewed_by: Some(frame) });
    }

    /// Handover (R11): the giver, confirmed stopped, binds itself to `to` before `to` has asked. Or a fence that
    /// was confirmed is not any more (R12). Not where somebody else has the promise. Shown to nobody until a
    /// frame renews it (R6).
    pub fn bind(&mut self, to: Voter, now: Instant, full: Duration) {
        if self.may_promise(to, now) {
            self.given = Some(Given { to: Promisee::To(to), until: now + full, renewed_by: None });
        }
    }

    /// R5: a fresh frame of `from` that neither asks nor runs ends the promise to it. R8: a promise to
    /// *unknown* can then only be to the other node.
    pub fn released_by(&mut self, from: Voter) {
        let Some(given) = &mut self.given else { return };
        if given.to == Promisee::To(from) {
            self.given = None;
        } else if given.to == Promisee::Unknown {
            given.to = Promisee::To(from.peer());
        }
    }

    /// R5, without freshness: `frame` of `from` neither asks nor runs. It ends a promise that an earlier frame
    /// of the same life got in this life of ours. It was sent after that one, once the group was stopped and
    /// nothing was counted any more; and as frames are processed in order, we have renewed nothing since that
    /// a later request of its could count. A promise that our life began with is another matter: our former
    /// life may have answered frames later than this one.
    pub fn released_later(&mut self, from: Voter, frame: FrameName) {
        let over = |given: &Given| {
            given.to == Promisee::To(from)
                && given.renewed_by.is_some_and(|got| got.boot == frame.boot && got.seq < frame.seq)
        };
        self.end_if(over);
    }

    /// R8: whatever was promised, and whatever another arbiter may have promised in this one's place:
    /// to *unknown*, at least until then.
    pub fn forget(&mut self, until: Instant) {
        let until = self.given.map_or(until, |given| given.until.max(until));
        self.given = Some(Given { to: Promisee::Unknown, until, renewed_by: None });
    }

    /// R5: the first frame of `of`'s higher boot id ends every promise to its earlier lives.
    /// One that this life began with, it ends only when `fresh`: the frame may be older than this life.
    /// Call only for an id that is higher than a known one: the first that is heard at all may be that of
    /// the very life which uses the promise that a former life of ours gave.
    pub fn new_life_of(&mut self, of: Voter, fresh: bool) {
        let ends =
            |given: &Given| given.to == Promisee::To(of) && (fresh || given.renewed_by.is_some());
        self.end_if(ends);
    }

    /// The promise to `of` is void: a confirmed fence (R12), or in classic mode its death (R2).
    pub fn void(&mut self, of: Voter) {
        self.released_by(of);
    }

    /// Forgets a promise whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.end_if(|given| given.until <= now);
    }

    fn end_if(&mut self, over: impl FnOnce(&Given) -> bool) {
        if self.given.as_ref().is_some_and(over) {
            self.given = None;
        }
    }

    /// R6: shown to `to` only if the very frame that ours echoes renewed it.
    #[must_use]
    pub fn shows_to(&self, to: Voter, echoed: Option<FrameName>, now: Instant) -> bool {
        self.given.as_ref().is_some_and(|given| {
            given.to == Promisee::To(to)
                && given.until > now
                && given.renewed_by.is_some()
                && given.renewed_by == echoed
        })
    }

    /// What this voter does about the group.
    #[must_use]
    pub fn stance(&self) -> Stance {
        self.own.stance()
    }

    /// It does something else from now on (R3), and asks from frame `first` on if it asks. To run, it must have asked.
    pub fn set_stance(&mut self, stance: Stance, first: u32) {
        self.own.set_stance(stance, first);
    }

    /// R7: `by` shows a promise and echoes our frame `seq`, sent at `sent_at`.
    pub fn count(&mut self, by: Voter, seq: u32, sent_at: Instant, lease: Duration) {
        self.own.count(by, seq, sent_at, lease);
    }

    /// Until when `by`'s promise counts; in the past if it doesn't.
    #[must_use]
    pub fn counted_until(&self, by: Voter) -> Instant {
        self.own.counted_until(by)
    }

    /// R2: nothing promised, and somebody's promise unexpired.
    #[must_use]
    pub fn authorised(&self, me: Voter, now: Instant) -> bool {
        self.promised_to(now).is_none()
            && Voter::ALL.iter().any(|&by| by != me && self.counted_until(by) > now)
    }

    /// The same as seen from an epoch that lies `by` later.
    #[must_use]
    pub fn rebased(mut self, by: Duration) -> Self {
        self.given = self.given.map(|given| Given { until: given.until.rebased(by), ..given });
        self.own = self.own.rebased(by);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(400);
    const FULL: Duration = Duration::from_millis(420);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn frame(boot: u32, seq: u32) -> FrameName {
        FrameName { boot: BootId::new(boot).expect("id"), seq }
    }

    fn free() -> Promises {
        let mut promises = <Promises>::starting(Promisee::Unknown, Instant::ZERO);
        promises.expire(at(1));
        promises
    }

    #[test]
    fn r1_one_promise_at_a_time() {
        let mut d = free();
        d.promise(Voter::A, frame(1, 5), at(10), FULL);
        assert!(d.may_promise(Voter::A, at(11)));
        assert!(!d.may_promise(Voter::B, at(429)));
        assert!(d.may_promise(Voter::B, at(430)));
    }

    #[test]
    fn r4_a_renewal_lasts_as_long_as_the_life_that_asks_could_use_it() {
        let mut d = <Promises>::starting(Promisee::To(Voter::A), Instant::NEVER);
        d.promise(Voter::A, frame(1, 5), at(10), FULL);
        assert_eq!(d.promise_ends(), Some(at(430)), "what a former life promised is over by then");
        d.promise(Voter::A, frame(1, 6), at(20), FULL);
        assert_eq!(d.promise_ends(), Some(at(440)));
    }

    #[test]
    fn r5_a_later_frame_of_the_same_life_releases_what_this_life_gave() {
        let mut d = free();
        d.promise(Voter::A, frame(1, 5), at(10), FULL);
        for (from, older) in
            [(Voter::A, frame(1, 5)), (Voter::A, frame(2, 9)), (Voter::B, frame(1, 6))]
        {
            d.released_later(from, older);
            assert!(d.promised_to(at(11)).is_some(), "{from:?} {older:?}");
        }
        d.released_later(Voter::A, frame(1, 6));
        assert_eq!(d.promised_to(at(11)), None);
        let mut starting = <Promises>::starting(Promisee::To(Voter::A), at(420));
        starting.released_later(Voter::A, frame(1, 6));
        assert!(
            starting.promised_to(at(11)).is_some(),
            "what a former life gave, for a later frame"
        );
    }

    #[test]
    fn r8_terms_learnt_late_bind_again_what_was_taken_for_over() {
        let mut d = free();
        d.starting_lasted_until(at(500), at(400));
        assert_eq!(d.promised_to(at(399)), None, "that would have been over too");
        d.starting_lasted_until(at(500), at(9000));
        assert_eq!(d.promised_to(at(8999)), Some(Promisee::Unknown));
        let mut given = free();
        given.promise(Voter::A, frame(1, 5), at(10), FULL);
        given.starting_lasted_until(at(20), at(9000));
        assert_eq!(given.promise_ends(), Some(at(430)), "one promise at a time (R1)");
    }

    #[test]
    fn r5_release_frees_only_the_releaser() {
        let mut d = free();
        d.promise(Voter::A, frame(1, 5), at(10), FULL);
        d.released_by(Voter::B);
        assert_eq!(d.promised_to(at(11)), Some(Promisee::To(Voter::A)));
        d.released_by(Voter::A);
        assert_eq!(d.promised_to(at(11)), None);
    }

    #[test]
    fn r5_a_stale_new_life_does_not_end_the_promise_a_life_began_with() {
        let mut b = <Promises>::starting(Promisee::To(Voter::A), at(420));
        b.new_life_of(Voter::A, false);
        assert_eq!(b.promised_to(at(1)), Some(Promisee::To(Voter::A)));
        b.new_life_of(Voter::A, true);
        assert_eq!(b.promised_to(at(1)), None);
    }

    #[test]
    fn r6_shown_only_if_the_echoed_frame_renewed_it() {
        let mut b = free();
        b.promise(Voter::A, frame(1, 5), at(10), FULL);
        assert!(b.shows_to(Voter::A, Some(frame(1, 5)), at(11)));
        assert!(
            !b.shows_to(Voter::A, Some(frame(1, 6)), at(11)),
            "a later frame that renewed nothing"
        );
        assert!(!b.shows_to(Voter::A, None, at(11)));
        assert!(!b.shows_to(Voter::B, Some(frame(1, 5)), at(11)));
        let starting = <Promises>::starting(Promisee::To(Voter::A), at(420));
        assert!(!starting.shows_to(Voter::A, None, at(1)), "a start-up promise is nobody's to use");
    }

    #[test]
    fn r7_a_promise_for_an_earlier_request_counts_for_nothing() {
        let mut a = free();
        a.set_stance(Stance::Asking, 5);
        a.count(Voter::Arbiter, 5, at(10), LEASE);
        assert!(a.authorised(Voter::A, at(409)));
        assert!(!a.authorised(Voter::A, at(410)), "ends lease after the frame it answers was sent");
        a.set_stance(Stance::Idle, 0);
        assert!(!a.authorised(Voter::A, at(20)), "nothing counts after a release");
        a.set_stance(Stance::Asking, 9);
        a.count(Voter::Arbiter, 8, at(15), LEASE);
        assert!(!a.authorised(Voter::A, at(20)), "an old promise is no answer to the new request");
        a.count(Voter::Arbiter, 9, at(20), LEASE);
        assert!(a.authorised(Voter::A, at(21)));
    }

    #[test]
    fn r2_who_has_promised_may_not_run() {
        let mut a = free();
        a.set_stance(Stance::Asking, 1);
        a.count(Voter::Arbiter, 1, at(0), LEASE);
        a.promise(Voter::B, frame(3, 1), at(1), FULL);
        assert!(!a.authorised(Voter::A, at(2)));
    }

    #[test]
    fn rebased_promises_end_as_far_ahead() {
        let mut a = free();
        a.promise(Voter::B, frame(3, 1), at(1000), FULL);
        let b = a.rebased(Duration::from_millis(1000));
        assert!(b.promised_to(at(419)).is_some() && b.promised_to(at(420)).is_none());
    }
}
