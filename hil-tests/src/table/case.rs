//! One case of the table, told on the rig.

use hb_proto::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

use super::faults::{Fault, Gone};
use super::wreck::Wreck;
use crate::scenario::verb::Verb;
use crate::scenario::{Cluster, Dongle, Machine, Scenario, Stop, Told};

/// When the second failure strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Gap {
    /// When what the first one leads to has come about.
    Settled,
    /// In the middle of it: 250 ms later, before deadtime.
    Soon,
}

const SOON: Duration = Duration::from_millis(250);
/// A gap that a busy host alone may make; shorter than deadtime, so no takeover's.
const HICCUP: Duration = Duration::from_millis(400);
/// What a client that asks every 5 ms adds.
const RESOLUTION: Duration = Duration::from_millis(20);
/// An outcome has to last for so long: nobody is on the way to another one. Longer than a lease.
const LASTS: Duration = Duration::from_millis(600);

/// How the reason begins when that was it.
pub(super) const TWO: &str = "TWO HOLDERS";

/// A failure, or two.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Strikes a pair that is well.
    pub first: &'static Fault,
    /// Strikes after it, and when.
    pub second: Option<(Gap, &'static Fault)>,
}

/// What came out, for the table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The first failure's name.
    pub first: String,
    /// The second's, and when it struck.
    pub second: Option<(Gap, String)>,
    /// Who served in the end, by the client's word: linuxha1, linuxha2, nobody.
    pub holder: String,
    /// The longest time without an answer, milliseconds, from the first failure to the outcome; for an outcome
    /// in which nobody serves that of the first failure alone.
    pub outage_ms: u64,
    /// What the settings allow for it; none for a second failure.
    pub budget_ms: Option<u64>,
    /// From the last mending until A served again.
    pub mended_ms: u64,
    /// Resets of machines meanwhile: how many by a pin of an emulated dongle, each with its write, and how many by the
    /// machines' own watchdogs. `None` where no trace of pins exists.
    #[serde(default)]
    pub resets: Option<(usize, usize)>,
    /// Two machines had the address at once: when, in milliseconds of the rig. Never, if all is well.
    pub two_holders: Option<u64>,
    /// What was wrong; nothing, if all is well.
    pub wrong: Option<String>,
}

/// The cluster of the table: one address, keepalive 100 ms, deadtime 500 ms, watchdogs of 1 s and so a guard
/// of 2.5 s, and, if it shall have any, tested and supervised reset lines.
#[must_use]
pub fn cluster(reset_lines: bool) -> Cluster {
    let pair = Cluster::two_nodes().address_group("web", Machine::A).watchdog_s(Some(1));
    let mut cluster = pair.dongle(Dongle { reset_lines, ..Dongle::default() });
    cluster.baud = 115_200;
    cluster
}

impl Case {
    /// `first`, or `first, then second`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.second {
            None => self.first.name.to_owned(),
            Some((Gap::Settled, second)) => format!("{}, then {}", self.first.name, second.name),
            Some((Gap::Soon, second)) => {
                format!("{}, 250 ms later {}", self.first.name, second.name)
            }
        }
    }

    fn faults(&self) -> impl DoubleEndedIterator<Item = &'static Fault> {
        [Some(self.first), self.second.map(|(_, second)| second)].into_iter().flatten()
    }

    /// What both leave, in their order.
    #[must_use]
    pub fn wreck(&self) -> Wreck {
        let mut wreck = Wreck::default();
        self.faults().for_each(|fault| (fault.leaves)(&mut wreck));
        wreck
    }

    /// Its row, before anything is known.
    #[must_use]
    pub fn blank(&self) -> Row {
        Row {
            first: self.first.name.to_owned(),
            second: self.second.map(|(gap, second)| (gap, second.name.to_owned())),
            holder: "unknown".to_owned(),
            outage_ms: 0,
            budget_ms: None,
            mended_ms: 0,
            resets: None,
            two_holders: None,
            wrong: None,
        }
    }

    /// Lets it happen to a pair that is well, and mends it.
    ///
    /// # Errors
    /// What was not as the table says, or the rig broke.
    pub fn tell(&self, s: &mut Scenario<'_>) -> Result<Row, Stop> {
        let began = s.now();
        let mut row = self.blank();
        let alone = self.first_alone();
        strike(s, self.first)?;
        let from = s.now();
        match self.second {
            Some((Gap::Soon, second)) => {
                s.run_for(SOON);
                strike(s, second)?;
            }
            Some((Gap::Settled, second)) => {
                outcome(s, &alone)?;
                row.outage_ms = dark(s, began)?;
                strike(s, second)?;
            }
            None => {}
        }
        let serves = self.wreck().somebody_serves();
        row.holder = outcome(s, self)?.map_or("nobody", Machine::name).to_owned();
        if serves {
            row.outage_ms = dark(s, began)?;
        }
        if self.second.is_none() {
            let budget = allowed(s, self.first.gone);
            row.budget_ms = Some(budget.millis());
            let limit = budget.max(HICCUP) + RESOLUTION + s.rig().slack(from);
            let dark = row.outage_ms;
            s.expect(&format!("gone for {dark} ms at most {limit}"), || dark <= limit.millis())?;
        }
        one_holder(s, began, &mut row)?;
        row.mended_ms = self.mend(s, serves)?;
        row.resets = s.rig().resets_by_pin(began);
        one_holder(s, began, &mut row)?;
        Ok(row)
    }

    /// For how long a machine may answer that will not in the end. Whoever hangs is silent for deadtime before anything
    /// happens; then the dongle resets it, or, where that is broken, too, its own watchdog does.
    fn undecided(&self, s: &Scenario<'_>) -> Duration {
        let deadtime = s.cluster().timing.deadtime;
        let hangs =
            |fault: &Fault| fault.strikes.iter().any(|verb| matches!(verb, Verb::StopDaemon(_)));
        if !self.faults().any(hangs) {
            return deadtime;
        }
        let fenced =
            self.second.is_none() && s.cluster().arbiter.is_some_and(|one| one.reset_lines);
        let watchdog = Duration::from_secs(s.cluster().watchdog_s.unwrap_or(0).into());
        if fenced { deadtime.times(3) } else { deadtime.max(watchdog) }
    }

    const fn first_alone(&self) -> Self {
        Self { first: self.first, second: None }
    }

    /// All is put right again; A serves, with everybody's vote.
    fn mend(&self, s: &mut Scenario<'_>, served: bool) -> Result<u64, Stop> {
        // Nobody starts by itself, for longer than any promise lasts; unless the site lies in the dark.
        if !served {
            let full = s.cluster().timing.full();
            s.all_the_time("nobody serves", full + LASTS, |s| answering(s).is_none())?;
            if let Some(survivor) = self.survivor() {
                s.takeover_peer_is_off(survivor)?;
                s.until("serves by the human's word", full + LASTS, |s| {
                    answering(s) == Some(survivor)
                })?;
            }
        }
        let mended = s.now();
        for verb in self.faults().rev().flat_map(|fault| fault.mends) {
            if !is_idle(s, verb) {
                s.act(*verb)?;
            }
        }
        well(s)?;
        Ok(s.now().since(mended).millis())
    }

    /// The one machine that runs, where the other one and the dongle are gone: there a human decides (R14).
    fn survivor(&self) -> Option<Machine> {
        let wreck = self.wreck();
        let [on_a, on_b] = wreck.on;
        match (wreck.dongle, on_a, on_b) {
            (false, true, false) => Some(Machine::A),
            (false, false, true) => Some(Machine::B),
            _ => None,
        }
    }
}

