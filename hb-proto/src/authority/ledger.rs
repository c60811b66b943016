//! What every voter does with every frame: who was heard, what is fresh, what is promised and counted.
//!
//! Nodes and arbiter share it; what they *want* (policy) is theirs, and reaches it as a [`Stance`].

#[cfg(feature = "explore")]
mod explore;

use heapless::Vec;

use super::promises::{FrameName, Promisee, Promises};
use super::request::{Part, Request, Stance};
use super::voice::{Processed, Sender, Voice};
use crate::config::MAX_GROUPS;
use crate::id::{BootId, GroupId, Voter};
use crate::mutant::Mutant;
use crate::time::{Duration, Instant};
use crate::wire::Reject;
use crate::wire::message::arbiter::{Promisees, Shown};
use crate::wire::message::{Echo, GroupState, GroupStates, Header, Status, next_seq};

/// Frames whose sending time is remembered. An echo of an older one is not fresh, which is the safe
/// side: at 100 ms they reach back 6.4 s, and an echo is rarely older than one keepalive.
pub const MAX_SENT: usize = 64;

/// The terms on which promises are given and counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Terms {
    /// How long after sending a frame a promise that answers it may be used.
    pub lease: Duration,
    /// How long a promise binds its giver.
    pub full: Duration,
}

/// A frame that was sent, in 12 bytes: there are many, and a dongle has little RAM.
#[repr(C, packed(4))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Sent {
    seq: u32,
    at: Instant,
}

/// One voter's decision state about all groups.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ledger<P = Request> {
    me: Voter,
    boot: BootId,
    terms: Terms,
    seq: u32,
    sent: Vec<Sent, MAX_SENT>,
    /// Where the oldest of them is, once there are so many.
    oldest: u8,
    voices: [Option<Voice>; Voter::COUNT],
    promises: Vec<Promises<P>, MAX_GROUPS>,
    homes: Vec<Voter, MAX_GROUPS>,
    #[cfg(feature = "mutants")]
    broken: Option<Mutant>,
}

impl Ledger {
    /// A node's life's beginning (R8): every group already promised to `to`, for `full`.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // They are its own from here on.
    pub fn new(
        me: Voter,
        boot: BootId,
        homes: Vec<Voter, MAX_GROUPS>,
        terms: Terms,
        to: Promisee,
        now: Instant,
    ) -> Self {
        let mut ledger = Self::without_groups(me, boot, terms);
        ledger.begin_with(&homes, now, |_| to);
        ledger
    }
}

impl<P: Part> Ledger<P> {
    /// Without its groups: nothing is in its tables yet, so nothing of them is copied when it is moved.
    #[inline(always)]
    pub(crate) const fn without_groups(me: Voter, boot: BootId, terms: Terms) -> Self {
        Self {
            me,
            boot,
            terms,
            seq: 0,
            sent: Vec::new(),
            oldest: 0,
            voices: [None; Voter::COUNT],
            promises: Vec::new(),
            homes: Vec::new(),
            #[cfg(feature = "mutants")]
            broken: None,
        }
    }

    /// R8: gives a new ledger its groups; this life begins bound to whom `to` says for each of them, for `full`.
    pub(crate) fn begin_with(
        &mut self,
        homes: &[Voter],
        now: Instant,
        to: impl Fn(GroupId) -> Promisee,
    ) {
        let free = self.is_broken(Mutant::R8Free);
        let until = if free { Instant::ZERO } else { now + self.terms.full };
        for (at, &home) in homes.iter().enumerate().take(MAX_GROUPS) {
            // Both have room for as many.
            let _ = self.promises.push(Promises::starting(to(GroupId(at as u8)), until));
            let _ = self.homes.push(home);
        }
    }

    /// For a test that wants to see who notices.
    #[cfg(feature = "mutants")]
    pub fn break_rule(&mut self, rule: Option<Mutant>) {
        self.broken = rule;
        if self.is_broken(Mutant::R8Free) && self.seq == 0 {
            self.promises
                .iter_mut()
                .for_each(|p| *p = Promises::starting(Promisee::Unknown, Instant::ZERO));
        }
    }

