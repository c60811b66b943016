//! What happens to serial lines alone: breaks, and ends of another speed.

use hb_proto::config::LinkKind;

use super::dongle::LINE;
use super::fault::Who;
use super::machine::Power;
use super::world::World;

impl World {
    /// `from` holds its half of a line in a break.
    pub(super) fn hold_break(&mut self, from: Who, link: usize, us: u64) {
        self.settle_lines();
        let now = self.now;
        if self.baud_of(link).is_none() {
            return;
        }
        if link == LINE
            && let Some(dongle) = self.dongle.as_deref_mut()
        {
            let (on, hung) = (dongle.is_running() || dongle.hung, dongle.hung);
            let port = on.then_some(&mut dongle.ports[from]);
            if self.wires[from][link].hold_break(now, us, port, hung) {
                self.plan_dongle_turn();
            }
            return;
        }
        let machine = &mut self.machines[1 - from];
        let (frozen, on) = (machine.frozen, machine.power == Power::On);
        let port =
            machine.daemon.as_deref_mut().filter(|_| on).map(|daemon| &mut daemon.ports[link]);
        if self.wires[from][link].hold_break(now, us, port, frozen) {
            self.plan_turn(1 - from);
        }
    }

    /// `who`'s end of a line is set to a speed, the right one without one: for what it sends and what it hears.
    pub(super) fn set_speed(&mut self, who: Who, link: usize, baud: Option<u32>) {
        self.settle_lines();
        let Some(right) = self.baud_of(link) else { return };
        let baud = baud.unwrap_or(right);
        self.wires[who][link].send_at(baud);
        match self.dongle.as_deref_mut() {
            Some(dongle) if link == LINE => dongle.wires[who].hear_at(baud),
            _ => self.wires[1 - who][link].hear_at(baud),
        }
    }

    /// A serial link's speed as both files have it.
    fn baud_of(&self, link: usize) -> Option<u32> {
        match self.knobs.links.get(link) {
            Some(LinkKind::Serial { baud }) => Some(*baud),
            _ => None,
        }
    }
}
