//! Everything that is on the machines' networks: for the evidence, and for announcements of addresses.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hb_linux::net::packet::{ETHERTYPE_ARP, PacketSocket};
use hb_linux::rig::Mac;
use hb_proto::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::chronicle::Clock;
use crate::netns::observer::gratuitous;
use crate::scenario::cluster::Machine;
use crate::scenario::rig::{Moment, Source};
use crate::wires::silences;

/// Every protocol (linux/if_ether.h).
pub const ETH_P_ALL: u16 = 3;
/// A new cable is seen this soon.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Frames kept, the newest: minutes of a story.
const KEPT: usize = 60_000;
/// Heartbeat's, in the rig's ha.cf.
const PORT: u16 = 694;
/// Frames of one announcement are no further apart.
const ANNOUNCEMENT: Duration = Duration::from_secs(2);
/// Of each frame this much: a whole heartbeat.
const SNAP: usize = 400;

/// Whose hardware address it is.
pub type Owner = Box<dyn Fn(Mac) -> Option<Machine> + Send>;

/// Where something listens.
#[derive(Clone, Debug)]
struct Tap {
    /// The machine whose cable this is; None: a place of the network's own, where everybody's broadcasts arrive.
    cable_of: Option<Machine>,
    /// 0 is the public one.
    network: usize,
    socket: Arc<PacketSocket>,
}

struct State {
    owner: Owner,
    taps: Vec<Tap>,
    frames: VecDeque<(Instant, usize, Vec<u8>)>,
    announced: Vec<(Instant, Machine, Ipv4Addr)>,
}

