//! The daemon's own ends of both sockets, with real clients that connect, write, read and leave as
//! they please: what each is told is what it asked for, and nobody keeps the loop busy.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use arbitrary::{Result, Unstructured};
use hb_linux::control::server::{CONNECTIONS_MAX, Server, Ticket};
use hb_linux::control::snapshot::{NodeState, Peer, PeerState, Snapshot, Stalls};
use hb_linux::control::{CONTROL_SOCKET, Command, LINE_MAX, OBSERVE_SOCKET, Reply};
use hb_proto::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::config::scratch;

/// Clients of a story: fewer than the kernel queues for a listener, since connect(2) would wait.
const CLIENTS: usize = 15;
/// Turns of the loop in which everything that is ready has been taken, or looked away from.
const TURNS: usize = 4 * CONNECTIONS_MAX;
/// More than the kernel buffers for one socket, so that a snapshot leaves in pieces.
const LONG_NAME: usize = 400_000;

/// Any bytes as a story of clients.
pub fn server(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let mut story = Story::begin();
    while !choices.is_empty() && story.step(&mut choices).is_ok() {}
    story.end();
}

struct Client {
    stream: Option<UnixStream>,
    observes: bool,
    /// What it wrote, and what it read.
    said: Vec<u8>,
    heard: Vec<u8>,
}

struct Story {
    now: Instant,
    server: Server,
    dir: PathBuf,
    clients: Vec<Client>,
    /// Commands in the order of their coming; a reply names its command's place here.
    commands: Vec<Command>,
    tickets: Vec<(Ticket, usize)>,
    /// Every text that was sent as a snapshot.
    snapshots: Vec<Vec<u8>>,
}

