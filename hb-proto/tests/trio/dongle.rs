//! The dongle's driver: what a board does for the arbiter's state machine.

use hb_proto::arbiter;
use hb_proto::config::LinkKind;
use hb_proto::id::{LinkId, Voter};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message::arbiter::ResetReason;

use super::{BAUD, To, Trio};

impl Trio {
    pub(super) fn wake_dongle(&mut self) {
        let now = self.now;
        let dongle = &mut self.dongle;
        let Some(arbiter) = dongle.arbiter.as_mut().filter(|_| !dongle.frozen) else {
            if dongle.arbiter.is_none() {
                dongle.inbox.clear();
            } else {
                dongle.inbox.truncate(4);
            }
            return;
        };
        if arbiter.poll_timeout() > now && dongle.inbox.is_empty() {
            return;
        }
        arbiter.handle_wakeup(now);
        for (port, bytes) in dongle.inbox.drain(..) {
            let _ = arbiter.handle_frame(now, port, &bytes);
        }
        arbiter.handle_timeout(now);
        self.drain_dongle();
    }

    pub fn drain_dongle(&mut self) {
        let now = self.now;
        let mut restart = None;
        loop {
            let Some(arbiter) = self.dongle.arbiter.as_mut() else { return };
            let Some(action) = arbiter.poll_action(now) else { break };
            match action {
                arbiter::Action::Store(memory) => {
                    self.dongle.memory = Some(memory);
                    self.dongle.stores += 1;
                }
                arbiter::Action::Pulse { node } => {
                    self.dongle.pulses.push((now, node));
                    assert!(self.dongle.pulses.len() < 20, "pulled again and again");
                    self.pulse(node);
                }
                arbiter::Action::Restart { above } => restart = Some(above),
            }
        }
        let Some(arbiter) = self.dongle.arbiter.as_mut() else { return };
        let (mut frame, mut leaving) = ([0; MAX_FRAME], Vec::new());
        while let Some(transmit) = arbiter.poll_transmit(now, &mut frame) {
            let who = transmit.port.index();
            if self.down[who] || transmit.forwarded && self.own_only[who] {
                continue;
            }
            let line = LinkKind::Serial { baud: BAUD }.time_on_line(transmit.len + 2);
            leaving.push((line, To::Machine(who, LinkId(0)), frame[..transmit.len].to_vec()));
        }
        while let Some(event) = arbiter.poll_event() {
            self.dongle.events.push((now, event));
        }
        for (line, to, bytes) in leaving {
            self.fly(line, || to, &bytes);
        }
        if let Some(above) = restart {
            self.dongle.boot = above.value();
            self.dongle.restarts += 1;
            self.plug_in(ResetReason::Software);
        }
    }

    fn pulse(&mut self, node: Voter) {
        let line = self.dongle.wired[node.index()];
        let was_on = line.is_some_and(|who| self.machines[who].node.is_some());
        if let Some(who) = line {
            self.reset(who);
        }
        let (now, supervised, senses) = (self.now, self.dongle.supervised, self.dongle.senses);
        let lies = self.dongle.lies;
        let Some(arbiter) = self.dongle.arbiter.as_mut() else { return };
        arbiter.handle_pulsed(now, node, lies || supervised && line.is_some());
        if let Some(who) = line.filter(|_| senses && was_on) {
            arbiter.handle_sense_fell(now, [Voter::A, Voter::B][who]);
        }
        arbiter.handle_timeout(now);
    }
}
