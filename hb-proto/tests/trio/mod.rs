//! Two nodes and an arbiter, their lines, scripts, watchdogs and reset lines, in simulated time.
//!
//! Each node has a network link to the other and a serial line to the arbiter. A machine that is frozen
//! keeps its addresses until its watchdog, or the arbiter, resets it.

#![allow(dead_code)] // Several test programs use it, each its part.

mod dongle;
mod lemma;
mod verbs;

use std::collections::BTreeMap;

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::arbiter::{self, Arbiter, Memory, Port};
use hb_proto::config::{
    ArbiterConfig, Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing,
};
use hb_proto::event::Event;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};
#[cfg(feature = "mutants")]
use hb_proto::wire::message::Versions;
use hb_proto::wire::message::arbiter::ResetReason;

#[cfg(feature = "mutants")]
#[path = "../mutants/mod.rs"]
pub mod mutants;

pub const A: usize = 0;
pub const B: usize = 1;
pub const WEB: GroupId = GroupId(0);
/// The machines' watchdogs; guard is twice that and a margin (R10).
pub const WATCHDOG: Duration = Duration::from_millis(2000);
pub const GUARD: Duration = Duration::from_millis(4500);
/// lease × 1.05 + guard.
pub const FULL: Duration = Duration::from_millis(4920);
/// deadtime 500 + two scripts of 5 ms and their frames.
pub const BY_FENCE: Duration = ms(560);
/// Without a reset line the promises to the dead must end: full, and then the arbiter's new one.
pub const BY_TIME: Duration = ms(5200);
const BAUD: u32 = 115_200;
const REBOOT: Duration = Duration::from_millis(3000);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn config(me: Voter) -> Config {
    let resources = [ResourceKind::Address, ResourceKind::Script].into_iter().collect();
    Config {
        me,
        timing: Timing { guard: GUARD, ..Timing::classic_defaults() },
        links: [LinkKind::Serial { baud: BAUD }, LinkKind::Broadcast].into_iter().collect(),
        groups: std::iter::once(GroupConfig { home: Voter::A, resources }).collect(),
        auto_failback: true,
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

pub fn keys() -> KeyRing {
    let key = Key::hmac(1, b"a secret").expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

pub struct Machine {
    pub node: Option<Node>,
    pub config: Config,
    pub keys: KeyRing,
    pub boot: u32,
    /// Resources that run, whoever started them.
    pub held: Vec<(u8, u8)>,
    pub orders: Vec<(Instant, TicketId, u8, u8, Verb)>,
    pub events: Vec<(Instant, Event)>,
    #[cfg(feature = "mutants")]
    pub versions: Versions,
    pub script_time: Duration,
    /// Neither sends nor receives nor stops anything, keeps its state.
    pub frozen: bool,
    pub has_watchdog: bool,
    /// When the watchdog was last fed; none before it was opened.
    fed_at: Option<Instant>,
    /// After a reset it comes back.
    pub reboots: bool,
    reboot_at: Option<Instant>,
    pub resets: u32,
    /// R8: what the disk says of the longest promise.
    pub longest: Duration,
    inbox: Vec<(LinkId, Vec<u8>)>,
    /// Frames that wait for a machine that doesn't read them.
    pub inbox_max: usize,
}

pub struct Dongle {
    pub arbiter: Option<Arbiter>,
    pub id: u32,
    pub keys: KeyRing,
    pub boot: u32,
    pub memory: Option<Memory>,
    /// When it was put back into the line with its power on.
    pub put_back_at: Option<Instant>,
    inbox: Vec<(Port, Vec<u8>)>,
    /// Which machine the reset line for A, and for B, really goes to.
    pub wired: [Option<usize>; 2],
    /// The line's own electrical evidence.
    pub supervised: bool,
    /// The machines' port lines are sensed.
    pub senses: bool,
    /// It says that it pulled a board down, and didn't.
    pub lies: bool,
    pub pulses: Vec<(Instant, Voter)>,
    pub frozen: bool,
    pub stores: u32,
    pub restarts: u32,
    pub events: Vec<(Instant, arbiter::Event)>,
    #[cfg(feature = "mutants")]
    pub versions: Versions,
}

/// Knuth's MMIX generator.
pub struct Lcg(u64);

impl Lcg {
    pub fn new(seed: u64) -> Self {
        let mut lcg = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
        lcg.below(2);
        lcg
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Clone, Copy)]
enum To {
    Machine(usize, LinkId),
    Dongle(Port),
}

pub struct Trio {
    pub now: Instant,
    pub machines: [Machine; 2],
    pub dongle: Dongle,
    /// Frames that this machine sends over the network are lost.
    pub net: [bool; 2],
    /// Frames of this machine to the dongle are lost, and the dongle's to it.
    pub up: [bool; 2],
    pub down: [bool; 2],
    /// Of the dongle's frames to this machine only its own get through, not the peer's.
    pub own_only: [bool; 2],
    flying: BTreeMap<(Instant, u64), (To, Vec<u8>)>,
    frames: u64,
    /// How long both machines had the same address.
    pub double: Duration,
    /// How long nobody had it, since last set to zero.
    pub dark: Duration,
    pub orders: Vec<(usize, u8, u8, Verb)>,
    pub latency: Duration,
    /// With it, frames get lost, late, and repeated.
    pub noise: Option<Lcg>,
    /// Percent of the frames that are lost, and that come up to a second late.
    pub loss: u64,
    pub late: u64,
    /// Moments at which a node counted somebody's promise, each of which was held against lemma 1.
    pub judged: u64,
    /// For soups: guard changes with every start.
    pub guard_changes: bool,
    /// Said when lemma 1 is broken.
    pub name: String,
}

const PORTS: [Port; 2] = Port::ALL;

impl Trio {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(edit: impl Fn(&mut Config)) -> Self {
        let machine = |me| {
            let mut config = config(me);
            edit(&mut config);
            Machine {
                node: None,
                config,
                keys: keys(),
                boot: 0,
                held: Vec::new(),
                orders: Vec::new(),
                events: Vec::new(),
                script_time: ms(5),
                #[cfg(feature = "mutants")]
                versions: Versions::OURS,
                frozen: false,
                has_watchdog: true,
                fed_at: None,
                reboots: true,
                reboot_at: None,
                resets: 0,
                longest: Duration::ZERO,
                inbox: Vec::new(),
                inbox_max: 64,
            }
        };
        let dongle = Dongle {
            arbiter: None,
            id: 7,
            keys: keys(),
            boot: 0,
            memory: None,
            put_back_at: None,
            inbox: Vec::new(),
            wired: [None; 2],
            supervised: false,
            senses: false,
            lies: false,
            pulses: Vec::new(),
            frozen: false,
            stores: 0,
            restarts: 0,
            events: Vec::new(),
            #[cfg(feature = "mutants")]
            versions: Versions::OURS,
        };
        Self {
            now: Instant::from_millis(1_000_000),
            machines: [machine(Voter::A), machine(Voter::B)],
            dongle,
            net: [false; 2],
            up: [false; 2],
            down: [false; 2],
            own_only: [false; 2],
            flying: BTreeMap::new(),
            frames: 0,
            double: Duration::ZERO,
            dark: Duration::ZERO,
            orders: Vec::new(),
            latency: Duration::from_micros(100),
            noise: None,
            loss: 0,
            late: 0,
            judged: 0,
            guard_changes: false,
            name: String::new(),
        }
    }

    /// A frame leaves; it arrives once, unless there is noise.
    fn fly(&mut self, line: Duration, to: impl Fn() -> To, frame: &[u8]) {
        let (mut copies, mut delay) = (1, self.latency);
        if let Some(noise) = &mut self.noise {
            copies = u64::from(!noise.percent(self.loss)) + u64::from(noise.percent(2));
            let most = if noise.percent(self.late) { 1_000_000 } else { 3000 };
            delay = Duration::from_micros(50 + noise.below(most));
        }
        for _ in 0..copies {
            self.frames += 1;
            self.flying.insert((self.now + line + delay, self.frames), (to(), frame.to_vec()));
        }
    }

    /// Everything on, A serves, every promise renewed.
    pub fn started() -> Self {
        Self::new().started_up()
    }

    /// With supervised, commissioned reset lines.
    pub fn with_reset_lines() -> Self {
        let mut trio = Self::new();
        trio.wire_reset_lines();
        trio.started_up()
    }

    pub fn wire_reset_lines(&mut self) {
        self.dongle.wired = [Some(A), Some(B)];
        self.dongle.supervised = true;
    }

    pub fn started_up(mut self) -> Self {
        self.plug_in(ResetReason::PowerOn);
        self.start(A);
        self.start(B);
        self.run_until(ms(20_000), "A serves", |trio| trio.serves(A));
        self.run(ms(8000));
        self.dark = Duration::ZERO;
        self
    }

    // ---- the arbiter

    /// A life of the dongle begins: power, or a reset.
    pub fn plug_in(&mut self, reset: ResetReason) {
        self.dongle.boot += 1;
        let boot = BootId::new(self.dongle.boot).expect("not 0");
        let config = arbiter::Config::new(self.dongle.id, BAUD);
        let memory = self.dongle.memory;
        let mut arbiter =
            Arbiter::new(config, self.dongle.keys.clone(), boot, memory, reset, self.now)
                .expect("good");
        for (line, node) in self.dongle.wired.iter().zip([Voter::A, Voter::B]) {
            let fresh = memory.is_none();
            if line.is_some() && fresh {
                arbiter.handle_commissioned(node, true);
            }
        }
        #[cfg(feature = "mutants")]
        {
            arbiter.break_rule(mutants::BROKEN.get());
            arbiter.understand(self.dongle.versions);
        }
        self.dongle.arbiter = Some(arbiter);
        self.dongle.inbox.clear();
        self.dongle.frozen = false;
        self.drain_dongle();
    }

    pub fn unplug(&mut self) {
        self.dongle.arbiter = None;
    }

    /// A chip reset that keeps its memory.
    pub fn reset_dongle(&mut self) {
        self.unplug();
        self.plug_in(ResetReason::Watchdog);
    }

    pub fn arbiter(&self) -> &Arbiter {
        self.dongle.arbiter.as_ref().expect("plugged in")
    }

    // ---- machines

    pub fn start(&mut self, who: usize) {
        let now = self.now;
        let machine = &mut self.machines[who];
        machine.boot += 1;
        let boot = BootId::new(machine.boot).expect("not 0");
        let mut node =
            Node::new(machine.config.clone(), machine.keys.clone(), boot, now).expect("good");
        node.remember_longest_promise(now, machine.longest);
        machine.longest = machine.longest.max(machine.config.timing.full());
        #[cfg(feature = "mutants")]
        {
            node.break_rule(mutants::BROKEN.get());
            node.understand(machine.versions);
        }
        machine.node = Some(node);
        (machine.frozen, machine.reboot_at) = (false, None);
        machine.inbox.clear();
        self.drain(who);
    }

    /// The daemon is gone; its resources stay. The kernel feeds the watchdog once as it closes the device,
    /// and it goes on counting: the next life opens it when it is clean (R9, R10).
    pub fn kill(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        machine.fed_at = machine.fed_at.map(|_| self.now);
        machine.node = None;
        self.machines[who].orders.clear();
    }

    pub fn power_off(&mut self, who: usize) {
        self.kill(who);
        let machine = &mut self.machines[who];
        machine.held.clear();
        (machine.frozen, machine.fed_at, machine.reboot_at) = (false, None, None);
    }

    fn reset(&mut self, who: usize) {
        self.power_off(who);
        self.machines[who].resets += 1;
        if self.machines[who].reboots {
            self.machines[who].reboot_at = Some(self.now + REBOOT);
        }
    }

    pub fn node(&mut self, who: usize) -> &mut Node {
        self.machines[who].node.as_mut().expect("running")
    }

    // ---- time

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }

    /// Runs until `done`, or fails after `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(self.step(start + limit), "{what}: not within {limit}");
        }
        self.now.since(start)
    }

    fn step(&mut self, end: Instant) -> bool {
        let due = self.due().max(self.now).min(end);
        let passed = due.since(self.now);
        let twice = |held: &(u8, u8)| held.1 == 0 && self.machines[B].held.contains(held);
        if self.machines[A].held.iter().any(twice) {
            self.double = self.double + passed;
        }
        if !self.holds_address(A) && !self.holds_address(B) {
            self.dark = self.dark + passed;
        }
        self.now = due;
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                (To::Machine(who, link), bytes) => {
                    let machine = &mut self.machines[who];
                    if machine.node.is_some() && machine.inbox.len() < machine.inbox_max {
                        machine.inbox.push((link, bytes));
                    }
                }
                (To::Dongle(port), bytes) => self.dongle.inbox.push((port, bytes)),
            }
        }
        for who in [A, B] {
            self.machine_passes(who);
            self.wake(who);
        }
        self.wake_dongle();
        lemma::hold(self);
        self.now < end
    }

    fn due(&self) -> Instant {
        let mut due = self.flying.keys().next().map_or(Instant::NEVER, |key| key.0);
        for machine in &self.machines {
            if let Some(fed_at) = machine.fed_at.filter(|_| machine.has_watchdog) {
                due = due.min(fed_at + WATCHDOG);
            }
            due = due.min(machine.reboot_at.unwrap_or(Instant::NEVER));
            if machine.frozen {
                continue;
            }
            due = due.min(machine.node.as_ref().map_or(Instant::NEVER, Node::poll_timeout));
            let orders = machine.orders.iter().map(|order| order.0).min();
            due = due.min(orders.unwrap_or(Instant::NEVER));
        }
        if let Some(arbiter) = self.dongle.arbiter.as_ref().filter(|_| !self.dongle.frozen) {
            due = due.min(arbiter.poll_timeout());
        }
        due
    }

    /// Watchdog and reboot: what goes on without the daemon.
    fn machine_passes(&mut self, who: usize) {
        let machine = &self.machines[who];
        let starved = machine.fed_at.is_some_and(|at| self.now.since(at) >= WATCHDOG);
        if starved && machine.has_watchdog {
            self.reset(who);
        } else if machine.reboot_at.is_some_and(|at| at <= self.now) {
            self.start(who);
        }
    }

    fn wake(&mut self, who: usize) {
        let now = self.now;
        let machine = &mut self.machines[who];
        if machine.frozen || machine.node.is_none() {
            return;
        }
        let due = machine.node.as_ref().expect("checked").poll_timeout() <= now;
        let answered: Vec<_> =
            machine.orders.iter().filter(|order| order.0 <= now).copied().collect();
        if !due && machine.inbox.is_empty() && answered.is_empty() {
            return;
        }
        machine.orders.retain(|order| order.0 > now);
        machine.node.as_mut().expect("checked").handle_wakeup(now);
        self.drain(who);
        let machine = &mut self.machines[who];
        let Some(node) = &mut machine.node else { return };
        for (link, bytes) in machine.inbox.drain(..) {
            let _ = node.handle_frame(now, link, &bytes);
        }
        for (_, ticket, group, resource, verb) in answered {
            let outcome = carry_out(&mut machine.held, group, resource, verb);
            node.handle_done(now, ticket, outcome);
        }
        node.handle_timeout(now);
        // It only shrinks from here, and may be stored late.
        machine.longest = node.longest_promise();
        if node.may_feed_watchdog(now) || machine.fed_at.is_none() && node.is_clean() {
            machine.fed_at = Some(now);
        }
        self.drain(who);
    }

    pub fn drain(&mut self, who: usize) {
        let now = self.now;
        let mut frame = [0; MAX_FRAME];
        let machine = &mut self.machines[who];
        let Some(node) = &mut machine.node else { return };
        let (mut departed, mut leaving) = (false, Vec::new());
        while let Some(action) = node.poll_action(now) {
            match action {
                Action::Run { ticket, group, resource, verb } => {
                    if verb != Verb::Status {
                        self.orders.push((who, group.0, resource, verb));
                    }
                    let due = now + machine.script_time;
                    machine.orders.push((due, ticket.id(), group.0, resource, verb));
                }
                Action::Abort { ticket } => {
                    // It may have ended in this very moment.
                    let order = machine.orders.iter_mut().find(|order| order.1 == ticket);
                    order.into_iter().for_each(|order| order.0 = now);
                }
                Action::DropAddresses { group } => {
                    machine.held.retain(|held| *held != (group.0, 0));
                }
                Action::Announce { .. } => {}
                Action::Depart { .. } => departed = true,
            }
        }
        while let Some(transmit) = node.poll_transmit(now, &mut frame) {
            let kind = machine.config.links[transmit.link.index()];
            let serial = matches!(kind, LinkKind::Serial { .. });
            let (cut, to) = if serial {
                (self.up[who], To::Dongle(PORTS[who]))
            } else {
                (self.net[who], To::Machine(1 - who, transmit.link))
            };
            if cut {
                continue;
            }
            leaving.push((kind.time_on_line(transmit.len + 2), to, frame[..transmit.len].to_vec()));
        }
        while let Some(event) = node.poll_event() {
            machine.events.push((now, event));
        }
        if departed {
            machine.node = None;
            machine.fed_at = None;
        }
        for (line, to, bytes) in leaving {
            self.fly(line, || to, &bytes);
        }
    }
}

fn carry_out(held: &mut Vec<(u8, u8)>, group: u8, resource: u8, verb: Verb) -> Outcome {
    let what = (group, resource);
    match verb {
        Verb::Status if held.contains(&what) => Outcome::Held,
        Verb::Status => Outcome::NotHeld,
        Verb::Start => {
            if !held.contains(&what) {
                held.push(what);
            }
            Outcome::Done
        }
        Verb::Stop => {
            held.retain(|one| *one != what);
            Outcome::Done
        }
    }
}
