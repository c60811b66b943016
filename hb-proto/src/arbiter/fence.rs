//! R12 and R13: when a node's reset line is pulled, and what proves that it went down.

use super::{Arbiter, Event};
use crate::config::{LAST_WORDS, shortest_silence};
use crate::id::{BootId, Voter};
use crate::mutant::Mutant;
use crate::time::{Duration, Instant, Millis};
use crate::wire::message::Life;
use crate::wire::message::arbiter::{FenceShown, LineShown};

/// How long after a pulse something that falls is the pulse's doing.
pub const CONFIRM_WINDOW: Duration = Duration::from_secs(2);

/// What is known of the last pulse for a node in this life of the arbiter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Fence {
    pulse: Option<Pulse>,
}

/// Whether a pulse is known to have stopped its machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Evidence {
    /// Not yet; counts for [`CONFIRM_WINDOW`].
    Awaited,
    /// It came, but so did a frame of the pulsed life since the pulse began: it counts once that life has been
    /// silent for deadtime again.
    Held,
    /// It is.
    Given,
    /// What was given turned out to be wrong: none counts any more.
    Refuted,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Pulse {
    boot: BootId,
    at: Instant,
    evidence: Evidence,
    /// The other node is being watched: should it fall silent instead, the lines are swapped.
    watched: bool,
}

/// What speaks against a reset that is asked for (R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Hindrance {
    /// Who asks is not heard itself, hears the other node, or is leaving.
    NoWitness,
    /// The node was heard within deadtime.
    Heard,
    /// A pulse is about to be given.
    UnderWay,
    /// A newer life of it is known.
    NewerLife,
    /// This life was pulsed before.
    Again,
    /// Its reset line is untested, or a pulse hit the wrong machine.
    LineUntested,
}

impl Pulse {
    /// From when on the other node must be heard, if the pulse didn't hit it: its last words are over, and
    /// this arbiter listens, which it didn't during a stall of its own.
    fn silent_from(&self, attentive_since: Instant) -> Instant {
        self.at.max(attentive_since) + LAST_WORDS
    }

    /// When it can be told whether the other node lives on.
    fn watched_until(&self, attentive_since: Instant, deadtime: Duration) -> Instant {
        self.silent_from(attentive_since) + deadtime
    }
}

impl Fence {
    /// When the watch over the other node ends.
    pub(super) fn due(&self, attentive_since: Instant, deadtime: Duration) -> Option<Instant> {
        let pulse = self.pulse.filter(|pulse| pulse.watched)?;
        Some(pulse.watched_until(attentive_since, deadtime))
    }

    pub(super) fn rebased(self, by: Duration) -> Self {
        Self { pulse: self.pulse.map(|pulse| Pulse { at: pulse.at.rebased(by), ..pulse }) }
    }
}

impl Arbiter {
    /// The pulse was given. `evidence`: the line is supervised, and the board's pull-up was read before,
    /// the low during it, and the pull-up again after it.
    pub fn handle_pulsed(&mut self, now: Instant, node: Voter, evidence: bool) {
        if !evidence && !self.is_broken(Mutant::R12Unconfirmed) {
            return;
        }
        let pulse = self.d.nodes.get(node.index()).and_then(|view| view.fence.pulse);
        if pulse.is_some_and(|pulse| pulse.evidence == Evidence::Refuted) {
            // A board went down, and it wasn't this node's.
            self.miswired(now);
        } else {
            self.confirm(now, node);
        }
    }

    /// A sign of life that comes from the machine itself (DTR or RTS of its port, a sense input) fell. It
    /// proves something only just after a pulse: a daemon that ends lets its port go as well.
    pub fn handle_sense_fell(&mut self, now: Instant, node: Voter) {
        if !node.is_node() {
            return;
        }
        let lately =
            |pulse: Option<Pulse>| pulse.is_some_and(|pulse| now.since(pulse.at) <= CONFIRM_WINDOW);
        if lately(self.d.nodes[node.index()].fence.pulse) {
            self.confirm(now, node);
        } else if lately(self.d.nodes[node.peer().index()].fence.pulse) {
            self.miswired(now);
        }
    }

    /// A node's sense input, or its port's modem lines, say whether its machine is there. A hint and no evidence: it
    /// makes the node's silence count sooner, as [`crate::node::Node::handle_carrier`] does. A driver that reports
    /// nothing waits for deadtime.
    pub fn handle_carrier(&mut self, now: Instant, node: Voter, present: bool) {
        if let Some(view) = self.d.nodes.get_mut(node.index()) {
            view.carrier_lost_at = if present { None } else { view.carrier_lost_at.or(Some(now)) };
        }
    }

