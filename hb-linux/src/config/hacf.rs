//! ha.cf: the lines, one by one.

use std::net::IpAddr;
use std::path::PathBuf;

use hb_proto::config::MAX_LINKS;
use hb_proto::time::Duration;

use super::Medium;
use super::diagnostic::{Report, quoted};
use super::media::{self, MediaReader, MediumLine};
use super::source::{one, words};
use super::third_voter::{ArbiterLine, FenceLine, arbiter_line, fence_line, parse_guard};
use super::times::{At, GivenTimes, parse_time};
use super::words::{fate, parse_switch, unknown, verdict};

/// Bare numbers from which on a time was hardly meant in seconds. The classic's slowest advice is a
/// deadtime of 60 s, and an initdead of 120 s is usual.
const fn suspicious_from(word: &str) -> Duration {
    match word.as_bytes() {
        b"keepalive" => Duration::from_secs(30),
        b"initdead" | b"guard" | b"guard_unsafe" => Duration::from_secs(900),
        _ => Duration::from_secs(150),
    }
}

/// Where the log goes unless `logfile` says otherwise.
const DEFAULT_LOGFILE: &str = "/var/log/ha-log";

/// What ha.cf says, before it is held against this machine and the rules between its lines.
#[derive(Debug)]
pub(super) struct HaCf {
    pub(super) nodes: Vec<At<String>>,
    pub(super) media: Vec<MediumLine>,
    /// Lines that name a medium, good or not.
    pub(super) media_attempted: usize,
    /// `ucast` lines that are for the other node.
    pub(super) ignored: usize,
    pub(super) times: GivenTimes,
    /// The serial line that the arbiter sits in.
    pub(super) arbiter: Option<At<ArbiterLine>>,
    /// Its reset lines are wired.
    pub(super) fence: Option<At<FenceLine>>,
    /// The script that alerts the operator.
    pub(super) alert: Option<At<PathBuf>>,
    pub(super) auto_failback: bool,
    pub(super) carrier_hints: bool,
    pub(super) watchdog: Option<At<PathBuf>>,
    pub(super) logfile: PathBuf,
    pub(super) debugfile: Option<PathBuf>,
}

/// The directives seen so far.
#[derive(Default)]
struct Reader {
    nodes: Vec<At<String>>,
    media: MediaReader,
    times: GivenTimes,
    arbiter: Option<At<ArbiterLine>>,
    fence: Option<At<FenceLine>>,
    alert: Option<At<PathBuf>>,
    auto_failback: Option<At<bool>>,
    carrier_hints: Option<At<bool>>,
    watchdog: Option<At<PathBuf>>,
    logfile: Option<At<PathBuf>>,
    debugfile: Option<At<PathBuf>>,
}

/// Reads the text. `is_local` says whether an address belongs to this node (on the named interface,
/// where that matters); `ucast` lines naming such a one are for the other node.
pub(super) fn parse(
    text: &str,
    is_local: &dyn Fn(&str, IpAddr) -> bool,
    report: &mut Report,
) -> HaCf {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        if let Some((&word, values)) = words(line).split_first() {
            reader.directive(word, values, index + 1, report);
        }
    }
    reader.finish(is_local, report)
}

impl Reader {
    fn directive(&mut self, word: &str, values: &[&str], line: usize, report: &mut Report) {
        let Some(fate) = fate(word) else { return report.error(line, unknown(word)) };
        if let Some((severity, message)) = verdict(word, fate, values) {
            return report.push(severity, Some(line), message);
        }
        let outcome = match word {
            "node" => self.nodes(values, line),
            "keepalive" | "warntime" | "deadtime" | "initdead" | "lease" | "guard"
            | "guard_unsafe" | "dongle_watchdog" => self.time(word, values, line, report),
            "arbiter" => set(&mut self.arbiter, arbiter_line(values), line),
            "fence" => set(&mut self.fence, fence_line(values), line),
            "alert" => set(&mut self.alert, path(values), line),
            "auto_failback" | "nice_failback" => self.failback(word, values, line, report),
            "carrier_hints" => set(&mut self.carrier_hints, switch(values), line),
            "watchdog" => set(&mut self.watchdog, path(values), line),
            "logfile" => set(&mut self.logfile, path(values), line),
            "debugfile" => set(&mut self.debugfile, path(values), line),
            _ => self.media.directive(word, values, line, report),
        };
        if let Err(message) = outcome {
            report.error(line, format!("{word}: {message}"));
        }
    }

    fn nodes(&mut self, values: &[&str], line: usize) -> Result<(), String> {
        if values.is_empty() {
            return Err("no name; expected what `uname -n` prints on the node".to_owned());
        }
        for &name in values {
            if !is_node_name(name) {
                return Err(format!(
                    "read {}, expected a name as `uname -n` prints it: letters, digits, `-`, `.`, \
                     `_`, 64 at most",
                    quoted(name)
                ));
            }
            if let Some(same) = self.nodes.iter().find(|at| at.value.eq_ignore_ascii_case(name)) {
                return Err(format!("{name} is named in line {} already", same.line));
            }
            self.nodes.push(At { value: name.to_owned(), line });
        }
        Ok(())
    }

