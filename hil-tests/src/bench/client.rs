//! The client of the benchmark: an ordinary IPv4 host that pings the service address every 2 ms.
//!
//! The kernel of its network namespace keeps the neighbour table, as on any client; the frames that
//! come back are captured, so each answer has the hardware address that gave it.

use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hb_linux::net::packet::PacketSocket;
use hb_linux::rig::bench::{Bench, CLIENT, Network, Node, SERVICE};
use hb_linux::rig::probe::{Answer, CLIENT_MAC, Outcome, Record, Sighting};
use hb_linux::rig::{Mac, RigError, links, sys};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::machine::real_time;

/// A question this often.
pub const ASK_EVERY: Duration = Duration::from_millis(2);
/// While holders are watched, everybody is asked this often who has the address.
pub const WHO_HAS_EVERY: Duration = Duration::from_millis(5);
/// Asks "who has" in place of the client: an answer to the client itself would mend its neighbour
/// table, and hide an announcement that is missing.
const OBSERVER_MAC: Mac = [2, 0, 0, 0, 0x64, 2];

const OURS: &str = "asker";
const THEIRS: &str = "eth0";
const PREFIX: u8 = 24;
const ETH_P_ALL: u16 = 3;
const ETH_P_ARP: u16 = 0x0806;
/// The echo identifier (RFC 792).
const IDENT: u16 = 0x6862;

