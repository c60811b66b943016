//! The steady state of the whole daemon allocates nothing (architecture, rule 3): quiet, with a line
//! cut, and under a flood of frames that are none.
//!
//! Two real daemons on two threads of this process, each in a network namespace of its own, joined by
//! a veth pair and a modelled serial line; their helpers are the real program. Allocations are counted
//! for each thread, so nothing that the test itself does is charged to a daemon.

mod net_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hb_linux::control::{Command, client};
use hb_linux::daemon::{self, Daemon, Options, Turn};
use hb_linux::log::Sink;
use hb_linux::resources::Helper;
use hb_linux::rig::line::{Line, Port, Side};
use hb_proto::id::{GroupId, LinkId};
use hb_proto::node::Node;
use net_support::{Lan, in_namespace};
use rustix::thread::UnshareFlags;
use socket2::{Domain, SockAddr, Socket, Type};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator; counting touches no heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    // The default would count a second time through alloc, and copy.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the two daemons go through; each counts for itself, phase by phase.
const PHASES: [&str; 3] = ["quiet", "serial line cut", "flooded"];
/// Before the first phase, between two, and after the last: nothing is counted.
const PAUSE: usize = PHASES.len();
const PHASE: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_millis(20);
const SERIAL: LinkId = LinkId(0);
const ETHERNET: LinkId = LinkId(1);

/// What one daemon did in one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    allocations: u64,
    turns: u64,
    sent: u64,
    rejected: u64,
}

struct Shared {
    phase: AtomicUsize,
    settled: AtomicUsize,
}

/// Whether ha.cf names an arbiter; none is in the line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voters {
    Two,
    Three,
}

/// One pair at a time: two would disturb each other.
static ALONE: Mutex<()> = Mutex::new(());

/// The files of one node, and where its sockets will be.
fn files(base: &Path, name: &str, tty: &Path, voters: Voters) -> Options {
    let home = base.join(name);
    fs::create_dir_all(home.join("etc")).unwrap();
    let ha_cf = format!(
        "logfile {}\nbaud 115200\nserial {}\nudpport 694\nudp eth1\nkeepalive {}ms\n\
         warntime 300ms\ndeadtime 600ms\nnode alpha\nnode beta\n",
        home.join("ha-log").display(),
        tty.display(),
        KEEPALIVE.as_millis()
    );
    let third = match voters {
        Voters::Two => "initdead 3\n".to_owned(),
        // It is told once that nobody is there: after initdead, so before anything is counted.
        Voters::Three => format!("initdead 1\narbiter serial {}\nguard_unsafe 1\n", tty.display()),
    };
    fs::write(home.join("etc/ha.cf"), ha_cf + &third).unwrap();
    fs::write(home.join("etc/haresources"), "alpha 10.77.0.100\n").unwrap();
    let authkeys = home.join("etc/authkeys");
    fs::write(&authkeys, "auth 1\n1 sha256 nothing-allocates\n").unwrap();
    fs::set_permissions(&authkeys, fs::Permissions::from_mode(0o600)).unwrap();
    Options {
        config_dir: home.join("etc"),
        state_dir: home.join("state"),
        run_dir: home.join("run"),
        node: Some(name.to_owned()),
        pppd: hb_linux::config::ppp::PPPD.to_owned(),
        rig_watchdog: None,
    }
}

/// One daemon's whole life: `daemon::main` without the process around it.
fn live(options: &Options, shared: &Shared) -> [Counted; PHASES.len()] {
    let sink = Sink::new(false);
    let _mine = tracing::subscriber::set_default(sink.clone());
    let helper = Helper::spawn_program(Path::new(env!("CARGO_BIN_EXE_heartbeatd"))).unwrap();
    let mut daemon = daemon::start(options, helper, sink, None).unwrap();
    let mut counted = [Counted::default(); PHASES.len()];
    let mut settled = false;
    loop {
        let phase = shared.phase.load(Ordering::Relaxed);
        let before = (ALLOCATIONS.get(), figures(&daemon));
        let turn = daemon.turn().unwrap();
        let after = (ALLOCATIONS.get(), figures(&daemon));
        if let Some(counted) = counted.get_mut(phase) {
            counted.allocations += after.0 - before.0;
            counted.turns += 1;
            counted.sent += after.1.0 - before.1.0;
            counted.rejected += after.1.1 - before.1.1;
        }
        if !settled && is_settled(daemon.node()) {
            settled = true;
            shared.settled.fetch_add(1, Ordering::Relaxed);
        }
        if let Turn::Depart(_) = turn {
            daemon.close();
            return counted;
        }
    }
}

/// The group runs somewhere; that nobody is in the line is no news here.
fn is_settled(node: &Node) -> bool {
    match node.pending() {
        None => true,
        Some("the arbiter is not heard") => node.holder(GroupId(0)).is_some(),
        Some(_) => false,
    }
}

/// Frames sent on both links, frames rejected on the network.
fn figures(daemon: &Daemon) -> (u64, u64) {
    let of = |link| daemon.node().link_statistics(link).unwrap();
    (of(SERIAL).sent + of(ETHERNET).sent, of(ETHERNET).rejected.iter().sum())
}

/// Beta's thread: a namespace of its own, the cable's other end, the daemon.
fn far_side(
    options: &Options,
    shared: &Shared,
    namespace: &mpsc::Sender<File>,
    plugged: &mpsc::Receiver<()>,
) -> [Counted; PHASES.len()] {
    // SAFETY: a network namespace says nothing about file descriptors, which alone make unshare
    // unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    namespace.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
    plugged.recv().unwrap();
    let mut lan = Lan::new();
    lan.address("eth1", "10.77.0.2/24");
    lan.up("eth1");
    live(options, shared)
}

