//! A watchdog for tests: resets nothing, remembers everything.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Closed, Watchdog};

/// What became of a [`Recording`] watchdog so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    /// Times that it was fed.
    pub fed: u64,
    /// Closed on purpose. Dropped otherwise means that a real one would reset the machine.
    pub disarmed: bool,
    /// Given up, in whichever way.
    pub gone: bool,
}

impl Recorded {
    /// A real watchdog would reset the machine: it has nobody any more who feeds it.
    #[must_use]
    pub fn will_reset(&self) -> bool {
        self.gone && !self.disarmed
    }
}

/// Stands in for [`super::Device`]; ha.cf can't name it.
#[derive(Debug)]
pub struct Recording {
    timeout_s: u32,
    nowayout: bool,
    seen: Arc<Mutex<Recorded>>,
}

impl Recording {
    /// One with this time-out, and a view of it that outlives it.
    #[must_use]
    pub fn new(timeout_s: u32, nowayout: bool) -> (Self, RecordedView) {
        let seen = Arc::new(Mutex::new(Recorded::default()));
        (Self { timeout_s, nowayout, seen: Arc::clone(&seen) }, RecordedView(seen))
    }
}

/// Looks at a [`Recording`] from outside.
#[derive(Clone, Debug)]
pub struct RecordedView(Arc<Mutex<Recorded>>);

impl RecordedView {
    /// What it has recorded by now.
    #[must_use]
    pub fn now(&self) -> Recorded {
        lock(&self.0).clone()
    }
}

fn lock(seen: &Mutex<Recorded>) -> MutexGuard<'_, Recorded> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog for Recording {
    fn feed(&mut self) -> io::Result<()> {
        lock(&self.seen).fed += 1;
        Ok(())
    }

    fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    fn identity(&self) -> &'static str {
        "recording (resets nothing)"
    }

    fn nowayout(&self) -> Option<bool> {
        Some(self.nowayout)
    }

    fn close_orderly(self: Box<Self>) -> io::Result<Closed> {
        lock(&self.seen).disarmed = !self.nowayout;
        Ok(if self.nowayout { Closed::StillArmed } else { Closed::Disarmed })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        lock(&self.seen).gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_orderly_close_without_nowayout_keeps_the_machine_running() {
        let (mut fed, view) = Recording::new(5, false);
        fed.feed().unwrap();
        fed.feed().unwrap();
        assert_eq!((view.now().fed, view.now().will_reset()), (2, false));
        assert_eq!(Box::new(fed).close_orderly().unwrap(), Closed::Disarmed);
        assert!(!view.now().will_reset());

        let (dropped, view) = Recording::new(5, false);
        drop(dropped);
        assert!(view.now().will_reset());

        let (stubborn, view) = Recording::new(5, true);
        assert_eq!(Box::new(stubborn).close_orderly().unwrap(), Closed::StillArmed);
        assert!(view.now().will_reset());
    }
}
