//! Two machines of their own, over ssh, with the cables that rig.toml names between them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration as StdDuration;

use hb_linux::control::snapshot::Snapshot;
use hb_linux::rig::Mac;
use hb_linux::rig::bench::CLIENT;
use hb_linux::rig::links;
use hb_linux::rig::probe::{Probe, Record};
use hb_proto::time::{Duration, Instant};

use super::config::Config;
use super::person::Person;
use super::remote::Remote;
use crate::capture::Capture;
use crate::chronicle::{Clock, Ends, client};
use crate::netns::files;
use crate::netns::host::Stalls;
use crate::netns::view::view;
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{Cannot, Done, Entry, Missing, Moment, Moved, Rig, Source, View};
use crate::scenario::verb::Verb;
use crate::vm::seen::{self, Seen, Shared};

mod evidence;
mod verbs;

/// What ssh, starting programs and asking add to any limit.
const SLACK: Duration = Duration::from_millis(1000);
/// What two machines tell may be apart by this much: each time is as exact as the quickest message over ssh.
const RESOLUTION: Duration = Duration::from_millis(150);
/// The client asks this often.
const CLIENT_EVERY: StdDuration = StdDuration::from_millis(20);
/// Who didn't answer for this long doesn't.
const SILENT: StdDuration = StdDuration::from_millis(200);
/// A gap in the client's answers that is worth a line of the timeline.
const GAP: StdDuration = StdDuration::from_millis(200);
/// A node is asked this often at most.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Machines that were reset are looked for this often.
const TEND_EVERY: Duration = Duration::from_millis(50);
/// Stories that are not told here, and what they would need.
const UNTOLD: &[(&str, Missing)] = &[(
    "a_stopped_holder_is_fenced_before_the_other_starts",
    Missing {
        verb: "reset by the dongle, seen",
        why: "ssh says seconds later that a machine is gone: what it had until then can't be told",
    },
)];
/// The service's network.
const PREFIX: u8 = 24;

/// See the module. The client runs on this machine, as root.
pub struct TwoHosts {
    config: Config,
    remotes: [Remote; 2],
    person: Box<dyn Person>,
    clock: Clock,
    up: Option<Up>,
}

/// The rig once its cluster is built.
struct Up {
    cluster: Cluster,
    seen: Shared,
    clients: Vec<Probe>,
    /// What arrives on the service's network, at the client.
    capture: Capture,
    /// Each machine's, on the service's network.
    macs: [Mac; 2],
    stalls: Stalls,
    ends: Ends,
    complaints: Vec<String>,
    views: [Option<(Instant, Option<View>)>; 2],
    /// When a machine went that no verb had taken, and when it was looked for last.
    lost: [Option<Instant>; 2],
    /// When the rig began to wait for a machine to come up, or to be off, and how long it did.
    waits: Vec<(Instant, Duration)>,
    resets: Vec<(Instant, Machine)>,
}

impl TwoHosts {
    /// Nothing is done yet; rig time begins. `programs` has what is built for machines without libraries.
    ///
    /// # Panics
    /// `config` has no hosts.
    #[must_use]
    pub fn new(config: Config, programs: &Path, person: Box<dyn Person>) -> Self {
        let hosts = config.hosts.clone().expect("a rig of two hosts has two");
        let [a, b] = hosts;
        let remote = |host, machine: Machine| {
            let ports = config.lines.iter().map(|line| line[machine.index()].clone());
            Remote::new(host, machine, ports.collect(), programs.to_owned())
        };
        let remotes = [remote(a, Machine::A), remote(b, Machine::B)];
        Self { config, remotes, person, clock: Clock::start(), up: None }
    }

    fn up(&mut self) -> Result<&mut Up, Cannot> {
        self.up.as_mut().ok_or_else(|| Cannot::Broken("no cluster was built".into()))
    }

    fn client<T>(&self, group: usize, read: impl FnOnce(&Record) -> T) -> Result<T, Missing> {
        let client = self.up.as_ref().and_then(|up| up.clients.get(group));
        let client = client.ok_or(Missing { verb: "client", why: "nothing is built yet" })?;
        Ok(client.read(read))
    }

