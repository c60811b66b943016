//! What an operator asks for.

use core::fmt;

use super::{ArbiterState, Node, has};
use crate::action::Action;
use crate::authority::Stance;
use crate::event::Cause;
use crate::group::Phase;
use crate::id::{BootId, GroupId, Voter};
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::message::Life;

/// Why a command is not carried out. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Refusal {
    /// There is no such group.
    NoSuchGroup,
    /// Standby: this node runs none of them.
    NothingHeld,
    /// Takeover: this node runs all of them.
    AlreadyHeld,
    /// Standby: the peer is not there to take over.
    PeerAbsent {
        /// Its state.
        state: PeerState,
    },
    /// The peer is heard, but doesn't hear us.
    PeerDeaf,
    /// The peer's haresources differs.
    Mismatch,
    /// Standby: the group's start failed on the peer.
    PeerFailed {
        /// Which group.
        group: GroupId,
    },
    /// Standby: nobody's promise would count on the peer: there is no arbiter, and this node's guard is shorter
    /// than its.
    PeerVoteless,
    /// Takeover: nobody's promise would count here: there is no arbiter, and the peer's guard is shorter.
    Voteless,
    /// This node is leaving, or not clean yet.
    NotInService,
    /// `--peer-is-off`: there is no arbiter, and a silent peer's vote isn't needed.
    NoArbiter,
    /// `--peer-is-off`: this node hears the peer, or has not listened for long enough to tell.
    PeerHeard,
    /// `--peer-is-off`: the arbiter hears the peer.
    ArbiterHearsPeer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchGroup => f.write_str("there is no such resource group in haresources"),
            Self::NothingHeld => f.write_str("this node runs nothing that could go to the peer"),
            Self::AlreadyHeld => f.write_str("this node runs it already"),
            Self::PeerAbsent { state } => {
                write!(f, "the peer is {}: nobody could take over", state.name())
            }
            Self::PeerDeaf => f.write_str("the peer is heard but does not hear this node"),
            Self::Mismatch => {
                f.write_str("the two nodes' haresources differ: make them the same first")
            }
            Self::PeerFailed { .. } => {
                f.write_str("its start failed on the peer: mend that, then run `hb takeover` there")
            }
            Self::PeerVoteless => f.write_str(
                "the peer could not run it: it has no arbiter, and its guard is longer than this node's. Set \
                 the same guard on both",
            ),
            Self::Voteless => f.write_str(
                "this node could not run it: the arbiter is not heard, and the peer's guard is shorter than this \
                 node's. Set the same guard on both",
            ),
            Self::NotInService => f.write_str("this node is starting or leaving"),
            Self::NoArbiter => f.write_str(
                "there is no arbiter: a silent peer's vote is not needed, `hb takeover` is enough",
            ),
            Self::PeerHeard => f.write_str(
                "this node hears the peer, or has not listened for deadtime yet: the peer is not off",
            ),
            Self::ArbiterHearsPeer => {
                f.write_str("the arbiter hears the peer: it is not off, only its links are cut")
            }
        }
    }
}

impl core::error::Error for Refusal {}

impl Node {
    /// Hands `group` (or everything that runs here) to the peer. The number of groups concerned.
    ///
    /// The peer keeps them when this node could have them back, until it dies, leaves or is told otherwise.
    ///
    /// # Errors
    /// Why nothing is done.
    pub fn request_standby(
        &mut self,
        now: Instant,
        group: Option<GroupId>,
    ) -> Result<usize, Refusal> {
        let held = |node: &Self, id| node.d.ledger.stance(id) == Stance::Running;
        let groups = self.concerned(group, held, Refusal::NothingHeld)?;
        self.partner_or_refusal(now)?;
        if let Some(group) = groups.iter().find(|&group| !self.peer_can_take(now, group)) {
            let voteless = self.d.facts.is_some_and(|facts| facts.voteless);
            return Err(if voteless {
                Refusal::PeerVoteless
            } else {
                Refusal::PeerFailed { group }
            });
        }
        for group in groups.iter() {
            self.d.plans[group.index()].standby = true;
        }
        self.d.hello_due = true;
        Ok(groups.len())
    }

    /// Brings `group` (or everything) here. Forgets failed starts. The number of groups concerned.
    ///
    /// # Errors
    /// Why nothing is done.
    pub fn request_takeover(
        &mut self,
        now: Instant,
        group: Option<GroupId>,
    ) -> Result<usize, Refusal> {
        let lacking = |node: &Self, id| node.d.ledger.stance(id) != Stance::Running;
        let groups = self.concerned(group, lacking, Refusal::AlreadyHeld)?;
        if !self.d.peer.state().is_gone() {
            self.partner_or_refusal(now)?;
            if !self.has_vote(now) {
                return Err(Refusal::Voteless);
            }
        }
        for group in groups.iter() {
            let plan = &mut self.d.plans[group.index()];
            (plan.wanted, plan.yielded, plan.standby) = (true, false, false);
            self.d.groups[group.index()].clear_failure();
        }
        self.d.hello_due = true;
        Ok(groups.len())
    }

