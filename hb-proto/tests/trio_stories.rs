//! The failure table of docs/protocol.md §1 for three voters, row by row; then what the arbiter's life
//! brings: resets, spares, changes, an operator's vote. In every story nobody serves twice.

mod trio;

use hb_proto::authority::Stance;
use hb_proto::config::GroupConfig;
use hb_proto::event::{Cause, Event};
use hb_proto::id::{BootId, GroupId, Voter};
use hb_proto::node::{ArbiterState, Ground, Obstacle, Refusal};
use hb_proto::peer::PeerState;
use hb_proto::time::Duration;
use hb_proto::wire::message::arbiter::{ResetReason, Shown};
use trio::{A, B, BY_FENCE, BY_TIME, FULL, GUARD, Trio, WEB, ms};

// ---- nothing failed

#[test]
fn started_together_the_home_serves_by_both_votes() {
    let mut trio = Trio::started();
    let now = trio.now;
    let authority = trio.node(A).authority(WEB, now);
    assert_eq!(authority.ground, Some(Ground::Promise));
    assert!(authority.peer.is_some() && authority.arbiter.is_some(), "{authority:?}");
    assert!(trio.node(A).agrees_on_arbiter() && trio.node(B).agrees_on_arbiter());
    assert_eq!(trio.node(A).pending(), None);
    assert_eq!(trio.node(B).pending(), None);
    assert_eq!(trio.double, ms(0));
    let report = trio.node(B).arbiter(now).expect("configured");
    assert_eq!(report.state, ArbiterState::Present);
    assert_eq!(report.settings.expect("hello").id, 7);
    let status = report.status.expect("heard");
    assert_eq!(status.promisees.shown(WEB), Shown::A);
    assert!(status.nodes.iter().all(|node| node.heard && node.direct));
}

#[test]
fn a_handover_goes_through_all_three() {
    let mut trio = Trio::started();
    let now = trio.now;
    trio.node(A).request_standby(now, None).expect("B takes it");
    trio.node(A).handle_timeout(now);
    trio.drain(A);
    trio.run_until(ms(300), "B serves", |trio| trio.serves(B));
    trio.run(ms(10_000));
    assert!(trio.serves(B) && trio.double == ms(0));
    let now = trio.now;
    assert!(trio.node(B).authority(WEB, now).arbiter.is_some(), "the arbiter followed");
}

/// Active/active: each group has its own home, its own promises, and its own holder.
#[test]
fn two_groups_with_different_homes() {
    let second = GroupId(1);
    let mut trio = Trio::with(|config| {
        let more = GroupConfig { home: Voter::B, ..config.groups[0].clone() };
        config.groups.push(more).expect("room");
    });
    trio.wire_reset_lines();
    let mut trio = trio.started_up();
    let shown = |trio: &mut Trio| {
        let now = trio.now;
        let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
        [WEB, second].map(|group| status.promisees.shown(group))
    };
    assert_eq!(trio.node(A).stance(WEB), Stance::Running);
    assert_eq!(trio.node(B).stance(second), Stance::Running);
    assert_eq!(shown(&mut trio), [Shown::A, Shown::B]);
    trio.machines[A].reboots = false;
    trio.power_off(A);
    let took = trio.run_until(ms(8000), "B serves both", |trio| trio.serves(B));
    assert!(took <= BY_FENCE, "{took}");
    trio.run(ms(1000));
    assert_eq!(trio.node(B).stance(second), Stance::Running, "its own went on");
    assert_eq!(shown(&mut trio), [Shown::B, Shown::B]);
}

// ---- the table, row by row

#[test]
fn row_holder_off_with_a_reset_line() {
    let mut trio = Trio::with_reset_lines();
    trio.machines[A].reboots = false;
    trio.power_off(A);
    let took = trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    assert!(took <= BY_FENCE, "{took}");
    let boot = BootId::new(1).expect("first life");
    assert!(trio.events_of(B).contains(&Event::FenceAsked { boot }));
    assert!(trio.events_of(B).contains(&Event::Fenced { boot }));
    assert_eq!(trio.dongle.pulses.len(), 1);
    trio.run(ms(20_000));
    assert!(trio.serves(B) && trio.dongle.pulses.len() == 1, "one pulse a life");
}