    /// The machines' programs and files; their hardware addresses. Both are on, as they were before the story.
    fn prepare(&mut self, cluster: &Cluster) -> Result<[Mac; 2], String> {
        let mut macs = [Mac::default(); 2];
        for machine in Machine::BOTH {
            let quiet: crate::vm::agent::Sink = Arc::new(|_, _| ());
            let remote = &mut self.remotes[machine.index()];
            // A machine that an earlier story left without power.
            if remote.install().is_err() {
                if let Some(on) = &remote.host.power.on {
                    super::remote::switch(on)?;
                }
                verbs::wait_for(remote)?;
                remote.install()?;
            }
            remote.connect(self.clock, &quiet, StdDuration::ZERO)?;
            macs[machine.index()] = remote.public_mac()?;
            for (name, text, mode) in [
                ("ha.cf", files::ha_cf(cluster), 0o644),
                ("haresources", files::haresources(cluster, machine), 0o644),
                ("authkeys", files::AUTHKEYS.to_owned(), 0o600),
                ("resource.d/rec", files::SCRIPT.to_owned(), 0o755),
            ] {
                remote.write(&format!("/etc/ha.d/{name}"), &remote.in_its_words(&text), mode)?;
            }
            // Nothing of the story runs before its power is switched on, in words: the machine is there all the time.
            remote.disconnect();
        }
        Ok(macs)
    }

    /// Clients on this machine, each with an address of its own.
    fn start_clients(&self, cluster: &Cluster) -> Result<Vec<Probe>, String> {
        let interface = &self.config.client;
        let [a, b, c, last] = CLIENT.octets();
        let mut clients = Vec::new();
        for group in 0..cluster.groups.len() {
            let own = [a, b, c, last].into();
            if group == 0 {
                match links::add_address(interface, own, PREFIX) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(format!("{interface}: adding {own}: {error}"));
                    }
                    _ => {}
                }
            }
            let service = files::address(group);
            let client = Probe::start_on(interface, own, service, CLIENT_EVERY);
            clients.push(client.map_err(|error| error.to_string())?);
        }
        Ok(clients)
    }

    /// To what arrives where the client is: broadcasts, and what is meant for it.
    fn listen(&self, macs: [Mac; 2]) -> std::io::Result<Capture> {
        let capture = Capture::start(self.clock, Box::new(move |mac| owner(macs, mac)))?;
        capture.tap(None, 0, links::index(&self.config.client)?)?;
        Ok(capture)
    }
}

fn owner(macs: [Mac; 2], mac: Mac) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| macs[machine.index()] == mac)
}

impl Up {
    fn owner(&self, mac: Mac) -> Option<Machine> {
        owner(self.macs, mac)
    }

    /// Compares how daemons ended with how verbs ended them.
    fn note_ends(&mut self) {
        self.complaints.extend(self.ends.note(&seen::lock(&self.seen).ends));
    }

    /// Nothing runs on the machine any more, since `at`.
    fn has_ended(&mut self, machine: Machine, at: Instant) {
        self.ends.machine_ended(machine);
        seen::lock(&self.seen).power_lost(machine, at);
        self.views[machine.index()] = None;
    }
}