/// The client, with its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Client {
    record: Arc<Mutex<Record>>,
    watch_holders: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Plugs it into the public network; it starts asking.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn start(bench: &Bench) -> Result<Self, RigError> {
        let record = Arc::new(Mutex::new(Record::default()));
        let (watch_holders, end) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (tell_network, network) = mpsc::channel();
        let (plugged, is_plugged) = mpsc::channel::<()>();
        let (tell_state, state) = mpsc::channel();
        let (its_record, its_watch, its_end) = (record.clone(), watch_holders.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("client".into())
            .spawn(move || {
                let _ = tell_network.send(own_network());
                if is_plugged.recv().is_err() {
                    return;
                }
                match Asker::new() {
                    Ok(mut asker) => {
                        let _ = tell_state.send(Ok(()));
                        real_time();
                        asker.run(&its_record, &its_watch, &its_end);
                    }
                    Err(error) => {
                        let _ = tell_state.send(Err(error));
                    }
                }
            })
            .map_err(failed("starting the client"))?;
        let client = Self { record, watch_holders, end, thread: Some(thread) };
        let gone = |_| RigError::Io {
            what: "the client's thread".into(),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let network = network
            .recv()
            .map_err(gone)?
            .map_err(failed("making the client's network namespace"))?;
        let _ = links::delete(OURS);
        links::veth(OURS, THEIRS, CLIENT_MAC, network.as_fd())
            .map_err(failed("making the client's interface"))?;
        bench.switch(Network::Public).plug(OURS)?;
        let _ = plugged.send(());
        state
            .recv()
            .map_err(|_| RigError::Io {
                what: "the client's thread".into(),
                source: io::ErrorKind::BrokenPipe.into(),
            })?
            .map_err(failed("configuring the client"))?;
        Ok(client)
    }

    /// Reads the record; the client waits meanwhile, so be quick.
    pub fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&lock(&self.record))
    }

    /// Whether to ask all the time who has the address; fills [`Record::sightings`].
    pub fn watch_holders(&self, watch: bool) {
        self.watch_holders.store(watch, Ordering::Relaxed);
    }

    /// Who answered within the last 50 ms.
    #[must_use]
    pub fn served_by(&self) -> Option<Node> {
        let last = self.read(|record| record.last_good().copied())?;
        if last.done.elapsed() > Duration::from_millis(50) {
            return None;
        }
        Node::BOTH.into_iter().find(|node| Some(Network::Public.mac(*node)) == last.mac)
    }

    /// When the first answer from `node` after `event` came.
    #[must_use]
    pub fn first_answer_of(&self, node: Node, event: Instant) -> Option<Instant> {
        let mac = Some(Network::Public.mac(node));
        self.read(|record| {
            let after = record.answers.partition_point(|answer| answer.done < event);
            record.answers[after..].iter().find(|answer| answer.mac == mac).map(|a| a.done)
        })
    }

    /// The longest time without an answer around `event`, seen until `to`.
    #[must_use]
    pub fn outage(&self, event: Instant, to: Instant) -> Option<Duration> {
        self.read(|record| record.outage(event, to)).map(|outage| outage.lasted)
    }

    /// Each time that another machine began to answer than the one that did at `from`.
    #[must_use]
    pub fn takeovers(&self, from: Instant, to: Instant) -> Vec<(Instant, Mac)> {
        self.read(|record| takeovers(&record.answers, from, to))
    }

    /// All time without an answer between the two, gaps of `least` and more.
    #[must_use]
    pub fn dark(&self, from: Instant, to: Instant, least: Duration) -> Duration {
        self.read(|record| {
            let first = record.answers.partition_point(|answer| answer.done < from).max(1) - 1;
            let mut times: Vec<Instant> = record.answers[first..]
                .iter()
                .map(|answer| answer.done)
                .filter(|&done| done <= to)
                .collect();
            times.push(to);
            let gaps = times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]));
            gaps.filter(|gap| *gap >= least).sum()
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn takeovers(answers: &[Answer], from: Instant, to: Instant) -> Vec<(Instant, Mac)> {
    let first = answers.partition_point(|answer| answer.done < from).saturating_sub(1);
    let within = answers[first..].iter().take_while(|answer| answer.done <= to);
    let mut who = within.filter_map(|answer| Some((answer.done, answer.mac?)));
    let Some((_, home)) = who.next() else { return Vec::new() };
    let mut last = home;
    who.filter(|&(_, mac)| std::mem::replace(&mut last, mac) != mac && mac != home).collect()
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> RigError {
    move |source| RigError::Io { what: what.into(), source }
}

/// Network namespaces belong to threads (setns(2)): this one leaves alone.
fn own_network() -> io::Result<File> {
    sys::unshare(UnshareFlags::NEWNET)?;
    File::open("/proc/thread-self/ns/net")
}

/// The client's two sockets: one asks as any program does, one sees the frames.
struct Asker {
    raw: Socket,
    service: SockAddr,
    index: u32,
    capture: PacketSocket,
    sequence: u16,
    who_has: [u8; 42],
}

impl Asker {
    fn new() -> io::Result<Self> {
        links::up("lo")?;
        sys::checksums_in_software(THEIRS)?;
        links::add_address(THEIRS, CLIENT, PREFIX)?;
        links::up(THEIRS)?;
        let index = links::index(THEIRS)?;
        let capture = PacketSocket::listen(index, ETH_P_ALL)?;
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        raw.set_nonblocking(true)?;
        // Its copies of the answers are never read: the frames are.
        raw.set_recv_buffer_size(0)?;
        let service = SockAddr::from(SocketAddrV4::new(SERVICE, 0));
        Ok(Self { raw, service, index, capture, sequence: 0, who_has: who_has() })
    }

    fn run(&mut self, record: &Mutex<Record>, watch_holders: &AtomicBool, end: &AtomicBool) {
        let (mut next, mut next_who_has) = (Instant::now(), Instant::now());
        while !end.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                next = (next + ASK_EVERY).max(now);
                self.ask();
            }
            if now >= next_who_has && watch_holders.load(Ordering::Relaxed) {
                next_who_has = now + WHO_HAS_EVERY;
                let _ = self.capture.send(self.index, ETH_P_ARP, &self.who_has);
            }
            let timeout = next.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&self.capture, PollFlags::IN)], Some(&timeout));
            self.look(record);
        }
    }

    fn ask(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        // Refused (no neighbour entry yet, queue full) is unanswered.
        let _ = self.raw.send_to(&echo_request(self.sequence), &self.service);
    }

    fn look(&self, record: &Mutex<Record>) {
        let mut frame = [0; 2048];
        while let Ok(length) = self.capture.receive(&mut frame) {
            let at = Instant::now();
            let frame = &frame[..length];
            if let Some(mac) = answer(frame) {
                let answered =
                    Answer { sent: at, done: at, outcome: Outcome::Answered, mac: Some(mac) };
                lock(record).answers.push(answered);
            } else if let Some(mac) = claim(frame) {
                lock(record).sightings.push(Sighting { at, mac });
            }
        }
    }
}

