//! Stories in processes of their own, told by a rig's program as libtest tells tests: one line each, skips and failures
//! last.
//!
//! A story that failed while the host kept the rig's threads waiting is told again, alone, and says so: its wires are
//! threads of this host, and a frame that waited for a compiler is no verdict on heartbeat. What it says last counts.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::runner::Verdict;
use crate::inside::TOLD_TWICE;

/// The word that marks a story's own process; the story's name follows.
pub const TELL: &str = "--tell";
/// The exit code of a story that this rig can't tell, as Automake's test drivers have it.
pub const SKIPPED: u8 = 77;
/// The exit code of a story that failed on a host that was too busy for it (EX_TEMPFAIL of sysexits.h).
pub const DOUBTFUL: u8 = 75;

/// Says what a story's process has to say, and how it ends.
#[must_use]
pub fn end(verdict: Verdict) -> ExitCode {
    match verdict {
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
            let Some(doubts) = doubts else { return ExitCode::FAILURE };
            println!("{doubts}");
            ExitCode::from(DOUBTFUL)
        }
    }
}

/// Stories told at once: `usual`, unless HB_RIG_STORIES says otherwise.
///
/// # Panics
/// When it says something else than a number above 0.
#[must_use]
pub fn at_once(usual: usize) -> usize {
    let Some(text) = std::env::var_os("HB_RIG_STORIES") else { return usual };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|&number| number > 0);
    number.unwrap_or_else(|| {
        panic!(
            "HB_RIG_STORIES={}: expected how many stories to tell at once: 1 or more",
            text.display()
        )
    })
}

/// How a story's process ended.
#[derive(Debug)]
pub struct Ended {
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

/// What was told, and which of it only passed when it was told again.
#[derive(Debug, Default)]
pub struct Told {
    ended: Vec<Ended>,
    again: Vec<String>,
}

impl Told {
    /// Both, one after the other.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.ended.extend(other.ended);
        self.again.extend(other.again);
        self
    }

    /// As libtest ends, so that whoever reads its output reads this too: a skip counts as passed there, and says so in a
    /// line of its own.
    #[must_use]
    pub fn summary(&self, rig: &str) -> ExitCode {
        let red: Vec<&Ended> = self.ended.iter().filter(|one| one.failed()).collect();
        if !red.is_empty() {
            println!("\nfailures:\n");
            for one in &red {
                println!("---- {}::{} stdout ----\n{}\n", rig, one.name, one.text.trim_end());
            }
            // Ends the last one's words.
            println!("failures:");
            red.iter().for_each(|one| println!("    {}::{}", rig, one.name));
        }
        self.again.iter().for_each(|line| println!("{TOLD_TWICE}{line}"));
        for one in self.ended.iter().filter(|one| one.is(SKIPPED)) {
            println!("SKIP: {}", one.text.trim());
        }
        let word = if red.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
            self.ended.len() - red.len(),
            red.len()
        );
        if red.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// How a rig tells its stories.
pub struct Teller<'a> {
    /// The rig's name, before each story's.
    pub rig: &'a str,
    /// Stories told at once.
    pub at_once: usize,
    /// A story that fails on a busy host is told again this often, alone.
    pub more_tries: usize,
    /// Where a story's evidence lies.
    pub evidence: &'a (dyn Fn(&str) -> PathBuf + Sync),
    /// A story's own process, inside the rig's namespaces.
    pub start: &'a (dyn Fn(&str) -> Command + Sync),
}

