//! `cargo xtask rig`: what is too long for the tests, on the rigs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::{Place, fail};

/// `args`: the rig, the table, and what the table takes.
pub fn run(args: &[String]) -> ExitCode {
    match args {
        [rig, table, rest @ ..] if rig == "netns" && table == "--failure-table" => failures(rest),
        [rig, rest @ ..] if rig == "vm" => machines(rest),
        _ => {
            eprintln!(
                "xtask: expected `cargo xtask rig netns --failure-table [--help]` or `cargo xtask rig vm [--help]`"
            );
            ExitCode::from(2)
        }
    }
}

/// Where programs run that need no library of their machine's.
pub const GUESTS: &str = "x86_64-unknown-linux-musl";

/// What a guest runs: the same programs, and the rig's hand in it.
pub fn build_guests(place: &Place) -> Command {
    let mut command = place.cargo();
    command.args(["build", "--release", "--locked", "-p", "hb-linux", "-p", "hil-guest", "--bins"]);
    command.args(["--target", GUESTS]);
    command
}

/// Two virtual machines: stories, campaigns. Replaces this process.
fn machines(args: &[String]) -> ExitCode {
    let place = Place::here();
    let mut here = place.cargo();
    here.args(["build", "--release", "--locked", "-p", "hb-linux", "-p", "hil-tests", "--bins"]);
    for mut command in [here, build_guests(&place)] {
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return ExitCode::FAILURE,
            Err(error) => return fail(&place.cargo, &error),
        }
    }
    let program = place.release_binaries().join("vm");
    let mut command = Command::new(&program);
    command.args(args).current_dir(&place.root);
    let error = command.env("HB_RIG_PROGRAMS", place.release_binaries()).exec();
    fail(&program, &error)
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
