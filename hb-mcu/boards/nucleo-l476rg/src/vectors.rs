//! Both USARTs and the timer, served by interrupts: no byte is lost while the program does something else.
//! These USARTs have no FIFO: an interrupt a byte, one each 87 µs and port at 115200 bit/s.

use hb_board::Register;
use hb_mcu::{Ring, RingPort};

use crate::parts;

/// What arrives in 22 ms at 115200 bit/s: longer than any turn.
const ROOM: usize = 256;
/// What the program adds to while it is sent, some 500 µs apart; the rest waits in [`hb_mcu`]'s own queue.
const GOING: usize = 64;

static CAME: [Ring<ROOM>; 2] = [const { Ring::new() }; 2];
static GOES: [Ring<GOING>; 2] = [const { Ring::new() }; 2];

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
pub fn open() -> [RingPort<ROOM, GOING>; 2] {
    for usart in USARTS {
        usart.plus(BRR).write(694);
        usart.write(ENABLED);
    }
    parts::enable_interrupts();
    // The handler turns the transmit interrupt on and off: only it writes the control register.
    [
        RingPort::new(&CAME[0], &GOES[0], || parts::pend(37)),
        RingPort::new(&CAME[1], &GOES[1], || parts::pend(39)),
    ]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    CAME.iter().all(Ring::is_empty)
}

fn serve(number: usize) {
    let usart = USARTS[number];
    let status = usart.plus(ISR).read();
    if status & OVERRUN != 0 {
        usart.plus(ICR).write(OVERRUN);
        CAME[number].note_loss();
    }
    if status & RX_FULL != 0 {
        CAME[number].put(usart.plus(RDR).read() as u8);
    }
    if status & TX_EMPTY != 0
        && let Some(byte) = GOES[number].take()
    {
        usart.plus(TDR).write(byte.into());
    }
    let more = if GOES[number].is_empty() { 0 } else { TX_EMPTY_INTERRUPT };
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
