//! Clocks, alarm, watchdog and pins of the RP2040. Section numbers are of its data sheet.

use core::convert::Infallible;
use core::num::NonZeroU32;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use hb_board::Register;
use hb_mcu::pinout::{PICO, are};
use hb_mcu::{Clock, Watchdog, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;

const fn block(address: usize) -> Register {
    // SAFETY: called below with the peripherals of this chip's memory map alone (2.2); DMA is not among them.
    unsafe { Register::at(address) }
}

const RESETS: Register = block(0x4000_C000);
const CLOCKS: Register = block(0x4000_8000);
const PSM: Register = block(0x4001_0000);
const IO: Register = block(0x4001_4000);
const PADS: Register = block(0x4001_C000);
const XOSC: Register = block(0x4002_4000);
const PLL: Register = block(0x4002_8000);
const TIMER: Register = block(0x4005_4000);
const WATCHDOG: Register = block(0x4005_8000);
const CHIP_RESET: Register = block(0x4006_4008);
const SIO: Register = block(0xD000_0000);
/// Set-enable and set-pending of interrupts.
const ISER: Register = block(0xE000_E100);
const ISPR: Register = block(0xE000_E200);

/// The watchdog's time. It counts down by two each microsecond (erratum RP2040-E1).
const WATCHDOG_MICROS: u32 = 1_500_000;

/// Why this life began (2.12.7 and 4.7.6).
pub fn reset_cause() -> Option<ResetReason> {
    let (chip, dog) = (CHIP_RESET.read(), WATCHDOG.plus(0x08).read());
    // The chip-level register keeps the last reset of that level, so the watchdog is asked first.
    if dog & 0b10 != 0 {
        return Some(ResetReason::Software);
    }
    if dog & 0b01 != 0 {
        return Some(ResetReason::Watchdog);
    }
    if chip & 1 << 16 != 0 {
        return Some(ResetReason::Pin);
    }
    // Power-on and brown-out are one bit here.
    (chip & 1 << 8 != 0).then_some(ResetReason::PowerOn)
}

/// 125 MHz from the 12 MHz crystal (2.15 to 2.18), then everything that is used comes out of reset.
pub fn start_clocks() {
    XOSC.plus(0x0C).write(47);
    XOSC.write(0xFA_BAA0);
    while XOSC.plus(0x04).read() & 1 << 31 == 0 {}
    // clk_ref from the crystal, clk_sys from clk_ref while the PLL is set up.
    CLOCKS.plus(0x30).write(2);
    while CLOCKS.plus(0x38).read() & 1 << 2 == 0 {}
    CLOCKS.plus(0x3C).clear(1);
    while CLOCKS.plus(0x44).read() & 1 == 0 {}
    unreset(1 << 12);
    // 12 MHz × 125 = 1500 MHz, / 6 / 2.
    PLL.write(1);
    PLL.plus(0x08).write(125);
    PLL.plus(0x04).clear(1 << 5 | 1);
    while PLL.read() & 1 << 31 == 0 {}
    PLL.plus(0x0C).write(6 << 16 | 2 << 12);
    PLL.plus(0x04).clear(1 << 3);
    CLOCKS.plus(0x3C).write(0);
    CLOCKS.plus(0x3C).write(1);
    while CLOCKS.plus(0x44).read() & 1 << 1 == 0 {}
    // clk_peri from clk_sys, for the UARTs.
    CLOCKS.plus(0x48).write(1 << 11);
    // A tick a microsecond, for the timer and the watchdog.
    WATCHDOG.plus(0x2C).write(1 << 9 | 12);
    // Pins and pads, timer, both UARTs.
    unreset(1 << 5 | 1 << 8 | 1 << 21 | 1 << 22 | 1 << 23);
    TIMER.plus(0x38).write(1);
}

fn unreset(blocks: u32) {
    RESETS.clear(blocks);
    while RESETS.plus(0x08).read() & blocks != blocks {}
}

/// Enables the interrupts of alarm 0 and of both UARTs.
pub fn enable_interrupts() {
    ISER.write(1 | 1 << 20 | 1 << 21);
    // SAFETY: everything that the handlers refer to is there.
    unsafe { cortex_m::interrupt::enable() };
}

/// Calls an interrupt's handler.
pub fn pend(number: u32) {
    ISPR.write(1 << number);
}

/// Time since the chip started.
#[derive(Clone, Copy, Default)]
pub struct MicroClock;

impl Clock for MicroClock {
    fn now(&mut self) -> Instant {
        loop {
            // The raw halves don't latch: read again when the upper one moved (4.6.2).
            let high = TIMER.plus(0x24).read();
            let low = TIMER.plus(0x28).read();
            if TIMER.plus(0x24).read() == high {
                return Instant::from_micros(u64::from(high) << 32 | u64::from(low));
            }
        }
    }
}

/// Sleeps until an interrupt: a byte, or the alarm.
pub fn sleep(until: Instant, idle: impl Fn() -> bool) {
    let now = MicroClock.now();
    let left = until.since(now).micros().min(1_000_000) as u32;
    // An alarm that is set too late would ring 71 minutes later.
    if left < 20 {
        return;
    }
    TIMER.plus(0x10).write((now.micros() as u32).wrapping_add(left));
    cortex_m::interrupt::free(|_| {
        if idle() {
            cortex_m::asm::wfi();
        }
    });
}

/// The alarm rang: that was all.
pub fn silence_alarm() {
    TIMER.plus(0x34).write(1);
}

/// The chip's watchdog.
pub struct Dog;

impl Dog {
    /// Starts it: all but the oscillators are reset (4.7.3, 2.13.5).
    pub fn start() -> Self {
        PSM.plus(0x08).write(0x1_FFFC);
        let mut dog = Self;
        dog.feed();
        WATCHDOG.write(1 << 30);
        dog
    }

    /// Resets the chip now.
    pub fn bite() -> ! {
        PSM.plus(0x08).write(0x1_FFFC);
        WATCHDOG.write(1 << 31);
        loop {
            cortex_m::asm::nop();
        }
    }
}

impl Watchdog for Dog {
    fn feed(&mut self) {
        WATCHDOG.plus(0x04).write(2 * WATCHDOG_MICROS);
    }
}

/// A pin by the bit of its GPIO number.
pub struct Pin(NonZeroU32);

/// The bit of a GPIO number, 0 to 29.
const fn bit(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(1 << number) {
        Some(bit) => bit,
        None => NonZeroU32::MIN,
    }
}

const FUNCTION_UART: u32 = 2;
const FUNCTION_SIO: u32 = 5;
/// A pad with its input on, Schmitt trigger, 4 mA; pulled neither way.
const PAD: u32 = 1 << 6 | 1 << 4 | 1 << 1;
const PULL_DOWN: u32 = 1 << 2;
const PULL_UP: u32 = 1 << 3;

impl Pin {
    fn new(number: u32, function: u32, pull: u32) -> Self {
        PADS.plus(4 + 4 * number as usize).write(PAD | pull);
        IO.plus(4 + 8 * number as usize).write(function);
        Self(bit(number))
    }

    fn input(number: u32, pull: u32) -> Self {
        Self::new(number, FUNCTION_SIO, pull)
    }

    /// Low before it is driven: a pad that is pulled down stays low all the way from power-up (R12).
    fn output(number: u32) -> Self {
        SIO.plus(0x18).write(1 << number);
        SIO.plus(0x24).write(1 << number);
        Self::new(number, FUNCTION_SIO, PULL_DOWN)
    }
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        SIO.plus(0x18).write(self.0.get());
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        SIO.plus(0x14).write(self.0.get());
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(SIO.plus(0x04).read() & self.0.get() != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_high()?)
    }
}

