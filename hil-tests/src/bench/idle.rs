//! What an idle pair costs: CPU, memory, bytes on the wires; and the least that it could cost.

use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::line::Side;
use serde_json::json;

use super::bare_loop;
use super::cost::{self, Use};
use super::machine::StallRecorder;
use super::report::{Figure, Of, Results, Sample};
use super::stack::Pair;
use super::wire::{Counted, Tap};

/// No process of ours may be larger (kB).
const RSS_MAX_KB: f64 = 4096.0;
/// How many processes a node of ours has.
const PROCESSES: f64 = 2.0;
/// The daemon may use this much more CPU than the bare loop.
const RATIO_MAX: f64 = 1.5;

/// Watches an idle pair for `window`.
///
/// # Errors
/// The pair doesn't settle.
pub fn pair(
    pair: &Pair,
    stalls: &StallRecorder,
    window: Duration,
    ours: bool,
    results: &mut Results,
) -> Result<(), RigError> {
    pair.settle()?;
    // What a start leaves to be done is done by then.
    std::thread::sleep(Duration::from_secs(2));
    let tap = Tap::start(Node::One)
        .map_err(|source| RigError::Io { what: "tapping the wires".into(), source })?;
    let line_before = pair.bench.line(0).carried(Side::A).sent;
    let began = Instant::now();
    let pids = [pair.bench.machine(Node::One).pid()?, pair.bench.machine(Node::Two).pid()?];
    let [active, standby] = std::thread::scope(|scope| {
        let watches = pids.map(|init| scope.spawn(move || cost::watch(init, window)));
        watches.map(|watch| watch.join().unwrap_or_default())
    });
    let line_bytes = pair.bench.line(0).carried(Side::A).sent - line_before;
    let seen = tap.seen();
    let stall_ms = stalls.longest_ms(began, Instant::now());
    let report = Report { pair, stall_ms, ours };
    report.processes("active", &active, results);
    report.processes("standby", &standby, results);
    report.bytes(&seen, line_bytes, results);
    let (name, label) = (pair.stack.name(), pair.stack.timing().label);
    results.keep(
        format!("idle: {name}, {label}"),
        json!({ "window_s": window.as_secs(), "active": active, "standby": standby,
                "eth0": Counted::on(Network::Public, &seen), "eth1": Counted::on(Network::Private, &seen),
                "line_bytes": line_bytes }),
    );
    Ok(())
}

fn busiest<'a>(uses: impl Iterator<Item = &'a Use>) -> Option<&'a Use> {
    uses.max_by(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent))
}

struct Report<'a> {
    pair: &'a Pair,
    stall_ms: f64,
    ours: bool,
}

impl Report<'_> {
    fn figure(&self, what: &str, unit: &'static str, value: f64, remark: String) -> Figure {
        let stack = &self.pair.stack;
        let mut figure = Figure::new(what, stack.name(), stack.timing().label, unit).remark(remark);
        let stall_ms = self.stall_ms;
        figure.samples.push(Sample { value, stall_ms, also: std::collections::BTreeMap::new() });
        figure
    }

    fn processes(&self, part: &str, uses: &[Use], results: &mut Results) {
        let each = |value: fn(&Use) -> f64| {
            let words: Vec<_> =
                uses.iter().map(|one| format!("{} {:.3}", one.process.name, value(one))).collect();
            words.join(", ")
        };
        let sum = |value: fn(&Use) -> f64| uses.iter().map(value).sum::<f64>();
        let cpu = sum(|one| one.cpu_percent);
        let ticks = sum(|one| one.ticks_percent);
        let words = format!("{}; by utime + stime {ticks:.2}", each(|one| one.cpu_percent));
        results.add(self.figure(&format!("idle CPU, {part}"), "% of a core", cpu, words));
        let largest = uses.iter().map(|one| one.process.rss_kb as f64).fold(0.0, f64::max);
        let words = each(|one| one.process.rss_kb as f64 / 1024.0);
        let rss = self.figure(&format!("RSS of the largest process, {part}"), "kB", largest, words);
        let total = self.figure(
            &format!("RSS of all processes, {part}"),
            "kB",
            sum(|one| one.process.rss_kb as f64),
            format!("Pss {} kB", sum(|one| one.process.pss_kb as f64)),
        );
        let count =
            self.figure(&format!("processes, {part}"), "", uses.len() as f64, String::new());
        if self.ours {
            results.add(rss.at_most(RSS_MAX_KB, Of::Maximum));
            results.add(total);
            results.add(count.at_most(PROCESSES, Of::Maximum));
        } else {
            results.add(rss);
            results.add(total);
            results.add(count);
        }
    }

    fn bytes(&self, seen: &[super::wire::Seen], line_bytes: u64, results: &mut Results) {
        let mut heartbeats = 0;
        for network in [Network::Public, Network::Private] {
            let counted = Counted::on(network, seen);
            if counted.heartbeats == 0 {
                continue;
            }
            heartbeats = counted.heartbeats;
            let words = format!(
                "usually {}, {}–{}; as Ethernet frames {:.1}; n = {}",
                counted.usual,
                counted.smallest,
                counted.largest,
                counted.mean_frame,
                counted.heartbeats
            );
            let what = format!("bytes a heartbeat, {}", network.interface());
            results.add(self.figure(&what, "B", counted.mean, words));
        }
        if line_bytes > 0 && heartbeats > 0 {
            let mean = line_bytes as f64 / heartbeats as f64;
            let words = format!("{line_bytes} bytes for {heartbeats} heartbeats");
            results.add(self.figure("bytes a heartbeat, serial line", "B", mean, words));
        }
    }
}

