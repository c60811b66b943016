//! Two machines, two networks, the lines between them, and a client: the guide's whole picture.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hb_proto::config::Budget;

use super::dongle::{self, Dongle};
use super::host::Scratch;
use super::init::{self, Interface, Spec};
use super::intruder::Intruder;
use super::line::Line;
use super::machine::{Machine, Programs, Verb};
pub use super::node::Node;
use super::outlet::Outlet;
use super::probe::Probe;
use super::switch::{PortId, Switch, Way};
use super::{Doing, Mac, RigError};
use crate::config::Settings;

mod cable;
mod power;
mod wires;

pub use cable::{Cable, Half};
pub use wires::{Net, Serial};

/// The service address of the guide.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 3);
/// The first client's own address; others have the next ones.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 100);

/// One of the two networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// eth0, 192.168.85.0/24, with the client.
    Public,
    /// eth1, 10.0.0.0/24, the crossover cable.
    Private,
}

impl Network {
    const BOTH: [Self; 2] = [Self::Public, Self::Private];

    /// The machines' name for it.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Public => "eth0",
            Self::Private => "eth1",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Public => 0,
            Self::Private => 1,
        }
    }

    /// A machine's own address.
    #[must_use]
    pub fn address(self, node: Node) -> Ipv4Addr {
        let host = node.index() as u8 + 1;
        match self {
            Self::Public => Ipv4Addr::new(192, 168, 85, host),
            Self::Private => Ipv4Addr::new(10, 0, 0, host),
        }
    }

    /// A machine's hardware address: 02:00:00:00:NODE:INTERFACE, locally administered.
    #[must_use]
    pub fn mac(self, node: Node) -> Mac {
        [2, 0, 0, 0, node.index() as u8 + 1, self.index() as u8 + 1]
    }
}

/// What a rig is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machines' names.
    pub names: [String; 2],
    /// Null-modem lines: ttyS0, ttyS1, …
    pub serial_lines: usize,
    /// Ports of this host for the first lines, machine by machine, where the line model isn't wanted.
    pub ports: Vec<[PathBuf; 2]>,
    /// What to start.
    pub programs: Programs,
    /// A dongle in the first null-modem line.
    pub dongle: Option<dongle::Build>,
    /// The machines' watchdogs, fakes of the rig, and their time-out. None without.
    pub watchdog_s: Option<u32>,
}

impl Options {
    /// The guide's names and one line.
    #[must_use]
    pub fn of_the_guide(programs: Programs) -> Self {
        let names = ["linuxha1".into(), "linuxha2".into()];
        let ports = Vec::new();
        Self { names, serial_lines: 1, ports, programs, dongle: None, watchdog_s: None }
    }
}

/// The rig. Dropping it pulls every plug and leaves nothing behind.
#[derive(Debug)]
pub struct Bench {
    /// Before what it is plugged into.
    dongle: Option<Dongle>,
    machines: [Machine; 2],
    outlets: [Arc<Outlet>; 2],
    watchdog_s: Option<u32>,
    /// By machine, then by network; None without power.
    ports: [[Option<PortId>; 2]; 2],
    switches: [Arc<Switch>; 2],
    cables: Vec<Cable>,
    /// What is a real line: nothing is plugged into the model of it then.
    real: Vec<[PathBuf; 2]>,
    /// A client for each service address that is asked, in the order of their starts.
    probes: Vec<Probe>,
    /// Last, so that it is unmounted after everything that uses it has ended.
    scratch: Scratch,
}

