//! The steps of the guide's test, and what must be seen of each.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::bench::{Bench, Network, Node, SERVICE};
use super::super::machine::{self, Programs, Verb, last_lines};
use super::super::probe::ASK_EVERY;
use super::super::{RigError, init, mac_text};
use super::Sabotage;
use super::report::Step;
use super::view::{Screen, owner, strip};

mod dongle;

/// The picture is drawn anew this often.
const REDRAW: Duration = Duration::from_millis(100);
/// The daemons are asked this often, for the picture and for their budget.
const ASK_STATUS: Duration = Duration::from_millis(200);
/// Both daemons must have started, heard each other and served by then.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Nobody who hasn't taken over by then will.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(6);
/// How long an unplugged cable must leave all as it is: six times deadtime.
const WATCH: Duration = Duration::from_millis(3000);
/// A gap that a busy host may make: no takeover is that quick, its deadtime alone is longer.
const HICCUP: Duration = Duration::from_millis(400);
/// A look at the picture between two steps.
const PAUSE: Duration = Duration::from_millis(1000);
/// The client asks only so often: the moment of a change is known no better.
const RESOLUTION: Duration = Duration::from_millis(2 * ASK_EVERY.as_millis() as u64);

/// Why the demo ended early.
#[derive(Debug)]
pub enum Stopped {
    /// Ctrl-C.
    Interrupted,
    /// The rig broke.
    Failed(RigError),
}

impl From<RigError> for Stopped {
    fn from(error: RigError) -> Self {
        Self::Failed(error)
    }
}

/// A step.
type Act = fn(&mut Play, Option<Sabotage>) -> Result<Step, Stopped>;

/// The guide's test.
pub const OF_THE_GUIDE: &[Act] = &[
    Play::start,
    Play::cut_power,
    Play::return_of_the_first,
    Play::unplug_eth1,
    Play::unplug_serial,
    Play::standby,
];
pub use dongle::WITH_DONGLE;

type Statuses = Arc<Mutex<[Option<Value>; 2]>>;

/// What the configuration promises.
#[derive(Clone, Copy, Debug)]
struct Promised {
    /// From a machine's death.
    failover: Duration,
    /// When both machines live: nothing needs to be detected.
    planned: Duration,
}

/// The demo under way.
pub struct Play {
    bench: Bench,
    hb: PathBuf,
    screen: Screen,
    interrupted: Arc<AtomicBool>,
    statuses: Statuses,
    budget: Promised,
    began: Instant,
    step: &'static str,
    drawn: Instant,
}

