//! Takeovers after a death are held against the budget that the node itself prints, wherever nothing but the
//! death can have delayed them.
//!
//! Not judged is what a budget promises nothing of: [`Spared`] names it, and each is counted, so that a judge
//! who judges next to nothing is seen. With two voters cuts and weather excuse nothing: who hears nothing may
//! take over, and does so in time. With three a takeover needs the dongle's vote, and what carries it.

use hb_proto::event::{Cause, Failover};
use hb_proto::id::GroupId;
use hb_proto::time::Duration;
use hb_proto::wire::message::arbiter::LineShown;

use super::fault::{Fault, Files, Mood, NAMES, Who};
use super::knobs::trio::Stopped;
use super::queue::At;
use super::world::World;
use crate::scenario::ResetWire;

/// So long what happened to a node may go on delaying a start: a start that failed is forgotten after 5 s
/// (`Patience` of the knobs), an order that hung after 3 s and a SIGKILL.
const AFTERMATH_US: u64 = 15_000_000;

/// Why a takeover after a death is held against no budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spared {
    /// The node's scripts are ill: an allowance is for healthy ones.
    Scripts,
    /// The pair has had other files than the knobs'.
    Files,
    /// Something happened shortly before, and may go on delaying it.
    Disturbed,
    /// A wire or the dongle fails besides: a second failure. Or guard is somebody's word.
    NoVote,
    /// The dongle is younger than the silence: a second failure, too.
    YoungDongle,
    /// What the dead was promised ends by no time, and no fence can be proved.
    NoEnd,
}

impl Spared {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Scripts, Self::Files, Self::Disturbed, Self::NoVote, Self::YoungDongle, Self::NoEnd];

    /// As figures are printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scripts => "scripts that are ill",
            Self::Files => "other files",
            Self::Disturbed => "something that happened shortly before",
            Self::NoVote => "a wire, or the dongle, that fails besides",
            Self::YoungDongle => "a dongle that is younger than the silence",
            Self::NoEnd => "an unbounded guard without proof of a fence",
        }
    }
}

impl World {
    /// Something happens, perhaps to one node's programs.
    pub(super) fn note_disturbance(&mut self, fault: &Fault) {
        let (who, lasts) = match *fault {
            // Nobody is left whose takeover could be late; its next life is young first.
            Fault::PowerOff(who)
            | Fault::Reset(who)
            | Fault::PanicKernel(who)
            | Fault::KillDaemon(who)
            | Fault::KillBoth(who) => (who, 0),
            // Silence counts from the end of its own standstill.
            Fault::Freeze(who) | Fault::Thaw(who) | Fault::Stop(who) | Fault::Continue(who) => {
                (who, self.settling_us())
            }
            Fault::KillHelper(who)
            | Fault::CrashLoop(who, _)
            | Fault::Scripts(who, _)
            | Fault::Operator(who, _)
            | Fault::PeerIsOff(who) => (who, AFTERMATH_US),
            Fault::Reload(who, files) => {
                self.note_files(who, files);
                (who, AFTERMATH_US)
            }
            // It begins with a turn that comes within a second, if the daemon runs at all.
            Fault::Stall(who, _, span) => (who, span + 1_000_000 + self.settling_us()),
            _ if self.dongle.is_some() && is_of_all(fault) => {
                self.disturb_all(self.settling_us());
                return;
            }
            Fault::PowerOn(_)
            | Fault::Cut { .. }
            | Fault::Mend { .. }
            | Fault::CutAll
            | Fault::MendAll
            | Fault::Weather { .. }
            | Fault::Break { .. }
            | Fault::Speed { .. }
            | Fault::Dongle(_)
            | Fault::WallStep(..) => return,
        };
        let until = self.now + lasts;
        self.checks.disturbed_until[who] = self.checks.disturbed_until[who].max(until);
    }

