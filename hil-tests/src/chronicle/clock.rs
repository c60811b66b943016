//! The rig's time.

use std::time::SystemTime;

use hb_proto::time::Instant;

/// Rig time from the two clocks that observations come with.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: std::time::Instant,
    began_wall: SystemTime,
}

impl Clock {
    /// Rig time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: std::time::Instant::now(), began_wall: SystemTime::now() }
    }

    /// Rig time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.at(std::time::Instant::now())
    }

    /// An instant of the host as rig time.
    #[must_use]
    pub fn at(&self, instant: std::time::Instant) -> Instant {
        let micros = instant.saturating_duration_since(self.began).as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Rig time as an instant of the host.
    #[must_use]
    pub fn host(&self, at: Instant) -> std::time::Instant {
        self.began + std::time::Duration::from_micros(at.micros())
    }

    /// Wall time, in nanoseconds since 1970, as rig time: the rig's runs are too short for the
    /// host's clock to be corrected much.
    pub(crate) fn at_wall(&self, nanos: u64) -> Instant {
        let began = self.began_wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = u128::from(nanos).saturating_sub(began.as_nanos());
        Instant::from_micros(u64::try_from(since / 1000).unwrap_or(u64::MAX))
    }
}
