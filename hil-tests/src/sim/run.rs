//! One run: faults while only safety is asserted; then none, and everything is due.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hb_proto::time::Duration;

use super::check::trio::Excuse;
use super::fault::{Command, Fault, NAMES};
use super::generate::Plan;
use super::queue::At;
use super::world::{Counts, World};

/// How often it is looked whether the pair has settled, µs.
const LOOK: u64 = 50_000;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Good,
    /// Something panicked.
    Crash(String),
    /// A rule that always holds was broken.
    Safety(String),
    /// Something was due and didn't come.
    Liveness(String),
}

impl Verdict {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Crash(_) => 127,
            Self::Liveness(_) => 128,
            Self::Safety(_) => 129,
        }
    }

    /// Good, or not.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::Good
    }
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// True time at its end.
    pub ended_at: At,
    /// From the last mend until everything was as it should be, to stay.
    pub settled_us: u64,
    pub budget_us: u64,
    pub hash: u64,
    pub counts: Counts,
    pub splits: u32,
    pub longest_split_us: u64,
    pub longest_heal_us: u64,
    pub most_moves: u32,
    /// From a thaw until a machine that nothing had stopped had dropped its addresses (`guard_unsafe`).
    pub longest_thaw_to_drop_us: u64,
    /// Longest time without service, where the plan claims that a failover is all it takes.
    pub longest_dark_us: u64,
    pub timeline: Vec<String>,
}

/// Runs a plan; with its timeline if it `talks`. A panic ends the run and is its verdict, so that
/// what led to it is kept.
#[must_use]
pub fn run(plan: &Plan, talks: bool) -> Outcome {
    let dice = plan.origin.dice();
    let mut world = World::new(dice, plan.knobs.clone(), plan.faults.clone(), talks);
    let budget_us = plan.knobs.liveness_budget().iter().map(|(_, span)| span).sum();
    let judged = catch_unwind(AssertUnwindSafe(|| judge(&mut world, plan, budget_us)));
    let (mut verdict, settled_us) =
        judged.unwrap_or_else(|panic| (Some(Verdict::Crash(words(&*panic))), 0));
    let checks = &world.checks;
    let late = || checks.beyond_budget.clone().map(Verdict::Liveness);
    verdict = verdict.or_else(late);
    Outcome {
        verdict: verdict.unwrap_or(Verdict::Good),
        ended_at: world.now,
        settled_us,
        budget_us,
        hash: world.trace.hash(),
        counts: world.counts,
        splits: checks.splits,
        longest_split_us: checks.longest_split_us,
        longest_heal_us: checks.longest_heal_us,
        most_moves: checks.moves.into_iter().max().unwrap_or(0),
        longest_thaw_to_drop_us: checks.longest_thaw_to_drop_us,
        longest_dark_us: checks.longest_dark_us,
        timeline: world.trace.lines().to_vec(),
    }
}

/// What was wrong, and how long after the last mend everything was right for good.
fn judge(world: &mut World, plan: &Plan, budget_us: u64) -> (Option<Verdict>, u64) {
    world.checks.dark_from = plan.served_from;
    world.run_until(plan.mended_at);
    world.check_holders();
    let moves = world.checks.moves;
    if let Some(verdict) = broken(world)
        .or_else(|| ping_pong_in_faults(world, plan))
        .or_else(|| stopped_by_one(world, plan))
    {
        return (Some(verdict), 0);
    }
    world.mend_everything();
    settle(world, &moves, budget_us)
}

/// No single failure stops the service (protocol.md §1).
fn stopped_by_one(world: &World, plan: &Plan) -> Option<Verdict> {
    plan.served_from?;
    let unserved = |group: &usize| !world.serves(0, *group) && !world.serves(1, *group);
    let group = (0..world.knobs.groups.len()).find(unserved)?;
    let missing = missing(world).unwrap_or_default();
    Some(Verdict::Liveness(format!("one failure stopped group {group}: {missing}")))
}

/// A panic's message.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn broken(world: &World) -> Option<Verdict> {
    let violation = world.checks.violation.as_ref()?;
    Some(Verdict::Safety(format!(
        "at {}.{:06} s: {}",
        violation.at / 1_000_000,
        violation.at % 1_000_000,
        violation.text
    )))
}

