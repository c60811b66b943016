//! The host under the rig: wires that don't wait for it, and a record of when it made others wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration as StdDuration;

use hb_linux::rig::machine::Machine;
use hb_proto::time::{Duration, Instant};
use rustix::process::{Pid, Signal, set_parent_process_death_signal, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::chronicle::Clock;

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

/// One wait of a thread that wanted to run.
#[derive(Debug, Clone, Copy)]
struct Wait {
    ended: Instant,
    lasted: Duration,
    processor: usize,
}

type Noted = Arc<Mutex<Vec<Wait>>>;

/// Records when this host kept an ordinary thread waiting that wanted to run: a limit that was missed meanwhile says
/// nothing of heartbeat. Dropping it ends its threads.
///
/// There is a thread for each processor: where the host is a guest itself, a hypervisor takes away one of its processors
/// for hundreds of milliseconds (`steal` of proc_stat(5)), and whatever was on that one stands, whatever its priority,
/// while threads of the others see nothing.
#[derive(Debug)]
pub struct Stalls {
    noted: Noted,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stalls {
    /// Records from now on.
    ///
    /// # Errors
    /// No threads could be had.
    pub fn record(clock: Clock) -> std::io::Result<Self> {
        let mut stalls = Self {
            noted: Noted::default(),
            end: Arc::new(AtomicBool::new(false)),
            threads: vec![],
        };
        let allowed = sched_getaffinity(None)?;
        for processor in (0..CpuSet::MAX_CPU).filter(|&number| allowed.is_set(number)) {
            let (noted, end) = (stalls.noted.clone(), stalls.end.clone());
            let watch = move || {
                let mut one = CpuSet::new();
                one.set(processor);
                // Of a processor that was taken away since: then this is one more thread that goes where it may.
                let _ = sched_setaffinity(None, &one);
                while !end.load(Ordering::Relaxed) {
                    let asleep = std::time::Instant::now();
                    std::thread::sleep(EVERY);
                    let lasted = asleep.elapsed().saturating_sub(EVERY);
                    if lasted >= WORTH_NOTING {
                        let wait = Wait { ended: clock.now(), lasted: lasted.into(), processor };
                        noted.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
                    }
                }
            };
            let thread = std::thread::Builder::new().name("stalls".into()).spawn(watch)?;
            stalls.threads.push(thread);
        }
        Ok(stalls)
    }

    /// All of them: when it ended, how long it was.
    #[must_use]
    pub fn noted(&self) -> Vec<(Instant, Duration)> {
        self.waits(Instant::ZERO).iter().map(|wait| (wait.ended, wait.lasted)).collect()
    }

    fn waits(&self, since: Instant) -> Vec<Wait> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().filter(|wait| wait.ended >= since).copied().collect()
    }

    /// Says so when this host kept our own threads waiting so much, from shortly before `since` until `now`, that what was
    /// expected meanwhile may have failed by it. What others wait for is no excuse: a story that fills the processors
    /// would always have one.
    #[must_use]
    pub fn doubts(&self, since: Instant, now: Instant) -> Option<String> {
        let from = Instant::from_micros(since.micros().saturating_sub(BEFORE.micros()));
        let (longest, sum) = (self.longest_since(from), self.since(from));
        let share = sum.micros().saturating_mul(100) / now.since(from).micros().max(1);
        (longest >= LONG || share >= BUSY_PERCENT).then(|| {
            format!(
                "this host kept a thread of ours waiting for {share} % of {} ms, {} ms at worst",
                now.since(from).millis(),
                longest.millis()
            )
        })
    }

    /// The longest that this host kept a thread waiting since `since`.
    #[must_use]
    pub fn longest_since(&self, since: Instant) -> Duration {
        self.waits(since).iter().map(|wait| wait.lasted).max().unwrap_or_default()
    }

    /// How long this host kept a thread waiting since `since`, on the processor where it waited most.
    #[must_use]
    pub fn since(&self, since: Instant) -> Duration {
        let mut sums = BTreeMap::<usize, Duration>::new();
        for wait in self.waits(since) {
            let sum = sums.entry(wait.processor).or_default();
            *sum = *sum + wait.lasted;
        }
        sums.into_values().max().unwrap_or_default()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalls(waits: &[(u64, u64, usize)]) -> Stalls {
        let wait = |&(ended_ms, lasted_ms, processor): &(u64, u64, usize)| Wait {
            ended: Instant::from_micros(ended_ms * 1000),
            lasted: Duration::from_millis(lasted_ms),
            processor,
        };
        let noted = Arc::new(Mutex::new(waits.iter().map(wait).collect()));
        Stalls { noted, end: Arc::default(), threads: vec![] }
    }

    #[test]
    fn each_processor_is_counted_by_itself() {
        let stalls = stalls(&[(100, 30, 0), (200, 20, 1), (300, 30, 1)]);
        assert_eq!(stalls.since(Instant::ZERO), Duration::from_millis(50));
        assert_eq!(stalls.longest_since(Instant::ZERO), Duration::from_millis(30));
        assert_eq!(stalls.since(Instant::from_micros(250_000)), Duration::from_millis(30));
    }

    #[test]
    fn one_long_wait_or_a_fifth_of_the_time_is_a_reason_to_doubt() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        assert!(stalls(&[(5000, 99, 0)]).doubts(at(5000), at(9000)).is_none());
        assert!(stalls(&[(5000, 100, 1)]).doubts(at(5000), at(9000)).is_some());
        // What ended long before the limit began to run explains nothing.
        assert!(stalls(&[(3000, 100, 1)]).doubts(at(5000), at(9000)).is_none());
        let many: Vec<_> = (0..26).map(|n| (5000 + n, 39, 0)).collect();
        assert!(stalls(&many).doubts(at(5000), at(9000)).is_some());
        assert!(stalls(&many[..25]).doubts(at(5000), at(9000)).is_none());
    }

    #[test]
    fn every_processor_has_its_witness() {
        let stalls = Stalls::record(Clock::start()).expect("threads can be had");
        let processors = std::thread::available_parallelism().expect("Linux says so").get();
        assert_eq!(stalls.threads.len(), processors);
    }
}
