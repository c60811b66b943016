//! Bytes without end: none is lost at 115200 bit/s on both ports, and none of them starves the other port.

use std::time::{Duration, Instant};

use emulated::{Board, Firmware, Pair, Supply, firmware, provision};
use hb_proto::id::Voter;
use hb_proto::wire::message;
use hb_proto::wire::service::{Answer, Ask, Challenge, Note};

fn elf() -> Option<std::path::PathBuf> {
    firmware(Firmware::Shipped).map_err(|reason| println!("SKIP: {reason}")).ok()
}

fn failures(pair: &mut Pair, board: &mut Board) -> u32 {
    match pair.ask(board, 0, &Ask::SelfTest) {
        Answer::SelfTest(found) => {
            assert!(found.store && found.crypto, "{found:?}");
            found.port_failures
        }
        other => panic!("{other:?}"),
    }
}

/// Events "a frame was dropped" that the dongle keeps.
fn rejections(board: &mut Board) -> usize {
    std::thread::sleep(Duration::from_millis(250));
    match board.lines[0].ask(Challenge::default(), &Ask::Trace { after: 0 }, None) {
        Some(Answer::Trace { entries, .. }) => {
            entries.iter().filter(|entry| entry.what == Note::Rejected).count()
        }
        other => panic!("{other:?}"),
    }
}

/// Both lines nine tenths full for five seconds, in both directions at once: every byte arrives.
#[test]
fn no_byte_is_lost_with_both_lines_full() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("full");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(2));
    let before = failures(&mut pair, &mut board);
    pair.got = [Vec::new(), Vec::new()];
    const FRAMES: u32 = 1500;
    // 33 bytes with both delimiters, 10 bits each.
    let every = Duration::from_micros(33 * 10 * 1_000_000 / 115_200 * 10 / 9);
    let (started, mut sent) = (Instant::now(), 0);
    let mut next = started;
    while sent < FRAMES {
        if Instant::now() >= next {
            // QEMU's UARTs have no speed of their own: a host that is late must not make up for it.
            next = Instant::now() + every;
            for which in 0..2 {
                let frame = pair.nodes[which].frame(false);
                board.lines[which].send(&frame);
            }
            sent += 1;
        }
        for which in 0..2 {
            let frames = board.lines[which].frames();
            pair.nodes[which].hear(&frames);
            pair.got[which].extend(frames);
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    board.wait(Duration::from_millis(500));
    for which in 0..2 {
        let frames = board.lines[which].frames();
        pair.got[which].extend(frames);
        let peer = [Voter::B, Voter::A][which];
        let of_peer = |(_, frame): &&(Instant, Vec<u8>)| {
            message::open(frame, &emulated::keys()).is_ok_and(|opened| opened.header.sender == peer)
        };
        let came = pair.got[which].iter().filter(of_peer).count();
        // What the arbiter passes on depends on how promptly this host wakes QEMU: newer frames replace
        // older ones that wait for their line. What it *received* does not.
        println!("{came} of {FRAMES} frames of {peer:?} passed on in {:?}", started.elapsed());
        assert_eq!(board.lines[which].damaged(), 0);
        assert!(came > FRAMES as usize / 10, "it no longer forwards");
    }
    assert_eq!(failures(&mut pair, &mut board), before, "bytes were lost");
    // A frame that lacks a byte is rejected, and a rejection is an event.
    assert_eq!(rejections(&mut board), 0);
}

/// As fast as QEMU takes them, on B's port: noise, zeros, and frames of nobody. A is heard all the time, and
/// its votes count.
#[test]
fn garbage_on_one_port_never_starves_the_other() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("garbage");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.silent[1] = true;
    pair.run(&mut board, Duration::from_secs(2));
    let noise: Vec<u8> = (0..1150_u32).map(|at| ((at * 7919) >> 3) as u8).collect();
    for garbage in [noise, vec![0; 1150], vec![0x55; 1150]] {
        pair.got = [Vec::new(), Vec::new()];
        let (started, mut sent) = (Instant::now(), 0);
        let (mut deaf, mut statuses) = (0, 0);
        while started.elapsed() < Duration::from_secs(3) {
            if started.elapsed() >= Duration::from_millis(100) * sent {
                board.lines[1].send_bytes(&garbage);
                sent += 1;
            }
            pair.step(&mut board);
            for said in pair.got[0].drain(..).filter_map(|(_, frame)| {
                let opened = message::open(&frame, &emulated::keys()).ok()?;
                opened.arbiter_message().ok().map(|message| *message.status())
            }) {
                statuses += 1;
                deaf += usize::from(!said.nodes[0].heard);
            }
        }
        assert!(statuses > 20, "{statuses} statuses in 3 s");
        assert_eq!(deaf, 0, "of {statuses} statuses");
    }
    assert!(pair.pins.iter().all(|pin| !pin.high));
}

/// The measure itself: one byte that is left out is an event.
#[test]
fn a_lost_byte_would_be_noticed() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("lost");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(1));
    let frame = pair.nodes[0].frame(false);
    board.lines[0].send(&frame[..frame.len() - 1]);
    board.wait(Duration::from_millis(300));
    assert_eq!(rejections(&mut board), 1);
}
