//! The daemon's only clock.
//!
//! CLOCK_MONOTONIC_RAW runs at the hardware's pace whatever NTP does to the other clocks, but stands
//! still while the machine is suspended; CLOCK_BOOTTIME − CLOCK_MONOTONIC is the time that it spent
//! suspended (clock_gettime(2)). Their sum is what protocol.md §3 asks for: not slewed, counts suspend.
//! Wall time is the log's business and comes from elsewhere.

use hb_proto::time::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Reads the time; never goes backwards. Microseconds since an epoch near the machine's start.
///
/// All four readings come from the vDSO: no system call, well under a microsecond together.
#[derive(Debug)]
pub struct Clock {
    reckoner: Reckoner,
}

impl Clock {
    /// A clock that shows the machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self { reckoner: Reckoner::default() }
    }

    /// The time now.
    pub fn now(&mut self) -> Instant {
        self.reckoner.advance(Reading::take())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Microseconds on each clock, read in this order.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic: u64,
    boottime: u64,
    monotonic_again: u64,
    raw: u64,
}

impl Reading {
    fn take() -> Self {
        Self {
            monotonic: micros(clock_gettime(ClockId::Monotonic)),
            boottime: micros(clock_gettime(ClockId::Boottime)),
            monotonic_again: micros(clock_gettime(ClockId::Monotonic)),
            raw: micros(clock_gettime(ClockId::MonotonicRaw)),
        }
    }
}

/// These clocks count from the start of the machine: never negative.
fn micros(at: Timespec) -> u64 {
    at.tv_sec.cast_unsigned() * 1_000_000 + at.tv_nsec.cast_unsigned() / 1000
}

/// Time from readings.
///
/// The time spent suspended is constant except across a suspend. It can't be read at one stroke, and a
/// process may be interrupted between two readings for any time; so it is bracketed by two readings of
/// CLOCK_MONOTONIC, and what is known of it is changed only when it lies outside of the bracket.
/// Otherwise an interruption would look like a suspend and push the time ahead of true time.
#[derive(Clone, Copy, Debug, Default)]
struct Reckoner {
    suspended: u64,
    last: u64,
}

impl Reckoner {
    fn advance(&mut self, reading: Reading) -> Instant {
        // Microseconds are rounded down on each clock: one to either side.
        let least = reading.boottime.saturating_sub(reading.monotonic_again).saturating_sub(1);
        let most = reading.boottime.saturating_sub(reading.monotonic).saturating_add(1);
        // Inside of the bracket this changes nothing; outside it goes to the nearest possible value.
        self.suspended = self.suspended.clamp(least, most.max(least));
        self.last = self.last.max(reading.raw.saturating_add(self.suspended));
        Instant::from_micros(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hb_proto::time::Duration;

    const fn reading(monotonic: u64, boottime: u64, monotonic_again: u64, raw: u64) -> Reading {
        Reading { monotonic, boottime, monotonic_again, raw }
    }

    #[test]
    fn it_never_goes_backwards_and_keeps_pace_with_the_machine() {
        let mut clock = Clock::new();
        let (start, wall) = (clock.now(), std::time::Instant::now());
        let mut last = start;
        for _ in 0..100_000 {
            let now = clock.now();
            assert!(now >= last, "{last:?} then {now:?}");
            last = now;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (ours, theirs) = (clock.now().since(start), Duration::from(wall.elapsed()));
        // Slewing is limited to 500 ppm (adjtimex(2)); the rest is the time between the two readings.
        let apart = ours.micros().abs_diff(theirs.micros());
        assert!(apart < 5_000, "{ours} against {theirs}");
    }

    #[test]
    fn suspended_time_counts() {
        let mut reckoner = Reckoner::default();
        let before = reckoner.advance(reading(1000, 1000, 1000, 900));
        // An hour of suspend: only CLOCK_BOOTTIME has moved on.
        let hour = 3_600_000_000;
        let after = reckoner.advance(reading(1500, 1500 + hour, 1500, 1400));
        let passed = after.since(before).micros();
        assert!(passed.abs_diff(hour + 500) <= 2, "{passed}");
    }

    #[test]
    fn an_interruption_between_two_readings_is_not_a_suspend() {
        let mut reckoner = Reckoner::default();
        reckoner.advance(reading(1000, 8000, 1000, 1000));
        let known = reckoner.suspended;
        // Interrupted for a second before, and then after, CLOCK_BOOTTIME was read.
        for stalled in [
            reading(2000, 1_009_000, 1_002_000, 1_002_000),
            reading(3000, 10_000, 1_003_000, 1_003_000),
        ] {
            let now = reckoner.advance(stalled);
            assert_eq!(reckoner.suspended, known);
            assert_eq!(now.micros(), stalled.raw + known);
        }
    }

    #[test]
    fn rounding_never_accumulates() {
        let mut reckoner = Reckoner::default();
        for i in 0..10_000_u64 {
            let jitter = i % 3;
            reckoner.advance(reading(i * 10, i * 10 + 7000 - 1 + jitter, i * 10, i * 10));
        }
        assert!(reckoner.suspended.abs_diff(7000) <= 2, "{}", reckoner.suspended);
    }

    #[test]
    fn a_reading_from_the_past_stands_still() {
        let mut reckoner = Reckoner::default();
        let now = reckoner.advance(reading(5000, 5000, 5000, 5000));
        assert_eq!(reckoner.advance(reading(4000, 4000, 4000, 4000)), now);
    }
}
