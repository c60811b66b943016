//! The oracle of the target `trio` can fail: with a rule broken, pseudo-random inputs find it out.
#![cfg(feature = "mutants")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use hb_fuzz::{BROKEN, trio};
use hb_proto::mutant::Mutant;

/// Inputs that a broken rule may take to be noticed; none of them notices anything otherwise.
const INPUTS: u64 = 3000;

/// Knuth's MMIX generator, as in `replay.rs`.
fn noise(mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let len = 100 + next() % 900;
    (0..len).map(|_| next() as u8).collect()
}

/// What the oracle says, and of which input.
fn noticed(rule: Option<Mutant>) -> Option<(u64, String)> {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    BROKEN.set(rule);
    let found = (0..INPUTS).find_map(|run| {
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
fn a_broken_rule_is_noticed_and_a_sound_one_is_not() {
    use Mutant::{
        R1Two, R2Classic, R2Promised, R3Asks, R4NoGuard, R4Unfresh, R5Stale, R6Unrenewed, R7Earlier,
        R8Free, R8Spare, R9Unclean, R10GoesOn, R11Stalled, R12Heard, R12Twice, R12Unconfirmed,
        R13Unarmed, R13Young, R14Outlives,
    };
    for rule in [
        R1Two, R2Classic, R2Promised, R3Asks, R4NoGuard, R4Unfresh, R5Stale, R6Unrenewed, R7Earlier,
        R8Free, R8Spare, R9Unclean, R10GoesOn, R11Stalled, R12Heard, R12Twice, R12Unconfirmed,
        R13Unarmed, R13Young, R14Outlives,
    ] {
        match noticed(Some(rule)) {
            Some((run, what)) => println!("{rule:?}: input {run}: {what}"),
            None => println!("{rule:?}: not noticed"),
        }
    }
    assert_eq!(noticed(None), None);
}
