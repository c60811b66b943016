//! What the other stages need: installed here when this is root, named exactly when it is not.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Outcome;
use super::output::capture;
use super::stages::FIRMWARE_TARGETS;
use crate::Place;

/// Programs that tests call, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 4] =
    [("cc", "gcc libc6-dev"), ("make", "make"), ("git", "git"), ("ip", "iproute2")];
/// Cargo's subcommands, and the rustup components that bring them.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

pub fn check(place: &Place) -> Outcome {
    let mut problems = Vec::new();
    let mut done = Vec::new();
    packages(&mut done, &mut problems);
    toolchain(place, &mut done, &mut problems);
    if problems.is_empty() {
        Outcome::passed(done.join(", "))
    } else {
        Outcome::failed(problems.join("\n"))
    }
}

fn packages(done: &mut Vec<String>, problems: &mut Vec<String>) {
    let missing = |program: &&(&str, &str)| !in_path(program.0);
    let wanted: Vec<_> =
        PROGRAMS.iter().filter(missing).flat_map(|(_, packages)| packages.split(' ')).collect();
    if wanted.is_empty() {
        return;
    }
    let names = wanted.join(" ");
    if !is_root() || !in_path("apt-get") {
        problems.push(format!(
            "missing packages. Run:  sudo apt-get install --no-install-recommends {names}\n\
             (or what your distribution calls them)"
        ));
        return;
    }
    match install(&wanted) {
        Ok(()) => done.push(format!("installed {names}")),
        Err(problem) => problems.push(problem),
    }
}

fn install(packages: &[&str]) -> Result<(), String> {
    let _guard = NoDaemons::establish()?;
    // The lists of a fresh container are empty; an update that fails needn't matter.
    let _ = apt(&["update"]);
    let args = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    apt(&args).map_err(|text| format!("{text}\napt-get {} failed", args.join(" ")))
}

fn apt(args: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    match capture(command.args(args).env("DEBIAN_FRONTEND", "noninteractive")) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((_, text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

/// While this lives, no package that is installed can start a daemon: Debian's packages ask
/// policy-rc.d first, and 101 means "action forbidden by policy" (invoke-rc.d(8)).
struct NoDaemons {
    ours: bool,
}

impl NoDaemons {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    fn establish() -> Result<Self, String> {
        // An administrator's own policy is left alone, and obeyed.
        if Path::new(Self::PATH).exists() {
            return Ok(Self { ours: false });
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::PATH)
            .and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"))
            .map_err(|error| format!("nothing installed: {}: {error}", Self::PATH))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(Self::PATH);
        }
    }
}

fn toolchain(place: &Place, done: &mut Vec<String>, problems: &mut Vec<String>) {
    let libraries = sysroot().map(|root| Path::new(&root).join("lib/rustlib"));
    let has_target =
        |target: &str| libraries.as_ref().is_some_and(|libraries| libraries.join(target).is_dir());
    let has_component =
        |command: &str| succeeds(place.cargo().args([command, "--version"])).is_ok();
    let targets = FIRMWARE_TARGETS.into_iter().filter(|target| !has_target(target));
    let components = COMPONENTS.iter().filter(|(command, _)| !has_component(command));
    let wanted: Vec<_> = targets
        .map(|target| ["target", "add", target])
        .chain(components.map(|(_, component)| ["component", "add", component]))
        .collect();
    for args in wanted {
        let [kind, _, what] = args;
        if !in_path("rustup") {
            problems.push(format!(
                "the Rust {kind} {what} is missing, and this Rust (a distribution's?) has no rustup to add \
                 it. Install rustup (https://rustup.rs, or `apt-get install rustup` on Debian 13 and \
                 Ubuntu 24.04), then:  rustup default stable && rustup {}",
                args.join(" ")
            ));
            continue;
        }
        // Said outright: rustup adds nothing by itself where RUSTUP_AUTO_INSTALL=0.
        match succeeds(Command::new("rustup").args(args)) {
            Ok(()) => done.push(format!("added {what}")),
            Err(text) => problems.push(format!("{text}\nrustup {} failed", args.join(" "))),
        }
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    match capture(command) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((_, text)) => Err(text),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

fn sysroot() -> Option<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim_end().to_owned())
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Users' paths often lack what is root's.
    let root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(root).any(|directory| directory.join(program).is_file())
}

/// The owner of this process's directory in /proc is its effective user (proc(5)).
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
