//! The real state machines, one step at a time: put back into a state, woken with what arrived, drained.

use hb_proto::action::{Action, Outcome as Answer, TicketId, Verb};
use hb_proto::arbiter::{self, Accepted, Arbiter, Memory, Port};
use hb_proto::authority::{FrameName, Promisee, Stance};
use hb_proto::config::{
    ArbiterConfig, Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing,
};
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::node::{self, Node};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::message::arbiter::ResetReason;

use super::bounds::Bounds;
use super::frame::{Frame, keys};

/// The group.
pub const WEB: GroupId = GroupId(0);

/// A step on a clock that runs as it should.
const STEP: Duration = Duration::from_secs(1);
pub const LEASE: Duration = STEP.times(3);
pub const DEADTIME_STEPS: u8 = 4;
/// So that full, lease × 1.05 + guard, is five steps on a clock that is 5 % fast and six on one that isn't.
pub const GUARD: Duration = STEP.percent(210);
/// Steps after which a machine whose watchdog isn't fed is reset: within guard on every clock, just.
pub const WATCHDOG_STEPS: u8 = 2;
/// So fast that no frame waits for another one.
const BAUD: u32 = 1_000_000_000;

/// A party as a state has it. Its clock shows the same in every state: [`Parties::now`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Local {
    /// A node without power, or without its daemon.
    Off,
    /// A node, and the script that was called in its last step.
    Node(Box<node::Decisions>, Option<Order>),
    /// The arbiter without power, and its memory.
    Unplugged(Option<Memory>),
    /// The arbiter.
    Arbiter(Box<arbiter::Decisions>),
}

/// A script that was called.
pub type Order = (TicketId, Verb);

/// A frame that left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sent {
    /// Index into [`super::event::WIRES`].
    pub wire: u8,
    pub to: Voter,
    /// The receiver's link, or port.
    pub via: u8,
    pub frame: Frame,
}

/// What a step did beside changing the party.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Did {
    /// The resource may run here.
    pub held: bool,
    /// A node's watchdog is fed.
    pub fed: bool,
    /// Nodes (bits) of which the arbiter processed a frame.
    pub heard: u8,
    /// Nodes (bits) whose reset line the arbiter pulled.
    pub pulsed: u8,
}

/// What of a party the properties speak of; times from now, on its own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// For how long it is bound, and to whom; `None` to nobody knows whom.
    pub promised: Option<(Option<Voter>, Duration)>,
    /// For how long it counts each voter's promise.
    pub counts: [Duration; Voter::COUNT],
    /// It asks for the group, or has called it its own and not yet released it.
    pub asks: bool,
    pub runs: bool,
    /// It may run it.
    pub grounded: bool,
    pub serves: bool,
    pub newest_seq: u32,
}

/// Which life each voter lives, and by how much its frames are renumbered after a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ages {
    pub boots: [u8; Voter::COUNT],
    /// Bits: this voter sends in this step, and has sent enough before.
    pub shifts: u8,
}

impl Ages {
    /// The number that a frame has from the next step on: a life's newest is `NEWEST`, and all that are
    /// older than the horizon are 1.
    pub fn number(&self, of: Voter, name: FrameName) -> u32 {
        // A life that is over keeps its numbers: it may have been too short for them to be told apart.
        let lives = name.boot.value() == u32::from(self.boots[of.index()]);
        let shift = lives && self.shifts >> of.index() & 1 == 1;
        name.seq.saturating_sub(u32::from(shift)).max(1)
    }
}

/// One of each, to be put into any state.
pub struct Parties {
    nodes: [Node; 2],
    arbiter: Arbiter,
    keys: KeyRing,
    bounds: Bounds,
}

