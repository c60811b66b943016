//! Both USARTs and the timer, served by interrupts: no byte is lost while the program does something else.
//! These USARTs have no FIFO: an interrupt a byte, one each 87 µs and port at 115200 bit/s.

pub use hb_board::UartPort;
use hb_board::{Register, Rings, are_idle};

use crate::parts;

static RINGS: [Rings; 2] = [const { Rings::new() }; 2];

// SAFETY: USART1 and USART3 of this chip.
const USARTS: [Register; 2] = unsafe { [Register::at(0x4001_3800), Register::at(0x4000_4800)] };
const BRR: usize = 0x0C;
const ISR: usize = 0x1C;
const ICR: usize = 0x20;
const RDR: usize = 0x24;
const TDR: usize = 0x28;
const ENABLED: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 5;
const TX_EMPTY_INTERRUPT: u32 = 1 << 7;
const TX_EMPTY: u32 = 1 << 7;
const RX_FULL: u32 = 1 << 5;
const OVERRUN: u32 = 1 << 3;

/// 115200 bit/s at 80 MHz: 80,000,000 / 115,200 = 694.
pub fn open() -> [UartPort; 2] {
    for usart in USARTS {
        usart.plus(BRR).write(694);
        usart.write(ENABLED);
    }
    parts::enable_interrupts();
    // The handler turns the transmit interrupt on and off: only it writes the control register.
    [RINGS[0].port(|| parts::pend(37)), RINGS[1].port(|| parts::pend(39))]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    are_idle(&RINGS)
}

fn serve(number: usize) {
    let usart = USARTS[number];
    let status = usart.plus(ISR).read();
    if status & OVERRUN != 0 {
        usart.plus(ICR).write(OVERRUN);
        RINGS[number].came.note_loss();
    }
    if status & RX_FULL != 0 {
        RINGS[number].came.put(usart.plus(RDR).read() as u8);
    }
    if status & TX_EMPTY != 0
        && let Some(byte) = RINGS[number].goes.take()
    {
        usart.plus(TDR).write(byte.into());
    }
    let more = if RINGS[number].goes.is_empty() { 0 } else { TX_EMPTY_INTERRUPT };
    usart.write(ENABLED | more);
}

extern "C" fn usart1() {
    serve(0);
}

extern "C" fn usart3() {
    serve(1);
}

extern "C" fn tim2() {
    parts::timer();
}

/// The vectors as far as one is used; the others stay disabled.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Option<extern "C" fn()>; 40] = {
    let mut vectors: [Option<extern "C" fn()>; 40] = [None; 40];
    vectors[28] = Some(tim2);
    vectors[37] = Some(usart1);
    vectors[39] = Some(usart3);
    vectors
};
