//! The watchdog: resets this machine when the daemon no longer feeds it.
//!
//! What decides about feeding is not here: the driver passes on one boolean of `hb-proto` (protocol.md
//! R10). [`Device`] is Linux's /dev/watchdog; [`Recording`] stands in for it in tests, and [`Remote`] on the
//! machines of the namespace rig.
//!
//! Not yet proved on a real watchdog, not even on softdog: nothing here was run against a driver so far,
//! only against paths that are none. The ioctl numbers are compared with the kernel header's.

mod device;
mod recording;
mod remote;
pub mod survey;
pub mod trial;

use std::io;

use hb_proto::config::DRIFT_PERCENT;
use hb_proto::time::Duration;

pub use device::{Device, OpenError};
pub use recording::{Recorded, RecordedView, Recording};
pub use remote::Remote;

/// Shortest time-out asked for: what a resource script that stops in order may need when authority
/// is lost, before the machine is reset under it. Seconds.
const TIMEOUT_AT_LEAST_S: u32 = 10;
/// What guard has beyond the watchdog's own time: a reset takes a moment (protocol.md §3).
pub const GUARD_MARGIN: Duration = Duration::from_millis(500);

/// The time-out that is asked of a watchdog, in seconds: twice deadtime, 10 s at least.
#[must_use]
pub fn timeout_s(deadtime: Duration) -> u32 {
    let twice = deadtime.times(2).micros().div_ceil(1_000_000);
    u32::try_from(twice).unwrap_or(u32::MAX).max(TIMEOUT_AT_LEAST_S)
}

/// The shortest guard that a time-out allows: 2 × time-out × (1 + drift) + 500 ms. Twice, because the
/// kernel feeds once by itself when the device is closed unasked (watchdog-api.rst, "Magic Close"; R10).
/// Drift, because guard ends by the clock of whoever gave the promise, the watchdog's time by its own.
#[must_use]
pub fn guard(timeout_s: u32) -> Duration {
    let twice = Duration::from_secs(u64::from(timeout_s)).times(2);
    twice.percent(100 + u64::from(DRIFT_PERCENT)) + GUARD_MARGIN
}

/// What resets the machine when it goes unfed.
pub trait Watchdog {
    /// Starts the time-out anew. Never blocks for longer than the driver takes to write a register.
    ///
    /// # Errors
    /// What the driver answered. The machine will be reset then, which is as it should be.
    fn feed(&mut self) -> io::Result<()>;

    /// Seconds from the last feeding to the reset, as read back from the driver.
    fn timeout_s(&self) -> u32;

    /// The driver's name for itself.
    fn identity(&self) -> &str;

    /// Whether it can't be disarmed once it is armed; `None` where the kernel doesn't tell.
    fn nowayout(&self) -> Option<bool>;

    /// Disarms the watchdog, where that is possible, and gives it up. Only after every group is
    /// confirmed stopped (protocol.md R10).
    ///
    /// # Errors
    /// What the driver answered; the watchdog is then still armed.
    fn close_orderly(self: Box<Self>) -> io::Result<Closed>;
}

/// What an orderly close left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The machine runs on.
    Disarmed,
    /// The driver was loaded with `nowayout`: the machine is reset unless somebody opens and feeds the
    /// watchdog within its time-out.
    StillArmed,
    /// Asked to disarm, but the kernel (without CONFIG_WATCHDOG_SYSFS) doesn't tell whether `nowayout`
    /// overruled that.
    Unknown,
}
