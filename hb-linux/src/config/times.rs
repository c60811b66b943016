//! Times as ha.cf writes them, and the defaults of those that it leaves out.

use hb_proto::config::Timing;
use hb_proto::time::Duration;

use super::diagnostic::{Report, quoted};

/// A day. Longer than any sensible time, short enough for every frame and timer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `2` and `1s` (seconds), `1.5`, `500ms`. Whole milliseconds, a day at most.
///
/// # Errors
/// What was read and what is expected.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("read {}, expected a time such as 2, 1.5, 500ms or 1s", quoted(text));
    let (number, unit_micros) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1000)
    } else {
        (text.strip_suffix('s').unwrap_or(text), 1_000_000u64)
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let too_long =
        || format!("read {}, which is more than a day; bare numbers are seconds", quoted(text));
    let mut micros =
        whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_micros)).ok_or_else(too_long)?;
    let mut weight = unit_micros;
    for digit in fraction.trim_end_matches('0').bytes() {
        weight /= 10;
        micros = micros.saturating_add(u64::from(digit - b'0') * weight);
        // A digit worth less than 1 ms, down to those that are worth nothing at all.
        if weight < 1000 {
            return Err(format!("read {}, which is finer than 1 ms", quoted(text)));
        }
    }
    let time = Duration::from_micros(micros);
    if time > LONGEST { Err(too_long()) } else { Ok(time) }
}

/// A value and the line of ha.cf that gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// The times that ha.cf gives; the others follow from them.
#[derive(Default, Debug)]
pub(super) struct GivenTimes {
    pub(super) keepalive: Option<At<Duration>>,
    pub(super) warntime: Option<At<Duration>>,
    pub(super) deadtime: Option<At<Duration>>,
    pub(super) initdead: Option<At<Duration>>,
    pub(super) lease: Option<At<Duration>>,
    pub(super) guard: Option<At<Duration>>,
    pub(super) guard_unsafe: Option<At<Duration>>,
    pub(super) dongle_watchdog: Option<At<Duration>>,
    /// A time was given that can't be read: rules between times would accuse the wrong line.
    pub(super) broken: bool,
}

impl GivenTimes {
    /// Fills in what is left out.
    ///
    /// Alone, each default is that of protocol.md §3. Beside given times the defaults keep its
    /// proportions (keepalive : warntime : deadtime = 1 : 3 : 5), but never send less often or judge
    /// faster than §3 says: a file that only slows the heartbeat down must not become trigger-happy.
    pub(super) fn resolve(&self, report: &mut Report) -> Timing {
        let standard = Timing::classic_defaults();
        let value = |given: &Option<At<Duration>>| given.as_ref().map(|at| at.value);
        let (keepalive, warntime) = (value(&self.keepalive), value(&self.warntime));
        let deadtime = value(&self.deadtime).unwrap_or_else(|| {
            let by_keepalive = keepalive.map_or(Duration::ZERO, |time| time.times(5));
            let by_warntime =
                warntime.map_or(Duration::ZERO, |time| whole_millis_up(time.micros() * 5 / 3));
            standard.deadtime.max(by_keepalive).max(by_warntime)
        });
        let keepalive = keepalive.unwrap_or_else(|| {
            let by_warntime =
                warntime.map_or(Duration::MAX, |time| whole_millis(time.micros() / 3));
            standard.keepalive.min(whole_millis(deadtime.micros() / 5)).min(by_warntime)
        });
        let warntime = warntime.unwrap_or_else(|| whole_millis(deadtime.percent(60).micros()));
        let initdead = value(&self.initdead).unwrap_or_else(|| standard.initdead.max(deadtime));
        let timing = Timing {
            keepalive,
            warntime,
            deadtime,
            initdead,
            lease: value(&self.lease).unwrap_or_else(|| Timing::default_lease(deadtime)),
            ..standard
        };
        self.tell_scaled(&timing, report);
        timing
    }

