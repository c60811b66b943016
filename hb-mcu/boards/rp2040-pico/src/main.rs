//! The dongle on a Raspberry Pi Pico. Pins: [`parts`], and docs/hardware/dongle.
#![no_std]
#![no_main]

mod flash;
mod parts;
mod vectors;

#[cfg(feature = "defmt")]
use defmt_rtt as _;
use embedded_hal::digital::{InputPin as _, OutputPin as _};
use hb_board::{Board, Remains};
use hb_mcu::{Kept, Lamps, Parts, Room, erase_keys};
use hb_proto::time::Instant;
use hb_proto::wire::service;

use parts::{Dog, MicroClock, Pin};

const BAUD: u32 = 115_200;

struct Pico([Pin; 4]);

impl Board for Pico {
    fn show(&mut self, lamps: Lamps) {
        let levels = [lamps.alive, lamps.nodes[0], lamps.nodes[1], lamps.alarm];
        for (pin, on) in self.0.iter_mut().zip(levels) {
            let _ = pin.set_state(on.into());
        }
    }

    fn sleep(&mut self, until: Instant) {
        parts::sleep(until, vectors::is_idle);
    }

    fn restart(&mut self) -> ! {
        hb_board::leave();
        Dog::bite()
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ROOM: Room = Room::new();
    let Remains { reset, retained } = hb_board::begin(parts::reset_cause());
    parts::start_clocks();
    let watchdog = Dog::start();
    let wires = parts::wires();
    let (leds, mut button) = parts::lamps();
    let mut board = Pico(leds);
    let Ok(mut store) = Kept::mount(flash::QspiFlash, retained) else { board.restart() };
    // Held while power comes.
    if !reset.kept_power() && button.is_low() == Ok(true) {
        let erased = erase_keys(&mut store).is_ok() && store.scrub().is_ok();
        if !erased {
            board.restart();
        }
    }
    let [one, two] = vectors::open();
    let which = service::Board::Rp2040Pico;
    let parts = Parts { board: which, one, two, wires, clock: MicroClock, store, watchdog };
    hb_board::run(ROOM, parts, BAUD, MicroClock, reset, board)
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
