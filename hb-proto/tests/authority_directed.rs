//! Safety of the promises, schedule by schedule: the shortest histories that break each of R2–R8 when it
//! is broken. Some of them a random soup finds only once in many thousand runs, some never
//! (tests/authority_soup.rs says which).

#[cfg(feature = "mutants")]
mod mutants;
mod soup;

use hb_proto::authority::{Ledger, Promisee, Sender, Stance};
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::{Header, Status};
use soup::{Clock, G, status_for, terms};

const A: usize = 0;
const B: usize = 1;
const D: usize = 2;
const FULL: u64 = 420;

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn known() -> Sender {
    soup::sender(terms(Duration::ZERO))
}

/// Its haresources is not known to be the same.
fn unlike() -> Sender {
    Sender { may_promise: false, ..known() }
}

/// Three voters, long started, that have promised nothing. B is the group's home.
struct Trio([Ledger; 3]);

impl Trio {
    fn new() -> Self {
        let mut trio = Self(Voter::ALL.map(|voter| life(voter, 7, 0)));
        trio.0.iter_mut().for_each(|ledger| ledger.expire(at(FULL)));
        trio
    }

    /// A frame as `from` writes it now, for `to`.
    fn frame(&mut self, from: usize, to: usize, now: u64) -> (Header, Status) {
        let ledger = &mut self.0[from];
        let (sender, boot) = (ledger.me(), ledger.boot());
        let seq = ledger.stamp(at(now)).expect("far from the end");
        let status = status_for(ledger, Voter::ALL[to], at(now));
        (Header { sender, link: LinkId(0), boot, seq }, status)
    }

    fn receive(&mut self, to: usize, frame: &(Header, Status), now: u64) {
        self.0[to].process(at(now), &frame.0, &frame.1, &known()).expect("newer");
    }

    fn tell(&mut self, from: usize, to: usize, now: u64) {
        let frame = self.frame(from, to, now);
        self.receive(to, &frame, now + 1);
    }

    /// Both have heard each other: what they say next is fresh.
    fn meet(&mut self, one: usize, other: usize, now: u64) {
        self.tell(one, other, now);
        self.tell(other, one, now + 2);
        self.tell(one, other, now + 4);
    }

    fn ask(&mut self, who: usize) {
        self.0[who].set_stance(G, Stance::Asking);
    }

    fn authorised(&self, who: usize, now: u64) -> bool {
        self.0[who].authorised(G, at(now))
    }

    fn promised_to(&self, who: usize, now: u64) -> Option<Promisee> {
        self.0[who].promises(G).promised_to(at(now))
    }

    fn counts(&self, who: usize, by: usize) -> Instant {
        self.0[who].promises(G).counted_until(Voter::ALL[by])
    }

    fn restart(&mut self, who: usize, now: u64) {
        let boot = self.0[who].boot().value() + 1;
        self.0[who] = life(Voter::ALL[who], boot, now);
    }
}

fn life(voter: Voter, boot: u32, now: u64) -> Ledger {
    let to = if voter.is_node() { Promisee::To(voter.peer()) } else { Promisee::Unknown };
    let homes = std::iter::once(Voter::B).collect();
    let boot = BootId::new(boot).expect("not 0");
    #[allow(unused_mut)]
    let mut ledger = Ledger::new(voter, boot, homes, terms(Duration::ZERO), to, at(now));
    #[cfg(feature = "mutants")]
    ledger.break_rule(mutants::BROKEN.get());
    ledger
}

/// The way it goes: asked, promised, counted for one lease from the asking frame's sending.
#[test]
fn a_promise_is_good_for_one_lease_from_the_frame_that_it_answers() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.ask(A);
    trio.tell(A, D, 1010);
    assert!(!trio.authorised(A, 1012));
    trio.tell(D, A, 1300);
    assert!(trio.authorised(A, 1409));
    assert!(!trio.authorised(A, 1410), "1010 + lease");
    assert_eq!(trio.promised_to(D, 1430), Some(Promisee::To(Voter::A)), "1011 + full");
    assert_eq!(trio.promised_to(D, 1431), None);
}

/// R1. The arbiter has promised to A; B asks as well, and hears that it has to wait.
#[test]
fn r1_the_arbiter_promises_to_one_at_a_time() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.meet(B, D, 1010);
    trio.ask(A);
    trio.tell(A, D, 1020);
    trio.tell(D, A, 1022);
    trio.ask(B);
    trio.tell(B, D, 1030);
    trio.tell(D, B, 1032);
    assert!(trio.authorised(A, 1040) && !trio.authorised(B, 1040));
}

