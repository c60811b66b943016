//! Every chore of the project as `cargo xtask …`: the same on a desk and in CI.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

mod bench;
#[cfg(test)]
mod book;
mod firmware;
mod fuzz;
mod mutants;
mod rig;
mod sim;
mod stack;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "heartbeat's chores", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything; the last line is `N passed, N failed, N skipped`
    Test {
        /// Only these stages, by the first words of their names
        stages: Vec<String>,
    },
    /// Build the release binaries and play the guide's test with two nodes on this machine
    Demo {
        /// For `hb demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the simulator: --arbiter, --seed S|COMMIT, --runs N, --kind soup|swaps|singles|pairs, --case N, --timeline, --shrink, --mutants, …
    #[command(disable_help_flag = true)]
    Sim {
        /// For the simulator; `--help` lists all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Explore every history within the bounds of each model: [--small] [NAME …] [--broken RULE] [--list]
    #[command(disable_help_flag = true)]
    Exhaustive {
        /// For the explorer; `--help` lists all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fuzz each target for a while with libFuzzer (nightly); crashes go to fuzz/artifacts
    Fuzz {
        /// For each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only these
        targets: Vec<String>,
    },
    /// Build the dongle's program for every board and print its sizes
    Firmware {
        /// With its log by defmt, for a probe: each board's program and its sizes
        #[arg(long)]
        defmt: bool,
    },
    /// Play on a rig: `netns --failure-table [--help]`, every failure and every pair; `vm [--help]`, two virtual machines
    #[command(disable_help_flag = true)]
    Rig {
        /// The rig, the table, and what the table takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Break rules one at a time, in a copy; the test that guards each must turn red
    Mutants {
        /// Only rules whose names contain one of these
        rules: Vec<String>,
    },
    /// Measure: `failover [--peers] [--runs N] [--only NAME] [--quick] [--load MINUTES]`, `sim`, or `dongle`
    #[command(disable_help_flag = true)]
    Bench {
        /// For the benchmark; `failover --help` lists all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().chore {
        Chore::Test { stages } => test::run(&stages),
        Chore::Demo { args } => demo(&args),
        Chore::Sim { args } => sim::run(&args),
        Chore::Exhaustive { args } => sim::exhaustive(&args),
        Chore::Fuzz { seconds, targets } => fuzz::run(&Place::here(), seconds, &targets),
        Chore::Firmware { defmt } => match firmware::run(&Place::here(), defmt) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("xtask: {problem}");
                ExitCode::FAILURE
            }
        },
        Chore::Rig { args } => rig::run(&args),
        Chore::Mutants { rules } => mutants::run(&Place::here(), &rules),
        Chore::Bench { args } if args == ["sim"] => sim::bench(),
        Chore::Bench { args } if args == ["dongle"] => firmware::bench(&Place::here()),
        Chore::Bench { args } => bench::run(&args),
    }
}

/// Replaces this process by `hb demo`, so that Ctrl-C and the exit code are the demo's own.
fn demo(args: &[OsString]) -> ExitCode {
    let place = Place::here();
    match place.cargo().args(["build", "--release", "--locked", "-p", "hb-linux"]).status() {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&place.cargo, &error),
    }
    let hb = place.release_binaries().join("hb");
    let error = Command::new(&hb).arg("demo").args(args).exec();
    fail(&hb, &error)
}

fn fail(program: &Path, error: &io::Error) -> ExitCode {
    eprintln!("xtask: can't run {}: {error}", program.display());
    ExitCode::FAILURE
}

/// Where things are.
struct Place {
    /// The workspace.
    root: PathBuf,
    cargo: PathBuf,
    target: PathBuf,
}

impl Place {
    fn here() -> Self {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = crate_dir.parent().unwrap_or(crate_dir).to_owned();
        let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        // This program is TARGET/debug/xtask, wherever CARGO_TARGET_DIR or a config file put TARGET.
        let exe = env::current_exe().ok();
        let target = exe.as_deref().and_then(|exe| exe.ancestors().nth(2)).map(Path::to_owned);
        let target = target.unwrap_or_else(|| root.join("target"));
        Self { root, cargo, target }
    }

    /// The cargo that runs this, in the workspace.
    fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        command
    }

    fn release_binaries(&self) -> PathBuf {
        self.target.join("release")
    }
}