/// The numbers below are held against what `hb dongle pinout` tells.
const _: () = {
    assert!(are(&PICO.tx, "GP", &[0, 8]) && are(&PICO.rx, "GP", &[1, 9]));
    assert!(are(&PICO.reset, "GP", &RESET_PINS) && are(&PICO.line, "GP", &[4, 5]));
    assert!(are(&PICO.sense, "GP", &[6, 7]) && are(&PICO.feed, "GP", &[10, 11]));
    assert!(are(&PICO.lamps, "GP", &[25, 18, 19, 20]) && are(&[PICO.button], "GP", &[22]));
};

/// Reset outputs of A and B.
const RESET_PINS: [u32; 2] = [2, 3];

/// Nothing is pulled any more.
pub fn release_resets() {
    SIO.plus(0x18).write(1 << RESET_PINS[0] | 1 << RESET_PINS[1]);
}

/// The pins of A and B, and the UARTs' (1.4.3): GP0, GP1 are UART0, GP8, GP9 are UART1.
pub fn wires() -> [Wires<Pin, Pin>; 2] {
    release_resets();
    for number in [0, 1, 8, 9] {
        let _ = Pin::new(number, FUNCTION_UART, PULL_UP);
    }
    // Optocouplers pull inputs up when there is light; an input that nobody drives reads "no".
    [0, 1].map(|node| Wires {
        reset: Pin::output(RESET_PINS[node as usize]),
        line: Some(Pin::input(4 + node, PULL_DOWN)),
        sense: Some(Pin::input(6 + node, PULL_DOWN)),
        feed: Some(Pin::input(10 + node, PULL_DOWN)),
    })
}

/// LEDs: GP25 alive (the board's own), GP18 A, GP19 B, GP20 alarm. And the button to erase keys: GP22 to ground.
pub fn lamps() -> ([Pin; 4], Pin) {
    ([25, 18, 19, 20].map(Pin::output), Pin::input(22, PULL_UP))
}
