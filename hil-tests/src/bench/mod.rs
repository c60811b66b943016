//! `cargo xtask bench failover`: what a failover costs, in milliseconds, in CPU, in memory, in bytes;
//! measured from outside, beside peers, beside what was promised.
//!
//! It is its rig's supervising process: two machines in namespaces, real daemons, release binaries. Every
//! time is a client's, every byte count the wire's. What it needs is root, or user namespaces; the peers
//! need root.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hb_linux::rig::bench::Node;
use hb_linux::rig::machine::Programs;
use hb_linux::rig::{RigError, host};

mod bare_loop;
mod beside;
mod client;
mod cost;
mod dongle;
mod failover;
mod idle;
mod load;
pub mod machine;
mod peers;
mod report;
mod run;
mod splits;
mod stack;
mod wire;

use machine::{Conditions, StallRecorder};
use report::Results;
use run::{Peers, Run};
use stack::{DEFAULT, FASTEST, GUIDE, Ours, Pair, Timing};

#[derive(Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure failovers and what they cost
    Failover(Options),
    /// Keep a pair running, for strace and the like; prints the PIDs
    Hold {
        /// guide, default or fastest
        #[arg(default_value = "fastest")]
        settings: String,
        /// How long
        #[arg(default_value_t = 60)]
        seconds: u64,
    },
    /// Inside a machine of the rig: the bare loop of the daemon's system calls
    #[command(hide = true)]
    BareLoop {
        /// 1 or 2
        machine: u8,
        /// Milliseconds
        keepalive_ms: u64,
        /// Of /dev/ttyS1
        baud: u32,
    },
}

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// Debian's heartbeat and keepalived too, in the same run with the same probe
    #[arg(long)]
    peers: bool,
    /// The dongle's figures, with the classic mode's beside them, in place of the classic mode's alone
    #[arg(long)]
    dongle: bool,
    /// Runs of everything that is measured more than once
    #[arg(long, default_value_t = 10, value_name = "N")]
    runs: usize,
    /// Only measurements whose names contain this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Three runs, short windows: to see that it works, not to publish
    #[arg(long)]
    quick: bool,
    /// The load test's length in minutes; 0 leaves it out
    #[arg(long, value_name = "MINUTES")]
    load: Option<f64>,
    /// Where the results go [default: docs/validation/runs, with --quick target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    const fn runs(&self) -> usize {
        if self.quick { 3 } else { self.runs }
    }

    /// How long an idle pair is watched.
    const fn window(&self) -> Duration {
        Duration::from_secs(if self.quick { 5 } else { 60 })
    }

    fn load_minutes(&self) -> f64 {
        self.load.unwrap_or(if self.quick { 0.25 } else { 10.0 })
    }

    /// What is not for publishing doesn't lie beside what is.
    fn out(&self) -> &Path {
        let default = if self.quick { "target/bench" } else { "docs/validation/runs" };
        self.out.as_deref().unwrap_or(Path::new(default))
    }
}

/// The benchmark's command line. Call it before the process has a second thread.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Failover(options) => measure(&options),
        Task::Hold { settings, seconds } => hold(&settings, seconds),
        Task::BareLoop { machine, keepalive_ms, baud } => {
            let node = if machine == 1 { Node::One } else { Node::Two };
            bare_loop::run(node, Duration::from_millis(keepalive_ms), baud)
                .map(|()| ExitCode::SUCCESS)
                .map_err(|source| RigError::Io { what: "the bare loop".into(), source })
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::from(2)
    })
}

/// What a rig starts: the binaries beside this one.
fn programs() -> Result<Programs, RigError> {
    let myself = std::env::current_exe()
        .map_err(|source| RigError::Io { what: "finding this program".into(), source })?;
    let programs = Programs {
        hb: myself.with_file_name("hb"),
        heartbeatd: myself.with_file_name("heartbeatd"),
    };
    for program in [&programs.hb, &programs.heartbeatd] {
        std::fs::metadata(program).map_err(|source| RigError::Io {
            what: format!("{}: expected it beside this program", program.display()),
            source,
        })?;
    }
    Ok(programs)
}

