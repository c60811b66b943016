//! Of what a scenario's cluster is made.

use std::fmt;

use hb_proto::config::{
    ArbiterConfig, Config, Digests, GroupConfig, LinkKind, MAX_GROUPS, Patience, ResourceKind,
    Timing,
};
use hb_proto::id::{LinkId, Voter};
use hb_proto::time::Duration;

/// One of the two machines. Their names are the guide's: A is linuxha1, B is linuxha2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Machine {
    /// linuxha1.
    A,
    /// linuxha2.
    B,
}

impl Machine {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `uname -n`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "linuxha1",
            Self::B => "linuxha2",
        }
    }

    /// As hb-proto calls it.
    #[must_use]
    pub const fn voter(self) -> Voter {
        match self {
            Self::A => Voter::A,
            Self::B => Voter::B,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A wire between the machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Link {
    /// /dev/ttyS0, /dev/ttyS1, …
    Serial(usize),
    /// eth1, 10.0.0.0/24: the crossover cable.
    Private,
    /// eth0, 192.168.85.0/24: where the clients are. Carries heartbeats only when
    /// [`Cluster::public_heartbeat`] says so.
    Public,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(number) => write!(f, "ttyS{number}"),
            Self::Private => f.write_str("eth1"),
            Self::Public => f.write_str("eth0"),
        }
    }
}

/// A resource of a group, in haresources from left to right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// The group's service address: 192.168.85.3 for the first group, .4 for the second, …
    Address,
    /// A script that the rig watches, and whose conduct it can change. Names are unique.
    Script(&'static str),
}

/// A resource group: a line of haresources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// What stories and failures call it.
    pub name: &'static str,
    /// The node that haresources puts it on.
    pub home: Machine,
    /// In starting order.
    pub resources: Vec<Resource>,
}

/// What tells the dongle that a machine went down (R12).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Evidence {
    /// The reset line is supervised: the board's own pull-up is read before, during and after a pulse.
    #[default]
    Supervised,
    /// A sense input, or the modem lines of the machine's port: they fall with its power.
    Sensed,
    /// Only a frame of a new life.
    NewLife,
}

/// Where the dongle's power comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Supply {
    /// Either machine: it is off only when both are.
    #[default]
    Both,
    /// One machine alone, as a single USB cable does it: off when that one is.
    One(Machine),
    /// Neither.
    External,
}

/// The dongle on the first null-modem line, as it is built in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Dongle {
    /// It has a reset line to each machine, and both were tested.
    pub reset_lines: bool,
    /// What confirms a pulse.
    pub evidence: Evidence,
    /// What it lives on.
    pub supply: Supply,
    /// It serves as external watchdog, too (R13).
    pub external_watchdog: bool,
}

impl Default for Dongle {
    /// Two supervised reset lines, power from both machines, no external watchdog.
    fn default() -> Self {
        Self {
            reset_lines: true,
            evidence: Evidence::default(),
            supply: Supply::default(),
            external_watchdog: false,
        }
    }
}

/// A cluster's configuration: what would be in ha.cf and haresources of both machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// In the order of haresources.
    pub groups: Vec<Group>,
    /// Null-modem lines that carry heartbeats.
    pub serial_lines: usize,
    /// Their speed.
    pub baud: u32,
    /// Whether `udp eth1` stands in ha.cf.
    pub private_heartbeat: bool,
    /// Whether `udp eth0` stands in ha.cf.
    pub public_heartbeat: bool,
    /// keepalive, warntime, deadtime, initdead; the lease follows deadtime.
    pub timing: Timing,
    /// `auto_failback`.
    pub auto_failback: bool,
    /// This machine's haresources has one group more than the other's.
    pub mismatch: Option<Machine>,
    /// A dongle on the first null-modem line: `arbiter serial /dev/ttyS0` stands in ha.cf.
    pub arbiter: Option<Dongle>,
    /// The machines' own watchdogs, whole seconds; none: nothing of theirs resets them.
    pub watchdog_s: Option<u32>,
}

/// Lowest usual speed at which one keepalive's frames of both nodes and the dongle fit (protocol.md §3).
const DONGLE_BAUD: u32 = 38_400;
/// How long a fence takes at most, from the request to the evidence: frames, pulse and reading the line.
const FENCE: Duration = Duration::from_millis(400);

impl Cluster {
    /// The guide's: one serial line at 19200, `udp eth1`, the default times but for a short
    /// initdead, failback on, no group yet.
    #[must_use]
    pub fn two_nodes() -> Self {
        let mut timing = Timing::classic_defaults();
        timing.initdead = Duration::from_secs(3);
        Self {
            groups: Vec::new(),
            serial_lines: 1,
            baud: 19_200,
            private_heartbeat: true,
            public_heartbeat: false,
            timing,
            auto_failback: true,
            mismatch: None,
            arbiter: None,
            watchdog_s: None,
        }
    }

    /// Another group: its address, then a script with the group's name.
    #[must_use]
    pub fn group(self, name: &'static str, home: Machine) -> Self {
        self.group_of(name, home, &[Resource::Address, Resource::Script(name)])
    }

    /// Another group that is only an address.
    #[must_use]
    pub fn address_group(self, name: &'static str, home: Machine) -> Self {
        self.group_of(name, home, &[Resource::Address])
    }

    /// Another group.
    #[must_use]
    pub fn group_of(mut self, name: &'static str, home: Machine, resources: &[Resource]) -> Self {
        self.groups.push(Group { name, home, resources: resources.to_vec() });
        self
    }

