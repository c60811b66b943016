//! What cargo's and our own tests say, as numbers.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::AddAssign;
use std::process::{Command, ExitStatus};

/// Checks by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs a command to its end; stdout and stderr come as one text, in the order of writing.
pub fn capture(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let (mut reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).stdin(std::process::Stdio::null());
    let mut child = command.spawn()?;
    // The command owns this process's copies of the writing end; the text ends when the last is closed.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok((child.wait()?, String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a run of libtest binaries adds up to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tests {
    pub counts: Counts,
    /// `name: reason`, each once.
    pub skips: BTreeSet<String>,
    /// `name: reason` of what failed at first and passed when it was told again, each once.
    pub told_twice: BTreeSet<String>,
}

/// Reads `cargo test -- --show-output`.
///
/// A test that can't run here prints `SKIP: reason` (`SKIP: name: reason` where libtest doesn't name it)
/// and returns; libtest counts it as passed, here it is a skip. Ignored tests are skips too.
pub fn tests(output: &str) -> Tests {
    let mut found = Tests::default();
    let mut passed = 0_usize;
    let mut pretended = BTreeSet::new();
    let mut speaker = None;
    // How many tests each run that isn't summed up yet announced, the outermost first.
    let mut runs: Vec<usize> = Vec::new();
    for line in output.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----"))
        {
            speaker = Some(name);
        } else if line == "failures:" || line == "successes:" {
            // A list of names follows, or other sections: nobody speaks.
            speaker = None;
        } else if let Some(reason) = skip(line) {
            pretended.insert(speaker.map_or_else(|| reason.to_owned(), |name| named(name, reason)));
        } else if let Some(again) = line.strip_prefix("TOLD TWICE: ") {
            found.told_twice.insert(again.to_owned());
        } else if let Some((name, why)) = ignored(line) {
            found.skips.insert(format!("{name}: {why}"));
        } else if let Some(figures) = line.strip_prefix("test result: ") {
            let [ok, red, ignored] =
                [" passed", " failed", " ignored"].map(|word| figure(figures, word));
            // An inner run that was killed has no sum: this one is of the run with as many tests.
            while runs.pop().is_some_and(|announced| announced != ok + red + ignored) {}
            if runs.is_empty() {
                passed += ok;
                found.counts.failed += red;
                speaker = None;
            }
        } else if line.starts_with("Running ") || line.starts_with("Doc-tests ") {
            // Cargo's own line: whatever was killed before its sum is over.
            runs.clear();
        } else if let Some(announced) = line.strip_prefix("running ") {
            runs.extend(
                announced.split_once(" test").and_then(|(number, _)| number.parse::<usize>().ok()),
            );
        }
    }
    found.counts.passed = passed.saturating_sub(pretended.len());
    found.skips.append(&mut pretended);
    found.counts.skipped = found.skips.len();
    found
}

/// What failed and why: each binary's section of failures under the binary's name, and cargo's errors.
/// The rest is long (helpers of the tests write, too) and hides it. All of it when no test failed.
pub fn failures(output: &str) -> String {
    let mut kept = String::new();
    let (mut binary, mut inside) = ("", false);
    for line in output.lines() {
        let words = line.trim();
        if words.starts_with("Running ") || words.starts_with("Doc-tests ") {
            (binary, inside) = (words, false);
        } else if words == "failures:" && !inside {
            inside = true;
            kept.push_str(binary);
            kept.push('\n');
        } else if words.starts_with("test result: ") {
            inside = false;
        } else if inside || line.starts_with("error: ") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if kept.contains("---- ") { kept } else { output.to_owned() }
}

/// Longest part of a line that is repeated in the summary, in characters.
const WIDTH: usize = 300;

/// One line a failed test: its name and the first two lines of what it said of its failure. Where no
/// test failed (a compiler's error, a tool that refused): the last two lines.
pub fn reasons(output: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut lines = output.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        let Some(name) = name else { continue };
        // A panic says where it was before it says what; what a test printed stands before both.
        let ends = |line: &str| line.starts_with("---- ") || line == "failures:";
        let mut section = Vec::new();
        while let Some(line) = lines.next_if(|line| !ends(line)) {
            section.push(line);
        }
        let panic = section.iter().position(|line| line.contains("panicked at "));
        let said = &section[panic.map_or(0, |at| at + 1)..];
        reasons.push(format!("{name}: {}", joined(said.iter().copied())));
    }
    if reasons.is_empty() {
        let last: Vec<_> =
            output.lines().rev().filter(|line| !line.trim().is_empty()).take(2).collect();
        reasons.push(joined(last.into_iter().rev()));
    }
    reasons
}

/// The first two lines that say anything, cut.
fn joined<'text>(lines: impl Iterator<Item = &'text str>) -> String {
    let lines = lines.map(str::trim).filter(|line| !line.is_empty()).take(2);
    let cut: Vec<String> = lines.map(|line| line.chars().take(WIDTH).collect()).collect();
    cut.join(" / ")
}