/// With its thread. Dropping it ends the thread.
pub struct Capture {
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Nothing is tapped yet. `owner` tells whose frame it is by its sender's address.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(clock: Clock, owner: Owner) -> io::Result<Self> {
        let (taps, frames, announced) = (Vec::new(), VecDeque::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { owner, taps, frames, announced }));
        let end = Arc::new(AtomicBool::new(false));
        let (its_state, its_end) = (state.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || run(clock, &its_state, &its_end))?;
        Ok(Self { state, end, thread: Some(thread) })
    }

    /// Listens on the rig's end of a machine's cable, or on an interface in the network itself; `network` is 0 for the
    /// public one.
    ///
    /// # Errors
    /// The interface isn't there.
    pub fn tap(&self, cable_of: Option<Machine>, network: usize, index: u32) -> io::Result<()> {
        let socket = Arc::new(PacketSocket::listen(index, ETH_P_ALL)?);
        let mut state = lock(&self.state);
        state.taps.retain(|tap| (tap.cable_of, tap.network) != (cable_of, network));
        state.taps.push(Tap { cable_of, network, socket });
        Ok(())
    }

    /// When the machine announced the address.
    #[must_use]
    pub fn announcements(&self, machine: Machine, ip: Ipv4Addr) -> Vec<Instant> {
        let state = lock(&self.state);
        let its = state.announced.iter().filter(|one| (one.1, one.2) == (machine, ip));
        its.map(|one| one.0).collect()
    }

    /// For the merged timeline, up to `end`: who sends no heartbeat for `gap` and longer, and announcements.
    #[must_use]
    pub fn moments(&self, gap: Duration, end: Instant) -> Vec<Moment> {
        let state = lock(&self.state);
        let mut moments = Vec::new();
        for (network, name) in ["eth0", "eth1"].into_iter().enumerate() {
            for machine in Machine::BOTH {
                let its = state.frames.iter().filter(|(_, of, frame)| {
                    *of == network && state.sender(frame) == Some(machine) && is_heartbeat(frame)
                });
                let words = format!("{name}: {machine} sends no heartbeat");
                moments.extend(silences(its.map(|(at, ..)| *at), gap, end, &words));
            }
        }
        let mut before: Option<&(Instant, Machine, Ipv4Addr)> = None;
        for one in &state.announced {
            let (at, machine, ip) = *one;
            // An announcement is several frames, at once and again some time later.
            let again = before.is_some_and(|last| {
                (last.1, last.2) == (machine, ip) && at.since(last.0) < ANNOUNCEMENT
            });
            if !again {
                let text = format!("eth0: {machine} announces {ip}");
                moments.push(Moment { at, source: Source::Wire, text });
            }
            before = Some(one);
        }
        moments
    }

    /// A pcap file for each network that was listened to, as the file format has it (draft-ietf-opsawg-pcap): times are the rig's.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        let state = lock(&self.state);
        for (network, name) in ["public.pcap", "private.pcap"].into_iter().enumerate() {
            if !state.taps.iter().any(|tap| tap.network == network) {
                continue;
            }
            let mut file = BufWriter::new(File::create(directory.join(name))?);
            // Magic of microseconds, version 2.4, zone, accuracy, snapshot length, link type 1: Ethernet.
            let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, SNAP as u32, 1];
            for word in header {
                file.write_all(&u32::to_le_bytes(word))?;
            }
            for (at, _, frame) in state.frames.iter().filter(|one| one.1 == network) {
                let (s, us) = (at.micros() / 1_000_000, at.micros() % 1_000_000);
                let length = frame.len() as u32;
                for word in [s as u32, us as u32, length, length] {
                    file.write_all(&word.to_le_bytes())?;
                }
                file.write_all(frame)?;
            }
            file.flush()?;
        }
        Ok(())
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(clock: Clock, state: &Mutex<State>, end: &AtomicBool) {
    let mut frame = [0; 2048];
    while !end.load(Ordering::Relaxed) {
        let taps = lock(state).taps.clone();
        let mut fds: Vec<_> =
            taps.iter().map(|tap| PollFd::new(&tap.socket, PollFlags::IN)).collect();
        // EINTR only makes the turn come early; a cable that is gone has an error to say each time.
        if poll(&mut fds, Some(&LOOK_EVERY)).is_ok_and(|ready| ready > 0) {
            drop(fds);
            let mut any = false;
            for tap in &taps {
                while let Ok(length) = tap.socket.receive(&mut frame) {
                    any = true;
                    lock(state).note(clock.now(), tap.cable_of, tap.network, &frame[..length]);
                }
            }
            if !any {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

/// UDP over IPv4, to heartbeat's port; without fragments (RFC 791, RFC 768).
fn is_heartbeat(frame: &[u8]) -> bool {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const UDP: u8 = 17;
    let Some(header) = frame.get(14).map(|first| usize::from(first & 0x0F) * 4) else {
        return false;
    };
    frame.get(12..14) == Some(&IPV4)
        && frame.get(14 + 9) == Some(&UDP)
        && frame.get(14 + header + 2..14 + header + 4) == Some(&PORT.to_be_bytes())
}

impl State {
    /// The machine whose own address the frame comes from.
    fn sender(&self, frame: &[u8]) -> Option<Machine> {
        let mac: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
        (self.owner)(mac)
    }

    fn note(&mut self, at: Instant, cable_of: Option<Machine>, network: usize, frame: &[u8]) {
        // A frame is on two cables: each machine's own are taken from its cable, everybody else's from A's.
        let sender = self.sender(frame);
        let taken_from = sender.unwrap_or(Machine::A);
        if cable_of.is_some_and(|machine| machine != taken_from) {
            return;
        }
        if network == 0
            && frame.get(12..14) == Some(&ETHERTYPE_ARP.to_be_bytes())
            && let (Some(ip), Some(machine)) = (gratuitous(frame), sender)
        {
            self.announced.push((at, machine, ip));
        }
        if self.frames.len() == KEPT {
            self.frames.pop_front();
        }
        self.frames.push_back((at, network, frame[..frame.len().min(SNAP)].to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 3);

    /// An announcement by whoever has the address that ends in `sender`.
    fn announcement(sender: u8) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, sender]);
        frame.extend(ETHERTYPE_ARP.to_be_bytes());
        // RFC 826: 14 bytes before the sender's protocol address, 6 between the two.
        frame.extend([0; 14]);
        frame.extend(SERVICE.octets());
        frame.extend([0; 6]);
        frame.extend(SERVICE.octets());
        frame
    }

    #[test]
    fn a_frame_on_two_cables_counts_once_and_one_in_the_network_itself_counts() {
        let owner = |mac: Mac| match mac[5] {
            1 => Some(Machine::A),
            2 => Some(Machine::B),
            _ => None,
        };
        let (taps, frames, announced) = (Vec::new(), VecDeque::new(), Vec::new());
        let mut state = State { owner: Box::new(owner), taps, frames, announced };
        for (cable_of, sender) in [
            (Some(Machine::A), 1),
            (Some(Machine::B), 1),
            (Some(Machine::B), 2),
            (None, 2),
            (None, 9),
            (Some(Machine::B), 9),
        ] {
            state.note(Instant::ZERO, cable_of, 0, &announcement(sender));
        }
        let said: Vec<_> = state.announced.iter().map(|one| (one.1, one.2)).collect();
        assert_eq!(said, [Machine::A, Machine::B, Machine::B].map(|machine| (machine, SERVICE)));
        let kept: Vec<_> = state.frames.iter().map(|one| one.2[11]).collect();
        assert_eq!(kept, [1, 2, 2, 9]);
    }
}
