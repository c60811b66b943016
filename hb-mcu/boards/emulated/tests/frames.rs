//! The worst frame, in instructions, and the start of a life apart from it.

use emulated::{Firmware, firmware, frames};

/// What a frame may take at most, instructions; one that is stored first goes to the board's memory, too. A Cortex-M3
/// at 50 MHz carries out some 40 million a second, an M0+ at 125 MHz more, and a frame is 2.9 ms on the line.
const CEILING: u64 = 100_000;

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
    let worst = costs.worst(false).expect("there are such");
    assert!(worst.instructions <= CEILING, "{worst:?}");
}
