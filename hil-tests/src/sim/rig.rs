//! The simulator under the scenario language: time passes only in `run_for`.

mod dongle;

use std::path::Path;

use hb_proto::config::ResourceKind;
use hb_proto::group::Phase;
use hb_proto::id::{GroupId, LinkId};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};

use super::evidence;
use super::fault::{Command, Fault, Weather as Air, Who};
use super::knobs::{GroupKnob, Knobs};
use super::machine::{Power, What};
use super::queue::At;
use super::record::{Did, Record};
use super::world::World;
use crate::bench::machine::commit;
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{
    Cannot, Deed, Done, Entry, Failover, Missing, Moment, Moved, Part, Rig, Source, View,
};
use crate::scenario::verb::{Conduct, Noise, Verb, Way, Weather};

/// How late a process gets the processor, µs: on an idle machine, and on a busy one (realtime priority).
const IDLE_US: u64 = 200;
const BUSY_US: u64 = 20_000;

/// Two simulated machines.
pub struct Simulated {
    seed: u64,
    up: Option<(World, Cluster)>,
}

impl Simulated {
    /// Nothing is built yet; the seed decides how long scripts and datagrams take, and when within its
    /// leave each process gets the processor.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, up: None }
    }

    fn world(&self) -> Option<&World> {
        self.up.as_ref().map(|(world, _)| world)
    }

    fn record(&self) -> Option<&Record> {
        self.world().and_then(|world| world.record.as_ref())
    }
}

fn machine(who: Who) -> Machine {
    Machine::BOTH[who]
}

fn at(at: At) -> Instant {
    Instant::from_micros(at)
}

fn missing(verb: &'static str, why: &'static str) -> Cannot {
    Cannot::Missing(Missing { verb, why })
}

fn knobs(cluster: &Cluster) -> Knobs {
    let config = cluster.config(Machine::A);
    let mut groups: Vec<GroupKnob> = cluster
        .groups
        .iter()
        .map(|group| GroupKnob {
            home: group.home.index(),
            resources: group.resources.iter().map(crate::scenario::Resource::kind).collect(),
        })
        .collect();
    if let Some(odd) = cluster.mismatch {
        groups.push(GroupKnob { home: odd.index(), resources: vec![ResourceKind::Address] });
    }
    let knobs = Knobs {
        timing: config.timing,
        links: config.links.iter().copied().collect(),
        groups,
        auto_failback: config.auto_failback,
        drift_ppm: [20, -20],
        sched_us: IDLE_US,
        script_us: (5_000, 15_000),
        boot_us: (1_000, 1_000),
        respawn_us: None,
        respawn_waits: true,
        patience: config.patience,
        watchdog_s: cluster.watchdog_s,
        ..Knobs::plain()
    };
    match dongle::knobs(cluster) {
        Some(arbiter) => knobs.with_dongle(arbiter),
        None => knobs,
    }
}

/// Both directions of what a way names.
fn froms(way: Way) -> Vec<Who> {
    match way {
        Way::Both => vec![0, 1],
        Way::From(machine) => vec![machine.index()],
    }
}

/// What becomes of clients is derived from who has the address: they have no wire.
const NO_SUCH_WIRE: Missing = Missing {
    verb: "fault of a wire without heartbeats",
    why: "this rig has only wires that carry heartbeats; its clients need none",
};

struct Up<'a> {
    world: &'a mut World,
    cluster: &'a Cluster,
}

