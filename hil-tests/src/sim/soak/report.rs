//! What a soak came to, as Markdown.

use std::fmt::Write;

use super::{OfKind, Part, Program, SHARES, Soak};
use crate::sim::budget::Spared;
use crate::sim::check::trio::Excuse;
use crate::sim::fault::Fault;
use crate::sim::rules::RULES;
use crate::sim::total::Total;

const HOUR_US: f64 = 3_600_000_000.0;

/// All of it: the same seeds say the same, but for the time that it took.
pub(super) fn text(soak: &Soak, program: &Program, sum: &Part) -> String {
    let OfKind { total, cpu_us } = sum.all();
    let Program { commit, known, .. } = program;
    let (first, last) = (soak.first, soak.first + soak.seeds - 1);
    let sections = [
        format!("Commit `{commit}`, known runs `{known}`; seeds {first} to {last}.\n\n"),
        format!(
            "**{} seeds, {:.0} simulated hours, {} failed.** {:.0} CPU minutes; fingerprint of all `{:016x}`.\n\n",
            sum.seeds,
            total.simulated_us as f64 / HOUR_US,
            total.failed,
            cpu_us as f64 / 60e6,
            sum.fingerprint
        ),
        kinds(sum, &sum.all()),
        faults(&total),
        takeovers(&total),
        if soak.arbiter { rules(&total) } else { String::new() },
        failed(sum),
    ];
    sections.concat()
}

fn kinds(sum: &Part, all: &OfKind) -> String {
    let mut text = String::from(
        "| kind | seeds | simulated h | CPU min | faults | faults an hour | takeovers | of them judged | failed |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let named = SHARES.iter().map(|(kind, _)| kind.name()).zip(&sum.kinds);
    for (name, of) in named.chain([("all", all)]) {
        let OfKind { total, cpu_us } = of;
        let hours = total.simulated_us as f64 / HOUR_US;
        let faults: u64 = total.faults.iter().sum();
        let _ = writeln!(
            text,
            "| {name} | {} | {hours:.0} | {:.1} | {faults} | {:.0} | {} | {} ({} %) | {} |",
            total.ran,
            *cpu_us as f64 / 60e6,
            faults as f64 / hours.max(1e-9),
            total.takeovers(),
            total.takeovers_judged,
            total.judged_percent(),
            total.failed
        );
    }
    text + "\n"
}

fn faults(total: &Total) -> String {
    let mut text = String::from("| fault | times | in runs |\n|---|---|---|\n");
    for ((kind, times), runs) in Fault::KINDS.into_iter().zip(total.faults).zip(total.runs_with) {
        let _ = writeln!(text, "| {kind} | {times} | {runs} |");
    }
    text + "\n"
}

fn takeovers(total: &Total) -> String {
    let mut text = format!(
        "{} takeovers after a death, {} of them judged.\n\n| not judged, for | takeovers |\n|---|---|\n",
        total.takeovers(),
        total.takeovers_judged
    );
    for (spared, times) in Spared::ALL.into_iter().zip(total.takeovers_spared) {
        let _ = writeln!(text, "| {} | {times} |", spared.name());
    }
    text + "\n"
}

fn rules(total: &Total) -> String {
    let mut text =
        String::from("| rule | times | in runs | what is counted |\n|---|---|---|---|\n");
    let counted = (1..).zip(RULES).zip(total.rules).zip(total.runs_to);
    for (((number, what), times), runs) in counted {
        let _ = writeln!(text, "| R{number} | {times} | {runs} | {what} |");
    }
    text.push_str("\n| two holders, excused by | times |\n|---|---|\n");
    for (excuse, times) in Excuse::ALL.into_iter().zip(total.excused) {
        let _ = writeln!(text, "| {} | {times} |", excuse.name());
    }
    let _ = writeln!(
        text,
        "\n{} reset lines pulled. Longest from the thaw of a machine that nothing stops to the drop of its addresses: {} ms.\n",
        total.pulses,
        total.longest_thaw_to_drop_us.div_ceil(1000)
    );
    text
}

fn failed(sum: &Part) -> String {
    let mut text = String::new();
    for failed in &sum.failed {
        let _ = writeln!(text, "- `cargo xtask sim {}`: {}", failed.origin, failed.verdict);
    }
    text
}
