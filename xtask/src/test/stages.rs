//! The stages in their order: cheap ones first, so that a typo is seen early.

use std::process::Command;

use super::output::{self, capture};
use super::{Outcome, prerequisites, qemu, tidy};
use crate::{Place, firmware, fuzz, rig};

/// A stage's name and what it does.
type Stage = (&'static str, fn(&Place) -> Outcome);

/// Targets without an operating system: hb-proto and hb-mcu build for them, so they use none.
pub const FIRMWARE_TARGETS: [&str; 3] =
    ["thumbv6m-none-eabi", "thumbv7em-none-eabihf", "thumbv7m-none-eabi"];

pub const ALL: &[Stage] = &[
    ("prerequisites", prerequisites::check),
    ("tidy", |place| tidy::check(&place.root)),
    ("format", |place| exits_zero(place.cargo().args(["fmt", "--all", "--check"]))),
    ("clippy", |place| {
        let mutants = ["-p", "hb-proto", "-p", "hil-tests", "--all-targets", "--features"];
        let mutants = [&mutants[..], &["hb-proto/mutants,hil-tests/mutants"]].concat();
        clippies(place, &[&["--workspace", "--all-targets"], &mutants])
    }),
    ("clippy with defmt", |place| {
        clippy(
            place,
            &["-p", "hb-proto", "-p", "hb-mcu", "--features", "hb-proto/defmt,hb-mcu/defmt"],
        )
    }),
    ("tests", |place| {
        // Cargo counts `emulated` among the workspace's own since hil-tests builds it; its tests have a stage.
        let only = ["--workspace", "--exclude", "hil-tests", "--exclude", "emulated"];
        let only = [&only[..], &["--lib", "--bins", "--tests"]].concat();
        tests(place.cargo().args(["test", "--locked", "--no-fail-fast"]).args(only), &[])
    }),
    ("rules broken on purpose", broken_rules),
    ("doc tests", |place| {
        tests(
            place.cargo().args(["test", "--locked", "--no-fail-fast", "--workspace", "--doc"]),
            &[],
        )
    }),
    ("docs", |place| {
        // Private items too: that is what a reader of the code opens.
        let args = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
        exits_zero(
            place
                .cargo()
                .args(args)
                .env("RUSTDOCFLAGS", "-Dwarnings -Arustdoc::private_intra_doc_links"),
        )
    }),
    ("firmware of every board", firmware_of_every_board),
    ("firmware on an emulated board", emulated_board),
    ("release build", |place| {
        exits_zero(place.cargo().args(["build", "--locked", "--release", "-p", "hb-linux"]))
    }),
    ("fuzz clippy", |place| {
        let target = place.target.to_string_lossy();
        let what = ["--manifest-path", "fuzz/Cargo.toml", "--no-default-features", "--all-targets"];
        let what = [&what[..], &["--target-dir", &target]].concat();
        clippies(place, &[&what, &[&what[..], &["--features", "mutants"]].concat()])
    }),
    ("fuzz targets, short", fuzz_short),
    ("miri on the wire", miri),
    ("simulator", simulator),
    ("namespace rig", namespace_rig),
    ("virtual machines", virtual_machines),
    ("demo", |place| demo(place, &["demo"], "as the guide says")),
    ("demo with the dongle", |place| demo(place, &["demo", "--dongle"], "never two holders")),
];

fn clippy(place: &Place, what: &[&str]) -> Outcome {
    let args = [&["clippy", "--locked"], what, &["--", "-D", "warnings"]].concat();
    exits_zero(place.cargo().args(args))
}

/// One after the other, until one complains.
fn clippies(place: &Place, all: &[&[&str]]) -> Outcome {
    let mut outcomes = all.iter().map(|what| clippy(place, what));
    let failed = outcomes.find(|outcome| outcome.counts.failed > 0);
    failed.unwrap_or_else(|| Outcome::passed("with and without mutants"))
}

/// Each knob of `hb_proto::mutant` turns a test red; and no release build can contain them.
fn broken_rules(place: &Place) -> Outcome {
    let with = ["-p", "hb-proto", "--features", "mutants"];
    let release = capture(place.cargo().args(["check", "--locked", "--release"]).args(with));
    match release {
        Ok((status, text)) if !status.success() && text.contains("no place in a release build") => {
        }
        Ok((_, text)) => {
            return Outcome::failed(format!(
                "{text}\na release build with `mutants` was not refused"
            ));
        }
        Err(error) => return Outcome::failed(format!("can't run cargo: {error}")),
    }
    let outcome = tests(
        place.cargo().args(["test", "--locked", "--no-fail-fast"]).args(with).arg("--tests"),
        // … and what else takes a knob: the ends of numbers, the judge of lemma 1, the table of knobs, versions of
        // the wire that don't exist yet.
        &[
            "each_broken_rule_is_noticed",
            "at_the_end_of_its_numbers",
            "judge_of_lemma_1",
            "every_knob_names_the_test",
            "_version",
            "an_upgrade",
            "an_old_spare",
        ],
    );
    let model = ["test", "--locked", "-p", "hil-tests", "--features", "mutants"];
    let model = tests(
        place.cargo().args(model).args(["--test", "exhaustive"]),
        &["broken_rules_have_counterexamples"],
    );
    let oracle = ["test", "--locked", "--no-default-features", "--features", "mutants"];
    let mut command = place.cargo();
    command.args(oracle).args(["--manifest-path", "fuzz/Cargo.toml", "--test", "broken"]);
    let oracle = tests(command.arg("--target-dir").arg(&place.target), &[]);
    outcome.and(model).and(oracle)
}

/// Formatted, without a clippy warning, and within its ceilings.
fn firmware_of_every_board(place: &Place) -> Outcome {
    let boards = place.root.join("hb-mcu/boards");
    let mut format = place.cargo();
    let formatted = exits_zero(format.current_dir(&boards).args(["fmt", "--all", "--check"]));
    if formatted.counts.failed > 0 {
        return formatted;
    }
    let both = [false, true].into_iter().flat_map(|log| firmware::BOARDS.map(|board| (board, log)));
    for ((board, target), log) in both {
        let mut command = place.cargo();
        command.current_dir(&boards).args(["clippy", "--release", "--locked", "-p", board]);
        command.args(["--target", target, "--target-dir"]).arg(firmware::directory(place));
        if log {
            command.args(["--features", "defmt"]);
        }
        let outcome = exits_zero(command.args(["--", "-D", "warnings"]));
        if outcome.counts.failed > 0 {
            return outcome;
        }
    }
    let sizes = match firmware::build(place) {
        Ok(sizes) => sizes,
        Err(problem) => return Outcome::failed(problem),
    };
    let beyond = firmware::beyond(&sizes);
    if !beyond.is_empty() {
        return Outcome::failed(beyond.join("\n"));
    }
    let told = sizes.iter().map(|(board, s)| format!("{board} {} and {}", s.flash, s.ram()));
    let told: Vec<_> = told.collect();
    Outcome::passed(told.join(", "))
}

/// The tests of the real program. Without QEMU that is a skip with its reason.
fn emulated_board(place: &Place) -> Outcome {
    if let Err(reason) = qemu::BOARD.have() {
        return Outcome::skipped(vec![reason]);
    }
    let mut command = place.cargo();
    command.current_dir(place.root.join("hb-mcu/boards"));
    command.args(["test", "--locked", "--no-fail-fast", "-p", "emulated", "-p", "listener"]);
    command.arg("--target-dir").arg(firmware::directory(place).join("host"));
    command.env("HB_FIRMWARE", firmware::directory(place));
    // One at a time: they measure time.
    tests(&mut command, &["--test-threads=1"])
}

/// Every fuzz target over its seeds and some thousand random inputs, on stable: needs no libFuzzer.
fn fuzz_short(place: &Place) -> Outcome {
    let format = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    let formatted = exits_zero(place.cargo().args(format));
    if formatted.counts.failed > 0 {
        return formatted;
    }
    let mut command = place.cargo();
    // Its dependencies are the workspace's: built once, in the same place.
    command.args(["test", "--locked", "--no-fail-fast", "--no-default-features"]);
    command.args(["--manifest-path", "fuzz/Cargo.toml", "--target-dir"]).arg(&place.target);
    tests(&mut command, &[])
}

/// The bytes that strangers send, read by an interpreter that sees undefined behaviour.
fn miri(place: &Place) -> Outcome {
    if let Err(reason) = prerequisites::miri() {
        return Outcome::skipped(vec![reason]);
    }
    let mut command = fuzz::nightly();
    command.current_dir(&place.root).args(["miri", "test", "--locked", "-p", "hb-proto", "--lib"]);
    command.arg("wire::");
    // Proptest asks for the working directory; each of its cases takes Miri seconds.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "2");
    tests(&mut command, &[])
}

/// Tests of hil-tests that need no namespaces. Everything else in `hil-tests/tests` is the rig's.
const SIMULATOR_TESTS: [&str; 5] = ["sim", "sim_judge", "sim_stories", "sim_trio", "exhaustive"];

/// The test profile optimises what the simulator consists of. Known runs are compared in the release
/// profile, too, which has other checks and another optimiser.
fn simulator(place: &Place) -> Outcome {
    let mut command = place.cargo();
    command.args(["test", "--locked", "--no-fail-fast", "-p", "hil-tests", "--lib", "--bins"]);
    command.args(SIMULATOR_TESTS.iter().flat_map(|name| ["--test", name]));
    let outcome = tests(&mut command, &[]);
    let mut release = place.cargo();
    release.args(["run", "--quiet", "--locked", "--release", "-p", "hil-tests", "--bin", "sim"]);
    outcome.and(exits_zero(release.args(["--", "--fingerprints"])))
}

/// Tests in QEMU guests: they have a stage of their own, which builds what guests run.
const MACHINES_TESTS: [&str; 3] = ["vm", "metal_guest", "metal_hosts"];

/// Two QEMU guests tell stories. Where there can be none, that is a skip with its reason.
fn virtual_machines(place: &Place) -> Outcome {
    if let Err(reason) = qemu::GUESTS.have() {
        return Outcome::skipped(vec![reason]);
    }
    let built = exits_zero(&mut rig::build_guests(place));
    if built.counts.failed > 0 {
        return built;
    }
    let mut command = place.cargo();
    command.args(["test", "--locked", "--no-fail-fast", "-p", "hil-tests"]);
    command.args(MACHINES_TESTS.iter().flat_map(|name| ["--test", name]));
    // The board's program was built by an earlier stage: one story is told with it.
    command.env("HB_FIRMWARE", firmware::directory(place));
    tests(command.env("HB_RIG_PROGRAMS", place.release_binaries()), &[])
}

/// Rig tests that load this machine, or whose figures are of a machine that does nothing else.
const ALONE: [&str; 4] = ["figures", "figures_dongle", "hostile", "hostile_host"];
/// As long as most of the others together.
const BESIDE: [&str; 1] = ["netns_dongle"];

/// Machines in namespaces sleep most of the time, so two rows of tests run side by side; in each of them one at a time,
/// as they measure time (the stories and the failure table start some rigs at once by themselves). What loads the machine
/// comes after both, alone.
fn namespace_rig(place: &Place) -> Outcome {
    let names = match rig_tests(place) {
        Ok(names) => names,
        Err(problem) => return Outcome::failed(problem),
    };
    let command = |names: &[&str]| {
        let mut command = place.cargo();
        command.args(["test", "--locked", "--no-fail-fast", "-p", "hil-tests"]);
        command.args(names.iter().flat_map(|name| ["--test", name]));
        command.env("HB_RIG_PROGRAMS", place.release_binaries());
        command
    };
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut build = command(&all);
    let built = exits_zero(build.arg("--no-run"));
    if built.counts.failed > 0 {
        return built;
    }
    let most: Vec<&str> =
        all.into_iter().filter(|name| !ALONE.contains(name) && !BESIDE.contains(name)).collect();
    let tell = |names: &[&str]| tests(&mut command(names), &["--test-threads=1"]);
    let (most, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| tell(&BESIDE));
        (tell(&most), beside.join())
    });
    let beside = beside.unwrap_or_else(|_| Outcome::failed("whoever ran the second row panicked"));
    most.and(beside).and(tell(&ALONE))
}

