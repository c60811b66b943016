//! Power comes and goes; noise, replayed, forged and truncated commands arrive: no output is ever enabled
//! that nobody with the key asked for.

use std::path::Path;
use std::time::{Duration, Instant};

use emulated::{Board, Firmware, Pair, Supply, firmware, provision};
use hb_proto::id::Voter;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::GroupState;
use hb_proto::wire::service::{self, Answer, Ask, Challenge, Refusal, Request};
use hb_proto::wire::{MAX_FRAME, cobs};

fn elf() -> Option<std::path::PathBuf> {
    firmware(Firmware::Shipped).map_err(|reason| println!("SKIP: {reason}")).ok()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// How often power goes: 30 times in the tests, and as often as `HB_CYCLES` says by hand.
fn cycles() -> u32 {
    std::env::var("HB_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// A dongle with a tested line for B, so that its pulses count, and what B's enemy can record of that.
fn commissioned(elf: &Path, supply: &Supply) -> Vec<Vec<u8>> {
    let mut board = Board::on(elf, supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.commission_b(&mut board);
    // A life of A asks for B's reset; B is heard, so nothing happens. That is what is replayed later.
    pair.nodes[0].fence = hb_proto::id::BootId::new(2);
    (0..20).map(|_| pair.nodes[0].frame(false)).collect()
}

#[test]
fn power_cycles_amid_noise_and_replays_never_enable_an_output() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("cycles");
    let recorded = commissioned(&elf, &supply);
    let mut random = Random(1);
    let (started, cycles, mut spoke) = (Instant::now(), cycles(), 0);
    let mut last = 0;
    for cycle in 0..cycles {
        let mut board = Board::on(&elf, &supply);
        let alive = Duration::from_millis(30 + random.next() % 220);
        let until = Instant::now() + alive;
        while Instant::now() < until {
            let mut bytes: Vec<u8> = (0..48).map(|_| random.next() as u8).collect();
            let frame = &recorded[random.next() as usize % recorded.len()];
            let cut = 1 + random.next() as usize % frame.len();
            match random.next() % 3 {
                0 => {}
                1 => bytes = frame[..cut].to_vec(),
                _ => bytes.clone_from(frame),
            }
            let mut out = [0; MAX_FRAME + 3];
            let len = cobs::encode(&bytes, &mut out).expect("short").len();
            let which = random.next() as usize % 2;
            board.lines[which].send_bytes(&out[..len]);
            board.wait(Duration::from_millis(2));
            let pulled: Vec<_> = board.pins().into_iter().filter(|pin| pin.high).collect();
            assert!(pulled.is_empty(), "cycle {cycle}: {pulled:?}");
        }
        let said = board.lines[0].frames();
        let lives = said.iter().filter_map(|(_, frame)| {
            let opened = hb_proto::wire::message::open(frame, &emulated::keys()).ok()?;
            (opened.header.sender == Voter::Arbiter).then_some(opened.header.boot.value())
        });
        if let Some(life) = lives.max() {
            assert!(life > last, "cycle {cycle}: life {life} after {last}");
            (last, spoke) = (life, spoke + 1);
        }
    }
    println!(
        "{cycles} power cycles in {:?}; {spoke} lives spoke, the last is {last}",
        started.elapsed()
    );
    assert!(spoke > 0, "it never lived long enough to be tested");
}

/// B is heard: whatever A's enemy sends, and whatever A itself asks for, B is not reset.
#[test]
fn a_node_that_is_heard_is_never_fenced() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("heard");
    let recorded = commissioned(&elf, &supply);
    let mut board = Board::on(&elf, &supply);
    let mut pair = Pair::new();
    pair.nodes[0].boot = 2;
    pair.nodes[1].boot = 3;
    pair.nodes[0].state = GroupState::Asking;
    pair.nodes[0].hears_peer = false;
    pair.nodes[0].fence = hb_proto::id::BootId::new(3);
    let forger = KeyRing::new(Key::hmac(1, b"a guess").into_iter().collect(), 1).expect("listed");
    let old = Challenge { id: 7, boot: 1, token: 0 };
    let ask = Ask::TestLine { node: Voter::B };
    for round in 0..60_usize {
        board.lines[round % 2].send(&recorded[round % recorded.len()]);
        let mut buf = [0; MAX_FRAME];
        let request = Request { challenge: old, ask: ask.clone() };
        let len = service::encode_request(&request, Some(&forger), &mut buf);
        board.lines[round % 2].send(&buf[..len]);
        board.lines[round % 2].send(&buf[..len / 2]);
        pair.run(&mut board, Duration::from_millis(50));
    }
    assert!(pair.pins.iter().all(|pin| !pin.high), "{:?}", pair.pins);
    // With the right key and an old challenge: replayed.
    let answer = board.lines[0].ask(old, &ask, Some(&emulated::keys()));
    assert!(
        matches!(answer, Some(Answer::Refused { why: Refusal::OldChallenge, .. })),
        "{answer:?}"
    );
    let answer = board.lines[0].ask(old, &ask, None);
    assert!(matches!(answer, Some(Answer::Refused { why: Refusal::NotSigned, .. })), "{answer:?}");
    pair.run(&mut board, Duration::from_millis(500));
    assert!(pair.pins.iter().all(|pin| !pin.high), "{:?}", pair.pins);
    let status = pair.status(0).expect("it speaks");
    assert!(status.nodes[1].heard, "{status:?}");
}