#[test]
fn row_holder_off_without_a_reset_line() {
    let mut trio = Trio::started();
    trio.power_off(A);
    trio.run(ms(1000));
    let now = trio.now;
    let obstacle = trio.node(B).obstacle(WEB, now);
    let Some(Obstacle::OwnPromise { ends_in: Some(ends_in) }) = obstacle else {
        panic!("{obstacle:?}")
    };
    assert!(ends_in > ms(3000) && ends_in < FULL, "{ends_in}");
    assert_eq!(trio.node(B).stance(WEB), Stance::Idle, "R3: who has promised doesn't ask");
    let took = trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    assert!(took + ms(1000) <= BY_TIME, "{took}");
    assert!(trio.dongle.pulses.is_empty());
}

#[test]
fn row_holder_frozen_is_reset_before_the_other_serves() {
    for wired in [true, false] {
        let mut trio = if wired { Trio::with_reset_lines() } else { Trio::started() };
        trio.freeze(A);
        let took = trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
        assert!(took <= if wired { BY_FENCE } else { BY_TIME }, "wired {wired}: {took}");
        trio.run(ms(20_000));
        assert_eq!(trio.double, ms(0), "wired {wired}");
        assert_eq!(trio.machines[A].resets, 1, "by the line, or by its watchdog");
        assert!(trio.serves(A), "back, and its group with it");
    }
}

#[test]
fn row_standby_off_changes_nothing() {
    for wired in [true, false] {
        let mut trio = if wired { Trio::with_reset_lines() } else { Trio::started() };
        let orders = trio.starts();
        trio.power_off(B);
        trio.run(ms(60_000));
        assert!(trio.serves(A) && trio.dark == ms(0));
        assert_eq!(trio.starts(), orders, "no start, no stop");
        assert!(trio.dongle.pulses.is_empty(), "nothing stands in A's way");
    }
}

#[test]
fn row_dongle_gone_changes_nothing() {
    let mut trio = Trio::started();
    let orders = trio.starts();
    trio.unplug();
    trio.run(ms(60_000));
    assert!(trio.serves(A) && trio.dark == ms(0));
    assert_eq!(trio.starts(), orders);
    assert!(trio.events_of(A).contains(&Event::Arbiter { state: ArbiterState::Lost }));
    assert_eq!(trio.node(B).pending(), Some("a link is not up"));
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(10_000));
    let now = trio.now;
    assert!(trio.node(A).authority(WEB, now).arbiter.is_some(), "it votes again");
    assert_eq!(trio.starts(), orders);
}

#[test]
fn row_network_cut_changes_nothing() {
    for who in [None, Some(A), Some(B)] {
        let mut trio = Trio::with_reset_lines();
        let orders = trio.starts();
        match who {
            None => trio.cut_net(true),
            Some(who) => trio.net[who] = true,
        }
        trio.run(ms(30_000));
        assert!(trio.serves(A) && trio.dark == ms(0), "{who:?}");
        assert_eq!(trio.starts(), orders, "{who:?}");
        assert!(trio.dongle.pulses.is_empty());
        let now = trio.now;
        let authority = trio.node(A).authority(WEB, now);
        assert!(authority.peer.is_some() && authority.arbiter.is_some(), "by the serial line");
    }
}

#[test]
fn row_cable_cut_is_bridged_by_relays() {
    for who in [A, B] {
        let mut trio = Trio::with_reset_lines();
        let orders = trio.starts();
        trio.cut_cable(who, true);
        trio.run(ms(30_000));
        assert!(trio.serves(A) && trio.dark == ms(0), "{who}");
        assert_eq!(trio.starts(), orders, "{who}");
        assert!(trio.dongle.pulses.is_empty(), "{who}");
        let now = trio.now;
        let authority = trio.node(A).authority(WEB, now);
        assert!(authority.peer.is_some() && authority.arbiter.is_some(), "{who}: {authority:?}");
        let report = trio.node(who).arbiter(now).expect("configured");
        assert!(report.state == ArbiterState::Present && !report.direct, "by relay: {report:?}");
        let seen = report.status.expect("heard").nodes[who];
        assert!(seen.heard && !seen.direct, "{seen:?}");
        // And no longer than needed.
        trio.cut_cable(who, false);
        trio.run(ms(3000));
        let now = trio.now;
        assert!(trio.node(who).arbiter(now).expect("configured").direct);
    }
}

