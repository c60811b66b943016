//! The fields of a body, one after the other.
//!
//! Bodies of nodes and arbiters are what postcard's wire format makes of their fields: bytes and arrays of bytes as
//! they are, numbers that may be large as variable-length integers, an option as 0 or 1 before what it holds. A test
//! holds them against postcard itself. Written out here because a dongle has little flash: serde's visitors took four
//! times as much.

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

    /// Seven bits a byte, the lowest first; the top bit says that there are more.
    #[inline(never)]
    pub(super) fn varint(&mut self, mut value: u32) {
        while value > 0x7F {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
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

    /// See [`Writer::varint`]; at most 32 bits.
    #[inline(never)]
    pub(super) fn varint(&mut self) -> u32 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.u8();
            value |= u32::from(byte & 0x7F) << shift;
            if shift == 28 && byte > 0x0F {
                self.broken = true;
                return 0;
            }
            if byte < 0x80 {
                return value;
            }
            shift += 7;
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
