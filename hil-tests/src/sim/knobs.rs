//! What a run is made of besides its faults: drawn from the seed, printed before the run.

pub mod trio;

use std::fmt;

use hb_proto::config::{Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing};
use hb_proto::id::Voter;
use hb_proto::time::Duration;

use super::fault::{Files, NAMES};
use super::machine::What;
use super::mutants::Rule;
use super::plant::Plant;
use super::queue::At;
use super::rng::Rng;
use trio::ArbiterKnobs;

/// 5 % is what protocol.md §3 allows between two clocks; ±2.5 % each would be 5.13 %.
const DRIFT_PPM: u64 = 24_300;

/// A group as the seed made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupKnob {
    /// 0 for A, 1 for B.
    pub home: usize,
    /// In starting order.
    pub resources: Vec<ResourceKind>,
}

/// Everything about a run that is no fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Knobs {
    pub timing: Timing,
    pub links: Vec<LinkKind>,
    pub groups: Vec<GroupKnob>,
    pub auto_failback: bool,
    /// Parts per million that each clock runs fast.
    pub drift_ppm: [i64; 2],
    /// A datagram's way, µs: from, to.
    pub latency_us: (u64, u64),
    /// How late a process gets the processor when it is due, µs, at most.
    pub sched_us: u64,
    /// One script's time, µs: from, to.
    pub script_us: (u64, u64),
    /// The watchdog's time-out, whole seconds; none without one.
    pub watchdog_s: Option<u32>,
    /// From power to the start of the daemon, µs: from, to.
    pub boot_us: (u64, u64),
    /// The service manager starts a dead daemon again after so long.
    pub respawn_us: Option<u64>,
    /// And not before the former helper has finished the dead man's order.
    pub respawn_waits: bool,
    /// From the daemon's death until its helper acts on it, µs.
    pub helper_us: u64,
    /// A frozen machine's clock and watchdog stand still too (a paused guest); else both go on.
    pub clock_freezes: bool,
    /// Datagrams to a frozen machine wait for it (up to the socket's buffer); else they are lost.
    pub frozen_buffers: bool,
    pub patience: Patience,
    /// Longest extra delay that weather may bring, µs.
    pub delay_us: u64,
    /// A defect that somebody planted to see the judge go red.
    pub plant: Option<Plant>,
    /// The dongle; none for two voters.
    pub arbiter: Option<ArbiterKnobs>,
    /// A rule that is broken in all voters, to see who notices (feature `mutants`).
    pub broken: Option<Rule>,
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// keepalive, warntime, deadtime, initdead in milliseconds.
#[must_use]
pub fn timing(keepalive: u64, warntime: u64, deadtime: u64, initdead: u64) -> Timing {
    Timing {
        keepalive: millis(keepalive),
        warntime: millis(warntime),
        deadtime: millis(deadtime),
        initdead: millis(initdead),
        lease: Timing::default_lease(millis(deadtime)),
        guard: Duration::ZERO,
        drift_percent: 5,
    }
}

