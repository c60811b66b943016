//! What the rig knows of its guests: addresses and scripts as the hands inside tell them, logs as they grow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hb_proto::time::Instant;
use serde_json::Value;

use super::agent::Sink;
use crate::chronicle::{Chronicle, is_log_line, script_line};
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::rig::{Moment, Source};

/// Both guests, all their lives.
#[derive(Debug)]
pub struct Seen {
    /// By the time at which things were true in the guest.
    pub chronicle: Chronicle,
    /// How daemons ended, in order.
    pub ends: Vec<(Instant, Machine, String)>,
    /// What a hand inside couldn't do.
    pub broken: Vec<String>,
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
            chronicle: Chronicle::new(cluster),
            ends: Vec::new(),
            broken: Vec::new(),
            lives: [0; 2],
        }
    }

    /// A machine had power until `at`, and whatever it had.
    pub fn power_lost(&mut self, machine: Machine, at: Instant) {
        self.lives[machine.index()] += 1;
        self.chronicle.power_lost(machine, at);
    }

    fn heard(&mut self, at: Instant, machine: Machine, told: &Value) {
        if let (Some(address), Some(held)) = (told["address"].as_str(), told["held"].as_bool()) {
            if let Ok(ip) = address.parse() {
                self.chronicle.note_address(at, machine, ip, held);
            }
        } else if let (Some(file), Some(line)) = (told["file"].as_str(), told["line"].as_str()) {
            match file {
                "rec" => self.note_script(at, machine, line),
                // The daemon's own output repeats its log; what it repeats not is worth a look.
                "heartbeatd.out" if is_log_line(line) => {}
                _ => {
                    let (source, text) = (Source::Log(machine), line.to_owned());
                    self.chronicle.note_line(Moment { at, source, text });
                }
            }
        } else if let Some(how) = told["ended"].as_str() {
            self.ends.push((at, machine, how.to_owned()));
        } else if let Some(why) = told["broken"].as_str() {
            self.broken.push(format!("{machine}: {why}"));
        }
    }

    /// The script's own time is the guest's wall clock, which a story may set: when its line was read counts.
    fn note_script(&mut self, at: Instant, machine: Machine, line: &str) {
        // busybox's date(1) may know no nanoseconds.
        let Some((_, words)) = line.split_once(' ') else { return };
        let timeless = format!("0 {words}");
        let Some((_, name, deed)) = script_line(&timeless) else { return };
        self.chronicle.note_script(at, machine, name, deed);
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
    use crate::scenario::rig::Deed;
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
            .chronicle
            .journal()
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
