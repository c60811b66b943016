//! House rules that neither rustfmt nor clippy knows (CONTRIBUTING.md).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Outcome;

/// A file that is longer does more than one thing.
const LINES_MAX: usize = 600;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "misc", "common", "stuff", "helpers", "functions"];
/// Split, so that this file doesn't contain what it looks for.
const LEFTOVERS: [&str; 4] =
    [concat!("db", "g!("), concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const CLOCKS: [&str; 2] = [concat!("Instant::", "now"), concat!("SystemTime::", "now")];
/// Where time is passed in: only its one reader may ask for it.
const CLOCKLESS: [&str; 2] = ["hb-proto/src/", "hb-linux/src/daemon/"];
const CLOCK: &str = "hb-linux/src/daemon/clock.rs";

pub fn check(root: &Path) -> Outcome {
    let files = match tracked(root) {
        Ok(files) => files,
        Err(problem) => return Outcome::failed(problem),
    };
    let mut found = Vec::new();
    for path in &files {
        found.extend(in_name(path));
        if !path.ends_with(".rs") {
            continue;
        }
        // A file that git knows and the tree has lost is git's matter.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            found.extend(in_source(path, &text));
        }
    }
    if found.is_empty() {
        Outcome::passed(format!("{} files", files.len()))
    } else {
        Outcome::failed(found.join("\n"))
    }
}

/// What git tracks, or would after `git add`.
fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .args(args)
        .current_dir(root)
        .output()
        .map_err(|error| format!("can't run git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn in_name(path: &str) -> Option<String> {
    let stem = Path::new(path).file_stem()?.to_str()?;
    EMPTY_NAMES
        .contains(&stem)
        .then(|| format!("{path}: the name {stem:?} says nothing; name what it does"))
}

fn in_source(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}: {lines} lines, {LINES_MAX} at most: split it by what it does"));
    }
    let clockless = CLOCKLESS.iter().any(|room| path.starts_with(room)) && path != CLOCK;
    for (number, line) in (1..).zip(text.lines()) {
        let mut note = |what: &str| found.push(format!("{path}:{number}: {what}: {}", line.trim()));
        if LEFTOVERS.iter().any(|leftover| line.contains(leftover)) {
            note("left over");
        }
        let code = line.split("//").next().unwrap_or(line);
        if clockless && CLOCKS.iter().any(|clock| code.contains(clock)) {
            note("reads a clock; time is passed in here");
        }
        if code.contains(concat!("fn ", "get_")) {
            note("getters are named for what they return");
        }
    }
    found
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn each_rule_finds_its_offender() {
        let now = format!("let t = {}();\n", CLOCKS[0]);
        for (path, text, finds) in [
            ("a/b.rs", "x\n".repeat(LINES_MAX + 1), 1),
            ("a/b.rs", "x\n".repeat(LINES_MAX), 0),
            ("a/b.rs", format!("// {} later\n", LEFTOVERS[1]), 1),
            ("a/b.rs", format!("{}x);\n", LEFTOVERS[0]), 1),
            ("hb-linux/src/daemon/event_loop.rs", now.clone(), 1),
            ("hb-proto/src/node.rs", now.clone(), 1),
            ("hb-proto/src/node.rs", format!("// {}\n", CLOCKS[0]), 0),
            (CLOCK, now.clone(), 0),
            ("hb-linux/src/rig/demo.rs", now, 0),
            ("a/b.rs", concat!("pub fn ", "get_name() {}\n").to_owned(), 1),
        ] {
            assert_eq!(in_source(path, &text).len(), finds, "{path}: {text:.60}");
        }
    }

    #[test]
    fn empty_names_are_refused() {
        assert!(in_name("hb-linux/src/utils.rs").is_some());
        assert!(in_name("hb-linux/src/control/client.rs").is_none());
    }
}
