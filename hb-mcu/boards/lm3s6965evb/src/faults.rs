//! Faults on demand, for the tests: a byte on UART2 says which.

use crate::registers::*;

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
        // An address that nothing answers.
        b'F' => write(0xF000_0000, 0),
        _ => {}
    }
}
