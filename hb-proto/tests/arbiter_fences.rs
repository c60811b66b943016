//! R12 and R13 at the arbiter alone: each condition of a pulse, one by one.

mod bench;

use bench::{Bench, boot, ms};
use hb_proto::arbiter::Action;
use hb_proto::authority::Promisee;
use hb_proto::id::Voter;
use hb_proto::wire::message::GroupState;
use hb_proto::wire::message::arbiter::{FenceShown, LineShown, ResetReason};

const A: Voter = Voter::A;
const B: Voter = Voter::B;

/// A has served and fell silent; B, which has listened all the time, doesn't hear it.
fn a_is_silent(armed: bool) -> Bench {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.nodes[0].armed = armed;
    bench.nodes[1].groups = vec![GroupState::Promised];
    bench.talk(&[A, B], ms(3000));
    bench.nodes[1].hears = false;
    bench.talk(&[B], ms(300));
    assert_eq!(bench.pulses(), [], "not silent for deadtime");
    bench
}

fn request(bench: &mut Bench) {
    bench.nodes[1].fence = Some(bench.nodes[0].life);
    bench.talk(&[B], ms(300));
}

#[test]
fn r12_a_request_for_a_silent_node_is_granted_once() {
    let mut bench = a_is_silent(false);
    bench.talk(&[B], ms(300));
    assert_eq!(bench.pulses(), [], "nobody asked");
    request(&mut bench);
    assert_eq!(bench.pulses(), [A]);
    bench.talk(&[B], ms(20_000));
    assert_eq!(bench.pulses(), [A]);
}

#[test]
fn r12_who_hears_the_target_gets_no_pulse() {
    let mut bench = a_is_silent(false);
    bench.nodes[1].hears = true;
    request(&mut bench);
    assert_eq!(bench.pulses(), []);
}

#[test]
fn r12_a_request_that_is_not_fresh_counts_for_nothing() {
    let mut bench = a_is_silent(false);
    bench.nodes[1].listens = false;
    request(&mut bench);
    assert_eq!(bench.pulses(), []);
}

#[test]
fn r12_a_life_that_is_not_the_newest_is_not_pulsed() {
    let mut bench = a_is_silent(false);
    bench.nodes[0].life += 1;
    bench.tell(A, true);
    bench.talk(&[B], ms(700));
    bench.nodes[1].fence = Some(bench.nodes[0].life - 1);
    bench.talk(&[B], ms(700));
    assert_eq!(bench.pulses(), []);
    bench.nodes[1].fence = Some(bench.nodes[0].life);
    bench.talk(&[B], ms(200));
    assert_eq!(bench.pulses(), [A]);
}

#[test]
fn r12_a_line_that_was_not_tested_is_not_pulled() {
    for line in [LineShown::Untested, LineShown::Miswired] {
        let mut bench = a_is_silent(false);
        bench.arbiter.handle_commissioned(A, false);
        let mut memory = *bench.arbiter.memory();
        memory.nodes[0].line = line;
        if line == LineShown::Untested {
            request(&mut bench);
            assert_eq!(bench.pulses(), []);
        }
        // It is remembered.
        let next = hb_proto::arbiter::Config::new(7, 115_200);
        let keys = bench::keys();
        let boot = bench::boot(10);
        let arbiter = hb_proto::arbiter::Arbiter::new(
            next,
            keys,
            boot,
            Some(memory),
            ResetReason::Watchdog,
            bench.now,
        );
        bench.arbiter = arbiter.expect("good");
        bench.pass(ms(10));
        bench.talk(&[B], ms(1000));
        request(&mut bench);
        assert_eq!(bench.pulses(), [], "{line:?}");
    }
}

/// An arbiter that has just begun can't tell who is silent; nor can one that has slept.
#[test]
fn r12_the_arbiters_own_attention_counts() {
    let mut bench = Bench::new();
    bench.nodes[1].hears = false;
    bench.nodes[1].fence = Some(3);
    bench.talk(&[B], ms(400));
    assert_eq!(bench.pulses(), [], "up for less than deadtime");
    let mut bench = a_is_silent(false);
    bench.stall(ms(3000));
    bench.nodes[1].fence = Some(3);
    bench.talk(&[B], ms(400));
    assert_eq!(bench.pulses(), [], "it slept");
    bench.talk(&[B], ms(300));
    assert_eq!(bench.pulses(), [A]);
}

/// One that another arbiter stood in for doesn't know who was silent meanwhile (R8).
#[test]
fn r12_what_was_silent_while_another_arbiter_listened_says_nothing() {
    let mut bench = a_is_silent(false);
    bench.nodes[1].fence = Some(3);
    bench.nodes[1].answers = Some((boot(12), 5));
    bench.tell(B, true);
    bench.nodes[1].answers = None;
    bench.talk(&[B], ms(400));
    assert_eq!(bench.pulses(), [], "it has listened again for less than deadtime");
    bench.talk(&[B], ms(300));
    assert_eq!(bench.pulses(), [A]);
}