/// What follows `SKIP: ` or `SKIPPED: `, or `SKIPPED ` when a name comes first.
fn skip(line: &str) -> Option<&str> {
    ["SKIP: ", "SKIPPED: ", "SKIPPED "].iter().find_map(|word| line.strip_prefix(word))
}

/// `name: reason`, whether the reason begins with the name or not.
fn named(name: &str, reason: &str) -> String {
    let short = name.rsplit("::").next().unwrap_or(name);
    let reason =
        reason.strip_prefix(short).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason);
    format!("{name}: {reason}")
}

/// `test NAME ... ignored` or `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, end) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, end.strip_prefix(", ").unwrap_or("ignored, without a reason")))
}

/// The number before `word` in `ok. 3 passed; 0 failed; …`.
fn figure(figures: &str, word: &str) -> usize {
    let before = figures.split(word).next().unwrap_or("");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod unit {
    use super::*;

    const OUTPUT: &str = "\
running 6 tests
test a ... ok
test b ... FAILED
test c ... ignored, takes an hour
test d ... ok

successes:

---- d stdout ----
SKIP: d: no user namespaces here

---- e stdout ----
some words first
SKIPPED: no ip tool

---- f stdout ----
SKIPPED: no ip tool

test result: FAILED. 4 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/x.rs
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_skip_is_not_a_pass() {
        let found = tests(OUTPUT);
        assert_eq!(found.counts, Counts { passed: 13, failed: 1, skipped: 4 });
        let skips: Vec<_> = found.skips.iter().map(String::as_str).collect();
        assert_eq!(
            skips,
            ["c: takes an hour", "d: no user namespaces here", "e: no ip tool", "f: no ip tool"]
        );
    }

    #[test]
    fn a_skip_after_the_failures_is_not_the_last_ones() {
        let output = "failures:\n\n---- netns::b stdout ----\nwhy\n\nfailures:\n    netns::b\n\
            SKIP: rig netns: story c: needs verb freeze\n";
        let skips: Vec<_> = tests(output).skips.into_iter().collect();
        assert_eq!(skips, ["rig netns: story c: needs verb freeze"]);
    }

    #[test]
    fn what_failed_is_not_buried() {
        let section = "failures:\n\n---- b stdout ----\nwhy\n\nfailures:\n    b\n\ntest result: F";
        let output = OUTPUT.replace("test result: F", section);
        let kept =
            failures(&format!("     Running tests/y.rs (y)\n{output}error: 1 target failed\n"));
        let lines: Vec<_> = kept.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "Running tests/y.rs (y)",
                "---- b stdout ----",
                "why",
                "failures:",
                "    b",
                "error: 1 target failed"
            ]
        );
        assert_eq!(failures("error: could not compile"), "error: could not compile");
    }

    #[test]
    fn what_failed_is_said_in_a_line_and_what_was_told_twice_too() {
        let output = "failures:\n\n---- b stdout ----\nwords\n\nthread 'b' (7) panicked at x.rs:1:2:\n\
            b: not so\nfailed inside its rig\nmore\n\n---- netns::story stdout ----\nno holder\n\n\
            0.1 story x\n\nfailures:\n    b\n    netns::story\n";
        assert_eq!(
            reasons(output),
            ["b: b: not so / failed inside its rig", "netns::story: no holder / 0.1 story x"]
        );
        assert_eq!(reasons("one\ntwo\n\nthree\n"), ["two / three"]);
        let found = tests("---- c stdout ----\nTOLD TWICE: c: too late; 120 ms at worst\n");
        assert_eq!(
            found.told_twice.into_iter().collect::<Vec<_>>(),
            ["c: too late; 120 ms at worst"]
        );
    }

    #[test]
    fn a_test_that_runs_itself_inside_a_rig_counts_once() {
        let inside = "\
     Running tests/machines.rs (target/debug/deps/machines-26018f0c93d0db01)
running 2 tests
test a ...
running 1 test
test a ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 1.92s
ok
test b ...
running 1 test
FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.92s
     Running tests/other.rs (target/debug/deps/other-0000000000000000)
running 1 test
test c ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 4.40s
";
        // b's inner run was killed before it summed up.
        assert_eq!(tests(inside).counts, Counts { passed: 2, failed: 1, skipped: 0 });
    }

    #[test]
    fn output_without_tests_counts_nothing() {
        assert_eq!(tests("error: could not compile"), Tests::default());
    }

    #[test]
    fn both_streams_are_caught_in_order_with_the_exit_code() {
        let mut command = Command::new("sh");
        let (status, text) =
            capture(command.args(["-c", "echo one; echo two >&2; echo three; exit 4"])).unwrap();
        assert_eq!((status.code(), &*text), (Some(4), "one\ntwo\nthree\n"));
    }
}
