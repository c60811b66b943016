//! The simulator with the third voter: soups, swaps, the commit's seed, every single failure, every
//! ordered pair of failures. Two holders are red whatever happens, but for the exemptions that
//! `sim/check/trio.rs` names.

mod sim_support;

use std::process::Command;

use hil_tests::sim::check::trio::Excuse;
use hil_tests::sim::fault::Fault;
use hil_tests::sim::generate;
use hil_tests::sim::kind::Kind;
use hil_tests::sim::rng::seed_of;
use sim_support::{all_good, total_of};

#[test]
fn two_thousand_soups() {
    let total = total_of((1..=2000).map(generate::trio::soup));
    let kinds: Vec<_> = total.kinds().collect();
    assert_eq!(
        kinds,
        Fault::KINDS,
        "a generator that stops stirring something in would pass for ever"
    );
    println!("{total}");
    for (number, runs) in (1..).zip(total.runs_to) {
        assert!(runs > 20, "R{number} was reached in {runs} runs only: they prove little of it");
    }
}

#[test]
fn the_commits_own_seed() {
    let out = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = out.ok().filter(|out| out.status.success());
    let Some(commit) = commit.and_then(|out| String::from_utf8(out.stdout).ok()) else {
        println!("SKIP: not in a git repository: no commit, so no seed of its own");
        return;
    };
    let seed = seed_of(commit.trim()).expect("git prints 40 hex digits");
    println!("commit {}: seed {seed}", commit.trim());
    all_good((0..50).map(|step| generate::trio::soup(seed.wrapping_add(step))));
}

#[test]
fn topology_swaps_with_quick_restarts() {
    let total = total_of((1..=1000).map(generate::trio::swaps));
    assert_eq!(total.excused, [0; Excuse::ALL.len()], "nothing is to be excused here");
}

/// No single failure stops the service, and none makes two of it, in any mode of R10.
#[test]
fn every_single_failure() {
    let total = total_of((1..=8).flat_map(|seed| Kind::Singles.plans_with_arbiter(seed)));
    assert_eq!(total.excused, [0; Excuse::ALL.len()], "one failure excuses nothing");
}

/// No pair of failures makes two holders.
#[test]
fn every_ordered_pair_of_failures() {
    let total = total_of(Kind::Pairs.plans_with_arbiter(1));
    assert_eq!(total.excused, [0; Excuse::ALL.len()], "two failures excuse nothing");
}
