//! A life of every board, from reset to reset.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use hb_mcu::{
    Blank, Clock, Dongle, Kept, Lamps, Parts, Port, Room, Store, Watchdog, Wires, erase_keys,
    is_provisioned,
};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::service;

use crate::remains::{self, Remains};

/// Of both lines, bits a second.
const BAUD: u32 = 115_200;

/// What sets a board apart. Called in the order in which it stands here, each once at most but for the last three.
pub trait Board {
    /// A pin, in either direction.
    type Pin: InputPin + OutputPin;
    /// One of both UARTs.
    type Port: Port;
    /// A clock as good as a crystal; there may be two of it.
    type Clock: Clock + Default;
    /// The chip's watchdog.
    type Watchdog: Watchdog;
    /// Where records are kept.
    type Flash: NorFlash + ReadNorFlash + 'static;
    /// Which one it is.
    const WHICH: service::Board;

    /// Why this life began, as far as the chip knows.
    fn reset_cause() -> Option<ResetReason>;
    /// Clocks, and what is to have one.
    fn start_clocks();
    /// Starts the watchdog; nothing but a reset stops it.
    fn start_watchdog() -> Self::Watchdog;
    /// The pins of A and B: outputs at rest, inputs ready.
    fn wires() -> [Wires<Self::Pin, Self::Pin>; 2];
    /// LEDs (alive, A, B, alarm), and the button that erases keys: low when pressed.
    fn lamps() -> ([Self::Pin; 4], Self::Pin);
    /// The memory.
    fn flash() -> Self::Flash;
    /// Both UARTs at [`service`]'s speed, 115200 bit/s, and interrupts on.
    fn ports() -> [Self::Port; 2];
    /// Sleeps until something comes, or until then.
    fn sleep(until: Instant);
    /// Interrupts off, and nothing is pulled any more, whatever the program was doing.
    fn release_resets();
    /// Resets the chip.
    fn reset() -> !;
}

/// Lives, with keys or without, until the chip is reset. What can't even begin waits for the watchdog and tries again.
pub fn start<B: Board>(room: &mut Room) -> ! {
    let Remains { reset, retained } = remains::begin(B::reset_cause());
    B::start_clocks();
    let watchdog = B::start_watchdog();
    let mut wires = B::wires();
    // R12: released before anything else is looked at, in a blank dongle too.
    for wires in &mut wires {
        let _ = wires.reset.set_low();
    }
    let (mut leds, mut button) = B::lamps();
    if let Ok(mut store) = Kept::mount(B::flash(), retained) {
        // Held while power comes.
        let erase = !reset.kept_power() && button.is_low().is_ok_and(|low| low);
        let erased = !erase || erase_keys(&mut store).is_ok() && store.scrub().is_ok();
        let provisioned = if erased { is_provisioned(&mut store).ok() } else { None };
        let [one, two] = B::ports();
        let clock = B::Clock::default();
        let parts = Parts { board: B::WHICH, one, two, wires, clock, store, watchdog };
        match provisioned {
            None => {}
            Some(false) => wait_for_keys::<B, _>(room, parts, reset, &mut leds),
            Some(true) => live::<B, _>(room, parts, reset, &mut leds),
        }
    }
    remains::leave();
    B::reset()
}

/// For a panic: nothing stays pulled; the watchdog does the rest.
pub fn stop<B: Board>() -> ! {
    B::release_resets();
    remains::leave();
    loop {
        core::hint::spin_loop();
    }
}

type PartsOf<B, S> = Parts<
    <B as Board>::Port,
    <B as Board>::Port,
    <B as Board>::Pin,
    <B as Board>::Pin,
    <B as Board>::Clock,
    S,
    <B as Board>::Watchdog,
>;

#[inline(never)]
fn show<P: OutputPin>(leds: &mut [P; 4], lamps: Lamps) {
    let levels = [lamps.alive, lamps.nodes[0], lamps.nodes[1], lamps.alarm];
    for (pin, on) in leds.iter_mut().zip(levels) {
        let _ = pin.set_state(on.into());
    }
}

/// Until it has got a key. A frame of its own: a voter needs the room for itself.
#[inline(never)]
fn wait_for_keys<B: Board, S: Store>(
    room: &mut Room,
    parts: PartsOf<B, S>,
    reset: ResetReason,
    leds: &mut [B::Pin; 4],
) {
    let Parts { board: which, one, two, clock: own, store, watchdog, .. } = parts;
    let mut clock = B::Clock::default();
    let mut blank = Blank::new(room, (one, two), (own, store, watchdog), which, reset);
    while !blank.is_over() {
        let due = blank.turn();
        show(leds, Lamps::blank(clock.now()));
        B::sleep(due);
    }
}

/// Until another one is due.
#[inline(never)]
fn live<B: Board, S: Store>(
    room: &mut Room,
    parts: PartsOf<B, S>,
    reset: ResetReason,
    leds: &mut [B::Pin; 4],
) {
    let mut clock = B::Clock::default();
    let mut begun = Dongle::start_stored(room, BAUD, reset, parts);
    // By reference: moved out, it would take its room twice.
    let Ok(dongle) = &mut begun else { return };
    while !dongle.is_over() {
        let due = dongle.turn();
        while dongle.poll_event().is_some() {}
        show(leds, Lamps::of(dongle.arbiter(), clock.now()));
        B::sleep(due);
    }
}
