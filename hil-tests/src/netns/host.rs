//! The host under the rig: wires that don't wait for it, and a record of when it made others wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration as StdDuration;

use hb_linux::rig::machine::Machine;
use hb_proto::time::{Duration, Instant};
use rustix::process::{Pid, Signal, set_parent_process_death_signal, setpriority_process};

use super::observer::Clock;

/// As urgent as an ordinary thread can be, almost (setpriority(2)).
const NICE: i32 = -18;
/// A thread that wants to run this often …
const EVERY: StdDuration = StdDuration::from_millis(5);
/// … and waits this much longer has been kept waiting.
const WORTH_NOTING: StdDuration = StdDuration::from_millis(3);
/// A wait that can explain a missed limit by itself: a keepalive of most stories, so that a heartbeat
/// comes a whole turn late.
const LONG: Duration = Duration::from_millis(100);
/// Many short waits explain as much when they are this part of the time in question.
const BUSY_PERCENT: u64 = 20;
/// Before a limit began to run: what was late then may be missing now.
const BEFORE: Duration = Duration::from_secs(1);

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

/// The processes of a machine, with their command lines (words that end in zero bytes).
///
/// # Errors
/// The machine has no power, or there is no /proc.
pub fn processes(machine: &Machine) -> Result<Vec<(Pid, String)>, String> {
    let init = machine.pid().map_err(|error| error.to_string())?;
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything (proc_pid_stat(5)).
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let below = |pid: u32| {
        std::iter::successors(Some(pid), |&pid| parent(pid)).take(20).any(|pid| pid == init)
    };
    let all = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let its = pids.filter(|&pid| below(pid)).filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((Pid::from_raw(pid.cast_signed())?, String::from_utf8_lossy(&line).into_owned()))
    });
    Ok(its.collect())
}

/// The process of a machine that is its daemon's helper.
///
/// # Errors
/// As [`processes`], or there is not exactly one.
pub fn helper(machine: &Machine) -> Result<Pid, String> {
    let mut all = processes(machine)?;
    all.retain(|(_, line)| line.split('\0').nth(1) == Some("--resource-helper"));
    match all.as_slice() {
        [(pid, _)] => Ok(*pid),
        others => Err(format!("{} has {} helper processes", machine.name(), others.len())),
    }
}

type Noted = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// Records when this host kept an ordinary thread waiting that wanted to run: a limit that was
/// missed meanwhile says nothing of heartbeat. Dropping it ends its thread.
#[derive(Debug)]
pub struct Stalls {
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
        Ok(Self { noted, end, thread: Some(thread) })
    }

    /// All of them: when it ended, how long it was.
    #[must_use]
    pub fn noted(&self) -> Vec<(Instant, Duration)> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says so when this host kept our own thread waiting so much, from shortly before `since` until
    /// `now`, that what was expected meanwhile may have failed by it. What others wait for is no
    /// excuse: a story that fills the processors would always have one.
    #[must_use]
    pub fn doubts(&self, since: Instant, now: Instant) -> Option<String> {
        let from = Instant::from_micros(since.micros().saturating_sub(BEFORE.micros()));
        let late = || self.noted().into_iter().filter(|(at, _)| *at >= from).map(|(_, late)| late);
        let longest = late().max().unwrap_or_default();
        let sum = late().fold(Duration::ZERO, |sum, late| sum + late);
        let share = sum.micros().saturating_mul(100) / now.since(from).micros().max(1);
        (longest >= LONG || share >= BUSY_PERCENT).then(|| {
            format!(
                "this host kept our thread waiting for {share} % of {} ms, {} ms at worst",
                now.since(from).millis(),
                longest.millis()
            )
        })
    }

    /// The longest that this host kept a thread waiting since `since`.
    #[must_use]
    pub fn longest_since(&self, since: Instant) -> Duration {
        let noted = self.noted();
        noted.iter().filter(|(at, _)| *at >= since).map(|(_, late)| *late).max().unwrap_or_default()
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
