//! The small models of the exhaustive exploration: a minute at most (docs/testing/exhaustive.md).

use hil_tests::exhaustive::catalogue;
use hil_tests::exhaustive::model::{A_SERVES, B_SERVES, BEYOND, BY_D_ALONE, BY_PEER_ALONE};
use hil_tests::exhaustive::run::explore;

#[test]
fn every_history_of_the_small_models_is_sound() {
    for bounds in catalogue::small() {
        let found = explore(&bounds, 2);
        println!("{found}");
        assert!(found.exhausted, "{found}");
        // A model in which nothing ever happens proves nothing.
        let all = [A_SERVES, B_SERVES, BEYOND, BY_D_ALONE, BY_PEER_ALONE];
        let demanded = if bounds.faults == 1 { &all[..] } else { &all[..1] };
        for what in demanded {
            assert!(found.reached.contains(what), "never reached: {what}\n{found}");
        }
        assert!(found.states > 10_000, "{found}");
    }
}

/// The properties can fail. docs/testing/broken-rules.md says which rule is seen by which model.
#[cfg(feature = "mutants")]
#[test]
fn broken_rules_have_counterexamples() {
    use hb_proto::mutant::Mutant::{R4NoGuard, R8Free};
    use hil_tests::exhaustive::bounds::Bounds;

    let models = catalogue::broken::models();
    let small = models.iter().find(|model| model.name == "one fault, broken reset lines");
    let small = small.expect("in the catalogue");
    for broken in [R4NoGuard, R8Free] {
        let found = explore(&Bounds { broken: Some(broken), ..small.clone() }, 2);
        println!("{broken:?}: {found}");
        assert!(!found.broken.is_empty(), "{broken:?} is not noticed: {found}");
    }
    let sound = explore(small, 2);
    assert!(sound.exhausted, "{sound}");
}
