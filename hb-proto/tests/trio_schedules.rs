//! Schedules that were found on paper: each one once stopped a service for longer than it had to, or reset
//! a machine that it should have left alone. What is done about them is in decision 10.

mod trio;

use hb_proto::config::GroupConfig;
use hb_proto::id::{GroupId, Voter};
use hb_proto::node::{Obstacle, Refusal};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{FenceShown, LineShown, ResetReason, Shown};
use trio::{A, B, BY_TIME, FULL, GUARD, Trio, WEB, ms};

fn external_watchdogs() -> Trio {
    let mut trio = Trio::with(|config| {
        if let Some(arbiter) = &mut config.arbiter {
            arbiter.external_watchdog = true;
        }
    });
    trio.wire_reset_lines();
    trio
}

/// Another dongle, which knows nothing.
fn put_in_a_spare(trio: &mut Trio) {
    trio.unplug();
    (trio.dongle.id, trio.dongle.boot, trio.dongle.memory) = (8, 500, None);
    trio.plug_in(ResetReason::PowerOn);
}

/// Off and on again with another guard.
fn change_guard(trio: &mut Trio, who: usize, guard: Duration) {
    trio.power_off(who);
    trio.machines[who].config.timing.guard = guard;
    trio.start(who);
}

/// Each node serves a group of its own, so that neither is idle in all. A spare votes as soon as both have
/// said what they mean by the numbers.
#[test]
fn a_spare_put_in_while_both_serve_votes_at_once() {
    for guard in [GUARD, Duration::MAX] {
        let mut trio = Trio::with(|config| {
            let more = GroupConfig { home: Voter::B, ..config.groups[0].clone() };
            config.groups.push(more).expect("room");
            config.timing.guard = guard;
        })
        .started_up();
        let orders = trio.starts();
        put_in_a_spare(&mut trio);
        trio.run(ms(600));
        let now = trio.now;
        let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
        let shown = [WEB, GroupId(1)].map(|group| status.promisees.shown(group));
        assert_eq!(shown, [Shown::A, Shown::B], "guard {guard}");
        assert_eq!(trio.starts(), orders, "guard {guard}");
    }
}

