//! Both nodes run, and meet: who goes on, who lets go, and when (docs/protocol.md §4).

mod pair;

use hb_proto::action::Verb;
use hb_proto::event::Event;
use hb_proto::id::Voter;
use pair::{A, B, Pair, ms};

#[test]
fn split_is_the_classics_split_and_heals_within_a_second() {
    let mut pair = Pair::started();
    pair.cut_all(true);
    pair.run(ms(30_000));
    assert!(pair.serves(A) && pair.serves(B), "two voters split when every link is cut");
    pair.cut_all(false);
    let double = pair.double;
    pair.run_until(ms(1000), "B stops", |pair| !pair.serves(B));
    assert!(pair.double.saturating_sub(double) < ms(200), "B's address goes at first contact");
    let announced = pair.announced;
    let orders = pair.orders.len();
    pair.run(ms(10_000));
    assert!(pair.serves(A) && !pair.serves(B));
    assert_eq!(pair.announced, announced.max(1), "the winner announces once the loser has let go");
    assert!(
        pair.orders[orders..].iter().all(|&(who, ..)| who == B),
        "nobody restarts: {:?}",
        &pair.orders[orders..]
    );
}

/// During a split the home node is told to leave, and its scripts are slow. At contact it isn't the winner:
/// its address goes at once, not when the last script has ended.
#[test]
fn a_home_that_leaves_wins_no_split() {
    let mut pair = Pair::started();
    pair.cut_all(true);
    pair.run(ms(3000));
    assert!(pair.serves(A) && pair.serves(B));
    pair.machines[A].script_time = ms(5000);
    let now = pair.now;
    pair.node(A).request_leave();
    pair.node(A).handle_timeout(now);
    pair.drain(A);
    pair.run(ms(300));
    assert!(pair.machines[A].held.contains(&(0, 0)), "the script is stopped before the address");
    pair.cut_all(false);
    let double = pair.double;
    pair.run(ms(4000));
    assert!(pair.double.saturating_sub(double) < ms(200), "{}", pair.double);
    assert!(pair.serves(B));
    let won = |who: usize| {
        let events = pair.events_of(who);
        let conflict = |event: &Event| match event {
            Event::Conflict { won, .. } => Some(*won),
            _ => None,
        };
        events.iter().find_map(conflict)
    };
    assert_eq!((won(A), won(B)), (Some(false), Some(true)));
}

/// The home and owner is paused, clock and all, and counts the standby's promise when it wakes up. The
/// standby has taken over: it thinks nothing of a promise to the dead, and shows that it runs.
#[test]
fn a_frozen_owner_counts_no_promise_of_a_peer_that_runs() {
    for owner_wins in [true, false] {
        let mut pair = Pair::with(|config| {
            config.groups[0].home = if owner_wins { Voter::A } else { Voter::B };
            config.auto_failback = false;
            // A lease that outlives the second in which a split must heal.
            config.timing.lease = ms(4000);
            config.timing.deadtime = ms(5000);
        });
        let owner = A;
        pair.start(owner);
        pair.run(ms(16_000));
        pair.start(B);
        pair.run(ms(3000));
        assert!(pair.serves(owner));
        pair.freeze(owner, ms(6000));
        assert!(pair.serves(B), "taken over");
        let double = pair.double;
        pair.run(ms(1000));
        let more = pair.double.saturating_sub(double);
        assert!(more < ms(250), "home {owner_wins}: two holders for {more}");
        pair.run(ms(5000));
        assert_ne!(pair.serves(A), pair.serves(B));
    }
}

/// A home is paused while it starts the group, and the standby takes over. Awake, the home wins; it starts
/// nothing more of it before the standby has let everything go.
#[test]
fn a_winner_starts_no_more_until_the_loser_has_let_go() {
    let mut pair = Pair::new();
    pair.machines[B].script_time = ms(300);
    pair.start(B);
    pair.run(ms(12_000));
    assert!(pair.serves(B));
    pair.start(A);
    pair.run_until(ms(10_000), "B gives it up", |pair| {
        pair.orders.iter().any(|&(who, .., verb)| (who, verb) == (B, Verb::Stop))
    });
    pair.machines[A].script_time = ms(8000);
    pair.run_until(ms(10_000), "A takes it home", |pair| {
        pair.orders.iter().any(|&(who, .., verb)| (who, verb) == (A, Verb::Start))
    });
    pair.run(ms(500));
    pair.freeze(A, ms(5000));
    assert!(pair.serves(B), "taken over");
    pair.machines[B].script_time = ms(4000);
    let seen = pair.orders.len();
    pair.run_until(ms(30_000), "A serves", |pair| pair.serves(A));
    let orders = &pair.orders[seen..];
    let start = orders.iter().position(|&(who, .., verb)| (who, verb) == (A, Verb::Start));
    let stops = orders.iter().filter(|&&(who, .., verb)| (who, verb) == (B, Verb::Stop)).count();
    let let_go = orders.iter().rposition(|&(who, .., verb)| (who, verb) == (B, Verb::Stop));
    assert_eq!(stops, 2, "{orders:?}");
    assert!(let_go < start, "{orders:?}");
    assert!(!pair.serves(B));
}

/// A split heals in one direction only: the node that is not heard can't be given way to, so it gives
/// way itself, home or not. (The other hears nothing and can't.)
#[test]
fn a_split_that_heals_one_way_ends_too() {
    for heard in [A, B] {
        let mut pair = Pair::started();
        pair.cut_all(true);
        pair.run(ms(3000));
        assert!(pair.serves(A) && pair.serves(B));
        pair.cut[heard] = [false; 8];
        pair.run(ms(1500));
        assert!(pair.serves(heard) && !pair.serves(1 - heard), "{heard} is heard and goes on");
    }
}

/// The home is told to stand by, its scripts are slow, and every link is cut meanwhile: the other takes over.
/// At contact the home still gives it up. Nothing happens to the one that serves.
#[test]
fn a_home_that_was_standing_by_wins_no_split() {
    let mut pair = Pair::with(|config| config.auto_failback = false);
    pair.start(A);
    pair.start(B);
    pair.run(ms(3000));
    pair.machines[A].script_time = ms(5000);
    let now = pair.now;
    pair.node(A).request_standby(now, None).expect("the peer can take it");
    pair.node(A).handle_timeout(now);
    pair.drain(A);
    pair.run(ms(1000));
    pair.cut_all(true);
    pair.run(ms(1500));
    assert!(pair.serves(B), "taken over");
    pair.cut_all(false);
    let seen = pair.orders.len();
    pair.run(ms(10_000));
    let stopped = pair.orders[seen..].iter().any(|&(who, .., verb)| (who, verb) == (B, Verb::Stop));
    assert!(!stopped && pair.serves(B), "{:?}", &pair.orders[seen..]);
    assert!(!pair.machines[A].held.contains(&(0, 0)));
}

/// After a split the loser stops slowly; the winner's loop is late once, by less than deadtime. It can't
/// have been missed in that time: its addresses stay.
#[test]
fn a_short_stall_of_the_winner_costs_nothing() {
    let mut pair = Pair::started();
    pair.cut_all(true);
    pair.run(ms(3000));
    pair.machines[B].script_time = ms(5000);
    pair.cut_all(false);
    pair.run(ms(500));
    assert!(pair.serves(A) && !pair.serves(B));
    pair.machines[A].stopped = true;
    pair.run(ms(350));
    pair.machines[A].stopped = false;
    pair.run(ms(1000));
    assert!(pair.serves(A));
}
