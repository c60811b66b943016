//! The watchdog's keeper: opened after the clean start, fed in one place, by one boolean (R10).

use std::path::{Path, PathBuf};

use hb_proto::time::{Duration, Instant};
use tracing::{error, info, warn};

use crate::control::snapshot;
use crate::log::CRIT;
use crate::watchdog::{Closed, Device, Watchdog};

/// Shortest time-out asked for: what a resource script that stops in order may need when authority
/// is lost, before the machine is reset under it.
const TIMEOUT_AT_LEAST_S: u32 = 10;
/// Feeding more often than this gains nothing: time-outs are whole seconds.
const FEED_EVERY: Duration = Duration::from_millis(250);

/// What ha.cf's `watchdog` line made of it.
pub struct Watch {
    path: Option<PathBuf>,
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
        let twice = deadtime.times(2).micros().div_ceil(1_000_000);
        let timeout_s = u32::try_from(twice).unwrap_or(u32::MAX).max(TIMEOUT_AT_LEAST_S);
        Self {
            path,
            device: None,
            timeout_s,
            fed_at: Instant::ZERO,
            starving: false,
            refused: false,
            tried: false,
        }
    }

    /// Opens, and so arms it; once, further calls do nothing. A watchdog that can't be had is told and the node goes on without.
    pub fn open(&mut self) {
        if std::mem::replace(&mut self.tried, true) {
            return;
        }
        let Some(path) = self.path.as_deref() else { return };
        match Device::open(path, self.timeout_s) {
            Ok(device) => {
                info!("Using watchdog device: {}", path.display());
                info!(
                    "watchdog {}: resets after {} s unfed",
                    device.identity(),
                    device.timeout_s()
                );
                self.device = Some(Box::new(device));
            }
            Err(error) => {
                error!(target: CRIT, "{error}; running without it");
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