impl Story {
    fn begin() -> Self {
        let dir = scratch(3);
        let server = Server::bind(&dir).expect("an empty directory");
        Self {
            now: Instant::from_micros(1),
            server,
            dir,
            clients: Vec::new(),
            commands: Vec::new(),
            tickets: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=11)? {
            0 | 1 => self.connect(u.arbitrary()?),
            2..=4 => self.write(u)?,
            5 => self.read(u)?,
            6 => {
                if let Some(client) = self.choose(u)? {
                    client.stream = None;
                }
            }
            7 => {
                if let Some(stream) = self.choose(u)?.and_then(|client| client.stream.as_ref()) {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            8 => {
                self.now += Duration::from_millis(u.int_in_range(0..=600)?);
                self.server.handle_timeout(self.now);
                assert!(self.server.poll_timeout() > self.now, "a deadline that is past");
            }
            9 => self.answer_one(u)?,
            10 => self.turn(u.ratio(1, 8)?),
            _ => self.settle(),
        }
        Ok(())
    }

    fn connect(&mut self, observes: bool) {
        if self.clients.len() == CLIENTS {
            return;
        }
        let name = if observes { OBSERVE_SOCKET } else { CONTROL_SOCKET };
        let stream = UnixStream::connect(self.dir.join(name)).expect("somebody listens");
        stream.set_nonblocking(true).expect("a socket");
        let (said, heard) = (Vec::new(), Vec::new());
        self.clients.push(Client { stream: Some(stream), observes, said, heard });
    }

    fn choose(&mut self, u: &mut Unstructured<'_>) -> Result<Option<&mut Client>> {
        if self.clients.is_empty() {
            return Ok(None);
        }
        let at = u.choose_index(self.clients.len())?;
        Ok(Some(&mut self.clients[at]))
    }

    fn write(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        const LINES: [&[u8]; 8] = [
            b"standby\n",
            b"takeover 192.168.85.3\n",
            b"stop\n",
            b"reboot\n",
            b"\n",
            b"stand",
            b"by",
            &[b'x'; LINE_MAX - 1],
        ];
        let (own, len) = (u.ratio(1, 4)?, usize::from(u.arbitrary::<u8>()?));
        let line = *u.choose(&LINES)?;
        let bytes = if own { u.bytes(len.min(u.len()))? } else { line };
        if let Some(client) = self.choose(u)?
            && let Some(stream) = &mut client.stream
            && let Ok(written) = stream.write(bytes)
        {
            client.said.extend_from_slice(&bytes[..written]);
        }
        Ok(())
    }

    fn read(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let most = if u.arbitrary()? { 10 } else { 100_000 };
        if let Some(client) = self.choose(u)? {
            client.hear(most);
        }
        Ok(())
    }

    /// What the daemon does when the sockets are ready, and the commands that came are kept.
    fn turn(&mut self, long: bool) {
        self.server.handle_ready(self.now);
        if self.server.wants_snapshot() {
            let snapshot = snapshot(if long { LONG_NAME } else { 1 });
            let mut text = serde_json::to_vec(&snapshot).expect("JSON");
            text.push(b'\n');
            self.server.send_snapshot(&snapshot);
            if !self.snapshots.contains(&text) {
                self.snapshots.push(text);
            }
            assert!(!self.server.wants_snapshot(), "everybody who asked was served");
        }
        while let Some((ticket, command)) = self.server.poll_command() {
            self.tickets.push((ticket, self.commands.len()));
            self.commands.push(command);
        }
    }

    /// Answers come late, in any order, and to clients that are gone.
    fn answer_one(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.tickets.is_empty() {
            return Ok(());
        }
        let at = u.choose_index(self.tickets.len())?;
        let (ticket, command) = self.tickets.remove(at);
        self.server.reply(ticket, &Reply::accepted(command.to_string()));
        Ok(())
    }

    /// What is ready is taken, or isn't looked at for a while: it never keeps the loop awake.
    fn settle(&mut self) {
        for _ in 0..TURNS {
            self.turn(false);
            if !self.is_ready() {
                break;
            }
        }
        assert!(!self.is_ready(), "the loop would never sleep");
        self.server.handle_timeout(self.now);
        assert!(self.server.poll_timeout() > self.now, "a deadline that is past");
    }

    fn is_ready(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut descriptors = [PollFd::new(&self.server, PollFlags::IN)];
        rustix::event::poll(&mut descriptors, Some(&at_once)).expect("poll(2)") > 0
    }

    /// Time alone serves or drops everybody; then every client is asked what it heard.
    fn end(mut self) {
        for _ in 0..2 * CLIENTS {
            self.settle();
            self.now += Duration::from_millis(100);
            self.server.handle_timeout(self.now);
        }
        for (ticket, _) in std::mem::take(&mut self.tickets) {
            self.server.reply(ticket, &Reply::accepted("too late"));
        }
        assert_eq!(self.server.poll_timeout(), Instant::NEVER, "nobody is left");
        let counters = self.server.counters();
        let served = counters.snapshots + counters.commands + counters.dropped;
        assert_eq!(served, self.clients.len() as u64, "each client once: {counters:?}");
        let mut answered = Vec::new();
        for client in &mut self.clients {
            client.hear(usize::MAX);
            if client.observes {
                client.saw_one_of(&self.snapshots);
            } else {
                answered.extend(client.was_answered(&self.commands));
            }
        }
        answered.sort_unstable();
        let many = answered.len();
        answered.dedup();
        assert_eq!(answered.len(), many, "an answer goes to one client");
    }
}

impl Client {
    fn hear(&mut self, most: usize) {
        let Some(stream) = &mut self.stream else { return };
        let mut buffer = [0; 4096];
        let mut left = most;
        while left > 0 {
            let part = left.min(buffer.len());
            match stream.read(&mut buffer[..part]) {
                Ok(0) => return,
                Ok(len) => {
                    self.heard.extend_from_slice(&buffer[..len]);
                    left -= len;
                }
                // A reset is how a close over unread bytes looks.
                Err(error) => {
                    let known = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset];
                    assert!(known.contains(&error.kind()), "{error}");
                    return;
                }
            }
        }
    }

    /// An observer sees a snapshot, or its beginning when it was too slow; never two, never others'.
    fn saw_one_of(&self, snapshots: &[Vec<u8>]) {
        let known = snapshots.iter().any(|text| text.starts_with(&self.heard));
        assert!(self.heard.is_empty() || known, "no snapshot: {} bytes", self.heard.len());
    }

    /// A caller hears nothing or one line: the place of its own command, or why there is none.
    fn was_answered(&self, commands: &[Command]) -> Option<usize> {
        // Who hung up may have read half of it.
        if self.heard.is_empty() || self.stream.is_none() {
            return None;
        }
        let reply: Reply = serde_json::from_slice(&self.heard).expect("one line of JSON");
        assert!(self.heard.ends_with(b"\n"));
        let line = self.said.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let whole = line.len() < self.said.len() && line.len() < LINE_MAX;
        let understood = Command::parse(line).ok().filter(|_| whole);
        if !reply.ok {
            assert_eq!(understood, None, "refused: {}", reply.message);
            return None;
        }
        let place: usize = reply.message.parse().expect("the place of a command");
        assert_eq!(understood.as_ref(), Some(&commands[place]), "somebody else's answer");
        Some(place)
    }
}

fn snapshot(name: usize) -> Snapshot {
    Snapshot {
        version: "0".into(),
        node: "n".repeat(name),
        state: NodeState::Standby,
        peer: Peer { name: "b".into(), state: PeerState::Unknown, last_heard_ms: None },
        links: Vec::new(),
        groups: Vec::new(),
        arbiter: None,
        watchdog: None,
        last_failover: None,
        stalls: Stalls::default(),
        configuration: None,
        dongle: None,
        keys: Vec::new(),
    }
}
