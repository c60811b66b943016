//! The virtual machines as a [`Rig`] of the scenario language.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use hb_linux::rig::dongle::Dongle;
use hb_linux::rig::outlet::Cause;
use hb_linux::rig::probe::Record;
use hb_proto::time::{Duration, Instant};
use serde_json::Value;

use super::bench::Bench;
use super::elf::BAUD;
use super::image::Image;
use super::pins;
use super::seen;
pub use super::verbs::Special;
use super::verbs::Up;
use crate::chronicle::{Clock, client};
use crate::inside::commit_line;
use crate::netns::files;
use crate::netns::rig::owner;
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{Cannot, Done, Entry, Missing, Moment, Moved, Rig, Source, View};
use crate::scenario::verb::Verb;
use crate::wires;

/// heartbeatd's least, in seconds.
pub const WATCHDOG_S: u32 = 10;
/// Twice that, 5 % for clocks that differ, and 500 ms.
const GUARD: Duration = Duration::from_millis(21_500);
/// What looking, asking and starting programs add to any limit: under TCG a program that is started costs tens of
/// milliseconds, and a group's takeover starts several.
const SLACK: Duration = Duration::from_millis(1500);
/// A wait of the host is waited for by each of the layers, roughly.
const TURNS: u64 = 3;
/// Machines that were reset are booted this soon.
const TEND_EVERY: Duration = Duration::from_millis(10);
/// A stall of this length is worth a line of the timeline.
const STALL: Duration = Duration::from_millis(50);
/// What two guests tell may be apart by this much.
const RESOLUTION: Duration = Duration::from_millis(150);
/// The client asks every 40 ms: who didn't answer for this long doesn't.
const SILENT: StdDuration = StdDuration::from_millis(400);
/// A gap in the client's answers that is worth a line of the timeline.
const GAP: StdDuration = StdDuration::from_millis(300);

/// Stories that are not told here, and what they would need.
const UNTOLD: &[(&str, Missing)] = &[(
    "a_frozen_holder_thaws",
    Missing {
        verb: "freeze with a clock that goes on",
        why: "a paused guest's clock stands, so that it has noticed nothing when it thaws",
    },
)];

/// The dongle's brain.
#[derive(Clone, Debug)]
pub struct Brain {
    /// Started as `program rig-dongle SPEC`, it says and hears the lines of [`hb_linux::rig::dongle::process`].
    pub program: PathBuf,
    /// The firmware's ELF, if that is what it runs ([`super::elf`]).
    pub elf: Option<PathBuf>,
    /// What it is, for a person.
    pub name: String,
}

/// Two guests. Build it inside `hb rig-enter`.
#[derive(Debug)]
pub struct Guests {
    image: Image,
    dongle: Brain,
    clock: Clock,
    up: Option<Up>,
}

impl Guests {
    /// Nothing is built yet; rig time begins.
    #[must_use]
    pub fn new(image: Image, dongle: Brain) -> Self {
        Self { image, dongle, clock: Clock::start(), up: None }
    }

    /// The rig itself, once a cluster was built: for what the language has no words for.
    pub fn bench(&mut self) -> Option<&mut Bench> {
        self.up.as_mut().map(|up| &mut up.bench)
    }

    /// As [`Rig::build`], with what the language has no words for.
    ///
    /// # Errors
    /// The rig can't.
    pub fn build_special(&mut self, cluster: &Cluster, special: &Special) -> Done {
        self.up = Some(Up::build(self.clock, &self.image, &self.dongle, cluster, special)?);
        Ok(())
    }

    /// How many resources a group has.
    #[must_use]
    pub fn resources(&self, group: usize) -> usize {
        self.up.as_ref().map_or(0, |up| up.cluster.groups[group].resources.len())
    }

    /// What reset a machine, and when, other than a verb.
    #[must_use]
    pub fn resets(&self, machine: Machine) -> Vec<(Instant, Cause)> {
        let Some(up) = &self.up else { return Vec::new() };
        let its = up.resets.iter().filter(|reset| reset.1 == machine);
        its.map(|&(at, _, cause)| (at, cause)).collect()
    }

    /// How often an output of the dongle was pulled.
    #[must_use]
    pub fn pulses(&self) -> usize {
        let dongle = self.up.as_ref().and_then(|up| up.bench.dongle.as_ref());
        dongle.map_or(0, |dongle| dongle.pulled().len())
    }

    /// Whether a machine's log had the text at or after `since`.
    #[must_use]
    pub fn log_has(&self, machine: Machine, text: &str, since: Instant) -> bool {
        let Some(up) = &self.up else { return false };
        seen::lock(&up.seen).chronicle.log_has(machine, text, since)
    }

