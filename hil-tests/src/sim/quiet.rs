//! Worlds in which nothing has happened yet: what the tests of the checks begin with.

use super::fault::{Fault, Planned};
use super::knobs::Knobs;
use super::world::World;

/// Both machines after so many quiet seconds: A has group 0, every vote is there, no rule is broken.
pub(super) fn quiet(knobs: Knobs, seconds: u64) -> World {
    let on = |who| Planned { at: 0, fault: Fault::PowerOn(who) };
    let mut world = World::new(1, knobs, vec![on(0), on(1)], false);
    world.run_until(seconds * 1_000_000);
    assert_eq!(world.checks.violation, None);
    assert!(world.serves(0, 0) && !world.has_address(1, 0));
    assert_eq!(world.missing_votes(), None, "both votes are there");
    world
}

/// The broken rule's words; none while all is well.
pub(super) fn red(world: &World) -> &str {
    world.checks.violation.as_ref().map_or("", |violation| &violation.text)
}
