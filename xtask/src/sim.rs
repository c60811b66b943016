//! `cargo xtask sim`: the simulator, built as fast as release but with the protocol's own assertions.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use crate::{Place, fail};

/// Profile in Cargo.toml.
const PROFILE: &str = "sim";

fn build_and_run(profile: &str, program: &str, more: &[&str], args: &[String]) -> ExitCode {
    let place = Place::here();
    let mut target = place.target.clone();
    let mut build = place.cargo();
    build.args(["build", "--locked", "--profile", profile, "-p", "hil-tests", "--bin", program]);
    build.args(more);
    if args.iter().any(|arg| arg == "--mutants") {
        // Programs whose rules can be broken stay away from all others.
        target.push("mutants");
        build.args(["--features", "hil-tests/mutants", "--target-dir"]).arg(&target);
    }
    match build.status() {
        Ok(status) if status.success() => {}
        // Not 127 to 129, nor 2: nothing was judged.
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&place.cargo, &error),
    }
    let sim = target.join(profile).join(program);
    // Replaces this process: the exit code is the run's own. What it keeps goes into the workspace.
    let error = std::process::Command::new(&sim).args(args).current_dir(&place.root).exec();
    fail(&sim, &error)
}

/// Runs seeds; `args` are the simulator's own.
pub fn run(args: &[String]) -> ExitCode {
    build_and_run(PROFILE, "sim", &[], args)
}

/// A simulated day, timed, and written to docs/validation/runs; exit code 1 when it took too long.
pub fn bench() -> ExitCode {
    build_and_run("release", "sim", &[], &["--bench".to_owned()])
}

/// Explores every history of small models; rules can be broken in them (`--broken`).
pub fn exhaustive(args: &[String]) -> ExitCode {
    build_and_run(PROFILE, "exhaustive", &["--features", "mutants"], args)
}
