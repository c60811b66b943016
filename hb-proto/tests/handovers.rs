//! Planned handovers that follow one another, and at slow settings: the service is dark for
//! milliseconds, whatever the times of ha.cf are.

mod pair;

use hb_proto::config::{LinkKind, Timing};
use pair::{A, B, Pair, ms};

/// Both nodes up, scripts that take no time, on wires that are not the bottleneck.
fn pair(keepalive_ms: u64, deadtime_ms: u64) -> Pair {
    let mut pair = Pair::with(|config| {
        let timing = Timing::classic_defaults();
        config.links = [LinkKind::Broadcast, LinkKind::Unicast].into_iter().collect();
        config.timing = Timing {
            keepalive: ms(keepalive_ms),
            warntime: ms(deadtime_ms * 3 / 5),
            deadtime: ms(deadtime_ms),
            lease: ms(deadtime_ms * 4 / 5),
            initdead: ms(deadtime_ms.max(10_000)),
            ..timing
        };
    });
    for who in [A, B] {
        pair.machines[who].script_time = ms(0);
        pair.start(who);
    }
    pair.run_until(ms(30_000), "A serves", |pair| pair.serves(A));
    pair.run(ms(3 * deadtime_ms));
    pair
}

/// `hb standby` on `from`: how long until the other one serves.
fn hand_over(pair: &mut Pair, from: usize) -> hb_proto::time::Duration {
    let now = pair.now;
    pair.node(from).request_standby(now, None).expect("possible");
    // As the driver does after any input.
    pair.node(from).handle_timeout(now);
    pair.drain(from);
    pair.run_until(ms(60_000), "the other one serves", |pair| pair.serves(1 - from))
}

/// By method: the handover back begins when the first is less than 2 × deadtime old, when the node that
/// gave the group up still remembers that it did.
#[test]
fn a_handover_back_is_as_fast_as_the_first() {
    for (keepalive, deadtime) in [(100, 500), (2000, 10_000)] {
        let mut pair = pair(keepalive, deadtime);
        hand_over(&mut pair, A);
        pair.run(ms(3 * keepalive));
        let took = hand_over(&mut pair, B);
        assert!(took < ms(3 * keepalive), "{keepalive}/{deadtime} ms: dark for {took}");
        assert_eq!(pair.double, ms(0));
    }
}

/// The same after a failback, which is a handover too.
#[test]
fn a_standby_soon_after_a_failback_is_taken_up_at_once() {
    let mut pair = pair(100, 500);
    pair.power_off(A);
    pair.run_until(ms(2000), "B serves", |pair| pair.serves(B));
    pair.start(A);
    pair.run_until(ms(2000), "A serves again", |pair| pair.serves(A));
    pair.run(ms(300));
    let took = hand_over(&mut pair, A);
    assert!(took < ms(20), "dark for {took}");
}

/// A handover does not come back by itself because an old "no, thanks" is still remembered.
#[test]
fn what_was_handed_over_stays_there() {
    let mut pair = pair(100, 500);
    for from in [A, B, A] {
        hand_over(&mut pair, from);
        pair.run(ms(350));
        assert!(pair.serves(1 - from));
    }
    pair.run(ms(20_000));
    assert!(pair.serves(B) && !pair.serves(A), "auto_failback does not undo a standby");
    assert_eq!(pair.double, ms(0));
}

/// Three frames off the schedule carry a handover; at a keepalive of 2 s they must not wait for parts of it.
#[test]
fn a_handover_takes_20_ms_at_the_guide_s_times_too() {
    let mut pair = pair(2000, 10_000);
    let took = hand_over(&mut pair, A);
    assert!(took < ms(20), "dark for {took}");
}
