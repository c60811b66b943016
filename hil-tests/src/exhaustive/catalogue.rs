//! The models that are explored: docs/testing/exhaustive.md has their sizes.

use hb_proto::id::Voter::{A, Arbiter, B};

use super::bounds::{Bounds, ResetLines};

/// In the tests: a minute for all of them.
#[must_use]
pub fn small() -> Vec<Bounds> {
    vec![
        Bounds { losses: 3, ..Bounds::quiet("three losses") },
        one_fault_and_a_loss("one fault and a loss"),
    ]
}

fn one_fault_and_a_loss(name: impl Into<String>) -> Bounds {
    Bounds { failures: [1; 3], cuts: [1; 3], faults: 1, losses: 1, ..Bounds::quiet(name) }
}

fn two_faults(name: impl Into<String>) -> Bounds {
    Bounds { failures: [1; 3], cuts: [1; 3], faults: 2, ..Bounds::quiet(name) }
}

/// By hand: `cargo xtask exhaustive`.
#[must_use]
pub fn all() -> Vec<Bounds> {
    let mut all = small();
    // The safe side of drift and the other one: every clock is right, or 5 % fast.
    for fast in 1..7_u8 {
        let rates = [0, 1, 2].map(|voter| 100 + 5 * u32::from(fast >> voter & 1));
        let [a, b, d] = rates;
        let name = format!("one fault and a loss, clocks A {a} B {b} D {d}");
        all.push(Bounds { rates, ..one_fault_and_a_loss(name) });
    }
    for order in
        [[A, B, Arbiter], [B, A, Arbiter], [B, Arbiter, A], [Arbiter, A, B], [Arbiter, B, A]]
    {
        let name = format!("one fault and a loss, woken {order:?}");
        all.push(Bounds { order, ..one_fault_and_a_loss(name) });
    }
    all.push(Bounds { late: 1, losses: 0, ..one_fault_and_a_loss("one fault and a late frame") });
    all.push(two_faults("two faults"));
    all.push(Bounds {
        reset_lines: ResetLines::Supervised,
        ..two_faults("two faults, reset lines")
    });
    all.push(Bounds {
        reset_lines: ResetLines::Broken,
        ..two_faults("two faults, broken reset lines")
    });
    all.push(Bounds {
        failures: [1; 3],
        faults: 3,
        freeze: false,
        ..Bounds::quiet("each party fails once")
    });
    all.push(Bounds { cuts: [1; 3], faults: 3, ..Bounds::quiet("each link is cut once") });
    all.push(Bounds {
        one_way: true,
        failures: [0; 3],
        ..two_faults("two links are cut, both ways or one")
    });
    all
}

/// Rules broken on purpose, and the smallest of these models that notices.
#[cfg(feature = "mutants")]
pub mod broken {
    use hb_proto::mutant::Mutant;

    use super::super::bounds::{Bounds, ResetLines};
    use super::{one_fault_and_a_loss, two_faults};

    /// Models in which a broken rule is looked for, small ones first.
    #[must_use]
    pub fn models() -> Vec<Bounds> {
        let late =
            Bounds { late: 1, losses: 0, ..one_fault_and_a_loss("one fault and a late frame") };
        let reset_lines = |reset_lines, name: &str| Bounds {
            reset_lines,
            losses: 0,
            ..one_fault_and_a_loss(name)
        };
        vec![
            Bounds { losses: 3, ..Bounds::quiet("three losses") },
            reset_lines(ResetLines::Broken, "one fault, broken reset lines"),
            reset_lines(ResetLines::Supervised, "one fault, reset lines"),
            one_fault_and_a_loss("one fault and a loss"),
            late,
            Bounds {
                one_way: true,
                losses: 1,
                failures: [0; 3],
                ..two_faults("two cuts and a loss")
            },
            two_faults("two faults"),
        ]
    }

    /// The knob of this name.
    #[must_use]
    pub fn knob(name: &str) -> Option<Mutant> {
        Mutant::ALL.iter().copied().find(|knob| format!("{knob:?}") == name)
    }
}
