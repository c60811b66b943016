//! What the reader of a configuration file has to say about it, line by line.

use std::fmt;
use std::path::{Path, PathBuf};

/// How grave a [`Diagnostic`] is. Ordered: a report is as grave as its gravest entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Note,
    /// The file is used, but probably not as its author meant it, or less safely than he could have it.
    Warning,
    /// The configuration can't be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One remark about one place of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// The file it is about.
    pub file: PathBuf,
    /// Line in the file, from 1; `None` when the file as a whole is meant (missing, lacks something).
    pub line: Option<usize>,
    /// What was read, what was expected, what to do.
    pub message: String,
}

/// `/etc/ha.d/ha.cf:12: error: deadtime: …`, the form that editors and compilers use.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}", self.severity, OneLine(&self.message))
    }
}

impl std::error::Error for Diagnostic {}

/// A text with its control characters escaped: what a file holds moves no cursor and begins no line.
pub(super) struct OneLine<'a>(pub(super) &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") }
        })
    }
}

/// Collects the remarks about one file.
#[derive(Debug)]
pub(super) struct Report {
    file: PathBuf,
    found: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), found: Vec::new() }
    }

    pub(super) fn note(&mut self, line: impl Into<Option<usize>>, message: impl Into<String>) {
        self.push(Severity::Note, line.into(), message.into());
    }

    pub(super) fn warning(&mut self, line: impl Into<Option<usize>>, message: impl Into<String>) {
        self.push(Severity::Warning, line.into(), message.into());
    }

    pub(super) fn error(&mut self, line: impl Into<Option<usize>>, message: impl Into<String>) {
        self.push(Severity::Error, line.into(), message.into());
    }

    pub(super) fn push(&mut self, severity: Severity, line: Option<usize>, message: String) {
        self.found.push(Diagnostic { severity, file: self.file.clone(), line, message });
    }

    /// The remarks in the order of the file; those about the whole file come first.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| diagnostic.line);
        self.found
    }
}

/// What was read, safe to show: in quotes, control characters escaped, cut after 40 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_file_line_severity_message() {
        let mut report = Report::new(Path::new("/etc/ha.d/ha.cf"));
        report.error(12, "deadtime: no");
        report.note(None, "whole file");
        let shown: Vec<_> = report.into_diagnostics().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["/etc/ha.d/ha.cf: note: whole file", "/etc/ha.d/ha.cf:12: error: deadtime: no",]
        );
    }

    #[test]
    fn what_was_read_cannot_break_the_line_it_is_shown_on() {
        assert_eq!(quoted("a\u{1b}[2J\n"), r#""a\u{1b}[2J\n""#);
        assert_eq!(quoted(&"é".repeat(50)).chars().count(), 43);
        // Names that a message repeats without quotes: a device, an address.
        let mut report = Report::new(Path::new("/etc/ha.d\n/ha.cf"));
        report.error(6, "serial /dev/t\u{13}yé\u{9b}0 stands in line 3 already");
        let shown = report.into_diagnostics()[0].to_string();
        let safe =
            "/etc/ha.d\\n/ha.cf:6: error: serial /dev/t\\u{13}yé\\u{9b}0 stands in line 3 already";
        assert_eq!(shown, safe);
    }
}
