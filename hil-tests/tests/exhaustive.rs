//! The small models of the exhaustive exploration: a minute at most (docs/testing/exhaustive.md).

use hil_tests::exhaustive::catalogue;
use hil_tests::exhaustive::model::{A_SERVES, B_SERVES};
use hil_tests::exhaustive::run::explore;

#[test]
fn every_history_of_the_small_models_is_sound() {
    for bounds in catalogue::small() {
        let found = explore(&bounds, 2);
        println!("{found}");
        assert!(found.exhausted, "{found}");
        for what in [A_SERVES, B_SERVES] {
            let faults = bounds.failures != [0; 3];
            assert!(found.reached.contains(&what) || what == B_SERVES && !faults, "{found}");
        }
    }
}