impl Up<'_> {
    fn link(&self, link: Link) -> Option<usize> {
        self.cluster.links().iter().position(|one| *one == link)
    }

    fn cut(&mut self, link: Link, way: Way, cut: bool) -> Done {
        let link = self.link(link).ok_or(NO_SUCH_WIRE)?;
        for from in froms(way) {
            self.world.apply(if cut {
                Fault::Cut { from, link }
            } else {
                Fault::Mend { from, link }
            });
        }
        Ok(())
    }

    fn weather(&mut self, link: Link, weather: Air) -> Done {
        let link = self.link(link).ok_or(NO_SUCH_WIRE)?;
        for from in 0..2 {
            self.world.apply(Fault::Weather { from, link, weather });
        }
        Ok(())
    }

    fn what(&self, name: &str) -> What {
        let (group, resource) = self.cluster.script(name);
        What { group: group as u8, resource: resource as u8 }
    }

    /// An operator's command, answered at once.
    fn command(&mut self, who: Who, word: &'static str) -> Done {
        let now = self.world.local_of(who);
        let Some(daemon) = self.world.machines[who].daemon.as_deref_mut() else {
            return Err(Cannot::Refused(format!("heartbeatd doesn't run: {word}")));
        };
        let answer = match word {
            "standby" => daemon.node.request_standby(now, None),
            "takeover --peer-is-off" => daemon.node.request_takeover_peer_is_off(now),
            _ => daemon.node.request_takeover(now, None),
        };
        answer.map_err(|refusal| Cannot::Refused(refusal.to_string()))?;
        // Wakes the loop: the command came by a socket.
        self.world.apply(Fault::Operator(who, Command::Start));
        Ok(())
    }

    fn act(&mut self, verb: Verb) -> Done {
        let fault = match verb {
            Verb::PowerOff(m) => Fault::PowerOff(m.index()),
            Verb::PanicKernel(m) => Fault::PanicKernel(m.index()),
            Verb::PowerOn(m) => Fault::PowerOn(m.index()),
            Verb::Reset(m) => Fault::Reset(m.index()),
            Verb::Freeze(m) => Fault::Freeze(m.index()),
            Verb::Thaw(m) => Fault::Thaw(m.index()),
            Verb::StopDaemon(m) => Fault::Stop(m.index()),
            Verb::ContinueDaemon(m) => Fault::Continue(m.index()),
            Verb::KillDaemon(m) => Fault::KillDaemon(m.index()),
            Verb::KillHelper(m) => Fault::KillHelper(m.index()),
            Verb::StartDaemon(m) => Fault::Operator(m.index(), Command::Start),
            Verb::Leave(m) => Fault::Operator(m.index(), Command::Leave),
            Verb::StepClock(m, by_ms) => Fault::WallStep(m.index(), by_ms),
            Verb::Cut(link, way) => return self.cut(link, way, true),
            Verb::Heal(link, way) => return self.cut(link, way, false),
            Verb::Unplug(link, _) => return self.cut(link, Way::Both, true),
            Verb::Replug(link, _) => return self.cut(link, Way::Both, false),
            Verb::Break(line, from, lasting) => {
                let link = self.link(Link::Serial(line)).ok_or(NO_SUCH_WIRE)?;
                Fault::Break { from: from.index(), link, us: lasting.micros() }
            }
            Verb::SetBaud(line, at, baud) => {
                let link = self.link(Link::Serial(line)).ok_or(NO_SUCH_WIRE)?;
                Fault::Speed { who: at.index(), link, baud: Some(baud) }
            }
            Verb::Noise(line, noise) => return self.weather(Link::Serial(line), noisy(noise)),
            Verb::Disturb(link, weather) => {
                return self.weather(link, stormy(weather, self.cluster.timing.keepalive));
            }
            Verb::Standby(m) => return self.command(m.index(), "standby"),
            Verb::Takeover(m) => return self.command(m.index(), "takeover"),
            Verb::TakeoverPeerIsOff(m) => {
                return self.command(m.index(), "takeover --peer-is-off");
            }
            other => return self.act_on_dongle(other).unwrap_or_else(|| self.act_here(other)),
        };
        self.world.apply(fault);
        Ok(())
    }

    fn act_here(&mut self, verb: Verb) -> Done {
        match verb {
            Verb::FillCpu(m) => self.world.machines[m.index()].sched_us = BUSY_US,
            Verb::FreeCpu(m) => self.world.machines[m.index()].sched_us = IDLE_US,
            Verb::Script(m, name, conduct) => {
                let what = self.what(name);
                let conducts = &mut self.world.machines[m.index()].conduct;
                conducts.retain(|(other, _)| *other != what);
                if conduct != Conduct::Obeys {
                    conducts.push((what, conduct));
                }
            }
            Verb::StartOutside(m, name) => {
                let what = self.what(name);
                self.world.machines[m.index()].hold(what, true);
                self.world.check_holders();
            }
            other => return Err(missing(other.name(), why_missing(&other))),
        }
        Ok(())
    }
}

fn noisy(noise: Noise) -> Air {
    let Noise { flipped, lost, repeated, merged, bursts, burst_bytes } = noise;
    let air = Air { loss: lost, twice: repeated, flips: flipped, ..Air::default() };
    Air { merges: merged, bursts, burst_bytes, ..air }
}

