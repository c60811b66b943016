use heapless::Vec;
use proptest::prelude::*;

use super::*;
use crate::config::STATUS_SERIAL_BYTES;
use crate::wire::auth::{HMAC_TAG, Key};
use crate::wire::{MIN_FRAME, cobs};

pub(super) fn keys() -> KeyRing {
    let mut list = Vec::new();
    let _ = list.push(Key::hmac(15, b"a secret").expect("id in range"));
    KeyRing::new(list, 15).expect("listed")
}

pub(super) fn header() -> Header {
    Header {
        sender: Voter::B,
        link: LinkId(7),
        boot: BootId::new(BootId::MAX).expect("largest"),
        seq: u32::MAX,
    }
}

fn worst_status() -> Status {
    let mut groups = GroupStates::default();
    for group in 0..MAX_GROUPS as u8 {
        groups.set(GroupId(group), GroupState::Promised);
    }
    Status {
        hears: 0xFF,
        echoes: [Some(Echo(0x0FFF_FFFF)); 2],
        groups,
        life: Life::Left,
        off_schedule: true,
        wants_hello: true,
        fence: None,
        armed: true,
        direct: true,
        hears_arbiter: true,
    }
}

/// The largest fence request, in place of the echo of the peer.
fn worst_request() -> Status {
    let worst = worst_status();
    Status { fence: BootId::new(BootId::MAX), echoes: [None, worst.echoes[1]], ..worst }
}

fn worst_hello() -> Hello {
    Hello {
        status: worst_status(),
        settings: Settings {
            min_version: u8::MAX,
            current_version: u8::MAX,
            keepalive_ms: u32::MAX,
            deadtime_ms: u32::MAX,
            lease_ms: u32::MAX,
            guard_ms: u32::MAX,
            arbiter: Some(u32::MAX),
            haresources: [0xFF; 8],
            settings: [0xFF; 8],
        },
        declines: u16::MAX,
        failed: u16::MAX,
        wants: u16::MAX,
        knows: BootId::new(BootId::MAX),
        echo: Some(HelloEcho { seq: u32::MAX, held_us: u32::MAX }),
        for_arbiter: Some(ForArbiter {
            homes_b: u16::MAX,
            knows: BootId::new(BootId::MAX),
            voteless: true,
            longest: crate::time::Duration::MAX,
        }),
    }
}

#[test]
fn worst_status_takes_32_bytes_on_the_line() {
    for status in [worst_status(), worst_request()] {
        let mut frame = [0; MAX_FRAME];
        let len = encode(&header(), &Message::Status(status), &keys(), &mut frame);
        let mut line = [0; MAX_FRAME + 2];
        let on_line = cobs::encode(&frame[..len], &mut line).expect("fits").len();
        assert_eq!(on_line, STATUS_SERIAL_BYTES);
        assert_eq!(len, HEADER_LEN + STATUS_LEN + HMAC_TAG);
    }
}

/// R12. A request takes the place of the echo of the peer; what the peer reads is no echo.
#[test]
fn a_fence_request_is_no_echo() {
    let (mut frame, keys) = ([0; MAX_FRAME], keys());
    let sent = Status { echoes: worst_status().echoes, ..worst_request() };
    let len = encode(&header(), &Message::Status(sent), &keys, &mut frame);
    let read = open(&frame[..len], &keys).expect("own frame").message();
    assert_eq!(read, Ok(Message::Status(worst_request())));
}

#[test]
fn worst_hello_fits_a_frame() {
    let mut frame = [0; MAX_FRAME];
    let len = encode(&header(), &Message::Hello(worst_hello()), &keys(), &mut frame);
    let opened = open(&frame[..len], &keys()).expect("own frame");
    assert_eq!(opened.header, header());
    assert_eq!(opened.message(), Ok(Message::Hello(worst_hello())));
}

#[test]
fn echo_of_another_life_is_no_echo() {
    let (this, before) = (BootId::new(9).expect("id"), BootId::new(8).expect("id"));
    assert!(Echo::of(this, 57).names(this, 57));
    assert!(!Echo::of(before, 57).names(this, 57));
    assert!(!Echo::of(this, 56).names(this, 57));
}

