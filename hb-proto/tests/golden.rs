//! The wire, byte by byte: what the encoder writes is what the vectors say, and they read back the same.
//!
//! The vectors are only ever added to (see the head of each file in `tests/golden/`): a pair is upgraded
//! one node at a time, so yesterday's bytes must keep their meaning.

use std::collections::BTreeMap;

use hb_proto::config::{Digests, STATUS_SERIAL_BYTES};
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{
    ArbiterHello, ArbiterMessage, ArbiterSettings, ArbiterStatus, FenceShown, LineShown, NodeSeen,
    Promisees, ResetReason, Shown,
};
use hb_proto::wire::message::{
    self, Echo, ForArbiter, GroupState, GroupStates, Header, Hello, HelloEcho, Life, Message,
    Settings, Status,
};
use hb_proto::wire::port::Deframer;
use hb_proto::wire::{MAX_FRAME, Reject, cobs};

const FILES: [&str; 5] = [
    include_str!("golden/status.hex"),
    include_str!("golden/hello.hex"),
    include_str!("golden/crc.hex"),
    include_str!("golden/serial.hex"),
    include_str!("golden/arbiter.hex"),
];

/// Of the version after today's.
const NEXT: &str = include_str!("golden/next.hex");

/// Name and bytes of every vector.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    vectors_of(&FILES)
}

fn vectors_of(files: &[&'static str]) -> BTreeMap<&'static str, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in files {
        let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let lines: Vec<_> = lines.collect();
        for pair in lines.chunks(2) {
            let [name, hex] = pair else { panic!("{pair:?}: expected `= NAME` and a line of hex") };
            let name =
                name.strip_prefix("= ").unwrap_or_else(|| panic!("{name}: expected `= NAME`"));
            assert!(found.insert(name, bytes(hex)).is_none(), "{name} stands there twice");
        }
    }
    found
}

fn bytes(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|e| panic!("{hex}: {e}")))
        .collect()
}

fn keys(signing: u8) -> KeyRing {
    let hmac = |id| Key::hmac(id, b"a golden secret");
    let keys = [hmac(1), Key::crc(2), hmac(3), hmac(15)];
    KeyRing::new(keys.into_iter().flatten().collect(), signing).expect("listed")
}

fn boot(id: u32) -> BootId {
    BootId::new(id).expect("in range")
}

fn header(sender: Voter, link: u8, life: u32, seq: u32) -> Header {
    Header { sender, link: LinkId(link), boot: boot(life), seq }
}

fn groups(states: &[(u8, GroupState)]) -> GroupStates {
    let mut groups = GroupStates::default();
    states.iter().for_each(|&(group, state)| groups.set(GroupId(group), state));
    groups
}

