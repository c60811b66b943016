//! The bytes of both UARTs, between their interrupt handlers and the program.

use hb_mcu::{Ring, RingPort};

/// What arrives in 22 ms at 115200 bit/s: longer than any turn, and than a write to memory.
const ROOM: usize = 256;
/// What the program adds to while it is sent, some 500 µs apart; the rest waits in [`hb_mcu`]'s own queue.
const GOING: usize = 64;

/// The program's end of one UART.
pub type UartPort = RingPort<ROOM, GOING>;

/// The rings of one UART: what came, and what goes.
#[derive(Debug, Default)]
pub struct Rings {
    /// Put by the handler.
    pub came: Ring<ROOM>,
    /// Taken by the handler.
    pub goes: Ring<GOING>,
}

impl Rings {
    /// Empty ones.
    #[must_use]
    pub const fn new() -> Self {
        Self { came: Ring::new(), goes: Ring::new() }
    }

    /// The program's end; `kick` calls the handler.
    #[must_use]
    pub const fn port(&'static self, kick: fn()) -> UartPort {
        RingPort::new(&self.came, &self.goes, kick)
    }
}

/// Nothing has come that was not taken.
#[must_use]
pub fn are_idle(both: &[Rings; 2]) -> bool {
    both.iter().all(|rings| rings.came.is_empty())
}