    /// For a test that can't wait for the end of the numbers.
    #[cfg(feature = "mutants")]
    pub const fn skip_to(&mut self, seq: u32) {
        self.seq = seq;
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn is_broken(&self, rule: Mutant) -> bool {
        self.broken == Some(rule)
    }

    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self)] // The other one, which tests use, needs it.
    pub(crate) const fn is_broken(&self, _rule: Mutant) -> bool {
        false
    }

    /// R8: the promises that this life begins with last at least until then.
    pub fn starting_promises_last_until(&mut self, until: Instant) {
        self.promises.iter_mut().for_each(|promises| promises.starting_lasts_until(until));
    }

    /// R8: what this life began with was learnt to be longer than thought, by a voter that was there
    /// before: groups that were taken for free since are bound again.
    pub fn starting_promises_lasted_until(&mut self, now: Instant, until: Instant) {
        self.promises.iter_mut().for_each(|promises| promises.starting_lasted_until(now, until));
    }

    /// R14: nothing that this life began with is of use to anybody after then.
    pub fn starting_promises_end_by(&mut self, until: Instant) {
        self.promises.iter_mut().for_each(|promises| promises.starting_ends_by(until));
    }

    /// R14: the terms change. What was promised on others ends as it was promised.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// The terms in force.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// An arbiter learns from a node where a group is at home (R4).
    pub fn set_home(&mut self, group: GroupId, home: Voter) {
        if let Some(known) = self.homes.get_mut(group.index()) {
            *known = home;
        }
    }

    /// R8: an arbiter that has heard nobody may have been elsewhere, and another in its place: every group
    /// is promised to *unknown* at least until then, and nothing else is remembered of who was promised.
    pub fn forget_promisees(&mut self, until: Instant) {
        self.promises.iter_mut().for_each(|promises| promises.forget(until));
        // An answer from before says nothing of what began since (R5).
        self.voices.iter_mut().flatten().for_each(|voice| voice.echoed = None);
    }

    /// This life's id.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// Who this is.
    #[must_use]
    pub fn me(&self) -> Voter {
        P::ME.unwrap_or(self.me)
    }

    /// What is known of another voter.
    #[must_use]
    pub const fn voice(&self, of: Voter) -> Option<&Voice> {
        self.voices[of.index()].as_ref()
    }

    /// The promises of one group. Panics for a group that doesn't exist: group ids come from the configuration.
    #[must_use]
    pub fn promises(&self, group: GroupId) -> &Promises<P> {
        &self.promises[group.index()]
    }

    /// What this voter does about a group.
    #[must_use]
    pub fn stance(&self, group: GroupId) -> Stance {
        self.promises(group).stance()
    }

    /// All group ids.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + use<P> {
        (0..self.promises.len() as u8).map(GroupId)
    }

    /// Changes what this voter does about a group (R3). To run, it must have asked.
    pub fn set_stance(&mut self, group: GroupId, stance: Stance) {
        let first = next_seq(self.seq).unwrap_or(u32::MAX);
        self.promises[group.index()].set_stance(stance, first);
    }

    /// Handover: confirmed stopped, this node binds itself to its peer in the frame that says so (R11).
    pub fn hand_over(&mut self, group: GroupId, now: Instant) {
        self.set_stance(group, Stance::Idle);
        let peer = self.me().peer();
        self.promises[group.index()].bind(peer, now, self.terms.full);
    }

    /// What was promised to it is void: by a confirmed fence (R12), or in classic mode by its death (R2).
    pub fn void_promises_to(&mut self, voter: Voter) {
        self.promises.iter_mut().for_each(|promises| promises.void(voter));
    }

    /// R12: a node that was taken for over is heard. Until its silence or its answer shows what it is, this voter
    /// is bound to it again, but for what somebody else got meanwhile. Shown to nobody (R6).
    pub fn bind_what_is_free(&mut self, to: Voter, now: Instant) {
        let full = self.terms.full;
        self.promises.iter_mut().for_each(|promises| promises.bind(to, now, full));
    }

    /// R12: there is evidence that this life of a node is over: its last frame asks for nothing any more.
    pub fn is_over(&mut self, node: Voter) {
        self.void_promises_to(node);
        if let Some(voice) = &mut self.voices[node.index()] {
            voice.fresh_until = Instant::ZERO;
        }
    }

    /// R2 for three voters: nothing promised, and the peer's or the arbiter's promise unexpired.
    #[must_use]
    pub fn authorised(&self, group: GroupId, now: Instant) -> bool {
        let promises = self.promises(group);
        if self.is_broken(Mutant::R2Promised) {
            return Voter::ALL.iter().any(|&by| promises.counted_until(by) > now);
        }
        promises.authorised(self.me(), now)
    }

    /// Whether `of`'s newest frame is still fresh (protocol.md §2).
    #[must_use]
    pub fn is_fresh(&self, of: Voter, now: Instant) -> bool {
        self.voice(of).is_some_and(|voice| voice.fresh_until > now)
    }

    /// Processes a status that passed all checks up to replay.
    ///
    /// `now` must have been read after the frame was (R6).
    ///
    /// # Errors
    /// [`Reject::Replay`] for a frame not newer than the newest of its sender.
    pub fn process(
        &mut self,
        now: Instant,
        header: &Header,
        status: &Status,
        sender: &Sender,
    ) -> Result<Processed, Reject> {
        let from = header.sender;
        let frame = FrameName { boot: header.boot, seq: header.seq };
        let former = self.voices[from.index()];
        if former.is_some_and(|voice| voice.newest >= frame) {
            return Err(Reject::Replay);
        }
        let echo = status.echoes[Status::echo_slot(from, self.me())];
        let answered = echo.and_then(|echo| self.sent_frame(echo));
        let fresh_until = answered.map_or(Instant::ZERO, |(_, sent_at)| sent_at + self.terms.lease);
        let processed = Processed {
            new_life: former.is_none_or(|voice| voice.newest.boot != frame.boot),
            fresh: fresh_until > now,
        };
        let same_life = former.filter(|_| !processed.new_life);
        self.voices[from.index()] = Some(Voice {
            newest: frame,
            at: now,
            fresh_until,
            groups: status.groups,
            life: status.life,
            hears: status.hears,
            echoed: answered.map(|(seq, _)| seq).max(same_life.and_then(|voice| voice.echoed)),
            wants_hello: status.wants_hello,
        });
        // Numbers that mean different groups to the two release nothing either, unless the sender neither
        // runs nor asks for any.
        let none_asked = !self.groups().any(|group| status.groups.state(group).asks());
        let comparable = sender.may_promise || none_asked;
        for group in self.groups() {
            if processed.new_life {
                // A life that is merely new to this young one may be the one that counts what a former
                // life of this voter promised (R8). It is not if the life before it still answered this one.
                let began_since = former.is_some_and(|voice| voice.echoed.is_some());
                let ends = processed.fresh && began_since;
                self.promises[group.index()].new_life_of(from, ends);
            }
            let state = status.groups.state(group);
            let unfresh = Mutant::R4Unfresh;
            let stale = self.is_broken(Mutant::R5Stale) && !state.asks();
            let answers = processed.fresh || self.is_broken(unfresh) && state.asks() || stale;
            if answers && (comparable || state.asks()) {
                self.answer(group, from, state, frame, now, sender);
            } else if comparable && !state.asks() {
                self.promises[group.index()].released_later(from, frame);
            }
            if let (GroupState::Promised, Some((seq, sent_at)), true) =
                (state, answered, sender.may_promise)
            {
                let seq = if self.is_broken(Mutant::R7Earlier) { u32::MAX } else { seq };
                let lease = sender.lease.min(self.terms.lease);
                self.promises[group.index()].count(from, seq, sent_at, lease);
            }
        }
        Ok(processed)
    }

    /// Whether the newest frame of a node is fresh still and asks for a group that is promised to nobody.
    #[must_use]
    pub fn asks_for_what_is_free(&self, from: Voter, now: Instant) -> bool {
        let voice = self.voice(from).filter(|voice| voice.fresh_until > now);
        let asks = |group| voice.is_some_and(|voice| voice.groups.state(group).asks());
        self.groups().any(|group| asks(group) && self.promises(group).promised_to(now).is_none())
    }

    /// R4 for a node's newest frame, once more: what stood in its way has ended. No newer one was processed,
    /// so this is no other than that frame's having taken longer.
    pub fn answer_again(&mut self, now: Instant, from: Voter, sender: &Sender) {
        let Some(voice) = self.voice(from).copied() else { return };
        for group in self.groups() {
            let state = voice.groups.state(group);
            let free = self.promises(group).promised_to(now).is_none();
            if free && state.asks() && voice.fresh_until > now {
                self.answer(group, from, state, voice.newest, now, sender);
            }
        }
    }

    /// R4 and R5 for one group of a fresh frame.
    fn answer(
        &mut self,
        group: GroupId,
        from: Voter,
        state: GroupState,
        frame: FrameName,
        now: Instant,
        sender: &Sender,
    ) {
        if !from.is_node() {
            return;
        }
        if !state.asks() {
            self.promises[group.index()].released_by(from);
            return;
        }
        let gives_way = match self.stance(group) {
            Stance::Idle => true,
            Stance::Running => false,
            Stance::Asking => state == GroupState::Running || self.homes[group.index()] == from,
        };
        if sender.may_promise
            && gives_way
            && (self.promises[group.index()].may_promise(from, now)
                || self.is_broken(Mutant::R1Two))
            && !self.outranked(group, from, now)
        {
            if self.stance(group) == Stance::Asking {
                self.set_stance(group, Stance::Idle);
            }
            let mut full = sender.full;
            if self.is_broken(Mutant::R4NoGuard) {
                full = self.terms.lease;
            }
            if self.is_broken(Mutant::R1Two) {
                self.promises[group.index()].released_by(from.peer());
            }
            self.promises[group.index()].promise(from, frame, now, full);
        }
    }

    /// The arbiter between two fresh askers: running beats home (R4). A node has one other node only.
    fn outranked(&self, group: GroupId, from: Voter, now: Instant) -> bool {
        let rival = from.peer();
        if rival == self.me() || !self.is_fresh(rival, now) {
            return false;
        }
        let state_of =
            |voter| self.voice(voter).map_or(GroupState::Idle, |voice| voice.groups.state(group));
        match (state_of(from), state_of(rival)) {
            (GroupState::Running, _) | (_, GroupState::Idle | GroupState::Promised) => false,
            (_, GroupState::Running) => true,
            (_, GroupState::Asking) => self.homes[group.index()] == rival,
        }
    }

    /// Number and sending time of the frame of this life that `echo` names, if it is remembered.
    fn sent_frame(&self, echo: Echo) -> Option<(u32, Instant)> {
        let found = self.sent.iter().rev().find(|sent| echo.names(self.boot, sent.seq));
        found.map(|sent| (sent.seq, sent.at))
    }

    /// Numbers the next status, to be written after `now`; `None` when a new life must begin first.
    pub fn stamp(&mut self, now: Instant) -> Option<u32> {
        self.seq = next_seq(self.seq)?;
        let stamped = Sent { seq: self.seq, at: now };
        if self.sent.push(stamped).is_err() {
            let oldest = usize::from(self.oldest) % MAX_SENT;
            self.sent[oldest] = stamped;
            self.oldest = (oldest as u8 + 1) % MAX_SENT as u8;
        }
        Some(self.seq)
    }

    /// Number of the newest frame of this life; 0 before the first.
    #[must_use]
    pub const fn newest_seq(&self) -> u32 {
        self.seq
    }

    /// What the next status says of whom it heard.
    #[must_use]
    pub fn echoes(&self) -> [Option<Echo>; 2] {
        let mut echoes = [None; 2];
        for of in Voter::ALL {
            if of != self.me() {
                let newest = self.voice(of).map(|voice| voice.newest);
                echoes[Status::echo_slot(self.me(), of)] =
                    newest.map(|frame| Echo::of(frame.boot, frame.seq));
            }
        }
        echoes
    }

    /// What the next status of this *node* shows for every group (R3, R6).
    #[must_use]
    pub fn shown(&self, now: Instant) -> GroupStates {
        let mut shown = GroupStates::default();
        let echoed = self.voice(self.me().peer()).map(|voice| voice.newest);
        for group in self.groups() {
            let state = match self.stance(group) {
                Stance::Running => GroupState::Running,
                Stance::Asking => GroupState::Asking,
                Stance::Idle if self.shows(group, self.me().peer(), echoed, now) => {
                    GroupState::Promised
                }
                Stance::Idle => GroupState::Idle,
            };
            shown.set(group, state);
        }
        shown
    }

    fn shows(&self, group: GroupId, to: Voter, echoed: Option<FrameName>, now: Instant) -> bool {
        let promises = self.promises(group);
        if self.is_broken(Mutant::R6Unrenewed) {
            return promises.promised_to(now) == Some(Promisee::To(to));
        }
        promises.shows_to(to, echoed, now)
    }

    /// What the next status of this *arbiter* shows for every group: counted by a node only if the frame
    /// of its that this one echoes renewed it (R6).
    #[must_use]
    pub fn shown_promisees(&self, now: Instant) -> Promisees {
        self.promisees_if(now, true)
    }

    /// To whom every group is promised, shown or not; *unknown* is [`Shown::Withheld`].
    #[must_use]
    pub fn promisees(&self, now: Instant) -> Promisees {
        self.promisees_if(now, false)
    }

    #[inline(never)]
    fn promisees_if(&self, now: Instant, if_renewed: bool) -> Promisees {
        let mut shown = Promisees::default();
        for group in self.groups() {
            let promises = self.promises(group);
            let state = match promises.promised_to(now) {
                None => Shown::Nobody,
                Some(Promisee::To(node)) => {
                    let echoed = self.voice(node).map(|voice| voice.newest);
                    let renewed = !if_renewed || self.shows(group, node, echoed, now);
                    if renewed { Shown::to(node) } else { Shown::Withheld }
                }
                Some(Promisee::Unknown) => Shown::Withheld,
            };
            shown.set(group, state);
        }
        shown
    }

    /// Forgets promises whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.promises.iter_mut().for_each(|promises| promises.expire(now));
    }

    /// The same as seen from an epoch that lies `by` later.
    #[must_use]
    pub fn rebased(mut self, by: Duration) -> Self {
        for sent in &mut self.sent {
            sent.at = { sent.at }.rebased(by);
        }
        for voice in self.voices.iter_mut().flatten() {
            voice.at = voice.at.rebased(by);
            voice.fresh_until = voice.fresh_until.rebased(by);
        }
        for promises in &mut self.promises {
            *promises = promises.rebased(by);
        }
        self
    }
}
