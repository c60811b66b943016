//! One machine: its daemon, what it really runs, its watchdog.

use std::collections::BTreeSet;

use hb_proto::action::{Outcome, Verb};
use hb_proto::config::Config;
use hb_proto::id::{BootId, LinkId};
#[cfg(feature = "mutants")]
use hb_proto::mutant::Mutant;
use hb_proto::time::{Duration, Instant};

use crate::machine::{Input, Machine};

/// A machine of the trio.
pub struct Host {
    pub machine: Option<Machine>,
    config: Config,
    boot: u32,
    /// What runs, whoever started it: group and resource.
    pub held: BTreeSet<(u8, u8)>,
    /// True time when the watchdog was last fed; none before it was opened.
    pub fed_at: Option<Duration>,
    /// The daemon doesn't run.
    pub frozen: bool,
    /// Starts and stops don't work.
    pub scripts_fail: bool,
    /// R8: what the disk says.
    longest: Duration,
}

impl Host {
    pub fn new(config: Config) -> Self {
        Self {
            machine: None,
            config,
            boot: 0,
            held: BTreeSet::new(),
            fed_at: None,
            frozen: false,
            scripts_fail: false,
            longest: Duration::ZERO,
        }
    }

    /// A life of the daemon begins, whatever became of the last one.
    pub fn start(&mut self, now: Instant, #[cfg(feature = "mutants")] broken: Option<Mutant>) {
        self.boot += 1;
        let boot = BootId::new(self.boot).expect("small");
        let mut machine = Machine::new(&self.config, boot, now);
        machine.node.remember_longest_promise(now, self.longest);
        self.longest = self.config.timing.full();
        #[cfg(feature = "mutants")]
        machine.node.break_rule(broken);
        self.machine = Some(machine);
        self.frozen = false;
    }

    /// Nothing runs any more.
    pub fn lose_power(&mut self) {
        self.machine = None;
        self.held.clear();
        (self.fed_at, self.frozen) = (None, false);
    }

    /// The daemon is gone, its resources aren't. The kernel feeds the watchdog as it closes the device.
    pub fn kill(&mut self, now: Duration) {
        self.machine = None;
        self.fed_at = self.fed_at.map(|_| now);
        self.frozen = false;
    }

    pub fn is_off(&self) -> bool {
        self.machine.is_none() && self.held.is_empty()
    }

    pub fn runs(&self) -> bool {
        self.machine.is_some() && !self.frozen
    }

    /// Wakes the daemon up; what it sends. `now` by its own clock, `truly` in true time.
    pub fn turn(
        &mut self,
        now: Instant,
        truly: Duration,
        mut input: Input,
    ) -> Vec<(LinkId, Vec<u8>)> {
        let Some(machine) = self.machine.as_mut().filter(|_| !self.frozen) else {
            return Vec::new();
        };
        for order in &machine.orders {
            let what = (order.group, order.resource);
            let outcome = match order.verb {
                Verb::Status if self.held.contains(&what) => Outcome::Held,
                Verb::Status => Outcome::NotHeld,
                _ if self.scripts_fail => Outcome::Failed,
                Verb::Start => Outcome::Done,
                Verb::Stop => {
                    self.held.remove(&what);
                    Outcome::Done
                }
            };
            input.answers.push((order.ticket, outcome));
        }
        let output = machine.settle(now, &input);
        // From the moment that its start is ordered a resource may run.
        let starts = machine.orders.iter().filter(|order| order.verb == Verb::Start);
        self.held.extend(starts.map(|order| (order.group, order.resource)));
        for group in output.dropped {
            self.held.remove(&(group, 0));
        }
        if machine.node.may_feed_watchdog(now) || self.fed_at.is_none() && machine.node.is_clean() {
            self.fed_at = Some(truly);
        }
        if machine.departed {
            // The device is closed as it should be.
            (self.machine, self.fed_at) = (None, None);
        }
        output.frames
    }
}
