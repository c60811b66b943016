//! R12 and R13 of docs/protocol.md in stories: who is reset, on what evidence, and who never is.

mod trio;

use hb_proto::event::Event;
use hb_proto::id::Voter;
use hb_proto::node::{FenceRefused, Refusal};
use hb_proto::wire::message::arbiter::{FenceShown, LineShown};
use trio::{A, B, BY_FENCE, BY_TIME, Trio, ms};

#[test]
fn r12_a_miswired_line_is_found_and_never_pulled_again() {
    let mut trio = Trio::new();
    trio.wire_reset_lines();
    let mut trio = trio.started_up();
    // Somebody swaps the two plugs after the test of the lines.
    trio.dongle.wired = [Some(B), Some(A)];
    trio.isolate(A, true);
    trio.run(ms(60_000));
    assert_eq!(trio.dongle.pulses.len(), 1, "B was hit once: {:?}", trio.dongle.pulses);
    assert_eq!(trio.double, ms(0));
    let now = trio.now;
    let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
    assert_eq!(status.nodes.map(|node| node.line), [LineShown::Miswired; 2]);
    assert!(trio.serves(B), "after full");
}

/// The line's electronics say that the board went down, and it is heard again in the same life.
#[test]
fn r12_false_evidence_is_found_out() {
    let mut trio = Trio::with_reset_lines();
    (trio.dongle.wired, trio.dongle.lies) = ([None; 2], true);
    trio.isolate(A, true);
    trio.run_until(ms(2000), "B serves", |trio| trio.serves(B));
    trio.run(ms(2000));
    trio.isolate(A, false);
    trio.run(ms(20_000));
    assert_eq!(trio.arbiter().memory().nodes.map(|node| node.line), [LineShown::Miswired; 2]);
    assert!(trio.serves(A), "failback");
    assert_eq!(trio.double, ms(0), "lease × 1.05 is over by deadtime: A had let go");
}

