//! The table at the end.

use std::fmt::Write;
use std::time::Duration;

/// One step of the guide's test and what the client saw of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// The longest time without an answer around it.
    pub outage: Option<Duration>,
    /// What the configuration promises.
    pub budget: Option<Duration>,
    /// What was seen, or what was not as the guide says.
    pub verdict: Result<String, String>,
}

/// Whether every step went as the guide says, and at least one was played.
#[must_use]
pub fn all_well(steps: &[Step]) -> bool {
    !steps.is_empty() && steps.iter().all(|step| step.verdict.is_ok())
}

/// What a good run of the guide's test comes to.
pub const OF_THE_GUIDE: &str = "All as the guide says.";
/// What a good run with the dongle comes to.
pub const WITH_DONGLE: &str =
    "Never two holders, and one wherever two of three voters reach each other.";

/// The table, and what it comes to: `good`, if all went as it must.
#[must_use]
pub fn table(steps: &[Step], good: &str) -> String {
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    let mut line = |name: &str, outage: &str, budget: &str, verdict: &str| {
        let _ = writeln!(text, "{name:<width$}  {outage:>9}  {budget:>9}  {verdict}");
    };
    line("step", "outage ms", "budget ms", "verdict");
    for step in steps {
        let text =
            |time: Option<Duration>| time.map_or("-".into(), |time| time.as_millis().to_string());
        let (outage, budget) = (text(step.outage), text(step.budget));
        let verdict = match &step.verdict {
            Ok(seen) => format!("ok: {seen}"),
            Err(wrong) => format!("FAILED: {wrong}"),
        };
        line(step.name, &outage, &budget, &verdict);
    }
    let failed = steps.iter().filter(|step| step.verdict.is_err()).count();
    text.push_str(&if all_well(steps) {
        format!("{good} Outages are the client's: last good answer to first good answer.\n")
    } else {
        format!("{failed} of {} steps did not go as they must.\n", steps.len())
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(verdict: Result<String, String>) -> Step {
        Step {
            name: "cut the power",
            outage: Some(Duration::from_millis(612)),
            budget: Some(Duration::from_millis(800)),
            verdict,
        }
    }

    #[test]
    fn one_failed_step_fails_all() {
        let good = step(Ok("linuxha2 answers".into()));
        let bad = step(Err("nobody answers".into()));
        assert!(all_well(std::slice::from_ref(&good)));
        assert!(!all_well(&[good.clone(), bad.clone()]));
        assert!(!all_well(&[]), "nothing played is nothing shown");
        let text = table(&[good, bad], OF_THE_GUIDE);
        assert!(text.contains("612        800  ok: linuxha2 answers"), "{text}");
        assert!(text.contains("FAILED: nobody answers"), "{text}");
        assert!(text.contains("1 of 2 steps"), "{text}");
    }
}