/// Both nodes got watchdogs and were started anew with a guard. What lives without one were promised is over.
#[test]
fn an_unbounded_guard_ends_with_the_lives_that_had_it() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX).started_up();
    assert_eq!(trio.machines[B].longest, Duration::MAX);
    for who in [A, B] {
        change_guard(&mut trio, who, GUARD);
        trio.run(ms(15_000));
    }
    assert!(trio.serves(A));
    assert_eq!(trio.arbiter().memory().guard, GUARD);
    assert_eq!(
        [A, B].map(|who| trio.machines[who].longest),
        [FULL; 2],
        "as stored for the next life"
    );
    trio.power_off(A);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    // And the other way round, by lives that began with what was stored.
    trio.start(A);
    trio.run(ms(15_000));
    trio.power_off(B);
    trio.start(B);
    trio.run(ms(1000));
    trio.power_off(A);
    trio.run_until(BY_TIME, "B serves again", |trio| trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

/// B never came back: A's own terms end what the arbiter promises to A.
#[test]
fn a_guard_that_shrank_on_one_node_binds_its_own_promises() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX).started_up();
    change_guard(&mut trio, B, GUARD);
    trio.run(ms(5000));
    let now = trio.now;
    trio.node(A).request_standby(now, None).expect("B takes it");
    trio.node(A).handle_timeout(now);
    trio.drain(A);
    trio.run_until(ms(500), "B serves", |trio| trio.serves(B));
    trio.run(ms(1000));
    // B is off: nothing that was promised to *it* lasts longer than its own guard.
    trio.power_off(B);
    trio.run_until(BY_TIME, "A serves", |trio| trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

/// R13. A is off for repair, and the arbiter remembers that it armed. B is switched on: it hears nothing
/// of A either, and never did.
#[test]
fn r13_who_has_just_begun_to_listen_is_no_witness() {
    let mut trio = external_watchdogs().started_up();
    trio.power_off(B);
    trio.run(ms(3000));
    trio.machines[A].reboots = false;
    trio.power_off(A);
    trio.run(ms(5000));
    trio.start(B);
    trio.run(ms(30_000));
    assert_eq!(trio.dongle.pulses, [], "nobody asked, and nobody can tell");
    assert!(trio.serves(B), "by time");
}

/// The dongle is gone. A comes back with a longer guard than B's: B's promise isn't good enough for it. It
/// declines, and B goes on.
#[test]
fn failback_to_a_node_that_has_no_vote_is_declined() {
    let mut trio = Trio::started();
    trio.power_off(A);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    trio.dark = ms(0);
    trio.unplug();
    trio.machines[A].config.timing.guard = ms(9000);
    trio.start(A);
    trio.run(ms(20_000));
    assert!(trio.serves(B) && trio.dark == ms(0), "dark for {}", trio.dark);
    let now = trio.now;
    let obstacle = trio.node(A).obstacle(WEB, now);
    assert!(matches!(obstacle, Some(Obstacle::OwnPromise { ends_in: Some(_) })), "{obstacle:?}");
    assert_eq!(trio.node(B).request_standby(now, None), Err(Refusal::PeerVoteless));
    assert_eq!(trio.node(A).request_takeover(now, None), Err(Refusal::Voteless));
    // With a dongle it has a vote, and gets its group back.
    trio.plug_in(ResetReason::PowerOn);
    trio.run_until(ms(15_000), "failback", |trio| trio.serves(A));
    assert!(trio.dark < ms(100), "{}", trio.dark);
    assert_eq!(trio.double, ms(0));
}

/// The same at a start: the home can't run it and says so, so the other does, without waiting.
#[test]
fn a_home_that_has_no_vote_leaves_the_group_to_the_other() {
    let mut trio = Trio::new();
    trio.machines[A].config.timing.guard = ms(9000);
    trio.start(A);
    trio.start(B);
    trio.run_until(ms(1000), "B serves", |trio| trio.serves(B));
    trio.run(ms(10_000));
    assert!(trio.serves(B) && trio.double == ms(0));
}

/// R12. The arbiter pulses, and stalls. Much later the other node's daemon is restarted: no line is wrong.
#[test]
fn r12_the_watch_after_a_pulse_ends_though_the_arbiter_stalled() {
    let mut trio = Trio::with_reset_lines();
    trio.machines[A].reboots = false;
    trio.freeze(A);
    trio.run_until(ms(2000), "the pulse", |trio| !trio.dongle.pulses.is_empty());
    trio.dongle.frozen = true;
    trio.run(ms(1000));
    trio.dongle.frozen = false;
    trio.run(ms(10_000));
    trio.kill(B);
    trio.start(B);
    trio.run(ms(5000));
    let lines = trio.arbiter().memory().nodes.map(|node| node.line);
    assert_eq!(lines, [LineShown::Commissioned; 2]);
}

/// R12. The lines are swapped, and the arbiter stalls just after its pulse: it still finds out.
#[test]
fn r12_a_swapped_line_is_found_though_the_arbiter_stalled() {
    let mut trio = Trio::with_reset_lines();
    trio.dongle.wired = [Some(B), Some(A)];
    trio.machines[B].reboots = false;
    trio.isolate(A, true);
    trio.run_until(ms(2000), "the pulse", |trio| !trio.dongle.pulses.is_empty());
    trio.dongle.frozen = true;
    trio.run(ms(600));
    trio.dongle.frozen = false;
    trio.run(ms(3000));
    let lines = trio.arbiter().memory().nodes.map(|node| node.line);
    assert_eq!(lines, [LineShown::Miswired; 2]);
}

/// R12. Evidence turned out to be wrong, in the first seconds of the arbiter's clock: nothing that comes
/// after counts as evidence for the same pulse.
#[test]
fn r12_refuted_evidence_stays_refuted_however_young_the_clock_is() {
    let mut trio = Trio::new();
    trio.now = Instant::ZERO;
    trio.wire_reset_lines();
    trio.plug_in(ResetReason::PowerOn);
    trio.start(A);
    trio.start(B);
    trio.run_until(ms(200), "A serves", |trio| trio.serves(A));
    (trio.dongle.wired, trio.dongle.lies) = ([None; 2], true);
    trio.isolate(A, true);
    trio.run_until(ms(1000), "the pulse", |trio| !trio.dongle.pulses.is_empty());
    trio.isolate(A, false);
    let miswired =
        |trio: &Trio| trio.arbiter().memory().nodes.iter().all(|n| n.line == LineShown::Miswired);
    trio.run_until(ms(1500), "found out", miswired);
    assert!(trio.now < Instant::ZERO + ms(2000), "the clock is young: {:?}", trio.now);
    // A's daemon ends, and lets its port go.
    let now = trio.now;
    let arbiter = trio.dongle.arbiter.as_mut().expect("plugged in");
    arbiter.handle_sense_fell(now, Voter::A);
    arbiter.handle_timeout(now);
    trio.drain_dongle();
    trio.run(ms(50));
    let now = trio.now;
    let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
    assert_ne!(status.nodes[A].fence, FenceShown::Confirmed);
    assert_eq!(trio.double, ms(0));
}

/// R5. A hears nobody and is heard, and stops so slowly that it says so in a frame that isn't fresh any more.
/// No promise to it ends by time; what it says later in the same life ends it.
#[test]
fn r5_a_deaf_holder_with_an_unbounded_guard_gives_way() {
    let mut trio = Trio::with(|config| config.timing.guard = Duration::MAX).started_up();
    trio.machines[A].script_time = ms(300);
    trio.deafen(A, true);
    trio.run_until(ms(1000), "A lets go", |trio| !trio.holds_address(A));
    trio.run_until(ms(2000), "B serves", |trio| trio.serves(B));
    trio.run(ms(60_000));
    assert!(trio.serves(B));
    // It hears again: home, in order.
    trio.deafen(A, false);
    trio.run_until(ms(5000), "failback", |trio| trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

/// The hello that would tell a new life of the arbiter what A means is lost. The arbiter asks, A answers.
#[test]
fn a_node_answers_the_arbiters_request_for_a_hello() {
    for offset in 0..10 {
        let mut trio = Trio::started();
        trio.run(ms(offset * 100));
        trio.cut_net(true);
        trio.cut_cable(A, true);
        trio.down[A] = false;
        trio.reset_dongle();
        trio.run(ms(30));
        trio.cut_net(false);
        trio.up[A] = false;
        trio.run(ms(230));
        let now = trio.now;
        let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
        assert_eq!(status.promisees.shown(WEB), Shown::A, "offset {offset}");
    }
}

/// The first frame of the arbiter's that reaches A is lost, on a line that was silent when it was opened. It was the
/// hello, which says what the arbiter's promises are good for. A asks, and gets the next one.
#[test]
fn the_arbiter_answers_a_nodes_request_for_a_hello() {
    for offset in 0..10 {
        let mut trio = Trio::new();
        trio.plug_in(ResetReason::PowerOn);
        trio.run(ms(3000 + offset * 100));
        trio.down[A] = true;
        trio.start(A);
        trio.run_until(ms(100), "the arbiter hears A", |trio| {
            trio.arbiter().ledger().voice(Voter::A).is_some()
        });
        trio.run(ms(20));
        trio.down[A] = false;
        trio.run(ms(300));
        let now = trio.now;
        let settings = trio.node(A).arbiter(now).and_then(|report| report.settings);
        assert!(settings.is_some(), "offset {offset}");
    }
}

/// A's dongle is swapped for a spare, and put back within a lease; neither ever loses its power. Meanwhile the
/// spare promised B what the first one had promised A. B is cut off as it comes back, and hangs at the end of its
/// authority; A hears nobody but the first dongle.
#[test]
fn r8_a_dongle_put_back_within_a_lease_has_forgotten_whom_it_promised_what() {
    let mut trio = Trio::with(|config| {
        config.timing.deadtime = ms(5000);
        config.timing.lease = ms(4000);
        config.auto_failback = false;
    })
    .started_up();
    let first = trio.take_out();
    put_in_a_spare(&mut trio);
    trio.run(ms(400));
    let now = trio.now;
    trio.node(B).request_takeover(now, None).expect("A is there");
    trio.run_until(ms(300), "B serves", |trio| trio.serves(B));
    trio.run(ms(200));
    trio.cut_net(true);
    trio.own_only = [true; 2];
    trio.run(ms(2600));
    let _spare = trio.take_out();
    trio.put_back(first);
    let back = trio.now;
    trio.isolate(B, true);
    trio.run(ms(3900));
    assert!(trio.holds_address(B), "by the spare's promise");
    trio.freeze(B);
    trio.run_until(ms(12_000), "A serves", |trio| trio.serves(A));
    assert_eq!(trio.double, ms(0));
    assert!(trio.now.since(back) >= ms(8700), "whatever the spare promised is over");
}

/// §3. A guard of 4500.5 ms on both nodes is long enough for either.
#[test]
fn a_guard_with_a_fraction_of_a_millisecond_suffices() {
    let guard = GUARD + Duration::from_micros(500);
    let mut trio = Trio::with(|config| config.timing.guard = guard).started_up();
    let now = trio.now;
    let authority = trio.node(A).authority(WEB, now);
    assert!(authority.peer.is_some() && authority.arbiter.is_some(), "{authority:?}");
    trio.power_off(A);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
}

/// Each of these rules, broken in the code, turns a schedule red.
#[cfg(feature = "mutants")]
#[test]
fn each_broken_rule_is_noticed() {
    use trio::mutants::by;
    trio::mutants::each_is_noticed(&[by!(
        R13Young,
        r13_who_has_just_begun_to_listen_is_no_witness
    )]);
}
