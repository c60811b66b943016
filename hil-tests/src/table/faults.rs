//! The failures of the table: what strikes, what mends it, and what it leaves.

use crate::scenario::verb::Verb;
use crate::scenario::{Link, Machine, ResetWire, Way};

use super::wreck::Wreck;

const A: Machine = Machine::A;
const B: Machine = Machine::B;

/// How long the service may be gone, by the settings, when this failure strikes a pair that is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Not at all.
    Not,
    /// For a failover's time: with reset lines deadtime, fence and start; without, until what was promised to
    /// the holder is over, and start.
    Failover,
}

/// A failure. A is the holder when all is well.
#[derive(Debug)]
pub struct Fault {
    /// What the table calls it.
    pub name: &'static str,
    /// What happens.
    pub strikes: &'static [Verb],
    /// What undoes it, in this order.
    pub mends: &'static [Verb],
    /// What it leaves.
    pub leaves: fn(&mut Wreck),
    /// What the service may suffer from it alone.
    pub gone: Gone,
}

const NET: Link = Link::Private;

/// All of them.
pub const ALL: &[Fault] = &[
    Fault {
        name: "holder's power lost",
        strikes: &[Verb::PowerOff(A)],
        mends: &[Verb::PowerOn(A)],
        leaves: |wreck| wreck.on[0] = false,
        gone: Gone::Failover,
    },
    Fault {
        name: "standby's power lost",
        strikes: &[Verb::PowerOff(B)],
        mends: &[Verb::PowerOn(B)],
        leaves: |wreck| wreck.on[1] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "holder's daemon hangs",
        strikes: &[Verb::StopDaemon(A)],
        // It was reset by then.
        mends: &[],
        leaves: |_| {},
        gone: Gone::Failover,
    },
    Fault {
        name: "standby's daemon hangs",
        strikes: &[Verb::StopDaemon(B)],
        mends: &[],
        leaves: |_| {},
        gone: Gone::Not,
    },
    Fault {
        name: "holder's daemon killed",
        strikes: &[Verb::KillDaemon(A)],
        mends: &[],
        leaves: |_| {},
        gone: Gone::Failover,
    },
    Fault {
        name: "standby's daemon killed",
        strikes: &[Verb::KillDaemon(B)],
        mends: &[],
        leaves: |_| {},
        gone: Gone::Not,
    },
    Fault {
        name: "dongle removed",
        strikes: &[Verb::RemoveDongle],
        mends: &[Verb::InsertDongle { spare: false }],
        leaves: |wreck| wreck.dongle = false,
        gone: Gone::Not,
    },
    Fault {
        name: "dongle reset",
        strikes: &[Verb::ResetDongle],
        mends: &[],
        leaves: |_| {},
        gone: Gone::Not,
    },
    Fault {
        name: "dongle hangs",
        strikes: &[Verb::HangDongle],
        mends: &[],
        leaves: |_| {},
        gone: Gone::Not,
    },
    Fault {
        name: "dongle loses power for a moment",
        strikes: &[Verb::RemoveDongle, Verb::InsertDongle { spare: false }],
        mends: &[],
        leaves: |wreck| wreck.dongle = true,
        gone: Gone::Not,
    },
    Fault {
        name: "network cut",
        strikes: &[Verb::Cut(NET, Way::Both)],
        mends: &[Verb::Heal(NET, Way::Both)],
        leaves: |wreck| wreck.net = [false; 2],
        gone: Gone::Not,
    },
    Fault {
        name: "network cut one way, holder's frames",
        strikes: &[Verb::Cut(NET, Way::From(A))],
        mends: &[Verb::Heal(NET, Way::Both)],
        leaves: |wreck| wreck.net[0] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "network cut one way, standby's frames",
        strikes: &[Verb::Cut(NET, Way::From(B))],
        mends: &[Verb::Heal(NET, Way::Both)],
        leaves: |wreck| wreck.net[1] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "holder's serial cable cut",
        strikes: &[Verb::CutHalf(A)],
        mends: &[Verb::HealHalf(A)],
        leaves: |wreck| (wreck.up[0], wreck.down[0]) = (false, false),
        gone: Gone::Not,
    },
    Fault {
        name: "standby's serial cable cut",
        strikes: &[Verb::CutHalf(B)],
        mends: &[Verb::HealHalf(B)],
        leaves: |wreck| (wreck.up[1], wreck.down[1]) = (false, false),
        gone: Gone::Not,
    },
    Fault {
        name: "dongle deaf to the holder",
        strikes: &[Verb::DeafenPort(A)],
        mends: &[Verb::HealPort(A)],
        leaves: |wreck| wreck.up[0] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "dongle mute to the holder",
        strikes: &[Verb::MutePort(A)],
        mends: &[Verb::HealPort(A)],
        leaves: |wreck| wreck.down[0] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "dongle deaf to the standby",
        strikes: &[Verb::DeafenPort(B)],
        mends: &[Verb::HealPort(B)],
        leaves: |wreck| wreck.up[1] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "dongle mute to the standby",
        strikes: &[Verb::MutePort(B)],
        mends: &[Verb::HealPort(B)],
        leaves: |wreck| wreck.down[1] = false,
        gone: Gone::Not,
    },
    Fault {
        name: "holder cut off from both",
        strikes: &[Verb::Cut(NET, Way::Both), Verb::CutHalf(A)],
        mends: &[Verb::Heal(NET, Way::Both), Verb::HealHalf(A)],
        leaves: |wreck| (wreck.net, wreck.up[0], wreck.down[0]) = ([false; 2], false, false),
        gone: Gone::Failover,
    },
    Fault {
        name: "standby cut off from both",
        strikes: &[Verb::Cut(NET, Way::Both), Verb::CutHalf(B)],
        mends: &[Verb::Heal(NET, Way::Both), Verb::HealHalf(B)],
        leaves: |wreck| (wreck.net, wreck.up[1], wreck.down[1]) = ([false; 2], false, false),
        gone: Gone::Not,
    },
    Fault {
        name: "holder's reset wire broken",
        strikes: &[Verb::WireReset(A, ResetWire::Broken)],
        mends: &[Verb::WireReset(A, ResetWire::Sound)],
        leaves: |wreck| wreck.slow_fence = true,
        gone: Gone::Not,
    },
];
