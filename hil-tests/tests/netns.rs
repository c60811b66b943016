//! Every story on the namespace rig: one line each, skips last. Those of the dongle, and the others again with
//! a dongle in the line (`dongle.NAME`).
//!
//! `cargo test -p hil-tests --test netns [NAME…]` tells the stories whose names contain one of the
//! words. Each story is a process of its own with namespaces of its own; a few run at once
//! (`HB_RIG_STORIES=N`), which needs little: their daemons sleep most of the time. A failed
//! story's evidence stays in `target/rig-evidence/netns/STORY`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hil_tests::inside::programs;
use hil_tests::netns::rig::Namespaces;
use hil_tests::scenario::runner;
use hil_tests::scenario::stories::{self, Story};
use hil_tests::scenario::telling::{self, TELL, Teller};

/// Stories told at once, unless HB_RIG_STORIES says otherwise.
const AT_ONCE: usize = 4;
/// A story that fails on a busy host is told again this often, alone; what it says last counts.
const MORE_TRIES: usize = 2;

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
    telling::end(tell(telling.story, &mut rig, &evidence(name)))
}

fn evidence(name: &str) -> PathBuf {
    let target = programs().hb.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    target.join("rig-evidence/netns").join(name)
}

fn run(chosen: &[Telling]) -> ExitCode {
    // Built here once, not by each story.
    let hb = programs().hb.clone();
    let Ok(myself) = std::env::current_exe() else {
        eprintln!("this program has no path");
        return ExitCode::FAILURE;
    };
    let start = |name: &str| {
        let mut command = Command::new(&hb);
        command.arg("rig-enter").arg(&myself).args([TELL, name]);
        command.env("HB_RIG_PROGRAMS", hb.parent().unwrap_or(Path::new(".")));
        command
    };
    let teller = Teller {
        rig: "netns",
        at_once: telling::at_once(AT_ONCE),
        more_tries: MORE_TRIES,
        evidence: &evidence,
        start: &start,
    };
    println!("running {} tests", chosen.len());
    let told = teller.tell_all(chosen.iter().map(|telling| telling.name()).collect());
    told.summary("netns")
}
