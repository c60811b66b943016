//! The rig's program: makes the image, tells stories and runs campaigns, each in a process and namespaces of its own.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hb_linux::rig::machine::Programs;
use hb_proto::time::Instant as RigInstant;

use super::campaign::Campaign;
use super::image::{self, Image};
use super::rig::Guests;
use super::stories::{self as own, Stop};
use super::{power, snapshot};
use crate::inside::TOLD_TWICE;
use crate::scenario::rig::Rig;
use crate::scenario::runner::{self, Verdict};
use crate::scenario::stories;

const HELP: &str = "\
cargo xtask rig vm [NAME…]                two QEMU guests tell the stories whose names contain one of the words
cargo xtask rig vm --list                 their names
cargo xtask rig vm --campaign N [--seed S] [--report FILE]
                                          N faults at random, with the dongle; the report goes to FILE too
cargo xtask rig vm --quick                what `cargo xtask test` runs
HB_RIG_STORIES=N                          stories told at once (2)";

/// The exit code of a story that this rig can't tell, as Automake's test drivers have it.
const SKIPPED: u8 = 77;
/// The exit code of a story that failed on a host that was too busy for it (EX_TEMPFAIL of sysexits.h).
const DOUBTFUL: u8 = 75;
/// The words that mark a story's, and a campaign's, own process.
const TELL: &str = "--tell";
const FAULTS: &str = "--faults";
/// Where `hb` and `heartbeatd` of the host lie.
const PROGRAMS: &str = "HB_RIG_PROGRAMS";
/// Stories told at once: each has two guests of one processor.
const AT_ONCE: usize = 2;
/// Faults of the campaign that is among the tests.
const FEW: usize = 5;
/// Stories that the tests leave out: the same on the namespace rig, and long here.
const LONG: [&str; 2] =
    ["a_hanging_start_is_given_up_after_its_time", "without_dongle_and_network_nobody_serves"];

/// See the module.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
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
    if arguments.first().is_some_and(|word| word == TELL || word == FAULTS) {
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

/// `target`: this program lies in `target/PROFILE` or `target/PROFILE/deps`.
fn target() -> PathBuf {
    let myself = std::env::current_exe().unwrap_or_default();
    let up = if myself.parent().is_some_and(|parent| parent.ends_with("deps")) { 3 } else { 2 };
    myself.ancestors().nth(up).unwrap_or(Path::new("target")).to_owned()
}

/// Where the programs of the host lie.
fn binaries() -> PathBuf {
    std::env::var_os(PROGRAMS).map_or_else(|| target().join("release"), PathBuf::from)
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

fn tell(name: &str) -> ExitCode {
    let image = match image() {
        Ok(image) => image,
        Err(why) => return fail(&why),
    };
    prefer_the_rig();
    let mut rig = Guests::new(image, programs());
    if let Some(story) = own::named(name) {
        let told = (story.tell)(&mut rig);
        return ended(name, &mut rig, told);
    }
    let Some(story) = stories::named(name) else {
        return fail(&format!("no story is called {name}"));
    };
    match runner::tell(story, &mut rig, &evidence(name)) {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Skipped(reason) => {
            println!("{reason}");
            ExitCode::from(SKIPPED)
        }
        Verdict::Failed { why, timeline, kept, doubts } => {
            println!("{why}\n\n{timeline}");
            say_kept(kept);
            doubtful(doubts)
        }
    }
}

fn say_kept(kept: Result<PathBuf, String>) {
    match kept {
        Ok(kept) => println!("evidence: {}", kept.display()),
        Err(problem) => println!("evidence: could not be kept: {problem}"),
    }
}

fn doubtful(doubts: Option<String>) -> ExitCode {
    let Some(doubts) = doubts else { return ExitCode::FAILURE };
    println!("{doubts}");
    ExitCode::from(DOUBTFUL)
}

/// A story of this rig alone has ended; if it went wrong everything is kept.
fn ended(name: &str, rig: &mut Guests, told: own::Told) -> ExitCode {
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Missing(reason)) => {
            println!("rig vm: story {name}: {reason}");
            ExitCode::from(SKIPPED)
        }
        Err(Stop::Failed(why)) => {
            let timeline = runner::merged(rig.timeline());
            println!("{why}\n\n{timeline}");
            let place = evidence(name);
            let kept = std::fs::create_dir_all(&place)
                .and_then(|()| {
                    std::fs::write(place.join("timeline"), format!("{why}\n\n{timeline}"))
                })
                .map_err(|error| error.to_string())
                .and_then(|()| rig.keep(&place));
            say_kept(kept.map(|()| place));
            doubtful(rig.doubts(RigInstant::ZERO))
        }
    }
}

fn names() -> Vec<&'static str> {
    // The longest first: two are told at once.
    let own = own::ALL.iter().map(|story| story.name);
    let language = stories::ALL.iter().chain(stories::DONGLE).map(|story| story.name);
    own.chain(language).collect()
}

/// The stories that the tests tell: this rig's own, the language's, and of the dongle's the first.
fn quick_names() -> Vec<&'static str> {
    let dongle = stories::DONGLE.iter().skip(1).map(|story| story.name).collect::<Vec<_>>();
    names().into_iter().filter(|name| !dongle.contains(name) && !LONG.contains(name)).collect()
}

/// How a process ended.
struct Ended {
    name: String,
    code: Option<i32>,
    text: String,
    took: Duration,
}

impl Ended {
    fn is(&self, code: u8) -> bool {
        self.code == Some(i32::from(code))
    }

