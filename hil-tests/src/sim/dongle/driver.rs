//! The firmware's loop: what a board does for the arbiter's state machine, with simulated UARTs.

use hb_proto::arbiter::{self, Action, Arbiter, Event, Port as LinePort};
use hb_proto::config::LinkKind;
use hb_proto::id::{BootId, Voter};
use hb_proto::time::Instant;
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message::arbiter::ResetReason;

use super::{Input, LINE, Stage, who_of};
use crate::sim::check::Handed;
use crate::sim::fault::Who;
use crate::sim::queue::At;
use crate::sim::wire::Port;
use crate::sim::world::{Happening, World};

/// Beyond so many turns in a simulated second its loop spins.
const TURNS_A_SECOND: u32 = 20_000;

impl World {
    pub(in crate::sim) fn line_kind(&self) -> LinkKind {
        self.knobs.links[LINE]
    }

    fn baud(&self) -> u32 {
        match self.line_kind() {
            LinkKind::Serial { baud } => baud,
            _ => unreachable!("the dongle's line is a serial one: Knobs::check"),
        }
    }

    /// A life of the arbiter begins.
    pub(in crate::sim) fn start_arbiter(&mut self, reason: ResetReason) {
        let baud = self.baud();
        let keys = self.keys.clone();
        let broken = self.knobs.broken;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let unit = &mut dongle.unit;
        // In flash before its first use (R9).
        unit.boot += 1;
        let boot = BootId::new(unit.boot).expect("far from the end of the numbers");
        let now = unit.clock.local(self.now);
        let config = arbiter::Config::new(unit.id, baud);
        let arbiter = Arbiter::new(config, keys, boot, unit.memory, reason, now);
        let arbiter = arbiter.expect("a number and a speed");
        #[cfg(feature = "mutants")]
        let arbiter = {
            let mut arbiter = arbiter;
            arbiter.break_rule(broken);
            arbiter
        };
        #[cfg(not(feature = "mutants"))]
        debug_assert!(broken.is_none(), "built without mutants");
        let fresh = unit.memory.is_none() && unit.tested;
        unit.arbiter = Some(Box::new(arbiter));
        dongle.heard = Default::default();
        (dongle.started_at, dongle.bound_at) = (self.now, self.now);
        dongle.put_back = None;
        let lines = self.knobs.arbiter.is_some_and(|knobs| knobs.reset_lines);
        for node in [Voter::A, Voter::B] {
            if fresh && lines {
                dongle.inputs.push(Input::Commissioned(node, true));
            }
            let feeds = dongle.feeds[who_of(node)];
            dongle.inputs.push(Input::Feed(node, feeds));
        }
        self.counts.trio.arbiter_lives += 1;
        self.tell_dongle(|| format!("life {boot} begins ({reason:?})"));
        self.plan_dongle_turn();
    }

    /// A line of the timeline.
    pub(in crate::sim) fn tell_dongle(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        self.trace.line(|| format!("{:>6}.{:06} D  {}", now / 1_000_000, now % 1_000_000, what()));
    }

    /// Its next turn: at once if something waits for it, else by its own timers.
    pub(in crate::sim) fn plan_dongle_turn(&mut self) {
        let late_us = self.knobs.arbiter.map_or(1, |knobs| knobs.sched_us);
        let Some(dongle) = self.dongle.as_deref_mut().filter(|one| one.is_running()) else {
            return;
        };
        if dongle.stage == Stage::Storing {
            return;
        }
        let ready = !dongle.inputs.is_empty() || dongle.ports.iter().any(Port::is_ready);
        let due = match &dongle.unit.arbiter {
            Some(arbiter) if !ready => dongle.unit.clock.when(arbiter.poll_timeout()),
            _ => self.now,
        };
        if due >= dongle.turn_at {
            return;
        }
        let late = if late_us > 1 { self.rng.between(1, late_us) } else { 1 };
        self.plan_dongle_turn_at(due.max(self.now).saturating_add(late));
    }

    fn plan_dongle_turn_at(&mut self, at: At) {
        self.tokens += 1;
        let token = self.tokens;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        (dongle.turn_at, dongle.token) = (at, token);
        self.queue.plan(at, Happening::DongleTurn(token));
    }

