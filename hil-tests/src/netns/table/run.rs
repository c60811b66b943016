//! Plays the table: rigs beside each other, each a process that plays a few cases on one pair.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::case::{Case, Gap, Row, cluster, well};
use super::{faults, report};
use crate::bench::machine::Conditions;
use crate::inside::{TOLD_TWICE, programs};
use crate::netns::host;
use crate::netns::rig::Namespaces;
use crate::scenario::Stop;
use crate::scenario::runner::{self, Verdict};

/// Cases that one rig plays before another is made: what one case leaves behind must not help many.
const BATCH: usize = 6;
/// A case that fails while the host starved it is played again this often, alone.
const MORE_TRIES: usize = 2;

/// What is played.
#[derive(Parser, Clone, Debug)]
#[command(name = "cargo xtask rig netns --failure-table", max_term_width = 100)]
pub struct Options {
    /// Only these: `singles`, `pairs` (the second when the first has settled), `soon` (250 ms after it), or
    /// words that a case's name contains, all of them
    pub only: Vec<String>,
    /// Every n-th pair only
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub every: usize,
    /// Rigs beside each other
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub at_once: usize,
    /// Write the table as Markdown and the rows as JSON to FILE.md and FILE.json
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// A dongle that can reset nobody: promises to the dead end by time
    #[arg(long)]
    pub no_reset_lines: bool,
    /// Machines without watchdogs, whatever guard says: to see that the table can fail (R10)
    #[arg(long)]
    pub sabotage: bool,
    /// Name the cases and play none
    #[arg(long)]
    pub list: bool,
    /// In a rig's own process: the numbers of the cases to play
    #[arg(long, hide = true, value_delimiter = ',')]
    pub cases: Vec<usize>,
}

/// What a rig's process says of a case, one line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Played {
    number: usize,
    row: Row,
    /// Why the host may be to blame for what is wrong.
    doubts: Option<String>,
}

/// The single failures, then the pairs.
fn all() -> Vec<Case> {
    let faults = faults::ALL;
    let mut cases: Vec<Case> = faults.iter().map(|first| Case { first, second: None }).collect();
    for gap in [Gap::Settled, Gap::Soon] {
        for first in faults {
            let seconds = faults.iter().filter(|second| second.name != first.name);
            cases.extend(seconds.map(|second| Case { first, second: Some((gap, second)) }));
        }
    }
    cases
}

impl Options {
    fn wants(&self, case: &Case) -> bool {
        let name = case.name();
        self.only.iter().all(|word| match word.as_str() {
            "singles" => case.second.is_none(),
            "pairs" => matches!(case.second, Some((Gap::Settled, _))),
            "soon" => matches!(case.second, Some((Gap::Soon, _))),
            word => name.contains(word),
        })
    }

    /// The numbers of the chosen cases.
    fn chosen(&self, cases: &[Case]) -> Vec<usize> {
        let mut pairs = 0;
        let numbered = cases.iter().enumerate().filter(|(_, case)| self.wants(case));
        let kept = numbered.filter(|(_, case)| {
            pairs += usize::from(case.second.is_some());
            case.second.is_none() || pairs % self.every.max(1) == 0
        });
        kept.map(|(number, _)| number).collect()
    }
}

