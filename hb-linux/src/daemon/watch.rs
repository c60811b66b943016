//! The watchdog's keeper: opened after the clean start, fed in one place, by one boolean (R10).

use std::path::{Path, PathBuf};

use hb_proto::time::{Duration, Instant};
use tracing::{error, info, warn};

use crate::control::snapshot;
use crate::log::CRIT;
use crate::watchdog::{self, Closed, Device, OpenError, Remote, Watchdog};

/// Feeding more often than this gains nothing: time-outs are whole seconds.
const FEED_EVERY: Duration = Duration::from_millis(250);

/// Opens a watchdog with a time-out in seconds.
type Opener = fn(&Path, u32) -> Result<Box<dyn Watchdog>, OpenError>;

/// What ha.cf's `watchdog` line made of it.
pub struct Watch {
    path: Option<PathBuf>,
    opener: Opener,
    device: Option<Box<dyn Watchdog>>,
    timeout_s: u32,
    fed_at: Instant,
    starving: bool,
    /// Feeding failed, and that was told.
    refused: bool,
    /// Opening was tried.
    tried: bool,
}

impl Watch {
    /// Not open yet: that waits for the clean start (R9).
    #[must_use]
    pub fn new(path: Option<PathBuf>, deadtime: Duration) -> Self {
        Self::opened_by(path, deadtime, |path, timeout_s| {
            Ok(Box::new(Device::open(path, timeout_s)?))
        })
    }

    /// On a machine of the test rig.
    #[must_use]
    pub fn of_rig(socket: PathBuf, deadtime: Duration) -> Self {
        Self::opened_by(Some(socket), deadtime, |path, _| Ok(Box::new(Remote::open(path)?)))
    }

    fn opened_by(path: Option<PathBuf>, deadtime: Duration, opener: Opener) -> Self {
        Self {
            path,
            opener,
            device: None,
            timeout_s: watchdog::timeout_s(deadtime),
            fed_at: Instant::ZERO,
            starving: false,
            refused: false,
            tried: false,
        }
    }

    /// Why a machine that hangs would not surely be reset within `guard`, by the time-out that the driver
    /// reads back (R10); `None` if it would.
    #[must_use]
    pub fn shortfall(&self, guard: Duration) -> Option<String> {
        match self.device.as_ref().map(|device| watchdog::guard(device.timeout_s())) {
            Some(worst) if worst <= guard => None,
            Some(worst) => {
                Some(format!("it resets this machine after up to {worst}, guard is {guard}"))
            }
            None => Some("it is not armed".to_owned()),
        }
    }

    /// Opens, and so arms it; once, further calls do nothing. A watchdog that can't be had is told; whether
    /// the node goes on without is not decided here.
    pub fn open(&mut self) {
        if std::mem::replace(&mut self.tried, true) {
            return;
        }
        let Some(path) = self.path.as_deref() else { return };
        match (self.opener)(path, self.timeout_s) {
            Ok(device) => {
                info!("Using watchdog device: {}", path.display());
                info!(
                    "watchdog {}: resets after {} s unfed",
                    device.identity(),
                    device.timeout_s()
                );
                if device.nowayout() == Some(true) {
                    warn!(
                        "watchdog {}: nowayout: it can't be disarmed, so this machine is reset {} s after \
                         heartbeat was stopped, unless it is started again by then",
                        device.identity(),
                        device.timeout_s()
                    );
                }
                self.device = Some(device);
            }
            Err(error) => {
                error!(target: CRIT, "{error}; it is not armed");
            }
        }
    }

    /// Feeds it if `may`: the only place that does.
    pub fn tend(&mut self, may: bool, now: Instant) {
        let Some(device) = &mut self.device else { return };
        if !may {
            if !std::mem::replace(&mut self.starving, true) {
                let left = device.timeout_s();
                error!(target: CRIT, "the watchdog is not fed any more: reset in {left} s unless authority returns");
            }
            return;
        }
        if std::mem::take(&mut self.starving) {
            warn!("the watchdog is fed again");
        }
        if now.since(self.fed_at) >= FEED_EVERY {
            self.fed_at = now;
            if let Err(error) = device.feed()
                && !std::mem::replace(&mut self.refused, true)
            {
                error!(target: CRIT, "the watchdog can't be fed ({error}): the machine will be reset");
            }
        }
    }

