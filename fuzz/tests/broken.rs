//! The oracle of the target `trio` can fail: with a rule broken, pseudo-random inputs find it out. That the
//! same inputs find nothing otherwise is what `replay.rs` holds.
#![cfg(feature = "mutants")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use hb_fuzz::{BROKEN, trio};
use hb_proto::mutant::Mutant::{self, R1Two, R2Classic, R4NoGuard, R8Free};

/// Knuth's MMIX generator, as in `replay.rs`.
fn noise(mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let len = 100 + next() % 500;
    (0..len).map(|_| next() as u8).collect()
}

/// The first of so many inputs at which the oracle turns red, and what it says.
fn noticed(rule: Mutant, inputs: u64) -> Option<(u64, String)> {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    BROKEN.set(Some(rule));
    let found = (0..inputs).find_map(|run| {
        let data = noise(run.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let said = catch_unwind(AssertUnwindSafe(|| trio(&data))).err()?;
        let text = said.downcast_ref::<String>().cloned();
        Some((run, text.or_else(|| said.downcast_ref::<&str>().map(|s| (*s).to_owned()))?))
    });
    BROKEN.set(None);
    std::panic::set_hook(tell);
    found
}

#[test]
fn the_oracle_of_the_trio_can_fail() {
    for rule in [R1Two, R2Classic, R4NoGuard, R8Free] {
        let (input, what) =
            noticed(rule, 10_000).unwrap_or_else(|| panic!("{rule:?} is not noticed"));
        println!("{rule:?}: input {input}: {what}");
    }
}

#[test]
#[ignore = "a measurement: minutes"]
fn what_the_trio_notices() {
    for &rule in Mutant::ALL {
        match noticed(rule, 3000) {
            Some((input, what)) => println!("{rule:?}: input {input}: {what}"),
            None => println!("{rule:?}: not noticed"),
        }
    }
}
