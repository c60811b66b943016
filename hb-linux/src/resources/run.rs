//! One script that is running.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::judge::judge;
use super::message::{Outcome, Step, Verb};
use super::output::{Capture, Output, pipe};
use super::process_group;
use super::script::{Environment, command_line, start};
use crate::log::Level;
use crate::log::file::Logs;

/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long SIGKILL may take before the process is reported as hanging in the kernel.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// How often to look where the kernel has no event to wait for: an emptied process group.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One order to run a script.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// `None`: the standing order's.
    pub ticket: Option<u32>,
    /// Which resource.
    pub step: Step,
    /// What for.
    pub verb: Verb,
}

/// How far an abort has come.
#[derive(Clone, Copy, Debug)]
enum Abort {
    No,
    /// SIGTERM is sent; SIGKILL follows then.
    Terminating(Instant),
    /// SIGKILL is sent; hope ends then.
    Killed(Instant),
}

/// A script between its start and its end.
#[derive(Debug)]
pub struct Running {
    /// What it runs for.
    pub order: Order,
    /// Standing order only: when it is aborted. Else the daemon keeps the time.
    pub deadline: Option<Instant>,
    /// As the log shows it.
    pub command: String,
    child: Child,
    group: Pid,
    /// Wakes the loop when the script exits; where the kernel has none (before 5.3) the loop looks
    /// every 20 ms.
    pidfd: Option<OwnedFd>,
    started: Instant,
    exit: Option<ExitStatus>,
    abort: Abort,
    output: Output,
    capture: Option<Capture>,
}

/// A script's end.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What its status says.
    pub held: Option<bool>,
    /// How long it took.
    pub duration: Duration,
    /// Its output, when something that it left behind can still write there.
    pub output: Option<Output>,
    /// Not reaped yet: [`Outcome::Stuck`].
    pub stuck: Option<Child>,
}

impl Running {
    /// Starts `path args… verb`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn start(
        order: Order,
        path: &Path,
        args: &[String],
        environment: &Environment,
    ) -> io::Result<Self> {
        let (reader, stderr) = pipe()?;
        // status: what it prints is evidence; what it complains about goes to the log.
        let (capture, stdout) = match order.verb {
            Verb::Status => pipe().map(|(reader, end)| (Some(Capture::new(reader)), end))?,
            Verb::Start | Verb::Stop => (None, stderr.try_clone()?),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let level = if order.verb == Verb::Status { Level::Debug } else { Level::Info };
        let child = start(path, args, order.verb, environment, stdout, stderr)?;
        let group = Pid::from_child(&child);
        Ok(Self {
            order,
            deadline: None,
            command: command_line(path, args, order.verb),
            group,
            pidfd: pidfd_open(group, PidfdFlags::empty()).ok(),
            child,
            started: Instant::now(),
            exit: None,
            abort: Abort::No,
            output: Output::new(reader, name.into_owned(), level),
            capture,
        })
    }

    /// Its process group.
    pub fn process_group(&self) -> i32 {
        self.group.as_raw_pid()
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let exited = self.exit.is_some();
        let pidfd = self.pidfd.as_ref().filter(|_| !exited).map(AsFd::as_fd);
        let capture = self.capture.as_ref().and_then(Capture::fd);
        pidfd.into_iter().chain(self.output.fd()).chain(capture)
    }

    /// When to call [`Running::advance`] even if nothing can be read.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let next = match self.abort {
            Abort::No => self.deadline,
            Abort::Terminating(at) | Abort::Killed(at) => Some(at),
        };
        let looking = match self.abort {
            Abort::No => self.pidfd.is_none(),
            Abort::Terminating(_) | Abort::Killed(_) => self.pidfd.is_none() || self.exit.is_some(),
        };
        let look = looking.then(|| now + LOOK_AGAIN);
        [next, look].into_iter().flatten().min()
    }

    /// Has an abort begun?
    pub fn aborting(&self) -> bool {
        !matches!(self.abort, Abort::No)
    }

    /// Sends SIGTERM to the whole process group; SIGKILL follows by itself.
    pub fn abort(&mut self, now: Instant) {
        if !self.aborting() {
            self.signal(Signal::TERM);
            self.abort = Abort::Terminating(now + TERM_GRACE);
        }
    }

    /// Reads output, notices the end, moves an abort on.
    pub fn advance(&mut self, now: Instant, logs: &mut Logs) -> Option<Ended> {
        self.output.pump(logs);
        if let Some(capture) = &mut self.capture {
            capture.pump();
        }
        if self.exit.is_none() {
            // An error here is ECHILD: nobody else waits for our children.
            self.exit = self.child.try_wait().ok().flatten();
        }
        if self.deadline.is_some_and(|at| now >= at) && self.exit.is_none() {
            self.abort(now);
        }
        let outcome = match (self.abort, self.exit) {
            (Abort::No, exit) => exit.map(outcome_of),
            (_, Some(_)) if process_group::is_empty(self.group) => Some(Outcome::Aborted),
            (Abort::Terminating(at), _) if now >= at => {
                self.signal(Signal::KILL);
                self.abort = Abort::Killed(now + KILL_GRACE);
                None
            }
            (Abort::Killed(at), _) if now >= at => Some(Outcome::Stuck),
            (Abort::Terminating(_) | Abort::Killed(_), _) => None,
        };
        outcome.map(|outcome| self.end(outcome, logs))
    }

    fn end(&mut self, outcome: Outcome, logs: &mut Logs) -> Ended {
        // Without a writer this pipe is at its end at once; the script's own output moves out.
        self.output.finish(logs);
        let held = self.capture.as_mut().and_then(|capture| {
            capture.pump();
            judge(capture.bytes(), outcome)
        });
        Ended { outcome, held, duration: self.started.elapsed(), output: None, stuck: None }
    }

    /// Gives away what outlives the script.
    pub fn into_remains(self, ended: &mut Ended) {
        ended.output = self.output.fd().is_some().then_some(self.output);
        ended.stuck = self.exit.is_none().then_some(self.child);
    }

    /// The group's number can't go to anybody else: until the script is reaped it keeps it, and
    /// after that we only come here when [`process_group::is_empty`] has just said no.
    fn signal(&self, signal: Signal) {
        // ESRCH: it has ended by itself.
        let _ = kill_process_group(self.group, signal);
    }
}

fn outcome_of(status: ExitStatus) -> Outcome {
    let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exit(small(code)),
        (None, signal) => Outcome::Signal(small(signal.unwrap_or_default())),
    }
}
