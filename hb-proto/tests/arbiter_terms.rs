//! R8 and R14 at the arbiter alone: for how long what it didn't see may still be in use, and by whom.

mod bench;

use bench::{Bench, boot, ms};
use hb_proto::arbiter::{Action, Memory};
use hb_proto::authority::Promisee;
use hb_proto::id::{GroupId, Voter};
use hb_proto::time::Duration;
use hb_proto::wire::message::GroupState;
use hb_proto::wire::message::arbiter::{ResetReason, Shown};

const A: Voter = Voter::A;
const B: Voter = Voter::B;
const WEB: GroupId = GroupId(0);

/// lease × 1.05 + the bench's guard of 1 s.
const SHORT: Duration = ms(1420);
/// The same with 9 s.
const LONG: Duration = ms(9420);

/// A spare hears B alone, whose guard is short. When that is over A is heard, whose guard is long and which
/// may run by the former dongle's promise: it is bound again for as long as that can last.
#[test]
fn r8_terms_that_grow_after_unknown_has_ended_bind_again() {
    let mut bench = Bench::new();
    bench.nodes[1].groups = vec![GroupState::Asking, GroupState::Promised];
    bench.nodes[0].guard = ms(9000);
    (bench.nodes[0].groups, bench.nodes[0].listens) = (vec![GroupState::Running; 2], false);
    let start = bench.now;
    // B asks for group 0 only, and mustn't have been asked to mean the same as A.
    bench.talk(&[B], SHORT + ms(100));
    assert_eq!(bench.promised(0), Some(Promisee::To(B)), "as far as it can know");
    assert_eq!(bench.promised(1), None);
    bench.tell(A, true);
    assert_eq!(bench.promised(0), Some(Promisee::To(B)), "R1");
    assert_eq!(bench.promised(1), Some(Promisee::Unknown));
    bench.nodes[1].groups[1] = GroupState::Asking;
    while bench.now.since(start) < ms(9220) {
        bench.talk(&[B], ms(100));
        assert_ne!(bench.shown(1), Shown::B, "{}", bench.now.since(start));
    }
    bench.talk(&[B], ms(400));
    assert_eq!(bench.shown(1), Shown::B);
}

/// A node that has heard longer terms than its own says so: of a peer that no spare has ever heard.
#[test]
fn r8_what_a_node_knows_of_longer_promises_counts() {
    let mut bench = Bench::new();
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.nodes[1].longest = LONG;
    let start = bench.now;
    while bench.now.since(start) < ms(9220) {
        bench.talk(&[B], ms(100));
        assert_eq!(bench.promised(0), Some(Promisee::Unknown), "{}", bench.now.since(start));
    }
    bench.talk(&[B], ms(400));
    assert_eq!(bench.promised(0), Some(Promisee::To(B)));
}

/// Even if that node is younger than what the arbiter knows: its peer may not be.
#[test]
fn r8_what_a_younger_node_knows_of_its_peer_counts() {
    let mut bench = Bench::new();
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.talk(&[B], ms(500));
    bench.nodes[1].life += 1;
    bench.nodes[1].longest = LONG;
    bench.talk(&[B], ms(8000));
    assert_eq!(bench.promised(0), Some(Promisee::Unknown));
    bench.talk(&[B], ms(1400));
    assert_eq!(bench.promised(0), Some(Promisee::To(B)));
}

/// A life that began after the arbiter listened can't count what anybody else promised before: however long
/// its terms are, they bind nothing that is free.
#[test]
fn r8_a_younger_life_lengthens_nothing() {
    let mut bench = Bench::new();
    bench.talk(&[A], SHORT + ms(300));
    assert_eq!(bench.promised(0), None);
    (bench.nodes[0].life, bench.nodes[0].guard) = (4, Duration::MAX);
    bench.talk(&[A], ms(300));
    assert_eq!(bench.promised(0), None);
    assert_eq!(bench.arbiter.memory().guard, Duration::MAX, "but the next life is bound so long");
    bench.nodes[0].groups = vec![GroupState::Asking];
    bench.talk(&[A], ms(300));
    assert_eq!(bench.shown(0), Shown::A);
}

/// R4. B asks while A's promise stands, and A is gone. When that ends B is given at once what it asked for: it
/// need not ask again.
#[test]
fn r4_who_asked_last_is_given_what_becomes_free() {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.nodes[1].groups = vec![GroupState::Promised];
    bench.talk(&[A, B], ms(2000));
    bench.tell(A, true);
    let last = bench.now;
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.talk(&[B], ms(1350));
    bench.tell(B, false);
    assert_eq!(bench.promised(0), Some(Promisee::To(A)));
    while bench.shown(0) != Shown::B {
        bench.pass(ms(1));
        assert!(bench.now.since(last) <= ms(1422), "{}", bench.now.since(last));
    }
    assert!(bench.now.since(last) >= SHORT);
}

