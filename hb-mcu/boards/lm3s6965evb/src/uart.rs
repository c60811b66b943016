//! Both UARTs, served by interrupts: no byte is lost while the program does something else.

use hb_board::Register;
use hb_board::pl011::Pl011;
use hb_mcu::{Ring, RingPort};

use crate::registers::*;

/// What arrives in 22 ms at 115200 bit/s: longer than any turn, and than a write to memory.
const ROOM: usize = 256;

/// What the program adds to while it is sent, some 500 µs apart; the rest waits in [`hb_mcu`]'s own queue.
const GOING: usize = 64;

static CAME: [Ring<ROOM>; 2] = [const { Ring::new() }; 2];
static GOES: [Ring<GOING>; 2] = [const { Ring::new() }; 2];

// SAFETY: the PL011s of this chip (data sheet, memory map).
const UARTS: [Pl011; 2] =
    unsafe { [Pl011(Register::at(0x4000_C000)), Pl011(Register::at(0x4000_D000))] };

/// 115200 bit/s at 50 MHz: 50,000,000 / (16 × 115,200) = 27 + 8/64.
pub fn open() -> [RingPort<ROOM, GOING>; 2] {
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
    [
        RingPort::new(&CAME[0], &GOES[0], || write(ISPR0, 1 << 5)),
        RingPort::new(&CAME[1], &GOES[1], || write(ISPR0, 1 << 6)),
    ]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    CAME.iter().all(Ring::is_empty)
}

extern "C" fn uart0() {
    UARTS[0].serve(&CAME[0], &GOES[0]);
    #[cfg(feature = "faults")]
    crate::stopwatch::heard(0, &CAME[0]);
}

extern "C" fn uart1() {
    UARTS[1].serve(&CAME[1], &GOES[1]);
    #[cfg(feature = "faults")]
    crate::stopwatch::heard(1, &CAME[1]);
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
