//! An arbiter on a bench: its two nodes are frames that a test writes.

#![allow(dead_code)] // Several test programs use it, each its part.

use hb_proto::arbiter::{Action, Arbiter, Config, Memory, Port};
use hb_proto::authority::Promisee;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{
    ArbiterMessage, ArbiterStatus, FenceShown, ResetReason, Shown,
};
use hb_proto::wire::message::{
    self, Echo, ForArbiter, GroupState, GroupStates, Header, Hello, Life, Message, Settings,
    Status, ms_of_duration,
};

#[cfg(feature = "mutants")]
#[path = "../mutants/mod.rs"]
pub mod mutants;

pub const LEASE: Duration = Duration::from_millis(400);
const BAUD: u32 = 115_200;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn keys() -> KeyRing {
    let key = Key::hmac(1, b"a secret").expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

pub fn boot(id: u32) -> BootId {
    BootId::new(id).expect("in range")
}

/// One node, as its next frame will describe it.
#[derive(Clone)]
pub struct Says {
    pub life: u32,
    seq: u32,
    pub groups: Vec<GroupState>,
    pub guard: Duration,
    pub deadtime: Duration,
    pub longest: Duration,
    /// The newest life of the arbiter that it knows of.
    pub knows: Option<u32>,
    /// It has no hello of the arbiter's.
    pub wants_hello: bool,
    pub haresources: u64,
    /// Hears its peer.
    pub hears: bool,
    pub armed: bool,
    /// Its farewell.
    pub left: bool,
    pub fence: Option<u32>,
    /// Echoes this frame of the arbiter's, instead of its newest.
    pub answers: Option<(BootId, u32)>,
    /// Echoes what the arbiter sent last; or nothing, so that its frames aren't fresh.
    pub listens: bool,
}

#[derive(Clone)]
pub struct Bench {
    pub arbiter: Arbiter,
    pub now: Instant,
    /// A and B.
    pub nodes: [Says; 2],
    pub actions: Vec<Action>,
    /// Frames of the arbiter's own by each port, and those of them that were hellos.
    pub frames: (u32, u32),
    /// The arbiter's newest frame.
    heard: Option<(Header, ArbiterStatus)>,
}

const NODES: [Voter; 2] = [Voter::A, Voter::B];

impl Bench {
    pub fn new() -> Self {
        Self::with(None, ResetReason::PowerOn)
    }

    pub fn with(memory: Option<Memory>, reset: ResetReason) -> Self {
        let now = Instant::from_millis(1_000_000);
        let config = Config::new(7, BAUD);
        let mut arbiter = Arbiter::new(config, keys(), boot(9), memory, reset, now).expect("good");
        #[cfg(feature = "mutants")]
        arbiter.break_rule(mutants::BROKEN.get());
        NODES.into_iter().for_each(|node| arbiter.handle_commissioned(node, true));
        let node = Says {
            life: 3,
            seq: 0,
            groups: vec![GroupState::Idle],
            guard: ms(1000),
            deadtime: ms(500),
            longest: Duration::ZERO,
            knows: None,
            wants_hello: false,
            haresources: 1,
            hears: true,
            armed: false,
            left: false,
            fence: None,
            answers: None,
            listens: true,
        };
        let nodes = [node.clone(), node];
        let mut bench =
            Self { arbiter, now, nodes, actions: Vec::new(), frames: (0, 0), heard: None };
        bench.turn();
        bench
    }

    /// Lets the arbiter decide, and reads all that it says.
    fn turn(&mut self) {
        self.arbiter.handle_timeout(self.now);
        while let Some(action) = self.arbiter.poll_action(self.now) {
            self.actions.push(action);
        }
        let mut frame = [0; MAX_FRAME];
        while let Some(transmit) = self.arbiter.poll_transmit(self.now, &mut frame) {
            if !transmit.forwarded {
                let keys = keys();
                let opened = message::open(&frame[..transmit.len], &keys).expect("genuine");
                let message = opened.arbiter_message().expect("whole");
                self.heard = Some((opened.header, *message.status()));
                self.frames.0 += 1;
                self.frames.1 += u32::from(matches!(message, ArbiterMessage::Hello(_)));
            }
        }
        while self.arbiter.poll_event().is_some() {}
    }

    /// Time passes, and the arbiter wakes up when it wants to.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.arbiter.poll_timeout().max(self.now + ms(1)).min(end);
            self.arbiter.handle_wakeup(self.now);
            self.turn();
        }
    }

    /// The arbiter isn't scheduled for so long; what came meanwhile is lost.
    pub fn stall(&mut self, span: Duration) {
        self.now += span;
        self.arbiter.handle_wakeup(self.now);
        self.turn();
    }

    /// A node sends a status, or a hello.
    pub fn tell(&mut self, who: Voter, hello: bool) {
        let at = who.index();
        self.nodes[at].seq += 1;
        let node = &self.nodes[at];
        let mut groups = GroupStates::default();
        for (&state, group) in node.groups.iter().zip(0..) {
            groups.set(GroupId(group), state);
        }
        let echo = node.answers.or(self.heard_name()).filter(|_| node.listens);
        let status = Status {
            hears: u8::from(node.hears),
            echoes: [None, echo.map(|(boot, seq)| Echo::of(boot, seq))],
            groups,
            fence: node.fence.map(boot),
            armed: node.armed,
            life: if node.left { Life::Left } else { Life::Up },
            direct: true,
            hears_arbiter: true,
            wants_hello: node.wants_hello,
            ..Status::default()
        };
        let digests =
            hb_proto::config::Digests { haresources: node.haresources, ..Default::default() };
        let settings = Settings {
            keepalive_ms: 100,
            deadtime_ms: ms_of_duration(node.deadtime),
            lease_ms: ms_of_duration(LEASE),
            guard_ms: ms_of_duration(node.guard),
            arbiter: Some(7),
            ..Settings::new(digests)
        };
        let tail = ForArbiter {
            homes_b: 0,
            knows: node.knows.map(boot),
            voteless: false,
            longest: node.longest,
        };
        let message = if hello {
            Message::Hello(Hello {
                status,
                settings,
                declines: 0,
                failed: 0,
                wants: 0,
                knows: None,
                echo: None,
                for_arbiter: Some(tail),
            })
        } else {
            Message::Status(status)
        };
        let header = Header { sender: who, link: LinkId(0), boot: boot(node.life), seq: node.seq };
        let mut frame = [0; MAX_FRAME];
        let len = message::encode(&header, &message, &keys(), &mut frame);
        let port = Port::ALL[at];
        self.arbiter.handle_frame(self.now, port, &frame[..len]).expect("genuine and new");
        self.turn();
    }

    /// Hellos each 100 ms from these nodes.
    pub fn talk(&mut self, who: &[Voter], span: Duration) {
        let end = self.now + span;
        while self.now < end {
            who.iter().for_each(|&node| self.tell(node, true));
            self.pass(ms(100));
        }
    }

    pub fn promised(&self, group: u8) -> Option<Promisee> {
        self.arbiter.ledger().promises(GroupId(group)).promised_to(self.now)
    }

    /// What the arbiter's newest frame shows.
    pub fn shown(&self, group: u8) -> Shown {
        self.heard.expect("it spoke").1.promisees.shown(GroupId(group))
    }

    pub fn fence(&self, node: Voter) -> FenceShown {
        self.heard.expect("it spoke").1.nodes[node.index()].fence
    }

    /// The arbiter's newest frame.
    pub fn heard_name(&self) -> Option<(BootId, u32)> {
        self.heard.map(|(header, _)| (header.boot, header.seq))
    }

    pub fn pulses(&self) -> Vec<Voter> {
        let pulse = |action: &Action| match action {
            Action::Pulse { node } => Some(*node),
            _ => None,
        };
        self.actions.iter().filter_map(pulse).collect()
    }
}
