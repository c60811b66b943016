//! What many runs add up to: how many faults of each kind, how often each rule was reached.

use std::fmt;

use hb_proto::time::Duration;
use serde::{Deserialize, Serialize};

use super::budget::Spared;
use super::check::trio::Excuse;
use super::fault::Fault;
use super::rules::RULES;
use super::run::{Outcome, Verdict};

/// Sums and maxima over runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Total {
    /// The worst exit code.
    pub worst: u8,
    pub ran: u64,
    pub failed: u64,
    pub frames: u64,
    pub simulated_us: u64,
    pub splits: u64,
    pub faults: [u64; Fault::KINDS.len()],
    /// Runs in which at least one of the kind happened.
    pub runs_with: [u64; Fault::KINDS.len()],
    pub rules: [u64; RULES.len()],
    /// Runs that came to the rule.
    pub runs_to: [u64; RULES.len()],
    pub excused: [u64; Excuse::ALL.len()],
    pub pulses: u64,
    pub takeovers_judged: u64,
    pub takeovers_spared: [u64; Spared::ALL.len()],
    pub longest_thaw_to_drop_us: u64,
    arbiters: u64,
}

impl Total {
    /// One run more.
    pub fn add(&mut self, outcome: &Outcome) {
        let counts = &outcome.counts;
        self.ran += 1;
        self.failed += u64::from(outcome.verdict != Verdict::Good);
        self.worst = self.worst.max(outcome.verdict.exit_code());
        self.frames += counts.frames_sent;
        self.simulated_us += outcome.ended_at;
        self.splits += u64::from(outcome.splits);
        self.pulses += counts.trio.pulses;
        self.takeovers_judged += counts.takeovers_judged;
        sum(&mut self.takeovers_spared, &counts.takeovers_spared);
        self.arbiters += u64::from(counts.trio.arbiter_lives > 0);
        self.longest_thaw_to_drop_us =
            self.longest_thaw_to_drop_us.max(outcome.longest_thaw_to_drop_us);
        add(&mut self.faults, &mut self.runs_with, &counts.faults);
        add(&mut self.rules, &mut self.runs_to, &counts.trio.rules);
        sum(&mut self.excused, &counts.trio.excused);
    }

    /// Other runs besides.
    pub fn merge(&mut self, other: &Self) {
        self.worst = self.worst.max(other.worst);
        self.longest_thaw_to_drop_us =
            self.longest_thaw_to_drop_us.max(other.longest_thaw_to_drop_us);
        for (sum, more) in [
            (&mut self.ran, other.ran),
            (&mut self.failed, other.failed),
            (&mut self.frames, other.frames),
            (&mut self.simulated_us, other.simulated_us),
            (&mut self.splits, other.splits),
            (&mut self.pulses, other.pulses),
            (&mut self.takeovers_judged, other.takeovers_judged),
            (&mut self.arbiters, other.arbiters),
        ] {
            *sum += more;
        }
        sum(&mut self.faults, &other.faults);
        sum(&mut self.runs_with, &other.runs_with);
        sum(&mut self.rules, &other.rules);
        sum(&mut self.runs_to, &other.runs_to);
        sum(&mut self.excused, &other.excused);
        sum(&mut self.takeovers_spared, &other.takeovers_spared);
    }

    /// Takeovers after a death, judged or not.
    #[must_use]
    pub fn takeovers(&self) -> u64 {
        self.takeovers_judged + self.takeovers_spared.iter().sum::<u64>()
    }

    /// Of a hundred takeovers after a death, so many were held against their budget.
    #[must_use]
    pub fn judged_percent(&self) -> u64 {
        100 * self.takeovers_judged / self.takeovers().max(1)
    }

    /// Kinds of faults that happened.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let happened = Fault::KINDS.into_iter().zip(self.faults);
        happened.filter(|(_, times)| *times > 0).map(|(kind, _)| kind)
    }
}

fn sum(sums: &mut [u64], counts: &[u64]) {
    for (sum, times) in sums.iter_mut().zip(counts) {
        *sum += times;
    }
}

fn add<const N: usize>(sums: &mut [u64; N], runs: &mut [u64; N], counts: &[u64; N]) {
    for ((sum, runs), times) in sums.iter_mut().zip(runs).zip(counts) {
        *sum += times;
        *runs += u64::from(*times > 0);
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = Fault::KINDS.into_iter().zip(self.faults).zip(self.runs_with);
        for ((kind, times), runs) in kinds.filter(|((_, times), _)| *times > 0) {
            writeln!(f, "  {times:>9} {kind}, in {runs} runs")?;
        }
        writeln!(
            f,
            "  {} takeovers after a death, {} ({} %) held against their budget",
            self.takeovers(),
            self.takeovers_judged,
            self.judged_percent()
        )?;
        for (spared, times) in Spared::ALL.into_iter().zip(self.takeovers_spared) {
            writeln!(f, "  {times:>9} takeovers not judged for {}", spared.name())?;
        }
        if self.arbiters == 0 {
            return Ok(());
        }
        for (((number, what), times), runs) in (1..).zip(RULES).zip(self.rules).zip(self.runs_to) {
            writeln!(f, "  R{number:<2} {times:>9} times in {runs} runs: {what}")?;
        }
        for (excuse, times) in Excuse::ALL.into_iter().zip(self.excused) {
            writeln!(f, "  two holders, excused by {}: {times}", excuse.name())?;
        }
        writeln!(
            f,
            "  {} pulses; longest from thaw to drop where nothing stops a machine: {}",
            self.pulses,
            Duration::from_micros(self.longest_thaw_to_drop_us)
        )
    }
}
