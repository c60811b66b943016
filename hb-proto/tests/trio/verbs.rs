//! What can be done to the lines.

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
}
