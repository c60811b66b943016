//! `arbiter`, `guard` and `guard_unsafe`: the dongle's line, and what stops a node that hangs.

use hb_proto::config::{ArbiterConfig, ResourceKind, Timing};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;

use super::diagnostic::{Report, Severity};
use super::hacf::HaCf;
use super::times::At;
use super::{Medium, Settings};
use crate::watchdog;

/// What ha.cf says of the third voter, with guard put into `timing`.
pub(super) fn resolve(
    hacf: &HaCf,
    timing: &mut Timing,
    report: &mut Report,
) -> Option<ArbiterConfig> {
    let Some(arbiter) = &hacf.arbiter else {
        for (word, given) in
            [("guard", &hacf.times.guard), ("guard_unsafe", &hacf.times.guard_unsafe)]
        {
            if let Some(at) = given {
                report.error(at.line, format!("{word}: it belongs to `arbiter`, and there is none"));
            }
        }
        return None;
    };
    if !hacf.times.broken {
        timing.guard = guard(hacf, arbiter.line, timing.deadtime, report).unwrap_or(Duration::ZERO);
    }
    let on_it = |medium: &Medium| matches!(medium, Medium::Serial { device, .. } if *device == arbiter.value);
    let Some(link) = hacf.media.iter().position(|line| on_it(&line.medium)) else {
        let lines = hacf.media.iter().map(|line| &line.medium);
        let lines: Vec<_> =
            lines.filter(|medium| matches!(medium, Medium::Serial { .. })).map(Medium::name).collect();
        let known = if lines.is_empty() { "there is none".to_owned() } else { lines.join(", ") };
        report.error(
            arbiter.line,
            format!(
                "arbiter: {} is none of the `serial` lines ({known}); the dongle sits in one of them",
                arbiter.value.display()
            ),
        );
        return None;
    };
    let link = u8::try_from(link).ok().map(LinkId)?;
    Some(ArbiterConfig { link, external_watchdog: false, fence: None })
}

/// How long a node that hangs may go on; `None` with an error when nothing says.
fn guard(hacf: &HaCf, line: usize, deadtime: Duration, report: &mut Report) -> Option<Duration> {
    let (guard, unsafe_guard) = (&hacf.times.guard, &hacf.times.guard_unsafe);
    match (hacf.watchdog.is_some(), guard, unsafe_guard) {
        (_, Some(_), Some(other)) => {
            report.error(other.line, "guard_unsafe: stands beside `guard`; keep one of the two");
            None
        }
        (true, _, Some(at)) => {
            let advice = "guard_unsafe: it is for a node without a watchdog, and this one has one; \
                          write `guard`, or neither";
            report.error(at.line, advice);
            None
        }
        (true, guard, None) => long_enough(guard.as_ref(), watchdog::timeout_s(deadtime), report),
        (false, None, Some(at)) => {
            report.warning(
                at.line,
                format!(
                    "guard_unsafe: nothing stops this node if it hangs. If it ever goes on for more than \
                     {} without authority, both nodes run the same groups. `watchdog DEVICE` \
                     (`modprobe softdog`) makes it safe",
                    at.value
                ),
            );
            Some(at.value)
        }
        (false, given, None) => {
            let line = given.as_ref().map_or(line, |at| at.line);
            let advice = "arbiter: nothing stops this node if it hangs, so its peer could never take \
                          over safely: add `watchdog /dev/watchdog` (`modprobe softdog` when the machine \
                          has none), or write `guard_unsafe TIME` and accept that both may run";
            report.error(line, advice);
            None
        }
    }
}

fn long_enough(
    given: Option<&At<Duration>>,
    timeout_s: u32,
    report: &mut Report,
) -> Option<Duration> {
    let least = watchdog::guard(timeout_s);
    match given {
        Some(at) if at.value < least => {
            report.error(
                at.line,
                format!(
                    "guard: read {}, but the watchdog resets this machine after up to 2 × {timeout_s} s + \
                     {} = {least}; expected that or more",
                    at.value,
                    watchdog::GUARD_MARGIN
                ),
            );
            None
        }
        Some(at) => Some(at.value),
        None => Some(least),
    }
}

/// What the third voter's numbers mean for this pair (protocol.md §3): facts, and what to do something about.
pub(super) fn judge(settings: &Settings, hypervisor: bool) -> Vec<(Option<Severity>, String)> {
    let (timing, mut said) = (&settings.proto.timing, Vec::new());
    let Some(arbiter) = settings.proto.arbiter else { return said };
    let (lease, guard, full) = (timing.lease, timing.guard, timing.full());
    let drift = timing.drift_percent;
    said.push((
        None,
        format!(
            "arbiter: lease {lease} × 1.{drift:02} = {} ≤ deadtime {}: a node that hears nobody stops before \
             it is called dead",
            full.saturating_sub(guard),
            timing.deadtime
        ),
    ));
    said.push((
        None,
        format!(
            "arbiter: a promise binds its giver for lease × 1.{drift:02} + guard {guard} = {full}; without a \
             reset line that is how long a takeover from a dead node waits"
        ),
    ));
    let timeout_s = watchdog::timeout_s(timing.deadtime);
    if settings.needs_watchdog {
        said.push((
            None,
            format!("arbiter: guard covers 2 × watchdog {timeout_s} s + {}", watchdog::GUARD_MARGIN),
        ));
        let scripts = settings.proto.groups.iter().any(|group| group.resources.contains(&ResourceKind::Script));
        let stop = settings.proto.patience.stop;
        if scripts && stop > Duration::from_secs(u64::from(timeout_s)) {
            said.push((
                Some(Severity::Note),
                format!(
                    "a `stop` may take {stop}, the watchdog {timeout_s} s: where authority is lost, a script \
                     that stops more slowly than that ends in a reset of this machine"
                ),
            ));
        }
    }
    if hypervisor && arbiter.fence.is_none() {
        said.push((
            Some(Severity::Warning),
            "this machine is a hypervisor's guest: when it is paused, its clocks and its watchdog stand \
             still, and when it goes on it may serve beside its peer until the first frame arrives. Only \
             a reset line rules that out"
                .to_owned(),
        ));
    }
    said
}