impl Knobs {
    /// The guide's pair with today's defaults: a serial line, Ethernet, one group at home on A.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            timing: timing(100, 300, 500, 10_000),
            links: vec![LinkKind::Serial { baud: 19200 }, LinkKind::Broadcast],
            groups: vec![GroupKnob {
                home: 0,
                resources: vec![ResourceKind::Address, ResourceKind::Script],
            }],
            auto_failback: true,
            drift_ppm: [0, 0],
            latency_us: (80, 300),
            sched_us: 200,
            script_us: (2_000, 30_000),
            watchdog_s: None,
            boot_us: (2_000_000, 4_000_000),
            respawn_us: Some(200_000),
            respawn_waits: false,
            helper_us: 2_000,
            clock_freezes: false,
            frozen_buffers: true,
            patience: quick_patience(),
            delay_us: 0,
            plant: None,
            arbiter: None,
            broken: None,
        }
    }

    /// A random pair.
    #[must_use]
    pub fn drawn(rng: &mut Rng) -> Self {
        let timing = match rng.between(0, 9) {
            0 => timing(2_000, 10_000, 30_000, 60_000),
            1 => timing(10, 30, 40, 2_000),
            2 => timing(50, 100, 200, 5_000),
            3 => timing(200, 500, 1_000, 10_000),
            _ => timing(100, 300, 500, rng.pick(&[1_000, 10_000])),
        };
        let fast = timing.keepalive < millis(40);
        let links = (0..rng.between(1, 3)).map(|_| match rng.between(0, 2) {
            0 if fast => LinkKind::Serial { baud: 115_200 },
            0 if timing.keepalive >= millis(100) => {
                LinkKind::Serial { baud: rng.pick(&[9_600, 19_200, 115_200]) }
            }
            0 => LinkKind::Serial { baud: 38_400 },
            1 => LinkKind::Broadcast,
            _ => LinkKind::Unicast,
        });
        let links = links.collect();
        let groups = (0..rng.between(1, 3)).map(|_| group(rng)).collect();
        let drift = |rng: &mut Rng| rng.between(0, 2 * DRIFT_PPM) as i64 - DRIFT_PPM as i64;
        let wild = rng.coin();
        let script_max = rng.pick(&[1_000, 30_000, 300_000]);
        let boot = rng.pick(&[100_000, 1_000_000, 15_000_000]);
        Self {
            links,
            groups,
            auto_failback: rng.permille(700),
            drift_ppm: if wild {
                let (first, second) = (drift(rng), drift(rng));
                [first, second]
            } else {
                [rng.between(0, 100) as i64 - 50, rng.between(0, 100) as i64 - 50]
            },
            latency_us: rng.pick(&[(60, 120), (80, 300), (200, 5_000)]),
            sched_us: rng.pick(&[1, 200, 3_000]),
            script_us: (1_000, script_max),
            watchdog_s: rng.pick(&[None, Some(10), Some(2)]),
            boot_us: (boot, boot * 2),
            respawn_us: rng.pick(&[None, Some(20_000), Some(200_000), Some(2_000_000)]),
            respawn_waits: true,
            helper_us: rng.pick(&[100, 2_000, 20_000]),
            clock_freezes: rng.coin(),
            frozen_buffers: rng.coin(),
            patience: quick_patience(),
            delay_us: timing.lease.micros() * rng.pick(&[0, 1, 35]) / 10,
            timing,
            plant: None,
            arbiter: None,
            broken: None,
        }
    }

    /// The same by the times of the guide of 1999, keepalive 2 s and deadtime 10 s, with what `hb check` makes
    /// of them: lease, and the time-out of a watchdog that can do more than a few seconds.
    #[must_use]
    pub fn by_the_guide(mut self) -> Self {
        let drawn = self.timing;
        self.timing = Timing { guard: drawn.guard, ..timing(2_000, 6_000, 10_000, 10_000) };
        self.delay_us = self.delay_us * self.timing.lease.micros() / drawn.lease.micros();
        if let Some(s) = &mut self.watchdog_s {
            *s = hb_linux::watchdog::timeout_s(self.timing.deadtime);
        }
        match self.arbiter {
            Some(arbiter) => self.with_dongle(arbiter.by_the_guide()),
            None => self,
        }
    }

    /// Whether it is an address: started and stopped by system calls, gone at once when need be.
    #[must_use]
    pub fn is_address(&self, what: What) -> bool {
        self.groups[usize::from(what.group)].resources[usize::from(what.resource)]
            == ResourceKind::Address
    }

    /// What each node is configured with.
    #[must_use]
    pub fn config(&self, who: usize) -> Config {
        let groups = self.groups.iter().map(|group| GroupConfig {
            home: voter(group.home),
            resources: group.resources.iter().copied().collect(),
        });
        Config {
            me: voter(who),
            timing: self.timing,
            links: self.links.iter().copied().collect(),
            groups: groups.collect(),
            auto_failback: self.auto_failback,
            arbiter: self.arbiter.map(|arbiter| arbiter.config(&self.links, &self.timing)),
            patience: self.patience,
            digests: Digests { haresources: 1, settings: 1 },
        }
    }

    /// The same after an operator changed the node's files.
    #[must_use]
    pub fn config_with(&self, who: usize, files: Files) -> Config {
        let mut config = self.config(who);
        match files {
            Files::Same => {}
            Files::OtherHaresources => config.digests.haresources += 1,
            Files::TwiceAsSlow => {
                let Timing { keepalive, warntime, deadtime, initdead, .. } = self.timing;
                config.timing = Timing {
                    keepalive: keepalive.times(2),
                    warntime: warntime.times(2),
                    deadtime: deadtime.times(2),
                    initdead: initdead.times(2),
                    lease: Timing::default_lease(deadtime.times(2)),
                    ..self.timing
                };
                config.digests.settings += 1;
            }
            Files::MoreGuard => {
                config.timing.guard = self.timing.guard + self.timing.guard;
                config.digests.settings += 1;
            }
            Files::LessLease => {
                // Below three keepalives `hb check` warns: one lost heartbeat would end it.
                let least = self.timing.keepalive.times(3);
                config.timing.lease = self.timing.lease.percent(50).max(least);
                config.digests.settings += 1;
            }
            Files::NoArbiter => {
                config.arbiter = None;
                config.timing.guard = Duration::ZERO;
                config.digests.settings += 1;
            }
        }
        config
    }

    /// How long everything may take after the last fault (true time, µs), and how that comes about.
    ///
    /// Generous: it allows for one of everything that may still be under way, one after the other.
    #[must_use]
    pub fn liveness_budget(&self) -> Vec<(&'static str, At)> {
        let patience = &self.patience;
        let most = self.groups.iter().map(|group| group.resources.len()).max().unwrap_or(1) as u64;
        let script = self.script_us.1;
        // A hanging order: its patience, SIGTERM and SIGKILL, then the next one.
        let hung = patience.start.max(patience.stop).max(patience.status).micros() + 6_000_000;
        let retries = u64::from(patience.stop_retries) + 1;
        let watchdog = self.watchdog_s.map_or(
            // Without a watchdog the slow retry ends an overdue stop.
            patience.stop_retry_wait.micros() * 30 * retries,
            |s| u64::from(s) * 2_000_000 + self.boot_us.1,
        );
        let mut budget = vec![
            ("power and boot", self.boot_us.1 + 1_000_000),
            ("restart of the daemon", self.respawn_us.unwrap_or(0)),
            ("an order that hung, each resource", hung * most),
            ("an overdue stop", watchdog),
            ("old files are put back, and a restart with them", hung * most + 2 * most * script),
            ("clean start", 2 * most * script),
            ("initdead", self.timing.initdead.micros()),
            ("a failed start is forgotten", 2 * patience.failed_start_retry.micros()),
            ("contact and late datagrams", 1_000_000 + 2 * self.delay_us),
            ("deadtime, lease and handover", 6 * self.timing.deadtime.micros()),
            ("start and stop of a group, thrice", 6 * most * script),
            ("slowest clock", self.timing.initdead.micros() / 20),
        ];
        if let Some(arbiter) = &self.arbiter {
            budget.push(("the dongle boots", arbiter.boot_us.1 + arbiter.own_watchdog_us));
            // Old files may have doubled guard and lease; an unbounded guard never ends by time.
            let full = self.timing.lease.times(4) + self.timing.guard.times(4);
            if full < Duration::MAX {
                budget.push(("promises of before, and to nobody knows whom", full.micros()));
            }
        }
        budget
    }
}

