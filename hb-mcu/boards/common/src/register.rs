//! Registers by their addresses.

/// A register of 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Register(usize);

impl Register {
    /// The register at an address.
    ///
    /// # Safety
    /// There is a register of 32 bits, always mapped, and no use of it starts DMA or changes memory.
    #[must_use]
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// Its neighbour, `bytes` behind it, of the same block.
    #[must_use]
    pub const fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes)
    }

    /// Reads it.
    #[must_use]
    pub fn read(self) -> u32 {
        // SAFETY: promised to [`Register::at`].
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: u32) {
        // SAFETY: promised to [`Register::at`].
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    /// Sets bits.
    pub fn set(self, bits: u32) {
        self.write(self.read() | bits);
    }

    /// Clears bits.
    pub fn clear(self, bits: u32) {
        self.write(self.read() & !bits);
    }
}
