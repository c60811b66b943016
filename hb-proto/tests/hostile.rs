//! Hostile frames cost counters, not what people must know.

mod pair;

use hb_proto::event::Event;
use hb_proto::id::LinkId;
use hb_proto::node::Accepted;
use hb_proto::peer::PeerState;
use hb_proto::wire::Reject;
use pair::{A, B, Pair, ms};

/// One turn's drain of a flooded link brings 64 bad frames; what else happens in that turn is told.
#[test]
fn a_flood_does_not_displace_other_events() {
    let mut pair = Pair::started();
    pair.power_off(B);
    let now = pair.now + ms(700);
    let node = pair.node(A);
    node.handle_wakeup(now);
    for _ in 0..64 {
        node.handle_frame(now, LinkId(1), &[0xFF; 40]).expect_err("no frame");
    }
    node.handle_timeout(now);
    node.handle_timeout(now + ms(600));
    let events: Vec<Event> = std::iter::from_fn(|| node.poll_event()).collect();
    let death =
        events.iter().any(|event| matches!(event, Event::Peer { state: PeerState::Dead, .. }));
    assert!(death, "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Rejected { .. })));
    let statistics = node.link_statistics(LinkId(1)).expect("a link");
    assert_eq!(statistics.rejected.iter().sum::<u64>(), 64, "each is counted");
}

/// A frame that comes again, on whatever link, is a replay: counted, and no sign of life.
#[test]
fn a_frame_that_comes_again_is_no_sign_of_life() {
    let mut pair = Pair::started();
    pair.record = true;
    pair.run(ms(150));
    let frames = std::mem::take(&mut pair.recorded);
    assert!(frames.len() >= 2);
    pair.power_off(A);
    pair.run(ms(200));
    let now = pair.now;
    let node = pair.node(B);
    for link in [LinkId(0), LinkId(1)] {
        let heard_at = node.link(link).expect("a link").heard_at();
        for frame in &frames {
            assert_eq!(node.handle_frame(now, link, frame), Err(Reject::Replay));
        }
        let link = node.link(link).expect("a link");
        assert!(heard_at < Some(now) && link.heard_at() == heard_at);
    }
}

/// R9: until its resources are known to be stopped, a node lets nothing follow from what it hears.
#[test]
fn before_its_clean_start_a_node_hears_nobody() {
    let mut pair = Pair::started();
    pair.power_off(B);
    pair.machines[B].script_time = ms(10_000);
    pair.start(B);
    pair.record = true;
    pair.run(ms(250));
    let now = pair.now;
    let frames = std::mem::take(&mut pair.recorded);
    let node = pair.node(B);
    assert!(!node.is_clean() && !frames.is_empty());
    for frame in &frames {
        assert_eq!(node.handle_frame(now, LinkId(1), frame), Ok(Accepted::TooEarly));
    }
    assert_eq!(node.peer().state(), PeerState::Unknown);
    assert_eq!(node.link(LinkId(1)).expect("a link").heard_at(), None);
}

/// Hellos of both nodes cross on a slow network, whatever the phase between them: each node has its
/// round trip nevertheless.
#[test]
fn the_round_trip_is_measured_when_hellos_cross() {
    for phase in (0..1000).step_by(70) {
        let mut pair = Pair::new();
        pair.latency = ms(60);
        pair.start(A);
        pair.run(ms(phase));
        pair.start(B);
        pair.run(ms(20_000));
        for who in [A, B] {
            let statistics = pair.node(who).link_statistics(LinkId(1)).expect("a link");
            let rtt = statistics.rtt(50).unwrap_or_else(|| panic!("{phase} ms: {who} has none"));
            assert!(rtt >= ms(119) && rtt <= ms(125), "{phase} ms: {who}: {rtt}");
        }
    }
}