    /// Notes every default that is not the one an admin knows from the manual.
    fn tell_scaled(&self, timing: &Timing, report: &mut Report) {
        let standard = Timing::classic_defaults();
        let cause = [&self.deadtime, &self.keepalive, &self.warntime]
            .into_iter()
            .find_map(|given| given.as_ref().map(|at| at.line));
        let (Some(line), false) = (cause, self.broken) else { return };
        for (word, given, used, usual) in [
            ("keepalive", &self.keepalive, timing.keepalive, standard.keepalive),
            ("warntime", &self.warntime, timing.warntime, standard.warntime),
            ("deadtime", &self.deadtime, timing.deadtime, standard.deadtime),
            ("initdead", &self.initdead, timing.initdead, standard.initdead),
        ] {
            if given.is_none() && used != usual {
                report.note(
                    line,
                    format!(
                        "{word} is not given: {used}, to fit the times that are (alone {usual})"
                    ),
                );
            }
        }
    }
}

/// Rounded down to a whole millisecond, but at least one.
fn whole_millis(micros: u64) -> Duration {
    Duration::from_millis((micros / 1000).max(1))
}

fn whole_millis_up(micros: u64) -> Duration {
    Duration::from_millis(micros.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn times_as_the_guide_writes_them() {
        for (text, millis) in [
            ("2", 2000),
            ("1.5", 1500),
            ("500ms", 500),
            ("1s", 1000),
            ("0", 0),
            ("0.05s", 50),
            ("1.50", 1500),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in
            ["", "abc", "-1", "+1", "1,5", ".5", "1.", "ms", "s", "1m", "1us", "0x1", "1e3", "１"]
        {
            let error = parse_time(bad).unwrap_err();
            assert!(
                error.contains("expected a time such as 2, 1.5, 500ms or 1s"),
                "{bad}: {error}"
            );
        }
        for fine in ["0.0005", "1.5ms", "0.00000000000000000000001"] {
            assert!(parse_time(fine).unwrap_err().contains("finer than 1 ms"), "{fine}");
        }
        for long in ["86401", "99999999999999999999999", "18446744073709551615"] {
            assert!(parse_time(long).unwrap_err().contains("more than a day"), "{long}");
        }
        assert!(parse_time("86400").is_ok());
    }

    fn resolved(keepalive: u64, warntime: u64, deadtime: u64) -> [u64; 4] {
        let given = |millis: u64| {
            (millis > 0).then(|| At { value: Duration::from_millis(millis), line: 1 })
        };
        let times = GivenTimes {
            keepalive: given(keepalive),
            warntime: given(warntime),
            deadtime: given(deadtime),
            ..GivenTimes::default()
        };
        let t = times.resolve(&mut Report::new(Path::new("ha.cf")));
        assert_eq!(t.lease, t.deadtime.percent(80));
        [t.keepalive, t.warntime, t.deadtime, t.initdead].map(Duration::millis)
    }

    /// Whatever subset is given, the rest fits: no default may break a rule of `Config::check`.
    #[test]
    fn defaults_scale_with_what_is_given() {
        assert_eq!(resolved(0, 0, 0), [100, 300, 500, 10_000]);
        assert_eq!(resolved(2000, 0, 10_000), [2000, 6000, 10_000, 10_000]);
        assert_eq!(resolved(2000, 0, 0), [2000, 6000, 10_000, 10_000]);
        assert_eq!(resolved(20, 0, 0), [20, 300, 500, 10_000]);
        assert_eq!(resolved(0, 0, 30_000), [100, 18_000, 30_000, 30_000]);
        assert_eq!(resolved(0, 0, 200), [40, 120, 200, 10_000]);
        assert_eq!(resolved(0, 6000, 0), [100, 6000, 10_000, 10_000]);
        assert_eq!(resolved(0, 60, 0), [20, 60, 500, 10_000]);
    }

    #[test]
    fn scaled_defaults_are_told() {
        let mut report = Report::new(Path::new("ha.cf"));
        let times = GivenTimes {
            keepalive: Some(At { value: Duration::from_secs(2), line: 7 }),
            ..GivenTimes::default()
        };
        times.resolve(&mut report);
        let notes = report.into_diagnostics();
        assert_eq!(notes.len(), 2, "warntime and deadtime: {notes:?}");
        assert!(notes.iter().all(|note| note.line == Some(7)));
    }
}
