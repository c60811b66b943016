//! The judge goes red: the real program's exit codes, its hints, and what shrinking leaves, with defects
//! planted around the nodes (`hil_tests::sim::plant`).

use std::process::{Command, Stdio};

struct Said {
    code: Option<i32>,
    text: String,
}

fn sim(args: &[&str]) -> Said {
    let out = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("sim runs");
    let text = [out.stdout, out.stderr].concat();
    Said { code: out.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
}

/// What follows `before` on the line where it stands.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let at = text.find(before).unwrap_or_else(|| panic!("no {before:?} in:\n{text}"));
    text[at + before.len()..].lines().next().unwrap_or_default()
}

/// Runs the hint that a red run prints: same verdict, and the timeline ends in it.
fn the_hint_brings_it_back(red: &Said) -> Said {
    let words: Vec<&str> = after(&red.text, "see it: cargo xtask sim ").split(' ').collect();
    let again = sim(&words);
    assert_eq!(again.code, red.code, "{words:?}:\n{}", again.text);
    again
}

#[test]
fn a_panic_is_exit_code_127() {
    let red = sim(&["--kind", "singles", "--seed", "3", "--plant", "panic"]);
    assert_eq!(red.code, Some(127), "{}", red.text);
    let again = the_hint_brings_it_back(&red);
    assert!(again.text.contains("Crash(\"planted\")"), "{}", again.text);
    assert!(again.text.contains("gets power"), "the timeline survives a panic: {}", again.text);
}

#[test]
fn what_never_comes_is_exit_code_128() {
    let red = sim(&["--kind", "pairs", "--case", "1234", "--plant", "never-answers"]);
    assert_eq!(red.code, Some(128), "{}", red.text);
    let again = the_hint_brings_it_back(&red);
    assert!(again.text.contains("Liveness("), "{}", again.text);
}

#[test]
fn a_broken_rule_is_exit_code_129() {
    let red = sim(&["--runs", "20", "--plant", "addresses-stay"]);
    assert_eq!(red.code, Some(129), "{}", red.text);
    let again = the_hint_brings_it_back(&red);
    assert!(again.text.contains("VIOLATION") && again.text.contains("Safety("), "{}", again.text);
}

/// With an arbiter: reset lines that move nothing and say that they did.
#[test]
fn evidence_that_lies_is_exit_code_129() {
    let red = sim(&["--arbiter", "--runs", "40", "--plant", "evidence-lies"]);
    assert_eq!(red.code, Some(129), "{}", red.text);
    let again = the_hint_brings_it_back(&red);
    assert!(again.text.contains("VIOLATION") && again.text.contains("Safety("), "{}", again.text);
}

#[test]
fn the_same_runs_are_green_without_the_plant() {
    for args in [
        &["--arbiter", "--runs", "40"][..],
        &["--kind", "singles", "--seed", "3"][..],
        &["--kind", "pairs", "--case", "1234"],
        &["--runs", "20"],
    ] {
        let green = sim(args);
        assert_eq!(green.code, Some(0), "{}", green.text);
    }
}

/// Of some ten events only those stay that the defect needs; it fails in the same way with them.
#[test]
fn shrinking_leaves_a_small_schedule_that_still_fails() {
    for (plant, code, most) in
        [("addresses-stay", 129, 4), ("never-answers", 128, 3), ("panic", 127, 3)]
    {
        let small = sim(&["--runs", "50", "--plant", plant, "--shrink"]);
        assert_eq!(small.code, Some(code), "{plant}:\n{}", small.text);
        let counts = after(&small.text, " runs: ");
        let mut numbers = counts.split(' ').filter_map(|word| word.parse::<usize>().ok());
        let (left, of) = (numbers.next().expect("left"), numbers.next().expect("of"));
        assert!(left <= most && left < of, "{plant}: {counts}\n{}", small.text);
    }
}

#[test]
fn nothing_that_fails_is_nothing_to_shrink() {
    let said = sim(&["--seed", "1", "--shrink"]);
    assert_eq!(said.code, Some(0));
    assert!(said.text.contains("nothing to shrink"), "{}", said.text);
}

/// A run of nothing is no pass.
#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_wrong() {
    for (args, word) in [
        (&["--runs", "0"][..], "0"),
        (&["--kind", "pairs", "--case", "99999"], "cases 0 to"),
        (&["--case", "1"], "cases 0 to 0"),
        (&["--kind", "soups"], "singles"),
        (&["--seed", "abc"], "40 hex digits"),
        (&["--story", "no_such"], "no_such"),
        (&["--bogus"], "--bogus"),
    ] {
        let said = sim(args);
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.text);
        assert!(said.text.contains(word), "{args:?}: {}", said.text);
    }
}

/// `cargo xtask sim … | head`: what nobody reads any more is no crash of the simulator.
#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(["--seed", "1", "--timeline"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sim runs");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("ours");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    assert_eq!(out.status.code(), Some(141));
}
