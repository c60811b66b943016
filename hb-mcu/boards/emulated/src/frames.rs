//! What a frame costs, by its kind, in instructions.
//!
//! QEMU counts them (`-icount`), and the chip's clock goes by that count: the cycles that the firmware tells are
//! instructions, whatever the host does. A frame's cost is all that happens from the interrupt that takes its last byte
//! until the program sleeps again: read, checked, decided, stored, answered or passed on. The program is the one with
//! faults on demand, which has the stopwatch.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use hb_proto::id::Voter;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::service::{self, Answer, Ask, Challenge, Request, Settings};
use hb_proto::wire::{MAX_FRAME, cobs};

use crate::board::{Board, Supply};
use crate::line::{keys, provision};
use crate::pair::Pair;

/// `-icount shift=`: one instruction takes 2⁵ ns of the chip's time.
const SHIFT: u32 = 5;
/// The core's cycle, ns.
const CYCLE: u64 = 20;
/// Frames of each kind.
const TIMES: usize = 8;
/// Between two of them: the one before has left.
const EVERY: Duration = Duration::from_millis(25);

/// Instructions of one kind of frame, the worst of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Which.
    pub kind: &'static str,
    /// It makes the dongle store something, and the board's own memory takes its time: an EEPROM on I²C.
    pub stores: bool,
    /// How many.
    pub instructions: u64,
}

/// What was measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Costs {
    /// From the clock's start until the program sleeps for the first time: a life's number stored, keys read.
    pub start: u64,
    /// By kind.
    pub frames: Vec<Cost>,
}

impl Costs {
    /// The worst of those that store, or of the others.
    #[must_use]
    pub fn worst(&self, stores: bool) -> Option<&Cost> {
        let of_these = self.frames.iter().filter(|cost| cost.stores == stores);
        of_these.max_by_key(|cost| cost.instructions)
    }
}

