//! The simulator with the third voter: soups, swaps, the commit's seed, every single failure, every
//! ordered pair of failures. Two holders are red whatever happens, but for the exemptions that
//! `sim/check/trio.rs` names.

mod sim_support;

use hil_tests::sim::check::trio::Excuse;
use hil_tests::sim::fault::{Fault, Planned};
use hil_tests::sim::generate;
use hil_tests::sim::kind::Kind;
use hil_tests::sim::knobs::Knobs;
use hil_tests::sim::run::run;
use hil_tests::sim::world::World;
use sim_support::{seeds_of_the_commit, total_of};

/// Seeds whose pairs have reset lines, and have none.
const WITH_RESET_LINES: u64 = 1;
const WITHOUT_RESET_LINES: u64 = 7;

#[test]
fn two_thousand_soups() {
    let total = total_of((1..=2000).map(generate::trio::soup));
    let kinds: Vec<_> = total.kinds().collect();
    assert_eq!(
        kinds,
        Fault::KINDS[..Fault::LINES],
        "a generator that stops stirring something in would pass for ever"
    );
    println!("{total}");
    // A dozen faults in a minute spare most; what is left must not become nothing.
    assert!(total.judged_percent() >= 10, "{} % of {}", total.judged_percent(), total.takeovers());
    assert!(total.takeovers_judged > 200, "{} takeovers judged", total.takeovers_judged);
    for (number, runs) in (1..).zip(total.runs_to) {
        assert!(runs > 20, "R{number} was reached in {runs} runs only: they prove little of it");
    }
}

/// Each of these showed a mistake that the seeds above don't (docs/testing/soak.md): of the protocol, of this world,
/// or of its judge.
#[test]
fn soups_that_failed_once() {
    let early = [1_004_853, 1_014_003, 1_014_435, 1_021_721, 1_027_846, 1_030_339, 1_032_146];
    let late = [1_032_904, 1_017_320, 1_043_713, 1_090_090, 1_104_181];
    total_of(early.into_iter().chain(late).map(generate::trio::soup));
}

#[test]
fn guides_that_failed_once() {
    let seeds = [3_000_981, 1_027_038, 1_062_459, 1_087_386, 1_017_748, 1_027_308];
    total_of(seeds.into_iter().map(generate::trio::guide));
}

#[test]
fn the_commits_own_seed() {
    let Some(seeds) = seeds_of_the_commit() else { return };
    // So few may well have no takeover that a budget promises anything of.
    total_of(seeds.map(generate::trio::soup));
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
    assert!(total.judged_percent() >= 70, "{} % of {}", total.judged_percent(), total.takeovers());
    assert!(total.takeovers_judged > 100, "{} takeovers judged", total.takeovers_judged);
}

/// No pair of failures makes two holders.
#[test]
fn every_ordered_pair_of_failures() {
    let total = total_of(Kind::Pairs.plans_with_arbiter(WITH_RESET_LINES));
    assert_eq!(total.excused, [0; Excuse::ALL.len()], "two failures excuse nothing");
    assert!(total.pulses > 500, "{} pulses", total.pulses);
}

/// The same where nothing but time ends what was promised to a dead node.
#[test]
fn every_ordered_pair_of_failures_without_reset_lines() {
    let total = total_of(Kind::Pairs.plans_with_arbiter(WITHOUT_RESET_LINES));
    assert_eq!(total.excused, [0; Excuse::ALL.len()], "two failures excuse nothing");
    assert_eq!(total.pulses, 0);
}

/// The guide's own times, for longer, with what happens to serial lines alone.
#[test]
fn two_hundred_by_the_guide() {
    let total = total_of((1..=200).map(generate::trio::guide));
    let kinds: Vec<_> = total.kinds().collect();
    assert_eq!(kinds, Fault::KINDS);
    assert!(total.judged_percent() >= 5, "{} % of {}", total.judged_percent(), total.takeovers());
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    for seed in [1, 7, 43] {
        let (plan, again) = (generate::trio::soup(seed), generate::trio::soup(seed));
        assert_eq!(plan, again);
        let (first, second) = (run(&plan, true), run(&again, true));
        assert_eq!(first.hash, second.hash);
        assert_eq!(first.timeline, second.timeline);
        assert_eq!(run(&plan, false).hash, first.hash, "watching changes nothing");
        assert_ne!(run(&generate::trio::soup(seed + 1), false).hash, first.hash);
    }
}

/// A trio that runs quietly moves nothing, pulls no line, and every vote is there all the time.
#[test]
fn a_quiet_hour_is_quiet() {
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let mut world = World::new(1, Knobs::plain_trio(), vec![on(0), on(1)], false);
    world.run_until(3_600_000_000);
    assert_eq!(world.checks.violation, None);
    assert_eq!((world.checks.splits, world.checks.moves[0]), (0, 1));
    assert!(world.serves(0, 0) && !world.has_address(1, 0));
    assert_eq!((world.counts.trio.pulses, world.counts.trio.arbiter_lives), (0, 1));
}
