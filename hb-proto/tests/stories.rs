//! The pair's stories, told in simulated time: who serves, when, and that nobody serves twice.

mod pair;

use hb_proto::action::{Action, Outcome, Verb};
use hb_proto::config::LinkKind;
use hb_proto::event::{Cause, Event};
use hb_proto::group::Change;
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::link::LinkState;
use hb_proto::node::Refusal;
use hb_proto::peer::PeerState;
use hb_proto::wire::MAX_FRAME;
use pair::{A, B, Pair, WEB, ms};

#[test]
fn started_together_home_serves_without_waiting_for_initdead() {
    let mut pair = Pair::new();
    pair.start(A);
    pair.start(B);
    let took = pair.run_until(ms(1000), "A serves", |pair| pair.serves(A));
    assert!(took < ms(200), "{took}");
    pair.run(ms(5000));
    assert!(pair.serves(A) && !pair.serves(B));
    assert_eq!(pair.double, ms(0));
}

#[test]
fn alone_it_waits_for_initdead_and_no_longer() {
    let mut pair = Pair::new();
    pair.start(B);
    pair.run(ms(9_900));
    assert!(!pair.serves(B));
    pair.run_until(ms(400), "B serves", |pair| pair.serves(B));
}

#[test]
fn power_loss_of_the_holder_is_taken_over_within_the_budget() {
    let mut pair = Pair::started();
    pair.power_off(A);
    let took = pair.run_until(ms(2000), "B serves", |pair| pair.serves(B));
    assert!(took <= ms(515), "deadtime and two scripts of 5 ms: {took}");
    let failover = pair.node(B).statistics().last_failover.expect("measured");
    assert_eq!(failover.cause, Cause::PeerDead);
    assert!(failover.detection.expect("detected") >= ms(500));
    assert!(failover.detection.expect("detected") + failover.takeover <= failover.budget);
}

/// Its first frames after the stall promise nothing: what it read last echoes frames of its own that are too old.
#[test]
fn a_standby_that_stalls_for_longer_than_a_lease_disturbs_nobody() {
    for stall in [401, 430, 450, 480, 495, 600] {
        let mut pair = Pair::started();
        let orders = pair.orders.len();
        pair.machines[B].stopped = true;
        pair.run(ms(stall));
        pair.machines[B].stopped = false;
        pair.run(ms(2000));
        assert!(pair.serves(A) && !pair.serves(B), "{stall} ms");
        assert_eq!(pair.orders.len(), orders, "{stall} ms: nothing was stopped or started");
    }
}

/// It goes on, and hears nothing from then on: what it says holds for a lease after the frame that it heard last.
#[test]
fn the_word_of_a_standby_that_hears_us_no_more_is_good_for_a_lease() {
    let mut pair = Pair::started();
    pair.machines[B].stopped = true;
    pair.run(ms(450));
    pair.cut[A] = [true; 8];
    pair.machines[B].stopped = false;
    pair.run(ms(250));
    assert!(pair.serves(A));
    // Long before B shows that it runs it.
    pair.run_until(ms(180), "A stops", |pair| !pair.serves(A));
    pair.run_until(ms(600), "B serves", |pair| pair.serves(B));
    pair.run(ms(2000));
    assert!(!pair.serves(A));
    assert_eq!(pair.double, ms(0));
}

#[test]
fn power_loss_of_the_standby_changes_nothing() {
    let mut pair = Pair::started();
    let orders = pair.orders.len();
    pair.power_off(B);
    pair.run(ms(20_000));
    assert!(pair.serves(A));
    assert_eq!(pair.orders.len(), orders, "no start, no stop");
}

#[test]
fn a_returning_home_gets_its_group_back() {
    let mut pair = Pair::started();
    pair.power_off(A);
    pair.run(ms(3000));
    assert!(pair.serves(B));
    pair.start(A);
    let took = pair.run_until(ms(2000), "A serves", |pair| pair.serves(A));
    assert!(took < ms(300), "{took}");
    pair.run(ms(3000));
    assert!(pair.serves(A) && !pair.serves(B));
    assert_eq!(pair.double, ms(0));
    let failover = pair.node(A).statistics().last_failover.expect("measured");
    assert_eq!(failover.cause, Cause::Failback);
}

#[test]
fn without_auto_failback_it_stays() {
    let mut pair = Pair::with(|config| config.auto_failback = false);
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    assert!(pair.serves(A));
    pair.power_off(A);
    pair.run(ms(3000));
    pair.start(A);
    pair.run(ms(10_000));
    assert!(pair.serves(B) && !pair.serves(A));
}

