//! Records in flash: each is put behind the last, so that power may go at any moment and the former one is
//! read; a sector is erased when both are full, and then what still counts lies in the other one already.
//!
//! Two sectors. The first slot of a sector is its header, written when the rest is in order. A record is whole
//! if its check sum is.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

use crate::board::{Area, Store};
use crate::keys::KEYS_RECORD;
use crate::record::{is_whole, sealed};

/// Bytes of a slot: the page of a NOR flash, programmed in one go.
pub const SLOT: usize = 256;
/// Bytes that are read back at once.
const PART: usize = 32;
/// Bytes of the RAM that a reset leaves alone.
pub const RETAINED: usize = 16;
const SECTORS: u32 = 2;
/// Area and length before a record.
const HEAD: usize = 2;
const HEADER_AREA: u8 = b'H';
/// A life begins with so much room, or makes it: erasing takes longer than a UART's FIFO holds, and when a
/// life begins nobody is heard yet.
const ROOM_AT_START: u32 = 3;

/// Flash and retained RAM together: all areas of a board.
#[derive(Debug)]
pub struct Kept<F: 'static> {
    flash: F,
    ram: &'static mut [u8; RETAINED],
    /// The sector in use, and its first free slot; none before the first write to an empty flash.
    active: Option<(u32, u32)>,
    generation: u32,
}

/// The memory failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worn;

impl<F: NorFlash + ReadNorFlash> Kept<F> {
    const SLOTS: u32 = F::ERASE_SIZE as u32 / SLOT as u32;

    /// The records in two sectors at the beginning of `flash`, and in `ram`.
    ///
    /// # Errors
    /// The flash can't be read, or not be written.
    #[inline(never)] // A slot takes room on the stack.
    pub fn mount(flash: F, ram: &'static mut [u8; RETAINED]) -> Result<Self, Worn> {
        let mut kept = Self { flash, ram, active: None, generation: 0 };
        for sector in 0..SECTORS {
            let mut slot = [0; SLOT];
            kept.read_slot(sector, 0, &mut slot)?;
            let Some(&[a, b, c, d, ..]) = record_in(&slot, HEADER_AREA) else { continue };
            let generation = u32::from_le_bytes([a, b, c, d]);
            // The younger one: they never are more than one apart.
            if kept.active.is_none() || generation.wrapping_sub(kept.generation) as i32 > 0 {
                (kept.active, kept.generation) = (Some((sector, 1)), generation);
            }
        }
        if let Some((sector, free)) = &mut kept.active {
            for at in (1..Self::SLOTS).rev() {
                let mut slot = [0; SLOT];
                let offset = (*sector * Self::SLOTS + at) * SLOT as u32;
                kept.flash.read(offset, &mut slot).map_err(|_| Worn)?;
                if slot.iter().any(|&byte| byte != 0xFF) {
                    *free = at + 1;
                    break;
                }
            }
        }
        if kept.active.is_none_or(|(_, free)| free + ROOM_AT_START > Self::SLOTS) {
            kept.move_on()?;
        }
        Ok(kept)
    }

    /// Nothing of what no longer counts is left: after keys were erased.
    ///
    /// # Errors
    /// Something may be left.
    #[inline(never)]
    pub fn scrub(&mut self) -> Result<(), Worn> {
        self.move_on()?;
        self.move_on()
    }

    fn read_slot(&mut self, sector: u32, at: u32, slot: &mut [u8; SLOT]) -> Result<(), Worn> {
        let offset = (sector * Self::SLOTS + at) * SLOT as u32;
        self.flash.read(offset, slot).map_err(|_| Worn)
    }

    fn program(&mut self, sector: u32, at: u32, area: u8, record: &[u8]) -> Result<(), Worn> {
        let mut slot = [0xFF; SLOT];
        let room = slot.get_mut(HEAD..HEAD + record.len()).ok_or(Worn)?;
        room.copy_from_slice(record);
        (slot[0], slot[1]) = (area, record.len() as u8);
        self.program_slot(sector, at, &slot)
    }

