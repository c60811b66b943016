#![no_std]
#![no_main]
use core::convert::Infallible;
use embedded_hal::digital::{ErrorType as PinError, InputPin, OutputPin};
use hb_mcu::{Area, Clock, Dongle, Parts, Store, Watchdog, Wires};
use hb_proto::time::Instant;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::ResetReason;

struct U(usize);
fn rd(a: usize) -> u32 { unsafe { (a as *const u32).read_volatile() } }
fn wr(a: usize, v: u32) { unsafe { (a as *mut u32).write_volatile(v) } }
impl embedded_io::ErrorType for U { type Error = Infallible; }
impl embedded_io::ReadReady for U { fn read_ready(&mut self) -> Result<bool, Infallible> { Ok(rd(self.0 + 0x18) & 16 == 0) } }
impl embedded_io::WriteReady for U { fn write_ready(&mut self) -> Result<bool, Infallible> { Ok(rd(self.0 + 0x18) & 32 == 0) } }
impl embedded_io::Read for U { fn read(&mut self, b: &mut [u8]) -> Result<usize, Infallible> { b[0] = rd(self.0) as u8; Ok(1) } }
impl embedded_io::Write for U { fn write(&mut self, b: &[u8]) -> Result<usize, Infallible> { wr(self.0, b[0].into()); Ok(1) } fn flush(&mut self) -> Result<(), Infallible> { Ok(()) } }
struct Pin(u32);
impl PinError for Pin { type Error = Infallible; }
impl OutputPin for Pin { fn set_low(&mut self) -> Result<(), Infallible> { wr(0x4002_5000 + (self.0 as usize * 4), 0); Ok(()) } fn set_high(&mut self) -> Result<(), Infallible> { wr(0x4002_5000 + (self.0 as usize * 4), self.0); Ok(()) } }
impl InputPin for Pin { fn is_high(&mut self) -> Result<bool, Infallible> { Ok(rd(0x4002_5000 + (self.0 as usize * 4)) != 0) } fn is_low(&mut self) -> Result<bool, Infallible> { Ok(!self.is_high()?) } }
struct C;
impl Clock for C { fn now(&mut self) -> Instant { Instant::from_micros(rd(0xE000_E018).into()) } }
struct S;
impl Store for S { type Error = (); fn read(&mut self, _: Area, _: &mut [u8]) -> Result<usize, ()> { Ok(rd(0x2000_8000) as usize) } fn write(&mut self, _: Area, r: &[u8]) -> Result<(), ()> { wr(0x2000_8000, r[0].into()); Ok(()) } }
struct W;
impl Watchdog for W { fn feed(&mut self) { wr(0x4000_000C, 1) } }
#[cortex_m_rt::entry]
fn main() -> ! {
    let key = Key::hmac(1, b"x").unwrap();
    let keys = KeyRing::new(core::iter::once(key).collect(), 1).unwrap();
    let wires = [1, 2].map(|n| Wires { reset: Pin(n), line: Some(Pin(n << 2)), sense: Some(Pin(n << 4)), feed: Some(Pin(n << 6)) });
    let parts = Parts { one: U(0x4000_C000), two: U(0x4000_D000), wires, clock: C, store: S, watchdog: W };
    let Ok(mut d) = Dongle::start(hb_proto::arbiter::Config::new(1, 115200), keys, ResetReason::PowerOn, parts) else { loop {} };
    wr(0x2000_8004, core::mem::size_of_val(&d) as u32);
    loop { d.turn(); while d.poll_event().is_some() {} }
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
