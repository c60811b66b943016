//! Telling the neighbours where a service address lives now: gratuitous ARP for IPv4, unsolicited
//! neighbour advertisements for IPv6. A burst at once, because a takeover is as long as its slowest
//! neighbour; repeats later, because the burst may be lost to a switch port that is still learning.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hb_proto::time::{Duration, Instant};
use thiserror::Error;

use super::addresses::Held;
use super::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, PacketSocket};

/// Announcements sent at once. RFC 4861 §7.2.6 would space them by a second and stop at three; a
/// takeover that waits for that is longer than the one that this program promises.
pub const BURST: usize = 5;
/// When, after the burst, one more announcement each follows.
pub const REPEATS: [Duration; 6] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
    Duration::from_millis(5_000),
    Duration::from_millis(10_000),
];
/// Addresses announced at the same time: `MAX_GROUPS` groups of four.
pub const ANNOUNCEMENTS_MAX: usize = 4 * hb_proto::config::MAX_GROUPS;

/// Bytes of an Ethernet header and an ARP packet for IPv4 (RFC 826); the driver pads.
pub const ARP_FRAME_BYTES: usize = 14 + 28;
/// Bytes of an Ethernet header, an IPv6 header, and a neighbour advertisement with one option (RFC
/// 4861 §4.4).
pub const ADVERTISEMENT_FRAME_BYTES: usize = 14 + 40 + 24 + 8;

const ROUNDS: usize = BURST + REPEATS.len();
const BROADCAST_MAC: [u8; 6] = [0xff; 6];
/// `ff02::1`, all nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Its Ethernet address (RFC 2464 §7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

/// The two forms of gratuitous ARP. Some neighbours learn from one only, so both are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpForm {
    /// "Who has ADDRESS? Tell ADDRESS": the ARP announcement of RFC 5227 §2.3, target hardware
    /// address zero.
    Request,
    /// "ADDRESS is at MAC", unasked; target hardware address broadcast.
    Reply,
}

/// A gratuitous ARP frame: broadcast, sender and target address are both `ip`.
#[must_use]
pub fn arp_frame(form: ArpForm, mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_FRAME_BYTES] {
    let (operation, target_mac) = match form {
        ArpForm::Request => (1, [0; 6]),
        ArpForm::Reply => (2, BROADCAST_MAC),
    };
    let mut frame = [0; ARP_FRAME_BYTES];
    frame[0..6].copy_from_slice(&BROADCAST_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    // Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
    frame[14..20].copy_from_slice(&[0, 1, 0x08, 0x00, 6, 4]);
    frame[20..22].copy_from_slice(&u16::to_be_bytes(operation));
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&ip.octets());
    frame[32..38].copy_from_slice(&target_mac);
    frame[38..42].copy_from_slice(&ip.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 §7.2.6): override set, solicited
/// and router clear (a service address belongs to a host).
#[must_use]
pub fn advertisement_frame(mac: [u8; 6], ip: Ipv6Addr) -> [u8; ADVERTISEMENT_FRAME_BYTES] {
    const BODY_BYTES: u8 = 24 + 8;
    let mut frame = [0; ADVERTISEMENT_FRAME_BYTES];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    frame[14] = 6 << 4;
    frame[19] = BODY_BYTES;
    frame[20] = ICMPV6;
    // A hop limit below 255 is what gives a forwarded forgery away (RFC 4861 §7.1.2).
    frame[21] = 255;
    frame[22..38].copy_from_slice(&ip.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    frame[54] = 136;
    frame[58] = 0x20;
    frame[62..78].copy_from_slice(&ip.octets());
    // Option 2, target link-layer address, one unit of eight bytes.
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac);
    // Pseudo-header (RFC 8200 §8.1): source, destination, length, next header.
    let sum = ones_complement_sum(&frame[22..]) + u32::from(BODY_BYTES) + u32::from(ICMPV6);
    frame[56..58].copy_from_slice(&fold(sum).to_be_bytes());
    frame
}

/// Sum of 16-bit big-endian words, carries kept (RFC 1071 §1); `bytes` has even length.
fn ones_complement_sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

/// Adds the carries back in and complements.
const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Why an address can't be announced.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum AnnounceError {
    /// Not an Ethernet: nobody there keeps a table of neighbours.
    #[error("{ip} is not announced: {interface} has no Ethernet address")]
    NoHardwareAddress { ip: IpAddr, interface: String },
    /// Too many at once.
    #[error("{ip} is not announced: {ANNOUNCEMENTS_MAX} addresses are being announced already")]
    Full { ip: IpAddr },
}

#[derive(Clone, Debug)]
enum Frames {
    /// Request, reply.
    Arp([[u8; ARP_FRAME_BYTES]; 2]),
    Advertisement([u8; ADVERTISEMENT_FRAME_BYTES]),
}

