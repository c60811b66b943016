//! Voting by R1–R8: whom a frame may be promised to, on which terms, and for which haresources.

use super::memory::all_groups;
use super::{Arbiter, Event, terms_of};
use crate::authority::{Promisee, Sender, Terms};
use crate::config::full;
use crate::id::{BootId, GroupId, Voter};
use crate::mutant::Mutant;
use crate::time::{Duration, Instant, Millis};
use crate::wire::Reject;
use crate::wire::message::{Echo, Header, Hello, Message, Status};

/// The longest times that a node is believed: a wrong figure must not bind everybody for ever.
const TIME_CAP: Millis = Millis(120_000);
/// The shortest keepalive that the arbiter follows.
const KEEPALIVE_FLOOR: Millis = Millis(10);

/// What a node's newest hello of its present life said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct NodeFacts {
    pub(super) haresources: u64,
    /// The newest version of the wire that it understands.
    version: u8,
    lease: Millis,
    guard: Millis,
    deadtime: Millis,
    pub(super) keepalive: Millis,
    /// For how long anybody's promise may last, as far as the node can tell.
    longest: Duration,
}

impl NodeFacts {
    fn of(hello: &Hello) -> Self {
        let settings = &hello.settings;
        let capped = |ms| Millis(ms).min(TIME_CAP);
        Self {
            haresources: settings.digests().haresources,
            version: settings.current_version,
            lease: capped(settings.lease_ms),
            // Unbounded on a machine that nothing stops in time (R10), so not capped.
            guard: Millis(settings.guard_ms),
            deadtime: capped(settings.deadtime_ms),
            keepalive: capped(settings.keepalive_ms).max(KEEPALIVE_FLOOR),
            longest: hello.for_arbiter.map_or(Duration::ZERO, |tail| tail.longest),
        }
    }
}

impl Arbiter {
    #[inline(never)] // A small stack holds either this or what it takes to read a frame.
    pub(super) fn process(
        &mut self,
        now: Instant,
        header: &Header,
        message: &Message,
    ) -> Result<(), Reject> {
        let from = header.sender;
        self.notice_absence(now);
        let former = self.d.ledger.voice(from).copied();
        let view = &mut self.d.nodes[from.index()];
        if former.is_none_or(|voice| voice.newest.boot < header.boot) {
            (view.facts, view.attentive_since) = (None, None);
            view.young |= former.is_some_and(|voice| voice.echoed.is_some());
            self.d.hello_due = true;
        }
        let status = message.status();
        self.notice_another(now, header, status);
        self.fence_heard(now, from, header.boot);
        if let Message::Hello(hello) = message {
            self.learn(now, from, hello);
        }
        let went_on = self.d.ledger.is_fresh(from, now);
        let sender = self.as_sender(from, now);
        let processed = self.d.ledger.process(now, header, status, &sender)?;
        self.d.heard_at = Some(now);
        let view = &mut self.d.nodes[from.index()];
        view.heard_at = Some(now);
        view.request = status.fence;
        view.hears_peer = status.hears != 0;
        view.armed = status.armed;
        let since = view.attentive_since.filter(|_| went_on).or(Some(now));
        view.attentive_since = since.filter(|_| processed.fresh);
        if processed.fresh {
            self.doubt_evidence(now, from, header.boot);
            self.both_answer(now);
        }
        Ok(())
    }

    /// A node as its hello describes it; before one it gets no promise.
    fn as_sender(&mut self, from: Voter, now: Instant) -> Sender {
        let (drift, own) = (self.config.drift_percent, self.d.ledger.terms().full);
        let facts = self.d.nodes[from.index()].facts;
        Sender {
            // It promises nothing to an arbiter.
            lease: Duration::ZERO,
            full: facts.map_or(own, |facts| full(facts.lease.span(), drift, facts.guard.span())),
            may_promise: self.may_promise_to(from, now),
        }
    }

    /// A promise has ended: who asked last, and is fresh still, need not ask again. As if its newest frame
    /// had come just now.
    pub(super) fn give_what_is_free(&mut self, now: Instant) {
        for &node in &Voter::NODES {
            if self.d.ledger.asks_for_what_is_free(node, now) {
                let sender = self.as_sender(node, now);
                self.d.ledger.answer_again(now, node, &sender);
            }
        }
    }

    /// R8: whoever has heard no node for a lease, or none since its power came, may have been a spare on a
    /// shelf, or between two cables, and another arbiter in its place.
    pub(super) fn is_absent(&self, now: Instant) -> bool {
        let lease = self.d.ledger.terms().lease;
        self.d.heard_at.is_none_or(|at| now.since(at) >= lease) && !self.is_broken(Mutant::R8Spare)
    }

    /// What another one promised meanwhile can last for full from the contact, which is now.
    fn notice_absence(&mut self, now: Instant) {
        if self.is_absent(now) {
            self.forget(now);
        }
    }

    /// R8: another arbiter was in this one's place, for less than a lease: a node echoes a frame of its, and
    /// didn't when this one last heard that node. As after a stall of its own, this one can't say who was silent
    /// meanwhile (R12).
    fn notice_another(&mut self, now: Instant, header: &Header, status: &Status) {
        let from = header.sender;
        let since = self.d.forgot_at;
        let heard_since = self.d.ledger.voice(from).is_some_and(|voice| voice.at >= since);
        let echo = status.echoes[Status::echo_slot(from, Voter::Arbiter)];
        let life = echo.map(Echo::life);
        let before = core::mem::replace(&mut self.d.nodes[from.index()].echoed_life, life);
        let another = life.is_some_and(|life| life != Echo::life_of(self.boot()));
        if another && life != before && heard_since && !self.is_broken(Mutant::R8Spare) {
            self.d.attentive_since = now;
            self.forget(now);
        }
    }

