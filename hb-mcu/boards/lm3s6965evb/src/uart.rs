//! Both UARTs, served by interrupts: no byte is lost while the program does something else.

use hb_mcu::{Ring, RingPort};

use crate::registers::*;

/// What arrives in 22 ms at 115200 bit/s: longer than any turn, and than a write to memory.
pub const ROOM: usize = 256;
/// Receive and receive-timeout, transmit, overrun.
const ALL: u32 = 1 << 4 | 1 << 6 | 1 << 5 | 1 << 10;
const TX_FULL: u32 = 1 << 5;
const RX_EMPTY: u32 = 1 << 4;
const OVERRUN: u32 = 1 << 11;

static CAME: [Ring<ROOM>; 2] = [const { Ring::new() }; 2];
static GOES: [Ring<ROOM>; 2] = [const { Ring::new() }; 2];

/// 115200 bit/s, 8N1, FIFOs on: 50 MHz / (16 × 115200) = 27 + 8/64.
pub fn open() -> [RingPort<ROOM>; 2] {
    set(PORT_A + AFSEL, 0b11);
    set(PORT_A + DEN, 0b11);
    set(PORT_D + AFSEL, 0b1100);
    set(PORT_D + DEN, 0b1100);
    for uart in UARTS {
        write(uart + CTL, 0);
        write(uart + IBRD, 27);
        write(uart + FBRD, 8);
        write(uart + LCRH, 0b111 << 4);
        // Interrupts at an eighth of either FIFO, and when the line has been idle for 32 bits.
        write(uart + IFLS, 0);
        write(uart + IM, ALL);
        write(uart + CTL, 0b11 << 8 | 1);
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

/// One UART's interrupt.
fn serve(number: usize) {
    let uart = UARTS[number];
    write(uart + ICR, 0x7FF);
    while read(uart + FR) & RX_EMPTY == 0 {
        let word = read(uart + DR);
        if word & OVERRUN != 0 {
            CAME[number].note_loss();
        }
        CAME[number].put(word as u8);
    }
    while read(uart + FR) & TX_FULL == 0 {
        let Some(byte) = GOES[number].take() else { return };
        write(uart + DR, byte.into());
    }
}

extern "C" fn uart0() {
    serve(0);
}

extern "C" fn uart1() {
    serve(1);
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