impl Rig for TwoHosts {
    fn name(&self) -> &'static str {
        "metal"
    }

    fn tells(&self, story: &str) -> Result<(), Missing> {
        let untold = UNTOLD.iter().find(|(name, _)| *name == story);
        untold.map_or(Ok(()), |(_, missing)| Err(*missing))
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        if cluster.serial_lines > self.config.lines.len() {
            let verb = "serial line";
            return Err(Missing { verb, why: "the story takes more than rig.toml has" }.into());
        }
        if cluster.arbiter.is_some() && !self.config.dongle {
            return Err(Missing { verb: "dongle", why: "rig.toml has none" }.into());
        }
        let macs = self.prepare(cluster).map_err(Cannot::Broken)?;
        let clients = self.start_clients(cluster).map_err(Cannot::Broken)?;
        let capture = self.listen(macs).map_err(|error| Cannot::Broken(error.to_string()))?;
        let stalls =
            Stalls::record(self.clock).map_err(|error| Cannot::Broken(error.to_string()))?;
        self.up = Some(Up {
            cluster: cluster.clone(),
            seen: Arc::new(Mutex::new(Seen::new(cluster.clone()))),
            clients,
            capture,
            macs,
            stalls,
            ends: Ends::default(),
            complaints: Vec::new(),
            views: [None, None],
            lost: [None; 2],
            waits: Vec::new(),
            resets: Vec::new(),
        });
        Ok(())
    }

    fn act(&mut self, verb: Verb) -> Done {
        self.tend();
        self.do_it(verb)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.clock.now() + span;
        loop {
            self.tend();
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

    /// A power-on returns when the machine is up, a power-off when it is silent: that is the rig's time, not the cluster's.
    fn slack(&self, since: Instant) -> Duration {
        let Some(up) = &self.up else { return SLACK };
        let waits = up.waits.iter().filter(|(at, _)| *at >= since);
        waits.fold(SLACK, |sum, (_, took)| sum + *took) + up.stalls.since(since)
    }

    fn doubts(&self, since: Instant) -> Option<String> {
        self.up.as_ref()?.stalls.doubts(since, self.now())
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn journal(&mut self) -> Vec<Entry> {
        let Some(up) = &self.up else { return Vec::new() };
        seen::lock(&up.seen).chronicle.journal()
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        let on = self.remotes[machine.index()].is_on();
        self.up.as_mut().is_some_and(|up| {
            up.note_ends();
            up.ends.daemon_runs(machine) && on
        })
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        let now = self.clock.now();
        if let Some((at, known)) = &self.up.as_ref()?.views[machine.index()]
            && now.since(*at) < ASK_EVERY
        {
            return known.clone();
        }
        let text =
            if self.daemon_runs(machine) { self.remotes[machine.index()].observe() } else { None };
        let snapshot = text.and_then(|text| serde_json::from_str::<Snapshot>(&text).ok());
        let view = snapshot.map(|snapshot| view(&snapshot));
        self.up.as_mut()?.views[machine.index()] = Some((self.clock.now(), view.clone()));
        view
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        let Some(up) = &self.up else { return Ok(None) };
        self.client(group, |record| client::answering(record, SILENT, |mac| up.owner(mac)))
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        self.client(group, |record| client::dark(record, self.clock, from))
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        self.client(group, |record| client::overlap(record, self.clock, from))
    }

    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing> {
        let (up, address) = (self.up.as_ref(), files::address(group));
        Ok(up.map_or_else(Vec::new, |up| up.capture.announcements(machine, address)))
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

    /// Nobody counts frames on real cables: the other rigs do.
    fn accepted_twice(&mut self) -> Result<Vec<String>, Missing> {
        Ok(Vec::new())
    }

    fn complaints(&mut self) -> Vec<String> {
        self.tend();
        let Some(up) = &mut self.up else { return Vec::new() };
        up.note_ends();
        let mut complaints = std::mem::take(&mut up.complaints);
        let seen = seen::lock(&up.seen);
        complaints.extend(seen.broken.iter().cloned());
        complaints.extend(seen.chronicle.panics());
        complaints
    }

    fn timeline(&mut self) -> Vec<Moment> {
        let Some(up) = &self.up else { return Vec::new() };
        let mut moments = seen::lock(&up.seen).chronicle.moments();
        for (group, client) in up.cluster.groups.iter().zip(&up.clients) {
            let owner = |mac| up.owner(mac);
            moments.extend(client.read(|it| client::lines(self.clock, group.name, it, GAP, owner)));
        }
        let resets = up.resets.iter();
        moments.extend(resets.map(|&(at, machine)| Moment {
            at,
            source: Source::Dongle,
            text: format!("{machine} went, and no verb had taken it"),
        }));
        moments.extend(up.waits.iter().map(|(at, took)| Moment {
            at: *at,
            source: Source::Host,
            text: format!("begins to wait {} ms for a machine to be up, or off", took.millis()),
        }));
        // Half of what makes a peer dead.
        let gap = Duration::from_micros(up.cluster.timing.deadtime.micros() / 2);
        moments.extend(up.capture.moments(gap, self.clock.now()));
        moments
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
        self.keep_all(directory)
    }
}

/// The ports of both machines, as lines of a file of evidence.
fn cables(lines: &[[PathBuf; 2]]) -> String {
    lines.iter().map(|[a, b]| format!("{} to {}\n", a.display(), b.display())).collect()
}
