//! What may happen in a model, and how often.

use hb_proto::id::Voter;
#[cfg(feature = "mutants")]
use hb_proto::mutant::Mutant;

/// Clocks that run as they should.
pub const EVEN: [u32; Voter::COUNT] = [100; Voter::COUNT];

/// Reset lines from the arbiter to the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResetLines {
    /// None: only time ends what was promised to the dead.
    None,
    /// They work, and prove it.
    Supervised,
    /// They worked when they were tested, and are broken.
    Broken,
}

impl ResetLines {
    pub fn are_there(self) -> bool {
        self != Self::None
    }

    pub fn have_evidence(self) -> bool {
        self == Self::Supervised
    }
}

/// What may happen: everything that is written here in every order and at every step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    pub name: String,
    /// In the order A, B, arbiter: what its clock shows after 100 true seconds.
    pub rates: [u32; Voter::COUNT],
    /// Who wakes up first in a step, and so whose frames arrive within it.
    pub order: [Voter; Voter::COUNT],
    /// How often each may fail: A, B, arbiter. Whatever failed may come back at any later step.
    pub failures: [u8; Voter::COUNT],
    /// A node may fail by loss of power.
    pub power: bool,
    /// … by a death of the daemon: its resources run on until the watchdog resets the machine.
    pub kill: bool,
    /// … by not running for a while.
    pub freeze: bool,
    /// How often each link is cut and mended: network, line to A, line to B.
    pub cuts: [u8; 3],
    /// Cuts of one direction as well.
    pub one_way: bool,
    /// Of all these at most so many in one run.
    pub faults: u8,
    /// How many times what a wire carries in one step is lost; 255 is any number of times.
    pub losses: u8,
    /// How many times it arrives some steps late instead, …
    pub late: u8,
    /// … at most so many.
    pub late_steps: u8,
    pub reset_lines: ResetLines,
    /// From every state: when everything is mended, the cluster comes to rest and one node serves.
    pub heals: bool,
    /// Nothing is forgotten and no frame renumbered: for the test that what is forgotten doesn't matter.
    pub plain: bool,
    /// A rule that is broken on purpose.
    #[cfg(feature = "mutants")]
    pub broken: Option<Mutant>,
}

impl Bounds {
    /// Steps after which nothing asks how long ago something was: longer than full lasts, and than a late
    /// frame is under way. Held against both when a model is made.
    #[must_use]
    pub fn horizon(&self) -> u8 {
        if self.plain {
            return u8::MAX;
        }
        let late = if self.late > 0 { self.late_steps + 3 } else { 0 };
        late.max(7)
    }

    /// Number of the newest frame of a life that has sent as many.
    #[must_use]
    pub fn newest(&self) -> u32 {
        u32::from(self.horizon()) + 1
    }

    /// Nothing goes wrong.
    #[must_use]
    pub fn quiet(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rates: EVEN,
            order: [Voter::A, Voter::Arbiter, Voter::B],
            failures: [0; 3],
            power: true,
            kill: true,
            freeze: true,
            cuts: [0; 3],
            one_way: false,
            faults: 255,
            losses: 0,
            late: 0,
            late_steps: 4,
            reset_lines: ResetLines::None,
            heals: true,
            plain: false,
            #[cfg(feature = "mutants")]
            broken: None,
        }
    }
}
