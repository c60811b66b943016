//! The rig's program: makes the image, tells stories and runs campaigns, each in a process and namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Instant;

use hb_linux::rig::machine::Programs;
use hb_proto::time::Instant as RigInstant;

use super::campaign::{Campaign, Circumstances};
use super::elf;
use super::image::{self, Image};
use super::rig::{Brain, Guests};
use super::stories::{self as own, Stop};
use super::{power, snapshot};
use crate::scenario::rig::Rig;
use crate::scenario::runner::{self, Verdict};
use crate::scenario::stories;
use crate::scenario::telling::{self, TELL, Teller};
use crate::table;

const HELP: &str = "\
cargo xtask rig vm [NAME…]                two QEMU guests tell the stories whose names contain one of the words
cargo xtask rig vm dongle                 those of the third voter, and the others with a dongle in the line (dongle.NAME)
cargo xtask rig vm --list                 their names
cargo xtask rig vm --campaign N [--seed S] [--report FILE]
                                          N faults at random, with the dongle; the report goes to FILE too
cargo xtask rig vm --quick                what `cargo xtask test` runs
cargo xtask rig vm --failure-table …      the failure table on virtual machines; --failure-table --help tells the rest
cargo xtask rig vm --dongle host|emulated|PROGRAM …
                                          the dongle's brain: its library in a process of the host; the firmware's ELF
                                          on QEMU's lm3s6965evb; or a program that says and hears the same lines
                                          (`hb rig-dongle`)
HB_RIG_STORIES=N                          stories told at once (1)";

/// The word that marks a campaign's own process.
const FAULTS: &str = "--faults";
/// Plays the failure table; behind it are its arguments.
const TABLE: &str = "--failure-table";
/// Where `hb` and `heartbeatd` of the host lie.
const PROGRAMS: &str = "HB_RIG_PROGRAMS";
/// The dongle's brain, for the processes that tell stories: see [`dongle`].
const DONGLE: &str = "HB_RIG_DONGLE";
/// The one that is a process of the host.
const HOST: &str = "host";
/// The one that is the firmware's ELF on an emulated board.
const EMULATED: &str = "emulated";
/// What the command line chose.
static CHOSEN: OnceLock<String> = OnceLock::new();
/// Stories told at once: two guests of one processor each are all that a host of two processors has room for. In
/// realtime, four of them let the kernel's own threads wait, which carry what is on ptys and networks.
const AT_ONCE: usize = 1;
/// A story that fails on a starved host is told once more, alone.
const MORE_TRIES: usize = 1;
/// Begins the name of a story of two voters that is told with a dongle.
const WITH_DONGLE: &str = "dongle.";
/// The campaign's name among the stories, and where its report lies.
const CAMPAIGN: &str = "campaign";
/// Faults of the campaign that is among the tests.
const FEW: usize = 5;
/// Of the language's stories, those that the tests tell here: the others are told by the namespace rig's tests, and by
/// `cargo xtask rig vm`.
const QUICK: [&str; 9] = [
    "power_loss_of_the_holder",
    "both_lose_power_and_return",
    "a_reset_holder_is_taken_over",
    "a_killed_daemon_started_again_at_once",
    "all_links_cut_and_healed",
    "standby_and_takeover",
    "a_kernel_panic_is_a_death",
    "wall_clocks_jump",
    "an_isolated_holder_gives_way",
];
/// Begins the name of a story that the tests tell with the firmware's ELF.
const WITH_ELF: &str = "elf.";
/// Those.
const QUICK_ELF: [&str; 1] = ["a_stopped_owner_is_fenced_and_comes_back_clean"];

/// How a story of the language is told.
type Tell = fn(&stories::Story, &mut dyn Rig, &Path) -> Verdict;