    /// A run of bytes has arrived at a machine's port of the dongle.
    pub(in crate::sim) fn settle_at_dongle(&mut self, from: Who) {
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let (on, hung) = (dongle.is_running() || dongle.hung, dongle.hung);
        let port = on.then_some(&mut dongle.ports[from]);
        if self.wires[from][LINE].settle(now, port, hung, &mut self.rng) {
            self.plan_dongle_turn();
        }
    }

    /// A run of the dongle's bytes has arrived at a machine.
    pub(in crate::sim) fn settle_from_dongle(&mut self, to: Who) {
        let now = self.now;
        let machine = &mut self.machines[to];
        let (frozen, on) = (machine.frozen, machine.power == crate::sim::machine::Power::On);
        let port =
            machine.daemon.as_deref_mut().filter(|_| on).map(|daemon| &mut daemon.ports[LINE]);
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        if dongle.wires[to].settle(now, port, frozen, &mut self.rng) {
            self.plan_turn(to);
        }
    }

    /// One turn of its loop, or what is left of one.
    pub(in crate::sim) fn dongle_turn(&mut self, token: u64) {
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        if dongle.token != token || dongle.turn_at != self.now || !dongle.is_running() {
            return;
        }
        dongle.turn_at = At::MAX;
        self.trace.number(self.now << 1 | 1);
        let dongle = self.dongle.as_deref_mut().expect("just looked at");
        let epoch = dongle.epoch;
        let Some(mut arbiter) = dongle.unit.arbiter.take() else { return };
        let stored = dongle.stage == Stage::Storing;
        let before = self.rules_of_arbiter(&arbiter);
        if !stored {
            self.take_in(&mut arbiter);
        }
        let stage = self.put_out(&mut arbiter, stored);
        self.count_arbiter_rules(before, &arbiter);
        let dongle = self.dongle.as_deref_mut().expect("it is there for good");
        // A pulse may have taken its own power away.
        if dongle.epoch == epoch {
            dongle.unit.arbiter = Some(arbiter);
            dongle.stage = stage;
        }
        self.count_dongle_turn();
        self.check_promises();
        self.check_holders();
        if stage == Stage::Storing {
            let store_us = self.knobs.arbiter.map_or(0, |knobs| knobs.store_us);
            self.plan_dongle_turn_at(self.now + store_us);
        } else {
            self.plan_dongle_turn();
        }
    }

    fn dongle_now(&self) -> Instant {
        self.dongle.as_deref().map_or(Instant::ZERO, |dongle| dongle.unit.clock.local(self.now))
    }

    fn take_in(&mut self, arbiter: &mut Arbiter) {
        let now = self.dongle_now();
        arbiter.handle_wakeup(now);
        let inputs = self.dongle.as_deref_mut().map(|one| std::mem::take(&mut one.inputs));
        for input in inputs.unwrap_or_default() {
            match input {
                Input::Pulsed { node, evidence } => arbiter.handle_pulsed(now, node, evidence),
                Input::SenseFell(node) => arbiter.handle_sense_fell(now, node),
                Input::Feed(node, feeds) => arbiter.handle_feed(node, feeds),
                Input::Commissioned(node, proved) => arbiter.handle_commissioned(node, proved),
            }
        }
        for at in 0..2 {
            self.read_port(arbiter, at, now);
        }
        arbiter.handle_timeout(now);
    }

    /// A machine's port, or the machine at a port.
    fn cabled(&self, at: usize) -> usize {
        at ^ usize::from(self.knobs.arbiter.is_some_and(|knobs| knobs.crossed))
    }

    fn read_port(&mut self, arbiter: &mut Arbiter, at: Who, now: Instant) {
        let port = LinePort::ALL[self.cabled(at)];
        let mut handed = std::mem::take(&mut self.handed);
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        if let Port::Serial(framed) = &mut dongle.ports[at] {
            while matches!(framed.fill(), Ok(1..)) {
                while let Some(frame) = framed.next_frame() {
                    match frame {
                        Ok(frame) => {
                            let whole = self.wires[at][LINE].sent_lately(frame);
                            let result = arbiter.handle_frame(now, port, frame);
                            let result = result.map(|accepted| match accepted {
                                arbiter::Accepted::First => hb_proto::node::Accepted::First,
                                arbiter::Accepted::Copy => hb_proto::node::Accepted::Copy,
                            });
                            handed.push(Handed::of(frame, whole, true, result));
                        }
                        Err(_) => {
                            self.counts.damage += 1;
                            arbiter.handle_damage(port);
                        }
                    }
                }
            }
        }
        for frame in handed.drain(..) {
            self.note_handed_to_dongle(frame);
        }
        self.handed = handed;
    }

