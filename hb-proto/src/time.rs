//! Time as the state machines see it: microseconds since an arbitrary epoch, always passed in.
//!
//! The driver derives it from a clock that is neither slewed nor stopped by suspend (protocol.md §3);
//! wall time never enters this crate.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign, Sub};

/// A point in time, in microseconds since an epoch that only its owner knows.
///
/// Instants of two machines can't be compared. Arithmetic saturates at both ends: a deadline beyond
/// the end of time is one that never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// One more than the microseconds: 0 is left for `None`, so that an optional instant is no larger than one. Tables
    /// are full of them.
    after: NonZeroU64,
}

impl Instant {
    /// The epoch itself.
    pub const ZERO: Self = Self { after: NonZeroU64::MIN };
    /// A deadline that never comes.
    pub const NEVER: Self = Self { after: NonZeroU64::MAX };

    /// The instant `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { after: NonZeroU64::MIN.saturating_add(micros) }
    }

    /// The instant `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_micros(millis.saturating_mul(1000))
    }

    /// Microseconds since the epoch; of [`Instant::NEVER`] the largest number but one.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.after.get() - 1
    }

    /// Time since `earlier`, zero if that lies in the future.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))] // Half a dozen instructions, in a hundred places.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.after.get().saturating_sub(earlier.after.get()))
    }

    /// This instant as seen from an epoch that lies `by` later; saturates at the new epoch.
    ///
    /// Explorers that hash decision state use it to tell equal states apart from equal histories.
    #[must_use]
    pub const fn rebased(self, by: Duration) -> Self {
        if self.after.get() == u64::MAX {
            return self;
        }
        Self::from_micros(self.micros().saturating_sub(by.micros))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instant").field("micros", &self.micros()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=u64:us}", self.micros());
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn add(self, span: Duration) -> Self {
        Self { after: self.after.saturating_add(span.micros) }
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self::from_micros(self.micros().saturating_sub(span.micros))
    }
}

/// `value / by` in four divisions of 32 bits, as on paper: a chip without a divider of 64 takes 1 KiB for it.
const fn divided(value: u64, by: u16) -> u64 {
    let (mut quotient, mut rest, mut shift) = (0, 0, 64);
    while shift > 0 {
        shift -= 16;
        let digits = rest << 16 | (value >> shift) as u32 & 0xFFFF;
        quotient = quotient << 16 | (digits / by as u32) as u64;
        rest = digits % by as u32;
    }
    quotient
}

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Duration {
    micros: u64,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { micros: 0 };
    /// Longer than any machine runs: "unbounded" (protocol.md R10).
    pub const MAX: Self = Self { micros: u64::MAX };

    /// `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { micros: millis.saturating_mul(1000) }
    }

    /// `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        divided(self.micros, 1000)
    }

    /// Whole seconds, rounded down, as far as they fit.
    #[must_use]
    pub const fn whole_secs(self) -> u32 {
        let secs = divided(self.millis(), 1000);
        if secs > u32::MAX as u64 { u32::MAX } else { secs as u32 }
    }

    /// The next whole millisecond: what a time is on the wire that must not be shorter there. Unbounded
    /// stays so.
    #[must_use]
    pub const fn whole_millis(self) -> Self {
        match divided(self.micros.saturating_add(999), 1000).checked_mul(1000) {
            Some(micros) => Self { micros },
            None => Self::MAX,
        }
    }

    /// `self × factor`, saturating.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub const fn times(self, factor: u64) -> Self {
        Self { micros: self.micros.saturating_mul(factor) }
    }

    /// `self × percent / 100`, saturating, rounded down.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub const fn percent(self, percent: u64) -> Self {
        Self { micros: divided(self.micros.saturating_mul(percent), 100) }
    }

    /// `self − other`, zero if that would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self { micros: self.micros.saturating_sub(other.micros) }
    }
}

/// A span as hellos say it, in whole milliseconds; the largest number is unbounded (protocol.md R10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u32);

impl Millis {
    /// Unbounded.
    pub const MAX: Self = Self(u32::MAX);

    /// `span` rounded up: who binds itself by it must not be bound too briefly. What doesn't fit is unbounded.
    #[must_use]
    pub fn of(span: Duration) -> Self {
        Self(u32::try_from(span.whole_millis().millis()).unwrap_or(u32::MAX))
    }

    /// As a duration.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub const fn span(self) -> Duration {
        if self.0 == u32::MAX { Duration::MAX } else { Duration { micros: self.0 as u64 * 1000 } }
    }
}

impl PartialEq<Duration> for Millis {
    fn eq(&self, span: &Duration) -> bool {
        self.span() == *span
    }
}

impl Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { micros: self.micros.saturating_add(other.micros) }
    }
}

impl From<core::time::Duration> for Duration {
    fn from(span: core::time::Duration) -> Self {
        Self { micros: u64::try_from(span.as_micros()).unwrap_or(u64::MAX) }
    }
}

impl From<Duration> for core::time::Duration {
    fn from(span: Duration) -> Self {
        Self::from_micros(span.micros)
    }
}

/// Milliseconds with as many decimals as it takes: `500 ms`, `16.667 ms`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millis, rest) = (self.micros / 1000, self.micros % 1000);
        if rest == 0 { write!(f, "{millis} ms") } else { write!(f, "{millis}.{rest:03} ms") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::NEVER + Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant::from_millis(1) - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::from_millis(1).since(Instant::from_millis(5)), Duration::ZERO);
        assert_eq!(Duration::MAX + Duration::from_millis(1), Duration::MAX);
    }

    #[test]
    fn an_optional_instant_is_no_larger_than_one() {
        assert_eq!(size_of::<Option<Instant>>(), size_of::<u64>());
        assert_eq!(Instant::from_micros(7).micros(), 7);
        assert_eq!(Instant::NEVER.micros(), u64::MAX - 1);
    }

    #[test]
    fn division_is_division() {
        for value in [0, 1, 999, 1000, 65_535, 65_536, u64::from(u32::MAX), 1 << 48, u64::MAX] {
            for by in [1, 3, 100, 1000, u16::MAX] {
                assert_eq!(divided(value, by), value / u64::from(by), "{value} / {by}");
            }
        }
    }

    #[test]
    fn rebasing_keeps_distances_and_never() {
        let (a, b) = (Instant::from_millis(700), Instant::from_millis(900));
        let by = Duration::from_millis(600);
        assert_eq!(b.rebased(by).since(a.rebased(by)), b.since(a));
        assert_eq!(Instant::NEVER.rebased(by), Instant::NEVER);
    }
}
