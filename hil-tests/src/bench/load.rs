//! Both CPUs busy: does anybody take a living peer for dead?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::bench::Node;
use hb_linux::rig::{RigError, mac_text};
use serde::Serialize;

use super::machine::{Stall, StallRecorder, real_time};
use super::report::{Figure, Of, Results};
use super::stack::{Pair, Timing};

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

/// A living peer was taken for dead: a node told it, or the client was answered by the other machine.
#[derive(Clone, Debug, Serialize)]
struct Mistake {
    /// Since the load began.
    at_ms: f64,
    /// The machine that told it, or the hardware address that answered.
    by: String,
    /// The log's line; empty for what the client saw.
    line: String,
    /// The host's own stalls that were long and late enough to be the reason.
    explained_by: Vec<String>,
}

/// The daemon's helper, an ordinary process, writes the log: with busy CPUs it waits for its turn. What
/// takes longer is not explained.
const WRITTEN_WITHIN: Duration = Duration::from_millis(50);
/// The logs' own times are whole seconds: they are looked at this often instead.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What happened at the load's very end is told by then.
const AFTERMATH: Duration = Duration::from_secs(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Keeps both cores busy for `minutes` beside an idle pair.
///
/// # Errors
/// The pair doesn't settle, or the host gives no realtime priority: then nothing tells its stalls.
pub fn run(
    pair: &Pair,
    stalls: &StallRecorder,
    minutes: f64,
    results: &mut Results,
) -> Result<(), RigError> {
    let timing = pair.stack.timing();
    pair.settle()?;
    let before = Node::BOTH.map(|node| daemon_stalls(pair, node));
    // The machine's own pauses, seen by a thread that nothing ordinary can delay.
    let host = StallRecorder::start_in_real_time()
        .map_err(|source| RigError::Io { what: "recording the host's stalls".into(), source })?;
    let mut logs = Logs::of(pair)?;
    let began = Instant::now();
    let told = logs.follow_while(|| {
        let busy = Busy::all_cores()?;
        sleep(Duration::from_secs_f64(minutes * 60.0));
        drop(busy);
        Ok(())
    })?;
    let ended = Instant::now();
    let host_stalls = host.within(began, ended).collect::<Vec<_>>();
    let mistake = |at: Instant, by: &str, line: String| Mistake {
        at_ms: (at - began).as_secs_f64() * 1e3,
        by: by.to_owned(),
        line,
        explained_by: explanations(&host_stalls, at, timing),
    };
    let deaths: Vec<_> = told
        .into_iter()
        .filter(|told| told.line.ends_with(": is dead"))
        .map(|told| mistake(told.at, pair.bench.machine(told.node).name(), told.line))
        .collect();
    let takeovers: Vec<_> = pair
        .client
        .takeovers(began, ended)
        .into_iter()
        .map(|(at, mac)| mistake(at, &mac_text(mac), String::new()))
        .collect();

    let figure = |what: &str, unit: &'static str, value: f64| {
        Figure::new(&format!("load: {what}"), pair.stack.name(), timing.label, unit)
            .value(value)
            .remark(format!("{minutes} min, both cores busy"))
    };
    mistakes(&figure, timing, &deaths, &takeovers, results);
    let gap = pair.client.outage(began, ended).unwrap_or(ended - began);
    results.add(figure("longest time without an answer", "ms", gap.as_secs_f64() * 1e3));
    for (kind, recorder) in [("realtime", &host), ("ordinary", stalls)] {
        let what = format!("host's longest stall, {kind} thread");
        results.add(figure(&what, "ms", recorder.longest_ms(began, ended)));
    }
    let after = Node::BOTH.map(|node| daemon_lives(pair, node, before[node.index()], results));
    for (node, stalls) in Node::BOTH.into_iter().zip(after) {
        let Some((more, longest_ms)) = stalls else { continue };
        let name = pair.bench.machine(node).name();
        let what = format!("stalls of {name}'s daemon, by its own word");
        results.add(figure(&what, "", more as f64).remark(format!("longest {longest_ms} ms")));
    }
    let raw = serde_json::json!({ "deaths": deaths, "takeovers": takeovers });
    results.keep(format!("load: {}", timing.label), raw);
    Ok(())
}

