//! The fields of a body, one after the other.
//!
//! A status is written and read field by field: its fields are of fixed size, it is what a dongle handles a hundred times
//! a second, and serde's visitors for it took 1.5 KB of its flash. What stands behind it in a hello is postcard's:
//! numbers of variable length, and options.

use serde::{Deserialize, Serialize};

use super::Reject;

/// Writes fields. What finds no room is left out: tests hold the longest bodies against the room.
#[derive(Debug)]
pub struct Writer<'b> {
    /// Where to.
    pub buf: &'b mut [u8],
    /// Where the next field begins.
    pub at: usize,
}

impl Writer<'_> {
    /// Bytes as they are.
    #[inline(never)]
    pub fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.u8(byte);
        }
    }

    /// One byte.
    #[inline(never)]
    pub fn u8(&mut self, value: u8) {
        debug_assert!(self.at < self.buf.len(), "a body longer than its room");
        if let Some(room) = self.buf.get_mut(self.at) {
            *room = value;
            self.at += 1;
        }
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.little_endian(value.into(), 2);
    }

    /// The low 24 bits.
    pub fn u24(&mut self, value: u32) {
        self.little_endian(value, 3);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.little_endian(value, 4);
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.u32(value as u32);
        self.u32((value >> 32) as u32);
    }

    #[inline(never)]
    fn little_endian(&mut self, mut value: u32, bytes: u8) {
        for _ in 0..bytes {
            self.u8(value as u8);
            value >>= 8;
        }
    }

    /// What postcard makes of it.
    pub fn postcard(&mut self, value: &impl Serialize) {
        let room = self.buf.get_mut(self.at..).unwrap_or_default();
        let written = postcard::to_slice(value, room);
        debug_assert!(written.is_ok(), "a body longer than its room");
        self.at += written.map_or(0, |written| written.len());
    }
}

/// Reads fields. Errors are kept until [`Reader::end`]: whatever is read after one is of no use, and not used.
#[derive(Clone, Debug)]
pub struct Reader<'f> {
    left: &'f [u8],
    /// It was no encoding.
    broken: bool,
    /// A value that can't be.
    senseless: bool,
}

impl<'f> Reader<'f> {
    /// Of a body.
    #[must_use]
    pub const fn new(body: &'f [u8]) -> Self {
        Self { left: body, broken: false, senseless: false }
    }

    /// Bytes that were not read.
    #[must_use]
    pub const fn left(&self) -> &'f [u8] {
        self.left
    }

    /// Whether it ended too early, or was no encoding.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// It is no encoding.
    pub(super) const fn breaks(&mut self) {
        self.broken = true;
    }

    /// A value that can't be is refused.
    pub fn meant<T: Default>(&mut self, value: Option<T>) -> T {
        self.senseless |= value.is_none();
        value.unwrap_or_default()
    }

    /// One byte.
    #[inline(never)]
    pub fn u8(&mut self) -> u8 {
        if let Some((&byte, left)) = self.left.split_first() {
            self.left = left;
            byte
        } else {
            self.broken = true;
            0
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        self.little_endian(2) as u16
    }

    /// Three bytes.
    pub fn u24(&mut self) -> u32 {
        self.little_endian(3)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        self.little_endian(4)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        let (low, high) = (self.u32(), self.u32());
        u64::from(high) << 32 | u64::from(low)
    }

    #[inline(never)]
    fn little_endian(&mut self, bytes: u32) -> u32 {
        (0..bytes).fold(0, |value, byte| value | u32::from(self.u8()) << (byte * 8))
    }

    /// Bytes as they are.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    #[inline(never)]
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.u8();
        }
    }

    /// See [`Writer::postcard`]. None, and broken, if it is the encoding of no such value.
    pub fn postcard<T: Deserialize<'f>>(&mut self) -> Option<T> {
        if let Ok((value, left)) = postcard::take_from_bytes(self.left) {
            self.left = left;
            Some(value)
        } else {
            self.broken = true;
            None
        }
    }

    /// Nothing is left over, and every value means something.
    ///
    /// # Errors
    /// What was wrong first: [`Reject::Decode`], [`Reject::Trailing`], [`Reject::Meaning`].
    pub const fn end(&self) -> Result<(), Reject> {
        if self.broken {
            Err(Reject::Decode)
        } else if !self.left.is_empty() {
            Err(Reject::Trailing)
        } else if self.senseless {
            Err(Reject::Meaning)
        } else {
            Ok(())
        }
    }
}

/// Flags as bits, the first one the lowest.
#[inline(never)]
pub(super) fn packed(flags: &[bool]) -> u8 {
    flags.iter().rev().fold(0, |set, &on| set << 1 | u8::from(on))
}
