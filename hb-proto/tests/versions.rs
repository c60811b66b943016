//! Programs of different versions at one wire (docs/protocol.md §5): a pair and its dongle are upgraded one at a time.
//!
//! The version after today's is invented: it has a byte more in its hellos, which today's programs refuse.
#![cfg(feature = "mutants")]

mod trio;

use hb_proto::arbiter::Port;
use hb_proto::id::LinkId;
use hb_proto::node::ArbiterState;
use hb_proto::wire::Reject;
use hb_proto::wire::message::arbiter::ResetReason;
use hb_proto::wire::message::{CURRENT_VERSION, INVENTED_VERSION, Versions};
use trio::{A, B, FULL, Trio, WEB, ms};

const TODAY: Versions = Versions::OURS;
const NEXT: Versions = Versions { oldest: CURRENT_VERSION, newest: INVENTED_VERSION };
const AFTER_NEXT: Versions = Versions { oldest: INVENTED_VERSION, newest: INVENTED_VERSION + 1 };

fn trio_of(a: Versions, b: Versions, dongle: Versions) -> Trio {
    let mut trio = Trio::new();
    (trio.machines[A].versions, trio.machines[B].versions) = (a, b);
    trio.dongle.versions = dongle;
    trio
}

/// Frames that somebody refused for their version.
fn refused(trio: &Trio) -> u64 {
    let version = Reject::Version.index();
    let at_nodes = trio.machines.iter().filter_map(|machine| machine.node.as_ref()).map(|node| {
        let links = (0..2).filter_map(|link| node.link_statistics(LinkId(link)));
        links.map(|link| link.rejected[version]).sum::<u64>()
    });
    let at_dongle = Port::ALL.map(|port| trio.arbiter().statistics(port).rejected[version]);
    at_nodes.sum::<u64>() + at_dongle.into_iter().map(u64::from).sum::<u64>()
}

fn spoken(trio: &mut Trio) -> [u8; 3] {
    let now = trio.now;
    [trio.node(A).speaks(), trio.node(B).speaks(), trio.arbiter().speaks(now)]
}

fn both_vote_for_a(trio: &mut Trio) -> bool {
    let now = trio.now;
    let authority = trio.node(A).authority(WEB, now);
    authority.peer.is_some() && authority.arbiter.is_some()
}

#[test]
fn whoever_is_a_version_older_or_newer_works() {
    for (a, b, dongle) in [
        (TODAY, TODAY, TODAY),
        (NEXT, NEXT, TODAY),
        (TODAY, TODAY, NEXT),
        (NEXT, TODAY, NEXT),
        (NEXT, TODAY, TODAY),
        (NEXT, NEXT, NEXT),
    ] {
        let mut trio = trio_of(a, b, dongle).started_up();
        let what = format!("{a:?}, {b:?}, dongle {dongle:?}");
        assert!(both_vote_for_a(&mut trio), "{what}");
        let all_next = [a, b, dongle] == [NEXT; 3];
        let expected = if all_next { INVENTED_VERSION } else { CURRENT_VERSION };
        assert_eq!(spoken(&mut trio), [expected; 3], "{what}");
        assert_eq!(refused(&trio), 0, "{what}");
        trio.power_off(A);
        trio.run_until(FULL + ms(1000), "B serves by the dongle's word", |trio| trio.serves(B));
        assert_eq!(refused(&trio), 0, "{what}");
        // Who comes back may be of the older version.
        assert_eq!(trio.node(B).speaks(), CURRENT_VERSION, "{what}");
        trio.start(A);
        trio.run_until(ms(5000), "home again", |trio| trio.serves(A));
        trio.run(ms(2000));
        assert_eq!(spoken(&mut trio), [expected; 3], "{what}");
        assert_eq!((refused(&trio), trio.double), (0, ms(0)), "{what}");
    }
}

/// B's daemon, A's, the dongle's firmware; then a spare dongle from the shelf, with the firmware of before.
#[test]
fn an_upgrade_step_by_step_and_an_old_spare() {
    let mut trio = Trio::new().started_up();
    for who in [B, A] {
        trio.machines[who].versions = NEXT;
        trio.kill(who);
        trio.machines[who].held.clear();
        trio.start(who);
        trio.run_until(ms(12_000), "A serves", |trio| trio.serves(A));
        trio.run(ms(6000));
        assert!(both_vote_for_a(&mut trio));
        assert_eq!((spoken(&mut trio), refused(&trio)), ([CURRENT_VERSION; 3], 0));
    }
    trio.dongle.versions = NEXT;
    let starts = trio.starts();
    trio.reset_dongle();
    trio.run(ms(3000));
    assert_eq!((spoken(&mut trio), refused(&trio)), ([INVENTED_VERSION; 3], 0));
    trio.unplug();
    trio.run(ms(5000));
    (trio.dongle.versions, trio.dongle.boot, trio.dongle.memory) = (TODAY, 0, None);
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(8000));
    assert!(both_vote_for_a(&mut trio), "the spare votes");
    assert_eq!(spoken(&mut trio), [CURRENT_VERSION; 3]);
    assert_eq!(trio.starts(), starts, "nobody noticed");
    assert_eq!((refused(&trio), trio.double), (0, ms(0)));
}

/// The spare is there before anybody has missed the former one: it can't read what it hears until then.
#[test]
fn an_old_spare_put_in_at_once_is_understood_when_its_predecessor_is_missed() {
    let mut trio = trio_of(NEXT, NEXT, NEXT).started_up();
    assert_eq!(spoken(&mut trio), [INVENTED_VERSION; 3]);
    trio.unplug();
    (trio.dongle.versions, trio.dongle.boot, trio.dongle.memory) = (TODAY, 0, None);
    trio.plug_in(ResetReason::PowerOn);
    trio.run(ms(300));
    assert!(refused(&trio) > 0);
    trio.run(ms(8000));
    assert!(both_vote_for_a(&mut trio));
    assert_eq!((spoken(&mut trio), trio.double), ([CURRENT_VERSION; 3], ms(0)));
}

/// Two versions apart nothing is understood; it is told by name, and the others go on without it.
#[test]
fn two_versions_apart_is_told() {
    let mut trio = trio_of(TODAY, TODAY, AFTER_NEXT).started_up();
    let now = trio.now;
    assert!(trio.serves(A), "by B's promise");
    let report = trio.node(A).arbiter(now).expect("configured");
    assert_eq!(report.state, ArbiterState::Absent);
    assert!(refused(&trio) > 100);
}
