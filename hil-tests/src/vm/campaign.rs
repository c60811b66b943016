//! Faults at random on two virtual machines and a dongle, one after the other, unattended.
//!
//! After each fault the service must be there again, and before the next one the pair must be whole again: both alive, every
//! link up, the holder with both votes. The client tells holders apart by their hardware addresses, the guests' own
//! records of addresses and scripts must agree.

use std::fmt::Write as _;
use std::time::Duration as StdDuration;

use hb_proto::time::{Duration, Instant};

use super::rig::{Guests, versions};
use super::stories::{Stop, Told};
use crate::inside::commit_line;
use crate::scenario::cluster::{Cluster, Dongle, Link, Machine};
use crate::scenario::rig::Rig;
use crate::scenario::verb::{Verb, Way};
use crate::sim::rng::Rng;

/// What happens to a machine or a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The guest's process dies at once.
    PowerLoss,
    /// The same, and it boots at once.
    Reset,
    /// sysrq c.
    Panic,
    /// QMP stop, until the dongle resets it or the campaign thaws it.
    Freeze,
    /// The private network, both ways.
    CutNetwork,
    /// The machine's half of the null-modem line.
    CutHalf,
    /// Both of them: the machine hears nobody.
    Isolate,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PowerLoss,
        Self::Reset,
        Self::Panic,
        Self::Freeze,
        Self::CutNetwork,
        Self::CutHalf,
        Self::Isolate,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power loss",
            Self::Reset => "reset",
            Self::Panic => "panic",
            Self::Freeze => "freeze",
            Self::CutNetwork => "network cut",
            Self::CutHalf => "line cut",
            Self::Isolate => "isolated",
        }
    }

    /// Lines of which one must be in a log once it has happened, and whose log: a fault that nobody notices was none.
    fn signs(self, machine: Machine) -> Vec<(Machine, &'static str)> {
        let other = machine.other();
        match self {
            // With the power on again at once the other one may not take it for dead.
            Self::Reset => vec![(machine, "heartbeat starting.")],
            Self::PowerLoss | Self::Panic | Self::Freeze => vec![(other, "is dead")],
            Self::CutNetwork | Self::Isolate => {
                vec![(other, "eth1 dead."), (machine, "eth1 dead."), (other, LIMITED)]
            }
            Self::CutHalf => vec![
                (machine, "/dev/ttyS0 dead."),
                (other, "/dev/ttyS0 dead."),
                (machine, "the arbiter is lost"),
                (machine, LIMITED),
            ],
        }
    }
}

/// So many changes of links in a minute that the log counts them.
const LIMITED: &str = "links up and down";

/// A fault that happened, and what the client saw of it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// In rig time.
    pub at: Instant,
    /// What.
    pub fault: Fault,
    /// To whom.
    pub machine: Machine,
    /// Who served before it, and after it.
    pub served: [Machine; 2],
    /// The longest time around it without an answer.
    pub dark: Duration,
    /// How many resets the dongle's outputs made meanwhile.
    pub fenced: usize,
}

/// Until the service is there again, boots on a busy host included.
const SERVED_AGAIN: Duration = Duration::from_secs(90);
/// Until the pair is whole again.
const WHOLE_AGAIN: Duration = Duration::from_secs(120);
/// A dongle that fences does so by then.
const FENCED: Duration = Duration::from_secs(6);
/// Somebody says something of it by then.
// What the log holds back it tells within a minute.
const NOTICED: Duration = Duration::from_secs(75);
/// What the client sees of a fault that moves nothing.
const SETTLE: Duration = Duration::from_millis(2500);

/// What a campaign ran on, for its report.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The guests' kernel.
    pub kernel: String,
    /// What the dongle's brain was.
    pub dongle: String,
}

/// A campaign's outcome.
#[derive(Debug, Default)]
pub struct Campaign {
    /// What it drew from.
    pub seed: u64,
    /// What happened.
    pub entries: Vec<Entry>,
    /// How often a daemon or the dongle noticed that it had been kept waiting.
    pub stalls: usize,
}

/// Two nodes on hypervisor's guests: no watchdog of theirs counts, so guard is unbounded, and takeovers need the dongle's
/// evidence.
#[must_use]
pub fn cluster() -> Cluster {
    let cluster = Cluster::two_nodes().group("web", Machine::A).auto_failback(false);
    // Twice the default deadtime: two emulated processors and their devices share a host's two.
    cluster.times_ms(100, 1000, 5000).dongle(Dongle::default())
}

