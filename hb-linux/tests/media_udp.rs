//! UDP media over a veth pair between two fresh network namespaces: real sockets, real kernel.
//!
//! Needs root (or CAP_SYS_ADMIN) and the `ip` tool; says so and passes otherwise.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use hb_linux::config::Medium;
use hb_linux::media::{Failure, MAX_FRAME, MIN_FRAME, Port, Receive, Tended, Transmit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const A: &str = "hb0";
const B: &str = "hb1";

/// Two namespaces, hb0 in the first and hb1 in the second, up, 10.7.0.1/24 – 10.7.0.2/24 and
/// fd07::1/64 – fd07::2/64. Lives on a thread of its own, which wanders between the two.
struct Wire {
    a: OwnedFd,
    b: OwnedFd,
}

impl Wire {
    fn enter(&self, namespace: &OwnedFd) {
        use std::os::fd::AsFd;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    fn at_a(&self, medium: &Medium) -> Port {
        self.enter(&self.a);
        Port::open(medium)
    }

    fn at_b(&self, medium: &Medium) -> Port {
        self.enter(&self.b);
        Port::open(medium)
    }

    /// The veth pair, made again after somebody deleted it.
    fn plug(&self) {
        let b = format!("/proc/{}/fd/{}", std::process::id(), self.b.as_raw_fd());
        self.enter(&self.a);
        ip(&format!("link add {A} type veth peer name {B} netns {b}"));
        for (namespace, nic, n) in [(&self.a, A, 1), (&self.b, B, 2)] {
            self.enter(namespace);
            ip(&format!("addr add 10.7.0.{n}/24 dev {nic}"));
            ip(&format!("-6 addr add fd07::{n}/64 dev {nic} nodad"));
            ip(&format!("-6 addr add fe80::{n}/64 dev {nic} nodad"));
            ip(&format!("link set {nic} up"));
        }
        self.wait_for_ipv6();
    }

    /// IPv6 starts on an interface a moment after its carrier; a neighbour asked before that is asked
    /// again only after a second.
    fn wait_for_ipv6(&self) {
        for (namespace, from, to) in
            [(&self.a, "fd07::1", "fd07::2"), (&self.b, "fd07::2", "fd07::1")]
        {
            self.enter(if namespace.as_raw_fd() == self.a.as_raw_fd() { &self.b } else { &self.a });
            let far = UdpSocket::bind((to, 9)).unwrap();
            far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            self.enter(namespace);
            let near = UdpSocket::bind((from, 0)).unwrap();
            eventually("IPv6 works", || {
                let _ = near.send_to(&[0], (to, 9));
                far.recv(&mut [0; 8]).is_ok()
            });
        }
    }
}

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split(' ')).output().expect("ip");
    assert!(out.status.success(), "ip {args}: {}", String::from_utf8_lossy(&out.stderr));
}

