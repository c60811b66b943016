//! Hints (docs/protocol.md §3): a carrier that is lost makes silence count sooner, where every wire shows it, and
//! never before lease × (1 + drift).

mod pair;
mod trio;

use hb_proto::config::shortest_silence;
use hb_proto::event::Event;
use hb_proto::id::{LinkId, Voter};
use hb_proto::peer::PeerState;
use hb_proto::time::Duration;
use pair::{A, B, Pair, ms};
use trio::Trio;

/// 400 ms of lease and 5 % of drift.
const SHORTENED: Duration = ms(420);
const DEADTIME: Duration = ms(500);

fn carrier(pair: &mut Pair, links: &[u8], present: bool) {
    let now = pair.now;
    links.iter().for_each(|&link| pair.node(B).handle_carrier(now, LinkId(link), present));
}

/// The silence after which B took A for dead.
fn silence(events: &[Event]) -> Duration {
    let dead = |event: &Event| match event {
        Event::Peer { state: PeerState::Dead, silent } => Some(*silent),
        _ => None,
    };
    events.iter().find_map(dead).expect("taken for dead")
}

fn power_off_and_wait(pair: &mut Pair) -> Duration {
    pair.power_off(A);
    pair.run_until(ms(600), "B serves", |pair| pair.serves(B));
    silence(&pair.events_of(B))
}

#[test]
fn what_a_configuration_could_have_for_deadtime() {
    assert_eq!(shortest_silence(ms(400), 5, ms(100)), SHORTENED);
    assert_eq!(shortest_silence(ms(100), 5, ms(100)), ms(200), "two keepalives");
}

#[test]
fn where_no_wire_is_left_silence_counts_sooner() {
    for (lost, expected) in [
        (&[0, 1][..], SHORTENED),
        // A switch shows a carrier whatever becomes of the peer, and a wire may show none at all.
        (&[0], DEADTIME),
        (&[1], DEADTIME),
        (&[], DEADTIME),
    ] {
        let mut pair = Pair::started();
        carrier(&mut pair, lost, false);
        assert_eq!(power_off_and_wait(&mut pair), expected, "without carrier: {lost:?}");
        assert_eq!(pair.double, ms(0));
    }
}

#[test]
fn a_carrier_that_returns_takes_its_hint_back() {
    let mut pair = Pair::started();
    carrier(&mut pair, &[0, 1], false);
    carrier(&mut pair, &[1], true);
    assert_eq!(power_off_and_wait(&mut pair), DEADTIME);
}

/// One cable was pulled out yesterday: what the other one shows is what counts.
#[test]
fn a_wire_that_carried_nothing_lately_has_no_say() {
    for (other, expected) in [(true, DEADTIME), (false, SHORTENED)] {
        let mut pair = Pair::started();
        pair.cut_link(1, true);
        carrier(&mut pair, &[1], false);
        pair.run(ms(5000));
        carrier(&mut pair, &[0], other);
        assert_eq!(power_off_and_wait(&mut pair), expected, "the other has a carrier: {other}");
    }
}

/// A modem line that isn't wired reads low for ever.
#[test]
fn a_wire_that_is_heard_without_a_carrier_shows_nothing_by_it() {
    let mut pair = Pair::started();
    carrier(&mut pair, &[0, 1], false);
    pair.run(ms(1000));
    carrier(&mut pair, &[1], false);
    assert_eq!(power_off_and_wait(&mut pair), DEADTIME);
}

/// B's receiving halves are cut, and it sees that at once; A hears B, and is lost without its echo. B takes over when
/// A has stopped: a lease after the last frame that B heard.
#[test]
fn who_is_cut_off_one_way_has_stopped_by_then() {
    let mut pair = Pair::started();
    pair.cut[A] = [true; 8];
    carrier(&mut pair, &[0, 1], false);
    pair.run_until(ms(600), "B serves", |pair| pair.serves(B));
    assert_eq!(silence(&pair.events_of(B)), SHORTENED);
    pair.run(ms(3000));
    assert!(!pair.serves(A));
    assert_eq!(pair.double, ms(0));
}

/// With an arbiter it takes the hints of both: whoever asks for a pulse has waited, and so has who gives it.
#[test]
fn a_pulse_comes_sooner_where_node_and_dongle_have_hints() {
    for (node, dongle) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut trio = Trio::with_reset_lines();
        let off = trio.now;
        trio.power_off(A);
        trio.machines[A].reboots = false;
        if node {
            // Link 0 is the dongle's line: its carrier is the dongle's.
            trio.node(B).handle_carrier(off, LinkId(1), false);
        }
        if dongle {
            let arbiter = trio.dongle.arbiter.as_mut().expect("runs");
            arbiter.handle_carrier(off, Voter::A, false);
        }
        trio.run_until(trio::BY_FENCE, "B serves", |trio| trio.serves(B));
        let pulsed = trio.dongle.pulses[0].0.since(off);
        // Its last frame left up to a keepalive before.
        let (least, most) = if node && dongle { (ms(320), SHORTENED) } else { (ms(400), DEADTIME) };
        assert!(least <= pulsed && pulsed <= most + ms(20), "{node} {dongle}: {pulsed}");
        assert_eq!(trio.double, ms(0));
    }
}

/// Whatever the wires show: who is heard is not reset.
#[test]
fn a_node_that_is_heard_is_not_fenced_for_a_lost_carrier() {
    let mut trio = Trio::with_reset_lines();
    let now = trio.now;
    trio.cut_net(true);
    trio.own_only[B] = true;
    trio.node(B).handle_carrier(now, LinkId(1), false);
    trio.dongle.arbiter.as_mut().expect("runs").handle_carrier(now, Voter::A, false);
    trio.run(ms(30_000));
    assert!(trio.events_of(B).iter().any(|event| matches!(event, Event::FenceAsked { .. })));
    assert_eq!(trio.dongle.pulses, []);
    assert!(trio.serves(A));
}