    /// A node's life begins: its hello has to reach everybody, and what its former life may have promised lasts
    /// for full (R8). A peer that dies meanwhile is a second failure.
    pub(super) fn note_young_life(&mut self, who: Who) {
        let until = self.now + self.settling_us();
        self.checks.disturbed_until[who] = self.checks.disturbed_until[who].max(until);
    }

    /// Who has other files than the knobs'. Their terms may be twice the knobs', and so may what was promised
    /// by them.
    fn note_files(&mut self, who: Who, files: Files) {
        let same = files == Files::Same;
        let had_other = std::mem::replace(&mut self.checks.other_files[who], !same);
        if had_other && same {
            self.disturb_all(AFTERMATH_US + 2 * self.settling_us());
        }
    }

    /// What was promised to whom while something failed is renewed, or over by its time, so long after. An
    /// unbounded promise is over by no time: nothing is waited for.
    fn settling_us(&self) -> u64 {
        let timing = &self.knobs.timing;
        let full = if timing.full() < Duration::MAX { timing.full() } else { timing.lease };
        (full + timing.deadtime.times(2)).micros()
    }

    /// A node has a group and says how long that took.
    pub(super) fn note_failover(&mut self, who: Who, group: GroupId, failover: &Failover) {
        if failover.cause != Cause::PeerDead {
            return;
        }
        let took = failover.detection.unwrap_or_default() + failover.takeover;
        let began: At = self.now.saturating_sub(took.micros());
        let budget = match self.judged_against(who, group, began, failover.budget) {
            Ok(budget) => budget,
            Err(spared) => {
                self.counts.takeovers_spared[spared as usize] += 1;
                return;
            }
        };
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

    /// The budget of a takeover whose silence began at `began`; or why it is held against none.
    fn judged_against(
        &self,
        who: Who,
        group: GroupId,
        began: At,
        own: Duration,
    ) -> Result<Duration, Spared> {
        let machine = &self.machines[who];
        if machine.mood != Mood::Healthy || machine.lied_to || !machine.conduct.is_empty() {
            return Err(Spared::Scripts);
        }
        if self.checks.other_files.contains(&true) {
            return Err(Spared::Files);
        }
        if began < self.checks.disturbed_until[who] {
            return Err(Spared::Disturbed);
        }
        self.judged_with_arbiter(who, group, began, own)
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
            | Fault::Break { .. }
            | Fault::Speed { .. }
            | Fault::Dongle(_)
    )
}

impl World {
    /// With an arbiter a takeover needs its vote, and so everything that carries it.
    fn disturb_all(&mut self, span: u64) {
        for until in &mut self.checks.disturbed_until {
            *until = (*until).max(self.now + span);
        }
    }

    /// What a takeover is held against with an arbiter: the node's own budget where a fence can be proved;
    /// where it can't, by time (protocol.md §3).
    fn judged_with_arbiter(
        &self,
        who: Who,
        group: GroupId,
        began: At,
        own: Duration,
    ) -> Result<Duration, Spared> {
        let (Some(arbiter), Some(dongle)) = (self.knobs.arbiter, self.dongle.as_deref()) else {
            return Ok(own);
        };
        let mut wires = self.wires.iter().flatten();
        let now = self.now;
        let troubled = wires.any(|wire| wire.is_troubled(now));
        // A dead peer's feed may be the only one, and it is the failure that is judged.
        if troubled || !dongle.is_sound(now) || matches!(arbiter.stopped, Stopped::Unsafe(_)) {
            return Err(Spared::NoVote);
        }
        // A dongle that began, or noticed an absence, after the silence did is bound for longer and must
        // listen first (R8, R12). One that is as old as the silence is bound no longer than the dead was
        // promised anything, and has listened as long as the node.
        if began < dongle.bound_at + self.knobs.timing.deadtime.micros() {
            return Err(Spared::YoungDongle);
        }
        let peer = 1 - who;
        // A life is fenced once (R12). A pulse of before, for this very life, missed it.
        let missed = dongle.pulsed[peer]
            .is_some_and(|(at, _)| at < began && at >= self.checks.life_at[peer]);
        let lines = dongle.unit.memory.map(|memory| memory.nodes.map(|node| node.line));
        let tested = lines.is_some_and(|lines| lines == [LineShown::Commissioned; 2]);
        let wired = dongle.reset_wires == [ResetWire::Sound; 2];
        if arbiter.reset_lines && dongle.provable[peer] && tested && wired && !missed {
            return Ok(own);
        }
        // As the node would reckon without a reset line.
        let mut config = self.configs[who].clone();
        if let Some(arbiter) = &mut config.arbiter {
            arbiter.fence = None;
        }
        let bounded = config.timing.full() < Duration::MAX;
        let budget = config.budget(group.index()).filter(|_| bounded);
        budget.map(|budget| budget.total()).ok_or(Spared::NoEnd)
    }
}

#[cfg(test)]
mod tests {
    use hb_proto::event::Event;

