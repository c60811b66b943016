//! The models that are explored: docs/testing/exhaustive.md has their sizes.

use super::bounds::{Bounds, EVEN, ResetLines};

/// In the tests: a minute for all of them.
#[must_use]
pub fn small() -> Vec<Bounds> {
    vec![
        Bounds { losses: 2, ..Bounds::quiet("two losses") },
        Bounds { failures: [1; 3], cuts: [1; 3], faults: 1, losses: 1, ..Bounds::quiet("one fault") },
    ]
}

/// By hand: `cargo xtask exhaustive`.
#[must_use]
pub fn all() -> Vec<Bounds> {
    let mut all = small();
    all.push(Bounds { failures: [1; 3], cuts: [1; 3], faults: 2, ..Bounds::quiet("two faults") });
    all.push(Bounds { losses: 255, ..Bounds::quiet("any losses") });
    all.push(Bounds {
        reset_lines: ResetLines::Supervised,
        failures: [1; 3],
        cuts: [1; 3],
        faults: 2,
        ..Bounds::quiet("two faults, reset lines")
    });
    all.push(Bounds { rates: EVEN, ..Bounds::quiet("quiet") });
    all
}