/// The nodes' deadtime alone counts once it is known, be it shorter than what an arbiter begins with.
#[test]
fn a_short_deadtime_of_the_nodes_counts() {
    let mut bench = Bench::new();
    assert_eq!(bench.arbiter.deadtime(), ms(500));
    bench.nodes[0].deadtime = ms(200);
    bench.tell(A, true);
    assert_eq!(bench.arbiter.deadtime(), ms(200));
    bench.nodes[1].deadtime = ms(300);
    bench.tell(B, true);
    assert_eq!(bench.arbiter.deadtime(), ms(300));
}

/// R14. Both answer, in lives with a short guard: from then on nothing stands on the long one.
#[test]
fn r14_terms_shrink_when_both_lives_that_could_use_more_are_over() {
    let mut bench = Bench::new();
    for node in &mut bench.nodes {
        node.guard = Duration::MAX;
        node.groups = vec![GroupState::Running];
    }
    bench.nodes[1].groups = vec![GroupState::Promised];
    bench.talk(&[A, B], ms(300));
    assert_eq!(bench.arbiter.terms().full, Duration::MAX);
    (bench.nodes[0].life, bench.nodes[0].guard) = (4, ms(1000));
    bench.talk(&[A, B], ms(1000));
    assert_eq!(bench.arbiter.terms().full, Duration::MAX, "B's life may use more");
    (bench.nodes[1].life, bench.nodes[1].guard) = (4, ms(1000));
    // It doesn't answer yet: the frame may be of another time.
    bench.nodes[1].listens = false;
    bench.talk(&[A, B], ms(500));
    assert_eq!(bench.arbiter.terms().full, Duration::MAX);
    bench.nodes[1].listens = true;
    bench.talk(&[A, B], ms(300));
    assert_eq!(bench.arbiter.terms().full, SHORT);
    assert_eq!(bench.promised(0), Some(Promisee::To(A)));
    // What stands ends by A's own terms.
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.talk(&[B], SHORT + ms(200));
    assert_eq!(bench.shown(0), Shown::B);
}

/// R8, R14. "Unknown" with an unbounded guard is narrowed by who is idle, and shortened by both.
#[test]
fn r14_unknown_without_end_ends_on_the_terms_of_those_who_answer() {
    let mut bench = Bench::new();
    bench.nodes[1].longest = Duration::MAX;
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.talk(&[B], ms(2000));
    assert_eq!(bench.promised(0), Some(Promisee::Unknown));
    // A asks as well, so nobody is idle.
    bench.nodes[0].groups = vec![GroupState::Asking];
    bench.talk(&[A, B], ms(300));
    assert_eq!(bench.promised(0), Some(Promisee::Unknown), "whose it is can't be told");
    bench.talk(&[A, B], SHORT);
    assert_eq!(bench.shown(0), Shown::A, "home");
}

/// The memory of a dongle that has served these nodes, with group 0 promised to A.
fn remembered() -> Memory {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.nodes[1].groups = vec![GroupState::Promised];
    bench.talk(&[A, B], ms(2000));
    assert_eq!(bench.promised(0), Some(Promisee::To(A)));
    *bench.arbiter.memory()
}

/// R8. A dongle gets power on a charger, is put in within a lease, and another one promised until then: what it
/// begins with lasts from the first contact, not from the start.
#[test]
fn r8_unknown_counts_from_the_first_contact_however_soon_that_is() {
    let mut bench = Bench::with(Some(remembered()), ResetReason::PowerOn);
    bench.pass(ms(350));
    let contact = bench.now;
    bench.nodes[1].groups = vec![GroupState::Asking];
    bench.talk(&[B], ms(1320));
    assert_eq!(bench.promised(0), Some(Promisee::Unknown), "{}", bench.now.since(contact));
    bench.talk(&[B], ms(300));
    assert_eq!(bench.promised(0), Some(Promisee::To(B)));
}

/// R8. B's frame answers another dongle's, though it has answered this one's before: that one was in this one's
/// place since, and promised B what this one still has as A's.
#[test]
fn r8_who_answers_another_arbiter_has_been_promised_anything() {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.nodes[1].groups = vec![GroupState::Promised];
    bench.talk(&[A, B], ms(2000));
    bench.pass(ms(250));
    (bench.nodes[1].groups, bench.nodes[1].answers) =
        (vec![GroupState::Running], Some((boot(12), 5)));
    bench.tell(B, false);
    let contact = bench.now;
    assert_eq!(bench.promised(0), Some(Promisee::Unknown));
    bench.nodes[0].groups = vec![GroupState::Asking];
    while bench.now.since(contact) < ms(1320) {
        bench.talk(&[A], ms(100));
        assert_ne!(bench.shown(0), Shown::A, "{}", bench.now.since(contact));
    }
    bench.talk(&[A], ms(300));
    assert_eq!(bench.shown(0), Shown::A);
}

