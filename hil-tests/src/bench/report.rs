//! The results: raw as JSON, for people as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::machine::Conditions;

/// One measured value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// In the figure's unit.
    pub value: f64,
    /// The host's longest stall meanwhile, milliseconds.
    pub stall_ms: f64,
    /// What else was seen of this run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<&'static str, f64>,
}

/// What a figure must not exceed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Target {
    /// In the figure's unit.
    pub at_most: f64,
    /// Of which value: the median, or each.
    pub of: Of,
}

/// Which value a target is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// The median.
    Median,
    /// The largest.
    Maximum,
}

/// A quantity, measured several times.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What is measured.
    pub what: String,
    /// Of which software.
    pub stack: String,
    /// With which settings.
    pub settings: String,
    /// Of the values.
    pub unit: &'static str,
    /// What is promised; none for a peer, or for what is only told.
    pub target: Option<Target>,
    /// All values, in the order they were measured.
    pub samples: Vec<Sample>,
    /// What a reader must know about it.
    pub remark: String,
}

impl Figure {
    /// Without values.
    #[must_use]
    pub fn new(what: &str, stack: &str, settings: &str, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            stack: stack.into(),
            settings: settings.into(),
            unit,
            target: None,
            samples: Vec::new(),
            remark: String::new(),
        }
    }

    /// With a promise.
    #[must_use]
    pub const fn at_most(mut self, at_most: f64, of: Of) -> Self {
        self.target = Some(Target { at_most, of });
        self
    }

    /// With a single value.
    #[must_use]
    pub fn value(mut self, value: f64) -> Self {
        self.samples.push(Sample { value, ..Sample::default() });
        self
    }

    /// With a remark.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.samples.iter().map(|sample| sample.value).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// [`median`] of its values.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(self.sorted())
    }

    fn extremes(&self) -> (f64, f64) {
        let values = self.sorted();
        let at = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (at(values.first()), at(values.last()))
    }

    /// Whether its promise was kept; None without one or without values.
    #[must_use]
    pub fn kept(&self) -> Option<bool> {
        let target = self.target.filter(|_| !self.samples.is_empty())?;
        let value = if target.of == Of::Median { self.median() } else { self.extremes().1 };
        Some(value <= target.at_most)
    }

    fn stall(&self) -> f64 {
        self.samples.iter().map(|sample| sample.stall_ms).fold(0.0, f64::max)
    }

    /// Medians of what else was seen, `name 1.2`.
    fn also(&self) -> String {
        let mut values = BTreeMap::<&str, Vec<f64>>::new();
        for (name, value) in self.samples.iter().flat_map(|sample| &sample.also) {
            values.entry(name).or_default().push(*value);
        }
        let words =
            values.into_iter().map(|(name, values)| format!("{name} {}", number(median(values))));
        words.collect::<Vec<_>>().join(", ")
    }

    fn row(&self) -> String {
        let (least, most) = self.extremes();
        let target = match self.target {
            None => String::new(),
            Some(Target { at_most, of: Of::Median }) => format!("≤ {}", number(at_most)),
            Some(Target { at_most, of: Of::Maximum }) => format!("each ≤ {}", number(at_most)),
        };
        let kept = match self.kept() {
            None => "",
            Some(true) => "yes",
            Some(false) => "**NO**",
        };
        let remarks = [self.also(), self.remark.clone()];
        let remarks: Vec<_> = remarks.into_iter().filter(|text| !text.is_empty()).collect();
        format!(
            "| {} | {} | {} | {} {} | {}–{} | {} | {target} | {kept} | {} | {} |",
            self.what,
            self.settings,
            self.stack,
            number(self.median()),
            self.unit,
            number(least),
            number(most),
            self.samples.len(),
            number(self.stall()),
            remarks.join("; "),
        )
    }
}

/// The middle value, or the mean of the two in the middle; NaN without values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Three figures that count, no more than they mean.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".into(),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Everything that one run of the benchmark found.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Where and when.
    pub conditions: Conditions,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was not: name, reason.
    pub skipped: Vec<(String, String)>,
    /// What should have been and broke off: name, reason.
    pub failed: Vec<(String, String)>,
    /// Raw material of figures: by name.
    pub raw: BTreeMap<String, Value>,
}

