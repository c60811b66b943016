//! A story being told on a rig: the verbs, and time.

use hb_proto::time::{Duration, Instant};

use super::cluster::{Cluster, Link, Machine};
use super::rig::{Cannot, Moment, Rig, Source};
use super::verb::{Conduct, ResetWire, Verb, Way};
use super::{Stop, Told};

/// A story under way on a rig.
pub struct Scenario<'rig> {
    pub(super) rig: &'rig mut dyn Rig,
    pub(super) cluster: Cluster,
    /// When the last verb happened: limits count from here.
    pub(super) mark: Instant,
    /// Times in which two holders are the point: from, to (`NEVER` while it lasts).
    pub(super) splits: Vec<(Instant, Instant)>,
    /// How often each resource may be started on each machine; verbs add to it.
    pub(super) starts_allowed: usize,
    /// What happened when.
    pub(super) verbs: Vec<(Instant, Verb)>,
    pub(super) story: Vec<Moment>,
    /// The story has ended well; what is left are the invariants.
    pub(super) finished: bool,
    /// The story's clusters get a dongle, whatever it says.
    with_dongle: bool,
}

impl<'rig> Scenario<'rig> {
    /// Nothing is built yet.
    pub fn new(rig: &'rig mut dyn Rig) -> Self {
        let mark = rig.now();
        Self {
            rig,
            cluster: Cluster::two_nodes(),
            mark,
            splits: Vec::new(),
            starts_allowed: 2,
            verbs: Vec::new(),
            story: Vec::new(),
            finished: false,
            with_dongle: false,
        }
    }

    /// Gives every cluster of the story a plain dongle: its two voters become three.
    pub fn give_dongle(&mut self) {
        self.with_dongle = true;
    }

    /// Makes the cluster; both machines are without power.
    ///
    /// # Errors
    /// The rig can't.
    pub fn build(&mut self, cluster: Cluster) -> Told {
        let dongle = self.with_dongle && cluster.arbiter.is_none();
        let cluster = if dongle { cluster.arbiter() } else { cluster };
        let cluster = self.rig.fit(cluster);
        self.rig.build(&cluster)?;
        self.cluster = cluster;
        self.mark = self.rig.now();
        Ok(())
    }

    /// Goes on with a cluster that another scenario has built on this rig.
    pub fn go_on(&mut self, cluster: Cluster) {
        self.cluster = cluster;
        self.mark = self.rig.now();
    }

    /// Makes the cluster and gives both machines power, A first.
    ///
    /// # Errors
    /// The rig can't.
    pub fn start(&mut self, cluster: Cluster) -> Told {
        self.build(cluster)?;
        self.power_on(Machine::A)?;
        self.power_on(Machine::B)
    }

    /// Starts both, waits until A holds the first group and all links are up: where most stories
    /// begin.
    ///
    /// # Errors
    /// The rig can't, or the cluster doesn't come so far.
    pub fn begin(&mut self, cluster: Cluster) -> Told {
        self.start(cluster)?;
        self.expect_holder(0, Machine::A)?;
        self.settle()?;
        if self.with_dongle {
            // What it may have promised before its start is over (R8).
            self.run_for(self.cluster.timing.full());
        }
        Ok(())
    }

    /// When rig time began.
    #[must_use]
    pub const fn start_of_time(&self) -> Instant {
        Instant::ZERO
    }

    /// What this rig's host adds to a limit that counts from the last verb.
    #[must_use]
    pub fn slack(&self) -> Duration {
        self.rig.slack(self.mark)
    }

    /// What the cluster is made of.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The rig, for what only a story of its own needs.
    pub fn rig(&mut self) -> &mut dyn Rig {
        self.rig
    }

    /// Lets something happen. Limits of expectations count from here.
    ///
    /// # Errors
    /// The rig lacks the verb, or broke.
    pub fn act(&mut self, verb: Verb) -> Told {
        self.mark = self.rig.now();
        self.say(self.mark, verb.to_string());
        self.starts_allowed += 1;
        self.verbs.push((self.mark, verb));
        Ok(self.rig.act(verb)?)
    }

    /// An operator's command that the cluster must refuse.
    ///
    /// # Errors
    /// It doesn't, or the rig lacks the verb, or broke.
    pub fn expect_refused(&mut self, verb: Verb) -> Told {
        let now = self.rig.now();
        self.say(now, format!("{verb}: must be refused"));
        match self.rig.act(verb) {
            Err(Cannot::Refused(_)) => Ok(()),
            Ok(()) => Err(Stop::Failed(format!("{verb}: was not refused"))),
            Err(other) => Err(other.into()),
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        self.rig.run_for(span);
    }

    /// Lets milliseconds pass.
    pub fn run_for_ms(&mut self, span: u64) {
        self.rig.run_for(Duration::from_millis(span));
    }

    /// Rig time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.rig.now()
    }

    /// When the last verb happened.
    #[must_use]
    pub const fn mark(&self) -> Instant {
        self.mark
    }

    /// A line of the story in the timeline.
    pub(super) fn say(&mut self, at: Instant, text: String) {
        self.story.push(Moment { at, source: Source::Story, text });
    }

    /// From here on two holders are the point of the story: the classics' split.
    pub fn allow_split(&mut self) {
        self.splits.push((self.now(), Instant::NEVER));
    }

    /// The split is over: two holders are a failure again.
    pub fn forbid_split(&mut self) {
        let now = self.now();
        for split in self.splits.iter_mut().filter(|split| split.1 == Instant::NEVER) {
            split.1 = now;
        }
    }