/// See the module.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--dongle", which, rest @ ..] = words.as_slice() {
        if ![HOST, EMULATED].contains(which) && !Path::new(which).is_file() {
            return fail(&format!(
                "--dongle {which}: expected `host`, `emulated`, or a program's file"
            ));
        }
        if *which == EMULATED
            && let Err(why) = elf::firmware()
        {
            return fail(&why);
        }
        let _ = CHOSEN.set((*which).to_owned());
        words = rest.to_vec();
    }
    match words.as_slice() {
        [TABLE, rest @ ..] => table(rest),
        [elf::WORD, ..] => elf::main(&arguments[1..]),
        [TELL, name] => tell(name),
        [FAULTS, count, seed, report] => faults(count, seed, Path::new(report)),
        ["--help"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        ["--list", ..] => {
            names().iter().for_each(|name| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        ["--campaign", count, rest @ ..] => campaign(count, rest),
        _ => tell_all(&words),
    }
}

/// As `cargo test` starts it: what libtest understands is passed over.
#[must_use]
pub fn quick() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| [TELL, FAULTS, elf::WORD].contains(&word.as_str())) {
        return main();
    }
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let words = if words.is_empty() { vec!["--quick"] } else { words };
    // What lies here already is the rig's affair; what can't be had is a reason.
    let there = target().join("rig-vm/packages/kernel").is_dir();
    let image = if there { Ok(()) } else { image().map(drop) };
    if let Err(reason) = available().and(image) {
        println!("SKIP: rig vm: {}", reason.replace('\n', "; "));
        println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    tell_all(&words)
}

/// Why there can be no guests here.
fn available() -> Result<(), String> {
    let said = |name: &str, package: &str| {
        let tried = Command::new(name).arg("--version").output();
        tried.map(drop).map_err(|error| format!("{name}: {error}; it is in Debian's {package}"))
    };
    said(power::QEMU, "qemu-system-x86")
}

fn fail(why: &str) -> ExitCode {
    eprintln!("rig vm: {why}");
    ExitCode::from(2)
}

fn myself() -> PathBuf {
    std::env::current_exe().expect("Linux names a running program (/proc/self/exe)")
}

/// `target`: this program lies in `target/PROFILE` or `target/PROFILE/deps`.
fn target() -> PathBuf {
    let myself = myself();
    let up = if myself.parent().is_some_and(|parent| parent.ends_with("deps")) { 3 } else { 2 };
    myself.ancestors().nth(up).unwrap_or(Path::new("target")).to_owned()
}

/// Where the programs of the host lie.
fn binaries() -> PathBuf {
    std::env::var_os(PROGRAMS).map_or_else(|| target().join("release"), PathBuf::from)
}

/// The dongle's brain: a word or a program's file, which the command line or who started this process has chosen.
fn chosen() -> String {
    let chosen = CHOSEN.get().cloned().or_else(|| std::env::var(DONGLE).ok());
    chosen.unwrap_or_else(|| HOST.to_owned())
}

fn dongle() -> Result<Brain, String> {
    Ok(match chosen().as_str() {
        HOST => Brain {
            program: programs().hb,
            elf: None,
            name: "its library in a process of the host".to_owned(),
        },
        EMULATED => {
            let elf = elf::firmware()?;
            let size = std::fs::metadata(&elf).map_or(0, |file| file.len());
            let name = format!("the firmware's ELF ({size} bytes) on QEMU's lm3s6965evb");
            Brain { program: myself(), elf: Some(elf), name }
        }
        program => Brain { program: program.into(), elf: None, name: program.to_owned() },
    })
}

fn programs() -> Programs {
    let directory = binaries();
    Programs { hb: directory.join("hb"), heartbeatd: directory.join("heartbeatd") }
}

/// The guests' programs are what `cargo` last built for them: the one who starts the rig sees to that.
fn image() -> Result<Image, String> {
    let target = target();
    image::make(&target.join("rig-vm"), &target.join(image::TARGET).join("release"))
}

fn evidence(name: &str) -> PathBuf {
    target().join("rig-evidence/vm").join(name)
}

/// Before other sessions of this host, and within this one before the guests ([`power`]): where that is forbidden the rig
/// goes without.
fn prefer_the_rig() {
    crate::netns::host::prefer_this_session();
    let _ = rustix::process::setpriority_process(None, -10);
}

fn tell(whole: &str) -> ExitCode {
    let image = match image() {
        Ok(image) => image,
        Err(why) => return fail(&why),
    };
    let name = whole.strip_prefix(WITH_ELF).map_or(whole, |name| {
        let _ = CHOSEN.set(EMULATED.to_owned());
        name
    });
    let brain = match dongle() {
        Ok(brain) => brain,
        Err(why) => return fail(&why),
    };
    prefer_the_rig();
    let mut rig = Guests::new(image, brain);
    if let Some(story) = own::named(name) {
        let told = (story.tell)(&mut rig);
        return ended(whole, &mut rig, told);
    }
    let (plain, tell): (_, Tell) = match name.strip_prefix(WITH_DONGLE) {
        Some(plain) => (plain, runner::tell_with_dongle),
        None => (name, runner::tell),
    };
    let Some(story) = stories::named(plain) else {
        return fail(&format!("no story is called {plain}"));
    };
    telling::end(tell(story, &mut rig, &evidence(whole)))
}

/// A story of this rig alone has ended; if it went wrong everything is kept.
fn ended(name: &str, rig: &mut Guests, told: own::Told) -> ExitCode {
    telling::end(match told {
        Ok(()) => Verdict::Passed,
        Err(Stop::Missing(reason)) => Verdict::Skipped(format!("rig vm: story {name}: {reason}")),
        Err(Stop::Failed(why)) => {
            let timeline = runner::merged(rig.timeline());
            let place = evidence(name);
            let kept = std::fs::create_dir_all(&place)
                .and_then(|()| {
                    std::fs::write(place.join("timeline"), format!("{why}\n\n{timeline}"))
                })
                .map_err(|error| error.to_string())
                .and_then(|()| rig.keep(&place));
            let kept = kept.map(|()| place);
            Verdict::Failed { why, timeline, kept, doubts: rig.doubts(RigInstant::ZERO) }
        }
    })
}

/// All of them: this rig's own, the language's, and those of two voters with a dongle in the line, which begin as on the
/// namespace rig.
fn names() -> Vec<String> {
    let own = own::ALL.iter().chain(own::FENCING).map(|story| story.name.to_owned());
    let language = stories::ALL.iter().chain(stories::DONGLE).map(|story| story.name.to_owned());
    let alone = |name| stories::WITHOUT_DONGLE.iter().any(|(story, _)| *story == name);
    let with = stories::ALL.iter().filter(|story| !alone(story.name));
    let with = with.map(|story| format!("{WITH_DONGLE}{}", story.name));
    own.chain(language).chain(with).collect()
}

/// The stories that the tests tell: this rig's own, and some of the language's.
fn quick_names() -> Vec<String> {
    let mut names: Vec<String> =
        own::ALL.iter().map(|story| story.name).chain(QUICK).map(str::to_owned).collect();
    match elf::firmware() {
        Ok(_) => names.extend(QUICK_ELF.map(|name| format!("{WITH_ELF}{name}"))),
        Err(why) => QUICK_ELF
            .iter()
            .for_each(|name| println!("SKIP: rig vm: story {WITH_ELF}{name}: {why}")),
    }
    names
}

/// Whether a word of the command line means the story: a part of its name, or `dongle` for those of the third voter.
fn means(word: &str, name: &str) -> bool {
    let third = || {
        let fencing = own::FENCING.iter().any(|story| story.name == name);
        fencing || stories::DONGLE.iter().any(|story| story.name == name)
    };
    name.contains(word) || (word == "dongle" && third())
}

fn prepare() -> Result<(), String> {
    available()?;
    let image = image()?;
    if let Err(why) = snapshot::make(&image) {
        println!("every power-on is a boot: {why}");
    }
    Ok(())
}

fn tell_all(words: &[&str]) -> ExitCode {
    let quick = words == ["--quick"];
    let mut chosen = if quick { quick_names() } else { names() };
    chosen.retain(|name| quick || words.is_empty() || words.iter().any(|word| means(word, name)));
    if chosen.is_empty() {
        return fail(&format!(
            "no story's name contains {}; --list names them",
            words.join(" or ")
        ));
    }
    if let Err(why) = prepare() {
        return fail(&why);
    }
    let stories = Teller {
        rig: "vm",
        at_once: telling::at_once(AT_ONCE),
        more_tries: MORE_TRIES,
        evidence: &evidence,
        start: &|name| in_rig(&[TELL, name]),
    };
    let mut told = stories.tell_all(chosen);
    if quick {
        let few = |name: &str| {
            let place = evidence(name);
            let _ = std::fs::create_dir_all(&place);
            let file = place.join("report.md").display().to_string();
            in_rig(&[FAULTS, &FEW.to_string(), &seed().to_string(), &file])
        };
        // Another one is another campaign, and no answer to what this one showed.
        let campaign = Teller { more_tries: 0, start: &few, ..stories };
        told = told.and(campaign.tell_all(vec![CAMPAIGN.to_owned()]));
    }
    told.summary("vm")
}

/// A process in namespaces of its own, before the guests and before what else the host does.
fn enter() -> Command {
    let hb = programs().hb;
    let mut command = if power::realtime() {
        let mut command = Command::new("chrt");
        command.args(["-r", power::RIG]).arg(hb);
        command
    } else {
        Command::new(hb)
    };
    command.arg("rig-enter").env(PROGRAMS, binaries()).env(DONGLE, chosen());
    command
}

/// This program in such a process.
fn in_rig(arguments: &[&str]) -> Command {
    let mut command = enter();
    command.arg(myself()).args(arguments);
    command
}

/// The failure table of docs/protocol.md §1 on two guests.
fn table(arguments: &[&str]) -> ExitCode {
    let stage = table::Stage {
        command: "cargo xtask rig vm --failure-table",
        evidence: "vm-failure-table",
        at_once: AT_ONCE,
        enter: |arguments| {
            let mut command = in_rig(&[TABLE]);
            command.args(arguments);
            command
        },
        rig: || {
            let (image, brain) = (image()?, dongle()?);
            prefer_the_rig();
            Ok(Box::new(Guests::new(image, brain)))
        },
        dongle: || dongle().map_or_else(|why| why, |brain| brain.name),
    };
    // A rig's own process needs no other one's preparations.
    let inside = arguments.contains(&"--cases") || arguments.contains(&"--list");
    if !inside && let Err(why) = prepare() {
        return fail(&why);
    }
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    table::main(&stage, &arguments)
}

/// Another one each time, and said.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn campaign(count: &str, rest: &[&str]) -> ExitCode {
    let (mut from, mut file) = (seed().to_string(), None);
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.next()) {
            ("--seed", Some(seed)) => from = (*seed).to_owned(),
            ("--report", Some(report)) => file = Some(PathBuf::from(*report)),
            _ => return fail(&format!("{word}: expected --seed S or --report FILE")),
        }
    }
    let place = evidence(CAMPAIGN);
    let report = file.unwrap_or_else(|| place.join("report.md"));
    let made = std::fs::create_dir_all(&place).map_err(|error| error.to_string());
    if let Err(why) = made.and_then(|()| prepare()) {
        return fail(&why);
    }
    match in_rig(&[FAULTS, count, &from]).arg(&report).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error.to_string()),
    }
}

