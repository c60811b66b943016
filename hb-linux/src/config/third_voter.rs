//! `arbiter`, `fence`, `dongle_watchdog`, `guard` and `guard_unsafe`: the dongle's line, what it may do, and what
//! stops a node that hangs.

use std::path::PathBuf;

use hb_proto::config::{ArbiterConfig, Timing};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;
use hb_proto::wire::service;

use super::Medium;
use super::diagnostic::{Report, quoted};
use super::hacf::HaCf;
use super::times::{At, parse_time};
use crate::watchdog;

/// What a fence is allowed to take in the budget beside the pulse: the request's way to the arbiter, and the
/// evidence's way back. An assumption until a board is measured, and shown as such.
const FENCE_WAYS: Duration = Duration::from_millis(100);
/// Pulses that a dongle gives.
const PULSES_MS: std::ops::RangeInclusive<u16> = service::Settings::PULSES_MS;

/// The `arbiter` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ArbiterLine {
    pub(super) device: PathBuf,
}

/// The `fence` line: the dongle's reset lines are wired to both machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FenceLine {
    pub(super) pulse: Duration,
}

const EXPECTED: &str = "`serial DEVICE`, DEVICE one of the `serial` lines; whether the dongle resets machines stands \
                        in lines of their own, `fence dongle` and `dongle_watchdog TIME`";

/// `serial DEVICE`.
pub(super) fn arbiter_line(values: &[&str]) -> Result<ArbiterLine, String> {
    match values {
        ["serial", device] => Ok(ArbiterLine { device: super::hacf::path(&[device])? }),
        [] | ["serial"] => Err(format!("no device, expected {EXPECTED}")),
        ["serial", _, surplus, ..] | [surplus, ..] => {
            Err(format!("read {}, expected {EXPECTED}", quoted(surplus)))
        }
    }
}

/// `dongle [pulse TIME]`.
pub(super) fn fence_line(values: &[&str]) -> Result<FenceLine, String> {
    const EXPECTED: &str = "`fence dongle`, or `fence dongle pulse TIME`";
    let pulse = match values {
        ["dongle"] => hb_mcu::PULSE,
        ["dongle", "pulse", time] => parse_time(time)?,
        [] => return Err(format!("no value, expected {EXPECTED}")),
        ["dongle", "pulse"] => return Err(format!("no time behind `pulse`, expected {EXPECTED}")),
        ["dongle", "pulse", _, surplus, ..] | ["dongle", surplus, ..] | [surplus, ..] => {
            return Err(format!("read {}, expected {EXPECTED}", quoted(surplus)));
        }
    };
    let (shortest, longest) = (*PULSES_MS.start(), *PULSES_MS.end());
    if !(u64::from(shortest)..=u64::from(longest)).contains(&pulse.millis()) {
        return Err(format!(
            "read a pulse of {pulse}, expected {shortest}ms to {longest}ms: boards take shorter ones for a button that \
             bounces, and after longer ones there is no time left for the evidence"
        ));
    }
    Ok(FenceLine { pulse })
}

/// `guard`'s value: a time, or `unbounded` (R10).
pub(super) fn parse_guard(text: &str) -> Result<Duration, String> {
    if text == "unbounded" {
        return Ok(Duration::MAX);
    }
    parse_time(text).map_err(|error| format!("{error}, or `unbounded`"))
}

/// What ha.cf says of the third voter, with guard put into `timing`.
pub(super) fn resolve(
    hacf: &HaCf,
    timing: &mut Timing,
    report: &mut Report,
) -> Option<ArbiterConfig> {
    let Some(arbiter) = &hacf.arbiter else {
        without_arbiter(hacf, report);
        return None;
    };
    if !hacf.times.broken {
        // A time of zero, or a deadtime of one heartbeat, has an error of its own.
        let told = timing.lease == Duration::ZERO || timing.deadtime <= timing.keepalive.times(2);
        if !told {
            hold_lease(hacf, timing, arbiter.line, report);
        }
        timing.guard = guard(hacf, arbiter, timing.deadtime, report).unwrap_or(Duration::ZERO);
    }
    hold_dongle_watchdog(hacf, timing.deadtime, report);
    let link = link_of(hacf, arbiter, report)?;
    let fence = hacf.fence.as_ref().map(|at| at.value.pulse + FENCE_WAYS);
    let external_watchdog = hacf.times.dongle_watchdog.is_some();
    Some(ArbiterConfig { link, external_watchdog, fences: fence.is_some(), fence })
}

