//! What is left of a cluster after its failures, and whether the rules let anybody serve then.

use crate::scenario::Machine;

/// What still works. The third voter is the dongle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wreck {
    /// The machine has power; whatever hangs or crashes on it has been reset by then.
    pub on: [bool; 2],
    /// The dongle is in its place.
    pub dongle: bool,
    /// What each machine sends on eth1 arrives.
    pub net: [bool; 2],
    /// What each machine sends to the dongle arrives.
    pub up: [bool; 2],
    /// What the dongle sends to each machine arrives.
    pub down: [bool; 2],
    /// What is wrong with the reset lines: that changes how soon, never whether.
    pub slow_fence: bool,
}

impl Default for Wreck {
    /// All is well.
    fn default() -> Self {
        let both = [true; 2];
        Self { on: both, dongle: true, net: both, up: both, down: both, slow_fence: false }
    }
}

impl Wreck {
    /// Frames of the machine reach the dongle, by its own line or relayed by the other machine.
    fn reaches_dongle(&self, from: Machine) -> bool {
        let (own, other) = (from.index(), from.other().index());
        let relayed = self.net[own] && self.on[other] && self.up[other];
        self.dongle && (self.up[own] || relayed)
    }

    /// Frames of the dongle reach the machine.
    fn hears_dongle(&self, to: Machine) -> bool {
        let (own, other) = (to.index(), to.other().index());
        let relayed = self.on[other] && self.down[other] && self.net[other];
        self.dongle && (self.down[own] || relayed)
    }

    /// Frames of the machine reach the other one, by eth1 or through the dongle.
    fn reaches_peer(&self, from: Machine) -> bool {
        let through = self.dongle && self.up[from.index()] && self.down[from.other().index()];
        self.net[from.index()] || through
    }

    /// Whether somebody's vote can count for the machine: a promise must be asked for and heard.
    #[must_use]
    pub fn has_a_vote(&self, machine: Machine) -> bool {
        let peer = machine.other();
        let of_peer =
            self.on[peer.index()] && self.reaches_peer(machine) && self.reaches_peer(peer);
        let of_dongle = self.reaches_dongle(machine) && self.hears_dongle(machine);
        self.on[machine.index()] && (of_peer || of_dongle)
    }

    /// Whether somebody serves in the end.
    #[must_use]
    pub fn somebody_serves(&self) -> bool {
        Machine::BOTH.into_iter().any(|machine| self.has_a_vote(machine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wreck(change: impl FnOnce(&mut Wreck)) -> Wreck {
        let mut wreck = Wreck::default();
        change(&mut wreck);
        wreck
    }

    /// The table of protocol.md §1, row by row.
    #[test]
    fn no_single_failure_stops_the_service_and_the_pairs_of_the_last_row_do() {
        let isolated = |wreck: &mut Wreck, who: usize| {
            (wreck.net, wreck.up[who], wreck.down[who]) = ([false; 2], false, false);
        };
        for who in [0, 1] {
            assert!(wreck(|w| w.on[who] = false).somebody_serves());
            assert!(wreck(|w| (w.up[who], w.down[who]) = (false, false)).somebody_serves());
            let alone = wreck(|w| isolated(w, who));
            assert!(!alone.has_a_vote(Machine::BOTH[who]) && alone.somebody_serves());
            let gone = wreck(|w| (w.dongle, w.on[who]) = (false, false));
            assert!(!gone.somebody_serves());
            assert!(
                !wreck(|w| {
                    isolated(w, who);
                    w.dongle = false;
                })
                .somebody_serves()
            );
            // A standby that can't reach the dongle, and a holder that dies.
            assert!(!wreck(|w| (w.up[who], w.on[1 - who]) = (false, false)).somebody_serves());
        }
        assert!(wreck(|w| w.dongle = false).somebody_serves());
        assert!(wreck(|w| w.net = [false; 2]).somebody_serves());
        assert!(!wreck(|w| (w.dongle, w.net) = (false, [false; 2])).somebody_serves());
        assert!(!wreck(|w| w.on = [false; 2]).somebody_serves());
    }
}
