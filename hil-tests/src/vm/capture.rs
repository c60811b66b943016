//! Everything that is on the guests' cables: for the evidence, and for announcements of addresses.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hb_linux::net::packet::{ETHERTYPE_ARP, PacketSocket};
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

#[derive(Debug, Default)]
struct State {
    taps: Vec<(Machine, usize, Arc<PacketSocket>)>,
    frames: VecDeque<(Instant, usize, Vec<u8>)>,
    announced: Vec<(Instant, Machine, Ipv4Addr)>,
}

/// With its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Capture {
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Nothing is tapped yet.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(clock: Clock) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let end = Arc::new(AtomicBool::new(false));
        let (its_state, its_end) = (state.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || run(clock, &its_state, &its_end))?;
        Ok(Self { state, end, thread: Some(thread) })
    }

    /// Listens on the rig's end of a machine's cable; `network` is 0 for the public one.
    ///
    /// # Errors
    /// The interface isn't there.
    pub fn tap(&self, machine: Machine, network: usize, index: u32) -> io::Result<()> {
        let socket = Arc::new(PacketSocket::listen(index, ETH_P_ALL)?);
        let mut state = lock(&self.state);
        state.taps.retain(|tap| (tap.0, tap.1) != (machine, network));
        state.taps.push((machine, network, socket));
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
                    *of == network && sender(frame) == Some(machine) && is_heartbeat(frame)
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

    /// A pcap file for each network, as the file format has it (draft-ietf-opsawg-pcap): times are the rig's.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        let state = lock(&self.state);
        for (network, name) in ["public.pcap", "private.pcap"].into_iter().enumerate() {
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
        let mut fds: Vec<_> = taps.iter().map(|tap| PollFd::new(&tap.2, PollFlags::IN)).collect();
        // EINTR only makes the turn come early; a cable that is gone has an error to say each time.
        if poll(&mut fds, Some(&LOOK_EVERY)).is_ok_and(|ready| ready > 0) {
            drop(fds);
            let mut any = false;
            for (machine, network, tap) in &taps {
                while let Ok(length) = tap.receive(&mut frame) {
                    any = true;
                    note(&mut lock(state), clock.now(), *machine, *network, &frame[..length]);
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

/// The guest whose own address the frame comes from (see `bench`).
fn sender(frame: &[u8]) -> Option<Machine> {
    let number = usize::from(frame.get(10).copied()?);
    Machine::BOTH.into_iter().find(|machine| machine.index() + 1 == number)
}

fn note(state: &mut State, at: Instant, machine: Machine, network: usize, frame: &[u8]) {
    if network == 0
        && frame.get(12..14) == Some(&ETHERTYPE_ARP.to_be_bytes())
        && let Some(ip) = gratuitous(frame)
        // What the switch brings from elsewhere passes here too: byte 10 of a guest's own address is its
        // number (see `bench`).
        && sender(frame) == Some(machine)
    {
        state.announced.push((at, machine, ip));
    }
    // A frame is on two cables: each machine's own are taken from its cable, everybody else's from A's.
    let sender = sender(frame);
    if sender.unwrap_or(Machine::A) == machine {
        if state.frames.len() == KEPT {
            state.frames.pop_front();
        }
        state.frames.push_back((at, network, frame[..frame.len().min(SNAP)].to_vec()));
    }
}
