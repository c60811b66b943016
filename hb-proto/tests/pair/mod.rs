//! Two nodes, their links and their scripts, in simulated time: just enough world for stories.

#![allow(dead_code)]

use std::collections::BTreeMap;

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::config::{Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing};
use hb_proto::event::Event;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};

pub const A: usize = 0;
pub const B: usize = 1;
pub const WEB: GroupId = GroupId(0);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn config(me: Voter) -> Config {
    let resources = [ResourceKind::Address, ResourceKind::Script].into_iter().collect();
    Config {
        me,
        timing: Timing::classic_defaults(),
        links: [LinkKind::Serial { baud: 19200 }, LinkKind::Broadcast].into_iter().collect(),
        groups: std::iter::once(GroupConfig { home: Voter::A, resources }).collect(),
        auto_failback: true,
        arbiter: None,
        patience: Patience::default(),
        digests: Digests { haresources: 1, settings: 1 },
    }
}

pub fn keys() -> KeyRing {
    let key = Key::hmac(1, b"a secret").expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

/// What a machine's disk and resources outlive: its daemon.
pub struct Machine {
    pub node: Option<Node>,
    pub config: Config,
    pub boot: u32,
    /// Resources that run, whoever started them.
    pub held: Vec<(u8, u8)>,
    /// Orders under way: due, what.
    orders: Vec<(Instant, TicketId, u8, u8, Verb)>,
    pub events: Vec<(Instant, Event)>,
    pub script_time: Duration,
    /// Starts of these resources fail.
    pub broken: Vec<(u8, u8)>,
    /// Neither sends nor receives, keeps its state (SIGSTOP).
    pub stopped: bool,
    /// How long its clock stood still (a paused virtual machine).
    pub behind: Duration,
    pub departed: bool,
    inbox: Vec<(LinkId, Vec<u8>)>,
}

impl Machine {
    fn clock(&self, now: Instant) -> Instant {
        now - self.behind
    }

    /// When its node wants to be called, in true time.
    fn due(&self) -> Instant {
        self.node.as_ref().map_or(Instant::NEVER, |node| match node.poll_timeout() {
            Instant::NEVER => Instant::NEVER,
            due => due + self.behind,
        })
    }
}

pub struct Pair {
    pub now: Instant,
    pub machines: [Machine; 2],
    /// `cut[from][link]`: frames that `from` sends on that link are lost.
    pub cut: [[bool; 8]; 2],
    flying: BTreeMap<(Instant, u64), (usize, LinkId, Vec<u8>)>,
    frames: u64,
    /// Every moment at which both machines held the same address: from, to.
    pub double: Duration,
    pub orders: Vec<(usize, u8, u8, Verb)>,
    pub announced: usize,
    pub latency: Duration,
    /// Keep A's frames.
    pub record: bool,
    pub recorded: Vec<Vec<u8>>,
}

impl Pair {
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
                boot: 0,
                held: Vec::new(),
                orders: Vec::new(),
                events: Vec::new(),
                script_time: ms(5),
                broken: Vec::new(),
                stopped: false,
                behind: Duration::ZERO,
                departed: false,
                inbox: Vec::new(),
            }
        };
        Self {
            now: Instant::from_millis(1_000_000),
            machines: [machine(Voter::A), machine(Voter::B)],
            cut: [[false; 8]; 2],
            flying: BTreeMap::new(),
            frames: 0,
            double: Duration::ZERO,
            orders: Vec::new(),
            announced: 0,
            latency: Duration::from_micros(100),
            record: false,
            recorded: Vec::new(),
        }
    }

    pub fn started() -> Self {
        let mut pair = Self::new();
        pair.start(A);
        pair.start(B);
        pair.run(ms(3000));
        pair
    }

    pub fn start(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        machine.boot += 1;
        let boot = BootId::new(machine.boot).expect("not 0");
        let node = Node::new(machine.config.clone(), keys(), boot, machine.clock(self.now))
            .expect("configuration");
        (machine.node, machine.departed, machine.stopped) = (Some(node), false, false);
        machine.inbox.clear();
        self.drain(who);
    }

    /// The daemon is gone; resources stay.
    pub fn kill(&mut self, who: usize) {
        self.machines[who].node = None;
        self.machines[who].orders.clear();
    }

    /// Everything is gone.
    pub fn power_off(&mut self, who: usize) {
        self.kill(who);
        self.machines[who].held.clear();
    }

    pub fn cut_all(&mut self, cut: bool) {
        self.cut = [[cut; 8]; 2];
    }

    /// The whole machine stood still for `span`, its clock too; what was sent to it is lost.
    pub fn freeze(&mut self, who: usize, span: Duration) {
        self.machines[who].stopped = true;
        self.run(span);
        let machine = &mut self.machines[who];
        machine.stopped = false;
        machine.behind = machine.behind + span;
        machine.inbox.clear();
    }

    pub fn cut_link(&mut self, link: usize, cut: bool) {
        (self.cut[A][link], self.cut[B][link]) = (cut, cut);
    }

    pub fn node(&mut self, who: usize) -> &mut Node {
        self.machines[who].node.as_mut().expect("running")
    }

    pub fn serves(&self, who: usize) -> bool {
        let resources = &self.machines[who].config.groups[0].resources;
        (0..resources.len() as u8).all(|resource| self.machines[who].held.contains(&(0, resource)))
    }

    pub fn events_of(&self, who: usize) -> Vec<Event> {
        self.machines[who].events.iter().map(|&(_, event)| event).collect()
    }

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
        let due = self.due().min(end);
        let passed = due.since(self.now);
        if self.holds_address(A) && self.holds_address(B) {
            self.double = self.double + passed;
        }
        self.now = self.now.max(due);
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, link, bytes) = entry.remove();
            let machine = &mut self.machines[to];
            if machine.node.is_some() && machine.inbox.len() < 200 {
                machine.inbox.push((link, bytes));
            }
        }
        for who in [A, B] {
            self.wake(who);
        }
        self.now < end
    }

    fn due(&self) -> Instant {
        let mut due = self.flying.keys().next().map_or(Instant::NEVER, |key| key.0);
        for machine in &self.machines {
            if machine.stopped {
                continue;
            }
            due = due.min(machine.due());
            due =
                due.min(machine.orders.iter().map(|order| order.0).min().unwrap_or(Instant::NEVER));
        }
        due
    }

    fn holds_address(&self, who: usize) -> bool {
        self.machines[who].held.contains(&(0, 0))
    }

    fn wake(&mut self, who: usize) {
        let now = self.now;
        let machine = &mut self.machines[who];
        if machine.stopped || machine.node.is_none() {
            return;
        }
        let due = machine.due() <= now;
        let answered: Vec<_> =
            machine.orders.iter().filter(|order| order.0 <= now).copied().collect();
        if !due && machine.inbox.is_empty() && answered.is_empty() {
            return;
        }
        machine.orders.retain(|order| order.0 > now);
        let clock = machine.clock(now);
        machine.node.as_mut().expect("checked").handle_wakeup(clock);
        self.drain(who);
        let machine = &mut self.machines[who];
        let Some(node) = &mut machine.node else { return };
        for (link, bytes) in machine.inbox.drain(..) {
            let _ = node.handle_frame(clock, link, &bytes);
        }
        for (_, ticket, group, resource, verb) in answered {
            let outcome = carry_out(&mut machine.held, &machine.broken, group, resource, verb);
            node.handle_done(clock, ticket, outcome);
        }
        node.handle_timeout(clock);
        self.drain(who);
    }

    /// Drains all outputs, as the contract asks.
    pub fn drain(&mut self, who: usize) {
        let now = self.now;
        let mut frame = [0; MAX_FRAME];
        let machine = &mut self.machines[who];
        let clock = machine.clock(now);
        let Some(node) = &mut machine.node else { return };
        while let Some(action) = node.poll_action(clock) {
            match action {
                Action::Run { ticket, group, resource, verb } => {
                    if verb != Verb::Status {
                        self.orders.push((who, group.0, resource, verb));
                    }
                    machine.orders.push((
                        now + machine.script_time,
                        ticket.id(),
                        group.0,
                        resource,
                        verb,
                    ));
                }
                Action::Abort { ticket } => {
                    let order = machine.orders.iter_mut().find(|order| order.1 == ticket);
                    order.expect("an order under way").0 = now;
                }
                Action::DropAddresses { group } => {
                    machine.held.retain(|held| *held != (group.0, 0));
                }
                Action::Announce { .. } => self.announced += 1,
                Action::Depart { .. } => machine.departed = true,
            }
        }
        while let Some(transmit) = node.poll_transmit(clock, &mut frame) {
            self.frames += 1;
            if self.record && who == A {
                self.recorded.push(frame[..transmit.len].to_vec());
            }
            if self.cut[who][transmit.link.index()] {
                continue;
            }
            let line = machine.config.links[transmit.link.index()].time_on_line(transmit.len + 2);
            let key = (now + line + self.latency, self.frames);
            self.flying.insert(key, (1 - who, transmit.link, frame[..transmit.len].to_vec()));
        }
        while let Some(event) = node.poll_event() {
            machine.events.push((now, event));
        }
        if machine.departed {
            machine.node = None;
        }
    }
}

fn carry_out(
    held: &mut Vec<(u8, u8)>,
    broken: &[(u8, u8)],
    group: u8,
    resource: u8,
    verb: Verb,
) -> Outcome {
    let what = (group, resource);
    match verb {
        Verb::Status if held.contains(&what) => Outcome::Held,
        Verb::Status => Outcome::NotHeld,
        Verb::Start if broken.contains(&what) => Outcome::Failed,
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