fn fresh_namespace() -> Result<OwnedFd, Errno> {
    // SAFETY: a new network namespace changes nothing that other threads' memory depends on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Runs `test` between two namespaces, or says why it can't.
fn between_two_machines(test: impl FnOnce(&Wire) + Send + 'static) {
    let run = move || {
        if Command::new("ip").arg("-V").output().is_err() {
            eprintln!("SKIPPED: the `ip` tool (iproute2) is not installed");
            return;
        }
        let (a, b) = match (fresh_namespace(), fresh_namespace()) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(errno), _) | (_, Err(errno)) => {
                eprintln!("SKIPPED: network namespaces are not allowed here: {errno}");
                return;
            }
        };
        let wire = Wire { a, b };
        wire.plug();
        test(&wire);
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn broadcast(nic: &str) -> Medium {
    Medium::Broadcast { interface: nic.into(), port: 694 }
}

fn unicast(nic: &str, peer: &str) -> Medium {
    Medium::Unicast { interface: nic.into(), peer: peer.parse().unwrap(), port: 694 }
}

fn multicast(nic: &str, group: &str) -> Medium {
    let group: IpAddr = group.parse().unwrap();
    Medium::Multicast { interface: nic.into(), group, port: 694, ttl: 1, loopback: false }
}

/// Whether the port's descriptor becomes readable within `millis`.
fn wakes(port: &Port, millis: i64) -> bool {
    let fd = port.fd().expect("port is open");
    let limit = Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

fn receive(port: &mut Port) -> Vec<u8> {
    // A neighbour that has to be found anew takes a second and more.
    assert!(wakes(port, 5000), "nothing arrived at {} {}", port.kind(), port.name());
    let mut buf = [0; 512];
    match port.receive(&mut buf) {
        Receive::Received(n) => buf[..n].to_vec(),
        other => panic!("{other:?}"),
    }
}

fn opened(port: Port) -> Port {
    assert_eq!(port.failure(), None, "{}", port.failure().unwrap());
    port
}

/// Both ways, once each; and nobody hears himself.
fn converse(a: &mut Port, b: &mut Port) {
    let frame: Vec<u8> = (0..32).collect();
    assert_eq!(a.transmit(&frame), Transmit::Sent);
    assert_eq!(receive(b), frame);
    assert_eq!(b.receive(&mut [0; 512]), Receive::Empty);
    assert!(!wakes(a, 20), "{} heard itself", a.kind());
    let longest = [0xa5; MAX_FRAME];
    assert_eq!(b.transmit(&longest), Transmit::Sent);
    assert_eq!(receive(a), longest);
}

#[test]
fn broadcast_crosses_and_is_not_heard_by_its_sender() {
    between_two_machines(|wire| {
        let mut a = opened(wire.at_a(&broadcast(A)));
        let mut b = opened(wire.at_b(&broadcast(B)));
        assert_eq!(a.description(), "UDP heartbeat started on port 694 interface hb0");
        converse(&mut a, &mut b);
        assert_eq!((a.counters().sent, a.counters().received), (1, 1));
    });
}

#[test]
fn broadcast_needs_no_address_and_survives_readdressing() {
    between_two_machines(|wire| {
        let mut a = opened(wire.at_a(&broadcast(A)));
        let mut b = opened(wire.at_b(&broadcast(B)));
        wire.enter(&wire.a);
        ip("addr flush dev hb0 scope global");
        ip("addr add 172.16.9.1/16 dev hb0");
        converse(&mut a, &mut b);
        wire.enter(&wire.a);
        ip("-4 addr flush dev hb0");
        wire.enter(&wire.b);
        ip("-4 addr flush dev hb1");
        converse(&mut a, &mut b);
    });
}

#[test]
fn unicast_crosses_by_ipv4_ipv6_and_link_local() {
    between_two_machines(|wire| {
        for (to_b, to_a) in
            [("10.7.0.2", "10.7.0.1"), ("fd07::2", "fd07::1"), ("fe80::2", "fe80::1")]
        {
            let mut a = opened(wire.at_a(&unicast(A, to_b)));
            let mut b = opened(wire.at_b(&unicast(B, to_a)));
            converse(&mut a, &mut b);
        }
    });
}

#[test]
fn multicast_crosses_by_ipv4_and_ipv6() {
    between_two_machines(|wire| {
        for group in ["225.0.0.1", "239.7.7.7", "ff02::7", "ff15::7"] {
            let mut a = opened(wire.at_a(&multicast(A, group)));
            let mut b = opened(wire.at_b(&multicast(B, group)));
            converse(&mut a, &mut b);
        }
    });
}

#[test]
fn multicast_with_loop_hears_itself() {
    between_two_machines(|wire| {
        for group in ["225.0.0.1", "ff02::7"] {
            let medium = match multicast(A, group) {
                Medium::Multicast { interface, group, port, ttl, .. } => {
                    Medium::Multicast { interface, group, port, ttl, loopback: true }
                }
                _ => unreachable!(),
            };
            let mut a = opened(wire.at_a(&medium));
            assert_eq!(a.transmit(&[7; 32]), Transmit::Sent);
            assert_eq!(receive(&mut a), [7; 32]);
        }
    });
}

#[test]
fn media_on_one_interface_and_port_keep_their_frames_apart() {
    between_two_machines(|wire| {
        let media = |nic, peer| [broadcast(nic), unicast(nic, peer), multicast(nic, "225.0.0.1")];
        let mut a = media(A, "10.7.0.2").map(|medium| opened(wire.at_a(&medium)));
        let mut b = media(B, "10.7.0.1").map(|medium| opened(wire.at_b(&medium)));
        for i in 0..a.len() {
            assert_eq!(a[i].transmit(&[i as u8; MIN_FRAME]), Transmit::Sent);
            assert_eq!(receive(&mut b[i]), [i as u8; MIN_FRAME]);
            for (j, port) in b.iter().enumerate() {
                assert!(!wakes(port, 10), "medium {i}'s frame also arrived on {j}");
            }
        }
    });
}

#[test]
fn what_cannot_be_a_frame_never_wakes_the_reader() {
    between_two_machines(|wire| {
        wire.enter(&wire.a);
        let stranger = UdpSocket::bind("10.7.0.1:0").unwrap();
        let mut b = opened(wire.at_b(&unicast(B, "10.7.0.1")));
        for wrong in [0, 1, MIN_FRAME - 1, MAX_FRAME + 1, 1400, 20_000] {
            stranger.send_to(&vec![0x55; wrong], "10.7.0.2:694").unwrap();
            assert!(!wakes(&b, 30), "{wrong} bytes woke the reader");
        }
        for right in [MIN_FRAME, 32, MAX_FRAME] {
            stranger.send_to(&vec![0x55; right], "10.7.0.2:694").unwrap();
            assert_eq!(receive(&mut b).len(), right);
        }
        assert_eq!(b.counters().received, 3);
    });
}

#[test]
fn more_than_a_second_of_frames_waits_for_a_stalled_reader() {
    between_two_machines(|wire| {
        let mut a = opened(wire.at_a(&broadcast(A)));
        let mut b = opened(wire.at_b(&broadcast(B)));
        for i in 0..200 {
            assert_eq!(a.transmit(&[i; 48]), Transmit::Sent);
        }
        for i in 0..200 {
            assert_eq!(receive(&mut b), [i; 48]);
        }
    });
}

#[test]
fn an_interface_that_goes_down_is_not_lost() {
    between_two_machines(|wire| {
        let pairs = [
            (broadcast(A), broadcast(B)),
            (unicast(A, "fe80::2"), unicast(B, "fe80::1")),
            (multicast(A, "225.0.0.1"), multicast(B, "225.0.0.1")),
        ];
        for (here, there) in pairs {
            let mut a = opened(wire.at_a(&here));
            let mut b = opened(wire.at_b(&there));
            converse(&mut a, &mut b);
            wire.enter(&wire.a);
            ip("link set hb0 down");
            assert_eq!(a.transmit(&[1; 32]), Transmit::Busy, "{}", a.kind());
            assert_eq!(a.counters().unreachable, 1);
            assert_eq!((a.tend(), a.receive(&mut [0; 512])), (None, Receive::Empty));
            ip("link set hb0 up");
            // The kernel drops IPv6 addresses with the link.
            ip("-6 addr replace fe80::1/64 dev hb0 nodad");
            eventually("the link is back", || {
                a.transmit(&[2; 32]) == Transmit::Sent && wakes(&b, 50)
            });
            assert_eq!(receive(&mut b), [2; 32]);
        }
    });
}

#[test]
fn an_interface_that_is_made_anew_is_bound_again() {
    between_two_machines(|wire| {
        for (here, there) in [
            (broadcast(A), broadcast(B)),
            (unicast(A, "10.7.0.2"), unicast(B, "10.7.0.1")),
            (unicast(A, "fd07::2"), unicast(B, "fd07::1")),
            (unicast(A, "fe80::2"), unicast(B, "fe80::1")),
            (multicast(A, "225.0.0.1"), multicast(B, "225.0.0.1")),
            (multicast(A, "ff02::7"), multicast(B, "ff02::7")),
        ] {
            let mut a = opened(wire.at_a(&here));
            wire.enter(&wire.a);
            ip("link del hb0");
            assert_eq!(a.transmit(&[1; 32]), Transmit::Lost(Errno::NODEV), "{here:?}");
            assert!(a.fd().is_none());
            assert_eq!(a.tend(), Some(Tended::StillLost));
            assert_eq!(a.failure(), Some(&Failure::NoInterface));
            wire.plug();
            wire.enter(&wire.a);
            assert_eq!(a.tend(), Some(Tended::Reopened));
            assert_eq!((a.failure(), a.counters().lost), (None, 1));
            let mut b = opened(wire.at_b(&there));
            eventually("the new link carries", || {
                a.transmit(&[2; 32]) == Transmit::Sent && wakes(&b, 50)
            });
            assert_eq!(receive(&mut b), [2; 32]);
        }
    });
}

/// The interface that is re-created under the same name before anything was sent.
#[test]
fn a_namesake_is_not_taken_for_the_interface_that_went() {
    between_two_machines(|wire| {
        for medium in [broadcast(A), unicast(A, "fe80::2"), multicast(A, "ff02::7")] {
            let mut a = opened(wire.at_a(&medium));
            wire.enter(&wire.a);
            ip("link del hb0");
            wire.plug();
            wire.enter(&wire.a);
            assert_eq!(a.transmit(&[1; 32]), Transmit::Lost(Errno::NODEV), "{medium:?}");
            assert_eq!(a.tend(), Some(Tended::Reopened));
        }
    });
}

#[test]
fn a_port_in_use_is_told_in_plain_words() {
    between_two_machines(|wire| {
        wire.enter(&wire.a);
        let _other = UdpSocket::bind("0.0.0.0:694").unwrap();
        let a = wire.at_a(&broadcast(A));
        assert_eq!(a.failure(), Some(&Failure::PortInUse(694)));
    });
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < limit, "not in five seconds: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
