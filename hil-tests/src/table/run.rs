//! Plays the table: rigs beside each other, each a process that plays a few cases on one pair.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::case::{Case, Gap, Row, TWO, cluster, well};
use super::{faults, report};
use crate::bench::machine::Conditions;
use crate::inside::{TOLD_TWICE, programs};
use crate::netns::host;
use crate::netns::rig::Namespaces;
use crate::scenario::runner::{self, Verdict};
use crate::scenario::{Rig, Stop};

/// Cases that one rig plays before another is made: what one case leaves behind must not help many.
const BATCH: usize = 6;
/// A case that fails while the host starved it is played again this often, alone.
const MORE_TRIES: usize = 2;

/// Where it is played.
#[derive(Clone, Copy)]
pub struct Stage {
    /// What a person types for it.
    pub command: &'static str,
    /// A directory of the evidence's own.
    pub evidence: &'static str,
    /// Rigs beside each other, unless somebody says how many.
    pub at_once: usize,
    /// This program in a process and namespaces of its own, with these arguments.
    pub enter: fn(&[String]) -> Command,
    /// Makes the rig in there.
    ///
    /// # Errors
    /// It can't be made here.
    pub rig: fn() -> Result<Box<dyn Rig>, String>,
    /// What the dongle's brain is, for the report.
    pub dongle: fn() -> String,
}

/// What is played.
#[derive(Parser, Clone, Debug)]
#[command(name = "--failure-table", max_term_width = 100)]
pub struct Options {
    /// Only these: `singles`, `pairs` (the second when the first has settled), `soon` (250 ms after it), or
    /// words that a case's name contains, all of them
    pub only: Vec<String>,
    /// Every n-th pair only
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub every: usize,
    /// Rigs beside each other (3 in namespaces, 1 of virtual machines)
    #[arg(long, value_name = "N")]
    pub at_once: Option<usize>,
    /// Write the table as Markdown and the rows as JSON to FILE.md and FILE.json
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// What FILE.json has from an earlier run, and was right, is kept and not played again
    #[arg(long, requires = "record")]
    pub go_on: bool,
    /// No new batch of cases begins after so many seconds
    #[arg(long, value_name = "S", default_value_t = u64::MAX)]
    pub seconds: u64,
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
pub fn on_namespaces() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let stage = Stage {
        command: "cargo xtask rig netns --failure-table",
        evidence: "failure-table",
        at_once: 3,
        enter: |arguments| {
            let hb = &programs().hb;
            let mut command = Command::new(hb);
            command.arg("rig-enter").arg(std::env::current_exe().unwrap_or_default());
            command.args(arguments);
            command.env("HB_RIG_PROGRAMS", hb.parent().unwrap_or(Path::new(".")));
            command
        },
        rig: || {
            host::prefer_this_session();
            Ok(Box::new(Namespaces::new(programs().clone())))
        },
        dongle: || "its library in a process of the host".to_owned(),
    };
    main(&stage, &arguments)
}

/// Plays it on a stage. The arguments are those behind `--failure-table`.
#[must_use]
pub fn main(stage: &Stage, arguments: &[String]) -> ExitCode {
    let words = std::iter::once(stage.command).chain(arguments.iter().map(String::as_str));
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(why) => why.exit(),
    };
    let cases = all();
    if !options.cases.is_empty() {
        return play_here(stage, &cases, &options);
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
    // Before hours pass and the tree changes.
    let here = Conditions::here(&programs().hb, stage.command);
    let played = earlier(&options).map(|rows| {
        let known = |number: &usize| rows.iter().any(|row| is_of(&cases[*number], row));
        let left: Vec<usize> = chosen.into_iter().filter(|number| !known(number)).collect();
        in_order(&cases, [rows, play(stage, &options, &cases, &left)].concat())
    });
    match played {
        Ok(rows) => conclude(stage, &options, &here, &rows),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

/// Whether a row is of that case.
fn is_of(case: &Case, row: &Row) -> bool {
    let blank = case.blank();
    (&blank.first, &blank.second) == (&row.first, &row.second)
}

fn in_order(cases: &[Case], mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| cases.iter().position(|case| is_of(case, row)));
    rows
}

/// What an earlier run has recorded, if that counts, and was right.
fn earlier(options: &Options) -> Result<Vec<Row>, String> {
    let Some(path) = options.record.as_ref().filter(|_| options.go_on) else {
        return Ok(Vec::new());
    };
    let path = path.with_extension("json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    let rows = text.and_then(|text| {
        serde_json::from_str::<Vec<Row>>(&text).map_err(|error| error.to_string())
    });
    let mut rows = rows.map_err(|error| format!("{}: {error}", path.display()))?;
    rows.retain(|row| row.wrong.is_none());
    Ok(rows)
}