#[test]
fn row_holder_isolated_lets_go_before_the_other_takes_hold() {
    for wired in [true, false] {
        let mut trio = if wired { Trio::with_reset_lines() } else { Trio::started() };
        trio.isolate(A, true);
        let stopped = trio.run_until(ms(1000), "A lets go", |trio| !trio.holds_address(A));
        assert!(stopped <= ms(520), "one lease: {stopped}");
        trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
        assert_eq!(trio.double, ms(0));
        trio.run(ms(20_000));
        assert!(trio.serves(B) && !trio.serves(A) && trio.double == ms(0));
        trio.isolate(A, false);
        trio.run_until(ms(3000), "failback", |trio| trio.serves(A) && !trio.serves(B));
        trio.run(ms(10_000));
        assert!(trio.serves(A) && trio.double == ms(0));
    }
}

#[test]
fn row_standby_isolated_stays_passive() {
    for wired in [true, false] {
        let mut trio = if wired { Trio::with_reset_lines() } else { Trio::started() };
        let orders = trio.starts();
        trio.isolate(B, true);
        trio.run(ms(60_000));
        assert!(trio.serves(A) && trio.dark == ms(0) && trio.double == ms(0));
        assert_eq!(trio.starts(), orders);
        assert!(trio.dongle.pulses.is_empty());
        trio.isolate(B, false);
        trio.run(ms(10_000));
        assert_eq!(trio.starts(), orders);
    }
}

/// D, and then a node: nobody starts, a running survivor stops, a human decides (R14).
#[test]
fn row_dongle_and_then_a_node() {
    for dead in [A, B] {
        let mut trio = Trio::started();
        trio.unplug();
        trio.run(ms(5000));
        trio.power_off(dead);
        trio.run(ms(60_000));
        let left = 1 - dead;
        assert!(!trio.holds_address(left), "{dead}: nobody but a human knows");
        let now = trio.now;
        let obstacle = trio.node(left).obstacle(WEB, now);
        assert_eq!(obstacle, Some(Obstacle::ArbiterAbsent { state: ArbiterState::Lost }));
        assert_eq!(trio.node(left).request_takeover_peer_is_off(now), Ok(1));
        trio.run_until(ms(1000), "by the human's vote", |trio| trio.serves(left));
        let last = trio.events_of(left).into_iter().rev().find_map(|event| match event {
            Event::Acquiring { cause, .. } => Some(cause),
            _ => None,
        });
        assert_eq!(last, Some(Cause::Takeover), "neither dead nor deaf is why: the word is");
        let measured = trio.node(left).statistics().last_failover.expect("measured");
        assert!(measured.takeover < ms(1000), "from the word on: {measured:?}");
        trio.run(ms(30_000));
        assert!(trio.serves(left), "it goes on");
        let now = trio.now;
        assert_eq!(trio.node(left).ground(WEB, now), Some(Ground::Human));
        // The peer comes back: from here its own promise counts.
        trio.start(dead);
        trio.run(ms(20_000));
        let now = trio.now;
        assert_eq!([A, B].map(|who| trio.serves(who)), [true, false], "home");
        assert_eq!(trio.node(A).ground(WEB, now), Some(Ground::Promise));
        assert_eq!(trio.double, ms(0));
    }
}