impl Bench {
    /// Both machines without power, both networks and all lines in order, no client yet. Needs
    /// [`super::host::enter`] first.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn new(options: &Options) -> Result<Self, RigError> {
        let scratch = Scratch::new()?;
        let machine = |node: Node| {
            let spec = Spec {
                hostname: options.names[node.index()].clone(),
                disk: scratch.path().join(&options.names[node.index()]),
                ttys: Vec::new(),
                interfaces: Network::BOTH
                    .map(|network| Interface {
                        name: network.interface().into(),
                        address: network.address(node),
                    })
                    .to_vec(),
                hosts: Node::BOTH
                    .map(|node| {
                        (Network::Public.address(node), options.names[node.index()].clone())
                    })
                    .to_vec(),
                heartbeatd: options.programs.heartbeatd.clone(),
                watchdog: options.watchdog_s.is_some(),
            };
            Machine::new(spec, options.programs.clone())
        };
        let switch = || Switch::new().map(Arc::new).doing(|| "making a switch".into());
        let cables = (0..options.serial_lines)
            .map(|number| Cable::new(number == 0 && options.dongle.is_some()))
            .collect::<Result<Vec<_>, _>>()
            .doing(|| "making a serial line".into())?;
        let mut bench = Self {
            dongle: None,
            machines: [machine(Node::One)?, machine(Node::Two)?],
            outlets: Default::default(),
            watchdog_s: options.watchdog_s,
            ports: [[None; 2]; 2],
            switches: [switch()?, switch()?],
            cables,
            real: options.ports.clone(),
            probes: Vec::new(),
            scratch,
        };
        if let (Some(build), Some(halves)) =
            (options.dongle, bench.cables.first().and_then(Cable::halves))
        {
            let machine = bench.machine(Node::One);
            let provision = (machine.config_file(""), machine.name().to_owned());
            let directory = bench.directory().join("dongles");
            let program = options.programs.hb.clone();
            let (outlets, halves) = (bench.outlets.clone(), halves.clone());
            bench.dongle =
                Some(Dongle::new(build, program, directory, provision, outlets, halves)?);
        }
        Ok(bench)
    }

    /// A machine.
    #[must_use]
    pub fn machine(&self, node: Node) -> &Machine {
        &self.machines[node.index()]
    }

    /// Where the rig keeps the machines' disks.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a file into /etc/ha.d of a machine, with a mode such as 0o600.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn install(&self, node: Node, name: &str, text: &str, mode: u32) -> Result<(), RigError> {
        let path = self.machine(node).config_file(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .doing(|| format!("writing {}", path.display()))
    }

    /// The dongle, if there is one.
    #[must_use]
    pub const fn dongle(&self) -> Option<&Dongle> {
        self.dongle.as_ref()
    }

    /// Starts a machine's daemon, or sends it a signal.
    ///
    /// # Errors
    /// As [`Machine::daemon`].
    pub fn daemon(&mut self, node: Node, verb: Verb) -> Result<(), RigError> {
        self.machines[node.index()].daemon(verb)
    }

    /// Cuts or heals a network both ways, with the carriers as they were.
    pub fn cut(&self, network: Network, cut: bool) {
        for node in Node::BOTH {
            self.cut_way(network, node, Way::Out, cut);
            self.cut_way(network, node, Way::In, cut);
        }
    }

    /// Cuts or heals one way between a machine and a network.
    pub fn cut_way(&self, network: Network, node: Node, way: Way, cut: bool) {
        if let Some(port) = self.ports[node.index()][network.index()] {
            self.switches[network.index()].cut(port, way, cut);
        }
    }

    /// A network, to let it suffer.
    #[must_use]
    pub fn network(&self, network: Network) -> Net<'_> {
        Net { bench: self, network }
    }

    /// A serial line, to make it noisy.
    ///
    /// # Panics
    /// There is no such line.
    #[must_use]
    pub fn serial(&self, line: usize) -> Serial<'_> {
        Serial { cable: &self.cables[line] }
    }

    /// Plugs somebody else into a network.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn intruder(&self, network: Network) -> Result<Intruder, RigError> {
        let [a, b, c, _] = network.address(Node::One).octets();
        Intruder::plug(&self.switches[network.index()], Ipv4Addr::new(a, b, c, 66))
    }

    /// Unplugs a machine's cable or plugs it in again: the carrier goes with it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn carrier(&self, network: Network, node: Node, present: bool) -> Result<(), RigError> {
        match self.ports[node.index()][network.index()] {
            Some(port) => self.switches[network.index()].carrier(port, present),
            None => Ok(()),
        }
    }

    /// Cuts or heals a serial line both ways, with a dongle both halves of it.
    ///
    /// # Panics
    /// There is no such line.
    pub fn cut_serial(&self, line: usize, cut: bool) {
        self.cables[line].cut(cut);
        self.tell_dongle_of_halves();
    }

    /// Cuts or heals the wire that carries what a machine sends.
    ///
    /// # Panics
    /// There is no such line.
    pub fn cut_serial_way(&self, line: usize, from: Node, cut: bool) {
        self.cables[line].cut_way(from, cut);
    }

    /// Does something to the half of the null-modem line between a machine and the dongle, or ends it.
    /// Without a dongle there are no halves, and nothing happens.
    pub fn half(&self, node: Node, what: Half, on: bool) {
        if let Some(cable) = self.cables.first() {
            cable.half(node, what, on);
        }
        self.tell_dongle_of_halves();
    }

    fn tell_dongle_of_halves(&self) {
        let (Some(dongle), Some(cable)) = (&self.dongle, self.cables.first()) else { return };
        for node in Node::BOTH {
            dongle.half_cut(node, cable.is_cut(node));
        }
    }

    /// Whether a line is real, so that the rig neither counts nor disturbs what it carries.
    #[must_use]
    pub fn is_real(&self, line: usize) -> bool {
        line < self.real.len()
    }

    /// A serial line; with a dongle in it, the first machine's half.
    ///
    /// # Panics
    /// There is no such line.
    #[must_use]
    pub fn line(&self, line: usize) -> &Line {
        self.cables[line].end(Node::One).0
    }

    /// The switch of a network, for another client than [`Self::start_client`]'s.
    #[must_use]
    pub fn switch(&self, network: Network) -> &Switch {
        &self.switches[network.index()]
    }

    /// The rig's end of a machine's cable: what passes there is on the wire.
    #[must_use]
    pub fn wire(node: Node, network: Network) -> String {
        rig_side(node, network)
    }

    /// Plugs a client into the public network; it starts asking a service address.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn start_client(&mut self, service: Ipv4Addr) -> Result<&Probe, RigError> {
        let number = u8::try_from(self.probes.len()).unwrap_or(u8::MAX);
        let [a, b, c, host] = CLIENT.octets();
        let own = Ipv4Addr::new(a, b, c, host.saturating_add(number));
        let probe = Probe::start(&self.switches[0], number, own, init::PREFIX, service)?;
        self.probes.push(probe);
        Ok(&self.probes[usize::from(number)])
    }

    /// The first client, once it was started.
    #[must_use]
    pub fn client(&self) -> Option<&Probe> {
        self.client_number(0)
    }

    /// A client, in the order in which they were started.
    #[must_use]
    pub fn client_number(&self, number: usize) -> Option<&Probe> {
        self.probes.get(number)
    }

    /// What the machines' configuration promises for a group (protocol.md §3), read from their
    /// files as the daemon reads them; no daemon is asked.
    ///
    /// # Errors
    /// The configuration is wrong; the text has every reason.
    pub fn budget(&self, group: usize) -> Result<Budget, RigError> {
        let machine = self.machine(Node::One);
        let wrong = |reason| RigError::Machine { machine: machine.name().into(), reason };
        let loaded = Settings::load(&machine.config_file(""), Some(machine.name()), &[]).map_err(
            |diagnostics| {
                let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
                wrong(lines.join("\n"))
            },
        )?;
        let budget = loaded.settings.proto.budget(group);
        budget.ok_or_else(|| wrong(format!("haresources has no group {group}")))
    }

    /// Looks every 10 ms until `done` is true; false when it isn't within `patience`.
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if done(self) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn rig_side(node: Node, network: Network) -> String {
    format!("n{}{}", node.index() + 1, network.interface())
}