    /// The silence after which a node may be pulsed.
    pub(super) fn patience(&self, node: Voter) -> Duration {
        let view = &self.d.nodes[node.index()];
        let lost =
            view.carrier_lost_at.is_some_and(|lost| view.heard_at <= Some(lost + LAST_WORDS));
        let lease = self.d.memory.lease.span();
        if !lost || lease == Duration::ZERO {
            return self.deadtime();
        }
        let keepalives = self.d.nodes.iter().filter_map(|view| view.facts.map(|f| f.keepalive));
        let keepalive = keepalives.max().map_or(self.config.keepalive, Millis::span);
        shortest_silence(lease, self.config.drift_percent, keepalive).min(self.deadtime())
    }

    /// The line was tested: a pulse stopped this node and no other one. Clears "miswired".
    pub fn handle_commissioned(&mut self, node: Voter, proved: bool) {
        if node.is_node() {
            let line = if proved { LineShown::Commissioned } else { LineShown::Untested };
            self.d.memory.node(node).line = line;
        }
    }

    /// Evidence. Whoever was heard since the pulse began may have been stopped after that, or live on with what
    /// it was promised before, its clock having stood still: its silence decides.
    fn confirm(&mut self, now: Instant, node: Voter) {
        let Some(view) = self.d.nodes.get_mut(node.index()) else { return };
        let awaited = |pulse: &&mut Pulse| {
            pulse.evidence == Evidence::Awaited && now.since(pulse.at) <= CONFIRM_WINDOW
        };
        let Some(pulse) = view.fence.pulse.as_mut().filter(awaited) else { return };
        if view.heard_at.is_some_and(|at| at >= pulse.at) {
            pulse.evidence = Evidence::Held;
        } else {
            self.is_confirmed(node);
        }
    }

    /// What was promised to the life that was pulsed is over.
    fn is_confirmed(&mut self, node: Voter) {
        let view = &mut self.d.nodes[node.index()];
        view.armed = false;
        if let Some(pulse) = &mut view.fence.pulse {
            pulse.evidence = Evidence::Given;
        }
        self.d.ledger.is_over(node);
        self.tell(Event::Confirmed { node });
    }

    fn confirm_what_was_held(&mut self, now: Instant, node: Voter) {
        let pulse = self.d.nodes[node.index()].fence.pulse;
        let held = pulse.is_some_and(|pulse| pulse.evidence == Evidence::Held);
        if held && now.since(self.silent_since(node)) >= self.deadtime() {
            self.is_confirmed(node);
        }
    }

    pub(super) fn unconfirm(&mut self, node: Voter) {
        if let Some(pulse) = &mut self.d.nodes[node.index()].fence.pulse {
            pulse.evidence = Evidence::Refuted;
        }
    }

    /// A frame of a node, before anything follows from it. A life above the one that was pulsed is news, and
    /// ends what was said of it. Of one that was taken for over the word is taken back: what nobody else got
    /// since is promised to it again, as it may count what it was promised before.
    pub(super) fn fence_heard(&mut self, now: Instant, node: Voter, boot: BootId) {
        let fence = &mut self.d.nodes[node.index()].fence;
        if fence.pulse.is_some_and(|pulse| pulse.boot < boot) {
            fence.pulse = None;
        }
        if let Some(pulse) = fence.pulse.as_mut().filter(|pulse| pulse.evidence == Evidence::Given)
        {
            pulse.evidence = Evidence::Held;
            self.d.ledger.bind_what_is_free(node, now);
        }
        let known = self.heard_boot(node);
        let restarted = known.is_some_and(|known| known < boot);
        let other = &self.d.nodes[node.peer().index()].fence;
        // The pulse was for the other node, and this one begins a new life: it was hit instead.
        let hit = other.pulse.is_some_and(|pulse| pulse.watched && now > pulse.at);
        if restarted && hit {
            self.miswired(now);
        }
    }

    /// A fresh frame of a life that was pulsed: the pulse didn't stop it if this answers what was sent after.
    /// Evidence that is still to come is of something else, and what came was wrong.
    pub(super) fn doubt_evidence(&mut self, now: Instant, node: Voter, boot: BootId) {
        let lease = self.d.ledger.terms().lease;
        let answered = self.d.ledger.voice(node).map(|voice| voice.fresh_until - lease);
        let Some(pulse) = &mut self.d.nodes[node.index()].fence.pulse else { return };
        if pulse.boot < boot {
            return;
        }
        match pulse.evidence {
            Evidence::Awaited if answered > Some(pulse.at) => pulse.evidence = Evidence::Refuted,
            Evidence::Held if answered > Some(pulse.at + LAST_WORDS) => self.miswired(now),
            _ => {}
        }
    }

    /// What is shown of a node's fence.
    pub(super) fn fence_shown(&self, node: Voter) -> FenceShown {
        match self.d.nodes[node.index()].fence.pulse {
            None => FenceShown::None,
            Some(Pulse { evidence: Evidence::Given, .. }) => FenceShown::Confirmed,
            Some(_) => FenceShown::Sent,
        }
    }

    /// The newest life of a node that is known, from its frames or from a pulse for it.
    pub(super) fn known_boot(&self, node: Voter) -> Option<BootId> {
        let pulsed = self.d.nodes[node.index()].fence.pulse.map(|pulse| pulse.boot);
        self.heard_boot(node).max(pulsed)
    }

