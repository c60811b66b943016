//! Lemma 1 of protocol.md §7, in true time: whenever a node counts its peer's promise for a group, the
//! peer has one outstanding to it that ends later.
//!
//! Looked at after every turn of either daemon. A machine whose clock stood still has left the proof's
//! model ("clocks run at rates that differ by drift at most") until its next power-up. A giver whose daemon
//! is dead runs nothing; its next life begins with the promise (R8), and is judged again.

use hb_proto::authority::Promisee;
use hb_proto::id::{GroupId, Voter};
use hb_proto::time::{Duration, Instant};

use super::clock::Clock;
use super::fault::{NAMES, Who};
use super::knobs::voter;
use super::queue::At;
use super::world::World;

/// Two conversions between clocks, each rounded by a microsecond.
const ROUNDING_US: u64 = 2;

impl World {
    pub(super) fn check_promises(&mut self) {
        for user in 0..2 {
            for group in 0..self.knobs.groups.len() as u8 {
                let group = GroupId(group);
                let broken = self.broken_promise(user, group);
                if let Some(text) = broken.or_else(|| self.broken_by_arbiter(user, group)) {
                    self.violate(text);
                }
            }
        }
    }

    /// What `user` counts and its peer doesn't keep.
    fn broken_promise(&mut self, user: Who, group: GroupId) -> Option<String> {
        let giver = 1 - user;
        let (x, v) = (&self.machines[user], &self.machines[giver]);
        let (x_node, v_node) = (&x.daemon.as_deref()?.node, &v.daemon.as_deref()?.node);
        // A classic node voids what it promised when its peer is dead, and says so: `hb check` (R2).
        if self.checks.classic.contains(&true) && x.clock_stood {
            return None;
        }
        // An unbounded promise stands however clocks stood; but for a human's word (R14).
        let unbounded = x_node.config().timing.guard == Duration::MAX;
        let unbounded = unbounded && !self.checks.human_word[giver];
        if (x.clock_stood || v.clock_stood) && !unbounded {
            return None;
        }
        // Files that differ may know of different groups.
        x_node.group(group).and(v_node.group(group))?;
        let counted = x_node.promises(group).counted_until(voter(giver));
        if counted <= x.clock.local(self.now) {
            return None;
        }
        let counted = x.clock.when(counted);
        let given = v_node.promises(group);
        self.counts.promises += 1;
        let (names, now) = ((NAMES[user], NAMES[giver]), v.clock.local(self.now));
        if given.promised_to(now) != Some(Promisee::To(voter(user))) {
            return Some(format!(
                "{} counts {}'s promise for group {} for {} µs more, and there is none",
                names.0,
                names.1,
                group.0,
                counted - self.now
            ));
        }
        if let Some(text) = self.too_short(user, given.promise_ends(), counted, &v.clock) {
            return Some(format!(
                "{}'s promise to {} for group {} {text}",
                names.1, names.0, group.0
            ));
        }
        let ends = given.promise_ends().map_or(0, |ends| v.clock.when(ends));
        (ends.saturating_add(ROUNDING_US) < counted).then(|| {
            format!(
                "{} counts {}'s promise for group {} for {} µs longer than it lasts",
                names.0,
                names.1,
                group.0,
                counted - ends
            )
        })
    }
}

impl World {
    /// Whether a promise that `user` counts until `counted` (true time) ends less than guard later, by its
    /// giver's clock. Without guard there is nothing to ask.
    fn too_short(
        &self,
        user: Who,
        ends: Option<Instant>,
        counted: At,
        clock: &Clock,
    ) -> Option<String> {
        let guard = self.machines[user].daemon.as_deref()?.node.config().timing.guard;
        if guard == Duration::ZERO {
            return None;
        }
        // The user's clock stands still: it counts until it goes on, and only no end at all suffices.
        let counted = if counted == At::MAX { Instant::NEVER } else { clock.local(counted) };
        let needed = counted + guard;
        let ends = ends.unwrap_or(Instant::ZERO);
        (ends + Duration::from_micros(ROUNDING_US) < needed)
            .then(|| format!("ends {} before the end of its use and guard", needed.since(ends)))
    }