fn strike(s: &mut Scenario<'_>, fault: &Fault) -> Told {
    fault.strikes.iter().try_for_each(|verb| {
        // A daemon can't hang, or a dongle be reset, that isn't there.
        if is_idle(s, verb) { Ok(()) } else { s.act(*verb) }
    })
}

/// Whether the verb has nothing to strike or to mend any more.
fn is_idle(s: &mut Scenario<'_>, verb: &Verb) -> bool {
    match verb {
        Verb::StopDaemon(at) | Verb::KillDaemon(at) => !s.rig().daemon_runs(*at),
        Verb::PowerOn(at) => s.rig().daemon_runs(*at),
        _ => false,
    }
}

fn answering(s: &mut Scenario<'_>) -> Option<Machine> {
    s.rig().answering(0).ok().flatten()
}

fn dark(s: &mut Scenario<'_>, from: Instant) -> Result<u64, Stop> {
    Ok(s.rig().dark(0, from).map_err(Stop::Missing)?.millis())
}

/// Waits for what must come out, and that it lasts: who serves, by the client's word.
fn outcome(s: &mut Scenario<'_>, case: &Case) -> Result<Option<Machine>, Stop> {
    let serves = case.wreck().somebody_serves();
    let limit = patience(s);
    let deadline = s.now() + limit;
    let (mut seen, mut since) = (answering(s), s.now());
    loop {
        let (now, who) = (s.now(), answering(s));
        if who != seen {
            (seen, since) = (who, now);
        }
        // Whoever still serves without a vote is on its way out.
        let held = case.undecided(s) + LASTS;
        if seen.is_some() == serves && now.since(since) >= held {
            return Ok(seen);
        }
        if now >= deadline + s.slack() {
            let wanted = if serves { "one machine serves" } else { "nobody serves" };
            let who = seen.map_or("nobody", Machine::name);
            s.expect(&format!("within {limit}: {wanted}; the client sees {who}"), || false)?;
        }
        s.run_for(Duration::from_millis(10));
    }
}

/// The longest way to an outcome: the dongle's own watchdog, what it may have promised, a machine's watchdog and
/// start, one promise after the other.
fn patience(s: &Scenario<'_>) -> Duration {
    let timing = &s.cluster().timing;
    timing.full().times(3) + timing.deadtime + Duration::from_secs(6)
}

/// What the settings allow.
fn allowed(s: &Scenario<'_>, gone: Gone) -> Duration {
    match gone {
        Gone::Not => Duration::ZERO,
        Gone::Failover => s.budget(0),
    }
}

fn one_holder(s: &mut Scenario<'_>, from: Instant, row: &mut Row) -> Told {
    if let Some(at) = s.rig().overlap(0, from).map_err(Stop::Missing)? {
        row.two_holders = Some(at.micros() / 1000);
        return Err(Stop::Failed(format!(
            "the client saw two machines with the address at {} ms",
            at.micros() / 1000
        )));
    }
    Ok(())
}

/// A serves, both machines hear each other on every link, and both votes count for A.
///
/// # Errors
/// It doesn't come to that.
pub fn well(s: &mut Scenario<'_>) -> Told {
    let limit = patience(s);
    s.until("A serves", limit, |s| s.holds(0, Machine::A))?;
    s.settle()?;
    s.until("everybody votes for A", limit, |s| s.rig().has_all_votes(Machine::A, 0))
}
