//! One Ethernet: a learning switch in user space between the veth ends that machines and the
//! client are plugged into. Not every kernel has netem; this one can cut each port each way, and let
//! what passes through it suffer [`Faults`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::faults::{Faults, Faulty};
use super::{Doing, Mac, RigError, links};
use crate::net::packet::PacketSocket;

/// Every protocol (linux/if_ether.h).
pub(super) const ETH_P_ALL: u16 = 3;
/// Larger than any frame of an interface with the usual MTU of 1500.
const LARGEST_FRAME: usize = 2048;
/// Frames taken from one port before the others get a turn.
const BATCH: usize = 64;
/// Addresses remembered a port; a machine has one.
const LEARNED: usize = 4;

/// A port of a switch, as [`Switch::plug`] numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortId(u64);

/// A direction through a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What the machine sends.
    Out,
    /// What the machine receives.
    In,
}

#[derive(Debug)]
struct Port {
    id: PortId,
    interface: String,
    index: u32,
    socket: Arc<PacketSocket>,
    out_cut: bool,
    in_cut: bool,
    out_faults: Option<Faulty>,
    in_faults: Option<Faulty>,
    learned: Vec<Mac>,
}

/// The port of heartbeat's datagrams (IANA: ha-cluster).
const HEARTBEAT_PORT: [u8; 2] = 694_u16.to_be_bytes();

#[derive(Debug, Default)]
struct Ports {
    next: u64,
    ports: Vec<Port>,
    /// Belongs to the cable, not to what is plugged in at the moment.
    suffering: Vec<(String, Way, Faults)>,
    /// Heartbeats that came in from each cable, before anything happened to them.
    heartbeats: Vec<(String, u64)>,
}

/// A switch with its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Switch {
    ports: Arc<Mutex<Ports>>,
    wake: Arc<OwnedFd>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// A switch with nothing plugged in.
    ///
    /// # Errors
    /// No descriptor or no thread could be had.
    pub fn new() -> io::Result<Self> {
        let ports = Arc::new(Mutex::new(Ports::default()));
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let end = Arc::new(AtomicBool::new(false));
        let (its_ports, its_wake, its_end) = (ports.clone(), wake.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || run(&its_ports, &its_wake, &its_end))?;
        Ok(Self { ports, wake, end, thread: Some(thread) })
    }

    /// Plugs in an interface of the rig's namespace, and brings it up.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn plug(&self, interface: &str) -> Result<PortId, RigError> {
        // At worst the rig's own neighbour discovery shows up on the wire (a read-only /proc/sys
        // in a container): harmless.
        let _ = links::without_ipv6(interface);
        let index =
            links::index(interface).doing(|| format!("looking up the interface {interface}"))?;
        let socket =
            PacketSocket::listen(index, ETH_P_ALL).doing(|| format!("capturing on {interface}"))?;
        links::up(interface).doing(|| format!("bringing up {interface}"))?;
        let mut ports = lock(&self.ports);
        let id = PortId(ports.next);
        ports.next += 1;
        let mut port = Port {
            id,
            interface: interface.to_owned(),
            index,
            socket: Arc::new(socket),
            out_cut: false,
            in_cut: false,
            out_faults: None,
            in_faults: None,
            learned: Vec::with_capacity(LEARNED),
        };
        for (_, way, faults) in ports.suffering.iter().filter(|(name, ..)| name == interface) {
            port.suffer(*way, Some(*faults));
        }
        ports.ports.push(port);
        drop(ports);
        self.wake();
        Ok(id)
    }

    /// Takes a port away at once: not a frame passes any more.
    pub fn unplug(&self, id: PortId) {
        lock(&self.ports).ports.retain(|port| port.id != id);
        self.wake();
    }

    /// Cuts or heals one way through a port; the machine's interface keeps its carrier.
    pub fn cut(&self, id: PortId, way: Way, cut: bool) {
        for port in lock(&self.ports).ports.iter_mut().filter(|port| port.id == id) {
            match way {
                Way::Out => port.out_cut = cut,
                Way::In => port.in_cut = cut,
            }
        }
    }

    /// Lets what passes one way through the port of `interface` suffer, also after it is unplugged
    /// and plugged in again; `None` heals it. What is under way arrives when it would have.
    pub fn faults(&self, interface: &str, way: Way, faults: Option<Faults>) {
        let mut ports = lock(&self.ports);
        ports.suffering.retain(|(other, other_way, _)| other != interface || *other_way != way);
        if let Some(faults) = faults {
            ports.suffering.push((interface.to_owned(), way, faults));
        }
        for port in ports.ports.iter_mut().filter(|port| port.interface == interface) {
            port.suffer(way, faults);
        }
        drop(ports);
        self.wake();
    }

    /// Datagrams for heartbeat's port that the machine behind this cable has sent, whatever became of
    /// them; power cycles don't end the count.
    #[must_use]
    pub fn heartbeats(&self, interface: &str) -> u64 {
        let ports = lock(&self.ports);
        ports.heartbeats.iter().find(|(name, _)| name == interface).map_or(0, |(_, count)| *count)
    }

    /// Pulls the cable out of a machine, or puts it back: its interface loses the carrier.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn carrier(&self, id: PortId, present: bool) -> Result<(), RigError> {
        let interface = lock(&self.ports)
            .ports
            .iter()
            .find(|port| port.id == id)
            .map(|port| port.interface.clone());
        let Some(interface) = interface else { return Ok(()) };
        if present { links::up(&interface) } else { links::down(&interface) }
            .doing(|| format!("changing the carrier of {interface}"))
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(ports: &Mutex<Ports>) -> MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(ports: &Mutex<Ports>, wake: &OwnedFd, end: &AtomicBool) {
    let mut frame = [0; LARGEST_FRAME];
    while !end.load(Ordering::Relaxed) {
        let _ = rustix::io::read(wake, &mut [0_u8; 8]);
        let (sockets, due) = {
            let ports = lock(ports);
            let sockets: Vec<(PortId, Arc<PacketSocket>)> =
                ports.ports.iter().map(|port| (port.id, port.socket.clone())).collect();
            (sockets, ports.due())
        };
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        fds.extend(sockets.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        let timeout = due.map(|due| {
            let span = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: span.as_secs().cast_signed(), tv_nsec: span.subsec_nanos().into() }
        });
        // EINTR only makes the turn come early.
        let _ = poll(&mut fds, timeout.as_ref());
        if due.is_some() {
            lock(ports).release(Instant::now());
        }
        for (id, socket) in &sockets {
            for _ in 0..BATCH {
                // EAGAIN, or ENETDOWN after the carrier was taken: nothing more for now.
                let Ok(length) = socket.receive(&mut frame) else { break };
                lock(ports).forward(*id, &frame[..length]);
            }
        }
    }
}

