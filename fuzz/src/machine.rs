//! A node and what its orders did: drained as the contract asks, held to the rules after every input.

use std::collections::BTreeSet;

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::config::Config;
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message;

use crate::bytes::KEYS;

/// Outputs that one input can cause: 16 groups, 8 links and 64 events, several times over.
const DRAIN_MAX: usize = 1000;

/// What an operator asks for.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    Standby(Option<GroupId>),
    Takeover(Option<GroupId>),
    PeerIsOff,
    Leave,
}

/// Everything that happens to a node at one moment.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub frames: Vec<(LinkId, Vec<u8>)>,
    pub damage: Option<LinkId>,
    pub answers: Vec<(TicketId, Outcome)>,
    pub request: Option<Request>,
    /// Links (bits) that don't take what is written to them.
    pub blocked: u8,
    /// The clock is read again before the outputs are drained: so much later.
    pub late: Duration,
}

/// An order that has not been answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    pub ticket: TicketId,
    pub group: u8,
    pub resource: u8,
    pub verb: Verb,
}

/// A node, its orders under way, and the resources that may be running here.
pub struct Machine {
    pub node: Node,
    pub orders: Vec<Order>,
    pub departed: bool,
    /// Not confirmed stopped: started, or never looked at in this life.
    may_run: BTreeSet<(u8, u8)>,
}

/// What a node said and did at one moment, to be compared with its twin's.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Output {
    pub frames: Vec<(LinkId, Vec<u8>)>,
    pub actions: Vec<String>,
    pub refusals: Vec<String>,
    /// Groups whose addresses went at once.
    pub dropped: Vec<u8>,
    pub timeout: Option<Duration>,
}

impl Machine {
    pub fn new(config: &Config, boot: BootId, now: Instant) -> Self {
        let node = Node::new(config.clone(), KEYS.clone(), boot, now).expect("checked");
        let groups = (0u8..).zip(&config.groups);
        let may_run = groups
            .flat_map(|(group, one)| (0u8..one.resources.len() as u8).map(move |r| (group, r)))
            .collect();
        Self { node, orders: Vec::new(), departed: false, may_run }
    }

    /// Wakes the node at `now` and hands everything in, as a driver does.
    pub fn settle(&mut self, now: Instant, input: &Input) -> Output {
        let mut output = Output::default();
        self.node.handle_wakeup(now);
        self.drain(now, input.blocked, &mut output);
        for (link, frame) in &input.frames {
            if let Err(reason) = self.node.handle_frame(now, *link, frame) {
                output.refusals.push(reason.name().to_owned());
            }
        }
        if let Some(link) = input.damage {
            self.node.handle_damage(link);
        }
        for &(ticket, outcome) in &input.answers {
            self.answer(now, ticket, outcome);
        }
        if let Some(request) = input.request {
            let refused = match request {
                Request::Standby(group) => self.node.request_standby(now, group).err(),
                Request::Takeover(group) => self.node.request_takeover(now, group).err(),
                Request::PeerIsOff => self.node.request_takeover_peer_is_off(now).err(),
                Request::Leave => {
                    self.node.request_leave();
                    None
                }
            };
            output.refusals.extend(refused.map(|refusal| refusal.to_string()));
        }
        self.node.handle_timeout(now);
        self.drain(now + input.late, input.blocked, &mut output);
        self.hold_to_rules(now, input.late, &mut output);
        output
    }

    fn answer(&mut self, now: Instant, ticket: TicketId, outcome: Outcome) {
        if let Some(at) = self.orders.iter().position(|order| order.ticket == ticket) {
            let Order { group, resource, verb, .. } = self.orders.remove(at);
            match (verb, outcome) {
                (Verb::Stop, Outcome::Done | Outcome::NotHeld)
                | (Verb::Status, Outcome::NotHeld) => self.may_run.remove(&(group, resource)),
                _ => false,
            };
        }
        self.node.handle_done(now, ticket, outcome);
    }

