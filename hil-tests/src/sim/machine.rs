//! A machine: power, disk, clock, resources, watchdog, and the helper processes that run scripts.

use hb_proto::action::{Outcome, TicketId, Verb};
use hb_proto::config::MAX_GROUPS;
use hb_proto::time::Duration;

use crate::scenario::{Conduct, Order};

use super::clock::Clock;
use super::daemon::Daemon;
use super::fault::Mood;
use super::knobs::Knobs;
use super::queue::At;
use super::rng::Rng;

/// Between SIGTERM and SIGKILL, µs (as the helper does it).
const TERM_US: u64 = 1_000_000;

/// Whether it has power, and what it has made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    Off,
    /// The kernel is not up yet.
    Booting,
    On,
    /// Its kernel has panicked: nothing runs and nothing answers; the watchdog, if armed, goes on.
    Panicked,
}

/// A resource of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct What {
    pub group: u8,
    pub resource: u8,
}

/// One script that runs or waits for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub id: u32,
    /// Which helper process runs it.
    pub helper: u32,
    /// To be answered; none in the dead man's order.
    pub ticket: Option<TicketId>,
    pub what: What,
    pub verb: Verb,
    /// When it ends, once it runs; `At::MAX` while it hangs.
    pub ends: Option<At>,
    /// What it does to the resource at its end, and what it says then.
    holds: Option<bool>,
    says: Outcome,
    aborted: bool,
}

/// A helper process.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    pub id: u32,
    /// Groups (one bit each) to give up should the daemon vanish.
    pub standing: u16,
    /// The daemon is gone, and this process carries out its order.
    pub orphan: bool,
}

/// /dev/watchdog.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watchdog {
    pub armed: bool,
    pub fed_at: At,
    /// Counts feedings, so that planned resets can be told from stale ones.
    pub feedings: u64,
}

/// One machine.
pub struct Machine {
    pub power: Power,
    pub frozen: bool,
    pub frozen_at: At,
    pub clock: Clock,
    /// When it was last thawed, or its daemon continued, in this power-up.
    pub woken_at: At,
    /// A reset line holds it down: its power stays.
    pub in_reset: bool,
    /// It stood still with its machine since the last power-up.
    pub clock_stood: bool,
    /// The last life on its disk.
    pub stored_boot: u32,
    /// The longest promise of any life, on its disk.
    pub longest_promise: Duration,
    /// Resources that run, whoever started them: a bit each, by group.
    pub held: [u16; MAX_GROUPS],
    pub daemon: Option<Box<Daemon>>,
    pub helpers: Vec<Helper>,
    pub jobs: Vec<Job>,
    pub mood: Mood,
    /// How late a process gets the processor when it is due, µs, at most.
    pub sched_us: u64,
    /// Scripts that behave otherwise than the mood says.
    pub conduct: Vec<(What, Conduct)>,
    /// Jobs that have begun since they were last asked for.
    pub begun: Vec<(What, Verb)>,
    /// Counts power-ups: plans of an earlier one are void.
    pub epoch: u32,
    pub watchdog: Watchdog,
    /// Starts that are still to crash.
    pub crashes_left: u32,
    /// Who asked it to leave wants it to come back at once.
    pub restarts: bool,
    /// An operator stopped it: nothing starts it but an operator, or a boot.
    pub left: bool,
    /// Something lied to the node: what it believes may be wrong until the next reset.
    pub lied_to: bool,
    /// Plans that fell due while it was frozen wait for it.
    pub waiting: u32,
    next_id: u32,
}

impl Machine {
    /// A machine without power.
    #[must_use]
    pub fn new(ppm: i64, sched_us: u64, rng: &mut Rng) -> Self {
        Self {
            power: Power::Off,
            frozen: false,
            frozen_at: 0,
            woken_at: 0,
            in_reset: false,
            clock_stood: false,
            clock: Clock::new(0, 1 + rng.between(0, 1 << 40), ppm),
            stored_boot: rng.between(0, 300) as u32,
            longest_promise: Duration::ZERO,
            held: [0; MAX_GROUPS],
            daemon: None,
            helpers: Vec::new(),
            jobs: Vec::new(),
            mood: Mood::Healthy,
            sched_us,
            conduct: Vec::new(),
            begun: Vec::new(),
            epoch: 0,
            watchdog: Watchdog::default(),
            crashes_left: 0,
            restarts: false,
            left: false,
            lied_to: false,
            waiting: 0,
            next_id: 0,
        }
    }

    /// Whether the resource runs.
    #[must_use]
    pub const fn holds(&self, what: What) -> bool {
        self.held[what.group as usize] >> what.resource & 1 == 1
    }

