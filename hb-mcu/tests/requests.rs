//! What an operator's tool asks of a dongle over a line.

mod world;

use hb_mcu::PULSE;
use hb_proto::id::Voter;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::port::Deframer;
use hb_proto::wire::service::{self, Answer, Ask, Challenge, Identity, Refusal, Request, Settings};
use hb_proto::wire::{MAX_FRAME, cobs};
use world::{A, B, World, keys};

/// Asks at A's end of the line, and reads what comes back.
fn ask(
    world: &mut World,
    challenge: Challenge,
    ask: &Ask,
    keys: Option<&KeyRing>,
) -> Option<Answer> {
    // Answers in the clear keep their distance.
    world.run(250);
    let request = Request { challenge, ask: ask.clone() };
    let (mut buf, mut line) = ([0; MAX_FRAME], [0; MAX_FRAME + 3]);
    let len = service::encode_request(&request, keys, &mut buf);
    let bytes = cobs::encode(&buf[..len], &mut line[1..]).expect("no longer than a frame").len();
    world.ports[A].incoming.borrow_mut().extend(&line[..=bytes]);
    let port = world.ports[A].clone();
    let dongle = world.dongle.as_mut().expect("in");
    let mut deframer = Deframer::new();
    deframer.push(cobs::DELIMITER);
    for _ in 0..5 {
        dongle.turn();
        for byte in port.outgoing.borrow_mut().drain(..) {
            if let Some(Ok(frame)) = deframer.push(byte)
                && let Ok((answer, _)) = service::open_answer(frame, Some(&self::keys()))
            {
                return Some(answer);
            }
        }
    }
    None
}

fn identity(world: &mut World) -> Identity {
    match ask(world, Challenge::default(), &Ask::Identify, None) {
        Some(Answer::Identity(identity)) => identity,
        other => panic!("{other:?}"),
    }
}

/// Signed, with the present challenge.
fn change(world: &mut World, what: &Ask) -> Option<Answer> {
    let challenge = identity(world).challenge;
    ask(world, challenge, what, Some(&keys()))
}

#[track_caller]
fn is_refused(answer: &Option<Answer>, expected: Refusal) {
    assert!(
        matches!(answer, Some(Answer::Refused { why, .. }) if *why == expected),
        "{answer:?}, not {expected:?}"
    );
}

fn pulled_ms(world: &mut World) -> u64 {
    world.machines[A].frozen = true;
    world.run(4000);
    world.pulled[A].len() as u64
}

#[test]
fn settings_count_at_once_and_outlive_a_reset() {
    let mut world = World::started();
    let before = identity(&mut world).settings.expect("it has a choice");
    assert_eq!(u64::from(before.pulse_ms), PULSE.millis());
    let wanted = Settings { pulse_ms: 600, watchdog_ms: 7000 };
    let answer = change(&mut world, &Ask::Settings(wanted));
    assert!(matches!(answer, Some(Answer::Done { .. })), "{answer:?}");
    assert_eq!(identity(&mut world).settings, Some(wanted));
    assert_eq!(world.dongle.as_ref().expect("in").arbiter().boot().value(), 2, "no new life");
    let pulled = pulled_ms(&mut world);
    assert!(pulled.abs_diff(600) < 3, "{pulled} ms");

    world.insert(hb_proto::wire::message::arbiter::ResetReason::PowerOn);
    assert_eq!(identity(&mut world).settings, Some(wanted), "stored");
    let silence = world.dongle.as_ref().expect("in").arbiter().config().external_watchdog;
    assert_eq!(silence.millis(), 7000);
}

#[test]
fn settings_are_refused_unsigned_old_out_of_range_and_unstored() {
    let mut world = World::started();
    let wanted = Ask::Settings(Settings { pulse_ms: 600, watchdog_ms: 7000 });
    let present = identity(&mut world).challenge;
    is_refused(&ask(&mut world, present, &wanted, None), Refusal::NotSigned);
    let old = Challenge { token: present.token.wrapping_sub(1), ..present };
    is_refused(&ask(&mut world, old, &wanted, Some(&keys())), Refusal::OldChallenge);
    for pulse_ms in [0, 49, 1501, u16::MAX] {
        let unfit = Ask::Settings(Settings { pulse_ms, watchdog_ms: 0 });
        is_refused(&change(&mut world, &unfit), Refusal::OutOfRange);
    }
    world.store.broken.set(true);
    is_refused(&change(&mut world, &wanted), Refusal::StoreFailed);
    world.store.broken.set(false);
    assert_eq!(identity(&mut world).settings, Some(Settings::default()));
    let pulled = pulled_ms(&mut world);
    assert!(pulled.abs_diff(PULSE.millis()) < 3, "{pulled} ms");
}

/// What was asked once is not done again when somebody sends it again.
#[test]
fn a_replayed_request_is_refused() {
    let mut world = World::started();
    let challenge = identity(&mut world).challenge;
    let wanted = Ask::Settings(Settings { pulse_ms: 300, watchdog_ms: 0 });
    let answer = ask(&mut world, challenge, &wanted, Some(&keys()));
    assert!(matches!(answer, Some(Answer::Done { .. })), "{answer:?}");
    is_refused(&ask(&mut world, challenge, &wanted, Some(&keys())), Refusal::OldChallenge);
    let test = Ask::TestLine { node: Voter::B };
    is_refused(&ask(&mut world, challenge, &test, Some(&keys())), Refusal::OldChallenge);
    world.run(1000);
    assert!(world.pulled[B].is_empty());
}
