//! What this node wants with each group (R11). Policy only: what it may do is `ground`'s affair.

use super::{Node, has};
use crate::authority::Stance;
use crate::event::Failover;
use crate::event::{Cause, Event};
use crate::group::{Change, Phase};
use crate::id::GroupId;
use crate::mutant::Mutant;
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::message::{GroupState, Life};

impl Node {
    /// Decides about every group, after everything that had arrived was taken in.
    pub(super) fn decide(&mut self, now: Instant) {
        self.end_what_lost_authority(now);
        for group in self.d.ledger.groups() {
            self.watch_idle_peer(now, group);
            match self.d.ledger.stance(group) {
                Stance::Running => self.decide_running(now, group),
                Stance::Asking => self.decide_asking(now, group),
                Stance::Idle => self.decide_idle(now, group),
            }
            // Who asks now isn't waiting any more: the same call again would change nothing.
            self.watch_idle_peer(now, group);
        }
    }

    fn phase(&self, group: GroupId) -> Phase {
        self.d.groups[group.index()].phase()
    }

    fn is_home(&self, group: GroupId) -> bool {
        self.config.groups[group.index()].home == self.config.me
    }

    /// The peer hears us, we hear it, and its group numbers mean the same as ours.
    pub(super) fn peer_is_partner(&self, now: Instant) -> bool {
        matches!(self.d.peer.state(), PeerState::Alive | PeerState::Late)
            && self.d.ledger.is_fresh(self.config.me.peer(), now)
            && self.matches()
    }

    pub(super) fn peer_shows(&self, group: GroupId) -> GroupState {
        self.d
            .ledger
            .voice(self.config.me.peer())
            .map_or(GroupState::Idle, |voice| voice.groups.state(group))
    }

    /// Whether the peer would start the group if it were handed over.
    pub(super) fn peer_can_take(&self, now: Instant, group: GroupId) -> bool {
        let up =
            self.d.ledger.voice(self.config.me.peer()).is_some_and(|voice| voice.life == Life::Up);
        up && self.peer_is_partner(now)
            && self.d.facts.is_some_and(|facts| !has(facts.failed, group) && !facts.voteless)
    }

    fn decide_running(&mut self, now: Instant, group: GroupId) {
        let at = group.index();
        if self.phase(group) == Phase::Stopped {
            self.let_go(now, group);
            return;
        }
        // A start that is being aborted goes on counting as one: it is given up once.
        if self.d.plans[at].lost
            || self.d.plans[at].handing_over
            || !matches!(self.phase(group), Phase::Starting(_) | Phase::Running)
        {
            return;
        }
        if self.d.life != Life::Up {
            self.give_up(group, Cause::Leave);
        } else if self.d.plans[at].standby {
            if self.peer_can_take(now, group) {
                self.give_up(group, Cause::Standby);
            }
        } else if self.phase(group) == Phase::Running
            && self.d.facts.is_some_and(|facts| has(facts.wants, group))
            && self.peer_can_take(now, group)
        {
            self.give_up(group, Cause::PeerWants);
        }
    }

    /// Stops a group for the peer. It goes on counting as running until that is confirmed.
    fn give_up(&mut self, group: GroupId, cause: Cause) {
        let plan = &mut self.d.plans[group.index()];
        (plan.handing_over, plan.yielded, plan.standby) = (true, true, false);
        plan.acquiring = None;
        self.d.hello_due = true;
        self.d.groups[group.index()].stop();
        self.tell(Event::Releasing { group, cause });
    }

    /// Confirmed stopped: released (R5), or in a handover released and promised in one frame (R11).
    fn let_go(&mut self, now: Instant, group: GroupId) {
        let partner = self.peer_is_partner(now);
        let plan = &mut self.d.plans[group.index()];
        let handing_over = core::mem::take(&mut plan.handing_over);
        (plan.lost, plan.conflict, plan.standby, plan.acquiring) = (false, false, false, None);
        plan.peer_idle_since = None;
        if handing_over && partner {
            plan.yield_until = now + self.config.timing.deadtime.times(2);
            self.d.ledger.hand_over(group, now);
        } else {
            self.d.ledger.set_stance(group, Stance::Idle);
        }
    }

