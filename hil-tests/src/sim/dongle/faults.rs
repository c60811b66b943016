//! What happens to the dongle and to the wires that end at it.

use std::fmt;

use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message::arbiter::ResetReason;

use super::{Input, KEPT, LINE};
use crate::scenario::{ResetWire, Supply};
use crate::sim::fault::{NAMES, Weather, Who};
use crate::sim::knobs::voter;
use crate::sim::machine::Power;
use crate::sim::queue::At;
use crate::sim::world::{Happening, World};

/// What can happen to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DongleFault {
    /// Its chip is reset; its power stays.
    Reset,
    /// Its firmware hangs, until its own watchdog resets it.
    Hang,
    /// It is taken out.
    Remove,
    /// It, or the other one, is put in.
    Insert {
        spare: bool,
    },
    /// The cable between it and a machine.
    Half(Who, bool),
    Deaf(Who, bool),
    Mute(Who, bool),
    /// Whether a machine's feed reaches it.
    Feed(Who, bool),
    /// Where a reset output ends.
    Wire(Who, ResetWire),
    /// An operator tests a reset output.
    Test(Who),
}

impl DongleFault {
    /// Position in [`crate::sim::fault::Fault::KINDS`]; repairs count as none.
    #[must_use]
    pub const fn kind(&self) -> Option<usize> {
        Some(match self {
            Self::Reset => 16,
            Self::Hang => 17,
            Self::Remove => 18,
            Self::Insert { spare: true } => 19,
            Self::Half(_, true) => 20,
            Self::Deaf(_, true) | Self::Mute(_, true) => 21,
            Self::Feed(_, false) => 22,
            Self::Wire(_, ResetWire::Broken | ResetWire::Swapped) => 23,
            Self::Test(_) => 24,
            Self::Insert { spare: false }
            | Self::Half(_, false)
            | Self::Deaf(_, false)
            | Self::Mute(_, false)
            | Self::Feed(_, true)
            | Self::Wire(_, ResetWire::Sound) => return None,
        })
    }
}

impl fmt::Display for DongleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on: bool| if on { "" } else { " no longer" };
        match *self {
            Self::Reset => f.write_str("the dongle is reset"),
            Self::Hang => f.write_str("the dongle hangs"),
            Self::Remove => f.write_str("the dongle is taken out"),
            Self::Insert { spare: false } => f.write_str("the dongle is put in"),
            Self::Insert { spare: true } => f.write_str("the other dongle is put in"),
            Self::Half(who, cut) => {
                let word = if cut { "cut" } else { "whole" };
                write!(f, "the cable between {} and the dongle is {word}", NAMES[who])
            }
            Self::Deaf(who, deaf) => {
                write!(f, "the dongle hears{} at {}'s port", on(!deaf), NAMES[who])
            }
            Self::Mute(who, mute) => {
                write!(f, "the dongle speaks{} at {}'s port", on(!mute), NAMES[who])
            }
            Self::Feed(who, feeds) => write!(f, "{} feeds the dongle{}", NAMES[who], on(feeds)),
            Self::Wire(who, wire) => write!(f, "{}'s reset line is {wire:?}", NAMES[who]),
            Self::Test(who) => write!(f, "{}'s reset line is tested", NAMES[who]),
        }
    }
}

impl World {
    pub(in crate::sim) fn apply_to_dongle(&mut self, fault: DongleFault) {
        self.settle_lines();
        match fault {
            DongleFault::Reset => {
                let reason = self.rng.pick(&KEPT);
                self.reset_dongle(reason);
            }
            DongleFault::Hang => self.hang(),
            DongleFault::Remove => self.remove(false),
            DongleFault::Insert { spare } => self.insert(spare),
            DongleFault::Half(who, cut) => self.half(who, |half| half.cut = cut),
            DongleFault::Deaf(who, deaf) => self.half(who, |half| half.deaf = deaf),
            DongleFault::Mute(who, mute) => self.half(who, |half| half.mute = mute),
            DongleFault::Feed(who, feeds) => {
                if let Some(dongle) = self.dongle.as_deref_mut() {
                    dongle.feeds[who] = feeds;
                }
                self.look_at_feeds();
            }
            DongleFault::Wire(who, wire) => {
                if let Some(dongle) = self.dongle.as_deref_mut() {
                    dongle.reset_wires[who] = wire;
                }
            }
            DongleFault::Test(who) => self.test_line(who),
        }
    }

