//! The least that three media can cost: a loop of the daemon's own system calls and nothing between
//! them.
//!
//! Each keepalive one frame of the same length leaves on each medium, and the other machine's loop
//! sends the same back; waits, reads until there is nothing more, writes and clock reads are those that
//! strace shows of the daemon. No tag, no decoding, no decision.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Network, Node};
use hb_linux::rig::init;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustix::time::{ClockId, clock_gettime};

/// What a status frame takes on a line and in a datagram.
const LINE_BYTES: usize = 32;
const DATAGRAM_BYTES: usize = 30;
/// Of the daemon's reads.
const READ_BYTES: usize = 256;
const PORT: u16 = 6940;

/// One medium of the loop.
enum Medium {
    Serial(OwnedFd),
    Datagram(UdpSocket, SocketAddrV4),
}

/// The loop, in the machine `node`, until killed.
///
/// # Errors
/// A medium can't be opened.
pub fn run(node: Node, keepalive: Duration, baud: u32) -> io::Result<()> {
    let media = open(node, baud)?;
    // As the daemon: on a busy host a loop that runs late finds more at once and wakes up less often.
    if !super::machine::round_robin("1") {
        eprintln!("bare loop: at ordinary priority, so it may wake up less often than the daemon");
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (at, medium) in media.iter().enumerate() {
        let data = EventData::new_u64(at as u64);
        match medium {
            Medium::Serial(line) => epoll::add(&epoll, line, data, EventFlags::IN)?,
            Medium::Datagram(socket, _) => epoll::add(&epoll, socket, data, EventFlags::IN)?,
        }
    }
    let mut next = now() + keepalive;
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
            drain(&media[event.data.u64() as usize]);
        }
        now();
        if now() >= next {
            next += keepalive;
            for medium in &media {
                now();
                send(medium);
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

fn open(node: Node, baud: u32) -> io::Result<[Medium; 3]> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let line = rustix::fs::open("/dev/ttyS0", flags, Mode::empty())?;
    let mut termios = tcgetattr(&line)?;
    termios.make_raw();
    termios.set_speed(baud)?;
    tcsetattr(&line, OptionalActions::Now, &termios)?;
    let datagram = |port: u16, to: Ipv4Addr| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(Medium::Datagram(socket, SocketAddrV4::new(to, port)))
    };
    // Not to the broadcast address: that comes back to the sender, which the daemon keeps away from its
    // sockets by a filter, and which would wake up this loop once more.
    let private = datagram(PORT, Network::Private.address(node.other()))?;
    let public = datagram(PORT + 1, Network::Public.address(node.other()))?;
    Ok([Medium::Serial(line), private, public])
}

fn drain(medium: &Medium) {
    let mut bytes = [0_u8; READ_BYTES];
    match medium {
        Medium::Serial(line) => while matches!(rustix::io::read(line, &mut bytes), Ok(1..)) {},
        Medium::Datagram(socket, _) => {
            while socket.recv_from(&mut bytes).is_ok() {
                now();
            }
        }
    }
}

/// A full queue loses the frame.
fn send(medium: &Medium) {
    match medium {
        Medium::Serial(line) => {
            // The daemon asks for what still waits to be sent (TIOCOUTQ); this asks for what waits
            // to be read, which takes the kernel the same way.
            let _ = rustix::io::ioctl_fionread(line);
            let _ = rustix::io::write(line, &[0x55; LINE_BYTES]);
        }
        Medium::Datagram(socket, to) => {
            let _ = socket.send_to(&[0x55; DATAGRAM_BYTES], *to);
        }
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