    /// How often a daemon or the dongle noticed that it had been kept waiting.
    #[must_use]
    pub fn stalls_told(&self) -> usize {
        let Some(up) = &self.up else { return 0 };
        let seen = seen::lock(&up.seen);
        let lines = seen.chronicle.lines().iter();
        let daemons = lines.filter(|line| line.text.contains("was not scheduled for"));
        let events = up.bench.dongle.as_ref().map(Dongle::events).unwrap_or_default();
        daemons.count() + events.iter().filter(|(_, text)| text.starts_with("event Stall")).count()
    }

    /// What the client of a group has seen.
    ///
    /// # Errors
    /// Nothing is built yet.
    pub fn record<T>(&self, group: usize, read: impl FnOnce(&Record) -> T) -> Result<T, Missing> {
        self.client(group, read)
    }

    fn up(&mut self) -> Result<&mut Up, Cannot> {
        self.up.as_mut().ok_or_else(|| Cannot::Broken("no cluster was built".into()))
    }

    fn client<T>(&self, group: usize, read: impl FnOnce(&Record) -> T) -> Result<T, Missing> {
        let client = self.up.as_ref().and_then(|up| up.bench.client(group));
        let client = client.ok_or(Missing { verb: "client", why: "nothing is built yet" })?;
        Ok(client.read(read))
    }
}

