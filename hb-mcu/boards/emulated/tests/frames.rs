//! The worst frame, in instructions, and the start of a life apart from it.

use emulated::{Firmware, firmware, frames};

/// What a frame may take at most, instructions. At 50 MHz and one each cycle 2.4 ms: less than the 2.9 ms in which the
/// next one comes over the line.
const CEILING: u64 = 120_000;
/// The same where something is stored, check sums and an EEPROM on I²C included: 5 ms. What comes meanwhile waits in the
/// UARTs' rings, which have room for 22.
const STORING: u64 = 250_000;
/// A life's start, 10 ms: nobody is forwarded to meanwhile, and the watchdog waits 1.5 s.
const START: u64 = 500_000;

#[test]
fn every_kind_of_frame_is_dealt_with_before_the_next_one_has_come() {
    let elf = match firmware(Firmware::Faults) {
        Ok(elf) => elf,
        Err(reason) => return println!("SKIP: {reason}"),
    };
    let costs = frames::measure(&elf);
    println!("start of a life: {} instructions", costs.start);
    for cost in &costs.frames {
        let stores = if cost.stores { ", with the board's memory" } else { "" };
        println!("{:>8}  {}{stores}", cost.instructions, cost.kind);
    }
    for (stores, ceiling) in [(false, CEILING), (true, STORING)] {
        let worst = costs.worst(stores).expect("there are such");
        println!("worst: {worst:?}");
        assert!(worst.instructions <= ceiling, "{worst:?}, at most {ceiling}");
    }
    assert!(costs.start <= START, "{} instructions, at most {START}", costs.start);
}