    /// Writes a slot and reads it back, some bytes at a time: another slot would not fit a small stack.
    #[inline(never)]
    fn program_slot(&mut self, sector: u32, at: u32, slot: &[u8; SLOT]) -> Result<(), Worn> {
        let offset = (sector * Self::SLOTS + at) * SLOT as u32;
        self.flash.write(offset, slot).map_err(|_| Worn)?;
        let (parts, _) = slot.as_chunks::<PART>();
        for (part, offset) in parts.iter().zip((offset..).step_by(PART)) {
            let mut found = [0; PART];
            self.flash.read(offset, &mut found).map_err(|_| Worn)?;
            if found != *part {
                return Err(Worn);
            }
        }
        Ok(())
    }

    /// The newest whole record of an area, in `slot`; its length, 0 for none.
    fn newest(&mut self, area: u8, slot: &mut [u8; SLOT]) -> Result<usize, Worn> {
        let Some((sector, free)) = self.active else { return Ok(0) };
        for at in (1..free).rev() {
            self.read_slot(sector, at, slot)?;
            if let Some(record) = record_in(slot, area) {
                return Ok(record.len());
            }
        }
        Ok(0)
    }

    /// To the other sector, with what still counts.
    fn move_on(&mut self) -> Result<(), Worn> {
        let to = self.active.map_or(0, |(sector, _)| SECTORS - 1 - sector);
        let size = F::ERASE_SIZE as u32;
        self.flash.erase(to * size, (to + 1) * size).map_err(|_| Worn)?;
        let mut free = 1;
        for area in [code(Area::Flash), code(Area::Keys)] {
            let mut slot = [0; SLOT];
            let len = self.newest(area, &mut slot)?;
            if len > 0 {
                self.program_slot(to, free, &slot)?;
                free += 1;
            }
        }
        // From here on the other sector counts.
        let generation = self.generation.wrapping_add(1);
        let mut header = [0; 8];
        header[..4].copy_from_slice(&generation.to_le_bytes());
        sealed(&mut header);
        self.program(to, 0, HEADER_AREA, &header)?;
        (self.active, self.generation) = (Some((to, free)), generation);
        Ok(())
    }
}

const fn code(area: Area) -> u8 {
    match area {
        Area::Flash => b'F',
        Area::Retained => b'R',
        Area::Keys => b'K',
    }
}

/// The record in a slot, if it is one of this area and whole.
fn record_in(slot: &[u8; SLOT], area: u8) -> Option<&[u8]> {
    let record = slot.get(HEAD..HEAD + usize::from(slot[1]))?;
    (slot[0] == area && is_whole(record)).then_some(record)
}

impl<F: NorFlash + ReadNorFlash> Store for Kept<F> {
    type Error = Worn;

    fn read(&mut self, area: Area, record: &mut [u8]) -> Result<usize, Worn> {
        if area == Area::Retained {
            let len = record.len().min(RETAINED - 1).min(self.ram[0].into());
            record[..len].copy_from_slice(&self.ram[1..=len]);
            return Ok(len);
        }
        let mut slot = [0; SLOT];
        let len = self.newest(code(area), &mut slot)?.min(record.len());
        record[..len].copy_from_slice(&slot[HEAD..HEAD + len]);
        Ok(len)
    }

    fn write(&mut self, area: Area, record: &[u8]) -> Result<(), Worn> {
        if area == Area::Retained {
            let room = self.ram[1..].get_mut(..record.len()).ok_or(Worn)?;
            room.copy_from_slice(record);
            self.ram[0] = record.len() as u8;
            return Ok(());
        }
        debug_assert!(record.len() <= KEYS_RECORD, "a slot's room");
        if self.active.is_none_or(|(_, free)| free >= Self::SLOTS) {
            // The former record goes along: power may go before the new one is written.
            self.move_on()?;
        }
        let Some((sector, free)) = self.active else { return Err(Worn) };
        // A slot that failed is not used again.
        self.active = Some((sector, free + 1));
        self.program(sector, free, code(area), record)
    }
}

#[cfg(test)]
mod tests;
