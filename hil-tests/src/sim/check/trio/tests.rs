//! Each rule of three voters, broken once: the checker must say so, in these words.

use super::super::tests::handed;
use super::*;
use crate::scenario::ResetWire;
use crate::sim::dongle::faults::DongleFault;
use crate::sim::fault::Fault;
use crate::sim::knobs::Knobs;
use crate::sim::machine::What;
use crate::sim::quiet::{self, red};

const A: Who = 0;
const B: Who = 1;
const ADDRESS: What = What { group: 0, resource: 0 };

/// The plain pair with a plain dongle after 30 quiet seconds: A has group 0.
fn quiet() -> World {
    quiet::quiet(Knobs::plain_trio(), 30)
}

/// A split is no excuse with an arbiter.
#[test]
fn two_holders_though_every_link_is_cut() {
    let mut world = quiet();
    world.apply(Fault::Freeze(A));
    world.apply(Fault::CutAll);
    // A's watchdog bites a second after it was last fed.
    world.run_until(30_600_000);
    assert_eq!(red(&world), "");
    world.machines[B].hold(ADDRESS, true);
    world.check_holders();
    assert!(
        red(&world).starts_with("B takes the address of group 0, which A has"),
        "{}",
        red(&world)
    );
}

#[test]
fn each_exemption_is_counted_and_ends() {
    let double = |edit: &dyn Fn(&mut World)| {
        let mut world = quiet();
        edit(&mut world);
        world.machines[B].hold(ADDRESS, true);
        world.check_holders();
        (red(&world).to_owned(), world.counts.trio.excused)
    };
    let human = double(&|world| world.checks.human[B] = 1);
    assert_eq!(human, (String::new(), [1, 0, 0, 0]));
    let false_evidence = double(&|world| world.checks.false_evidence[A] = true);
    assert_eq!(false_evidence, (String::new(), [0, 0, 1, 0]));
    // Of another group it says nothing.
    assert_ne!(double(&|world| world.checks.human[B] = 2).0, "");
    // A machine that was reset is none of which something false was said.
    let reset = double(&|world| {
        world.checks.false_evidence[A] = true;
        world.power_off(A);
        world.machines[A].hold(ADDRESS, true);
    });
    assert_ne!(reset.0, "");
    // A classic node excuses what the classics' split explains, and nothing else.
    assert_ne!(double(&|world| world.checks.classic[B] = true).0, "");
    // Nothing stops it, but it runs within its authority.
    let unsafe_knobs = |world: &mut World| {
        if let Some(arbiter) = &mut world.knobs.arbiter {
            arbiter.stopped = Stopped::Unsafe(hb_proto::time::Duration::from_secs(1));
        }
    };
    assert_ne!(double(&unsafe_knobs).0, "");
    let beyond = double(&|world| {
        unsafe_knobs(world);
        world.machines[A].daemon = None;
    });
    assert_eq!(beyond, (String::new(), [0, 1, 0, 0]));
}

#[test]
fn a_frame_taken_twice_by_the_dongle() {
    let mut world = quiet();
    world.note_handed_to_dongle(handed(1, 5));
    world.note_handed_to_dongle(handed(0, 5));
    world.note_handed_to_dongle(handed(1, 6));
    assert_eq!(red(&world), "");
    world.note_handed_to_dongle(handed(1, 6));
    assert!(red(&world).contains("the dongle took frame (9999, 6) of B as new"), "{}", red(&world));
}

#[test]
fn a_frame_of_the_dongle_taken_twice() {
    let mut world = quiet();
    let mut b = world.machines[B].daemon.take().expect("it runs");
    world.note_handed(B, &mut b, handed(2, 5));
    assert_eq!(red(&world), "");
    world.note_handed(B, &mut b, handed(2, 5));
    assert!(red(&world).contains("of the arbiter as new"), "{}", red(&world));
}

/// What a pulse for A at this moment breaks.
fn pulse(world: &mut World) -> String {
    let arbiter = world.dongle.as_mut().and_then(|one| one.unit.arbiter.take()).expect("it runs");
    world.judge_pulse(&arbiter, A);
    red(world).to_owned()
}

#[test]
fn a_pulse_for_a_node_that_is_heard() {
    let mut world = quiet();
    let text = pulse(&mut world);
    assert!(text.starts_with("the dongle fences A, which it heard"), "{text}");
}

/// And a right one is none: A has been silent, its line is proved, its life was never pulsed.
#[test]
fn a_right_pulse_a_second_one_and_one_by_an_unproved_line() {
    let mut world = quiet();
    world.apply(Fault::Freeze(A));
    world.run_until(30_450_000);
    assert_eq!(world.counts.trio.pulses, 0, "not before deadtime");
    world.run_until(30_700_000);
    assert_eq!((red(&world), world.counts.trio.pulses), ("", 1));
    let text = pulse(&mut world);
    assert!(text.ends_with("of A twice"), "{text}");

    let mut world = quiet();
    world
        .dongle
        .as_mut()
        .expect("there")
        .inputs
        .push(crate::sim::dongle::Input::Commissioned(hb_proto::id::Voter::A, false));
    world.plan_dongle_turn();
    world.run_until(30_100_000);
    world.apply(Fault::Freeze(A));
    world.run_until(32_000_000);
    assert_eq!((red(&world), world.counts.trio.pulses), ("", 0), "no test, no pulse");
    world.dongle.as_mut().expect("there").unit.pulsed = [0; 2];
    let text = pulse(&mut world);
    assert!(text.contains("twice") || text.contains("which no test proved"), "{text}");
}

