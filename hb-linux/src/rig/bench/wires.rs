//! What can be done to the wires of a bench beyond cutting them.

use std::time::Duration;

use super::super::faults::{Faults, Noise};
use super::super::switch::Way;
use super::cable::Cable;
use super::{Bench, Network, Node, rig_side};

/// One network of a [`Bench`], with what goes wrong on it.
///
/// ```no_run
/// # use hb_linux::rig::{bench::{Bench, Network, Node}, faults::Faults};
/// # fn play(bench: &Bench) {
/// let lossy = Faults { seed: 7, loss: 0.2, ..Faults::default() };
/// bench.network(Network::Private).faults(lossy);
/// bench.network(Network::Private).faults_from(Node::One, lossy);
/// bench.network(Network::Private).heal();
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Net<'bench> {
    pub(super) bench: &'bench Bench,
    pub(super) network: Network,
}

impl Net<'_> {
    /// Both machines' frames suffer, from dice of their own, until [`Self::heal`]; power cycles change
    /// nothing.
    pub fn faults(&self, faults: Faults) {
        for node in Node::BOTH {
            let seed = faults.seed.wrapping_add(node.index() as u64);
            self.faults_from(node, Faults { seed, ..faults });
        }
    }

    /// What one machine sends suffers.
    pub fn faults_from(&self, node: Node, faults: Faults) {
        self.set(node, Way::Out, Some(faults));
    }

    /// What one machine receives suffers, whoever sent it.
    pub fn faults_to(&self, node: Node, faults: Faults) {
        self.set(node, Way::In, Some(faults));
    }

    /// No faults any more; cuts stay.
    pub fn heal(&self) {
        for node in Node::BOTH {
            self.set(node, Way::Out, None);
            self.set(node, Way::In, None);
        }
    }

    /// Heartbeats that a machine has put on this network so far, each once, whatever became of them.
    #[must_use]
    pub fn heartbeats_of(&self, node: Node) -> u64 {
        self.bench.switches[self.network.index()].heartbeats(&rig_side(node, self.network))
    }

    fn set(&self, node: Node, way: Way, faults: Option<Faults>) {
        let switch = &self.bench.switches[self.network.index()];
        switch.faults(&rig_side(node, self.network), way, faults);
    }
}

/// One serial line of a [`Bench`], with what goes wrong on it.
#[derive(Clone, Copy, Debug)]
pub struct Serial<'bench> {
    pub(super) cable: &'bench Cable,
}

impl Serial<'_> {
    /// Every direction is noisy, from dice of its own, until [`Self::heal`]: two, or with a dongle four.
    pub fn noise(&self, noise: Noise) {
        for node in Node::BOTH {
            let seed = noise.seed.wrapping_add(node.index() as u64);
            self.noise_from(node, Noise { seed, ..noise });
            if self.cable.halves().is_some() {
                let (half, dongle) = self.cable.source(node);
                half.noise(dongle, Some(Noise { seed: seed.wrapping_add(2), ..noise }));
            }
        }
    }

    /// What one machine sends suffers.
    pub fn noise_from(&self, node: Node, noise: Noise) {
        let (line, side) = self.cable.end(node);
        line.noise(side, Some(noise));
    }

    /// Holds what one machine sends in a break.
    pub fn send_break(&self, from: Node, lasting: Duration) {
        let (line, side) = self.cable.end(from);
        line.send_break(side, lasting);
    }

    /// Sets the speed of one machine's port, whatever its daemon set: bit/s.
    ///
    /// # Errors
    /// What the kernel answered; the machine has no power.
    pub fn set_baud(&self, node: Node, baud: u32) -> std::io::Result<()> {
        let (line, side) = self.cable.end(node);
        line.set_baud(side, baud)
    }

    /// Frames that a machine has put on this line so far, each once, whatever became of them.
    #[must_use]
    pub fn frames_of(&self, node: Node) -> u64 {
        let (line, side) = self.cable.end(node);
        line.carried(side).frames
    }

    /// Frames that were put on this line for a machine so far, by its peer or by the dongle.
    #[must_use]
    pub fn frames_to(&self, node: Node) -> u64 {
        let (line, side) = self.cable.source(node);
        line.carried(side).frames
    }

    /// Somebody with a clip on the wire sends bytes to `to`, whenever its peer is silent.
    pub fn inject(&self, to: Node, bytes: &[u8]) {
        let (line, side) = self.cable.source(to);
        line.inject(side, bytes);
    }

    /// Bytes of [`Self::inject`] that wait for the line.
    #[must_use]
    pub fn injecting(&self, to: Node) -> usize {
        let (line, side) = self.cable.source(to);
        line.injecting(side)
    }

    /// No noise any more; a break ends by itself, cuts stay.
    pub fn heal(&self) {
        for node in Node::BOTH {
            for (line, side) in [self.cable.end(node), self.cable.source(node)] {
                line.noise(side, None);
            }
        }
    }
}
