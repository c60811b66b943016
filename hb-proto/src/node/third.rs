//! The third voter, as a node sees it: what the arbiter says, what it is asked, what is relayed for it.

#[cfg(feature = "explore")]
mod explore;

use heapless::Vec;

use super::{Accepted, Node, PeerFacts};
use crate::authority::{FrameName, Promisee, Sender};
use crate::config::LinkKind;
use crate::event::Event;
use crate::group::Phase;
use crate::id::{BootId, GroupId, LinkId, Voter};
use crate::mutant::Mutant;
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::message::arbiter::{
    ArbiterMessage, ArbiterSettings, ArbiterStatus, FenceShown, Shown,
};
use crate::wire::message::{Header, Life, Opened, Status, duration_of_ms};
use crate::wire::{MAX_FRAME, Reject};

/// Whether the arbiter is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ArbiterState {
    /// Not heard in this life.
    #[default]
    Absent,
    /// Heard within deadtime, on its line or by relay.
    Present,
    /// Silent for deadtime.
    Lost,
}

impl ArbiterState {
    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Lost => "lost",
        }
    }
}

/// What is known of the arbiter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct ArbiterView {
    pub(super) state: ArbiterState,
    pub(super) heard_at: Option<Instant>,
    /// Since when it is heard without a break.
    pub(super) present_since: Option<Instant>,
    /// When it was heard on its own line.
    pub(super) direct_at: Option<Instant>,
    direct_newest: Option<FrameName>,
    pub(super) status: Option<ArbiterStatus>,
    /// Of its present life.
    pub(super) settings: Option<ArbiterSettings>,
    /// Its number, as last heard in any of its lives; 0 before.
    pub(super) id: u32,
    pub(super) key: Option<u8>,
    /// In which version its newest frame was written.
    version: u8,
    /// The life of the peer that is known to be over, by a confirmed fence.
    pub(super) fenced: Option<BootId>,
    /// Since when the peer is heard but doesn't hear us.
    pub(super) peer_deaf_since: Option<Instant>,
}

impl ArbiterView {
    pub(super) fn rebased(mut self, by: Duration) -> Self {
        let times = [
            &mut self.heard_at,
            &mut self.present_since,
            &mut self.direct_at,
            &mut self.peer_deaf_since,
        ];
        for at in times.into_iter().flatten() {
            *at = at.rebased(by);
        }
        self
    }
}

/// Frames of others that wait to be relayed, the newest of each: state is repeated (protocol.md §5).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Relays {
    /// The peer's, for the arbiter.
    to_arbiter: Vec<u8, MAX_FRAME>,
    /// The arbiter's, for the peer, and the links that have not had it.
    to_peer: Vec<u8, MAX_FRAME>,
    links: u8,
}

impl Node {
    pub(super) fn arbiter_link(&self) -> Option<LinkId> {
        self.config.arbiter.map(|arbiter| arbiter.link)
    }

    /// A frame of the arbiter. Without one configured, it is nobody's.
    pub(super) fn take_arbiter_frame(
        &mut self,
        now: Instant,
        link: LinkId,
        opened: &Opened<'_>,
        frame: &[u8],
    ) -> Result<Accepted, Reject> {
        let line = self.arbiter_link().ok_or(Reject::Meaning)?;
        let header = opened.header;
        let name = FrameName { boot: header.boot, seq: header.seq };
        let known = self.d.ledger.voice(Voter::Arbiter).map(|voice| voice.newest);
        if known.is_some_and(|newest| newest.boot > name.boot) {
            return Err(Reject::Replay);
        }
        let message = opened.arbiter_message()?;
        let view = &mut self.d.arbiter;
        let direct = link == line && view.direct_newest.is_none_or(|newest| newest < name);
        let news = known.is_none_or(|newest| newest < name);
        if !news && !direct {
            return if known == Some(name) { Ok(Accepted::Copy) } else { Err(Reject::Replay) };
        }
        self.look_for_oneself_at_arbiter(message.status());
        if !self.d.clean {
            return Ok(Accepted::TooEarly);
        }
        if direct {
            let view = &mut self.d.arbiter;
            (view.direct_at, view.direct_newest) = (Some(now), Some(name));
            self.relay_to_peer(now, frame);
        }
        if !news {
            return Ok(Accepted::Copy);
        }
        (self.d.arbiter.key, self.d.arbiter.version) = (Some(opened.key), opened.version);
        self.hear_arbiter(now, &header, &message)?;
        Ok(Accepted::First)
    }