    /// The same of what `user` counts of the arbiter's. *Unknown* keeps it as well (R8): nobody else gets
    /// the group meanwhile. Another dongle in its place need not know of it before it is heard by both.
    fn broken_by_arbiter(&mut self, user: Who, group: GroupId) -> Option<String> {
        let dongle = self.dongle.as_deref()?;
        let arbiter = dongle.unit.arbiter.as_deref()?;
        let x = &self.machines[user];
        let unbounded = self.knobs.timing.guard == Duration::MAX;
        // Whoever has heard nobody for a lease (or knows no lease yet) binds itself to *unknown* when it
        // next hears a node, before it promises anything (R8): until then it need not know.
        let now = dongle.unit.clock.local(self.now);
        let heard =
            [Voter::A, Voter::B].iter().filter_map(|&of| arbiter.ledger().voice(of)).map(|v| v.at);
        let deaf = heard.max().is_none_or(|at| now.since(at) >= arbiter.terms().lease);
        // Away for less, it knows by the first frame of whoever was promised anything meanwhile; unless that node
        // took the other one's frames, and now takes its own, for news (decision 10, known limits).
        let heard_at = arbiter.ledger().voice(voter(user)).map(|voice| voice.at);
        let deaf = deaf
            || dongle.put_back.is_some_and(|(at, news)| {
                news[user] || heard_at <= Some(dongle.unit.clock.local(at))
            });
        // R12's own assumption is broken where a supervised line proves another board's fall: the arbiter
        // believes it until the requester's silence, or its next life, says "miswired". Not judged is what
        // it has not heard of the target since; that nobody starts anything meanwhile is.
        let misled = dongle.pulsed[user].is_some_and(|(at, hit)| {
            !hit && dongle.heard[user].at <= at && dongle.wired_to(user).is_some()
        });
        let believed = misled || self.checks.false_evidence[user];
        if x.clock_stood && !unbounded || believed || deaf {
            return None;
        }
        let node = &x.daemon.as_deref()?.node;
        node.group(group)?;
        let here = x.clock.local(self.now);
        let counted = node.promises(group).counted_until(Voter::Arbiter);
        if counted <= here {
            return None;
        }
        let counted = x.clock.when(counted);
        let settings = node.arbiter(here).and_then(|report| report.settings);
        let same = settings.is_some_and(|settings| settings.id == dongle.unit.id);
        let given = arbiter.ledger().promises(group);
        let (name, number) = (NAMES[user], group.0);
        let bound_at = dongle.unit.clock.local(dongle.bound_at);
        let began = bound_at + arbiter.terms().full + Duration::from_millis(2);
        let bounded = arbiter.terms().full < Duration::MAX;
        let mine = given.promised_to(now) == Some(Promisee::To(voter(user)));
        let began_with = mine && bounded && given.promise_ends().is_some_and(|ends| ends <= began);
        let text = match given.promised_to(now) {
            // What it began bound to, the first hello lengthens (R14); nobody is promised anything before.
            Some(Promisee::To(_)) if began_with => None,
            Some(Promisee::To(to)) if to == voter(user) => self
                .too_short(user, given.promise_ends(), counted, &dongle.unit.clock)
                .map(|text| format!("the arbiter's promise to {name} for group {number} {text}")),
            Some(Promisee::Unknown) => None,
            None if !same => None,
            other => Some(format!(
                "{name} counts the arbiter's promise for group {number} for {} µs more, and it has promised it to {other:?}",
                counted - self.now
            )),
        };
        self.counts.promises += 1;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::knobs::Knobs;
    use crate::sim::quiet;

    fn quiet() -> World {
        quiet::quiet(Knobs::plain(), 20)
    }

    /// B's clock jumps ahead by `us`: by its own reckoning its promise to A ends that much sooner.
    fn after_a_jump(us: u64) -> String {
        let mut world = quiet();
        let local = world.machines[1].clock.local(world.now).micros();
        world.machines[1].clock = Clock::new(world.now, local + us, 0);
        world.check_promises();
        world.checks.violation.map_or(String::new(), |violation| violation.text)
    }

    #[test]
    fn a_promise_that_ends_before_it_is_counted_to_its_end() {
        // The lemma leaves 5 % of the lease: 20 ms, and what the frame was under way.
        assert_eq!(after_a_jump(15_000), "");
        let text = after_a_jump(250_000);
        assert!(text.contains("longer than it lasts"), "{text}");
    }

    #[test]
    fn a_promise_that_is_counted_and_was_never_given() {
        let text = after_a_jump(10_000_000);
        assert!(text.contains("and there is none"), "{text}");
    }

    /// It is looked at: a quiet pair counts a promise nearly always.
    #[test]
    fn a_quiet_pair_is_judged_all_the_time() {
        let world = quiet();
        assert!(world.counts.promises > 300, "{}", world.counts.promises);
    }
}
