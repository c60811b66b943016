//! `cargo xtask rig`: what is too long for the tests, on the rigs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::{Place, fail};

/// `args`: the rig, the table, and what the table takes.
pub fn run(args: &[String]) -> ExitCode {
    match args {
        [rig, table, rest @ ..] if rig == "netns" && table == "--failure-table" => {
            become_program("failure_table", rest)
        }
        [rig, rest @ ..] if rig == "metal" => become_program("metal", rest),
        _ => {
            eprintln!(
                "xtask: expected `cargo xtask rig netns --failure-table [--help]` or `cargo xtask rig metal [--help]`"
            );
            ExitCode::from(2)
        }
    }
}

/// Builds the release binaries and one of hil-tests, which replaces this process.
fn become_program(name: &str, args: &[String]) -> ExitCode {
    let place = Place::here();
    let built = ["build", "--release", "--locked", "-p", "hb-linux", "-p", "hil-tests", "--bins"];
    match place.cargo().args(built).status() {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&place.cargo, &error),
    }
    let program = place.release_binaries().join(name);
    let mut command = Command::new(&program);
    command.args(args).current_dir(&place.root);
    let error = command.env("HB_RIG_PROGRAMS", place.release_binaries()).exec();
    fail(&program, &error)
}
