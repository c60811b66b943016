//! `cargo xtask mutants`: breaks rules, one at a time, and expects the test that guards each to turn red.
//!
//! `xtask/mutants.txt` lists them. The work happens in a copy of the sources below the target
//! directory, so an interrupted run leaves nothing broken behind.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Place;
use crate::test::output::capture;

/// Where the list is, from the workspace's root.
const LIST: &str = "xtask/mutants.txt";

/// One broken rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Mutant {
    rule: String,
    file: String,
    before: String,
    after: String,
    /// What follows `cargo`.
    run: Vec<String>,
}

/// Reads the list.
///
/// # Errors
/// The line that is wrong, and what was expected.
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (at, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "=" {
            mutants.push(Mutant { rule: rest.to_owned(), ..Mutant::default() });
            continue;
        }
        let Some(mutant) = mutants.last_mut() else {
            return Err(format!("{LIST}:{at}: expected `= the rule` first"));
        };
        match mark {
            "@" => rest.clone_into(&mut mutant.file),
            "-" => mutant.before += &format!("{rest}\n"),
            "+" => mutant.after += &format!("{rest}\n"),
            "$" => mutant.run = rest.split_whitespace().map(str::to_owned).collect(),
            _ => return Err(format!("{LIST}:{at}: expected one of = @ - + $, read {mark:?}")),
        }
    }
    match mutants.iter().find(|m| m.file.is_empty() || m.before.is_empty() || m.run.is_empty()) {
        Some(mutant) => Err(format!("{LIST}: {:?} lacks one of @ - $", mutant.rule)),
        None => Ok(mutants),
    }
}

/// The file's text with the rule broken.
///
/// # Errors
/// Unless the lines stand there exactly once.
fn broken(mutant: &Mutant, text: &str) -> Result<String, String> {
    match text.matches(&mutant.before).count() {
        1 => Ok(text.replacen(&mutant.before, &mutant.after, 1)),
        many => Err(format!(
            "{LIST}: {:?}: its lines stand {many} times in {}, expected once",
            mutant.rule, mutant.file
        )),
    }
}

/// Breaks the rules whose names contain one of `wanted`, or all.
pub fn run(place: &Place, wanted: &[String]) -> ExitCode {
    match all(place, wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::from(2)
        }
    }
}

/// How many were not seen.
fn all(place: &Place, wanted: &[String]) -> Result<usize, String> {
    let list = fs::read_to_string(place.root.join(LIST)).map_err(|e| format!("{LIST}: {e}"))?;
    let mut mutants = parse(&list)?;
    mutants.retain(|m| wanted.is_empty() || wanted.iter().any(|word| m.rule.contains(&**word)));
    if mutants.is_empty() {
        return Err(format!("{LIST} has no rule whose name contains one of {wanted:?}"));
    }
    let copy = Copy::of(place)?;
    // A test that is red before anything is broken shows nothing.
    for run in mutants.iter().map(|mutant| &mutant.run).collect::<BTreeSet<_>>() {
        copy.runs(run, true).map_err(|text| format!("{text}\nred before anything was broken"))?;
    }
    let mut unseen = 0;
    for mutant in &mutants {
        let verdict = copy.try_out(mutant)?;
        unseen += usize::from(verdict != Verdict::Red);
        println!("{} {}", verdict.word(), mutant.rule);
    }
    println!("\n{} of {} broken rules were seen", mutants.len() - unseen, mutants.len());
    Ok(unseen)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Red,
    Green,
    /// It doesn't compile, so it says nothing of the tests.
    Nonsense,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Red => "✓ red               ",
            Self::Green => "✗ STAYED GREEN      ",
            Self::Nonsense => "✗ DOES NOT COMPILE  ",
        }
    }
}

/// A copy of the sources, with a target directory of its own.
struct Copy<'a> {
    place: &'a Place,
    tree: PathBuf,
}

