//! The LM3S6965's registers that are used here. Names and offsets as in its data sheet (DS-LM3S6965).

/// System control.
pub const RESC: usize = 0x400F_E05C;
pub const RIS: usize = 0x400F_E050;
pub const RCC: usize = 0x400F_E060;
pub const RCGC1: usize = 0x400F_E104;
pub const RCGC2: usize = 0x400F_E108;
/// Watchdog.
pub const WDT: usize = 0x4000_0000;
#[cfg(feature = "faults")]
pub const UART2: usize = 0x4000_E000;
#[cfg(feature = "faults")]
pub const DR: usize = 0x00;
#[cfg(feature = "faults")]
pub const FR: usize = 0x18;
/// General-purpose timer 0.
pub const TIMER0: usize = 0x4003_0000;
/// I²C master 1.
pub const I2C1: usize = 0x4002_1000;
/// GPIO ports: ARM's PL061.
pub const PORT_A: usize = 0x4000_4000;
pub const PORT_B: usize = 0x4000_5000;
pub const PORT_C: usize = 0x4000_6000;
pub const PORT_D: usize = 0x4000_7000;
pub const PORT_E: usize = 0x4002_4000;
pub const PORT_F: usize = 0x4002_5000;
pub const DIR: usize = 0x400;
pub const AFSEL: usize = 0x420;
pub const ODR: usize = 0x50C;
pub const PUR: usize = 0x510;
pub const DEN: usize = 0x51C;
/// The core's SysTick: control, reload, current.
pub const SYST: [usize; 3] = [0xE000_E010, 0xE000_E014, 0xE000_E018];
/// Interrupt set-enable.
pub const ISER0: usize = 0xE000_E100;
/// Interrupt set-pending.
pub const ISPR0: usize = 0xE000_E200;
/// Interrupt control and state.
pub const ICSR: usize = 0xE000_ED04;

/// Reads a register.
pub fn read(address: usize) -> u32 {
    // SAFETY: only the addresses of registers above are passed, which are always mapped; reading has no effect
    // on memory.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes a register.
pub fn write(address: usize, value: u32) {
    // SAFETY: only the addresses of registers above are passed; none of them starts DMA or moves memory.
    unsafe { (address as *mut u32).write_volatile(value) }
}

/// Sets bits.
pub fn set(address: usize, bits: u32) {
    write(address, read(address) | bits);
}