#[test]
fn each_link_alone_keeps_the_pair_together() {
    for link in [0, 1] {
        let mut pair = Pair::started();
        let orders = pair.orders.len();
        pair.cut_link(link, true);
        pair.run(ms(10_000));
        assert!(pair.serves(A));
        assert_eq!(pair.orders.len(), orders, "link {link}: nothing started or stopped");
        let id = LinkId(link as u8);
        assert_eq!(pair.node(A).link(id).expect("link").state(), LinkState::Down);
        pair.cut_link(link, false);
        pair.run(ms(2000));
        assert_eq!(pair.node(A).link(id).expect("link").state(), LinkState::Up);
    }
}

#[test]
fn one_way_link_is_named_and_harmless() {
    let mut pair = Pair::started();
    pair.cut[A][1] = true;
    pair.run(ms(2000));
    for who in [A, B] {
        assert_eq!(pair.node(who).link(LinkId(1)).expect("link").state(), LinkState::OneWay);
    }
    assert!(pair.serves(A));
}

/// Both links from A to B are cut; B's frames still arrive. B can't know and takes over; A stops before.
#[test]
fn a_node_that_is_not_heard_stops_before_the_other_starts() {
    let mut pair = Pair::started();
    pair.cut[A] = [true; 8];
    pair.run_until(ms(2000), "B serves", |pair| pair.serves(B));
    assert_eq!(pair.double, ms(0));
    pair.run(ms(2000));
    assert!(!pair.serves(A));
}

/// The standby loses power and is back before its silence was called death: a fast machine, or a long
/// deadtime. Its first frame can't show a promise yet; the runner goes on.
#[test]
fn a_standby_that_is_back_before_it_was_missed_disturbs_nobody() {
    for away in [100, 300, 405, 430, 460, 490] {
        let mut pair = Pair::started();
        let orders = pair.orders.len();
        pair.power_off(B);
        pair.run(ms(away));
        pair.start(B);
        pair.run(ms(3000));
        assert!(pair.serves(A));
        assert_eq!(pair.orders.len(), orders, "after {away} ms: {:?}", &pair.orders[orders..]);
    }
}

/// A home whose start fails for good does not take the service from the peer each time its failure is
/// forgotten; but where nobody serves, it tries again.
#[test]
fn a_broken_home_leaves_the_service_where_it_works() {
    let mut pair = Pair::with(|config| config.patience.failed_start_retry = ms(5000));
    pair.machines[A].broken.push((0, 1));
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    assert!(pair.serves(B));
    let orders = pair.orders.len();
    pair.run(ms(30_000));
    assert_eq!(pair.orders.len(), orders, "B is left alone: {:?}", &pair.orders[orders..]);
    pair.machines[A].broken.clear();
    pair.power_off(B);
    pair.run_until(ms(7000), "A serves", |pair| pair.serves(A));
}

#[test]
fn killed_daemon_returns_clean_and_serves_again() {
    let mut pair = Pair::started();
    pair.kill(A);
    pair.run(ms(50));
    assert!(pair.serves(A), "its resources outlive it");
    pair.start(A);
    pair.run_until(ms(3000), "A serves again", |pair| !pair.serves(A));
    pair.run_until(ms(3000), "A serves again", |pair| pair.serves(A) && !pair.serves(B));
    assert_eq!(pair.double, ms(0), "back within deadtime: B never took over");
}

/// The one boolean that the watchdog is fed by (R10): not before the clean start, never while something
/// runs without ground, nor when a stop has run out of its time; whatever cables and peer do.
#[test]
fn the_watchdog_is_fed_by_authority_alone() {
    let feed = |pair: &mut Pair, who| {
        let now = pair.now;
        pair.node(who).may_feed_watchdog(now)
    };
    let mut pair = Pair::new();
    pair.machines[A].script_time = ms(50);
    pair.start(A);
    pair.run(ms(10));
    assert!(!feed(&mut pair, A), "not clean yet");
    pair.start(B);
    pair.run(ms(3000));
    assert!(feed(&mut pair, A) && feed(&mut pair, B));
    pair.cut_link(0, true);
    pair.run(ms(2000));
    assert!(feed(&mut pair, A), "a cable is no reason");
    pair.power_off(B);
    pair.run(ms(2000));
    assert!(feed(&mut pair, A), "nor is the peer's death");
    pair.cut_link(0, false);
    pair.start(B);
    pair.run(ms(3000));
    // A stands still while B takes over; its stop takes long: it runs without ground until then.
    pair.machines[A].script_time = ms(3000);
    pair.machines[A].stopped = true;
    pair.run(ms(2000));
    pair.machines[A].stopped = false;
    pair.run(ms(1000));
    assert!(!feed(&mut pair, A), "addresses are gone, but a resource may run");
    assert!(feed(&mut pair, B));
    pair.run(ms(6000));
    assert!(feed(&mut pair, A), "confirmed stopped");
}

