//! On what ground a node may run a group (R2), and what it does when the ground is gone (R10).

use super::{Node, has};
use crate::authority::Stance;
use crate::event::{Cause, Event};
use crate::id::{GroupId, Voter};
use crate::mutant::Mutant;
use crate::time::Instant;
use crate::wire::message::{GroupState, Life};

/// What allows this node to run a group now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ground {
    /// Another voter's unexpired promise.
    Promise,
    /// An operator's vote in place of a peer that is off (R14).
    Human,
    /// Classic: the peer is dead or left.
    PeerGone,
    /// Classic, running: the peer's last word was a promise, and it has been silent since. It is
    /// between its last frame and its death; nothing it said withholds the promise.
    PeerSilent,
    /// Classic, running: the peer hears us, and neither runs the group nor asks for it, whatever it promises.
    Heard,
    /// Classic, running: both nodes ran it, and this one goes on: its home, or the one whose peer is
    /// giving it up.
    Winner,
    /// Classic, running: contact was made less than a lease ago, and the peer has not answered yet.
    Contact,
    /// Classic, running: the peer hears us but its haresources differs, so it neither promises nor takes.
    Mismatch,
}

impl Node {
    /// The ground on which this node may run `group`, if any.
    ///
    /// With an arbiter, promises alone (R2). Two voters have the classic rule as well. The plan's
    /// wording of it, *promise or peer dead*, leaves a hole between the end of the lease and deadtime,
    /// in which the death of a standby would stop the service: [`Ground::PeerSilent`] closes it, since a
    /// silent peer can't have withheld anything. A peer that is heard and does not promise ends it at once.
    #[must_use]
    pub fn ground(&self, group: GroupId, now: Instant) -> Option<Ground> {
        let promises = self.d.ledger.promises(group);
        let broken = |rule| self.d.ledger.is_broken(rule);
        if promises.promised_to(now).is_some() && !broken(Mutant::R2Promised) {
            return None;
        }
        let promise = self.d.ledger.authorised(group, now).then_some(Ground::Promise);
        if self.config.arbiter.is_none() || broken(Mutant::R2Classic) {
            // Our death voided it: what a peer that runs the group once promised binds nobody any more. It
            // is counted still where the clock stood while the machine did.
            let void = self.peer_shows(group) == GroupState::Running && !self.mismatches();
            return promise.filter(|_| !void).or_else(|| self.classic_ground(group, now));
        }
        if self.human_votes(group) {
            return Some(Ground::Human);
        }
        // While the peer may be a classic one, which runs when it hears nobody, both rules must allow it.
        // A classic peer's guard is zero, so its promise counts for nothing here, but it is its word.
        let peer = self.config.me.peer();
        let by_peer = promises.counted_until(peer) > now
            || self.peer_shows(group) == GroupState::Promised && self.d.ledger.is_fresh(peer, now);
        promise.filter(|_| {
            self.agrees_on_arbiter() || by_peer || self.classic_ground(group, now).is_some()
        })
    }

    fn classic_ground(&self, group: GroupId, now: Instant) -> Option<Ground> {
        if self.d.peer.state().is_gone() {
            return Some(Ground::PeerGone);
        }
        let running = self.d.ledger.stance(group) == Stance::Running;
        let voice = self.d.ledger.voice(self.config.me.peer()).filter(|_| running)?;
        let shown = voice.groups.state(group);
        if shown == GroupState::Running && !self.mismatches() {
            // What the peer showed long ago says nothing of now (R10): it may have missed us meanwhile. It
            // can't within deadtime.
            let lately = now.since(voice.at) < self.config.timing.deadtime;
            // A peer that does not hear us can't give way: then it is we who must, and contact gives
            // it a lease to answer.
            let heard = self.d.plans[group.index()].bridge_until > now
                || self.d.ledger.is_fresh(self.config.me.peer(), now);
            return (lately && heard && self.wins_conflict(group)).then_some(Ground::Winner);
        }
        if self.d.plans[group.index()].bridge_until > now {
            return Some(Ground::Contact);
        }
        if self.mismatches() {
            let hears_us = self.d.ledger.is_fresh(self.config.me.peer(), now);
            return hears_us.then_some(Ground::Mismatch);
        }
        // Nobody whose newest frame of ours is younger than a lease takes us for dead within that lease. After a stall
        // of its own it promises nothing at first: our frames from then echo one that is too old for it.
        if voice.fresh_until > now && !shown.asks() && shown != GroupState::Promised {
            return Some(Ground::Heard);
        }
        let promised = shown == GroupState::Promised && voice.fresh_until > voice.at;
        (promised && voice.at >= self.d.peer.attentive_since()).then_some(Ground::PeerSilent)
    }

