//! Faults on demand, for the tests: a byte on UART2 says which.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::registers::*;

/// Everything goes on, and the watchdog isn't fed, as when a duty is not done.
static UNFED: AtomicBool = AtomicBool::new(false);

pub fn is_unfed() -> bool {
    UNFED.load(Ordering::Relaxed)
}

/// Does what is asked.
pub fn play() {
    if read(UART2 + FR) & 1 << 4 != 0 {
        return;
    }
    match read(UART2 + DR) as u8 {
        // The program hangs, interrupts go on.
        b'h' => loop {
            cortex_m::asm::nop();
        },
        // Everything hangs.
        b'H' => {
            cortex_m::interrupt::disable();
            loop {
                cortex_m::asm::nop();
            }
        }
        b'P' => panic!(),
        b'd' => UNFED.store(true, Ordering::Relaxed),
        b'm' => crate::stopwatch::tell(),
        // An instruction that is none.
        b'F' => cortex_m::asm::udf(),
        _ => {}
    }
}
