//! Planted defects of the world around the nodes: the judge must go red on each.
//!
//! A judge that was never seen to say "no" proves nothing by saying "yes". Plants are chosen by hand
//! alone (`sim --plant`); no generator draws one.

use std::fmt;
use std::str::FromStr;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// Addresses stay when they are stopped or dropped, and the answer is that they went. A rule of
    /// safety is broken as soon as the other node takes the group.
    AddressesStay,
    /// No script that starts anything is ever answered: nothing is safe to start, nothing serves.
    NeverAnswers,
    /// The dongle's reset lines move nothing, and it believes that they did: with an arbiter two machines
    /// run one group as soon as a hung one is fenced.
    EvidenceLies,
    /// The driver panics in its first turn after [`PANIC_AT`].
    Panic,
}

/// When [`Plant::Panic`] strikes, true time, µs.
pub const PANIC_AT: u64 = 5_000_000;

impl Plant {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::AddressesStay, Self::NeverAnswers, Self::EvidenceLies, Self::Panic];

    /// As `--plant` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressesStay => "addresses-stay",
            Self::NeverAnswers => "never-answers",
            Self::EvidenceLies => "evidence-lies",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let plant = Self::ALL.into_iter().find(|plant| plant.name() == word);
        plant.ok_or_else(|| format!("{word:?} is no plant; there are {names}"))
    }
}
