//! `cargo xtask rig`: what is too long for the tests, on the rigs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::{Place, fail};

/// `args`: the rig, the table, and what the table takes.
pub fn run(args: &[String]) -> ExitCode {
    match args {
        [rig, table, rest @ ..] if rig == "netns" && table == "--failure-table" => failures(rest),
        _ => {
            eprintln!("xtask: expected `cargo xtask rig netns --failure-table [--help]`");
            ExitCode::from(2)
        }
    }
}

/// Two machines and a dongle, every failure, every pair: replaces this process.
fn failures(args: &[String]) -> ExitCode {
    let place = Place::here();
    let built = ["build", "--release", "--locked", "-p", "hb-linux", "-p", "hil-tests", "--bins"];
    match place.cargo().args(built).status() {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&place.cargo, &error),
    }
    let program = place.release_binaries().join("failure_table");
    let mut command = Command::new(&program);
    command.args(args).current_dir(&place.root);
    let error = command.env("HB_RIG_PROGRAMS", place.release_binaries()).exec();
    fail(&program, &error)
}
