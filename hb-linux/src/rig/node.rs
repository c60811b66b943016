//! Which of the two machines.

use super::line::Side;

/// One of the two machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Node {
    /// linuxha1.
    One,
    /// linuxha2.
    Two,
}

impl Node {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::One, Self::Two];

    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::One => 0,
            Self::Two => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Self::One => Side::A,
            Self::Two => Side::B,
        }
    }
}
