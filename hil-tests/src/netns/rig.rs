//! The namespace rig under the scenario language: real daemons, real kernels' networks, a client.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration as StdDuration;

use hb_linux::control::client;
use hb_linux::control::snapshot::{self, GroupState, Snapshot};
use hb_linux::rig::bench::{Bench, Network, Node, Options, SERVICE};
use hb_linux::rig::init;
use hb_linux::rig::machine::{self, Programs};
use hb_linux::rig::probe::Outcome;
use hb_linux::rig::switch::Way as Direction;
use hb_proto::event::Cause;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;
use hb_proto::time::{Duration, Instant};

use super::files;
use super::host::{self, Stalls};
use super::observer::{self, Clock, Observer};
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{
    Cannot, Deed, Done, Entry, Failover, Missing, Moment, Part, Rig, Source, View,
};
use crate::scenario::verb::{Noise, Verb, Way, Weather};

/// What looking, asking and starting processes add to any limit on an idle host.
const SLACK: Duration = Duration::from_millis(200);
/// A process that is to start waits for its turn this many times, roughly: for `hb`, the helper,
/// a shell, and what that starts.
const TURNS: u64 = 3;
/// A stall of this length is worth a line of the timeline.
const STALL: Duration = Duration::from_millis(50);
/// The observer may be late by this much on a busy host.
const RESOLUTION: Duration = Duration::from_millis(50);
/// A node is asked this often at most: each question costs its daemon a snapshot.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The client asks every 5 ms: who didn't answer for this long doesn't.
const SILENT: StdDuration = StdDuration::from_millis(50);
/// A gap in the client's answers that is worth a line of the timeline.
const GAP: StdDuration = StdDuration::from_millis(60);

/// Two machines in namespaces. Build it inside [`crate::inside::inside`] or `hb rig-enter`.
#[derive(Debug)]
pub struct Namespaces {
    programs: Programs,
    clock: Clock,
    up: Option<Up>,
}

/// The rig once its cluster is built.
#[derive(Debug)]
struct Up {
    bench: Bench,
    cluster: Cluster,
    observer: Observer,
    stalls: Stalls,
    /// The page that the client asks for, served from power-on on: whoever has the address answers.
    pages: [Option<Child>; 2],
    busy: Vec<(Machine, Child)>,
    /// Ways of networks that are cut; a machine's ports are made anew with its power.
    cuts: Vec<(Network, Machine)>,
    /// How daemons must have ended since the last power-on.
    ends: [Vec<&'static str>; 2],
    wrong_ends: Vec<String>,
    views: [Option<(Instant, Option<View>)>; 2],
}

impl Namespaces {
    /// Nothing is built yet; rig time begins.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self { programs, clock: Clock::start(), up: None }
    }

    fn up(&mut self) -> Result<&mut Up, Cannot> {
        self.up.as_mut().ok_or_else(|| Cannot::Broken("no cluster was built".into()))
    }
}