    fn time(
        &mut self,
        word: &str,
        values: &[&str],
        line: usize,
        report: &mut Report,
    ) -> Result<(), String> {
        let value = match values {
            [number, unit] if matches!(*unit, "s" | "ms") => {
                Err(format!("read {number:?} and {unit:?}; write {number}{unit} without a blank"))
            }
            _ if word == "guard" => {
                one(values, "a time such as 21, or unbounded").and_then(parse_guard)
            }
            _ => one(values, "a time such as 2, 1.5, 500ms or 1s").and_then(parse_time),
        };
        self.times.broken |= value.is_err();
        if let (Ok(time), Some(&text)) = (&value, values.first())
            && *time >= suspicious_from(word)
            && !text.ends_with('s')
            && *time < Duration::MAX
        {
            report.warning(
                line,
                format!("{word}: read {text} as seconds; write {text}ms if milliseconds are meant"),
            );
        }
        let slot = match word {
            "keepalive" => &mut self.times.keepalive,
            "warntime" => &mut self.times.warntime,
            "deadtime" => &mut self.times.deadtime,
            "lease" => &mut self.times.lease,
            "guard" => &mut self.times.guard,
            "guard_unsafe" => &mut self.times.guard_unsafe,
            "dongle_watchdog" => &mut self.times.dongle_watchdog,
            _ => &mut self.times.initdead,
        };
        set(slot, value, line)
    }

    /// `nice_failback on` of the older files means `auto_failback off`.
    fn failback(
        &mut self,
        word: &str,
        values: &[&str],
        line: usize,
        report: &mut Report,
    ) -> Result<(), String> {
        let nice = word == "nice_failback";
        let expected = if nice { "on or off" } else { "on, off or legacy" };
        let text = one(values, expected)?;
        let value = match parse_switch(text) {
            Some(on) => on != nice,
            None if !nice && text.eq_ignore_ascii_case("legacy") => {
                report.warning(
                    line,
                    "auto_failback: `legacy` is taken as `on`: a returning node gets its groups back",
                );
                true
            }
            None => return Err(format!("read {}, expected {expected}", quoted(text))),
        };
        if nice {
            let modern = if value { "on" } else { "off" };
            report.note(line, format!("nice_failback: taken as `auto_failback {modern}`"));
        }
        set(&mut self.auto_failback, Ok(value), line)
    }

    fn finish(self, is_local: &dyn Fn(&str, IpAddr) -> bool, report: &mut Report) -> HaCf {
        let media_attempted = self.media.attempted();
        let media = self.media.finish(report);
        let (media, ours): (Vec<_>, Vec<_>) =
            media.into_iter().partition(|line| !match &line.medium {
                Medium::Unicast { interface, peer, .. } => is_local(interface, *peer),
                _ => false,
            });
        for line in &ours {
            report.note(
                line.line,
                format!(
                    "{}: names this node itself, so it is for the other node; ignored here",
                    media::written(&line.medium)
                ),
            );
        }
        if let Some(extra) = media.get(MAX_LINKS) {
            report
                .error(extra.line, format!("{} heartbeat media; {MAX_LINKS} at most", media.len()));
        }
        HaCf {
            nodes: self.nodes,
            media,
            media_attempted,
            ignored: ours.len(),
            times: self.times,
            arbiter: self.arbiter,
            fence: self.fence,
            alert: self.alert,
            auto_failback: self.auto_failback.is_none_or(|at| at.value),
            carrier_hints: self.carrier_hints.is_none_or(|at| at.value),
            watchdog: self.watchdog,
            logfile: self.logfile.map_or_else(|| DEFAULT_LOGFILE.into(), |at| at.value),
            debugfile: self.debugfile.map(|at| at.value),
        }
    }
}

/// Keeps the first value; a second line is an error, whatever it says: one of the two is a mistake.
fn set<T>(slot: &mut Option<At<T>>, value: Result<T, String>, line: usize) -> Result<(), String> {
    let value = value?;
    if let Some(first) = slot {
        return Err(format!("stands in line {} already; keep one of the two", first.line));
    }
    *slot = Some(At { value, line });
    Ok(())
}

fn switch(values: &[&str]) -> Result<bool, String> {
    let text = one(values, "on or off")?;
    parse_switch(text).ok_or_else(|| format!("read {}, expected on or off", quoted(text)))
}

pub(super) fn path(values: &[&str]) -> Result<PathBuf, String> {
    let text = one(values, "a full path")?;
    if text.starts_with('/') {
        Ok(text.into())
    } else {
        Err(format!("read {}, expected a full path, beginning with /", quoted(text)))
    }
}

/// Letters, digits and what host names hold besides; 64 is what uname(2) can return.
fn is_node_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}
