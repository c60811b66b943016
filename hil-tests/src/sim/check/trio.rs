//! The rules of three voters, judged in true time (protocol.md §1, §6): never two machines with one
//! group, whatever happens, but for the exemptions that stand here by name.

use hb_proto::arbiter::Arbiter;
use hb_proto::authority::Stance;
use hb_proto::id::{BootId, GroupId};
use hb_proto::node::{Accepted, Ground};
use hb_proto::wire::message::arbiter::LineShown;

use super::Handed;
use crate::sim::daemon::Daemon;
use crate::sim::fault::{NAMES, Who};
use crate::sim::knobs::trio::Stopped;
use crate::sim::knobs::voter;
use crate::sim::machine::Power;
use crate::sim::queue::At;
use crate::sim::world::World;

#[cfg(test)]
mod tests;

/// Why two machines may have one group though there is an arbiter. Each is an honest limit of
/// protocol.md §1, and each is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excuse {
    /// A human voted in place of a peer that had power (R14): the vote was not true, or it was, and then
    /// somebody switched the machine on while the voter heard neither it nor the arbiter.
    Human,
    /// Nothing stops a hung machine, and an operator wrote `guard_unsafe` (R10): it goes on beyond its
    /// authority.
    Unsafe,
    /// Three failures at once: a machine hangs, its reset line is broken, and within two seconds of the
    /// pulse that missed something else lets its modem lines fall.
    FalseEvidence,
    /// One node's ha.cf has no arbiter: it runs by the classic rule (R2), and the excuse is the classics'.
    Classic,
}

impl Excuse {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Human, Self::Unsafe, Self::FalseEvidence, Self::Classic];

    /// As figures are printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "a human's vote",
            Self::Unsafe => "guard_unsafe",
            Self::FalseEvidence => "false evidence",
            Self::Classic => "a classic node",
        }
    }
}

impl World {
    /// Why `who` may take the group while the other machine has it; with an arbiter nothing else does.
    fn excuse(&self, who: Who, group: usize) -> Option<Excuse> {
        let either = |is: &dyn Fn(Who) -> bool| is(0) || is(1);
        if either(&|one| self.checks.human[one] >> group & 1 == 1) {
            return Some(Excuse::Human);
        }
        let arbiter = self.knobs.arbiter?;
        let beyond = |one: Who| !self.has_ground(one, group) || self.machines[one].clock_stood;
        if matches!(arbiter.stopped, Stopped::Unsafe(_)) && beyond(1 - who) {
            return Some(Excuse::Unsafe);
        }
        if either(&|one| self.checks.false_evidence[one]) {
            return Some(Excuse::FalseEvidence);
        }
        let classic = either(&|one| self.checks.classic[one]);
        (classic && self.is_split(who)).then_some(Excuse::Classic)
    }

    /// The excuse for two holders, with two voters or three; counted.
    pub(super) fn is_excused(&mut self, who: Who, group: usize) -> bool {
        if self.knobs.arbiter.is_none() {
            return self.is_split(who) || self.checks.split_start[who][group];
        }
        let excuse = self.excuse(who, group);
        if let Some(excuse) = excuse {
            self.counts.trio.excused[excuse as usize] += 1;
        }
        excuse.is_some()
    }

    /// Whether a node's own state allows the group, by its machine's clock.
    pub(in crate::sim) fn has_ground(&self, who: Who, group: usize) -> bool {
        self.ground_of(who, group).is_some()
    }

    fn ground_of(&self, who: Who, group: usize) -> Option<Ground> {
        let id = GroupId(group as u8);
        let node = &self.machines[who].daemon.as_deref()?.node;
        node.group(id).and_then(|_| node.ground(id, self.local_of(who)))
    }

    /// The theorem of protocol.md §7: no two nodes are authorised for one group at the same time.
    pub(in crate::sim) fn check_authority(&mut self) {
        let Some(arbiter) = self.knobs.arbiter else { return };
        for group in 0..self.knobs.groups.len() {
            let grounds = [0, 1].map(|who| self.ground_of(who, group));
            for (who, ground) in grounds.into_iter().enumerate() {
                if ground == Some(Ground::Human) {
                    self.checks.human[who] |= 1 << group;
                } else if self.machines[who].held[group] == 0 {
                    self.checks.human[who] &= !(1 << group);
                }
            }
            let [Some(a), Some(b)] = grounds else { continue };
            let human = [a, b].contains(&Ground::Human);
            let stood = self.machines.iter().any(|one| one.clock_stood);
            let paused = stood && matches!(arbiter.stopped, Stopped::Unsafe(_));
            let classic = self.checks.classic.contains(&true);
            if !human && !paused && !classic && !self.checks.false_evidence.contains(&true) {
                self.violate(format!(
                    "both nodes are authorised for group {group}: A by {a:?}, B by {b:?}"
                ));
            }
        }
    }

    /// At the end of a node's turn: who runs a group has promised it to nobody (R1, R2), and a human's vote
    /// is over a lease after its peer was heard (R14).
    pub(in crate::sim) fn check_turn(&mut self, who: Who, daemon: &Daemon) {
        if self.knobs.arbiter.is_none() {
            return;
        }
        let now = self.local_of(who);
        let met = self.checks.human_met_at[who].map_or(0, |at| now.since(at).micros());
        let lease = daemon.node.config().timing.lease.micros();
        for group in 0..self.knobs.groups.len() {
            let id = GroupId(group as u8);
            if daemon.node.group(id).is_none() {
                continue;
            }
            let promised = daemon.node.promises(id).promised_to(now);
            if daemon.node.stance(id) == Stance::Running
                && let Some(to) = promised
            {
                self.violate(format!(
                    "{} runs group {group}, which it has promised to {to:?}",
                    NAMES[who]
                ));
            }
            // By the slowest clock, and a keepalive for the turn that notices.
            let over = lease * 11 / 10 + 2 * self.knobs.timing.keepalive.micros();
            if daemon.node.ground(id, now) == Some(Ground::Human) && met > over {
                self.violate(format!(
                    "{} goes on with group {group} by a human's vote {met} µs after it was handed a frame of its peer",
                    NAMES[who]
                ));
            }
        }
    }

