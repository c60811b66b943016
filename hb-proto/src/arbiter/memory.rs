//! What the arbiter stores (R8, R12): changes leave as [`super::Action::Store`] before any frame that
//! follows from them.
//!
//! Keep it where it survives a reset of the chip, checked by a CRC. What it says of *promises* is believed
//! only over a reset that kept power ([`ResetReason::kept_power`]): a dongle that had none may have been
//! in a drawer while another one voted in its place, and then its memory is of another time. So a driver
//! reports the worst reason since memory was last stored: a boot loader's own reset, just after power came,
//! is [`ResetReason::PowerOn`].

use crate::authority::Promisee;
use crate::config::MAX_GROUPS;
use crate::id::{BootId, GroupId, Voter};
use crate::time::Millis;
use crate::wire::message::arbiter::{LineShown, Promisees, ResetReason};

/// What is remembered of one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeMemory {
    /// Its newest life that was pulsed: none is pulsed twice (R12).
    pub pulsed: Option<BootId>,
    /// Its reset line.
    pub line: LineShown,
}

/// What an arbiter's next life should know. The boot id is the driver's own affair: last stored + 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Memory {
    /// To whom each group is promised; [`Withheld`](crate::wire::message::arbiter::Shown::Withheld) stands for *unknown*.
    pub promisees: Promisees,
    /// The haresources that the promises are about.
    pub haresources: Option<u64>,
    /// The largest lease in force.
    pub lease: Millis,
    /// The largest guard in force; [`Millis::MAX`] is unbounded (R10).
    pub guard: Millis,
    /// The longest deadtime announced.
    pub deadtime: Millis,
    /// What is remembered of A and of B.
    pub nodes: [NodeMemory; 2],
}

impl Memory {
    /// To whom a life that follows on `reset` begins bound (R8).
    ///
    /// A group that nobody was promised is *unknown* as well: memory is written after the fact when a
    /// promise ends.
    #[must_use]
    pub fn starting_promisee(&self, group: GroupId, reset: ResetReason) -> Promisee {
        match self.promisees.shown(group).promisee() {
            Some(node) if reset.kept_power() => Promisee::To(node),
            _ => Promisee::Unknown,
        }
    }

    /// One node's part. The arbiter itself has none and gets A's.
    pub(super) const fn node(&mut self, node: Voter) -> &mut NodeMemory {
        match node {
            Voter::B => &mut self.nodes[1],
            Voter::A | Voter::Arbiter => &mut self.nodes[0],
        }
    }
}

/// All group ids that an arbiter keeps promises for: it doesn't know how many there are.
pub(super) fn all_groups() -> impl Iterator<Item = GroupId> {
    (0..MAX_GROUPS as u8).map(GroupId)
}
