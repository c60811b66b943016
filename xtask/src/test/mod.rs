//! `cargo xtask test`: every stage runs, whatever failed before it, and nothing is hidden.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use crate::Place;

pub mod output;
mod prerequisites;
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
}

impl Outcome {
    /// One check, done.
    fn passed(note: impl Into<String>) -> Self {
        let counts = Counts { passed: 1, ..Counts::default() };
        Self { counts, note: note.into(), output: String::new(), skips: Vec::new() }
    }

    /// One check, red.
    fn failed(output: impl Into<String>) -> Self {
        let counts = Counts { failed: 1, ..Counts::default() };
        Self { counts, note: String::new(), output: output.into(), skips: Vec::new() }
    }

    /// One check, not made.
    fn skipped(skips: Vec<String>) -> Self {
        let counts = Counts { skipped: skips.len(), ..Counts::default() };
        Self { counts, note: "skipped".into(), output: String::new(), skips }
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
    let mut skips = Vec::new();
    for (name, stage) in chosen {
        let started = Instant::now();
        announce(name);
        let outcome = stage(&place);
        report(name, started, &outcome);
        totals += outcome.counts;
        skips.extend(outcome.skips.into_iter().map(|skip| format!("{name}: {skip}")));
    }
    if !skips.is_empty() {
        println!("\nskipped:");
        for skip in &skips {
            println!("  {skip}");
        }
    }
    println!("\n{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