fn node(machine: Machine) -> Node {
    Node::BOTH[machine.index()]
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn broken(error: impl ToString) -> Cannot {
    Cannot::Broken(error.to_string())
}

fn missing(verb: &'static str, why: &'static str) -> Cannot {
    Cannot::Missing(Missing { verb, why })
}

fn span(duration: Duration) -> StdDuration {
    duration.into()
}

impl Up {
    fn build(clock: Clock, programs: &Programs, cluster: &Cluster) -> Result<Self, Cannot> {
        if cluster.arbiter {
            return Err(missing("arbiter", "this rig has no dongle yet"));
        }
        let options = Options {
            serial_lines: cluster.serial_lines,
            ..Options::of_the_guide(programs.clone())
        };
        let mut bench = Bench::new(&options).map_err(broken)?;
        for machine in Machine::BOTH {
            let install = |name: &str, text: &str, mode| {
                bench.install(node(machine), name, text, mode).map_err(broken)
            };
            install("ha.cf", &files::ha_cf(cluster), 0o644)?;
            install("haresources", &files::haresources(cluster, machine), 0o644)?;
            install("authkeys", files::AUTHKEYS, 0o600)?;
            install("resource.d/rec", files::SCRIPT, 0o755)?;
        }
        bench.start_client(SERVICE).map_err(broken)?;
        let observer = Observer::start(clock, cluster.clone(), |machine, name| {
            bench.machine(node(machine)).log_file(name)
        })
        .map_err(broken)?;
        let stalls = Stalls::record(clock).map_err(broken)?;
        host::prefer_wires();
        Ok(Self {
            bench,
            stalls,
            cluster: cluster.clone(),
            observer,
            pages: [None, None],
            busy: Vec::new(),
            cuts: Vec::new(),
            ends: [Vec::new(), Vec::new()],
            wrong_ends: Vec::new(),
            views: [None, None],
        })
    }

    fn power_on(&mut self, machine: Machine, programs: &Programs) -> Done {
        self.bench.power_on_without_daemon(node(machine)).map_err(broken)?;
        let socket = self
            .bench
            .machine(node(machine))
            .in_network(observer::listen)
            .map_err(broken)?
            .map_err(broken)?;
        // As the bench names them: its own end of the machine's eth0.
        let wire = observer::tap(&format!("n{}eth0", machine.index() + 1)).map_err(broken)?;
        self.observer.power_on(machine, socket, wire);
        self.ends[machine.index()].clear();
        for (network, from) in self.cuts.clone() {
            self.cut_way(network, from, true);
        }
        let hb = init::inside(&programs.hb);
        let page = format!("{SERVICE}:80");
        let mut command = self
            .bench
            .machine(node(machine))
            .command(&hb.to_string_lossy(), &["rig-web", &page])
            .map_err(broken)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.pages[machine.index()] = Some(command.spawn().map_err(broken)?);
        self.daemon(machine, machine::Verb::Start)
    }

    fn power_off(&mut self, clock: Clock, machine: Machine) {
        self.note_ends(machine);
        let at = clock.now();
        self.bench.power_off(node(machine));
        self.observer.power_lost(machine, at);
        self.busy.retain_mut(|(on, child)| *on != machine || child.wait().is_err());
        if let Some(mut page) = self.pages[machine.index()].take() {
            // Its machine is gone, and it with it.
            let _ = page.wait();
        }
        self.ends[machine.index()].clear();
    }

    /// Compares how the machine's daemons ended with how verbs ended them.
    fn note_ends(&mut self, machine: Machine) {
        let ends = self.bench.machine(node(machine)).daemon_exits();
        let expected = &mut self.ends[machine.index()];
        for end in &ends {
            match expected.iter().position(|one| one == end) {
                Some(at) => drop(expected.remove(at)),
                None => self
                    .wrong_ends
                    .push(format!("heartbeatd of {machine} ended unasked: {end} (of {ends:?})")),
            }
        }
        // Asked twice, answered once.
        *expected = ends.iter().filter_map(|end| known_end(end)).collect();
    }

    fn daemon(&mut self, machine: Machine, verb: machine::Verb) -> Done {
        self.views[machine.index()] = None;
        self.bench.daemon(node(machine), verb).map_err(broken)
    }

    fn hb(&mut self, machine: Machine, word: &str) -> Done {
        let output = self.bench.machine(node(machine)).hb(&[word]).map_err(broken)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // hb's own exit code 1: the daemon answered, and refused.
        Err(if output.status.code() == Some(1) {
            Cannot::Refused(words)
        } else {
            Cannot::Broken(format!("hb {word} on {machine}: {}: {words}", output.status))
        })
    }

    /// One way of a link: what `from` sends.
    fn cut_way(&self, network: Network, from: Machine, cut: bool) {
        self.bench.cut_way(network, node(from), Direction::Out, cut);
        // Switches forward to every port; what the peer must not hear is cut at the sender.
    }

    fn cut(&mut self, link: Link, way: Way, cut: bool) {
        let ways = Machine::BOTH
            .into_iter()
            .filter(|machine| matches!(way, Way::Both) || way == Way::From(*machine));
        for from in ways {
            match link {
                Link::Serial(line) => self.bench.cut_serial_way(line, node(from), cut),
                Link::Private | Link::Public => {
                    let network =
                        if link == Link::Public { Network::Public } else { Network::Private };
                    self.cuts.retain(|one| *one != (network, from));
                    if cut {
                        self.cuts.push((network, from));
                    }
                    self.cut_way(network, from, cut);
                }
            }
        }
    }

    fn carrier(&mut self, link: Link, machine: Machine, present: bool) -> Done {
        let network = match link {
            Link::Public => Network::Public,
            Link::Private => Network::Private,
            Link::Serial(_) => {
                return Err(missing("unplug", "a pty can't be taken out of a machine"));
            }
        };
        self.bench.carrier(network, node(machine), present).map_err(broken)
    }

    fn fill_cpu(&mut self, machine: Machine) -> Done {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        for _ in 0..cores {
            let child = self
                .bench
                .machine(node(machine))
                .command("/bin/sh", &["-c", "while [ ! -e /run/free-cpu ]; do :; done"])
                .map_err(broken)?
                .spawn()
                .map_err(broken)?;
            self.busy.push((machine, child));
        }
        Ok(())
    }

    fn free_cpu(&mut self, machine: Machine) -> Done {
        self.run(machine, "touch", &["/run/free-cpu"])?;
        self.busy.retain_mut(|(on, child)| *on != machine || child.wait().is_err());
        self.run(machine, "rm", &["/run/free-cpu"])
    }

    fn run(&self, machine: Machine, program: &str, arguments: &[&str]) -> Done {
        let output = self.bench.machine(node(machine)).run(program, arguments).map_err(broken)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Cannot::Broken(format!("{program} {arguments:?} on {machine}: {words}")))
    }

    fn act(&mut self, clock: Clock, programs: &Programs, verb: Verb) -> Done {
        match verb {
            Verb::PowerOff(at) => self.power_off(clock, at),
            Verb::PowerOn(at) => self.power_on(at, programs)?,
            Verb::Reset(at) => {
                self.power_off(clock, at);
                self.power_on(at, programs)?;
            }
            Verb::StopDaemon(at) => self.daemon(at, machine::Verb::Stop)?,
            Verb::ContinueDaemon(at) => self.daemon(at, machine::Verb::Continue)?,
            Verb::KillDaemon(at) => {
                self.ends[at.index()].push("signal 9");
                self.daemon(at, machine::Verb::Kill)?;
            }
            Verb::StartDaemon(at) => self.daemon(at, machine::Verb::Start)?,
            Verb::Leave(at) => {
                self.ends[at.index()].push("code 0");
                self.daemon(at, machine::Verb::Terminate)?;
            }
            Verb::Cut(link, way) => self.cut(link, way, true),
            Verb::Heal(link, way) => self.cut(link, way, false),
            Verb::Unplug(link, at) => self.carrier(link, at, false)?,
            Verb::Replug(link, at) => self.carrier(link, at, true)?,
            Verb::FillCpu(at) => self.fill_cpu(at)?,
            Verb::FreeCpu(at) => self.free_cpu(at)?,
            Verb::Script(at, name, conduct) => {
                let file = self.bench.machine(node(at)).log_file(&files::conduct_file(name));
                fs::write(file, files::conduct(conduct)).map_err(broken)?;
            }
            Verb::StartOutside(at, name) => {
                self.run(at, "/etc/ha.d/resource.d/rec", &[name, "outside"])?;
            }
            Verb::Standby(at) => self.hb(at, "standby")?,
            Verb::Takeover(at) => self.hb(at, "takeover")?,
            Verb::Noise(_, noise) if noise == Noise::default() => {}
            Verb::Disturb(_, weather) if weather == Weather::default() => {}
            other => return Err(missing(other.name(), why_missing(&other))),
        }
        Ok(())
    }

    fn ask(&mut self, clock: Clock, machine: Machine) -> Option<View> {
        let now = clock.now();
        if let Some((at, view)) = &self.views[machine.index()]
            && now.since(*at) < ASK_EVERY
        {
            return view.clone();
        }
        let here = self.bench.machine(node(machine));
        let snapshot = if here.is_on() { client::observe(&here.run_dir()).ok() } else { None };
        let view = snapshot.map(|snapshot| view(&snapshot));
        self.views[machine.index()] = Some((clock.now(), view.clone()));
        view
    }
}