impl Results {
    /// Nothing measured yet.
    #[must_use]
    pub const fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            figures: Vec::new(),
            skipped: Vec::new(),
            failed: Vec::new(),
            raw: BTreeMap::new(),
        }
    }

    /// Adds a figure, and shows it.
    pub fn add(&mut self, figure: Figure) {
        println!("{}", figure.row());
        self.figures.push(figure);
    }

    /// Says that something was not measured.
    pub fn skip(&mut self, name: &str, reason: impl Into<String>) {
        let reason = reason.into();
        println!("SKIP: {name}: {reason}");
        self.skipped.push((name.into(), reason));
    }

    /// Says that a measurement broke off.
    pub fn fail(&mut self, name: &str, reason: impl Into<String>) {
        let reason = reason.into();
        println!("FAILED: {name}: {reason}");
        self.failed.push((name.into(), reason));
    }

    /// Keeps raw material.
    pub fn keep(&mut self, name: impl Into<String>, raw: impl Serialize) {
        self.raw.insert(name.into(), serde_json::to_value(raw).unwrap_or(Value::Null));
    }

    /// Whether every promise was kept, and nothing broke off.
    #[must_use]
    pub fn all_well(&self) -> bool {
        self.failed.is_empty() && self.figures.iter().all(|figure| figure.kept() != Some(false))
    }

    /// The summary, in Markdown; a terminal shows it well enough.
    #[must_use]
    pub fn summary(&self) -> String {
        let Conditions { date, cpu, cores, memory_mb, kernel, version, commit, .. } =
            &self.conditions;
        let mut text = format!("# Failover, {}\n\n", date.get(..10).unwrap_or(date));
        let _ = writeln!(text, "- machine: {cores} × {cpu}, {memory_mb} MB, {kernel}");
        let _ = writeln!(text, "- software: {version}, commit {commit}");
        for peer in &self.conditions.peers {
            let _ = writeln!(text, "- peer: {peer}");
        }
        let load = &self.conditions.load_before;
        let measured = if self.conditions.measured_in_real_time {
            "the measuring side ran at realtime priority"
        } else {
            "the measuring side ran at ORDINARY priority: chrt was refused"
        };
        let _ = writeln!(text, "- {date}, load {load} before the first run; {measured}");
        let _ = writeln!(text, "- `{}`\n", self.conditions.command);
        text.push_str(
            "Median (least–most) of n runs. \"Stall\" is the longest time, in milliseconds, that the host \
             kept an ordinary thread waiting during these runs.\n\n\
             | what | settings | software | median | least–most | n | target | kept | stall | also seen |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for figure in &self.figures {
            let _ = writeln!(text, "{}", figure.row());
        }
        for (title, list) in [("Not measured", &self.skipped), ("Broke off", &self.failed)] {
            if !list.is_empty() {
                let _ = writeln!(text, "\n{title}:\n");
            }
            for (name, reason) in list {
                let _ = writeln!(text, "- {name}: {}", reason.lines().next().unwrap_or_default());
            }
        }
        text
    }

    /// Writes both files into `directory`; answers their paths. Another minute's run has other files.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn write(&self, directory: &Path) -> io::Result<[PathBuf; 2]> {
        fs::create_dir_all(directory)?;
        let stem = stem(&self.conditions.date);
        let (json, markdown) =
            (directory.join(format!("{stem}.json")), directory.join(format!("{stem}.md")));
        fs::write(&json, serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(&markdown, self.summary())?;
        Ok([json, markdown])
    }
}

/// `2026-11-22-1410-failover` for `2026-11-22T14:10:46Z`.
fn stem(date: &str) -> String {
    let day = date.get(..10).unwrap_or(date);
    let time = date.get(11..16).unwrap_or_default().replace(':', "");
    format!("{day}-{time}-failover")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64]) -> Figure {
        let mut figure = Figure::new("outage", "ours", "fast", "ms");
        figure.samples =
            values.iter().map(|&value| Sample { value, ..Sample::default() }).collect();
        figure
    }

    #[test]
    fn runs_of_one_day_have_names_of_their_own() {
        assert_eq!(stem("2026-11-22T14:10:46Z"), "2026-11-22-1410-failover");
        assert_ne!(stem("2026-11-22T14:10:46Z"), stem("2026-11-22T14:21:46Z"));
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((figure(&[9.0, 1.0, 5.0]).median() - 5.0).abs() < 1e-9);
        assert!((figure(&[9.0, 1.0, 5.0, 6.0]).median() - 5.5).abs() < 1e-9);
        assert!(figure(&[]).median().is_nan());
    }

    #[test]
    fn a_promise_is_judged_by_what_it_is_about() {
        let values = [1.0, 2.0, 30.0];
        assert_eq!(figure(&values).at_most(2.0, Of::Median).kept(), Some(true));
        assert_eq!(figure(&values).at_most(2.0, Of::Maximum).kept(), Some(false));
        assert_eq!(figure(&[]).at_most(2.0, Of::Maximum).kept(), None, "nothing was measured");
        assert_eq!(figure(&values).kept(), None, "nothing was promised");
    }
}
