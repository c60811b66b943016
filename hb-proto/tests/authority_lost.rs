//! A node whose authority has ended lets go: at once, and whatever it heard last (R10, protocol.md §4).

mod pair;

use hb_proto::action::Action;
use hb_proto::id::LinkId;
use pair::{A, B, Pair, ms};

/// SIGSTOP for longer than deadtime: the addresses go before any frame is read and any deadline looked at.
/// Waking up is enough.
#[test]
fn waking_up_alone_drops_what_lost_authority() {
    let mut pair = Pair::started();
    pair.machines[A].stopped = true;
    pair.run(ms(25_000));
    let now = pair.now;
    let node = pair.node(A);
    node.handle_wakeup(now);
    let first = node.poll_action(now);
    assert!(matches!(first, Some(Action::DropAddresses { .. })), "{first:?}");
}

/// A hears B say "promised" when B no longer hears A, and then nothing, not even that the promise has
/// ended. B is counting A's silence, so that word doesn't let A go on until B is dead.
#[test]
fn a_promise_of_a_peer_that_had_stopped_hearing_us_does_not_outlast_the_lease() {
    let mut told = 0;
    for (phase, then) in (1..20).flat_map(|phase| (402..420).map(move |then| (phase, then))) {
        let mut pair = Pair::new();
        pair.start(A);
        pair.run(ms(phase));
        pair.start(B);
        pair.run(ms(3000));
        pair.cut[A] = [true; 8];
        let lease_ended = pair.now + ms(400);
        pair.run(ms(then));
        pair.cut[B] = [true; 8];
        // Only a word that came after the lease was surely over is the one that this is about.
        let last = (0..2).filter_map(|link| pair.node(A).link(LinkId(link))?.heard_at()).max();
        if last <= Some(lease_ended) {
            continue;
        }
        told += 1;
        // Until B is dead to A: then it is the split of all links, which nothing prevents.
        pair.run(ms(400));
        assert_eq!(pair.double, ms(0), "phase {phase} ms, cut again after {then} ms");
        assert!(pair.serves(B) && !pair.serves(A));
    }
    assert!(told > 20, "only {told} of the schedules were the one that this is about");
}