    fn half(&mut self, who: Who, change: impl FnOnce(&mut super::Half)) {
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let was_cut = dongle.halves[who].cut;
        change(&mut dongle.halves[who]);
        let half = dongle.halves[who];
        self.wires[who][LINE].cut = half.cut || half.deaf || half.lost;
        dongle.wires[who].cut = half.cut || half.mute;
        let modem = self.knobs.arbiter.is_some_and(|knobs| knobs.modem_lines);
        if half.cut && !was_cut && modem {
            // Its modem lines are in the same cable.
            if let Some(dongle) = self.dongle.as_deref_mut() {
                dongle.halves[who].cut = false;
            }
            self.sense_falls(who);
            if let Some(dongle) = self.dongle.as_deref_mut() {
                dongle.halves[who].cut = true;
            }
        }
    }

    /// What `from` sends by the dongle's line is lost, or not any more; `both` for its half as a whole.
    pub(in crate::sim) fn cut_at_dongle(&mut self, from: Who, cut: bool) {
        self.half(from, |half| half.lost = cut);
    }

    /// Weather over one half of the line, both ways.
    pub(in crate::sim) fn weather_at_dongle(&mut self, of: Who, weather: Weather) {
        if let Some(dongle) = self.dongle.as_deref_mut() {
            dongle.wires[of].weather = weather;
        }
    }

    fn reset_dongle(&mut self, reason: ResetReason) {
        let line = self.line_kind();
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut().filter(|one| one.plugged && one.powered)
        else {
            return;
        };
        dongle.unit.arbiter = None;
        dongle.lose_loop(now, line);
        self.boot_dongle(reason);
    }

    fn boot_dongle(&mut self, reason: ResetReason) {
        let Some(knobs) = self.knobs.arbiter else { return };
        let takes = self.rng.between(knobs.boot_us.0, knobs.boot_us.1);
        let Some(dongle) = self.dongle.as_deref() else { return };
        self.queue.plan(self.now + takes, Happening::DongleBoots(dongle.epoch, reason));
    }

    pub(in crate::sim) fn dongle_boots(&mut self, epoch: u32, reason: ResetReason) {
        let Some(dongle) = self.dongle.as_deref() else { return };
        if dongle.epoch == epoch && dongle.plugged && dongle.powered {
            self.start_arbiter(reason);
        }
    }

    fn hang(&mut self) {
        let Some(knobs) = self.knobs.arbiter else { return };
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut().filter(|one| one.is_running()) else {
            return;
        };
        dongle.hung = true;
        let epoch = dongle.epoch;
        self.queue.plan(now + knobs.own_watchdog_us, Happening::DongleBites(epoch));
    }

    pub(in crate::sim) fn dongle_bites(&mut self, epoch: u32) {
        let Some(dongle) = self.dongle.as_deref() else { return };
        if dongle.epoch == epoch && dongle.hung {
            self.tell_dongle(|| "is reset by its own watchdog".into());
            self.reset_dongle(ResetReason::Watchdog);
        }
    }

    /// It is taken out; `charged`: from one feed to another, its loop goes on.
    fn remove(&mut self, charged: bool) {
        let line = self.line_kind();
        let (now, knobs) = (self.now, self.knobs.arbiter);
        let (Some(knobs), Some(dongle)) = (knobs, self.dongle.as_deref_mut()) else { return };
        if !std::mem::replace(&mut dongle.plugged, false) {
            return;
        }
        let goes_on = charged && dongle.powered && !dongle.hung;
        dongle.powered = false;
        if !goes_on {
            dongle.unit.lose_power(knobs.keeps);
        }
        dongle.unit.shelved_at = now;
        dongle.unit.known = (dongle.started_at, dongle.heard);
        dongle.lose_loop(now, line);
    }

    fn insert(&mut self, spare: bool) {
        if self.dongle.as_deref().is_none_or(|one| one.plugged && !spare) {
            return;
        }
        let charged = self.knobs.arbiter.is_some_and(|knobs| knobs.spare_charged);
        // On its way to the charger it loses its power or doesn't: the clock's last bit is the die, so that all
        // others of a seed fall as they did.
        self.remove(charged && spare && self.now & 1 == 0);
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        dongle.plugged = true;
        if spare {
            std::mem::swap(&mut dongle.unit, &mut dongle.shelf);
            dongle.epoch += 1;
            if charged {
                // It was on a charger all the time and has a long uptime (R8).
                self.warm_up();
            }
        }
        self.look_at_feeds();
    }

