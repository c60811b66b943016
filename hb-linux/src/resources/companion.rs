//! Programs that run beside the daemon for as long as it runs, such as pppd: started, ended and started again.

use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::message::Companion as Described;
use super::process::Process;
use crate::log::Level;
use crate::log::file::Logs;

/// The hidden first argument that makes the daemon's binary the start of a companion.
pub const COMPANION_ARGUMENT: &str = "--resource-companion";

/// One that ended is started again so soon, and then twice as late each time …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this. A serial line that somebody plugs in again is used half a minute later at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// One that ran for so long has worked: the pauses begin anew.
const WORKED: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL. pppd tells its peer meanwhile (RFC 1661 §5.5).
const GRACE: Duration = Duration::from_secs(2);

/// One companion.
#[derive(Debug)]
pub struct Companion {
    name: String,
    command: Vec<String>,
    running: Option<Running>,
    /// When it is started, while it doesn't run.
    start_at: Instant,
    pause: Duration,
}

#[derive(Debug)]
struct Running {
    process: Process,
    since: Instant,
}

impl Companion {
    /// To be started at once.
    pub fn new(described: &Described<'_>, now: Instant) -> Self {
        let command = std::iter::once(&described.program).chain(&described.args);
        Self {
            name: described.name.to_owned(),
            command: command.map(|&word| word.to_owned()).collect(),
            running: None,
            start_at: now,
            pause: FIRST_PAUSE,
        }
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().flat_map(|running| running.process.fds())
    }

    /// When to call [`Companion::advance`] even if nothing can be read.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        match &self.running {
            None => Some(self.start_at),
            Some(running) => running.process.wake_at(now),
        }
    }

    /// Reads output, notices the end, starts again when it is time.
    pub fn advance(&mut self, now: Instant, logs: &mut Logs) {
        if let Some(running) = &mut self.running {
            let Some(status) = running.process.look(logs) else { return };
            if now.saturating_duration_since(running.since) >= WORKED {
                self.pause = FIRST_PAUSE;
            }
            self.running = None;
            self.put_off(now, &ended(&self.command, status), logs);
        }
        if now >= self.start_at {
            self.start(now, logs);
        }
    }

    fn put_off(&mut self, now: Instant, why: &str, logs: &mut Logs) {
        self.start_at = now + self.pause;
        let text = format!("{}: {why}; started again in {} s", self.name, self.pause.as_secs());
        logs.say(Level::Warn, &text);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn start(&mut self, now: Instant, logs: &mut Logs) {
        let mut command = Command::new("/proc/self/exe");
        command.arg(COMPANION_ARGUMENT).arg(std::process::id().to_string()).args(&self.command);
        command.env_clear().env("PATH", super::script::SCRIPT_PATH);
        let program = self.command.first().and_then(|path| path.rsplit('/').next());
        match Process::start(&mut command, program.unwrap_or_default().to_owned()) {
            Ok(process) => {
                logs.say(
                    Level::Info,
                    &format!("{}: started (process {})", self.name, process.id()),
                );
                self.running = Some(Running { process, since: now });
            }
            Err(error) => self.put_off(now, &format!("can't be started: {error}"), logs),
        }
    }

    /// Asks it to end, and sees to it; waits 2 s at most.
    pub fn end(mut self, logs: &mut Logs) {
        let Some(Running { mut process, .. }) = self.running.take() else { return };
        process.signal(Signal::TERM);
        let killed_at = Instant::now() + GRACE;
        while process.look(logs).is_none() {
            if Instant::now() >= killed_at {
                logs.say(Level::Warn, &format!("{}: did not end when asked to, killed", self.name));
                process.signal(Signal::KILL);
                // What hangs in the kernel is not waited for.
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The process that becomes the companion: it ends with the helper, however that ends (prctl(2),
/// PR_SET_PDEATHSIG). The first argument is the helper's number. Returns only if it can't.
#[must_use]
pub fn companion_main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2);
    let helper = arguments.next().and_then(|number| number.to_str()?.parse().ok());
    let (Some(helper), Some(program)) = (helper.and_then(Pid::from_raw), arguments.next()) else {
        eprintln!("{COMPANION_ARGUMENT} is for heartbeatd's own use");
        return ExitCode::FAILURE;
    };
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("it would outlive heartbeatd: {errno}");
        return ExitCode::FAILURE;
    }
    // A helper that ended before that call sends no signal any more.
    if getppid() != Some(helper) {
        eprintln!("not started: the helper has ended");
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("{}: {error}", program.display());
    ExitCode::FAILURE
}

/// How it ended, in words; pppd's own where it was pppd (pppd(8), EXIT STATUS).
fn ended(command: &[String], status: ExitStatus) -> String {
    let is_pppd = command.first().is_some_and(|path| path.ends_with("pppd"));
    match (status.code(), status.signal()) {
        (Some(code), _) => match pppd_says(code).filter(|_| is_pppd) {
            Some(words) => format!("ended (code {code}: {words})"),
            None => format!("ended (code {code})"),
        },
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    }
}

const fn pppd_says(code: i32) -> Option<&'static str> {
    Some(match code {
        0 => "the other end closed the link",
        1 => "a fatal error",
        2 => "an option is wrong: see ppp-options",
        4 => "this kernel has no PPP: modprobe ppp_async",
        5 => "it was told to end",
        6 => "the serial port is locked by another program",
        7 => "the serial port can't be opened",
        10 => {
            "the two ends did not agree: their addresses, or a line that is no ppp-udp line on the other node"
        }
        15 => "the other end no longer answers",
        16 => "the line hung up",
        17 => "the line is looped back: it hears itself",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pppds_codes_become_words_and_others_stay_numbers() {
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        let pppd = ["/usr/sbin/pppd".to_owned()];
        assert!(ended(&pppd, code(15)).contains("no longer answers"));
        assert_eq!(ended(&pppd, code(99)), "ended (code 99)");
        assert_eq!(ended(&["/bin/false".to_owned()], code(15)), "ended (code 15)");
        assert_eq!(ended(&pppd, ExitStatus::from_raw(9)), "ended by signal 9");
    }
}
