//! Tells one story on one rig, and keeps everything when it goes wrong.

use std::path::{Path, PathBuf};

use hb_proto::time::Instant;

use super::rig::{Moment, Rig, Source};
use super::stories::Story;
use super::{Scenario, Stop, Told};

/// How a story ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All as it must be.
    Passed,
    /// The rig lacks something; the text names it.
    Skipped(String),
    /// Something was wrong, with the cluster or with the rig.
    Failed {
        /// What.
        why: String,
        /// The merged timeline, for a person.
        timeline: String,
        /// Where the evidence lies, or why there is none.
        kept: Result<PathBuf, String>,
        /// Why the rig itself may be to blame: worth another try, not worth a pass.
        doubts: Option<String>,
    },
}

/// Tells a story and checks the invariants. `evidence` is made and filled when it fails.
pub fn tell(story: &Story, rig: &mut dyn Rig, evidence: &Path) -> Verdict {
    if let Err(missing) = rig.tells(story.name) {
        return Verdict::Skipped(format!("rig {}: story {}: {missing}", rig.name(), story.name));
    }
    tell_as(story.name, rig, evidence, |scenario| {
        (story.tell)(scenario).and_then(|()| scenario.finish())
    })
}

/// The same with a dongle in every cluster of the story ([`super::stories::WITHOUT_DONGLE`]).
pub fn tell_with_dongle(story: &Story, rig: &mut dyn Rig, evidence: &Path) -> Verdict {
    tell_as(story.name, rig, evidence, |scenario| {
        scenario.give_dongle();
        (story.tell)(scenario).and_then(|()| scenario.finish())
    })
}

/// As [`tell`], of something that is no story of the language's own; without its invariants, unless `told`
/// ends with [`Scenario::finish`].
pub fn tell_as(
    name: &str,
    rig: &mut dyn Rig,
    evidence: &Path,
    told: impl FnOnce(&mut Scenario<'_>) -> Told,
) -> Verdict {
    let mut scenario = Scenario::new(rig);
    let told = told(&mut scenario);
    let lines = std::mem::take(&mut scenario.story);
    // What a starved host may explain: a limit, since it began to run; an invariant, since ever.
    let since = if scenario.finished { Instant::ZERO } else { scenario.mark };
    match told {
        Ok(()) => Verdict::Passed,
        Err(Stop::Missing(missing)) => {
            Verdict::Skipped(format!("rig {}: story {name}: {missing}", rig.name()))
        }
        Err(stop @ (Stop::Failed(_) | Stop::Broken(_) | Stop::Wrong(_))) => {
            let mut moments = lines;
            moments.extend(rig.timeline());
            let timeline = merged(moments);
            let why = stop.to_string();
            let kept = keep(rig, evidence, &why, &timeline);
            let doubts = if let Stop::Wrong(_) = stop { None } else { rig.doubts(since) };
            Verdict::Failed { why, timeline, kept, doubts }
        }
    }
}

/// The timeline first: it needs nothing of the rig.
fn keep(rig: &mut dyn Rig, evidence: &Path, why: &str, timeline: &str) -> Result<PathBuf, String> {
    let of = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(evidence).map_err(|error| of(evidence, error))?;
    let path = evidence.join("timeline");
    std::fs::write(&path, format!("{why}\n\n{timeline}")).map_err(|error| of(&path, error))?;
    if let Err(problem) = rig.keep(evidence) {
        eprintln!("{}: not all evidence could be kept: {problem}", evidence.display());
    }
    Ok(evidence.to_owned())
}

/// One line a moment, in true time.
#[must_use]
pub fn merged(mut moments: Vec<Moment>) -> String {
    moments.sort_by_key(|moment| moment.at);
    let line = |moment: &Moment| {
        let millis = moment.at.micros() / 1000;
        let who = match moment.source {
            Source::Story => "story".to_owned(),
            Source::Log(machine) => format!("{machine} log"),
            Source::Resources(machine) => format!("{machine} has"),
            Source::Client => "client".to_owned(),
            Source::Dongle => "dongle".to_owned(),
            Source::Console(machine) => format!("{machine} kern"),
            Source::Wire => "wire".to_owned(),
            Source::Host => "host".to_owned(),
        };
        format!("{:>4}.{:03} {who:<13} {}\n", millis / 1000, millis % 1000, moment.text)
    };
    moments.iter().map(line).collect()
}
