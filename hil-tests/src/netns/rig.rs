//! The namespace rig under the scenario language: real daemons, real kernels' networks, a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use hb_linux::rig::bench::{Bench, Network};
use hb_linux::rig::dongle::Dongle;
use hb_linux::rig::machine::Programs;
use hb_proto::time::{Duration, Instant};

use super::files;
use super::observer;
use super::verbs::{Up, node};
use crate::chronicle::{Chronicle, Clock, client};
use crate::inside::commit_line;
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{Cannot, Done, Entry, Missing, Moment, Moved, Rig, Source, View};
use crate::scenario::verb::Verb;

/// What looking, asking and starting processes add to any limit on an idle host.
const SLACK: Duration = Duration::from_millis(200);
/// A process that is to start waits for its turn this many times, roughly: for `hb`, the helper,
/// a shell, and what that starts.
const TURNS: u64 = 3;
/// Machines that were reset are booted this soon.
const TEND_EVERY: Duration = Duration::from_millis(5);
/// A stall of this length is worth a line of the timeline.
const STALL: Duration = Duration::from_millis(50);
/// The observer may be late by this much on a busy host.
const RESOLUTION: Duration = Duration::from_millis(50);
/// The client asks every 5 ms: who didn't answer for this long doesn't.
const SILENT: StdDuration = StdDuration::from_millis(50);
/// A gap in the client's answers that is worth a line of the timeline.
const GAP: StdDuration = StdDuration::from_millis(60);

/// Two machines in namespaces. Build it inside [`crate::inside::inside`] or `hb rig-enter`.
#[derive(Debug)]
pub struct Namespaces {
    programs: Programs,
    ports: Vec<[PathBuf; 2]>,
    clock: Clock,
    up: Option<Up>,
}

impl Namespaces {
    /// Nothing is built yet; rig time begins.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self::over_ports(programs, Vec::new())
    }

    /// The same with real ports of this host for the first serial lines ([`crate::metal`]).
    #[must_use]
    pub fn over_ports(programs: Programs, ports: Vec<[PathBuf; 2]>) -> Self {
        Self { programs, ports, clock: Clock::start(), up: None }
    }

    /// The rig itself, once a cluster was built: for what the language has no words for.
    #[must_use]
    pub fn bench(&self) -> Option<&Bench> {
        self.up.as_ref().map(|up| &up.bench)
    }

    fn up(&mut self) -> Result<&mut Up, Cannot> {
        self.up.as_mut().ok_or_else(|| Cannot::Broken("no cluster was built".into()))
    }
}

pub(crate) fn owner(mac: hb_linux::rig::Mac) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| Network::Public.mac(node(*machine)) == mac)
}

