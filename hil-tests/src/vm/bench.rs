//! Two guests, their wires, their disks, and the clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use hb_linux::rig::Mac;
use hb_linux::rig::bench::{CLIENT, Cable, Half, Network, Node};
use hb_linux::rig::dongle::{self, Dongle};
use hb_linux::rig::host::Scratch;
use hb_linux::rig::line::Line;
use hb_linux::rig::links;
use hb_linux::rig::outlet::{Outlet, Reset};
use hb_linux::rig::probe::Probe;
use hb_linux::rig::switch::{PortId, Switch};
use hb_proto::time::Instant;
use serde_json::json;

mod disk;
mod plugs;

use super::agent::Ran;
use super::consoles::Consoles;
use super::image::Image;
use super::pins::{self, Caused, Records};
use super::power::Power;
use super::relay::Relay;
use super::seen::Shared;
use crate::capture::Capture;
use crate::chronicle::Clock;
use crate::netns::files;
use crate::scenario::cluster::Machine;
use crate::wires::Wire;

/// As often as two emulated machines can be asked without being kept busy by it.
pub const ASK_EVERY: StdDuration = StdDuration::from_millis(40);
/// What an order of the rig may take in a guest under load.
pub const PATIENCE: StdDuration = StdDuration::from_secs(30);
/// Size of a machine's disk, unless its options say otherwise.
pub const DISK_MB: u32 = 24;
/// An FTDI adapter (QEMU's usb-serial) at the end of a line.
const USB_SERIAL: &str = "usb-serial,chardev=usb0,id=adapter";
/// Both networks'.
const PREFIX: u8 = 24;
const NETWORKS: [Network; 2] = [Network::Public, Network::Private];

/// What a rig is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Null-modem lines: ttyS0, ttyS1.
    pub serial_lines: usize,
    /// A dongle in the first of them.
    pub dongle: Option<dongle::Build>,
    /// Kernel modules that the guests load beside what every one has.
    pub modules: Vec<String>,
    /// More of QEMU's arguments, for each guest.
    pub devices: [Vec<String>; 2],
    /// The first line ends in emulated FTDI adapters, not in 16550s.
    pub usb: bool,
    /// Size of each disk, in MB.
    pub disk_mb: u32,
}

impl Default for Options {
    fn default() -> Self {
        let devices = [Vec::new(), Vec::new()];
        Self {
            serial_lines: 1,
            dongle: None,
            modules: Vec::new(),
            devices,
            usb: false,
            disk_mb: DISK_MB,
        }
    }
}

/// The rig. Dropping it pulls every plug and leaves nothing behind.
#[derive(Debug)]
pub struct Bench {
    /// Before what it is plugged into.
    pub dongle: Option<Dongle>,
    power: [Option<Power>; 2],
    outlets: [Arc<Outlet>; 2],
    ports: [[Option<PortId>; 2]; 2],
    switches: [Arc<Switch>; 2],
    cables: Vec<Cable>,
    probes: Vec<Probe>,
    relays: [Vec<Relay>; 2],
    capture: Capture,
    _consoles: Consoles,
    image: Image,
    options: Options,
    clock: Clock,
    seen: Shared,
    /// When each boot began, and how long it took until the machine was up.
    pub boots: Vec<(Instant, StdDuration)>,
    lives: [u32; 2],
    /// When each machine got its power last.
    launched: [Option<std::time::Instant>; 2],
    scratch: Scratch,
}

/// The machine as hb-linux's rig calls it.
#[must_use]
pub fn node(machine: Machine) -> Node {
    Node::BOTH[machine.index()]
}

/// The rig's end of a machine's cable.
#[must_use]
pub fn rig_side(machine: Machine, network: Network) -> String {
    format!("n{}{}", machine.index() + 1, network.interface())
}

/// QEMU's end.
fn guest_side(machine: Machine, network: Network) -> String {
    format!("q{}{}", machine.index() + 1, network.interface())
}