    fn decide_asking(&mut self, now: Instant, group: GroupId) {
        if self.may_ask(now, group).is_none() {
            self.d.plans[group.index()].acquiring = None;
            self.d.ledger.set_stance(group, Stance::Idle);
        } else if self.ground(group, now).is_some() {
            self.take(now, group);
        }
    }

    fn decide_idle(&mut self, now: Instant, group: GroupId) {
        self.reconsider_yield(now, group);
        let promised = self.d.ledger.promises(group).promised_to(now).is_some();
        if promised && !self.d.ledger.is_broken(Mutant::R3Asks) {
            return;
        }
        let Some(cause) = self.may_ask(now, group) else { return };
        let silent = match cause {
            Cause::PeerDead => self.d.peer.heard_at().map(|at| now.since(at)),
            _ => None,
        };
        self.d.plans[group.index()].acquiring = Some((cause, now, silent));
        self.d.ledger.set_stance(group, Stance::Asking);
        if self.ground(group, now).is_some() {
            self.take(now, group);
        }
    }

    fn take(&mut self, now: Instant, group: GroupId) {
        let plan = &mut self.d.plans[group.index()];
        let (cause, ..) = *plan.acquiring.get_or_insert((Cause::Startup, now, None));
        (plan.wanted, plan.yielded, plan.lost) = (false, false, false);
        self.d.ledger.set_stance(group, Stance::Running);
        self.d.groups[group.index()].start();
        self.tell(Event::Acquiring { group, cause });
    }

    /// R11: whether this node asks for the group, and why.
    fn may_ask(&self, now: Instant, group: GroupId) -> Option<Cause> {
        let here = &self.d.groups[group.index()];
        if self.d.life != Life::Up || here.phase() != Phase::Stopped || here.has_failed() {
            return None;
        }
        match self.d.peer.state() {
            _ if self.human_votes(group, now) => Some(Cause::Takeover),
            PeerState::Unknown => None,
            PeerState::Left => Some(Cause::PeerLeft),
            PeerState::Dead if self.d.peer.heard_at().is_none() => Some(Cause::Startup),
            PeerState::Dead => Some(Cause::PeerDead),
            PeerState::Alive | PeerState::Late if self.peer_is_deaf(now) => Some(Cause::PeerDeaf),
            PeerState::Alive | PeerState::Late if !self.peer_is_partner(now) => None,
            PeerState::Alive | PeerState::Late => self.may_ask_partner(now, group),
        }
    }

    fn may_ask_partner(&self, now: Instant, group: GroupId) -> Option<Cause> {
        if !self.has_vote(now) {
            // The peer would wait for this node, and this node for a vote.
            return None;
        }
        let plan = &self.d.plans[group.index()];
        let declines = self.d.facts.is_some_and(|facts| has(facts.declines, group));
        let failed = self.d.facts.is_some_and(|facts| has(facts.failed, group));
        let cause = match (plan.wanted, declines) {
            (true, _) => Cause::Takeover,
            (false, true) if failed => Cause::PeerFailed,
            (false, true) if self.is_home(group) && self.config.auto_failback => Cause::Failback,
            (false, true) => Cause::Standby,
            (false, false) => Cause::Startup,
        };
        let asks = match self.peer_shows(group) {
            GroupState::Running => false,
            // Both asking: home wins, the other promises (R4).
            GroupState::Asking => self.is_home(group),
            GroupState::Idle | GroupState::Promised if plan.yielded => false,
            GroupState::Idle | GroupState::Promised => {
                let left_alone = plan
                    .peer_idle_since
                    .is_some_and(|since| now.since(since) >= self.config.timing.deadtime);
                // Who began to ask goes on until it is answered: the wait is over, not the reason.
                let asking = self.d.ledger.stance(group) == Stance::Asking;
                self.is_home(group) || declines || plan.wanted || left_alone || asking
            }
        };
        asks.then_some(cause)
    }

    /// A group that nobody runs is taken by the other node too, after a while: its home may be unable
    /// without knowing.
    fn watch_idle_peer(&mut self, now: Instant, group: GroupId) {
        let idle = self.peer_is_partner(now)
            && !self.peer_shows(group).asks()
            && self.d.ledger.stance(group) == Stance::Idle
            && self.d.ledger.promises(group).promised_to(now).is_none();
        let since = &mut self.d.plans[group.index()].peer_idle_since;
        *since = if idle { since.or(Some(now)) } else { None };
    }