impl Play {
    /// With both machines without power.
    ///
    /// # Errors
    /// The demo's configuration is wrong.
    pub fn new(
        bench: Bench,
        programs: &Programs,
        screen: Screen,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, RigError> {
        let budget = bench.budget(0)?;
        let promised = |time: hb_proto::time::Duration| Duration::from_micros(time.micros());
        let budget = Promised {
            failover: promised(budget.total()),
            planned: promised(budget.start + budget.announce),
        };
        let statuses = Statuses::default();
        for node in Node::BOTH {
            watch(bench.machine(node).run_dir(), node, &statuses);
        }
        let hb = init::inside(&programs.hb);
        let now = Instant::now();
        let (step, began, drawn) = ("", now, now);
        Ok(Self { bench, hb, screen, interrupted, statuses, budget, began, step, drawn })
    }

    /// Draws the last picture and ends the live view; the machines lose power.
    pub fn end(mut self) {
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.screen.draw(&self.bench, &statuses, "");
    }

    /// Plays all steps, or up to the first that fails: the next ones would start from nowhere.
    pub fn all(&mut self, acts: &[Act], sabotage: Option<Sabotage>) -> Result<Vec<Step>, Stopped> {
        let mut steps = Vec::new();
        for act in acts {
            let began = Instant::now();
            let step = act(self, sabotage)?;
            self.pause(PAUSE)?;
            self.show(&step, began);
            let failed = step.verdict.is_err();
            steps.push(step);
            if failed {
                self.show_logs();
                break;
            }
        }
        Ok(steps)
    }

    fn start(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("start both machines");
        let since = Instant::now();
        self.bench.start_client(SERVICE)?;
        for node in Node::BOTH {
            self.bench.power_on(node)?;
        }
        let served = self.answered_by(Node::One, since, START_PATIENCE)?;
        self.pause(PAUSE)?;
        let verdict = if served { self.serving(Node::One, since) } else { Err(self.nobody()) };
        Ok(Step { name: self.step, outage: None, budget: None, verdict })
    }

    fn cut_power(&mut self, sabotage: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("cut the power of linuxha1");
        if sabotage == Some(Sabotage::Takeover) {
            self.screen.alarm("sabotage: heartbeatd of linuxha2 is stopped (SIGSTOP)");
            self.bench.daemon(Node::Two, Verb::Stop)?;
        }
        let event = Instant::now();
        self.bench.power_off(Node::One);
        self.moved(event, Node::Two, TAKEOVER_PATIENCE, self.budget.failover)
    }

    fn return_of_the_first(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("power on linuxha1: it takes its group back");
        let event = Instant::now();
        self.bench.power_on(Node::One)?;
        self.moved(event, Node::One, START_PATIENCE, self.budget.planned)
    }

    fn unplug_eth1(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("unplug eth1: no takeover");
        let event = Instant::now();
        for node in Node::BOTH {
            self.bench.carrier(Network::Private, node, false)?;
        }
        let step = self.stayed(event, Node::One)?;
        for node in Node::BOTH {
            self.bench.carrier(Network::Private, node, true)?;
        }
        self.screen.event("eth1 is plugged in again");
        Ok(step)
    }

    fn unplug_serial(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("unplug the serial line: no takeover");
        let event = Instant::now();
        self.bench.cut_serial(0, true);
        let step = self.stayed(event, Node::One)?;
        self.bench.cut_serial(0, false);
        self.screen.event("the serial line is plugged in again");
        Ok(step)
    }

    fn standby(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("hb standby on linuxha1");
        let event = Instant::now();
        let hb = self.hb.to_string_lossy().into_owned();
        let command = self.bench.machine(Node::One).command(&hb, &["standby"])?;
        let said = self.told(command)?;
        let mut step = self.moved(event, Node::Two, TAKEOVER_PATIENCE, self.budget.planned)?;
        if let (Err(reason), Ok(_)) = (said, &step.verdict) {
            step.verdict = Err(reason);
        }
        Ok(step)
    }

    /// The address must move to `to`, within the budget.
    fn moved(
        &mut self,
        event: Instant,
        to: Node,
        patience: Duration,
        budget: Duration,
    ) -> Result<Step, Stopped> {
        let served = self.answered_by(to, event, patience)?;
        self.pause(PAUSE)?;
        let outage = self.outage(event);
        let verdict = if !served {
            Err(self.nobody())
        } else if outage.is_none_or(|outage| outage > budget + RESOLUTION) {
            Err("the outage was longer than the budget".into())
        } else {
            self.serving(to, event)
        };
        Ok(Step { name: self.step, outage, budget: Some(budget), verdict })
    }

    /// The address must stay at `at`, without an outage worth the name.
    fn stayed(&mut self, event: Instant, at: Node) -> Result<Step, Stopped> {
        self.pause(WATCH)?;
        self.say_links();
        let outage = self.outage(event);
        let others = self
            .client(|record| record.answered_by(event, Instant::now()))
            .into_iter()
            .any(|mac| owner(mac) != Some(at));
        let verdict = if others {
            Err("another machine answered".into())
        } else if outage.is_none_or(|outage| outage > HICCUP) {
            Err("the service was gone".into())
        } else {
            self.serving(at, event)
        };
        Ok(Step { name: self.step, outage, budget: None, verdict })
    }

    /// What the daemons say of the links, for the reader; no verdict hangs on it.
    fn say_links(&mut self) {
        let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for status in statuses.iter().flatten() {
            let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let links = status["links"].as_array().into_iter().flatten();
            let links: Vec<String> = links
                .map(|link| format!("{} {}", word(&link["name"]), word(&link["state"])))
                .collect();
            self.screen.event(&format!("{} says: {}", word(&status["node"]), links.join(", ")));
        }
    }

    /// The end of a step: `node` and nobody else serves, and never did two at once.
    fn serving(&self, node: Node, since: Instant) -> Result<String, String> {
        let name = self.bench.machine(node).name();
        self.never_two()?;
        match self.client(|record| record.last_good().copied()) {
            Some(last) if last.done >= since && last.mac.and_then(owner) == Some(node) => {
                Ok(format!("{name} answers"))
            }
            _ => Err(format!("{name} does not answer")),
        }
    }

    /// No two machines had the address at once since the beginning.
    fn never_two(&self) -> Result<(), String> {
        match self.client(|record| record.overlap(self.began)) {
            Some(overlap) => {
                let [one, two] = overlap.macs.map(mac_text);
                Err(format!("TWO HOLDERS: {one} and {two} had the address at the same time"))
            }
            None => Ok(()),
        }
    }

    fn nobody(&self) -> String {
        match self.client(|record| record.last_good().copied()) {
            Some(last) => {
                let who = last.mac.and_then(owner);
                let who = who.map_or("a stranger", |node| self.bench.machine(node).name());
                let ago = last.done.elapsed().as_millis();
                format!("no takeover: the last good answer was {who}'s, {ago} ms ago")
            }
            None => "the client never got a good answer".into(),
        }
    }

    fn outage(&self, event: Instant) -> Option<Duration> {
        self.client(|record| record.outage(event, Instant::now())).map(|outage| outage.lasted)
    }

    fn client<T>(&self, read: impl FnOnce(&super::super::probe::Record) -> T) -> T
    where
        T: Default,
    {
        self.bench.client().map(|client| client.read(read)).unwrap_or_default()
    }

    fn answered_by(
        &mut self,
        node: Node,
        since: Instant,
        patience: Duration,
    ) -> Result<bool, Stopped> {
        let served = self.until(patience, |play| {
            play.client(|record| record.last_good().copied())
                .is_some_and(|last| last.sent >= since && last.mac.and_then(owner) == Some(node))
        })?;
        if served {
            let name = self.bench.machine(node).name().to_owned();
            self.screen.event(&format!("{name} answers the client"));
        }
        Ok(served)
    }

    /// Waits until both daemons say that every link is up, or for some seconds: what follows is
    /// judged by the client in any case.
    fn settle(&mut self) -> Result<(), Stopped> {
        let calm = |statuses: &[Option<Value>; 2]| {
            statuses.iter().flatten().count() == 2
                && statuses.iter().flatten().all(|status| {
                    let links = status["links"].as_array();
                    links.is_some_and(|links| links.iter().all(|link| link["state"] == "up"))
                })
        };
        let settled = self.until(Duration::from_secs(4), |play| {
            calm(&play.statuses.lock().unwrap_or_else(PoisonError::into_inner))
        })?;
        if !settled {
            self.screen.alarm("not every link is up; going on");
        }
        Ok(())
    }

    /// Runs an operator's command; Err says what it answered when it failed.
    fn told(&mut self, mut command: Command) -> Result<Result<(), String>, Stopped> {
        let started = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let ended = self.until(TAKEOVER_PATIENCE, |_| !matches!(child.try_wait(), Ok(None)))?;
        if !ended {
            let _ = child.kill();
        }
        let output = child.wait_with_output();
        Ok(match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")),
            Err(error) => Err(error.to_string()),
        })
    }

