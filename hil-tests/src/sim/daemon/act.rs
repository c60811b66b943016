//! What the driver does as told: orders, frames, the standing order, the way out.

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::authority::Stance;
use hb_proto::event::Event;
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId, LinkId};
use hb_proto::wire::MAX_FRAME;

use super::{Carried, Daemon, ROUNDS_A_TURN, Then};
use crate::sim::fault::{Point, Who};
use crate::sim::machine::What;
use crate::sim::plant::Plant;
use crate::sim::wire::{Bytes, Port};
use crate::sim::world::{Happening, World};

impl World {
    /// Drains every output of the node, as `Daemon::carry_out` does: frames not before what arrived was read.
    pub(super) fn carry_out(&mut self, who: Who, daemon: &mut Daemon, then: Then) -> Carried {
        if let Some((link, frame)) = daemon.stamped.take() {
            self.write(who, daemon, link, frame.get());
        }
        for _ in 0..ROUNDS_A_TURN {
            let mut decide = false;
            while let Some(action) = daemon.node.poll_action(daemon.now) {
                match action {
                    Action::Run { ticket, group, resource, verb } => {
                        let what = What { group: group.0, resource };
                        decide |= self.run(who, daemon, ticket.id(), what, verb);
                    }
                    Action::Abort { ticket } => self.abort(who, ticket),
                    Action::DropAddresses { group } => self.drop_addresses(who, group),
                    Action::Announce { group } => {
                        self.announces(who, group.index());
                        self.tell(who, || format!("announces group {}", group.0));
                    }
                    Action::Depart { restart_above } => return Carried::Departed(restart_above),
                }
            }
            if then == Then::Decide && self.transmit(who, daemon) {
                return Carried::LostProcessor;
            }
            self.hear_events(who, daemon);
            if !decide {
                break;
            }
            if then == Then::Decide {
                daemon.node.handle_timeout(daemon.now);
            }
        }
        self.keep_standing_order(who, daemon);
        Carried::All
    }

    /// Whether the node may decide again at once.
    pub(super) fn run(
        &mut self,
        who: Who,
        daemon: &mut Daemon,
        ticket: TicketId,
        what: What,
        verb: Verb,
    ) -> bool {
        self.keep_standing_order(who, daemon);
        self.note_order(who, daemon, ticket, what, verb);
        if self.knobs.is_address(what) {
            let machine = &mut self.machines[who];
            let outcome = match verb {
                Verb::Start => {
                    machine.hold(what, true);
                    self.announces(who, usize::from(what.group));
                    Outcome::Done
                }
                Verb::Stop => {
                    machine.hold(
                        what,
                        self.knobs.plant == Some(Plant::AddressesStay) && machine.holds(what),
                    );
                    Outcome::Done
                }
                Verb::Status if machine.holds(what) => Outcome::Held,
                Verb::Status => Outcome::NotHeld,
            };
            self.note_answer(who, daemon, ticket, outcome);
            daemon.node.handle_done(daemon.now, ticket, outcome);
            return true;
        }
        if daemon.helper_died {
            // The socket is broken: the order can't be given.
            daemon.node.handle_done(daemon.now, ticket, Outcome::Failed);
            return true;
        }
        daemon.under_way.push(ticket);
        self.machines[who].order(daemon.helper, Some(ticket), what, verb);
        self.start_jobs(who);
        false
    }

    pub(super) fn drop_addresses(&mut self, who: Who, group: GroupId) {
        if self.knobs.plant == Some(Plant::AddressesStay) {
            return;
        }
        for resource in 0..self.knobs.groups[group.index()].resources.len() as u8 {
            let what = What { group: group.0, resource };
            if self.knobs.is_address(what) {
                self.machines[who].hold(what, false);
            }
        }
        self.tell(who, || format!("drops the addresses of group {}", group.0));
    }

    /// True if the processor was lost between stamp and write.
    pub(super) fn transmit(&mut self, who: Who, daemon: &mut Daemon) -> bool {
        let mut frame = [0; MAX_FRAME];
        let mut now = self.local(who);
        while let Some(transmit) = daemon.node.poll_transmit(now, &mut frame) {
            let bytes = &frame[..transmit.len];
            if self.lost(who, daemon, Point::Stamped) {
                daemon.stamped = Some((transmit.link, Bytes::of(bytes)));
                return true;
            }
            self.write(who, daemon, transmit.link, bytes);
            now = self.local(who);
        }
        false
    }

    pub(super) fn write(&mut self, who: Who, daemon: &mut Daemon, link: LinkId, frame: &[u8]) {
        let now = self.local(who);
        let at = link.index();
        match &mut daemon.ports[at] {
            Port::Datagram(_) => self.send_datagram(who, at, frame),
            Port::Serial(framed) => {
                framed.port_mut().busy = self.wires[who][at].is_busy(self.now);
                if framed.send(frame).is_err() {
                    daemon.node.handle_blocked(now, link);
                    return;
                }
                let line = std::mem::take(&mut framed.port_mut().written);
                self.send_on_line(who, at, frame, &line);
            }
        }
    }

    pub(super) fn hear_events(&mut self, who: Who, daemon: &mut Daemon) {
        while let Some(event) = daemon.node.poll_event() {
            if event == Event::Clean {
                // R9: the watchdog is opened, and so armed, not before the clean start.
                daemon.watching = self.knobs.watchdog_s.is_some();
                if daemon.watching {
                    self.feed(who);
                    self.machines[who].watchdog.armed = true;
                }
            }
            self.note_event(who, event);
        }
    }

    pub(super) fn keep_standing_order(&mut self, who: Who, daemon: &mut Daemon) {
        let mut standing = 0;
        for group in (0..self.knobs.groups.len() as u8).map(GroupId) {
            let Some(here) = daemon.node.group(group) else { continue };
            let stopped = here.phase() == Phase::Stopped;
            if daemon.node.stance(group) == Stance::Running && !stopped {
                standing |= 1 << group.0;
            }
        }
        if standing == daemon.standing || daemon.helper_died {
            return;
        }
        let helpers = &mut self.machines[who].helpers;
        if let Some(helper) = helpers.iter_mut().find(|helper| helper.id == daemon.helper) {
            helper.standing = standing;
            daemon.standing = standing;
        }
    }

    /// Everything is stopped and said; the watchdog is disarmed, the helper let go.
    pub(super) fn depart(&mut self, who: Who, daemon: &Daemon, above: Option<BootId>) {
        self.tell(who, || format!("departs; to live above {above:?}"));
        let machine = &mut self.machines[who];
        machine.watchdog.armed = false;
        let helper = daemon.helper;
        machine.helpers.retain(|other| other.id != helper);
        match above {
            Some(above) => {
                machine.stored_boot = machine.stored_boot.max(above.value());
                self.queue.plan(self.now + 1_000, Happening::Respawn(who, machine.epoch));
            }
            None if std::mem::take(&mut machine.restarts) => {
                self.queue.plan(self.now + 1_000, Happening::Respawn(who, machine.epoch));
            }
            None => machine.left = true,
        }
    }
}
