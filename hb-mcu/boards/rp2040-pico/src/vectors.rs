//! Both UARTs and the alarm, served by interrupts: no byte is lost while the program does something else.

use hb_board::Register;
use hb_board::pl011::Pl011;
use hb_mcu::{Ring, RingPort};

use crate::parts;

/// What arrives in 22 ms at 115200 bit/s: longer than any turn.
const ROOM: usize = 256;
/// What the program adds to while it is sent, some 500 µs apart; the rest waits in [`hb_mcu`]'s own queue.
const GOING: usize = 64;

static CAME: [Ring<ROOM>; 2] = [const { Ring::new() }; 2];
static GOES: [Ring<GOING>; 2] = [const { Ring::new() }; 2];

// SAFETY: the PL011s of this chip (data sheet, 2.2).
const UARTS: [Pl011; 2] =
    unsafe { [Pl011(Register::at(0x4003_4000)), Pl011(Register::at(0x4003_8000))] };

/// 115200 bit/s at 125 MHz: 125,000,000 / (16 × 115,200) = 67 + 52/64.
pub fn open() -> [RingPort<ROOM, GOING>; 2] {
    for uart in UARTS {
        uart.open(67, 52);
    }
    parts::enable_interrupts();
    // The handler writes a frame's first byte, too: it is called for it.
    [
        RingPort::new(&CAME[0], &GOES[0], || parts::pend(20)),
        RingPort::new(&CAME[1], &GOES[1], || parts::pend(21)),
    ]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    CAME.iter().all(Ring::is_empty)
}

extern "C" fn uart0() {
    UARTS[0].serve(&CAME[0], &GOES[0]);
}

extern "C" fn uart1() {
    UARTS[1].serve(&CAME[1], &GOES[1]);
}

extern "C" fn alarm() {
    parts::silence_alarm();
}

/// The vectors; those that are not used stay disabled.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [Option<extern "C" fn()>; 32] = {
    let mut vectors: [Option<extern "C" fn()>; 32] = [None; 32];
    vectors[0] = Some(alarm);
    vectors[20] = Some(uart0);
    vectors[21] = Some(uart1);
    vectors
};

/// Sets up the flash before the program can be read from it (2.8.1.3).
#[unsafe(link_section = ".boot2")]
#[unsafe(no_mangle)]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_W25Q080;
