use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

use embedded_storage::nor_flash::{ErrorType, NorFlashError, NorFlashErrorKind};

use super::*;

const SECTOR: usize = 2048;

/// NOR flash: programming clears bits, erasing sets a whole sector's. Power goes after so many bytes.
#[derive(Clone)]
struct Nor {
    cells: Rc<RefCell<Vec<u8>>>,
    power: usize,
}

#[derive(Debug)]
struct NoPower;

impl NorFlashError for NoPower {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Nor {
    type Error = NoPower;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NoPower> {
        if self.power == 0 {
            return Err(NoPower);
        }
        let from = offset as usize;
        bytes.copy_from_slice(&self.cells.borrow()[from..from + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        2 * SECTOR
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NoPower> {
        for at in from..to {
            self.power = self.power.checked_sub(1).ok_or(NoPower)?;
            self.cells.borrow_mut()[at as usize] = 0xFF;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NoPower> {
        for (at, byte) in (offset as usize..).zip(bytes) {
            self.power = self.power.checked_sub(1).ok_or(NoPower)?;
            self.cells.borrow_mut()[at] &= byte;
        }
        Ok(())
    }
}

fn mount(cells: &Rc<RefCell<Vec<u8>>>, power: usize) -> Result<Kept<Nor>, Worn> {
    let ram = std::boxed::Box::leak(std::boxed::Box::new([0; RETAINED]));
    Kept::mount(Nor { cells: cells.clone(), power }, ram)
}

fn record(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; len];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    sealed(&mut bytes);
    bytes
}

fn read(kept: &mut Kept<Nor>, area: Area) -> u32 {
    let mut bytes = [0; KEYS_RECORD];
    match kept.read(area, &mut bytes).expect("readable") {
        0 => 0,
        len => {
            assert!(is_whole(&bytes[..len]));
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        }
    }
}

const PLENTY: usize = usize::MAX;

#[test]
fn the_newest_record_of_each_area_is_read_over_any_number_of_lives() {
    let cells = Rc::new(RefCell::new(std::vec![0; 2 * SECTOR]));
    let mut last = [0, 0];
    for life in 1..200 {
        let mut kept = mount(&cells, PLENTY).expect("mounted");
        let found = [read(&mut kept, Area::Flash), read(&mut kept, Area::Keys)];
        assert_eq!(found, last, "life {life}");
        for more in 0..life % 5 {
            last[0] = life * 10 + more;
            kept.write(Area::Flash, &record(last[0], 52)).expect("stored");
        }
        if life % 7 == 0 {
            last[1] = life;
            kept.write(Area::Keys, &record(life, KEYS_RECORD)).expect("stored");
        }
    }
}

/// Power goes after each byte that is programmed or erased, in lives that move to the other sector as well.
#[test]
fn wherever_power_goes_the_former_record_is_read_or_the_new_one() {
    let cells = Rc::new(RefCell::new(std::vec![0xFF; 2 * SECTOR]));
    let mut kept = mount(&cells, PLENTY).expect("mounted");
    kept.write(Area::Keys, &record(77, KEYS_RECORD)).expect("stored");
    let mut losses = 0;
    for number in 1..=12 {
        kept.write(Area::Flash, &record(number, 52)).expect("stored");
        let before = cells.borrow().clone();
        for power in (1..4 * SECTOR).step_by(3) {
            *cells.borrow_mut() = before.clone();
            let stored = mount(&cells, power)
                .and_then(|mut kept| kept.write(Area::Flash, &record(number + 100, 52)));
            losses += usize::from(stored.is_err());
            let mut after = mount(&cells, PLENTY).expect("mounted");
            let found = read(&mut after, Area::Flash);
            let new = number + 100;
            assert!(found == new || stored.is_err() && found == number, "{power}: {found}");
            assert_eq!(read(&mut after, Area::Keys), 77, "{power}");
        }
        *cells.borrow_mut() = before;
        kept = mount(&cells, PLENTY).expect("mounted");
    }
    assert!(losses > 1000, "{losses}");
}

#[test]
fn nothing_is_left_of_what_was_scrubbed() {
    let cells = Rc::new(RefCell::new(std::vec![0xFF; 2 * SECTOR]));
    let mut kept = mount(&cells, PLENTY).expect("mounted");
    let secret = record(0x5EC2_E700, KEYS_RECORD);
    kept.write(Area::Keys, &secret).expect("stored");
    kept.write(Area::Keys, &record(0, KEYS_RECORD)).expect("stored");
    let there =
        |cells: &Rc<RefCell<Vec<u8>>>| cells.borrow().windows(4).any(|bytes| bytes == &secret[..4]);
    assert!(there(&cells), "until then it is only outdated");
    kept.scrub().expect("scrubbed");
    assert!(!there(&cells));
    assert_eq!(read(&mut kept, Area::Keys), 0);
}
