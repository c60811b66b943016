//! An I²C EEPROM of the 24C64 kind on I2C1, the bus on which QEMU puts it: this chip's own flash is
//! not emulated as writable memory.
//!
//! Behaves as NOR flash towards [`hb_mcu::Kept`], of which it is a simpler case.

use core::convert::Infallible;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use crate::registers::*;

const MSA: usize = I2C1;
const MCS: usize = I2C1 + 0x04;
const MDR: usize = I2C1 + 0x08;
const MTPR: usize = I2C1 + 0x0C;
const MCR: usize = I2C1 + 0x20;
const RUN: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 4;
const ACK: u32 = 8;
const BUSY: u32 = 1;
const FAILED: u32 = 2;
/// The EEPROM's address with its pins at ground.
const ADDRESS: u32 = 0x50;
/// Bytes that it writes at once; longer writes wrap within them.
const PAGE: usize = 32;
/// It does not acknowledge while it writes: 5 ms, asked again every 0.1 ms or so.
const PATIENCE: u32 = 200;

/// The memory.
pub struct Eeprom;

impl Eeprom {
    /// Pins PA6 and PA7, 100 kbit/s at 50 MHz.
    pub fn open() -> Self {
        set(PORT_A + AFSEL, 0b1100_0000);
        set(PORT_A + ODR, 0b1000_0000);
        set(PORT_A + DEN, 0b1100_0000);
        write(MCR, 1 << 4);
        write(MTPR, 24);
        Self
    }

    /// One step of the bus; whether it was acknowledged.
    fn step(how: u32) -> bool {
        write(MCS, how);
        while read(MCS) & BUSY != 0 {}
        read(MCS) & FAILED == 0
    }

    /// Sets the memory's address, and leaves the bus to what follows.
    fn select(offset: u32) -> bool {
        for _ in 0..PATIENCE {
            write(MSA, ADDRESS << 1);
            write(MDR, offset >> 8);
            if Self::step(START | RUN) {
                write(MDR, offset & 0xFF);
                return Self::step(RUN);
            }
            Self::step(STOP);
        }
        false
    }

    fn write_page(offset: u32, bytes: impl Iterator<Item = u8>) {
        // What isn't acknowledged is not written, which the caller reads back.
        if Self::select(offset) {
            for byte in bytes {
                write(MDR, byte.into());
                Self::step(RUN);
            }
        }
        Self::step(STOP);
    }
}

impl ErrorType for Eeprom {
    type Error = Infallible;
}

impl ReadNorFlash for Eeprom {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let found = Self::select(offset);
        Self::step(STOP);
        write(MSA, ADDRESS << 1 | 1);
        let last = bytes.len().saturating_sub(1);
        for (at, byte) in bytes.iter_mut().enumerate() {
            let start = if at == 0 { START } else { 0 };
            let end = if at == last { STOP } else { ACK };
            Self::step(start | RUN | end);
            *byte = if found { read(MDR) as u8 } else { 0 };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        2 * Self::ERASE_SIZE
    }
}

impl NorFlash for Eeprom {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        for offset in (from..to).step_by(PAGE) {
            Self::write_page(offset, [0xFF; PAGE].into_iter());
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        for (offset, page) in (offset..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            Self::write_page(offset, page.iter().copied());
        }
        Ok(())
    }
}
