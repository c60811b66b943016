//! What the rig sees of its machines by itself: addresses from the kernel's own announcements
//! (rtnetlink(7)) in each machine's namespace, scripts from their journal, logs as they grow.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hb_linux::net::packet::{ETHERTYPE_ARP, PacketSocket};
use hb_proto::time::Instant;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::files::JOURNAL;
use crate::chronicle::{Chronicle, Clock, is_log_line, script_line};
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::rig::{Moment, Source};

/// linux/rtnetlink.h: changes of IPv4 addresses.
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
/// Files are looked at this often.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// A file that grows, read from where it was left.
#[derive(Debug)]
pub(crate) struct Growing {
    path: PathBuf,
    at: u64,
    /// A line whose end hasn't been written.
    begun: String,
}

impl Growing {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, at: 0, begun: String::new() }
    }

    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut text = String::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        // Not there yet: nothing was written.
        if let Ok(bytes) = read {
            self.at += bytes.len() as u64;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        self.begun.push_str(&text);
        let Some(end) = self.begun.rfind('\n') else { return Vec::new() };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        whole.lines().map(str::to_owned).collect()
    }
}

/// What is followed of one machine.
#[derive(Debug)]
struct Followed {
    /// In the machine's network; None without power.
    socket: Option<Socket>,
    /// All ARP that the machine sends to where the clients are.
    wire: Option<PacketSocket>,
    scripts: Growing,
    /// ha-log, and what the daemon says on its standard output and error.
    logs: [Growing; 2],
    /// Since when it has had no power.
    dead_since: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    clock: Clock,
    machines: [Followed; 2],
    chronicle: Chronicle,
    announcements: Vec<(Instant, Machine, Ipv4Addr)>,
}

/// The observer with its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    wake: Arc<OwnedFd>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A socket that hears of every change of an address in the calling thread's network namespace.
///
/// # Errors
/// What the kernel answered.
pub fn listen() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, RTMGRP_IPV4_IFADDR))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Hears all ARP on an interface of the rig.
///
/// # Errors
/// What the kernel answered.
pub fn tap(interface: &str) -> io::Result<PacketSocket> {
    let interfaces = hb_linux::net::interfaces()?;
    let index = interfaces.iter().find(|one| one.name == interface).map(|one| one.index);
    PacketSocket::listen(index.ok_or(io::ErrorKind::NotFound)?, ETHERTYPE_ARP)
}

