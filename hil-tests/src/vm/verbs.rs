//! The verbs of the virtual machines: what the language says, done to guests and wires.

use std::time::Duration as StdDuration;

use hb_linux::control::snapshot::Snapshot;
use hb_linux::rig::bench::Network;
use hb_linux::rig::line::Line;
use hb_linux::rig::outlet::Cause;
use hb_linux::rig::switch::Way as Direction;
use hb_proto::time::{Duration, Instant};
use serde_json::json;

use super::bench::{Bench, Options, node, rig_side};
use super::image::Image;
use super::power::Power;
use super::rig::Brain;
use super::seen::{self, Seen, Shared};
use crate::chronicle::{Clock, Ends};
use crate::netns::dongle::build_of;
use crate::netns::files;
use crate::netns::host::{self, Stalls};
use crate::netns::verbs::{broken, missing, spoilt, suffering};
use crate::netns::view::view;
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::rig::{Cannot, Done, View};
use crate::scenario::verb::{Noise, Verb, Way, Weather};

mod dongle;
mod software;

pub(super) use software::PLACE;

/// A node is asked this often at most: each question costs an emulated machine milliseconds.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Frames of the peer that may be on a wire, or in what stands for a UART's buffer, when a daemon starts: counted
/// before, taken after.
const UNDER_WAY: u64 = 6;
/// What an order may take that ends the guest which should answer.
const LAST_WORDS: StdDuration = StdDuration::from_millis(300);

/// What a story of this rig alone wants beyond a [`Cluster`].
#[derive(Clone, Debug, Default)]
pub struct Special {
    /// More lines of ha.cf.
    pub ha_cf: String,
    /// Kernel modules with their parameters, loaded before the daemon starts.
    pub modules: Vec<String>,
    /// More of QEMU's arguments.
    pub devices: Vec<String>,
    /// More null-modem lines, which ha.cf doesn't name.
    pub spare_lines: usize,
    /// The first line ends in emulated FTDI adapters (`/dev/ttyUSB0`), not in 16550s.
    pub usb: bool,
    /// Another authkeys than a scenario's.
    pub authkeys: Option<String>,
    /// More files below /etc/ha.d: name, text, mode.
    pub files: Vec<(String, String, u32)>,
}

/// The rig once its cluster is built.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) bench: Bench,
    pub(super) cluster: Cluster,
    pub(super) seen: Shared,
    pub(super) stalls: Stalls,
    ends: Ends,
    frozen: [bool; 2],
    sent_before: [Vec<u64>; 2],
    pub(super) taken_twice: Vec<String>,
    cuts: Vec<(Network, Machine)>,
    pub(super) wrong_ends: Vec<String>,
    views: [Option<(Instant, Option<View>)>; 2],
    /// When something other than a verb reset a machine.
    pub(super) resets: Vec<(Instant, Machine, Cause)>,
    resets_noted: [usize; 2],
}

impl Up {
    pub(super) fn build(
        clock: Clock,
        image: &Image,
        dongle: &Brain,
        cluster: &Cluster,
        special: &Special,
    ) -> Result<Self, Cannot> {
        let mut modules = special.modules.clone();
        modules.extend(cluster.watchdog_s.map(|_| "softdog".to_owned()));
        let options = Options {
            serial_lines: cluster.serial_lines + special.spare_lines,
            dongle: cluster.arbiter.map(|dongle| build_of(dongle, cluster.baud)),
            modules,
            usb: special.usb,
            devices: [special.devices.clone(), special.devices.clone()],
            ..Options::default()
        };
        let authkeys = special.authkeys.clone().unwrap_or_else(|| files::AUTHKEYS.to_owned());
        let files = Machine::BOTH.map(|machine| {
            let file = |name: &str, text: String, mode| (name.to_owned(), text, mode);
            let mut files = vec![
                file("ha.cf", format!("{}{}", ha_cf(cluster), special.ha_cf), 0o644),
                file("haresources", files::haresources(cluster, machine), 0o644),
                file("authkeys", authkeys.clone(), 0o600),
                file("resource.d/rec", files::SCRIPT.to_owned(), 0o755),
            ];
            files.extend(special.files.iter().cloned());
            files
        });
        let seen = Shared::new(std::sync::Mutex::new(Seen::new(cluster.clone())));
        let bench =
            Bench::new(options, image.clone(), clock, seen.clone(), &files, &dongle.program);
        let mut bench = bench.map_err(Cannot::Broken)?;
        for group in 0..cluster.groups.len() {
            bench.start_client(group).map_err(Cannot::Broken)?;
        }
        let stalls = Stalls::record(clock).map_err(broken)?;
        host::prefer_wires();
        Ok(Self {
            bench,
            cluster: cluster.clone(),
            seen,
            stalls,
            ends: Ends::default(),
            frozen: [false; 2],
            sent_before: [Vec::new(), Vec::new()],
            taken_twice: Vec::new(),
            cuts: Vec::new(),
            wrong_ends: Vec::new(),
            views: [None, None],
            resets: Vec::new(),
            resets_noted: [0; 2],
        })
    }

