//! Liveness of the peer: judged from silence, never the ground of safety (protocol.md §1).

#[cfg(feature = "explore")]
mod explore;

use crate::config::Timing;
use crate::time::{Duration, Instant};
use crate::wire::message::Life;

/// State of the peer. From × to, by what:
///
/// | from \ to | alive | late | dead | left |
/// |---|---|---|---|---|
/// | unknown | a frame | – | silent for initdead since the start | a frame that says so |
/// | alive | – | silent for warntime | silent for deadtime | a frame that says so |
/// | late | a frame | – | silent for deadtime | a frame that says so |
/// | dead | a frame | – | – | a frame that says so |
/// | left | a frame of a new life | – | – | – |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PeerState {
    /// Not heard in this life, and initdead is not over.
    #[default]
    Unknown,
    /// Heard within warntime.
    Alive,
    /// Silent for warntime.
    Late,
    /// Silent for deadtime.
    Dead,
    /// It said that it stopped everything and goes.
    Left,
}

impl PeerState {
    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }

    /// Dead or left: classic mode takes over what it ran.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Dead | Self::Left)
    }

    /// The matrix above.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use PeerState::{Alive, Dead, Late, Left, Unknown};
        match to {
            Unknown => false,
            Alive => matches!(self, Unknown | Late | Dead | Left),
            Late => matches!(self, Alive),
            Dead => matches!(self, Unknown | Alive | Late),
            Left => matches!(self, Unknown | Alive | Late | Dead),
        }
    }
}

/// The peer, and since when its silence counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    state: PeerState,
    started_at: Instant,
    heard_at: Option<Instant>,
    /// End of our own last stall: a stalled observer distrusts itself (protocol.md §3).
    attentive_since: Instant,
    /// Its own deadtime, when that is longer than ours: a pair may be reconfigured one node at a time.
    announced_deadtime: Duration,
    /// The silence that is enough as long as no wire is left to hear it by.
    shortened: Option<Duration>,
}

impl Peer {
    /// Nothing is known at the start of a life.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            state: PeerState::Unknown,
            started_at: now,
            heard_at: None,
            attentive_since: now,
            announced_deadtime: Duration::ZERO,
            shortened: None,
        }
    }

    /// State as last judged.
    #[must_use]
    pub const fn state(&self) -> PeerState {
        self.state
    }

    /// When its newest frame was processed.
    #[must_use]
    pub const fn heard_at(&self) -> Option<Instant> {
        self.heard_at
    }

    /// Since when we have listened without a stall.
    #[must_use]
    pub const fn attentive_since(&self) -> Instant {
        self.attentive_since
    }

    /// The silence after which it counts as dead, hints apart: the longer of ours and what it announced.
    #[must_use]
    pub fn deadtime(&self, timing: &Timing) -> Duration {
        timing.deadtime.max(self.announced_deadtime)
    }

    /// The peer's announced deadtime. Capped: we wait so long before we take over, and a wrong figure must
    /// not switch failover off.
    pub(crate) fn announce_deadtime(&mut self, announced: Duration) {
        const CAP: Duration = Duration::from_secs(120);
        self.announced_deadtime = announced.min(CAP);
    }

    pub(crate) fn shorten_silence(&mut self, to: Option<Duration>) {
        self.shortened = to;
    }

    /// The silence after which it counts as dead now.
    fn patience(&self, timing: &Timing) -> Duration {
        let deadtime = self.deadtime(timing);
        self.shortened.map_or(deadtime, |shortened| shortened.min(deadtime))
    }

    pub(crate) fn stalled_until(&mut self, now: Instant) {
        self.attentive_since = now;
    }

    /// A new frame of its was processed. The new state, if it changed.
    pub(crate) fn heard(&mut self, now: Instant, life: Life, new_life: bool) -> Option<PeerState> {
        self.heard_at = Some(now);
        match (life, self.state) {
            (Life::Left, _) => self.become_state(PeerState::Left),
            (_, PeerState::Left) if !new_life => None,
            _ => self.become_state(PeerState::Alive),
        }
    }

    /// Lets silence be judged. The new state, if it changed; call again until it doesn't.
    pub(crate) fn judge(&mut self, now: Instant, timing: &Timing) -> Option<PeerState> {
        let due = self.due(timing)?;
        if now < due {
            return None;
        }
        self.become_state(match self.state {
            PeerState::Alive => PeerState::Late,
            _ => PeerState::Dead,
        })
    }

    /// When silence changes the state next.
    #[must_use]
    pub fn due(&self, timing: &Timing) -> Option<Instant> {
        let silent_since = self.heard_at.unwrap_or(self.started_at).max(self.attentive_since);
        match self.state {
            PeerState::Unknown => Some(silent_since + timing.initdead),
            // A warntime of the whole deadtime would never be told apart from death.
            PeerState::Alive => Some(silent_since + timing.warntime.min(self.patience(timing))),
            PeerState::Late => Some(silent_since + self.patience(timing)),
            PeerState::Dead | PeerState::Left => None,
        }
    }

    fn become_state(&mut self, to: PeerState) -> Option<PeerState> {
        if self.state == to {
            return None;
        }
        debug_assert!(self.state.may_become(to), "{:?} to {to:?}", self.state);
        self.state = to;
        Some(to)
    }

    pub(crate) fn rebased(mut self, by: Duration) -> Self {
        self.started_at = self.started_at.rebased(by);
        self.heard_at = self.heard_at.map(|at| at.rebased(by));
        self.attentive_since = self.attentive_since.rebased(by);
        self
    }
}