    /// What the configuration promises for a failover of a group.
    ///
    /// # Panics
    /// There is no such group: a mistake of the story.
    #[must_use]
    pub fn budget(&self, group: usize) -> Duration {
        self.cluster.config(Machine::A).budget(group).expect("the group exists").total()
    }

    /// What it promises when nothing needs to be detected: both machines live.
    ///
    /// # Panics
    /// There is no such group: a mistake of the story.
    #[must_use]
    pub fn planned_budget(&self, group: usize) -> Duration {
        let budget = self.cluster.config(Machine::A).budget(group).expect("the group exists");
        budget.start + budget.announce
    }
}

/// The verbs by name: each is [`Scenario::act`] with its [`Verb`].
macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) => $verb:expr;)+) => {
        impl Scenario<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// As [`Scenario::act`].
            pub fn $name(&mut self, $($argument: $kind),*) -> Result<(), Stop> {
                self.act($verb)
            }
        )+}
    };
}

verbs! {
    /// Power loss.
    power_off(machine: Machine) => Verb::PowerOff(machine);
    /// Power; the daemon starts.
    power_on(machine: Machine) => Verb::PowerOn(machine);
    /// The reset button.
    reset(machine: Machine) => Verb::Reset(machine);
    /// The whole machine stands still.
    freeze(machine: Machine) => Verb::Freeze(machine);
    /// It goes on.
    thaw(machine: Machine) => Verb::Thaw(machine);
    /// SIGSTOP for the daemon.
    stop_daemon(machine: Machine) => Verb::StopDaemon(machine);
    /// SIGCONT.
    continue_daemon(machine: Machine) => Verb::ContinueDaemon(machine);
    /// SIGKILL.
    kill_daemon(machine: Machine) => Verb::KillDaemon(machine);
    /// SIGKILL for its helper.
    kill_helper(machine: Machine) => Verb::KillHelper(machine);
    /// As a service manager does.
    start_daemon(machine: Machine) => Verb::StartDaemon(machine);
    /// The kernel panics.
    panic_kernel(machine: Machine) => Verb::PanicKernel(machine);
    /// A wire is cut both ways.
    cut(link: Link) => Verb::Cut(link, Way::Both);
    /// It is healed both ways.
    heal(link: Link) => Verb::Heal(link, Way::Both);
    /// What a machine sends by a wire is lost.
    cut_from(link: Link, machine: Machine) => Verb::Cut(link, Way::From(machine));
    /// It arrives again.
    heal_from(link: Link, machine: Machine) => Verb::Heal(link, Way::From(machine));
    /// A plug is pulled.
    unplug(link: Link, machine: Machine) => Verb::Unplug(link, machine);
    /// It is put back.
    replug(link: Link, machine: Machine) => Verb::Replug(link, machine);
    /// A script changes its conduct.
    script(machine: Machine, name: &'static str, conduct: Conduct) => Verb::Script(machine, name, conduct);
    /// Something else starts a script.
    start_outside(machine: Machine, name: &'static str) => Verb::StartOutside(machine, name);
    /// `hb standby`.
    standby(machine: Machine) => Verb::Standby(machine);
    /// `hb takeover`.
    takeover(machine: Machine) => Verb::Takeover(machine);
    /// `hb takeover --peer-is-off`.
    takeover_peer_is_off(machine: Machine) => Verb::TakeoverPeerIsOff(machine);
    /// The dongle is reset.
    reset_dongle() => Verb::ResetDongle;
    /// Its firmware hangs.
    hang_dongle() => Verb::HangDongle;
    /// It is taken out.
    remove_dongle() => Verb::RemoveDongle;
    /// It is put back.
    insert_dongle() => Verb::InsertDongle { spare: false };
    /// Another one is put in its place.
    insert_spare_dongle() => Verb::InsertDongle { spare: true };
    /// The cable between a machine and the dongle is cut.
    cut_half(machine: Machine) => Verb::CutHalf(machine);
    /// It is whole again.
    heal_half(machine: Machine) => Verb::HealHalf(machine);
    /// The dongle hears nothing of a machine's port.
    deafen_port(machine: Machine) => Verb::DeafenPort(machine);
    /// The dongle sends nothing by a machine's port.
    mute_port(machine: Machine) => Verb::MutePort(machine);
    /// That port works again.
    heal_port(machine: Machine) => Verb::HealPort(machine);
    /// The dongle loses a machine's power feed.
    cut_feed(machine: Machine) => Verb::CutFeed(machine);
    /// It has it again.
    heal_feed(machine: Machine) => Verb::HealFeed(machine);
    /// A reset output ends elsewhere.
    wire_reset(machine: Machine, wire: ResetWire) => Verb::WireReset(machine, wire);
    /// A reset output is tested.
    test_reset(machine: Machine) => Verb::TestReset(machine);
    /// Orderly leave.
    leave(machine: Machine) => Verb::Leave(machine);
    /// The files are read again.
    reload(machine: Machine) => Verb::Reload(machine);
    /// The next version.
    upgrade(machine: Machine) => Verb::Upgrade(machine);
}

impl Scenario<'_> {
    /// Cuts every heartbeat link, in the order of ha.cf.
    ///
    /// # Errors
    /// As [`Scenario::act`].
    pub fn cut_all(&mut self) -> Told {
        self.cluster.links().into_iter().try_for_each(|link| self.cut(link))
    }

    /// Heals every heartbeat link.
    ///
    /// # Errors
    /// As [`Scenario::act`].
    pub fn heal_all(&mut self) -> Told {
        self.cluster.links().into_iter().try_for_each(|link| self.heal(link))
    }
}
