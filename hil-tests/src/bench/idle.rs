//! What an idle pair costs: CPU, memory, bytes on the wires.

use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::line::Side;
use serde_json::json;

use super::cost::{self, Use};
use super::machine::StallRecorder;
use super::report::{Figure, Of, Results, Sample, median};
use super::stack::Pair;
use super::wire::{Counted, Seen, Tap};

/// No process of ours may be larger (kB).
const RSS_MAX_KB: f64 = 4096.0;
/// How many processes a node of ours has.
const PROCESSES: f64 = 2.0;

/// Windows that the time of watching is cut into: a value of each.
const WINDOWS: u32 = 10;

/// Watches an idle pair for `length`, in [`WINDOWS`] parts.
///
/// # Errors
/// The pair doesn't settle, or a machine has no process to watch.
pub fn pair(
    pair: &Pair,
    stalls: &StallRecorder,
    length: Duration,
    ours: bool,
    results: &mut Results,
) -> Result<(), RigError> {
    pair.settle()?;
    // What a start leaves to be done is done by then.
    std::thread::sleep(Duration::from_secs(2));
    let tap = Tap::start(Node::One)
        .map_err(|source| RigError::Io { what: "tapping the wires".into(), source })?;
    let mut windows = Vec::with_capacity(WINDOWS as usize);
    for _ in 0..WINDOWS {
        windows.push(Window::watch(pair, &tap, stalls, length / WINDOWS)?);
    }
    let report = Report { pair, windows: &windows, ours };
    report.processes("active", |window| &window.active, results);
    report.processes("standby", |window| &window.standby, results);
    report.bytes(results);
    let raw: Vec<_> = windows.iter().map(Window::raw).collect();
    let (name, label) = (pair.stack.name(), pair.stack.timing().label);
    results.keep(
        format!("idle: {name}, {label}"),
        json!({ "window_s": (length / WINDOWS).as_secs_f64(), "windows": raw }),
    );
    Ok(())
}

/// What was seen of an idle pair in one window.
struct Window {
    active: Vec<Use>,
    standby: Vec<Use>,
    /// Sent by the active machine.
    seen: Vec<Seen>,
    /// Sent by the active machine.
    line_bytes: u64,
    stall_ms: f64,
}

impl Window {
    fn watch(
        pair: &Pair,
        tap: &Tap,
        stalls: &StallRecorder,
        length: Duration,
    ) -> Result<Self, RigError> {
        let pids = [pair.bench.machine(Node::One).pid()?, pair.bench.machine(Node::Two).pid()?];
        let line_before = pair.bench.line(0).carried(Side::A).sent;
        let began = Instant::now();
        let [active, standby] = std::thread::scope(|scope| {
            let watches = pids.map(|init| scope.spawn(move || cost::watch(init, length)));
            watches.map(|watch| watch.join().unwrap_or_default())
        });
        let ended = Instant::now();
        let line_bytes = pair.bench.line(0).carried(Side::A).sent - line_before;
        for (node, uses) in [(Node::One, &active), (Node::Two, &standby)] {
            // Nothing would cost nothing, and keep every promise.
            if uses.is_empty() {
                return Err(RigError::Machine {
                    machine: pair.bench.machine(node).name().into(),
                    reason: "no process lived for a whole window".into(),
                });
            }
        }
        let seen = tap.seen().into_iter().filter(|seen| (began..ended).contains(&seen.at));
        let stall_ms = stalls.longest_ms(began, ended);
        Ok(Self { active, standby, seen: seen.collect(), line_bytes, stall_ms })
    }

    /// Of the network that saw most: one goes over each medium at a time.
    fn heartbeats(&self) -> usize {
        let on = |network| Counted::on(network, &self.seen).heartbeats;
        on(Network::Public).max(on(Network::Private))
    }

    fn raw(&self) -> serde_json::Value {
        json!({ "active": self.active, "standby": self.standby, "line_bytes": self.line_bytes,
                "eth0": Counted::on(Network::Public, &self.seen),
                "eth1": Counted::on(Network::Private, &self.seen) })
    }
}

