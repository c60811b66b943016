//! Every story on the simulator, with several seeds; what it lacks is listed, never passed over.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hil_tests::scenario::rig::Rig;
use hil_tests::scenario::runner::{self, Verdict};
use hil_tests::scenario::stories::{self, Story};
use hil_tests::sim::evidence;
use hil_tests::sim::rig::Simulated;

/// A story is told with each of these: what takes how long within its limits is different every time.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

/// Red tellings that are told; the evidence of all is kept.
const TOLD: usize = 5;

/// Stories that need what this rig lacks: none. One more is a gap that somebody must know of.
const SKIPPED: [&str; 0] = [];

#[test]
fn every_story() {
    let skipped = tell_all(stories::ALL, "", runner::tell);
    assert_eq!(skipped, BTreeSet::from(SKIPPED), "the list of skipped stories is not true");
}

/// What the third voter is for. None is skipped.
#[test]
fn every_story_of_the_dongle() {
    assert_eq!(tell_all(stories::DONGLE, "", runner::tell), BTreeSet::new());
}

/// The two voters' stories again with three, but for those that say why not.
#[test]
fn every_story_with_a_dongle() {
    let told = |story: &&Story| {
        let own = |(name, _): &&(&str, &str)| *name == story.name;
        stories::WITHOUT_DONGLE.iter().find(own).is_none()
    };
    let with: Vec<Story> = stories::ALL.iter().filter(told).copied().collect();
    let skipped = tell_all(&with, "dongle.", runner::tell_with_dongle);
    assert_eq!(skipped, BTreeSet::from(SKIPPED), "the list of skipped stories is not true");
}

type Tell = fn(&Story, &mut dyn Rig, &Path) -> Verdict;

/// Tells them with every seed; those that this rig can't.
fn tell_all(all: &[Story], prefix: &str, tell: Tell) -> BTreeSet<&'static str> {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sim");
    let (mut passed, mut skipped, mut failed) = (0, BTreeSet::new(), Vec::new());
    for story in all {
        for seed in SEEDS {
            let kept = place.join(format!("{prefix}{}.{seed}", story.name));
            match tell(story, &mut Simulated::new(seed), &kept) {
                Verdict::Passed => passed += 1,
                Verdict::Skipped(reason) => {
                    if skipped.insert(story.name) {
                        println!("SKIP: {reason}");
                    }
                }
                Verdict::Failed { why, timeline, kept, .. } => {
                    let kept = kept.map_or_else(
                        |problem| format!("could not be kept: {problem}"),
                        |path| path.display().to_string(),
                    );
                    failed.push(format!(
                        "{0}: {why}\n{1}\n  evidence: {kept}\n  \
                         see it: cargo xtask sim --story {0} --seed {seed} --timeline",
                        story.name,
                        evidence::tail(timeline.lines())
                    ));
                }
            }
        }
    }
    println!("{passed} tellings of {} stories passed", all.len() - skipped.len());
    let first = &failed[..failed.len().min(TOLD)];
    assert!(failed.is_empty(), "{} failed; the first:\n{}", failed.len(), first.join("\n\n"));
    skipped
}