impl Rig for Namespaces {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        self.up = Some(Up::build(self.clock, &self.programs, &self.ports, cluster)?);
        Ok(())
    }

    fn act(&mut self, verb: Verb) -> Done {
        let (clock, programs) = (self.clock, self.programs.clone());
        let up = self.up()?;
        up.tend(clock, &programs)?;
        up.act(clock, &programs, verb)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            if let Some(up) = &mut self.up
                && let Err(error) = up.tend(self.clock, &self.programs)
            {
                up.wrong_ends.push(format!("a machine that was reset did not boot: {error:?}"));
            }
            let left = end.since(self.clock.now());
            if left == Duration::ZERO {
                return;
            }
            std::thread::sleep(left.min(TEND_EVERY).into());
        }
    }

    fn slack(&self, since: Instant) -> Duration {
        let stalls = self.up.as_ref().map(|up| up.stalls.since(since));
        SLACK + stalls.unwrap_or_default().times(TURNS)
    }

    fn doubts(&self, since: Instant) -> Option<String> {
        self.up.as_ref()?.stalls.doubts(since, self.now())
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn journal(&mut self) -> Vec<Entry> {
        self.up.as_ref().map_or_else(Vec::new, |up| up.observer.chronicle(Chronicle::journal))
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.up.as_ref().is_some_and(|up| up.bench.machine(node(machine)).daemon_runs())
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        let clock = self.clock;
        self.up.as_mut()?.ask(clock, machine)
    }

    fn has_all_votes(&mut self, machine: Machine, group: usize) -> bool {
        let Some(up) = &self.up else { return false };
        if up.bench.dongle().is_none() {
            return true;
        }
        let status = up.bench.machine(node(machine)).status();
        let from = status.as_ref().map(|status| &status["groups"][group]["authority"]["from"]);
        from.and_then(|from| from.as_array()).is_some_and(|votes| {
            ["peer", "arbiter"].iter().all(|voter| votes.iter().any(|vote| vote == voter))
        })
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        client_of(self.up.as_ref(), group, |record| client::answering(record, SILENT, owner))
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        client_of(self.up.as_ref(), group, |record| client::dark(record, self.clock, from))
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        client_of(self.up.as_ref(), group, |record| client::overlap(record, self.clock, from))
    }

    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing> {
        let up = self.up.as_ref();
        Ok(up.map_or_else(Vec::new, |up| up.observer.announcements(machine, files::address(group))))
    }

    fn told(
        &mut self,
        machine: Machine,
        phrase: &Phrase,
        since: Instant,
    ) -> Result<usize, Missing> {
        let up = self.up.as_ref();
        Ok(up.map_or(0, |up| up.observer.chronicle(|seen| seen.told(machine, phrase, since))))
    }

    fn moves(&mut self, machine: Machine) -> Result<Vec<Moved>, Missing> {
        let up = self.up.as_ref();
        Ok(up.map_or_else(Vec::new, |up| up.observer.chronicle(|seen| seen.moves(machine))))
    }

    fn accepted_twice(&mut self) -> Result<Vec<String>, Missing> {
        let clock = self.clock;
        let Some(up) = &mut self.up else { return Ok(Vec::new()) };
        for machine in Machine::BOTH {
            let _ = up.ask(clock, machine);
        }
        Ok(std::mem::take(&mut up.taken_twice))
    }

    fn complaints(&mut self) -> Vec<String> {
        let Some(up) = &mut self.up else { return Vec::new() };
        for machine in Machine::BOTH {
            if up.bench.machine(node(machine)).is_on() {
                up.note_ends(machine);
            }
        }
        let mut complaints = std::mem::take(&mut up.wrong_ends);
        complaints.extend(up.observer.chronicle(Chronicle::panics));
        complaints
    }

    fn timeline(&mut self) -> Vec<Moment> {
        let Some(up) = &self.up else { return Vec::new() };
        let mut moments = up.observer.chronicle(Chronicle::moments);
        moments.extend(self.client_lines(up));
        moments.extend(self.dongle_lines(up));
        let stalls = up.stalls.noted().into_iter().filter(|(_, late)| *late >= STALL);
        moments.extend(stalls.map(|(at, late)| Moment {
            at,
            source: Source::Host,
            text: format!("kept a thread waiting for {} ms until now", late.millis()),
        }));
        moments
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
        let run = format!("rig {}\n{}", self.name(), commit_line());
        fs::write(directory.join("run"), run).map_err(|error| error.to_string())?;
        let Some(up) = &mut self.up else { return Ok(()) };
        for machine in Machine::BOTH {
            let to = directory.join(machine.name());
            let here = up.bench.machine(node(machine));
            for (from, name) in [(here.log_file(""), "log"), (here.config_file(""), "ha.d")] {
                observer::copy_all(&from, &to.join(name)).map_err(|error| error.to_string())?;
            }
            if let Some(status) = here.status() {
                let text = format!("{status:#}\n");
                fs::write(to.join("status.json"), text).map_err(|error| error.to_string())?;
            }
        }
        let journal = up.observer.chronicle(Chronicle::journal_text);
        fs::write(directory.join("journal"), journal).map_err(|error| error.to_string())
    }
}

impl Namespaces {
    /// What the dongle told and did, and the resets that no verb ordered.
    fn dongle_lines(&self, up: &Up) -> Vec<Moment> {
        let resets = up.resets.iter().map(|&(at, machine, cause)| Moment {
            at,
            source: Source::Dongle,
            text: format!("{machine} was reset by {cause:?}"),
        });
        let events = up.bench.dongle().map(Dongle::events).unwrap_or_default();
        let source = Source::Dongle;
        let told = |(at, text)| Moment { at: self.clock.at(at), source, text };
        resets.chain(events.into_iter().map(told)).collect()
    }

    /// When the client was answered by another machine than before, and when it wasn't answered.
    fn client_lines(&self, up: &Up) -> Vec<Moment> {
        let mut moments = Vec::new();
        for group in 0..up.cluster.groups.len() {
            let Some(client) = up.bench.client_number(group) else { continue };
            let name = up.cluster.groups[group].name;
            client
                .read(|record| moments.extend(client::lines(self.clock, name, record, GAP, owner)));
        }
        moments
    }
}

fn client_of<T>(
    up: Option<&Up>,
    group: usize,
    read: impl FnOnce(&hb_linux::rig::probe::Record) -> T,
) -> Result<T, Missing> {
    let verb = "client";
    let client = up.and_then(|up| up.bench.client_number(group));
    let client = client.ok_or(Missing { verb, why: "nothing is built yet" })?;
    Ok(client.read(read))
}