/// R6. B's promise is still running but B no longer renews it: showing it with a newer echo would let A
/// count it beyond B's own end.
#[test]
fn r6_a_promise_that_was_not_renewed_is_not_shown_with_a_newer_echo() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    trio.tell(B, A, 1020);
    assert_eq!(trio.counts(A, B), at(1410));
    // The peer's files differ from here on: B promises no more.
    let asks = trio.frame(A, B, 1200);
    trio.0[B].process(at(1201), &asks.0, &asks.1, &unlike()).expect("newer");
    trio.tell(B, A, 1210);
    assert_eq!(trio.counts(A, B), at(1410), "not 1600: B is free at 1431");
    assert_eq!(trio.promised_to(B, 1431), None);
}

/// R7. A releases, the arbiter promises to B; then a late frame brings A the promise for its earlier
/// request.
#[test]
fn r7_a_promise_for_an_earlier_request_is_not_used_for_the_next() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.meet(B, D, 1010);
    trio.ask(A);
    trio.tell(A, D, 1020);
    let late = trio.frame(D, A, 1025);
    trio.0[A].set_stance(G, Stance::Idle);
    trio.tell(A, D, 1030);
    trio.ask(B);
    trio.tell(B, D, 1040);
    trio.tell(D, B, 1045);
    assert!(trio.authorised(B, 1050));
    trio.ask(A);
    trio.receive(A, &late, 1055);
    assert!(!trio.authorised(A, 1056), "B runs by the same voter's promise");
}

/// R7. What was counted before a release is not there any more when the next request begins.
#[test]
fn r7_nothing_counts_after_a_release() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.ask(A);
    trio.tell(A, D, 1010);
    trio.tell(D, A, 1012);
    assert!(trio.authorised(A, 1020));
    trio.0[A].set_stance(G, Stance::Idle);
    trio.ask(A);
    assert!(!trio.authorised(A, 1020));
}

/// R6. B's former life asked in a frame with the same number as one that its present life sent.
#[test]
fn r6_an_echo_of_a_former_life_is_no_echo() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(B);
    let asks = trio.frame(B, A, 1010);
    trio.receive(A, &asks, 1011);
    let late = trio.frame(A, B, 1012);
    trio.restart(B, 1020);
    trio.ask(B);
    // The new life's frames reach the same numbers.
    for now in 1100..1100 + u64::from(asks.0.seq) {
        trio.frame(B, A, now);
    }
    trio.receive(B, &late, 1200);
    assert_eq!(trio.counts(B, A), Instant::ZERO, "A never heard this life");
    assert!(!trio.0[B].is_fresh(Voter::A, at(1200)));
}

/// R5. B promised, A runs on it alone; B restarts, and a late frame of A from before its request comes.
#[test]
fn r5_a_release_of_another_time_does_not_end_the_promise_a_life_began_with() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    let late = trio.frame(A, B, 1010);
    trio.ask(A);
    trio.tell(A, B, 1020);
    trio.tell(B, A, 1025);
    trio.restart(B, 1030);
    trio.receive(B, &late, 1040);
    assert!(trio.authorised(A, 1041));
    assert_eq!(trio.promised_to(B, 1041), Some(Promisee::To(Voter::A)));
    // A release of the present ends it.
    trio.0[A].set_stance(G, Stance::Idle);
    trio.tell(B, A, 1050);
    trio.tell(A, B, 1055);
    assert_eq!(trio.promised_to(B, 1060), None);
}

/// R5. A new life of A releases what was promised to its former one, fresh or not: it began clean (R9).
#[test]
fn r5_a_new_life_releases_what_was_promised_to_the_former() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    assert!(trio.promised_to(B, 1011).is_some());
    trio.restart(A, 1100);
    trio.tell(A, B, 1110);
    assert_eq!(trio.promised_to(B, 1111), None);
}

/// R8. A runs by B's promise alone; B restarts in a moment and finds the arbiter free.
#[test]
fn r8_a_node_that_restarts_keeps_the_promise_that_it_forgot() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    trio.tell(B, A, 1012);
    trio.restart(B, 1020);
    trio.meet(B, D, 1030);
    trio.ask(B);
    trio.tell(B, D, 1040);
    trio.tell(D, B, 1045);
    assert!(trio.counts(B, D) > at(1400), "the arbiter promises");
    assert!(trio.authorised(A, 1409) && !trio.authorised(B, 1409), "but B's own promise stands");
    trio.tell(B, D, 1430);
    trio.tell(D, B, 1435);
    assert!(!trio.authorised(B, 1439) && trio.authorised(B, 1440), "until start + full");
}

