//! Both CPUs busy: does anybody take a living peer for dead?

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::Node;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Serialize;

use super::machine::StallRecorder;
use super::report::{Figure, Of};
use super::stack::Pair;

/// Processes that do nothing but use a CPU, at ordinary priority. Dropping ends them.
#[derive(Debug)]
pub struct Busy(Vec<Child>);

impl Busy {
    /// One for each logical processor.
    ///
    /// # Errors
    /// They can't be started.
    pub fn all_cores() -> Result<Self, RigError> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let mut busy = Self(Vec::with_capacity(cores));
        for _ in 0..cores {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            let child = command
                .spawn()
                .map_err(|source| RigError::Io { what: "starting a busy loop".into(), source })?;
            busy.0.push(child);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A death that a node told of a peer that lived.
#[derive(Clone, Debug, Serialize)]
struct Death {
    /// Who told it.
    node: String,
    /// The log's line.
    line: String,
    /// Stalls within two seconds before it, as the daemons' logs and the recorders have them.
    explained_by: Vec<String>,
}

/// How long before a death a stall still explains it; the log's times are whole seconds.
const BEFORE: Duration = Duration::from_secs(2);

/// Keeps both cores busy for `minutes` beside an idle pair.
///
/// # Errors
/// The pair doesn't settle.
pub fn run(
    pair: &Pair,
    stalls: &StallRecorder,
    minutes: f64,
) -> Result<(Vec<Figure>, serde_json::Value), RigError> {
    let timing = pair.stack.timing();
    pair.settle()?;
    let skip = Node::BOTH.map(|node| pair.bench.machine(node).ha_log().lines().count());
    let before = Node::BOTH.map(|node| daemon_stalls(pair, node));
    // The machine's own pauses, seen by a thread that nothing ordinary can delay.
    let host = StallRecorder::start_in_real_time();
    let began = Instant::now();
    let busy = Busy::all_cores()?;
    sleep(Duration::from_secs_f64(minutes * 60.0));
    drop(busy);
    let ended = Instant::now();
    sleep(Duration::from_secs(1));
    let stalled = Node::BOTH.map(|node| daemon_stalls(pair, node));
    let deaths = deaths(pair, skip, timing.deadtime_ms, &host, began, ended);
    let unexplained = deaths.iter().filter(|death| death.explained_by.is_empty()).count();
    let gap = pair.client.outage(began, ended).unwrap_or(ended - began);
    let figure = |what: &str, unit: &'static str, value: f64| {
        Figure::new(what, pair.stack.name(), timing.label, unit)
            .value(value)
            .remark(format!("{minutes} min, both cores busy"))
    };
    let seen = figure("load: false deaths", "", deaths.len() as f64);
    let seen = if timing.deadtime_ms >= 500 { seen.at_most(0.0, Of::Maximum) } else { seen };
    let mut figures = vec![
        seen,
        figure("load: false deaths that no recorded stall explains", "", unexplained as f64)
            .at_most(0.0, Of::Maximum),
        figure("load: longest time without an answer", "ms", gap.as_secs_f64() * 1e3),
        figure("load: host's longest stall, realtime thread", "ms", host.longest_ms(began, ended)),
        figure(
            "load: host's longest stall, ordinary thread",
            "ms",
            stalls.longest_ms(began, ended),
        ),
    ];
    for node in Node::BOTH {
        let (now, then) = (stalled[node.index()], before[node.index()]);
        let name = pair.bench.machine(node).name();
        let what = format!("load: stalls of {name}'s daemon, by its own word");
        let longest = format!("longest {} ms", now.1);
        figures.push(figure(&what, "", (now.0 - then.0) as f64).remark(longest));
    }
    let raw =
        serde_json::json!({ "deaths": deaths, "stalls_before": before, "stalls_after": stalled });
    Ok((figures, raw))
}

/// Count and longest, milliseconds.
fn daemon_stalls(pair: &Pair, node: Node) -> (u64, u64) {
    let status = pair.bench.machine(node).status().unwrap_or_default();
    let figure = |name: &str| status["stalls"][name].as_u64().unwrap_or(0);
    (figure("count"), figure("longest_ms"))
}

fn deaths(
    pair: &Pair,
    skip: [usize; 2],
    deadtime_ms: u64,
    host: &StallRecorder,
    began: Instant,
    ended: Instant,
) -> Vec<Death> {
    let logs = Node::BOTH.map(|node| {
        let log = pair.bench.machine(node).ha_log();
        log.lines().skip(skip[node.index()]).map(str::to_owned).collect::<Vec<_>>()
    });
    let mut stalls: Vec<(Timestamp, String)> = Vec::new();
    for (node, log) in Node::BOTH.into_iter().zip(&logs) {
        let name = pair.bench.machine(node).name();
        let told = log.iter().filter(|line| line.contains("was not scheduled for"));
        stalls.extend(told.filter_map(|line| Some((time_of(line)?, format!("{name}: {line}")))));
    }
    // A pause of the whole host is one for both nodes and for the wires between them; half of
    // deadtime is what they can't bridge.
    let long = Duration::from_millis(deadtime_ms) / 2;
    let (now, wall) = (Instant::now(), Timestamp::now());
    for stall in host.within(began, ended).filter(|stall| stall.late >= long) {
        let at = wall - (now - stall.end);
        stalls.push((at, format!("host: {:.1} ms", stall.late.as_secs_f64() * 1e3)));
    }
    let mut deaths = Vec::new();
    for (node, log) in Node::BOTH.into_iter().zip(&logs) {
        for line in log.iter().filter(|line| line.ends_with(": is dead")) {
            let near = |at: Timestamp| {
                time_of(line).is_some_and(|death| {
                    let apart = death.duration_since(at);
                    apart.unsigned_abs() <= BEFORE
                })
            };
            deaths.push(Death {
                node: pair.bench.machine(node).name().to_owned(),
                line: line.clone(),
                explained_by: stalls
                    .iter()
                    .filter(|(at, _)| near(*at))
                    .map(|(_, text)| text.clone())
                    .collect(),
            });
        }
    }
    deaths
}

/// ha-log's time: `2026/11/22_14:10:46`, local.
fn time_of(line: &str) -> Option<Timestamp> {
    let at = DateTime::strptime("%Y/%m/%d_%H:%M:%S", line.get(..19)?).ok()?;
    Some(at.to_zoned(TimeZone::system()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_s_times_are_read() {
        let early = time_of("2026/11/22_14:10:46 WARN: node linuxha2: is dead").unwrap();
        let late = time_of("2026/11/22_14:10:48 WARN: x").unwrap();
        assert_eq!(late.duration_since(early).as_secs(), 2);
        assert!(time_of("no time here at all, nowhere").is_none());
    }
}