    /// After every group is confirmed stopped: disarms it.
    pub fn close(&mut self) {
        let Some(device) = self.device.take() else { return };
        match device.close_orderly() {
            Ok(Closed::Disarmed) => info!("watchdog disarmed"),
            Ok(Closed::StillArmed) => warn!(
                "the watchdog stays armed (nowayout): start heartbeat again, or the machine is reset"
            ),
            Ok(Closed::Unknown) => {
                info!("watchdog told to disarm; this kernel does not tell whether it did");
            }
            Err(error) => {
                error!(target: CRIT, "the watchdog stays armed ({error}): the machine will be reset");
            }
        }
    }

    /// For `hb status`.
    #[must_use]
    pub fn snapshot(&self) -> Option<snapshot::Watchdog> {
        let path: &Path = self.path.as_deref()?;
        Some(snapshot::Watchdog {
            device: path.display().to_string(),
            timeout_s: self.device.as_ref().map(|device| device.timeout_s()),
            armed: self.device.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::watchdog::{Recorded, RecordedView, Recording};

    thread_local! {
        static VIEW: RefCell<Option<RecordedView>> = const { RefCell::new(None) };
    }

    /// The real keeper on the fake watchdog: ha.cf can't name it, so tests put it in.
    fn watch() -> Watch {
        Watch::opened_by(
            Some("/dev/watchdog".into()),
            Duration::from_millis(500),
            |_, timeout_s| {
                let (device, view) = Recording::new(timeout_s, false);
                VIEW.with(|slot| *slot.borrow_mut() = Some(view));
                Ok(Box::new(device))
            },
        )
    }

    fn recorded() -> Option<Recorded> {
        VIEW.with(|slot| slot.borrow().as_ref().map(RecordedView::now))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_millis(10_000 + ms)
    }

    #[test]
    fn it_is_not_armed_before_it_is_told_to_open() {
        let mut watch = watch();
        watch.tend(true, at(0));
        assert!(recorded().is_none(), "R9: the clean start comes first");
        let shown = watch.snapshot().expect("ha.cf names one");
        assert_eq!((shown.armed, shown.timeout_s), (false, None));
        watch.open();
        let shown = watch.snapshot().expect("ha.cf names one");
        assert_eq!((shown.armed, shown.timeout_s), (true, Some(10)), "s");
    }

    #[test]
    fn one_boolean_feeds_it_and_nothing_else() {
        let mut watch = watch();
        watch.open();
        let fed = |watch: &mut Watch, may, ms| {
            watch.tend(may, at(ms));
            recorded().expect("open").fed
        };
        assert_eq!(fed(&mut watch, true, 0), 1);
        assert_eq!(
            fed(&mut watch, true, 100),
            1,
            "not more often than a time-out in seconds needs"
        );
        assert_eq!(fed(&mut watch, true, 250), 2);
        for ms in (500..20_000).step_by(100) {
            assert_eq!(fed(&mut watch, false, ms), 2, "starves while it may not be fed");
        }
        assert_eq!(fed(&mut watch, true, 20_000), 3, "until authority returns");
    }

    /// R10: guard ≥ 2 × (time-out read back) × (1 + drift) + margin, whatever time-out was asked for.
    #[test]
    fn guard_is_held_against_what_the_driver_reads_back() {
        let mut watch = watch();
        let least = Duration::from_millis(21_500);
        assert_eq!(watch.shortfall(least).as_deref(), Some("it is not armed"));
        watch.open();
        assert_eq!(watch.shortfall(least), None);
        let short = watch.shortfall(Duration::from_millis(21_499)).expect("too short");
        assert!(short.contains("after up to 21500 ms, guard is 21499 ms"), "{short}");
        let mut slow = Watch::opened_by(
            Some("/dev/watchdog".into()),
            Duration::from_millis(500),
            |_, timeout_s| Ok(Box::new(Recording::new(6 * timeout_s, false).0)),
        );
        slow.open();
        let short = slow.shortfall(least).expect("the driver has its own idea");
        assert!(short.contains("126500 ms"), "{short}");
        let mut gone = Watch::new(Some("/dev/hb-no-watchdog".into()), Duration::from_millis(500));
        gone.open();
        assert!(gone.shortfall(Duration::MAX).is_some());
    }

    #[test]
    fn only_an_orderly_close_disarms_it() {
        let mut first = watch();
        first.open();
        drop(first);
        assert!(
            recorded().expect("opened").will_reset(),
            "a daemon that just ends leaves it armed"
        );
        let mut second = watch();
        second.open();
        second.close();
        assert!(!recorded().expect("opened").will_reset());
        assert!(!second.snapshot().expect("named").armed);
    }
}