/// How a verb can have ended a daemon.
fn known_end(end: &str) -> Option<&'static str> {
    ["signal 9", "code 0"].into_iter().find(|known| *known == end)
}

fn why_missing(verb: &Verb) -> &'static str {
    match verb {
        Verb::Freeze(_) | Verb::Thaw(_) | Verb::PanicKernel(_) => {
            "both machines run on this host's one kernel"
        }
        Verb::StepClock(..) => "both machines have this host's one wall clock",
        Verb::Noise(..) | Verb::Break(..) => "the line model of this rig carries bytes undamaged",
        Verb::Disturb(..) => "the switch of this rig delivers at once or not at all",
        Verb::ResetDongle | Verb::RemoveDongle | Verb::InsertDongle { .. } => {
            "this rig has no dongle yet"
        }
        Verb::Reload(_) => "heartbeatd doesn't read its files again yet",
        Verb::Upgrade(_) => "there is only one version yet",
        _ => "not done here",
    }
}

fn named(name: &str) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| machine.name() == name)
}

fn view(snapshot: &Snapshot) -> View {
    let peer = match snapshot.peer.state {
        snapshot::PeerState::Unknown => PeerState::Unknown,
        snapshot::PeerState::Alive => PeerState::Alive,
        snapshot::PeerState::Late => PeerState::Late,
        snapshot::PeerState::Dead => PeerState::Dead,
        snapshot::PeerState::Left => PeerState::Left,
    };
    let link = |link: &snapshot::Link| match link.state {
        snapshot::LinkState::Up => LinkState::Up,
        snapshot::LinkState::Down => LinkState::Down,
        snapshot::LinkState::OneWay => LinkState::OneWay,
    };
    let part = |group: &snapshot::Group| match group.state {
        GroupState::Stopped => Part::Stopped,
        GroupState::Starting => Part::Starting,
        GroupState::Running => Part::Running,
        GroupState::Stopping => Part::Stopping,
        GroupState::Failed => Part::Failed,
    };
    let cause = |cause| match cause {
        snapshot::Cause::PeerDead => Cause::PeerDead,
        snapshot::Cause::PeerLeft => Cause::PeerLeft,
        snapshot::Cause::Standby => Cause::Standby,
        snapshot::Cause::Takeover => Cause::Takeover,
        snapshot::Cause::Failback => Cause::Failback,
    };
    View {
        peer,
        links: snapshot.links.iter().map(link).collect(),
        parts: snapshot.groups.iter().map(part).collect(),
        holders: snapshot
            .groups
            .iter()
            .map(|group| group.holder.as_deref().and_then(named))
            .collect(),
        stalls: snapshot.stalls.count,
        last_failover: snapshot.last_failover.as_ref().map(|failover| Failover {
            cause: cause(failover.cause),
            detection: failover.detection_ms.map(Duration::from_millis),
            takeover: failover.takeover_ms.map(Duration::from_millis),
            budget: failover.budget_ms.map(Duration::from_millis),
        }),
    }
}

