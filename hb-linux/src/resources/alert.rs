//! The operator's alert script: run once for each alert, one at a time, never for long.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::message::AlertKind;
use super::process::Process;
use super::script::Environment;
use crate::log::Level;
use crate::log::file::Logs;

/// Alerts that wait for the one under way. Each may take [`TIMEOUT`], and they are rare: the daemon lets a few of
/// each kind through in a minute.
const MAX_WAITING: usize = 16;
/// How long a script may take before it is asked to end …
const TIMEOUT: Duration = Duration::from_secs(10);
/// … and before it is killed.
const GRACE: Duration = Duration::from_secs(1);
/// Scripts that hang in the kernel, such as on a file server that is gone: beyond these nothing is started.
const MAX_KILLED: usize = 4;

/// What is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Alert {
    kind: AlertKind,
    subject: String,
    text: String,
}

/// A script that runs.
#[derive(Debug)]
struct Running {
    process: Process,
    kind: AlertKind,
    /// When it is asked to end, or killed.
    patience_until: Instant,
    asked: bool,
}

/// The script and what it has to do.
#[derive(Debug, Default)]
pub struct Alerts {
    script: Option<PathBuf>,
    peer: String,
    waiting: VecDeque<Alert>,
    running: Option<Running>,
    /// Killed, and not gone yet: what hangs in the kernel takes its signals later.
    killed: Vec<Process>,
}

impl Alerts {
    /// With this script, or none; `peer` is the other node's name.
    pub fn new(script: Option<PathBuf>, peer: &str) -> Self {
        Self { script, peer: peer.to_owned(), ..Self::default() }
    }

    /// Queues one.
    pub fn raise(&mut self, kind: AlertKind, subject: &str, text: &str, logs: &mut Logs) {
        if self.script.is_none() {
            return;
        }
        if self.waiting.len() == MAX_WAITING {
            let text = format!("alert {} is not sent: {MAX_WAITING} others wait", kind.word());
            return logs.say(Level::Warn, &text);
        }
        self.waiting.push_back(Alert { kind, subject: subject.to_owned(), text: text.to_owned() });
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let running = self.running.iter().map(|running| &running.process);
        running.chain(&self.killed).flat_map(Process::fds)
    }

    /// When to call [`Alerts::advance`] even if nothing can be read.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let killed = self.killed.iter().filter_map(|process| process.wake_at(now));
        let next = match &self.running {
            None => (!self.waiting.is_empty() && self.killed.len() < MAX_KILLED).then_some(now),
            Some(running) => {
                running.process.wake_at(now).into_iter().chain([running.patience_until]).min()
            }
        };
        killed.chain(next).min()
    }

    /// Notices the end of a script, ends one that takes too long, starts the next.
    pub fn advance(&mut self, now: Instant, environment: &Environment, logs: &mut Logs) {
        self.killed.retain_mut(|process| process.look(logs).is_none());
        if let Some(mut running) = self.running.take() {
            match running.look(now, logs) {
                Look::Runs => self.running = Some(running),
                Look::Ended => {}
                Look::Killed => self.killed.push(running.process),
            }
        }
        if self.running.is_some() || self.killed.len() >= MAX_KILLED {
            return;
        }
        let Some(script) = &self.script else { return };
        let Some(alert) = self.waiting.pop_front() else { return };
        let kind = alert.kind;
        let mut command = Command::new(script);
        command.env_clear().envs(environment.variables());
        command.args([kind.word(), &alert.subject, &alert.text]);
        command.env("HA_ALERT", kind.word()).env("HA_SUBJECT", &alert.subject);
        command.env("HA_TEXT", &alert.text).env("HA_PEER", &self.peer);
        match Process::start(&mut command, format!("alert {}", kind.word())) {
            Ok(process) => {
                let text = format!("alert {}: running {}", kind.word(), script.display());
                logs.say(Level::Info, &text);
                let patience_until = now + TIMEOUT;
                self.running = Some(Running { process, kind, patience_until, asked: false });
            }
            Err(error) => {
                let text =
                    format!("alert {}: {} can't be run: {error}", kind.word(), script.display());
                logs.say(Level::Error, &text);
            }
        }
    }
}

/// What became of a script.
enum Look {
    Runs,
    Ended,
    /// It took too long; its end is not waited for.
    Killed,
}

impl Running {
    fn look(&mut self, now: Instant, logs: &mut Logs) -> Look {
        let word = self.kind.word();
        if let Some(status) = self.process.look(logs) {
            if !status.success() {
                logs.say(Level::Error, &format!("alert {word}: its script failed ({status})"));
            }
            return Look::Ended;
        }
        if now < self.patience_until {
            return Look::Runs;
        }
        if self.asked {
            self.process.signal(Signal::KILL);
            return Look::Killed;
        }
        let text = format!(
            "alert {word}: its script takes longer than {} s, being killed",
            TIMEOUT.as_secs()
        );
        logs.say(Level::Error, &text);
        self.process.signal(Signal::TERM);
        (self.asked, self.patience_until) = (true, now + GRACE);
        Look::Runs
    }
}