/// R13: unasked, only for a node that armed it, and on the word of a witness older than the silence.
#[test]
fn a_pulse_that_nobody_asked_for() {
    let frozen = |armed: bool, witness_at: At| {
        let mut world = quiet();
        world.apply(Fault::Freeze(A));
        world.run_until(30_700_000);
        assert_eq!((red(&world), world.counts.trio.pulses), ("", 1));
        world.checks.fence_asked[A] = 0;
        world.checks.life_at[B] = witness_at;
        if let Some(arbiter) = &mut world.knobs.arbiter {
            arbiter.external_watchdog = armed;
        }
        world.dongle.as_mut().expect("there").unit.pulsed = [0; 2];
        pulse(&mut world)
    };
    assert_eq!(frozen(true, 1), "");
    assert!(frozen(false, 1).contains("which nobody asked for"));
    assert!(frozen(true, 30_600_000).contains("a life younger than its silence"));
}

/// B's clock jumps: by its own reckoning its promise ends sooner, and it is free for the dongle's.
#[test]
fn two_that_are_authorised() {
    let mut world = quiet();
    for who in [A, B] {
        // A node that believes in a classic pair and in a dead peer.
        let mut config = world.knobs.config(who);
        config.arbiter = None;
        config.timing.guard = hb_proto::time::Duration::ZERO;
        world.configs[who] = config;
    }
    world.apply(Fault::Reset(A));
    world.apply(Fault::Reset(B));
    world.apply(Fault::CutAll);
    // Were they classic nodes, that would be the classics' affair.
    world.run_until(34_000_000);
    world.checks.classic = [false; 2];
    while red(&world).is_empty() && world.now < 60_000_000 {
        world.checks.classic = [false; 2];
        world.run_until(world.now + 100_000);
    }
    assert!(!red(&world).is_empty(), "two holders or two authorised");
}

/// The dongle's clock jumps ahead: its promise to A ends before guard is over.
#[test]
fn a_promise_of_the_dongle_that_it_doesnt_keep() {
    let mut world = quiet();
    let dongle = world.dongle.as_mut().expect("there");
    let local = dongle.unit.clock.local(world.now).micros();
    let ahead = local - world.now + 200_000;
    dongle.unit.clock = crate::sim::clock::Clock::new(0, ahead, 0);
    world.check_promises();
    assert!(red(&world).contains("before the end of its use and guard"), "{}", red(&world));
}

#[test]
fn a_missing_vote_is_named() {
    let mut world = quiet();
    world.apply(Fault::Dongle(DongleFault::Remove));
    world.run_until(31_000_000);
    let text = world.missing_votes().expect("something is missing");
    assert!(text.contains("the dongle doesn't run"), "{text}");
    assert!(text.contains("A runs group 0 without the arbiter's vote"), "{text}");
}

/// The world around: a reset line that ends elsewhere resets elsewhere.
#[test]
fn reset_lines_end_where_they_end() {
    let epochs = |wire| {
        let mut world = quiet();
        world.apply(Fault::Dongle(DongleFault::Wire(A, wire)));
        let before = [A, B].map(|who| world.machines[who].epoch);
        world.apply(Fault::Stop(A));
        world.run_until(30_700_000);
        assert_eq!((red(&world), world.counts.trio.pulses), ("", 1));
        [A, B].map(|who| world.machines[who].epoch - before[who])
    };
    assert_eq!(epochs(ResetWire::Sound), [1, 0]);
    assert_eq!(epochs(ResetWire::Broken), [0, 0]);
    assert_eq!(epochs(ResetWire::Swapped), [0, 1]);
}

/// What a store held when the power went is there afterwards, or isn't; a reset loses nothing.
#[test]
fn the_dongle_remembers_what_it_should() {
    let mut world = quiet();
    let promisees = |world: &World| {
        let unit = &world.dongle.as_ref().expect("there").unit;
        unit.memory.map(|memory| memory.promisees.shown(GroupId(0)))
    };
    let before = promisees(&world);
    assert!(before.is_some());
    world.apply(Fault::Dongle(DongleFault::Reset));
    assert_eq!(promisees(&world), before);
    if let Some(arbiter) = &mut world.knobs.arbiter {
        arbiter.keeps = crate::sim::knobs::trio::Keeps::Ram;
    }
    world.apply(Fault::Dongle(DongleFault::Remove));
    assert_ne!(promisees(&world), before);
    world.apply(Fault::Dongle(DongleFault::Insert { spare: true }));
    assert_eq!(world.dongle.as_ref().expect("there").unit.id, 8);
    world.run_until(50_000_000);
    assert_eq!((red(&world), world.missing_votes()), ("", None));
}
