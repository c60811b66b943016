//! What `engage` changes about a process, read back from /proc. It runs in a process of its own: this
//! test's binary, started again.

use std::fs;
use std::process::Command;

use hb_linux::daemon::realtime::{Report, TIMER_SLACK_NS, engage};
use rustix::mm::{Advice, madvise};

const CHILD: &str = "HB_TEST_ENGAGE";

/// Field `n` of proc_pid_stat(5), from 1, of the calling thread.
fn stat(text: &str, n: usize) -> i64 {
    let behind_name = text.rsplit_once(") ").unwrap().1;
    behind_name.split(' ').nth(n - 3).unwrap().trim().parse().unwrap()
}

fn status_kb(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Kilobytes of this program's code that are mapped, and that are resident.
fn code_kb() -> (u64, u64) {
    let exe = fs::read_link("/proc/self/exe").unwrap();
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut size, mut rss) = (false, 0, 0);
    for line in smaps.lines() {
        let mut fields = line.split_whitespace();
        let first = fields.next().unwrap();
        if first.contains('-') {
            inside = line.ends_with(exe.to_str().unwrap()) && line.contains(" r-xp ");
        } else if inside && first == "Size:" {
            size += fields.next().unwrap().parse::<u64>().unwrap();
        } else if inside && first == "Rss:" {
            rss += fields.next().unwrap().parse::<u64>().unwrap();
        }
    }
    (size, rss)
}

/// Takes this program's code out of its page tables, as a machine short of memory would: each piece
/// comes back when it runs.
fn forget_code() {
    let exe = fs::read_link("/proc/self/exe").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.ends_with(exe.to_str().unwrap())) {
        let Some((range, _)) = line.split_once(" r-xp ") else { continue };
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| usize::from_str_radix(at, 16).unwrap());
        let start = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: unmodified pages of a mapped file; the next access reads the same bytes again.
        unsafe { madvise(start, to - from, Advice::LinuxDontNeed) }.unwrap();
    }
    let (size, resident) = code_kb();
    assert!(resident < size, "the code is still there; the comparison below would prove nothing");
}

fn compare_with_proc(report: &Report) {
    const SCHED_RR: i64 = 2;
    let own = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let expected = if report.realtime.is_ok() { (1, SCHED_RR) } else { (0, 0) };
    assert_eq!((stat(&own, 40), stat(&own, 41)), expected, "{:?}", report.realtime);

    let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
    let child = String::from_utf8(child.stdout).unwrap();
    assert_eq!((stat(&child, 40), stat(&child, 41)), (0, 0), "a child is an ordinary process");

    assert_eq!(status_kb("VmLck") > 0, report.locked.is_ok(), "{:?}", report.locked);
    if report.locked.is_ok() {
        let (size, resident) = code_kb();
        assert!(size > 0);
        assert_eq!(resident, size, "code that a takeover might have to read from disk");
    }

    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(score.trim() == "-1000", report.spared.is_ok(), "{score} {:?}", report.spared);

    assert_eq!(report.timers, Ok(()));
    // Of this thread; a realtime thread has none at all since Linux 6.12 (timer slack is zeroed).
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let slack = fs::read_to_string(format!("/proc/{thread}/timerslack_ns")).unwrap();
    assert!(slack.trim().parse::<u64>().unwrap() <= TIMER_SLACK_NS, "{slack}");
}

#[test]
fn what_is_reported_is_what_the_kernel_shows() {
    if std::env::var_os(CHILD).is_some() {
        forget_code();
        let report = engage();
        for refusal in report.refusals() {
            println!("refused here: {refusal}");
        }
        compare_with_proc(&report);
        return;
    }
    let me = std::env::current_exe().unwrap();
    let out = Command::new(me)
        .args(["--exact", "what_is_reported_is_what_the_kernel_shows", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("1 passed"), "{said}");
    for refused in said.lines().filter(|line| line.contains("refused here")) {
        eprintln!("{refused}");
    }
}