impl Campaign {
    /// Runs `count` faults. What happened until then is there also when it fails.
    ///
    /// # Errors
    /// The service is not there again, or the pair isn't whole again, or two machines had it at once.
    pub fn run(&mut self, guests: &mut Guests, count: usize) -> Told {
        let mut rng = Rng::new(self.seed);
        let cluster = cluster();
        guests.build_special(&cluster, &super::rig::Special::default())?;
        for machine in Machine::BOTH {
            guests.act(Verb::PowerOn(machine))?;
        }
        guests.until("one serves", SERVED_AGAIN, |it| it.serves().is_some())?;
        self.until_whole(guests)?;
        for number in 0..count {
            let fault = Fault::ALL[rng.between(0, Fault::ALL.len() as u64 - 1) as usize];
            let machine = Machine::BOTH[rng.between(0, 1) as usize];
            guests.run_for(Duration::from_millis(rng.between(200, 2000)));
            let entry = self.one(guests, fault, machine)?;
            println!(
                "{:>3} {:>8.1} s  {:<11} of {machine}: {} -> {}, dark {} ms, {} fenced",
                number + 1,
                entry.at.micros() as f64 / 1e6,
                fault.name(),
                entry.served[0],
                entry.served[1],
                entry.dark.millis(),
                entry.fenced
            );
            self.entries.push(entry);
            self.stalls = guests.stalls_told();
            guests.all_is_well(Instant::ZERO)?;
        }
        Ok(())
    }

    fn one(&self, guests: &mut Guests, fault: Fault, machine: Machine) -> Result<Entry, Stop> {
        let Some(before) = guests.serves() else {
            return Err(Stop::Failed("nobody serves before the fault".into()));
        };
        let resets = guests.resets(machine).len();
        let at = guests.now();
        match fault {
            Fault::PowerLoss => guests.act(Verb::PowerOff(machine))?,
            Fault::Reset => guests.act(Verb::Reset(machine))?,
            Fault::Panic => guests.act(Verb::PanicKernel(machine))?,
            Fault::Freeze => guests.act(Verb::Freeze(machine))?,
            Fault::CutNetwork => guests.act(Verb::Cut(Link::Private, Way::Both))?,
            Fault::CutHalf => guests.act(Verb::CutHalf(machine))?,
            Fault::Isolate => {
                guests.act(Verb::Cut(Link::Private, Way::Both))?;
                guests.act(Verb::CutHalf(machine))?;
            }
        }
        guests.run_for(SETTLE);
        if matches!(fault, Fault::Panic | Fault::Freeze) {
            // A dead holder is fenced; a dead standby may be left alone.
            let fenced = |it: &mut Guests| it.resets(machine).len() > resets;
            let waited = guests.until("it is fenced", FENCED, fenced).is_ok();
            match fault {
                _ if waited => {}
                Fault::Panic => guests.act(Verb::Reset(machine))?,
                _ => guests.act(Verb::Thaw(machine))?,
            }
        }
        // By the other machine, or by the same one after its reset and boot.
        let what = format!("the service is there again after {} of {machine}", fault.name());
        guests.until(&what, SERVED_AGAIN, |it| it.serves().is_some())?;
        let Some(after) = guests.serves() else {
            return Err(Stop::Failed("the service came and went".into()));
        };
        let signs = fault.signs(machine);
        let what = format!("{} of {machine} is noticed: one of {signs:?} is said", fault.name());
        guests.until(&what, NOTICED, |it| {
            signs.iter().any(|&(who, words)| it.log_has(who, words, at))
        })?;
        if fault == Fault::PowerLoss && after == machine {
            return Err(Stop::Failed(format!("{machine} has no power, and serves")));
        }
        match fault {
            Fault::PowerLoss => guests.act(Verb::PowerOn(machine))?,
            Fault::CutNetwork => guests.act(Verb::Heal(Link::Private, Way::Both))?,
            Fault::CutHalf => guests.act(Verb::HealHalf(machine))?,
            Fault::Isolate => {
                guests.act(Verb::HealHalf(machine))?;
                guests.act(Verb::Heal(Link::Private, Way::Both))?;
            }
            _ => {}
        }
        self.until_whole(guests)?;
        let dark = guests.dark(0, at).map_err(|missing| Stop::Failed(missing.to_string()))?;
        let fenced = guests.resets(machine).len() - resets;
        Ok(Entry { at, fault, machine, served: [before, after], dark, fenced })
    }

