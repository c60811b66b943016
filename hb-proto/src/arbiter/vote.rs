//! Voting by R1–R8: whom a frame may be promised to, on which terms, and for which haresources.

use super::memory::all_groups;
use super::{Arbiter, Event, terms_of};
use crate::authority::{Promisee, Terms};
use crate::id::{BootId, GroupId, Voter};
use crate::time::{Duration, Instant};
use crate::wire::Reject;
use crate::wire::message::{Header, Hello, Message, duration_of_ms};

/// The longest times that a node is believed: a wrong figure must not bind everybody for ever.
const TIME_CAP: Duration = Duration::from_secs(120);
/// The shortest keepalive that the arbiter follows.
const KEEPALIVE_FLOOR: Duration = Duration::from_millis(10);

/// What a node's newest hello of its present life said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct NodeFacts {
    pub(super) haresources: u64,
    lease: Duration,
    guard: Duration,
    deadtime: Duration,
    keepalive: Duration,
}

impl NodeFacts {
    fn of(hello: &Hello) -> Self {
        let settings = &hello.settings;
        let capped = |ms: u32| Duration::from_millis(u64::from(ms)).min(TIME_CAP);
        Self {
            haresources: settings.digests().haresources,
            lease: capped(settings.lease_ms),
            // Unbounded on a machine that nothing stops in time (R10), so not capped.
            guard: duration_of_ms(settings.guard_ms),
            deadtime: capped(settings.deadtime_ms),
            keepalive: capped(settings.keepalive_ms).max(KEEPALIVE_FLOOR),
        }
    }
}

impl Arbiter {
    pub(super) fn process(
        &mut self,
        now: Instant,
        header: &Header,
        message: &Message,
    ) -> Result<(), Reject> {
        let from = header.sender;
        self.notice_absence(now);
        let former = self.d.ledger.voice(from).map(|voice| voice.newest.boot);
        if former.is_none_or(|boot| boot < header.boot) {
            self.d.nodes[from.index()].facts = None;
            self.d.hello_due = true;
        }
        self.fence_heard(now, from, header.boot);
        if let Message::Hello(hello) = message {
            self.learn(now, from, hello);
        }
        let may_promise = self.may_promise_to(from, now);
        let status = message.status();
        let processed = self.d.ledger.process(now, header, status, Duration::ZERO, may_promise)?;
        if processed.fresh {
            self.doubt_evidence(now, from, header.boot);
        }
        self.d.heard_at = now;
        let view = &mut self.d.nodes[from.index()];
        view.heard_at = Some(now);
        view.request = status.fence;
        view.hears_peer = status.hears != 0;
        view.armed = status.armed;
        Ok(())
    }

    /// R8: whoever has heard no node for a lease may have been a spare on a shelf, or between two cables,
    /// and another arbiter in its place. What *that* one promised can last for full from now.
    fn notice_absence(&mut self, now: Instant) {
        let lease = self.d.ledger.terms().lease;
        if now.since(self.d.heard_at) < lease || self.is_broken(crate::mutant::Mutant::R8Spare) {
            return;
        }
        self.forget(now);
    }

    /// Every group: promised to nobody knows whom, from now on (R8).
    pub(super) fn forget(&mut self, now: Instant) {
        let full = self.d.ledger.terms().full;
        self.d.ledger.forget_promisees(now + full);
        self.d.forgot_at = now;
        self.d.memory.haresources = None;
        for node in [Voter::A, Voter::B] {
            self.unconfirm(node);
        }
        self.tell(Event::Forgot);
    }

    /// R14: longer times count from now on, and for what a former life may have promised; shorter ones
    /// when nothing that was promised on the longer ones can still stand.
    fn learn(&mut self, now: Instant, from: Voter, hello: &Hello) {
        let facts = NodeFacts::of(hello);
        let first = self.d.nodes[from.index()].facts.replace(facts) != Some(facts);
        self.d.hello_due |= first;
        let memory = &mut self.d.memory;
        let before = *memory;
        memory.lease = memory.lease.max(facts.lease);
        memory.guard = memory.guard.max(facts.guard);
        memory.deadtime = memory.deadtime.max(facts.deadtime);
        if before != *memory {
            self.apply_terms();
        }
        let smaller =
            self.announced().is_some_and(|announced| announced != in_force(&self.d.memory));
        self.d.shrinks_at = if smaller { self.d.shrinks_at.or(Some(now)) } else { None };
        let known = self.d.nodes.iter().filter_map(|node| node.facts);
        self.d.keepalive =
            known.map(|facts| facts.keepalive).min().unwrap_or(self.config.keepalive);
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
        self.d.ledger.starting_promises_last_until(self.d.forgot_at + terms.full);
        self.d.hello_due = true;
    }

    /// The largest times that both nodes announce; `None` unless both do.
    fn announced(&self) -> Option<[Duration; 3]> {
        let [Some(a), Some(b)] = self.d.nodes.map(|node| node.facts) else { return None };
        Some([a.lease.max(b.lease), a.guard.max(b.guard), a.deadtime.max(b.deadtime)])
    }

    /// R14, shrink: users first. Both announce less, and what was promised before is over.
    pub(super) fn shrink_terms(&mut self, now: Instant) {
        let Some(since) = self.d.shrinks_at else { return };
        let Some([lease, guard, deadtime]) = self.announced() else {
            self.d.shrinks_at = None;
            return;
        };
        if now < since + self.d.ledger.terms().full {
            return;
        }
        let memory = &mut self.d.memory;
        (memory.lease, memory.guard, memory.deadtime) = (lease, guard, deadtime);
        self.d.shrinks_at = None;
        self.apply_terms();
    }

    /// §5: a promise is about a group of one haresources. Whose is not known gets none; and another one
    /// than that of the promises that stand counts only once none of those binds to somebody else.
    fn may_promise_to(&mut self, node: Voter, now: Instant) -> bool {
        let Some(facts) = self.d.nodes[node.index()].facts else { return false };
        if facts.lease == Duration::ZERO {
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

fn in_force(memory: &super::Memory) -> [Duration; 3] {
    [memory.lease, memory.guard, memory.deadtime]
}
