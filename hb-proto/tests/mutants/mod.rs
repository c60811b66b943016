//! Breaks one rule of the code at a time and demands that a directed test turns red.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hb_proto::mutant::Mutant;

thread_local! {
    /// What every voter that is made on this thread breaks.
    pub static BROKEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Runs each test with its rule broken, then whole again.
pub fn each_is_noticed(tests: &[(Mutant, &str, fn())]) {
    for &(rule, name, test) in tests {
        BROKEN.set(Some(rule));
        let broken = catch_unwind(AssertUnwindSafe(test));
        BROKEN.set(None);
        assert!(broken.is_err(), "{rule:?} is broken and {name} doesn't notice");
        test();
    }
}