    /// What was handed over and not taken up comes back: the peer's start failed, or it gives it up again.
    fn reconsider_yield(&mut self, now: Instant, group: GroupId) {
        let declined = self.d.facts.is_some_and(|facts| has(facts.declines, group));
        let failed = self.d.facts.is_some_and(|facts| has(facts.failed, group));
        let taken_up = self.peer_shows(group) == GroupState::Running && !declined;
        let plan = &mut self.d.plans[group.index()];
        if plan.yielded && taken_up {
            // The peer has it: whatever it declines from now on is no old word of its.
            plan.yield_until = plan.yield_until.min(now);
        }
        if plan.yielded && now >= plan.yield_until && (declined || failed) {
            plan.yielded = false;
            self.d.hello_due = true;
        }
        let both = failed && self.d.groups[group.index()].has_failed() && self.peer_is_partner(now);
        let told = core::mem::replace(&mut self.d.plans[group.index()].both_failed, both);
        if both && !told {
            self.tell(Event::BothFailed { group });
        }
    }

    /// Groups (one bit each) that this node doesn't ask for though it is up.
    pub(super) fn declines(&self, now: Instant) -> u16 {
        let voteless = !self.has_vote(now);
        self.set_of(|node, group| {
            node.gives_up(group) || voteless && node.phase(group) == Phase::Stopped
        })
    }

    /// Whether this node neither asks for the group nor goes on with it, though it could.
    pub(super) fn gives_up(&self, group: GroupId) -> bool {
        let plan = &self.d.plans[group.index()];
        self.d.life != Life::Up
            || plan.yielded
            || plan.standby
            || plan.lost
            || plan.handing_over
            || self.d.groups[group.index()].has_failed()
    }

    /// Groups whose start failed here.
    pub(super) fn failed(&self) -> u16 {
        self.set_of(|node, group| node.d.groups[group.index()].has_failed())
    }

    /// Groups that the peer runs and this node wants: failback, or an operator's takeover.
    pub(super) fn wants(&self) -> u16 {
        self.set_of(|node, group| {
            let plan = &node.d.plans[group.index()];
            let back = node.config.auto_failback && node.is_home(group) && !plan.yielded;
            node.d.life == Life::Up
                && node.matches()
                && node.phase(group) == Phase::Stopped
                && !node.d.groups[group.index()].has_failed()
                && node.peer_shows(group) == GroupState::Running
                && (plan.wanted || back)
        })
    }

    fn set_of(&self, belongs: impl Fn(&Self, GroupId) -> bool) -> u16 {
        self.d
            .ledger
            .groups()
            .filter(|&group| belongs(self, group))
            .fold(0, |set, group| set | 1 << group.0)
    }

    /// A group told what became of it.
    pub(super) fn changed(&mut self, now: Instant, group: GroupId, change: Change) {
        self.tell(Event::Group { group, change });
        match change {
            Change::Started => self.measure(now, group),
            Change::StartFailed { .. } => {
                let plan = &mut self.d.plans[group.index()];
                plan.acquiring = None;
                // It may be tried again where nobody runs it, but is not taken from a peer that serves.
                plan.yielded = true;
                self.d.hello_due = true;
            }
            _ => {}
        }
    }

    /// The group runs: how long did it take, beside what the configuration promises?
    fn measure(&mut self, now: Instant, group: GroupId) {
        let Some((cause, decided_at, detection)) = self.d.plans[group.index()].acquiring.take()
        else {
            return;
        };
        if cause == Cause::Startup {
            return;
        }
        let budget = self.config.budget(group.index());
        let failover = Failover {
            cause,
            detection,
            takeover: now.since(decided_at),
            budget: budget.map_or(Duration::ZERO, |budget| match cause {
                Cause::PeerDead | Cause::PeerDeaf => budget.total(),
                // Nothing has to be detected when the peer says it.
                _ => budget.start + budget.announce,
            }),
        };
        self.statistics.last_failover = Some(failover);
        self.tell(Event::Failover { group, failover });
    }
}