    fn power_on(&mut self, machine: Machine) -> Done {
        match self.boot(machine) {
            // Reset while it booted, by the dongle mostly: it is booted again when that is noted.
            Err(_) if !self.bench.is_on(machine) && !self.bench.pending(machine) => {
                Err(Cannot::Broken(format!("{machine} lost its power while it booted")))
            }
            Err(_) if !self.bench.is_on(machine) => Ok(()),
            other => other,
        }
    }

    fn boot(&mut self, machine: Machine) -> Done {
        self.frozen[machine.index()] = false;
        self.bench.power_on(machine).map_err(Cannot::Broken)?;
        for (network, from) in self.cuts.clone() {
            self.cut_way(network, from, true);
        }
        let groups = self.cluster.groups.len();
        self.bench.serve_pages(machine, groups).map_err(Cannot::Broken)?;
        self.daemon(machine, "start")
    }

    fn power_off(&mut self, clock: Clock, machine: Machine) {
        self.note_ends();
        let at = clock.now();
        self.bench.power_off(machine);
        self.has_ended(machine, at);
    }

    /// Nothing runs on the machine any more, since `at`.
    fn has_ended(&mut self, machine: Machine, at: Instant) {
        self.ends.machine_ended(machine);
        self.frozen[machine.index()] = false;
        seen::lock(&self.seen).power_lost(machine, at);
        self.views[machine.index()] = None;
    }

    /// Notes which machines the dongle, or their own watchdogs, have reset, and boots those that are due.
    pub(super) fn tend(&mut self, clock: Clock) -> Done {
        for machine in Machine::BOTH {
            let resets = self.bench.resets_of(machine);
            let noted = std::mem::replace(&mut self.resets_noted[machine.index()], resets.len());
            for reset in &resets[noted..] {
                self.note_ends();
                self.has_ended(machine, clock.at(reset.at));
                self.resets.push((clock.at(reset.at), machine, reset.cause));
            }
        }
        for machine in self.bench.due() {
            self.power_on(machine)?;
        }
        Ok(())
    }

    /// Compares how daemons ended with how verbs ended them.
    pub(super) fn note_ends(&mut self) {
        self.wrong_ends.extend(self.ends.note(&seen::lock(&self.seen).ends));
    }

