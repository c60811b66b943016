//! The daemon's ends of both sockets.
//!
//! Everything hangs on one inner epoll instance, so the daemon's loop watches one descriptor
//! ([`Server::as_fd`]; epoll(7): an epoll descriptor is itself pollable) and one deadline:
//!
//! ```text
//! on readiness     server.handle_ready(now)
//! on its deadline  server.handle_timeout(now)
//! after either     if server.wants_snapshot() { server.send_snapshot(&snapshot) }
//!                  while let Some((ticket, command)) = server.poll_command() { server.reply(ticket, …) }
//! then sleep until server.poll_timeout()
//! ```
//!
//! Anybody may connect to the observe socket, so a hostile client is the normal case. What one can
//! cost is bounded: [`CONNECTIONS_MAX`] connections a socket, each for [`CONNECTION_TIME`] at most;
//! [`CONNECTIONS_MAX`] accepted in [`ACCEPT_WINDOW`], after which the listener isn't watched until the
//! window ends (the queue in the kernel bounds the rest); one read of at most [`LINE_MAX`] bytes a
//! connection and wake-up; one serialisation a wake-up however many ask.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use hb_proto::time::{Duration, Instant};
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use rustix::time::Timespec;

use super::bind::{self, BindError, Bound};
use super::snapshot::Snapshot;
use super::{Command, CommandError, LINE_MAX, Reply};

/// Connections that a socket keeps at a time, and accepts in one [`ACCEPT_WINDOW`].
pub const CONNECTIONS_MAX: usize = 8;
/// How long a client may take, from its acceptance to the last byte.
pub const CONNECTION_TIME: Duration = Duration::from_millis(500);
/// See [`CONNECTIONS_MAX`]: 80 clients a second are served, a flood gets no more.
pub const ACCEPT_WINDOW: Duration = Duration::from_millis(100);

/// Epoll's data for the two listeners; connections count from [`FIRST_OBSERVER`] and [`FIRST_CALLER`].
const OBSERVE_LISTENER: u64 = 0;
const CONTROL_LISTENER: u64 = 1;
const FIRST_OBSERVER: u64 = 16;
const FIRST_CALLER: u64 = 32;
/// Every descriptor that can be ready at once.
const EVENTS_MAX: usize = 2 + 2 * CONNECTIONS_MAX;

/// The place of one command's answer. Neither Copy nor Clone: one command, one reply.
#[derive(Debug)]
#[must_use = "the client waits for its reply"]
pub struct Ticket {
    slot: usize,
    serial: u64,
}

/// What the server has seen since it was bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Snapshots handed over completely.
    pub snapshots: u64,
    /// Commands answered.
    pub commands: u64,
    /// Lines that were no command, and callers who weren't root.
    pub refused: u64,
    /// Connections closed before they were served: too slow, or gone.
    pub dropped: u64,
}

/// A listening socket that is watched only while a connection could be served.
struct Gate {
    listener: OwnedFd,
    data: u64,
    watched: bool,
    accepted: usize,
    window_ends: Instant,
}

impl Gate {
    fn new(listener: OwnedFd, data: u64, epoll: &OwnedFd) -> io::Result<Self> {
        epoll::add(epoll, &listener, EventData::new_u64(data), EventFlags::IN)?;
        Ok(Self { listener, data, watched: true, accepted: 0, window_ends: Instant::ZERO })
    }

    /// The next waiting connection, unless there is none or the window is used up.
    fn accept(&mut self, now: Instant) -> Option<OwnedFd> {
        if self.accepted == 0 {
            self.window_ends = now + ACCEPT_WINDOW;
        }
        // Twice the allowance: a client that hangs up while queued costs an attempt, not an answer.
        for _ in 0..2 * CONNECTIONS_MAX {
            if self.accepted >= CONNECTIONS_MAX {
                return None;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(stream) => {
                    self.accepted += 1;
                    return Some(stream);
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return None,
                // Out of descriptors, say: the listener stays readable, so look away for a window.
                Err(_) => self.accepted = CONNECTIONS_MAX,
            }
        }
        None
    }

    /// Starts a new window when the old one is over.
    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.window_ends {
            self.accepted = 0;
        }
    }