    fn failed(&self) -> bool {
        !self.is(0) && !self.is(SKIPPED)
    }
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
    chosen.retain(|name| quick || words.is_empty() || words.iter().any(|word| name.contains(word)));
    if chosen.is_empty() {
        return fail(&format!(
            "no story's name contains {}; --list names them",
            words.join(" or ")
        ));
    }
    if let Err(why) = prepare() {
        return fail(&why);
    }
    let waiting = Mutex::new(chosen.into_iter().collect::<VecDeque<_>>());
    let ended = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once() {
            scope.spawn(|| {
                loop {
                    let Some(name) = waiting.lock().expect("no panic").pop_front() else { break };
                    let one = in_rig(name, &[TELL, name]);
                    report(&one);
                    ended.lock().expect("no panic").push(one);
                }
            });
        }
    });
    let mut ended = ended.into_inner().expect("no panic");
    if quick {
        let few = FEW.to_string();
        let place = evidence("campaign");
        let _ = std::fs::create_dir_all(&place);
        let file = place.join("report.md").display().to_string();
        let one = in_rig("a_campaign_of_a_few_faults", &[FAULTS, &few, &seed().to_string(), &file]);
        report(&one);
        ended.push(one);
    }
    let again: Vec<String> = ended.iter_mut().filter_map(tell_again).collect();
    summary(&ended, &again)
}

fn at_once() -> usize {
    let Some(text) = std::env::var_os("HB_RIG_STORIES") else { return AT_ONCE };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|&number| number > 0);
    number.unwrap_or_else(|| {
        panic!(
            "HB_RIG_STORIES={}: expected how many stories to tell at once: 1 or more",
            text.display()
        )
    })
}

/// A story that failed while the host was starved is told once more, alone; why it was, if it passed then.
fn tell_again(one: &mut Ended) -> Option<String> {
    let name = names().into_iter().find(|name| *name == one.name)?;
    if !one.is(DOUBTFUL) {
        return None;
    }
    let mut lines = one.text.trim_end().lines();
    let why = format!("{}; {}", lines.next().unwrap_or_default(), lines.last().unwrap_or_default());
    println!("test vm::{name}: told again, alone: {why}");
    *one = in_rig(name, &[TELL, name]);
    report(one);
    (!one.failed()).then(|| format!("vm::{name}: {why}"))
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
    command.arg("rig-enter").env(PROGRAMS, binaries());
    command
}

fn in_rig(name: &str, arguments: &[&str]) -> Ended {
    let began = Instant::now();
    let _ = std::fs::remove_dir_all(evidence(name));
    let output = std::env::current_exe()
        .and_then(|myself| enter().arg(myself).args(arguments).stdin(Stdio::null()).output());
    let (code, text) = match output {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            (output.status.code(), text)
        }
        Err(error) => (None, format!("{}: {error}", programs().hb.display())),
    };
    Ended { name: name.to_owned(), code, text, took: began.elapsed() }
}

fn report(ended: &Ended) {
    let word = match ended {
        _ if ended.is(SKIPPED) => "skipped",
        _ if ended.is(DOUBTFUL) => "failed on a busy host",
        _ if ended.failed() => "FAILED",
        _ => "ok",
    };
    println!("test vm::{} ... {word} ({:.1} s)", ended.name, ended.took.as_secs_f32());
    let _ = std::io::stdout().flush();
}

/// As libtest ends, so that whoever reads its output reads this too: a skip counts as passed there, and says so in a line
/// of its own.
fn summary(ended: &[Ended], told_again: &[String]) -> ExitCode {
    let red: Vec<&Ended> = ended.iter().filter(|one| one.failed()).collect();
    if !red.is_empty() {
        println!("\nfailures:\n");
        for one in &red {
            println!("---- vm::{} stdout ----\n{}\n", one.name, one.text.trim_end());
        }
        // Ends the last one's words.
        println!("failures:");
        red.iter().for_each(|one| println!("    vm::{}", one.name));
    }
    told_again.iter().for_each(|line| println!("{TOLD_TWICE}{line}"));
    ended
        .iter()
        .filter(|one| one.is(SKIPPED))
        .for_each(|one| println!("SKIP: {}", one.text.trim()));
    let word = if red.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        ended.len() - red.len(),
        red.len()
    );
    if red.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
    let place = evidence("campaign");
    let report = file.unwrap_or_else(|| place.join("report.md"));
    let made = std::fs::create_dir_all(&place).map_err(|error| error.to_string());
    if let Err(why) = made.and_then(|()| prepare()) {
        return fail(&why);
    }
    let Ok(myself) = std::env::current_exe() else { return fail("this program has no path") };
    match enter().arg(myself).args([FAULTS, count, &from]).arg(&report).status() {
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
    prefer_the_rig();
    let kernel = image.version.clone();
    let mut rig = Guests::new(image, programs());
    let began = Instant::now();
    let mut campaign = Campaign { seed, entries: Vec::new() };
    let told = campaign.run(&mut rig, count);
    let text = campaign.report(&told, &kernel, began.elapsed());
    println!("{text}");
    if let Err(error) = std::fs::write(report, &text) {
        return fail(&format!("{}: {error}", report.display()));
    }
    println!("report: {}", report.display());
    // A campaign that went well is evidence, too.
    let timeline = evidence("campaign").join("timeline");
    if let Err(error) = std::fs::write(&timeline, runner::merged(rig.timeline())) {
        return fail(&format!("{}: {error}", timeline.display()));
    }
    ended("campaign", &mut rig, told)
}