/// Measures every kind.
///
/// # Panics
/// If the dongle doesn't do what a kind of frame is for.
#[must_use]
pub fn measure(elf: &Path) -> Costs {
    let supply = Supply::new("frames");
    let mut board = Board::on(elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.commission_b(&mut board);
    drop(board);
    let icount = format!("shift={SHIFT},sleep=on");
    let mut board = Board::with(elf, &supply, &["-icount", &icount]);
    let patience = Some(Duration::from_secs(20));
    board.faults.set_read_timeout(patience).expect("a socket has time-outs");
    let (_, start) = told(&mut board);
    let mut bench = Bench { pair, board, frames: Vec::new() };
    bench.nodes();
    bench.garbage();
    bench.service();
    bench.fence();
    Costs { start, frames: bench.frames }
}

/// The worst frame since the last call, and the start: instructions.
fn told(board: &mut Board) -> (u64, u64) {
    board.faults.write_all(b"m").expect("UART2 is there");
    let mut bytes = [0; 8];
    board.faults.read_exact(&mut bytes).expect("it answers: is this the program with faults?");
    let figure = |from: usize| {
        let four = bytes[from..from + 4].try_into().expect("four bytes");
        (u64::from(u32::from_le_bytes(four)) * CYCLE) >> SHIFT
    };
    (figure(0), figure(4))
}

struct Bench {
    pair: Pair,
    board: Board,
    frames: Vec<Cost>,
}

impl Bench {
    /// Sends frames of one kind while nobody else says anything.
    fn kind(
        &mut self,
        kind: &'static str,
        stores: bool,
        mut send: impl FnMut(&mut Pair, &mut Board),
    ) {
        // Both are heard, and by each other, whatever came before.
        self.pair.run(&mut self.board, Duration::from_millis(600));
        told(&mut self.board);
        for _ in 0..if stores { 1 } else { TIMES } {
            send(&mut self.pair, &mut self.board);
            self.board.wait(EVERY);
        }
        let (instructions, _) = told(&mut self.board);
        assert!(instructions > 0, "{kind}: no frame was noticed");
        self.frames.push(Cost { kind, stores, instructions });
    }

    /// What the nodes say to each other.
    fn nodes(&mut self) {
        for (kind, hello) in [("status, passed on", false), ("hello, passed on", true)] {
            self.kind(kind, false, |pair, board| {
                let frame = pair.nodes[0].frame(hello);
                board.lines[0].send(&frame);
            });
        }
        self.kind("hello on both lines at once", false, |pair, board| {
            for which in [0, 1] {
                let frame = pair.nodes[which].frame(true);
                board.lines[which].send(&frame);
            }
        });
        let old = self.pair.nodes[0].frame(true);
        self.kind("hello, sent again", false, |_, board| board.lines[0].send(&old));
    }

    fn garbage(&mut self) {
        let noise: Vec<u8> = (0..200_u32).map(|at| ((at * 7919) >> 3) as u8 | 1).collect();
        let long: Vec<u8> = noise[..MAX_FRAME].to_vec();
        self.kind("noise of a frame's length", false, |_, board| board.lines[0].send(&long));
        let mut without_end = noise;
        without_end.push(0);
        self.kind("noise beyond a frame's length", false, |_, board| {
            board.lines[0].send_bytes(&without_end);
        });
        self.kind("64 delimiters", false, |_, board| board.lines[0].send_bytes(&[0; 64]));
        self.kind("64 frames of one byte", false, |_, board| {
            board.lines[0].send_bytes(&[2, 1, 0].repeat(64));
        });
        let mut buf = [0; MAX_FRAME + 3];
        let whole = self.pair.nodes[0].frame(true);
        let cut = cobs::encode(&whole[..whole.len() / 2], &mut buf).expect("short").to_vec();
        self.kind("half a hello", false, |_, board| board.lines[0].send_bytes(&cut));
        let mut forged = whole;
        forged[5] ^= 1;
        self.kind("a forged hello", false, |_, board| board.lines[0].send(&forged));
    }

    fn service(&mut self) {
        let ask = |ask: &Ask, challenge: Challenge, keys: Option<&KeyRing>| {
            let mut buf = [0; MAX_FRAME];
            let request = Request { challenge, ask: ask.clone() };
            let len = service::encode_request(&request, keys, &mut buf);
            buf[..len].to_vec()
        };
        let none = Challenge::default();
        let longest = [("identify", Ask::Identify), ("trace", Ask::Trace { after: 0 })];
        for (kind, what) in longest {
            let frame = ask(&what, none, Some(&keys()));
            self.kind(kind, false, |_, board| board.lines[0].send(&frame));
        }
        let frame = ask(&Ask::SelfTest, none, Some(&keys()));
        // It reads what is stored.
        self.kind("self-test", true, |_, board| board.lines[0].send(&frame));
        let times = Ask::Settings(Settings { pulse_ms: 250, watchdog_ms: 1000 });
        let frame = ask(&times, none, Some(&keys()));
        self.kind("a request with an old challenge", false, |_, board| board.lines[0].send(&frame));
        let forger = KeyRing::new(Key::hmac(1, b"a guess").into_iter().collect(), 1);
        let frame = ask(&times, none, forger.as_ref());
        self.kind("a forged request", false, |_, board| board.lines[0].send(&frame));
        let challenge = self.board.lines[0].identify().challenge;
        let frame = ask(&times, challenge, Some(&keys()));
        self.board.lines[0].frames();
        self.kind("settings", true, |_, board| board.lines[0].send(&frame));
        let answers = self.board.lines[0].frames();
        let done = |frame: &[u8]| {
            service::open_answer(frame, Some(&keys()))
                .is_ok_and(|(answer, _)| matches!(answer, Answer::Done { .. }))
        };
        assert!(answers.iter().any(|(_, frame)| done(frame)), "no settings were stored");
    }

    /// B is silent, and A's frame is followed by a pulse, whose life is stored first (R12).
    fn fence(&mut self) {
        let Self { pair, board, .. } = self;
        let boot = pair.nodes[1].boot + 1;
        pair.nodes[1].boot = boot;
        pair.run(board, Duration::from_millis(800));
        pair.silent[1] = true;
        pair.nodes[0].hears_peer = false;
        pair.run(board, Duration::from_millis(1500));
        pair.pins.clear();
        told(board);
        pair.a_asks_to_fence(boot);
        let pulled = |pair: &mut Pair, _: &mut Board| pair.pins.iter().any(|pin| pin.high);
        assert!(pair.until(board, Duration::from_secs(5), pulled), "no pulse");
        assert_eq!(pair.pins[0].node, Voter::B as u8);
        let (instructions, _) = told(board);
        self.frames.push(Cost { kind: "the request that fences", stores: true, instructions });
    }
}
