//! The dongle pulls a reset line, and a machine is gone: hung, stopped, frozen; and what a broken or a swapped line
//! comes to. Told with whichever brain the dongle has.

use hb_linux::rig::outlet::Cause;
use hb_proto::time::{Duration, Instant};
use serde_json::Value;

use super::super::rig::{Guests, Special, WATCHDOG_S};
use super::{LATE, PATIENCE, Stop, Told, fail, web};
use crate::scenario::cluster::Machine::{self, A, B};
use crate::scenario::rig::{Deed, Rig};
use crate::scenario::verb::{ResetWire, Verb};

/// A pair with tested reset lines, every promise of the dongle's own start over; what `hb check` says a takeover takes.
fn begin(guests: &mut Guests) -> Result<Duration, Stop> {
    let cluster = web().arbiter();
    guests.begin(&cluster, &Special::default())?;
    let cluster = guests.fit(cluster);
    guests.run_for(cluster.timing.full());
    let budget = cluster.config(A).budget(0).ok_or("the group has no budget".to_owned())?;
    Ok(budget.total())
}

fn resets_since(guests: &Guests, machine: Machine, since: Instant) -> Vec<(Instant, Cause)> {
    guests.resets(machine).into_iter().filter(|(at, _)| *at >= since).collect()
}

/// The machine's resets since then had these causes, in this order.
fn reset_by(guests: &Guests, machine: Machine, since: Instant, causes: &[Cause]) -> Told {
    let found: Vec<Cause> = resets_since(guests, machine, since).iter().map(|one| one.1).collect();
    if found == causes {
        return Ok(());
    }
    let words =
        |causes: &[Cause]| causes.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    fail(format!("{machine} was reset by {:?}, expected {:?}", words(&found), words(causes)))
}

/// The peer serves within the budget, and the reset came before; the machine returns as a new life that had given all up,
/// and takes its group back.
fn fenced(guests: &mut Guests, strike: Verb) -> Told {
    let budget = begin(guests)?;
    let since = guests.now();
    guests.act(strike)?;
    guests.until("the dongle resets linuxha1", budget, |guests| {
        !resets_since(guests, A, since).is_empty()
    })?;
    reset_by(guests, A, since, &[Cause::Dongle])?;
    let reset = resets_since(guests, A, since)[0].0;
    guests.until_served_by(B, budget)?;
    let dark = guests.dark(0, since).map_err(|missing| missing.to_string())?;
    let limit = budget + guests.slack(since);
    if dark > limit {
        return fail(format!("nobody served for {dark}, and the budget is {budget}"));
    }
    let early = guests.journal().into_iter().find(|entry| {
        entry.machine == B
            && entry.deed == Deed::Held
            && entry.at >= since
            && entry.at + guests.resolution() < reset
    });
    if let Some(early) = early {
        return fail(format!("linuxha2 had a resource before linuxha1 was reset: {early:?}"));
    }
    guests.until_log(B, "has pulled linuxha1's reset line", since)?;
    // Back, clean: everything up, the group at home again, with everybody's vote.
    guests.until_served_by(A, PATIENCE)?;
    guests.until_settled(PATIENCE)?;
    guests.until("everybody votes for linuxha1", PATIENCE, |guests| guests.has_all_votes(A, 0))?;
    if guests.log_has(B, "no evidence that linuxha1", since) {
        return fail("the fence was not confirmed");
    }
    reset_by(guests, A, since, &[Cause::Dongle])?;
    reset_by(guests, B, since, &[])?;
    guests.all_is_well(since)
}

pub(super) fn a_hung_kernel_is_fenced_and_comes_back_clean(guests: &mut Guests) -> Told {
    fenced(guests, Verb::PanicKernel(A))
}

pub(super) fn a_stopped_owner_is_fenced_and_comes_back_clean(guests: &mut Guests) -> Told {
    fenced(guests, Verb::StopDaemon(A))
}

pub(super) fn a_frozen_guest_is_fenced_and_comes_back_clean(guests: &mut Guests) -> Told {
    fenced(guests, Verb::Freeze(A))
}

/// The holder's daemon hangs and the pulse doesn't stop it: until its own watchdog does, the other starts nothing.
fn nothing_ends_early(guests: &mut Guests, since: Instant) -> Told {
    let limit = Duration::from_secs(u64::from(WATCHDOG_S)) + LATE;
    let bitten = |guests: &Guests| {
        resets_since(guests, A, since).iter().any(|(_, cause)| *cause == Cause::Watchdog)
    };
    let mut early = false;
    guests.until("linuxha1's own watchdog resets it", limit, |guests| {
        early |= !bitten(guests) && guests.serves() == Some(B);
        early || bitten(guests)
    })?;
    if early {
        return fail("linuxha2 served before linuxha1 was stopped by anything");
    }
    reset_by(guests, A, since, &[Cause::Watchdog])?;
    guests.until("one of them serves again", PATIENCE + PATIENCE, |guests| {
        guests.serves().is_some() && Machine::BOTH.iter().all(|one| guests.daemon_runs(*one))
    })
}

/// The reset line ends nowhere: the fence stays unconfirmed, and is told.
pub(super) fn a_broken_reset_line_confirms_nothing_and_ends_nothing_early(
    guests: &mut Guests,
) -> Told {
    begin(guests)?;
    guests.act(Verb::WireReset(A, ResetWire::Broken))?;
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    guests.until_log(B, "no evidence that linuxha1", since)?;
    nothing_ends_early(guests, since)?;
    reset_by(guests, B, since, &[])?;
    guests.all_is_well(since)
}

/// Each line ends at the other machine: the pulse for the holder hits the asker. That is told, nobody's promise ends by it,
/// and no line is pulled again.
pub(super) fn swapped_reset_lines_are_called_miswired_and_end_nothing_early(
    guests: &mut Guests,
) -> Told {
    begin(guests)?;
    for machine in Machine::BOTH {
        guests.act(Verb::WireReset(machine, ResetWire::Swapped))?;
    }
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    nothing_ends_early(guests, since)?;
    reset_by(guests, B, since, &[Cause::Dongle])?;
    guests.until_log(B, "the arbiter's reset lines are miswired", since)?;
    let status = guests.shell(B, "hb status --json")?;
    let status: Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
    let lines = &status["arbiter"]["reset_lines"];
    if !lines.to_string().contains("miswired") {
        return fail(format!("hb status shows the reset lines as {lines}"));
    }
    // Asked for again, by whoever lost the other one: a line that is out of use is not pulled.
    guests.until_settled(PATIENCE)?;
    let pulses = guests.pulses();
    guests.act(Verb::StopDaemon(B))?;
    let again = guests.now();
    let limit = Duration::from_secs(u64::from(WATCHDOG_S)) + LATE;
    guests.until("linuxha2's own watchdog resets it", limit, |guests| {
        !resets_since(guests, B, again).is_empty()
    })?;
    reset_by(guests, B, again, &[Cause::Watchdog])?;
    if guests.pulses() != pulses {
        return fail("a line that is called miswired was pulled");
    }
    guests.all_is_well(since)
}
