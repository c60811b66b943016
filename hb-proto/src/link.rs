//! Health of one link, as both ends see it.

use crate::authority::FrameName;
use crate::time::{Duration, Instant};

/// State of a link. Transitions are free: each judgement follows from what was heard last. Only
/// one-way must have lasted for warntime: the two ends of a link that comes or goes notice it at
/// slightly different times.
///
/// | | peer hears us on it | peer doesn't, or is silent |
/// |---|---|---|
/// | we hear the peer on it | up | one-way |
/// | we don't | one-way | down |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LinkState {
    /// Nothing gets through.
    #[default]
    Down,
    /// One direction works; see [`Link::heard_lately`] for which.
    OneWay,
    /// Both directions work.
    Up,
}

impl LinkState {
    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::OneWay => "one-way",
            Self::Up => "up",
        }
    }
}

/// How long what takes in a link's judgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkTimes {
    /// Silence after which nothing is heard on it.
    pub deadtime: Duration,
    /// How long one direction must seem to fail.
    pub grace: Duration,
}

/// What is decided about one link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Link {
    /// When the peer was last heard on it.
    pub(crate) heard_at: Option<Instant>,
    /// Newest frame taken from the peer on it: an older one is a replay.
    pub(crate) newest: Option<FrameName>,
    /// The peer's number for the link by which it reaches us here.
    pub(crate) peer_link: u8,
    /// As last judged.
    pub(crate) state: LinkState,
    /// Since when only one direction seems to work.
    pub(crate) lopsided_since: Option<Instant>,
    /// Until when the line is busy with what was last written to it.
    pub(crate) busy_until: Instant,
    /// The newest frame could not be sent while the line was busy.
    pub(crate) owed: bool,
    /// Since when the device has no signal from the other end, as far as it can tell.
    pub(crate) carrier_lost_at: Option<Instant>,
}

impl Link {
    /// State as last judged.
    #[must_use]
    pub const fn state(&self) -> LinkState {
        self.state
    }

    /// When the peer was last heard on this link.
    #[must_use]
    pub const fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// Whether the peer was heard on it within `deadtime`.
    #[must_use]
    pub fn heard_lately(&self, now: Instant, deadtime: Duration) -> bool {
        self.heard_at.is_some_and(|at| now.since(at) < deadtime)
    }

    /// Judges anew; true if the state changed.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        times: LinkTimes,
        heard: bool,
        peer_hears: bool,
    ) -> bool {
        self.lopsided_since = (heard != peer_hears).then(|| self.lopsided_since.unwrap_or(now));
        let state = match (heard, self.lopsided_since) {
            (true, None) => LinkState::Up,
            (false, None) => LinkState::Down,
            (_, Some(since)) if now.since(since) >= times.grace => LinkState::OneWay,
            (_, Some(_)) => self.state,
        };
        core::mem::replace(&mut self.state, state) != state
    }

    /// When the next judgement may differ, if nothing arrives. What is past has been judged.
    pub(crate) fn due(&self, times: LinkTimes) -> impl Iterator<Item = Instant> {
        let silent = self.heard_at.map(|at| at + times.deadtime);
        let lopsided = self.lopsided_since.map(|at| at + times.grace);
        [silent, lopsided].into_iter().flatten()
    }

    pub(crate) fn rebased(mut self, by: Duration) -> Self {
        self.heard_at = self.heard_at.map(|at| at.rebased(by));
        self.busy_until = self.busy_until.rebased(by);
        self.carrier_lost_at = self.carrier_lost_at.map(|at| at.rebased(by));
        self.lopsided_since = self.lopsided_since.map(|at| at.rebased(by));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: LinkTimes =
        LinkTimes { deadtime: Duration::from_millis(500), grace: Duration::from_millis(300) };

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// The table above [`LinkState`], cell by cell: its words are those of tests/matrix.rs.
    #[test]
    fn judged_as_the_table_says() {
        let cells =
            [(1499, true), (1499, false), (1500, true), (1500, false)].map(|(ms, hears)| {
                let mut link = Link { heard_at: Some(at(1000)), ..Link::default() };
                let heard = link.heard_lately(at(ms), TIMES.deadtime);
                link.judge(at(ms), TIMES, heard, hears);
                // What has lasted: one direction alone must for the grace.
                link.judge(at(ms) + TIMES.grace, TIMES, heard, hears);
                link.state().name()
            });
        assert_eq!(cells, ["up", "one-way", "one-way", "down"]);
        let mut never = Link::default();
        assert!(!never.judge(Instant::ZERO, TIMES, false, false));
        assert_eq!(never.state(), LinkState::Down);
    }

    #[test]
    fn one_direction_alone_must_last() {
        let mut link = Link { heard_at: Some(at(1000)), ..Link::default() };
        assert!(link.judge(at(1000), TIMES, true, true), "up");
        assert!(!link.judge(at(1100), TIMES, true, false), "perhaps the other end is just slower");
        assert!(!link.judge(at(1399), TIMES, true, false));
        assert!(link.judge(at(1400), TIMES, true, false));
        assert_eq!(link.state(), LinkState::OneWay);
        assert!(link.judge(at(1410), TIMES, true, true), "and ends at once");
    }
}
