//! The loop of every board.

use embedded_hal::digital::{InputPin, OutputPin};
use hb_mcu::{Blank, Clock, Dongle, Lamps, Parts, Port, Room, Store, Watchdog, is_provisioned};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;

/// What a board does around a turn.
pub trait Board {
    /// Shows this on its LEDs.
    fn show(&mut self, lamps: Lamps);
    /// Sleeps until something comes, or until then.
    fn sleep(&mut self, until: Instant);
    /// Resets the chip.
    fn restart(&mut self) -> !;
}

/// Lives, with keys or without. What can't even begin waits for the watchdog and tries again.
pub fn run<P, O, I, C, S, W>(
    room: &mut Room,
    parts: Parts<P, P, O, I, C, S, W>,
    baud: u32,
    clock: C,
    reset: ResetReason,
    mut board: impl Board,
) -> !
where
    P: Port,
    O: OutputPin,
    I: InputPin,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    let Parts { board: which, one, two, mut wires, clock: own, mut store, watchdog } = parts;
    // R12: released before anything else is looked at, in a blank dongle too.
    for wires in &mut wires {
        let _ = wires.reset.set_low();
    }
    let provisioned = is_provisioned(&mut store);
    // Made anew and not passed on: a copy less on the stack.
    let parts = Parts { board: which, one, two, wires, clock: own, store, watchdog };
    match provisioned {
        Err(_) => {}
        Ok(false) => wait_for_keys(room, parts, clock, reset, &mut board),
        Ok(true) => live(room, parts, clock, (reset, baud), &mut board),
    }
    board.restart()
}

/// Until it has got a key. A frame of its own: a voter needs the room for itself.
#[inline(never)]
fn wait_for_keys<P, O, I, C, S, W>(
    room: &mut Room,
    parts: Parts<P, P, O, I, C, S, W>,
    mut clock: C,
    reset: ResetReason,
    board: &mut impl Board,
) where
    P: Port,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    let Parts { board: which, one, two, clock: own, store, watchdog, .. } = parts;
    let mut blank = Blank::new(room, (one, two), (own, store, watchdog), which, reset);
    while !blank.is_over() {
        let due = blank.turn();
        board.show(Lamps::blank(clock.now()));
        board.sleep(due);
    }
}

/// Until another one is due.
#[inline(never)]
fn live<P, O, I, C, S, W>(
    room: &mut Room,
    parts: Parts<P, P, O, I, C, S, W>,
    mut clock: C,
    (reset, baud): (ResetReason, u32),
    board: &mut impl Board,
) where
    P: Port,
    O: OutputPin,
    I: InputPin,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    let mut begun = Dongle::start_stored(room, baud, reset, parts);
    // By reference: moved out, it would take its room twice.
    let Ok(dongle) = &mut begun else { return };
    while !dongle.is_over() {
        let due = dongle.turn();
        while dongle.poll_event().is_some() {}
        board.show(Lamps::of(dongle.arbiter(), clock.now()));
        board.sleep(due);
    }
}
