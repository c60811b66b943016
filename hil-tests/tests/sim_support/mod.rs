//! Many runs, judged together.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use hil_tests::sim::evidence;
use hil_tests::sim::generate::Plan;
use hil_tests::sim::kind::Origin;
use hil_tests::sim::rng::seed_of;
use hil_tests::sim::run::run;
use hil_tests::sim::total::Total;

/// Red runs whose evidence is kept and told; one defect often reddens hundreds.
const TOLD: usize = 5;

/// Runs them all; the kinds of faults that happened. The first few that fail are run again, listening: their
/// evidence is kept in `target/tmp/sim/KIND.SEED.CASE`, with `arbiter.` before it where there is one.
#[allow(dead_code)] // Each test program uses its part.
pub fn all_good(plans: impl IntoIterator<Item = Plan>) -> BTreeSet<&'static str> {
    let total = total_of(plans);
    assert!(
        total.takeovers_judged > 0 || total.ran < 50,
        "no takeover was held against its budget"
    );
    total.kinds().collect()
}

/// The same; what the runs add up to.
pub fn total_of(plans: impl IntoIterator<Item = Plan>) -> Total {
    let (mut total, mut told) = (Total::default(), Vec::new());
    for plan in plans {
        let outcome = run(&plan, false);
        total.add(&outcome);
        if !outcome.verdict.is_good() && told.len() < TOLD {
            let Origin { kind, arbiter, seed, case } = plan.origin;
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sim");
            let arbiter = if arbiter { "arbiter." } else { "" };
            let directory = directory.join(format!("{arbiter}{kind}.{seed}.{case}"));
            told.push(evidence::keep(&plan, &outcome.verdict, &directory));
        }
    }
    let (runs, red) = (total.ran, total.failed);
    println!(
        "{runs} runs; {} takeovers after a death, {} % held against their budget",
        total.takeovers(),
        total.judged_percent()
    );
    assert!(runs > 0, "no runs at all");
    assert!(red == 0, "{red} of {runs} runs failed; the first:\n{}", told.join("\n\n"));
    total
}

/// Fifty seeds that follow from the commit under test; `None`, told as a skip, outside of a repository.
#[allow(dead_code)] // Each test program uses its part.
pub fn seeds_of_the_commit() -> Option<impl Iterator<Item = u64>> {
    let out = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = out.ok().filter(|out| out.status.success());
    let Some(commit) = commit.and_then(|out| String::from_utf8(out.stdout).ok()) else {
        println!("SKIP: not in a git repository: no commit, so no seed of its own");
        return None;
    };
    let seed = seed_of(commit.trim()).expect("git prints 40 hex digits");
    println!("commit {}: seed {seed}", commit.trim());
    Some((0..50).map(move |step| seed.wrapping_add(step)))
}