fn owner(mac: hb_linux::rig::Mac) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| Network::Public.mac(node(*machine)) == mac)
}

impl Rig for Namespaces {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        self.up = Some(Up::build(self.clock, &self.programs, cluster)?);
        Ok(())
    }

    fn act(&mut self, verb: Verb) -> Done {
        let (clock, programs) = (self.clock, self.programs.clone());
        self.up()?.act(clock, &programs, verb)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn run_for(&mut self, time: Duration) {
        std::thread::sleep(span(time));
    }

    fn slack(&self, since: Instant) -> Duration {
        let stalls = self.up.as_ref().map(|up| up.stalls.since(since));
        SLACK + stalls.unwrap_or_default().times(TURNS)
    }

    fn doubts(&self) -> Option<String> {
        self.up.as_ref()?.stalls.doubts(self.now())
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn journal(&mut self) -> Vec<Entry> {
        self.up.as_ref().map_or_else(Vec::new, |up| up.observer.journal())
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.up.as_ref().is_some_and(|up| up.bench.machine(node(machine)).daemon_runs())
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        let clock = self.clock;
        self.up.as_mut()?.ask(clock, machine)
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        let last = client_of(self.up.as_ref(), group, |record| record.last_good().copied())?;
        Ok(last
            .filter(|answer| answer.done.elapsed() < SILENT)
            .and_then(|answer| answer.mac.and_then(owner)))
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        let (begin, now) = (self.clock.host(from), std::time::Instant::now());
        let outage = client_of(self.up.as_ref(), group, |record| record.outage(begin, now))?;
        Ok(outage.map_or_else(|| self.clock.now().since(from), |outage| outage.lasted.into()))
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        let begin = self.clock.host(from);
        let overlap = client_of(self.up.as_ref(), group, |record| record.overlap(begin))?;
        Ok(overlap.map(|overlap| self.clock.at(overlap.at)))
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
        let said = |moment: &&Moment| {
            moment.at >= since
                && moment.source == Source::Log(machine)
                && phrase.is_in(&moment.text, machine)
        };
        Ok(self
            .up
            .as_ref()
            .map_or(0, |up| up.observer.lines(|lines| lines.iter().filter(said).count())))
    }

    fn complaints(&mut self) -> Vec<String> {
        let Some(up) = &mut self.up else { return Vec::new() };
        for machine in Machine::BOTH {
            if up.bench.machine(node(machine)).is_on() {
                up.note_ends(machine);
            }
        }
        let mut complaints = std::mem::take(&mut up.wrong_ends);
        up.observer.lines(|lines| {
            let bad = lines.iter().filter(|line| line.text.contains("panicked at"));
            complaints.extend(bad.map(|line| format!("{:?}: {}", line.source, line.text)));
        });
        complaints
    }

    fn timeline(&mut self) -> Vec<Moment> {
        let Some(up) = &self.up else { return Vec::new() };
        let mut moments = up.observer.lines(<[Moment]>::to_vec);
        moments.extend(up.observer.journal().iter().map(|entry| resource_line(&up.cluster, entry)));
        moments.extend(self.client_lines(up));
        let stalls = up.stalls.noted().into_iter().filter(|(_, late)| *late >= STALL);
        moments.extend(stalls.map(|(at, late)| Moment {
            at,
            source: Source::Host,
            text: format!("kept a thread waiting for {} ms until now", late.millis()),
        }));
        moments
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
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
        let journal: String =
            up.observer.journal().iter().map(|entry| format!("{entry:?}\n")).collect();
        fs::write(directory.join("journal"), journal).map_err(|error| error.to_string())
    }
}

impl Namespaces {
    /// When the client was answered by another machine than before, and when it wasn't answered.
    fn client_lines(&self, up: &Up) -> Vec<Moment> {
        let mut moments = Vec::new();
        let mut note = |at: std::time::Instant, text: String| {
            moments.push(Moment { at: self.clock.at(at), source: Source::Client, text });
        };
        let Some(client) = up.bench.client() else { return moments };
        client.read(|record| {
            let mut last: Option<hb_linux::rig::probe::Answer> = None;
            let good = record.answers.iter().filter(|answer| answer.outcome == Outcome::Answered);
            for answer in good {
                if let Some(before) = last {
                    let gap = answer.done - before.done;
                    if gap >= GAP {
                        note(before.done, format!("no answer for {} ms", gap.as_millis()));
                    }
                }
                if last.is_none_or(|before| before.mac != answer.mac) {
                    let who = answer.mac.and_then(owner).map_or("a stranger", Machine::name);
                    note(answer.done, format!("{who} answers"));
                }
                last = Some(*answer);
            }
            if let Some(last) = last
                && last.done.elapsed() >= GAP
            {
                note(last.done, format!("no answer for {} ms", last.done.elapsed().as_millis()));
            }
        });
        moments
    }
}

fn resource_line(cluster: &Cluster, entry: &Entry) -> Moment {
    let group = &cluster.groups[entry.group];
    let what = match entry.deed {
        Deed::Starting => "is being started",
        Deed::Held => "is here",
        Deed::Outside => "is here, started by something else",
        Deed::StartFailed => "did not start",
        Deed::Stopping => "is being stopped",
        Deed::Released => "is gone",
    };
    let text = format!("{} {:?}: {what}", group.name, group.resources[entry.resource]);
    Moment { at: entry.at, source: Source::Resources(entry.machine), text }
}

fn client_of<T>(
    up: Option<&Up>,
    group: usize,
    read: impl FnOnce(&hb_linux::rig::probe::Record) -> T,
) -> Result<T, Missing> {
    let verb = "client";
    if group != 0 {
        return Err(Missing {
            verb,
            why: "this rig's client asks the first group's address alone",
        });
    }
    let client = up.and_then(|up| up.bench.client());
    let client = client.ok_or(Missing { verb, why: "nothing is built yet" })?;
    Ok(client.read(read))
}
