//! `sim`: runs seeds of the simulator, shrinks one that fails, measures its speed.
//!
//! Exit codes: 0 good, 127 crash, 128 liveness, 129 safety; 2 wrong usage; 1 a fingerprint or the
//! day's time is not as it must be, or the day could not be written down. Of several runs the worst counts.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hil_tests::scenario::rig::Rig;
use hil_tests::scenario::runner;
use hil_tests::scenario::stories;
use hil_tests::sim::evidence::{hints, schedule};
use hil_tests::sim::generate::Plan;
use hil_tests::sim::kind::Kind;
use hil_tests::sim::plant::Plant;
use hil_tests::sim::rig::Simulated;
use hil_tests::sim::rng::seed_of;
use hil_tests::sim::run::{Outcome, run};
use hil_tests::sim::shrink::shrink;
use hil_tests::sim::soak::{PART, Soak};
use hil_tests::sim::total::Total;
use hil_tests::sim::{day, fingerprints};

#[derive(Parser)]
#[command(name = "sim", about = "Plays two nodes in a world that follows from one number")]
struct Options {
    /// The first seed: a number, or a commit's 40 hex digits
    #[arg(long, default_value = "1", value_parser = seed)]
    seed: u64,
    /// How many seeds, from the first one on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// soup, guide, swaps, singles or pairs
    #[arg(long, default_value = "soup")]
    kind: Kind,
    /// With the third voter
    #[arg(long)]
    arbiter: bool,
    /// Only this case of each seed's table
    #[arg(long)]
    case: Option<usize>,
    /// Print all that happened, in true time
    #[arg(long)]
    timeline: bool,
    /// Look for the smallest plan that fails in the same way as the first that fails
    #[arg(long)]
    shrink: bool,
    /// So many seeds of soup, guide and swaps, from `--seed` on, on all processors; prints a report
    #[arg(long, conflicts_with_all = ["runs", "kind", "case", "shrink", "timeline", "story"],
        value_parser = clap::value_parser!(u64).range(1..))]
    soak: Option<u64>,
    /// How many runs of a soak at once [default: one for each processor]
    #[arg(long, requires = "soak", value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// Where a soak keeps what is done, and goes on when it is started again
    #[arg(long, requires = "soak", default_value = "target/soak/journal")]
    journal: PathBuf,
    /// Tell one story instead, with `--seed`
    #[arg(long, conflicts_with_all = ["runs", "kind", "case", "shrink"])]
    story: Option<String>,
    /// Print the committed fingerprints and what they are now
    #[arg(long, exclusive = true)]
    fingerprints: bool,
    /// Simulate a quiet day and say how long that took
    #[arg(long, exclusive = true)]
    bench: bool,
    /// Break each rule of the protocol in turn and say within how many seeds that is noticed
    #[arg(long, conflicts_with_all = ["arbiter", "case", "shrink", "timeline", "story", "soak"])]
    mutants: bool,
    /// Break the world on purpose: the run must turn red
    #[arg(long, hide = true)]
    plant: Option<Plant>,
}

fn seed(word: &str) -> Result<u64, String> {
    seed_of(word).ok_or_else(|| "expected a number or a commit's 40 hex digits".to_owned())
}

fn print_report(plan: &Plan, outcome: &Outcome) {
    hil_tests::say!("{}: {:?}", plan.label, outcome.verdict);
    hil_tests::tell(format_args!("{}", schedule(plan)));
    for (what, us) in plan.knobs.liveness_budget() {
        hil_tests::say!("  budget: {what} {} ms", us / 1000);
    }
    hil_tests::tell(format_args!("{outcome}"));
    hil_tests::say!("{}", hints(plan));
}

/// The smallest plan that fails as this one does; none if it doesn't fail.
fn shrink_one(plan: &Plan) -> Option<u8> {
    // Shrinking a crash panics a thousand times; the last run tells it once.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(plan);
    std::panic::set_hook(tell);
    let (small, tries) = shrunk?;
    let outcome = run(&small, true);
    for line in &outcome.timeline {
        hil_tests::say!("{line}");
    }
    hil_tests::say!(
        "{} ({}) after {tries} runs: {} of {} events left",
        plan.label,
        plan.origin,
        small.faults.len(),
        plan.faults.len()
    );
    hil_tests::say!("{:?}", outcome.verdict);
    hil_tests::tell(format_args!("{}", schedule(&small)));
    Some(outcome.verdict.exit_code())
}

/// Runs one plan; breaks off when the shrunk one was told.
fn run_one(options: &Options, plan: &Plan, alone: bool, total: &mut Total) -> ControlFlow<u8> {
    if options.shrink {
        total.ran += 1;
        return shrink_one(plan).map_or(ControlFlow::Continue(()), ControlFlow::Break);
    }
    let outcome = run(plan, options.timeline);
    total.add(&outcome);
    for line in &outcome.timeline {
        hil_tests::say!("{line}");
    }
    if alone {
        print_report(plan, &outcome);
    } else if !outcome.verdict.is_good() {
        hil_tests::say!("{}: {:?}", plan.label, outcome.verdict);
        hil_tests::say!("{}", hints(plan));
    }
    ControlFlow::Continue(())
}

