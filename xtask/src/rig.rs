//! `cargo xtask rig`: what is too long for the tests, on the rigs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::{Place, fail, firmware};

/// `args`: the rig, and what it takes.
pub fn run(args: &[String]) -> ExitCode {
    match args {
        [rig, table, rest @ ..] if rig == "netns" && table == "--failure-table" => {
            become_program("failure_table", rest)
        }
        [rig, rest @ ..] if rig == "vm" => machines(rest),
        [rig, rest @ ..] if rig == "metal" => ports(rest),
        _ => {
            eprintln!(
                "xtask: expected `cargo xtask rig netns --failure-table`, `cargo xtask rig vm` or `cargo xtask rig \
                 metal`; each knows --help"
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

/// Two virtual machines: stories, campaigns.
fn machines(args: &[String]) -> ExitCode {
    let place = Place::here();
    if args.windows(2).any(|words| words == ["--dongle", "emulated"])
        && let Err(why) = firmware::build_emulated(&place)
    {
        eprintln!("xtask: {why}");
        return ExitCode::FAILURE;
    }
    match build_guests(&place).status() {
        Ok(status) if status.success() => become_program("vm", args),
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&place.cargo, &error),
    }
}

/// Real ports. Two hosts get programs that need no library of theirs; whether rig.toml has two is told by its words here,
/// and judged by the rig.
fn ports(args: &[String]) -> ExitCode {
    let place = Place::here();
    let named = args.iter().skip_while(|word| *word != "--config").nth(1);
    let file = place.root.join(named.map_or("rig.toml", String::as_str));
    let hosts = std::fs::read_to_string(file).is_ok_and(|text| text.contains("ssh"));
    if hosts && !args.iter().any(|word| word == "--detect") {
        match build_guests(&place).status() {
            Ok(status) if status.success() => {}
            Ok(_) => return ExitCode::FAILURE,
            Err(error) => return fail(&place.cargo, &error),
        }
    }
    become_program("metal", args)
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
    command.env("HB_FIRMWARE", firmware::directory(&place));
    let error = command.env("HB_RIG_PROGRAMS", place.release_binaries()).exec();
    fail(&program, &error)
}
