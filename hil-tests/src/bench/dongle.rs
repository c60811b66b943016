//! The same failovers with a third voter in the null-modem line, beside the classic mode.
//!
//! The dongle is the namespace rig's: the firmware's library in a process of this host, at the priority of the
//! wires, since a chip has nothing else to do. Its reset outputs end in the rig, and so do the machines'
//! watchdogs, which are fakes; ha.cf can't name those, so that it has `guard_unsafe` with the guard that
//! `watchdog` would give.

use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Node, Options};
use hb_linux::rig::dongle::{Build, Dongle};
use hb_linux::rig::machine::Programs;
use hb_linux::watchdog;

use super::failover::{AFTERMATH, ms, outage};
use super::machine::{StallRecorder, real_time_of};
use super::report::{Figure, Of, Results};
use super::stack::{Ours, PATIENCE, Pair, Stack, Timing, succeed, wait_for_phase};
use super::{failover, load, splits};

/// A pair with a dongle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trio {
    /// Times and the line's speed; its name is behind `dongle-`.
    pub timing: Timing,
    /// How long a reset line is pulled, milliseconds; without, there are no such lines.
    pub pulse_ms: Option<u64>,
    /// Time-out of the machines' watchdogs, from which guard follows (R10).
    pub watchdog_s: u32,
}

/// Of the boards (docs/hardware/dongle).
const BAUD: u32 = 115_200;
/// What ha.cf has when nothing is written.
const PULSE_MS: u64 = 200;
const WATCHDOG_S: u32 = 10;
/// The shortest pulse that is accepted.
const SHORT_PULSE_MS: u64 = 50;
/// Time-outs of watchdogs are whole seconds (watchdog-api.rst).
const SHORT_WATCHDOG_S: u32 = 1;

/// The fastest times for three voters: their 112 bytes take 9.72 ms of each keepalive at 115200 baud, and may take half
/// of it; deadtime is four keepalives as in the classic mode's fastest, so that a lease lasts for three.
const FAST: Timing = Timing {
    name: "fastest",
    label: "20 / 80 ms, reset lines, pulse 50 ms",
    keepalive_ms: 20,
    deadtime_ms: 80,
    baud: BAUD,
};
const USUAL: Timing = Timing {
    name: "default",
    label: "100 / 500 ms, reset lines",
    keepalive_ms: 100,
    deadtime_ms: 500,
    baud: BAUD,
};

/// With two voters at the dongle's fastest times, to compare.
pub const CLASSIC: Timing = Timing { name: "dongle-fastest", label: "20 / 80 ms", ..FAST };

/// What is measured.
pub const TRIOS: [Trio; 5] = [
    Trio { timing: USUAL, pulse_ms: Some(PULSE_MS), watchdog_s: WATCHDOG_S },
    Trio { timing: FAST, pulse_ms: Some(SHORT_PULSE_MS), watchdog_s: WATCHDOG_S },
    Trio {
        timing: Timing {
            name: "default-no-lines",
            label: "100 / 500 ms, no reset lines, guard 21.5 s",
            ..USUAL
        },
        pulse_ms: None,
        watchdog_s: WATCHDOG_S,
    },
    Trio {
        timing: Timing {
            name: "default-no-lines-fast-watchdog",
            label: "100 / 500 ms, no reset lines, watchdog 1 s, guard 2.6 s",
            ..USUAL
        },
        pulse_ms: None,
        watchdog_s: SHORT_WATCHDOG_S,
    },
    Trio {
        timing: Timing {
            name: "fastest-no-lines",
            label: "20 / 80 ms, no reset lines, watchdog 1 s, guard 2.6 s",
            ..FAST
        },
        pulse_ms: None,
        watchdog_s: SHORT_WATCHDOG_S,
    },
];
/// Which of them are watched beside busy CPUs: those with reset lines, as a false alarm would pull one.
pub const LOADS: [Trio; 2] = [TRIOS[0], TRIOS[1]];

/// For the table.
const REMARK: &str = "the dongle is its library in a process of this host";