struct Report<'a> {
    pair: &'a Pair,
    windows: &'a [Window],
    ours: bool,
}

impl Report<'_> {
    /// A value of each window that has one.
    fn figure(
        &self,
        what: &str,
        unit: &'static str,
        value: impl Fn(&Window) -> Option<f64>,
        remark: String,
    ) -> Figure {
        let stack = &self.pair.stack;
        let mut figure = Figure::new(what, stack.name(), stack.timing().label, unit).remark(remark);
        figure.samples.extend(self.windows.iter().filter_map(|window| {
            let (value, stall_ms) = (value(window)?, window.stall_ms);
            Some(Sample { value, stall_ms, also: std::collections::BTreeMap::new() })
        }));
        figure
    }

    fn processes(&self, part: &str, of: fn(&Window) -> &[Use], results: &mut Results) {
        let sum = |value: fn(&Use) -> f64| {
            move |window: &Window| Some(of(window).iter().map(value).sum::<f64>())
        };
        let middle = |value: fn(&Use) -> f64| {
            median(self.windows.iter().filter_map(|window| sum(value)(window)).collect())
        };
        let cpu_words = format!(
            "{}; by utime + stime {:.2}",
            self.each_process(of, |one| one.cpu_percent),
            middle(|one| one.ticks_percent)
        );
        let cpu = format!("idle CPU, {part}");
        results.add(self.figure(&cpu, "% of a core", sum(|one| one.cpu_percent), cpu_words));
        let rss = self.figure(
            &format!("RSS of the largest process, {part}"),
            "kB",
            |window| of(window).iter().map(rss_kb).reduce(f64::max),
            format!("MB: {}", self.each_process(of, |one| rss_kb(one) / 1024.0)),
        );
        let total = self.figure(
            &format!("RSS of all processes, {part}"),
            "kB",
            sum(rss_kb),
            format!("Pss {:.0} kB", middle(|one| one.process.pss_kb as f64)),
        );
        let count = self.figure(&format!("processes, {part}"), "", sum(|_| 1.0), String::new());
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

    /// The median of each process that the last window saw, `name 1.234`.
    fn each_process(&self, of: fn(&Window) -> &[Use], value: fn(&Use) -> f64) -> String {
        let last = self.windows.last().map(of).into_iter().flatten();
        let words = last.map(|one| {
            let uses = self.windows.iter().flat_map(of);
            let its = uses.filter(|other| other.process.pid == one.process.pid);
            format!("{} {:.3}", one.process.name, median(its.map(value).collect()))
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn bytes(&self, results: &mut Results) {
        let all: Vec<Seen> = self.windows.iter().flat_map(|window| &window.seen).copied().collect();
        for network in [Network::Public, Network::Private] {
            let counted = Counted::on(network, &all);
            if counted.heartbeats == 0 {
                continue;
            }
            let words = format!(
                "usually {}, {}–{}; as Ethernet frames {:.1}; {} heartbeats",
                counted.usual,
                counted.smallest,
                counted.largest,
                counted.mean_frame,
                counted.heartbeats
            );
            let what = format!("bytes a heartbeat, {}", network.interface());
            let mean = |window: &Window| {
                let counted = Counted::on(network, &window.seen);
                (counted.heartbeats > 0).then_some(counted.mean)
            };
            results.add(self.figure(&what, "B", mean, words));
        }
        let (bytes, heartbeats) =
            self.windows.iter().fold((0, 0), |(bytes, heartbeats), window| {
                (bytes + window.line_bytes, heartbeats + window.heartbeats())
            });
        if bytes > 0 && heartbeats > 0 {
            let mean = |window: &Window| {
                let heartbeats = window.heartbeats();
                (heartbeats > 0).then(|| window.line_bytes as f64 / heartbeats as f64)
            };
            let words = format!("{bytes} bytes for {heartbeats} heartbeats of a network");
            results.add(self.figure("bytes a heartbeat, serial line", "B", mean, words));
        }
    }
}

fn rss_kb(one: &Use) -> f64 {
    one.process.rss_kb as f64
}
