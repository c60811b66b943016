//! What a person is shown of the third voter: who votes, for how long, and what is in the way.

use super::{ArbiterState, Ground, Node};
use crate::authority::Stance;
use crate::config::full;
use crate::id::{BootId, GroupId, Voter};
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::message::arbiter::{ArbiterSettings, ArbiterStatus};
use crate::wire::message::duration_of_ms;

/// The arbiter, for status output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArbiterReport {
    /// Whether it is there.
    pub state: ArbiterState,
    /// For how long it has been silent.
    pub silent: Option<Duration>,
    /// Whether it is heard on its own line, not just by relay.
    pub direct: bool,
    /// Its life.
    pub boot: Option<BootId>,
    /// Number of the key that it signs with.
    pub key: Option<u8>,
    /// Its newest status: whom it hears, whom it has promised what, power, fences.
    pub status: Option<ArbiterStatus>,
    /// What its newest hello said.
    pub settings: Option<ArbiterSettings>,
    /// Both nodes announce this arbiter: until then there is no guarantee (R2).
    pub agreed: bool,
}

/// On whose word a group may run here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority {
    /// The peer's promise is good for so long.
    pub peer: Option<Duration>,
    /// The arbiter's is.
    pub arbiter: Option<Duration>,
    /// An operator voted in place of the peer.
    pub human: bool,
    /// The later of the two promises.
    pub expires_in: Option<Duration>,
    /// What allows it now.
    pub ground: Option<Ground>,
}

/// What keeps a node from a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// This node's own promise to the peer; without an end where guard is unbounded.
    OwnPromise {
        /// By its time.
        ends_in: Option<Duration>,
    },
    /// The arbiter's promise.
    ArbiterPromise {
        /// To the peer, or to nobody knows whom.
        to: Option<Voter>,
        /// At the latest, if nobody renews it.
        ends_in: Option<Duration>,
    },
    /// Neither the peer's vote nor the arbiter's is to be had: an operator may vote (R14).
    ArbiterAbsent {
        /// Its state.
        state: ArbiterState,
    },
    /// The arbiter's guard is shorter than this node's: its promise counts for nothing yet.
    ArbiterGuard,
    /// The peer was never heard in this life: it may be starting, and is waited for (initdead).
    PeerUnknown {
        /// By its time.
        ends_in: Duration,
    },
    /// There is a promise, but the two nodes don't announce the same arbiter, and the classic rule
    /// doesn't allow it.
    NoAgreement,
}

impl Node {
    /// What is known of the arbiter; `None` without one configured.
    #[must_use]
    pub fn arbiter(&self, now: Instant) -> Option<ArbiterReport> {
        self.config.arbiter?;
        let view = &self.d.arbiter;
        Some(ArbiterReport {
            state: view.state,
            silent: view.heard_at.map(|at| now.since(at)),
            direct: self.hears_arbiter_directly(now),
            boot: self.d.ledger.voice(Voter::Arbiter).map(|voice| voice.newest.boot),
            key: view.key,
            status: view.status,
            settings: view.settings,
            agreed: self.agrees_on_arbiter(),
        })
    }

    /// R14: who still needs key number `id`, as far as can be told: this node signs with it, or a voter's newest
    /// frame was signed with it, or a voter hasn't been heard. While there is one the key stays in authkeys.
    #[must_use]
    pub fn key_user(&self, id: u8) -> Option<Voter> {
        if self.keys.signing_id() == id {
            return Some(self.config.me);
        }
        self.other_key_user(id)
    }

    /// On whose word this node may run the group, and for how long that is good if nothing more is heard.
    #[must_use]
    pub fn authority(&self, group: GroupId, now: Instant) -> Authority {
        let promises = self.d.ledger.promises(group);
        let until = |voter| Some(promises.counted_until(voter)).filter(|&until| until > now);
        let peer = until(self.config.me.peer());
        let arbiter = until(Voter::Arbiter);
        let last = peer.max(arbiter);
        Authority {
            peer: peer.map(|until| until.since(now)),
            arbiter: arbiter.map(|until| until.since(now)),
            human: self.human_votes(group),
            expires_in: last.map(|until| until.since(now)),
            ground: self.ground(group, now),
        }
    }

    /// What keeps this node from a group that it neither runs nor leaves to the peer, and how long that
    /// can last; `None` if nothing does.
    #[must_use]
    pub fn obstacle(&self, group: GroupId, now: Instant) -> Option<Obstacle> {
        if self.stance(group) == Stance::Running || self.config.arbiter.is_none() {
            return None;
        }
        let promises = self.d.ledger.promises(group);
        if promises.promised_to(now).is_some() {
            let ends = promises.promise_ends().filter(|&ends| ends < Instant::NEVER);
            return Some(Obstacle::OwnPromise { ends_in: ends.map(|ends| ends.since(now)) });
        }
        if self.ground(group, now).is_some() {
            return None;
        }
        if self.d.ledger.authorised(group, now) {
            return Some(Obstacle::NoAgreement);
        }
        let view = &self.d.arbiter;
        if view.state != ArbiterState::Present {
            return Some(Obstacle::ArbiterAbsent { state: view.state });
        }
        if view.settings.is_some_and(|s| duration_of_ms(s.guard_ms) < self.config.timing.guard) {
            return Some(Obstacle::ArbiterGuard);
        }
        let Some(withheld) = self.withheld(group) else {
            let due = self.d.peer.due(&self.config.timing);
            let due = due.filter(|_| self.d.peer.state() == PeerState::Unknown)?;
            return Some(Obstacle::PeerUnknown { ends_in: due.since(now) });
        };
        let drift = self.config.timing.drift_percent;
        let full = view.settings.map_or(self.config.timing.full(), |settings| {
            let (lease, guard) = (settings.lease_ms, settings.guard_ms);
            full(duration_of_ms(lease), settings.drift_percent, duration_of_ms(guard))
        });
        // It promised no later than when this node last heard the peer; what it took over from nobody knows
        // whom began with its first contact. By its own clock, which may be slow.
        let listens = self.d.peer.heard_at().unwrap_or(self.d.peer.attentive_since());
        let since = Some(listens).max(view.present_since).unwrap_or(now);
        let ends_in = full.percent(100 + u64::from(drift)).saturating_sub(now.since(since));
        Some(Obstacle::ArbiterPromise {
            to: withheld.promisee(),
            ends_in: (full < Duration::MAX).then_some(ends_in),
        })
    }
}