impl Ports {
    /// What comes in at a port. The only place where a frame's fate is decided.
    fn forward(&mut self, from: PortId, frame: &[u8]) {
        let Some(source) = mac_at(frame, 6) else { return };
        let Some(sender) = self.ports.iter_mut().find(|port| port.id == from) else { return };
        if is_heartbeat(frame) {
            match self.heartbeats.iter_mut().find(|(name, _)| *name == sender.interface) {
                Some((_, count)) => *count += 1,
                None => self.heartbeats.push((sender.interface.clone(), 1)),
            }
        }
        if sender.out_cut {
            return;
        }
        if !sender.learned.contains(&source) && sender.learned.len() < LEARNED {
            sender.learned.push(source);
        }
        match &mut sender.out_faults {
            Some(faulty) => {
                let now = Instant::now();
                faulty.put(now, frame);
                self.release(now);
            }
            None => self.spread(from, frame),
        }
    }

    /// To every port that it is for.
    fn spread(&mut self, from: PortId, frame: &[u8]) {
        let Some(destination) = mac_at(frame, 0) else { return };
        // The lowest bit of the first byte: broadcast and multicast (IEEE 802.3 §3.2.3).
        let group = destination[0] & 1 == 1;
        let known = self.ports.iter().any(|port| port.learned.contains(&destination));
        for port in self.ports.iter_mut().filter(|port| port.id != from && !port.in_cut) {
            if group || !known || port.learned.contains(&destination) {
                match &mut port.in_faults {
                    Some(faulty) => faulty.put(Instant::now(), frame),
                    None => port.send(frame),
                }
            }
        }
        if self.ports.iter().any(|port| port.in_faults.is_some()) {
            self.deliver(Instant::now());
        }
    }

    /// Frames that faults have delayed until now go on.
    fn release(&mut self, now: Instant) {
        for at in 0..self.ports.len() {
            let from = self.ports[at].id;
            while let Some(frame) =
                self.ports[at].out_faults.as_mut().and_then(|faulty| faulty.take(now))
            {
                if !self.ports[at].out_cut {
                    self.spread(from, &frame);
                }
            }
        }
        self.deliver(now);
    }

    fn deliver(&mut self, now: Instant) {
        for port in &mut self.ports {
            while let Some(frame) = port.in_faults.as_mut().and_then(|faulty| faulty.take(now)) {
                if !port.in_cut {
                    port.send(&frame);
                }
            }
        }
    }

    /// When [`Self::release`] has something to do next.
    fn due(&self) -> Option<Instant> {
        let faulty = self.ports.iter().flat_map(|port| [&port.out_faults, &port.in_faults]);
        faulty.flatten().filter_map(Faulty::due).min()
    }
}

impl Port {
    fn suffer(&mut self, way: Way, faults: Option<Faults>) {
        let faulty = match way {
            Way::Out => &mut self.out_faults,
            Way::In => &mut self.in_faults,
        };
        match (faulty, faults) {
            (Some(faulty), faults) => faulty.change(faults.unwrap_or_default()),
            (none, faults) => *none = faults.map(Faulty::new),
        }
    }

    fn send(&self, frame: &[u8]) {
        // A full queue or a missing carrier loses the frame, as a real switch does.
        let _ = self.socket.send(self.index, ETH_P_ALL, frame);
    }
}

/// IPv4, UDP, to heartbeat's port (RFC 894, RFC 791, RFC 768).
fn is_heartbeat(frame: &[u8]) -> bool {
    let udp = frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&17);
    let header = frame.get(14).map_or(0, |byte| usize::from(byte & 0x0F) * 4);
    udp && frame.get(14 + header + 2..14 + header + 4) == Some(&HEARTBEAT_PORT)
}

fn mac_at(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}