/// A group changes hands at most thrice for each fault and repair: away, back, and once for a change of
/// mind. Weather is many faults at once and gets one for each deadtime that it lasts.
fn ping_pong_in_faults(world: &World, plan: &Plan) -> Option<Verdict> {
    let stormy = plan.faults.iter().any(|planned| matches!(planned.fault, Fault::Weather { .. }));
    let deadtimes = plan.mended_at / plan.knobs.timing.deadtime.micros();
    let crashes = plan.faults.iter().map(|planned| match planned.fault {
        Fault::CrashLoop(_, times) => u64::from(times),
        _ => 0,
    });
    let allowed = 4
        + 3 * (plan.faults.len() as u64 + crashes.sum::<u64>())
        + if stormy { deadtimes } else { 0 };
    let most = world.checks.moves.into_iter().max().unwrap_or(0);
    (u64::from(most) > allowed).then(|| {
        Verdict::Liveness(format!(
            "ping-pong: a group changed hands {most} times, {allowed} allowed"
        ))
    })
}

/// After the mend: exactly one holder for each group and everything up, within the budget, to stay so;
/// and no group wanders on its way there.
fn settle(world: &mut World, moves: &[u32], budget: u64) -> (Option<Verdict>, u64) {
    let mended_at = world.now;
    let stay = (10 * world.knobs.timing.deadtime.micros()).max(2_000_000);
    let mut since = None;
    loop {
        world.run_until(world.now + LOOK);
        if let Some(verdict) = broken(world) {
            return (Some(verdict), world.now - mended_at);
        }
        for who in 0..2 {
            if world.machines[who].left {
                world.apply(Fault::Operator(who, Command::Start));
            }
        }
        let missing = missing(world);
        since = if missing.is_none() { since.or(Some(world.now)) } else { None };
        if let Some(since) = since
            && world.now - since >= stay
        {
            return (wandered(world, moves), since - mended_at);
        }
        if world.now - mended_at > budget + stay {
            let missing = missing.unwrap_or_else(|| "it does not stay as it should be".into());
            let budget = Duration::from_micros(budget);
            let text = format!("{budget} after the last fault: {missing}");
            return (Some(Verdict::Liveness(text)), world.now - mended_at);
        }
    }
}

fn wandered(world: &World, moves: &[u32]) -> Option<Verdict> {
    /// To one node, to its home, and once for a start that failed before the mend.
    const ALLOWED: u32 = 4;
    let most = world.checks.moves.iter().zip(moves).map(|(now, then)| now - then).max()?;
    (most > ALLOWED).then(|| {
        Verdict::Liveness(format!(
            "ping-pong: after the last fault a group changed hands {most} times, {ALLOWED} allowed"
        ))
    })
}

/// What is not as it should be.
fn missing(world: &World) -> Option<String> {
    let mut found = Vec::new();
    for (who, name) in NAMES.into_iter().enumerate() {
        match &world.machines[who].daemon {
            None => found.push(format!("{name} has no daemon ({:?})", world.machines[who].power)),
            Some(daemon) => {
                if let Some(pending) = daemon.node.pending() {
                    found.push(format!("{name}: {pending}"));
                }
            }
        }
    }
    for group in 0..world.knobs.groups.len() {
        let held = [0, 1].map(|who: usize| world.machines[who].held[group]);
        let served = [0, 1].map(|who| world.serves(who, group));
        match (served, held) {
            ([true, false], [_, 0]) | ([false, true], [0, _]) => {}
            _ => found.push(format!("group {group}: A has {:b}, B has {:b}", held[0], held[1])),
        }
    }
    if found.is_empty() {
        return world.missing_votes();
    }
    Some([found, world.missing_votes().into_iter().collect()].concat().join("; "))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "  {} simulated: {} frames and {} bytes sent, {} lost, {} tag checks, {} frames new, {} lives, {} turns",
            Duration::from_micros(self.ended_at),
            c.frames_sent,
            c.bytes_sent,
            c.lost,
            c.frames_handed,
            c.firsts,
            c.lives,
            c.turns
        )?;
        let kinds = Fault::KINDS.iter().zip(c.faults).filter(|(_, times)| *times > 0);
        let kinds: Vec<_> = kinds.map(|(kind, times)| format!("{times} {kind}")).collect();
        writeln!(
            f,
            "  faults: {}",
            if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
        )?;
        writeln!(
            f,
            "  {} orders ({} starts, {} stops), {} splits (longest {}), {} conflicts, authority lost {} times, {} watchdog resets, {} late starts, {} scripts unheard, {} looks at promises",
            c.orders,
            c.starts,
            c.stops,
            self.splits,
            Duration::from_micros(self.longest_split_us),
            c.conflicts,
            c.lost_authority,
            c.watchdog_resets,
            c.late_starts,
            c.unheard,
            c.promises
        )?;
        self.trio(f)?;
        writeln!(
            f,
            "  settled {} after the last fault (budget {}); fingerprint {:016x}",
            Duration::from_micros(self.settled_us),
            Duration::from_micros(self.budget_us),
            self.hash
        )
    }
}

