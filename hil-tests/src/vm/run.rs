//! The rig's program: makes the image, tells stories, each in a process and namespaces of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hb_linux::rig::machine::Programs;

use super::image::{self, Image};
use super::rig::Guests;
use super::snapshot;
use crate::scenario::runner::{self, Verdict};
use crate::scenario::stories::{self, Story};

/// The exit code of a story that this rig can't tell, as Automake's test drivers have it.
const SKIPPED: u8 = 77;
/// The exit code of a story that failed on a host that was too busy for it (EX_TEMPFAIL of sysexits.h).
const DOUBTFUL: u8 = 75;
/// The word that marks a story's own process.
const TELL: &str = "--tell";
/// Where `hb` and `heartbeatd` of the host lie; the directory above it has those of the guests.
const PROGRAMS: &str = "HB_RIG_PROGRAMS";

/// See the module.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [flag, name] if *flag == TELL => tell(name),
        ["--image"] => match image() {
            Ok(image) => {
                println!("{image:?}");
                ExitCode::SUCCESS
            }
            Err(why) => fail(&why),
        },
        words if words.iter().all(|word| !word.starts_with('-')) => tell_all(words),
        _ => fail("expected names of stories, --image, or --help"),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("rig vm: {why}");
    ExitCode::from(2)
}

/// Where the programs of the host lie.
fn binaries() -> PathBuf {
    let beside = || {
        let myself = std::env::current_exe().unwrap_or_default();
        myself.parent().map(Path::to_owned).unwrap_or_default()
    };
    std::env::var_os(PROGRAMS).map_or_else(beside, PathBuf::from)
}

fn target() -> PathBuf {
    let myself = std::env::current_exe().unwrap_or_default();
    // TARGET/release/vm
    myself.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned()
}

fn programs() -> Programs {
    let directory = binaries();
    Programs { hb: directory.join("hb"), heartbeatd: directory.join("heartbeatd") }
}

fn image() -> Result<Image, String> {
    let target = target();
    image::make(&target.join("rig-vm"), &target.join(image::TARGET).join("release"))
}

fn tell(name: &str) -> ExitCode {
    let Some(story) = stories::named(name) else {
        return fail(&format!("no story is called {name}"));
    };
    let image = match image() {
        Ok(image) => image,
        Err(why) => return fail(&why),
    };
    crate::netns::host::prefer_this_session();
    let mut rig = Guests::new(image, programs());
    match runner::tell(story, &mut rig, &evidence(name)) {
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
    target().join("rig-evidence/vm").join(name)
}

/// How a story's process ended.
struct Ended {
    story: &'static Story,
    code: Option<i32>,
    text: String,
    took: Duration,
}

fn tell_all(words: &[&str]) -> ExitCode {
    match image() {
        Ok(image) => {
            if let Err(why) = snapshot::make(&image) {
                println!("every power-on is a boot: {why}");
            }
        }
        Err(why) => return fail(&why),
    }
    let all = stories::ALL.iter().chain(stories::DONGLE);
    let chosen =
        |story: &&Story| words.is_empty() || words.iter().any(|word| story.name.contains(word));
    let mut failed = 0;
    for story in all.filter(chosen) {
        let ended = tell_in_rig(story);
        report(&ended);
        failed += usize::from(!matches!(ended.code, Some(0) | Some(77)));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell_in_rig(story: &'static Story) -> Ended {
    let began = Instant::now();
    let _ = std::fs::remove_dir_all(evidence(story.name));
    let output = std::env::current_exe().and_then(|myself| {
        Command::new(programs().hb)
            .arg("rig-enter")
            .arg(myself)
            .args([TELL, story.name])
            .env(PROGRAMS, binaries())
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
    Ended { story, code, text, took: began.elapsed() }
}

fn report(ended: &Ended) {
    let word = match ended.code {
        Some(0) => "ok",
        Some(code) if code == i32::from(SKIPPED) => "skipped",
        Some(code) if code == i32::from(DOUBTFUL) => "failed on a busy host",
        _ => "FAILED",
    };
    println!("test vm::{} ... {word} ({:.1} s)", ended.story.name, ended.took.as_secs_f32());
    if word != "ok" {
        println!("{}", ended.text.trim_end());
    }
    let _ = std::io::stdout().flush();
}
