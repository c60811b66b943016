//! The simulator's own runs: soups, the commit's seed, every single failure, ordered pairs, swaps.

use std::process::Command;

use hil_tests::sim::fault::{Fault, Planned};
use hil_tests::sim::generate::{self, Plan};
use hil_tests::sim::knobs::Knobs;
use hil_tests::sim::rng::seed_of;
use hil_tests::sim::run::run;
use hil_tests::sim::world::World;

/// Runs them all and tells the first few that fail.
fn all_good(kind: &str, plans: impl IntoIterator<Item = Plan>) {
    let (mut runs, mut bad) = (0, Vec::new());
    for plan in plans {
        let outcome = run(&plan, false);
        runs += 1;
        if !outcome.verdict.is_good() && bad.len() < 10 {
            bad.push(format!(
                "{}: {:?}\n  see it: cargo xtask sim --kind {kind} --seed {} --timeline",
                plan.label, outcome.verdict, plan.seed
            ));
        }
    }
    println!("{runs} runs of {kind}");
    assert!(runs > 0, "no runs at all");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn two_thousand_soups() {
    all_good("soup", (1..=2000).map(generate::soup));
}

#[test]
fn the_commits_own_seed() {
    let out = Command::new("git").args(["rev-parse", "HEAD"]).output();
    let commit = out.ok().filter(|out| out.status.success());
    let Some(commit) = commit.and_then(|out| String::from_utf8(out.stdout).ok()) else {
        println!("not in a git repository: no commit, so no seed of its own");
        return;
    };
    let seed = seed_of(commit.trim()).expect("git prints 40 hex digits");
    println!("commit {}: seed {seed}", commit.trim());
    all_good("soup", (0..50).map(|step| generate::soup(seed.wrapping_add(step))));
}

#[test]
fn every_single_failure() {
    all_good("singles", generate::singles(6));
}

#[test]
fn every_ordered_pair_of_failures() {
    all_good("pairs", generate::pairs(1));
}

#[test]
fn topology_swaps_with_quick_restarts() {
    all_good("swaps", (1..=1500).map(generate::swaps));
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

/// The fingerprint of one quiet run, the same in debug, release and on every machine.
#[test]
fn a_known_run_has_its_known_fingerprint_in_every_profile() {
    let plan = generate::soup(1);
    let fresh = run(&plan, false);
    let out = Command::new(env!("CARGO_BIN_EXE_sim")).args(["--seed", "1"]).output().expect("sim");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains(&format!("fingerprint {:016x}", fresh.hash)), "{text}");
}

/// Nobody reads wall time, so setting it changes nothing.
#[test]
fn wall_time_may_jump() {
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let step = |at, s| Planned { at, fault: Fault::WallStep(0, s) };
    let mut frames = Vec::new();
    for steps in [vec![], vec![step(5_000_000, 86_400), step(6_000_000, -1_000_000)]] {
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