    pub(super) fn decide_fences(&mut self, now: Instant) {
        for &target in &Voter::NODES {
            self.watch_requester(now, target);
            self.confirm_what_was_held(now, target);
            let Some(boot) = self.fence_is_due(now, target) else { continue };
            self.d.memory.node(target).pulsed = Some(boot);
            let pulse = Pulse { boot, at: now, evidence: Evidence::Awaited, watched: true };
            self.d.nodes[target.index()].fence.pulse = Some(pulse);
            self.d.pulse = Some(target);
            self.tell(Event::Pulsed { node: target, boot });
        }
    }

    /// Which life of `target` is to be reset now, if one is.
    fn fence_is_due(&self, now: Instant, target: Voter) -> Option<BootId> {
        let asked = self.d.nodes[target.peer().index()].request;
        let unasked =
            || self.heard_boot(target).filter(|_| self.is_to_be_reset_unasked(now, target));
        let boot = asked.or_else(unasked)?;
        self.hindrance(now, target, boot).is_none().then_some(boot)
    }

    /// What speaks against a reset of this life of `target`, if something does.
    fn hindrance(&self, now: Instant, target: Voter, boot: BootId) -> Option<Hindrance> {
        let other = target.peer();
        let hears_target = self.d.nodes[other.index()].hears_peer;
        let left = self.d.ledger.voice(other).is_some_and(|voice| voice.life == Life::Left);
        let memory = &self.d.memory.nodes[target.index()];
        let silent = now.since(self.silent_since(target)) >= self.patience(target);
        // One that is heard itself, hears us, and doesn't hear the target: this arbiter isn't deaf, and
        // nobody says that the target lives. Who has left doesn't listen any more.
        if !self.d.ledger.is_fresh(other, now) || hears_target || left {
            Some(Hindrance::NoWitness)
        } else if !silent && !self.is_broken(Mutant::R12Heard) {
            Some(Hindrance::Heard)
        } else if self.d.pulse.is_some() {
            Some(Hindrance::UnderWay)
        } else if self.known_boot(target).is_some_and(|known| known > boot) {
            Some(Hindrance::NewerLife)
        } else if memory.pulsed >= Some(boot) && !self.is_broken(Mutant::R12Twice) {
            Some(Hindrance::Again)
        } else {
            (memory.line != LineShown::Commissioned).then_some(Hindrance::LineUntested)
        }
    }

    /// Which life of `target` its peer asks to have reset, as last heard, and what speaks against it now. For a
    /// log; nothing is decided from it.
    #[must_use]
    pub fn fence_request(
        &self,
        now: Instant,
        target: Voter,
    ) -> Option<(BootId, Option<Hindrance>)> {
        let asker = self.d.nodes.get(target.peer().index()).filter(|_| target.is_node())?;
        let boot = asker.request?;
        Some((boot, self.hindrance(now, target, boot)))
    }

    /// R13: it armed the external watchdog, and its peer has listened without a break since before it fell
    /// silent. One that has just started, or has just been connected, doesn't hear it either, which says
    /// nothing of a machine that may be in the middle of its repair.
    fn is_to_be_reset_unasked(&self, now: Instant, target: Voter) -> bool {
        let (view, witness) = (&self.d.nodes[target.index()], &self.d.nodes[target.peer().index()]);
        let listened = witness.attentive_since.is_some_and(|since| Some(since) <= view.heard_at);
        let silent = now.since(self.silent_since(target)) >= self.config.external_watchdog;
        silent
            && (view.armed || self.is_broken(Mutant::R13Unarmed))
            && (listened || self.is_broken(Mutant::R13Young))
    }

    /// The requester falls silent instead of the target.
    fn watch_requester(&mut self, now: Instant, target: Voter) {
        let watched = self.d.nodes[target.index()].fence.pulse.filter(|pulse| pulse.watched);
        let attentive_since = self.d.attentive_since;
        let Some(pulse) =
            watched.filter(|pulse| now >= pulse.watched_until(attentive_since, self.deadtime()))
        else {
            return;
        };
        let last = self.d.nodes[target.peer().index()].heard_at;
        if last.is_none_or(|at| at <= pulse.silent_from(attentive_since)) {
            self.miswired(now);
        } else if let Some(pulse) = &mut self.d.nodes[target.index()].fence.pulse {
            pulse.watched = false;
        }
    }

    /// A pulse hit the wrong machine. No line is pulled again until it is tested, and what a "confirmed"
    /// pulse ended may be used by a node that runs: everything counts as promised, to nobody knows whom.
    fn miswired(&mut self, now: Instant) {
        for &node in &Voter::NODES {
            self.d.memory.node(node).line = LineShown::Miswired;
            if let Some(pulse) = &mut self.d.nodes[node.index()].fence.pulse {
                pulse.watched = false;
            }
        }
        self.tell(Event::Miswired);
        self.forget(now);
    }
}