/// A burst swallows what passes in its time: one datagram each keepalive.
fn stormy(weather: Weather, keepalive: Duration) -> Air {
    let Weather { lost, duplicated, reordered, delay, corrupted, bursts, burst_datagrams } =
        weather;
    Air {
        loss: lost,
        twice: duplicated,
        overtaken: reordered,
        late_us: delay.micros(),
        flips: corrupted,
        bursts,
        burst_us: keepalive.micros() * u64::from(burst_datagrams),
        ..Air::default()
    }
}

const fn why_missing(verb: &Verb) -> &'static str {
    match verb {
        Verb::Reload(_) => "heartbeatd reads its files at its start only",
        Verb::Upgrade(_) => "there is only one version yet",
        _ => "not done here",
    }
}

fn view(node: &Node, cluster: &Cluster) -> View {
    let groups = || (0..cluster.groups.len() as u8).map(GroupId);
    let part = |group| {
        let Some(here) = node.group(group) else { return Part::Stopped };
        match here.phase() {
            Phase::Stopped if here.has_failed() => Part::Failed,
            Phase::Stopped => Part::Stopped,
            Phase::Starting(_) => Part::Starting,
            Phase::Running => Part::Running,
            Phase::Stopping(_) if here.is_overdue() => Part::Failed,
            Phase::Stopping(_) => Part::Stopping,
        }
    };
    let links = 0..cluster.links().len() as u8;
    View {
        peer: node.peer().state(),
        links: links
            .filter_map(|link| node.link(LinkId(link)))
            .map(hb_proto::link::Link::state)
            .collect(),
        parts: groups().map(part).collect(),
        holders: groups().map(|group| node.holder(group).map(|who| machine(who.index()))).collect(),
        stalls: u64::from(node.statistics().stalls),
        last_failover: node.statistics().last_failover.map(|failover| Failover {
            cause: failover.cause,
            detection: failover.detection,
            takeover: Some(failover.takeover),
            budget: Some(failover.budget),
        }),
    }
}

impl Rig for Simulated {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn build(&mut self, cluster: &Cluster) -> Done {
        for machine in Machine::BOTH {
            let checked = cluster.config(machine).check();
            checked.map_err(|why| Cannot::Broken(format!("hb check refuses this: {why}")))?;
        }
        let mut world = World::new(self.seed, knobs(cluster), Vec::new(), true);
        world.configs = Machine::BOTH.map(|machine| cluster.config(machine));
        world.record = Some(Record::default());
        self.up = Some((world, cluster.clone()));
        Ok(())
    }

    fn act(&mut self, verb: Verb) -> Done {
        let Some((world, cluster)) = &mut self.up else {
            return Err(Cannot::Broken("no cluster was built".into()));
        };
        Up { world, cluster }.act(verb)
    }

    fn now(&self) -> Instant {
        at(self.world().map_or(0, |world| world.now))
    }

    fn run_for(&mut self, span: Duration) {
        if let Some((world, _)) = &mut self.up {
            world.run_until(world.now + span.micros());
        }
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(2)
    }

    fn journal(&mut self) -> Vec<Entry> {
        let deeds = self.record().map_or(&[][..], |record| &record.deeds);
        let entry = |&(when, who, what, did): &(At, Who, What, Did)| Entry {
            at: at(when),
            machine: machine(who),
            group: usize::from(what.group),
            resource: usize::from(what.resource),
            deed: match did {
                Did::BeganStart => Deed::Starting,
                Did::BeganStop => Deed::Stopping,
                Did::Got => Deed::Held,
                Did::Lost => Deed::Released,
                Did::FailedToStart => Deed::StartFailed,
            },
        };
        deeds.iter().map(entry).collect()
    }

    fn daemon_runs(&mut self, machine: Machine) -> bool {
        self.world().is_some_and(|world| {
            let here = &world.machines[machine.index()];
            here.power == Power::On && here.daemon.is_some()
        })
    }