    /// The window's end, when connections may be waiting for it.
    fn poll_timeout(&self, room: bool) -> Instant {
        if room && self.accepted >= CONNECTIONS_MAX { self.window_ends } else { Instant::NEVER }
    }

    /// Watches the listener exactly while `room` for a connection is left in table and window.
    fn adjust(&mut self, epoll: &OwnedFd, room: bool) {
        let watch = room && self.accepted < CONNECTIONS_MAX;
        if watch == self.watched {
            return;
        }
        let flags = if watch { EventFlags::IN } else { EventFlags::empty() };
        if epoll::modify(epoll, &self.listener, EventData::new_u64(self.data), flags).is_ok() {
            self.watched = watch;
        }
    }
}

/// A client of the observe socket.
struct Observer {
    stream: Option<OwnedFd>,
    deadline: Instant,
    /// What the socket's buffer didn't take yet; kept between clients for its capacity.
    rest: Vec<u8>,
    waiting: bool,
}

/// A client of the control socket.
struct Caller {
    stream: Option<OwnedFd>,
    deadline: Instant,
    serial: u64,
    line: [u8; LINE_MAX],
    len: usize,
    command: Option<Command>,
}

/// Both sockets, their connections and the lock on the run directory.
pub struct Server {
    epoll: OwnedFd,
    observe: Gate,
    control: Gate,
    observers: [Observer; CONNECTIONS_MAX],
    callers: [Caller; CONNECTIONS_MAX],
    /// Serialised once, sent to everybody who asked; reused.
    json: Vec<u8>,
    next_serial: u64,
    counters: Counters,
    /// Removes the sockets and the lock when dropped; last, after the connections.
    _bound: bind::Files,
}