#[test]
fn row_dongle_and_then_every_link() {
    let mut trio = Trio::started();
    trio.unplug();
    trio.run(ms(5000));
    trio.cut_net(true);
    trio.run_until(ms(1000), "A lets go", |trio| !trio.holds_address(A));
    trio.run(ms(60_000));
    assert!(!trio.holds_address(A) && !trio.holds_address(B), "no two, and no one");
    trio.cut_net(false);
    trio.run_until(ms(12_000), "A serves again", |trio| trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

// ---- the arbiter's own life

/// B is off for repair, the dongle's chip resets: it remembers to whom it had promised.
#[test]
fn r8_a_reset_of_the_dongle_costs_nothing() {
    let mut trio = Trio::started();
    trio.power_off(B);
    trio.run(ms(10_000));
    trio.dark = ms(0);
    trio.reset_dongle();
    trio.run(ms(30_000));
    assert!(trio.serves(A) && trio.dark == ms(0));
}

/// A dongle that lost power may have been elsewhere: what it remembers of promises is of another time.
#[test]
fn r8_a_dongle_that_lost_power_does_not_trust_its_memory() {
    let mut trio = Trio::started();
    trio.power_off(B);
    trio.run(ms(10_000));
    trio.unplug();
    trio.plug_in(ResetReason::PowerOn);
    assert!(trio.arbiter().ledger().promises(WEB).promised_to(trio.now).is_some());
    trio.run_until(ms(1000), "A has no vote left", |trio| !trio.holds_address(A));
    trio.run_until(ms(12_000), "and gets it back", |trio| trio.serves(A));
}

/// A runs by the dongle alone; a spare that has been on a charger for days is swapped in and hears B first.
#[test]
fn r8_a_spare_that_was_on_for_long_promises_nothing_at_first() {
    let mut trio = Trio::started();
    trio.cut_net(true);
    trio.cut_cable(B, true);
    trio.run(ms(20_000));
    assert!(trio.serves(A), "by the dongle alone");
    trio.dongle.memory = None;
    (trio.dongle.id, trio.dongle.boot) = (8, 500);
    trio.unplug();
    trio.plug_in(ResetReason::PowerOn);
    // On its charger nobody hears it, nor it anybody.
    trio.cut_cable(A, true);
    trio.freeze(A);
    trio.machines[A].has_watchdog = true;
    trio.run(ms(300));
    let contact = trio.now;
    trio.cut_cable(B, false);
    trio.run_until(ms(12_000), "B serves", |trio| trio.serves(B));
    assert!(trio.now.since(contact) >= FULL, "whatever another one promised until now is over");
    assert_eq!(trio.double, ms(0));
}

/// R9. A spare whose lives are numbered lower than the former dongle's: its frames would pass for old.
#[test]
fn r9_a_spare_begins_above_the_former_dongle() {
    let mut trio = Trio::new();
    trio.dongle.boot = 900;
    let mut trio = trio.started_up();
    let orders = trio.starts();
    trio.unplug();
    (trio.dongle.id, trio.dongle.boot, trio.dongle.memory) = (8, 5, None);
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(20_000));
    assert!(trio.dongle.restarts >= 1 && trio.arbiter().boot().value() > 901);
    let now = trio.now;
    let authority = trio.node(A).authority(WEB, now);
    assert!(authority.arbiter.is_some(), "{authority:?}");
    assert!(trio.node(A).agrees_on_arbiter());
    assert_eq!(trio.starts(), orders, "nothing stopped meanwhile");
}

// ---- lone starts

#[test]
fn after_a_site_power_cut_a_node_starts_with_the_dongle() {
    let mut trio = Trio::new();
    trio.plug_in(ResetReason::PowerOn);
    trio.start(B);
    let took = trio.run_until(ms(20_000), "B serves", |trio| trio.serves(B));
    assert!(took >= ms(10_000) && took < ms(10_300), "initdead: {took}");
}

#[test]
fn after_a_site_power_cut_nobody_starts_alone_without_the_dongle() {
    let mut trio = Trio::new();
    trio.start(B);
    trio.run(ms(120_000));
    assert!(!trio.holds_address(B));
    let now = trio.now;
    let obstacle = trio.node(B).obstacle(WEB, now);
    assert_eq!(obstacle, Some(Obstacle::ArbiterAbsent { state: ArbiterState::Absent }));
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Ok(1));
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
    // The dongle comes too: B goes on.
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(20_000));
    assert!(trio.serves(B));
}

