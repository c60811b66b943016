//! A machine's own clock: neither set nor slewed (protocol.md §3), but fast or slow, and it may stop.

use hb_proto::time::Instant;

use super::queue::At;

const MILLION: i64 = 1_000_000;

/// Local time as a function of true time.
#[derive(Clone, Debug)]
pub struct Clock {
    since: At,
    local: u64,
    /// Parts per million that it runs fast.
    ppm: i64,
    stopped: bool,
    /// Milliseconds that wall time was set forward or back: shown in log lines, read by nobody else.
    pub wall_offset_ms: i64,
}

impl Clock {
    /// A clock that showed `local` µs at the true time `since`.
    #[must_use]
    pub const fn new(since: At, local: u64, ppm: i64) -> Self {
        Self { since, local, ppm, stopped: false, wall_offset_ms: 0 }
    }

    /// What it shows.
    #[must_use]
    pub const fn local(&self, now: At) -> Instant {
        if self.stopped {
            return Instant::from_micros(self.local);
        }
        let passed = now.saturating_sub(self.since) as i64;
        Instant::from_micros(self.local + (passed + passed * self.ppm / MILLION) as u64)
    }

    /// The first true time at which it shows `local` or more.
    #[must_use]
    pub const fn when(&self, local: Instant) -> At {
        let ahead = local.micros().saturating_sub(self.local);
        if ahead > 1 << 42 || self.stopped && ahead > 0 {
            return At::MAX;
        }
        let (ahead, rate) = (ahead as i64, MILLION + self.ppm);
        let mut at = self.since + (ahead * MILLION).unsigned_abs().div_ceil(rate.unsigned_abs());
        // Rounding in `local` may need another microsecond or two, or one less.
        while self.local(at).micros() < local.micros() {
            at += 1;
        }
        while at > self.since && self.local(at - 1).micros() >= local.micros() {
            at -= 1;
        }
        at
    }

    /// It stops with its machine.
    pub const fn stop(&mut self, now: At) {
        self.local = self.local(now).micros();
        self.since = now;
        self.stopped = true;
    }

    /// It goes on from where it stopped.
    pub const fn go_on(&mut self, now: At) {
        self.since = now;
        self.stopped = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_and_its_inverse_agree() {
        for ppm in [-25_000, -1, 0, 333, 25_000] {
            let clock = Clock::new(1_000, 77, ppm);
            for step in 0..2_000 {
                let local = Instant::from_micros(77 + step * 7_919);
                let at = clock.when(local);
                assert!(clock.local(at) >= local, "{ppm} {step}");
                assert!(at == 1_000 || clock.local(at - 1) < local, "{ppm} {step}");
            }
        }
    }

    #[test]
    fn a_stopped_clock_skips_nothing() {
        let mut clock = Clock::new(0, 0, 0);
        clock.stop(10);
        assert_eq!(clock.local(500).micros(), 10);
        clock.go_on(500);
        assert_eq!(clock.local(510).micros(), 20);
    }
}