/// RFC 792, with the checksum of RFC 1071.
fn echo_request(sequence: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&IDENT.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 =
        packet.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

/// Who sent this echo reply from the service address.
fn answer(frame: &[u8]) -> Option<Mac> {
    let ip = frame.get(14..34)?;
    let ours = frame[12..14] == [8, 0] && ip[9] == 1 && ip[12..16] == SERVICE.octets();
    let icmp = frame.get(14 + usize::from(ip[0] & 0x0f) * 4..)?;
    let reply = icmp.first()? == &0 && icmp.get(4..6)? == IDENT.to_be_bytes();
    (ours && reply).then(|| frame[6..12].try_into().ok())?
}

/// Who claims the service address by an ARP reply or announcement (RFC 826).
fn claim(frame: &[u8]) -> Option<Mac> {
    let arp = frame.get(14..42)?;
    let claims = frame[12..14] == [8, 6] && arp[14..18] == SERVICE.octets();
    (claims && frame[6..12] != CLIENT_MAC).then(|| arp[8..14].try_into().ok())?
}

/// An ARP probe (RFC 5227 §2.1.1): its sender has no address, so nobody learns from it.
fn who_has() -> [u8; 42] {
    let mut frame = [0; 42];
    frame[0..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&OBSERVER_MAC);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&OBSERVER_MAC);
    frame[38..42].copy_from_slice(&SERVICE.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_another_s_first_answer() {
        let from = Instant::now();
        let answer = |ms: u64, last: u8| {
            let at = from + Duration::from_millis(ms);
            let mac = Some([2, 0, 0, 0, last, 1]);
            Answer { sent: at, done: at, outcome: Outcome::Answered, mac }
        };
        let answers =
            [(2, 1), (4, 1), (6, 2), (8, 2), (10, 1), (12, 2)].map(|(ms, who)| answer(ms, who));
        let seen = |from_ms, to_ms| {
            let at = |ms| from + Duration::from_millis(ms);
            let seen = takeovers(&answers, at(from_ms), at(to_ms));
            seen.iter().map(|(at, _)| (*at - from).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(seen(0, 100), [6, 12], "there, back, and there again");
        assert_eq!(seen(5, 7), [6], "who answered just before counts");
        assert_eq!(seen(0, 5), [0_u128; 0]);
        assert!(takeovers(&[], from, from).is_empty());
    }

    #[test]
    fn an_echo_request_has_a_right_checksum() {
        let packet = echo_request(0xfffe);
        let sum: u32 = packet
            .chunks_exact(2)
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn only_the_service_s_echo_reply_is_an_answer() {
        let mut frame = [0_u8; 14 + 20 + 16];
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 1, 1]);
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = 1;
        frame[26..30].copy_from_slice(&SERVICE.octets());
        frame[38..40].copy_from_slice(&IDENT.to_be_bytes());
        assert_eq!(answer(&frame), Some([2, 0, 0, 0, 1, 1]));
        assert_eq!(answer(&frame[..33]), None, "cut short");
        frame[34] = 8;
        assert_eq!(answer(&frame), None, "a request");
        frame[34] = 0;
        frame[29] = 99;
        assert_eq!(answer(&frame), None, "another address");
    }
}
