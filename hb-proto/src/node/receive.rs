//! What arrives.

use super::{Node, PeerFacts};
use crate::authority::{FrameName, Processed, Sender, Stance};
use crate::event::Event;
use crate::id::{BootId, GroupId, LinkId, Voter};
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::Reject;
use crate::wire::message::{self, GroupState, Header, Hello, Life, Message, Status};

/// What a frame was good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Accepted {
    /// The first copy: processed.
    First,
    /// A later copy of a frame that came by another link: it shows that this link works.
    Copy,
    /// This node is not clean yet: it hears nobody (R9).
    TooEarly,
}

impl Node {
    /// One frame, as it came off link `link` (without line encoding). `now` was read after the frame.
    ///
    /// # Errors
    /// Why it was dropped; counted and told as an event.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        link: LinkId,
        frame: &[u8],
    ) -> Result<Accepted, Reject> {
        let result = self.take_frame(now, link, frame);
        if let Err(reason) = result {
            self.count_reject(link, reason);
        }
        result
    }

    fn take_frame(&mut self, now: Instant, link: LinkId, frame: &[u8]) -> Result<Accepted, Reject> {
        let opened = message::open_in(self.versions, frame, &self.keys)?;
        let header = opened.header;
        if header.sender == self.config.me {
            // Our own newest frame, looped back, is no news; a later one is somebody else's, if it is one.
            let newer = header.boot == self.boot() && header.seq > self.d.ledger.newest_seq();
            if newer || header.boot > self.boot() {
                opened.message()?;
                self.heard_oneself(header.boot);
            }
            return Err(Reject::Own);
        }
        if header.sender == Voter::Arbiter {
            return self.take_arbiter_frame(now, link, &opened, frame);
        }
        let name = FrameName { boot: header.boot, seq: header.seq };
        let heard = self.d.links.get(link.index()).ok_or(Reject::Meaning)?;
        let known = self.newest_of_peer();
        let older_life = known.is_some_and(|newest| newest.boot > header.boot);
        if older_life || heard.newest.is_some_and(|newest| newest >= name) {
            return Err(Reject::Replay);
        }
        let message = opened.message()?;
        self.look_for_oneself(header.sender, &message);
        if !self.d.clean {
            return Ok(Accepted::TooEarly);
        }
        self.hear_link(now, link, &header, &message);
        if known.is_some_and(|newest| newest >= name) {
            return Ok(Accepted::Copy);
        }
        (self.d.peer_key, self.d.peer_version) = (Some(opened.key), opened.version);
        self.process(now, &header, &message)?;
        self.relay_to_arbiter(now, link, frame);
        Ok(Accepted::First)
    }

    /// The peer may know a later life of this node, or frames of this life that were never sent: then
    /// the number of this life was lost and used again, and the peer takes what it says for replays.
    fn look_for_oneself(&mut self, sender: Voter, message: &Message) {
        let echo = message.status().echoes[Status::echo_slot(sender, self.config.me)];
        let twin =
            echo.is_some_and(|echo| echo.is_ahead_of(self.boot(), self.d.ledger.newest_seq()));
        if twin {
            self.heard_oneself(self.boot());
        }
        if let Message::Hello(Hello { knows: Some(life), .. }) = *message
            && life > self.boot()
        {
            self.heard_oneself(life);
        }
    }

    /// R9: whoever hears an id of its own, not below its present one, restarts above it.
    pub(super) fn heard_oneself(&mut self, life: BootId) {
        if self.d.restart_above.is_none_or(|known| known < life) {
            self.tell(Event::BootIdTaken { heard: life });
            self.d.restart_above = Some(life);
            self.begin_leaving();
        }
    }

    fn hear_link(&mut self, now: Instant, at: LinkId, header: &Header, message: &Message) {
        let keepalive = self.peer_keepalive();
        let link = &mut self.d.links[at.index()];
        link.heard_at = Some(now);
        link.newest = Some(FrameName { boot: header.boot, seq: header.seq });
        link.peer_link = header.link.0;
        let statistics = &mut self.link_statistics[at.index()];
        let regular = !message.status().off_schedule;
        statistics.arrived(now, header.boot, header.seq, regular, keepalive);
        let Message::Hello(hello) = message else { return };
        statistics.hello_heard = Some((header.seq, now));
        if let Some(echo) = hello.echo
            && let Some(sent_at) = statistics.hello_left_at(echo.seq)
        {
            let held = Duration::from_micros(u64::from(echo.held_us));
            statistics.round_trip(now.since(sent_at).saturating_sub(held));
        }
    }

    fn process(&mut self, now: Instant, header: &Header, message: &Message) -> Result<(), Reject> {
        let from = header.sender;
        let former = self.d.ledger.voice(from).copied();
        if former.is_none_or(|voice| voice.newest.boot != header.boot) {
            self.d.facts = None;
            self.tell(Event::PeerLife { boot: header.boot });
        }
        if let Message::Hello(hello) = message {
            self.learn(hello);
        }
        let peer = self.peer_as_sender();
        let processed = self.d.ledger.process(now, header, message.status(), &peer)?;
        if processed.fresh {
            self.forget_former_terms(now);
        }
        self.statistics.frames += 1;
        self.d.peer_hears_arbiter = message.status().hears_arbiter;
        self.human_meets_peer(now, Some(message.status()));
        self.hear_peer(now, message, processed);
        for group in self.d.ledger.groups() {
            let before = former.map_or(GroupState::Idle, |voice| voice.groups.state(group));
            self.compare(now, group, before, message.status().groups.state(group));
        }
        Ok(())
    }

    /// The peer as its hello describes it; before one it gets no promise.
    fn peer_as_sender(&self) -> Sender {
        let full = self.d.ledger.terms().full;
        self.d.facts.map_or(Sender { lease: Duration::ZERO, full, may_promise: false }, |facts| {
            Sender {
                lease: self.usable_lease(facts.lease, facts.guard),
                full: facts.full(self.config.timing.drift_percent),
                may_promise: self.matches(),
            }
        })
    }

    /// R14. The peer's present life answers, and its terms are known: what former lives of this node
    /// promised on longer ones is of use to nobody beyond those. Earlier lives of the peer are over (R9).
    fn forget_former_terms(&mut self, now: Instant) {
        let own = self.d.ledger.terms().full;
        let Some(facts) = self.d.facts.filter(|_| self.d.longest > own) else { return };
        let full = facts.full(self.config.timing.drift_percent);
        if full < self.d.longest {
            self.d.longest = own.max(full);
            self.d.ledger.starting_promises_end_by(now + full);
        }
    }

    fn learn(&mut self, hello: &Hello) {
        let (facts, differed) = (PeerFacts::of(hello), self.differs());
        self.d.peer.announce_deadtime(Duration::from_millis(u64::from(hello.settings.deadtime_ms)));
        let changed = self.d.facts.is_none_or(|former| {
            (former.haresources, former.settings) != (facts.haresources, facts.settings)
        });
        self.d.facts = Some(facts);
        if self.differs() && (changed || !self.d.mismatch_told) {
            self.d.mismatch_told = true;
            self.tell(Event::Mismatch {
                ours: self.config.digests,
                theirs: hello.settings.digests(),
            });
        } else if !self.differs() && (differed || self.d.mismatch_told) {
            self.d.mismatch_told = false;
            self.tell(Event::Match);
        }
    }

    fn hear_peer(&mut self, now: Instant, message: &Message, processed: Processed) {
        let Processed { new_life, fresh } = processed;
        // Only a fresh farewell is one: a replayed one must not pass a living peer off as gone.
        let life = message.status().life;
        let life = if life == Life::Left && !fresh { Life::Leaving } else { life };
        let (before, heard_at) = (self.d.peer.state(), self.d.peer.heard_at());
        let silent = heard_at.map_or(Duration::ZERO, |at| now.since(at));
        if heard_at.is_some()
            && silent > self.config.timing.warntime
            && !before.is_gone()
            && !new_life
        {
            self.tell(Event::LateHeartbeat { interval: silent });
        }
        if new_life && heard_at.is_some() {
            // A new life is clean and has promised already (R8, R9); it can't show that before it has
            // heard us, even if its former life was not missed yet.
            self.made_contact(now, false);
        }
        let Some(state) = self.d.peer.heard(now, life, new_life) else { return };
        self.tell(Event::Peer { state, silent });
        match state {
            PeerState::Left => self.peer_is_gone(),
            PeerState::Alive if before.is_gone() => {
                self.made_contact(now, before == PeerState::Dead && !new_life);
            }
            _ => {}
        }
    }

    /// The peer is heard again while this node may be running on its absence: that goes on until the
    /// peer had time to answer (the peer can't take over sooner: it has just heard, or must wait).
    fn made_contact(&mut self, now: Instant, after_partition: bool) {
        if after_partition {
            self.tell(Event::ReturnedAfterPartition);
        }
        self.d.hello_due = true;
        self.bridge(now);
    }

    /// What runs may go on for a lease: the peer could not take it over sooner.
    pub(super) fn bridge(&mut self, now: Instant) {
        for group in self.d.ledger.groups() {
            if self.d.ledger.stance(group) == Stance::Running {
                self.d.plans[group.index()].bridge_until = now + self.config.timing.lease;
            }
        }
    }

    /// A peer that is stopping a group shows it as running, and promises nothing: who won it goes on over a
    /// short stall of its own.
    pub(super) fn bridge_won_conflicts(&mut self, now: Instant) {
        for group in self.d.ledger.groups() {
            let runs = self.d.ledger.stance(group) == Stance::Running;
            if runs && self.is_contested(group) && self.wins_conflict(group) {
                self.d.plans[group.index()].bridge_until = now + self.config.timing.lease;
            }
        }
    }

    /// A split heals: the home node goes on, the other stops; once it has, the winner announces again.
    fn compare(&mut self, now: Instant, group: GroupId, before: GroupState, shown: GroupState) {
        let lost = self.d.plans[group.index()].lost;
        if self.d.ledger.stance(group) != Stance::Running || lost || self.mismatches() {
            return;
        }
        let won = self.wins_conflict(group);
        let plan = &mut self.d.plans[group.index()];
        if shown == GroupState::Running && !core::mem::replace(&mut plan.conflict, true) {
            self.tell(Event::Conflict { group, won });
        } else if before == GroupState::Running && shown != GroupState::Running {
            plan.conflict = false;
            plan.bridge_until = now + self.config.timing.lease;
            plan.announce_pending = true;
        }
    }
}
