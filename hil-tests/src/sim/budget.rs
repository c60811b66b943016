//! Takeovers after a death are held against the budget that the node itself prints, wherever nothing but the
//! death can have delayed them.
//!
//! Not judged is a node to which something happened shortly before or meanwhile, whose scripts are ill, or
//! whose pair has had other files than the knobs': a budget promises nothing of those. Cuts and weather excuse
//! nothing: who hears nothing may take over, and does so in time.

use hb_proto::event::{Cause, Failover};
use hb_proto::id::GroupId;
use hb_proto::time::Duration;
use hb_proto::wire::message::arbiter::LineShown;

use super::fault::{Fault, Mood, NAMES, Who};
use super::knobs::trio::Stopped;
use super::queue::At;
use super::world::World;
use crate::scenario::ResetWire;

/// So long what happened to a node may go on delaying a start: a start that failed is forgotten after 5 s
/// (`Patience` of the knobs), an order that hung after 3 s and a SIGKILL.
const AFTERMATH_US: u64 = 15_000_000;

impl World {
    /// Something happens, perhaps to one node's programs.
    pub(super) fn note_disturbance(&mut self, fault: &Fault) {
        let (who, lasts) = match *fault {
            Fault::PowerOff(who)
            | Fault::Reset(who)
            | Fault::Freeze(who)
            | Fault::Thaw(who)
            | Fault::PanicKernel(who)
            | Fault::Stop(who)
            | Fault::Continue(who)
            | Fault::KillDaemon(who)
            | Fault::KillHelper(who)
            | Fault::KillBoth(who)
            | Fault::CrashLoop(who, _)
            | Fault::Scripts(who, _)
            | Fault::Operator(who, _)
            | Fault::PeerIsOff(who)
            | Fault::Reload(who, _) => (who, 0),
            // It begins with a turn that comes within a second, if the daemon runs at all.
            Fault::Stall(who, _, span) => (who, span + 1_000_000),
            _ if self.dongle.is_some() && is_of_all(fault) => {
                self.disturb_all();
                return;
            }
            Fault::PowerOn(_)
            | Fault::Cut { .. }
            | Fault::Mend { .. }
            | Fault::CutAll
            | Fault::MendAll
            | Fault::Weather { .. }
            | Fault::Dongle(_)
            | Fault::WallStep(..) => return,
        };
        let until = self.now + lasts + AFTERMATH_US;
        self.checks.disturbed_until[who] = self.checks.disturbed_until[who].max(until);
    }

    /// A node has a group and says how long that took.
    pub(super) fn note_failover(&mut self, who: Who, group: GroupId, failover: &Failover) {
        if failover.cause != Cause::PeerDead {
            return;
        }
        let took = failover.detection.unwrap_or_default() + failover.takeover;
        let began: At = self.now.saturating_sub(took.micros());
        let machine = &self.machines[who];
        let ill = machine.mood != Mood::Healthy || machine.lied_to || !machine.conduct.is_empty();
        let reloads = Fault::KINDS.iter().position(|kind| *kind == "reload");
        let other_files = reloads.is_some_and(|kind| self.counts.faults[kind] > 0);
        if ill || other_files || began < self.checks.disturbed_until[who] {
            return;
        }
        let Some(budget) = self.budget_with_arbiter(who, group, failover.budget) else { return };
        self.counts.takeovers_judged += 1;
        if took > budget && self.checks.beyond_budget.is_none() {
            let text = format!(
                "at {}.{:06} s: {} took group {} over in {took}; its own budget is {}, and nothing excuses that",
                self.now / 1_000_000,
                self.now % 1_000_000,
                NAMES[who],
                group.0,
                budget
            );
            self.tell_all(|| format!("BEYOND ITS BUDGET {text}"));
            self.checks.beyond_budget = Some(text);
        }
    }
}

/// What takes or delays a vote of three voters, whichever node it happens to.
const fn is_of_all(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Cut { .. }
            | Fault::Mend { .. }
            | Fault::CutAll
            | Fault::MendAll
            | Fault::Weather { .. }
            | Fault::Dongle(_)
    )
}

