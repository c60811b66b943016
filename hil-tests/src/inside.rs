//! A test of the namespace rig is its rig's supervising process: it starts itself again in
//! namespaces of its own.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use hb_linux::rig::machine::Programs;
use hb_proto::time::Instant;

use crate::bench::machine::commit;
use crate::chronicle::Clock;
use crate::netns::host::Stalls;

/// Set in the process that runs inside: the test's name.
const MARK: &str = "HB_RIG_INSIDE";
/// Where `hb` and `heartbeatd` lie, when they should not be built.
const PROGRAMS: &str = "HB_RIG_PROGRAMS";
/// What begins the line that says that only a second telling passed, and why the first didn't.
/// `cargo xtask test` lists these lines.
pub const TOLD_TWICE: &str = "TOLD TWICE: ";
/// Lines of the panic's own words that a failure repeats, and of what was said last.
const WORDS: usize = 12;
const LAST_LINES: usize = 40;
/// Characters of a line that are worth repeating.
const WIDTH: usize = 300;

/// Runs `test` in a process of its own, inside a rig's namespaces, as root or as the user that
/// runs the tests. A test that fails while this host kept its threads waiting is told once more, and
/// says so ([`TOLD_TWICE`]).
///
/// # Panics
/// The test fails inside, or namespaces are forbidden here. The message is what it said inside.
pub fn inside(name: &str, test: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    let first = Inner::run(name);
    let Some(starved) = first.doubts.as_ref().filter(|_| !first.status.success()) else {
        assert!(first.status.success(), "{}", first.verdict());
        return;
    };
    // These tests hold two machines to real time on one that has other work: what a starved host
    // explains is told once more.
    let why = first.reason();
    // Not by a macro: libtest would keep it from whoever watches.
    let _ = writeln!(io::stderr(), "{name}: failed ({why}); {starved}; told again");
    let second = Inner::run(name);
    assert!(second.status.success(), "{}", second.verdict());
    println!("{TOLD_TWICE}{name}: {why}; {starved}");
}

/// How the process inside ended, and what it said.
struct Inner {
    name: String,
    status: ExitStatus,
    lines: Vec<String>,
    /// Why the host may be to blame.
    doubts: Option<String>,
}

impl Inner {
    fn run(name: &str) -> Self {
        let clock = Clock::start();
        let stalls = Stalls::record(clock).expect("a thread can be had");
        // What an earlier run kept is no evidence of this one.
        let _ = fs::remove_dir_all(evidence_of(name));
        let (status, lines) = enter(name);
        let doubts = stalls.doubts(Instant::ZERO, clock.now());
        Self { name: name.to_owned(), status, lines, doubts }
    }

    /// The panic's own words, without where it was; empty when it didn't panic.
    fn words(&self) -> &[String] {
        let Some(at) = self.lines.iter().position(|line| line.contains("panicked at ")) else {
            return &[];
        };
        let words = &self.lines[at + 1..];
        let end = words.iter().position(|line| line.starts_with("note: run with `RUST_BACKTRACE"));
        &words[..end.unwrap_or(words.len()).min(WORDS)]
    }

    /// In one line.
    fn reason(&self) -> String {
        let first = self.words().iter().find(|line| !line.trim().is_empty());
        first.map_or_else(|| format!("no panic, but {}", self.status), |line| cut(line))
    }

    /// For libtest's section of failures: bounded, the reason first.
    fn verdict(&self) -> String {
        let mut text = format!("{}: {}\n", self.name, self.reason());
        text.push_str(&format!("failed inside its rig: {}", self.status));
        let evidence = evidence_of(&self.name);
        if evidence.exists() {
            text.push_str(&format!("; evidence: {}", evidence.display()));
        }
        if let Some(doubts) = &self.doubts {
            text.push_str(&format!(", for the second time; {doubts}"));
        }
        let tail = &self.lines[self.lines.len().saturating_sub(LAST_LINES)..];
        for (title, lines) in [("its panic", self.words()), ("the last that it said", tail)] {
            text.push_str(&format!("\n-- {title}:"));
            for line in lines {
                text.push_str(&format!("\n   {}", cut(line)));
            }
        }
        text
    }
}

/// Where the test that runs inside this process leaves what it knows when it fails; none outside.
#[must_use]
pub fn evidence() -> Option<PathBuf> {
    let name = std::env::var_os(MARK)?;
    Some(evidence_of(name.to_str()?))
}

/// `target/rig-evidence/inside/TEST`; the test itself lies in `target/PROFILE/deps`.
fn evidence_of(name: &str) -> PathBuf {
    let myself = std::env::current_exe().expect("this test has a path");
    let target = myself.ancestors().nth(3).unwrap_or(Path::new("target"));
    target.join("rig-evidence/inside").join(name.replace("::", "."))
}

/// `commit …` for a file of evidence.
#[must_use]
pub fn commit_line() -> String {
    let commit = commit();
    if commit.is_empty() {
        "commit unknown: git said none\n".into()
    } else {
        format!("commit {commit}\n")
    }
}

fn cut(line: &str) -> String {
    line.trim_end().chars().take(WIDTH).collect()
}

/// Starts this test again inside; its output is passed on as it comes, and returned by lines.
fn enter(name: &str) -> (ExitStatus, Vec<String>) {
    let myself = std::env::current_exe().expect("this test has a path");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = Command::new(&programs().hb);
    command
        .arg("rig-enter")
        .arg(myself)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(MARK, name)
        // Of the few lines that a failure repeats, none is for the frames of a panic.
        .env("RUST_BACKTRACE", "0")
        .stdout(writer.try_clone().expect("a descriptor"))
        .stderr(writer);
    let mut child = command.spawn().expect("hb starts");
    // It owns our copies of the writing end: the text ends when the last of them is closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = Vec::new();
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        // As it comes, not through libtest, which would keep it to the end.
        let _ = io::stdout().write_all(&bytes);
        lines.push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
        bytes.clear();
    }
    (child.wait().expect("it was started here"), lines)
}

/// The executables under test, built by cargo when they are not given.
///
/// # Panics
/// They can't be built.
pub fn programs() -> &'static Programs {
    static PROGRAMS_ONCE: OnceLock<Programs> = OnceLock::new();
    PROGRAMS_ONCE.get_or_init(|| {
        let directory = std::env::var_os(PROGRAMS).map_or_else(build, PathBuf::from);
        Programs { hb: directory.join("hb"), heartbeatd: directory.join("heartbeatd") }
    })
}

/// The directory of this build: `target/debug` holds `deps/this-test`.
fn build() -> PathBuf {
    let myself = std::env::current_exe().expect("this test has a path");
    let directory =
        myself.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    if std::env::var_os(MARK).is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "hb-linux", "--bins"]);
        if directory.ends_with("release") {
            command.arg("--release");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(command.status().expect("cargo starts").success(), "hb and heartbeatd build");
    }
    directory.to_owned()
}
