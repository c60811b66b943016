//! What a machine's processes cost: CPU time and memory, as the kernel counts them.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// One process at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// As the host sees it.
    pub pid: u32,
    /// Name, and whether it is the child of another of them.
    pub name: String,
    /// Time on a CPU since it started, all threads, milliseconds (/proc/PID/task/TID/schedstat).
    pub cpu_ms: f64,
    /// utime + stime of /proc/PID/stat, milliseconds; ten at a time.
    pub ticks_ms: u64,
    /// Times it went to sleep (voluntary_ctxt_switches): wake-ups.
    pub wakeups: u64,
    /// VmRSS, kB.
    pub rss_kb: u64,
    /// VmHWM, kB.
    pub peak_rss_kb: u64,
    /// Pss: shared pages count by their share, kB.
    pub pss_kb: u64,
    /// RssAnon: memory of its own, kB.
    pub anonymous_kb: u64,
}

/// USER_HZ is 100 on every architecture that Linux runs on today (time(7)).
const MS_A_TICK: u64 = 10;

/// All processes of the machine whose init is `init`, but for it.
#[must_use]
pub fn processes(init: u32) -> Vec<Process> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(machine) = namespace(init) else { return Vec::new() };
    let listing = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listing.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut pids: Vec<u32> =
        pids.filter(|&pid| pid != init && namespace(pid).as_ref() == Some(&machine)).collect();
    pids.sort_unstable();
    let parent = |pid: u32| stat(pid).map_or(0, |stat| stat.0);
    let name = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.trim().to_owned();
        if pids.contains(&parent(pid)) { format!("{name} (child)") } else { name }
    };
    pids.iter().filter_map(|&pid| read(pid, name(pid))).collect()
}

fn read(pid: u32, name: String) -> Option<Process> {
    let (_, ticks) = stat(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Some(Process {
        pid,
        name,
        cpu_ms: cpu_ns(pid) as f64 / 1e6,
        ticks_ms: ticks * MS_A_TICK,
        wakeups: kb(&status, "voluntary_ctxt_switches:"),
        rss_kb: kb(&status, "VmRSS:"),
        peak_rss_kb: kb(&status, "VmHWM:"),
        pss_kb: kb(&rollup, "Pss:"),
        anonymous_kb: kb(&status, "RssAnon:"),
    })
}

/// The number behind a field's name; kB where that is the unit.
fn kb(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Parent, and utime + stime in ticks.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, so fields count from its closing parenthesis.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks))
}

fn cpu_ns(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let time = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| time(task.path())).sum()
}

/// A process over a window of time.
#[derive(Clone, Debug, Serialize)]
pub struct Use {
    /// At the window's end.
    pub process: Process,
    /// Share of one core over the window, percent, by schedstat.
    pub cpu_percent: f64,
    /// The same by utime + stime.
    pub ticks_percent: f64,
    /// Wake-ups a second.
    pub wakeups_a_second: f64,
}

/// Watches a machine's processes for `window`.
#[must_use]
pub fn watch(init: u32, window: Duration) -> Vec<Use> {
    let (before, began) = (processes(init), Instant::now());
    std::thread::sleep(window);
    let (after, took) = (processes(init), began.elapsed().as_secs_f64() * 1e3);
    let uses = after.into_iter().filter_map(|process| {
        let first = before.iter().find(|first| first.pid == process.pid)?;
        Some(Use {
            cpu_percent: (process.cpu_ms - first.cpu_ms) / took * 100.0,
            ticks_percent: (process.ticks_ms - first.ticks_ms) as f64 / took * 100.0,
            wakeups_a_second: (process.wakeups - first.wakeups) as f64 / took * 1e3,
            process,
        })
    });
    uses.collect()
}