fn run_all(options: &Options) -> Result<u8, String> {
    let mut total = Total::default();
    let start = Instant::now();
    for step in 0..options.runs {
        let seed = options.seed.wrapping_add(step);
        let mut plans = if options.arbiter {
            options.kind.plans_with_arbiter(seed)
        } else {
            options.kind.plans(seed)
        };
        if let Some(case) = options.case {
            let cases = plans.len();
            if case >= cases {
                return Err(format!(
                    "--case: read {case}; seed {seed} of {} has cases 0 to {}",
                    options.kind,
                    cases - 1
                ));
            }
            plans = plans.drain(case..=case).collect();
        }
        let alone = options.runs == 1 && plans.len() == 1;
        for mut plan in plans {
            plan.knobs.plant = options.plant;
            if let ControlFlow::Break(code) = run_one(options, &plan, alone, &mut total) {
                return Ok(code);
            }
        }
    }
    if options.shrink {
        hil_tests::say!("{} runs, and nothing fails: there is nothing to shrink", total.ran);
        return Ok(0);
    }
    if total.ran > 1 {
        hil_tests::tell(format_args!("{total}"));
    }
    hil_tests::say!(
        "{} runs of {}{}, {} failed: {} s simulated in {:.1} s, {} frames, {} splits of the classics' kind",
        total.ran,
        options.kind,
        if options.arbiter { " with an arbiter" } else { "" },
        total.failed,
        total.simulated_us / 1_000_000,
        start.elapsed().as_secs_f64(),
        total.frames,
        total.splits
    );
    if total.ran == 0 {
        return Err("nothing was run".to_owned());
    }
    Ok(total.worst)
}

/// Very many seeds; the report goes to the standard output, progress elsewhere.
fn soak(options: &Options, seeds: u64) -> Result<u8, String> {
    let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = options.workers.map_or_else(processors, NonZero::get);
    let soak = Soak {
        first: options.seed,
        seeds,
        part: PART,
        arbiter: options.arbiter,
        journal: options.journal.clone(),
        workers,
    };
    let (report, worst) = soak.run()?;
    hil_tests::tell(format_args!("{report}"));
    Ok(worst)
}

fn place(kept: &Result<PathBuf, String>) -> String {
    match kept {
        Ok(path) => path.display().to_string(),
        Err(problem) => format!("could not be kept: {problem}"),
    }
}

/// One story, as `--test sim_stories` tells it.
fn tell(name: &str, options: &Options) -> Result<u8, String> {
    let (seed, timeline) = (options.seed, options.timeline);
    let story =
        stories::named(name).ok_or_else(|| format!("--story: no story is called {name}"))?;
    let mut rig = Simulated::new(seed);
    let kept = PathBuf::from("target/rig-evidence/sim").join(name);
    let tell = if options.arbiter { runner::tell_with_dongle } else { runner::tell };
    let verdict = tell(story, &mut rig, &kept);
    if timeline {
        hil_tests::tell(format_args!("{}", runner::merged(rig.timeline())));
    }
    Ok(match verdict {
        runner::Verdict::Passed => {
            hil_tests::say!("{name} with seed {seed}: passed");
            0
        }
        runner::Verdict::Skipped(reason) => {
            hil_tests::say!("SKIP: {reason}");
            0
        }
        runner::Verdict::Failed { why, timeline, kept, .. } => {
            hil_tests::say!("{timeline}{name} with seed {seed}: {why}\nevidence: {}", place(&kept));
            1
        }
    })
}

/// A line for each rule that can be broken: where `--kind` of `--runs` seeds first notices.
#[cfg(feature = "mutants")]
fn measure_mutants(kind: Kind, seeds: u64) -> Result<u8, String> {
    use hil_tests::sim::mutants::{Rule, noticed};
    // A broken rule breaks contracts, too: a panic is a verdict, and needs no words.
    std::panic::set_hook(Box::new(|_| {}));
    for &rule in Rule::ALL {
        match noticed(rule, kind, seeds) {
            Some(found) => hil_tests::say!(
                "{rule:?}: {kind} within {} seeds ({}): {:?}",
                found.within,
                found.plan,
                found.verdict
            ),
            None => hil_tests::say!("{rule:?}: not noticed in {seeds} seeds of {kind}"),
        }
    }
    Ok(0)
}

#[cfg(not(feature = "mutants"))]
fn measure_mutants(_: Kind, _: u64) -> Result<u8, String> {
    Err("--mutants: this program was built without the knobs: use `cargo xtask sim --mutants`"
        .into())
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.fingerprints {
        return ExitCode::from(u8::from(!fingerprints::print()));
    }
    if options.bench {
        return ExitCode::from(u8::from(!day::bench()));
    }
    let ended = match &options.story {
        None if options.mutants => measure_mutants(options.kind, options.runs),
        Some(name) => tell(name, &options),
        None => match options.soak {
            Some(seeds) => soak(&options, seeds),
            None => run_all(&options),
        },
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("sim: {problem}");
            ExitCode::from(2)
        }
    }
}
