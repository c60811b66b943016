//! Announcements as the far end of a cable sees them.

#[path = "net_support/mod.rs"]
mod net_support;

use std::thread;
use std::time::Duration as StdDuration;

use hb_linux::net::announce::{ArpForm, BURST, REPEATS, advertisement_frame, arp_frame};
use hb_linux::net::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV6, PacketSocket};
use hb_linux::net::{Addresses, Announcer};
use hb_proto::time::{Duration, Instant};
use net_support::{Lan, in_namespace, spec};

/// Frames that have arrived by now.
fn received(ear: &PacketSocket) -> Vec<Vec<u8>> {
    // A veth hands frames over in a soft interrupt right after the send; this is ample.
    thread::sleep(StdDuration::from_millis(20));
    let mut buffer = [0; 256];
    let read = || ear.receive(&mut buffer).ok().map(|length| buffer[..length].to_vec());
    std::iter::from_fn(read).collect()
}

#[test]
fn gratuitous_arp_reaches_the_neighbour_in_both_forms() {
    in_namespace(|| {
        let mut lan = Lan::new();
        lan.veth("eth0", "peer0");
        lan.address("eth0", "192.168.85.1/24");
        let ear = PacketSocket::listen(lan.index("peer0"), ETHERTYPE_ARP).unwrap();
        let mut addresses = Addresses::open().unwrap();
        let held = addresses.acquire(&spec("192.168.85.3")).unwrap();
        received(&ear);

        let mut announcer = Announcer::open().unwrap();
        let start = Instant::from_millis(77);
        announcer.announce(&held, start).unwrap();
        let (mac, service) = (held.mac.unwrap(), "192.168.85.3".parse().unwrap());
        let pair =
            [ArpForm::Request, ArpForm::Reply].map(|form| arp_frame(form, mac, service).to_vec());
        let burst: Vec<_> = pair.iter().cycle().take(2 * BURST).cloned().collect();
        assert_eq!(received(&ear), burst, "five pairs at once");

        for after in REPEATS {
            let due = start + after;
            assert_eq!(announcer.poll_timeout(), Some(due));
            announcer.poll(due - Duration::from_micros(1));
            assert_eq!(received(&ear).len(), 0, "not before {after}");
            announcer.poll(due);
            assert_eq!(received(&ear), pair, "{after} after");
        }
        assert_eq!(announcer.poll_timeout(), None);
        assert_eq!(announcer.failures(), 0);
    });
}

#[test]
fn neighbour_advertisements_reach_the_neighbour() {
    in_namespace(|| {
        let mut lan = Lan::new();
        lan.veth("eth0", "peer0");
        lan.address("eth0", "fd00:85::1/64");
        let ear = PacketSocket::listen(lan.index("peer0"), ETHERTYPE_IPV6).unwrap();
        let held = Addresses::open().unwrap().acquire(&spec("fd00:85::3")).unwrap();
        received(&ear);
        let mut announcer = Announcer::open().unwrap();
        announcer.announce(&held, Instant::ZERO).unwrap();
        let expected =
            advertisement_frame(held.mac.unwrap(), "fd00:85::3".parse().unwrap()).to_vec();
        // The kernel's own multicast reports share the wire.
        let ours = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            frames.into_iter().filter(|frame| frame.get(54) == Some(&136)).collect()
        };
        assert_eq!(ours(received(&ear)), vec![expected.clone(); BURST]);
        announcer.poll(Instant::ZERO + REPEATS[0]);
        assert_eq!(ours(received(&ear)), [expected]);
    });
}

#[test]
fn other_lans_hear_nothing() {
    in_namespace(|| {
        let mut lan = Lan::new();
        lan.veth("eth0", "peer0");
        lan.veth("eth1", "peer1");
        lan.address("eth0", "192.168.85.1/24");
        let ear = PacketSocket::listen(lan.index("peer1"), ETHERTYPE_ARP).unwrap();
        let mut addresses = Addresses::open().unwrap();
        let mut announcer = Announcer::open().unwrap();
        let held = addresses.acquire(&spec("192.168.85.3")).unwrap();
        announcer.announce(&held, Instant::ZERO).unwrap();
        assert!(received(&ear).is_empty(), "only the address's own LAN is told");
    });
}

#[test]
fn a_cancelled_announcement_is_silent_and_a_restarted_one_bursts_again() {
    in_namespace(|| {
        let mut lan = Lan::new();
        lan.veth("eth0", "peer0");
        lan.address("eth0", "192.168.85.1/24");
        let ear = PacketSocket::listen(lan.index("peer0"), ETHERTYPE_ARP).unwrap();
        let mut addresses = Addresses::open().unwrap();
        let mut announcer = Announcer::open().unwrap();
        let held = addresses.acquire(&spec("192.168.85.3")).unwrap();
        announcer.announce(&held, Instant::ZERO).unwrap();
        announcer.announce(&held, Instant::from_millis(100)).unwrap();
        assert_eq!(received(&ear).len(), 2 * 2 * BURST);
        assert_eq!(announcer.poll_timeout(), Some(Instant::from_millis(100) + REPEATS[0]));

        announcer.cancel(held.ip);
        assert!(addresses.release(held.ip).unwrap());
        assert_eq!(announcer.poll_timeout(), None);
        announcer.poll(Instant::from_millis(20_000));
        assert!(received(&ear).is_empty(), "never claims what was given up");
    });
}

#[test]
fn refused_frames_are_counted() {
    in_namespace(|| {
        let mut lan = Lan::new();
        lan.veth("eth0", "peer0");
        lan.address("eth0", "192.168.85.1/24");
        let held = Addresses::open().unwrap().acquire(&spec("192.168.85.3")).unwrap();
        lan.down("eth0");
        let mut announcer = Announcer::open().unwrap();
        announcer.announce(&held, Instant::ZERO).unwrap();
        assert_eq!(announcer.failures(), 2 * BURST as u64);
        let why = announcer.take_last_failure().unwrap();
        assert_eq!(why.raw_os_error(), Some(rustix::io::Errno::NETDOWN.raw_os_error()));
        assert!(announcer.poll_timeout().is_some(), "the repeats may still get through");
    });
}