/// What was seen, and what of it nothing explains.
fn mistakes(
    figure: &impl Fn(&str, &'static str, f64) -> Figure,
    timing: Timing,
    deaths: &[Mistake],
    takeovers: &[Mistake],
    results: &mut Results,
) {
    for (what, seen) in [("false deaths", deaths), ("takeovers, by the client", takeovers)] {
        let all = figure(what, "", seen.len() as f64);
        // At faster times than these a busy machine is a dead one (docs/timing.md).
        let never = timing.deadtime_ms >= 500;
        results.add(if never { all.at_most(0.0, Of::Maximum) } else { all });
        let unexplained = seen.iter().filter(|one| one.explained_by.is_empty()).count();
        let what = format!("{what} that no recorded stall explains");
        results.add(figure(&what, "", unexplained as f64).at_most(0.0, Of::Maximum));
    }
}

/// How many stalls the daemon has counted since `before`, and its longest, milliseconds. None, and a
/// failure among the results, if it does not live any more, or is another one.
fn daemon_lives(
    pair: &Pair,
    node: Node,
    before: Option<(u64, u64)>,
    results: &mut Results,
) -> Option<(u64, u64)> {
    let machine = pair.bench.machine(node);
    let mut after = None;
    pair.bench.wait(ANSWERS_WITHIN, |_| {
        after = daemon_stalls(pair, node);
        after.is_some()
    });
    let exits = machine.daemon_exits();
    let more = before.zip(after).and_then(|(before, after)| after.0.checked_sub(before.0));
    if let (Some(more), Some((_, longest_ms)), true) = (more, after, exits.is_empty()) {
        return Some((more, longest_ms));
    }
    let reason = format!(
        "the daemon that ran before does not run or not answer: stalls before {before:?}, after \
         {after:?}; ended: {exits:?}"
    );
    results.fail(&format!("load: {}", machine.name()), reason);
    None
}

/// Count and longest, milliseconds; None while the daemon doesn't answer.
fn daemon_stalls(pair: &Pair, node: Node) -> Option<(u64, u64)> {
    let status = pair.bench.machine(node).status()?;
    let stalls = &status["stalls"];
    // Without a stall there is no longest one.
    Some((stalls["count"].as_u64()?, stalls["longest_ms"].as_u64().unwrap_or(0)))
}

/// Which stalls can be the reason that a peer was taken for dead at `at`: they began before, ended within
/// deadtime and two keepalives of it, and were long enough to be deadtime's silence together with the
/// keepalive that was due when they began and the one that was due when they ended.
fn explanations(stalls: &[Stall], at: Instant, timing: Timing) -> Vec<String> {
    let [keepalive, deadtime] =
        [timing.keepalive_ms, timing.deadtime_ms].map(Duration::from_millis);
    let least = deadtime.saturating_sub(2 * keepalive);
    let window = deadtime + 2 * keepalive + WRITTEN_WITHIN;
    let reasons = stalls.iter().filter(|stall| {
        stall.late >= least && stall.end - stall.late < at && stall.end + window >= at
    });
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    let words = reasons.map(|stall| {
        let began = ms(at - (stall.end - stall.late));
        format!("{:.1} ms that began {began:.1} ms before", ms(stall.late))
    });
    words.collect()
}

/// A line of a log.
struct Told {
    /// When it was there.
    at: Instant,
    node: Node,
    line: String,
}

/// Both machines' logs, and how much of them was read, bytes.
struct Logs([(Node, PathBuf, usize); 2]);

impl Logs {
    /// From now on.
    fn of(pair: &Pair) -> Result<Self, RigError> {
        let open = |node| {
            let path = pair.bench.machine(node).log_file("ha-log");
            let length = fs::metadata(&path).map(|metadata| metadata.len() as usize);
            length.map(|read| (node, path.clone(), read)).map_err(|source| RigError::Io {
                what: format!("{}, which must tell deaths", path.display()),
                source,
            })
        };
        Ok(Self([open(Node::One)?, open(Node::Two)?]))
    }

    /// All lines that were written while `work` went on and shortly after.
    fn follow_while(
        &mut self,
        work: impl FnOnce() -> Result<(), RigError>,
    ) -> Result<Vec<Told>, RigError> {
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| self.follow(&end));
            let outcome = work();
            sleep(AFTERMATH);
            end.store(true, Ordering::Relaxed);
            let told = follower.join();
            outcome.map(|()| told.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn follow(&mut self, end: &AtomicBool) -> Vec<Told> {
        real_time();
        let mut told = Vec::new();
        loop {
            let last = end.load(Ordering::Relaxed);
            for (node, path, read) in &mut self.0 {
                let text = news(path, read);
                let at = Instant::now();
                told.extend(text.lines().map(|line| Told { at, node: *node, line: line.into() }));
            }
            if last {
                return told;
            }
            sleep(LOOK_EVERY);
        }
    }
}

/// Whole lines of a file behind the first `read` bytes, which grow by them.
fn news(path: &Path, read: &mut usize) -> String {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() <= *read as u64) {
        return String::new();
    }
    let bytes = fs::read(path).unwrap_or_default();
    let new = bytes.get(*read..).unwrap_or_default();
    let whole = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    *read += whole;
    String::from_utf8_lossy(&new[..whole]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::stack::{DEFAULT, FASTEST};
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn explained(timing: Timing, late_ms: u64, end: Instant, at: Instant) -> bool {
        !explanations(&[Stall { end, late: ms(late_ms) }], at, timing).is_empty()
    }

    #[test]
    fn a_stall_explains_only_a_death_that_follows_from_it() {
        let began = Instant::now();
        let death = began + ms(5000);
        for (timing, least, window) in [(FASTEST, 20, 60), (DEFAULT, 300, 700)] {
            let explained = |late, end| explained(timing, late, end, death);
            assert!(explained(least, death - ms(5)), "just before");
            assert!(explained(least, death - ms(window)), "a whole silence before");
            assert!(explained(least, death + ms(5)), "goes on");
            assert!(!explained(least - 1, death - ms(5)), "too short for a silence");
            assert!(!explained(least, death - ms(window + 60)), "long over");
            assert!(!explained(least, death + ms(least + 1)), "after it");
        }
    }

    #[test]
    fn a_log_is_read_line_by_line_and_once() {
        let path = std::env::temp_dir().join(format!("hb-load-{}", std::process::id()));
        let mut read = 0;
        fs::write(&path, "one\ntw").unwrap();
        assert_eq!(news(&path, &mut read), "one\n");
        assert_eq!(news(&path, &mut read), "");
        fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(news(&path, &mut read), "two\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(news(&path, &mut read), "");
    }
}
