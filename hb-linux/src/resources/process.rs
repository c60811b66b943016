//! A process of the helper's that is no resource script: its end, its output, its process group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::output::{Output, pipe};
use crate::log::Level;
use crate::log::file::Logs;

/// Where the kernel has no event for a process's end (before 5.3) it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    pidfd: Option<OwnedFd>,
    output: Output,
}

impl Process {
    /// Starts `command` in a process group of its own; what it prints goes to the log behind `speaker`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn start(command: &mut Command, speaker: String) -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        let child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
        let group = Pid::from_child(&child);
        let pidfd = pidfd_open(group, PidfdFlags::empty()).ok();
        Ok(Self { child, group, pidfd, output: Output::new(reader, speaker, Level::Info) })
    }

    /// Its process id, which is its process group's.
    pub const fn id(&self) -> i32 {
        self.group.as_raw_pid()
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd).into_iter().chain(self.output.fd())
    }

    /// When to look at it even if nothing can be read.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.pidfd.is_none().then(|| now + LOOK_AGAIN)
    }

    /// Reads its output; how it ended, once it has.
    pub fn look(&mut self, logs: &mut Logs) -> Option<ExitStatus> {
        self.output.pump(logs);
        // An error here is ECHILD: nobody else waits for our children.
        let status = self.child.try_wait().ok().flatten()?;
        self.output.finish(logs);
        Some(status)
    }

    /// To its whole process group. It keeps its number until it is reaped.
    pub fn signal(&self, signal: Signal) {
        // ESRCH: it has ended by itself.
        let _ = kill_process_group(self.group, signal);
    }
}
