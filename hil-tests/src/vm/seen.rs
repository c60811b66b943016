//! What the rig knows of its guests: addresses and scripts as the hands inside tell them, logs as they grow.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hb_proto::time::Instant;
use serde_json::Value;

use super::agent::Sink;
use crate::netns::files;
use crate::netns::observer::{is_log_line, script_line};
use crate::scenario::cluster::{Cluster, Machine, Resource};
use crate::scenario::rig::{Deed, Entry, Moment, Source};

/// Both guests, all their lives.
#[derive(Debug)]
pub struct Seen {
    cluster: Cluster,
    /// By the time at which things were true in the guest.
    pub journal: Vec<Entry>,
    /// Lines of the logs.
    pub lines: Vec<Moment>,
    /// How daemons ended, in order.
    pub ends: Vec<(Instant, Machine, String)>,
    /// What a hand inside couldn't do.
    pub broken: Vec<String>,
    addresses: [Vec<(usize, usize)>; 2],
    /// Counts lives: what a former one still says counts for nothing.
    lives: [u64; 2],
}

/// Shared with the threads that listen to the guests.
pub type Shared = Arc<Mutex<Seen>>;

/// The lock; whoever panicked with it left nothing half done.
pub fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            journal: Vec::new(),
            lines: Vec::new(),
            ends: Vec::new(),
            broken: Vec::new(),
            addresses: [Vec::new(), Vec::new()],
            lives: [0; 2],
        }
    }

    /// A machine had power until `at`, and whatever it had.
    pub fn power_lost(&mut self, machine: Machine, at: Instant) {
        self.lives[machine.index()] += 1;
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

    fn heard(&mut self, at: Instant, machine: Machine, told: &Value) {
        if let (Some(address), Some(held)) = (told["address"].as_str(), told["held"].as_bool()) {
            if let Ok(ip) = address.parse() {
                self.note_address(at, machine, ip, held);
            }
        } else if let (Some(file), Some(line)) = (told["file"].as_str(), told["line"].as_str()) {
            match file {
                "rec" => self.note_script(at, machine, line),
                // The daemon's own output repeats its log; what it repeats not is worth a look.
                "heartbeatd.out" if is_log_line(line) => {}
                _ => {
                    let (source, text) = (Source::Log(machine), line.to_owned());
                    self.lines.push(Moment { at, source, text });
                }
            }
        } else if let Some(how) = told["ended"].as_str() {
            self.ends.push((at, machine, how.to_owned()));
        } else if let Some(why) = told["broken"].as_str() {
            self.broken.push(format!("{machine}: {why}"));
        }
    }

    fn note_address(&mut self, at: Instant, machine: Machine, ip: Ipv4Addr, held: bool) {
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

    /// The script's own time is the guest's wall clock, which a story may set: when its line was read counts.
    fn note_script(&mut self, at: Instant, machine: Machine, line: &str) {
        // busybox's date(1) may know no nanoseconds.
        let Some((_, words)) = line.split_once(' ') else { return };
        let timeless = format!("0 {words}");
        let Some((_, name, deed)) = script_line(&timeless) else { return };
        let is_it = |kind: &Resource| matches!(kind, Resource::Script(it) if *it == name);
        let found = self.cluster.resources().find(|(_, _, kind)| is_it(kind));
        if let Some((group, resource, _)) = found {
            self.journal.push(Entry { at, machine, group, resource, deed });
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
}

/// What a new life of a machine tells.
#[must_use]
pub fn sink(seen: &Shared, machine: Machine) -> Sink {
    let life = lock(seen).lives[machine.index()];
    let seen = seen.clone();
    Arc::new(move |at, told| {
        let mut seen = lock(&seen);
        if seen.lives[machine.index()] == life {
            seen.heard(at, machine, told);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_guest_has_is_gone_with_its_power_and_its_last_words_count_no_more() {
        let cluster = Cluster::two_nodes().group("web", Machine::A);
        let seen: Shared = Arc::new(Mutex::new(Seen::new(cluster)));
        let told = sink(&seen, Machine::A);
        let at = Instant::from_micros;
        told(at(5), &json!({"address": "192.168.85.3", "held": true}));
        told(at(6), &json!({"address": "192.168.85.3", "held": true}));
        told(at(7), &json!({"address": "192.168.85.1", "held": true}));
        told(at(8), &json!({"file": "rec", "line": "123 web held"}));
        lock(&seen).power_lost(Machine::A, at(9));
        told(at(10), &json!({"file": "rec", "line": "124 web released"}));
        let journal: Vec<_> = lock(&seen)
            .journal
            .iter()
            .map(|one| (one.at.micros(), one.resource, one.deed))
            .collect();
        let expected = [
            (5, 0, Deed::Held),
            (8, 1, Deed::Held),
            (9, 0, Deed::Released),
            (9, 1, Deed::Released),
        ];
        assert_eq!(journal, expected);
    }
}
