//! Hostile input on the wires, with both CPUs busy: nothing crashes, nobody is declared dead, no
//! heartbeat of one's own is missed, the other media lose nothing, what the flooded one lost is
//! reported, the log stays small.

mod hostile_support;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::intruder::INTERFACE;
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::{self, Header, Message, Status};
use hb_proto::wire::port::Deframer;
use hb_proto::wire::{MAX_FRAME, cobs};
use hil_tests::inside::inside;
use hil_tests::netns::Pair;
use hostile_support::{Busy, SECRET, Siege, all_rejected, link, rejected};
use socket2::{Domain, SockAddr, Socket, Type};

const DATAGRAMS: usize = 1_000_000;
/// Some of them meet a heartbeat on the line, and are thrown away together.
const BAD_LINE_FRAMES: usize = 12_000;
/// What a client may see of a host whose CPUs are all busy: it and the web service wait for them, too.
/// A false takeover would show in who answers, and in the log.
const DARK: Duration = Duration::from_secs(5);

/// SplitMix64, as the rig's own dice.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn keys(secret: &[u8]) -> KeyRing {
    let key = Key::hmac(1, secret).expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

/// A stranger's socket on the private network, hearing and sending the cluster's broadcasts.
fn strangers_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.set_broadcast(true).expect("may broadcast");
    socket.bind_device(Some(INTERFACE.as_bytes())).expect("its interface");
    socket
        .bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 694)))
        .expect("694 is free");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    socket
}

fn everybody() -> SockAddr {
    SockAddr::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, 694))
}

/// Real frames, as anybody on the network can hear them.
fn capture(socket: &Socket, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let mut frame = vec![0; 512];
            let len = rustix::io::read(socket, &mut frame).expect("heartbeats are heard");
            frame.truncate(len);
            frame
        })
        .collect()
}

/// Both lives as the captured frames name them, newest number first.
fn lives(captured: &[Vec<u8>]) -> [Header; 2] {
    [Voter::A, Voter::B].map(|voter| {
        let headers = captured.iter().filter_map(|frame| message::open(frame, &keys(SECRET)).ok());
        let headers = headers.map(|opened| opened.header).filter(|header| header.sender == voter);
        headers.max_by_key(|header| header.seq).expect("both nodes are heard")
    })
}

/// Signed with the cluster's own key, from a life and with a number that pass; the rest is nonsense.
fn signed_nonsense(random: &mut Random, life: Header) -> Vec<u8> {
    let header = Header { seq: life.seq + 1_000_000 + random.below(1000) as u32, ..life };
    let mut frame = [0; MAX_FRAME];
    let status = Message::Status(Status::default());
    let whole = message::encode(&header, &status, &keys(SECRET), &mut frame);
    let body = whole - 8;
    let len = match random.below(5) {
        // Too short and too long for a status, a kind that isn't, flags that aren't, a version to come.
        0 => body - 1 - random.below(4),
        1 => {
            let more = 1 + random.below(40);
            frame[body..body + more].copy_from_slice(&random.bytes(more));
            body + more
        }
        2 => {
            frame[1] = (3 + random.below(13) as u8) << 4 | 1;
            body
        }
        3 => {
            frame[body - 1] = 0xF0 | random.next() as u8;
            body
        }
        _ => {
            frame[0] = frame[0] & 0x1F | 7 << 5;
            body
        }
    };
    let len = keys(SECRET).seal(&mut frame, len).expect("room for a tag");
    frame[..len].to_vec()
}

/// A pool of datagrams of all kinds, to be sent round and round at full rate.
fn pool(captured: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut random = Random(20_261_122);
    let lives = lives(captured);
    let (ours, strangers) = (keys(SECRET), keys(b"somebody else's"));
    (0..6000)
        .map(|at| {
            let real = &captured[random.below(captured.len())];
            let life = lives[at / 6 % 2];
            match at % 6 {
                0 => {
                    let len = 17 + random.below(MAX_FRAME - 17);
                    random.bytes(len)
                }
                1 => real[..1 + random.below(real.len() - 1)].to_vec(),
                2 => {
                    let len = MAX_FRAME + 1 + random.below(1300);
                    random.bytes(len)
                }
                3 => real.clone(),
                4 => {
                    let header = Header { seq: life.seq + 5000, ..life };
                    let mut frame = [0; MAX_FRAME];
                    let status = Message::Status(Status::default());
                    let len = message::encode(&header, &status, &strangers, &mut frame);
                    frame[..len].to_vec()
                }
                _ => {
                    let frame = signed_nonsense(&mut random, life);
                    let opened = message::open(&frame, &ours).and_then(|opened| opened.message());
                    assert!(opened.is_err(), "nonsense that means something: {frame:?}");
                    frame
                }
            }
        })
        .collect()
}