impl Server {
    /// Locks `run_dir` and opens both sockets in it, creating the directory if need be.
    ///
    /// Call it after every long-lived child was forked: the lock belongs to the open file, and a child
    /// that inherits it would keep it (flock(2)).
    ///
    /// # Errors
    /// [`BindError::AlreadyRunning`] when another daemon lives there; else what the kernel refused.
    pub fn bind(run_dir: &Path) -> Result<Self, BindError> {
        let Bound { observe, control, files } = bind::bind(run_dir)?;
        let inner = |source| BindError::io("watch the sockets in", run_dir, source);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| inner(e.into()))?;
        Ok(Self {
            observe: Gate::new(observe, OBSERVE_LISTENER, &epoll).map_err(inner)?,
            control: Gate::new(control, CONTROL_LISTENER, &epoll).map_err(inner)?,
            epoll,
            observers: std::array::from_fn(|_| Observer {
                stream: None,
                deadline: Instant::NEVER,
                rest: Vec::new(),
                waiting: false,
            }),
            callers: std::array::from_fn(|_| Caller {
                stream: None,
                deadline: Instant::NEVER,
                serial: 0,
                line: [0; LINE_MAX],
                len: 0,
                command: None,
            }),
            json: Vec::with_capacity(16 * 1024),
            next_serial: 1,
            counters: Counters::default(),
            _bound: files,
        })
    }

    /// Figures since [`Server::bind`].
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes what is ready on both sockets, bounded as the module says.
    pub fn handle_ready(&mut self, now: Instant) {
        self.observe.handle_timeout(now);
        self.control.handle_timeout(now);
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        // EINTR and the like: whatever was ready is ready again at the next turn.
        let Ok((ready, _)) = epoll::wait(&self.epoll, &mut events, Some(&AT_ONCE)) else { return };
        for event in ready.iter() {
            match event.data.u64() {
                OBSERVE_LISTENER => self.accept_observers(now),
                CONTROL_LISTENER => self.accept_callers(now),
                data if data >= FIRST_CALLER => self.read_line((data - FIRST_CALLER) as usize),
                data => self.observer_ready((data - FIRST_OBSERVER) as usize, event.flags),
            }
        }
        self.adjust_gates();
    }

    /// When [`Server::handle_timeout`] is due; changes with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let observers = self.observers.iter().map(|observer| observer.deadline);
        let callers = self.callers.iter().map(|caller| caller.deadline);
        let gates = [
            self.observe.poll_timeout(self.room_for_observer()),
            self.control.poll_timeout(self.room_for_caller()),
        ];
        observers.chain(callers).chain(gates).min().unwrap_or(Instant::NEVER)
    }

    /// Closes what took too long and reopens what a flood had closed. Does nothing when called early.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.observe.handle_timeout(now);
        self.control.handle_timeout(now);
        for slot in 0..CONNECTIONS_MAX {
            if self.observers[slot].deadline <= now {
                self.counters.dropped += 1;
                self.close_observer(slot);
            }
            if self.callers[slot].deadline <= now {
                self.counters.dropped += 1;
                self.close_caller(slot);
            }
        }
        self.adjust_gates();
    }

    /// True while somebody waits for [`Server::send_snapshot`].
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.observers.iter().any(|observer| observer.waiting)
    }

    /// Serialises `snapshot` once and writes it to everybody who waits for one.
    pub fn send_snapshot(&mut self, snapshot: &Snapshot) {
        self.json.clear();
        // A Vec takes every byte, and a snapshot has no map with keys that aren't strings.
        serde_json::to_writer(&mut self.json, snapshot).expect("a snapshot is always JSON");
        self.json.push(b'\n');
        for slot in 0..CONNECTIONS_MAX {
            let observer = &mut self.observers[slot];
            if observer.waiting {
                observer.waiting = false;
                observer.rest.clear();
                observer.rest.extend_from_slice(&self.json);
                self.write_rest(slot);
            }
        }
        self.adjust_gates();
    }

    /// The next command of root; to be answered by [`Server::reply`].
    #[must_use]
    pub fn poll_command(&mut self) -> Option<(Ticket, Command)> {
        self.callers.iter_mut().enumerate().find_map(|(slot, caller)| {
            let command = caller.command.take()?;
            Some((Ticket { slot, serial: caller.serial }, command))
        })
    }

    /// Answers a command and closes its connection; nothing happens when the client is gone by then.
    #[allow(clippy::needless_pass_by_value)] // By value, because a ticket is spent here.
    pub fn reply(&mut self, ticket: Ticket, reply: &Reply) {
        let Ticket { slot, serial } = ticket;
        if self.callers[slot].stream.is_none() || self.callers[slot].serial != serial {
            return;
        }
        match self.callers[slot].stream.as_ref().map(|stream| send_line(stream, reply)) {
            Some(Ok(())) => self.counters.commands += 1,
            _ => self.counters.dropped += 1,
        }
        self.close_caller(slot);
        self.adjust_gates();
    }

    fn room_for_observer(&self) -> bool {
        self.observers.iter().any(|observer| observer.stream.is_none())
    }

    fn room_for_caller(&self) -> bool {
        self.callers.iter().any(|caller| caller.stream.is_none())
    }

    fn adjust_gates(&mut self) {
        let (for_observer, for_caller) = (self.room_for_observer(), self.room_for_caller());
        self.observe.adjust(&self.epoll, for_observer);
        self.control.adjust(&self.epoll, for_caller);
    }

    fn accept_observers(&mut self, now: Instant) {
        while let Some(slot) = self.observers.iter().position(|o| o.stream.is_none()) {
            let Some(stream) = self.observe.accept(now) else { break };
            // Whatever an observer writes is refused by the kernel and never reaches this process.
            let _ = rustix::net::shutdown(&stream, Shutdown::Read);
            let observer = &mut self.observers[slot];
            observer.stream = Some(stream);
            observer.deadline = now + CONNECTION_TIME;
            observer.waiting = true;
        }
    }

    fn accept_callers(&mut self, now: Instant) {
        while let Some(slot) = self.callers.iter().position(|c| c.stream.is_none()) {
            let Some(stream) = self.control.accept(now) else { break };
            // The socket's mode keeps others out already; a mode is easily changed by mistake.
            let allowed = rustix::net::sockopt::socket_peercred(&stream)
                .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
            if !allowed {
                self.counters.refused += 1;
                let reply = Reply::refused("only root may command heartbeatd");
                let _ = send_line(&stream, &reply);
                continue;
            }
            let data = EventData::new_u64(FIRST_CALLER + slot as u64);
            if epoll::add(&self.epoll, &stream, data, EventFlags::IN).is_err() {
                self.counters.dropped += 1;
                continue;
            }
            let caller = &mut self.callers[slot];
            caller.stream = Some(stream);
            caller.deadline = now + CONNECTION_TIME;
            caller.serial = self.next_serial;
            caller.len = 0;
            self.next_serial += 1;
        }
    }

    /// An observer's socket takes bytes again, or its client is gone.
    fn observer_ready(&mut self, slot: usize, flags: EventFlags) {
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.counters.dropped += 1;
            self.close_observer(slot);
        } else {
            self.write_rest(slot);
        }
    }

    fn write_rest(&mut self, slot: usize) {
        let observer = &mut self.observers[slot];
        let Some(stream) = &observer.stream else { return };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(stream, &observer.rest, flags) {
            Ok(len) if len == observer.rest.len() => {
                self.counters.snapshots += 1;
                self.close_observer(slot);
            }
            Ok(len) => {
                observer.rest.drain(..len);
                self.watch_for_room(slot);
            }
            Err(Errno::AGAIN | Errno::INTR) => self.watch_for_room(slot),
            Err(_) => {
                self.counters.dropped += 1;
                self.close_observer(slot);
            }
        }
    }

    fn watch_for_room(&mut self, slot: usize) {
        let Some(stream) = &self.observers[slot].stream else { return };
        let data = EventData::new_u64(FIRST_OBSERVER + slot as u64);
        match epoll::add(&self.epoll, stream, data, EventFlags::OUT) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(_) => self.close_observer(slot),
        }
    }

    /// One read; a complete line becomes a command, anything that can't become one is answered.
    fn read_line(&mut self, slot: usize) {
        let caller = &mut self.callers[slot];
        let Some(stream) = &caller.stream else { return };
        let got = rustix::net::recv(stream, &mut caller.line[caller.len..], RecvFlags::DONTWAIT);
        let read = match got {
            Ok((len, _)) if len > 0 => len,
            Err(Errno::AGAIN | Errno::INTR) => return,
            // End of file before the newline, or an error: nobody is left to answer.
            _ => {
                self.counters.dropped += 1;
                return self.close_caller(slot);
            }
        };
        let from = caller.len;
        caller.len += read;
        let newline = caller.line[from..caller.len].iter().position(|&byte| byte == b'\n');
        let parsed = match newline {
            Some(at) => Command::parse(&caller.line[..from + at]),
            None if caller.len == LINE_MAX => Err(CommandError::TooLong),
            None => return,
        };
        // The line is over: what follows it stays unread, and mustn't wake the loop.
        let _ = epoll::delete(&self.epoll, stream);
        match parsed {
            Ok(command) => caller.command = Some(command),
            Err(error) => {
                let ticket = Ticket { slot, serial: caller.serial };
                self.counters.refused += 1;
                self.reply(ticket, &Reply::refused(error.to_string()));
            }
        }
    }

    /// Closing takes the descriptor out of the epoll set as well (epoll(7)): nobody has a copy of it.
    fn close_observer(&mut self, slot: usize) {
        let observer = &mut self.observers[slot];
        observer.stream = None;
        observer.deadline = Instant::NEVER;
        observer.waiting = false;
    }

    fn close_caller(&mut self, slot: usize) {
        let caller = &mut self.callers[slot];
        caller.stream = None;
        caller.deadline = Instant::NEVER;
        caller.command = None;
    }
}

/// One line into the empty buffer of a fresh socket: less than all of it means a client that left.
fn send_line(stream: &OwnedFd, reply: &Reply) -> Result<(), Errno> {
    let mut line = serde_json::to_vec(reply).expect("a reply is always JSON");
    line.push(b'\n');
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::send(stream, &line, flags)?;
    if sent == line.len() { Ok(()) } else { Err(Errno::AGAIN) }
}

/// For the daemon's own epoll set: readable when [`Server::handle_ready`] has work.
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