#[test]
fn r13_who_armed_it_is_pulsed_unasked() {
    let mut bench = a_is_silent(true);
    bench.talk(&[B], ms(200));
    assert_eq!(bench.pulses(), [A]);
}

/// R13: `dongle_watchdog` may ask for more patience than deadtime, and never for less; what is asked for by
/// the peer doesn't wait for it.
#[test]
fn r13_the_external_watchdog_has_a_time_of_its_own() {
    let mut bench = a_is_silent(true);
    bench.arbiter.set_external_watchdog(ms(3000));
    bench.talk(&[B], ms(2500));
    assert_eq!(bench.pulses(), [], "silent for 2.8 s");
    bench.talk(&[B], ms(400));
    assert_eq!(bench.pulses(), [A]);

    let mut bench = a_is_silent(true);
    bench.arbiter.set_external_watchdog(ms(1));
    assert_eq!(bench.pulses(), [], "not silent for deadtime");

    let mut bench = a_is_silent(true);
    bench.arbiter.set_external_watchdog(ms(60_000));
    request(&mut bench);
    assert_eq!(bench.pulses(), [A]);
}

/// R13. It said that it runs nothing any more, or began a new life.
#[test]
fn r13_release_and_a_new_life_disarm() {
    for life in [0, 1] {
        let mut bench = a_is_silent(true);
        bench.nodes[0].armed = false;
        bench.nodes[0].life += life;
        bench.nodes[0].groups = vec![GroupState::Idle];
        bench.tell(A, true);
        bench.talk(&[B], ms(2000));
        assert_eq!(bench.pulses(), []);
    }
}

/// R13. B begins to listen when A is silent already: a new life, or one that was cut off meanwhile.
#[test]
fn r13_a_witness_has_listened_without_a_break() {
    for restarted in [true, false] {
        let mut bench = a_is_silent(true);
        if restarted {
            bench.nodes[1].life += 1;
        } else {
            // Both were cut off at once.
            bench.nodes[1].hears = true;
            bench.talk(&[A, B], ms(1000));
            bench.pass(ms(2000));
            bench.nodes[1].hears = false;
        }
        bench.tell(B, true);
        assert_eq!(bench.pulses(), [], "restarted: {restarted}");
        bench.talk(&[B], ms(5000));
        assert_eq!(bench.pulses(), [], "restarted: {restarted}");
        // Asked for, it is another matter.
        request(&mut bench);
        assert_eq!(bench.pulses(), [A], "restarted: {restarted}");
    }
}

/// R13. B's farewell: it heard nobody, and listens no more.
#[test]
fn r13_who_has_left_is_no_witness() {
    let mut bench = a_is_silent(true);
    bench.nodes[1].left = true;
    bench.talk(&[B], ms(200));
    assert_eq!(bench.pulses(), []);
    bench.talk(&[B], ms(300));
    assert_eq!(bench.pulses(), []);
}

/// R12. It pulsed, slept, and lost what the requester said meanwhile: that is no silence of the requester.
/// One that stays silent after that was hit.
#[test]
fn r12_the_watch_begins_anew_after_a_stall() {
    for hit in [false, true] {
        let mut bench = a_is_silent(false);
        request(&mut bench);
        assert_eq!(bench.pulses(), [A]);
        bench.stall(ms(1500));
        bench.talk(if hit { &[] } else { &[B] }, ms(700));
        let lines = |bench: &Bench| bench.arbiter.memory().nodes.map(|node| node.line);
        assert_eq!(lines(&bench), [LineShown::Commissioned; 2], "hit: {hit}");
        bench.talk(if hit { &[] } else { &[B] }, ms(5000));
        let expected = if hit { LineShown::Miswired } else { LineShown::Commissioned };
        assert_eq!(lines(&bench), [expected; 2], "hit: {hit}");
    }
}

/// R12. A stopped daemon goes on while the pulse for it is under way, which hits the other board: the line's
/// electronics see one go down. Whoever answers what was sent after the pulse began is not over.
#[test]
fn r12_who_answers_during_the_pulse_was_not_stopped_by_it() {
    let mut bench = a_is_silent(false);
    request(&mut bench);
    assert_eq!(bench.pulses(), [A]);
    bench.tell(A, true);
    assert_eq!(bench.promised(0), Some(Promisee::To(A)), "it asks, and is given");
    bench.arbiter.handle_pulsed(bench.now, A, true);
    bench.pass(ms(50));
    assert_eq!(bench.fence(A), FenceShown::Sent);
    let lines = bench.arbiter.memory().nodes.map(|node| node.line);
    assert_eq!(lines, [LineShown::Miswired; 2]);
    assert_ne!(bench.promised(0), None, "what A counts is bound");
}

