use super::super::tests::{header, keys};
use super::*;
use crate::wire::cobs;

fn worst_status() -> ArbiterStatus {
    let mut promisees = Promisees::default();
    (0..MAX_GROUPS as u8).for_each(|group| promisees.set(GroupId(group), Shown::Withheld));
    let node = NodeSeen {
        boot: BootId::new(BootId::MAX),
        silent_10ms: u8::MAX,
        heard: true,
        direct: true,
        armed: true,
        feeds: true,
        fence: FenceShown::Confirmed,
        line: LineShown::Miswired,
    };
    ArbiterStatus {
        echoes: [Some(Echo(0x0FFF_FFFF)); 2],
        promisees,
        nodes: [node; 2],
        uptime_s: u32::MAX,
        reset: ResetReason::Pin,
        off_schedule: true,
        wants_hello: [true; 2],
    }
}

fn sent_and_read(message: ArbiterMessage) -> usize {
    let header = Header { sender: Voter::Arbiter, ..header() };
    let mut frame = [0; MAX_FRAME];
    let len = encode(&header, &message, &keys(), &mut frame);
    let keys = keys();
    let opened = super::super::open(&frame[..len], &keys).expect("own frame");
    assert_eq!(opened.header, header);
    assert_eq!(opened.arbiter_message(), Ok(message));
    let mut line = [0; MAX_FRAME + 2];
    cobs::encode(&frame[..len], &mut line).expect("fits").len()
}

#[test]
fn worst_status_takes_no_more_than_48_bytes_on_the_line() {
    let on_line = sent_and_read(ArbiterMessage::Status(worst_status()));
    assert!(on_line <= ARBITER_SERIAL_BYTES, "{on_line}");
    assert_eq!(on_line, 45, "the table above");
    let least = sent_and_read(ArbiterMessage::Status(ArbiterStatus::default()));
    assert_eq!(least, on_line, "whatever the values");
}

#[test]
fn worst_hello_fits_a_frame() {
    let settings = ArbiterSettings {
        min_version: u8::MAX,
        current_version: u8::MAX,
        id: u32::MAX,
        lease_ms: u32::MAX,
        guard_ms: u32::MAX,
        deadtime_ms: u32::MAX,
        drift_percent: u8::MAX,
        key: u8::MAX,
        haresources: [0xFF; 8],
    };
    sent_and_read(ArbiterMessage::Hello(ArbiterHello { status: worst_status(), settings }));
}

#[test]
fn each_node_reads_its_own_promises_only() {
    let mut promisees = Promisees::default();
    promisees.set(GroupId(0), Shown::A);
    promisees.set(GroupId(5), Shown::B);
    promisees.set(GroupId(15), Shown::Withheld);
    let (a, b) = (promisees.states_for(Voter::A), promisees.states_for(Voter::B));
    let promised = |states: GroupStates| {
        (0..16).filter(|&g| states.state(GroupId(g)) == GroupState::Promised).count()
    };
    assert_eq!((promised(a), promised(b)), (1, 1));
    assert_eq!(a.state(GroupId(0)), GroupState::Promised);
    assert_eq!(b.state(GroupId(5)), GroupState::Promised);
}

/// What no encoder writes is refused as such.
#[test]
fn values_without_meaning_are_refused() {
    let header = Header { sender: Voter::Arbiter, ..header() };
    let keys = keys();
    let refused = |edit: &dyn Fn(&mut [u8])| {
        let mut frame = [0; MAX_FRAME];
        let message = ArbiterMessage::Status(ArbiterStatus::default());
        let len = encode(&header, &message, &keys, &mut frame) - 8;
        edit(&mut frame[..len]);
        let len = keys.seal(&mut frame, len).expect("fits");
        super::super::open(&frame[..len], &keys).expect("signed").arbiter_message()
    };
    assert_eq!(refused(&|frame| frame[frame.len() - 1] = 0x80), Err(Reject::Meaning));
    assert_eq!(refused(&|frame| frame[frame.len() - 1] = 6), Err(Reject::Meaning));
    assert_eq!(refused(&|frame| frame[9 + 11 + 4] = 0xC0), Err(Reject::Meaning));
    assert_eq!(refused(&|frame| frame[9 + 11 + 4] = 0x30), Err(Reject::Meaning));
    assert!(refused(&|_| {}).is_ok());
}
