//! The dongle on a Raspberry Pi Pico. Pins: [`parts`], and docs/hardware/dongle.
#![no_std]
#![no_main]

mod flash;
mod parts;
mod uart;

#[cfg(feature = "defmt")]
use defmt_rtt as _;
use hb_board::Board;
use hb_mcu::{Room, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service;

use parts::{Dog, MicroClock, Pin};
use uart::UartPort;

struct Pico;

impl Board for Pico {
    type Pin = Pin;
    type Port = UartPort;
    type Clock = MicroClock;
    type Watchdog = Dog;
    type Flash = flash::QspiFlash;

    const WHICH: service::Board = service::Board::Rp2040Pico;

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

    fn flash() -> flash::QspiFlash {
        flash::QspiFlash
    }

    fn ports() -> [UartPort; 2] {
        uart::open()
    }

    fn sleep(until: Instant) {
        parts::sleep(until, uart::is_idle);
    }

    fn release_resets() {
        cortex_m::interrupt::disable();
        parts::release_resets();
    }

    fn reset() -> ! {
        Dog::bite()
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ROOM: Room = Room::new();
    hb_board::start::<Pico>(ROOM)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    hb_board::stop::<Pico>()
}