impl World {
    /// With an arbiter a takeover needs its vote, and so everything that carries it: quiet for as long as
    /// promises of before can last.
    fn disturb_all(&mut self) {
        let full = self.knobs.timing.full().micros().min(60_000_000);
        let until = self.now + AFTERMATH_US + 3 * full;
        for who in 0..2 {
            self.checks.disturbed_until[who] = self.checks.disturbed_until[who].max(until);
        }
    }

    /// What a takeover is held against with an arbiter: the node's own budget where a fence can be proved;
    /// where it can't, by time (protocol.md §3). `None` where a vote is missing: two failures.
    fn budget_with_arbiter(&self, who: Who, group: GroupId, own: Duration) -> Option<Duration> {
        let (Some(arbiter), Some(dongle)) = (self.knobs.arbiter, self.dongle.as_deref()) else {
            return Some(own);
        };
        let cut = self.wires.iter().flatten().any(|wire| wire.cut);
        // A dead peer's feed may be the only one, and it is the failure that is judged.
        if cut || !dongle.is_sound() || matches!(arbiter.stopped, Stopped::Unsafe(_)) {
            return None;
        }
        let proves = dongle.provable[1 - who];
        let lines = dongle.unit.memory.map(|memory| memory.nodes.map(|node| node.line));
        let tested = lines.is_some_and(|lines| lines == [LineShown::Commissioned; 2]);
        let wired = dongle.reset_wires == [ResetWire::Sound; 2];
        if arbiter.reset_lines && proves && tested && wired {
            return Some(own);
        }
        let config = &self.configs[who];
        let budget = config.budget(group.index())?;
        let full = config.timing.full();
        (full < Duration::MAX)
            .then(|| config.timing.deadtime.max(full) + budget.start + budget.announce)
    }
}

#[cfg(test)]
mod tests {
    use hb_proto::event::Event;

    use super::*;
    use crate::sim::fault::Planned;
    use crate::sim::knobs::Knobs;

    const B: Who = 1;

    /// 30 quiet seconds, so that no boot is near.
    fn quiet() -> World {
        let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
        let mut world = World::new(1, Knobs::plain(), vec![on(0), on(1)], false);
        world.run_until(30_000_000);
        assert!(world.serves(0, 0));
        world
    }

    fn tells(world: &mut World, cause: Cause, takeover_ms: u64) {
        let failover = Failover {
            cause,
            detection: Some(Duration::from_millis(500)),
            takeover: Duration::from_millis(takeover_ms),
            budget: Duration::from_millis(1000),
        };
        world.note_event(B, Event::Failover { group: GroupId(0), failover });
    }

    #[test]
    fn a_takeover_beyond_its_own_budget_is_red() {
        let mut world = quiet();
        tells(&mut world, Cause::PeerDead, 500);
        assert_eq!((&world.checks.beyond_budget, world.counts.takeovers_judged), (&None, 1));
        tells(&mut world, Cause::PeerDead, 501);
        let text = world.checks.beyond_budget.expect("red");
        assert!(
            text.starts_with(
                "at 30.000000 s: B took group 0 over in 1001 ms; its own budget is 1000 ms"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_a_budget_does_not_promise_is_not_judged() {
        for fault in [
            Fault::Scripts(B, Mood::Slow(4)),
            Fault::KillHelper(B),
            Fault::Stall(B, super::super::fault::Point::Decided, 700_000),
            Fault::Reload(0, super::super::fault::Files::TwiceAsSlow),
        ] {
            let mut world = quiet();
            world.apply(fault);
            world.run_until(32_000_000);
            let judged = world.counts.takeovers_judged;
            tells(&mut world, Cause::PeerDead, 9_000);
            assert_eq!(world.counts.takeovers_judged, judged, "{fault}");
        }
        let mut world = quiet();
        tells(&mut world, Cause::Standby, 9_000);
        assert_eq!(world.checks.beyond_budget, None, "a planned move waits for the peer's scripts");
    }

    /// A real one.
    #[test]
    fn a_power_loss_is_judged() {
        let mut world = quiet();
        world.apply(Fault::PowerOff(0));
        world.run_until(32_000_000);
        assert_eq!((world.counts.takeovers_judged, &world.checks.beyond_budget), (1, &None));
    }
}
