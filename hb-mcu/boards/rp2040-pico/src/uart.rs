//! Both UARTs and the alarm, served by interrupts: no byte is lost while the program does something else.

pub use hb_board::UartPort;
use hb_board::pl011::Pl011;
use hb_board::{Register, Rings, are_idle};

use crate::parts;

static RINGS: [Rings; 2] = [const { Rings::new() }; 2];

// SAFETY: the PL011s of this chip (data sheet, 2.2).
const UARTS: [Pl011; 2] =
    unsafe { [Pl011(Register::at(0x4003_4000)), Pl011(Register::at(0x4003_8000))] };

/// 115200 bit/s at 125 MHz: 125,000,000 / (16 × 115,200) = 67 + 52/64.
pub fn open() -> [UartPort; 2] {
    for uart in UARTS {
        uart.open(67, 52);
    }
    parts::enable_interrupts();
    // The handler writes a frame's first byte, too: it is called for it.
    [RINGS[0].port(|| parts::pend(20)), RINGS[1].port(|| parts::pend(21))]
}

/// Nothing has come that was not taken.
pub fn is_idle() -> bool {
    are_idle(&RINGS)
}

extern "C" fn uart0() {
    UARTS[0].serve(&RINGS[0]);
}

extern "C" fn uart1() {
    UARTS[1].serve(&RINGS[1]);
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
