//! What a red run leaves for those who look at it later: its timeline, a log of each machine, the plan.

use std::path::Path;

use super::fault::{NAMES, Planned};
use super::generate::Plan;
use super::run::{Verdict, run};
use crate::bench::machine::commit;
use crate::scenario::cluster::Machine;

/// Lines of a timeline that are shown where all of it would be too much.
const LAST_LINES: usize = 40;

/// How to bring the run back and how to make it small, to be copied as they are.
#[must_use]
pub fn hints(plan: &Plan) -> String {
    let planted = plan.knobs.plant.map_or(String::new(), |plant| format!(" --plant {plant}"));
    format!(
        "  see it: cargo xtask sim {0}{planted} --timeline\n  shrink it: cargo xtask sim {0}{planted} --shrink",
        plan.origin
    )
}

/// Everything about the run but its faults, then those by time.
#[must_use]
pub fn schedule(plan: &Plan) -> String {
    let mut text = plan.knobs.to_string();
    let mut line = |at: u64, what: &str| {
        text.push_str(&format!("  {:>6}.{:06}  {what}\n", at / 1_000_000, at % 1_000_000));
    };
    for Planned { at, fault } in &plan.faults {
        line(*at, &fault.to_string());
    }
    line(plan.mended_at, "mended for good");
    text
}

/// The last lines of a timeline: what led to its end.
#[must_use]
pub fn tail<'text>(lines: impl DoubleEndedIterator<Item = &'text str>) -> String {
    let mut last: Vec<&str> = lines.rev().take(LAST_LINES).collect();
    last.reverse();
    last.join("\n")
}

/// Runs a plan that turned red once more, listening, and keeps what it hears in `directory`; for a
/// person: the verdict, the timeline's end, where the rest is, how to bring it back.
#[must_use]
pub fn keep(plan: &Plan, verdict: &Verdict, directory: &Path) -> String {
    let again = run(plan, true);
    let mut text = format!("{}: {verdict:?}\n", plan.label);
    if again.verdict != *verdict {
        text.push_str(&format!("NOT THE SAME AGAIN, which it must be: {:?}\n", again.verdict));
    }
    text.push_str(&tail(again.timeline.iter().map(String::as_str)));
    let run = format!(
        "{}\n{verdict:?}\n{}\ncommit {}\n{}{again}",
        plan.label,
        plan.origin,
        commit(),
        schedule(plan)
    );
    let kept = write(directory, "timeline", &again.timeline.join("\n"))
        .and_then(|()| logs(directory, &again.timeline))
        .and_then(|()| write(directory, "run", &run));
    match kept {
        Ok(()) => text.push_str(&format!("\n  evidence: {}\n", directory.display())),
        Err(problem) => text.push_str(&format!("\n  evidence could not be kept: {problem}\n")),
    }
    text + &hints(plan)
}

/// Each machine's lines of a timeline, in a file of its own.
///
/// # Errors
/// What the file system answered, with the path.
pub fn logs(directory: &Path, lines: &[String]) -> Result<(), String> {
    for (who, machine) in Machine::BOTH.into_iter().enumerate() {
        let its = |line: &&String| line.split_whitespace().nth(1) == Some(NAMES[who]);
        let log: Vec<_> = lines.iter().filter(its).map(String::as_str).collect();
        write(directory, &format!("{machine}.log"), &log.join("\n"))?;
    }
    Ok(())
}

/// Writes one file of evidence; the directory is made.
///
/// # Errors
/// What the file system answered, with the path.
pub fn write(directory: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = directory.join(name);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::kind::{Kind, Origin};
    use crate::sim::plant::Plant;

    #[test]
    fn a_red_run_leaves_its_timeline_both_logs_and_how_to_bring_it_back() {
        let mut plan = Origin { kind: Kind::Singles, arbiter: false, seed: 3, case: 0 }
            .plan()
            .expect("the first");
        plan.knobs.plant = Some(Plant::Panic);
        let verdict = run(&plan, false).verdict;
        assert!(!verdict.is_good());
        let directory =
            std::env::temp_dir().join(format!("hil-tests-evidence-{}", std::process::id()));
        let said = keep(&plan, &verdict, &directory);
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect(name);
        let (timeline, run) = (read("timeline"), read("run"));
        let logs = [read("linuxha1.log"), read("linuxha2.log")];
        std::fs::remove_dir_all(&directory).expect("it was made here");
        assert!(timeline.contains("gets power"), "{timeline}");
        assert!(logs[0].contains(" A ") && !logs[0].contains(" B "), "{}", logs[0]);
        assert!(logs[1].contains(" B "), "{}", logs[1]);
        assert!(run.contains("patience") && run.contains("commit "), "{run}");
        let last = timeline.lines().last().expect("a line");
        assert!(said.contains(last) && !said.contains("NOT THE SAME"), "{said}");
        let see =
            "see it: cargo xtask sim --kind singles --seed 3 --case 0 --plant panic --timeline";
        assert!(said.contains(see) && said.contains("--plant panic --shrink"), "{said}");
        assert!(said.lines().count() < LAST_LINES + 10, "{said}");
    }
}
