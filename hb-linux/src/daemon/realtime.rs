//! A daemon that runs when it must: realtime priority, memory that stays, no kill for want of memory.
//!
//! Each part is tried on its own, and none is required: what the kernel refuses is reported in words,
//! with the setting that would allow it, and the daemon runs without.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::{fmt, fs, io};

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Of 1 to 99: any realtime priority runs before all ordinary processes, and the lowest leaves the
/// kernel's own threads (interrupts at 50, watchdog petters, migration) before us.
pub const PRIORITY: i32 = 1;
/// Nanoseconds by which the kernel may delay a timer to bundle wake-ups; 50 µs unless told
/// (PR_SET_TIMERSLACK(2const)). Realtime threads have none anyway; this is for those that may not be.
pub const TIMER_SLACK_NS: u64 = 1000;
/// Stack that is touched before memory is locked, so that it is never faulted in later. Bytes.
const STACK: usize = 64 * 1024;

/// What was granted and what was not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// SCHED_RR.
    pub realtime: Result<(), Refusal>,
    /// mlockall.
    pub locked: Result<(), Refusal>,
    /// oom_score_adj −1000.
    pub spared: Result<(), Refusal>,
    /// Precise timers.
    pub timers: Result<(), Refusal>,
}

impl Report {
    /// What is missing, a sentence each, for the log.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        [&self.realtime, &self.locked, &self.spared, &self.timers]
            .into_iter()
            .filter_map(|part| part.as_ref().err())
    }
}

/// What the kernel refused, and what would help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What the daemon goes without.
    pub what: &'static str,
    /// What would allow it.
    pub remedy: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}); {}", self.what, self.errno, self.remedy)
    }
}

/// Keeps the out-of-memory killer away from this process and from children started later.
///
/// Before anything else at start-up. It reads and writes a file in /proc.
///
/// # Errors
/// Lowering the score takes CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)).
pub fn spare_from_oom_killer() -> Result<(), Refusal> {
    fs::write("/proc/self/oom_score_adj", "-1000").map_err(|error| Refusal {
        what: "the kernel may kill this process when memory runs out",
        remedy: "it takes CAP_SYS_RESOURCE, which a container may withhold from root; or set \
                 OOMScoreAdjust=-1000 in the unit",
        errno: errno_of(&error),
    })
}

/// Undoes [`spare_from_oom_killer`] in a process that runs other people's programs: a resource script
/// and the service that it starts must not inherit the exemption.
///
/// # Errors
/// What the kernel answered; raising the score takes no right.
pub fn accept_oom_killer() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "0")
}

/// All of it, in the order that works. After the helper process was started and everything that the
/// loop needs was allocated; from one thread, which then runs the loop.
pub fn engage() -> Report {
    let spared = spare_from_oom_killer();
    let timers = precise_timers();
    touch_stack();
    let locked = lock_memory();
    let realtime = sched::round_robin(PRIORITY).map_err(|errno| Refusal {
        what: "no realtime priority: on a busy machine heartbeats may be late",
        remedy: "it takes CAP_SYS_NICE (root), or LimitRTPRIO=1 in the unit; with realtime group \
                 scheduling (cgroup v1) also a cpu.rt_runtime_us",
        errno,
    });
    Report { realtime, locked, spared, timers }
}

fn precise_timers() -> Result<(), Refusal> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS)).map_err(|errno| {
        Refusal { what: "timers may be 50 µs late", remedy: "nothing needs to be done", errno }
    })
}

/// Locks what is mapped and what will be, each page from its first use on.
///
/// MCL_ONFAULT and not everything at once: every page of libc and of the unused heap would count as
/// resident otherwise (about 1 MB more). The program itself is read in whole, see [`page_in`].
///
/// Under a finite RLIMIT_MEMLOCK nothing is locked: once the limit is reached, MCL_FUTURE makes every
/// allocation fail (mlockall(2)), and a daemon that aborts is worse than one that is paged out.
fn lock_memory() -> Result<(), Refusal> {
    let refusal = |errno| Refusal {
        what: "memory is not locked: a machine that swaps may delay heartbeats",
        remedy: "it takes CAP_IPC_LOCK (root), or LimitMEMLOCK=infinity in the unit",
        errno,
    };
    let limited = getrlimit(Resource::Memlock).current.is_some();
    let exempt =
        capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::IPC_LOCK));
    if limited && !exempt {
        return Err(refusal(Errno::NOMEM));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(refusal)?;
    page_in(&own_mappings().map_err(|error| refusal(errno_of(&error)))?)
        .map_err(|error| refusal(errno_of(&error)))
}