impl Rig for Guests {
    fn name(&self) -> &'static str {
        "vm"
    }

    /// softdog and i6300esb count whole seconds, and heartbeatd gives them 10 at least (docs/ha.cf.md); guard
    /// follows from that.
    fn fit(&self, mut cluster: Cluster) -> Cluster {
        if cluster.watchdog_s.is_some() {
            cluster.watchdog_s = Some(WATCHDOG_S);
            if cluster.arbiter.is_some() {
                cluster.timing.guard = GUARD;
            }
        }
        if cluster.arbiter.is_some() && self.dongle.elf.is_some() {
            cluster.baud = BAUD;
        }
        cluster
    }

    fn tells(&self, story: &str) -> Result<(), Missing> {
        let untold = UNTOLD.iter().find(|(name, _)| *name == story);
        untold.map_or(Ok(()), |(_, missing)| Err(*missing))
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        self.build_special(cluster, &Special::default())
    }

    fn act(&mut self, verb: Verb) -> Done {
        let clock = self.clock;
        let up = self.up()?;
        up.tend(clock)?;
        up.act(clock, verb)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            if let Some(up) = &mut self.up
                && let Err(error) = up.tend(self.clock)
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

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// A power-on returns when the machine is up: its boot is the rig's time, not the cluster's.
    fn slack(&self, since: Instant) -> Duration {
        let Some(up) = &self.up else { return SLACK };
        let boots = up.bench.boots.iter().filter(|(at, _)| *at >= since);
        let boots = boots.fold(Duration::ZERO, |sum, (_, took)| sum + (*took).into());
        SLACK + boots + up.stalls.since(since).times(TURNS)
    }

    fn doubts(&self, since: Instant) -> Option<String> {
        let told = self.stalls_told();
        let words =
            || format!("daemons and the dongle were kept waiting {told} times, by their own words");
        self.up.as_ref()?.stalls.doubts(since, self.now()).or_else(|| (told > 0).then(words))
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn journal(&mut self) -> Vec<Entry> {
        let Some(up) = &self.up else { return Vec::new() };
        seen::lock(&up.seen).chronicle.journal()
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.up.as_mut().is_some_and(|up| up.daemon_runs(machine))
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        let clock = self.clock;
        self.up.as_mut()?.ask(clock, machine)
    }

    fn has_all_votes(&mut self, machine: Machine, group: usize) -> bool {
        let Some(up) = &self.up else { return false };
        if up.bench.dongle.is_none() {
            return true;
        }
        let status = up.bench.observe(machine);
        let status = status.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let from = status.as_ref().map(|status| &status["groups"][group]["authority"]["from"]);
        from.and_then(|from| from.as_array()).is_some_and(|votes| {
            ["peer", "arbiter"].iter().all(|voter| votes.iter().any(|vote| vote == voter))
        })
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        self.client(group, |record| client::answering(record, SILENT, owner))
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        self.client(group, |record| client::dark(record, self.clock, from))
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        self.client(group, |record| client::overlap(record, self.clock, from))
    }

    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing> {
        let address = files::address(group);
        let up = self.up.as_ref();
        Ok(up.map_or_else(Vec::new, |up| up.bench.capture().announcements(machine, address)))
    }

    fn told(
        &mut self,
        machine: Machine,
        phrase: &Phrase,
        since: Instant,
    ) -> Result<usize, Missing> {
        let Some(up) = &self.up else { return Ok(0) };
        Ok(seen::lock(&up.seen).chronicle.told(machine, phrase, since))
    }

    fn moves(&mut self, machine: Machine) -> Result<Vec<Moved>, Missing> {
        let Some(up) = &self.up else { return Ok(Vec::new()) };
        Ok(seen::lock(&up.seen).chronicle.moves(machine))
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
        up.note_ends();
        let mut complaints = std::mem::take(&mut up.wrong_ends);
        if let Some(dongle) = &up.bench.dongle {
            complaints.extend(dongle.broken());
        }
        if self.dongle.elf.is_some() {
            complaints.extend(up.bench.causes().1);
        }
        let seen = seen::lock(&up.seen);
        complaints.extend(seen.broken.iter().cloned());
        complaints.extend(seen.chronicle.panics());
        complaints
    }

    fn resets_by_pin(&mut self, since: Instant) -> Option<(usize, usize)> {
        let up = self.up.as_ref().filter(|_| self.dongle.elf.is_some())?;
        let caused = up.bench.causes().0;
        let pins = caused.iter().filter(|(_, reset, _)| self.clock.at(reset.at) >= since).count();
        let its = |one: &&(Instant, Machine, Cause)| one.0 >= since && one.2 == Cause::Watchdog;
        Some((pins, up.resets.iter().filter(its).count()))
    }

    fn timeline(&mut self) -> Vec<Moment> {
        let Some(up) = &self.up else { return Vec::new() };
        let mut moments = seen::lock(&up.seen).chronicle.moments();
        for group in 0..up.cluster.groups.len() {
            let name = up.cluster.groups[group].name;
            let lines =
                self.client(group, |record| client::lines(self.clock, name, record, GAP, owner));
            moments.extend(lines.unwrap_or_default());
        }
        moments.extend(up.resets.iter().map(|&(at, machine, cause)| Moment {
            at,
            source: Source::Dongle,
            text: format!("{machine} was reset by {}", cause.name()),
        }));
        let events = up.bench.dongle.as_ref().map(Dongle::events).unwrap_or_default();
        let source = Source::Dongle;
        let told = |(at, text)| Moment { at: self.clock.at(at), source, text };
        moments.extend(events.into_iter().map(told));
        if self.dongle.elf.is_some() {
            moments.extend(up.bench.causes().0.into_iter().map(|(node, reset, write)| Moment {
                at: self.clock.at(reset.at),
                source: Source::Dongle,
                text: format!("what reset {}: {write}", Machine::BOTH[node.index()]),
            }));
        }
        let boots = up.bench.boots.iter().map(|(at, took)| Moment {
            at: *at,
            source: Source::Host,
            text: format!("begins a boot that takes {} ms", took.as_millis()),
        });
        moments.extend(boots);
        // Half of what makes a peer dead.
        let gap = Duration::from_micros(up.cluster.timing.deadtime.micros() / 2);
        let end = self.clock.now();
        moments.extend(up.bench.wires().iter().flat_map(|wire| wire.moments(gap, end)));
        moments.extend(up.bench.capture().moments(gap, end));
        let stalls = up.stalls.noted().into_iter().filter(|(_, late)| *late >= STALL);
        moments.extend(stalls.map(|(at, late)| Moment {
            at,
            source: Source::Host,
            text: format!("kept a thread waiting for {} ms until now", late.millis()),
        }));
        moments
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let run = format!(
            "rig {}\n{}kernel {}\n{}dongle {}\n",
            self.name(),
            commit_line(),
            self.image.version,
            versions(),
            self.dongle.name
        );
        fs::write(directory.join("run"), run).map_err(told)?;
        let Some(up) = &mut self.up else { return Ok(()) };
        up.bench.capture().keep(directory).map_err(told)?;
        wires::keep(&up.bench.wires(), directory).map_err(told)?;
        for entry in fs::read_dir(up.bench.directory()).map_err(told)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let worth = [".console", ".qemu", ".disk"].iter().any(|kind| name.ends_with(kind));
            if worth {
                fs::copy(entry.path(), directory.join(&name)).map_err(told)?;
            }
        }
        if self.dongle.elf.is_some() {
            pins::keep(&up.bench.dongles(), directory).map_err(told)?;
        }
        for machine in Machine::BOTH {
            if let Some(status) = up.bench.observe(machine) {
                let file = directory.join(format!("{machine}.status.json"));
                fs::write(file, status).map_err(told)?;
            }
        }
        let journal = seen::lock(&up.seen).chronicle.journal_text();
        fs::write(directory.join("journal"), journal).map_err(told)
    }
}

/// What the machines are made of.
#[must_use]
pub fn versions() -> String {
    let output = std::process::Command::new(super::power::QEMU).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| text.lines().next().map(|line| format!("{line}\n")))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::stories;

    #[test]
    fn what_is_not_told_here_is_a_story() {
        assert!(UNTOLD.iter().all(|(name, _)| stories::named(name).is_some()));
    }
}