/// Both nodes, no dongle: they have each other.
#[test]
fn both_nodes_start_without_the_dongle() {
    let mut trio = Trio::new();
    trio.start(A);
    trio.start(B);
    trio.run_until(ms(1000), "A serves", |trio| trio.serves(A));
}

// ---- changes

/// A has an arbiter, B is a classic node still: both rules must allow it, and do.
#[test]
fn r2_beside_a_classic_peer_both_rules_must_allow_it() {
    let mut trio = Trio::new();
    trio.machines[B].config.arbiter = None;
    trio.machines[B].config.timing.guard = ms(0);
    let mut trio = trio.started_up();
    assert!(!trio.node(A).agrees_on_arbiter(), "no guarantee yet, and it is shown");
    let now = trio.now;
    assert!(trio.node(A).authority(WEB, now).arbiter.is_some());
    // Its word alone is not enough for a node with an arbiter.
    trio.unplug();
    trio.run_until(ms(1000), "A lets go", |trio| !trio.holds_address(A));
    assert_eq!(trio.double, ms(0));
}

/// R14. A's guard grows first: nobody's promise is long enough for it, until its givers have grown too.
#[test]
fn r14_who_grows_its_guard_first_waits_for_its_givers() {
    let mut trio = Trio::started();
    trio.unplug();
    for (who, guard) in [(A, ms(9000)), (B, GUARD)] {
        trio.power_off(who);
        trio.machines[who].config.timing.guard = guard;
        trio.machines[who].config.auto_failback = false;
        trio.start(who);
    }
    trio.run(ms(60_000));
    assert!(!trio.holds_address(A), "B is bound for too short a time");
    assert_eq!(trio.double, ms(0));
    // The arbiter takes the longer guard from A's hello.
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(1000));
    assert_eq!(trio.arbiter().memory().guard, ms(9000));
    trio.run(ms(30_000));
    assert!(trio.serves(A) || trio.serves(B));
    // It shrinks when lives with less answer on both sides: those that could use more are over.
    for (who, expected) in [(A, GUARD), (B, ms(2000))] {
        trio.power_off(who);
        trio.machines[who].config.timing.guard = ms(2000);
        trio.start(who);
        trio.run(ms(1000));
        assert_eq!(trio.arbiter().memory().guard, expected);
    }
    assert_eq!(trio.double, ms(0));
}

/// §5. The two haresources differ: what runs goes on, and the arbiter serves one numbering at a time.
#[test]
fn r4_the_arbiter_keeps_to_one_haresources() {
    let mut trio = Trio::started();
    trio.power_off(B);
    trio.machines[B].config.digests.haresources = 2;
    trio.start(B);
    trio.run(ms(20_000));
    assert!(trio.serves(A) && !trio.holds_address(B));
    assert_eq!(trio.arbiter().memory().haresources, Some(1));
    // A's links to both are cut: its promise runs out, then B's numbering counts.
    trio.isolate(A, true);
    trio.run_until(ms(10_000), "B serves", |trio| trio.serves(B));
    assert_eq!(trio.arbiter().memory().haresources, Some(2));
    assert_eq!(trio.double, ms(0));
}

// ---- R14

#[test]
fn r14_refused_while_the_peer_is_heard() {
    let mut trio = Trio::started();
    let now = trio.now;
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Err(Refusal::PeerHeard));
    // B hears nothing of A, the dongle does.
    trio.cut_net(true);
    trio.down[B] = true;
    trio.run(ms(400));
    trio.down[B] = false;
    trio.run(ms(50));
    let now = trio.now;
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Err(Refusal::PeerHeard));
}

