//! What is known of two machines, on whatever rig: what each of them had and when, what its log said, how its daemons
//! ended, what the client saw.

use std::net::Ipv4Addr;

use hb_proto::time::Instant;

use crate::netns::files;
use crate::scenario::cluster::{Cluster, Machine, Resource};
use crate::scenario::phrase::Phrase;
use crate::scenario::rig::{Deed, Entry, Moment, Moved, Source};

pub mod client;
mod clock;
mod ends;
mod words;

pub use clock::Clock;
pub use ends::Ends;
pub(crate) use words::{is_log_line, script_line};

/// Addresses, scripts and logs of both machines, all their lives.
#[derive(Debug)]
pub struct Chronicle {
    cluster: Cluster,
    /// In the order in which it was noted.
    journal: Vec<Entry>,
    lines: Vec<Moment>,
    /// Addresses that each has, by group and position.
    addresses: [Vec<(usize, usize)>; 2],
}

impl Chronicle {
    /// Nothing yet.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            journal: Vec::new(),
            lines: Vec::new(),
            addresses: [Vec::new(), Vec::new()],
        }
    }

    /// A machine has an address, or hasn't any more. Of no group: not noted.
    pub fn note_address(&mut self, at: Instant, machine: Machine, ip: Ipv4Addr, held: bool) {
        let found = self
            .cluster
            .resources()
            .find(|(group, _, kind)| **kind == Resource::Address && files::address(*group) == ip)
            .map(|(group, resource, _)| (group, resource));
        let Some(which) = found else { return };
        let addresses = &mut self.addresses[machine.index()];
        if addresses.contains(&which) == held {
            // The kernel announces changes of an address as its arrival, too.
            return;
        }
        if held {
            addresses.push(which);
        } else {
            addresses.retain(|had| *had != which);
        }
        let deed = if held { Deed::Held } else { Deed::Released };
        self.journal.push(Entry { at, machine, group: which.0, resource: which.1, deed });
    }

    /// What a resource script did. Of no group: not noted.
    pub fn note_script(&mut self, at: Instant, machine: Machine, name: &str, deed: Deed) {
        let is_it = |kind: &Resource| matches!(kind, Resource::Script(it) if *it == name);
        let found = self
            .cluster
            .resources()
            .find(|(_, _, kind)| is_it(kind))
            .map(|(group, resource, _)| (group, resource));
        if let Some((group, resource)) = found {
            self.journal.push(Entry { at, machine, group, resource, deed });
        }
    }

    /// A line of a machine's log, or of its console.
    pub fn note_line(&mut self, line: Moment) {
        self.lines.push(line);
    }

    /// A machine had power until `at`, and whatever it had: what seemed to happen on it since was its end.
    pub fn power_lost(&mut self, machine: Machine, at: Instant) {
        self.addresses[machine.index()].clear();
        self.journal.retain(|entry| entry.machine != machine || entry.at <= at);
        let held: Vec<(usize, usize)> = self
            .cluster
            .resources()
            .map(|(group, resource, _)| (group, resource))
            .filter(|&(group, resource)| self.has(machine, group, resource))
            .collect();
        for (group, resource) in held {
            self.journal.push(Entry { at, machine, group, resource, deed: Deed::Released });
        }
    }

    fn has(&self, machine: Machine, group: usize, resource: usize) -> bool {
        let mut about: Vec<&Entry> = self
            .journal
            .iter()
            .filter(|entry| {
                (entry.machine, entry.group, entry.resource) == (machine, group, resource)
            })
            .filter(|entry| !matches!(entry.deed, Deed::Starting | Deed::Stopping))
            .collect();
        about.sort_by_key(|entry| entry.at);
        about.last().is_some_and(|entry| matches!(entry.deed, Deed::Held | Deed::Outside))
    }

    /// What happened to the resources, by time.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        let mut journal = self.journal.clone();
        journal.sort_by_key(|entry| entry.at);
        journal
    }

    /// As text, an entry a line.
    #[must_use]
    pub fn journal_text(&self) -> String {
        self.journal().iter().map(|entry| format!("{entry:?}\n")).collect()
    }

    /// Lines so far, in the order in which they were read.
    #[must_use]
    pub fn lines(&self) -> &[Moment] {
        &self.lines
    }

    /// How many lines of a machine's log say it, at or after `since`.
    #[must_use]
    pub fn told(&self, machine: Machine, phrase: &Phrase, since: Instant) -> usize {
        self.said(machine, since).filter(|line| phrase.is_in(&line.text, machine)).count()
    }

    /// Whether a machine's log has the text, at or after `since`.
    #[must_use]
    pub fn log_has(&self, machine: Machine, text: &str, since: Instant) -> bool {
        self.said(machine, since).any(|line| line.text.contains(text))
    }

    fn said(&self, machine: Machine, since: Instant) -> impl Iterator<Item = &Moment> {
        self.lines
            .iter()
            .filter(move |line| line.at >= since && line.source == Source::Log(machine))
    }

    /// Finished moves of groups to a machine, as its log has them.
    ///
    /// # Panics
    /// A line about a move isn't understood: it must not pass for none.
    #[must_use]
    pub fn moves(&self, machine: Machine) -> Vec<Moved> {
        self.said(machine, Instant::ZERO)
            .filter(|line| line.text.contains(words::MOVED))
            .map(|line| {
                words::moved(&self.cluster, line).unwrap_or_else(|| panic!("{}", line.text))
            })
            .collect()
    }

    /// Lines in which a program panicked.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        let bad = self.lines.iter().filter(|line| line.text.contains("panicked at"));
        bad.map(|line| format!("{:?}: {}", line.source, line.text)).collect()
    }

    /// All of it, for a person.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let entries = self.journal.iter();
        let entries = entries.map(|entry| words::resource_line(&self.cluster, entry));
        self.lines.iter().cloned().chain(entries).collect()
    }
}
