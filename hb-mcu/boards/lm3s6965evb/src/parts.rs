//! Clock, alarm, watchdog and pins.

use core::convert::Infallible;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU32, Ordering};

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use hb_mcu::pinout::{LM3S6965EVB as PINS, are};
use hb_mcu::{Clock, Watchdog, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;

use crate::registers::*;

/// Of the core, after [`start_clocks`].
const HZ: u32 = 50_000_000;
const PER_MICRO: u32 = HZ / 1_000_000;
/// SysTick wraps so often. An emulator on a busy host loses ticks of 1 kHz, and none of these.
const TICK_MICROS: u32 = 10_000;
/// The watchdog's time, both halves of it: its first end raises an interrupt, its second one resets.
const WATCHDOG_MS: u32 = 1500;

/// Times that SysTick wrapped: good for 497 days, then [`SysClock`] has counted it itself.
static TICKS: AtomicU32 = AtomicU32::new(0);

/// 50 MHz from the board's crystal of 8 MHz (data sheet, "Initialization and Configuration" of system
/// control), clocks to what is used, SysTick, and the alarm.
pub fn start_clocks() {
    const BYPASS: u32 = 1 << 11;
    const USE_DIVIDER: u32 = 1 << 22;
    write(RCC, read(RCC) & !USE_DIVIDER | BYPASS);
    let rcc = read(RCC) & !(0xF << 6 | 3 << 4 | 1 << 13 | 1 << 12 | 1);
    write(RCC, rcc | 0xE << 6 | BYPASS);
    let rcc = read(RCC) & !(0xF << 23) | 3 << 23 | USE_DIVIDER;
    write(RCC, rcc);
    // A PLL that doesn't lock: the watchdog isn't running yet, and a slow dongle is worse than none.
    while read(RIS) & 1 << 6 == 0 {}
    write(RCC, read(RCC) & !BYPASS);
    write(RCGC1, 1 << 16 | 1 << 14 | 0b111);
    write(RCGC2, 0b11_1111);
    let [control, reload, current] = SYST;
    write(reload, TICK_MICROS * PER_MICRO - 1);
    write(current, 0);
    write(control, 0b111);
    // The alarm: one shot of 32 bits.
    write(TIMER0, 0);
    write(TIMER0 + 0x04, 1);
    write(TIMER0 + 0x18, 1);
}

/// What the chip knows; QEMU's says nothing.
pub fn reset_cause() -> Option<ResetReason> {
    let cause = read(RESC);
    write(RESC, 0);
    match cause & 0b11_1111 {
        0 => None,
        cause if cause & 0b0010 != 0 => Some(ResetReason::PowerOn),
        cause if cause & 0b0100 != 0 => Some(ResetReason::BrownOut),
        cause if cause & 0b1000 != 0 => Some(ResetReason::Watchdog),
        cause if cause & 0b1_0000 != 0 => Some(ResetReason::Software),
        _ => Some(ResetReason::Pin),
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    TICKS.store(TICKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Cycles since the clocks started, modulo 2³². For interrupts, too, which one that waits would wait for.
#[cfg(feature = "faults")]
pub fn cycles() -> u32 {
    cortex_m::interrupt::free(|_| {
        let (ticks, left) = (TICKS.load(Ordering::Relaxed), read(SYST[2]));
        let pending = read(ICSR) & 1 << 26 != 0;
        let (ticks, left) = if pending { (ticks + 1, read(SYST[2])) } else { (ticks, left) };
        let each = TICK_MICROS * PER_MICRO;
        ticks.wrapping_mul(each).wrapping_add(each - 1 - left)
    })
}

/// Time since the chip started.
#[derive(Clone, Copy, Default)]
pub struct SysClock;

impl Clock for SysClock {
    fn now(&mut self) -> Instant {
        loop {
            let before = TICKS.load(Ordering::Relaxed);
            let left = read(SYST[2]);
            // A wrap between the two readings, or one whose interrupt waits: read again.
            let pending = read(ICSR) & 1 << 26 != 0;
            if TICKS.load(Ordering::Relaxed) == before && !pending {
                let within = TICK_MICROS - 1 - left / PER_MICRO;
                let whole = u64::from(before) * u64::from(TICK_MICROS);
                return Instant::from_micros(whole + u64::from(within));
            }
        }
    }
}

/// Sleeps until an interrupt: a byte, or the alarm.
pub fn sleep(until: Instant, idle: impl Fn() -> bool) {
    let now = SysClock.now();
    let left = until.since(now).micros();
    if left == 0 {
        return;
    }
    let micros = u32::try_from(left).unwrap_or(u32::MAX).min(1_000_000);
    write(TIMER0 + 0x0C, 0);
    write(TIMER0 + 0x28, micros * PER_MICRO);
    write(TIMER0 + 0x24, 1);
    write(TIMER0 + 0x0C, 1);
    // With interrupts off: one that comes after the look at the rings still ends the sleep.
    cortex_m::interrupt::free(|_| {
        if idle() {
            cortex_m::asm::wfi();
        }
    });
}

/// The alarm rang: that was all.
pub fn silence_alarm() {
    write(TIMER0 + 0x24, 1);
}

/// The chip's watchdog.
pub struct Dog;

impl Dog {
    /// Starts it; nothing but a reset stops it.
    pub fn start() -> Self {
        write(WDT, HZ / 1000 * WATCHDOG_MS / 2);
        write(WDT + 0x08, 0b11);
        Self
    }
}

impl Watchdog for Dog {
    fn feed(&mut self) {
        #[cfg(feature = "faults")]
        if crate::faults::is_unfed() {
            return;
        }
        // WDTICR: clears the interrupt and loads the counter anew.
        write(WDT + 0x0C, 1);
    }
}

/// A pin: the address of its data register. Only the pins whose address bits are set take part in an access (PL061's
/// masked data register).
pub struct Pin(NonZeroUsize);

impl Pin {
    /// By its port and its bit.
    const fn new(port: usize, bit: u32) -> Self {
        Self(NonZeroUsize::MIN.saturating_add(port + ((bit as usize) << 2) - 1))
    }
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        write(self.0.get(), 0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        write(self.0.get(), 0xFF);
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0.get()) != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_high()?)
    }
}

/// Below they are bits of masked registers; here they are held against what `hb dongle pinout` tells.
const _: () = {
    assert!(are(&PINS.reset, "PE", &[0, 1]) && are(&PINS.line, "PE", &[2, 3]));
    assert!(are(&PINS.sense, "PC", &[4, 5]) && are(&PINS.feed, "PC", &[6, 7]));
    let [alive, a, b, alarm] = PINS.lamps;
    assert!(are(&[alive, a, b], "PF", &[0, 2, 3]) && are(&[alarm], "PB", &[0]));
    assert!(are(&[PINS.button], "PF", &[1]));
};

/// Reset outputs: PE0, PE1.
const RESETS: u32 = 0b11;

/// Low before it is an output: a latch that comes up high must not pulse (R12).
pub fn release_resets() {
    write(PORT_E + ((RESETS as usize) << 2), 0);
}

/// The pins of A and B. PE0, PE1 reset them; PE2, PE3 feel their reset lines, PC4, PC5 their signs of life,
/// PC6, PC7 their power.
pub fn wires() -> [Wires<Pin, Pin>; 2] {
    release_resets();
    set(PORT_E + DIR, RESETS);
    set(PORT_E + DEN, 0b1111);
    set(PORT_C + DEN, 0xF0);
    [0, 1].map(|node| Wires {
        reset: Pin::new(PORT_E, 1 << node),
        line: Some(Pin::new(PORT_E, 4 << node)),
        sense: Some(Pin::new(PORT_C, 0x10 << node)),
        feed: Some(Pin::new(PORT_C, 0x40 << node)),
    })
}

/// LEDs: PF0 alive (the board's own), PF2 A, PF3 B, PB0 alarm. And the board's button, PF1, low when pressed.
pub fn lamps() -> ([Pin; 4], Pin) {
    set(PORT_F + DIR, 0b1101);
    set(PORT_F + PUR, 0b0010);
    set(PORT_F + DEN, 0b1111);
    set(PORT_B + DIR, 1);
    set(PORT_B + DEN, 1);
    let leds = [(PORT_F, 1), (PORT_F, 4), (PORT_F, 8), (PORT_B, 1)];
    (leds.map(|(port, bit)| Pin::new(port, bit)), Pin::new(PORT_F, 2))
}