    fn view(&mut self, machine: Machine) -> Option<View> {
        let (world, cluster) = self.up.as_ref()?;
        let here = &world.machines[machine.index()];
        let daemon = here.daemon.as_deref().filter(|one| !one.stopped && here.is_running())?;
        Some(view(&daemon.node, cluster))
    }

    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing> {
        let Some((world, _)) = &self.up else { return Ok(None) };
        let have = |who: &Who| world.has_address(*who, group) && world.machines[*who].is_running();
        let announced = self.record().and_then(|record| {
            let of_group = record.announced.iter().rfind(|(_, who, of)| *of == group && have(who));
            of_group.map(|(_, who, _)| *who)
        });
        Ok(announced.or_else(|| [0, 1].into_iter().find(have)).map(machine))
    }

    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing> {
        let (from, now) = (from.micros(), self.now().micros());
        let Some(record) = self.record() else { return Ok(Duration::ZERO) };
        let (mut dark_since, mut longest) = (Some(0), 0);
        for &(when, of, have) in &record.addresses {
            if of != group {
                continue;
            }
            let served = have.contains(&true);
            match (dark_since, served) {
                (Some(since), true) => {
                    longest = longest.max(when.saturating_sub(since.max(from)));
                    dark_since = None;
                }
                (None, false) => dark_since = Some(when),
                _ => {}
            }
        }
        if let Some(since) = dark_since {
            longest = longest.max(now.saturating_sub(since.max(from)));
        }
        Ok(Duration::from_micros(longest))
    }

    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing> {
        let (from, now) = (from.micros(), self.now().micros());
        let Some(record) = self.record() else { return Ok(None) };
        let states: Vec<_> = record.addresses.iter().filter(|state| state.1 == group).collect();
        let ends = states.iter().skip(1).map(|state| state.0).chain([now]);
        let double = states
            .iter()
            .zip(ends)
            .find(|(state, end)| state.2 == [true, true] && *end > from && *end > state.0);
        Ok(double.map(|(state, _)| at(state.0.max(from))))
    }

    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing> {
        let announced = self.record().map_or(&[][..], |record| &record.announced);
        let its = announced.iter().filter(|one| (one.1, one.2) == (machine.index(), group));
        Ok(its.map(|one| at(one.0)).collect())
    }

    fn told(
        &mut self,
        machine: Machine,
        phrase: &Phrase,
        since: Instant,
    ) -> Result<usize, Missing> {
        let Some((world, cluster)) = &self.up else { return Ok(0) };
        let events = world.record.as_ref().map_or(&[][..], |record| &record.events);
        let said = |one: &&(At, Who, hb_proto::event::Event)| {
            at(one.0) >= since && one.1 == machine.index() && phrase.is(&one.2, cluster)
        };
        Ok(events.iter().filter(said).count())
    }

    fn moves(&mut self, machine: Machine) -> Result<Vec<Moved>, Missing> {
        let events = self.record().map_or(&[][..], |record| &record.events);
        let moved = |one: &(At, Who, hb_proto::event::Event)| match one.2 {
            hb_proto::event::Event::Failover { group, failover } if one.1 == machine.index() => {
                Some(Moved {
                    at: at(one.0),
                    group: usize::from(group.0),
                    peer_dead: failover.cause == hb_proto::event::Cause::PeerDead,
                    took: failover.detection.unwrap_or_default() + failover.takeover,
                })
            }
            _ => None,
        };
        Ok(events.iter().filter_map(moved).collect())
    }

    /// Checked at every frame (`World::note_handed`); [`Rig::complaints`] tells.
    fn accepted_twice(&mut self) -> Result<Vec<String>, Missing> {
        Ok(Vec::new())
    }

    fn complaints(&mut self) -> Vec<String> {
        let violation = self.world().and_then(|world| world.checks.violation.as_ref());
        violation.map(|one| format!("{} ms: {}", one.at / 1000, one.text)).into_iter().collect()
    }

    fn timeline(&mut self) -> Vec<Moment> {
        let lines = self.world().map_or(&[][..], |world| world.trace.lines());
        let moment = |line: &String| {
            // As the world writes them: seconds, a point, microseconds, the machine's letter.
            let (time, rest) = line.trim_start().split_once(' ')?;
            let micros = time.replace('.', "").parse().ok()?;
            let source = match rest.get(..1)? {
                "A" => Source::Log(Machine::A),
                "B" => Source::Log(Machine::B),
                _ => Source::Story,
            };
            let text = rest.get(1..)?.trim().to_owned();
            Some(Moment { at: at(micros), source, text })
        };
        lines.iter().filter_map(moment).collect()
    }

    fn keep(&mut self, directory: &Path) -> Result<(), String> {
        let lines = self.world().map_or(&[][..], |world| world.trace.lines());
        evidence::write(directory, "trace", &lines.join("\n"))?;
        evidence::logs(directory, lines)?;
        let run = format!("rig {}\nseed {}\ncommit {}\n", self.name(), self.seed, commit());
        evidence::write(directory, "run", &run)
    }
}
