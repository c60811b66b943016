//! The last two pages of the second bank. The program is in the first one and runs on meanwhile (RM0351, 3.3.5).

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use hb_board::Register;

/// The first of the two pages, of 256 in the bank.
const PAGE: u32 = 254;
const PAGE_SIZE: u32 = 2048;
const ADDRESS: usize = 0x0808_0000 + (PAGE * PAGE_SIZE) as usize;

// SAFETY: the flash interface's registers; what is written through it is the two pages above alone.
const FLASH: Register = unsafe { Register::at(0x4002_2000) };
const KEYR: Register = FLASH.plus(0x08);
const SR: Register = FLASH.plus(0x10);
const CR: Register = FLASH.plus(0x14);
const ECCR: Register = FLASH.plus(0x18);
const BUSY: u32 = 1 << 16;
const ERRORS: u32 = 0xC3FA;
const LOCK: u32 = 1 << 31;

/// The memory.
pub struct Bank2;

/// It could not be written.
#[derive(Debug)]
pub struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

fn wait() -> Result<(), Failed> {
    while SR.read() & BUSY != 0 {}
    if SR.read() & ERRORS == 0 { Ok(()) } else { Err(Failed) }
}

/// With the control register unlocked, and locked again after it (RM0351, 3.3.5 to 3.3.7).
fn unlocked(what: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    while SR.read() & BUSY != 0 {}
    SR.write(ERRORS);
    if CR.read() & LOCK != 0 {
        KEYR.write(0x4567_0123);
        KEYR.write(0xCDEF_89AB);
    }
    let done = what();
    CR.write(LOCK);
    done
}

impl ErrorType for Bank2 {
    type Error = Failed;
}

impl ReadNorFlash for Bank2 {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        let from = (ADDRESS + offset as usize) as *const u8;
        for (at, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: flash is mapped there, and callers stay within two pages; volatile, as it changes
            // behind the compiler's back.
            *byte = unsafe { from.add(at).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        2 * Self::ERASE_SIZE
    }
}

impl NorFlash for Bank2 {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = PAGE_SIZE as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        (from / PAGE_SIZE..to / PAGE_SIZE).try_for_each(|page| {
            unlocked(|| {
                let what = 1 << 11 | (PAGE + page) << 3 | 1 << 1;
                CR.write(what);
                CR.write(what | 1 << 16);
                wait()
            })
        })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        unlocked(|| {
            CR.write(1);
            let mut to = ADDRESS + offset as usize;
            for double in bytes.chunks_exact(8) {
                for word in double.chunks_exact(4) {
                    let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                    // SAFETY: within the two pages, which the program is not in.
                    unsafe { (to as *mut u32).write_volatile(word) };
                    to += 4;
                }
                wait()?;
            }
            Ok(())
        })
    }
}

/// Power went while a double word was written, and now it is read: its check bits are wrong, and the chip says
/// so in this way (RM0351, 3.3.2). The record's own check sum finds it, too.
#[cortex_m_rt::exception]
unsafe fn NonMaskableInt() {
    ECCR.write(1 << 31);
}
