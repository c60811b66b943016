//! Two nodes at the ends of their lines, as far as the dongle can tell.

use std::time::{Duration, Instant};

use hb_proto::id::{BootId, Voter};
use hb_proto::wire::message::arbiter::ArbiterStatus;
use hb_proto::wire::message::{GroupState, arbiter::LineShown};
use hb_proto::wire::service::{Answer, Ask, Challenge, TestState};

use crate::board::{Board, Pin};
use crate::line::{Frames, Talker, keys};

const KEEPALIVE: Duration = Duration::from_millis(100);

/// Two nodes.
pub struct Pair {
    /// A and B.
    pub nodes: [Talker; 2],
    /// Says nothing.
    pub silent: [bool; 2],
    /// What each got, since somebody last looked.
    pub got: [Frames; 2],
    /// Every change of a reset output.
    pub pins: Vec<Pin>,
    next: Instant,
    count: u32,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// First lives of both.
    #[must_use]
    pub fn new() -> Self {
        let nodes = [Talker::new(Voter::A), Talker::new(Voter::B)];
        let got = [Vec::new(), Vec::new()];
        Self { nodes, silent: [false; 2], got, pins: Vec::new(), next: Instant::now(), count: 0 }
    }

    /// One look at everything.
    pub fn step(&mut self, board: &mut Board) {
        for ((line, node), got) in board.lines.iter_mut().zip(&mut self.nodes).zip(&mut self.got) {
            let frames = line.frames();
            node.hear(&frames);
            got.extend(frames);
        }
        self.pins.extend(board.pins());
        if Instant::now() >= self.next {
            self.next = Instant::now() + KEEPALIVE;
            for which in 0..2 {
                if !self.silent[which] {
                    let frame = self.nodes[which].frame(self.count % 10 < 2);
                    board.lines[which].send(&frame);
                }
            }
            self.count += 1;
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, board: &mut Board, time: Duration) {
        self.until(board, time, |_, _| false);
    }

    /// Lets time pass until something is true; whether it came true.
    pub fn until(
        &mut self,
        board: &mut Board,
        time: Duration,
        mut true_yet: impl FnMut(&mut Self, &mut Board) -> bool,
    ) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(board);
            if true_yet(self, board) {
                return true;
            }
        }
        false
    }

    /// The dongle's newest status that a node got.
    #[must_use]
    pub fn status(&self, which: usize) -> Option<ArbiterStatus> {
        self.got[which].iter().rev().find_map(|(_, frame)| crate::line::status(frame))
    }

    /// Asks the dongle while the nodes go on.
    pub fn ask(&mut self, board: &mut Board, which: usize, ask: &Ask) -> Answer {
        for _ in 0..10 {
            let identity = board.lines[which].identify();
            self.run(board, Duration::from_millis(220));
            let challenge: Challenge = identity.challenge;
            if let Some(answer) = board.lines[which].ask(challenge, ask, Some(&keys())) {
                return answer;
            }
            self.run(board, Duration::from_millis(220));
        }
        panic!("no answer to {ask:?}");
    }

    /// Has B's line tested (R12): the pulse comes, B's life ends, and a new one begins.
    pub fn commission_b(&mut self, board: &mut Board) {
        self.run(board, Duration::from_millis(1500));
        let answer = self.ask(board, 0, &Ask::TestLine { node: Voter::B });
        assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
        let pulled = |pair: &mut Self, _: &mut Board| pair.pins.iter().any(|pin| pin.high);
        assert!(self.until(board, Duration::from_secs(5), pulled), "no pulse");
        self.silent[1] = true;
        self.run(board, Duration::from_millis(700));
        (self.silent[1], self.nodes[1].boot) = (false, 2);
        let proved = |pair: &mut Self, _: &mut Board| {
            pair.status(0).is_some_and(|said| said.nodes[1].line == LineShown::Commissioned)
        };
        assert!(
            self.until(board, Duration::from_secs(10), proved),
            "not proved: {:?}",
            self.status(0)
        );
        let test = board.lines[1].identify().test.expect("there was one");
        assert_eq!((test.node, test.state), (Voter::B, TestState::Proved));
        self.pins.clear();
    }

    /// B falls silent, and A asks for its reset in life `boot`.
    pub fn a_asks_to_fence(&mut self, boot: u32) {
        self.silent[1] = true;
        self.nodes[0].state = GroupState::Asking;
        self.nodes[0].hears_peer = false;
        self.nodes[0].fence = BootId::new(boot);
    }
}