    /// Every group: promised to nobody knows whom, from now on (R8).
    pub(super) fn forget(&mut self, now: Instant) {
        let full = self.d.ledger.terms().full;
        self.d.ledger.forget_promisees(now + full);
        (self.d.forgot_at, self.d.forgot_full, self.d.settled) = (now, full, false);
        self.d.memory.haresources = None;
        for &node in &Voter::NODES {
            self.d.nodes[node.index()].young = false;
            self.unconfirm(node);
        }
        self.tell(Event::Forgot);
    }

    /// R14: longer times count from now on, and for what a former life, or another arbiter, may have promised.
    fn learn(&mut self, now: Instant, from: Voter, hello: &Hello) {
        let facts = NodeFacts::of(hello);
        let view = &mut self.d.nodes[from.index()];
        self.d.hello_due |= view.facts.replace(facts) != Some(facts);
        let memory = &mut self.d.memory;
        let before = in_force(memory);
        memory.lease = memory.lease.max(facts.lease);
        memory.guard = memory.guard.max(facts.guard);
        memory.deadtime = memory.deadtime.max(facts.deadtime);
        if before != in_force(memory) {
            self.apply_terms();
        }
        if !self.d.settled {
            self.lengthen_unknown(now, from, &facts);
        }
        let known = self.d.nodes.iter().filter_map(|node| node.facts);
        self.d.keepalive =
            known.map(|facts| facts.keepalive).min().map_or(self.config.keepalive, Millis::span);
        if let Some(tail) = hello.for_arbiter {
            for group in all_groups() {
                let at_b = tail.homes_b >> group.0 & 1 == 1;
                self.d.ledger.set_home(group, if at_b { Voter::B } else { Voter::A });
            }
        }
    }

    fn apply_terms(&mut self) {
        let terms = terms_of(&self.config, &self.d.memory);
        self.d.ledger.set_terms(terms);
        self.d.hello_due = true;
    }

    /// R8: this life of a node may count what somebody else promised before this arbiter listened, unless it
    /// is younger. If that was on longer terms than were known here, what was begun with lasts as long, even
    /// where it was taken for over. What the node knows of others lengthens what still stands.
    fn lengthen_unknown(&mut self, now: Instant, node: Voter, facts: &NodeFacts) {
        let own = full(facts.lease.span(), self.config.drift_percent, facts.guard.span());
        let (since, young) = (self.d.forgot_at, |of: Voter| self.d.nodes[of.index()].young);
        let (it, its_peer) = (young(node), young(node.peer()));
        if own > self.d.forgot_full && !it {
            self.d.forgot_full = own;
            self.d.ledger.starting_promises_lasted_until(now, since + own);
        }
        if !it || !its_peer {
            self.d.ledger.starting_promises_last_until(since + facts.longest);
        }
    }

    /// Both nodes answer, in lives whose hellos are known; whatever was promised to earlier ones is over
    /// (R9). So whatever stands can be used by these two alone, on their own terms and in their own numbers:
    /// it need last no longer (R14), and if both mean the same by the numbers, those are its numbers (§5).
    fn both_answer(&mut self, now: Instant) {
        let answers = |node| self.d.ledger.is_fresh(node, now);
        let [Some(a), Some(b)] = self.d.nodes.map(|node| node.facts) else { return };
        if !answers(Voter::A) || !answers(Voter::B) {
            return;
        }
        let memory = &mut self.d.memory;
        let announced = [a.lease.max(b.lease), a.guard.max(b.guard), a.deadtime.max(b.deadtime)];
        if announced != in_force(memory) {
            [memory.lease, memory.guard, memory.deadtime] = announced;
            self.apply_terms();
            self.d.settled = false;
        }
        if !core::mem::replace(&mut self.d.settled, true) {
            self.d.ledger.starting_promises_end_by(now + self.d.ledger.terms().full);
        }
        if a.haresources == b.haresources {
            self.d.memory.haresources = Some(a.haresources);
        }
    }

    /// §5: a promise is about a group of one haresources. Whose is not known gets none; and another one
    /// than that of the promises that stand counts only once none of those binds to somebody else.
    fn may_promise_to(&mut self, node: Voter, now: Instant) -> bool {
        let Some(facts) = self.d.nodes[node.index()].facts else { return false };
        if facts.lease == Millis(0) {
            return false;
        }
        let of = Some(facts.haresources);
        if self.d.memory.haresources == of {
            return true;
        }
        let elsewhere = |group: GroupId| {
            let promised = self.d.ledger.promises(group).promised_to(now);
            promised.is_some_and(|promisee| promisee != Promisee::To(node))
        };
        if all_groups().any(elsewhere) {
            return false;
        }
        self.d.memory.haresources = of;
        true
    }

    /// The version of the wire that it speaks now, as [`crate::node::Node::speaks`].
    #[must_use]
    pub fn speaks(&self, now: Instant) -> u8 {
        let understands = |&node: &Voter| {
            let view = &self.d.nodes[node.index()];
            let announced = view.facts.map_or(0, |facts| facts.version);
            self.is_heard(node, now).then_some(announced.max(view.version))
        };
        self.versions.to_speak(Voter::NODES.iter().map(understands))
    }

    /// The newest life of a node that is known, from its frames.
    pub(super) fn heard_boot(&self, node: Voter) -> Option<BootId> {
        self.d.ledger.voice(node).map(|voice| voice.newest.boot)
    }

    /// Its terms in force.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.d.ledger.terms()
    }
}

fn in_force(memory: &super::Memory) -> [Millis; 3] {
    [memory.lease, memory.guard, memory.deadtime]
}