    /// A dongle that was powered on the shelf: its loop ran, nobody was there.
    fn warm_up(&mut self) {
        // The newest life of any dongle that each node knows.
        let newest = [0, 1].map(|who| {
            let node = &self.machines[who].daemon.as_deref()?.node;
            Some(node.arbiter(self.machines[who].clock.local(self.now))?.boot?.value())
        });
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        dongle.powered = true;
        let (since, now) = (dongle.unit.clock.clone(), self.now);
        let shelved_at = dongle.unit.shelved_at;
        if dongle.unit.arbiter.is_some() {
            // It never stopped; whatever it is bound to, it is bound to of itself.
            (dongle.started_at, dongle.heard) = dongle.unit.known;
            let boot = dongle.unit.boot;
            let news = newest.map(|life| life.is_some_and(|life| life < boot));
            (dongle.bound_at, dongle.put_back) = (0, Some((now, news)));
        } else {
            self.start_arbiter_at(shelved_at);
        }
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let Some(mut arbiter) = dongle.unit.arbiter.take() else { return };
        let mut frame = [0; MAX_FRAME];
        let until = since.local(now);
        for input in std::mem::take(&mut dongle.inputs) {
            if let Input::Commissioned(node, proved) = input {
                arbiter.handle_commissioned(node, proved);
            }
        }
        while arbiter.poll_timeout() < until {
            let at = arbiter.poll_timeout();
            arbiter.handle_wakeup(at);
            arbiter.handle_timeout(at);
            while let Some(action) = arbiter.poll_action(at) {
                if let hb_proto::arbiter::Action::Store(memory) = action {
                    dongle.unit.memory = Some(memory);
                }
            }
            while arbiter.poll_transmit(at, &mut frame).is_some() {}
            while arbiter.poll_event().is_some() {}
        }
        dongle.unit.arbiter = Some(arbiter);
    }

    fn start_arbiter_at(&mut self, at: At) {
        let now = std::mem::replace(&mut self.now, at);
        self.start_arbiter(ResetReason::PowerOn);
        self.now = now;
        if let Some(dongle) = self.dongle.as_deref_mut() {
            dongle.turn_at = At::MAX;
        }
    }

    /// Power of the machines, or a feed's wire, may have changed.
    pub(in crate::sim) fn look_at_feeds(&mut self) {
        let Some(knobs) = self.knobs.arbiter else { return };
        let line = self.line_kind();
        let powered =
            [0, 1].map(|who| self.machines[who].power != Power::Off || self.machines[who].in_reset);
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let fed = [0, 1].map(|who| dongle.feeds[who] && powered[who]);
        for (who, feeds) in fed.into_iter().enumerate() {
            dongle.inputs.push(Input::Feed(voter(who), feeds));
        }
        let on = dongle.plugged
            && match knobs.supply {
                Supply::Both => fed[0] || fed[1],
                Supply::One(machine) => fed[machine.index()],
                Supply::External => true,
            };
        if dongle.powered && !on {
            dongle.powered = false;
            dongle.unit.lose_power(knobs.keeps);
            dongle.lose_loop(now, line);
            self.tell_dongle(|| "has no power".into());
        } else if on && !dongle.powered {
            dongle.powered = true;
            dongle.lose_loop(now, line);
            let reason =
                if self.rng.permille(200) { ResetReason::BrownOut } else { ResetReason::PowerOn };
            self.boot_dongle(reason);
        } else if on {
            self.plan_dongle_turn();
        } else if let Some(dongle) = self.dongle.as_deref_mut() {
            dongle.inputs.clear();
        }
    }

    /// Only with nothing running there, and a dongle to do it.
    fn test_line(&mut self, who: Who) {
        let runs = self.machines[who].held.iter().any(|held| *held != 0);
        let Some(dongle) = self.dongle.as_deref_mut().filter(|one| one.is_running()) else {
            return;
        };
        if runs {
            return;
        }
        let hits = dongle.wired_to(who);
        dongle.unit.tested = true;
        dongle.inputs.push(Input::Commissioned(voter(who), hits == Some(who)));
        if let Some(hit) = hits.filter(|&hit| self.machines[hit].power != Power::Off) {
            self.reset(hit);
        }
        self.plan_dongle_turn();
    }

    /// Everything about the dongle is as it was built.
    pub(in crate::sim) fn mend_dongle(&mut self) {
        let Some(knobs) = self.knobs.arbiter else { return };
        for who in 0..2 {
            for fault in [
                DongleFault::Half(who, false),
                DongleFault::Deaf(who, false),
                DongleFault::Mute(who, false),
                DongleFault::Wire(who, ResetWire::Sound),
                DongleFault::Feed(who, true),
            ] {
                self.apply_to_dongle(fault);
            }
        }
        self.apply_to_dongle(DongleFault::Insert { spare: false });
        if !knobs.reset_lines {
            return;
        }
        // An operator tests the lines, or has them tested.
        if let Some(dongle) = self.dongle.as_deref_mut() {
            dongle.unit.tested = true;
            for who in 0..2 {
                dongle.inputs.push(Input::Commissioned(voter(who), true));
            }
        }
        self.plan_dongle_turn();
    }
}
