//! Lemma 1 of protocol.md §7, in true time: whenever a node counts its peer's promise for a group, the
//! peer has one outstanding to it that ends later.
//!
//! Looked at after every turn of either daemon. A machine whose clock stood still has left the proof's
//! model ("clocks run at rates that differ by drift at most") until its next power-up. A giver whose daemon
//! is dead runs nothing; its next life begins with the promise (R8), and is judged again.

use hb_proto::authority::Promisee;
use hb_proto::id::GroupId;

use super::fault::{NAMES, Who};
use super::knobs::voter;
use super::world::World;

/// Two conversions between clocks, each rounded by a microsecond.
const ROUNDING_US: u64 = 2;

impl World {
    pub(super) fn check_promises(&mut self) {
        for user in 0..2 {
            for group in 0..self.knobs.groups.len() as u8 {
                if let Some(text) = self.broken_promise(user, GroupId(group)) {
                    self.violate(text);
                }
            }
        }
    }

    /// What `user` counts and its peer doesn't keep.
    fn broken_promise(&mut self, user: Who, group: GroupId) -> Option<String> {
        let giver = 1 - user;
        let (x, v) = (&self.machines[user], &self.machines[giver]);
        if x.clock_stood || v.clock_stood {
            return None;
        }
        let (x_node, v_node) = (&x.daemon.as_deref()?.node, &v.daemon.as_deref()?.node);
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
        let ends = given.promise_ends().map_or(0, |ends| v.clock.when(ends));
        (ends + ROUNDING_US < counted).then(|| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::clock::Clock;
    use crate::sim::fault::{Fault, Planned};
    use crate::sim::knobs::Knobs;

    fn quiet() -> World {
        let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
        let mut world = World::new(1, Knobs::plain(), vec![on(0), on(1)], false);
        world.run_until(20_000_000);
        assert_eq!(world.checks.violation, None);
        world
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
