//! Both UARTs, served by interrupts: no byte is lost while the program does something else.

pub use hb_board::UartPort;
use hb_board::pl011::Pl011;
use hb_board::{Register, Rings, are_idle};

use crate::registers::*;

static RINGS: [Rings; 2] = [const { Rings::new() }; 2];

// SAFETY: the PL011s of this chip (data sheet, memory map).
const UARTS: [Pl011; 2] =
    unsafe { [Pl011(Register::at(0x4000_C000)), Pl011(Register::at(0x4000_D000))] };

/// 115200 bit/s at 50 MHz: 50,000,000 / (16 × 115,200) = 27 + 8/64.
pub fn open() -> [UartPort; 2] {
    set(PORT_A + AFSEL, 0b11);
    set(PORT_A + DEN, 0b11);
    set(PORT_D + AFSEL, 0b1100);
    set(PORT_D + DEN, 0b1100);
    for uart in UARTS {
        uart.open(27, 8);
    }
    // UART0 is interrupt 5, UART1 6, timer 0A 19.
    write(ISER0, 1 << 5 | 1 << 6 | 1 << 19);
    // SAFETY: everything that the handlers refer to is there.
    unsafe { cortex_m::interrupt::enable() };
    // A PL011 tells when its transmit FIFO has drained, not that it is empty: the first byte of a frame is
    // written by the handler all the same, which is called for it.
    [RINGS[0].port(|| write(ISPR0, 1 << 5)), RINGS[1].port(|| write(ISPR0, 1 << 6))]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    are_idle(&RINGS)
}

extern "C" fn uart0() {
    UARTS[0].serve(&RINGS[0]);
    #[cfg(feature = "faults")]
    crate::stopwatch::heard(0, &RINGS[0].came);
}

extern "C" fn uart1() {
    UARTS[1].serve(&RINGS[1]);
    #[cfg(feature = "faults")]
    crate::stopwatch::heard(1, &RINGS[1].came);
}

extern "C" fn timer0a() {
    crate::parts::silence_alarm();
}

/// The vectors as far as one is used; the others stay disabled.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Option<extern "C" fn()>; 20] = {
    let mut vectors: [Option<extern "C" fn()>; 20] = [None; 20];
    vectors[5] = Some(uart0);
    vectors[6] = Some(uart1);
    vectors[19] = Some(timer0a);
    vectors
};