    use super::*;
    use crate::sim::knobs::Knobs;
    use crate::sim::knobs::trio::ArbiterKnobs;
    use crate::sim::quiet;

    const B: Who = 1;

    /// 30 quiet seconds, so that no boot is near.
    fn quiet() -> World {
        quiet::quiet(Knobs::plain(), 30)
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

    /// What B's takeover of 800 ms after A's death comes to, with a dongle and what `happens` before.
    fn with_a_dongle(
        reset_lines: bool,
        happens: impl FnOnce(&mut World),
    ) -> Result<Duration, Spared> {
        let arbiter = ArbiterKnobs { reset_lines, ..ArbiterKnobs::plain() };
        let mut world = quiet::quiet(Knobs::plain().with_dongle(arbiter), 30);
        happens(&mut world);
        let began = world.now - 800_000;
        world.judged_against(B, GroupId(0), began, Duration::from_millis(700))
    }

    /// By the node's own budget where a fence is proved, by time where it can't be: never by nothing.
    #[test]
    fn with_a_dongle_a_takeover_is_judged_by_fence_or_by_time() {
        assert_eq!(with_a_dongle(true, |_| {}), Ok(Duration::from_millis(700)));
        let by_time = with_a_dongle(false, |_| {}).expect("guard has an end");
        let full = Knobs::plain_trio().timing.full();
        assert!(by_time > full && by_time < full.times(2), "{by_time}");
        // Its fence was spent on this very life.
        let missed = |world: &mut World| {
            let dongle = world.dongle.as_mut().expect("there");
            dongle.pulsed[0] = Some((20_000_000, false));
        };
        assert_eq!(with_a_dongle(true, missed), Ok(by_time));
    }

    #[test]
    fn a_second_failure_beside_the_dongles_vote_is_not_judged() {
        let young = |world: &mut World| {
            world.dongle.as_mut().expect("there").bound_at = 29_000_000;
        };
        assert_eq!(with_a_dongle(true, young), Err(Spared::YoungDongle));
        let mute = |world: &mut World| world.dongle.as_mut().expect("there").wires[B].cut = true;
        assert_eq!(with_a_dongle(true, mute), Err(Spared::NoVote));
        let late = |world: &mut World| world.wires[0][1].weather.late_us = 1;
        assert_eq!(with_a_dongle(true, late), Err(Spared::NoVote));
        let mended = |world: &mut World| world.apply(Fault::MendAll);
        assert_eq!(with_a_dongle(true, mended), Err(Spared::Disturbed));
        let files = |world: &mut World| world.checks.other_files[0] = true;
        assert_eq!(with_a_dongle(true, files), Err(Spared::Files));
    }

    /// Quiet again for as long as promises of before last: judged again.
    #[test]
    fn what_is_over_spares_nobody() {
        let long_ago = |world: &mut World| {
            world.apply(Fault::CutAll);
            world.apply(Fault::MendAll);
            world.run_until(40_000_000);
        };
        assert!(with_a_dongle(true, long_ago).is_ok());
    }
}
