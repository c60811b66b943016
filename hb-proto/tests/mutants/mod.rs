//! Breaks one rule of the code at a time and demands that a directed test turns red.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hb_proto::mutant::Mutant;

thread_local! {
    /// What every voter that is made on this thread breaks.
    pub static BROKEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// A rule, and the test that must notice that it is broken.
#[allow(unused_macros)] // Each test program uses its part.
macro_rules! by {
    ($rule:ident, $test:ident) => {
        (hb_proto::mutant::Mutant::$rule, stringify!($test), $test as fn())
    };
}
#[allow(unused_imports)]
pub(crate) use by;

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