#[test]
fn a_million_datagrams_from_a_stranger() {
    inside("a_million_datagrams_from_a_stranger", || {
        let pair = Pair::builder().ha_cf("udp eth0").start();
        let siege = Siege::begin(&pair);
        let stranger = pair.bench.intruder(Network::Private).expect("an intruder");
        let done = AtomicBool::new(false);
        let spared = ["eth0", "/dev/ttyS0"];
        std::thread::scope(|scope| {
            let attack = scope.spawn(|| {
                let sent = stranger.inside(|| {
                    let socket = strangers_socket();
                    let pool = pool(&capture(&socket, 40));
                    let (began, mut sent) = (Instant::now(), 0_u64);
                    let _busy = Busy::cpus();
                    for datagram in pool.iter().cycle().take(DATAGRAMS) {
                        sent += u64::from(socket.send_to(datagram, &everybody()).is_ok());
                    }
                    println!("{sent} datagrams in {:?}", began.elapsed());
                    sent
                });
                done.store(true, Ordering::Relaxed);
                sent.expect("its network")
            });
            siege.look_until(&spared[..1], Duration::from_secs(300), || {
                done.load(Ordering::Relaxed)
            });
            siege.loss_was_told("eth1");
            assert!(attack.join().expect("the attack") > 900_000, "they left the attacker");
        });
        let after = siege.end(&spared, DARK);
        for (name, status) in hil_tests::netns::NAMES.iter().zip(&after) {
            println!("{name}: eth1 {:#}", link(status, "eth1"));
            for reason in
                ["key", "tag", "version", "replay", "decode", "trailing", "meaning", "own"]
            {
                assert!(rejected(status, "eth1", reason) > 0, "{name} {reason}: {status:#}");
            }
            assert!(all_rejected(status, "eth1") > 10_000, "a flood arrived: {status:#}");
            assert_eq!(all_rejected(status, "eth0"), 0, "{status:#}");
        }
        pair.settle();
    });
}

/// Bad frames of every kind for a serial line, each with its delimiter.
fn bad_line_frame(random: &mut Random, real: &[u8]) -> Vec<u8> {
    let mut line = match random.below(5) {
        // Noise, a frame with a flipped bit, one cut short, one without an end for long, garbage
        // that is well stuffed.
        0 => {
            let len = 1 + random.below(20);
            random.bytes(len)
        }
        1 => {
            let mut line = real.to_vec();
            let at = random.below(line.len());
            line[at] ^= 1 << random.below(8);
            line
        }
        2 => real[..1 + random.below(real.len() - 1)].to_vec(),
        3 if random.below(20) == 0 => vec![0x41; 200 + random.below(200)],
        3 => vec![0xFF, 1, 2],
        _ => {
            let mut line = [0; MAX_FRAME + 2];
            let len = 1 + random.below(20);
            let frame = random.bytes(len);
            cobs::encode(&frame, &mut line).expect("room").to_vec()
        }
    };
    line.retain(|&byte| byte != 0);
    line.push(0);
    line
}

#[test]
fn ten_thousand_bad_frames_on_the_serial_line() {
    inside("ten_thousand_bad_frames_on_the_serial_line", || {
        let builder = Pair::builder().ha_cf("udp eth0");
        let fast = builder.ha_cf_text().replace("baud 19200", "baud 115200");
        let mut pair = builder.build();
        for node in Node::BOTH {
            pair.bench.install(node, "ha.cf", &fast, 0o644).expect("ha.cf");
            pair.power_on(node);
        }
        let siege = Siege::begin(&pair);
        let mut random = Random(16_550);
        // A frame of nobody's: what is replayed here is noise to its receiver.
        let header =
            Header { sender: Voter::A, link: LinkId(0), boot: BootId::new(1).expect("1"), seq: 1 };
        let (mut frame, mut line) = ([0; MAX_FRAME], [0; MAX_FRAME + 2]);
        let len =
            message::encode(&header, &Message::Status(Status::default()), &keys(b"x"), &mut frame);
        let real = cobs::encode(&frame[..len], &mut line).expect("room").to_vec();
        let _busy = Busy::cpus();
        for _ in 0..BAD_LINE_FRAMES {
            pair.bench.serial(0).inject(Node::Two, &bad_line_frame(&mut random, &real));
        }
        siege.look_until(&["eth0", "eth1"], Duration::from_secs(240), || {
            pair.bench.serial(0).injecting(Node::Two) == 0
        });
        let lost = siege.loss_was_told("/dev/ttyS0");
        assert!(lost > 0.0, "a line full of garbage loses heartbeats");
        let [one, two] = siege.end(&["eth0", "eth1"], DARK);
        println!("linuxha2: {:#}", link(&two, "/dev/ttyS0"));
        let thrown_away = all_rejected(&two, "/dev/ttyS0");
        assert!(thrown_away > 10_000, "{thrown_away} of {BAD_LINE_FRAMES} bad frames: {two:#}");
        // Of a network, the kernel's filter drops what has no frame's length.
        for reason in ["framing", "length"] {
            assert!(rejected(&two, "/dev/ttyS0", reason) > 100, "{reason}: {two:#}");
        }
        assert_eq!(all_rejected(&one, "/dev/ttyS0"), 0, "the other direction is clean: {one:#}");
        pair.settle();
    });
}

/// A million bad frames, and after each a good one that must be found.
#[test]
fn a_million_bad_frames_into_the_deframer() {
    let mut random = Random(0xC0B5);
    let mut line = [0; MAX_FRAME + 2];
    let good: Vec<u8> = (1..=30).collect();
    let real = cobs::encode(&good, &mut line).expect("room").to_vec();
    let mut deframer = Deframer::new();
    let (mut bad, mut found) = (0_u32, 0_u32);
    for round in 0..1_000_000_u32 {
        for byte in bad_line_frame(&mut random, &real) {
            bad += u32::from(deframer.push(byte).is_some());
        }
        if round % 100 == 0 {
            for &byte in &real {
                found += u32::from(deframer.push(byte) == Some(Ok(&good)));
            }
        }
    }
    assert_eq!(found, 10_000, "every good frame is found");
    assert!(bad > 900_000, "{bad}");
}
