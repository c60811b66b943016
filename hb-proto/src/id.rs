//! Who, which group, which link, which life: small names that can't be mixed up.

use core::fmt;
use core::num::NonZeroU32;

/// One of the three that may have a say. A and B are the nodes, in the order of their lower-cased names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Voter {
    /// The node whose lower-cased name sorts first.
    A = 0,
    /// The other node.
    B = 1,
    /// The dongle on the null-modem line, when one is configured.
    Arbiter = 2,
}

impl Voter {
    /// How many voters there can be.
    pub const COUNT: usize = 3;
    /// All of them, in wire order.
    pub const ALL: [Self; Self::COUNT] = [Self::A, Self::B, Self::Arbiter];

    /// Those that run groups.
    pub const NODES: [Self; 2] = [Self::A, Self::B];

    /// The voter of this two-bit wire code (protocol.md §5); 3 names nobody.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::A),
            1 => Some(Self::B),
            2 => Some(Self::Arbiter),
            _ => None,
        }
    }

    /// Position in tables that hold one entry a voter.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// True for A and B: only nodes run groups.
    #[must_use]
    pub const fn is_node(self) -> bool {
        !matches!(self, Self::Arbiter)
    }

    /// The other node; the arbiter has no peer and gets itself.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            Self::Arbiter => Self::Arbiter,
        }
    }
}

/// Number of a resource group: its line in haresources, counted from 0.
///
/// Means the same on both nodes only while their haresources digests agree (protocol.md §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GroupId(pub u8);

impl GroupId {
    /// Position in tables that hold one entry a group.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of one of this node's links: its place among the media lines of ha.cf, counted from 0.
///
/// Each node numbers its own; frames say which of the sender's links they left by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LinkId(pub u8);

impl LinkId {
    /// Position in tables that hold one entry a link.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// This link's bit in a set of links.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self.0
    }
}

/// Name of one life of a voter (protocol.md §2): only grows, stored and synced before its first use.
///
/// 24 bits on the wire: a voter that restarted once a second would reach the end after 194 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BootId(NonZeroU32);

impl BootId {
    /// The largest id that fits the wire.
    pub const MAX: u32 = 0x00FF_FFFF;

    /// The id `value`, unless it is 0 (no life) or beyond [`BootId::MAX`].
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(number) if value <= Self::MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0.get()
    }

    /// The next life's id; `None` at the end of the numbers.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.value() + 1)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
