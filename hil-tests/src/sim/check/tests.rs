//! Each rule, broken once: the checker must say so, in these words.

use super::*;
use crate::sim::fault::{Command, Fault};
use crate::sim::knobs::Knobs;
use crate::sim::plant::Plant;
use crate::sim::quiet::{self, red};

const A: Who = 0;
const B: Who = 1;
const ADDRESS: What = What { group: 0, resource: 0 };
const SCRIPT: What = What { group: 0, resource: 1 };
const TICKET: TicketId = TicketId(7_777);

/// The plain pair after 20 quiet seconds: A has group 0.
fn quiet() -> World {
    planted(None)
}

fn planted(plant: Option<Plant>) -> World {
    quiet::quiet(Knobs { plant, ..Knobs::plain() }, 20)
}

fn daemon(world: &mut World, of: Who) -> Box<Daemon> {
    world.machines[of].daemon.take().expect("it runs")
}

/// A whole, new frame of a sender's.
pub(super) fn handed(sender: u8, seq: u32) -> Handed {
    Handed { sender, name: (9_999, seq), whole: true, clean: true, result: Ok(Accepted::First) }
}

#[test]
fn two_holders_without_a_split() {
    let mut world = quiet();
    world.machines[B].hold(ADDRESS, true);
    world.check_holders();
    assert!(
        red(&world).starts_with("B takes the address of group 0, which A has"),
        "{}",
        red(&world)
    );
}

/// The same in a split is excused, and counted.
#[test]
fn two_holders_in_a_split_are_excused() {
    let mut world = quiet();
    world.apply(Fault::CutAll);
    world.run_until(22_000_000);
    assert_eq!((red(&world), world.checks.splits), ("", 1));
}

/// In a split, frames flow both ways for `us` from now on, and nobody gives way.
fn contact_without_effect(world: &mut World, us: u64) {
    let until = world.now + us;
    while world.now < until {
        world.now += 100_000;
        world.note_contact(A);
        world.note_contact(B);
    }
}

#[test]
fn two_holders_for_more_than_a_second_of_contact() {
    let mut world = quiet();
    world.apply(Fault::CutAll);
    world.run_until(22_000_000);
    contact_without_effect(&mut world, 1_100_000);
    assert_eq!(red(&world), "", "not before the second is over");
    contact_without_effect(&mut world, 100_000);
    assert!(red(&world).contains("after frames flow both ways again"), "{}", red(&world));
}

/// Another haresources excuses two holders in contact for as long as it differs, and no longer.
#[test]
fn two_holders_whose_files_agree_again() {
    let mut world = quiet();
    world.apply(Fault::CutAll);
    world.run_until(22_000_000);
    world.checks.haresources = [1, 2];
    contact_without_effect(&mut world, 5_000_000);
    assert_eq!(red(&world), "");
    world.checks.haresources = [1, 1];
    contact_without_effect(&mut world, 1_200_000);
    assert!(red(&world).contains("after frames flow both ways again"), "{}", red(&world));
}

#[test]
fn a_frame_accepted_twice() {
    let mut world = quiet();
    let mut b = daemon(&mut world, B);
    world.note_handed(B, &mut b, handed(0, 5));
    world.note_handed(B, &mut b, handed(0, 6));
    assert_eq!(red(&world), "");
    world.note_handed(B, &mut b, handed(0, 6));
    assert!(red(&world).contains("accepted twice, or out of order"), "{}", red(&world));
}

#[test]
fn an_older_frame_accepted_later() {
    let mut world = quiet();
    let mut b = daemon(&mut world, B);
    world.note_handed(B, &mut b, handed(0, 6));
    world.note_handed(B, &mut b, handed(0, 5));
    assert!(red(&world).contains("accepted twice, or out of order"), "{}", red(&world));
}

#[test]
fn a_start_before_the_release() {
    let mut world = quiet();
    let mut b = daemon(&mut world, B);
    world.note_order(B, &mut b, TICKET, ADDRESS, Verb::Start);
    let text = red(&world);
    assert!(text.starts_with("B starts") && text.contains("A still has 11 of it"), "{text}");
}

#[test]
fn a_start_out_of_order() {
    let mut world = quiet();
    world.machines[A].held[0] = 0;
    let mut b = daemon(&mut world, B);
    world.note_order(B, &mut b, TICKET, SCRIPT, Verb::Start);
    assert!(red(&world).contains("while 0 is confirmed started"), "{}", red(&world));
}

#[test]
fn a_stop_out_of_order() {
    let mut world = quiet();
    let mut a = daemon(&mut world, A);
    world.note_order(A, &mut a, TICKET, ADDRESS, Verb::Stop);
    assert!(
        red(&world).contains("stops") && red(&world).contains("while 11 is"),
        "{}",
        red(&world)
    );
}

#[test]
fn an_address_that_outlives_a_long_sleep() {
    let mut world = quiet();
    let a = daemon(&mut world, A);
    let deadtime = world.knobs.timing.deadtime;
    world.after_wakeup(A, &a, (deadtime, false));
    world.after_wakeup(A, &a, (deadtime.times(9), true));
    assert_eq!(red(&world), "", "no longer than deadtime, or nobody there: no reason to drop it");
    world.after_wakeup(A, &a, (deadtime + Duration::from_micros(1), false));
    assert!(red(&world).contains("still has the address of group 0"), "{}", red(&world));
}

#[test]
fn a_peer_judged_dead_while_its_frames_wait() {
    let mut world = quiet();
    world.apply(Fault::PowerOff(A));
    world.run_until(21_000_000);
    let mut b = daemon(&mut world, B);
    assert!(b.node.peer().state().is_gone());
    world.note_judgement(B, &b, false, false);
    assert_eq!(red(&world), "", "nothing waits");
    let waiting =
        crate::sim::wire::Datagram { bytes: crate::sim::wire::Bytes::of(&[1]), intact: true };
    assert!(b.ports[1].take_datagram(waiting));
    world.note_judgement(B, &b, false, false);
    assert!(red(&world).contains("while frames of it wait"), "{}", red(&world));
}

#[test]
fn a_loop_that_spins() {
    let mut world = quiet();
    for _ in 0..TURNS_A_SECOND {
        world.count_turn(A);
    }
    assert_eq!(red(&world), "");
    world.count_turn(A);
    assert!(red(&world).contains("A's loop spins"), "{}", red(&world));
}

#[test]
fn a_watchdog_fed_before_the_clean_start() {
    let mut world = quiet();
    world.apply(Fault::KillDaemon(B));
    while world.machines[B].daemon.is_none() {
        world.run_until(world.now + 100);
    }
    let b = daemon(&mut world, B);
    assert!(!b.node.is_clean());
    world.note_feeding(B, &b, false);
    assert_eq!(red(&world), "");
    world.note_feeding(B, &b, true);
    assert!(red(&world).contains("before the clean start"), "{}", red(&world));
}

#[test]
fn a_watchdog_fed_without_authority() {
    let mut world = quiet();
    let b = daemon(&mut world, B);
    world.note_feeding(B, &b, true);
    assert_eq!(red(&world), "");
    world.machines[B].hold(SCRIPT, true);
    world.note_feeding(B, &b, true);
    assert!(red(&world).contains("runs without authority"), "{}", red(&world));
}

/// The plant breaks the rule by itself as soon as the group moves: nothing here is set by hand.
#[test]
fn an_address_that_stays_at_a_handover() {
    let mut world = planted(Some(Plant::AddressesStay));
    world.apply(Fault::Operator(A, Command::Standby));
    world.run_until(25_000_000);
    assert!(red(&world).contains("without authority"), "{}", red(&world));
}