    /// Both run it: its home goes on, unless it is giving up already (it lost authority in a stall, it
    /// leaves, it was told to stand by); then the other does. The one that gives up says so in its hellos,
    /// and that it leaves in every frame.
    pub(super) fn wins_conflict(&self, group: GroupId) -> bool {
        let leaves =
            self.d.ledger.voice(self.config.me.peer()).is_some_and(|voice| voice.life != Life::Up);
        let peer_gives_up = leaves || self.d.facts.is_some_and(|facts| has(facts.declines, group));
        !self.gives_up(group)
            && (peer_gives_up || self.config.groups[group.index()].home == self.config.me)
    }

    /// The peer shows that it runs the group as well. Who goes on starts no more of it until the peer has
    /// let it go.
    pub(super) fn is_contested(&self, group: GroupId) -> bool {
        self.peer_shows(group) == GroupState::Running
            && !self.d.peer.state().is_gone()
            && !self.mismatches()
    }

    /// Whether the peer's haresources is known to differ: group numbers mean different things (§5).
    pub(super) fn mismatches(&self) -> bool {
        self.d.facts.is_some_and(|facts| facts.haresources != self.config.digests.haresources)
    }

    /// When the ground of a group that runs here may end by time alone.
    pub(super) fn ground_due(&self) -> Option<Instant> {
        let peer = self.config.me.peer();
        let fresh = self.d.ledger.voice(peer).map(|voice| voice.fresh_until);
        let due = |group: GroupId| {
            let promises = self.d.ledger.promises(group);
            let asks = self.d.ledger.stance(group) != Stance::Idle;
            let own = promises.promise_ends().filter(|_| !asks);
            let plan = &self.d.plans[group.index()];
            let bridge = Some(plan.bridge_until).filter(|&until| asks && until > Instant::ZERO);
            let counted = promises.counted_until(peer).max(promises.counted_until(Voter::Arbiter));
            let counted = Some(counted).filter(|&until| asks && until > Instant::ZERO);
            let takeover = plan.peer_idle_since.map(|since| since + self.config.timing.deadtime);
            let yielded = Some(plan.yield_until).filter(|_| plan.yielded);
            // What was past when decisions were last made has been acted upon.
            [own, bridge, counted, takeover, yielded, fresh.filter(|_| asks)]
                .into_iter()
                .flatten()
                .filter(|&at| at > self.d.decided_at)
                .min()
        };
        self.d.ledger.groups().filter_map(due).min()
    }

    /// R10: what runs without ground loses its addresses at once and is stopped in reverse. Whether
    /// something did.
    pub(super) fn end_what_lost_authority(&mut self, now: Instant) -> bool {
        let mut ended = false;
        for group in self.d.ledger.groups() {
            let at = group.index();
            let runs = self.d.ledger.stance(group) == Stance::Running;
            let broken = self.d.ledger.is_broken(Mutant::R10GoesOn);
            if !runs || self.d.plans[at].lost || self.ground(group, now).is_some() || broken {
                continue;
            }
            let plan = &mut self.d.plans[at];
            ended = true;
            (plan.lost, plan.drop_pending, plan.handing_over) = (true, true, false);
            plan.acquiring = None;
            // The peer, should it run the group by now, need not give way to this node.
            self.d.hello_due = true;
            // Nothing older may leave before that word.
            self.d.outbox.links = 0;
            self.d.links.iter_mut().for_each(|link| link.owed = false);
            self.d.groups[at].stop();
            self.tell(Event::Releasing { group, cause: Cause::AuthorityLost });
        }
        ended
    }
}
