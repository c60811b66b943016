//! Rules of the driver's turns: a stalled reader, a spinning loop, the watchdog's one boolean.

use hb_proto::group::Phase;
use hb_proto::id::GroupId;
use hb_proto::time::Duration;

use super::TURNS_A_SECOND;
use crate::sim::daemon::Daemon;
use crate::sim::fault::{NAMES, Who};
use crate::sim::wire::Port;
use crate::sim::world::World;

impl World {
    /// After the wake-up's actions, before anything that arrived was looked at: a daemon that slept beyond
    /// deadtime while its peer was there has no ground left, so no address either (R10).
    pub(in crate::sim) fn after_wakeup(
        &mut self,
        who: Who,
        daemon: &Daemon,
        before: (Duration, bool),
    ) {
        self.count_turn(who);
        let (late, peer_was_gone) = before;
        let deadtime = self.knobs.timing.deadtime.max(self.checks.longest_deadtime);
        let voted = self.checks.human[who] != 0;
        if late <= deadtime || peer_was_gone || voted || !daemon.node.is_clean() {
            return;
        }
        for group in 0..self.knobs.groups.len() {
            if self.has_address(who, group) {
                self.violate(format!(
                    "{} slept {late} and still has the address of group {group} when it looks at what arrived",
                    NAMES[who]
                ));
            }
        }
    }

    /// A stalled reader must never kill a living peer: nobody is judged dead while frames wait to be read.
    /// The driver reads again once; who loses the processor twice in one turn (`late` still) is counted.
    pub(in crate::sim) fn note_judgement(
        &mut self,
        who: Who,
        daemon: &Daemon,
        was_gone: bool,
        late: bool,
    ) {
        let dies = !was_gone && daemon.node.peer().state().is_gone();
        if !dies || !daemon.ports.iter().any(Port::is_ready) {
            return;
        }
        self.counts.false_deaths += 1;
        if !late && !daemon.again {
            self.violate(format!(
                "{} takes its peer for dead while frames of it wait to be read",
                NAMES[who]
            ));
        }
    }

    pub(super) fn count_turn(&mut self, who: Who) {
        self.counts.turns += 1;
        let (second, turns) = &mut self.checks.turns[who];
        if *second != self.now / 1_000_000 {
            (*second, *turns) = (self.now / 1_000_000, 0);
        }
        *turns += 1;
        if *turns > TURNS_A_SECOND {
            self.violate(format!(
                "{}'s loop spins: {TURNS_A_SECOND} turns in a second",
                NAMES[who]
            ));
        }
    }

    /// The one boolean: never true while something runs here without ground, a start is under way without
    /// ground, or before the clean start.
    pub(in crate::sim) fn note_feeding(&mut self, who: Who, daemon: &Daemon, may: bool) {
        if !may {
            self.counts.starving += 1;
            return;
        }
        if !daemon.node.is_clean() {
            self.violate(format!("{} may feed its watchdog before the clean start", NAMES[who]));
        }
        for group in 0..self.knobs.groups.len() {
            let machine = &self.machines[who];
            let id = GroupId(group as u8);
            let honest = !machine.lied_to && !self.orphans_work(who, id.0);
            let runs = machine.held[group] != 0
                && daemon
                    .node
                    .group(id)
                    .is_some_and(|here| honest || here.phase() != Phase::Stopped);
            if runs && daemon.node.ground(id, self.local_of(who)).is_none() {
                self.violate(format!(
                    "{} may feed its watchdog while group {group} runs without authority",
                    NAMES[who]
                ));
            }
        }
    }
}
