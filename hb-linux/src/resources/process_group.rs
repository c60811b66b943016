//! Is anything of a process group still alive?

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};

/// True when no living process belongs to `group`.
///
/// Zombies don't count: they wait for whoever is process 1, which in a container may never look.
/// kill(2) can't tell them apart, so /proc is asked when it says that somebody is there. Unreadable,
/// /proc leaves the answer at "not empty".
pub fn is_empty(group: Pid) -> bool {
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return true;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    !processes.flatten().any(|process| {
        // A process that has just gone, or a file that isn't a process.
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { return false };
        member(&stat).is_some_and(|(of, alive)| of == group.as_raw_nonzero().get() && alive)
    })
}

/// (process group, lives) from a line of /proc/PID/stat; see proc_pid_stat(5).
fn member(stat: &str) -> Option<(i32, bool)> {
    // The name before the last parenthesis may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let threads: u32 = fields.nth(14)?.parse().ok()?;
    // The first thread of a process may be gone while others hang on.
    Some((group, !matches!(state, "Z" | "X") || threads > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read() {
        let line = |state, threads| {
            format!(
                "4711 (odd ) name) {state} 1 4700 4699 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} \
                 0 9 10"
            )
        };
        assert_eq!(member(&line("S", 1)), Some((4700, true)));
        assert_eq!(member(&line("Z", 1)), Some((4700, false)));
        assert_eq!(member(&line("Z", 2)), Some((4700, true)));
        assert_eq!(member("gibberish"), None);
    }

    #[test]
    fn ones_own_group_is_not_empty_and_a_zombie_is_nobody() {
        assert!(!is_empty(rustix::process::getpgrp()));
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("true").process_group(0).spawn().unwrap();
        let group = Pid::from_child(&child);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_empty(group) {
            assert!(std::time::Instant::now() < end, "a zombie counts as alive");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(test_kill_process_group(group).is_ok(), "it wasn't a zombie: nothing was tested");
        child.wait().unwrap();
    }
}
