//! What the other stages need: installed here when this is root, named exactly when it is not.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Outcome;
use super::output::capture;
use super::qemu;
use super::stages::FIRMWARE_TARGETS;
use crate::rig::GUESTS;
use crate::{Place, fuzz};

/// Programs that tests call, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 9] = [
    ("cc", "gcc libc6-dev"),
    ("make", "make"),
    ("git", "git"),
    ("ip", "iproute2"),
    // The guests of the rig of virtual machines: their kernel is packed, their disks are ext4.
    ("xz", "xz-utils"),
    ("mke2fs", "e2fsprogs"),
    ("setpriv", "util-linux"),
    // Only root can run it: elsewhere its test is a skip.
    ("pppd", "ppp"),
    // The rig of real ports on two hosts.
    ("ssh", "openssh-client"),
];
/// Cargo's subcommands, and the rustup components that bring them.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];
/// Brings Miri. rustup itself is left as it is: a check has no business replacing the machine's tools.
const MIRI: &str =
    "toolchain install nightly --profile minimal --component miri,rust-src --no-self-update";

pub fn check(place: &Place) -> Outcome {
    let mut problems = Vec::new();
    let mut done = Vec::new();
    packages(&mut done, &mut problems);
    toolchain(place, &mut done, &mut problems);
    // Without Miri its stage is a skip that says why, no failure: there are days without a nightly
    // that has it, and machines without a network.
    match miri() {
        Ok(Miri::Added) => done.push("added nightly with miri".to_owned()),
        Ok(Miri::There) => {}
        Err(_) => done.push("no Miri".to_owned()),
    }
    for qemu in [qemu::GUESTS, qemu::BOARD] {
        match qemu.have() {
            Ok(true) => done.push(format!("installed {}", qemu.package())),
            Ok(false) => {}
            // Its stage is a skip that says why, as above.
            Err(_) => done.push(format!("no {}", qemu.package())),
        }
    }
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
pub(super) struct NoDaemons {
    ours: bool,
}

impl NoDaemons {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    pub(super) fn establish() -> Result<Self, String> {
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
    let wanted = FIRMWARE_TARGETS.into_iter().chain([GUESTS]);
    let targets = wanted.filter(|target| !has_target(target));
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

/// How Miri came to be here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Miri {
    There,
    Added,
}

/// Looks for nightly's Miri, and installs it when this is root; once in a run.
///
/// # Errors
/// Why there is none, and the command that brings it.
pub fn miri() -> Result<Miri, String> {
    static FOUND: OnceLock<Result<Miri, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let works = || succeeds(fuzz::nightly().args(["miri", "--version"])).is_ok();
            let install = || {
                succeeds(
                    Command::new("rustup").args(MIRI.split(' ')).env_remove("RUSTUP_TOOLCHAIN"),
                )
            };
            find_miri(works, is_root() && in_path("rustup"), install)
        })
        .clone()
}

fn find_miri(
    works: impl Fn() -> bool,
    may_install: bool,
    install: impl Fn() -> Result<(), String>,
) -> Result<Miri, String> {
    if works() {
        return Ok(Miri::There);
    }
    let how = format!("to have it:  rustup {MIRI}");
    if !may_install {
        return Err(format!("no Miri here; {how}"));
    }
    match install() {
        Ok(()) if works() => Ok(Miri::Added),
        Ok(()) => Err(format!("nightly was installed and its Miri doesn't run; {how}")),
        Err(text) => {
            // What follows the error may be a stack trace.
            let said = text.lines().find(|line| line.starts_with("error"));
            let said = said.or(text.lines().next_back()).unwrap_or("it said nothing");
            Err(format!("no Miri here, and rustup can't install it ({said}); {how}"))
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

pub(super) fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Users' paths often lack what is root's.
    let root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(root).any(|directory| directory.join(program).is_file())
}

/// The owner of this process's directory in /proc is its effective user (proc(5)).
pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod unit {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn miri_is_installed_by_root_only_and_its_lack_has_a_reason() {
        let there = || true;
        let never = || -> Result<(), String> { panic!("nothing is to be installed") };
        assert_eq!(find_miri(there, true, never), Ok(Miri::There));
        let reason = find_miri(|| false, false, never).expect_err("no root, no installation");
        assert!(reason.contains("rustup toolchain install nightly"), "{reason}");

        let installed = Cell::new(false);
        let install = || {
            installed.set(true);
            Ok(())
        };
        assert_eq!(find_miri(|| installed.get(), true, install), Ok(Miri::Added));

        let fails = || Err("info: syncing\nerror: could not download file\n  0: main\n".to_owned());
        let reason = find_miri(|| false, true, fails).expect_err("no network");
        assert!(reason.contains("(error: could not download file)"), "{reason}");
        assert!(reason.contains("rustup toolchain install nightly"), "{reason}");
        let reason = find_miri(|| false, true, || Ok(())).expect_err("a nightly without it");
        assert!(reason.contains("doesn't run"), "{reason}");
    }
}
