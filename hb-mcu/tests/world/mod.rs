//! A dongle of fake parts between two real nodes, in simulated milliseconds.

#![allow(dead_code)] // Several test programs use it, each its part.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType as PinError, InputPin, OutputPin};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use hb_mcu::{Area, Clock, Dongle, Parts, Record, Retained, Room, Store, Watchdog, Wires};
use hb_proto::action::{Action, Outcome, Verb};
use hb_proto::arbiter::{self, Event, Memory};
use hb_proto::config::{
    ArbiterConfig, Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing,
};
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{LineShown, ResetReason};
use hb_proto::wire::port::FramePort;
use hb_proto::wire::service::Board;

pub const A: usize = 0;
pub const B: usize = 1;
pub const WEB: GroupId = GroupId(0);
const BAUD: u32 = 115_200;
/// From the end of a reset until the daemon speaks.
const BOOT_MS: u64 = 500;

/// One direction's bytes, shared by its two ends.
pub type Wire = Rc<RefCell<VecDeque<u8>>>;

/// A UART: bytes appear in `incoming`, and leave while `open`.
#[derive(Clone, Default)]
pub struct FakePort {
    pub incoming: Wire,
    pub outgoing: Wire,
    /// Sends this again and again, on top of what comes in.
    pub flood: Rc<RefCell<Vec<u8>>>,
    pub taken: Rc<Cell<usize>>,
    /// The UART takes nothing.
    pub stuck: Rc<Cell<bool>>,
}

impl ErrorType for FakePort {
    type Error = Infallible;
}

impl ReadReady for FakePort {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.incoming.borrow().is_empty() || !self.flood.borrow().is_empty())
    }
}

impl Read for FakePort {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut incoming = self.incoming.borrow_mut();
        let mut flood = self.flood.borrow().clone().into_iter().cycle();
        let mut count = 0;
        for slot in buf {
            let Some(byte) = incoming.pop_front().or_else(|| flood.next()) else { break };
            *slot = byte;
            count += 1;
        }
        assert!(count > 0, "a real UART would wait here");
        self.taken.set(self.taken.get() + count);
        Ok(count)
    }
}

impl WriteReady for FakePort {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.stuck.get())
    }
}

impl Write for FakePort {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        assert!(!self.stuck.get(), "a real UART would wait here");
        // As a FIFO that is nearly full: one byte at a time.
        self.outgoing.borrow_mut().push_back(buf[0]);
        Ok(1)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        unreachable!("would wait")
    }
}

/// A pin, input or output.
#[derive(Clone, Default)]
pub struct Pin(pub Rc<Cell<bool>>);

impl PinError for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.get())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.get())
    }
}

#[derive(Clone, Default)]
pub struct FakeClock(pub Rc<Cell<u64>>);

impl Clock for FakeClock {
    fn now(&mut self) -> Instant {
        Instant::from_millis(1000 + self.0.get())
    }
}

#[derive(Clone, Default)]
pub struct FakeStore {
    pub areas: Rc<RefCell<[Vec<u8>; 3]>>,
    pub writes: Rc<Cell<[u32; 3]>>,
    pub broken: Rc<Cell<bool>>,
}

const fn number(area: Area) -> usize {
    match area {
        Area::Flash => 0,
        Area::Retained => 1,
        Area::Keys => 2,
    }
}

impl Store for FakeStore {
    type Error = &'static str;

