//! What can be done to the lines and to machines that stand still, and what is seen of them.

use hb_proto::arbiter::{self, Arbiter, Memory};
use hb_proto::event::Event;
use hb_proto::wire::MAX_FRAME;

use super::Trio;

impl Trio {
    /// Neither the peer nor the arbiter hears this machine, nor it them.
    pub fn isolate(&mut self, who: usize, cut: bool) {
        self.net = [cut; 2];
        (self.up[who], self.down[who]) = (cut, cut);
    }

    pub fn cut_cable(&mut self, who: usize, cut: bool) {
        (self.up[who], self.down[who]) = (cut, cut);
    }

    pub fn cut_net(&mut self, cut: bool) {
        self.net = [cut; 2];
    }

    /// The frames of this machine still leave; nothing reaches it.
    pub fn deafen(&mut self, who: usize, cut: bool) {
        self.net[1 - who] = cut;
        self.down[who] = cut;
    }

    pub fn freeze(&mut self, who: usize) {
        self.machines[who].frozen = true;
    }

    pub fn thaw(&mut self, who: usize) {
        self.machines[who].frozen = false;
    }
}

/// A dongle out of its line, on its charger.
pub struct Shelved {
    arbiter: Option<Arbiter>,
    id: u32,
    boot: u32,
    memory: Option<Memory>,
}

impl Trio {
    /// The cables are pulled off; its power stays.
    pub fn take_out(&mut self) -> Shelved {
        let dongle = &mut self.dongle;
        let arbiter = dongle.arbiter.take();
        Shelved { arbiter, id: dongle.id, boot: dongle.boot, memory: dongle.memory }
    }

    /// And put on again. It has gone on meanwhile, and heard nobody.
    pub fn put_back(&mut self, shelved: Shelved) {
        let Shelved { arbiter, id, boot, memory } = shelved;
        let dongle = &mut self.dongle;
        (dongle.id, dongle.boot, dongle.memory) = (id, boot, memory);
        let mut arbiter = arbiter.expect("it has power");
        let mut frame = [0; MAX_FRAME];
        while arbiter.poll_timeout() < self.now {
            let at = arbiter.poll_timeout();
            arbiter.handle_wakeup(at);
            arbiter.handle_timeout(at);
            while let Some(action) = arbiter.poll_action(at) {
                if let arbiter::Action::Store(memory) = action {
                    dongle.memory = Some(memory);
                }
            }
            while arbiter.poll_transmit(at, &mut frame).is_some() {}
        }
        dongle.arbiter = Some(arbiter);
        dongle.inbox.clear();
        dongle.put_back_at = Some(self.now);
    }
}

/// What a bystander sees.
impl Trio {
    pub fn serves(&self, who: usize) -> bool {
        self.serves_group(who, 0)
    }

    pub fn serves_group(&self, who: usize, group: u8) -> bool {
        let machine = &self.machines[who];
        let resources = &machine.config.groups[usize::from(group)].resources;
        (0..resources.len() as u8).all(|resource| machine.held.contains(&(group, resource)))
    }

    pub fn holds_address(&self, who: usize) -> bool {
        self.machines[who].held.contains(&(0, 0))
    }

    /// Orders to start something, so far.
    pub fn starts(&self) -> usize {
        self.orders.len()
    }

    pub fn events_of(&self, who: usize) -> Vec<Event> {
        self.machines[who].events.iter().map(|&(_, event)| event).collect()
    }
}
