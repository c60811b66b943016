//! Outages that a client sees: power loss, power on, planned handover.

use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::Node;

use super::machine::StallRecorder;
use super::report::{Figure, Of, Sample};
use super::stack::{Pair, Timing, wait_for_phase};
use super::wire::Tap;

/// The client is watched this much longer than the event seems to take: what follows it counts too.
pub(super) const AFTERMATH: Duration = Duration::from_millis(400);

pub(super) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// An outage around `event`, until now.
pub(super) fn outage(
    pair: &Pair,
    stalls: &StallRecorder,
    event: Instant,
) -> Result<Sample, RigError> {
    let now = Instant::now();
    let lasted = pair.client.outage(event, now);
    let lasted = lasted.ok_or_else(|| pair.not_reached("the client is answered"))?;
    Ok(Sample {
        value: ms(lasted),
        stall_ms: stalls.longest_ms(event, now),
        also: std::collections::BTreeMap::new(),
    })
}

/// Pulls the active machine's plug and powers it on again, `runs` times: the outages of both.
///
/// # Errors
/// The pair doesn't do what it is for.
pub fn power(
    pair: &mut Pair,
    stalls: &StallRecorder,
    runs: usize,
) -> Result<[Figure; 2], RigError> {
    let timing = pair.stack.timing();
    let mut lost = figure(pair, "power loss: outage");
    let mut failback = figure(pair, "power on: outage of the failback");
    for run in 0..runs {
        lost.samples.push(power_loss(pair, stalls, timing, run)?);
        failback.samples.push(power_on(pair, stalls)?);
        progress(pair, run, runs, &lost.samples[run], &failback.samples[run]);
    }
    Ok([lost, failback])
}

fn figure(pair: &Pair, what: &str) -> Figure {
    let stack = &pair.stack;
    Figure::new(what, stack.name(), stack.timing().label, "ms").remark(stack.remark())
}

fn progress(pair: &Pair, run: usize, runs: usize, first: &Sample, second: &Sample) {
    let name = pair.stack.name();
    let label = pair.stack.timing().label;
    eprintln!(
        "  {name}, {label}, run {} of {runs}: {:.1} ms and {:.1} ms (stalls {:.1}, {:.1}) {:?}",
        run + 1,
        first.value,
        second.value,
        first.stall_ms,
        second.stall_ms,
        first.also,
    );
}

fn power_loss(
    pair: &mut Pair,
    stalls: &StallRecorder,
    timing: Timing,
    run: usize,
) -> Result<Sample, RigError> {
    pair.settle()?;
    let tap = Tap::start(Node::One)
        .map_err(|source| RigError::Io { what: "tapping the wires".into(), source })?;
    sleep(AFTERMATH.max(Duration::from_millis(2 * timing.keepalive_ms)));
    wait_for_phase(timing, run);
    let event = Instant::now();
    pair.bench.power_off(Node::One);
    let took = event.elapsed();
    let first = pair.first_answer_of(Node::Two, event)?;
    sleep(AFTERMATH);
    let mut sample = outage(pair, stalls, event)?;
    // The sharper figure: silence begins with the last heartbeat, not with the power loss.
    let last = tap.seen().iter().map(|seen| seen.at).max();
    if let Some(last) = last {
        let span = ms(first.saturating_duration_since(last));
        sample.also.insert("last heartbeat to first answer", span);
    }
    sample.also.insert("pulling the plug", ms(took));
    if let Some(failover) =
        pair.bench.machine(Node::Two).status().map(|mut status| status["last_failover"].take())
        && let (Some(detection), Some(takeover)) =
            (failover["detection_ms"].as_f64(), failover["takeover_ms"].as_f64())
    {
        sample.also.insert("detection (the daemon's word)", detection);
        sample.also.insert("takeover (the daemon's word)", takeover);
    }
    Ok(sample)
}

fn power_on(pair: &mut Pair, stalls: &StallRecorder) -> Result<Sample, RigError> {
    let event = Instant::now();
    pair.power_on(Node::One)?;
    let home = pair.first_answer_of(Node::One, event)?;
    pair.expect_served_by(Node::One)?;
    sleep(AFTERMATH);
    let mut sample = outage(pair, stalls, event)?;
    sample.also.insert("power on to home", ms(home - event));
    Ok(sample)
}

/// Hands over from the active machine to the other, `runs` times, back and forth.
///
/// # Errors
/// The pair doesn't do what it is for.
pub fn handover(pair: &mut Pair, stalls: &StallRecorder, runs: usize) -> Result<Figure, RigError> {
    let timing = pair.stack.timing();
    let mut figure = figure(pair, "planned handover: outage");
    for run in 0..runs {
        pair.settle()?;
        let from = pair.client.served_by().unwrap_or(Node::One);
        sleep(AFTERMATH);
        wait_for_phase(timing, run);
        let event = Instant::now();
        pair.stack.hand_over(&mut pair.bench, from)?;
        let there = pair.first_answer_of(from.other(), event)?;
        sleep(AFTERMATH);
        let mut sample = outage(pair, stalls, event)?;
        sample.also.insert("command to first answer", ms(there - event));
        eprintln!(
            "  {}, {}, handover {} of {runs}: {:.1} ms (stall {:.1})",
            pair.stack.name(),
            timing.label,
            run + 1,
            sample.value,
            sample.stall_ms
        );
        figure.samples.push(sample);
        pair.stack.rejoin(&mut pair.bench, from)?;
        sleep(Duration::from_millis(2 * timing.keepalive_ms));
    }
    Ok(figure)
}

/// What is promised for an address (the project's own targets).
#[must_use]
pub fn promised(figure: Figure, timing: Timing) -> Figure {
    let at_most = match figure.what.as_str() {
        "power loss: outage" if timing.deadtime_ms == 40 => 50.0,
        "power loss: outage" => timing.deadtime_ms as f64 + 5.0,
        _ => 20.0,
    };
    figure.at_most(at_most, Of::Median)
}
