//! What the figures were measured on: the host, and how steady it was meanwhile.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The measuring side (wires, client, taps) runs above the daemons' priority of 1: what it adds must
/// not depend on what else the host does.
const PRIORITY: &str = "2";

/// Gives the calling thread realtime priority above the daemons'; false where that is refused. Threads
/// that it starts inherit it, processes too: start none.
pub fn real_time() -> bool {
    round_robin(PRIORITY)
}

/// SCHED_RR for the calling thread, by chrt(1), at the priority given in words.
pub fn round_robin(priority: &str) -> bool {
    round_robin_of(&rustix::thread::gettid().as_raw_nonzero().to_string(), priority)
}

/// The same for a process that has one thread, as what stands for the dongle's chip.
pub fn real_time_of(pid: u32) -> bool {
    round_robin_of(&pid.to_string(), PRIORITY)
}

fn round_robin_of(thread: &str, priority: &str) -> bool {
    let done = Command::new("chrt")
        .args(["--rr", "--pid", priority, thread])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

/// The host, the software, the day.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// RFC 3339, UTC.
    pub date: String,
    /// `model name` of /proc/cpuinfo.
    pub cpu: String,
    /// Logical processors.
    pub cores: usize,
    /// MemTotal, MB.
    pub memory_mb: u64,
    /// `uname -srv`.
    pub kernel: String,
    /// `hb --version`.
    pub version: String,
    /// `git rev-parse HEAD`, with `+changes` when the tree had some.
    pub commit: String,
    /// Peers that were measured, with their packages' versions.
    pub peers: Vec<String>,
    /// One-minute load average before the first run.
    pub load_before: String,
    /// Whether the measuring side had realtime priority.
    pub measured_in_real_time: bool,
    /// How to do it again.
    pub command: String,
}

impl Conditions {
    /// Looks at this host; `command` is what a person types to have this measured.
    #[must_use]
    pub fn here(hb: &std::path::Path, command: &str) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = meminfo.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            cpu: field("model name").unwrap_or_else(|| "unknown".into()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mb: memory.unwrap_or(0) / 1024,
            kernel: said("uname", &["-srv"]),
            version: said(&hb.to_string_lossy(), &["--version"]),
            commit: commit(),
            peers: Vec::new(),
            load_before: load.split_whitespace().next().unwrap_or("unknown").to_owned(),
            measured_in_real_time: std::thread::spawn(real_time).join().unwrap_or(false),
            command: command.to_owned(),
        }
    }
}

/// `git rev-parse HEAD` of the working directory, with `+changes` when the tree has some; empty without git.
#[must_use]
pub fn commit() -> String {
    let changes = !said("git", &["status", "--porcelain"]).is_empty();
    let commit = said("git", &["rev-parse", "HEAD"]);
    if changes { format!("{commit}+changes") } else { commit }
}

/// What a program prints, trimmed; empty when it can't be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// A time in which the host didn't let the recorder's thread run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// When it was over.
    pub end: Instant,
    /// How much later than asked the thread ran.
    pub late: Duration,
}

/// Shorter ones are a host's ordinary life.
const STALL_LEAST: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_millis(1);

/// A thread that naps 1 ms at a time, and writes down when that took longer.
#[derive(Debug)]
pub struct StallRecorder {
    stalls: Arc<Mutex<Vec<Stall>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StallRecorder {
    /// Starts it.
    ///
    /// # Panics
    /// No thread can be had.
    #[must_use]
    pub fn start() -> Self {
        Self::at_priority(false).0
    }

    /// The same at realtime priority: it sees the host's own pauses only.
    ///
    /// # Errors
    /// That priority is refused: at an ordinary one it would call every busy moment a pause.
    ///
    /// # Panics
    /// No thread can be had.
    pub fn start_in_real_time() -> std::io::Result<Self> {
        let (recorder, granted) = Self::at_priority(true);
        let refused =
            std::io::Error::other("no realtime priority: chrt(1) was refused or is missing");
        if granted { Ok(recorder) } else { Err(refused) }
    }

    /// The recorder, and whether it has realtime priority.
    fn at_priority(real: bool) -> (Self, bool) {
        let stalls = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(AtomicBool::new(false));
        let (its_stalls, its_end) = (stalls.clone(), end.clone());
        let (tell, granted) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _ = tell.send(real && real_time());
            let mut before = Instant::now();
            while !its_end.load(Ordering::Relaxed) {
                std::thread::sleep(NAP);
                let now = Instant::now();
                let late = (now - before).saturating_sub(NAP);
                if late >= STALL_LEAST {
                    let mut stalls = its_stalls.lock().unwrap_or_else(PoisonError::into_inner);
                    stalls.push(Stall { end: now, late });
                }
                before = now;
            }
        });
        (Self { stalls, end, thread: Some(thread) }, granted.recv().unwrap_or(false))
    }

    /// The longest stall that touches the time between the two, in milliseconds; 0 without one.
    #[must_use]
    pub fn longest_ms(&self, from: Instant, to: Instant) -> f64 {
        self.within(from, to).map(|stall| stall.late).max().unwrap_or_default().as_secs_f64() * 1e3
    }

    /// All stalls that touch the time between the two, together.
    #[must_use]
    pub fn total(&self, from: Instant, to: Instant) -> Duration {
        self.within(from, to).map(|stall| stall.late).sum()
    }

    /// All stalls that touch the time between the two.
    pub fn within(&self, from: Instant, to: Instant) -> impl Iterator<Item = Stall> {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let touching =
            stalls.iter().filter(|stall| stall.end >= from && stall.end - stall.late <= to);
        touching.copied().collect::<Vec<_>>().into_iter()
    }
}

impl Drop for StallRecorder {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