impl Outcome {
    /// What only a run with the third voter has to tell.
    fn trio(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.counts.trio;
        if t.arbiter_lives == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "  dongle: {} lives ({} above another's), {} stores, {} frames forwarded, {} absences, {} pulses, {} machines held in reset, {} fences confirmed, {} times miswired; longest from thaw to drop {}",
            t.arbiter_lives,
            t.arbiter_restarts,
            t.stores,
            t.forwarded,
            t.forgot,
            t.pulses,
            t.fenced,
            t.confirmed,
            t.miswired,
            Duration::from_micros(self.longest_thaw_to_drop_us)
        )?;
        let rules: Vec<_> = (1..).zip(t.rules).map(|(n, times)| format!("R{n} {times}")).collect();
        writeln!(f, "  rules reached: {}", rules.join(", "))?;
        let excused = Excuse::ALL.into_iter().zip(t.excused).filter(|(_, times)| *times > 0);
        let excused: Vec<_> =
            excused.map(|(excuse, times)| format!("{times} by {}", excuse.name())).collect();
        if !excused.is_empty() {
            writeln!(f, "  two holders, excused: {}", excused.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fault::Planned;
    use crate::sim::kind::{Kind, Origin};

    fn plan() -> Plan {
        Origin { kind: Kind::Singles, arbiter: false, seed: 1, case: 0 }
            .plan()
            .expect("every table has a first row")
    }

    fn settled(plan: &Plan) -> World {
        let faults = plan.faults.iter().copied();
        let on = faults.filter(|planned| matches!(planned.fault, Fault::PowerOn(_))).collect();
        let mut world = World::new(1, plan.knobs.clone(), on, false);
        world.run_until(plan.mended_at);
        world
    }

    #[test]
    fn a_group_that_wanders_more_than_the_faults_explain_is_red() {
        let plan = plan();
        let mut world = settled(&plan);
        assert_eq!(ping_pong_in_faults(&world, &plan), None);
        world.checks.moves[0] = 4 + 3 * plan.faults.len() as u32;
        assert_eq!(ping_pong_in_faults(&world, &plan), None, "so often is explained");
        world.checks.moves[0] += 1;
        let verdict = ping_pong_in_faults(&world, &plan).expect("red");
        assert_eq!(verdict.exit_code(), 128);
    }

    #[test]
    fn a_group_that_wanders_after_the_last_fault_is_red() {
        let mut world = settled(&plan());
        let then = world.checks.moves;
        world.checks.moves[0] += 4;
        assert_eq!(wandered(&world, &then), None);
        world.checks.moves[0] += 1;
        assert_eq!(wandered(&world, &then).expect("red").exit_code(), 128);
    }

    /// A machine that nobody switches on is missing for ever: the budget ends, and says what for.
    #[test]
    fn what_is_due_and_does_not_come_is_named() {
        let plan = plan();
        let on = Planned { at: 0, fault: Fault::PowerOn(0) };
        let mut world = World::new(1, plan.knobs.clone(), vec![on], false);
        world.run_until(plan.mended_at);
        let moves = world.checks.moves;
        let (verdict, took) = settle(&mut world, &moves, 20_000_000);
        let Some(Verdict::Liveness(text)) = verdict else { panic!("red: {verdict:?}") };
        assert!(text.contains("B has no daemon"), "{text}");
        assert!(took > 20_000_000, "not before the budget's end: {took}");
    }
}