/// SIGSTOP for longer than deadtime: on waking up, its address goes before anything else.
#[test]
fn stopped_daemon_drops_its_address_first_when_continued() {
    let mut pair = Pair::started();
    pair.machines[A].stopped = true;
    pair.run(ms(25_000));
    assert!(pair.serves(B));
    let double = pair.double;
    pair.machines[A].stopped = false;
    pair.run(ms(1));
    assert_eq!(pair.double, double, "gone within the same moment");
    pair.run(ms(5000));
    assert!(pair.serves(A) ^ pair.serves(B));
    let stalls = pair.node(A).statistics().stalls;
    assert_eq!(stalls, 1);
}

/// … and the peer, which serves by then, goes on serving: it need not give way to who gives up.
#[test]
fn who_took_over_from_a_stopped_daemon_is_not_disturbed_by_its_return() {
    let mut pair = Pair::with(|config| config.auto_failback = false);
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    pair.machines[A].script_time = ms(700);
    pair.machines[A].stopped = true;
    pair.run(ms(25_000));
    assert!(pair.serves(B));
    let (orders, announced) = (pair.orders.len(), pair.announced);
    pair.machines[A].stopped = false;
    pair.run(ms(10_000));
    assert!(pair.serves(B) && !pair.serves(A));
    assert!(
        pair.orders[orders..].iter().all(|order| order.0 == A),
        "B is left alone: {:?}",
        &pair.orders[orders..]
    );
    assert_eq!(pair.announced, announced + 1, "and announces once more, after A has let go");
}

#[test]
fn orderly_leave_is_taken_over_without_waiting() {
    let mut pair = Pair::started();
    pair.node(A).request_leave();
    let took = pair.run_until(ms(2000), "B serves", |pair| pair.serves(B));
    assert!(took < ms(250), "no deadtime: {took}");
    pair.run_until(ms(1000), "A departs", |pair| pair.machines[A].departed);
    pair.run(ms(3000));
    assert_eq!(pair.node(B).peer().state(), PeerState::Left);
    assert!(pair.serves(B));
    assert_eq!(pair.double, ms(0));
}

#[test]
fn standby_and_takeover_by_command() {
    let mut pair = Pair::started();
    let now = pair.now;
    assert_eq!(pair.node(B).request_standby(now, None), Err(Refusal::NothingHeld));
    assert_eq!(pair.node(A).request_standby(now, None), Ok(1));
    pair.run_until(ms(1000), "B serves", |pair| pair.serves(B));
    pair.run(ms(10_000));
    assert!(pair.serves(B) && !pair.serves(A), "no failback after a standby");
    let now = pair.now;
    assert_eq!(
        pair.node(B).statistics().last_failover.map(|failover| failover.cause),
        Some(Cause::Standby)
    );
    assert_eq!(pair.node(A).request_takeover(now, Some(WEB)), Ok(1));
    pair.run_until(ms(1000), "A serves", |pair| pair.serves(A));
    pair.run(ms(10_000));
    assert!(pair.serves(A) && !pair.serves(B));
    assert_eq!(pair.double, ms(0));
    assert_eq!(
        pair.node(A).statistics().last_failover.map(|failover| failover.cause),
        Some(Cause::Takeover)
    );
}

#[test]
fn takeover_by_the_other_node_stays_there() {
    let mut pair = Pair::started();
    let now = pair.now;
    assert_eq!(pair.node(B).request_takeover(now, None), Ok(1));
    pair.run_until(ms(1000), "B serves", |pair| pair.serves(B));
    let orders = pair.orders.len();
    pair.run(ms(20_000));
    assert!(pair.serves(B));
    assert_eq!(pair.orders.len(), orders, "no ping-pong");
}