fn faults(count: &str, seed: &str, report: &Path) -> ExitCode {
    let (Ok(count), Ok(seed)) = (count.parse(), seed.parse()) else {
        return fail(&format!(
            "{count}, {seed}: expected how many faults, and a seed: whole numbers"
        ));
    };
    let image = match image() {
        Ok(image) => image,
        Err(why) => return fail(&why),
    };
    let brain = match dongle() {
        Ok(brain) => brain,
        Err(why) => return fail(&why),
    };
    prefer_the_rig();
    let on = Circumstances { kernel: image.version.clone(), dongle: brain.name.clone() };
    let mut rig = Guests::new(image, brain);
    let began = Instant::now();
    let mut campaign = Campaign { seed, ..Campaign::default() };
    let told = campaign.run(&mut rig, count);
    let text = campaign.report(&told, &on, began.elapsed());
    println!("{text}");
    if let Err(error) = std::fs::write(report, &text) {
        return fail(&format!("{}: {error}", report.display()));
    }
    println!("report: {}", report.display());
    // A campaign that went well is evidence, too.
    let timeline = evidence(CAMPAIGN).join("timeline");
    if let Err(error) = std::fs::write(&timeline, runner::merged(rig.timeline())) {
        return fail(&format!("{}: {error}", timeline.display()));
    }
    ended(CAMPAIGN, &mut rig, told)
}
