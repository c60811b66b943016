use super::*;
use crate::wire::message::arbiter::{LineShown, ResetReason};

fn keys(secret: &[u8]) -> KeyRing {
    KeyRing::new(Key::hmac(3, secret).into_iter().collect(), 3).expect("listed")
}

const NOW: Challenge = Challenge { id: 7, boot: 9, token: 2 };

fn longest_ask() -> Ask {
    let secret = Vec::from_slice(&[0xA5; MAX_SECRET]).expect("room");
    Ask::SetKey { key: 15, signs: true, crc: false, number: u32::MAX, secret }
}

fn asks() -> [Ask; 7] {
    let node = Voter::B;
    let (drop, test) = (Ask::DropKey { key: 4 }, Ask::TestLine { node });
    let settings = Ask::Settings(Settings { pulse_ms: 1500, watchdog_ms: 90_000 });
    let trace = Ask::Trace { after: 70_000 };
    [Ask::Identify, longest_ask(), drop, test, trace, Ask::SelfTest, settings]
}

fn answers() -> [Answer; 5] {
    let identity = Identity {
        challenge: NOW,
        firmware: [0, 1, 0],
        board: Board::Rp2040Pico,
        port: 1,
        keys: 0x8001,
        signing: Some(15),
        reset: ResetReason::Watchdog,
        uptime_s: 86_400,
        feeds: [Some(true), None],
        lines: [LineShown::Commissioned, LineShown::Miswired],
        test: Some(TestShown { node: Voter::B, state: TestState::Proved }),
        settings: Some(Settings::default()),
    };
    let entry = Entry { at_ms: u32::MAX, what: Note::Tested, arg: 0x00FF_FFFF };
    let entries = [entry; MAX_ENTRIES].into_iter().collect();
    let found = SelfTest {
        store: true,
        crypto: true,
        outputs_at_rest: [true, false],
        line_high: [Some(true), None],
        sense_high: [None, Some(false)],
        longest_turn_us: 900,
        port_failures: 3,
    };
    [
        Answer::Identity(identity),
        Answer::Done { token: 3 },
        Answer::Refused { token: 2, why: Refusal::OldChallenge },
        Answer::Trace { newest: 90, first: 83, entries },
        Answer::SelfTest(found),
    ]
}

#[test]
fn what_is_written_is_read_signed_and_in_the_clear() {
    let ring = keys(b"secret");
    for keys in [None, Some(&ring)] {
        let mut buf = [0; MAX_FRAME];
        for ask in asks() {
            let request = Request { challenge: NOW, ask };
            let len = encode_request(&request, keys, &mut buf);
            assert!(is_service(&buf[..len]) && is_request(&buf[..len]));
            assert_eq!(open_request(&buf[..len], keys), Ok((request, keys.is_some())));
            assert!(open_answer(&buf[..len], keys).is_err(), "no answer");
        }
        for answer in answers() {
            let len = encode_answer(&answer, keys, &mut buf);
            assert!(is_service(&buf[..len]) && !is_request(&buf[..len]));
            assert_eq!(open_answer(&buf[..len], keys), Ok((answer, keys.is_some())));
        }
    }
}

#[test]
fn another_key_no_key_and_flipped_bits_are_told() {
    let mut buf = [0; MAX_FRAME];
    let request = Request { challenge: NOW, ask: Ask::SelfTest };
    let len = encode_request(&request, Some(&keys(b"secret")), &mut buf);
    let other = keys(b"another");
    assert_eq!(open_request(&buf[..len], Some(&other)).err(), Some(Reject::Tag));
    assert_eq!(open_request::<16>(&buf[..len], None).err(), Some(Reject::Key));
    for bit in 0..len * 8 {
        buf[bit / 8] ^= 1 << (bit % 8);
        let read = open_request(&buf[..len], Some(&keys(b"secret")));
        assert!(!matches!(read, Ok((_, true))), "bit {bit}");
        buf[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..len {
        assert!(open_request(&buf[..len], Some(&keys(b"secret"))).is_err(), "{len} bytes");
    }
}

#[test]
fn nobody_else_takes_them_for_his_own() {
    let mut buf = [0; MAX_FRAME];
    let ring = keys(b"secret");
    let request = Request { challenge: NOW, ask: longest_ask() };
    let len = encode_request(&request, Some(&ring), &mut buf);
    let read = crate::wire::message::open(&buf[..len], &ring);
    assert_eq!(read.err(), Some(Reject::Version));
}

#[test]
fn a_later_version_is_told_that_it_is_not_known() {
    let mut buf = [0; MAX_FRAME];
    let request = Request { challenge: NOW, ask: Ask::Unknown };
    let len = encode_request(&request, None, &mut buf);
    assert_eq!(open_request::<16>(&buf[..len], None), Ok((request, false)));
}

/// An older program's answer ends before its settings; a later one has more behind them.
#[test]
fn an_identity_of_another_version_is_read() {
    let [Answer::Identity(identity), ..] = answers() else { panic!("the first one") };
    let mut buf = [0; MAX_FRAME];
    let older = Answer::Identity(Identity { settings: None, ..identity });
    let len = encode_answer::<16>(&older, None, &mut buf);
    assert_eq!(open_answer(&buf[..len], None), Ok((older, false)));
    let newest = Answer::Identity(identity);
    let body = encode_answer::<16>(&newest, None, &mut buf) - crate::wire::auth::CRC_TAG;
    buf[body..body + 3].fill(0xA5);
    let len = IN_THE_CLEAR.seal(&mut buf, body + 3).expect("room");
    assert_eq!(open_answer(&buf[..len], None), Ok((newest, false)));
}

#[test]
fn times_out_of_range_are_known() {
    let are = |pulse_ms| Settings { pulse_ms, ..Settings::default() }.are_in_range();
    assert_eq!([49, 50, 1500, 1501].map(are), [false, true, true, false]);
    assert!(Settings::default().are_in_range());
}