/// Over Ethernet alone, a planned handover of an address takes a few round trips.
#[test]
fn handover_is_fast() {
    let mut pair = Pair::started();
    for who in [A, B] {
        pair.machines[who].script_time = ms(0);
    }
    let now = pair.now;
    pair.node(A).request_standby(now, None).expect("possible");
    // The driver calls handle_timeout after a command, as after any input.
    pair.node(A).handle_timeout(now);
    let took = pair.run_until(ms(1000), "B serves", |pair| pair.serves(B));
    assert!(took < ms(20), "{took}");
}

#[test]
fn failed_start_goes_to_the_peer_and_both_failed_is_told() {
    let mut pair = Pair::new();
    pair.machines[A].broken.push((0, 1));
    pair.start(A);
    pair.start(B);
    pair.run_until(ms(3000), "B serves", |pair| pair.serves(B));
    pair.run(ms(5000));
    assert!(pair.serves(B) && !pair.serves(A));
    assert_eq!(pair.double, ms(0));
    let starts = pair.orders.iter().filter(|order| order.0 == A && order.3 == Verb::Start).count();
    assert_eq!(starts, 2, "one try, no loop");
    pair.machines[B].broken.push((0, 1));
    let now = pair.now;
    pair.node(A).request_takeover(now, None).expect("clears the failure");
    pair.run(ms(5000));
    assert!(pair.events_of(A).iter().any(|event| matches!(event, Event::BothFailed { .. })));
    assert!(!pair.serves(A) && !pair.serves(B));
}

#[test]
fn mismatching_files_stop_nothing_and_start_nothing() {
    let mut pair = Pair::started();
    pair.power_off(B);
    pair.run(ms(2000));
    pair.machines[B].config.digests.haresources = 2;
    pair.start(B);
    pair.run(ms(20_000));
    assert!(pair.serves(A) && !pair.serves(B));
    assert!(pair.events_of(A).iter().any(|event| matches!(event, Event::Mismatch { .. })));
    let now = pair.now;
    let refused = pair.node(A).request_standby(now, None);
    assert_eq!(refused, Err(Refusal::Mismatch));
}

#[test]
fn resources_found_running_at_start_are_stopped_first() {
    let mut pair = Pair::new();
    pair.machines[A].held.push((0, 1));
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    assert!(pair.serves(A));
    let found = Event::Group { group: WEB, change: Change::FoundRunning { resource: 1 } };
    assert!(pair.events_of(A).contains(&found));
    assert_eq!(pair.orders[0], (A, 0, 1, Verb::Stop));
}

#[test]
fn a_clone_of_this_node_makes_it_restart_above() {
    let mut pair = Pair::started();
    pair.machines[B].config.me = Voter::A;
    pair.machines[B].boot = 40;
    pair.start(B);
    pair.run(ms(1000));
    assert!(pair.events_of(A).iter().any(|event| matches!(event, Event::BootIdTaken { .. })));
    assert!(pair.machines[A].departed);
}

/// A node whose boot id was lost (reinstalled, restored) is refused by its peer, learns why, and
/// departs to begin a life above the one that the peer remembers.
#[test]
fn a_lost_boot_id_is_learnt_from_the_peer() {
    let mut pair = Pair::new();
    pair.machines[A].boot = 40;
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    pair.power_off(A);
    pair.machines[A].boot = 0;
    pair.run(ms(3000));
    pair.start(A);
    pair.run_until(ms(3000), "A departs", |pair| pair.machines[A].departed);
    let heard = BootId::new(41).expect("id");
    assert!(pair.events_of(A).contains(&Event::BootIdTaken { heard }));
    assert!(pair.serves(B) && !pair.serves(A));
}

/// Two copies of a node, one with its epoch moved: both do the same from there on, and decide alike.
/// … also when the lost number is used again while the peer still holds the life that had it: its new
/// frames would be replays to the peer for ever.
#[test]
fn a_boot_id_used_twice_is_noticed() {
    let mut pair = Pair::started();
    pair.node(B).request_leave();
    pair.run(ms(2000));
    assert!(pair.machines[B].departed);
    pair.machines[B].boot = 0;
    pair.start(B);
    pair.run_until(ms(3000), "B departs", |pair| pair.machines[B].departed);
    let heard = BootId::new(1).expect("id");
    assert!(pair.events_of(B).contains(&Event::BootIdTaken { heard }));
    pair.machines[B].boot = 1;
    pair.start(B);
    pair.run_until(ms(1000), "A hears it", |pair| {
        pair.machines[A].node.as_ref().is_some_and(|node| node.peer().state() == PeerState::Alive)
    });
}

