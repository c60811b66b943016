//! `cargo xtask fuzz`: each target under libFuzzer for a while, and what that reached.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use crate::Place;

/// As in fuzz/src/lib.rs, whose own test compares.
pub const TARGETS: [&str; 10] = [
    "deframer",
    "decoder",
    "node",
    "arbiter",
    "trio",
    "hacf",
    "haresources",
    "authkeys",
    "sockets",
    "server",
];
/// Longest input: a frame is 112 bytes, a node's story a few thousand choices.
const MAX_LEN: &str = "4096";

/// Fuzzes `only`, or every target, for `seconds` each.
pub fn run(place: &Place, seconds: u64, only: &[String]) -> ExitCode {
    if let Some(strange) = only.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        eprintln!("xtask: no fuzz target {strange:?}; there are: {}", TARGETS.join(", "));
        return ExitCode::from(2);
    }
    if let Err(problem) = prepare() {
        eprintln!("xtask: {problem}");
        return ExitCode::FAILURE;
    }
    let mut broken = Vec::new();
    for target in TARGETS.iter().filter(|name| only.is_empty() || only.iter().any(|o| o == *name)) {
        match fuzz(place, target, seconds) {
            Ok(reached) => println!("{target:<12} {reached}"),
            Err(problem) => {
                println!("{target:<12} ✗ {problem}");
                broken.push(*target);
            }
        }
    }
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "\nbroken: {}; docs/testing/fuzzing.md says how to replay and shrink",
        broken.join(", ")
    );
    ExitCode::FAILURE
}

/// Nightly's cargo: libFuzzer's coverage and Miri are there only.
pub fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    // This program's own toolchain must not shine through.
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn prepare() -> Result<(), String> {
    if !succeeds(nightly().arg("--version")) {
        return Err("fuzzing needs a nightly Rust. Run:  rustup toolchain install nightly".into());
    }
    if succeeds(nightly().args(["fuzz", "--version"])) {
        return Ok(());
    }
    println!("installing cargo-fuzz (a minute or two)");
    match nightly().args(["install", "--locked", "cargo-fuzz"]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("`cargo install --locked cargo-fuzz` failed".into()),
        Err(error) => Err(format!("can't run rustup: {error}")),
    }
}

/// One target: what its last lines say of inputs and coverage.
fn fuzz(place: &Place, target: &str, seconds: u64) -> Result<String, String> {
    let corpus = place.root.join("fuzz/corpus").join(target);
    let seeds = place.root.join("fuzz/seeds").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut child = nightly()
        .current_dir(&place.root)
        .args(["fuzz", "run", target])
        .args([&corpus, &seeds])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-print_final_stats=1", "-timeout=120", &format!("-max_len={MAX_LEN}")])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("can't run rustup: {error}"))?;
    let (mut coverage, mut inputs, mut tail) = (String::new(), String::new(), Vec::new());
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line.map_err(|error| error.to_string())?;
        // `#123 NEW cov: 45 ft: 67 corp: 8/9b …`
        if let Some((_, from)) = line.split_once(" cov: ") {
            let words: Vec<_> = from.split_whitespace().collect();
            coverage = format!("{} edges", words.first().unwrap_or(&"?"));
        } else if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            inputs = number.trim().to_owned();
        }
        tail.push(line);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(format!("{inputs} inputs, {coverage}")),
        Ok(status) => {
            let from = tail.len().saturating_sub(40);
            Err(format!("{status}\n{}", tail[from..].join("\n")))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn every_target_of_the_fuzz_workspace_is_known() {
        let place = Place::here();
        let list = fs::read_to_string(place.root.join("fuzz/Cargo.toml")).expect("fuzz/Cargo.toml");
        let bins: Vec<_> = list
            .split("[[bin]]")
            .skip(1)
            .filter_map(|bin| bin.split_once("name = \"")?.1.split('"').next())
            .collect();
        assert_eq!(bins, TARGETS);
    }
}
