//! The smallest schedule that still fails.

use super::generate::Plan;
use super::run::run;

/// How many runs shrinking may take.
const TRIES: usize = 3000;

/// In which way it fails; 0 if it doesn't.
fn failure(plan: &Plan) -> u8 {
    run(plan, false).verdict.exit_code()
}

/// Drops faults, first half of them at a time, then fewer, as long as the run fails in the same way
/// (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002). The plan, and
/// how many runs that took; `None` if it doesn't fail at all.
#[must_use]
pub fn shrink(plan: &Plan) -> Option<(Plan, usize)> {
    let wanted = failure(plan);
    if wanted == 0 {
        return None;
    }
    let mut best = plan.clone();
    let mut tries = 0;
    let mut fails = |candidate: &Plan| {
        tries += 1;
        tries <= TRIES && failure(candidate) == wanted
    };
    let mut size = best.faults.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut dropped = false;
        while at < best.faults.len() {
            let mut candidate = best.clone();
            let end = (at + size).min(candidate.faults.len());
            candidate.faults.drain(at..end);
            if fails(&candidate) {
                best = candidate;
                dropped = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !dropped {
            break;
        }
        size = size.div_ceil(2).max(1);
    }
    simplify_knobs(&mut best, &mut fails);
    Some((best, tries))
}

/// Knobs that don't matter go back to plain.
fn simplify_knobs(best: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    let plain = super::knobs::Knobs::plain();
    let mut attempt = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = best.clone();
        change(&mut candidate);
        if candidate != *best && fails(&candidate) {
            *best = candidate;
        }
    };
    attempt(&|plan| plan.knobs.drift_ppm = [0, 0]);
    attempt(&|plan| plan.knobs.latency_us = plain.latency_us);
    attempt(&|plan| plan.knobs.sched_us = 1);
    attempt(&|plan| {
        // With an arbiter guard rests on it (R10).
        if plan.knobs.arbiter.is_none() {
            plan.knobs.watchdog_s = None;
        }
    });
    attempt(&|plan| plan.knobs.groups.truncate(1));
    attempt(&|plan| plan.knobs.boot_us = plain.boot_us);
    attempt(&|plan| plan.knobs.delay_us = 0);
    attempt(&|plan| {
        if let Some(last) = plan.faults.last() {
            plan.mended_at = plan.mended_at.min(last.at + 1);
        }
    });
}
