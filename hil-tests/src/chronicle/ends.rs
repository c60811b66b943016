//! How daemons ended, against how verbs ended them.

use hb_proto::time::Instant;

use crate::scenario::cluster::Machine;

/// Counted per machine's life.
#[derive(Debug, Default)]
pub struct Ends {
    /// Daemons started in this life of each machine, less those that ended.
    running: [i32; 2],
    expected: [Vec<&'static str>; 2],
    noted: usize,
}

impl Ends {
    /// A verb starts a daemon.
    pub fn started(&mut self, machine: Machine) {
        self.running[machine.index()] += 1;
    }

    /// A verb ends a daemon: how that is told (`code 0`, `signal 9`).
    pub fn expect(&mut self, machine: Machine, how: &'static str) {
        self.expected[machine.index()].push(how);
    }

    /// Nothing runs on the machine any more.
    pub fn machine_ended(&mut self, machine: Machine) {
        self.running[machine.index()] = 0;
        self.expected[machine.index()].clear();
    }

    /// Whether a daemon runs, as far as its end was noted.
    #[must_use]
    pub fn daemon_runs(&self, machine: Machine) -> bool {
        self.running[machine.index()] > 0
    }

    /// Takes note of the ends told so far, of which former calls knew the first; returns complaints about those that no
    /// verb asked for.
    #[must_use]
    pub fn note(&mut self, told: &[(Instant, Machine, String)]) -> Vec<String> {
        let mut unasked = Vec::new();
        for (_, machine, how) in &told[self.noted..] {
            self.running[machine.index()] -= 1;
            let expected = &mut self.expected[machine.index()];
            match expected.iter().position(|one| one == how) {
                Some(at) => drop(expected.remove(at)),
                None => unasked.push(format!("heartbeatd of {machine} ended unasked: {how}")),
            }
        }
        self.noted = told.len();
        unasked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_no_verb_asked_for_is_a_complaint_once() {
        let mut ends = Ends::default();
        ends.started(Machine::A);
        ends.expect(Machine::A, "code 0");
        let mut told = vec![(Instant::ZERO, Machine::A, "code 0".to_owned())];
        assert_eq!(ends.note(&told), Vec::<String>::new());
        assert!(!ends.daemon_runs(Machine::A));
        ends.started(Machine::A);
        told.push((Instant::ZERO, Machine::A, "signal 11".into()));
        assert_eq!(ends.note(&told), ["heartbeatd of linuxha1 ended unasked: signal 11"]);
        assert_eq!(ends.note(&told), Vec::<String>::new());
    }
}