    /// `takeover --peer-is-off` (R14): a human's vote in place of the peer's, for everything that doesn't
    /// run here. It counts when this node's own promise to the peer has ended, and until the peer is heard
    /// or this life ends. The number of groups concerned.
    ///
    /// Where guard is unbounded, this node's promise to the peer ends at once: nothing but evidence that
    /// the peer's machine is off ends it, and the human's word is that.
    ///
    /// # Errors
    /// Why nothing is done.
    pub fn request_takeover_peer_is_off(&mut self, now: Instant) -> Result<usize, Refusal> {
        let lacking = |node: &Self, id| node.d.ledger.stance(id) != Stance::Running;
        let groups = self.concerned(None, lacking, Refusal::AlreadyHeld)?;
        if self.config.arbiter.is_none() {
            return Err(Refusal::NoArbiter);
        }
        let peer = &self.d.peer;
        let silent_since = peer.heard_at().unwrap_or(Instant::ZERO).max(peer.attentive_since());
        if now.since(silent_since) < peer.deadtime(&self.config.timing) {
            return Err(Refusal::PeerHeard);
        }
        let seen = self.d.arbiter.status.filter(|_| self.d.arbiter.state == ArbiterState::Present);
        if seen.is_some_and(|status| status.nodes[self.config.me.peer().index()].heard) {
            return Err(Refusal::ArbiterHearsPeer);
        }
        for group in groups.iter() {
            self.d.human |= 1 << group.0;
            let plan = &mut self.d.plans[group.index()];
            plan.yielded = false;
            // From here on it is taken because of that word, whatever it was asked for before.
            plan.acquiring = plan.acquiring.map(|_| (Cause::Takeover, now, None));
            self.d.groups[group.index()].clear_failure();
        }
        self.d.human_until = None;
        if self.config.timing.guard == Duration::MAX {
            self.d.ledger.void_promises_to(self.config.me.peer());
        }
        self.d.hello_due = true;
        Ok(groups.len())
    }

    /// Leaves the cluster: stops everything, hands it over, says so, and departs.
    pub fn request_leave(&mut self) {
        self.begin_leaving();
    }

    pub(super) fn begin_leaving(&mut self) {
        if self.d.life == Life::Up {
            self.d.life = Life::Leaving;
            self.d.hello_due = true;
        }
    }

    fn concerned(
        &self,
        group: Option<GroupId>,
        concerns: impl Fn(&Self, GroupId) -> bool,
        none: Refusal,
    ) -> Result<GroupSet, Refusal> {
        if !self.d.clean || self.d.life != Life::Up {
            return Err(Refusal::NotInService);
        }
        if group.is_some_and(|group| group.index() >= self.d.groups.len()) {
            return Err(Refusal::NoSuchGroup);
        }
        let all = self.d.ledger.groups().filter(|&id| group.is_none_or(|one| one == id));
        let set = all.filter(|&id| concerns(self, id)).fold(0, |set: u16, id| set | 1 << id.0);
        if set == 0 { Err(none) } else { Ok(GroupSet(set)) }
    }

    fn partner_or_refusal(&self, now: Instant) -> Result<(), Refusal> {
        let state = self.d.peer.state();
        if !matches!(state, PeerState::Alive | PeerState::Late) {
            return Err(Refusal::PeerAbsent { state });
        }
        if !self.matches() {
            return Err(Refusal::Mismatch);
        }
        if self.peer_is_partner(now) { Ok(()) } else { Err(Refusal::PeerDeaf) }
    }

    /// Departs once everything is stopped and each voter that listens has echoed that it heard so, or had
    /// deadtime to: what it was last told binds it.
    pub(super) fn poll_departure(&mut self, now: Instant) -> Option<Action> {
        if self.d.life == Life::Up || self.d.departed {
            return None;
        }
        if self.d.groups.iter().any(|group| group.phase() != Phase::Stopped) {
            return None;
        }
        if self.d.clean {
            let (first, since) = self.d.left?;
            let lacks = |voter, listens: bool| {
                let echoed = self.d.ledger.voice(voter).and_then(|voice| voice.echoed);
                listens && echoed.is_none_or(|seq| seq < first)
            };
            let peer = matches!(self.d.peer.state(), PeerState::Alive | PeerState::Late);
            let arbiter = self.d.arbiter.state == ArbiterState::Present;
            let unheard = lacks(self.config.me.peer(), peer) || lacks(Voter::Arbiter, arbiter);
            let owed = self.d.links.iter().any(|link| link.owed);
            let waited = now.since(since) >= self.config.timing.deadtime;
            if self.outbox_is_pending() || (unheard || owed) && !waited {
                return None;
            }
        }
        self.d.departed = true;
        Some(Action::Depart {
            restart_above: self.d.restart_above.and_then(BootId::next).and(self.d.restart_above),
        })
    }
}

/// Some groups, one bit each.
#[derive(Clone, Copy)]
struct GroupSet(u16);

impl GroupSet {
    fn iter(self) -> impl Iterator<Item = GroupId> {
        (0..16).map(GroupId).filter(move |&group| has(self.0, group))
    }

    const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}
