//! Stops and splits: an owner that sleeps and wakes up, two nodes that lose sight of each other.

use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::machine::Verb;

use super::client::WHO_HAS_EVERY;
use super::machine::StallRecorder;
use super::report::{Figure, Of, Sample};
use super::stack::Pair;

/// The owner sleeps this long.
const STOPPED: Duration = Duration::from_secs(25);
/// Every link is cut this long.
const CUT: Duration = Duration::from_secs(30);
/// The client is watched this long afterwards.
const AFTER: Duration = Duration::from_secs(10);
/// A continued owner has dropped its address by then: the first thing that it does, and the probe's grain.
const DROPPED_WITHIN_MS: f64 = 50.0;
/// The client is never longer in the dark when an owner stops: the takeover's announcement finds it.
const DARK_WITHIN_MS: f64 = 1000.0;
/// Shorter times without an answer are the probe's own grain.
const LEAST: Duration = Duration::from_millis(20);

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// The daemon of the active machine is stopped (SIGSTOP) for 25 s and continued.
///
/// # Errors
/// The pair doesn't do what it is for.
pub fn stopped_owner(pair: &mut Pair, stalls: &StallRecorder) -> Result<Vec<Figure>, RigError> {
    let timing = pair.stack.timing();
    pair.settle()?;
    let owner = pair.client.served_by().unwrap_or(Node::One);
    pair.client.watch_holders(true);
    let event = Instant::now();
    pair.bench.daemon(owner, Verb::Stop)?;
    // Without a takeover there would be nothing to see, and nothing dark.
    let taken_over = pair.first_answer_of(owner.other(), event)?;
    sleep(STOPPED.saturating_sub(event.elapsed()));
    let (both_before, _) = two_holders(pair, taken_over, Instant::now());
    let continued = Instant::now();
    pair.bench.daemon(owner, Verb::Continue)?;
    sleep(AFTER);
    let end = Instant::now();
    pair.client.watch_holders(false);
    let dark = pair.client.dark(event, end, LEAST);
    let (both, single_at) = two_holders(pair, continued, end);
    let sample = |value: f64| Sample {
        value,
        stall_ms: stalls.longest_ms(event, end),
        also: std::collections::BTreeMap::new(),
    };
    let figure = |what: &str, value: f64, at_most: f64, remark: String| {
        let mut figure = Figure::new(what, pair.stack.name(), timing.label, "ms").remark(remark);
        figure.samples.push(sample(value));
        figure.at_most(at_most, Of::Maximum)
    };
    let served = pair.client.served_by();
    Ok(vec![
        figure(
            "stopped owner: client's dark time",
            ms(dark),
            DARK_WITHIN_MS,
            format!(
                "SIGSTOP for {STOPPED:?}; taken over after {:.0} ms, {both_before} times both answered ARP while it \
                 was stopped; served by {served:?} at the end",
                ms(taken_over - event)
            ),
        ),
        figure(
            "stopped owner: two holders after SIGCONT",
            ms(single_at),
            DROPPED_WITHIN_MS,
            format!("by ARP every {WHO_HAS_EVERY:?}; {both} times both answered"),
        ),
    ])
}

/// Every link between the nodes is cut for 30 s and healed; the client reaches both all the time.
/// The pair must not use eth0 for heartbeats.
///
/// # Errors
/// The pair doesn't do what it is for.
pub fn split(pair: &mut Pair, stalls: &StallRecorder) -> Result<Vec<Figure>, RigError> {
    let timing = pair.stack.timing();
    pair.settle()?;
    pair.client.watch_holders(true);
    let cut = Instant::now();
    cut_all(pair, true);
    sleep(CUT);
    let healed = Instant::now();
    cut_all(pair, false);
    sleep(AFTER);
    let end = Instant::now();
    pair.client.watch_holders(false);
    let (both_before, _) = two_holders(pair, cut, healed);
    let (_, single_after) = two_holders(pair, healed, end);
    let dark_split = pair.client.dark(cut, healed, LEAST);
    let dark_after = pair.client.dark(healed, end, LEAST);
    let figure = |what: &str, value: f64, at_most: Option<f64>, remark: String| {
        let mut figure = Figure::new(what, pair.stack.name(), timing.label, "ms").remark(remark);
        if let Some(at_most) = at_most {
            figure = figure.at_most(at_most, Of::Maximum);
        }
        let stall_ms = stalls.longest_ms(cut, end);
        figure.samples.push(Sample { value, stall_ms, also: std::collections::BTreeMap::new() });
        figure
    };
    let served = pair.client.served_by();
    Ok(vec![
        figure(
            "split: contact to one holder",
            ms(single_after),
            Some(1000.0),
            format!("cut for {CUT:?}; {both_before} times both answered meanwhile"),
        ),
        figure("split: client's dark time while cut", ms(dark_split), None, String::new()),
        figure(
            "split: client's dark time after the heal",
            ms(dark_after),
            Some(1000.0),
            format!("served by {served:?} at the end"),
        ),
    ])
}

fn cut_all(pair: &Pair, cut: bool) {
    pair.bench.cut_serial(0, cut);
    pair.bench.cut(Network::Private, cut);
}

/// How often both machines claimed the address within one round of questions, and how long after
/// `from` that was so for the last time.
pub(super) fn two_holders(pair: &Pair, from: Instant, to: Instant) -> (usize, Duration) {
    pair.client.read(|record| {
        let seen: Vec<_> = record
            .sightings
            .iter()
            .filter(|sighting| sighting.at >= from && sighting.at <= to)
            .collect();
        let mut count = 0;
        let mut last = Duration::ZERO;
        for pair in seen.windows(2) {
            if pair[0].mac != pair[1].mac && pair[1].at - pair[0].at < WHO_HAS_EVERY / 2 {
                count += 1;
                last = pair[1].at - from;
            }
        }
        (count, last)
    })
}
