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

use std::io;

pub use device::{Device, OpenError};
pub use recording::{Recorded, RecordedView, Recording};
pub use remote::Remote;

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