/// The vote doesn't outlast its reason: the peer is back, and weeks later the links are cut.
#[test]
fn r14_a_human_vote_ends_with_the_peers_return() {
    let mut trio = Trio::started();
    trio.unplug();
    trio.power_off(A);
    trio.run(ms(20_000));
    let now = trio.now;
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Ok(1));
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
    trio.machines[A].config.auto_failback = false;
    trio.start(A);
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(30_000));
    assert!(trio.serves(B));
    assert_eq!(
        trio.machines[B].node.as_ref().map(|n| n.authority(WEB, trio.now).human),
        Some(false)
    );
    trio.isolate(B, true);
    trio.run_until(BY_TIME, "A serves", |trio| trio.serves(A));
    trio.run(ms(10_000));
    assert!(!trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

/// Guard unbounded (a machine that can be paused): only evidence ends a promise, and the human's word is.
#[test]
fn r14_where_guard_is_unbounded_the_human_is_the_only_way() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX).started_up();
    trio.power_off(A);
    trio.run(ms(600_000));
    assert!(!trio.holds_address(B));
    let now = trio.now;
    assert_eq!(trio.node(B).obstacle(WEB, now), Some(Obstacle::OwnPromise { ends_in: None }));
    assert_eq!(trio.node(B).request_takeover_peer_is_off(now), Ok(1));
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
}

/// With a reset line even an unbounded guard is no obstacle.
#[test]
fn r12_a_confirmed_fence_ends_an_unbounded_promise() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX);
    trio.wire_reset_lines();
    let mut trio = trio.started_up();
    trio.freeze(A);
    let took = trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    assert!(took <= BY_FENCE, "{took}");
    assert_eq!(trio.double, ms(0));
}

/// The daemon is killed and started again at once; its resources run on, and take long to stop.
#[test]
fn r9_a_new_life_is_heard_only_when_the_old_ones_resources_are_stopped() {
    let mut trio = Trio::with_reset_lines();
    trio.machines[A].script_time = ms(300);
    trio.kill(A);
    trio.start(A);
    trio.run(ms(20_000));
    assert_eq!(trio.double, ms(0));
    assert!(trio.serves(A) || trio.serves(B));
}

/// B, over which A's frames reached the dongle, stalls and finds its sockets empty: it was asleep, A
/// was not silent.
#[test]
fn r11_a_stall_of_ones_own_is_not_the_peers_death() {
    let mut trio = Trio::with_reset_lines();
    trio.cut_cable(A, true);
    trio.run(ms(5000));
    trio.machines[B].inbox_max = 0;
    trio.freeze(B);
    trio.run(ms(1500));
    trio.thaw(B);
    trio.machines[B].inbox_max = 64;
    trio.run(ms(5000));
    let dead = |event: &Event| matches!(event, Event::Peer { state: PeerState::Dead, .. });
    assert!(!trio.events_of(B).iter().any(dead));
    assert_eq!((trio.dongle.pulses.len(), trio.double), (0, ms(0)));
}

/// A deaf holder: its frames arrive, nothing reaches it. It lets go; it is heard, so it isn't fenced.
#[test]
fn a_deaf_holder_gives_way() {
    let mut trio = Trio::with_reset_lines();
    trio.deafen(A, true);
    trio.run_until(ms(1000), "A lets go", |trio| !trio.holds_address(A));
    trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    assert_eq!((trio.double, trio.dongle.pulses.len()), (ms(0), 0));
}

/// Each rule that the two nodes and the arbiter follow together, broken in the code, turns a story red.
#[cfg(feature = "mutants")]
#[test]
fn each_broken_rule_is_noticed() {
    use trio::mutants::by;
    trio::mutants::each_is_noticed(&[
        by!(R2Classic, row_dongle_and_then_every_link),
        by!(R3Asks, row_holder_off_without_a_reset_line),
        by!(R8Spare, r8_a_spare_that_was_on_for_long_promises_nothing_at_first),
        by!(R9Unclean, r9_a_new_life_is_heard_only_when_the_old_ones_resources_are_stopped),
        by!(R10GoesOn, row_holder_isolated_lets_go_before_the_other_takes_hold),
        by!(R11Stalled, r11_a_stall_of_ones_own_is_not_the_peers_death),
        by!(R14Outlives, r14_a_human_vote_ends_with_the_peers_return),
    ]);
}