impl Observer {
    /// Follows two machines' files; `log` finds a file of a machine's /var/log.
    ///
    /// # Errors
    /// No descriptor or no thread could be had.
    pub fn start(
        clock: Clock,
        cluster: Cluster,
        log: impl Fn(Machine, &str) -> PathBuf,
    ) -> io::Result<Self> {
        let machines = Machine::BOTH.map(|machine| Followed {
            socket: None,
            wire: None,
            scripts: Growing::new(log(machine, JOURNAL)),
            logs: [
                Growing::new(log(machine, "ha-log")),
                Growing::new(log(machine, "heartbeatd.out")),
            ],
            dead_since: None,
        });
        let seen = Arc::new(Mutex::new(Seen {
            clock,
            machines,
            chronicle: Chronicle::new(cluster),
            announcements: Vec::new(),
        }));
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let end = Arc::new(AtomicBool::new(false));
        let (its_seen, its_wake, its_end) = (seen.clone(), wake.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("observer".into())
            .spawn(move || run(&its_seen, &its_wake, &its_end))?;
        Ok(Self { seen, wake, end, thread: Some(thread) })
    }

    /// The machine has power; `socket` was opened in its network by [`listen`], `wire` by
    /// [`tap`] on the rig's end of its cable.
    pub fn power_on(&self, machine: Machine, socket: Socket, wire: PacketSocket) {
        let mut seen = lock(&self.seen);
        let followed = &mut seen.machines[machine.index()];
        (followed.socket, followed.wire) = (Some(socket), Some(wire));
        followed.dead_since = None;
        drop(seen);
        self.wake();
    }

    /// The machine had power until `at`: whatever it had then is gone, whatever seemed to happen
    /// on it since was its end.
    pub fn power_lost(&self, machine: Machine, at: Instant) {
        let mut seen = lock(&self.seen);
        seen.look();
        let followed = &mut seen.machines[machine.index()];
        (followed.socket, followed.wire) = (None, None);
        followed.dead_since = Some(at);
        seen.chronicle.power_lost(machine, at);
    }

    /// All that was seen so far.
    pub fn chronicle<T>(&self, read: impl FnOnce(&Chronicle) -> T) -> T {
        let mut seen = lock(&self.seen);
        seen.look();
        read(&seen.chronicle)
    }

    /// When the machine announced the address.
    #[must_use]
    pub fn announcements(&self, machine: Machine, ip: Ipv4Addr) -> Vec<Instant> {
        let mut seen = lock(&self.seen);
        seen.look();
        let its = seen.announcements.iter().filter(|one| (one.1, one.2) == (machine, ip));
        its.map(|one| one.0).collect()
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(seen: &Mutex<Seen>, wake: &OwnedFd, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        let _ = rustix::io::read(wake, &mut [0_u8; 8]);
        // Duplicates: a machine may lose power while the thread sleeps.
        let sockets: Vec<OwnedFd> = lock(seen)
            .machines
            .iter()
            .flat_map(|machine| {
                let socket = machine.socket.as_ref().map(AsFd::as_fd);
                let wire = machine.wire.as_ref().map(AsFd::as_fd);
                [socket, wire].into_iter().flatten()
            })
            .filter_map(|fd| fd.try_clone_to_owned().ok())
            .collect();
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        fds.extend(sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        // EINTR only makes the turn come early.
        let _ = poll(&mut fds, Some(&LOOK_EVERY));
        lock(seen).look();
    }
}

impl Seen {
    fn look(&mut self) {
        self.look_at_addresses();
        for machine in Machine::BOTH {
            self.look_at_wire(machine);
            self.look_at_scripts(machine);
            self.look_at_logs(machine);
        }
    }

    /// Whatever came before the last read found nothing has one time: an address that went from
    /// one machine to the other meanwhile was never on both.
    fn look_at_addresses(&mut self) {
        let mut changes = Vec::new();
        loop {
            let before = changes.len();
            for machine in Machine::BOTH {
                if let Some(socket) = &self.machines[machine.index()].socket {
                    changes.extend(receive(socket).into_iter().map(|change| (machine, change)));
                }
            }
            if changes.len() == before {
                break;
            }
        }
        let at = self.clock.now();
        for (machine, (ip, held)) in changes {
            self.chronicle.note_address(at, machine, ip, held);
        }
    }

    fn look_at_wire(&mut self, machine: Machine) {
        let at = self.clock.now();
        let mut frame = [0; 64];
        let Some(wire) = &self.machines[machine.index()].wire else { return };
        while let Ok(length) = wire.receive(&mut frame) {
            if let Some(ip) = gratuitous(&frame[..length]) {
                self.announcements.push((at, machine, ip));
            }
        }
    }

    fn look_at_scripts(&mut self, machine: Machine) {
        let followed = &mut self.machines[machine.index()];
        let (lines, dead_since) = (followed.scripts.lines(), followed.dead_since);
        for line in lines {
            let Some((at, name, deed)) = script_line(&line) else { continue };
            let at = self.clock.at_wall(at);
            if dead_since.is_some_and(|dead| at > dead) {
                continue;
            }
            self.chronicle.note_script(at, machine, name, deed);
        }
    }

    fn look_at_logs(&mut self, machine: Machine) {
        let at = self.clock.now();
        let logs = &mut self.machines[machine.index()].logs;
        let lines: Vec<String> = match logs {
            [log, words] => {
                let mut lines = log.lines();
                // The daemon's own output repeats its log; what it repeats not is worth a look.
                lines.extend(words.lines().into_iter().filter(|line| !is_log_line(line)));
                lines
            }
        };
        for text in lines {
            self.chronicle.note_line(Moment { at, source: Source::Log(machine), text });
        }
    }
}

/// The address that an ARP packet announces: sender and target are the same (RFC 5227 §3).
pub(crate) fn gratuitous(frame: &[u8]) -> Option<Ipv4Addr> {
    // Ethernet header, then RFC 826: sender's protocol address at 14, target's at 24.
    let at = |from: usize| -> Option<[u8; 4]> { frame.get(from..from + 4)?.try_into().ok() };
    let (sender, target) = (at(14 + 14)?, at(14 + 24)?);
    (sender == target).then(|| sender.into())
}

fn receive(socket: &Socket) -> Vec<(Ipv4Addr, bool)> {
    let mut changes = Vec::new();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        buffer.clear();
        // EAGAIN: all is read. ENOBUFS can't come from a machine's few addresses.
        let Ok(length) = socket.recv(&mut buffer, 0) else { return changes };
        let mut rest = &buffer[..length];
        while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            match &message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                    changes.extend(local(address).map(|ip| (ip, true)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
                    changes.extend(local(address).map(|ip| (ip, false)));
                }
                _ => {}
            }
            // Messages are aligned to 4 bytes (netlink(7)).
            let length = (message.header.length as usize).next_multiple_of(4);
            if length == 0 || length >= rest.len() {
                break;
            }
            rest = &rest[length..];
        }
    }
}

fn local(address: &AddressMessage) -> Option<Ipv4Addr> {
    address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })
}

/// Copies a machine's files for a person to read.
///
/// # Errors
/// What the file system answered.
pub fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name))?;
        } else if kind.is_dir() {
            copy_all(&entry.path(), &to.join(name))?;
        }
    }
    Ok(())
}
