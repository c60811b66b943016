//! The helper process itself: one thread, one poll loop.

mod dead_mans_order;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hb_proto::config::MAX_GROUPS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};
use signal_hook::consts::signal;

use super::alert::Alerts;
use super::companion::Companion;
use super::message::{
    FromHelper, MAX_MESSAGE, Outcome, Setup, Step, Steps, ToHelper, Verb, What, decode, encode,
};
use super::output::Output;
use super::run::{Ended, Order, Running};
use super::script::{Environment, command_line, find};
use crate::config::{AuthKeys, Severity};
use crate::log::Level;
use crate::log::file::Logs;

/// Orders that wait for their turn in one group; a standing order must fit.
const MAX_QUEUED: usize = 2 * hb_proto::config::MAX_RESOURCES;
/// Answers that the daemon hasn't read; beyond them no further order is read.
const MAX_UNREAD: usize = 64;
/// Messages read before scripts are looked after again: a flood of log lines delays no `Done`.
const MESSAGES_A_TURN: usize = 64;
/// Services that go on writing to the output of the script that started them.
const MAX_LINGERING: usize = 32;
/// Shortest time between two reports of lost log lines.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Takes a service address off this node.
pub type Release<'a> = &'a mut dyn FnMut(IpAddr) -> io::Result<()>;

