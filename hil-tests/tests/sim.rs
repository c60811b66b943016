//! The simulator's own runs: soups, the commit's seed, every single failure, ordered pairs, swaps.
//! That the judge can say "no" is shown by `sim_judge.rs` and by `sim/check/tests.rs`.

mod sim_support;

use std::collections::BTreeSet;

use hil_tests::sim::fault::{Fault, Planned};
use hil_tests::sim::fingerprints;
use hil_tests::sim::generate;
use hil_tests::sim::kind::Kind;
use hil_tests::sim::knobs::Knobs;
use hil_tests::sim::run::run;
use hil_tests::sim::world::World;
use sim_support::{all_good, seeds_of_the_commit};

/// A generator that stops stirring something in would pass for ever.
fn all_kinds() -> BTreeSet<&'static str> {
    Fault::KINDS.into_iter().take(Fault::CLASSIC).collect()
}

#[test]
fn two_thousand_soups() {
    assert_eq!(all_good((1..=2000).map(generate::soup)), all_kinds());
}

/// Each of these showed a defect that the seeds above don't.
#[test]
fn soups_that_failed_once() {
    all_good([5158, 7951, 9153, 31_301, 31_781, 45_630].map(generate::soup));
}

#[test]
fn the_commits_own_seed() {
    let Some(seeds) = seeds_of_the_commit() else { return };
    all_good(seeds.map(generate::soup));
}

#[test]
fn every_single_failure() {
    let kinds = all_good((1..=6).flat_map(|seed| Kind::Singles.plans(seed)));
    assert_eq!(kinds, all_kinds());
}

#[test]
fn every_ordered_pair_of_failures() {
    let mut expected = all_kinds();
    // Nobody reads wall time: alone it is in the singles.
    expected.remove("wall step");
    assert_eq!(all_good(Kind::Pairs.plans(1)), expected);
}

#[test]
fn topology_swaps_with_quick_restarts() {
    all_good((1..=1500).map(generate::swaps));
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    for seed in [1, 7, 43] {
        let (plan, again) = (generate::soup(seed), generate::soup(seed));
        assert_eq!(plan, again);
        let (first, second) = (run(&plan, true), run(&again, true));
        assert_eq!(first.hash, second.hash);
        assert_eq!(first.timeline, second.timeline);
        let quiet = run(&plan, false);
        assert_eq!(quiet.hash, first.hash, "watching changes nothing");
        assert_ne!(run(&generate::soup(seed + 1), false).hash, first.hash);
    }
}

/// In this build's profile; `cargo xtask test simulator` compares the release build, too.
#[test]
fn known_runs_have_their_committed_fingerprints() {
    let odd = fingerprints::compared().into_iter().filter(|(_, same)| !same);
    let odd: Vec<_> = odd.map(|(line, _)| line).collect();
    assert!(
        odd.is_empty(),
        "the same seed is not the same run any more. Does this change hb-proto's behaviour or the simulator on \
         purpose? Then put this into sim/fingerprints.rs:\n{}",
        odd.join("\n")
    );
}

/// The book's example of a timeline is what its seed says today.
#[test]
fn the_timeline_in_the_book_is_true() {
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let book = std::fs::read_to_string(book).expect("the book is there");
    let (_, rest) = book.split_once("From seed ").expect("the example names its seed");
    let (seed, rest) = rest.split_once(":\n\n```text\n").expect("the example follows");
    let (example, _) = rest.split_once("```").expect("it ends");
    let seed = seed.parse().expect("a number");
    let timeline = run(&generate::soup(seed), true).timeline.join("\n");
    assert!(
        timeline.contains(example.trim_end()),
        "docs/testing.md, \"How to read a timeline\": seed {seed} says something else now. Take some lines of \
         `cargo xtask sim --seed {seed} --timeline`, or of another seed, and mend the words below them"
    );
}

/// Nobody reads wall time, so setting it changes nothing.
#[test]
fn wall_time_may_jump() {
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let step = |at, ms| Planned { at, fault: Fault::WallStep(0, ms) };
    let mut frames = Vec::new();
    for steps in [vec![], vec![step(5_000_000, 86_400_000), step(6_000_000, -1_000_000_007)]] {
        let plan = [vec![on(0), on(1)], steps].concat();
        let mut world = World::new(5, Knobs::plain(), plan, false);
        world.run_until(20_000_000);
        assert_eq!(world.checks.violation, None);
        frames.push((world.counts.frames_sent, world.counts.firsts, world.counts.orders));
    }
    assert_eq!(frames[0], frames[1]);
}

/// A pair that runs quietly splits never, and neither node ever stops feeding.
#[test]
fn a_quiet_hour_is_quiet() {
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let mut world = World::new(1, Knobs::plain(), vec![on(0), on(1)], false);
    world.run_until(3_600_000_000);
    assert_eq!(world.checks.violation, None);
    assert_eq!((world.checks.splits, world.checks.moves[0]), (0, 1));
    assert!(world.serves(0, 0) && !world.has_address(1, 0));
    assert!(world.counts.frames_sent > 140_000, "{}", world.counts.frames_sent);
}
