//! The daemon beside the bare loop: the same machines, the same time, ten times anew.
//!
//! What a wake-up costs depends on what else the host does, by a factor of two, so the two are never
//! compared across time. It depends as much on where in its keepalive each of the four senders stands:
//! whether a frame arrives while its receiver is awake for its own, or has to wake it up. Clocks that
//! never drift apart keep that for as long as they run, so a single run would measure one throw of the
//! dice; here each window begins with a restart of the standby machine and of both loops.

use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Node};
use hb_linux::rig::line::Side;
use rustix::process::{Pid, Signal, kill_process};

use super::bare_loop;
use super::cost::{self, Use};
use super::machine::StallRecorder;
use super::report::{Figure, Of, Results, Sample};
use super::stack::{Pair, wait_for_phase};

/// The daemon may use this much more CPU than the bare loop.
const RATIO_MAX: f64 = 1.5;
/// Windows, each with phases of its own.
const WINDOWS: u32 = 10;
/// What a start leaves to be done is done by then.
const SETTLING: Duration = Duration::from_secs(2);
/// As the kernel shows the loop.
const LOOP: &str = "bench";

/// Both, over one window.
struct Window {
    daemon: Use,
    bare: Use,
    stall_ms: f64,
}

/// Compares them in [`WINDOWS`] parts of `length`.
///
/// # Errors
/// The pair doesn't settle, the loop can't be started, or nothing goes through its line.
pub fn bare_loop(
    pair: &mut Pair,
    stalls: &StallRecorder,
    length: Duration,
    results: &mut Results,
) -> Result<(), RigError> {
    let mut windows = Vec::with_capacity(WINDOWS as usize);
    for at in 0..WINDOWS {
        windows.push(window(pair, stalls, length / WINDOWS, at as usize)?);
    }
    add(pair, &windows, results);
    Ok(())
}

fn window(
    pair: &mut Pair,
    stalls: &StallRecorder,
    length: Duration,
    at: usize,
) -> Result<Window, RigError> {
    let timing = pair.stack.timing();
    // The loop in the standby ends with its machine.
    pair.bench.power_off(Node::Two);
    end_loops(&pair.bench, Node::One);
    wait_for_phase(timing, at);
    pair.power_on(Node::Two)?;
    pair.settle()?;
    let keepalive = Duration::from_millis(timing.keepalive_ms);
    let mut helpers = Vec::with_capacity(2);
    for node in Node::BOTH {
        wait_for_phase(timing, at * 2 + node.index());
        helpers.push(bare_loop::start(&pair.bench, node, keepalive, timing.baud)?);
    }
    std::thread::sleep(SETTLING);
    let carried = |pair: &Pair| pair.bench.line(1).carried(Side::A).delivered;
    let (delivered_before, began) = (carried(pair), Instant::now());
    let uses = cost::watch(pair.bench.machine(Node::One).pid()?, length);
    let stall_ms = stalls.longest_ms(began, Instant::now());
    let delivered = carried(pair) - delivered_before;
    for mut helper in helpers {
        // It only entered the machine; the loop goes on until it is ended by name.
        let _ = helper.kill();
        let _ = helper.wait();
    }
    let (loops, daemons): (Vec<_>, Vec<_>) =
        uses.into_iter().partition(|one| one.process.name.starts_with(LOOP));
    let busiest =
        |uses: Vec<Use>| uses.into_iter().max_by(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent));
    match (busiest(daemons), busiest(loops)) {
        (Some(daemon), Some(bare)) if delivered > 0 => Ok(Window { daemon, bare, stall_ms }),
        _ => Err(RigError::Machine {
            machine: pair.bench.machine(Node::One).name().into(),
            reason: "the bare loop does not run, or nothing goes through its line".into(),
        }),
    }
}

/// Ends the loops that still run in a machine.
fn end_loops(bench: &Bench, node: Node) {
    let Ok(init) = bench.machine(node).pid() else { return };
    for process in cost::processes(init) {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| process.name.starts_with(LOOP)) {
            // One that has just ended by itself is no error.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn add(pair: &Pair, windows: &[Window], results: &mut Results) {
    let label = pair.stack.timing().label;
    let ours = pair.stack.name();
    let figure = |what: &str, unit: &'static str, stack: &str| {
        Figure::new(what, stack, label, unit)
            .remark(format!("{WINDOWS} windows, phases drawn anew"))
    };
    let sample = |value, also: (&'static str, f64), window: &Window| Sample {
        value,
        stall_ms: window.stall_ms,
        also: [also].into_iter().collect(),
    };
    let mut daemons = figure("idle CPU beside the bare loop", "% of a core", ours);
    let mut bares = figure("idle CPU, the same system calls", "% of a core", "bare loop");
    let mut ratios =
        figure("idle CPU, daemon to bare loop", "", ours).at_most(RATIO_MAX, Of::Median);
    for window in windows {
        let Window { daemon, bare, .. } = window;
        let wakeups = |one: &Use| ("wake-ups a second", one.wakeups_a_second);
        daemons.samples.push(sample(daemon.cpu_percent, wakeups(daemon), window));
        bares.samples.push(sample(bare.cpu_percent, wakeups(bare), window));
        let ratio = daemon.cpu_percent / bare.cpu_percent;
        let a_wakeup = ratio / (daemon.wakeups_a_second / bare.wakeups_a_second);
        ratios.samples.push(sample(ratio, ("ratio a wake-up", a_wakeup), window));
    }
    results.add(daemons);
    results.add(bares);
    results.add(ratios);
}