fn until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that is gone at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Random-looking datagrams of a frame's size: the kernel's filter lets them through. They hit beta,
/// for our own broadcasts don't come back to alpha.
fn flood(until: Instant) -> u64 {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_broadcast(true).unwrap();
    // Where the medium listens; without a route only a bound device gets there.
    socket.bind_device(Some(b"eth1")).unwrap();
    let all = SockAddr::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, 694));
    let (mut sent, mut byte) = (0, 0_u8);
    while Instant::now() < until {
        byte = byte.wrapping_mul(5).wrapping_add(1);
        let datagram = [byte; 40];
        sent += u64::from(socket.send_to(&datagram, &all).is_ok());
        if sent % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sent
}

/// A takeover allocates, and on a host that starves both daemons one may happen: told again then. A loop
/// that allocates in the steady state does so every time.
const TRIES: u32 = 3;

#[test]
fn two_daemons_turn_without_allocating() {
    judged(|last, disturbed| {
        in_namespace(move || tell(last, &disturbed, Voters::Two));
    });
}

/// Votes, and what is told of them, are looked at in every turn.
#[test]
fn two_daemons_that_miss_their_arbiter_turn_without_allocating() {
    judged(|last, disturbed| {
        in_namespace(move || tell(last, &disturbed, Voters::Three));
    });
}

fn judged(tell: impl Fn(bool, Arc<AtomicBool>)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for left in (0..TRIES).rev() {
        let disturbed = Arc::new(AtomicBool::new(false));
        tell(left == 0, Arc::clone(&disturbed));
        if !disturbed.load(Ordering::Relaxed) {
            return;
        }
        println!("disturbed, told again: {left} tries left");
    }
}

fn tell(last: bool, disturbed: &AtomicBool, voters: Voters) {
    let base = std::env::temp_dir().join(format!("hb-steady-{}", std::process::id()));
    let scratch = Scratch(base);
    let line = Line::new().unwrap();
    let ports = [Port::new().unwrap(), Port::new().unwrap()];
    let ttys = [0, 1].map(|at: usize| ports[at].device().to_owned());
    let [one, two] = ports;
    line.attach(Side::A, one);
    line.attach(Side::B, two);
    let options =
        [files(&scratch.0, "alpha", &ttys[0], voters), files(&scratch.0, "beta", &ttys[1], voters)];
    let shared = Shared { phase: AtomicUsize::new(PAUSE), settled: AtomicUsize::new(0) };
    let mut lan = Lan::new();
    let (namespace, its_namespace) = mpsc::channel();
    let (plug, plugged) = mpsc::channel();
    let counted = std::thread::scope(|scope| {
        let (shared, options) = (&shared, &options);
        let beta = scope.spawn(move || far_side(&options[1], shared, &namespace, &plugged));
        lan.cable("eth1", &its_namespace.recv().unwrap());
        lan.address("eth1", "10.77.0.1/24");
        lan.up("eth1");
        plug.send(()).unwrap();
        let alpha = scope.spawn(move || live(&options[0], shared));
        until("both nodes settled", Duration::from_secs(30), || {
            assert!(!alpha.is_finished() && !beta.is_finished(), "a daemon ended");
            shared.settled.load(Ordering::Relaxed) == 2
        });
        // A minute's burst of anything that start-up left to say is over by then.
        std::thread::sleep(Duration::from_secs(2));
        for phase in 0..PHASES.len() {
            line.cut(Side::A, phase == 1);
            line.cut(Side::B, phase == 1);
            shared.phase.store(phase, Ordering::Relaxed);
            let end = Instant::now() + PHASE;
            if phase == 2 {
                assert!(flood(end) > 1000, "a flood");
            }
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        shared.phase.store(PAUSE, Ordering::Relaxed);
        for options in options {
            let reply = client::command(&options.run_dir, &Command::Stop).unwrap();
            assert!(reply.ok, "{}", reply.message);
        }
        [alpha.join().unwrap(), beta.join().unwrap()]
    });
    if !last && counted.iter().flatten().any(|counted| counted.allocations > 0) {
        disturbed.store(true, Ordering::Relaxed);
        return;
    }
    for (name, counted) in ["alpha", "beta"].into_iter().zip(counted) {
        for (phase, counted) in PHASES.into_iter().zip(counted) {
            println!("{name}, {phase}: {counted:?}");
            judge(name, phase, counted);
        }
    }
}

fn judge(name: &str, phase: &str, counted: Counted) {
    let beats = PHASE.as_millis() / KEEPALIVE.as_millis();
    let heartbeats = counted.sent / 2;
    assert!(u128::from(heartbeats) >= beats / 2, "{name}, {phase}: hardly ran: {counted:?}");
    assert_eq!(counted.allocations, 0, "{name}, {phase}: {counted:?}");
    if phase == "flooded" {
        let hit = name == "beta";
        assert_eq!(counted.rejected > 500, hit, "{name}, {phase}: {counted:?}");
    } else {
        // A heartbeat of one's own, one of the peer's on each medium, the serial one in pieces of
        // a FIFO: a loop that wakes up much more often spins.
        let most = 12 * u64::try_from(beats).unwrap();
        assert!(counted.turns <= most, "{name}, {phase}: it spins: {counted:?}");
    }
}
