//! `hb demo` fails when it must, and leaves nothing behind. That it succeeds is shown by running
//! it: `cargo xtask test` does, with the binaries of a release.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hil_tests::inside::programs;
use rustix::process::{Pid, Signal, kill_process};

/// A demo under way, with its temporary files where only this test has any.
struct Demo {
    child: Child,
    temporary: PathBuf,
    lines: BufReader<std::process::ChildStdout>,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let temporary = std::env::temp_dir().join(format!("hb-demo-{name}.{}", std::process::id()));
        fs::create_dir_all(&temporary).unwrap();
        let mut child = Command::new(&programs().hb)
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", &temporary)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, temporary, lines }
    }

    /// Reads on until a line has the text.
    fn read_until(&mut self, text: &str) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return;
            }
            line.clear();
        }
        panic!("the demo ended before it said: {text}");
    }

    /// Reads all that is left, and the exit code.
    fn end(&mut self) -> (String, Option<i32>) {
        let text: Vec<String> = (&mut self.lines).lines().map(Result::unwrap).collect();
        (text.join("\n"), self.child.wait().unwrap().code())
    }

    /// Processes that belong to this demo: a machine's init has its disk on its command line.
    fn processes(&self) -> Vec<String> {
        let marks = self.temporary.to_string_lossy().into_owned();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
            .filter(|line| line.contains(&marks))
            .collect()
    }

    fn expect_no_process(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn without_a_takeover_it_fails_and_says_so() {
    let mut demo = Demo::start("sabotage", &["--plain", "--sabotage", "takeover"]);
    let (text, code) = demo.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("ok: linuxha1 answers"), "the service must run first: {text}");
    assert!(text.contains("FAILED: no takeover"), "{text}");
}

#[test]
fn without_the_dongles_vote_two_hold_and_it_says_so() {
    let arguments = ["--plain", "--dongle", "--sabotage", "votes"];
    let mut demo = Demo::start("votes", &arguments);
    let (text, code) = demo.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("ok: linuxha1 answers"), "the service must run first: {text}");
    assert!(text.contains("TWO HOLDERS"), "{text}");
}

#[test]
fn ctrl_c_cleans_up_everything() {
    let mut demo = Demo::start("interrupted", &["--plain"]);
    demo.read_until("start both machines");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!demo.processes().is_empty(), "there is something to clean up");
    let pid = Pid::from_child(&demo.child);
    kill_process(pid, Signal::INT).unwrap();
    let (text, code) = demo.end();
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(demo.processes(), Vec::<String>::new());
    assert_eq!(entries(&demo.temporary), 0);
}

#[test]
fn a_killed_demo_leaves_no_process_and_no_file() {
    let mut demo = Demo::start("killed", &["--plain"]);
    demo.read_until("start both machines");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!demo.processes().is_empty(), "there is something to leave behind");
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    demo.expect_no_process();
    for left in fs::read_dir(&demo.temporary).unwrap() {
        assert_eq!(entries(&left.unwrap().path()), 0, "an empty mount point may be left, no more");
    }
}