/// B asked, and A's line is pulled. What A is to send next answers a frame from before: fresh, or from so long
/// ago that it isn't.
fn a_is_pulsed(fresh: bool) -> Bench {
    let mut bench = a_is_silent(false);
    bench.nodes[0].answers = bench.heard_name();
    bench.talk(&[B], ms(500));
    if fresh {
        bench.nodes[0].answers = bench.heard_name();
    }
    bench.nodes[1].fence = Some(3);
    bench.pass(ms(20));
    bench.tell(B, true);
    assert_eq!(bench.pulses(), [A]);
    bench
}

/// R12. A frame of A's comes during the pulse: its last words, or those of a machine that goes on, which may
/// still count what it was promised before (its clock stood as well). The evidence counts when A has been
/// silent since for deadtime.
#[test]
fn r12_evidence_against_who_was_heard_meanwhile_waits_for_its_silence() {
    for fresh in [true, false] {
        let mut bench = a_is_pulsed(fresh);
        bench.tell(A, true);
        bench.arbiter.handle_pulsed(bench.now, A, true);
        bench.talk(&[B], ms(400));
        assert_eq!(bench.fence(A), FenceShown::Sent, "fresh: {fresh}");
        assert_eq!(bench.promised(0), Some(Promisee::To(A)), "fresh: {fresh}");
        bench.talk(&[B], ms(110));
        assert_eq!(bench.fence(A), FenceShown::Confirmed, "fresh: {fresh}");
        assert_eq!(bench.promised(0), None, "fresh: {fresh}");
        let lines = bench.arbiter.memory().nodes.map(|node| node.line);
        assert_eq!(lines, [LineShown::Commissioned; 2], "last words refute nothing");
    }
}

/// R12. The same, after the evidence: the word is taken back, and A is bound to again but for what B got since.
#[test]
fn r12_a_life_that_is_heard_is_not_over() {
    for given in [true, false] {
        let mut bench = a_is_pulsed(false);
        bench.arbiter.handle_pulsed(bench.now, A, true);
        bench.pass(ms(20));
        assert_eq!(bench.fence(A), FenceShown::Confirmed);
        assert_eq!(bench.promised(0), None);
        if given {
            bench.nodes[1].groups = vec![GroupState::Asking];
            bench.tell(B, true);
        }
        bench.tell(A, true);
        bench.pass(ms(20));
        assert_eq!(bench.fence(A), FenceShown::Sent, "given: {given}");
        let expected = if given { B } else { A };
        assert_eq!(bench.promised(0), Some(Promisee::To(expected)));
        // Last words; or it answers, and lives.
        let mut dead = bench.clone();
        dead.talk(&[B], ms(600));
        assert_eq!(dead.fence(A), FenceShown::Confirmed, "given: {given}");
        assert_eq!(dead.promised(0), given.then_some(Promisee::To(B)));
        bench.nodes[0].answers = None;
        bench.talk(&[A, B], ms(700));
        let lines = bench.arbiter.memory().nodes.map(|node| node.line);
        assert_eq!(lines, [LineShown::Miswired; 2], "given: {given}");
    }
}

/// §3. A's sense line falls, or has read low for long, beside a node that talks: then it shows nothing.
#[test]
fn a_hint_counts_unless_the_node_was_heard_in_spite_of_it() {
    for (low_for_long, expected) in [(true, &[][..]), (false, &[A])] {
        let mut bench = Bench::new();
        bench.nodes[0].groups = vec![GroupState::Running];
        bench.nodes[1].groups = vec![GroupState::Promised];
        if low_for_long {
            bench.arbiter.handle_carrier(bench.now, A, false);
        }
        bench.talk(&[A, B], ms(3000));
        bench.arbiter.handle_carrier(bench.now, A, false);
        (bench.nodes[1].hears, bench.nodes[1].fence) = (false, Some(bench.nodes[0].life));
        // A's last frame came 100 ms before.
        bench.talk(&[B], ms(300));
        assert_eq!(bench.pulses(), [], "not silent for lease × 1.05");
        bench.pass(ms(50));
        assert_eq!(bench.pulses(), expected, "low for long: {low_for_long}");
        bench.talk(&[B], ms(100));
        assert_eq!(bench.pulses(), [A], "deadtime is over");
    }
}

/// R8. What must not be done twice is stored before it is done once.
#[test]
fn r12_a_pulse_is_stored_before_it_is_given() {
    let mut bench = a_is_silent(false);
    bench.actions.clear();
    request(&mut bench);
    let [Action::Store(memory), Action::Pulse { node: A }] = bench.actions[..] else {
        panic!("{:?}", bench.actions)
    };
    assert_eq!(memory.nodes[0].pulsed, Some(bench::boot(3)));
}