/// What was typed: this program's own path is one host's business.
fn command(arguments: impl Iterator<Item = String>) -> String {
    std::iter::once("cargo xtask bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn named(settings: &str) -> Option<Timing> {
    [GUIDE, DEFAULT, FASTEST].into_iter().find(|timing| timing.name == settings)
}

fn hold(settings: &str, seconds: u64) -> Result<ExitCode, RigError> {
    let Some(timing) = named(settings) else {
        eprintln!("bench: {settings:?}: expected guide, default or fastest");
        return Ok(ExitCode::from(2));
    };
    let programs = programs()?;
    host::enter()?;
    let ours = Ours::new(timing);
    let pair = Pair::start(&programs, Box::new(ours), |bench| ours.install(bench, true))?;
    for node in Node::BOTH {
        let machine = pair.bench.machine(node);
        for process in cost::processes(machine.pid()?) {
            println!("{} {} {}", machine.name(), process.pid, process.name);
        }
        println!("{} {}", machine.name(), machine.log_file("ha-log").display());
    }
    std::thread::sleep(Duration::from_secs(seconds));
    for node in Node::BOTH {
        println!("{}", pair.bench.machine(node).ha_log());
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &Options) -> Result<ExitCode, RigError> {
    if let Err(problem) = run::check_only(options) {
        eprintln!("bench: {problem}");
        return Ok(ExitCode::from(2));
    }
    let programs = programs()?;
    let results = Results::new(Conditions::here(&programs.hb, &command(std::env::args().skip(1))));
    let peers = if options.peers { Some(Peers::fetch()) } else { None };
    host::enter()?;
    let mut run = Run { options, programs, stalls: StallRecorder::start(), results };
    if options.dongle {
        run.trios();
    } else {
        run.ours();
    }
    if let Some(peers) = peers {
        run.peers(&peers);
    }
    finish(options, &run.results)
}

fn finish(options: &Options, results: &Results) -> Result<ExitCode, RigError> {
    println!("\n{}", results.summary());
    let written = results.write(options.out()).map_err(|source| RigError::Io {
        what: format!("writing into {}", options.out().display()),
        source,
    })?;
    for path in written {
        println!("written: {}", path.display());
    }
    Ok(if results.all_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let words = ["bench", "failover"].iter().chain(arguments);
        match Cli::try_parse_from(words).expect("good arguments").task {
            Task::Failover(options) => options,
            _ => panic!("another task"),
        }
    }

    fn out(arguments: &[&str]) -> PathBuf {
        options(arguments).out().to_owned()
    }

    /// It used to measure nothing, and to say that all was well.
    #[test]
    fn what_chooses_nothing_is_refused_with_what_there_is() {
        let refused = |arguments: &[&str]| run::check_only(&options(arguments)).err();
        for good in [&[][..], &["--only", "idle"], &["--only", "ours-guide", "--only", "split"]] {
            assert_eq!(refused(good), None, "{good:?}");
        }
        let text = refused(&["--only", "idle", "--only", "speed"]).expect("refused");
        assert!(text.contains("\"speed\"") && text.contains("ours-fastest"), "{text}");
        assert!(text.contains("with --peers") && !text.contains("keepalived"), "{text}");
        assert_eq!(refused(&["--peers", "--only", "keepalived-default"]), None);
        assert_eq!(refused(&["--dongle", "--only", "dongle-fastest-no-lines"]), None);
        assert!(refused(&["--dongle", "--only", "idle"]).is_some(), "the classic mode's");
        assert!(refused(&["--only", "keepalived-default"]).is_some(), "no peers, no such name");
        assert!(refused(&["--load", "0", "--only", "load"]).is_some(), "left out");
    }

    #[test]
    fn the_command_is_one_that_can_be_typed() {
        let arguments = ["failover", "--only", "idle"].map(str::to_owned);
        assert_eq!(command(arguments.into_iter()), "cargo xtask bench failover --only idle");
    }

    #[test]
    fn a_quick_run_is_not_published() {
        assert_eq!(out(&[]), Path::new("docs/validation/runs"));
        assert_eq!(out(&["--quick"]), Path::new("target/bench"));
        assert_eq!(out(&["--quick", "--out", "here"]), Path::new("here"));
    }
}