impl Trio {
    /// Guard as `watchdog` would give it, milliseconds.
    fn guard_ms(self) -> u64 {
        watchdog::guard(self.watchdog_s).millis()
    }

    fn lines(self) -> String {
        let fence =
            self.pulse_ms.map_or_else(String::new, |ms| format!("fence dongle pulse {ms}ms\n"));
        format!("arbiter serial /dev/ttyS0\n{fence}guard_unsafe {}ms\n", self.guard_ms())
    }

    /// Builds the rig, and lets both machines serve with it.
    ///
    /// # Errors
    /// What couldn't be made, or was not reached.
    pub fn start(self, programs: &Programs) -> Result<Pair, RigError> {
        let install =
            |bench: &Bench| Ours::new(self.timing).install_with(bench, true, &self.lines());
        let pair = Pair::start(programs, Box::new(WithDongle(self)), install)?;
        let broken = |reason: &str| RigError::Machine {
            machine: "the dongle".into(),
            reason: reason.into(),
        };
        let pid = dongle(&pair)?.pid().ok_or_else(|| broken("it has no power"))?;
        if !real_time_of(pid) {
            return Err(broken(
                "no realtime priority for its process: chrt(1) was refused or is missing",
            ));
        }
        if self.pulse_ms.is_some() {
            let machine = pair.bench.machine(Node::One);
            succeed(machine.name(), "hb dongle provision", machine.hb(&["dongle", "provision"]))?;
        }
        Ok(pair)
    }
}

/// This heartbeat with its dongle.
#[derive(Debug)]
struct WithDongle(Trio);

impl Stack for WithDongle {
    fn name(&self) -> &'static str {
        "heartbeat (this one) with a dongle"
    }

    fn timing(&self) -> Timing {
        self.0.timing
    }

    fn remark(&self) -> &'static str {
        REMARK
    }

    fn equip(&self, options: &mut Options) {
        let reset_lines = self.0.pulse_ms.is_some();
        options.dongle = Some(Build { baud: self.0.timing.baud, reset_lines, ..Build::default() });
        options.watchdog_s = Some(self.0.watchdog_s);
    }

    fn start(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError> {
        Ours::new(self.0.timing).start(bench, node)
    }

    fn settled(&self, bench: &Bench) -> bool {
        let votes = |node: Node| {
            let status = bench.machine(node).status()?;
            let arbiter = &status["arbiter"];
            let lines = arbiter["reset_lines"].as_object()?.values().all(|line| line == "tested");
            let well = arbiter["state"] == "present" && arbiter["agreed"] == true && lines;
            // Whoever serves does so by both voters' word.
            let from = status["groups"][0]["authority"]["from"].as_array().map_or(0, Vec::len);
            well.then_some(from)
        };
        let [one, two] = Node::BOTH.map(votes);
        Ours::new(self.0.timing).settled(bench)
            && one.zip(two).is_some_and(|(one, two)| one == 2 || two == 2)
    }

    fn hand_over(&mut self, bench: &mut Bench, from: Node) -> Result<(), RigError> {
        Ours::new(self.0.timing).hand_over(bench, from)
    }
}

fn dongle(pair: &Pair) -> Result<&Dongle, RigError> {
    let none =
        || RigError::Machine { machine: "the rig".into(), reason: "it has no dongle".into() };
    pair.bench.dongle().ok_or_else(none)
}

/// Power loss, failback, planned handover, an owner that hangs.
///
/// # Errors
/// The pair doesn't do what it is for.
pub fn failovers(
    pair: &mut Pair,
    stalls: &StallRecorder,
    runs: usize,
) -> Result<Vec<Figure>, RigError> {
    let budget = ms(Duration::from_micros(pair.bench.budget(0)?.total().micros()));
    let [lost, back] = failover::power(pair, stalls, runs)?;
    let over = failover::handover(pair, stalls, runs)?;
    // A planned move waits for nothing, as with two voters.
    let planned = [back, over].map(|figure| failover::promised(figure, pair.stack.timing()));
    let mut figures = vec![lost.at_most(budget, Of::Maximum)];
    figures.extend(planned);
    figures.extend(hung_owner(pair, stalls, runs)?);
    let lives = dongle(pair)?.lives();
    if lives != 1 {
        let reason =
            format!("it began {lives} lives: another dongle than the one that was measured");
        return Err(RigError::Machine { machine: "the dongle".into(), reason });
    }
    Ok(figures)
}