    /// Null-modem lines; one by default.
    #[must_use]
    pub fn serial_lines(mut self, count: usize) -> Self {
        self.serial_lines = count;
        self
    }

    /// Whether heartbeats go over eth1; they do by default.
    #[must_use]
    pub fn private_heartbeat(mut self, used: bool) -> Self {
        self.private_heartbeat = used;
        self
    }

    /// Whether heartbeats go over eth0 as well; they don't by default.
    #[must_use]
    pub fn public_heartbeat(mut self, used: bool) -> Self {
        self.public_heartbeat = used;
        self
    }

    /// Times in milliseconds; warntime is 60 % of deadtime.
    #[must_use]
    pub fn times_ms(mut self, keepalive: u64, deadtime: u64, initdead: u64) -> Self {
        let deadtime = Duration::from_millis(deadtime);
        self.timing.keepalive = Duration::from_millis(keepalive);
        self.timing.warntime = deadtime.percent(60);
        self.timing.deadtime = deadtime;
        self.timing.initdead = Duration::from_millis(initdead);
        self.timing.lease = Timing::default_lease(deadtime);
        self
    }

    /// `initdead` alone, in milliseconds.
    #[must_use]
    pub fn initdead_ms(mut self, initdead: u64) -> Self {
        self.timing.initdead = Duration::from_millis(initdead);
        self
    }

    /// `auto_failback on` or `off`.
    #[must_use]
    pub fn auto_failback(mut self, on: bool) -> Self {
        self.auto_failback = on;
        self
    }

    /// One machine's haresources differs.
    #[must_use]
    pub fn mismatch_on(mut self, machine: Machine) -> Self {
        self.mismatch = Some(machine);
        self
    }

    /// With the dongle, tested reset lines to both machines, and watchdogs of 1 s in them.
    #[must_use]
    pub fn arbiter(self) -> Self {
        self.watchdog_s(Some(1)).dongle(Dongle::default())
    }

    /// With such a dongle. The line's speed grows if it has to, and guard follows the watchdogs (R10):
    /// twice their time and half a second; without them it is unbounded.
    #[must_use]
    pub fn dongle(mut self, dongle: Dongle) -> Self {
        self.arbiter = Some(dongle);
        self.baud = self.baud.max(DONGLE_BAUD);
        self.timing.guard = self.watchdog_s.map_or(Duration::MAX, |s| {
            Duration::from_secs(2 * u64::from(s)) + Duration::from_millis(500)
        });
        self
    }

    /// The machines' own watchdogs, in seconds; none by default. Before [`Cluster::dongle`].
    #[must_use]
    pub fn watchdog_s(mut self, seconds: Option<u32>) -> Self {
        self.watchdog_s = seconds;
        self
    }

    /// The heartbeat links, in the order of ha.cf.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let serial = (0..self.serial_lines).map(Link::Serial);
        let networks =
            [(self.private_heartbeat, Link::Private), (self.public_heartbeat, Link::Public)];
        serial.chain(networks.into_iter().filter(|(used, _)| *used).map(|(_, link)| link)).collect()
    }

    /// What a machine's state machine is told: the same as hb-linux would read from the files.
    ///
    /// # Panics
    /// More groups, resources or links than hb-proto has room for: a mistake of the story.
    #[must_use]
    pub fn config(&self, machine: Machine) -> Config {
        let differs = self.mismatch == Some(machine);
        let group = |group: &Group| GroupConfig {
            home: group.home.voter(),
            resources: group.resources.iter().map(Resource::kind).collect(),
        };
        let mut groups: heapless::Vec<GroupConfig, MAX_GROUPS> =
            self.groups.iter().map(group).collect();
        if differs {
            let resources = std::iter::once(ResourceKind::Address).collect();
            let more = GroupConfig { home: machine.voter(), resources };
            groups.push(more).expect("room for one group more");
        }
        let kind = |link: Link| match link {
            Link::Serial(_) => LinkKind::Serial { baud: self.baud },
            Link::Private | Link::Public => LinkKind::Broadcast,
        };
        Config {
            me: machine.voter(),
            timing: self.timing,
            links: self.links().into_iter().map(kind).collect(),
            groups,
            auto_failback: self.auto_failback,
            arbiter: self.arbiter.map(|dongle| ArbiterConfig {
                link: LinkId(0),
                external_watchdog: dongle.external_watchdog,
                fences: dongle.reset_lines,
                fence: dongle.reset_lines.then_some(FENCE),
            }),
            patience: Patience::default(),
            digests: Digests { haresources: 1 + u64::from(differs), settings: 1 },
        }
    }

    /// Every resource of every group: group, position in it, what it is.
    pub fn resources(&self) -> impl Iterator<Item = (usize, usize, &Resource)> {
        self.groups.iter().enumerate().flat_map(|(group, line)| {
            line.resources.iter().enumerate().map(move |(at, resource)| (group, at, resource))
        })
    }

    /// Where the script of this name stands: its group and position.
    ///
    /// # Panics
    /// There is none: a mistake of the story.
    #[must_use]
    pub fn script(&self, name: &str) -> (usize, usize) {
        let is_it = |resource: &Resource| matches!(resource, Resource::Script(it) if *it == name);
        let found = self.resources().find(|(_, _, resource)| is_it(resource));
        found.map(|(group, at, _)| (group, at)).unwrap_or_else(|| panic!("no script {name}"))
    }
}

impl Resource {
    /// As hb-proto knows it.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Address => ResourceKind::Address,
            Self::Script(_) => ResourceKind::Script,
        }
    }
}