/// Lines that mean nothing without a third voter, and on which somebody may rely.
fn without_arbiter(hacf: &HaCf, report: &mut Report) {
    let times = &hacf.times;
    let line = |at: &Option<At<Duration>>| at.as_ref().map(|at| at.line);
    for (word, line, why) in [
        ("guard", line(&times.guard), "Two voters wait for no guard; remove it"),
        ("guard_unsafe", line(&times.guard_unsafe), "Two voters wait for no guard; remove it"),
        (
            "fence",
            hacf.fence.as_ref().map(|at| at.line),
            "Add `arbiter serial DEVICE`, or remove it",
        ),
        (
            "dongle_watchdog",
            line(&times.dongle_watchdog),
            "Add `arbiter serial DEVICE`, or remove it",
        ),
    ] {
        if let Some(line) = line {
            let belongs = "it belongs to `arbiter`, and there is no such line";
            report.error(line, format!("{word}: {belongs}. {why}"));
        }
    }
}

/// R13: the dongle pulls a line unasked only where lines are wired, and when a peer would ask for it, too.
fn hold_dongle_watchdog(hacf: &HaCf, deadtime: Duration, report: &mut Report) {
    let Some(at) = &hacf.times.dongle_watchdog else { return };
    if hacf.fence.is_none() {
        report.error(
            at.line,
            "dongle_watchdog: needs `fence dongle`: without reset lines the dongle resets nobody",
        );
    } else if at.value < deadtime && !hacf.times.broken {
        report.error(
            at.line,
            format!(
                "dongle_watchdog: read {}, expected deadtime, {deadtime}, or more: nobody is called silent sooner",
                at.value
            ),
        );
    }
}

/// What the dongle does by ha.cf.
pub(super) fn dongle_settings(hacf: &HaCf) -> Option<super::DongleSettings> {
    let fence = hacf.fence.as_ref().filter(|_| hacf.arbiter.is_some())?;
    let watchdog = hacf.times.dongle_watchdog.as_ref().map(|at| at.value);
    Some(super::DongleSettings { pulse: fence.value.pulse, watchdog })
}

fn link_of(hacf: &HaCf, arbiter: &At<ArbiterLine>, report: &mut Report) -> Option<LinkId> {
    let device = &arbiter.value.device;
    let on_it =
        |medium: &Medium| matches!(medium, Medium::Serial { device: of, .. } if of == device);
    if let Some(at) = hacf.media.iter().position(|line| on_it(&line.medium)) {
        return u8::try_from(at).ok().map(LinkId);
    }
    let media = hacf.media.iter().map(|line| &line.medium);
    let lines: Vec<_> =
        media.filter(|medium| matches!(medium, Medium::Serial { .. })).map(Medium::name).collect();
    let known = if lines.is_empty() { "there is none".to_owned() } else { lines.join(", ") };
    let device = device.display();
    report.error(
        arbiter.line,
        format!("arbiter: {device} is none of the `serial` lines ({known}); the dongle sits in one of them"),
    );
    None
}

/// Authority comes in leases, renewed by each heartbeat: the answer to one frame is a keepalive old when it
/// comes, and has to last until the answer to the next one.
fn hold_lease(hacf: &HaCf, timing: &Timing, line: usize, report: &mut Report) {
    let (lease, keepalive) = (timing.lease, timing.keepalive);
    let given = &hacf.times;
    let line = [&given.lease, &given.deadtime, &given.keepalive]
        .into_iter()
        .find_map(|given| given.as_ref().map(|at| at.line))
        .unwrap_or(line);
    if lease <= keepalive.times(2) {
        report.error(
            line,
            format!(
                "lease: {lease} is not more than 2 × keepalive {keepalive}: with an arbiter a node's \
                 authority would end between two heartbeats. Shorten keepalive, or lengthen deadtime"
            ),
        );
    } else if lease < keepalive.times(3) {
        report.warning(
            line,
            format!(
                "lease: {lease} is less than 3 × keepalive {keepalive}: one lost heartbeat can end a node's \
                 authority. Shorten keepalive, or lengthen deadtime"
            ),
        );
    }
}