    fn read(&mut self, area: Area, record: &mut [u8]) -> Result<usize, Self::Error> {
        let areas = self.areas.borrow();
        let bytes = &areas[number(area)];
        let len = bytes.len().min(record.len());
        record[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write(&mut self, area: Area, record: &[u8]) -> Result<(), Self::Error> {
        if self.broken.get() {
            return Err("worn out");
        }
        self.areas.borrow_mut()[number(area)] = record.to_vec();
        let mut writes = self.writes.get();
        writes[number(area)] += 1;
        self.writes.set(writes);
        Ok(())
    }
}

#[derive(Clone, Default)]
pub struct FakeWatchdog(pub Rc<Cell<u32>>);

impl Watchdog for FakeWatchdog {
    fn feed(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

type Fake = Dongle<'static, FakePort, FakePort, Pin, Pin, FakeClock, FakeStore, FakeWatchdog>;

/// A node with its end of the serial line.
pub struct Machine {
    pub node: Option<Node>,
    pub boot: u32,
    line: FramePort<LineEnd>,
    /// Keeps its state, hears and says nothing.
    pub frozen: bool,
    /// It is up again then, after a reset.
    boots_at: Option<u64>,
}

/// The node's end of a line: reads what the dongle wrote, writes what it reads.
struct LineEnd(FakePort);

impl ErrorType for LineEnd {
    type Error = Infallible;
}

impl Read for LineEnd {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let mut bytes = self.0.outgoing.borrow_mut();
        let count = bytes.len().min(buf.len());
        buf.iter_mut().zip(bytes.drain(..count)).for_each(|(slot, byte)| *slot = byte);
        Ok(count)
    }
}

impl Write for LineEnd {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.incoming.borrow_mut().extend(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Everything.
pub struct World {
    pub ms: Rc<Cell<u64>>,
    pub ports: [FakePort; 2],
    pub reset: [Pin; 2],
    pub line: [Pin; 2],
    pub sense: [Pin; 2],
    pub feed: [Pin; 2],
    pub store: FakeStore,
    pub watchdog: FakeWatchdog,
    pub dongle: Option<Fake>,
    pub machines: [Machine; 2],
    pub network_cut: bool,
    /// Which machine each reset output ends on.
    pub wired: [Option<usize>; 2],
    pub events: Vec<Event>,
    /// Milliseconds at which each output was high.
    pub pulled: [Vec<u64>; 2],
    network: Vec<(usize, Vec<u8>)>,
}

pub fn keys() -> KeyRing {
    let key = Key::hmac(1, b"a secret").expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

fn config(me: Voter) -> Config {
    let resources = [ResourceKind::Address].into_iter().collect();
    Config {
        me,
        timing: Timing { guard: Duration::from_millis(4500), ..Timing::classic_defaults() },
        links: [LinkKind::Serial { baud: BAUD }, LinkKind::Broadcast].into_iter().collect(),
        groups: std::iter::once(GroupConfig { home: Voter::A, resources }).collect(),
        auto_failback: false,
        arbiter: Some(ArbiterConfig {
            link: LinkId(0),
            external_watchdog: false,
            fences: true,
            fence: None,
        }),
        patience: Patience::default(),
        digests: Digests { haresources: 1, settings: 1 },
    }
}

impl World {
    /// Both nodes and the dongle have power, nothing was said yet. The wires are sound and untested.
    pub fn new() -> Self {
        let ports = [FakePort::default(), FakePort::default()];
        let machine = |who: usize| {
            let line = FramePort::new(LineEnd(ports[who].clone()));
            Machine { node: None, boot: 0, line, frozen: false, boots_at: None }
        };
        let machines = [machine(A), machine(B)];
        let mut world = Self {
            ms: Rc::default(),
            ports,
            reset: Default::default(),
            line: Default::default(),
            sense: Default::default(),
            feed: Default::default(),
            store: FakeStore::default(),
            watchdog: FakeWatchdog::default(),
            dongle: None,
            machines,
            network_cut: false,
            wired: [Some(A), Some(B)],
            events: Vec::new(),
            pulled: Default::default(),
            network: Vec::new(),
        };
        world.insert(ResetReason::PowerOn);
        for who in [A, B] {
            world.boot(who);
        }
        world
    }

    /// As [`World::new`], with tested reset lines, and A runs the group.
    pub fn started() -> Self {
        let mut world = Self::new();
        world.commission();
        world.run(1000);
        assert!(world.runs(A) && !world.runs(B), "{:?}", world.events);
        world
    }

    /// What a tested dongle has in its flash.
    pub fn commission(&mut self) {
        let mut memory = Memory::default();
        for node in &mut memory.nodes {
            node.line = LineShown::Commissioned;
        }
        let boot = self.dongle.as_ref().map_or(BootId::new(1).expect("1"), |d| d.arbiter().boot());
        self.store.areas.borrow_mut()[0] = Record { boot, memory }.encode().to_vec();
        self.insert(ResetReason::PowerOn);
    }

    /// The dongle begins a life.
    pub fn insert(&mut self, reason: ResetReason) {
        self.dongle = None;
        if !reason.kept_power() {
            self.store.areas.borrow_mut()[1].clear();
        }
        let wires = [A, B].map(|who| Wires {
            reset: self.reset[who].clone(),
            line: Some(self.line[who].clone()),
            sense: Some(self.sense[who].clone()),
            feed: Some(self.feed[who].clone()),
        });
        let [one, two] = self.ports.clone();
        let clock = FakeClock(self.ms.clone());
        let (store, watchdog) = (self.store.clone(), self.watchdog.clone());
        let parts = Parts { board: Board::Host, one, two, wires, clock, store, watchdog };
        let config = arbiter::Config::new(7, BAUD);
        // A few lives a test: what they leave behind is no loss.
        let room = Box::leak(Box::new(Room::new()));
        self.dongle = Some(Dongle::start(room, config, &keys(), reason, parts).expect("it starts"));
    }

    pub fn now(&self) -> Instant {
        FakeClock(self.ms.clone()).now()
    }

    /// A machine begins a new life; its daemon is up at once.
    pub fn boot(&mut self, who: usize) {
        let (now, voter) = (self.now(), [Voter::A, Voter::B][who]);
        let machine = &mut self.machines[who];
        machine.boot += 1;
        machine.boots_at = None;
        let boot = BootId::new(machine.boot).expect("in range");
        machine.node = Some(Node::new(config(voter), keys(), boot, now).expect("valid"));
        (self.machines[who].frozen, self.machines[who].line) =
            (false, FramePort::new(LineEnd(self.ports[who].clone())));
        self.sense[who].0.set(true);
        self.feed[who].0.set(true);
    }

    /// Its power goes.
    pub fn power_off(&mut self, who: usize) {
        self.machines[who].node = None;
        self.machines[who].boots_at = None;
        self.sense[who].0.set(false);
        self.feed[who].0.set(false);
    }

    pub fn runs(&self, who: usize) -> bool {
        let node = self.machines[who].node.as_ref();
        node.and_then(|node| node.group(WEB)).is_some_and(|group| group.phase() == Phase::Running)
    }

    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms.set(self.ms.get() + 1);
            self.pull_resets();
            if let Some(dongle) = &mut self.dongle {
                dongle.turn();
                self.events.extend(std::iter::from_fn(|| dongle.poll_event()));
                if dongle.is_over() {
                    self.insert(ResetReason::Software);
                }
            }
            let network = std::mem::take(&mut self.network);
            for who in [A, B] {
                self.wake(who, &network);
            }
        }
    }

    /// What the reset outputs do to the machines: while one is high its machine is down.
    fn pull_resets(&mut self) {
        for output in [A, B] {
            let high = self.reset[output].0.get();
            if high {
                self.pulled[output].push(self.ms.get());
            }
            let Some(who) = self.wired[output] else {
                self.line[output].0.set(false);
                continue;
            };
            self.line[output].0.set(!high);
            if high {
                self.machines[who].node = None;
                self.machines[who].boots_at = Some(self.ms.get() + BOOT_MS);
                self.sense[who].0.set(false);
            } else if self.machines[who].boots_at.is_some_and(|at| self.ms.get() >= at) {
                self.boot(who);
            }
        }
    }

    fn wake(&mut self, who: usize, network: &[(usize, Vec<u8>)]) {
        let now = self.now();
        let machine = &mut self.machines[who];
        if machine.frozen {
            return;
        }
        let Some(node) = machine.node.as_mut() else {
            // Nobody reads what comes.
            self.ports[who].outgoing.borrow_mut().clear();
            return;
        };
        node.handle_wakeup(now);
        while machine.line.fill().expect("infallible") > 0 {
            while let Some(Ok(frame)) = machine.line.next_frame() {
                let _ = node.handle_frame(now, LinkId(0), frame);
            }
        }
        for (_, frame) in network.iter().filter(|(from, _)| *from != who) {
            let _ = node.handle_frame(now, LinkId(1), frame);
        }
        node.handle_timeout(now);
        let mut frame = [0; MAX_FRAME];
        loop {
            let mut answered = false;
            while let Some(action) = node.poll_action(now) {
                if let Action::Run { ticket, verb, .. } = action {
                    let outcome =
                        if verb == Verb::Status { Outcome::NotHeld } else { Outcome::Done };
                    node.handle_done(now, ticket.id(), outcome);
                    answered = true;
                }
            }
            while let Some(transmit) = node.poll_transmit(now, &mut frame) {
                let bytes = &frame[..transmit.len];
                if transmit.link == LinkId(0) {
                    machine.line.send(bytes).expect("infallible");
                } else if !self.network_cut {
                    self.network.push((who, bytes.to_vec()));
                }
            }
            while node.poll_event().is_some() {}
            if !answered {
                break;
            }
            node.handle_timeout(now);
        }
    }

    /// What the store has.
    pub fn record(&self) -> Option<Record> {
        Record::decode(&self.store.areas.borrow()[0])
    }

    pub fn retained(&self) -> Option<Retained> {
        Retained::decode(&self.store.areas.borrow()[1])
    }
}
