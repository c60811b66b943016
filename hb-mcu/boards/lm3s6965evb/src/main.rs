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
use embedded_hal::digital::{InputPin as _, OutputPin as _};
use hb_board::{Board, Remains};
use hb_mcu::{Kept, Lamps, Parts, Room, erase_keys};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service;

use parts::{Dog, Pin, SysClock};

const BAUD: u32 = 115_200;

struct Evb([Pin; 4]);

impl Board for Evb {
    fn show(&mut self, lamps: Lamps) {
        let levels = [lamps.alive, lamps.nodes[0], lamps.nodes[1], lamps.alarm];
        for (pin, on) in self.0.iter_mut().zip(levels) {
            let _ = pin.set_state(on.into());
        }
    }

    fn sleep(&mut self, until: Instant) {
        #[cfg(feature = "faults")]
        {
            stopwatch::done(uart::is_idle());
            faults::play();
        }
        parts::sleep(until, uart::is_idle);
    }

    fn restart(&mut self) -> ! {
        hb_board::leave();
        cortex_m::peripheral::SCB::sys_reset()
    }
}

/// What the chip knows; QEMU's says nothing.
fn reset_cause() -> Option<ResetReason> {
    let cause = registers::read(registers::RESC);
    registers::write(registers::RESC, 0);
    match cause & 0b11_1111 {
        0 => None,
        cause if cause & 0b0010 != 0 => Some(ResetReason::PowerOn),
        cause if cause & 0b0100 != 0 => Some(ResetReason::BrownOut),
        cause if cause & 0b1000 != 0 => Some(ResetReason::Watchdog),
        cause if cause & 0b1_0000 != 0 => Some(ResetReason::Software),
        _ => Some(ResetReason::Pin),
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ROOM: Room = Room::new();
    let Remains { reset, retained } = hb_board::begin(reset_cause());
    parts::start_clocks();
    let watchdog = Dog::start();
    let wires = parts::wires();
    let (leds, mut button) = parts::lamps();
    let mut board = Evb(leds);
    let Ok(mut store) = Kept::mount(eeprom::Eeprom::open(), retained) else { board.restart() };
    // Held while power comes.
    if !reset.kept_power() && button.is_low() == Ok(true) {
        let erased = erase_keys(&mut store).is_ok() && store.scrub().is_ok();
        if !erased {
            board.restart();
        }
    }
    let [one, two] = uart::open();
    let which = service::Board::Lm3s6965evb;
    let parts = Parts { board: which, one, two, wires, clock: SysClock, store, watchdog };
    hb_board::run(ROOM, parts, BAUD, SysClock, reset, board)
}

/// Nothing stays pulled; the watchdog does the rest.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    parts::release_resets();
    hb_board::leave();
    loop {
        cortex_m::asm::nop();
    }
}
