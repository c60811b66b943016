//! What an arbiter is told, and what of it can't be used.

use crate::time::Duration;

/// What an arbiter is told before it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Its number, not 0: by it two nodes agree that they have the same arbiter.
    pub id: u32,
    /// How far its clock and a node's may run apart, percent: 5, or the chip's own figure if that is more.
    pub drift_percent: u8,
    /// Speed of both lines, bits a second.
    pub baud: u32,
    /// Between two of its status frames until a node announces its own.
    pub keepalive: Duration,
    /// The silence after which it would fence, until a node announces its own.
    pub deadtime: Duration,
    /// R13: the silence after which it resets a node unasked, if that is longer.
    pub external_watchdog: Duration,
}

impl Config {
    /// Arbiter `id` on lines of `baud`, with the defaults of protocol.md §3.
    #[must_use]
    pub const fn new(id: u32, baud: u32) -> Self {
        Self {
            id,
            drift_percent: 5,
            baud,
            keepalive: Duration::from_millis(100),
            deadtime: Duration::from_millis(500),
            external_watchdog: Duration::ZERO,
        }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.id == 0 {
            return Err(ConfigError::NoId);
        }
        let zero = Duration::ZERO;
        if self.baud == 0 || self.keepalive == zero || self.deadtime == zero {
            return Err(ConfigError::Zero);
        }
        Ok(())
    }
}

/// Why a configuration can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConfigError {
    /// The number 0 stands for no arbiter.
    NoId,
    /// A time or the speed is 0.
    Zero,
    /// There is no key to sign with.
    NoKey,
}
