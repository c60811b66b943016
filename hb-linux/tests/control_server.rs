//! Goal: no client of either socket can block, starve or grow the daemon, and honest ones are served.
//! Method: a real `Server` in a directory of its own, driven with a clock that the test holds; clients
//! are plain Unix streams that misbehave in the ways listed in the module's documentation.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use hb_linux::control::server::{ACCEPT_WINDOW, CONNECTION_TIME, CONNECTIONS_MAX, Server};
use hb_linux::control::snapshot::{
    Group, GroupState, NodeState, Peer, PeerState, Snapshot, Stalls,
};
use hb_linux::control::{BindError, CONTROL_SOCKET, Command, LINE_MAX, OBSERVE_SOCKET, PID_FILE};
use hb_linux::control::{Reply, client};
use hb_proto::time::{Duration, Instant};

/// A directory that goes away with the test.
struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-server-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn connect(&self, socket: &str) -> UnixStream {
        let stream = UnixStream::connect(self.0.join(socket)).unwrap();
        stream.set_read_timeout(Some(StdDuration::from_secs(5))).unwrap();
        stream
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        version: "0.1.0".into(),
        node: "linuxha1".into(),
        state: NodeState::Standby,
        peer: Peer { name: "linuxha2".into(), state: PeerState::Unknown, last_heard_ms: None },
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

/// What the daemon's loop does after any input.
fn drain(server: &mut Server) -> Vec<Command> {
    if server.wants_snapshot() {
        server.send_snapshot(&snapshot());
    }
    let mut commands = Vec::new();
    while let Some((ticket, command)) = server.poll_command() {
        server.reply(ticket, &Reply::accepted(format!("will {command}")));
        commands.push(command);
    }
    commands
}

fn turn(server: &mut Server, now: Instant) -> Vec<Command> {
    server.handle_ready(now);
    drain(server)
}

fn read_all(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    // A reset after the text is how a close over unread bytes looks.
    match stream.read_to_string(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}"),
    }
    text
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

const START: Instant = Instant::from_millis(1_000);

#[test]
fn everybody_may_look_and_only_root_may_command() {
    let dir = RunDir::new("modes");
    let _server = Server::bind(&dir.0).unwrap();
    assert_eq!(mode(&dir.0.join(OBSERVE_SOCKET)), 0o666);
    assert_eq!(mode(&dir.0.join(CONTROL_SOCKET)), 0o600);
    let pid = std::fs::read_to_string(dir.0.join(PID_FILE)).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
}

#[test]
fn one_snapshot_then_the_end() {
    let dir = RunDir::new("observe");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut streams: Vec<_> = (0..3).map(|_| dir.connect(OBSERVE_SOCKET)).collect();
    turn(&mut server, START);
    for stream in &mut streams {
        let text = read_all(stream);
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot());
        assert!(text.ends_with("}\n"));
    }
    assert_eq!(server.counters().snapshots, 3);
    assert_eq!(server.poll_timeout(), Instant::NEVER, "nothing is left to wait for");
}

