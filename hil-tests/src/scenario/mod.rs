//! One scenario, every rig: what happens and what must be true, never how.
//!
//! A *story* is a plain function over a [`Scenario`]; all of them stand in [`stories::ALL`]. It
//! says of what the cluster is made, lets things happen ([`verb::Verb`]), and expects. A *rig*
//! ([`Rig`]) makes things happen and tells what is true, from its own observation, never from
//! what a daemon says of itself. The same story runs on each rig that has its verbs; what a rig
//! lacks ends the story as a skip that names the verb ([`Missing`]), never as a pass.
//!
//! ```no_run
//! use hil_tests::scenario::{Cluster, Machine::{A, B}, Scenario, Stop};
//!
//! fn power_loss_of_the_holder(s: &mut Scenario<'_>) -> Result<(), Stop> {
//!     s.start(Cluster::two_nodes().group("web", A))?;
//!     s.settle()?;
//!     s.expect_holder(0, A)?;
//!     s.power_off(A)?;
//!     s.expect_holder_within(0, B, s.budget(0))?;
//!     Ok(())
//! }
//! ```
//!
//! On every story, whatever it expects, [`Scenario::finish`] checks the invariants: never two
//! holders (unless [`Scenario::allow_split`]), starts left to right and stops right to left, no
//! restart loops, no daemon that ended unasked, and nothing in the logs that must never be there.

pub mod cluster;
pub(crate) mod expect;
mod forbidden;
mod invariants;
pub mod phrase;
pub mod rig;
pub mod runner;
pub mod stories;
mod tell;
pub mod telling;
pub mod verb;

pub use cluster::{Cluster, Dongle, Evidence, Link, Machine, Resource, Supply};
pub use phrase::Phrase;
pub use rig::{Cannot, Deed, Done, Entry, Missing, Moment, Moved, Rig, Source, View};
pub use tell::Scenario;
pub use verb::{Conduct, Noise, Order, ResetWire, Verb, Way, Weather};

use std::fmt;

/// Why a story ended before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The rig lacks a verb: a skip.
    Missing(Missing),
    /// The rig itself broke: neither a pass nor a verdict on the cluster.
    Broken(String),
    /// Something was not as it must be.
    Failed(String),
    /// Something was wrong that no starved host explains: never told again.
    Wrong(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::Broken(why) => write!(f, "the rig broke: {why}"),
            Self::Failed(why) | Self::Wrong(why) => f.write_str(why),
        }
    }
}

impl From<Cannot> for Stop {
    fn from(cannot: Cannot) -> Self {
        match cannot {
            Cannot::Missing(missing) => Self::Missing(missing),
            Cannot::Refused(why) => Self::Failed(format!("refused: {why}")),
            Cannot::Broken(why) => Self::Broken(why),
        }
    }
}

/// A story's outcome.
pub type Told = Result<(), Stop>;