fn network_index(network: Network) -> usize {
    usize::from(network == Network::Private)
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn words(error: impl ToString) -> String {
    error.to_string()
}

impl Bench {
    /// Both machines without power, all wires in order, no client yet. Inside a rig's namespaces
    /// (`hb rig-enter`). `files` is what each machine's /etc/ha.d begins with;
    /// `dongle` the program that is started as `dongle rig-dongle SPEC` ([`hb_linux::rig::dongle::process`]).
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn new(
        options: Options,
        image: Image,
        clock: Clock,
        seen: Shared,
        files: &[Vec<(String, String, u32)>; 2],
        dongle: &Path,
    ) -> Result<Self, String> {
        let scratch = Scratch::new().map_err(words)?;
        let consoles = Consoles::follow(scratch.path().to_owned(), clock, seen.clone());
        let switch = || Switch::new().map(Arc::new).map_err(words);
        let cable = |number| Cable::new(number == 0 && options.dongle.is_some());
        let cables = (0..options.serial_lines).map(cable).collect::<Result<Vec<_>, _>>();
        let cables = cables.map_err(words)?;
        let mut bench = Self {
            dongle: None,
            power: [None, None],
            outlets: Default::default(),
            ports: [[None; 2]; 2],
            switches: [switch()?, switch()?],
            cables,
            probes: Vec::new(),
            relays: [Vec::new(), Vec::new()],
            capture: Capture::start(clock, Box::new(sender)).map_err(words)?,
            _consoles: consoles.map_err(words)?,
            image,
            options,
            clock,
            seen,
            boots: Vec::new(),
            lives: [0; 2],
            launched: [None; 2],
            scratch,
        };
        bench.stretches().for_each(|(_, _, line)| line.record());
        for machine in Machine::BOTH {
            bench.make_disk(machine, &files[machine.index()])?;
        }
        if let (Some(build), Some(halves)) =
            (bench.options.dongle, bench.cables.first().and_then(Cable::halves))
        {
            // Provisioned from the first machine's files, as they lie here.
            let provision = (bench.tree(Machine::A).join("etc"), Machine::A.name().to_owned());
            let directory = bench.dongles();
            let (outlets, halves) = (bench.outlets.clone(), halves.clone());
            let dongle =
                Dongle::new(build, dongle.to_owned(), directory, provision, outlets, halves);
            bench.dongle = Some(dongle.map_err(words)?);
        }
        Ok(bench)
    }

    /// Where the rig keeps disks, consoles and QEMU's own words.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Each dongle has a directory in it.
    #[must_use]
    pub fn dongles(&self) -> PathBuf {
        self.directory().join("dongles")
    }

    /// Each reset of a guest by the pin of an emulated dongle with the write that caused it, and what has no cause.
    #[must_use]
    pub fn causes(&self) -> (Vec<Caused>, Vec<String>) {
        let pulled = self.dongle.as_ref().map(Dongle::pulled).unwrap_or_default();
        let [a, b] = Machine::BOTH.map(|machine| self.resets_of(machine));
        let writes = pins::read(&self.dongles());
        Records { writes: &writes, pulled: &pulled, resets: [&a, &b] }.judge()
    }

    /// Power on: QEMU, new ports on the lines, the disk as it was; returns when the machine is up. The
    /// daemon is left to [`Self::daemon`].
    ///
    /// # Errors
    /// What couldn't be made; the machine isn't up in time.
    pub fn power_on(&mut self, machine: Machine) -> Result<(), String> {
        let began = std::time::Instant::now();
        let at = self.clock.now();
        self.launch(machine)?;
        self.come_up(machine)?;
        self.boots.push((at, began.elapsed()));
        Ok(())
    }

    /// Serves a page on each group's address: whoever has the address answers.
    ///
    /// # Errors
    /// The guest's own words.
    pub fn serve_pages(&self, machine: Machine, groups: usize) -> Result<(), String> {
        for group in 0..groups {
            let page =
                format!("hb rig-web {}:80 </dev/null >/dev/null 2>&1 &", files::address(group));
            self.shell(machine, &page)?;
        }
        Ok(())
    }

    /// Power loss: not a frame and not a byte leaves the machine any more, then its process is killed.
    pub fn power_off(&mut self, machine: Machine) {
        self.clear(machine);
        if let Some(dongle) = &self.dongle {
            // Starting fails at worst, and nothing is started by a loss of power.
            let _ = dongle.mains(node(machine), false);
        }
    }

    fn clear(&mut self, machine: Machine) {
        self.outlets[machine.index()].unplug();
        self.power[machine.index()] = None;
        self.relays[machine.index()].clear();
        for network in NETWORKS {
            if let Some(port) = self.ports[machine.index()][network_index(network)].take() {
                self.switches[network_index(network)].unplug(port);
            }
            let _ = links::delete(&rig_side(machine, network));
        }
        for cable in &self.cables {
            let (line, side) = cable.end(node(machine));
            line.detach(side);
        }
    }

    /// Whether something runs in it.
    #[must_use]
    pub fn is_on(&self, machine: Machine) -> bool {
        self.outlets[machine.index()].is_alive()
    }

    /// Machines that were reset and are due to boot again.
    #[must_use]
    pub fn due(&self) -> Vec<Machine> {
        let due = |machine: &Machine| self.outlets[machine.index()].boots_after().is_some();
        Machine::BOTH.into_iter().filter(due).collect()
    }

    /// Whether it was reset, and isn't booted yet.
    #[must_use]
    pub fn pending(&self, machine: Machine) -> bool {
        let launched = self.launched[machine.index()];
        self.resets_of(machine).last().is_some_and(|reset| launched.is_some_and(|at| reset.at > at))
    }

    /// Every reset of a machine so far that the rig's own plug didn't make.
    #[must_use]
    pub fn resets_of(&self, machine: Machine) -> Vec<Reset> {
        self.outlets[machine.index()].resets()
    }

    /// A machine with power.
    ///
    /// # Errors
    /// It has none.
    pub fn power(&mut self, machine: Machine) -> Result<&mut Power, String> {
        self.power[machine.index()].as_mut().ok_or_else(|| format!("{machine} has no power"))
    }

    /// Starts a machine's daemon, or sends it a signal: start, kill, stop, continue, terminate.
    ///
    /// # Errors
    /// The guest's own words.
    pub fn daemon(&mut self, machine: Machine, word: &str) -> Result<(), String> {
        let order = json!({"do": "daemon", "word": word});
        self.power(machine)?.agent.order(order, PATIENCE).map(drop)
    }

    /// Pulls a machine's USB adapter, or puts it back.
    ///
    /// # Errors
    /// QEMU's own words.
    pub fn usb(&mut self, machine: Machine, present: bool) -> Result<(), String> {
        let qmp = &mut self.power(machine)?.qmp;
        if present {
            let adapter = json!({"driver": "usb-serial", "chardev": "usb0", "id": "adapter"});
            qmp.command("device_add", &adapter).map(drop)
        } else {
            qmp.command("device_del", &json!({"id": "adapter"})).map(drop)
        }
    }

    /// Runs a program in a machine.
    ///
    /// # Errors
    /// It can't be started, or doesn't end in time.
    pub fn run(&self, machine: Machine, argv: &[&str]) -> Result<Ran, String> {
        let power = self.power[machine.index()].as_ref();
        power.ok_or_else(|| format!("{machine} has no power"))?.agent.run(argv, PATIENCE)
    }

    /// Runs a shell's words in a machine; they must end with 0.
    ///
    /// # Errors
    /// As [`Self::run`]; and what they said when they end with something else.
    pub fn shell(&self, machine: Machine, text: &str) -> Result<String, String> {
        let ran = self.run(machine, &["/bin/sh", "-c", text])?;
        if ran.code == 0 {
            return Ok(ran.out);
        }
        Err(format!("{text} on {machine}: code {}: {}{}", ran.code, ran.out, ran.err))
    }

    /// What the daemon's observe socket says; None while it says nothing.
    #[must_use]
    pub fn observe(&self, machine: Machine) -> Option<String> {
        let power = self.power[machine.index()].as_ref().filter(|_| self.is_on(machine))?;
        // A frozen machine says nothing, and isn't waited for.
        let answer = power.agent.order(json!({"do": "observe"}), StdDuration::from_secs(3)).ok()?;
        answer["text"].as_str().map(str::to_owned)
    }

    /// A null-modem line.
    ///
    /// # Panics
    /// There is no such line.
    #[must_use]
    pub fn line(&self, number: usize) -> &Cable {
        &self.cables[number]
    }

    /// Does something to the half of the null-modem line between a machine and the dongle, or ends it.
    pub fn half(&self, machine: Machine, what: Half, on: bool) {
        if let Some(cable) = self.cables.first() {
            cable.half(node(machine), what, on);
        }
        self.tell_dongle_of_halves();
    }

    /// Cuts or heals a serial line both ways, with a dongle both halves of it.
    ///
    /// # Panics
    /// There is no such line.
    pub fn cut_line(&self, number: usize, cut: bool) {
        self.cables[number].cut(cut);
        self.tell_dongle_of_halves();
    }

    fn tell_dongle_of_halves(&self) {
        let (Some(dongle), Some(cable)) = (&self.dongle, self.cables.first()) else { return };
        for machine in Machine::BOTH {
            dongle.half_cut(node(machine), cable.is_cut(node(machine)));
        }
    }

    /// What was on the serial lines, for evidence.
    #[must_use]
    pub fn wires(&self) -> Vec<Wire> {
        self.stretches().map(|(name, ends, line)| Wire::of(name, ends, line, self.clock)).collect()
    }

    /// Each line, or each half of it, with its name and who is at its ends.
    fn stretches(&self) -> impl Iterator<Item = (String, [&'static str; 2], &Arc<Line>)> {
        let [a, b] = Machine::BOTH.map(Machine::name);
        self.cables.iter().enumerate().flat_map(move |(number, cable)| match cable.halves() {
            None => vec![(format!("ttyS{number}"), [a, b], cable.end(Node::One).0)],
            Some([one, two]) => vec![
                (format!("ttyS{number}.{a}"), [a, "dongle"], one),
                (format!("ttyS{number}.{b}"), [b, "dongle"], two),
            ],
        })
    }

    /// How many there are.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.cables.len()
    }

    /// A network's switch, and a machine's port on it while it has power.
    #[must_use]
    pub fn port(&self, network: Network, machine: Machine) -> (&Switch, Option<PortId>) {
        let index = network_index(network);
        (&self.switches[index], self.ports[machine.index()][index])
    }

    /// What is on the cables.
    #[must_use]
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    /// The guests' kernel and what they run.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Plugs a client into the public network, which asks a group's address.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn start_client(&mut self, group: usize) -> Result<(), String> {
        let number = u8::try_from(self.probes.len()).map_err(words)?;
        let [a, b, c, host] = CLIENT.octets();
        let own = [a, b, c, host + number].into();
        let service = files::address(group);
        let probe = Probe::start_every(&self.switches[0], number, own, PREFIX, service, ASK_EVERY);
        self.probes.push(probe.map_err(words)?);
        Ok(())
    }

    /// A client, by its group.
    #[must_use]
    pub fn client(&self, group: usize) -> Option<&Probe> {
        self.probes.get(group)
    }
}

/// Byte 4 of a guest's own address is its number.
fn sender(mac: Mac) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| machine.index() + 1 == usize::from(mac[4]))
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.dongle = None;
        for machine in Machine::BOTH {
            self.clear(machine);
        }
    }
}
