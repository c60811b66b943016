//! The log in the guide's form: `1999/09/16_09:13:25 INFO: heartbeat starting.`
//!
//! The daemon speaks `tracing`. Its [`Sink`] formats an event into a buffer of fixed size and hands it
//! to the helper process, which alone knows local time and touches the files ([`file::Logs`]). So a
//! full disk or a hanging file system can't hold up a heartbeat.

pub mod file;
mod limiter;
mod sink;

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

pub use limiter::{Limiter, Suppressed};
pub use sink::{CRIT, Sink};

/// Longest text of one line, in bytes; the rest is cut off and shown as `…`.
pub const MAX_TEXT: usize = 1000;

/// How grave a line is, in the guide's words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Level {
    /// For the debugfile only.
    Debug,
    /// What happens.
    Info,
    /// Looks wrong, works still.
    Warn,
    /// Something failed.
    Error,
    /// The service is in danger.
    Crit,
}

impl Level {
    /// As it stands in the line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Crit => "CRIT",
        }
    }
}

/// One line with its line feed: local time of `at` (seconds since 1970), level, text.
///
/// Control characters become `?`: text comes from scripts and from the network too, and neither
/// may forge lines or talk to a terminal.
pub fn format_line(line: &mut String, zone: &TimeZone, at: i64, level: Level, text: &str) {
    line.clear();
    let time = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone());
    // Writing to a String can't fail.
    let _ = write!(
        line,
        "{:04}/{:02}/{:02}_{:02}:{:02}:{:02} {}: ",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        level.word()
    );
    line.extend(text.chars().map(|c| match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    }));
    line.push('\n');
}

/// Wall time in seconds since 1970; log lines are its only use (protocol.md §3).
#[must_use]
pub fn wall_time() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: i64, zone: &TimeZone, level: Level, text: &str) -> String {
        let mut line = String::new();
        format_line(&mut line, zone, at, level, text);
        line
    }

    #[test]
    fn lines_look_as_the_guide_shows_them() {
        assert_eq!(
            line(937_473_205, &TimeZone::UTC, Level::Info, "heartbeat starting."),
            "1999/09/16_09:13:25 INFO: heartbeat starting.\n"
        );
    }

    #[test]
    fn time_is_local() {
        let west = TimeZone::fixed(jiff::tz::offset(-4));
        assert_eq!(line(937_473_205, &west, Level::Crit, "x"), "1999/09/16_05:13:25 CRIT: x\n");
    }

    #[test]
    fn text_cannot_forge_a_line_or_drive_a_terminal() {
        assert_eq!(
            line(0, &TimeZone::UTC, Level::Warn, "a\n1970 INFO: b\x1b[2J\u{9b}c\td"),
            "1970/01/01_00:00:00 WARN: a?1970 INFO: b?[2J?c d\n"
        );
    }
}
