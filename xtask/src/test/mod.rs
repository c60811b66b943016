//! `cargo xtask test`: every stage runs, whatever failed before it, and nothing is hidden.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use crate::Place;

pub mod output;
mod prerequisites;
mod qemu;
pub mod stages;
mod tidy;

use output::Counts;

/// Lines of a failed stage's output that are shown; cargo puts what matters last.
const OUTPUT_SHOWN: usize = 200;

/// What a stage found.
pub struct Outcome {
    /// What it adds to the totals.
    counts: Counts,
    /// For the line behind the stage's name.
    note: String,
    /// Shown when something failed.
    output: String,
    /// `name: reason` of everything that was not checked.
    skips: Vec<String>,
    /// `name: reason` of everything that passed only when it was told again.
    told_twice: Vec<String>,
}

impl Outcome {
    /// One check, done.
    fn passed(note: impl Into<String>) -> Self {
        let counts = Counts { passed: 1, ..Counts::default() };
        Self { note: note.into(), ..Self::of(counts) }
    }

    /// One check, red.
    fn failed(output: impl Into<String>) -> Self {
        let counts = Counts { failed: 1, ..Counts::default() };
        Self { output: output.into(), ..Self::of(counts) }
    }

    /// One check, not made.
    fn skipped(skips: Vec<String>) -> Self {
        let counts = Counts { skipped: skips.len(), ..Counts::default() };
        Self { note: "skipped".into(), skips, ..Self::of(counts) }
    }

    /// Both, as one stage.
    fn and(mut self, other: Self) -> Self {
        self.counts += other.counts;
        self.note = format!("{} passed", self.counts.passed);
        self.output.push_str(&other.output);
        self.skips.extend(other.skips);
        self.told_twice.extend(other.told_twice);
        self
    }

    fn of(counts: Counts) -> Self {
        let (note, output) = (String::new(), String::new());
        Self { counts, note, output, skips: Vec::new(), told_twice: Vec::new() }
    }
}

/// Runs the stages whose names begin with one of `wanted`, or all.
pub fn run(wanted: &[String]) -> ExitCode {
    let place = Place::here();
    let chosen: Vec<_> = stages::ALL
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(&**w)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = stages::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("xtask: no such stage; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut totals = Counts::default();
    let (mut skips, mut told_twice, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (name, stage) in chosen {
        let started = Instant::now();
        announce(name);
        let outcome = stage(&place);
        report(name, started, &outcome);
        totals += outcome.counts;
        if outcome.counts.failed > 0 {
            failures.extend(named(name, output::reasons(&outcome.output)));
        }
        skips.extend(named(name, outcome.skips));
        told_twice.extend(named(name, outcome.told_twice));
    }
    // Of a long output, its end is what people are shown: a list for each thing that was not simply good.
    // Skips stand beside the totals, since nothing else shows that less was checked than is there.
    list("failed", &failures);
    list("told twice", &told_twice);
    list("skipped", &skips);
    println!("\n{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn named(stage: &str, lines: Vec<String>) -> impl Iterator<Item = String> {
    lines.into_iter().map(move |line| format!("{stage}: {line}"))
}

fn list(title: &str, lines: &[String]) {
    if !lines.is_empty() {
        println!("\n{title}:");
        lines.iter().for_each(|line| println!("  {line}"));
    }
}

/// On a terminal: what is running now; [`report`] writes over it.
fn announce(name: &str) {
    if io::stdout().is_terminal() {
        print!("… {name}\r");
        let _ = io::stdout().flush();
    }
}

fn report(name: &str, started: Instant, outcome: &Outcome) {
    let seconds = started.elapsed().as_secs_f64();
    let (mark, code) = match outcome.counts {
        Counts { failed: 1.., .. } => ("✗", "1;31"),
        Counts { passed: 0, .. } => ("–", "33"),
        _ => ("✓", "32"),
    };
    let mark =
        if io::stdout().is_terminal() { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.into() };
    let line = format!("{mark} {name:<34} {seconds:>7.1} s  {}", outcome.note);
    println!("{}", line.trim_end());
    if outcome.counts.failed == 0 {
        return;
    }
    let lines: Vec<_> = outcome.output.lines().collect();
    let hidden = lines.len().saturating_sub(OUTPUT_SHOWN);
    if hidden > 0 {
        println!("    … {hidden} lines before these");
    }
    for line in &lines[hidden..] {
        println!("    {line}");
    }
}
