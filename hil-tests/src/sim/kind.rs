//! Families of plans, and a plan's name: what brings the same run back.

use std::fmt;
use std::str::FromStr;

use super::generate::{self, Plan};
use super::{directed, rng};

/// Who makes plans out of a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One plan of random faults.
    Soup,
    /// The same by the guide's own times, and for longer.
    Guide,
    /// One plan of topologies that change every few tens of milliseconds.
    Swaps,
    /// A table: every single failure on the pair that the seed draws.
    Singles,
    /// A table: every ordered pair of failures on the pair that the seed draws.
    Pairs,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Soup, Self::Guide, Self::Swaps, Self::Singles, Self::Pairs];

    /// As `--kind` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Soup => "soup",
            Self::Guide => "guide",
            Self::Swaps => "swaps",
            Self::Singles => "singles",
            Self::Pairs => "pairs",
        }
    }

    /// All cases of a seed: one for soups, guides and swaps, a table for the others. Never none.
    #[must_use]
    pub fn plans(self, seed: u64) -> Vec<Plan> {
        match self {
            Self::Soup => vec![generate::soup(seed)],
            Self::Guide => vec![generate::guide(seed)],
            Self::Swaps => vec![generate::swaps(seed)],
            Self::Singles => directed::singles(seed),
            Self::Pairs => directed::pairs(seed),
        }
    }

    /// The same with an arbiter.
    #[must_use]
    pub fn plans_with_arbiter(self, seed: u64) -> Vec<Plan> {
        match self {
            Self::Soup => vec![generate::trio::soup(seed)],
            Self::Guide => vec![generate::trio::guide(seed)],
            Self::Swaps => vec![generate::trio::swaps(seed)],
            Self::Singles => directed::trio::singles(seed),
            Self::Pairs => directed::trio::pairs(seed),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == word);
        kind.ok_or_else(|| {
            format!("{word:?} is no kind of plan; there are soup, guide, swaps, singles and pairs")
        })
    }
}

/// Which plan of all: printed, it is what `cargo xtask sim` needs to run it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub kind: Kind,
    /// Three voters.
    pub arbiter: bool,
    /// The generator's seed, not what the world's dice are made of.
    pub seed: u64,
    /// Position in [`Kind::plans`].
    pub case: usize,
}

impl Origin {
    /// The plan itself; none if the seed has no such case.
    #[must_use]
    pub fn plan(self) -> Option<Plan> {
        let plans = if self.arbiter {
            self.kind.plans_with_arbiter(self.seed)
        } else {
            self.kind.plans(self.seed)
        };
        plans.into_iter().nth(self.case)
    }

    /// What the dice of the run's world are made of: a number of its own for each case.
    #[must_use]
    pub const fn dice(self) -> u64 {
        if self.case == 0 { self.seed } else { self.seed ^ rng::spread(self.case as u64) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, arbiter, seed, case } = self;
        let arbiter = if *arbiter { "--arbiter " } else { "" };
        write!(f, "{arbiter}--kind {kind} --seed {seed} --case {case}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hint that is printed must bring back the very plan that it was printed for.
    #[test]
    fn every_plan_is_found_again_by_its_origin() {
        for kind in Kind::ALL {
            for (arbiter, plans) in [(false, kind.plans(3)), (true, kind.plans_with_arbiter(3))] {
                for (at, plan) in plans.iter().enumerate().step_by(97) {
                    assert_eq!(plan.origin, Origin { kind, arbiter, seed: 3, case: at });
                    assert_eq!(plan.origin.plan().as_ref(), Some(plan));
                }
                assert_eq!(Origin { kind, arbiter, seed: 3, case: 99_999 }.plan(), None);
            }
        }
    }

    #[test]
    fn kinds_are_named_as_they_are_read() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("soups".parse::<Kind>().is_err());
    }
}
