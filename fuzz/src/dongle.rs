//! An arbiter, drained as its contract asks, held to the rules after every input.

use hb_proto::arbiter::{Accepted, Action, Arbiter, Config, Memory, Port};
use hb_proto::id::{BootId, GroupId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message;
use hb_proto::wire::message::arbiter::{LineShown, ResetReason, Shown};

use crate::bytes::KEYS;

/// Outputs that one input can cause: a few frames a port, a store, two pulses, sixteen events.
const DRAIN_MAX: usize = 200;

/// Everything that happens to an arbiter at one moment.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub frames: Vec<(Port, Vec<u8>)>,
    pub damage: Option<Port>,
    pub fell: Option<Voter>,
    pub commissioned: Option<(Voter, bool)>,
    pub feeds: Option<(Voter, bool)>,
    /// A pulse that is given now is proved by the line.
    pub evidence: bool,
}

/// What an arbiter said and did at one moment, to be compared with its twin's.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// Port, bytes, and whether they came in at the other one.
    pub frames: Vec<(Port, Vec<u8>, bool)>,
    pub stores: Vec<Memory>,
    pub pulses: Vec<Voter>,
    pub restart: Option<BootId>,
    pub refusals: Vec<String>,
    pub timeout: Option<Duration>,
}

/// An arbiter and what its driver keeps for it.
pub struct Dongle {
    pub arbiter: Arbiter,
    pub stored: Option<Memory>,
    /// Groups (bits) that were stored as promised to each node, since this life began.
    kept: [u16; 2],
    /// When a frame of each node was last taken for the first time.
    heard: [Option<Instant>; 2],
    /// What came in at each port and may have to leave by the other one.
    came: [Vec<Vec<u8>>; 2],
}

impl Dongle {
    pub fn new(
        config: Config,
        boot: BootId,
        memory: Option<Memory>,
        reset: ResetReason,
        now: Instant,
    ) -> Self {
        let arbiter =
            Arbiter::new(config, KEYS.clone(), boot, memory, reset, now).expect("a configuration");
        let came = [Vec::new(), Vec::new()];
        let mut dongle = Self { arbiter, stored: memory, kept: [0; 2], heard: [None; 2], came };
        if let Some(memory) = memory {
            dongle.note_kept(&memory);
        }
        dongle
    }

    /// Whether it took a frame of a node in this life.
    pub fn has_heard(&self) -> bool {
        self.heard.iter().any(Option::is_some)
    }

    /// Wakes it at `now` and hands everything in, as a driver does.
    pub fn settle(&mut self, now: Instant, input: &Input) -> Output {
        let mut output = Output::default();
        self.arbiter.handle_wakeup(now);
        for (port, frame) in &input.frames {
            self.take(now, *port, frame, &mut output);
        }
        if let Some(port) = input.damage {
            self.arbiter.handle_damage(port);
        }
        if let Some((node, proved)) = input.commissioned {
            self.arbiter.handle_commissioned(node, proved);
        }
        if let Some((node, feeds)) = input.feeds {
            self.arbiter.handle_feed(node, feeds);
        }
        if let Some(node) = input.fell {
            self.arbiter.handle_sense_fell(now, node);
        }
        self.arbiter.handle_timeout(now);
        self.drain(now, input.evidence, &mut output);
        let due = self.arbiter.poll_timeout();
        assert!(due > now, "due {} µs ago, after a drain", now.since(due).micros());
        output.timeout = Some(due.since(now)).filter(|_| due != Instant::NEVER);
        output
    }

    fn take(&mut self, now: Instant, port: Port, frame: &[u8], output: &mut Output) {
        self.came[port.index()].push(frame.to_vec());
        let surplus = self.came[port.index()].len().saturating_sub(64);
        self.came[port.index()].drain(..surplus);
        match self.arbiter.handle_frame(now, port, frame) {
            Ok(Accepted::First) => {
                let opened = message::open(frame, &KEYS).expect("it was taken");
                self.heard[opened.header.sender.index()] = Some(now);
            }
            Ok(Accepted::Copy) => {}
            Err(reason) => output.refusals.push(reason.name().to_owned()),
        }
    }

