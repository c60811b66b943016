//! Every story on the namespace rig: one line each, skips last. Those of the dongle, and the others again with
//! a dongle in the line (`dongle.NAME`).
//!
//! `cargo test -p hil-tests --test netns [NAME…]` tells the stories whose names contain one of the
//! words. Each story is a process of its own with namespaces of its own; a few run at once
//! (`HB_RIG_STORIES=N`), which needs little: their daemons sleep most of the time. A failed
//! story's evidence stays in `target/rig-evidence/netns/STORY`.
//!
//! A story that failed while the host kept threads waiting is told again, alone, and says so: its
//! wires are threads of this host, and a frame that waited for a compiler is no verdict on
//! heartbeat. What it says the third time counts in any case.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hil_tests::inside::{TOLD_TWICE, programs};
use hil_tests::netns::rig::Namespaces;
use hil_tests::scenario::runner::{self, Verdict};
use hil_tests::scenario::stories::{self, Story};

/// Stories told at once, unless HB_RIG_STORIES says otherwise.
const AT_ONCE: usize = 3;
/// The exit code of a story that this rig can't tell, as Automake's test drivers have it.
const SKIPPED: u8 = 77;
/// The exit code of a story that failed on a host that was too busy for it (EX_TEMPFAIL of
/// sysexits.h).
const DOUBTFUL: u8 = 75;
/// A story that fails on a busy host is told again this often, alone; what it says last counts.
const MORE_TRIES: usize = 2;
/// The word that marks a story's own process.
const TELL: &str = "--tell";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == TELL
    {
        return tell(name);
    }
    // What libtest understands and this doesn't need.
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<Telling> = Telling::all()
        .filter(|telling| {
            let name = telling.name();
            words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
        })
        .collect();
    if arguments.iter().any(|word| word == "--list") {
        for telling in chosen {
            println!("{}: test", telling.name());
        }
        return ExitCode::SUCCESS;
    }
    run(&chosen)
}

/// A story, and whether it gets a dongle that it doesn't ask for.
#[derive(Clone, Copy)]
struct Telling {
    story: &'static Story,
    with_dongle: bool,
}

/// Begins the name of a story that is told again with a dongle.
const WITH_DONGLE: &str = "dongle.";

impl Telling {
    /// The longest first, as the stories stand; none of those that say why a dongle is nothing for them.
    fn all() -> impl Iterator<Item = Self> {
        let own =
            |story: &&Story| stories::WITHOUT_DONGLE.iter().all(|(name, _)| *name != story.name);
        let plain = |story| Self { story, with_dongle: false };
        let with = |story| Self { story, with_dongle: true };
        let alone = stories::ALL.iter().chain(stories::DONGLE).map(plain);
        alone.chain(stories::ALL.iter().filter(own).map(with))
    }

    fn named(name: &str) -> Option<Self> {
        Self::all().find(|telling| telling.name() == name)
    }

    fn name(self) -> String {
        let prefix = if self.with_dongle { WITH_DONGLE } else { "" };
        format!("{prefix}{}", self.story.name)
    }
}

/// A story's own process, inside its rig's namespaces.
fn tell(name: &str) -> ExitCode {
    let Some(telling) = Telling::named(name) else {
        eprintln!("no story is called {name}");
        return ExitCode::FAILURE;
    };
    hil_tests::netns::host::prefer_this_session();
    let mut rig = Namespaces::new(programs().clone());
    let tell = if telling.with_dongle { runner::tell_with_dongle } else { runner::tell };
    match tell(telling.story, &mut rig, &evidence(name)) {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Skipped(reason) => {
            println!("{reason}");
            ExitCode::from(SKIPPED)
        }
        Verdict::Failed { why, timeline, kept, doubts } => {
            println!("{why}\n\n{timeline}");
            match kept {
                Ok(kept) => println!("evidence: {}", kept.display()),
                Err(problem) => println!("evidence: could not be kept: {problem}"),
            }
            match doubts {
                Some(doubts) => {
                    println!("{doubts}");
                    ExitCode::from(DOUBTFUL)
                }
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn evidence(name: &str) -> PathBuf {
    let target = programs().hb.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    target.join("rig-evidence/netns").join(name)
}

/// How a story's process ended.
struct Ended {
    telling: Telling,
    code: Option<i32>,
    text: String,
    took: Duration,
}

fn run(chosen: &[Telling]) -> ExitCode {
    // Built here once, not by each story.
    let hb = programs().hb.clone();
    let at_once = at_once();
    let waiting = Mutex::new(chosen.iter().copied().collect::<VecDeque<_>>());
    let ended = Mutex::new(Vec::new());
    println!("running {} tests", chosen.len());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(chosen.len()) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no panic").pop_front();
                    let Some(telling) = next else { break };
                    let one = tell_in_rig(&hb, telling);
                    report(&one);
                    ended.lock().expect("no panic").push(one);
                }
            });
        }
    });
    let mut ended = ended.into_inner().expect("no panic");
    let told_again: Vec<String> = ended.iter_mut().filter_map(|one| tell_again(&hb, one)).collect();
    summary(&ended, &told_again)
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