fn config(me: Voter) -> Config {
    Config {
        me,
        timing: Timing {
            keepalive: STEP,
            warntime: STEP.times(u64::from(DEADTIME_STEPS)),
            deadtime: STEP.times(u64::from(DEADTIME_STEPS)),
            initdead: STEP.times(u64::from(DEADTIME_STEPS)),
            lease: LEASE,
            guard: GUARD,
            drift_percent: 5,
        },
        links: [LinkKind::Serial { baud: BAUD }, LinkKind::Unicast].into_iter().collect(),
        groups: std::iter::once(GroupConfig {
            home: Voter::A,
            resources: std::iter::once(ResourceKind::Script).collect(),
        })
        .collect(),
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

fn boot_id(boot: u8) -> BootId {
    BootId::new(u32::from(boot)).expect("not 0")
}

impl Parties {
    pub fn new(bounds: &Bounds) -> Self {
        let node =
            |me| Node::new(config(me), keys(), boot_id(1), Instant::ZERO).expect("a configuration");
        let arbiter = Arbiter::new(
            Self::dongle(),
            keys(),
            boot_id(1),
            None,
            ResetReason::PowerOn,
            Instant::ZERO,
        );
        Self {
            nodes: [node(Voter::A), node(Voter::B)],
            arbiter: arbiter.expect("a configuration"),
            keys: keys(),
            bounds: bounds.clone(),
        }
    }

    fn dongle() -> arbiter::Config {
        arbiter::Config { keepalive: STEP, deadtime: STEP, ..arbiter::Config::new(7, BAUD) }
    }

    /// How long a step is on this voter's clock.
    pub fn step_of(&self, voter: Voter) -> Duration {
        STEP.percent(u64::from(self.bounds.rates[voter.index()]))
    }

    /// What its clock shows after a step, once the step is part of the past.
    pub fn now(&self, voter: Voter) -> Instant {
        Instant::ZERO + self.step_of(voter).times(u64::from(self.bounds.horizon()))
    }

    // ---- a life begins

    pub fn begin_node(&mut self, me: Voter, boot: u8, held: bool, ages: &Ages) -> (Local, Did) {
        let now = self.now(me);
        let mut node = Node::new(config(me), keys(), boot_id(boot), now).expect("as before");
        node.remember_longest_promise(now, config(me).timing.full());
        #[cfg(feature = "mutants")]
        node.break_rule(self.bounds.broken);
        self.nodes[me.index()] = node;
        let mut did = Did { held, ..Did::default() };
        let mut order = None;
        let _ = self.drain_node(me, now, &mut did, &mut order);
        (self.node_now(me, now, Duration::ZERO, order, ages), did)
    }

    pub fn begin_arbiter(
        &mut self,
        boot: u8,
        memory: Option<Memory>,
        reset: ResetReason,
        ages: &Ages,
    ) -> Local {
        let now = self.now(Voter::Arbiter);
        let mut arbiter =
            Arbiter::new(Self::dongle(), keys(), boot_id(boot), memory, reset, now).expect("fine");
        if self.bounds.reset_lines.are_there() && memory.is_none() {
            arbiter.handle_commissioned(Voter::A, true);
            arbiter.handle_commissioned(Voter::B, true);
        }
        #[cfg(feature = "mutants")]
        arbiter.break_rule(self.bounds.broken);
        self.arbiter = arbiter;
        // It stores what it was told, and speaks at its first wake-up.
        while self.arbiter.poll_action(now).is_some() {}
        self.arbiter_now(now, Duration::ZERO, ages)
    }

    // ---- a step

    pub fn step_node(
        &mut self,
        me: Voter,
        d: &node::Decisions,
        mut order: Option<Order>,
        inbox: &[(u8, Frame)],
        held: bool,
        ages: &Ages,
    ) -> (Local, Vec<Sent>, Did) {
        let passed = self.step_of(me);
        let now = self.now(me) + passed;
        let mut did = Did { held, ..Did::default() };
        self.nodes[me.index()].swap_decisions(d.clone());
        self.nodes[me.index()].handle_wakeup(now);
        let answered = order.take();
        let mut sent = self.drain_node(me, now, &mut did, &mut order);
        let mut bytes = [0; MAX_FRAME];
        for (link, frame) in inbox {
            let len = frame.write(&self.keys, &mut bytes);
            // What is refused was heard already, or is of a life that is over.
            let _ = self.nodes[me.index()].handle_frame(now, LinkId(*link), &bytes[..len]);
        }
        if let Some((ticket, verb)) = answered {
            let outcome = match verb {
                Verb::Status if did.held => Answer::Held,
                Verb::Status => Answer::NotHeld,
                Verb::Start | Verb::Stop => Answer::Done,
            };
            did.held &= verb != Verb::Stop;
            self.nodes[me.index()].handle_done(now, ticket, outcome);
        }
        self.nodes[me.index()].handle_timeout(now);
        sent.append(&mut self.drain_node(me, now, &mut did, &mut order));
        did.fed = self.nodes[me.index()].may_feed_watchdog(now);
        (self.node_now(me, now, passed, order, ages), sent, did)
    }

    pub fn step_arbiter(
        &mut self,
        d: &arbiter::Decisions,
        inbox: &[(u8, Frame)],
        ages: &Ages,
    ) -> (Local, Vec<Sent>, Did) {
        let passed = self.step_of(Voter::Arbiter);
        let now = self.now(Voter::Arbiter) + passed;
        let mut did = Did::default();
        self.arbiter.swap_decisions(d.clone());
        self.arbiter.handle_wakeup(now);
        let mut bytes = [0; MAX_FRAME];
        for (port, frame) in inbox {
            let len = frame.write(&self.keys, &mut bytes);
            let port = Port::ALL[usize::from(*port)];
            let before = self.arbiter.ledger().voice(frame.sender).map(|voice| voice.newest);
            let taken = self.arbiter.handle_frame(now, port, &bytes[..len]);
            let after = self.arbiter.ledger().voice(frame.sender).map(|voice| voice.newest);
            if taken == Ok(Accepted::First) && before != after {
                did.heard |= 1 << frame.sender.index();
            }
        }
        self.arbiter.handle_timeout(now);
        let sent = self.drain_arbiter(now, &mut did);
        (self.arbiter_now(now, passed, ages), sent, did)
    }

    /// A step that passes without waking the party: it is frozen.
    pub fn pass_node(
        &mut self,
        me: Voter,
        d: &node::Decisions,
        order: Option<Order>,
        ages: &Ages,
    ) -> Local {
        let passed = self.step_of(me);
        self.nodes[me.index()].swap_decisions(d.clone());
        self.node_now(me, self.now(me) + passed, passed, order, ages)
    }

    // ---- what a party's driver does

    fn drain_node(
        &mut self,
        me: Voter,
        now: Instant,
        did: &mut Did,
        order: &mut Option<Order>,
    ) -> Vec<Sent> {
        let node = &mut self.nodes[me.index()];
        while let Some(action) = node.poll_action(now) {
            match action {
                Action::Run { ticket, verb, .. } => {
                    assert!(order.is_none(), "one group, one resource, one order");
                    did.held |= verb == Verb::Start;
                    *order = Some((ticket.id(), verb));
                }
                // The script ends a step later as it would have; the address of this group is a script.
                Action::Abort { .. } | Action::DropAddresses { .. } | Action::Announce { .. } => {}
                Action::Depart { .. } => unreachable!("nobody is told to leave"),
            }
        }
        let (mut sent, mut bytes) = (Vec::new(), [0; MAX_FRAME]);
        while let Some(transmit) = node.poll_transmit(now, &mut bytes) {
            let frame = Frame::read(&bytes[..transmit.len], &self.keys);
            let index = me.index() as u8;
            sent.push(match transmit.link.0 {
                0 => Sent { wire: 2 + 2 * index, to: Voter::Arbiter, via: index, frame },
                _ => Sent { wire: index, to: me.peer(), via: 1, frame },
            });
        }
        while node.poll_event().is_some() {}
        sent
    }

    fn drain_arbiter(&mut self, now: Instant, did: &mut Did) -> Vec<Sent> {
        while let Some(action) = self.arbiter.poll_action(now) {
            match action {
                // Stored: it is in the decisions.
                arbiter::Action::Store(_) => {}
                arbiter::Action::Pulse { node } => {
                    did.pulsed |= 1 << node.index();
                    let evidence = self.bounds.reset_lines.have_evidence();
                    self.arbiter.handle_pulsed(now, node, evidence);
                    self.arbiter.handle_timeout(now);
                }
                arbiter::Action::Restart { .. } => unreachable!("no boot id is used twice"),
            }
        }
        let (mut sent, mut bytes) = (Vec::new(), [0; MAX_FRAME]);
        while let Some(transmit) = self.arbiter.poll_transmit(now, &mut bytes) {
            let frame = Frame::read(&bytes[..transmit.len], &self.keys);
            let port = transmit.port.index() as u8;
            let to = [Voter::A, Voter::B][transmit.port.index()];
            sent.push(Sent { wire: 3 + 2 * port, to, via: 0, frame });
        }
        while self.arbiter.poll_event().is_some() {}
        sent
    }

    // ---- states

    fn node_now(
        &mut self,
        me: Voter,
        now: Instant,
        passed: Duration,
        order: Option<Order>,
        ages: &Ages,
    ) -> Local {
        let node = &mut self.nodes[me.index()];
        node.coarsen(now);
        if self.bounds.plain {
            return Local::Node(Box::new(node.decisions().clone().rebased(passed)), order);
        }
        let number = |of: Voter, name: FrameName| ages.number(of, name);
        let d = node.canonical(now, passed, &number);
        // The one order under way, if there is one, is the first.
        Local::Node(Box::new(d), order.map(|(_, verb)| (TicketId(1), verb)))
    }

    fn arbiter_now(&mut self, now: Instant, passed: Duration, ages: &Ages) -> Local {
        self.arbiter.coarsen(now);
        if self.bounds.plain {
            return Local::Arbiter(Box::new(self.arbiter.decisions().clone().rebased(passed)));
        }
        let number = |of: Voter, name: FrameName| ages.number(of, name);
        Local::Arbiter(Box::new(self.arbiter.canonical(now, passed, &number)))
    }

    pub fn summary(&mut self, who: Voter, local: &Local) -> Summary {
        let now = self.now(who);
        let left = |until: Instant| until.since(now);
        match local {
            Local::Off | Local::Unplugged(_) => Summary::default(),
            Local::Node(d, _) => {
                let node = &mut self.nodes[who.index()];
                node.swap_decisions((**d).clone());
                let promises = node.promises(WEB);
                Summary {
                    promised: promised(promises, now),
                    counts: Voter::ALL.map(|by| left(promises.counted_until(by))),
                    asks: node.stance(WEB) != Stance::Idle,
                    runs: node.stance(WEB) == Stance::Running,
                    grounded: node.ground(WEB, now).is_some(),
                    serves: node.group(WEB).is_some_and(|group| group.phase() == Phase::Running),
                    newest_seq: node.newest_seq(),
                }
            }
            Local::Arbiter(d) => {
                self.arbiter.swap_decisions((**d).clone());
                let ledger = self.arbiter.ledger();
                Summary {
                    promised: promised(ledger.promises(WEB), now),
                    newest_seq: ledger.newest_seq(),
                    ..Summary::default()
                }
            }
        }
    }

    /// The arbiter loses power, or its program ends.
    pub fn unplug(&mut self, local: &Local) -> Local {
        let Local::Arbiter(d) = local else { return local.clone() };
        self.arbiter.swap_decisions((**d).clone());
        Local::Unplugged(Some(*self.arbiter.memory()))
    }
}

fn promised<P: hb_proto::authority::Part>(
    promises: &hb_proto::authority::Promises<P>,
    now: Instant,
) -> Option<(Option<Voter>, Duration)> {
    let to = match promises.promised_to(now)? {
        Promisee::To(to) => Some(to),
        Promisee::Unknown => None,
    };
    Some((to, promises.promise_ends()?.since(now)))
}
