//! Bytes between an interrupt handler and the program: one of them puts, the other takes, and neither waits.
//!
//! Loads and stores of atomics alone, since a Cortex-M0+ has no compare-and-swap; and no ends to be moved into
//! a handler, as those of `heapless::spsc` are, which takes either `unsafe` or a lock with interrupts off.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

/// A ring of `N` bytes, a power of two. One context puts, one takes.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    bytes: [AtomicU8; N],
    /// Bytes ever put and ever taken; both wrap.
    put: AtomicUsize,
    taken: AtomicUsize,
    lost: AtomicU32,
}

impl<const N: usize> Ring<N> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        assert!(N.is_power_of_two(), "the counters wrap");
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            lost: AtomicU32::new(0),
        }
    }

    /// Puts a byte. False, and counted, if there is no room.
    pub fn put(&self, byte: u8) -> bool {
        let at = self.put.load(Ordering::Relaxed);
        if self.is_full() {
            self.note_loss();
            return false;
        }
        self.bytes[at % N].store(byte, Ordering::Relaxed);
        // The byte is there before its number is.
        self.put.store(at.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest byte.
    pub fn take(&self) -> Option<u8> {
        let at = self.taken.load(Ordering::Relaxed);
        if self.is_empty() {
            return None;
        }
        let byte = self.bytes[at % N].load(Ordering::Relaxed);
        self.taken.store(at.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// How many bytes were ever put, which wraps, and the last one. For the side that puts.
    pub fn newest(&self) -> (usize, u8) {
        let put = self.put.load(Ordering::Relaxed);
        (put, self.bytes[put.wrapping_sub(1) % N].load(Ordering::Relaxed))
    }

    fn len(&self) -> usize {
        let (put, taken) = (self.put.load(Ordering::Acquire), self.taken.load(Ordering::Acquire));
        put.wrapping_sub(taken)
    }

    /// Nothing is there to take.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// There is no room.
    pub fn is_full(&self) -> bool {
        self.len() >= N
    }

    /// Counts a byte that was lost: by whoever puts, who also sees what the hardware lost.
    pub fn note_loss(&self) {
        let lost = self.lost.load(Ordering::Relaxed);
        self.lost.store(lost.wrapping_add(1), Ordering::Relaxed);
    }

    /// Bytes that were lost.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that came were lost before they were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost;

impl core::fmt::Display for Lost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes were lost")
    }
}

impl core::error::Error for Lost {}

impl embedded_io::Error for Lost {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The program's side of a UART that is served by interrupts.
#[derive(Debug)]
pub struct RingPort<const C: usize, const G: usize> {
    came: &'static Ring<C>,
    goes: &'static Ring<G>,
    /// Makes the UART ask for what goes.
    kick: fn(),
    lost: u32,
}

impl<const C: usize, const G: usize> RingPort<C, G> {
    /// Takes what came, puts what goes, and kicks the UART's transmitter after that.
    #[must_use]
    pub const fn new(came: &'static Ring<C>, goes: &'static Ring<G>, kick: fn()) -> Self {
        Self { came, goes, kick, lost: 0 }
    }
}

impl<const C: usize, const G: usize> ErrorType for RingPort<C, G> {
    type Error = Lost;
}

impl<const C: usize, const G: usize> ReadReady for RingPort<C, G> {
    fn read_ready(&mut self) -> Result<bool, Lost> {
        if self.came.lost() != self.lost {
            self.lost = self.came.lost();
            return Err(Lost);
        }
        Ok(!self.came.is_empty())
    }
}

impl<const C: usize, const G: usize> Read for RingPort<C, G> {
    /// Takes what is there; never waits.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Lost> {
        let mut count = 0;
        for slot in buf {
            let Some(byte) = self.came.take() else { break };
            *slot = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl<const C: usize, const G: usize> WriteReady for RingPort<C, G> {
    fn write_ready(&mut self) -> Result<bool, Lost> {
        Ok(!self.goes.is_full())
    }
}

impl<const C: usize, const G: usize> Write for RingPort<C, G> {
    /// Puts what finds room; never waits.
    fn write(&mut self, buf: &[u8]) -> Result<usize, Lost> {
        let mut count = 0;
        for &byte in buf {
            if self.goes.is_full() || !self.goes.put(byte) {
                break;
            }
            count += 1;
        }
        (self.kick)();
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Lost> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_losses_are_told() {
        static CAME: Ring<8> = Ring::new();
        static GOES: Ring<8> = Ring::new();
        let mut port = RingPort::new(&CAME, &GOES, || ());
        for round in 0..100_u8 {
            assert!((0..5).all(|byte| CAME.put(round.wrapping_add(byte))));
            let mut buf = [0; 8];
            assert_eq!(port.read(&mut buf), Ok(5));
            assert_eq!(buf[4], round.wrapping_add(4));
        }
        assert_eq!(port.read_ready(), Ok(false));
        assert!((0..8).all(|byte| CAME.put(byte)) && !CAME.put(8));
        assert_eq!(port.read_ready(), Err(Lost), "once");
        assert_eq!(port.read_ready(), Ok(true));
        assert_eq!(port.write(&[1; 9]), Ok(8));
        assert_eq!(port.write_ready(), Ok(false));
    }
}
