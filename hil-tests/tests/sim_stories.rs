//! Every story on the simulator; what it lacks is listed, never passed over.

use std::path::PathBuf;

use hil_tests::scenario::runner::{self, Verdict};
use hil_tests::scenario::stories;
use hil_tests::sim::rig::Simulated;

#[test]
fn every_story() {
    let evidence = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sim");
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for story in stories::ALL {
        let mut rig = Simulated::new();
        match runner::tell(story, &mut rig, &evidence.join(story.name)) {
            Verdict::Passed => passed += 1,
            Verdict::Skipped(reason) => skipped.push(reason),
            Verdict::Failed { why, kept, .. } => {
                failed.push(format!("{}: {why}\n  evidence: {kept:?}", story.name));
            }
        }
    }
    println!("{passed} stories told");
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    assert!(passed > skipped.len(), "most stories can be told here");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