    /// R9: the arbiter may know a later life of this node, or frames that this life never sent.
    fn look_for_oneself_at_arbiter(&mut self, status: &ArbiterStatus) {
        let me = self.config.me;
        let echo = status.echoes[Status::echo_slot(Voter::Arbiter, me)];
        if echo.is_some_and(|echo| echo.is_ahead_of(self.boot(), self.d.ledger.newest_seq())) {
            self.heard_oneself(self.boot());
        }
        if let Some(life) = status.nodes[me.index()].boot.filter(|&life| life > self.boot()) {
            self.heard_oneself(life);
        }
    }

    fn hear_arbiter(
        &mut self,
        now: Instant,
        header: &Header,
        message: &ArbiterMessage,
    ) -> Result<(), Reject> {
        let former = self.d.ledger.voice(Voter::Arbiter).map(|voice| voice.newest.boot);
        if former != Some(header.boot) {
            self.d.arbiter.settings = None;
            self.d.hello_due = true;
        }
        let status = *message.status();
        if let ArbiterMessage::Hello(hello) = message {
            self.d.arbiter.settings = Some(hello.settings);
            // The peer compares this number with its own (R2).
            self.d.hello_due |= self.d.arbiter.id != hello.settings.id;
            self.d.arbiter.id = hello.settings.id;
        }
        let (lease, full) = (self.arbiter_lease(), self.d.ledger.terms().full);
        let seen = status.for_node(self.config.me);
        // It asks for nothing: `full` is not needed.
        self.d.ledger.process(now, header, &seen, &Sender { lease, full, may_promise: true })?;
        let view = &mut self.d.arbiter;
        if view.state != ArbiterState::Present || former != Some(header.boot) {
            view.present_since = Some(now);
        }
        (view.heard_at, view.status) = (Some(now), Some(status));
        self.note_arbiter_state(ArbiterState::Present);
        self.note_fence(&status);
        let peer = &status.nodes[self.config.me.peer().index()];
        if peer.heard {
            self.human_meets_peer(now, None);
        }
        Ok(())
    }

    /// R14: what a voter promises counts only if it is bound for as long as this node could run beyond its
    /// authority. Whoever grows its guard waits for its givers.
    pub(super) fn usable_lease(&self, lease: Duration, guard: Duration) -> Duration {
        if guard >= self.config.timing.guard { lease } else { Duration::ZERO }
    }

    fn arbiter_lease(&self) -> Duration {
        self.d.arbiter.settings.map_or(Duration::ZERO, |settings| {
            self.usable_lease(duration_of_ms(settings.lease_ms), duration_of_ms(settings.guard_ms))
        })
    }

    /// Whether somebody is there whose promise would count here: the peer, bound for long enough, or the
    /// arbiter. Without, this node couldn't run what it is given, and leaves it where it is (R11).
    pub(super) fn has_vote(&self, now: Instant) -> bool {
        let counts = |facts: &PeerFacts| self.usable_lease(facts.lease, facts.guard);
        self.config.arbiter.is_none()
            || self.d.facts.as_ref().is_none_or(|facts| counts(facts) > Duration::ZERO)
            || self.d.ledger.is_fresh(Voter::Arbiter, now) && self.arbiter_lease() > Duration::ZERO
    }

    /// R12: the arbiter has evidence that a life of the peer is over. It ends this node's promise to that
    /// life, if this node knows it for the peer's newest, and knows that since its own start: what a former
    /// life promised may be in use by a later one. A life that is heard here is not over.
    fn note_fence(&mut self, status: &ArbiterStatus) {
        let peer = self.config.me.peer();
        let seen = &status.nodes[peer.index()];
        let Some(boot) = seen.boot.filter(|_| seen.fence == FenceShown::Confirmed) else {
            // Not any more, perhaps: then what is confirmed next is news.
            self.d.arbiter.fenced = None;
            return;
        };
        let voice = self.d.ledger.voice(peer);
        let known = voice.is_some_and(|v| v.echoed.is_some() && v.newest.boot == boot);
        let heard = !self.d.peer.state().is_gone();
        if known && !heard && self.d.arbiter.fenced != Some(boot) {
            self.d.arbiter.fenced = Some(boot);
            self.d.ledger.void_promises_to(peer);
            self.tell(Event::Fenced { boot });
        }
    }