    fn begin(&mut self, step: &'static str) {
        self.step = step;
        self.screen.event(step);
    }

    fn show(&mut self, step: &Step, began: Instant) {
        let cells = self.client(|record| strip(record, began, Instant::now()));
        self.screen.step_strip(&cells);
        let outage = step.outage.map_or(String::new(), |outage| {
            format!(", longest time without an answer {} ms", outage.as_millis())
        });
        match &step.verdict {
            Ok(seen) => self.screen.event(&format!("ok: {seen}{outage}")),
            Err(wrong) => self.screen.alarm(&format!("FAILED: {wrong}{outage}")),
        }
    }

    /// What a person would look at next.
    fn show_logs(&mut self) {
        for node in Node::BOTH {
            let machine = self.bench.machine(node);
            for file in ["ha-log", "heartbeatd.out"] {
                let lines = last_lines(&machine.log_file(file), 8);
                for line in lines.lines() {
                    self.screen.event(&format!("{} {file}: {line}", machine.name()));
                }
            }
        }
    }

    fn pause(&mut self, time: Duration) -> Result<(), Stopped> {
        self.until(time, |_| false).map(|_| ())
    }

    /// Keeps the picture alive until `done`, for at most `patience`.
    fn until(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Stopped> {
        let deadline = Instant::now() + patience;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stopped::Interrupted);
            }
            if self.drawn.elapsed() >= REDRAW {
                self.drawn = Instant::now();
                let statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.screen.draw(&self.bench, &statuses, self.step);
            }
            for (node, reset) in self.bench.resets() {
                let name = self.bench.machine(node).name().to_owned();
                self.screen.event(&format!("{name}, reset by {}, boots", reset.cause.name()));
                self.bench.power_on(node)?;
            }
            if done(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Asks a machine's daemon again and again, beside the picture: a stopped daemon answers late.
/// The thread ends with the process.
fn watch(run_dir: PathBuf, node: Node, statuses: &Statuses) {
    let statuses = statuses.clone();
    // Without the thread the picture lacks what this daemon says; no verdict needs it.
    let _ = std::thread::Builder::new().name("status".into()).spawn(move || {
        loop {
            let status = machine::status(&run_dir);
            statuses.lock().unwrap_or_else(PoisonError::into_inner)[node.index()] = status;
            std::thread::sleep(ASK_STATUS);
        }
    });
}
