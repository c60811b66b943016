//! The loop of every board.

use embedded_hal::digital::{InputPin, OutputPin};
use hb_mcu::{Blank, Clock, Dongle, Lamps, Parts, Port, Store, Watchdog, provisioned};
use hb_proto::arbiter::{Config, MAX_ARBITER_KEYS};
use hb_proto::time::Instant;
use hb_proto::wire::auth::KeyRing;
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

/// Of what a dongle is made, and the speed of its lines.
pub type Body<P, O, I, C, S, W> = (Parts<P, P, O, I, C, S, W>, u32);

/// Lives, with keys or without. What can't even begin waits for the watchdog and tries again.
pub fn run<P, O, I, C, S, W>(
    (mut parts, baud): Body<P, O, I, C, S, W>,
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
    // R12: released before anything else is looked at, in a blank dongle too.
    for wires in &mut parts.wires {
        let _ = wires.reset.set_low();
    }
    match provisioned(&mut parts.store) {
        Err(_) => {}
        Ok(None) => wait_for_keys(parts, clock, reset, &mut board),
        Ok(Some((number, keys))) => {
            live(parts, clock, reset, (Config::new(number, baud), keys), &mut board);
        }
    }
    board.restart()
}

/// Until it has got a key. A frame of its own: a voter needs the room for itself.
#[inline(never)]
fn wait_for_keys<P, O, I, C, S, W>(
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
    let mut blank = Blank::new((one, two), (own, store, watchdog), which, reset);
    while !blank.is_over() {
        let due = blank.turn();
        board.show(Lamps::blank(clock.now()));
        board.sleep(due);
    }
}

/// Until it gets other keys.
#[inline(never)]
fn live<P, O, I, C, S, W>(
    parts: Parts<P, P, O, I, C, S, W>,
    mut clock: C,
    reset: ResetReason,
    (config, keys): (Config, KeyRing<MAX_ARBITER_KEYS>),
    board: &mut impl Board,
) where
    P: Port,
    O: OutputPin,
    I: InputPin,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    let mut started = Dongle::start(config, keys, reset, parts);
    // By reference: moved out, it would take its room twice.
    let Ok(dongle) = &mut started else { return };
    while !dongle.is_over() {
        let due = dongle.turn();
        while dongle.poll_event().is_some() {}
        board.show(Lamps::of(dongle.arbiter(), clock.now()));
        board.sleep(due);
    }
}