/// A's or B's.
#[must_use]
pub const fn voter(who: usize) -> Voter {
    if who == 0 { Voter::A } else { Voter::B }
}

fn quick_patience() -> Patience {
    Patience {
        start: millis(3_000),
        stop: millis(3_000),
        status: millis(1_000),
        stop_retries: 2,
        stop_retry_wait: millis(200),
        failed_start_retry: millis(5_000),
        ..Patience::default()
    }
}

fn group(rng: &mut Rng) -> GroupKnob {
    // The address first, as the guide has it, or last, or alone.
    let resources = match rng.between(0, 3) {
        0 => vec![ResourceKind::Address],
        1 => vec![ResourceKind::Address, ResourceKind::Script],
        2 => vec![ResourceKind::Script, ResourceKind::Address],
        _ => vec![ResourceKind::Address, ResourceKind::Script, ResourceKind::Script],
    };
    GroupKnob { home: rng.between(0, 1) as usize, resources }
}

fn span((from, to): (u64, u64)) -> String {
    format!("{}–{}", Duration::from_micros(from), Duration::from_micros(to))
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.timing;
        writeln!(
            f,
            "  keepalive {}, warntime {}, deadtime {}, initdead {}, lease {}, guard {}",
            t.keepalive, t.warntime, t.deadtime, t.initdead, t.lease, t.guard
        )?;
        writeln!(f, "  links {:?}", self.links)?;
        for (at, group) in self.groups.iter().enumerate() {
            writeln!(f, "  group {at}: home {}, {:?}", NAMES[group.home], group.resources)?;
        }
        writeln!(
            f,
            "  auto_failback {}, clocks {:+} and {:+} ppm, datagrams {} and up to {} more, scheduled within {}",
            if self.auto_failback { "on" } else { "off" },
            self.drift_ppm[0],
            self.drift_ppm[1],
            span(self.latency_us),
            Duration::from_micros(self.delay_us),
            Duration::from_micros(self.sched_us)
        )?;
        writeln!(
            f,
            "  scripts {}, boot {}, watchdog {:?} s, restart {:?} µs (waits for the helper: {}), helper acts within {}",
            span(self.script_us),
            span(self.boot_us),
            self.watchdog_s,
            self.respawn_us,
            self.respawn_waits,
            Duration::from_micros(self.helper_us)
        )?;
        writeln!(
            f,
            "  a frozen machine's clock {}, datagrams to it {}",
            if self.clock_freezes { "stands" } else { "goes on" },
            if self.frozen_buffers { "wait" } else { "are lost" }
        )?;
        let p = &self.patience;
        writeln!(
            f,
            "  patience: start {}, stop {} (again {} times, after {}), status {}, a failed start {}; allowed: address {}, script {}, announcement {}",
            p.start,
            p.stop,
            p.stop_retries,
            p.stop_retry_wait,
            p.status,
            p.failed_start_retry,
            p.address_allowance,
            p.script_allowance,
            p.announce_allowance
        )?;
        self.arbiter.map_or(Ok(()), |arbiter| arbiter.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed before a run must be all that the run is made of.
    #[test]
    fn patience_is_printed() {
        let mut knobs = Knobs::plain();
        knobs.patience.stop_retry_wait = Duration::from_millis(123);
        assert!(knobs.to_string().contains("after 123 ms"), "{knobs}");
    }
}