/// The owner's daemon gets SIGSTOP while its kernel answers on, until somebody resets its machine.
fn hung_owner(
    pair: &mut Pair,
    stalls: &StallRecorder,
    runs: usize,
) -> Result<[Figure; 2], RigError> {
    let timing = pair.stack.timing();
    let figure = |what: &str, unit| Figure::new(what, pair.stack.name(), timing.label, unit);
    let mut outages = figure("hung owner: outage", "ms").remark(REMARK);
    let mut both = figure("hung owner: times both answered ARP", "").at_most(0.0, Of::Maximum);
    for run in 0..runs {
        if pair.client.served_by() != Some(Node::One) {
            pair.stack.hand_over(&mut pair.bench, Node::Two)?;
            pair.expect_served_by(Node::One)?;
        }
        pair.settle()?;
        sleep(AFTERMATH);
        wait_for_phase(timing, run);
        pair.client.watch_holders(true);
        let before = pair.bench.resets_of(Node::One).len();
        let event = Instant::now();
        pair.bench.daemon(Node::One, hb_linux::rig::machine::Verb::Stop)?;
        let first = pair.first_answer_of(Node::Two, event)?;
        if !pair.bench.wait(PATIENCE, |bench| !bench.resets().is_empty()) {
            return Err(pair.not_reached("the machine that hangs is reset and would boot"));
        }
        sleep(AFTERMATH);
        let mut sample = outage(pair, stalls, event)?;
        let (twice, _) = splits::two_holders(pair, event, Instant::now());
        pair.client.watch_holders(false);
        sample.also.insert("SIGSTOP to first answer", ms(first.saturating_duration_since(event)));
        if let Some(reset) = pair.bench.resets_of(Node::One).get(before) {
            sample.also.insert("SIGSTOP to reset", ms(reset.at.saturating_duration_since(event)));
        }
        eprintln!(
            "  hung owner, run {} of {runs}: {:.1} ms {:?}",
            run + 1,
            sample.value,
            sample.also
        );
        outages.samples.push(sample);
        both = both.value(twice as f64);
        pair.power_on(Node::One)?;
        pair.first_answer_of(Node::One, Instant::now())?;
    }
    Ok([outages, both])
}

/// Both cores busy for `minutes`: nobody is taken for dead, no line is pulled, and nobody loses authority.
///
/// # Errors
/// As [`load::run`].
pub fn under_load(
    pair: &Pair,
    stalls: &StallRecorder,
    minutes: f64,
    results: &mut Results,
) -> Result<(), RigError> {
    const LOST: &str = "its addresses are gone";
    let lost = |pair: &Pair| {
        let of = |node| {
            pair.bench.machine(node).ha_log().lines().filter(|line| line.contains(LOST)).count()
        };
        Node::BOTH.into_iter().map(of).sum::<usize>()
    };
    let (pulled, lost_before) = (dongle(pair)?.pulled().len(), lost(pair));
    load::run(pair, stalls, minutes, results)?;
    for (what, count) in [
        ("reset lines pulled", dongle(pair)?.pulled().len() - pulled),
        ("authority lost", lost(pair) - lost_before),
        ("lives of the dongle", dongle(pair)?.lives() as usize - 1),
    ] {
        let what = format!("load: {what}");
        let figure = Figure::new(&what, pair.stack.name(), pair.stack.timing().label, "");
        results.add(
            figure
                .value(count as f64)
                .at_most(0.0, Of::Maximum)
                .remark(format!("{minutes} min, both cores busy")),
        );
    }
    Ok(())
}