    /// Drains until nothing is left: a frame that leaves can make the departure due.
    fn drain(&mut self, now: Instant, blocked: u8, output: &mut Output) {
        for _ in 0..DRAIN_MAX {
            let Some(action) = self.node.poll_action(now) else { break };
            output.actions.push(format!("{action:?}"));
            if let Action::DropAddresses { group } = action {
                output.dropped.push(group.0);
            }
            self.carry_out(action);
        }
        self.drain_frames(now, blocked, output);
        for _ in 0..DRAIN_MAX {
            if self.node.poll_event().is_none() {
                break;
            }
        }
        // What a drain leaves behind would wait for the next heartbeat, or be done in a busy loop.
        match self.node.poll_action(now) {
            None => {}
            Some(action @ Action::Depart { .. }) => self.carry_out(action),
            Some(action) => panic!("the drain of actions left {action:?}"),
        }
        let mut frame = [0; MAX_FRAME];
        assert!(self.node.poll_transmit(now, &mut frame).is_none(), "the drain of frames ends");
        assert!(self.node.poll_event().is_none(), "the drain of events ends");
    }

    fn drain_frames(&mut self, now: Instant, blocked: u8, output: &mut Output) {
        let mut frame = [0; MAX_FRAME];
        for _ in 0..DRAIN_MAX {
            let Some(transmit) = self.node.poll_transmit(now, &mut frame) else { return };
            if blocked & transmit.link.bit() != 0 {
                self.node.handle_blocked(now, transmit.link);
                continue;
            }
            let bytes = frame[..transmit.len].to_vec();
            let opened = message::open(&bytes, &KEYS).expect("own frames are genuine");
            // With an arbiter a node relays its frames, too.
            let understood = match opened.header.sender {
                Voter::Arbiter => opened.arbiter_message().is_ok(),
                Voter::A | Voter::B => opened.message().is_ok(),
            };
            assert!(understood, "what leaves is understood");
            output.frames.push((transmit.link, bytes));
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Run { ticket, group, resource, verb } => {
                let ticket = ticket.id();
                assert!(self.orders.iter().all(|order| order.ticket != ticket), "tickets differ");
                if verb == Verb::Start {
                    self.may_run.insert((group.0, resource));
                }
                self.orders.push(Order { ticket, group: group.0, resource, verb });
            }
            Action::Depart { .. } => {
                assert!(self.may_run.is_empty(), "departs while {:?} may run", self.may_run);
                self.departed = true;
            }
            Action::Abort { .. } | Action::DropAddresses { .. } | Action::Announce { .. } => {}
        }
    }

    fn hold_to_rules(&mut self, decided: Instant, late: Duration, output: &mut Output) {
        let now = decided + late;
        let node = &self.node;
        if !self.departed {
            // A deadline that is past after a drain would be a busy loop.
            let due = node.poll_timeout();
            assert!(due > decided, "due {} µs ago, after a drain", decided.since(due).micros());
            output.timeout = Some(due.since(decided)).filter(|_| due != Instant::NEVER);
        }
        let feeds = node.may_feed_watchdog(now);
        for group in (0..node.config().groups.len() as u8).map(GroupId) {
            let may_run = self.may_run.iter().any(|&(of, _)| of == group.0);
            let phase = node.group(group).expect("configured").phase();
            assert!(
                !may_run || phase != Phase::Stopped,
                "group {} is called stopped while {:?} may run",
                group.0,
                self.may_run
            );
            let allowed = node.ground(group, now).is_some();
            assert!(!feeds || !may_run || allowed, "R10: the watchdog is fed without authority");
        }
        assert!(!feeds || node.is_clean(), "R9: the watchdog is fed before the clean start");
    }

    /// A further timeout at the same moment is a no-op.
    pub fn spurious_timeout(&mut self, now: Instant) {
        let before = self.node.decisions().clone();
        self.node.handle_timeout(now);
        let mut output = Output::default();
        self.drain(now, 0, &mut output);
        assert_eq!(output.actions, [""; 0], "a timeout that isn't due does nothing");
        assert_eq!(output.frames, [], "a timeout that isn't due says nothing");
        assert!(*self.node.decisions() == before, "a timeout that isn't due decides nothing");
    }
}

/// What a script answers that does as it is told.
pub const fn works(verb: Verb) -> Outcome {
    match verb {
        Verb::Status => Outcome::NotHeld,
        Verb::Start | Verb::Stop => Outcome::Done,
    }
}