    /// What is started by a human's vote is known as such from here on.
    pub(super) fn note_vote(&mut self, who: Who, daemon: &Daemon, group: usize) {
        let ground = daemon.node.ground(GroupId(group as u8), self.local_of(who));
        if ground == Some(Ground::Human) {
            self.checks.human[who] |= 1 << group;
        }
    }

    /// The dongle was handed a frame. None is taken as new twice, or after a newer one.
    pub(in crate::sim) fn note_handed_to_dongle(&mut self, frame: Handed) {
        self.counts.frames_handed += 1;
        if let Err(reason) = frame.result {
            self.counts.rejected[reason.index()] += 1;
        }
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let Some(heard) = dongle.heard.get_mut(usize::from(frame.sender)) else { return };
        let mut twice = None;
        if frame.result == Ok(Accepted::First) {
            self.counts.firsts += 1;
            twice = (frame.name <= heard.first).then_some(heard.first);
            heard.first = frame.name;
        }
        if frame.whole && frame.name > heard.handed {
            (heard.at, heard.handed) = (now, frame.name);
        }
        if let Some(newest) = twice {
            self.violate(format!(
                "the dongle took frame {:?} of {} as new after {newest:?}",
                frame.name,
                NAMES[usize::from(frame.sender)]
            ));
        }
    }

    /// R12: never a node that it hears, never before it has listened for deadtime, never a life twice,
    /// never by a line that no test proved.
    pub(in crate::sim) fn judge_pulse(&mut self, arbiter: &Arbiter, target: Who) {
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let memory = arbiter.memory().nodes[target];
        let now = self.now;
        // Its clock rounds, and it read the clock when its turn began.
        let local = |at: At| dongle.unit.clock.local(at);
        let deadtime = arbiter.deadtime();
        let since = dongle.heard[target].at.max(dongle.started_at);
        let silent = local(now).since(local(since));
        let pulsed = memory.pulsed.map_or(0, BootId::value);
        let again = dongle.unit.pulsed[target] >= pulsed;
        dongle.unit.pulsed[target] = dongle.unit.pulsed[target].max(pulsed);
        let asked = self.checks.fence_asked[target] == pulsed;
        self.counts.trio.rules[if asked { 11 } else { 12 }] += 1;
        let name = NAMES[target];
        if silent.micros() + 2 < deadtime.micros() {
            self.violate(format!("the dongle fences {name}, which it heard {silent} ago"));
        }
        if again {
            self.violate(format!("the dongle fences life {pulsed} of {name} twice"));
        }
        let armed = self.knobs.arbiter.is_some_and(|knobs| knobs.external_watchdog);
        if !asked && !armed {
            self.violate(format!("the dongle fences {name}, which nobody asked for (R13)"));
        }
        if !asked && self.checks.life_at[1 - target] > since {
            self.violate(format!(
                "the dongle fences {name} unasked, on the word of a life younger than its silence (R13)"
            ));
        }
        if memory.line != LineShown::Commissioned {
            self.violate(format!("the dongle pulls {name}'s line, which no test proved"));
        }
    }

    /// How long a machine that nothing stopped went on beyond its authority after it was thawed or
    /// continued: the figure for the honest limits.
    pub(in crate::sim) fn note_dropped(&mut self, who: Who, group: usize) {
        if self.knobs.arbiter.is_none() || self.checks.double[group].is_none() {
            return;
        }
        let thawed = self.machines[who].woken_at;
        if self.machines[who].power == Power::On && thawed > 0 {
            let took = self.now - thawed;
            let longest = &mut self.checks.longest_thaw_to_drop_us;
            *longest = (*longest).max(took);
        }
    }

    /// What an operator, and `hb check`, would call the whole pair's redundancy: who runs a group counts
    /// the peer's promise and the dongle's. What is missing, if anything.
    pub(in crate::sim) fn missing_votes(&self) -> Option<String> {
        self.knobs.arbiter?;
        let mut found = Vec::new();
        let dongle = self.dongle.as_deref()?;
        if !dongle.is_running() {
            found.push("the dongle doesn't run".to_owned());
        }
        for group in 0..self.knobs.groups.len() {
            for who in (0..2).filter(|&who| self.serves(who, group)) {
                let Some(daemon) = self.machines[who].daemon.as_deref() else { continue };
                let authority = daemon.node.authority(GroupId(group as u8), self.local_of(who));
                let lacks = [("peer", authority.peer), ("arbiter", authority.arbiter)];
                for (voter, _) in lacks.into_iter().filter(|(_, vote)| vote.is_none()) {
                    found.push(format!(
                        "{} runs group {group} without the {voter}'s vote",
                        NAMES[who]
                    ));
                }
            }
        }
        for (who, name) in NAMES.into_iter().enumerate() {
            let Some(daemon) = self.machines[who].daemon.as_deref() else { continue };
            for group in 0..self.knobs.groups.len() {
                let id = GroupId(group as u8);
                let holder = daemon.node.holder(id);
                if holder.is_none()
                    && let Some(obstacle) = daemon.node.obstacle(id, self.local_of(who))
                {
                    found.push(format!(
                        "{:?} is in {}'s way to group {group}: {obstacle:?}",
                        voter(who),
                        name
                    ));
                }
            }
        }
        (!found.is_empty()).then(|| found.join("; "))
    }
}
