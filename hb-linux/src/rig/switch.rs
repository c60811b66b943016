//! One Ethernet: a learning switch in user space between the veth ends that machines and the
//! client are plugged into. Not every kernel has netem; this one can cut each port each way.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::{RecvFlags, SendFlags};

use super::{Doing, Mac, RigError, links, sys};

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
    socket: Arc<OwnedFd>,
    out_cut: bool,
    in_cut: bool,
    learned: Vec<Mac>,
}

#[derive(Debug, Default)]
struct Ports {
    next: u64,
    ports: Vec<Port>,
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
        let socket = sys::packet_socket(index).doing(|| format!("capturing on {interface}"))?;
        links::up(interface).doing(|| format!("bringing up {interface}"))?;
        let mut ports = lock(&self.ports);
        let id = PortId(ports.next);
        ports.next += 1;
        ports.ports.push(Port {
            id,
            interface: interface.to_owned(),
            socket: Arc::new(socket),
            out_cut: false,
            in_cut: false,
            learned: Vec::with_capacity(LEARNED),
        });
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
    let mut frame = [MaybeUninit::uninit(); LARGEST_FRAME];
    while !end.load(Ordering::Relaxed) {
        let _ = rustix::io::read(wake, &mut [0_u8; 8]);
        let sockets: Vec<(PortId, Arc<OwnedFd>)> =
            lock(ports).ports.iter().map(|port| (port.id, port.socket.clone())).collect();
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        fds.extend(sockets.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        // EINTR only makes the turn come early.
        let _ = poll(&mut fds, None);
        for (id, socket) in &sockets {
            for _ in 0..BATCH {
                // EAGAIN, or ENETDOWN after the carrier was taken: nothing more for now.
                let Ok(((frame, _), _)) =
                    rustix::net::recv(socket, &mut frame[..], RecvFlags::empty())
                else {
                    break;
                };
                lock(ports).forward(*id, frame);
            }
        }
    }
}

impl Ports {
    /// The only place where a frame's fate is decided.
    fn forward(&mut self, from: PortId, frame: &[u8]) {
        let (Some(destination), Some(source)) = (mac_at(frame, 0), mac_at(frame, 6)) else {
            return;
        };
        let Some(sender) = self.ports.iter_mut().find(|port| port.id == from) else { return };
        if sender.out_cut {
            return;
        }
        if !sender.learned.contains(&source) && sender.learned.len() < LEARNED {
            sender.learned.push(source);
        }
        // The lowest bit of the first byte: broadcast and multicast (IEEE 802.3 §3.2.3).
        let group = destination[0] & 1 == 1;
        let known = self.ports.iter().any(|port| port.learned.contains(&destination));
        for port in self.ports.iter().filter(|port| port.id != from && !port.in_cut) {
            if group || !known || port.learned.contains(&destination) {
                // A full queue or a missing carrier loses the frame, as a real switch does.
                let _ = rustix::net::send(&port.socket, frame, SendFlags::empty());
            }
        }
    }
}

fn mac_at(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}
