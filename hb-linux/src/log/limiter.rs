//! Repeated lines on somebody else's account: hostile frames must not fill the log.

use hb_proto::time::{Duration, Instant};

/// Length of the window in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets a burst of lines through for each reason and each minute, and counts the rest.
///
/// `REASONS` is the number of reasons, each with a count of its own, so that a flood of one kind can't
/// hide the first line of another.
#[derive(Clone, Debug)]
pub struct Limiter<const REASONS: usize> {
    burst: u32,
    windows: [Window; REASONS],
}

#[derive(Clone, Copy, Debug)]
struct Window {
    /// `None` until the reason's first line and after a quiet window.
    since: Option<Instant>,
    seen: u32,
}

/// So many lines were held back in a window that has ended. Shown as `… and 3817 more in the last
/// minute`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suppressed {
    /// Which reason.
    pub reason: usize,
    /// Lines held back.
    pub lines: u32,
}

impl std::fmt::Display for Suppressed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "… and {} more in the last minute", self.lines)
    }
}

impl<const REASONS: usize> Limiter<REASONS> {
    /// `burst` lines a minute for each reason.
    #[must_use]
    pub const fn new(burst: u32) -> Self {
        Self { burst, windows: [Window { since: None, seen: 0 }; REASONS] }
    }

    /// True if a line for `reason` may be written now. A reason beyond `REASONS` never may.
    pub fn admit(&mut self, reason: usize, now: Instant) -> bool {
        let Some(window) = self.windows.get_mut(reason) else { return false };
        // A window that ended with lines held back stays until poll_suppressed has told them.
        let ended = window.since.is_none_or(|since| now.since(since) >= WINDOW);
        if ended && window.seen <= self.burst {
            *window = Window { since: Some(now), seen: 0 };
        }
        window.seen = window.seen.saturating_add(1);
        window.seen <= self.burst
    }

    /// The next reason whose window has ended with lines held back; call it until `None`, once a
    /// second or so. Tells each once and begins anew.
    pub fn poll_suppressed(&mut self, now: Instant) -> Option<Suppressed> {
        for (reason, window) in self.windows.iter_mut().enumerate() {
            let ended = window.since.is_some_and(|since| now.since(since) >= WINDOW);
            if !ended {
                continue;
            }
            let lines = window.seen.saturating_sub(self.burst);
            *window = Window { since: None, seen: 0 };
            if lines > 0 {
                return Some(Suppressed { reason, lines });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_burst_and_one_line_a_minute() {
        let mut limiter = Limiter::<2>::new(3);
        let mut written = 0;
        for ms in 0..3820 {
            written += u32::from(limiter.admit(1, Instant::from_millis(ms)));
        }
        assert_eq!(written, 3);
        assert!(limiter.admit(0, Instant::from_millis(3820)), "another reason is not affected");
        assert_eq!(limiter.poll_suppressed(Instant::from_millis(59_999)), None);
        let told = limiter.poll_suppressed(Instant::from_millis(60_000)).unwrap();
        assert_eq!(told, Suppressed { reason: 1, lines: 3817 });
        assert_eq!(told.to_string(), "… and 3817 more in the last minute");
        assert_eq!(limiter.poll_suppressed(Instant::from_millis(60_000)), None);
        assert!(limiter.admit(1, Instant::from_millis(60_001)), "a new minute, a new burst");
    }

    #[test]
    fn nothing_is_forgotten_when_the_next_line_comes_before_the_summary() {
        let mut limiter = Limiter::<1>::new(1);
        assert!(limiter.admit(0, Instant::ZERO));
        assert!(!limiter.admit(0, Instant::from_millis(1)));
        assert!(!limiter.admit(0, Instant::from_millis(61_000)));
        let told = limiter.poll_suppressed(Instant::from_millis(61_000));
        assert_eq!(told, Some(Suppressed { reason: 0, lines: 2 }));
    }

    #[test]
    fn a_slow_drip_is_never_held_back() {
        let mut limiter = Limiter::<1>::new(1);
        for minute in 0..5 {
            assert!(limiter.admit(0, Instant::from_millis(minute * 60_000)));
            assert_eq!(limiter.poll_suppressed(Instant::from_millis(minute * 60_000)), None);
        }
    }
}