/// One address's announcements: which frame is due when. Sends nothing itself.
#[derive(Clone, Debug)]
pub struct Announcement {
    ip: IpAddr,
    index: u32,
    frames: Frames,
    started: Instant,
    /// 0..BURST: the burst; then one a repeat; ROUNDS: over.
    round: usize,
    /// Next frame of the round.
    frame: usize,
}

impl Announcement {
    /// Announcements that start at `now`.
    ///
    /// # Errors
    /// [`AnnounceError::NoHardwareAddress`].
    pub fn new(held: &Held, now: Instant) -> Result<Self, AnnounceError> {
        let mac = held.mac.ok_or_else(|| AnnounceError::NoHardwareAddress {
            ip: held.ip,
            interface: held.interface.clone(),
        })?;
        let frames = match held.ip {
            IpAddr::V4(ip) => Frames::Arp([
                arp_frame(ArpForm::Request, mac, ip),
                arp_frame(ArpForm::Reply, mac, ip),
            ]),
            IpAddr::V6(ip) => Frames::Advertisement(advertisement_frame(mac, ip)),
        };
        Ok(Self { ip: held.ip, index: held.index, frames, started: now, round: 0, frame: 0 })
    }

    /// The same without the burst, which another process has sent already.
    ///
    /// # Errors
    /// [`AnnounceError::NoHardwareAddress`].
    pub fn repeats_only(held: &Held, now: Instant) -> Result<Self, AnnounceError> {
        Ok(Self { round: BURST, ..Self::new(held, now)? })
    }

    /// The announced address.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Index of the interface whose neighbours are told.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// When the next frame is due; `None` when all were sent.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.round < ROUNDS).then(|| self.due(self.round))
    }

    /// The next frame that is due by `now`: EtherType and bytes. Repeats missed in a stall are not
    /// made up for.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(u16, &[u8])> {
        if self.round >= ROUNDS || now < self.due(self.round) {
            return None;
        }
        let frame = self.frame;
        self.frame += 1;
        if self.frame == self.frames_a_round() {
            self.frame = 0;
            self.round += 1;
            while (BURST + 1..ROUNDS).contains(&self.round) && self.due(self.round) <= now {
                self.round += 1;
            }
        }
        Some(match &self.frames {
            Frames::Arp(forms) => (ETHERTYPE_ARP, &forms[frame]),
            Frames::Advertisement(bytes) => (ETHERTYPE_IPV6, bytes),
        })
    }

    fn due(&self, round: usize) -> Instant {
        match round.checked_sub(BURST) {
            None => self.started,
            Some(repeat) => self.started + REPEATS[repeat],
        }
    }

    const fn frames_a_round(&self) -> usize {
        match self.frames {
            Frames::Arp(_) => 2,
            Frames::Advertisement(_) => 1,
        }
    }
}

/// Sends announcements through one packet socket; for an event loop. Nothing here waits; nothing
/// after [`Announcer::announce`] allocates.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
    running: heapless::Vec<Announcement, ANNOUNCEMENTS_MAX>,
    failures: u64,
    last_failure: Option<io::Error>,
}

