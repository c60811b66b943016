//! The wire as docs/protocol.md §5 writes it down, held against the encoder.

use std::fs;
use std::path::Path;

use hb_proto::config::STATUS_SERIAL_BYTES;
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::wire::auth::{CRC_TAG, HMAC_TAG, Key, KeyRing};
use hb_proto::wire::message::{
    self, Echo, ForArbiter, GroupState, GroupStates, HEADER_LEN, Header, Hello, HelloEcho, Message,
    STATUS_LEN, Settings, Status,
};
use hb_proto::wire::{MAX_FRAME, MIN_FRAME, Reject, cobs};

fn chapter() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text after the heading, up to the next heading.
fn section(head: &str) -> String {
    let text = chapter();
    let (_, after) = text.split_once(head).unwrap_or_else(|| panic!("protocol.md has no {head:?}"));
    after.split("\n#").next().unwrap_or_default().to_owned()
}

/// Cells of the first table's rows, without its head.
fn table(section: &str) -> Vec<Vec<String>> {
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn boot(id: u32) -> BootId {
    BootId::new(id).expect("in range")
}

fn keys(key: Option<Key>) -> KeyRing {
    let key = key.expect("a key's number");
    KeyRing::new([key].into_iter().collect(), 1).expect("listed")
}

/// The frame that the text under the table spells out, byte by byte.
#[test]
fn the_example_is_what_the_encoder_writes() {
    let section = section("### The status: 32 bytes");
    let block = section.split("```").nth(1).expect("an example").trim_start_matches("text");
    let is_hex = |word: &&str| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let documented: Vec<u8> = block
        .lines()
        .flat_map(|line| line.split_whitespace().take_while(is_hex))
        .map(|hex| u8::from_str_radix(hex, 16).expect("hex"))
        .collect();
    let mut groups = GroupStates::default();
    groups.set(GroupId(0), GroupState::Promised);
    let status = Status {
        hears: 0b11,
        echoes: [Some(Echo::of(boot(3), 677)), None],
        groups,
        ..Status::default()
    };
    let header = Header { sender: Voter::B, link: LinkId(1), boot: boot(7), seq: 301 };
    let mut frame = [0; MAX_FRAME];
    let keys = keys(Key::hmac(1, b"Jefe"));
    let len = message::encode(&header, &Message::Status(status), &keys, &mut frame);
    assert_eq!(frame[..len], documented);
}

#[test]
fn the_table_of_the_status_adds_up() {
    let rows = table(&section("### The status: 32 bytes"));
    let bytes = |row: &Vec<String>| row[0].parse::<usize>().expect("a number of bytes");
    assert_eq!(rows.iter().map(bytes).sum::<usize>(), STATUS_SERIAL_BYTES);
    let mut at = 0;
    for row in rows.iter().filter(|row| !row[1].is_empty()) {
        assert_eq!(row[1].parse(), Ok(at), "offset of {}", row[2]);
        at += bytes(row);
    }
    assert_eq!(at, HEADER_LEN + STATUS_LEN + HMAC_TAG, "the frame without its line encoding");
    let offset_of = |what: &str| {
        let row = rows.iter().find(|row| row[2].contains(what));
        row.unwrap_or_else(|| panic!("no row for {what}"))[1].parse::<usize>().expect("an offset")
    };
    assert_eq!(offset_of("*hears*"), HEADER_LEN, "the body follows the header");
    assert_eq!(offset_of("tag"), HEADER_LEN + STATUS_LEN);

    // Each field moves the bytes of its row, and no other but the tag's.
    let plain = (header(1, 1), Status::default());
    let mut groups = GroupStates::default();
    (0..16).for_each(|group| groups.set(GroupId(group), GroupState::Promised));
    let echoes = [Some(Echo::of(boot(0xFF), 0xF_FFFF)); 2];
    for (what, header, status) in [
        ("boot id of", header(0xFF_FFFE, 1), plain.1),
        ("sequence number within", header(1, u32::MAX - 1), plain.1),
        ("*hears*", plain.0, Status { hears: 0xFF, ..plain.1 }),
        ("two echoes", plain.0, Status { echoes, ..plain.1 }),
        ("16 groups", plain.0, Status { groups, ..plain.1 }),
        ("bits 0–1 life", plain.0, Status { off_schedule: true, ..plain.1 }),
    ] {
        let (before, after) = (encoded(plain.0, plain.1), encoded(header, status));
        let row = rows.iter().find(|row| row[2].contains(what)).expect(what);
        let from = offset_of(what);
        let field = from..from + bytes(row);
        let moved: Vec<_> =
            (0..HEADER_LEN + STATUS_LEN).filter(|&i| before[i] != after[i]).collect();
        assert!(!moved.is_empty() && moved.iter().all(|i| field.contains(i)), "{what}: {moved:?}");
        assert!(
            moved.contains(&field.start) && moved.contains(&(field.end - 1)),
            "{what}: {moved:?}"
        );
    }
}

fn header(life: u32, seq: u32) -> Header {
    Header { sender: Voter::A, link: LinkId(0), boot: boot(life), seq }
}

fn encoded(header: Header, status: Status) -> [u8; MAX_FRAME] {
    let mut frame = [0; MAX_FRAME];
    let keys = keys(Key::hmac(1, b"a"));
    let len = message::encode(&header, &Message::Status(status), &keys, &mut frame);
    assert_eq!(len, HEADER_LEN + STATUS_LEN + HMAC_TAG);
    frame
}

#[test]
fn sizes_in_the_text_are_the_encoders() {
    let on_line = |message: Message, key| {
        let mut frame = [0; MAX_FRAME];
        cobs::encoded_len(message::encode(&header(1, 1), &message, &keys(key), &mut frame))
    };
    let default_times = Settings {
        keepalive_ms: 100,
        deadtime_ms: 500,
        lease_ms: 400,
        ..Settings::new(hb_proto::config::Digests { haresources: 1, settings: 2 })
    };
    let plain = Hello {
        status: Status::default(),
        settings: default_times,
        declines: 0,
        failed: 0,
        wants: 0,
        knows: None,
        echo: None,
        for_arbiter: None,
    };
    let worst = Hello {
        settings: Settings {
            keepalive_ms: u32::MAX,
            deadtime_ms: u32::MAX,
            lease_ms: u32::MAX,
            guard_ms: u32::MAX,
            arbiter: Some(u32::MAX),
            ..default_times
        },
        echo: Some(HelloEcho { seq: u32::MAX, held_us: u32::MAX }),
        ..plain
    };
    let hmac = || Key::hmac(1, b"a");
    let tail = ForArbiter {
        homes_b: u16::MAX,
        knows: Some(boot(1)),
        voteless: true,
        longest: hb_proto::time::Duration::MAX,
    };
    let longest = Hello { for_arbiter: Some(tail), ..worst };
    let [plain, worst, longest] =
        [plain, worst, longest].map(|hello| on_line(Message::Hello(hello), hmac()));
    let crc = on_line(Message::Status(Status::default()), Key::crc(1));
    assert_eq!(on_line(Message::Status(Status::default()), hmac()), STATUS_SERIAL_BYTES);
    let text = chapter().replace('\n', " ");
    for said in [
        format!("a hello has {plain} bytes on a serial line, with worst-case values {worst}"),
        format!("or {longest} for an arbiter"),
        format!("No frame is longer than {MAX_FRAME} before line encoding"),
        format!("the tag has {CRC_TAG} bytes and the whole {crc}"),
        format!("A frame is a header of {HEADER_LEN} bytes"),
        format!("A hello begins with the {STATUS_LEN} bytes of a status body"),
        format!("{MIN_FRAME} to {MAX_FRAME} bytes"),
    ] {
        assert!(text.contains(&said), "protocol.md doesn't say: {said}");
    }
}

#[test]
fn every_reason_of_refusal_stands_in_the_table() {
    let rows = table(&section("### What a frame must pass"));
    let named: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    for reason in Reject::ALL {
        assert!(named.iter().any(|name| name == reason.name()), "{} is missing", reason.name());
    }
    for name in &named {
        assert!(Reject::ALL.iter().any(|reason| reason.name() == name), "there is no {name}");
    }
}

/// Every test that the list of holes names exists, and no hole is without one.
#[test]
fn every_hole_names_tests_that_exist() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| {
        std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let text = read("docs/testing/holes.md");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let mut named = 0;
    for row in rows.iter().filter(|row| !row.contains("| test |")) {
        let tests: Vec<_> = row.split('`').filter(|word| word.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (file, name) = test.split_once("::").expect("file::test");
            let path = if file.contains('/') {
                file.to_owned()
            } else {
                format!("hb-proto/tests/{file}.rs")
            };
            assert!(read(&path).contains(&format!("fn {name}()")), "{path} has no test {name}");
            named += 1;
        }
    }
    let holes =
        rows.iter().filter(|row| row[2..].starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!((holes, named > 50), (30, true), "{holes} holes, {named} tests");
}

/// Each rule that can be broken stands in the table, beside a test that breaks it and turns red.
#[cfg(feature = "mutants")]
#[test]
fn every_knob_names_the_test_that_notices() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |path: &str| {
        std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    let text = read("../docs/testing/broken-rules.md");
    let tests = ["authority_directed", "trio_stories", "trio_fences", "trio_schedules"];
    let tests = tests.map(|file| read(&format!("tests/{file}.rs")));
    for knob in hb_proto::mutant::Mutant::ALL {
        let row = text.lines().find(|line| line.contains(&format!("| `{knob:?}`: ")));
        let row = row.unwrap_or_else(|| panic!("{knob:?} is not in the table"));
        let test = row.split('`').nth(3).unwrap_or_default();
        let pair = format!("by!({knob:?},{test})");
        let tried = tests.iter().any(|file| file.replace([' ', '\n'], "").contains(&pair));
        assert!(tried, "{knob:?}: nobody breaks it for {test}");
    }
}