/// A recorded farewell, played to a node that has just started and heard nobody yet, must not make it
/// take over from a peer that lives.
#[test]
fn a_replayed_farewell_is_none() {
    let mut pair = Pair::started();
    pair.record = true;
    pair.node(A).request_leave();
    pair.run(ms(2000));
    let farewell = pair.recorded.last().expect("frames were sent").clone();
    let mut pair = Pair::new();
    pair.start(B);
    pair.run(ms(100));
    let now = pair.now;
    let accepted = pair.node(B).handle_frame(now, LinkId(1), &farewell);
    assert!(accepted.is_ok(), "{accepted:?}: its tag is right and it is new to this life");
    assert_eq!(pair.node(B).peer().state(), PeerState::Alive);
    pair.run(ms(300));
    assert!(!pair.serves(B), "not before deadtime");
}

/// R8: what an earlier life may have promised on longer terms binds this one as long.
#[test]
fn promises_of_earlier_lives_are_remembered_on_their_own_terms() {
    let mut pair = Pair::new();
    pair.start(A);
    let (now, full) = (pair.now, ms(60_000));
    pair.node(A).remember_longest_promise(now, full);
    pair.run(ms(5000));
    let ends = pair.node(A).promise_ends(WEB);
    assert_eq!(ends, Some(now + full));
}

#[test]
fn a_rebased_node_goes_on_alike() {
    let mut pair = Pair::started();
    let by = ms(900_000);
    let mut moved = pair.node(B).clone();
    moved.rebase(by);
    let (mut one, mut now) = (pair.node(B).clone(), pair.now);
    let mut frame = [[0; MAX_FRAME]; 2];
    // A is silent from here on: late, dead, takeover.
    for _ in 0..60 {
        now = one.poll_timeout();
        assert_eq!(moved.poll_timeout(), now - by);
        one.handle_timeout(now);
        moved.handle_timeout(now - by);
        while let Some(action) = one.poll_action(now) {
            let Some(other) = moved.poll_action(now - by) else {
                panic!("{action:?} by one alone")
            };
            assert_eq!(action, other);
            if let Action::Run { ticket, .. } = action {
                one.handle_done(now, ticket.id(), Outcome::Done);
                moved.handle_done(now - by, ticket.id(), Outcome::Done);
            }
        }
        while let Some(transmit) = one.poll_transmit(now, &mut frame[0]) {
            assert_eq!(moved.poll_transmit(now - by, &mut frame[1]), Some(transmit));
            assert_eq!(frame[0][..transmit.len], frame[1][..transmit.len]);
        }
        assert_eq!(one.decisions().clone().rebased(by), *moved.decisions());
    }
    assert!(now.since(pair.now) > ms(600));
    assert_eq!(one.holder(WEB), Some(Voter::B));
}

/// The guide's minimum: one null-modem line at 19200 baud and nothing else.
#[test]
fn a_serial_line_alone_carries_the_pair() {
    let serial = || std::iter::once(LinkKind::Serial { baud: 19200 }).collect();
    let mut pair = Pair::with(|config| config.links = serial());
    pair.start(A);
    pair.start(B);
    pair.run_until(ms(1000), "A serves", |pair| pair.serves(A));
    pair.run(ms(3000));
    pair.power_off(A);
    pair.run_until(ms(600), "B serves", |pair| pair.serves(B));
    pair.run(ms(3000));
    pair.start(A);
    pair.run_until(ms(1000), "A serves again", |pair| pair.serves(A));
    pair.run(ms(3000));
    pair.power_off(B);
    pair.run(ms(3000));
    let orders = pair.orders.len();
    pair.start(B);
    pair.run(ms(5000));
    assert!(pair.serves(A));
    assert_eq!(pair.orders.len(), orders, "the standby's return disturbs nobody");
    assert_eq!(pair.double, ms(0));
}

#[test]
fn two_groups_live_with_their_owners_and_move_alone() {
    let mut pair = Pair::with(|config| {
        let mut second = config.groups[0].clone();
        second.home = Voter::B;
        config.groups.push(second).expect("room");
    });
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    assert!(pair.machines[A].held.contains(&(0, 0)) && pair.machines[B].held.contains(&(1, 0)));
    pair.power_off(B);
    pair.run(ms(2000));
    assert!(pair.machines[A].held.contains(&(0, 0)) && pair.machines[A].held.contains(&(1, 0)));
    pair.start(B);
    pair.run(ms(3000));
    assert!(pair.machines[A].held == [(0, 0), (0, 1)]);
    assert!(pair.machines[B].held.contains(&(1, 0)));
}