    fn drain(&mut self, now: Instant, evidence: bool, output: &mut Output) {
        for _ in 0..DRAIN_MAX {
            let Some(action) = self.arbiter.poll_action(now) else { break };
            match action {
                Action::Store(memory) => {
                    self.stored = Some(memory);
                    self.note_kept(&memory);
                    output.stores.push(memory);
                }
                Action::Pulse { node } => {
                    self.may_pulse(now, node);
                    output.pulses.push(node);
                    self.arbiter.handle_pulsed(now, node, evidence);
                    self.arbiter.handle_timeout(now);
                }
                Action::Restart { above } => output.restart = Some(above),
            }
        }
        assert!(self.arbiter.poll_action(now).is_none(), "the drain of actions ends");
        let mut frame = [0; MAX_FRAME];
        for _ in 0..DRAIN_MAX {
            let Some(transmit) = self.arbiter.poll_transmit(now, &mut frame) else { break };
            let bytes = frame[..transmit.len].to_vec();
            self.may_leave(transmit.port, &bytes, transmit.forwarded);
            output.frames.push((transmit.port, bytes, transmit.forwarded));
        }
        assert!(self.arbiter.poll_transmit(now, &mut frame).is_none(), "the drain of frames ends");
        for _ in 0..DRAIN_MAX {
            if self.arbiter.poll_event().is_none() {
                return;
            }
        }
        panic!("the drain of events ends");
    }

    fn note_kept(&mut self, memory: &Memory) {
        for group in (0..16).map(GroupId) {
            if let Some(node) = memory.promisees.shown(group).promisee() {
                self.kept[node.index()] |= 1 << group.0;
            }
        }
    }

    /// R12: never a node that is heard, never by a line that isn't proved.
    fn may_pulse(&self, now: Instant, node: Voter) {
        let heard = self.heard[node.index()];
        assert!(
            heard.is_none_or(|at| now.since(at) >= self.arbiter.deadtime()),
            "R12: {node:?} is pulsed and was heard {} ago",
            heard.map_or(Duration::ZERO, |at| now.since(at))
        );
        let line = self.arbiter.memory().nodes[node.index()].line;
        assert_eq!(line, LineShown::Commissioned, "R12: a line that no test has proved is pulled");
    }

    /// A frame that is passed on came in as it leaves; one of its own promises what is stored.
    fn may_leave(&self, port: Port, bytes: &[u8], forwarded: bool) {
        if forwarded {
            let came = &self.came[port.other().index()];
            assert!(
                came.iter().any(|frame| frame == bytes),
                "what leaves came in by the other port"
            );
            return;
        }
        let opened = message::open(bytes, &KEYS).expect("own frames are genuine");
        let message = opened.arbiter_message().expect("own frames are understood");
        let stored = self.stored.as_ref().expect("R8: it stores before it speaks");
        for group in (0..16).map(GroupId) {
            // The frame may have waited for its line, and what it shows be over.
            if let Some(node) = message.status().promisees.shown(group).promisee() {
                // Stored as *unknown*, it binds the next life to everybody.
                let shown = stored.promisees.shown(group);
                let kept = self.kept[node.index()] >> group.0 & 1 == 1 || shown == Shown::Withheld;
                assert!(kept, "R8: group {} is shown to {node:?} and was never stored", group.0);
            }
        }
    }

    /// A further timeout at the same moment is a no-op.
    pub fn spurious_timeout(&mut self, now: Instant) {
        let before = self.arbiter.decisions().clone();
        self.arbiter.handle_timeout(now);
        let mut output = Output::default();
        self.drain(now, false, &mut output);
        assert_eq!(output, Output::default(), "a timeout that isn't due does nothing");
        assert!(*self.arbiter.decisions() == before, "a timeout that isn't due decides nothing");
    }
}