/// R5, R8. A runs by B's promise; B restarts and hears A, fresh, before it knows that their files agree. A's
/// life is new to B, but it is the one that counts what B's former life promised.
#[test]
fn r8_a_life_that_only_a_young_one_does_not_know_ends_nothing() {
    let mut trio = Trio::new();
    let late = trio.frame(A, B, 900);
    trio.restart(A, 910);
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    trio.tell(B, A, 1012);
    trio.restart(B, 1020);
    // Of the life before: it says nothing of when the present one began.
    trio.receive(B, &late, 1021);
    trio.tell(B, A, 1022);
    let (header, status) = trio.frame(A, B, 1024);
    let heard = trio.0[B].process(at(1025), &header, &status, &unlike()).expect("newer");
    assert!(heard.new_life && heard.fresh);
    assert!(trio.authorised(A, 1400));
    assert_eq!(trio.promised_to(B, 1400), Some(Promisee::To(Voter::A)));
    // A later life of A does end it: that one began clean (R9).
    trio.restart(A, 1030);
    trio.tell(B, A, 1032);
    trio.tell(A, B, 1034);
    assert_eq!(trio.promised_to(B, 1036), None);
}

/// R8. A runs by the arbiter's promise alone; the arbiter restarts and hears B first.
#[test]
fn r8_an_arbiter_that_restarts_promises_to_nobody_at_first() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.ask(A);
    trio.tell(A, D, 1010);
    trio.tell(D, A, 1012);
    trio.restart(D, 1020);
    trio.meet(B, D, 1030);
    trio.ask(B);
    trio.tell(B, D, 1040);
    trio.tell(D, B, 1045);
    assert!(trio.authorised(A, 1409) && !trio.authorised(B, 1409));
    // B was heard idle: what the forgotten life promised, it can only have promised to A.
    assert_eq!(trio.promised_to(D, 1439), Some(Promisee::To(Voter::A)));
    trio.tell(B, D, 1441);
    assert_eq!(trio.promised_to(D, 1442), Some(Promisee::To(Voter::B)), "after full");
}

/// R8. Nobody uses what the arbiter forgot, if both nodes say so: the first one's word leaves the other.
#[test]
fn r8_what_an_arbiter_forgot_is_over_when_both_nodes_are_idle() {
    let mut trio = Trio::new();
    trio.restart(D, 1020);
    assert_eq!(trio.promised_to(D, 1021), Some(Promisee::Unknown));
    trio.meet(A, D, 1030);
    assert_eq!(trio.promised_to(D, 1036), Some(Promisee::To(Voter::B)));
    trio.meet(B, D, 1040);
    assert_eq!(trio.promised_to(D, 1046), None);
}

/// R5, R8. B restarts and hears A first in a frame that already answers it; A runs by what B's former life
/// promised, and its haresources is not known yet, so B can't renew. The life that is heard is no higher
/// one than any that B knew: nothing ends.
#[test]
fn r5_the_first_life_that_is_heard_is_no_new_life() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    trio.tell(B, A, 1012);
    trio.restart(B, 1020);
    trio.tell(B, A, 1025);
    let asks = trio.frame(A, B, 1030);
    trio.0[B].process(at(1031), &asks.0, &asks.1, &unlike()).expect("newer");
    assert!(trio.authorised(A, 1032));
    assert_eq!(trio.promised_to(B, 1032), Some(Promisee::To(Voter::A)));
}

/// R5, §5. Group 0 of A is not group 0 of B while their haresources differ: A's word that it doesn't run
/// it releases nothing, as long as A runs anything at all.
#[test]
fn r5_numbers_that_mean_different_groups_release_nothing() {
    let mut trio = Trio::new();
    let group = |id| hb_proto::id::GroupId(id);
    for ledger in &mut trio.0 {
        let homes = [Voter::B; 2].into_iter().collect();
        let (me, boot) = (ledger.me(), ledger.boot());
        let to = if me.is_node() { Promisee::To(me.peer()) } else { Promisee::Unknown };
        *ledger = Ledger::new(me, boot, homes, terms(Duration::ZERO), to, at(900));
    }
    trio.0[A].set_stance(group(1), Stance::Asking);
    for now in [1000, 1010, 1020] {
        trio.tell(B, A, now);
        let asks = trio.frame(A, B, now + 2);
        trio.0[B].process(at(now + 3), &asks.0, &asks.1, &unlike()).expect("newer");
    }
    assert_eq!(trio.promised_to(B, 1024), Some(Promisee::To(Voter::A)), "group 0");
    trio.0[A].set_stance(group(1), Stance::Idle);
    trio.tell(B, A, 1030);
    let idle = trio.frame(A, B, 1032);
    trio.0[B].process(at(1033), &idle.0, &idle.1, &unlike()).expect("newer");
    assert_eq!(trio.promised_to(B, 1034), None, "who runs nothing runs none of ours");
}

