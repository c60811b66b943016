//! Reset outputs and what reads them back: a pulse holds a machine in reset for its width (R12).

use hb_proto::arbiter::{Arbiter, CONFIRM_WINDOW};
use hb_proto::id::Voter;

use super::{Input, who_of};
use crate::scenario::Evidence;
use crate::sim::fault::{NAMES, Who};
use crate::sim::knobs::voter;
use crate::sim::machine::Power;
use crate::sim::plant::Plant;
use crate::sim::world::{Happening, World};

impl World {
    /// The output for `node` goes low.
    pub(super) fn begin_pulse(&mut self, arbiter: &Arbiter, node: Voter) {
        let target = who_of(node);
        self.judge_pulse(arbiter, target);
        self.counts.trio.pulses += 1;
        let Some(knobs) = self.knobs.arbiter else { return };
        let (now, standby) = (self.now, knobs.standby_power);
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let lies = self.knobs.plant == Some(Plant::EvidenceLies);
        let hits = dongle.wired_to(target).filter(|_| !lies);
        let epoch = dongle.epoch;
        let pulled_up = hits.is_some_and(|who| standby || self.machines[who].power != Power::Off);
        let on = hits.is_some_and(|who| self.machines[who].power != Power::Off);
        dongle.provable[target] = match knobs.evidence {
            Evidence::Supervised => pulled_up,
            Evidence::Sensed => on,
            Evidence::NewLife => false,
        };
        dongle.pulsed[target] = Some((now, hits == Some(target)));
        let supervised = knobs.evidence == Evidence::Supervised;
        let evidence = supervised && pulled_up || lies;
        self.tell_dongle(|| {
            let to = hits.map_or("nothing", |who| NAMES[who]);
            format!("pulls the reset line of {}, which ends at {to}", NAMES[target])
        });
        if let Some(who) = hits.filter(|&who| self.machines[who].power != Power::Off) {
            self.hold_in_reset(who);
            let machine = self.machines[who].epoch;
            let at = now + knobs.pulse_us + knobs.reboot_us;
            self.queue.plan(at, Happening::ResetEnds(who, machine));
        }
        let at = now + knobs.pulse_us;
        self.queue.plan(at, Happening::PulseEnds { epoch, node, evidence });
    }

    fn hold_in_reset(&mut self, who: Who) {
        self.counts.trio.fenced += 1;
        self.machines[who].in_reset = true;
        self.power_off(who);
    }

    /// The line is released: the machine boots.
    pub(in crate::sim) fn reset_ends(&mut self, who: Who, epoch: u32) {
        if self.machines[who].epoch == epoch && self.machines[who].in_reset {
            self.machines[who].in_reset = false;
            self.power_on(who);
        }
    }

    pub(in crate::sim) fn pulse_ends(&mut self, epoch: u32, node: Voter, evidence: bool) {
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        if dongle.epoch == epoch {
            dongle.inputs.push(Input::Pulsed { node, evidence });
            self.plan_dongle_turn();
        }
    }

    /// A daemon's end closes its port: modem lines fall with it.
    pub(in crate::sim) fn port_closes(&mut self, who: Who) {
        if self.knobs.arbiter.is_some_and(|knobs| knobs.modem_lines) {
            self.sense_falls(who);
        }
    }

    /// What the sense input of a machine reads falls.
    pub(in crate::sim) fn sense_falls(&mut self, who: Who) {
        let Some(knobs) = self.knobs.arbiter.filter(|one| one.evidence == Evidence::Sensed) else {
            return;
        };
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        if knobs.modem_lines && dongle.halves[who].cut {
            return;
        }
        dongle.inputs.push(Input::SenseFell(voter(who)));
        let lately = dongle.pulsed[who].is_some_and(|(at, hit)| {
            // The arbiter's window is counted by its own clock.
            !hit && self.now - at <= CONFIRM_WINDOW.micros() * 11 / 10
        });
        // Evidence that proves nothing: a pulse that missed, and then something else let the line fall
        // while the machine goes on. It takes three failures.
        if lately && self.machines[who].power != Power::Off {
            self.checks.false_evidence[who] = true;
            self.counts.trio.false_evidence += 1;
        }
        self.plan_dongle_turn();
    }
}