    pub(super) fn judge_arbiter(&mut self, now: Instant) {
        let deadtime = self.config.timing.deadtime;
        let silent = self.d.arbiter.heard_at.is_some_and(|at| now.since(at) >= deadtime);
        if silent {
            self.note_arbiter_state(ArbiterState::Lost);
        }
        let peer = self.config.me.peer();
        let heard = matches!(self.d.peer.state(), PeerState::Alive | PeerState::Late);
        // A peer that falls silent is dead after deadtime. Deaf is one that goes on talking past us: whose
        // newest frame was not fresh when it came.
        let unfresh = self.d.ledger.voice(peer).is_some_and(|voice| voice.fresh_until <= voice.at);
        let deaf = heard && unfresh;
        let since = &mut self.d.arbiter.peer_deaf_since;
        *since = if deaf { since.or(Some(now)) } else { None };
        if self.d.human_until.is_some_and(|until| until <= now) {
            (self.d.human, self.d.human_until) = (0, None);
        }
    }

    /// When [`Node::judge_arbiter`] has something to do.
    pub(super) fn arbiter_due(&self) -> Option<Instant> {
        self.config.arbiter?;
        let timing = &self.config.timing;
        let view = &self.d.arbiter;
        let silent = view.heard_at.map(|at| at + timing.deadtime);
        let direct = view.direct_at.map(|at| at + timing.deadtime);
        let deaf = view.peer_deaf_since.map(|at| at + self.deaf_patience());
        let fresh = self.d.ledger.voice(Voter::Arbiter).map(|voice| voice.fresh_until);
        [silent, direct, deaf, fresh, self.d.human_until]
            .into_iter()
            .flatten()
            .filter(|&at| at > self.d.decided_at)
            .min()
    }

    fn deaf_patience(&self) -> Duration {
        self.config.timing.keepalive.times(2)
    }

    /// R11: the peer is heard and hasn't heard us for a while: with an arbiter this node may ask.
    pub(super) fn peer_is_deaf(&self, now: Instant) -> bool {
        let since = self.d.arbiter.peer_deaf_since;
        self.config.arbiter.is_some()
            && since.is_some_and(|at| now.since(at) >= self.deaf_patience())
    }

    fn note_arbiter_state(&mut self, state: ArbiterState) {
        if core::mem::replace(&mut self.d.arbiter.state, state) != state {
            self.tell(Event::Arbiter { state });
        }
    }

    /// The newest version that the arbiter has shown to understand; none while it isn't heard.
    pub(super) fn arbiter_understands(&self) -> Option<u8> {
        let view = &self.d.arbiter;
        let announced = view.settings.map_or(0, |settings| settings.current_version);
        (view.state == ArbiterState::Present).then_some(announced.max(view.version))
    }

    pub(super) fn hears_arbiter_directly(&self, now: Instant) -> bool {
        let deadtime = self.config.timing.deadtime;
        self.d.arbiter.direct_at.is_some_and(|at| now.since(at) < deadtime)
    }

    /// Whether both nodes announce the same arbiter (R2).
    #[must_use]
    pub fn agrees_on_arbiter(&self) -> bool {
        self.config.arbiter.is_some()
            && self.d.facts.is_some_and(|facts| facts.arbiter == Some(self.d.arbiter.id))
    }

    /// R12: the life of the peer that the arbiter is asked to reset. Only while a promise to the peer
    /// stands in the way of a group that this node would take, or an operator wants it, and the peer is silent for
    /// deadtime. Never where nobody said that reset lines are wired.
    pub(super) fn fence_request(&self, now: Instant) -> Option<BootId> {
        let peer = self.config.me.peer();
        self.config.arbiter.filter(|arbiter| arbiter.fences)?;
        let ready = self.d.life == Life::Up
            && self.d.peer.state() == PeerState::Dead
            && self.d.ledger.is_fresh(Voter::Arbiter, now);
        let boot = self.d.ledger.voice(peer)?.newest.boot;
        let in_the_way = |group: GroupId| {
            let here = &self.d.groups[group.index()];
            let promised = self.d.ledger.promises(group).promised_to(now);
            here.phase() == Phase::Stopped
                && !here.has_failed()
                && (promised == Some(Promisee::To(peer)) || self.withheld(group).is_some())
        };
        let wanted = self.d.fence_wanted == Some(boot);
        (ready && (wanted || self.d.ledger.groups().any(in_the_way))).then_some(boot)
    }