/// What is in `hil-tests/tests` and not the simulator's, so that a new file there is run by somebody.
fn rig_tests(place: &Place) -> Result<Vec<String>, String> {
    let directory = place.root.join("hil-tests/tests");
    let told = |error: std::io::Error| format!("can't read {}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_test = path.extension().is_some_and(|extension| extension == "rs");
        if is_test && !SIMULATOR_TESTS.contains(&name) && !MACHINES_TESTS.contains(&name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Its output isn't a terminal here, so it plays in plain text.
fn demo(place: &Place, args: &[&str], good: &str) -> Outcome {
    let hb = place.release_binaries().join("hb");
    match capture(Command::new(&hb).args(args).current_dir(&place.root)) {
        Ok((status, _)) if status.success() => Outcome::passed(good),
        Ok((status, text)) => {
            let skips = output::tests(&text).skips;
            if skips.is_empty() {
                Outcome::failed(format!("{text}\nhb demo: {status}"))
            } else {
                Outcome::skipped(skips.into_iter().collect())
            }
        }
        Err(error) => Outcome::failed(format!("can't run {}: {error}", hb.display())),
    }
}

fn exits_zero(command: &mut Command) -> Outcome {
    match capture(command) {
        Ok((status, _)) if status.success() => Outcome::passed(""),
        Ok((status, text)) => Outcome::failed(format!("{text}{command:?}: {status}")),
        Err(error) => Outcome::failed(format!("can't run {command:?}: {error}")),
    }
}

/// A run of `cargo test`; `more` goes to libtest.
fn tests(command: &mut Command, more: &[&str]) -> Outcome {
    // Shows what passing tests print: that is where skips hide.
    command.args(["--", "--show-output"]).args(more);
    let (status, text) = match capture(command) {
        Ok(ended) => ended,
        Err(error) => return Outcome::failed(format!("can't run {command:?}: {error}")),
    };
    let found = output::tests(&text);
    let mut counts = found.counts;
    let note = format!("{} passed", counts.passed);
    let mut output = output::failures(&text);
    if !status.success() && counts.failed == 0 {
        // It didn't come as far as a test's failure: not compiled, or died.
        counts.failed = 1;
    }
    if status.success() && counts == super::Counts::default() {
        counts.failed = 1;
        output.push_str("\nno test ran: a stage without tests proves nothing");
    }
    let told_twice = found.told_twice.into_iter().collect();
    Outcome { counts, note, output, skips: found.skips.into_iter().collect(), told_twice }
}
