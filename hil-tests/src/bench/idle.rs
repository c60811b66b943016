//! What an idle pair costs: CPU, memory, bytes on the wires; and the least that it could cost.

use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Network, Node, Options};
use hb_linux::rig::line::Side;
use hb_linux::rig::machine::Programs;
use serde_json::json;

use super::bare_loop;
use super::cost::{self, Use};
use super::machine::StallRecorder;
use super::report::{Figure, Of, Results, Sample};
use super::stack::{Pair, Timing};
use super::wire::{Counted, Tap};

/// No process of ours may be larger (kB).
const RSS_MAX_KB: f64 = 4096.0;
/// How many processes a node of ours has.
const PROCESSES: f64 = 2.0;
/// The daemon may use this much more CPU than the bare loop.
const RATIO_MAX: f64 = 1.5;

/// Watches an idle pair for `window`. Answers what the active machine's busiest process used.
///
/// # Errors
/// The pair doesn't settle.
pub fn pair(
    pair: &Pair,
    stalls: &StallRecorder,
    window: Duration,
    ours: bool,
    results: &mut Results,
) -> Result<Option<Use>, RigError> {
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
    Ok(busiest(&active))
}

fn busiest(uses: &[Use]) -> Option<Use> {
    uses.iter().max_by(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent)).cloned()
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

/// The same for the bare loop, and the ratio of the daemon to it.
///
/// # Errors
/// The loop can't be started.
pub fn bare(
    programs: &Programs,
    timing: Timing,
    stalls: &StallRecorder,
    window: Duration,
    daemon: &Use,
    results: &mut Results,
) -> Result<(), RigError> {
    let mut bench = Bench::new(&Options::of_the_guide(programs.clone()))?;
    let mut loops = Vec::with_capacity(2);
    for node in Node::BOTH {
        bench.power_on_without_daemon(node)?;
    }
    for node in Node::BOTH {
        let keepalive = Duration::from_millis(timing.keepalive_ms);
        loops.push(bare_loop::start(&bench, node, keepalive, timing.baud)?);
    }
    std::thread::sleep(Duration::from_secs(2));
    let line_before = bench.line(0).carried(Side::A).delivered;
    let began = Instant::now();
    let uses = cost::watch(bench.machine(Node::One).pid()?, window);
    let stall_ms = stalls.longest_ms(began, Instant::now());
    let delivered = bench.line(0).carried(Side::A).delivered - line_before;
    for node in Node::BOTH {
        bench.power_off(node);
    }
    for mut child in loops {
        let _ = child.wait();
    }
    let Some(bare) = busiest(&uses).filter(|_| delivered > 0) else {
        return Err(RigError::Machine {
            machine: "linuxha1".into(),
            reason: "the bare loop does not run, or nothing goes through the line".into(),
        });
    };
    let percent = bare.cpu_percent;
    let figure = |what: &str, unit: &'static str, value: f64| {
        let mut figure = Figure::new(what, "bare loop", timing.label, unit);
        figure.samples.push(Sample { value, stall_ms, also: std::collections::BTreeMap::new() });
        figure
    };
    results.add(figure("idle CPU, the same system calls", "% of a core", percent));
    let mut ratio = figure("idle CPU, daemon to bare loop", "", daemon.cpu_percent / percent)
        .at_most(RATIO_MAX, Of::Maximum)
        .remark(format!(
            "{:.3} % to {percent:.3} %; wake-ups a second: {:.0} to {:.0}",
            daemon.cpu_percent, daemon.wakeups_a_second, bare.wakeups_a_second
        ));
    ratio.stack = "heartbeat (this one)".into();
    results.add(ratio);
    results.keep("idle: bare loop", &uses);
    Ok(())
}