#[test]
fn an_observer_that_writes_is_not_read() {
    let dir = RunDir::new("writer");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut stream = dir.connect(OBSERVE_SOCKET);
    stream.write_all(b"stop\n").unwrap();
    assert_eq!(turn(&mut server, START), [], "the observe socket takes no command");
    assert!(read_all(&mut stream).starts_with("{\"version\""));
    let mut late = dir.connect(OBSERVE_SOCKET);
    server.handle_ready(START);
    assert_eq!(late.write_all(b"stop\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn commands_arrive_in_pieces_and_are_answered() {
    let dir = RunDir::new("command");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut stream = dir.connect(CONTROL_SOCKET);
    for piece in ["stand", "by 192.168", ".85.3"] {
        stream.write_all(piece.as_bytes()).unwrap();
        assert_eq!(turn(&mut server, START), []);
    }
    stream.write_all(b"\n").unwrap();
    assert_eq!(turn(&mut server, START), [Command::Standby(Some("192.168.85.3".into()))]);
    let reply: Reply = serde_json::from_str(&read_all(&mut stream)).unwrap();
    assert_eq!(reply, Reply::accepted("will standby 192.168.85.3"));
}

#[test]
fn client_and_server_understand_each_other() {
    let dir = RunDir::new("client");
    let mut server = Server::bind(&dir.0).unwrap();
    let path = dir.0.clone();
    let asking = std::thread::spawn(move || {
        let refused = client::command(&path, &Command::Takeover(None)).unwrap();
        (client::observe(&path).unwrap(), refused)
    });
    let started = std::time::Instant::now();
    while !asking.is_finished() {
        assert!(started.elapsed() < StdDuration::from_secs(5), "the client still waits");
        turn(&mut server, START);
        std::thread::sleep(StdDuration::from_millis(1));
    }
    let (seen, reply) = asking.join().unwrap();
    assert_eq!((seen, reply), (snapshot(), Reply::accepted("will takeover")));
}

#[test]
fn garbage_and_long_lines_get_an_error_and_are_closed() {
    let dir = RunDir::new("garbage");
    let mut server = Server::bind(&dir.0).unwrap();
    for (line, answer) in [
        (b"\x00\xff\xfe\n".to_vec(), "not UTF-8"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "unknown command"),
        (vec![b'x'; 64 * 1024], "longer than 512 bytes"),
        (b"\n".to_vec(), "empty line"),
    ] {
        let mut stream = dir.connect(CONTROL_SOCKET);
        stream.write_all(&line).unwrap();
        assert_eq!(turn(&mut server, START), [], "accepted");
        assert_eq!(turn(&mut server, START), [], "read");
        let reply: Reply = serde_json::from_str(&read_all(&mut stream)).unwrap();
        assert!(!reply.ok && reply.message.contains(answer), "{reply:?}");
    }
    assert_eq!(server.counters().refused, 4);
    assert_eq!(server.poll_timeout(), Instant::NEVER);
}

#[test]
fn the_longest_line_fits_and_one_byte_more_does_not() {
    let dir = RunDir::new("line");
    let mut server = Server::bind(&dir.0).unwrap();
    for (spare, fits) in [(0, true), (1, false)] {
        let group = "g".repeat(LINE_MAX - "standby \n".len() + spare);
        let mut stream = dir.connect(CONTROL_SOCKET);
        writeln!(stream, "standby {group}").unwrap();
        let mut commands = turn(&mut server, START);
        commands.extend(turn(&mut server, START));
        assert_eq!(commands.len(), usize::from(fits));
    }
}

#[test]
fn who_says_nothing_is_hung_up_on() {
    let dir = RunDir::new("silent");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| dir.connect(CONTROL_SOCKET)).collect();
    turn(&mut server, START);
    assert_eq!(server.poll_timeout(), START + CONNECTION_TIME);
    // The table is full: the next caller waits in the kernel's queue, and nothing wakes the loop.
    let mut honest = dir.connect(CONTROL_SOCKET);
    honest.write_all(b"stop\n").unwrap();
    assert!(!ready(&server), "a full table must not keep the loop awake");
    server.handle_timeout(START + ACCEPT_WINDOW);
    assert_eq!(server.poll_timeout(), START + CONNECTION_TIME, "nor a deadline that has passed");

    server.handle_timeout(START + CONNECTION_TIME - Duration::from_millis(1));
    assert_eq!(server.counters().dropped, 0, "not a moment too early");
    let late = START + CONNECTION_TIME;
    server.handle_timeout(late);
    assert_eq!(server.counters().dropped, CONNECTIONS_MAX as u64);
    assert_eq!(read_all(&mut silent[0]), "");

    let mut commands = turn(&mut server, late);
    commands.extend(turn(&mut server, late));
    assert_eq!(commands, [Command::Stop], "the honest one is served after the silent ones");
}

#[test]
fn a_full_table_opens_again_as_soon_as_one_is_served() {
    let dir = RunDir::new("full");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut callers: Vec<_> =
        (0..CONNECTIONS_MAX / 2).map(|_| dir.connect(CONTROL_SOCKET)).collect();
    turn(&mut server, START);
    // In a second window, so that the table is full and the window isn't.
    let next = START + ACCEPT_WINDOW;
    callers.extend((0..CONNECTIONS_MAX / 2).map(|_| dir.connect(CONTROL_SOCKET)));
    turn(&mut server, next);
    let mut waiting = dir.connect(CONTROL_SOCKET);
    waiting.write_all(b"stop\n").unwrap();
    assert!(!ready(&server));
    callers[0].write_all(b"takeover\n").unwrap();
    assert_eq!(turn(&mut server, next), [Command::Takeover(None)]);
    assert!(ready(&server), "a place is free");
    turn(&mut server, next);
    assert_eq!(turn(&mut server, next), [Command::Stop]);
}

/// True when the daemon's own epoll would wake up for the server.
fn ready(server: &Server) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&at_once)).unwrap() > 0
}