#[test]
fn sequence_numbers_that_would_echo_as_none_are_left_out() {
    assert_eq!(next_seq(0), Some(1));
    assert_eq!(next_seq(ECHO_SEQ_MASK), Some(ECHO_SEQ_MASK + 2));
    assert_eq!(next_seq(u32::MAX), None);
    let boot = BootId::new(256).expect("id");
    assert_ne!(Echo::of(boot, next_seq(ECHO_SEQ_MASK).expect("not the end")).0, 0);
}

/// Each kind of damage is counted under its own reason, in the order of the checks.
#[test]
fn rejects_in_order() {
    let keys = keys();
    let sealed = |edit: &dyn Fn(&mut [u8; MAX_FRAME], usize) -> usize| {
        let mut frame = [0; MAX_FRAME];
        let len = encode(&header(), &Message::Status(worst_status()), &keys, &mut frame) - 8;
        let len = edit(&mut frame, len);
        let len = keys.seal(&mut frame, len).expect("fits");
        open(&frame[..len], &keys).and_then(|opened| opened.message()).expect_err("edited")
    };
    assert_eq!(open(&[0; MIN_FRAME - 1], &keys).map(drop), Err(Reject::Length));
    assert_eq!(open(&[0; 30], &keys).map(drop), Err(Reject::Key));
    assert_eq!(open(&[0xFF; 30], &keys).map(drop), Err(Reject::Tag));
    assert_eq!(sealed(&|frame, len| (frame[0] |= 7 << 5, len).1), Reject::Version);
    assert_eq!(sealed(&|frame, len| (frame[0] |= 3 << 3, len).1), Reject::Meaning);
    assert_eq!(sealed(&|frame, len| (frame[2..5].fill(0), len).1), Reject::Meaning);
    assert_eq!(sealed(&|_, len| len - 1), Reject::Decode);
    assert_eq!(sealed(&|_, len| len + 1), Reject::Trailing);
    assert_eq!(sealed(&|frame, len| (frame[1] = 9 << 4 | 15, len).1), Reject::Decode);
    assert_eq!(sealed(&|frame, len| (frame[len - 1] |= 0xF0, len).1), Reject::Meaning);
    assert_eq!(sealed(&|_, _| HEADER_LEN), Reject::Length);
}

prop_compose! {
    fn statuses()(
        hears: u8, echoes in any::<[Option<u32>; 2]>(), groups: [u8; 4], life in 0..3u8,
        flags: [bool; 5], fence: Option<u32>,
    ) -> Status {
        let echo = |bits: u32| Some(Echo(bits & 0x0FFF_FFFF)).filter(|echo| echo.0 != 0);
        let fence = fence.and_then(|id| BootId::new(id & BootId::MAX));
        let [peer, arbiter] = echoes.map(|bits| bits.and_then(echo));
        let [off_schedule, wants_hello, armed, direct, hears_arbiter] = flags;
        Status {
            hears,
            echoes: [peer.filter(|_| fence.is_none()), arbiter],
            groups: GroupStates(groups),
            life: [Life::Up, Life::Leaving, Life::Left][usize::from(life)],
            off_schedule,
            wants_hello,
            fence,
            armed,
            direct,
            hears_arbiter,
        }
    }
}

proptest! {
    #[test]
    fn status_round_trip(status in statuses(), seq: u32, link in 0..8u8) {
        let header = Header { seq, link: LinkId(link), ..header() };
        let mut frame = [0; MAX_FRAME];
        let len = encode(&header, &Message::Status(status), &keys(), &mut frame);
        prop_assert_eq!(len + 2, STATUS_SERIAL_BYTES);
        let keys = keys();
        let opened = open(&frame[..len], &keys).expect("own frame");
        prop_assert_eq!(opened.header, header);
        prop_assert_eq!(opened.message(), Ok(Message::Status(status)));
    }

    /// Correctly signed nonsense reaches the decoder and no further.
    #[test]
    fn signed_nonsense_never_panics(mut frame: [u8; MAX_FRAME], len in 0..MAX_FRAME - 8) {
        frame[1] |= 0x0F;
        let keys = keys();
        let len = keys.seal(&mut frame, len).expect("fits");
        let _ = open(&frame[..len], &keys).and_then(|opened| opened.message());
    }
}