impl Announcer {
    /// Opens the packet socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel answered; `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: PacketSocket::open()?,
            running: heapless::Vec::new(),
            failures: 0,
            last_failure: None,
        })
    }

    /// Sends the burst and remembers the repeats. An address that is being announced already starts
    /// anew.
    ///
    /// # Errors
    /// See [`AnnounceError`]; nothing was sent then.
    pub fn announce(&mut self, held: &Held, now: Instant) -> Result<(), AnnounceError> {
        let announcement = Announcement::new(held, now)?;
        self.cancel(held.ip);
        self.running.push(announcement).map_err(|_| AnnounceError::Full { ip: held.ip })?;
        self.poll(now);
        Ok(())
    }

    /// Ends the repeats of an address that is given up: call it before releasing, or this machine
    /// goes on claiming what the other has.
    pub fn cancel(&mut self, ip: IpAddr) {
        self.running.retain(|announcement| announcement.ip != ip);
    }

    /// Sends what is due by `now`. At most `2 × BURST` frames an address.
    pub fn poll(&mut self, now: Instant) {
        for announcement in &mut self.running {
            let index = announcement.index;
            while let Some((ethertype, frame)) = announcement.poll_transmit(now) {
                // A full queue or a link that is down costs this frame only: later repeats are due.
                if let Err(error) = self.socket.send(index, ethertype, frame) {
                    self.failures += 1;
                    self.last_failure = Some(error);
                }
            }
        }
        self.running.retain(|announcement| announcement.poll_timeout().is_some());
    }

    /// When [`Announcer::poll`] has something to send next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.running.iter().filter_map(Announcement::poll_timeout).min()
    }

    /// Frames that the kernel refused since opening.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// Why the last refused frame was refused; taken, so that it is logged once.
    pub fn take_last_failure(&mut self) -> Option<io::Error> {
        self.last_failure.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x10, 0x20, 0x30];

    fn held(ip: &str, mac: Option<[u8; 6]>) -> Held {
        Held {
            ip: ip.parse().unwrap(),
            prefix: 24,
            index: 7,
            interface: "eth0".to_owned(),
            label: None,
            broadcast: None,
            connected_route: true,
            mac,
        }
    }

    #[test]
    fn gratuitous_arp_byte_for_byte() {
        let ip = Ipv4Addr::new(192, 168, 85, 3);
        #[rustfmt::skip]
        let request = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00, 0x5e, 0x10, 0x20, 0x30, 0x08, 0x06,
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,
            0x02, 0x00, 0x5e, 0x10, 0x20, 0x30, 0xc0, 0xa8, 0x55, 0x03,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0xa8, 0x55, 0x03,
        ];
        assert_eq!(arp_frame(ArpForm::Request, MAC, ip), request);
        let mut reply = request;
        reply[21] = 0x02;
        reply[32..38].fill(0xff);
        assert_eq!(arp_frame(ArpForm::Reply, MAC, ip), reply);
    }

    #[test]
    fn neighbour_advertisement_byte_for_byte() {
        let ip: Ipv6Addr = "fd00:85::3".parse().unwrap();
        #[rustfmt::skip]
        let expected = [
            0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x20, 0x30, 0x86, 0xdd,
            0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff,
            0xfd, 0x00, 0x00, 0x85, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x03,
            0xff, 0x02, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x01,
            // Checksum by hand, words in hex.
            // Pseudo-header: fd00+0085+0003 + ff02+0001 + 0020 + 003a = 1fce5.
            // Message: 8800 + 2000 + fd00+0085+0003 + 0201 + 0200+5e10+2030 = 227c9.
            // Sum 424ae, carries back 24ae+4 = 24b2, complement db4d.
            0x88, 0x00, 0xdb, 0x4d, 0x20, 0x00, 0x00, 0x00,
            0xfd, 0x00, 0x00, 0x85, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0x03,
            0x02, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x20, 0x30,
        ];
        assert_eq!(advertisement_frame(MAC, ip), expected);
    }

    /// RFC 1071 §3: the bytes 00 01 f2 03 f4 f5 f6 f7 sum to 2ddf0, folded ddf2.
    #[test]
    fn checksum_arithmetic_is_that_of_rfc_1071() {
        let sum = ones_complement_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum, 0x2ddf0);
        assert_eq!(fold(sum), !0xddf2);
        assert_eq!(fold(0x1_ffff), !0x0001, "the carry of a carry");
    }

    #[test]
    fn a_burst_of_five_pairs_then_one_pair_a_repeat() {
        let start = Instant::from_millis(1_000);
        let mut announcement = Announcement::new(&held("192.168.85.3", Some(MAC)), start).unwrap();
        let mut sent = Vec::new();
        while let Some(due) = announcement.poll_timeout() {
            let early = due - Duration::from_micros(1);
            if due > start {
                assert!(announcement.poll_transmit(early).is_none(), "before its time");
            }
            while let Some((_, frame)) = announcement.poll_transmit(due) {
                sent.push((due.since(start).millis(), frame[21]));
            }
        }
        let mut expected = [(0, 1), (0, 2)].repeat(BURST);
        for at in [200, 500, 1_000, 2_000, 5_000, 10_000] {
            expected.extend([(at, 1), (at, 2)]);
        }
        assert_eq!(sent, expected);
    }

    #[test]
    fn repeats_missed_in_a_stall_are_not_made_up_for() {
        let start = Instant::ZERO;
        let mut announcement = Announcement::new(&held("fd00::3", Some(MAC)), start).unwrap();
        let count = |announcement: &mut Announcement, now| {
            std::iter::from_fn(|| announcement.poll_transmit(now).map(drop)).count()
        };
        assert_eq!(count(&mut announcement, start), BURST);
        assert_eq!(count(&mut announcement, Instant::from_millis(1_500)), 1);
        assert_eq!(announcement.poll_timeout(), Some(Instant::from_millis(2_000)));
        assert_eq!(count(&mut announcement, Instant::NEVER), 1);
        assert_eq!(announcement.poll_timeout(), None);
        assert_eq!(count(&mut announcement, Instant::NEVER), 0);
    }

    #[test]
    fn without_an_ethernet_address_it_says_so() {
        let error = Announcement::new(&held("192.168.85.3", None), Instant::ZERO).unwrap_err();
        let text = "192.168.85.3 is not announced: eth0 has no Ethernet address";
        assert_eq!(error.to_string(), text);
    }
}
