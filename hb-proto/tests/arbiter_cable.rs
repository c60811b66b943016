//! The arbiter as a cable, frame by frame (protocol.md §4), and its contract with the driver.

use hb_proto::arbiter::{Accepted, Action, Arbiter, Config, Port};
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::time::{Duration, Instant, Millis};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::message::{
    self, ForArbiter, GroupState, GroupStates, Header, Hello, Message, Settings, Status,
};
use hb_proto::wire::{MAX_FRAME, Reject};

const BAUD: u32 = 19_200;

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

fn keys(secret: &[u8]) -> KeyRing {
    let key = Key::hmac(1, secret).expect("id in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

fn boot(id: u32) -> BootId {
    BootId::new(id).expect("in range")
}

fn arbiter() -> Arbiter {
    let config = Config::new(7, BAUD);
    Arbiter::new(config, keys(b"secret"), boot(1), None, ResetReason::PowerOn, at(0))
        .expect("a valid configuration")
}

fn frame_of(sender: Voter, seq: u32, status: Status, secret: &[u8]) -> Vec<u8> {
    let header = Header { sender, link: LinkId(0), boot: boot(3), seq };
    let mut frame = [0; MAX_FRAME];
    let len = message::encode(&header, &Message::Status(status), &keys(secret), &mut frame);
    frame[..len].to_vec()
}

fn direct(sender: Voter, seq: u32) -> Vec<u8> {
    frame_of(sender, seq, Status { direct: true, ..Status::default() }, b"secret")
}

/// Everything that leaves now: port, bytes, whether it was forwarded.
fn leaving(arbiter: &mut Arbiter, now: Instant) -> Vec<(Port, Vec<u8>, bool)> {
    while arbiter.poll_action(now).is_some() {}
    let (mut frame, mut found) = ([0; MAX_FRAME], Vec::new());
    while let Some(transmit) = arbiter.poll_transmit(now, &mut frame) {
        found.push((transmit.port, frame[..transmit.len].to_vec(), transmit.forwarded));
    }
    found
}

/// An arbiter whose own first frame has left.
fn idle() -> Arbiter {
    let mut arbiter = arbiter();
    arbiter.handle_timeout(at(0));
    assert_eq!(leaving(&mut arbiter, at(0)).len(), 2, "its own, to both");
    arbiter
}

#[test]
fn an_idle_line_gets_the_frame_at_once() {
    let mut arbiter = idle();
    let frame = direct(Voter::A, 5);
    assert_eq!(arbiter.handle_frame(at(60), Port::One, &frame), Ok(Accepted::First));
    assert_eq!(leaving(&mut arbiter, at(60))[0], (Port::Two, frame, true));
}

/// A frame of its own occupies the line; of what waits then, the node's leaves first.
#[test]
fn forwarded_frames_go_first() {
    let mut arbiter = arbiter();
    arbiter.handle_timeout(at(0));
    assert_eq!(leaving(&mut arbiter, at(0)).len(), 2);
    let frame = direct(Voter::A, 5);
    arbiter.handle_frame(at(10), Port::One, &frame).expect("genuine");
    assert_eq!(leaving(&mut arbiter, at(10)), [], "its hello takes 43 ms");
    arbiter.handle_timeout(at(10));
    let due = arbiter.poll_timeout();
    assert!(due <= at(50), "{due:?}");
    let left = leaving(&mut arbiter, at(50));
    let to_b: Vec<_> = left.iter().filter(|(port, ..)| *port == Port::Two).collect();
    assert_eq!(to_b.len(), 1, "one at a time");
    assert!(to_b[0].2 && to_b[0].1 == frame);
}

#[test]
fn what_was_relayed_or_is_its_own_is_not_forwarded() {
    let mut arbiter = idle();
    // B relays a frame of A's: it came from where it would go.
    let relayed = frame_of(Voter::A, 5, Status::default(), b"secret");
    assert_eq!(arbiter.handle_frame(at(60), Port::Two, &relayed), Ok(Accepted::First));
    arbiter.handle_timeout(at(60));
    let own = leaving(&mut arbiter, at(60));
    assert!(own.iter().all(|(.., forwarded)| !forwarded), "{own:?}");
    let looped = arbiter.handle_frame(at(200), Port::One, &own[0].1);
    assert_eq!(looped, Err(Reject::Own));
    // The same frame by its own line: it has not been on the cable yet.
    let same = direct(Voter::A, 5);
    assert_eq!(arbiter.handle_frame(at(201), Port::One, &same), Ok(Accepted::Copy));
    assert!(leaving(&mut arbiter, at(201)).iter().any(|(port, _, f)| *f && *port == Port::Two));
    // And again: nobody loops it.
    assert_eq!(arbiter.handle_frame(at(300), Port::One, &same), Ok(Accepted::Copy));
    assert!(leaving(&mut arbiter, at(300)).iter().all(|(.., forwarded)| !forwarded));
    assert_eq!(arbiter.handle_frame(at(301), Port::One, &direct(Voter::A, 4)), Err(Reject::Replay));
}

#[test]
fn what_is_not_genuine_goes_nowhere() {
    let mut arbiter = idle();
    let status = Status { direct: true, ..Status::default() };
    let forged = frame_of(Voter::A, 5, status, b"another secret");
    assert_eq!(arbiter.handle_frame(at(60), Port::One, &forged), Err(Reject::Tag));
    assert_eq!(leaving(&mut arbiter, at(60)), []);
    assert_eq!(arbiter.statistics(Port::One).rejected[Reject::Tag.index()], 1);
}

fn hello(seq: u32, status: Status) -> Vec<u8> {
    let settings = Settings {
        keepalive_ms: 100,
        deadtime_ms: 500,
        lease_ms: 400,
        guard_ms: 1000,
        arbiter: Some(7),
        ..Settings::new(Default::default())
    };
    let hello = Hello {
        status: Status { direct: true, ..status },
        settings,
        declines: 0,
        failed: 0,
        wants: 0,
        knows: None,
        echo: None,
        for_arbiter: Some(ForArbiter {
            homes_b: 0,
            knows: None,
            voteless: false,
            longest: Duration::ZERO,
        }),
    };
    let header = Header { sender: Voter::A, link: LinkId(0), boot: boot(3), seq };
    let mut frame = [0; MAX_FRAME];
    let len = message::encode(&header, &Message::Hello(hello), &keys(b"secret"), &mut frame);
    frame[..len].to_vec()
}

/// R8. What must survive a reset is stored before any frame says it; forwarded frames don't wait.
#[test]
fn nothing_of_its_own_leaves_before_it_is_stored() {
    let mut arbiter = idle();
    arbiter.handle_frame(at(60), Port::One, &hello(5, Status::default())).expect("genuine");
    arbiter.handle_timeout(at(60));
    let (mut frame, mut own) = ([0; MAX_FRAME], 0);
    while let Some(transmit) = arbiter.poll_transmit(at(60), &mut frame) {
        own += u32::from(!transmit.forwarded);
    }
    assert_eq!(own, 0, "guard and lease are new: {:?}", arbiter.memory());
    let Some(Action::Store(memory)) = arbiter.poll_action(at(60)) else { panic!("to be stored") };
    assert_eq!((memory.lease, memory.guard), (Millis(400), Millis(1000)));
    assert_eq!(arbiter.poll_action(at(60)), None, "once");
    assert!(leaving(&mut arbiter, at(200)).iter().any(|(.., forwarded)| !forwarded));
}

/// Decision state compares equal from any epoch: explorers tell states apart from histories.
#[test]
fn a_rebased_arbiter_decides_the_same() {
    let mut one = idle();
    let mut states = GroupStates::default();
    states.set(hb_proto::id::GroupId(0), GroupState::Asking);
    let asks = hello(5, Status { groups: states, ..Status::default() });
    one.handle_frame(at(60), Port::One, &asks).expect("genuine");
    one.handle_timeout(at(60));
    leaving(&mut one, at(60));
    let mut other = one.clone();
    let by = Duration::from_millis(500_000);
    other.rebase(by);
    let later = at(160);
    let (a, b) = (later, later.rebased(by));
    for (arbiter, now) in [(&mut one, a), (&mut other, b)] {
        arbiter.handle_wakeup(now);
        arbiter.handle_timeout(now);
    }
    assert_eq!(leaving(&mut one, a), leaving(&mut other, b));
    assert_eq!(&one.decisions().clone().rebased(by), other.decisions());
}
