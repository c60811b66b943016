//! How a dongle is built in.

use super::super::node::Node;

/// What confirms a pulse to the dongle (R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// The reset line's own levels. The boards' pull-ups live on their standby supply, which a machine
    /// without power still has, as with most power supplies of PCs.
    Supervised,
    /// A sense input, which falls with the machine.
    Sensed,
    /// Neither: only a new life that is heard.
    NewLife,
}

/// Where its power comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Supply {
    /// From either machine that has power.
    Both,
    /// From one machine alone.
    One(Node),
    /// From elsewhere.
    External,
}

/// Where a reset output ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetWire {
    /// At its machine.
    Sound,
    /// Nowhere.
    Broken,
    /// At the other machine.
    Swapped,
}

/// How it is built in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Build {
    /// Speed of both halves of the line, bit/s.
    pub baud: u32,
    /// Its reset outputs are wired, and were tested.
    pub reset_lines: bool,
    /// What confirms a pulse.
    pub evidence: Evidence,
    /// What it lives on.
    pub supply: Supply,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            baud: 115_200,
            reset_lines: true,
            evidence: Evidence::Supervised,
            supply: Supply::Both,
        }
    }
}
