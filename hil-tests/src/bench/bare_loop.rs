//! The least that three media can cost: a loop of the daemon's own system calls and nothing between
//! them.
//!
//! Each keepalive one frame of the same length leaves on each medium, and the other machine's loop
//! sends the same back. The media are the daemon's own ports of the same kinds, with the same socket
//! options, filters and line settings; waits, reads and clock reads are those of the daemon's loop. No
//! tag, no decoding, no decision.

use std::io;
use std::mem::MaybeUninit;
use std::process::{Child, Stdio};
use std::time::Duration;

use hb_linux::config::Medium;
use hb_linux::media::{MAX_FRAME, Port, Receive};
use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Network, Node};
use hb_linux::rig::init;
use hb_proto::wire::port::CHUNK;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{ClockId, clock_gettime};

/// What a status frame takes on a line and in a datagram; a hello is the difference longer.
const LINE_BYTES: usize = 32;
const DATAGRAM_BYTES: usize = 30;
const HELLO_MORE: usize = 38;
/// Every tenth frame is a hello.
const HELLO_EVERY: u64 = 10;
/// Not the daemon's, which runs beside it.
const UDP_PORT: u16 = 6940;

/// The loop, in the machine `node`, until killed.
///
/// # Errors
/// A medium can't be opened.
pub fn run(node: Node, keepalive: Duration, baud: u32) -> io::Result<()> {
    let mut ports = open(node, baud)?;
    // As the daemon: on a busy host a loop that runs late finds more at once and wakes up less often.
    if !super::machine::round_robin("1") {
        eprintln!("bare loop: at ordinary priority, so it may wake up less often than the daemon");
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (at, port) in ports.iter().enumerate() {
        let fd = port.fd().ok_or(io::ErrorKind::NotConnected)?;
        epoll::add(&epoll, fd, EventData::new_u64(at as u64), EventFlags::IN)?;
    }
    let mut next = now() + keepalive;
    let mut beats: u64 = 0;
    loop {
        let sleep = next.saturating_sub(now());
        let timeout = Timespec {
            tv_sec: sleep.as_secs().cast_signed(),
            tv_nsec: sleep.subsec_nanos().into(),
        };
        let mut space = [const { MaybeUninit::<Event>::uninit() }; 12];
        let (ready, _) = epoll::wait(&epoll, &mut space, Some(&timeout))?;
        now();
        for event in ready.iter() {
            drain(&mut ports[event.data.u64() as usize]);
        }
        if now() >= next {
            next += keepalive;
            beats += 1;
            let more = if beats.is_multiple_of(HELLO_EVERY) { HELLO_MORE } else { 0 };
            for port in &mut ports {
                now();
                let bytes = [0x55; LINE_BYTES + HELLO_MORE];
                let own = if port.kind() == "serial" { LINE_BYTES } else { DATAGRAM_BYTES };
                // A full queue loses the frame, as it does for the daemon.
                port.transmit(&bytes[..own + more]);
            }
        }
    }
}

/// The daemon's clock: four reads, none of them a system call where the kernel offers a vDSO.
fn now() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let (before, boot) = (read(ClockId::Monotonic), read(ClockId::Boottime));
    let between = read(ClockId::Monotonic).saturating_sub(before);
    read(ClockId::MonotonicRaw) + boot.saturating_sub(before).saturating_sub(between)
}

/// The media of [`super::stack::Pair`]'s ha.cf, on a line and on UDP ports of their own.
fn open(node: Node, baud: u32) -> io::Result<[Port; 3]> {
    let media = [
        Medium::Serial { device: "/dev/ttyS1".into(), baud },
        Medium::Broadcast { interface: Network::Private.interface().into(), port: UDP_PORT },
        Medium::Unicast {
            interface: Network::Public.interface().into(),
            peer: Network::Public.address(node.other()).into(),
            port: UDP_PORT,
        },
    ];
    // A loop ends by SIGKILL and leaves its lock behind; its process number may be somebody else's now.
    let locks = std::env::temp_dir().join("bare-loop");
    let _ = std::fs::remove_dir_all(&locks);
    std::fs::create_dir_all(&locks)?;
    let ports = media.map(|medium| Port::open_locking_in(&medium, locks.clone()));
    match ports.iter().find_map(|port| Some((port.name(), port.failure()?))) {
        Some((name, failure)) => Err(io::Error::other(format!("{name}: {failure}"))),
        None => Ok(ports),
    }
}

/// As the daemon reads: datagrams until there is none, a line until a read brings less than it might.
fn drain(port: &mut Port) {
    let line = port.kind() == "serial";
    let mut bytes = [0_u8; CHUNK];
    const { assert!(CHUNK >= MAX_FRAME) };
    while let Receive::Received(len) = port.receive(&mut bytes) {
        if line && len < CHUNK {
            break;
        }
        now();
    }
}

/// Starts the loop in a machine that has power and no daemon. Ends with the machine.
///
/// # Errors
/// It can't be started.
pub fn start(bench: &Bench, node: Node, keepalive: Duration, baud: u32) -> Result<Child, RigError> {
    let failed = |source| RigError::Io { what: "starting the bare loop".to_owned(), source };
    let myself = std::env::current_exe().map_err(failed)?;
    let program = init::inside(&myself);
    let number = (node.index() + 1).to_string();
    let (keepalive, baud) = (keepalive.as_millis().to_string(), baud.to_string());
    let words = ["bare-loop", &number, &keepalive, &baud];
    let mut command = bench.machine(node).command(&program.to_string_lossy(), &words)?;
    command.stdout(Stdio::null()).spawn().map_err(failed)
}
