//! `sim`: runs seeds of the simulator, shrinks one that fails, measures its speed.
//!
//! Exit codes: 0 good, 127 crash, 128 liveness, 129 safety, 2 misuse.

use std::process::ExitCode;
use std::time::Instant;

use hil_tests::sim::fault::{Fault, Planned};
use hil_tests::sim::generate::{self, Plan};
use hil_tests::sim::knobs::{Knobs, timing};
use hil_tests::sim::rng::seed_of;
use hil_tests::sim::run::{Outcome, run};
use hil_tests::sim::shrink::shrink;
use hil_tests::sim::world::World;

use hb_proto::config::LinkKind;

const USAGE: &str =
    "usage: sim [--seed S|COMMIT] [--runs N] [--kind soup|swaps|singles|pairs] [--timeline]
       sim --shrink S [--kind soup|swaps|singles|pairs] [--case N]
       sim --bench";

struct Options {
    seed: u64,
    runs: u64,
    kind: String,
    case: Option<usize>,
    shrink: bool,
    timeline: bool,
    bench: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seed: 1,
        runs: 1,
        kind: "soup".into(),
        case: None,
        shrink: false,
        timeline: false,
        bench: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--seed" | "--shrink" => {
                let text = value()?;
                options.seed = seed_of(&text).ok_or(format!(
                    "{word}: read {text:?}, expected a number or a commit's 40 hex digits"
                ))?;
                options.shrink = word == "--shrink";
            }
            "--runs" | "--case" => {
                let text = value()?;
                let number = text
                    .parse()
                    .map_err(|_| format!("{word}: read {text:?}, expected a number"))?;
                match word.as_str() {
                    "--runs" => options.runs = number,
                    _ => options.case = Some(number as usize),
                }
            }
            "--kind" => options.kind = value()?,
            "--timeline" => options.timeline = true,
            "--bench" => options.bench = true,
            _ => return Err(format!("{word:?} is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn plans(kind: &str, seed: u64) -> Result<Vec<Plan>, String> {
    Ok(match kind {
        "soup" => vec![generate::soup(seed)],
        "swaps" => vec![generate::swaps(seed)],
        "singles" => generate::singles(seed),
        "pairs" => generate::pairs(seed),
        _ => return Err(format!("--kind: read {kind:?}, expected soup, swaps, singles or pairs")),
    })
}

fn print_schedule(plan: &Plan) {
    print!("{}", plan.knobs);
    for Planned { at, fault } in &plan.faults {
        println!("  {:>6}.{:06}  {fault}", at / 1_000_000, at % 1_000_000);
    }
    println!(
        "  {:>6}.{:06}  mended for good",
        plan.mended_at / 1_000_000,
        plan.mended_at % 1_000_000
    );
}

fn report(plan: &Plan, at: usize, outcome: &Outcome) {
    println!("{} (case {at}): {:?}", plan.label, outcome.verdict);
    print_schedule(plan);
    for (what, us) in plan.knobs.liveness_budget() {
        println!("  budget: {what} {} ms", us / 1000);
    }
    print!("{outcome}");
    println!("  again: cargo xtask sim --seed {} (--timeline; --shrink {})", plan.seed, plan.seed);
}

fn shrink_one(plan: &Plan) -> u8 {
    let Some((small, tries)) = shrink(plan) else {
        println!("{}: nothing fails", plan.label);
        return 0;
    };
    let outcome = run(&small, true);
    for line in &outcome.timeline {
        println!("{line}");
    }
    println!(
        "{} after {tries} runs: {} of {} events left",
        plan.label,
        small.faults.len(),
        plan.faults.len()
    );
    println!("{:?}", outcome.verdict);
    print_schedule(&small);
    outcome.verdict.exit_code()
}

/// A simulated day of a quiet pair: two nodes, 100 ms, three media.
fn bench() {
    let knobs = Knobs {
        timing: timing(100, 300, 500, 10_000),
        links: vec![LinkKind::Serial { baud: 19200 }, LinkKind::Broadcast, LinkKind::Unicast],
        drift_ppm: [20, -20],
        ..Knobs::plain()
    };
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let mut world = World::new(1, knobs, vec![on(0), on(1)], false);
    let start = Instant::now();
    world.run_until(86_400_000_000);
    let took = start.elapsed();
    assert_eq!(world.checks.violation, None);
    let c = world.counts;
    println!(
        "a simulated day of two nodes at 100 ms on three media: {:.1} s ({:.0} times real time; limit 30 s)",
        took.as_secs_f64(),
        86_400.0 / took.as_secs_f64()
    );
    println!(
        "  {} frames, {} bytes sent, {} tag checks, {} turns, fingerprint {:016x}",
        c.frames_sent,
        c.bytes_sent,
        c.frames_handed,
        c.turns,
        world.trace.hash()
    );
}

fn run_all(options: &Options) -> Result<u8, String> {
    let mut worst = 0;
    let mut ran = 0_u64;
    let (mut frames, mut simulated, mut splits, mut failed) = (0, 0, 0, 0);
    let start = Instant::now();
    for seed in options.seed..options.seed.saturating_add(options.runs) {
        for (at, plan) in plans(&options.kind, seed)?.iter().enumerate() {
            if options.case.is_some_and(|case| case != at) {
                continue;
            }
            if options.shrink {
                worst = worst.max(shrink_one(plan));
                continue;
            }
            RUNNING.set(Some((seed, at)));
            let outcome = run(plan, options.timeline);
            ran += 1;
            for line in &outcome.timeline {
                println!("{line}");
            }
            if options.runs == 1
                && options.kind.starts_with('s')
                && !options.kind.contains("singles")
            {
                report(plan, at, &outcome);
            } else if !outcome.verdict.is_good() {
                println!("{} (seed {seed}, case {at}): {:?}", plan.label, outcome.verdict);
            }
            failed += u64::from(!outcome.verdict.is_good());
            worst = worst.max(outcome.verdict.exit_code());
            frames += outcome.counts.frames_sent;
            simulated += outcome.ended_at;
            splits += u64::from(outcome.splits);
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{ran} runs, {failed} failed: {} s simulated in {took:.1} s, {frames} frames, {splits} splits of the classics' kind",
        simulated / 1_000_000
    );
    Ok(worst)
}

thread_local! {
    /// For the message of a crash: seed and case.
    static RUNNING: std::cell::Cell<Option<(u64, usize)>> = const { std::cell::Cell::new(None) };
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("sim: {problem}");
            return ExitCode::from(2);
        }
    };
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        eprintln!("sim: crash in (seed, case) {:?}", RUNNING.get());
        std::process::exit(127);
    }));
    if options.bench {
        bench();
        return ExitCode::SUCCESS;
    }
    match run_all(&options) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("sim: {problem}");
            ExitCode::from(2)
        }
    }
}
