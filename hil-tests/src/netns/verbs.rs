//! The verbs of the namespace rig: what the language says, done to machines and wires.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration as StdDuration;

use hb_linux::control::client;
use hb_linux::control::snapshot::Snapshot;
use hb_linux::rig::bench::{Bench, Network, Node, Options};
use hb_linux::rig::faults;
use hb_linux::rig::init;
use hb_linux::rig::machine::{self, Programs};
use hb_linux::rig::outlet::Cause;
use hb_linux::rig::switch::Way as Direction;
use hb_proto::time::{Duration, Instant};
use rustix::process::{Signal, kill_process};

use super::host::{self, Stalls};
use super::observer::{self, Observer};
use super::view::view;
use super::{dongle, files};
use crate::chronicle::Clock;
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::rig::{Cannot, Done, Missing, View};
use crate::scenario::verb::{Noise, Verb, Way, Weather};

/// A node is asked this often at most: each question costs its daemon a snapshot.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Frames of the peer that may be on a wire when a daemon starts: counted before, taken after.
const UNDER_WAY: u64 = 2;
/// The dice of every disturbed wire: which frame is hit is the same each time, when it is sent isn't.
pub(crate) const SEED: u64 = 1999;

/// The rig once its cluster is built.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) bench: Bench,
    pub(super) cluster: Cluster,
    pub(super) observer: Observer,
    pub(super) stalls: Stalls,
    /// The pages that the clients ask for, served from power-on on: whoever has the address answers.
    pages: Vec<(Machine, Child)>,
    /// Frames that each machine's peer had put on each link when the machine's daemon was started.
    sent_before: [Vec<Option<u64>>; 2],
    /// More frames that a daemon took by a link than were ever sent on it.
    pub(super) taken_twice: Vec<String>,
    busy: Vec<(Machine, Child)>,
    /// Ways of networks that are cut; a machine's ports are made anew with its power.
    cuts: Vec<(Network, Machine)>,
    /// How daemons must have ended since the last power-on.
    ends: [Vec<&'static str>; 2],
    pub(super) wrong_ends: Vec<String>,
    views: [Option<(Instant, Option<View>)>; 2],
    /// When something other than a verb reset a machine.
    pub(super) resets: Vec<(Instant, Machine, Cause)>,
    resets_noted: [usize; 2],
    /// Nothing runs on the machine, and that has been noted.
    ended: [bool; 2],
    /// Something other than a verb has reset the machine since a verb last struck its daemon: that daemon is
    /// gone, and the next one starts with the machine.
    rebooted: [bool; 2],
}

pub(crate) fn node(machine: Machine) -> Node {
    Node::BOTH[machine.index()]
}

#[allow(clippy::needless_pass_by_value)] // for map_err
pub(crate) fn broken(error: impl ToString) -> Cannot {
    Cannot::Broken(error.to_string())
}

pub(crate) fn missing(verb: &'static str, why: &'static str) -> Cannot {
    Cannot::Missing(Missing { verb, why })
}