impl Teller<'_> {
    /// Tells the stories of these names; a line each as they end.
    ///
    /// # Panics
    /// When another thread of it has.
    #[must_use]
    pub fn tell_all(&self, names: Vec<String>) -> Told {
        let threads = self.at_once.min(names.len());
        let waiting = Mutex::new(VecDeque::from(names));
        let ended = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().expect("no panic").pop_front();
                        let Some(name) = next else { break };
                        let one = self.tell(&name);
                        ended.lock().expect("no panic").push(one);
                    }
                });
            }
        });
        let mut ended = ended.into_inner().expect("no panic");
        let again = ended.iter_mut().filter_map(|one| self.tell_again(one)).collect();
        Told { ended, again }
    }

    fn tell(&self, name: &str) -> Ended {
        let began = Instant::now();
        // Of an earlier run, if anything.
        let _ = std::fs::remove_dir_all((self.evidence)(name));
        let (code, text) = match (self.start)(name).stdin(Stdio::null()).output() {
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                (output.status.code(), text)
            }
            Err(error) => (None, error.to_string()),
        };
        let ended = Ended { name: name.to_owned(), code, text, took: began.elapsed() };
        self.report(&ended);
        ended
    }

    /// Tells a story again, alone, while the host may be to blame; why it was, if it passed at last.
    fn tell_again(&self, one: &mut Ended) -> Option<String> {
        let mut reasons = Vec::new();
        while one.is(DOUBTFUL) && reasons.len() < self.more_tries {
            self.put_aside(&one.name, reasons.len() + 1);
            let mut lines = one.text.trim_end().lines();
            let what = lines.next().unwrap_or_default();
            let why = format!("{what}; {}", lines.last().unwrap_or_default());
            println!("test {}::{}: told again, alone: {why}", self.rig, one.name);
            reasons.push(why);
            *one = self.tell(&one.name);
        }
        let passed = !reasons.is_empty() && !one.failed();
        passed.then(|| format!("{}::{}: {}", self.rig, one.name, reasons.join("; then: ")))
    }

    /// The evidence of a try that isn't the last.
    fn put_aside(&self, name: &str, attempt: usize) {
        let aside = (self.evidence)(&format!("{name}.{attempt}"));
        // Of an earlier run, if anything.
        let _ = std::fs::remove_dir_all(&aside);
        if let Err(error) = std::fs::rename((self.evidence)(name), &aside) {
            println!("{}: {error}: the evidence of this try is lost", aside.display());
        }
    }

    fn report(&self, ended: &Ended) {
        let word = match ended {
            _ if ended.is(SKIPPED) => "skipped",
            _ if ended.is(DOUBTFUL) => "failed on a busy host",
            _ if ended.failed() => "FAILED",
            _ => "ok",
        };
        let seconds = ended.took.as_secs_f32();
        println!("test {}::{} ... {word} ({seconds:.1} s)", self.rig, ended.name);
        let _ = std::io::stdout().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each story is a shell's exit code; the evidence is what says how often it was told.
    fn told(script: &'static str, tries: usize) -> Told {
        let place = std::env::temp_dir().join(format!("hb-telling-{}-{tries}", std::process::id()));
        let counter = place.clone();
        let teller = Teller {
            rig: "none",
            at_once: 1,
            more_tries: tries,
            evidence: &|name| place.join(name),
            start: &|_| {
                std::fs::create_dir_all(&counter).expect("a directory");
                let mut command = Command::new("/bin/sh");
                command.args(["-c", script]).current_dir(&counter);
                command
            },
        };
        let told = teller.tell_all(vec!["one".to_owned()]);
        std::fs::remove_dir_all(&counter).expect("it is there");
        told
    }

    #[test]
    fn a_story_on_a_busy_host_is_told_again_and_what_it_says_last_counts() {
        let once_red = "mkdir told 2>/dev/null && { echo late; echo starved; exit 75; } || exit 0";
        let good = told(once_red, 2);
        assert_eq!(
            (good.ended[0].code, good.again.as_slice()),
            (Some(0), ["none::one: late; starved".to_owned()].as_slice())
        );
        let never_again = told(once_red, 0);
        assert!(never_again.ended[0].failed() && never_again.again.is_empty());
        let always_red = told("exit 75", 3);
        assert!(always_red.ended[0].failed() && always_red.again.is_empty());
    }

    #[test]
    fn only_a_busy_host_is_a_reason() {
        let red = told("mkdir told 2>/dev/null && exit 1 || exit 0", 4);
        assert!(red.ended[0].failed() && red.again.is_empty());
        assert!(!told("exit 77", 5).ended[0].failed());
    }
}