fn conclude(stage: &Stage, options: &Options, here: &Conditions, rows: &[Row]) -> ExitCode {
    println!("\n{}\n{}", report::singles(rows), report::summary(rows));
    for row in rows {
        let Some(wrong) = &row.wrong else { continue };
        let then = row.second.as_ref().map_or(String::new(), |(_, name)| format!(", then {name}"));
        println!("WRONG: {}{then}: {wrong}", row.first);
    }
    if let Some(path) = &options.record
        && let Err(problem) = record(path, stage, options, here, rows)
    {
        eprintln!("{problem}");
        return ExitCode::from(2);
    }
    if rows.iter().all(|row| row.wrong.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn record(
    path: &Path,
    stage: &Stage,
    options: &Options,
    here: &Conditions,
    rows: &[Row],
) -> Result<(), String> {
    let write = |ending: &str, text: &str| {
        let path = path.with_extension(ending);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let lines = if options.no_reset_lines { "without reset lines" } else { "with reset lines" };
    let text = format!(
        "Failure table {lines} (`{}`). The dongle: {}. {}; {} cores of {}; {}; {}; commit {}\n\n{}\n\n{}\n{}",
        stage.command,
        (stage.dongle)(),
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
    // A row a line, so that two runs can be compared.
    let lines: Result<Vec<_>, _> = rows.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|error| error.to_string())?;
    write("json", &format!("[\n{}\n]\n", lines.join(",\n")))
}

// ---- the process that distributes the cases

fn play(stage: &Stage, options: &Options, cases: &[Case], chosen: &[usize]) -> Vec<Row> {
    let began = std::time::Instant::now();
    let batches: VecDeque<Vec<usize>> = chosen.chunks(BATCH).map(<[usize]>::to_vec).collect();
    let (waiting, ended) = (Mutex::new(batches), Mutex::new(Vec::new()));
    println!("{} cases", chosen.len());
    std::thread::scope(|scope| {
        for _ in 0..options.at_once.unwrap_or(stage.at_once).max(1) {
            scope.spawn(|| {
                while began.elapsed().as_secs() < options.seconds {
                    let Some(batch) = waiting.lock().expect("no panic").pop_front() else { break };
                    let played = batch_in_rig(stage, options, cases, &batch);
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
        again(stage, options, cases, one);
    }
    let left = chosen.len() - ended.len();
    if left > 0 {
        println!("{left} cases are left: the time was up");
    }
    ended.into_iter().map(|one| one.row).collect()
}

/// Plays a case again, alone, while the host may be to blame for what was wrong; two holders never are.
fn again(stage: &Stage, options: &Options, cases: &[Case], one: &mut Played) {
    let name = cases[one.number].name();
    for _ in 0..MORE_TRIES {
        let (Some(doubts), Some(wrong), None) = (&one.doubts, &one.row.wrong, one.row.two_holders)
        else {
            return;
        };
        let why = format!("{}; {doubts}", wrong.lines().next().unwrap_or_default());
        if let Some(second) = batch_in_rig(stage, options, cases, &[one.number]).pop() {
            *one = second;
        }
        if one.row.wrong.is_none() {
            println!("{TOLD_TWICE}failure table: {name}: {why}");
        }
    }
}

/// A batch in a process of its own; what it played, up to the first case that was wrong.
fn batch_in_rig(stage: &Stage, options: &Options, cases: &[Case], batch: &[usize]) -> Vec<Played> {
    let numbers: Vec<String> = batch.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["--cases".to_owned(), numbers.join(",")];
    arguments.extend(options.no_reset_lines.then(|| "--no-reset-lines".to_owned()));
    arguments.extend(options.sabotage.then(|| "--sabotage".to_owned()));
    let mut command = (stage.enter)(&arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
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

fn play_here(stage: &Stage, cases: &[Case], options: &Options) -> ExitCode {
    let mut rig = match (stage.rig)() {
        Ok(rig) => rig,
        Err(why) => {
            println!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut cluster = cluster(!options.no_reset_lines);
    if options.sabotage {
        cluster.watchdog_s = None;
    }
    let cluster = rig.fit(cluster);
    let target = programs().hb.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    let evidence = target.join("rig-evidence").join(stage.evidence);
    let mut first = true;
    for &number in &options.cases {
        let Some(case) = cases.get(number) else { return ExitCode::from(2) };
        let mut row = case.blank();
        let began = rig.now();
        let place = evidence.join(case.name().replace([' ', ','], "_"));
        let _ = std::fs::remove_dir_all(&place);
        let verdict = runner::tell_as(&case.name(), rig.as_mut(), &place, |s| {
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
                // Whatever went wrong first: this is worse.
                row.two_holders = rig.overlap(0, began).ok().flatten().map(|at| at.micros() / 1000);
                let two = row.two_holders.map_or(String::new(), |at| format!("{TWO} at {at} ms: "));
                row.wrong = Some(format!("{two}{why}\nevidence: {kept}"));
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