type Meaning = (&'static str, u8, Header, Message);

fn statuses() -> [Meaning; 4] {
    use GroupState::{Promised, Running};
    let all: Vec<_> = (0..16).map(|group| (group, Promised)).collect();
    let typical = Status {
        hears: 0b011,
        echoes: [Some(Echo::of(boot(17), 69_999)), None],
        groups: groups(&[(0, Running), (2, Promised)]),
        ..Status::default()
    };
    let worst = Status {
        hears: 0xFF,
        echoes: [Some(Echo::of(boot(BootId::MAX), u32::MAX)); 2],
        groups: groups(&all),
        life: Life::Left,
        off_schedule: true,
        wants_hello: true,
        ..Status::default()
    };
    let leaving = Status {
        hears: 1,
        echoes: [Some(Echo::of(boot(9), 4)), None],
        groups: groups(&[(0, Promised), (1, Running)]),
        life: Life::Leaving,
        ..Status::default()
    };
    [
        ("idle", 3, header(Voter::A, 0, 1, 1), Message::Status(Status::default())),
        ("typical", 3, header(Voter::B, 2, 41, 70_000), Message::Status(typical)),
        ("worst", 15, header(Voter::B, 7, BootId::MAX, u32::MAX), Message::Status(worst)),
        ("crc", 2, header(Voter::A, 0, 2, 3), Message::Status(leaving)),
    ]
}

fn hellos() -> [Meaning; 2] {
    let digests = Digests { haresources: 0x1122_3344_5566_7788, settings: 0x99AA_BBCC_DDEE_FF00 };
    let plain = Hello {
        status: Status {
            hears: 1,
            echoes: [Some(Echo::of(boot(41), 9)), None],
            groups: groups(&[(0, GroupState::Asking)]),
            off_schedule: true,
            ..Status::default()
        },
        settings: Settings {
            keepalive_ms: 100,
            deadtime_ms: 500,
            lease_ms: 400,
            ..Settings::new(digests)
        },
        declines: 0,
        failed: 0,
        wants: 0,
        knows: Some(boot(41)),
        echo: None,
        for_arbiter: None,
    };
    let full = Hello {
        status: Status {
            hears: 0b111,
            echoes: [Some(Echo::of(boot(41), 300)), Some(Echo::of(boot(5), 6))],
            groups: groups(&[(0, GroupState::Running), (15, GroupState::Asking)]),
            wants_hello: true,
            ..Status::default()
        },
        settings: Settings {
            keepalive_ms: 2000,
            deadtime_ms: 10_000,
            lease_ms: 8000,
            guard_ms: 20_500,
            arbiter: Some(0xDEAD_BEEF),
            ..Settings::new(Digests { haresources: 1, settings: 2 })
        },
        declines: 1 << 1 | 1 << 8,
        failed: 1 << 1,
        wants: 1 << 15,
        echo: Some(HelloEcho { seq: 10, held_us: 16_667 }),
        ..plain
    };
    [
        ("hello plain", 3, header(Voter::A, 1, 17, 10), Message::Hello(plain)),
        ("hello echo", 3, header(Voter::A, 1, 17, 20), Message::Hello(full)),
    ]
}

/// What a node with an arbiter says.
fn with_arbiter() -> [Meaning; 3] {
    let served = Status {
        hears: 0b10,
        echoes: [Some(Echo::of(boot(17), 69_999)), Some(Echo::of(boot(3), 500))],
        groups: groups(&[(0, GroupState::Running)]),
        armed: true,
        direct: true,
        hears_arbiter: true,
        ..Status::default()
    };
    let request = Status {
        echoes: [None, Some(Echo::of(boot(3), 501))],
        groups: GroupStates::default(),
        off_schedule: true,
        fence: Some(boot(0x01_0203)),
        hears: 0,
        armed: false,
        ..served
    };
    let [(.., Message::Hello(plain)), _] = hellos() else { panic!("a hello") };
    let tail = ForArbiter {
        homes_b: 1 << 1 | 1 << 15,
        knows: Some(boot(3)),
        voteless: true,
        longest: hb_proto::time::Duration::from_millis(20_920),
    };
    let hello = Hello { for_arbiter: Some(tail), ..plain };
    [
        ("served", 3, header(Voter::A, 0, 17, 70_000), Message::Status(served)),
        ("fence request", 3, header(Voter::B, 1, 41, 70_001), Message::Status(request)),
        ("hello for an arbiter", 3, header(Voter::A, 1, 17, 10), Message::Hello(hello)),
    ]
}

fn meanings() -> impl Iterator<Item = Meaning> {
    statuses().into_iter().chain(hellos()).chain(with_arbiter())
}

type ArbiterMeaning = (&'static str, Header, ArbiterMessage);

fn arbiter_meanings() -> [ArbiterMeaning; 2] {
    let mut promisees = Promisees::default();
    promisees.set(GroupId(0), Shown::B);
    promisees.set(GroupId(7), Shown::Withheld);
    promisees.set(GroupId(15), Shown::A);
    let dead = NodeSeen {
        boot: Some(boot(0x01_0203)),
        silent_10ms: 255,
        fence: FenceShown::Confirmed,
        line: LineShown::Commissioned,
        ..NodeSeen::default()
    };
    let alive = NodeSeen {
        boot: Some(boot(41)),
        silent_10ms: 3,
        heard: true,
        direct: true,
        armed: true,
        feeds: true,
        fence: FenceShown::None,
        line: LineShown::Miswired,
    };
    let status = ArbiterStatus {
        echoes: [Some(Echo::of(boot(0x01_0203), 9)), Some(Echo::of(boot(41), 300))],
        promisees,
        nodes: [dead, alive],
        uptime_s: 86_400,
        reset: ResetReason::BrownOut,
        off_schedule: true,
        wants_hello: [false, true],
    };
    let settings = ArbiterSettings {
        lease_ms: 400,
        guard_ms: 20_500,
        deadtime_ms: 500,
        drift_percent: 5,
        key: 3,
        haresources: 0x1122_3344_5566_7788_u64.to_le_bytes(),
        ..ArbiterSettings::new(0xDEAD_BEEF)
    };
    let hello = ArbiterHello { status, settings };
    [
        ("arbiter", header(Voter::Arbiter, 1, 3, 500), ArbiterMessage::Status(status)),
        ("arbiter hello", header(Voter::Arbiter, 0, 3, 501), ArbiterMessage::Hello(hello)),
    ]
}

#[test]
fn the_arbiters_vectors_are_written_and_read() {
    let vectors = vectors();
    for (name, header, message) in arbiter_meanings() {
        let mut frame = [0; MAX_FRAME];
        let len = message::arbiter::encode(&header, &message, &keys(3), &mut frame);
        assert_eq!(frame[..len], vectors[name], "{name}: {:02x?}", &frame[..len]);
        let keys = keys(1);
        let opened = message::open(&vectors[name], &keys).expect(name);
        assert_eq!((opened.header, opened.key), (header, 3), "{name}");
        assert_eq!(opened.arbiter_message(), Ok(message), "{name}");
    }
}

#[test]
fn the_encoder_writes_the_vectors() {
    let vectors = vectors();
    for (name, key, header, message) in meanings() {
        let mut frame = [0; MAX_FRAME];
        let len = message::encode(&header, &message, &keys(key), &mut frame);
        assert_eq!(frame[..len], vectors[name], "{name}: {:02x?}", &frame[..len]);
    }
}

#[test]
fn the_vectors_mean_what_they_meant() {
    let vectors = vectors();
    for (name, _, header, message) in meanings() {
        // Any ring that lists the key reads it, whichever signs.
        let keys = keys(1);
        let opened =
            message::open(&vectors[name], &keys).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(opened.header, header, "{name}");
        assert_eq!(opened.message(), Ok(message), "{name}");
    }
}

#[test]
fn serial_lines_carry_the_vectors() {
    let vectors = vectors();
    for (on_line, name) in [("serial typical", "typical"), ("serial worst", "worst")] {
        let (line, frame) = (&vectors[on_line], &vectors[name]);
        let mut out = [0; MAX_FRAME + 2];
        assert_eq!(cobs::encode(frame, &mut out), Some(&line[..]), "{on_line}");
        assert_eq!(line.len(), STATUS_SERIAL_BYTES, "{on_line}");
        let mut deframer = Deframer::new();
        assert_eq!(deframer.push(cobs::DELIMITER), None, "a line that was just opened");
        let found: Vec<_> = line
            .iter()
            .filter_map(|&b| deframer.push(b).map(|found| found.map(<[u8]>::to_vec)))
            .collect();
        assert_eq!(found, [Ok(frame.clone())], "{on_line}");
    }
}

/// Tomorrow's frames are genuine and refused by name: not taken for damage, nor read in part.
#[test]
fn frames_of_the_next_version_are_refused_as_such() {
    let next = vectors_of(&[NEXT]);
    assert_eq!(next.len(), 4);
    for (name, frame) in next {
        assert_eq!(message::open(&frame, &keys(1)).err(), Some(Reject::Version), "{name}");
    }
}

/// Tomorrow's program reads both: today's as today, and its own with what it appended.
#[cfg(feature = "mutants")]
#[test]
fn the_next_version_reads_and_writes_both() {
    use hb_proto::wire::message::{CURRENT_VERSION, INVENTED_VERSION, Versions};
    let both = Versions { oldest: CURRENT_VERSION, newest: INVENTED_VERSION };
    let (today, next) = (vectors(), vectors_of(&[NEXT]));
    let mut written = 0;
    for (vectors, version) in [(&today, CURRENT_VERSION), (&next, INVENTED_VERSION)] {
        for (name, key, header, message) in meanings() {
            let Some(vector) = vectors.get(name) else { continue };
            let mut frame = [0xAA; MAX_FRAME];
            let len = message::encode_in(version, &header, &message, &keys(key), &mut frame);
            assert_eq!(frame[..len], vector[..], "{name} of version {version}");
            let keys = keys(1);
            let opened = message::open_in(both, vector, &keys).expect(name);
            assert_eq!((opened.version, opened.message()), (version, Ok(message)), "{name}");
            written += 1;
        }
        for (name, header, message) in arbiter_meanings() {
            let mut frame = [0xAA; MAX_FRAME];
            let len = message::arbiter::encode_in(version, &header, &message, &keys(3), &mut frame);
            assert_eq!(frame[..len], vectors[name][..], "{name} of version {version}");
            let keys = keys(1);
            let opened = message::open_in(both, &vectors[name], &keys).expect(name);
            assert_eq!((opened.version, opened.arbiter_message()), (version, Ok(message)));
            written += 1;
        }
    }
    assert_eq!(written, 9 + 2 + 2 + 2);
}

/// Every vector has a test here, and every test its vector: neither is lost by a slip.
#[test]
fn no_vector_is_left_out() {
    let mut named: Vec<_> = meanings().map(|(name, ..)| name).collect();
    named.extend(["serial typical", "serial worst"]);
    named.extend(arbiter_meanings().map(|(name, ..)| name));
    named.sort_unstable();
    assert_eq!(vectors().into_keys().collect::<Vec<_>>(), named);
}
