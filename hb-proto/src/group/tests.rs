extern crate std;
use std::vec::Vec;

use super::*;

struct Rig {
    group: Group,
    patience: Patience,
    tickets: u32,
    now: Instant,
}

impl Rig {
    fn new(resources: u8) -> Self {
        let patience = Patience { stop_retries: 1, ..Patience::default() };
        let group = Group::unclean(GroupId(0), resources);
        Self { group, patience, tickets: 0, now: Instant::from_millis(1000) }
    }

    fn clean(resources: u8) -> Self {
        let mut rig = Self::new(resources);
        let orders = rig.run(|_, verb| {
            assert_eq!(verb, Verb::Status);
            Outcome::NotHeld
        });
        assert_eq!(orders.len(), usize::from(resources));
        assert_eq!(rig.group.phase(), Phase::Stopped);
        rig
    }

    fn next(&mut self) -> Option<(TicketId, u8, Verb)> {
        match self.group.poll_action(self.now, &self.patience, &mut self.tickets)? {
            Action::Run { ticket, resource, verb, .. } => Some((ticket.id(), resource, verb)),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, ticket: TicketId, outcome: Outcome) -> Option<Change> {
        self.group.handle_done(self.now, ticket, outcome, &self.patience)
    }

    /// Answers orders until none is left.
    fn run(&mut self, answer: impl Fn(u8, Verb) -> Outcome) -> Vec<(u8, Verb)> {
        let mut orders = Vec::new();
        while let Some((ticket, resource, verb)) = self.next() {
            orders.push((resource, verb));
            self.answer(ticket, answer(resource, verb));
        }
        orders
    }

    fn pass(&mut self, span: Duration) -> Option<Change> {
        self.now += span;
        self.group.handle_timeout(self.now, &self.patience)
    }
}

#[test]
fn starts_left_to_right_and_stops_right_to_left() {
    let mut rig = Rig::clean(3);
    rig.group.start();
    let starts = rig.run(|_, _| Outcome::Done);
    assert_eq!(starts, [(0, Verb::Start), (1, Verb::Start), (2, Verb::Start)]);
    assert_eq!(rig.group.phase(), Phase::Running);
    rig.group.stop();
    let stops = rig.run(|_, _| Outcome::Done);
    assert_eq!(stops, [(2, Verb::Stop), (1, Verb::Stop), (0, Verb::Stop)]);
    assert_eq!(rig.group.phase(), Phase::Stopped);
}

#[test]
fn clean_start_stops_what_runs_or_may_run() {
    let mut rig = Rig::new(3);
    let orders = rig.run(|resource, verb| match (verb, resource) {
        (Verb::Status, 2) => Outcome::NotHeld,
        (Verb::Status, 1) => Outcome::Held,
        (Verb::Status, _) => Outcome::Failed,
        _ => Outcome::Done,
    });
    let expected =
        [(2, Verb::Status), (1, Verb::Status), (1, Verb::Stop), (0, Verb::Status), (0, Verb::Stop)];
    assert_eq!(orders, expected);
    assert_eq!(rig.group.phase(), Phase::Stopped);
}

#[test]
fn failed_start_gives_the_whole_group_up_and_is_forgotten_in_time() {
    let mut rig = Rig::clean(3);
    rig.group.start();
    let orders = rig.run(|resource, verb| match (verb, resource) {
        (Verb::Start, 1) => Outcome::Failed,
        _ => Outcome::Done,
    });
    assert_eq!(orders, [(0, Verb::Start), (1, Verb::Start), (1, Verb::Stop), (0, Verb::Stop)]);
    assert!(rig.group.has_failed());
    rig.pass(rig.patience.failed_start_retry);
    assert!(!rig.group.has_failed());
}

#[test]
fn failed_stop_is_judged_by_status() {
    let mut rig = Rig::clean(1);
    rig.group.start();
    rig.run(|_, _| Outcome::Done);
    rig.group.stop();
    let orders =
        rig.run(|_, verb| if verb == Verb::Stop { Outcome::Failed } else { Outcome::NotHeld });
    assert_eq!(orders, [(0, Verb::Stop), (0, Verb::Status)]);
    assert_eq!(rig.group.phase(), Phase::Stopped);
}

#[test]
fn stop_is_retried_and_then_overdue_until_it_works() {
    let mut rig = Rig::clean(1);
    rig.group.start();
    rig.run(|_, _| Outcome::Done);
    rig.group.stop();
    let fails = |_, verb| if verb == Verb::Stop { Outcome::Failed } else { Outcome::Held };
    rig.run(fails);
    assert!(!rig.group.is_overdue());
    rig.pass(rig.patience.stop_retry_wait);
    rig.run(fails);
    assert!(rig.group.is_overdue(), "one retry is allowed here");
    rig.pass(rig.patience.stop_retry_wait.times(SLOW_RETRY));
    rig.run(|_, _| Outcome::Done);
    assert_eq!(rig.group.phase(), Phase::Stopped);
    assert!(!rig.group.is_overdue());
}

#[test]
fn hanging_start_is_aborted_then_stopped_and_failed() {
    let mut rig = Rig::clean(2);
    rig.group.start();
    let (ticket, ..) = rig.next().expect("a start");
    let timed_out = Change::TimedOut { resource: 0, verb: Verb::Start };
    assert_eq!(rig.pass(rig.patience.start), Some(timed_out));
    let action = rig.group.poll_action(rig.now, &rig.patience, &mut rig.tickets);
    assert_eq!(action, Some(Action::Abort { ticket }));
    assert_eq!(rig.answer(ticket, Outcome::Failed), Some(Change::StartFailed { resource: 0 }));
    assert_eq!(rig.run(|_, _| Outcome::Done), [(0, Verb::Stop)]);
    assert!(rig.group.has_failed());
}

#[test]
fn stop_during_a_start_aborts_it_and_is_no_failure() {
    let mut rig = Rig::clean(2);
    rig.group.start();
    let (ticket, ..) = rig.next().expect("a start");
    rig.group.stop();
    let action = rig.group.poll_action(rig.now, &rig.patience, &mut rig.tickets);
    assert_eq!(action, Some(Action::Abort { ticket }));
    assert_eq!(rig.answer(ticket, Outcome::Done), None);
    assert_eq!(rig.run(|_, _| Outcome::Done), [(0, Verb::Stop)]);
    assert!(!rig.group.has_failed());
}

#[test]
fn unanswered_orders_end_and_late_answers_are_stale() {
    let mut rig = Rig::clean(1);
    rig.group.start();
    rig.run(|_, _| Outcome::Done);
    rig.group.stop();
    let (ticket, ..) = rig.next().expect("a stop");
    rig.pass(rig.patience.stop);
    assert!(rig.group.is_overdue(), "a stop beyond its time ends in reset (R10)");
    assert!(matches!(
        rig.group.poll_action(rig.now, &rig.patience, &mut rig.tickets),
        Some(Action::Abort { .. })
    ));
    rig.pass(ABORT_GRACE);
    assert_eq!(rig.answer(ticket, Outcome::Done), None, "stale");
    assert_eq!(rig.next().map(|(_, _, verb)| verb), Some(Verb::Status));
}
