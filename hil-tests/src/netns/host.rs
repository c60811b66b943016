//! The host under the rig: wires that don't wait for it, and a record of when it made others wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration as StdDuration;

use hb_proto::time::{Duration, Instant};
use rustix::process::{Pid, Signal, set_parent_process_death_signal, setpriority_process};

use super::observer::Clock;

/// As urgent as an ordinary thread can be, almost (setpriority(2)).
const NICE: i32 = -18;
/// A thread that wants to run this often …
const EVERY: StdDuration = StdDuration::from_millis(5);
/// A wait that can explain a late heartbeat: a fifth of the default warntime.
const LONG: Duration = Duration::from_millis(60);
/// A host on which somebody waits for a processor this much of the time is too busy for limits.
const BUSY_PERCENT: u64 = 50;
/// … and waits this much longer has been kept waiting.
const WORTH_NOTING: StdDuration = StdDuration::from_millis(3);

/// Lets every thread of this process that is a part of the rig (a line, a switch, the client, the
/// observer) go before other work: a wire doesn't slow down because a host compiles something.
/// Where that is forbidden the rig goes without; [`Stalls`] then explains what follows from it.
pub fn prefer_wires() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let wire = ["line", "switch", "client", "observer"].contains(&name.trim());
        let id = thread.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        if let (true, Some(id)) = (wire, id) {
            // Linux takes a thread's number here (setpriority(2), "C library/kernel differences").
            let _ = setpriority_process(Some(id), NICE);
        }
    }
}

/// Makes this process, and all that it starts, count as a session of its own that goes before
/// other sessions of this host. With autogroups (sched(7)) the priorities of threads matter only
/// among those of one session.
///
/// Call it first thing. Where it is forbidden or unknown, the rig goes without. A session of its
/// own doesn't hear the terminal's Ctrl-C: it ends with the process that started it.
pub fn prefer_this_session() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::setsid().is_ok() {
        let _ = std::fs::write("/proc/self/autogroup", NICE.to_string());
    }
}

/// Microseconds in which some thread of this host waited for a processor, since it was started
/// (the kernel's Documentation/accounting/psi.rst); None where the kernel doesn't count them.
fn waited() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_once("total=")?.1.trim().parse().ok()
}

type Noted = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// Records when this host kept an ordinary thread waiting that wanted to run: a limit that was
/// missed meanwhile says nothing of heartbeat. Dropping it ends its thread.
#[derive(Debug)]
pub struct Stalls {
    began: (Instant, Option<u64>),
    noted: Noted,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stalls {
    /// Records from now on.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn record(clock: Clock) -> std::io::Result<Self> {
        let noted = Noted::default();
        let end = Arc::new(AtomicBool::new(false));
        let (its_noted, its_end) = (noted.clone(), end.clone());
        let thread = std::thread::Builder::new().name("stalls".into()).spawn(move || {
            while !its_end.load(Ordering::Relaxed) {
                let asleep = std::time::Instant::now();
                std::thread::sleep(EVERY);
                let late = asleep.elapsed().saturating_sub(EVERY);
                if late >= WORTH_NOTING {
                    let mut noted = its_noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push((clock.now(), late.into()));
                }
            }
        })?;
        Ok(Self { began: (clock.now(), waited()), noted, end, thread: Some(thread) })
    }

    /// All of them: when it ended, how long it was.
    #[must_use]
    pub fn noted(&self) -> Vec<(Instant, Duration)> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says so when this host kept threads waiting so long that a story may fail by it: one for
    /// more than [`LONG`], or some thread or other for more than [`BUSY_PERCENT`] of the time.
    #[must_use]
    pub fn doubts(&self, now: Instant) -> Option<String> {
        let longest = self.noted().iter().map(|(_, late)| *late).max().unwrap_or_default();
        let (from, before) = self.began;
        let lasted = now.since(from).micros().max(1);
        let waited = waited().zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
        let share = waited.saturating_mul(100) / lasted;
        (longest >= LONG || share >= BUSY_PERCENT).then(|| {
            format!(
                "this host kept some thread waiting for {share} % of {} ms, ours for {} ms at worst",
                lasted / 1000,
                longest.millis()
            )
        })
    }

    /// How long this host kept a thread waiting since `since`.
    #[must_use]
    pub fn since(&self, since: Instant) -> Duration {
        let noted = self.noted();
        let lately = noted.iter().filter(|(at, _)| *at >= since);
        lately.fold(Duration::ZERO, |sum, (_, late)| sum + *late)
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
