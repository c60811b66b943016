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
    for line in output.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----"))
        {
            speaker = Some(name);
        } else if let Some(reason) = skip(line) {
            pretended.insert(speaker.map_or_else(|| reason.to_owned(), |name| named(name, reason)));
        } else if let Some((name, why)) = ignored(line) {
            found.skips.insert(format!("{name}: {why}"));
        } else if let Some(figures) = line.strip_prefix("test result: ") {
            passed += figure(figures, " passed");
            found.counts.failed += figure(figures, " failed");
            speaker = None;
        }
    }
    found.counts.passed = passed.saturating_sub(pretended.len());
    found.skips.append(&mut pretended);
    found.counts.skipped = found.skips.len();
    found
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