/// A stands still for longer than deadtime. Its line is pulled, and something else goes down. When the evidence
/// is there A has long been back at work, by B's promise; only the dongle doesn't hear it. What B hears is true.
#[test]
fn r12_a_node_believes_no_fence_of_a_life_that_it_hears() {
    let mut trio = Trio::new();
    trio.dongle.wired = [Some(A), Some(B)];
    let mut trio = trio.started_up();
    trio.dongle.wired = [None; 2];
    trio.isolate(A, true);
    trio.run_until(ms(2000), "the line is pulled", |trio| !trio.dongle.pulses.is_empty());
    trio.cut_net(false);
    trio.up[B] = true;
    trio.run_until(ms(300), "A serves", |trio| trio.serves(A));
    let now = trio.now;
    trio.dongle.arbiter.as_mut().expect("runs").handle_pulsed(now, Voter::A, true);
    trio.run_until(ms(150), "B is told", |trio| {
        let node = trio.machines[B].node.as_ref().expect("runs");
        let status = node.arbiter(trio.now).and_then(|report| report.status);
        status.is_some_and(|status| status.nodes[A].fence == FenceShown::Confirmed)
    });
    // Lemma 1 is judged at each step.
    trio.run(ms(2000));
    assert!(trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

#[test]
fn r12_without_evidence_nothing_ends_early() {
    let mut trio = Trio::new();
    // The line is broken, and was not when it was tested.
    trio.dongle.wired = [Some(A), Some(B)];
    let mut trio = trio.started_up();
    trio.dongle.wired = [None, None];
    trio.freeze(A);
    trio.machines[A].has_watchdog = true;
    trio.run(ms(1500));
    assert_eq!(trio.dongle.pulses.len(), 1);
    assert!(!trio.holds_address(B));
    let now = trio.now;
    let status = trio.node(B).arbiter(now).and_then(|report| report.status).expect("heard");
    assert_eq!(status.nodes[A].fence, FenceShown::Sent);
    trio.run_until(BY_TIME, "B serves", |trio| trio.serves(B));
    assert_eq!(trio.double, ms(0));
}

#[test]
fn r12_the_machines_own_sense_line_is_evidence() {
    let mut trio = Trio::new();
    trio.dongle.wired = [Some(A), Some(B)];
    trio.dongle.senses = true;
    let mut trio = trio.started_up();
    trio.freeze(A);
    let took = trio.run_until(ms(8000), "B serves", |trio| trio.serves(B));
    assert!(took <= BY_FENCE, "{took}");
    assert_eq!(trio.double, ms(0));
}

/// A reboots for a minute: it is pulsed once, not again in the middle of its file system check.
#[test]
fn r12_a_rebooting_machine_is_left_alone() {
    let mut trio = Trio::with_reset_lines();
    trio.machines[A].reboots = false;
    trio.freeze(A);
    trio.run(ms(60_000));
    assert_eq!(trio.dongle.pulses.len(), 1);
    // Not even by a dongle that was reset meanwhile.
    trio.reset_dongle();
    trio.run(ms(60_000));
    assert_eq!(trio.dongle.pulses.len(), 1);
    trio.start(A);
    trio.run_until(ms(10_000), "home again", |trio| trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

/// The dongle hears A, B doesn't: only the dongle's own frames reach B.
#[test]
fn r12_a_node_that_is_heard_is_not_fenced() {
    let mut trio = Trio::with_reset_lines();
    let orders = trio.starts();
    trio.cut_net(true);
    trio.own_only[B] = true;
    trio.run(ms(30_000));
    assert!(trio.events_of(B).iter().any(|event| matches!(event, Event::FenceAsked { .. })));
    assert_eq!(trio.dongle.pulses, []);
    assert!(trio.serves(A) && trio.starts() == orders);
    // And the human is told so.
    let now = trio.now;
    let refused = trio.node(B).request_takeover_peer_is_off(now);
    assert_eq!(refused, Err(Refusal::ArbiterHearsPeer));
}

/// R13. Both nodes without watchdogs: what hangs while it serves is reset by the dongle alone.
#[test]
fn r13_a_node_that_armed_it_is_reset_when_it_hangs() {
    let mut trio = Trio::with(|config| {
        if let Some(arbiter) = &mut config.arbiter {
            arbiter.external_watchdog = true;
        }
    });
    trio.wire_reset_lines();
    let mut trio = trio.started_up();
    trio.machines[B].config.auto_failback = false;
    trio.freeze(A);
    trio.run(ms(1000));
    assert_eq!(trio.dongle.pulses.iter().map(|pulse| pulse.1).collect::<Vec<_>>(), [Voter::A]);
    assert_eq!(trio.machines[A].resets, 1);
    trio.run(ms(20_000));
    // The standby armed nothing.
    let pulses = trio.dongle.pulses.len();
    trio.freeze(B);
    trio.machines[B].has_watchdog = false;
    trio.run(ms(20_000));
    assert_eq!(trio.dongle.pulses.len(), pulses);
    assert_eq!(trio.double, ms(0));
}

/// R5. What leaves in order tells the arbiter as well as the peer, though its line is busy at that moment.
#[test]
fn an_orderly_leave_is_heard_by_both_voters() {
    for alone in [false, true] {
        let mut trio = Trio::with(|config| {
            if let Some(arbiter) = &mut config.arbiter {
                arbiter.external_watchdog = true;
            }
        });
        trio.wire_reset_lines();
        let mut trio = trio.started_up();
        trio.machines.iter_mut().for_each(|machine| machine.script_time = ms(1));
        if alone {
            trio.power_off(B);
            trio.run(ms(3000));
        }
        let now = trio.now;
        trio.node(A).request_leave();
        trio.node(A).handle_timeout(now);
        trio.drain(A);
        if !alone {
            trio.run_until(ms(300), "B serves", |trio| trio.serves(B));
        }
        trio.run(ms(5000));
        assert_eq!(trio.dongle.pulses.len(), 0, "alone {alone}: who left in order is not reset");
    }
}

/// Each of these rules, broken in the code, turns a story red.
#[cfg(feature = "mutants")]
#[test]
fn each_broken_rule_is_noticed() {
    use trio::mutants::by;
    trio::mutants::each_is_noticed(&[
        by!(R12Unconfirmed, r12_without_evidence_nothing_ends_early),
        by!(R12Heard, r12_a_node_that_is_heard_is_not_fenced),
        by!(R12Twice, r12_a_rebooting_machine_is_left_alone),
        by!(R13Unarmed, r13_a_node_that_armed_it_is_reset_when_it_hangs),
    ]);
}

/// An operator may have a silent standby reset, to which nothing is promised that anybody needs; a node that is
/// heard, never.
#[test]
fn r12_an_operator_has_a_silent_peer_reset_once_and_never_one_that_is_heard() {
    let mut trio = Trio::with_reset_lines();
    let now = trio.now;
    let request =
        |trio: &mut Trio, now| trio.machines[A].node.as_mut().expect("runs").request_fence(now);
    assert_eq!(request(&mut trio, now), Err(FenceRefused::PeerHeard));
    trio.isolate(B, true);
    trio.run(ms(3000));
    assert!(
        trio.serves(A) && trio.dongle.pulses.is_empty(),
        "nobody needs it: {:?}",
        trio.dongle.pulses
    );
    let now = trio.now;
    assert_eq!(request(&mut trio, now), Ok(()));
    trio.run(ms(5000));
    assert_eq!(trio.dongle.pulses.len(), 1, "once: {:?}", trio.dongle.pulses);
    assert!(trio.serves(A));
    assert_eq!(trio.double, ms(0));
}

/// Lines that were proved under an earlier ha.cf stay proved in the dongle's memory. Where ha.cf no longer says that
/// they are wired, nobody asks for a fence, nor may an operator.
#[test]
fn r12_lines_that_nobody_calls_wired_are_not_pulled() {
    let mut trio = Trio::with(|config| {
        if let Some(arbiter) = &mut config.arbiter {
            arbiter.fences = false;
        }
    });
    trio.wire_reset_lines();
    let mut trio = trio.started_up();
    trio.isolate(A, true);
    trio.run_until(ms(30_000), "B serves, after full", |trio| trio.serves(B));
    let now = trio.now;
    assert_eq!(trio.node(B).request_fence(now), Err(FenceRefused::NotWired));
    trio.run(ms(5000));
    assert_eq!(trio.dongle.pulses, []);
    assert_eq!(trio.double, ms(0));
}
