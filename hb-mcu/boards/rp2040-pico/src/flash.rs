//! The last two sectors of the Pico's flash.
//!
//! While a sector is programmed or erased nothing can be read from flash, so nothing runs but the ROM's own
//! functions and this chip's interrupts wait: 0.4 ms for a page (W25Q16JV data sheet, tPP), which the UARTs' FIFOs of 32 bytes
//! bridge at 115200 bit/s, and 45 ms for a sector, which [`hb_mcu::Kept`] erases when a life begins.

use core::convert::Infallible;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use rp2040_flash::flash::{flash_range_erase, flash_range_program};

const BASE: u32 = 0x1000_0000;
/// 2 MiB, less two sectors: beyond what memory.x gives to the program.
const OFFSET: u32 = 2048 * 1024 - 2 * 4096;

/// The memory.
pub struct QspiFlash;

impl ErrorType for QspiFlash {
    type Error = Infallible;
}

impl ReadNorFlash for QspiFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let from = (BASE + OFFSET + offset) as *const u8;
        for (at, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: flash is mapped there, and callers stay within two sectors; volatile, as it changes
            // behind the compiler's back.
            *byte = unsafe { from.add(at).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        2 * Self::ERASE_SIZE
    }
}

impl NorFlash for QspiFlash {
    const WRITE_SIZE: usize = 256;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        cortex_m::interrupt::free(|_| {
            // SAFETY: whole sectors beyond the program; nothing runs from flash meanwhile, as interrupts are
            // off and the other core is never started.
            unsafe { flash_range_erase(OFFSET + from, to - from, true) };
        });
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        cortex_m::interrupt::free(|_| {
            // SAFETY: as above; callers write whole pages.
            unsafe { flash_range_program(OFFSET + offset, bytes, true) };
        });
        Ok(())
    }
}