/// R8. The same of a life that began since; and of one that had answered nobody. A frame before the first one that
/// this dongle hears says nothing by it: it may answer the dongle's own former life.
#[test]
fn r8_a_new_life_that_answers_another_arbiter_tells_as_well() {
    for restarts in [true, false] {
        let mut bench = Bench::with(Some(remembered()), ResetReason::Watchdog);
        bench.nodes[0].groups = vec![GroupState::Running];
        bench.nodes[0].answers = Some((boot(8), 700));
        bench.talk(&[A], ms(300));
        assert_eq!(
            bench.promised(0),
            Some(Promisee::To(A)),
            "it answers the life before the reset"
        );
        bench.nodes[0].listens = false;
        bench.tell(A, true);
        (bench.nodes[0].listens, bench.nodes[0].answers) = (true, Some((boot(7), 5)));
        bench.nodes[0].life += u32::from(restarts);
        bench.tell(A, true);
        assert_eq!(bench.promised(0), Some(Promisee::Unknown), "restarts: {restarts}");
        let contact = bench.now;
        bench.talk(&[A], SHORT + ms(100));
        assert_eq!(bench.promised(0), None, "not again and again: {}", bench.now.since(contact));
    }
}

/// R8, R9. Another dongle's life was numbered above this one's. The life that begins above it must not believe
/// what this one stored of its promises, though power stayed.
#[test]
fn r8_a_life_above_another_ones_remembers_no_promise() {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.talk(&[A], SHORT + ms(300));
    assert_eq!(bench.promised(0), Some(Promisee::To(A)));
    bench.nodes[0].knows = Some(50);
    bench.actions.clear();
    bench.tell(A, true);
    let [Action::Store(memory), Action::Restart { above }] = bench.actions[..] else {
        panic!("stored, then restarted: {:?}", bench.actions)
    };
    assert_eq!(above, boot(50));
    assert_eq!(memory.starting_promisee(WEB, ResetReason::Software), Promisee::Unknown);
}

/// R8. A dongle that has heard nobody for a lease is reset, and put in soon after: its memory is of before.
#[test]
fn r8_an_absence_outlasts_a_reset() {
    let mut bench = Bench::new();
    bench.nodes[0].groups = vec![GroupState::Running];
    bench.nodes[0].guard = Duration::MAX;
    bench.talk(&[A, B], ms(2000));
    bench.pass(ms(250));
    let watchdog = ResetReason::Watchdog;
    assert_eq!(bench.arbiter.memory().starting_promisee(WEB, watchdog), Promisee::To(A));
    bench.pass(ms(200));
    assert_eq!(bench.arbiter.memory().starting_promisee(WEB, watchdog), Promisee::Unknown);
}

/// A node that asks for a hello for ever gets one with each scheduled frame, and not one frame more than another.
#[test]
fn who_asks_for_hellos_for_ever_costs_no_frame() {
    let frames = |asks: bool| {
        let mut bench = Bench::new();
        bench.talk(&[A, B], ms(3000));
        bench.nodes[0].wants_hello = asks;
        bench.frames = (0, 0);
        bench.talk(&[A, B], ms(5000));
        bench.frames
    };
    let ((asked, hellos), (unasked, few)) = (frames(true), frames(false));
    assert!(asked <= unasked + 2, "{asked} and {unasked}: one at once, by both ports");
    assert!(hellos >= 90 && few <= 12, "{hellos} and {few} of {asked} and {unasked}");
}

/// Each of this is gone without R8's look at who was there meanwhile.
#[cfg(feature = "mutants")]
#[test]
fn each_sign_of_another_arbiter_is_needed() {
    use bench::mutants::{by, each_is_noticed};
    each_is_noticed(&[
        by!(R8Spare, r8_unknown_counts_from_the_first_contact_however_soon_that_is),
        by!(R8Spare, r8_who_answers_another_arbiter_has_been_promised_anything),
        by!(R8Spare, r8_a_new_life_that_answers_another_arbiter_tells_as_well),
        by!(R8Spare, r8_a_life_above_another_ones_remembers_no_promise),
        by!(R8Spare, r8_an_absence_outlasts_a_reset),
    ]);
}