    /// Actions first, then frames; a store takes its time before anything leaves.
    fn put_out(&mut self, arbiter: &mut Arbiter, stored: bool) -> Stage {
        let now = self.dongle_now();
        let (mut store, mut restart) = (false, None);
        while let Some(action) = arbiter.poll_action(now) {
            match action {
                Action::Store(memory) => {
                    if let Some(dongle) = self.dongle.as_deref_mut() {
                        dongle.unit.memory = Some(memory);
                    }
                    self.counts.trio.stores += 1;
                    store = true;
                }
                Action::Pulse { node } => self.begin_pulse(arbiter, node),
                Action::Restart { above } => restart = Some(above),
            }
        }
        self.hear_arbiter(arbiter);
        if let Some(above) = restart {
            self.restart_arbiter(above);
            return Stage::Loop;
        }
        let takes = self.knobs.arbiter.is_some_and(|knobs| knobs.store_us > 0);
        if store && takes && !stored {
            return Stage::Storing;
        }
        let mut frame = [0; MAX_FRAME];
        while let Some(transmit) = arbiter.poll_transmit(now, &mut frame) {
            self.send_from_dongle(self.cabled(transmit.port.index()), &frame[..transmit.len]);
            self.counts.trio.forwarded += u64::from(transmit.forwarded);
        }
        Stage::Loop
    }

    fn send_from_dongle(&mut self, to: Who, frame: &[u8]) {
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let Port::Serial(framed) = &mut dongle.ports[to] else { return };
        framed.port_mut().busy = false;
        if framed.send(frame).is_err() {
            return;
        }
        let line = std::mem::take(&mut framed.port_mut().written);
        self.counts.frames_sent += 1;
        self.counts.bytes_sent += line.len() as u64;
        self.trace.bytes(&line);
        dongle.wires[to].remember(frame);
        let end = dongle.wires[to].send(now, &line);
        self.queue.plan(end, Happening::DongleLine(to));
    }

    fn hear_arbiter(&mut self, arbiter: &mut Arbiter) {
        while let Some(event) = arbiter.poll_event() {
            match event {
                Event::Rejected { .. } => continue,
                Event::Forgot => {
                    self.counts.trio.forgot += 1;
                    self.counts.trio.rules[7] += 1;
                    let now = self.now;
                    if let Some(dongle) = self.dongle.as_deref_mut() {
                        dongle.bound_at = now;
                    }
                }
                Event::Confirmed { .. } => self.counts.trio.confirmed += 1,
                Event::Miswired => self.counts.trio.miswired += 1,
                _ => {}
            }
            self.tell_dongle(|| format!("{event:?}"));
        }
    }

    /// Another dongle's lives are ahead of this one's (R9).
    fn restart_arbiter(&mut self, above: BootId) {
        let line = self.line_kind();
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        dongle.unit.boot = dongle.unit.boot.max(above.value());
        dongle.unit.arbiter = None;
        dongle.lose_loop(now, line);
        let epoch = dongle.epoch;
        self.counts.trio.arbiter_restarts += 1;
        self.queue.plan(now + 1_000, Happening::DongleBoots(epoch, ResetReason::Software));
    }

    fn count_dongle_turn(&mut self) {
        let now = self.now;
        let Some(dongle) = self.dongle.as_deref_mut() else { return };
        let (second, turns) = &mut dongle.turns;
        if *second != now / 1_000_000 {
            (*second, *turns) = (now / 1_000_000, 0);
        }
        *turns += 1;
        if *turns > TURNS_A_SECOND {
            self.violate(format!("the dongle's loop spins: {TURNS_A_SECOND} turns in a second"));
        }
    }
}