impl Up {
    pub(super) fn build(
        clock: Clock,
        programs: &Programs,
        ports: &[[PathBuf; 2]],
        cluster: &Cluster,
    ) -> Result<Self, Cannot> {
        let options = Options {
            serial_lines: cluster.serial_lines,
            ports: ports.to_vec(),
            dongle: cluster.arbiter.map(|dongle| dongle::build_of(dongle, cluster.baud)),
            watchdog_s: cluster.watchdog_s,
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
        for group in 0..cluster.groups.len() {
            bench.start_client(files::address(group)).map_err(broken)?;
        }
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
            pages: Vec::new(),
            sent_before: [Vec::new(), Vec::new()],
            taken_twice: Vec::new(),
            busy: Vec::new(),
            cuts: Vec::new(),
            ends: [Vec::new(), Vec::new()],
            wrong_ends: Vec::new(),
            views: [None, None],
            resets: Vec::new(),
            resets_noted: [0; 2],
            ended: [false; 2],
            rebooted: [false; 2],
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
        self.ended[machine.index()] = false;
        self.ends[machine.index()].clear();
        for (network, from) in self.cuts.clone() {
            self.cut_way(network, from, true);
        }
        let hb = init::inside(&programs.hb);
        for group in 0..self.cluster.groups.len() {
            let page = format!("{}:80", files::address(group));
            let here = self.bench.machine(node(machine));
            let command = here.command(&hb.to_string_lossy(), &["rig-web", &page]);
            let mut command = command.map_err(broken)?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            self.pages.push((machine, command.spawn().map_err(broken)?));
        }
        self.order(machine, machine::Verb::Start)
    }

    fn power_off(&mut self, clock: Clock, machine: Machine) {
        self.note_ends(machine);
        let at = clock.now();
        self.bench.power_off(node(machine));
        self.has_ended(machine, at);
    }

    /// Nothing runs on the machine any more, since `at`.
    fn has_ended(&mut self, machine: Machine, at: Instant) {
        self.ended[machine.index()] = true;
        self.observer.power_lost(machine, at);
        self.busy.retain_mut(|(on, child)| *on != machine || child.wait().is_err());
        // Their machine is gone, and they with it.
        self.pages.retain_mut(|(on, page)| *on != machine || page.wait().is_err());
        self.ends[machine.index()].clear();
    }

    /// Notes which machines the dongle, or their own watchdogs, have reset, and boots those that are due.
    pub(super) fn tend(&mut self, clock: Clock, programs: &Programs) -> Done {
        for machine in Machine::BOTH {
            let resets = self.bench.resets_of(node(machine));
            let noted = std::mem::replace(&mut self.resets_noted[machine.index()], resets.len());
            for reset in &resets[noted..] {
                self.note_ends(machine);
                self.has_ended(machine, clock.at(reset.at));
                self.rebooted[machine.index()] = true;
                self.resets.push((clock.at(reset.at), machine, reset.cause));
            }
        }
        for (reset, _) in self.bench.resets() {
            self.power_on(Machine::BOTH[reset.index()], programs)?;
        }
        Ok(())
    }

    /// Compares how the machine's daemons ended with how verbs ended them.
    pub(super) fn note_ends(&mut self, machine: Machine) {
        if self.ended[machine.index()] {
            // They were compared when it ended; its init still tells of them.
            return;
        }
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

    /// What a story does to a machine's daemon.
    fn daemon(&mut self, machine: Machine, verb: machine::Verb) -> Done {
        let rebooted = &mut self.rebooted[machine.index()];
        match verb {
            machine::Verb::Start | machine::Verb::Continue if *rebooted => return Ok(()),
            machine::Verb::Stop | machine::Verb::Kill => *rebooted = false,
            _ => {}
        }
        self.order(machine, verb)
    }

    fn order(&mut self, machine: Machine, verb: machine::Verb) -> Done {
        self.views[machine.index()] = None;
        if verb == machine::Verb::Start {
            self.sent_before[machine.index()] = self.sent_to(machine);
        }
        self.bench.daemon(node(machine), verb).map_err(broken)
    }

    /// Frames that the machine's peer has put on each link so far, as the wires counted them; nobody
    /// counts on a real line.
    fn sent_to(&self, machine: Machine) -> Vec<Option<u64>> {
        let from = node(machine.other());
        let count = |link: &Link| match link {
            Link::Serial(line) if self.bench.is_real(*line) => None,
            Link::Serial(line) => Some(self.bench.serial(*line).frames_to(node(machine))),
            Link::Private => Some(self.bench.network(Network::Private).heartbeats_of(from)),
            Link::Public => Some(self.bench.network(Network::Public).heartbeats_of(from)),
        };
        self.cluster.links().iter().map(count).collect()
    }

    /// A frame that was taken twice makes more of them than the wire ever carried for the peer.
    fn count_taken(&mut self, machine: Machine, snapshot: &Snapshot) {
        // Asked after the daemon was: what is sent meanwhile only adds to them.
        let sent = self.sent_to(machine);
        let before = &self.sent_before[machine.index()];
        for ((link, sent), before) in snapshot.links.iter().zip(sent).zip(before) {
            let (Some(sent), Some(before)) = (sent, before) else { continue };
            let sent = sent - before + UNDER_WAY;
            if link.received > sent {
                self.taken_twice.push(format!(
                    "{machine} took {} frames by {}, and its peer had sent {sent} at most",
                    link.received, link.name
                ));
            }
        }
    }

    fn hb(&mut self, machine: Machine, words: &[&str]) -> Done {
        let output = self.bench.machine(node(machine)).hb(words).map_err(broken)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // hb's own exit code 1: the daemon answered, and refused.
        Err(if output.status.code() == Some(1) {
            Cannot::Refused(said)
        } else {
            Cannot::Broken(format!("hb {words:?} on {machine}: {}: {said}", output.status))
        })
    }

    /// One way of a link: what `from` sends.
    fn cut_way(&self, network: Network, from: Machine, cut: bool) {
        self.bench.cut_way(network, node(from), Direction::Out, cut);
        // Switches forward to every port; what the peer must not hear is cut at the sender.
    }

    fn cut(&mut self, link: Link, way: Way, cut: bool) {
        if let (Link::Serial(line), Way::Both) = (link, way) {
            // With a dongle in it that is more than what both machines send.
            return self.bench.cut_serial(line, cut);
        }
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

    fn disturb(&mut self, link: Link, weather: Weather) -> Done {
        let network = match link {
            Link::Public => Network::Public,
            Link::Private => Network::Private,
            Link::Serial(_) => return Err(missing("disturb", "a serial line has no datagrams")),
        };
        if weather == Weather::default() {
            self.bench.network(network).heal();
            return Ok(());
        }
        for machine in Machine::BOTH {
            // What each machine sends, once; where it arrives nothing more happens to it.
            self.bench.network(network).faults_from(node(machine), suffering(weather, machine));
        }
        Ok(())
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

    pub(super) fn act(&mut self, clock: Clock, programs: &Programs, verb: Verb) -> Done {
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
            Verb::KillHelper(at) => {
                let helper = host::helper(self.bench.machine(node(at))).map_err(Cannot::Broken)?;
                kill_process(helper, Signal::KILL).map_err(broken)?;
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
            Verb::Standby(at) => self.hb(at, &["standby"])?,
            Verb::Takeover(at) => self.hb(at, &["takeover"])?,
            Verb::TakeoverPeerIsOff(at) => self.hb(at, &["takeover", "--peer-is-off"])?,
            Verb::Noise(line, noise) if noise == Noise::default() => self.bench.serial(line).heal(),
            Verb::Noise(line, noise) => self.bench.serial(line).noise(spoilt(noise)),
            Verb::Break(line, from, lasting) => {
                self.bench.serial(line).send_break(node(from), lasting.into());
            }
            Verb::SetBaud(line, at, baud) => {
                self.bench.serial(line).set_baud(node(at), baud).map_err(broken)?;
            }
            Verb::Disturb(link, weather) => self.disturb(link, weather)?,
            other => return self.act_on_dongle(clock, programs, other),
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, clock: Clock, machine: Machine) -> Option<View> {
        let now = clock.now();
        if let Some((at, view)) = &self.views[machine.index()]
            && now.since(*at) < ASK_EVERY
        {
            return view.clone();
        }
        let here = self.bench.machine(node(machine));
        let snapshot = if here.is_on() { client::observe(&here.run_dir()).ok() } else { None };
        if let Some(snapshot) = &snapshot {
            self.count_taken(machine, snapshot);
        }
        let view = snapshot.map(|snapshot| view(&snapshot));
        self.views[machine.index()] = Some((clock.now(), view.clone()));
        view
    }
}

/// What a network does to the frames of a machine.
pub(crate) fn suffering(weather: Weather, machine: Machine) -> faults::Faults {
    faults::Faults {
        seed: SEED + machine.index() as u64,
        loss: share(weather.lost),
        duplicate: share(weather.duplicated),
        reorder: share(weather.reordered),
        delay: weather.delay.into(),
        jitter: StdDuration::ZERO,
        corrupt: share(weather.corrupted),
        burst: share(weather.bursts),
        burst_frames: weather.burst_datagrams,
    }
}

/// Events per million as a share.
pub(crate) fn share(per_million: u32) -> f64 {
    f64::from(per_million) / 1e6
}

/// The line model knows no merged bytes: here they are a lost byte beside a damaged one.
pub(crate) fn spoilt(noise: Noise) -> faults::Noise {
    faults::Noise {
        seed: SEED,
        flip: share(noise.flipped + noise.merged),
        lose: share(noise.lost + noise.merged),
        repeat: share(noise.repeated),
        burst: share(noise.bursts),
        burst_bytes: noise.burst_bytes,
    }
}

/// How a verb can have ended a daemon.
fn known_end(end: &str) -> Option<&'static str> {
    ["signal 9", "code 0"].into_iter().find(|known| *known == end)
}

pub(super) fn why_missing(verb: &Verb) -> &'static str {
    match verb {
        Verb::Freeze(_) | Verb::Thaw(_) | Verb::PanicKernel(_) => {
            "both machines run on this host's one kernel"
        }
        Verb::StepClock(..) => "both machines have this host's one wall clock",
        Verb::ResetDongle
        | Verb::HangDongle
        | Verb::RemoveDongle
        | Verb::InsertDongle { .. }
        | Verb::CutHalf(_)
        | Verb::HealHalf(_)
        | Verb::DeafenPort(_)
        | Verb::MutePort(_)
        | Verb::HealPort(_)
        | Verb::CutFeed(_)
        | Verb::HealFeed(_)
        | Verb::WireReset(..)
        | Verb::TestReset(_) => "the cluster has no dongle",
        Verb::Reload(_) => "ha.cf and haresources are read at a start only",
        Verb::Upgrade(_) => "there is only one version yet",
        _ => "not done here",
    }
}