/// The helper's `main`, on the socket that is its standard input; returns when the daemon is gone.
///
/// `release` takes one address off this node; the dead man's order alone calls it.
pub fn helper_main(release: Release<'_>) -> ExitCode {
    let socket = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_type(socket) != Ok(SocketType::SEQPACKET) {
        eprintln!("{} is for heartbeatd's own use", super::HELPER_ARGUMENT);
        return ExitCode::FAILURE;
    }
    let rotated = match become_ordinary() {
        Ok(rotated) => rotated,
        Err(error) => {
            eprintln!("heartbeat's helper can't set itself up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut worker = Worker::new(socket, Logs::new(stderr_is_read()));
    while worker.daemon != Daemon::Gone {
        worker.turn();
        if rotated.swap(false, Ordering::Relaxed) {
            worker.logs.check_now();
        }
    }
    let exit = worker.carry_out_standing_order(release);
    for companion in std::mem::take(&mut worker.companions) {
        companion.end(&mut worker.logs);
    }
    exit
}

/// An ordinary process, whatever started the daemon: own session, signals handled, umask, directory.
///
/// Signals are handled rather than ignored so that scripts get them as default (execve(2)). The
/// helper survives those that are sent to a whole service at its end, for its work begins there.
/// Returns the flag that SIGHUP raises.
fn become_ordinary() -> io::Result<Arc<AtomicBool>> {
    // EPERM: leads a session already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    std::env::set_current_dir("/")?;
    // Scripts start services; those must not inherit the daemon's privilege over the OOM killer.
    // Not permitted or no /proc: then there was nothing to inherit.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let ignored = Arc::new(AtomicBool::new(false));
    for number in [
        signal::SIGTERM,
        signal::SIGINT,
        signal::SIGQUIT,
        signal::SIGUSR1,
        signal::SIGUSR2,
        signal::SIGALRM,
        signal::SIGCHLD,
        signal::SIGTSTP,
        signal::SIGTTIN,
        signal::SIGTTOU,
    ] {
        signal_hook::flag::register(number, Arc::clone(&ignored))?;
    }
    let rotated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal::SIGHUP, Arc::clone(&rotated))?;
    Ok(rotated)
}

/// False when stderr is /dev/null or closed: no need to format lines for it.
fn stderr_is_read() -> bool {
    let stderr = rustix::fs::fstat(rustix::stdio::stderr());
    let null = rustix::fs::stat("/dev/null");
    match (stderr, null) {
        (Ok(stderr), Ok(null)) => stderr.st_rdev != null.st_rdev,
        (stderr, _) => stderr.is_ok(),
    }
}

/// One resource, as the daemon described it.
#[derive(Debug)]
enum Resource {
    Address(IpAddr),
    Script { script: String, args: Vec<String> },
}

#[derive(Debug, Default)]
struct Group {
    resources: Vec<Resource>,
    running: Option<Running>,
    queue: VecDeque<Order>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Daemon {
    Here,
    /// It said farewell; its last lines may follow.
    Leaving,
    Gone,
}

struct Worker<'fd> {
    socket: BorrowedFd<'fd>,
    daemon: Daemon,
    left_orderly: bool,
    logs: Logs,
    script_dirs: Vec<PathBuf>,
    environment: Environment,
    stop_timeout: Duration,
    config_dir: PathBuf,
    groups: [Group; MAX_GROUPS],
    standing: Steps,
    answers: VecDeque<FromHelper>,
    next_report: Instant,
    companions: Vec<Companion>,
    alerts: Alerts,
    lingering: VecDeque<Output>,
    stuck: Vec<Child>,
    /// A stop of the standing order failed.
    failed: bool,
}

impl<'fd> Worker<'fd> {
    fn new(socket: BorrowedFd<'fd>, logs: Logs) -> Self {
        Self {
            socket,
            daemon: Daemon::Here,
            left_orderly: false,
            logs,
            script_dirs: Vec::new(),
            environment: Environment::default(),
            stop_timeout: Duration::from_secs(60),
            config_dir: PathBuf::new(),
            groups: std::array::from_fn(|_| Group::default()),
            standing: Steps::new(),
            answers: VecDeque::new(),
            next_report: Instant::now(),
            companions: Vec::new(),
            alerts: Alerts::default(),
            lingering: VecDeque::new(),
            stuck: Vec::new(),
            failed: false,
        }
    }

    /// Waits for something to do and does it.
    fn turn(&mut self) {
        self.wait();
        self.read_orders();
        self.look_after_scripts();
        self.report_lost_lines();
        self.send_answers();
    }

    fn wait(&self) {
        let now = Instant::now();
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, self.answers.len() < MAX_UNREAD);
        events.set(PollFlags::OUT, !self.answers.is_empty());
        let running = || self.groups.iter().filter_map(|group| group.running.as_ref());
        let pipes = self.lingering.iter().filter_map(Output::fd);
        let beside = self.companions.iter().flat_map(Companion::fds).chain(self.alerts.fds());
        let mut fds: Vec<PollFd<'_>> = running()
            .flat_map(Running::fds)
            .chain(pipes)
            .chain(beside)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        if self.daemon != Daemon::Gone {
            fds.push(PollFd::from_borrowed_fd(self.socket, events));
        }
        let report =
            (self.logs.has_lost() && self.daemon == Daemon::Here).then_some(self.next_report);
        let beside = self.companions.iter().filter_map(|companion| companion.wake_at(now));
        let beside = beside.chain(self.alerts.wake_at(now));
        let wake =
            running().filter_map(|running| running.wake_at(now)).chain(report).chain(beside).min();
        let timeout = wake.map(|at| {
            let span = at.saturating_duration_since(now);
            // Rounding up by a millisecond saves a turn that comes too early.
            let span = span + Duration::from_millis(1);
            Timespec {
                tv_sec: span.as_secs().cast_signed(),
                tv_nsec: i64::from(span.subsec_nanos()),
            }
        });
        // EINTR: a signal; the turn that follows finds what it was about.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn read_orders(&mut self) {
        let mut packet = [0; MAX_MESSAGE];
        for _ in 0..MESSAGES_A_TURN {
            if self.daemon == Daemon::Gone || self.answers.len() >= MAX_UNREAD {
                return;
            }
            match recv(self.socket, &mut packet, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.left_orderly = self.daemon == Daemon::Leaving;
                    self.daemon = Daemon::Gone;
                }
                Ok((n, _)) => match decode(&packet[..n]) {
                    Ok(message) => self.handle(message),
                    Err(error) => {
                        let text = format!("unreadable order of {n} bytes to the helper: {error}");
                        self.logs.say(Level::Error, &text);
                    }
                },
                // ECONNRESET: it left answers unread; what it had said before still comes (unix(7)).
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, message: ToHelper<'_>) {
        match message {
            ToHelper::Setup(setup) => self.set_up(&setup),
            ToHelper::Group { group, resources } => {
                if let Some(group) = self.groups.get_mut(usize::from(group)) {
                    group.resources = resources.iter().map(Resource::from).collect();
                }
            }
            ToHelper::Run { ticket, step, verb } => {
                self.enqueue(Order { ticket: Some(ticket), step, verb });
            }
            ToHelper::Abort { ticket } => self.abort(ticket),
            ToHelper::Log { level, at, text } => self.logs.write(level, at, text),
            ToHelper::Alert { kind, subject, text } => {
                self.alerts.raise(kind, subject, text, &mut self.logs);
            }
            ToHelper::ReadKeys => self.read_keys(),
            ToHelper::StandingOrder(steps) => self.standing = steps,
            ToHelper::Farewell => self.daemon = Daemon::Leaving,
        }
    }

    fn set_up(&mut self, setup: &Setup<'_>) {
        self.script_dirs = setup.script_dirs.iter().map(PathBuf::from).collect();
        self.environment =
            Environment::new(setup.node, setup.config_dir, setup.logfile, setup.debugfile);
        self.stop_timeout = Duration::from_millis(setup.stop_timeout_ms.into());
        setup.config_dir.clone_into(&mut self.config_dir);
        self.logs.open(setup.logfile, setup.debugfile);
        let now = Instant::now();
        self.alerts = Alerts::new(setup.alert.map(PathBuf::from), setup.peer);
        self.companions = setup.companions.iter().map(|each| Companion::new(each, now)).collect();
    }

    /// Files are for this process: the daemon's loop waits for no disk.
    fn read_keys(&mut self) {
        let (keys, remarks) = AuthKeys::read(&self.config_dir);
        for remark in &remarks {
            let level = match remark.severity {
                Severity::Note => Level::Info,
                Severity::Warning => Level::Warn,
                Severity::Error => Level::Error,
            };
            self.logs.say(level, &remark.to_string());
        }
        let errors = remarks.iter().filter(|remark| remark.severity == Severity::Error).count();
        let mut keys = keys.ok_or(u32::try_from(errors).unwrap_or(u32::MAX));
        if encode(&FromHelper::Keys(keys.clone()), &mut [0; MAX_MESSAGE]).is_err() {
            let text = format!(
                "authkeys: its secrets take more than {MAX_MESSAGE} bytes together: they can only be read at a \
                 restart; `hb keygen` makes shorter ones"
            );
            self.logs.say(Level::Error, &text);
            keys = Err(1);
        }
        self.answers.push_back(FromHelper::Keys(keys));
    }

    fn enqueue(&mut self, order: Order) {
        let Some(group) = self.groups.get_mut(usize::from(order.step.group)) else {
            return self.refuse(order, Errno::INVAL, "no such group");
        };
        if group.queue.len() >= MAX_QUEUED {
            return self.refuse(order, Errno::AGAIN, "too many orders are waiting in its group");
        }
        group.queue.push_back(order);
    }

    fn abort(&mut self, ticket: u32) {
        for group in &mut self.groups {
            if let Some(running) = &mut group.running
                && running.order.ticket == Some(ticket)
            {
                let text = format!("Giving up on {}: killing its process group", running.command);
                self.logs.say(Level::Warn, &text);
                running.abort(Instant::now());
            }
            if let Some(at) = group.queue.iter().position(|order| order.ticket == Some(ticket)) {
                group.queue.remove(at);
                self.answers.push_back(FromHelper::Done {
                    ticket,
                    outcome: Outcome::Aborted,
                    held: None,
                    duration_ms: 0,
                });
            }
        }
    }

    fn look_after_scripts(&mut self) {
        let now = Instant::now();
        for number in 0..self.groups.len() {
            let group = &mut self.groups[number];
            if let Some(mut running) = group.running.take() {
                match running.advance(now, &mut self.logs) {
                    None => group.running = Some(running),
                    Some(ended) => self.finish(running, ended),
                }
            }
            while self.groups[number].running.is_none()
                && let Some(order) = self.groups[number].queue.pop_front()
            {
                self.start(order);
            }
        }
        for companion in &mut self.companions {
            companion.advance(now, &mut self.logs);
        }
        self.alerts.advance(now, &self.environment, &mut self.logs);
        for output in &mut self.lingering {
            output.pump(&mut self.logs);
        }
        self.lingering.retain(|output| output.fd().is_some());
        self.stuck.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn start(&mut self, order: Order) {
        let resources = &self.groups[usize::from(order.step.group)].resources;
        let (script, args) = match resources.get(usize::from(order.step.resource)) {
            Some(Resource::Script { script, args }) => (script, args),
            Some(Resource::Address(ip)) => {
                let why = format!("{ip} is an address: no script stands behind it");
                return self.refuse(order, Errno::INVAL, &why);
            }
            None => return self.refuse(order, Errno::INVAL, "no such resource"),
        };
        let path = match find(script, &self.script_dirs) {
            Ok(path) => path,
            Err(problem) => return self.refuse(order, problem.errno, &problem.message),
        };
        let command = command_line(&path, args, order.verb);
        // As the classics do: a monitored status would fill the log.
        let level = if order.verb == Verb::Status { Level::Debug } else { Level::Info };
        self.logs.say(level, &format!("Running {command}"));
        match Running::start(order, &path, args, &self.environment) {
            Ok(mut running) => {
                if order.ticket.is_none() {
                    running.deadline = Some(Instant::now() + self.stop_timeout);
                }
                if let Some(ticket) = order.ticket {
                    let group = running.process_group();
                    self.answers.push_back(FromHelper::Started { ticket, group });
                }
                self.groups[usize::from(order.step.group)].running = Some(running);
            }
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                let hint = if errno == Errno::NOEXEC {
                    "; a script's first line must name its interpreter: #!/bin/sh"
                } else {
                    ""
                };
                self.refuse(order, errno, &format!("can't run {command}: {error}{hint}"));
            }
        }
    }

    /// An order that never became a process.
    fn refuse(&mut self, order: Order, errno: Errno, why: &str) {
        let Step { group, resource } = order.step;
        let verb = order.verb.word();
        self.logs.say(
            Level::Error,
            &format!("no {verb} of resource {resource} in group {group}: {why}"),
        );
        let outcome = Outcome::SpawnFailed(errno.raw_os_error());
        self.answer(order, outcome, None, Duration::ZERO);
    }

    fn finish(&mut self, running: Running, mut ended: Ended) {
        let (order, command) = (running.order, running.command.clone());
        running.into_remains(&mut ended);
        match ended.outcome {
            Outcome::Exit(code) if code != 0 && order.verb != Verb::Status => {
                self.logs.say(Level::Error, &format!("Return code {code} from {command}"));
            }
            Outcome::Signal(number) => {
                self.logs.say(Level::Error, &format!("Signal {number} ended {command}"));
            }
            Outcome::Stuck => {
                let text = format!("{command} hangs in the kernel: SIGKILL had no effect");
                self.logs.say(Level::Crit, &text);
            }
            Outcome::Exit(_) | Outcome::SpawnFailed(_) | Outcome::Aborted => {}
        }
        if let Some(output) = ended.output {
            // Closed, it would kill the service with SIGPIPE at its next line.
            if self.lingering.len() == MAX_LINGERING {
                self.logs.say(Level::Warn, "too many services write to their script's output");
                self.lingering.pop_front();
            }
            self.lingering.push_back(output);
        }
        self.stuck.extend(ended.stuck);
        self.answer(order, ended.outcome, ended.held, ended.duration);
    }

    fn answer(&mut self, order: Order, outcome: Outcome, held: Option<bool>, took: Duration) {
        let Some(ticket) = order.ticket else {
            self.failed |= outcome != Outcome::Exit(0);
            return;
        };
        let duration_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        self.answers.push_back(FromHelper::Done { ticket, outcome, held, duration_ms });
    }

    fn report_lost_lines(&mut self) {
        if self.logs.has_lost() && Instant::now() >= self.next_report {
            self.next_report = Instant::now() + REPORT_EVERY;
            let lines = self.logs.take_lost();
            self.answers.push_back(FromHelper::LogDropped { lines });
        }
    }

    fn send_answers(&mut self) {
        let mut packet = [0; MAX_MESSAGE];
        while self.daemon != Daemon::Gone
            && let Some(answer) = self.answers.front()
        {
            // Keys that are too long were not queued; all else is under 20 bytes.
            let Ok(bytes) = encode(answer, &mut packet) else { return };
            match send(self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => drop(self.answers.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody is left to answer; reading on will find the end.
                Err(_) => self.answers.clear(),
            }
        }
    }
}

impl From<&What<'_>> for Resource {
    fn from(what: &What<'_>) -> Self {
        match what {
            What::Address(ip) => Self::Address(*ip),
            What::Script { script, args } => Self::Script {
                script: (*script).to_owned(),
                args: args.iter().map(|&arg| arg.to_owned()).collect(),
            },
        }
    }
}