/// R2, R4. Both nodes ask at the same moment, frames cross: the home runs, the other promises.
#[test]
fn r4_of_two_that_ask_at_once_the_home_wins() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.meet(A, D, 1010);
    trio.meet(B, D, 1020);
    trio.ask(A);
    trio.ask(B);
    let (from_a, from_b) = (trio.frame(A, B, 1030), trio.frame(B, A, 1030));
    trio.receive(A, &from_b, 1031);
    trio.receive(B, &from_a, 1031);
    assert_eq!(trio.promised_to(A, 1032), Some(Promisee::To(Voter::B)));
    assert_eq!(trio.promised_to(B, 1032), None);
    trio.tell(A, B, 1040);
    assert!(trio.authorised(B, 1041) && !trio.authorised(A, 1041));
    // The arbiter's promise doesn't help who has promised.
    trio.tell(D, A, 1045);
    assert!(!trio.authorised(A, 1046));
}

/// R4. A runner is asked for its group: it gives nothing.
#[test]
fn r4_who_runs_gives_nothing() {
    let mut trio = Trio::new();
    trio.meet(A, B, 1000);
    trio.ask(A);
    trio.tell(A, B, 1010);
    trio.tell(B, A, 1012);
    trio.0[A].set_stance(G, Stance::Running);
    trio.ask(B);
    trio.tell(B, A, 1020);
    assert_eq!(trio.promised_to(A, 1021), None);
    assert!(trio.authorised(A, 1021), "and nothing is taken from it");
}

/// R4. A deaf holder: its frames arrive, but it hears nobody. What it asks is not renewed.
#[test]
fn r4_who_hears_nobody_is_not_renewed() {
    let mut trio = Trio::new();
    trio.meet(A, D, 1000);
    trio.ask(A);
    trio.tell(A, D, 1010);
    let first = trio.0[D].promises(G).promise_ends();
    trio.tell(A, D, 1403);
    assert_eq!(
        trio.0[D].promises(G).promise_ends(),
        first,
        "echoes a frame of 1002: older than lease"
    );
}

/// Clocks 5 % apart, the user's the slowest, the giver's the fastest: the giver is bound until the user's
/// last moment, and hardly longer.
#[test]
fn r4_the_allowance_for_drift_is_just_enough() {
    let user = Clock { epoch: 5_000_000, rate: Clock::SLOWEST };
    let giver = Clock { epoch: 900_000_000, rate: Clock::FASTEST };
    let (mut x, mut v) = (life(Voter::A, 1, 0), life(Voter::Arbiter, 1, 0));
    let (mut now, step) = (2_000_000, 10);
    let tell = |from: &mut Ledger, to: &mut Ledger, clocks: [Clock; 2], true_us: u64| {
        let sent_at = clocks[0].at(true_us);
        from.expire(sent_at);
        let (sender, boot) = (from.me(), from.boot());
        let seq = from.stamp(sent_at).expect("far from the end");
        let status = status_for(from, to.me(), sent_at);
        let received_at = clocks[1].at(true_us + step);
        to.expire(received_at);
        let header = Header { sender, link: LinkId(0), boot, seq };
        to.process(received_at, &header, &status, &known()).expect("newer");
    };
    tell(&mut x, &mut v, [user, giver], now);
    tell(&mut v, &mut x, [giver, user], now + step);
    x.set_stance(G, Stance::Asking);
    now += 1000;
    tell(&mut x, &mut v, [user, giver], now);
    tell(&mut v, &mut x, [giver, user], now + step);
    let used = (now..).step_by(10).find(|&at| !x.authorised(G, user.at(at))).expect("ends");
    let free = |at: &u64| v.promises(G).promised_to(giver.at(*at)).is_none();
    let bound = (now..).step_by(10).find(free).expect("ends");
    assert!(used > now + 400_000, "it was used");
    assert!(bound >= used, "free after {bound} µs, used until {used}");
    assert!(bound - used < 100, "a larger allowance would hide an error: {}", bound - used);
}

/// Each rule of R1–R8, broken in the code, turns one of the histories above red.
#[cfg(feature = "mutants")]
#[test]
fn each_broken_rule_is_noticed() {
    use mutants::by;
    mutants::each_is_noticed(&[
        by!(R1Two, r1_the_arbiter_promises_to_one_at_a_time),
        by!(R2Promised, r8_a_node_that_restarts_keeps_the_promise_that_it_forgot),
        by!(R4Unfresh, r4_who_hears_nobody_is_not_renewed),
        by!(R4NoGuard, r4_the_allowance_for_drift_is_just_enough),
        by!(R5Stale, r5_a_release_of_another_time_does_not_end_the_promise_a_life_began_with),
        by!(R6Unrenewed, r6_a_promise_that_was_not_renewed_is_not_shown_with_a_newer_echo),
        by!(R7Earlier, r7_a_promise_for_an_earlier_request_is_not_used_for_the_next),
        by!(R8Free, r8_a_node_that_restarts_keeps_the_promise_that_it_forgot),
    ]);
}
