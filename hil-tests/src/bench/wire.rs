//! What really is on the wires: frames captured at the rig's end of a machine's cables.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hb_linux::net::packet::PacketSocket;
use hb_linux::rig::bench::{Bench, Network, Node};
use hb_linux::rig::{Mac, links};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::machine::real_time;

const ETH_P_ALL: u16 = 3;
const UDP: u8 = 17;
/// VRRP (RFC 5798 §5.1.1.4).
const VRRP: u8 = 112;
const HEARTBEAT_PORT: u16 = 694;

/// A heartbeat seen on a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Where.
    pub network: Network,
    /// Bytes that its program handed to the kernel (UDP payload; for VRRP what follows the IP header).
    pub payload: usize,
    /// Bytes of the Ethernet frame, without its checksum.
    pub frame: usize,
}

/// Captures the heartbeats that a machine sends. Dropping it ends the thread.
#[derive(Debug)]
pub struct Tap {
    seen: Arc<Mutex<Vec<Seen>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Listens at both of a machine's cables until dropped, or until the machine loses power.
    ///
    /// # Errors
    /// The machine has no power.
    pub fn start(node: Node) -> io::Result<Self> {
        let open = |network: Network| {
            let index = links::index(&Bench::wire(node, network))?;
            Ok::<_, io::Error>((network, PacketSocket::listen(index, ETH_P_ALL)?))
        };
        let sockets = [open(Network::Public)?, open(Network::Private)?];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(AtomicBool::new(false));
        let (its_seen, its_end) = (seen.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            real_time();
            while !its_end.load(Ordering::Relaxed) {
                listen(node, &sockets, &its_seen);
            }
        });
        Ok(Self { seen, end, thread: Some(thread) })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(node: Node, sockets: &[(Network, PacketSocket); 2], seen: &Mutex<Vec<Seen>>) {
    let mut fds = sockets.each_ref().map(|(_, socket)| PollFd::new(socket, PollFlags::IN));
    let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let _ = poll(&mut fds, Some(&timeout));
    if fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)) {
        // The machine has lost power and its interfaces with it.
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut frame = [0; 2048];
    for (network, socket) in sockets {
        while let Ok(length) = socket.receive(&mut frame) {
            if let Some(payload) = heartbeat(&frame[..length], network.mac(node)) {
                let at = Instant::now();
                let entry = Seen { at, network: *network, payload, frame: length };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            }
        }
    }
}

/// The payload's length, if this is a heartbeat from `sender`.
fn heartbeat(frame: &[u8], sender: Mac) -> Option<usize> {
    let ip = frame.get(14..)?;
    // keepalived sends from its own hardware address unless use_vmac is set.
    if frame.get(6..12)? != sender || frame.get(12..14)? != [8, 0] {
        return None;
    }
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?));
    match *ip.get(9)? {
        UDP => {
            let to = u16::from_be_bytes(ip.get(header + 2..header + 4)?.try_into().ok()?);
            (to == HEARTBEAT_PORT).then(|| total.saturating_sub(header + 8))
        }
        VRRP => Some(total.saturating_sub(header)),
        _ => None,
    }
}

/// Heartbeats of one medium.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Counted {
    /// How many.
    pub heartbeats: usize,
    /// Smallest payload, bytes.
    pub smallest: usize,
    /// The commonest payload, bytes.
    pub usual: usize,
    /// Largest payload, bytes.
    pub largest: usize,
    /// Mean payload, bytes.
    pub mean: f64,
    /// Mean Ethernet frame, bytes; 0 for a serial line.
    pub mean_frame: f64,
}

impl Counted {
    /// Of those seen on one network.
    #[must_use]
    pub fn on(network: Network, seen: &[Seen]) -> Self {
        let here: Vec<&Seen> = seen.iter().filter(|seen| seen.network == network).collect();
        let mut sizes = BTreeMap::<usize, usize>::new();
        for seen in &here {
            *sizes.entry(seen.payload).or_default() += 1;
        }
        let mean = |of: fn(&Seen) -> usize| {
            here.iter().map(|seen| of(seen)).sum::<usize>() as f64 / here.len().max(1) as f64
        };
        Self {
            heartbeats: here.len(),
            smallest: sizes.keys().next().copied().unwrap_or(0),
            usual: sizes.iter().max_by_key(|(_, count)| **count).map_or(0, |(size, _)| *size),
            largest: sizes.keys().next_back().copied().unwrap_or(0),
            mean: mean(|seen| seen.payload),
            mean_frame: mean(|seen| seen.frame),
        }
    }
}
