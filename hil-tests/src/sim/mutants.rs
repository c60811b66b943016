//! Rules that are broken on purpose, to see within how many seeds the simulator notices.
//!
//! Built with the feature `mutants` alone, which no release build can have (`hb_proto::mutant`).

#[cfg(feature = "mutants")]
pub use hb_proto::mutant::Mutant as Rule;

/// Without the feature there is nothing to break.
#[cfg(not(feature = "mutants"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {}

#[cfg(feature = "mutants")]
pub use broken::{Noticed, noticed};

#[cfg(feature = "mutants")]
mod broken {
    use super::Rule;
    use crate::sim::generate::Plan;
    use crate::sim::kind::Kind;
    use crate::sim::run::{Verdict, run};

    /// A run that turned red because of the broken rule.
    #[derive(Clone, Debug)]
    pub struct Noticed {
        /// Seeds of the kind until then, this one included.
        pub within: u64,
        pub plan: String,
        pub verdict: Verdict,
    }

    /// The first run of `seeds` that notices the broken rule and is good without it.
    pub fn noticed(rule: Rule, kind: Kind, seeds: u64) -> Option<Noticed> {
        let red = |plan: &Plan| {
            let mut broken = plan.clone();
            broken.knobs.broken = Some(rule);
            let verdict = run(&broken, false).verdict;
            (!verdict.is_good() && run(plan, false).verdict.is_good()).then_some(verdict)
        };
        (1..=seeds).find_map(|seed| {
            let plans = kind.plans_with_arbiter(seed);
            plans.iter().find_map(|plan| {
                let verdict = red(plan)?;
                Some(Noticed { within: seed, plan: plan.origin.to_string(), verdict })
            })
        })
    }
}
