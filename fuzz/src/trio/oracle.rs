//! What must never be: two machines with one resource, a promise that ends before its use does.

use hb_proto::authority::{Promisee, Promises};
use hb_proto::id::{GroupId, Voter};
use hb_proto::time::{Duration, Instant};

use super::{GUARD, Story};
use crate::dongle::Dongle;

/// What rounding three clocks may cost, µs.
const ROUNDING: u64 = 10;

impl Story {
    pub(super) fn judge(&self) {
        let [a, b] = &self.hosts;
        if !self.human {
            let both: Vec<_> = a.held.intersection(&b.held).collect();
            assert!(both.is_empty(), "two machines run group and resource {both:?}");
        }
        for at in [0, 1] {
            for group in [GroupId(0), GroupId(1)] {
                self.judge_lemma(at, group);
            }
        }
    }

    /// Where the story is, for a person.
    pub(super) fn tell(&self) -> String {
        let group = GroupId(0);
        let host = |at: usize| {
            let host = &self.hosts[at];
            let Some(machine) = &host.machine else {
                return format!("no daemon, holds {:?}", host.held);
            };
            let (node, now) = (&machine.node, self.clock(at));
            let promises = node.promises(group);
            let counts = Voter::ALL.map(|by| promises.counted_until(by).since(now).millis());
            format!(
                "life {} holds {:?} {:?} frozen {} bound to {:?} counts {counts:?} ms",
                node.boot(),
                host.held,
                node.stance(group),
                host.frozen,
                promises.promised_to(now)
            )
        };
        let dongle = self.dongle.as_ref().map(|dongle| {
            let arbiter = &dongle.arbiter;
            let to = arbiter.ledger().promises(group).promised_to(self.clock(2));
            format!("life {} bound to {to:?}, {:?}", arbiter.boot(), arbiter.terms())
        });
        let (a, b, ms) = (host(0), host(1), self.now.millis());
        format!("{ms} ms, cut {:?}\n    A {a}\n    B {b}\n    dongle {dongle:?}", self.cut)
    }

    /// Lemma 1 of protocol.md §7: whoever is counted on is bound for guard longer, in true time.
    fn judge_lemma(&self, at: usize, group: GroupId) {
        let Some(machine) = &self.hosts[at].machine else { return };
        let me = [Voter::A, Voter::B][at];
        let counted = |by: Voter| machine.node.promises(group).counted_until(by);
        let other = self.hosts[1 - at].machine.as_ref();
        let peer = other.map(|other| other.node.promises(group).given());
        // R8: a spare that nobody told the times yet doesn't know for how long it is bound in another's place.
        // It can promise nothing before it does.
        let knows =
            |dongle: &&Dongle| dongle.has_heard() && dongle.arbiter.terms().lease > Duration::ZERO;
        let dongle = self.dongle.as_ref().filter(knows);
        let dongle = dongle.map(|dongle| dongle.arbiter.ledger().promises(group).given());
        for (giver, promises) in [(1 - at, peer), (2, dongle)] {
            let left = counted(Voter::ALL[giver]).since(self.clock(at)).micros();
            let Some(promises) = promises.filter(|_| left > 0) else { continue };
            // Further on the giver's clock than on ours, if it is the faster one.
            let needed = left * self.rates[giver] / self.rates[at] + GUARD.micros();
            let bound = bound_to(promises, me, self.clock(giver));
            assert!(
                bound + ROUNDING >= needed,
                "lemma 1: {me:?} counts group {} of {giver} for {left} µs, which is bound for {bound} \
                 µs of its own, not {needed}",
                group.0
            );
        }
    }
}

/// For how long a voter is bound to X; to nobody knows whom counts as well.
fn bound_to(promises: Promises<()>, x: Voter, now: Instant) -> u64 {
    let to_x = matches!(promises.promised_to(now), Some(Promisee::Unknown))
        || promises.promised_to(now) == Some(Promisee::To(x));
    let ends = promises.promise_ends().filter(|_| to_x);
    ends.map_or(0, |ends| ends.since(now).micros())
}

/// The rule that all three break, for the test which proves that this oracle can fail.
#[cfg(feature = "mutants")]
pub(super) fn broken() -> Option<hb_proto::mutant::Mutant> {
    crate::BROKEN.get()
}
