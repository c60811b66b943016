//! How long a frame takes, for the tests: from the interrupt that takes its last byte until everything that it leads to
//! is done and handed over, and the program sleeps. Times are the core's cycles.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use hb_mcu::Ring;

use crate::parts;
use crate::registers::*;

/// When the last byte of a frame that isn't dealt with came, by port; 0 for none.
static CAME_AT: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
/// Bytes that had come by the interrupt before, by port.
static SEEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static WORST: AtomicU32 = AtomicU32::new(0);
/// Cycles from the clock's start until the program slept for the first time.
static START: AtomicU32 = AtomicU32::new(0);
static STARTED: AtomicBool = AtomicBool::new(false);

/// In the UART's interrupt, after it took what had come.
pub fn heard<const N: usize>(port: usize, came: &Ring<N>) {
    let (count, newest) = came.newest();
    // The last byte of a frame is its delimiter.
    if count != SEEN[port].swap(count, Ordering::Relaxed) && newest == 0 {
        CAME_AT[port].store(parts::cycles().max(1), Ordering::Relaxed);
    }
}

/// Before the program sleeps. What came in the meantime is dealt with first.
pub fn done(idle: bool) {
    if !STARTED.load(Ordering::Relaxed) {
        STARTED.store(true, Ordering::Relaxed);
        START.store(parts::cycles(), Ordering::Relaxed);
        CAME_AT.iter().for_each(|at| at.store(0, Ordering::Relaxed));
    } else if idle {
        let now = parts::cycles();
        for at in &CAME_AT {
            let came = at.swap(0, Ordering::Relaxed);
            if came != 0 {
                let worst = WORST.load(Ordering::Relaxed);
                WORST.store(worst.max(now.wrapping_sub(came)), Ordering::Relaxed);
            }
        }
    }
}

/// Tells the worst since the last time, and what the start took: four bytes each, the lowest first.
pub fn tell() {
    for figure in [WORST.swap(0, Ordering::Relaxed), START.load(Ordering::Relaxed)] {
        figure.to_le_bytes().iter().for_each(|byte| write(UART2 + DR, (*byte).into()));
    }
}