/// Address ranges of this program's code and constants, by /proc/self/maps (proc_pid_maps(5)).
fn own_mappings() -> io::Result<Vec<Range<u64>>> {
    let inode = fs::metadata("/proc/self/exe")?.ino().to_string();
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(mappings_of(&maps, &inode))
}

fn mappings_of(maps: &str, inode: &str) -> Vec<Range<u64>> {
    // address-address perms offset dev inode path
    let mapping = |line: &str| {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let ours = fields.next()?.starts_with("r-") && fields.nth(2)? == inode;
        let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
        ours.then_some(range)
    };
    maps.lines().filter_map(mapping).collect()
}

/// Makes every page of `ranges` resident, and so locked.
///
/// What runs for the first time in a takeover must not be read from a disk then: it may be the disk
/// that is failing. Reading through /proc/self/mem maps the page as a read by the program itself would
/// (proc_pid_mem(5)).
fn page_in(ranges: &[Range<u64>]) -> io::Result<()> {
    let memory = fs::File::open("/proc/self/mem")?;
    let page = page_size() as u64;
    let mut byte = [0];
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            memory.read_exact_at(&mut byte, at)?;
            at += page;
        }
    }
    Ok(())
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Touches the stack as deep as the loop will ever need it; it is then mapped and, being mapped,
/// locked by `mlockall`.
#[inline(never)]
fn touch_stack() {
    black_box([1_u8; STACK]);
}

/// The one system call that no safe crate of ours offers.
#[allow(unsafe_code)]
mod sched {
    use rustix::io::Errno;

    /// SCHED_RR for this thread. Children start as ordinary processes (SCHED_RESET_ON_FORK): scripts
    /// must not inherit it. A loop gone wild is bounded by the kernel, which leaves ordinary processes
    /// 5 % of the time (sched_rt_runtime_us, sched(7)).
    pub(super) fn round_robin(priority: i32) -> Result<(), Errno> {
        // The kernel's `struct sched_param` is this one number; musl's has reserved ones behind it.
        let wanted: libc::c_int = priority;
        let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        // The bare system call, for musl's wrapper refuses (POSIX wants processes, Linux has threads).
        // SAFETY: `wanted` lives during the call, which only reads it; 0 is the calling thread.
        let done =
            unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const wanted) };
        if done == 0 {
            return Ok(());
        }
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_s_own_code_and_constants_are_paged_in() {
        let maps = "\
55d0c0000000-55d0c0004000 r--p 00000000 fe:00 4711                       /usr/sbin/heartbeatd
55d0c0004000-55d0c0009000 r-xp 00004000 fe:00 4711                       /usr/sbin/heartbeatd
55d0c0009000-55d0c000a000 rw-p 00009000 fe:00 4711                       /usr/sbin/heartbeatd
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 r-xp 00000000 fe:00 4712                       /usr/lib/libc.so.6
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";
        let ours = [0x55d0_c000_0000..0x55d0_c000_4000, 0x55d0_c000_4000..0x55d0_c000_9000];
        assert_eq!(mappings_of(maps, "4711"), ours);
    }

    #[test]
    fn accepting_the_oom_killer_takes_no_right() {
        accept_oom_killer().unwrap();
        assert_eq!(fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim(), "0");
    }

    #[test]
    fn refusals_say_what_and_how() {
        let no = |what| Err(Refusal { what, remedy: "run as root", errno: Errno::PERM });
        let report =
            Report { realtime: no("no priority"), locked: Ok(()), spared: Ok(()), timers: Ok(()) };
        let said: Vec<String> = report.refusals().map(ToString::to_string).collect();
        assert_eq!(said, ["no priority (Operation not permitted (os error 1)); run as root"]);
    }
}