impl<'a> Copy<'a> {
    fn of(place: &'a Place) -> Result<Self, String> {
        let base = place.target.join("mutants");
        let tree = base.join("tree");
        let list = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&place.root)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("git ls-files: {error}"))?;
        if !list.status.success() {
            return Err(format!("git ls-files: {}", list.status));
        }
        let names = String::from_utf8_lossy(&list.stdout).into_owned();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            refresh(&place.root.join(name), &tree.join(name))
                .map_err(|error| format!("copy {name}: {error}"))?;
        }
        Ok(Self { place, tree })
    }

    /// Whether `cargo RUN` succeeds here.
    ///
    /// # Errors
    /// What it said, if it was to succeed and did not.
    fn runs(&self, run: &[String], must: bool) -> Result<bool, String> {
        let target = self.place.target.join("mutants/target");
        let mut command = Command::new(&self.place.cargo);
        command.args(run).current_dir(&self.tree).env("CARGO_TARGET_DIR", target);
        match capture(&mut command) {
            Ok((status, _)) if status.success() => Ok(true),
            Ok((_, text)) if must => Err(format!("{text}\ncargo {}", run.join(" "))),
            Ok(_) => Ok(false),
            Err(error) => Err(format!("can't run {command:?}: {error}")),
        }
    }

    fn try_out(&self, mutant: &Mutant) -> Result<Verdict, String> {
        let path = self.tree.join(&mutant.file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", mutant.file))?;
        let write = |text: &str| {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write(&broken(mutant, &text)?)?;
        let builds = [&mutant.run[..1], &["--no-run".to_owned()], &mutant.run[1..]].concat();
        let verdict = match self.runs(&builds, false)? {
            false => Verdict::Nonsense,
            true if self.runs(&mutant.run, false)? => Verdict::Green,
            true => Verdict::Red,
        };
        write(&text)?;
        Ok(verdict)
    }
}

/// Copies what differs: cargo builds anew what has a new date.
fn refresh(from: &Path, to: &Path) -> io::Result<()> {
    let text = match fs::read(from) {
        Ok(text) => text,
        // Deleted, and not yet committed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::copy(from, to).map(|_| ())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_rule_of_the_list_can_still_be_broken() {
        let place = Place::here();
        let list = fs::read_to_string(place.root.join(LIST)).expect("the list");
        let mutants = parse(&list).expect("well-formed");
        assert!(mutants.len() >= 20);
        for mutant in mutants {
            let text = fs::read_to_string(place.root.join(&mutant.file)).expect(&mutant.file);
            let text = broken(&mutant, &text).unwrap_or_else(|problem| panic!("{problem}"));
            assert!(mutant.before != mutant.after && !text.is_empty(), "{}", mutant.rule);
            assert_eq!(mutant.run[0], "test", "{}", mutant.rule);
            assert!(guard_exists(&place, &mutant.run), "{}: no such test", mutant.rule);
        }
    }

    /// Of `-p PACKAGE --test FILE [NAME]`, whether the file is there and has a test whose name holds NAME:
    /// cargo runs no test at all, and is content, when it was moved.
    fn guard_exists(place: &Place, run: &[String]) -> bool {
        let after =
            |word: &str| run.iter().position(|one| one == word).and_then(|at| run.get(at + 1));
        let (Some(package), Some(file)) = (after("-p"), after("--test")) else { return true };
        let text = fs::read_to_string(place.root.join(format!("{package}/tests/{file}.rs")));
        let name = run.last().filter(|last| *last != file).map_or("", |last| last.as_str());
        let names = |line: &str| line.strip_prefix("fn ").is_some_and(|rest| rest.contains(name));
        text.is_ok_and(|text| text.lines().any(names))
    }

    #[test]
    fn a_list_that_is_wrong_is_refused() {
        assert!(parse("@ file\n").expect_err("no rule").contains(":1: expected `= the rule`"));
        assert!(parse("= a\n? b\n").expect_err("no mark").contains(":2: expected one of"));
        assert!(parse("= a\n@ b\n- c\n").expect_err("no test").contains("lacks"));
        let mutant = &parse("= a\n@ b\n- c\n$ test\n").expect("complete")[0];
        assert!(broken(mutant, "c\nc\n").expect_err("twice").contains("stand 2 times"));
        assert_eq!(broken(mutant, "b\nc\nd\n"), Ok("b\nd\n".to_owned()));
    }
}