    /// What the arbiter's newest frame shows for a group, if that keeps this node from it.
    pub(super) fn withheld(&self, group: GroupId) -> Option<Shown> {
        let shown = self.d.arbiter.status?.promisees.shown(group);
        let mine = shown.promisee() == Some(self.config.me);
        (shown != Shown::Nobody && !mine).then_some(shown)
    }

    /// R13: this node may be reset when the arbiter doesn't hear it any more.
    pub(super) fn arms_external_watchdog(&self) -> bool {
        self.config.arbiter.is_some_and(|arbiter| arbiter.external_watchdog)
            && self.d.groups.iter().any(|group| group.phase() != Phase::Stopped)
    }

    // ---- the human's vote (R14)

    /// Over by its time, whether or not a turn has noticed: a turn may stall before its actions leave.
    pub(super) fn human_votes(&self, group: GroupId, now: Instant) -> bool {
        self.d.human >> group.0 & 1 == 1 && self.d.human_until.is_none_or(|until| now < until)
    }

    /// The peer is there after all: what it asks for or runs, no human can vote away. Otherwise it has a
    /// lease to answer, as at any contact.
    pub(super) fn human_meets_peer(&mut self, now: Instant, message: Option<&Status>) {
        if self.d.human == 0 || self.d.ledger.is_broken(Mutant::R14Outlives) {
            return;
        }
        let until = now + self.config.timing.lease;
        self.d.human_until.get_or_insert(until);
        for group in self.d.ledger.groups() {
            let asked = message.is_some_and(|status| status.groups.state(group).asks());
            let counted = self.d.ledger.promises(group).counted_until(self.config.me.peer()) > now;
            if asked || counted {
                self.d.human &= !(1 << group.0);
            }
        }
        if self.d.human == 0 {
            self.d.human_until = None;
        }
    }

    // ---- relays, on demand (§5)

    /// The peer's frame, for an arbiter that shows that it doesn't hear it directly.
    pub(super) fn relay_to_arbiter(&mut self, now: Instant, link: LinkId, frame: &[u8]) {
        let peer = self.config.me.peer();
        let Some(line) = self.arbiter_link().filter(|&line| line != link) else { return };
        let lacks = self.d.arbiter.status.is_some_and(|s| !s.nodes[peer.index()].direct);
        if lacks && self.hears_arbiter_directly(now) && line.index() < self.d.links.len() {
            self.d.relays.to_arbiter.clear();
            // As long as the longest frame.
            let _ = self.d.relays.to_arbiter.extend_from_slice(frame);
        }
    }

    /// The arbiter's frame, for a peer that has one configured and shows that it doesn't hear it directly.
    fn relay_to_peer(&mut self, _now: Instant, frame: &[u8]) {
        let wants = self.d.facts.is_some_and(|facts| facts.arbiter.is_some());
        if !wants || self.d.peer_hears_arbiter || self.d.peer.state().is_gone() {
            return;
        }
        self.d.relays.to_peer.clear();
        let _ = self.d.relays.to_peer.extend_from_slice(frame);
        let networks = self.config.links.iter().enumerate();
        let networks = networks.filter(|(_, kind)| !matches!(kind, LinkKind::Serial { .. }));
        self.d.relays.links = networks.fold(0, |set, (at, _)| set | 1 << at);
    }

    /// The next frame to relay, if its line is free.
    pub(super) fn poll_relay(
        &mut self,
        now: Instant,
        frame: &mut [u8; MAX_FRAME],
    ) -> Option<(LinkId, usize)> {
        if let Some(line) = self.arbiter_link()
            && !self.d.relays.to_arbiter.is_empty()
            && self.d.links[line.index()].busy_until <= now
        {
            let len = self.d.relays.to_arbiter.len();
            frame[..len].copy_from_slice(&self.d.relays.to_arbiter);
            self.d.relays.to_arbiter.clear();
            return Some((line, len));
        }
        let at = (0..self.d.links.len()).find(|at| self.d.relays.links >> at & 1 == 1)?;
        self.d.relays.links &= !(1 << at);
        let len = self.d.relays.to_peer.len();
        frame[..len].copy_from_slice(&self.d.relays.to_peer);
        Some((LinkId(at as u8), len))
    }

    /// When a frame that waits for the arbiter's line can be relayed.
    pub(super) fn relay_due(&self) -> Option<Instant> {
        let line = self.arbiter_link()?;
        let waits = !self.d.relays.to_arbiter.is_empty();
        waits.then(|| self.d.links[line.index()].busy_until)
    }
}