    pub(super) fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.note_ends();
        self.ends.daemon_runs(machine) && self.bench.is_on(machine)
    }

    fn daemon(&mut self, machine: Machine, word: &str) -> Done {
        self.views[machine.index()] = None;
        if word == "start" {
            self.sent_before[machine.index()] = self.sent_to(machine);
            self.ends.started(machine);
        }
        self.bench.daemon(machine, word).map_err(Cannot::Broken)
    }

    /// Frames that the machine's peer has put on each link so far, as the wires counted them.
    fn sent_to(&self, machine: Machine) -> Vec<u64> {
        let count = |link: &Link| {
            let network = match link {
                Link::Serial(number) => {
                    let (line, side) = self.bench.line(*number).source(node(machine));
                    return line.carried(side).frames;
                }
                Link::Private => Network::Private,
                Link::Public => Network::Public,
            };
            let from = machine.other();
            self.bench.port(network, from).0.heartbeats(&rig_side(from, network))
        };
        self.cluster.links().iter().map(count).collect()
    }

    /// A frame that was taken twice makes more of them than the wire ever carried for the peer.
    fn count_taken(&mut self, machine: Machine, snapshot: &Snapshot) {
        // Asked after the daemon was: what is sent meanwhile only adds to them.
        let sent = self.sent_to(machine);
        let before = &self.sent_before[machine.index()];
        let names = self.cluster.links().into_iter().map(link_name);
        for ((name, sent), before) in names.zip(sent).zip(before) {
            let Some(link) = snapshot.links.iter().find(|link| link.name == name) else { continue };
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
        let argv = [&["/usr/bin/hb"], words].concat();
        let ran = self.bench.run(machine, &argv).map_err(Cannot::Broken)?;
        match ran.code {
            0 => Ok(()),
            // hb's own exit code 1: the daemon answered, and refused.
            1 => Err(Cannot::Refused(ran.err.trim().to_owned())),
            code => Err(Cannot::Broken(format!("hb {words:?} on {machine}: {code}: {}", ran.err))),
        }
    }

    fn cut_way(&self, network: Network, from: Machine, cut: bool) {
        if let (switch, Some(port)) = self.bench.port(network, from) {
            switch.cut(port, Direction::Out, cut);
        }
    }

    fn cut(&mut self, link: Link, way: Way, cut: bool) {
        if let (Link::Serial(line), Way::Both) = (link, way) {
            return self.bench.cut_line(line, cut);
        }
        let is_in = |machine: &Machine| matches!(way, Way::Both) || way == Way::From(*machine);
        for from in Machine::BOTH.into_iter().filter(is_in) {
            let network = match link {
                Link::Serial(line) => {
                    self.bench.line(line).cut_way(node(from), cut);
                    continue;
                }
                Link::Private => Network::Private,
                Link::Public => Network::Public,
            };
            self.cuts.retain(|one| *one != (network, from));
            if cut {
                self.cuts.push((network, from));
            }
            self.cut_way(network, from, cut);
        }
    }

    fn carrier(&mut self, link: Link, machine: Machine, present: bool) -> Done {
        let interface = match link {
            Link::Public => 0,
            Link::Private => 1,
            Link::Serial(_) => {
                return Err(missing("unplug", "a 16550 can't be taken out; the USB adapters can"));
            }
        };
        let power = self.bench.power(machine).map_err(Cannot::Broken)?;
        power.carrier(interface, present).map_err(Cannot::Broken)
    }

    fn disturb(&mut self, link: Link, weather: Weather) -> Done {
        let network = match link {
            Link::Public => Network::Public,
            Link::Private => Network::Private,
            Link::Serial(_) => return Err(missing("disturb", "a serial line has no datagrams")),
        };
        for machine in Machine::BOTH {
            // What each machine sends, once; where it arrives nothing more happens to it.
            let faults = (weather != Weather::default()).then(|| suffering(weather, machine));
            let name = rig_side(machine, network);
            self.bench.port(network, machine).0.faults(&name, Direction::Out, faults);
        }
        Ok(())
    }

    /// At each end of a line that speaks to a machine: the machines', or the dongle's too.
    fn on_line(&self, number: usize, machine: Machine) -> (&Line, hb_linux::rig::line::Side) {
        let (line, side) = self.bench.line(number).end(node(machine));
        (line, side)
    }

    fn noise(&self, number: usize, noise: Noise) {
        for machine in Machine::BOTH {
            let (line, side) = self.on_line(number, machine);
            let mut wanted = spoilt(noise);
            wanted.seed += machine.index() as u64;
            line.noise(side, (noise != Noise::default()).then_some(wanted));
        }
    }

    /// By the kernel's own key for it (admin-guide/sysrq.rst): nobody answers any more.
    fn panic_kernel(&mut self, clock: Clock, machine: Machine) -> Done {
        self.note_ends();
        let words = "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger";
        let order = json!({"do": "run", "argv": ["/bin/sh", "-c", words]});
        let power = self.bench.power(machine).map_err(Cannot::Broken)?;
        if let Ok(answer) = power.agent.order(order, LAST_WORDS) {
            return Err(Cannot::Broken(format!("{machine} didn't panic: {answer}")));
        }
        self.has_ended(machine, clock.now());
        Ok(())
    }

    fn shell(&self, machine: Machine, text: &str) -> Done {
        self.bench.shell(machine, text).map(drop).map_err(Cannot::Broken)
    }

    pub(super) fn act(&mut self, clock: Clock, verb: Verb) -> Done {
        match verb {
            Verb::PowerOff(at) => self.power_off(clock, at),
            Verb::PowerOn(at) => self.power_on(at)?,
            Verb::Reset(at) => {
                self.power_off(clock, at);
                self.power_on(at)?;
            }
            Verb::Freeze(at) => {
                self.frozen[at.index()] = true;
                self.views[at.index()] = None;
                self.bench.power(at).and_then(Power::freeze).map_err(Cannot::Broken)?;
            }
            Verb::Thaw(at) => {
                self.frozen[at.index()] = false;
                self.bench.power(at).and_then(Power::thaw).map_err(Cannot::Broken)?;
            }
            Verb::PanicKernel(at) => self.panic_kernel(clock, at)?,
            Verb::StopDaemon(at) => self.daemon(at, "stop")?,
            Verb::ContinueDaemon(at) => self.daemon(at, "continue")?,
            Verb::KillDaemon(at) => {
                self.ends.expect(at, "signal 9");
                self.daemon(at, "kill")?;
            }
            Verb::KillHelper(at) => self.shell(at, KILL_HELPER)?,
            Verb::StartDaemon(at) => self.daemon(at, "start")?,
            Verb::Leave(at) => {
                self.ends.expect(at, "code 0");
                self.daemon(at, "terminate")?;
            }
            Verb::Cut(link, way) => self.cut(link, way, true),
            Verb::Heal(link, way) => self.cut(link, way, false),
            Verb::Unplug(link, at) => self.carrier(link, at, false)?,
            Verb::Replug(link, at) => self.carrier(link, at, true)?,
            Verb::FillCpu(at) => self.shell(at, FILL_CPU)?,
            Verb::FreeCpu(at) => {
                self.shell(at, "touch /run/free-cpu; sleep 0.2; rm /run/free-cpu")?;
            }
            Verb::StepClock(at, by) => {
                self.shell(at, &format!("date -s @$(( $(date +%s) + {} ))", by / 1000))?;
            }
            Verb::Script(at, name, conduct) => {
                let (file, text) = (files::conduct_file(name), files::conduct(conduct));
                self.bench.write_log(at, &file, &text).map_err(Cannot::Broken)?;
            }
            Verb::StartOutside(at, name) => {
                self.shell(at, &format!("/etc/ha.d/resource.d/rec {name} outside"))?;
            }
            Verb::Standby(at) => self.hb(at, &["standby"])?,
            Verb::Takeover(at) => self.hb(at, &["takeover"])?,
            Verb::TakeoverPeerIsOff(at) => self.hb(at, &["takeover", "--peer-is-off"])?,
            Verb::Noise(line, noise) => self.noise(line, noise),
            Verb::Break(number, from, lasting) => {
                let (line, side) = self.on_line(number, from);
                line.send_break(side, lasting.into());
            }
            Verb::SetBaud(number, at, baud) => {
                // Inside the guest, so that its UART and its kernel both have it.
                self.shell(at, &format!("stty -F /dev/ttyS{number} {baud}"))?;
            }
            Verb::Disturb(link, weather) => self.disturb(link, weather)?,
            Verb::Reload(at) => self.reload(at)?,
            Verb::Upgrade(at) => self.upgrade(clock, at)?,
            other => return self.act_on_dongle(clock, other),
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
        let silent = self.frozen[machine.index()] || !self.daemon_runs(machine);
        let text = if silent { None } else { self.bench.observe(machine) };
        let snapshot = text.and_then(|text| serde_json::from_str::<Snapshot>(&text).ok());
        if let Some(snapshot) = &snapshot {
            self.count_taken(machine, snapshot);
        }
        let view = snapshot.map(|snapshot| view(&snapshot));
        self.views[machine.index()] = Some((clock.now(), view.clone()));
        view
    }
}

/// As `hb status` calls it.
fn link_name(link: Link) -> String {
    match link {
        Link::Serial(number) => format!("/dev/ttyS{number}"),
        Link::Private => "eth1".into(),
        Link::Public => "eth0".into(),
    }
}

/// The helper is the one of the daemon's processes that says so on its command line.
pub(crate) const KILL_HELPER: &str = "for pid in $(pidof heartbeatd); do \
                           if grep -q resource-helper /proc/$pid/cmdline; then kill -9 $pid; exit; fi; done; exit 1";
pub(crate) const FILL_CPU: &str =
    "for i in 1 2; do (while [ ! -e /run/free-cpu ]; do :; done) </dev/null >/dev/null 2>&1 & done";

/// ha.cf for a guest: its watchdog is a real one. Where guard rests on it, it is `guard_unsafe` all the same: a guest can
/// be paused, and its watchdog with it (docs/ha.cf.md).
fn ha_cf(cluster: &Cluster) -> String {
    let mut text = files::ha_cf(cluster);
    if cluster.watchdog_s.is_some() {
        text.push_str("watchdog /dev/watchdog\n");
    }
    text
}