/// `cargo xtask rig netns --failure-table`, once the release binaries are built. Exit code 0: all as the
/// table says.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let cases = all();
    if !options.cases.is_empty() {
        return play_here(&cases, &options);
    }
    let chosen = options.chosen(&cases);
    if options.list {
        chosen.iter().for_each(|&number| println!("{number}: {}", cases[number].name()));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("no case has all of these words in its name: {}", options.only.join(" "));
        return ExitCode::from(2);
    }
    match play(&options, &cases, &chosen) {
        Ok(rows) => conclude(&options, &rows),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn conclude(options: &Options, rows: &[Row]) -> ExitCode {
    println!("\n{}\n{}", report::singles(rows), report::summary(rows));
    for row in rows {
        let Some(wrong) = &row.wrong else { continue };
        let then = row.second.as_ref().map_or(String::new(), |(_, name)| format!(", then {name}"));
        println!("WRONG: {}{then}: {wrong}", row.first);
    }
    if let Some(path) = &options.record
        && let Err(problem) = record(path, options, rows)
    {
        eprintln!("{problem}");
        return ExitCode::from(2);
    }
    if rows.iter().all(|row| row.wrong.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn record(path: &Path, options: &Options, rows: &[Row]) -> Result<(), String> {
    let write = |ending: &str, text: &str| {
        let path = path.with_extension(ending);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let here = Conditions::here(&programs().hb, "cargo xtask rig netns --failure-table");
    let lines = if options.no_reset_lines { "without reset lines" } else { "with reset lines" };
    let text = format!(
        "Failure table {lines}. {}; {} cores of {}; {}; {}; commit {}\n\n{}\n\n{}\n{}",
        here.date,
        here.cores,
        here.cpu,
        here.kernel,
        here.version,
        here.commit,
        report::summary(rows),
        report::singles(rows),
        report::pairs(rows)
    );
    write("md", &text)?;
    let json = serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?;
    write("json", &json)
}

// ---- the process that distributes the cases

fn play(options: &Options, cases: &[Case], chosen: &[usize]) -> Result<Vec<Row>, String> {
    let hb = programs().hb.clone();
    let batches: VecDeque<Vec<usize>> = chosen.chunks(BATCH).map(<[usize]>::to_vec).collect();
    let (waiting, ended) = (Mutex::new(batches), Mutex::new(Vec::new()));
    println!("{} cases", chosen.len());
    std::thread::scope(|scope| {
        for _ in 0..options.at_once.max(1) {
            scope.spawn(|| {
                loop {
                    let Some(batch) = waiting.lock().expect("no panic").pop_front() else { break };
                    let played = batch_in_rig(&hb, options, cases, &batch);
                    // A rig on which something was wrong plays nothing more.
                    let rest: Vec<usize> = batch[played.len()..].to_vec();
                    if !rest.is_empty() {
                        waiting.lock().expect("no panic").push_back(rest);
                    }
                    ended.lock().expect("no panic").extend(played);
                }
            });
        }
    });
    let mut ended = ended.into_inner().expect("no panic");
    for one in &mut ended {
        again(&hb, options, cases, one);
    }
    ended.sort_by_key(|one| one.number);
    Ok(ended.into_iter().map(|one| one.row).collect())
}

/// Plays a case again, alone, while the host may be to blame for what was wrong; two holders never are.
fn again(hb: &Path, options: &Options, cases: &[Case], one: &mut Played) {
    let name = cases[one.number].name();
    for _ in 0..MORE_TRIES {
        let (Some(doubts), Some(wrong), None) = (&one.doubts, &one.row.wrong, one.row.two_holders)
        else {
            return;
        };
        let why = format!("{}; {doubts}", wrong.lines().next().unwrap_or_default());
        if let Some(second) = batch_in_rig(hb, options, cases, &[one.number]).pop() {
            *one = second;
        }
        if one.row.wrong.is_none() {
            println!("{TOLD_TWICE}failure table: {name}: {why}");
        }
    }
}

/// A batch in a process of its own; what it played, up to the first case that was wrong.
fn batch_in_rig(hb: &Path, options: &Options, cases: &[Case], batch: &[usize]) -> Vec<Played> {
    let numbers: Vec<String> = batch.iter().map(ToString::to_string).collect();
    let child = std::env::current_exe().and_then(|myself| {
        Command::new(hb)
            .arg("rig-enter")
            .arg(myself)
            .args(["--cases", &numbers.join(",")])
            .args(options.no_reset_lines.then_some("--no-reset-lines"))
            .args(options.sabotage.then_some("--sabotage"))
            .env("HB_RIG_PROGRAMS", hb.parent().unwrap_or(Path::new(".")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    });
    let mut played: Vec<Played> = Vec::new();
    let problem = match child {
        Ok(mut child) => {
            let words = child.stdout.take().expect("it was asked for");
            let mut said = String::new();
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                match serde_json::from_str::<Played>(&line) {
                    Ok(one) => {
                        tell(cases, &one);
                        played.push(one);
                    }
                    Err(_) => said.push_str(&format!("{line}\n")),
                }
            }
            let status = child.wait().map_or_else(|error| error.to_string(), |how| how.to_string());
            format!("the rig's process ended: {status}\n{said}")
        }
        Err(error) => error.to_string(),
    };
    let stopped = played.last().is_some_and(|last| last.row.wrong.is_some());
    if played.len() < batch.len() && !stopped {
        // Never silently fewer: the case that it was at is wrong.
        let number = batch[played.len()];
        let row = Row { wrong: Some(problem), ..cases[number].blank() };
        let one = Played { number, row, doubts: None };
        tell(cases, &one);
        played.push(one);
    }
    played
}

fn tell(cases: &[Case], one: &Played) {
    let (name, row) = (cases[one.number].name(), &one.row);
    let word = if row.wrong.is_none() { "ok" } else { "WRONG" };
    println!("{word:<5} {name}: {} serves, outage {} ms", row.holder, row.outage_ms);
    if let Some(wrong) = &row.wrong {
        println!("      {}", wrong.replace('\n', "\n      "));
    }
    let _ = std::io::stdout().flush();
}

// ---- a rig's own process

fn play_here(cases: &[Case], options: &Options) -> ExitCode {
    host::prefer_this_session();
    let mut rig = Namespaces::new(programs().clone());
    let mut cluster = cluster(!options.no_reset_lines);
    if options.sabotage {
        cluster.watchdog_s = None;
    }
    let target = programs().hb.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    let evidence = target.join("rig-evidence/failure-table");
    let mut first = true;
    for &number in &options.cases {
        let Some(case) = cases.get(number) else { return ExitCode::from(2) };
        let mut row = case.blank();
        let place = evidence.join(case.name().replace([' ', ','], "_"));
        let _ = std::fs::remove_dir_all(&place);
        let verdict = runner::tell_as(&case.name(), &mut rig, &place, |s| {
            if first {
                s.start(cluster.clone())?;
            } else {
                s.go_on(cluster.clone());
            }
            well(s)?;
            row = case.tell(s)?;
            let complaints = s.rig().complaints();
            if complaints.is_empty() { Ok(()) } else { Err(Stop::Wrong(complaints.join("\n"))) }
        });
        first = false;
        let mut doubts = None;
        match verdict {
            Verdict::Passed => {}
            Verdict::Skipped(why) => row.wrong = Some(why),
            Verdict::Failed { why, kept, doubts: its, .. } => {
                let kept = kept.map_or_else(|problem| problem, |path| path.display().to_string());
                row.two_holders = row.two_holders.or(why.contains(super::case::TWO).then_some(0));
                row.wrong = Some(format!("{why}\nevidence: {kept}"));
                doubts = its;
            }
        }
        let wrong = row.wrong.is_some();
        let line = serde_json::to_string(&Played { number, row, doubts }).expect("plain data");
        println!("{line}");
        let _ = std::io::stdout().flush();
        if wrong {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