/// Tells a story again, alone, while the host may be to blame; why it was, if it passed at last.
fn tell_again(hb: &Path, one: &mut Ended) -> Option<String> {
    let mut reasons = Vec::new();
    while doubtful(one) && reasons.len() < MORE_TRIES {
        let attempt = reasons.len() + 1;
        let kept = evidence(&one.name());
        let aside = evidence(&format!("{}.{attempt}", one.name()));
        // Of an earlier run, if anything.
        let _ = std::fs::remove_dir_all(&aside);
        if let Err(error) = std::fs::rename(&kept, &aside) {
            println!("{}: {error}: the evidence of this try is lost", aside.display());
        }
        let mut lines = one.text.trim_end().lines();
        let what = lines.next().unwrap_or_default();
        let why = format!("{what}; {}", lines.last().unwrap_or_default());
        println!("test netns::{}: told again, alone: {why}", one.name());
        reasons.push(why);
        *one = tell_in_rig(hb, one.telling);
        report(one);
    }
    let passed = !reasons.is_empty() && !failed(one);
    passed.then(|| format!("netns::{}: {}", one.name(), reasons.join("; then: ")))
}

impl Ended {
    fn name(&self) -> String {
        self.telling.name()
    }
}

fn tell_in_rig(hb: &Path, telling: Telling) -> Ended {
    let name = telling.name();
    let began = Instant::now();
    let _ = std::fs::remove_dir_all(evidence(&name));
    let output = std::env::current_exe().and_then(|myself| {
        Command::new(hb)
            .arg("rig-enter")
            .arg(myself)
            .args([TELL, &name])
            .env("HB_RIG_PROGRAMS", hb.parent().unwrap_or(Path::new(".")))
            .stdin(Stdio::null())
            .output()
    });
    let (code, text) = match output {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            (output.status.code(), text)
        }
        Err(error) => (None, error.to_string()),
    };
    Ended { telling, code, text, took: began.elapsed() }
}

fn skipped(ended: &Ended) -> bool {
    ended.code == Some(i32::from(SKIPPED))
}

fn doubtful(ended: &Ended) -> bool {
    ended.code == Some(i32::from(DOUBTFUL))
}

fn failed(ended: &Ended) -> bool {
    ended.code != Some(0) && !skipped(ended)
}

fn report(ended: &Ended) {
    let word = match ended {
        _ if skipped(ended) => "skipped",
        _ if doubtful(ended) => "failed on a busy host",
        _ if failed(ended) => "FAILED",
        _ => "ok",
    };
    let seconds = ended.took.as_secs_f32();
    println!("test netns::{} ... {word} ({seconds:.1} s)", ended.name());
    let _ = std::io::stdout().flush();
}

/// As libtest ends, so that whoever reads its output reads this too: a skip counts as passed
/// there, and says so in a line of its own.
fn summary(ended: &[Ended], told_again: &[String]) -> ExitCode {
    let red: Vec<&Ended> = ended.iter().filter(|one| failed(one)).collect();
    if !red.is_empty() {
        println!("\nfailures:\n");
        for one in &red {
            println!("---- netns::{} stdout ----\n{}\n", one.name(), one.text.trim_end());
        }
        // Ends the last one's words.
        println!("failures:");
        for one in &red {
            println!("    netns::{}", one.name());
        }
    }
    for line in told_again {
        println!("{TOLD_TWICE}{line}");
    }
    for one in ended.iter().filter(|one| skipped(one)) {
        println!("SKIP: {}", one.text.trim());
    }
    let word = if red.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        ended.len() - red.len(),
        red.len()
    );
    if red.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
