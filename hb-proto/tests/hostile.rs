//! Hostile frames cost counters, not what people must know.

mod pair;

use hb_proto::event::Event;
use hb_proto::id::LinkId;
use hb_proto::peer::PeerState;
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