#[test]
fn a_flood_gets_its_share_and_no_more() {
    let dir = RunDir::new("flood");
    let mut server = Server::bind(&dir.0).unwrap();
    // One of the window's share is used up already.
    let mut early = dir.connect(OBSERVE_SOCKET);
    turn(&mut server, START);
    assert!(!read_all(&mut early).is_empty());
    // 16 wait in the kernel's queue; more would block the test as they would block the flood.
    let flood: Vec<_> = (0..16).map(|_| dir.connect(OBSERVE_SOCKET)).collect();
    for _ in 0..100 {
        turn(&mut server, START);
    }
    assert_eq!(server.counters().snapshots, CONNECTIONS_MAX as u64, "one window's share");
    assert!(!ready(&server), "the rest of the flood must not keep the loop awake");
    assert_eq!(server.poll_timeout(), START + ACCEPT_WINDOW);

    let next = START + ACCEPT_WINDOW;
    server.handle_timeout(next);
    assert!(ready(&server));
    for _ in 0..100 {
        turn(&mut server, next);
    }
    assert_eq!(server.counters().snapshots, 2 * CONNECTIONS_MAX as u64, "the next one's");
    drop(flood);
}

#[test]
fn a_slow_reader_gets_all_of_a_long_snapshot_and_a_stuck_one_is_dropped() {
    let dir = RunDir::new("slow");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut long = snapshot();
    // Longer than a Unix socket's buffer (212,992 bytes by default, socket(7)).
    let name = "g".repeat(600_000);
    long.groups.push(Group {
        name,
        preferred: "linuxha1".into(),
        holder: None,
        state: GroupState::Stopped,
        authority: None,
        obstacle: None,
        votes: Default::default(),
    });
    let (mut slow, mut stuck) = (dir.connect(OBSERVE_SOCKET), dir.connect(OBSERVE_SOCKET));
    server.handle_ready(START);
    server.send_snapshot(&long);
    assert_eq!(server.counters().snapshots, 0);
    assert!(!ready(&server), "full buffers must not keep the loop awake");

    let reading = std::thread::spawn(move || read_all(&mut slow));
    let started = std::time::Instant::now();
    while server.counters().snapshots == 0 {
        assert!(started.elapsed() < StdDuration::from_secs(5));
        server.handle_ready(START);
    }
    assert_eq!(serde_json::from_str::<Snapshot>(&reading.join().unwrap()).unwrap(), long);

    server.handle_timeout(START + CONNECTION_TIME);
    assert_eq!(server.counters().dropped, 1);
    assert!(read_all(&mut stuck).len() < 600_000);
}

#[test]
fn a_reply_never_reaches_the_next_client_of_its_slot() {
    let dir = RunDir::new("ticket");
    let mut server = Server::bind(&dir.0).unwrap();
    let mut first = dir.connect(CONTROL_SOCKET);
    first.write_all(b"stop\n").unwrap();
    server.handle_ready(START);
    server.handle_ready(START);
    let (ticket, _) = server.poll_command().unwrap();
    server.handle_timeout(START + CONNECTION_TIME);

    let late = START + CONNECTION_TIME;
    let mut second = dir.connect(CONTROL_SOCKET);
    server.handle_ready(late);
    server.reply(ticket, &Reply::accepted("for the first"));
    second.write_all(b"takeover\n").unwrap();
    assert_eq!(turn(&mut server, late), [Command::Takeover(None)]);
    assert!(read_all(&mut second).contains("will takeover"));
    assert_eq!(read_all(&mut first), "");
}

#[test]
fn a_dead_daemons_sockets_are_replaced_and_a_living_ones_are_not() {
    let dir = RunDir::new("stale");
    std::fs::create_dir(&dir.0).unwrap();
    // What a daemon leaves that was killed: a socket file without a listener, a pid file without a lock.
    drop(UnixListener::bind(dir.0.join(OBSERVE_SOCKET)).unwrap());
    std::fs::write(dir.0.join(PID_FILE), "4242\n").unwrap();
    let mut server = Server::bind(&dir.0).unwrap();
    let mut stream = dir.connect(OBSERVE_SOCKET);
    turn(&mut server, START);
    assert!(!read_all(&mut stream).is_empty());

    let text = match Server::bind(&dir.0) {
        Err(e @ BindError::AlreadyRunning { .. }) => e.to_string(),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("two daemons in one run directory"),
    };
    let expected = format!("heartbeatd is already running (pid {})", std::process::id());
    assert!(text.starts_with(&expected), "{text}");

    // Without the lock file the living socket still gives the daemon away, and isn't taken from it.
    std::fs::remove_file(dir.0.join(PID_FILE)).unwrap();
    assert!(matches!(Server::bind(&dir.0), Err(BindError::AlreadyRunning { pid: Some(_), .. })));
    turn(&mut server, START + ACCEPT_WINDOW);
    let mut stream = dir.connect(OBSERVE_SOCKET);
    turn(&mut server, START + ACCEPT_WINDOW);
    assert!(!read_all(&mut stream).is_empty());

    drop(server);
    assert!(!dir.0.join(OBSERVE_SOCKET).exists() && !dir.0.join(CONTROL_SOCKET).exists());
    Server::bind(&dir.0).unwrap();
}
