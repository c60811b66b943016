//! The sums of protocol.md §3, as `hb check` prints them: what holds, by which numbers, and what it is for.

use std::path::Path;

use hb_proto::config::{Config, ResourceKind, STATUS_SERIAL_BYTES};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;
use hb_proto::wire::message::arbiter::ARBITER_SERIAL_BYTES;

use super::{DongleSettings, Settings};
use crate::watchdog;

/// What holds between the times, a sentence each.
pub(super) fn times(settings: &Settings) -> Vec<String> {
    let timing = &settings.proto.timing;
    let (deadtime, lease) = (timing.deadtime, timing.lease);
    let stretched = stretched(&settings.proto);
    let mut said = vec![
        format!(
            "deadtime {deadtime} > 2 × keepalive {}: one lost heartbeat kills nobody",
            timing.keepalive
        ),
        format!(
            "lease {lease} × 1.{:02} = {stretched} ≤ deadtime {deadtime}: a node that nobody hears gives up \
             before the other may take over",
            timing.drift_percent
        ),
    ];
    if settings.proto.arbiter.is_some() {
        said.push(guard(settings));
        said.push(format!(
            "a promise binds its giver for lease × 1.{:02} + guard = {stretched} + {} = {}",
            timing.drift_percent,
            bounded(timing.guard),
            bounded(timing.full())
        ));
        said.extend(settings.dongle.iter().flat_map(|dongle| reset_lines(*dongle)));
    }
    said
}

/// What the dongle does with its reset lines.
fn reset_lines(dongle: DongleSettings) -> impl Iterator<Item = String> {
    let fence = format!(
        "fence dongle: a node that is silent for deadtime and stands in the way of a takeover is reset by a pulse of {}",
        dongle.pulse
    );
    let unasked = dongle.watchdog.map(|silence| {
        format!(
            "dongle_watchdog {silence}: the dongle resets a node unasked that falls silent for so long while it runs \
             something, if its peer has listened all the while"
        )
    });
    std::iter::once(fence).chain(unasked)
}

/// lease × (1 + drift)
fn stretched(proto: &Config) -> Duration {
    proto.timing.lease.percent(100 + u64::from(proto.timing.drift_percent))
}

fn guard(settings: &Settings) -> String {
    let (guard, timeout_s) =
        (settings.proto.timing.guard, watchdog::timeout_s(settings.proto.timing.deadtime));
    if settings.guard_by_watchdog {
        format!(
            "guard {guard} ≥ 2 × watchdog {timeout_s} s × 1.05 + {}: a node that hangs is reset before another may run \
             what it ran",
            watchdog::GUARD_MARGIN
        )
    } else if guard == Duration::MAX {
        "guard unbounded: what was promised to a node ends when it says so, when it is back, when there is \
         evidence that it was reset, or by an operator's word"
            .to_owned()
    } else {
        format!("guard {guard}, and nothing enforces it (guard_unsafe)")
    }
}

fn bounded(time: Duration) -> String {
    if time == Duration::MAX { "unbounded".to_owned() } else { time.to_string() }
}

/// What one keepalive's frames need of a serial line, with the numbers (protocol.md §3).
pub(super) fn serial_load(proto: &Config, link: LinkId, device: &Path, baud: u32) -> String {
    let (needed, allowed) = proto.serial_load(link, baud);
    let bytes = if proto.arbiter.is_some_and(|arbiter| arbiter.link == link) {
        format!(
            "({STATUS_SERIAL_BYTES} own + {STATUS_SERIAL_BYTES} of the peer + {ARBITER_SERIAL_BYTES} of the arbiter)"
        )
    } else {
        STATUS_SERIAL_BYTES.to_string()
    };
    format!(
        "load of {}: {bytes} bytes × 10 bits / {baud} baud = {needed} of each keepalive of {}; at most half \
         of it, {allowed}, is allowed",
        device.display(),
        proto.timing.keepalive
    )
}

/// The worst-case failover of a group with its arithmetic (protocol.md §3); `None` for a group that doesn't
/// exist.
///
/// `budget for 192.168.85.3: deadtime 500 ms + start 1020 ms (1 address at 20 ms, 1 script at 1 s
/// assumed) + announce 20 ms = 1540 ms`
pub(super) fn budget(settings: &Settings, group: usize) -> Option<String> {
    let proto = &settings.proto;
    let budget = proto.budget(group)?;
    let name = settings.groups.get(group)?.name();
    let timing = &proto.timing;
    let (mode, detection) = match proto.arbiter {
        None => ("", format!("deadtime {}", timing.deadtime)),
        Some(arbiter) => match arbiter.fence {
            Some(fence) => (
                " (arbiter, reset lines)",
                format!(
                    "deadtime {} × 1.{:02} + fence {fence} assumed",
                    timing.deadtime, timing.drift_percent
                ),
            ),
            None if timing.guard == Duration::MAX => {
                return Some(format!(
                    "budget for {name} (arbiter, guard unbounded, no reset lines): none. After the death of the \
                     node that runs it nobody takes over until it is back, or by an operator's word"
                ));
            }
            None => (
                " (arbiter, no reset lines)",
                format!(
                    "the longer of deadtime {} and (lease × 1.{drift:02} + guard) × 1.{drift:02} = {} + a request and \
                     its answer {}",
                    timing.deadtime,
                    timing.full_by_any_clock(),
                    proto.way(),
                    drift = timing.drift_percent,
                ),
            ),
        },
    };
    Some(format!(
        "budget for {name}{mode}: {detection} + start {} ({}) + announce {} = {}",
        budget.start,
        parts(proto, group),
        budget.announce,
        budget.total()
    ))
}

/// `1 address at 20 ms, 1 script at 1 s assumed`
fn parts(proto: &Config, group: usize) -> String {
    let count = |kind| proto.groups[group].resources.iter().filter(|&&known| known == kind).count();
    let mut parts = Vec::new();
    for (kind, noun, each, assumed) in [
        (ResourceKind::Address, "address", proto.patience.address_allowance, ""),
        (ResourceKind::Script, "script", proto.patience.script_allowance, " assumed"),
    ] {
        match count(kind) {
            0 => {}
            some => parts.push(format!("{} at {}{assumed}", counted(some, noun), brief(each))),
        }
    }
    parts.join(", ")
}

/// What a reset that leaves no evidence costs, where reset lines are the rule.
pub(super) fn without_evidence(settings: &Settings) -> Option<String> {
    let timing = &settings.proto.timing;
    settings.proto.arbiter?.fence?;
    Some(if timing.guard == Duration::MAX {
        "a reset that leaves no evidence ends no promise: then nobody takes over until the node is back, or by \
         an operator's word"
            .to_owned()
    } else {
        format!(
            "a reset that leaves no evidence ends no promise: then the takeover waits for (lease × 1.{drift:02} + \
             guard) × 1.{drift:02} = {} instead of deadtime × 1.{drift:02} + fence",
            timing.full_by_any_clock(),
            drift = timing.drift_percent,
        )
    })
}

/// `1 address`, `2 addresses`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let ending = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{ending}")
}

/// Whole seconds as such, everything else in milliseconds.
fn brief(time: Duration) -> String {
    match time.micros() {
        micros if micros > 0 && micros % 1_000_000 == 0 => format!("{} s", micros / 1_000_000),
        _ => time.to_string(),
    }
}