    fn until_whole(&self, guests: &mut Guests) -> Told {
        guests.until_settled(WHOLE_AGAIN)?;
        guests.until("the holder has both votes", WHOLE_AGAIN, |it| {
            it.serves().is_some_and(|who| it.has_all_votes(who, 0))
        })
    }

    /// For a person: what happened, what the client saw.
    #[must_use]
    pub fn report(&self, told: &Told, on: &Circumstances, took: StdDuration) -> String {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        let mut text = format!(
            "# Campaign of {} faults, seed {}\n\n{now}, {:.0} minutes. {}Kernel {} in the guests, {}\
             Two guests under TCG (no KVM), and with supervised reset lines the dongle: {}.\n\n",
            self.entries.len(),
            self.seed,
            took.as_secs_f64() / 60.0,
            commit_line().replace('\n', ". "),
            on.kernel,
            versions().replace('\n', ". "),
            on.dongle,
        );
        let verdict = match told {
            Ok(()) => {
                "The service was there again after each fault; nobody saw two holders, neither the \
                       client (by hardware address) nor the guests' own records."
                    .to_owned()
            }
            Err(Stop::Missing(why) | Stop::Failed(why)) => format!("**FAILED**: {why}"),
        };
        let _ = writeln!(
            text,
            "{verdict}\n\n| fault | of | times | moved | fenced | dark ms: median | longest |\n|---|---|--:|--:|--:|--:|--:|"
        );
        for fault in Fault::ALL {
            for holder in [true, false] {
                let its = |entry: &&Entry| {
                    entry.fault == fault && (entry.machine == entry.served[0]) == holder
                };
                let mut dark: Vec<u64> =
                    self.entries.iter().filter(its).map(|entry| entry.dark.millis()).collect();
                dark.sort_unstable();
                if dark.is_empty() {
                    continue;
                }
                let moved =
                    self.entries.iter().filter(its).filter(|one| one.served[0] != one.served[1]);
                let fenced = self.entries.iter().filter(its).filter(|one| one.fenced > 0);
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {} |",
                    fault.name(),
                    if holder { "holder" } else { "standby" },
                    dark.len(),
                    moved.count(),
                    fenced.count(),
                    dark[dark.len() / 2],
                    dark[dark.len() - 1]
                );
            }
        }
        let _ = writeln!(
            text,
            "\nThe host let a guest's daemon or the dongle wait for 200 ms and longer {} times, by their own words: an \
             outage beside the point is mostly one of these.",
            self.stalls
        );
        text.push_str("\nThe client's outages (it asks every 40 ms), all faults:\n\n```text\n");
        text.push_str(&self.histogram());
        text.push_str("```\n");
        text
    }

    fn histogram(&self) -> String {
        const EDGES: [u64; 9] = [100, 250, 500, 750, 1000, 1500, 2500, 5000, u64::MAX];
        let mut text = String::new();
        let mut from = 0;
        for to in EDGES {
            let count =
                self.entries.iter().filter(|one| (from..to).contains(&one.dark.millis())).count();
            let label =
                if to == u64::MAX { format!("{from} and more") } else { format!("{from} to {to}") };
            let _ = writeln!(text, "{label:>13} ms {count:>4} {}", "#".repeat(count));
            from = to;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_every_fault_and_says_what_failed() {
        let entry = Entry {
            at: Instant::from_micros(5),
            fault: Fault::Panic,
            machine: Machine::A,
            served: Machine::BOTH,
            dark: Duration::from_millis(780),
            fenced: 1,
        };
        let campaign = Campaign { seed: 7, entries: vec![entry], stalls: 0 };
        let on = Circumstances { kernel: "6.1".into(), dongle: "its library".into() };
        let report = campaign.report(&Ok(()), &on, StdDuration::from_secs(60));
        assert!(report.contains("reset lines the dongle: its library."), "{report}");
        assert!(report.contains("| panic | holder | 1 | 1 | 1 | 780 | 780 |"), "{report}");
        assert!(report.contains("750 to 1000 ms    1 #\n"), "{report}");
        let red = campaign.report(&Err(Stop::Failed("two".into())), &on, StdDuration::ZERO);
        assert!(red.contains("**FAILED**: two"), "{red}");
    }
}
