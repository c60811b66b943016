//! Which version of the wire a program speaks: the newest that everybody understands whom it hears.

/// The newest version this program speaks.
pub const CURRENT_VERSION: u8 = 1;
/// The oldest version it understands: the one before, once there is one.
pub const MIN_VERSION: u8 = 1;
/// A version that doesn't exist: for tests of what happens when there is one. It is today's, but every hello has a
/// byte more at its end. No release build speaks it.
#[cfg(feature = "mutants")]
pub const INVENTED_VERSION: u8 = CURRENT_VERSION + 1;

/// The versions that a program understands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Versions {
    /// What it speaks to those of whom it knows nothing.
    pub oldest: u8,
    /// What it speaks to its like.
    pub newest: u8,
}

impl Versions {
    /// This program's.
    pub const OURS: Self = Self { oldest: MIN_VERSION, newest: CURRENT_VERSION };

    /// Whether a frame of this version is understood.
    #[must_use]
    pub const fn has(self, version: u8) -> bool {
        self.oldest <= version && version <= self.newest
    }

    /// What to speak, so that all `others` understand it: each has shown that it understands this version, or is
    /// not known to be there (`None`). Whoever may come back, or be put in, may be of the oldest.
    #[must_use]
    pub fn to_speak(self, others: impl IntoIterator<Item = Option<u8>>) -> u8 {
        let common = others.into_iter().fold(self.newest, |common, other| {
            // One that understands nothing of ours is no reason to be silent towards the others.
            common.min(other.unwrap_or(self.oldest))
        });
        common.max(self.oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_speaks_the_newest_version_that_everybody_understands() {
        let two = Versions { oldest: 1, newest: 2 };
        for (others, spoken) in [
            ([Some(2), Some(2)], 2),
            ([Some(2), Some(3)], 2),
            ([Some(1), Some(2)], 1),
            ([Some(2), None], 1),
            ([None, None], 1),
        ] {
            assert_eq!(two.to_speak(others), spoken, "{others:?}");
        }
        let three = Versions { oldest: 2, newest: 3 };
        assert_eq!(three.to_speak([Some(1), Some(3)]), 2, "nothing that it can't speak");
        assert!(two.has(1) && two.has(2) && !two.has(0) && !two.has(3));
    }
}
