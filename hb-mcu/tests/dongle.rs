//! The dongle of fake parts between two real nodes: what each of its duties is for, and what happens when one
//! of its parts fails.

mod world;

use hb_mcu::{PULSE, SENSE_SETTLES, TestRefused};
use hb_proto::arbiter::{Event, Port};
use hb_proto::id::{GroupId, LinkId, Voter};
use hb_proto::wire::message::arbiter::{FenceShown, LineShown, ResetReason, Shown};
use world::{A, B, WEB, World};

fn pulses(world: &World) -> Vec<Voter> {
    let of = |event: &Event| match event {
        Event::Pulsed { node, .. } => Some(*node),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

fn confirmed(world: &World) -> bool {
    world.events.iter().any(|event| matches!(event, Event::Confirmed { .. }))
}

fn shown(world: &World, who: usize) -> FenceShown {
    let node = world.machines[1 - who].node.as_ref().expect("the other one");
    let report = node.arbiter(world.now()).expect("configured");
    report.status.expect("heard").nodes[who].fence
}

// ---- a cable that votes

#[test]
fn with_the_network_cut_the_nodes_hear_each_other_through_it() {
    let mut world = World::started();
    world.network_cut = true;
    world.run(5000);
    assert!(world.runs(A) && !world.runs(B));
    let now = world.now();
    for who in [A, B] {
        let node = world.machines[who].node.as_ref().expect("on");
        assert_eq!(node.peer().state(), hb_proto::peer::PeerState::Alive, "{who}");
    }
    let authority = world.machines[A].node.as_ref().expect("on").authority(WEB, now);
    assert!(authority.peer.is_some() && authority.arbiter.is_some(), "{authority:?}");
    assert!(pulses(&world).is_empty());
}

#[test]
fn alone_with_a_node_it_votes() {
    let mut world = World::started();
    world.power_off(B);
    world.run(10_000);
    assert!(world.runs(A));
    assert!(pulses(&world).is_empty(), "B had nothing that A wants");
}

/// Whatever a port brings, each turn reads a bounded part of it, and the other port has its turn.
#[test]
fn a_flood_on_one_port_starves_neither_the_other_nor_the_votes() {
    for flood in [vec![0x55], vec![0], vec![0, 7, 7, 7, 7, 7, 7, 0]] {
        let mut world = World::started();
        *world.ports[B].flood.borrow_mut() = flood.clone();
        let dongle = world.dongle.as_ref().expect("in");
        let before = dongle.arbiter().statistics(Port::One).received;
        let taken = world.ports[B].taken.get();
        world.run(5000);
        let dongle = world.dongle.as_ref().expect("in");
        let heard = dongle.arbiter().statistics(Port::One).received - before;
        assert!(heard >= 50, "{flood:?}: {heard} frames of A in 5 s");
        assert!(world.ports[B].taken.get() - taken <= 5000 * 256, "{flood:?}");
        let now = world.now();
        let authority = world.machines[A].node.as_ref().expect("on").authority(WEB, now);
        assert!(authority.arbiter.is_some(), "{flood:?}: its votes still count");
        assert!(world.runs(A) && pulses(&world).is_empty(), "{flood:?}");
    }
}

#[test]
fn a_uart_that_takes_nothing_does_not_hold_up_the_other() {
    let mut world = World::started();
    world.ports[B].stuck.set(true);
    let fed = world.watchdog.0.get();
    world.run(5000);
    assert!(world.runs(A));
    let now = world.now();
    let authority = world.machines[A].node.as_ref().expect("on").authority(WEB, now);
    assert!(authority.arbiter.is_some());
    let dongle = world.dongle.as_ref().expect("in");
    assert!(dongle.counters(Port::Two).overflows > 0);
    assert_eq!(dongle.counters(Port::One).overflows, 0);
    assert_eq!(world.watchdog.0.get() - fed, 5000, "a dead line is no reason to reset the dongle");
}

// ---- reset outputs (R12)

#[test]
fn nothing_is_pulled_at_power_up_or_reset() {
    let mut world = World::new();
    for reason in [ResetReason::PowerOn, ResetReason::Watchdog, ResetReason::Pin] {
        // A chip whose pins come up high.
        world.reset.iter().for_each(|pin| pin.0.set(true));
        world.insert(reason);
        assert!(world.reset.iter().all(|pin| !pin.0.get()), "{reason:?}");
    }
    world.run(5000);
    assert!(world.pulled.iter().all(Vec::is_empty));
}

#[test]
fn a_hanging_holder_is_reset_by_its_own_output_and_by_one_pulse() {
    let mut world = World::started();
    world.machines[A].frozen = true;
    world.run(1000);
    assert_eq!(pulses(&world), [Voter::A]);
    assert!(world.pulled[B].is_empty());
    let [first, last] =
        [world.pulled[A].first(), world.pulled[A].last()].map(|at| at.expect("pulled"));
    assert!(
        (PULSE.millis()..PULSE.millis() + 3).contains(&(last - first + 1)),
        "{first} to {last}"
    );
    assert!(confirmed(&world) && world.runs(B));
    world.run(10_000);
    assert_eq!((pulses(&world).len(), world.machines[A].boot), (1, 2), "it came back");
}

#[test]
fn a_supervised_line_alone_is_evidence() {
    let mut world = World::started();
    world.machines[A].frozen = true;
    // No sense input in this dongle's cable: it reads low all the time.
    world.sense[A].0.set(false);
    world.run(20);
    world.events.clear();
    world.run(1000);
    assert!(confirmed(&world) && world.runs(B));
}

#[test]
fn a_sense_input_alone_is_evidence() {
    let mut world = World::started();
    world.machines[A].frozen = true;
    // The wire ends on A, its supervision reads nothing.
    world.run(400);
    for _ in 0..600 {
        world.line[A].0.set(false);
        world.run(1);
        world.line[A].0.set(false);
    }
    assert_eq!(pulses(&world), [Voter::A]);
    assert!(confirmed(&world) && world.runs(B));
}

/// The wire broke after its test: pulsed, and nothing ends early.
#[test]
fn a_broken_wire_gives_no_evidence() {
    let mut world = World::started();
    world.wired[A] = None;
    world.machines[A].frozen = true;
    world.run(1500);
    assert_eq!(pulses(&world), [Voter::A]);
    assert!(!confirmed(&world) && !world.runs(B));
    assert_eq!(shown(&world, A), FenceShown::Sent);
    world.run(5000);
    assert!(world.runs(B), "by time");
}

#[test]
fn a_swapped_wire_is_found_out() {
    let mut world = World::started();
    world.wired = [Some(B), Some(A)];
    world.machines[A].frozen = true;
    world.run(3000);
    assert_eq!(pulses(&world), [Voter::A]);
    assert!(world.events.contains(&Event::Miswired), "{:?}", world.events);
    let record = world.record().expect("stored");
    assert_eq!(record.memory.nodes.map(|node| node.line), [LineShown::Miswired; 2]);
    world.run(20_000);
    assert_eq!(pulses(&world).len(), 1, "never again");
}

/// When the first pulse for A began, after it fell silent.
fn patience_ms(mut world: World) -> u64 {
    let from = world.ms.get();
    world.machines[A].frozen = true;
    // B's network card has told it the same, so that the dongle's patience is what counts.
    let now = world.now();
    let node = world.machines[B].node.as_mut().expect("on");
    node.handle_carrier(now, LinkId(1), false);
    world.run(1000);
    world.pulled[A].first().expect("pulled") - from
}

/// A sense input that falls is a hint: the lease's time is waited for, and not deadtime (R12). A dip is nothing.
#[test]
fn a_node_without_a_sign_of_life_is_pulsed_sooner() {
    let with_it = patience_ms(World::started());
    let world = World::started();
    world.sense[A].0.set(false);
    let without = patience_ms(world);
    let mut world = World::started();
    world.sense[A].0.set(false);
    world.run(SENSE_SETTLES.millis() - 1);
    world.sense[A].0.set(true);
    let dipped = patience_ms(world);
    println!("pulsed after {without} ms without a sign of life, after {with_it} ms with one");
    assert!(without + 50 < with_it, "{without} and {with_it} ms");
    assert!(dipped + 10 > with_it, "{dipped} and {with_it} ms");
}

/// Twice would be once too often: which life was pulsed is stored first.
#[test]
fn a_pulse_that_can_not_be_stored_is_not_given() {
    let mut world = World::started();
    world.machines[A].frozen = true;
    world.store.broken.set(true);
    world.run(3000);
    assert!(world.pulled[A].is_empty(), "{:?}", world.pulled[A]);
    world.store.broken.set(false);
    world.run(1000);
    let pulled = world.pulled[A].len() as u64;
    assert!(pulled.abs_diff(PULSE.millis()) < 3, "{pulled} ms");
    let stored = world.record().expect("stored").memory.nodes[A].pulsed;
    assert_eq!(stored.map(hb_proto::id::BootId::value), Some(1));
}

// ---- the test of a line

#[test]
fn an_untested_line_is_never_pulled_for_a_fence() {
    let mut world = World::new();
    world.run(1000);
    world.machines[A].frozen = true;
    world.run(20_000);
    assert!(pulses(&world).is_empty() && world.pulled.iter().all(Vec::is_empty));
}

#[test]
fn a_test_proves_the_line_of_a_node_that_runs_nothing() {
    let mut world = World::new();
    world.run(1000);
    let dongle = world.dongle.as_mut().expect("in");
    assert_eq!(dongle.request_line_test(Voter::A), Err(TestRefused::InUse));
    assert_eq!(dongle.request_line_test(Voter::Arbiter), Err(TestRefused::NotANode));
    assert_eq!(dongle.request_line_test(Voter::B), Ok(()));
    assert_eq!(dongle.request_line_test(Voter::B), Err(TestRefused::UnderWay));
    world.run(2000);
    assert_eq!(world.dongle.as_mut().expect("in").poll_line_test(), Some((Voter::B, true)));
    let lines = world.record().expect("stored").memory.nodes.map(|node| node.line);
    assert_eq!(lines, [LineShown::Untested, LineShown::Commissioned]);
    assert_eq!(world.machines[B].boot, 2, "it was reset");
    world.power_off(B);
    world.run(2000);
    let dongle = world.dongle.as_mut().expect("in");
    assert_eq!(dongle.request_line_test(Voter::B), Err(TestRefused::NotHeard));
}

/// After power-up the dongle knows of no promise, and A runs by B's.
#[test]
fn a_node_that_runs_by_its_peers_promise_is_not_reset_for_a_test() {
    let mut world = World::started();
    world.insert(ResetReason::PowerOn);
    // B's word would leave A as the one to whom the group can have been promised.
    world.machines[B].frozen = true;
    let refused = (0..300).find_map(|_| {
        world.run(1);
        match world.dongle.as_mut().expect("in").request_line_test(Voter::A) {
            Err(TestRefused::NotHeard) => None,
            other => Some(other),
        }
    });
    assert_eq!(refused, Some(Err(TestRefused::InUse)));
    assert!(world.runs(A));
    world.run(1000);
    assert!(world.pulled[A].is_empty());
}

#[test]
fn a_test_finds_swapped_wires() {
    let mut world = World::new();
    world.wired = [Some(B), Some(A)];
    world.run(1000);
    let dongle = world.dongle.as_mut().expect("in");
    assert_eq!(dongle.request_line_test(Voter::B), Ok(()));
    world.run(3000);
    assert_eq!(world.dongle.as_mut().expect("in").poll_line_test(), Some((Voter::B, false)));
}

// ---- memory (R8, R9)

#[test]
fn promises_outlive_a_reset_and_not_a_loss_of_power() {
    let mut world = World::started();
    world.power_off(B);
    // A fence would prove that B holds nothing.
    world.wired = [None; 2];
    world.run(5000);
    assert_eq!(world.retained().expect("stored").0.shown(WEB), Shown::A);
    world.insert(ResetReason::Watchdog);
    world.run(20_000);
    assert!(world.runs(A), "its vote went on");
    world.insert(ResetReason::PowerOn);
    world.run(1000);
    assert!(!world.runs(A), "another dongle may have promised it to B meanwhile");
    world.run(10_000);
    assert!(world.runs(A), "after full");
}

#[test]
fn each_life_has_a_number_of_its_own_stored_before_it_speaks() {
    let mut world = World::new();
    let mut last = world.record().expect("stored at once").boot;
    for _ in 0..5 {
        world.insert(ResetReason::Pin);
        let boot = world.record().expect("stored").boot;
        assert!(boot > last);
        assert_eq!(world.dongle.as_ref().expect("in").arbiter().boot(), boot);
        last = boot;
    }
}

/// A spare whose lives are numbered lower than those that the nodes have heard.
#[test]
fn a_spare_begins_above_the_former_dongle() {
    let mut world = World::started();
    for _ in 0..20 {
        world.insert(ResetReason::Pin);
    }
    world.run(2000);
    let heard = world.dongle.as_ref().expect("in").arbiter().boot();
    world.store.areas.borrow_mut().iter_mut().for_each(Vec::clear);
    world.insert(ResetReason::PowerOn);
    world.run(10_000);
    let boot = world.dongle.as_ref().expect("in").arbiter().boot();
    assert!(boot > heard, "{boot} after {heard}");
    assert_eq!(world.record().expect("stored").boot, boot);
    let now = world.now();
    let authority = world.machines[A].node.as_ref().expect("on").authority(WEB, now);
    assert!(authority.arbiter.is_some(), "its votes count again");
    let report = world.machines[A].node.as_ref().expect("on").arbiter(now).expect("configured");
    let feeds = report.status.expect("heard").nodes.map(|node| node.feeds);
    assert_eq!(feeds, [true, true], "the new life was told what feeds it");
}

/// Flash wears: a pair that works writes nothing.
#[test]
fn a_quiet_pair_wears_nothing_out() {
    let mut world = World::started();
    let before = world.store.writes.get();
    world.run(60_000);
    assert_eq!(world.store.writes.get(), before);
    assert_eq!(world.retained().expect("stored").0.shown(GroupId(1)), Shown::Nobody);
}

// ---- its own watchdog

#[test]
fn a_turn_with_every_duty_done_feeds_it_once() {
    let mut world = World::started();
    let fed = world.watchdog.0.get();
    world.run(100);
    assert_eq!(world.watchdog.0.get() - fed, 100);
}

/// Memory that can't be written: what would follow from it isn't said, and the watchdog starves.
#[test]
fn without_its_memory_it_neither_speaks_nor_feeds() {
    let mut world = World::started();
    world.store.broken.set(true);
    // A handover changes to whom the group is promised.
    let now = world.now();
    let node = world.machines[A].node.as_mut().expect("on");
    node.request_standby(now, None).expect("B takes it");
    world.run(500);
    let (fed, dongle) = (world.watchdog.0.get(), world.dongle.as_ref().expect("in"));
    let seq = dongle.arbiter().ledger().newest_seq();
    let heard = |world: &World| {
        let node = world.machines[B].node.as_ref().expect("on");
        node.arbiter(world.now()).expect("configured").silent
    };
    assert!(heard(&world).is_none_or(|silent| silent.millis() > 200), "{:?}", heard(&world));
    world.run(1000);
    assert_eq!(world.watchdog.0.get(), fed, "starves");
    assert!(world.dongle.as_ref().expect("in").arbiter().ledger().newest_seq() >= seq);
    world.store.broken.set(false);
    world.run(1000);
    assert!(world.watchdog.0.get() > fed, "and recovers with it");
    assert!(world.runs(B));
}