/// Windows in which daemon and bare loop are compared.
const COMPARISONS: u32 = 10;

/// The bare loop beside the daemon, on the same machines at the same time: what a wake-up costs depends on
/// what else the host does, by a factor of two, so the two are never compared across time.
///
/// # Errors
/// The loop can't be started, or nothing goes through its line.
pub fn bare(
    pair: &Pair,
    stalls: &StallRecorder,
    window: Duration,
    results: &mut Results,
) -> Result<(), RigError> {
    pair.settle()?;
    let timing = pair.stack.timing();
    let keepalive = Duration::from_millis(timing.keepalive_ms);
    let mut loops = Vec::with_capacity(2);
    for node in Node::BOTH {
        loops.push(bare_loop::start(&pair.bench, node, keepalive, timing.baud)?);
    }
    std::thread::sleep(Duration::from_secs(2));
    let delivered_before = pair.bench.line(1).carried(Side::A).delivered;
    let init = pair.bench.machine(Node::One).pid()?;
    let figure =
        |what: &str, unit: &'static str, stack: &str| Figure::new(what, stack, timing.label, unit);
    let ours = pair.stack.name();
    let mut daemons = figure("idle CPU beside the bare loop", "% of a core", ours);
    let mut bares = figure("idle CPU, the same system calls", "% of a core", "bare loop");
    let mut ratios =
        figure("idle CPU, daemon to bare loop", "", ours).at_most(RATIO_MAX, Of::Median);
    for _ in 0..COMPARISONS {
        let began = Instant::now();
        let uses = cost::watch(init, window / COMPARISONS);
        let stall_ms = stalls.longest_ms(began, Instant::now());
        let bare = uses.iter().find(|one| one.process.name.starts_with("bench"));
        let daemon = busiest(uses.iter().filter(|one| !one.process.name.starts_with("bench")));
        let (Some(daemon), Some(bare)) = (daemon, bare) else { break };
        let value = |value, wakeups| Sample {
            value,
            stall_ms,
            also: [("wake-ups a second", wakeups)].into_iter().collect(),
        };
        daemons.samples.push(value(daemon.cpu_percent, daemon.wakeups_a_second));
        bares.samples.push(value(bare.cpu_percent, bare.wakeups_a_second));
        let ratio = daemon.cpu_percent / bare.cpu_percent;
        let wakeups = daemon.wakeups_a_second / bare.wakeups_a_second;
        ratios.samples.push(Sample {
            value: ratio,
            stall_ms,
            also: [("ratio a wake-up", ratio / wakeups)].into_iter().collect(),
        });
    }
    let delivered = pair.bench.line(1).carried(Side::A).delivered - delivered_before;
    for mut child in loops {
        // The helper that entered the machine; the loop itself ends with the machine.
        let _ = child.kill();
        let _ = child.wait();
    }
    if ratios.samples.len() < COMPARISONS as usize || delivered == 0 {
        return Err(RigError::Machine {
            machine: pair.bench.machine(Node::One).name().into(),
            reason: "the bare loop does not run, or nothing goes through its line".into(),
        });
    }
    results.add(daemons);
    results.add(bares);
    results.add(ratios);
    Ok(())
}