/// How long a node that hangs may go on; `None` with an error when nothing says.
fn guard(
    hacf: &HaCf,
    arbiter: &At<ArbiterLine>,
    deadtime: Duration,
    report: &mut Report,
) -> Option<Duration> {
    let timeout_s = watchdog::timeout_s(deadtime);
    let least = watchdog::guard(timeout_s);
    let (reset_lines, watchdog) = (hacf.fence.is_some(), hacf.watchdog.is_some());
    match (&hacf.times.guard, &hacf.times.guard_unsafe) {
        (Some(_), Some(other)) => {
            report.error(other.line, "guard_unsafe: stands beside `guard`; keep one of the two");
            None
        }
        (None, Some(at)) => unsafe_guard(at, watchdog, least, report),
        (Some(at), None) if at.value == Duration::MAX => {
            if !reset_lines {
                report.warning(
                    at.line,
                    "guard: unbounded, and there is no `fence dongle`: after a node's death nobody takes \
                     over until it is back, or until an operator gives his word (`hb takeover \
                     --peer-is-off`)",
                );
            }
            Some(Duration::MAX)
        }
        (Some(at), None) => given_guard(at, watchdog.then_some(timeout_s), report),
        (None, None) if watchdog => Some(least),
        (None, None) if reset_lines => Some(Duration::MAX),
        (None, None) => {
            report.error(
                arbiter.line,
                "arbiter: nothing stops this node if it hangs, so its peer could never take over safely: \
                 add `watchdog /dev/watchdog` (`modprobe softdog` when the machine has none), or wire the \
                 reset lines and add `fence dongle`, or write `guard_unsafe TIME` and accept that both nodes may \
                 run the same groups",
            );
            None
        }
    }
}

/// A bounded `guard` that is written: as long as the watchdog takes at least, by its time-out in seconds.
fn given_guard(at: &At<Duration>, timeout_s: Option<u32>, report: &mut Report) -> Option<Duration> {
    let guard = at.value;
    let Some(timeout_s) = timeout_s else {
        report.error(
            at.line,
            format!(
                "guard: read {guard}, but without a watchdog nothing stops this node within it. Add \
                 `watchdog /dev/watchdog`, or write `guard unbounded` (with `fence dongle`), or \
                 `guard_unsafe {}` and accept that both nodes may run the same groups",
                written(guard)
            ),
        );
        return None;
    };
    let least = watchdog::guard(timeout_s);
    if guard < least {
        report.error(
            at.line,
            format!(
                "guard: read {guard}, but the watchdog resets this machine after up to 2 × {timeout_s} s × 1.05 + \
                 {} = {least}; expected that or more, or remove the line",
                watchdog::GUARD_MARGIN
            ),
        );
        return None;
    }
    Some(guard)
}

fn unsafe_guard(
    at: &At<Duration>,
    watchdog: bool,
    least: Duration,
    report: &mut Report,
) -> Option<Duration> {
    if at.value == Duration::ZERO {
        report.error(at.line, "guard_unsafe: read 0; it must be a positive time");
        return None;
    }
    let instead = if watchdog && at.value >= least {
        "On a machine that is never paused, `guard` says the same and is safe".to_owned()
    } else if watchdog {
        format!(
            "The watchdog makes {least} safe on a machine that is never paused: remove the line"
        )
    } else {
        "`watchdog DEVICE` (`modprobe softdog`) makes it safe".to_owned()
    };
    report.warning(
        at.line,
        format!(
            "guard_unsafe: nobody makes sure that this node is stopped within {}. If it ever goes on for \
             longer without authority, both nodes run the same groups. {instead}",
            at.value
        ),
    );
    Some(at.value)
}

/// Whether guard is the time within which the watchdog resets this machine.
pub(super) fn guard_by_watchdog(hacf: &HaCf, timing: &Timing) -> bool {
    hacf.arbiter.is_some()
        && hacf.watchdog.is_some()
        && hacf.times.guard_unsafe.is_none()
        && timing.guard < Duration::MAX
}

/// Why a hypervisor's guest can't go by this guard (R10): the line of ha.cf to blame and what to do.
pub(super) fn guest_refusal(hacf: &HaCf, timing: &Timing) -> Option<(usize, String)> {
    let arbiter = hacf.arbiter.as_ref().filter(|_| guard_by_watchdog(hacf, timing))?;
    let line = hacf.times.guard.as_ref().map_or(arbiter.line, |at| at.line);
    Some((
        line,
        format!(
            "guard: this machine is a hypervisor's guest. While it is paused its watchdog stands still too, so \
             no time is long enough, {} neither. Write `guard unbounded` on both nodes, with `fence dongle`; \
             or `guard_unsafe {}`, and accept that both nodes run the same groups for a moment when a paused \
             one goes on",
            timing.guard,
            written(timing.guard)
        ),
    ))
}

/// A time as ha.cf writes it.
fn written(time: Duration) -> String {
    if time.millis().is_multiple_of(1000) {
        (time.millis() / 1000).to_string()
    } else {
        format!("{}ms", time.millis())
    }
}
