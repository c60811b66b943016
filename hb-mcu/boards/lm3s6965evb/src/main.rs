//! The dongle on Stellaris' LM3S6965 evaluation board: PL011 UARTs and PL061 pins, as QEMU emulates them.
//!
//! UART0 goes to port 1, UART1 to port 2; the other pins are in [`parts`].
#![no_std]
#![no_main]

mod eeprom;
#[cfg(feature = "faults")]
mod faults;
mod parts;
mod registers;
#[cfg(feature = "faults")]
mod stopwatch;
mod uart;

#[cfg(feature = "defmt")]
use defmt_rtt as _;
use hb_board::Board;
use hb_mcu::{Room, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service;

use parts::{Dog, Pin, SysClock};
use uart::UartPort;

struct Evb;

impl Board for Evb {
    type Pin = Pin;
    type Port = UartPort;
    type Clock = SysClock;
    type Watchdog = Dog;
    type Flash = eeprom::Eeprom;

    const WHICH: service::Board = service::Board::Lm3s6965evb;

    fn reset_cause() -> Option<ResetReason> {
        parts::reset_cause()
    }

    fn start_clocks() {
        parts::start_clocks();
    }

    fn start_watchdog() -> Dog {
        Dog::start()
    }

    fn wires() -> [Wires<Pin, Pin>; 2] {
        parts::wires()
    }

    fn lamps() -> ([Pin; 4], Pin) {
        parts::lamps()
    }

    fn flash() -> eeprom::Eeprom {
        eeprom::Eeprom::open()
    }

    fn ports() -> [UartPort; 2] {
        uart::open()
    }

    fn sleep(until: Instant) {
        #[cfg(feature = "faults")]
        {
            stopwatch::done(uart::is_idle());
            faults::play();
        }
        parts::sleep(until, uart::is_idle);
    }

    fn release_resets() {
        cortex_m::interrupt::disable();
        parts::release_resets();
    }

    fn reset() -> ! {
        cortex_m::peripheral::SCB::sys_reset()
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ROOM: Room = Room::new();
    hb_board::start::<Evb>(ROOM)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    hb_board::stop::<Evb>()
}