    /// Starts or ends it.
    pub const fn hold(&mut self, what: What, holds: bool) {
        let bit = 1 << what.resource;
        if holds {
            self.held[what.group as usize] |= bit;
        } else {
            self.held[what.group as usize] &= !bit;
        }
    }

    /// Whether programs run on it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.power == Power::On && !self.frozen
    }

    /// Everything that power, or a reset, ends.
    pub fn lose_everything(&mut self) {
        self.lose_programs();
        self.watchdog = Watchdog::default();
        self.frozen = false;
        self.clock_stood = false;
        self.woken_at = 0;
        self.epoch += 1;
    }

    /// Everything that a dead kernel ends: it answers for no address, and no program runs.
    pub fn lose_programs(&mut self) {
        self.held = [0; MAX_GROUPS];
        self.daemon = None;
        self.helpers.clear();
        self.jobs.clear();
        self.restarts = false;
        self.left = false;
        self.lied_to = false;
    }

    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// A helper process starts.
    pub fn spawn_helper(&mut self) -> u32 {
        let id = self.new_id();
        self.helpers.push(Helper { id, standing: 0, orphan: false });
        id
    }

    /// A script is ordered: it runs when those before it in its group have ended.
    pub fn order(&mut self, helper: u32, ticket: Option<TicketId>, what: What, verb: Verb) {
        let (id, says) = (self.new_id(), Outcome::Failed);
        self.jobs.push(Job {
            id,
            helper,
            ticket,
            what,
            verb,
            ends: None,
            holds: None,
            says,
            aborted: false,
        });
    }

    /// Starts what can start; the ids and ends of the jobs that did.
    pub fn start_jobs(&mut self, now: At, knobs: &Knobs, rng: &mut Rng) -> Vec<(u32, At)> {
        let mut started = Vec::new();
        for at in 0..self.jobs.len() {
            let job = self.jobs[at];
            let waits = job.ends.is_some()
                || self.jobs[..at].iter().any(|former| {
                    former.helper == job.helper && former.what.group == job.what.group
                });
            if waits {
                continue;
            }
            let job = self.begin(job, now, knobs, rng);
            self.jobs[at] = job;
            if let Some(ends) = job.ends.filter(|&ends| ends < At::MAX) {
                started.push((job.id, ends));
            }
        }
        started
    }

    fn begin(&mut self, mut job: Job, now: At, knobs: &Knobs, rng: &mut Rng) -> Job {
        self.begun.push((job.what, job.verb));
        if let Some(&(_, conduct)) = self.conduct.iter().find(|(what, _)| *what == job.what) {
            return self.begin_as_told(job, conduct, now, knobs);
        }
        let slow = if let Mood::Slow(times) = self.mood { u64::from(times) } else { 1 };
        let takes = rng.between(knobs.script_us.0, knobs.script_us.1) * slow;
        let hangs = matches!(
            (self.mood, job.verb),
            (Mood::StartHangs, Verb::Start)
                | (Mood::StopHangs, Verb::Stop)
                | (Mood::StatusHangs, Verb::Status)
        );
        job.ends = Some(if hangs { At::MAX } else { now + takes });
        if hangs && job.ticket.is_none() {
            // In the dead man's order the helper itself loses patience.
            job.aborted = true;
            job.ends = Some(now + knobs.patience.stop.micros() + TERM_US);
        }
        match job.verb {
            Verb::Start => {
                // Some scripts do their work first and then wait for it, some the other way round.
                if rng.coin() {
                    self.hold(job.what, true);
                }
                let fails = self.mood == Mood::StartFails;
                job.holds = if fails { rng.coin().then_some(false) } else { Some(true) };
                job.says = if fails { Outcome::Failed } else { Outcome::Done };
            }
            Verb::Stop => {
                let sticks = matches!(self.mood, Mood::StopFails | Mood::Lies);
                job.holds = (!sticks).then_some(false);
                let fails = sticks || self.mood == Mood::StopSaysFailed;
                job.says = if fails { Outcome::Failed } else { Outcome::Done };
            }
            // Looked at when it ends.
            Verb::Status => {}
        }
        job
    }

    /// One script's own conduct, as a story wants it.
    fn begin_as_told(&mut self, mut job: Job, conduct: Conduct, now: At, knobs: &Knobs) -> Job {
        let is = |order| {
            matches!(
                (order, job.verb),
                (Order::Start, Verb::Start)
                    | (Order::Stop, Verb::Stop)
                    | (Order::Status, Verb::Status)
            )
        };
        let (mut takes, wanted) = (knobs.script_us.0, job.verb == Verb::Start);
        (job.holds, job.says) = (Some(wanted), Outcome::Done);
        match conduct {
            Conduct::Slow(span) if job.verb != Verb::Status => takes = span.micros(),
            Conduct::Lingers(span) if job.verb == Verb::Stop && self.holds(job.what) => {
                // Lets go at once; what is started meanwhile is swept away at the end.
                self.hold(job.what, false);
                takes = span.micros();
            }
            Conduct::Hangs(order) if is(order) => takes = u64::MAX,
            Conduct::Fails(order) if is(order) => (job.holds, job.says) = (None, Outcome::Failed),
            Conduct::Lies(order) if is(order) => job.holds = None,
            _ => {}
        }
        if job.verb == Verb::Status {
            job.holds = None;
        }
        job.ends = Some(now.saturating_add(takes));
        job
    }

    /// SIGTERM, and SIGKILL later for what hangs; when it ends.
    pub fn abort(&mut self, ticket: TicketId, now: At, rng: &mut Rng) -> Option<(u32, At)> {
        let job = self.jobs.iter_mut().find(|job| job.ticket == Some(ticket))?;
        job.aborted = true;
        let hard = job.ends == Some(At::MAX) && rng.coin();
        let ends = now + if hard { TERM_US } else { rng.between(100, 5_000) };
        job.ends = Some(ends);
        Some((job.id, ends))
    }

    /// A job's time is over; the job, and what is to be said of it.
    pub fn end(&mut self, id: u32, now: At, rng: &mut Rng) -> Option<(Job, Outcome)> {
        let at = self
            .jobs
            .iter()
            .position(|job| job.id == id && job.ends.is_some_and(|ends| ends <= now))?;
        let job = self.jobs.remove(at);
        let held = self.holds(job.what);
        if job.aborted {
            // Killed in the middle: done or not done.
            match job.verb {
                Verb::Start if rng.coin() => self.hold(job.what, true),
                Verb::Stop if rng.coin() && self.mood != Mood::Lies => self.hold(job.what, false),
                _ => {}
            }
            return Some((job, Outcome::Failed));
        }
        if let Some(holds) = job.holds {
            self.hold(job.what, holds);
        }
        let outcome = match job.verb {
            Verb::Status if self.mood == Mood::Lies => {
                self.lied_to |= held;
                Outcome::NotHeld
            }
            Verb::Status if held => Outcome::Held,
            Verb::Status => Outcome::NotHeld,
            Verb::Start | Verb::Stop => job.says,
        };
        Some((job, outcome))
    }

    /// SIGKILL to the process groups of a helper that is gone.
    pub fn kill_scripts(&mut self, helper: u32) {
        self.jobs.retain(|job| job.helper != helper);
    }

    /// The helper is killed; its scripts' process groups are not: until the daemon sees to them they work
    /// on, unheard.
    /// What waited for its turn never runs.
    pub fn kill_helper(&mut self, id: u32) {
        self.helpers.retain(|helper| helper.id != id);
        self.jobs.retain(|job| job.helper != id || job.ends.is_some());
        for job in &mut self.jobs {
            if job.helper == id {
                job.ticket = None;
            }
        }
    }

    /// The dead man's order: scripts of the standing groups in reverse, starts under way aborted. The
    /// addresses have gone before. Ends of what was aborted.
    pub fn begin_standing_order(
        &mut self,
        id: u32,
        now: At,
        knobs: &Knobs,
        rng: &mut Rng,
    ) -> Vec<(u32, At)> {
        let Some(helper) = self.helpers.iter().find(|helper| helper.id == id).copied() else {
            return Vec::new();
        };
        let mut ends = Vec::new();
        self.jobs.retain(|job| job.helper != id || job.ends.is_some());
        for job in &mut self.jobs {
            if job.helper == id && job.verb != Verb::Stop {
                job.aborted = true;
                let at = now + rng.between(100, 5_000);
                job.ends = Some(at);
                ends.push((job.id, at));
            }
        }
        // Nobody is left to lose patience with a stop that hangs already but the helper itself.
        let hangs = |job: &&mut Job| job.helper == id && job.ends == Some(At::MAX);
        for job in self.jobs.iter_mut().filter(hangs) {
            job.aborted = true;
            let at = now + knobs.patience.stop.micros() + TERM_US;
            job.ends = Some(at);
            ends.push((job.id, at));
        }
        for (group, resources) in knobs.groups.iter().enumerate() {
            if helper.standing >> group & 1 == 0 {
                continue;
            }
            for resource in (0..resources.resources.len() as u8).rev() {
                let what = What { group: group as u8, resource };
                if !knobs.is_address(what) {
                    self.order(id, None, what, Verb::Stop);
                }
            }
        }
        ends
    }
}
