//! Safe by construction, on the real firmware: what its outputs do, and what they don't.

use std::time::Duration;

use emulated::{Begin, Board, Firmware, Pair, Supply, firmware, provision};
use hb_proto::wire::message::arbiter::ResetReason;

/// The ELF, or a skip that says why.
fn elf(which: Firmware) -> Option<std::path::PathBuf> {
    firmware(which).map_err(|reason| println!("SKIP: {reason}")).ok()
}

const LONG: Duration = Duration::from_secs(10);

/// Writes to the data registers of port E that set a bit of a reset output: PL061's address lines are a mask.
fn writes_that_pull(trace: &str) -> Vec<String> {
    let port_e = "/machine/unattached/device[5]";
    let pulls = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["pl061_write", port, "offset", offset, "value", value] = words[..] else {
            return false;
        };
        let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16);
        let (offset, value) = (number(offset).expect("hex"), number(value).expect("hex"));
        port == port_e && offset < 0x400 && offset >> 2 & value & 0b11 != 0
    };
    trace.lines().filter(pulls).map(str::to_owned).collect()
}

/// From power-up through provisioning and service to the first authenticated request: no write to a register
/// sets a reset output. Then one does, for the node that was asked for, for 200 ms.
#[test]
fn no_output_is_enabled_before_an_authenticated_request() {
    let Some(elf) = elf(Firmware::Shipped) else { return };
    let supply = Supply::new("outputs");
    let mut board = Board::with(&elf, &supply, &["-trace", "pl061_write"]);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(3));
    assert!(pair.status(0).is_some_and(|said| said.nodes[0].heard && said.nodes[1].heard));
    // Asked for by somebody whose line is untested: no.
    pair.a_asks_to_fence(1);
    pair.run(&mut board, Duration::from_secs(2));
    assert!(pair.pins.iter().all(|pin| !pin.high), "{:?}", pair.pins);
    let trace = supply.trace();
    assert!(trace.contains("device[5] offset 0x400 value 0x3"), "port E was not traced:\n{trace}");
    assert_eq!(writes_that_pull(&trace), [] as [String; 0]);
    let first = trace.lines().find(|line| line.contains("device[5]")).expect("seen above");
    assert!(first.ends_with("offset 0xc value 0x0"), "released before it is an output: {first}");

    pair.nodes[0].fence = None;
    (pair.nodes[0].hears_peer, pair.silent) = (true, [false; 2]);
    pair.nodes[0].state = hb_proto::wire::message::GroupState::Idle;
    pair.commission_b(&mut board);
    pair.a_asks_to_fence(2);
    let over = |pair: &mut Pair, _: &mut Board| pair.pins.len() >= 2;
    assert!(pair.until(&mut board, LONG, over), "{:?}", pair.status(0));
    let [up, down] = pair.pins[..] else { panic!("{:?}", pair.pins) };
    assert_eq!((up.node, up.high, down.node, down.high), (1, true, 1, false));
    let long = down.at - up.at;
    assert!((150..600).contains(&long.as_millis()), "{long:?}");
    assert!(writes_that_pull(&supply.trace()).iter().all(|write| write.contains("offset 0x8 ")));
}

/// The program hangs, everything hangs, it panics, it touches what isn't there: its own watchdog resets it,
/// the reason is in the next frame, and no output was pulled.
#[test]
fn whatever_hangs_ends_in_its_own_reset_and_pulses_nothing() {
    let Some(elf) = elf(Firmware::Faults) else { return };
    let supply = Supply::new("hangs");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(2));
    for (fault, reason) in [
        (b'h', ResetReason::Watchdog),
        (b'H', ResetReason::Watchdog),
        (b'F', ResetReason::Watchdog),
        (b'P', ResetReason::Software),
        // One duty is not done, turn after turn: everything else goes on.
        (b'd', ResetReason::Watchdog),
    ] {
        let before = pair.status(0).expect("it speaks").uptime_s;
        board.resets();
        std::io::Write::write_all(&mut board.faults, &[fault]).expect("UART2 is there");
        let reset = |_: &mut Pair, board: &mut Board| board.resets() > 0;
        let fault = char::from(fault);
        assert!(pair.until(&mut board, LONG, reset), "{fault}: no reset ({before} s up)");
        pair.got = [Vec::new(), Vec::new()];
        let back = |pair: &mut Pair, _: &mut Board| pair.status(0).is_some();
        assert!(pair.until(&mut board, LONG, back), "{fault}: it is gone");
        assert_eq!(pair.status(0).map(|said| said.reset), Some(reason), "{fault}");
        pair.run(&mut board, Duration::from_millis(1200));
    }
    assert!(pair.pins.iter().all(|pin| !pin.high), "{:?}", pair.pins);
}

/// The program as it is shipped has no faults on demand: a debugger sends it into a loop. Nothing else is done to it, and
/// its own watchdog ends that.
#[test]
fn the_shipped_program_that_hangs_is_reset_by_its_own_watchdog() {
    let Some(elf) = elf(Firmware::Shipped) else { return };
    let supply = Supply::new("loop");
    let mut board = Board::begin(&elf, &supply, Begin { debugger: true, ..Begin::default() });
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(2));
    assert!(pair.status(0).is_some(), "it speaks");
    board.resets();
    board.hang();
    let hung = std::time::Instant::now();
    pair.run(&mut board, Duration::from_millis(200));
    pair.got = [Vec::new(), Vec::new()];
    pair.run(&mut board, Duration::from_millis(400));
    assert!(pair.status(0).is_none() && board.resets() == 0, "it hangs, and isn't reset yet");
    let reset = |_: &mut Pair, board: &mut Board| board.resets() > 0;
    assert!(pair.until(&mut board, LONG, reset), "no reset");
    assert!(hung.elapsed() >= Duration::from_millis(1200), "{:?}", hung.elapsed());
    let back = |pair: &mut Pair, _: &mut Board| pair.status(0).is_some();
    assert!(pair.until(&mut board, LONG, back), "it is gone");
    assert_eq!(pair.status(0).map(|said| said.reset), Some(ResetReason::Watchdog));
    assert!(pair.pins.iter().all(|pin| !pin.high), "{:?}", pair.pins);
}

/// Keys survive a loss of power, are gone after the button was held while power came, and are never sent.
#[test]
fn keys_outlive_power_and_the_button_erases_them() {
    let Some(elf) = elf(Firmware::Shipped) else { return };
    let supply = Supply::new("keys");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    board.wait(Duration::from_secs(1));
    drop(board);
    let mut board = Board::on(&elf, &supply);
    let identity = board.lines[1].identify();
    assert_eq!((identity.signing, identity.challenge.id, identity.port), (Some(1), 7, 1));
    assert_eq!(identity.reset, ResetReason::PowerOn);
    let sent: Vec<u8> = board.lines[1].frames().into_iter().flat_map(|(_, frame)| frame).collect();
    assert!(!sent.windows(8).any(|bytes| emulated::SECRET.starts_with(bytes)));
    drop(board);
    let mut board = Board::with_button(&elf, &supply);
    assert_eq!(board.lines[0].identify().signing, None, "erased");
    drop(board);
    assert_eq!(Board::on(&elf, &supply).lines[0].identify().signing, None, "for good");
}
