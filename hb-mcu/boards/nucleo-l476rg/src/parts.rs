//! Clocks, alarm, watchdog and pins of the STM32L476. Registers as in its reference manual, RM0351.

use core::convert::Infallible;
use core::sync::atomic::{AtomicU32, Ordering};

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use hb_board::Register;
use hb_mcu::pinout::{NUCLEO_L476RG as PINS, are};
use hb_mcu::{Clock, Watchdog, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::ResetReason;

const fn block(address: usize) -> Register {
    // SAFETY: called below with the peripherals of this chip's memory map alone; DMA is not among them.
    unsafe { Register::at(address) }
}

const RCC: Register = block(0x4002_1000);
const FLASH_ACR: Register = block(0x4002_2000);
const TIM2: Register = block(0x4000_0000);
const IWDG: Register = block(0x4000_3000);
/// Ports A, B, C.
const GPIO: [Register; 3] = [block(0x4800_0000), block(0x4800_0400), block(0x4800_0800)];
/// Set-enable and set-pending of interrupts 0 to 63.
const ISER: Register = block(0xE000_E100);
const ISPR1: Register = block(0xE000_E204);

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// Why this life began (RCC_CSR); the flags are cleared for the next one.
pub fn reset_cause() -> Option<ResetReason> {
    let csr = RCC.plus(0x94);
    let flags = csr.read();
    csr.set(1 << 23);
    let has = |bit: u32| flags >> bit & 1 != 0;
    if has(27) {
        // Power-on and brown-out are one flag here.
        Some(ResetReason::PowerOn)
    } else if has(29) || has(30) {
        Some(ResetReason::Watchdog)
    } else if has(28) {
        Some(ResetReason::Software)
    } else {
        has(26).then_some(ResetReason::Pin)
    }
}

/// 80 MHz: the internal 16 MHz × 10 / 2, as accurate as 1 %. Then clocks to what is used.
pub fn start_clocks() {
    RCC.set(1 << 8);
    while RCC.read() & 1 << 10 == 0 {}
    RCC.plus(0x0C).write(1 << 24 | 10 << 8 | 0b10);
    RCC.set(1 << 24);
    while RCC.read() & 1 << 25 == 0 {}
    // Four wait states for 80 MHz, before the switch.
    FLASH_ACR.set(4);
    while FLASH_ACR.read() & 0b111 != 4 {}
    RCC.plus(0x08).set(0b11);
    while RCC.plus(0x08).read() >> 2 & 0b11 != 0b11 {}
    RCC.plus(0x4C).set(0b111);
    RCC.plus(0x58).set(1 << 18 | 1);
    RCC.plus(0x60).set(1 << 14);
    // TIM2: a tick a microsecond, 32 bits.
    TIM2.plus(0x28).write(79);
    TIM2.plus(0x2C).write(u32::MAX);
    TIM2.plus(0x14).write(1);
    TIM2.plus(0x10).write(0);
    TIM2.plus(0x0C).write(0b11);
    TIM2.write(1);
}

/// Enables the interrupts of TIM2 (28), USART1 (37) and USART3 (39).
pub fn enable_interrupts() {
    ISER.write(1 << 28);
    ISER.plus(4).write(1 << 5 | 1 << 7);
    // SAFETY: everything that the handlers refer to is there.
    unsafe { cortex_m::interrupt::enable() };
}

/// Calls an interrupt's handler; 32 to 63.
pub fn pend(number: u32) {
    ISPR1.write(1 << (number - 32));
}

/// Times that TIM2 wrapped: every 71 minutes.
static WRAPS: AtomicU32 = AtomicU32::new(0);

/// TIM2's interrupt: a wrap is counted; the alarm is only to wake up.
pub fn timer() {
    let status = TIM2.plus(0x10);
    let flags = status.read();
    // Cleared by writing 0.
    status.write(!flags);
    if flags & 1 != 0 {
        WRAPS.store(WRAPS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Time since the chip started.
#[derive(Clone, Copy, Default)]
pub struct MicroClock;

impl Clock for MicroClock {
    fn now(&mut self) -> Instant {
        loop {
            let wraps = WRAPS.load(Ordering::Relaxed);
            let low = TIM2.plus(0x24).read();
            let pending = TIM2.plus(0x10).read() & 1 != 0;
            if !pending && WRAPS.load(Ordering::Relaxed) == wraps {
                return Instant::from_micros(u64::from(wraps) << 32 | u64::from(low));
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
    TIM2.plus(0x34).write((now.micros() as u32).wrapping_add(left));
    cortex_m::interrupt::free(|_| {
        if idle() {
            cortex_m::asm::wfi();
        }
    });
}

/// The independent watchdog, on its own oscillator of 32 kHz.
pub struct Dog;

impl Dog {
    /// Starts it: 1.5 s; nothing but a reset stops it.
    pub fn start() -> Self {
        IWDG.write(0xCCCC);
        IWDG.write(0x5555);
        IWDG.plus(0x04).write(3);
        IWDG.plus(0x08).write(1500);
        Self
    }
}

impl Watchdog for Dog {
    fn feed(&mut self) {
        IWDG.write(0xAAAA);
    }
}

/// A pin: its port and number.
pub struct Pin(usize, u32);

#[derive(Clone, Copy)]
enum Mode {
    Input = 0,
    Output = 1,
    Alternate = 2,
}

#[derive(Clone, Copy)]
enum Pull {
    None = 0,
    Up = 1,
    Down = 2,
}

fn field(register: Register, number: u32, width: u32, value: u32) {
    let shift = number * width;
    let mask = (1 << width) - 1;
    register.write(register.read() & !(mask << shift) | value << shift);
}

impl Pin {
    fn new(port: usize, number: u32, mode: Mode, pull: Pull) -> Self {
        field(GPIO[port].plus(0x0C), number, 2, pull as u32);
        field(GPIO[port], number, 2, mode as u32);
        Self(port, number)
    }

    /// USARTs 1 and 3 are alternate function 7 of their pins.
    fn usart(port: usize, number: u32) {
        let registers = GPIO[port].plus(0x20 + 4 * (number as usize / 8));
        field(registers, number % 8, 4, 7);
        let _ = Self::new(port, number, Mode::Alternate, Pull::Up);
    }

    /// Low before it is driven (R12).
    fn output(port: usize, number: u32) -> Self {
        GPIO[port].plus(0x18).write(1 << (number + 16));
        Self::new(port, number, Mode::Output, Pull::None)
    }
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        GPIO[self.0].plus(0x18).write(1 << (self.1 + 16));
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        GPIO[self.0].plus(0x18).write(1 << self.1);
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(GPIO[self.0].plus(0x10).read() >> self.1 & 1 != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.is_high()?)
    }
}

/// The ports and numbers below are held against what `hb dongle pinout` tells.
const _: () = {
    let ([tx_a, tx_b], [rx_a, rx_b]) = (PINS.tx, PINS.rx);
    assert!(are(&[tx_a, rx_a], "PA", &[9, 10]) && are(&[tx_b, rx_b], "PC", &[10, 11]));
    assert!(are(&PINS.reset, "PC", &RESET_PINS) && are(&PINS.line, "PB", &[4, 5]));
    assert!(are(&PINS.sense, "PB", &[13, 14]) && are(&PINS.feed, "PC", &[2, 3]));
    let [alive, a, b, alarm] = PINS.lamps;
    assert!(are(&[alive], "PA", &[5]) && are(&[a, b, alarm], "PB", &[8, 9, 10]));
    assert!(are(&[PINS.button], "PC", &[13]));
};

/// Reset outputs of A and B: PC6, PC8.
const RESET_PINS: [u32; 2] = [6, 8];

/// Nothing is pulled any more.
pub fn release_resets() {
    GPIO[C].plus(0x18).write(1 << (RESET_PINS[0] + 16) | 1 << (RESET_PINS[1] + 16));
}

/// The pins of A and B, and the UARTs': PA9, PA10 are USART1, PC10, PC11 are USART3.
pub fn wires() -> [Wires<Pin, Pin>; 2] {
    release_resets();
    for (port, number) in [(A, 9), (A, 10), (C, 10), (C, 11)] {
        Pin::usart(port, number);
    }
    let input = |port, number| Some(Pin::new(port, number, Mode::Input, Pull::Down));
    [0, 1].map(|node| Wires {
        reset: Pin::output(C, RESET_PINS[node as usize]),
        line: input(B, 4 + node),
        sense: input(B, 13 + node),
        feed: input(C, 2 + node),
    })
}

/// LEDs: PA5 alive (the board's own), PB8 A, PB9 B, PB10 alarm. And the board's button, PC13, low when pressed.
pub fn lamps() -> ([Pin; 4], Pin) {
    let leds = [(A, 5), (B, 8), (B, 9), (B, 10)];
    (leds.map(|(port, number)| Pin::output(port, number)), Pin::new(C, 13, Mode::Input, Pull::Up))
}
