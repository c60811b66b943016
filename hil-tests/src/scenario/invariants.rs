//! What must be true of every story, whatever it tells.

use hb_proto::time::{Duration, Instant};

use super::cluster::{Cluster, Machine, Resource};
use super::expect::Holdings;
use super::rig::{Deed, Entry};
use super::tell::Scenario;
use super::{Stop, Told, Verb};

impl Scenario<'_> {
    /// Checks every invariant over all that happened. The runner calls it when a story has ended
    /// well.
    ///
    /// # Errors
    /// All that is broken, one a line.
    pub fn finish(&mut self) -> Told {
        self.forbid_split();
        self.finished = true;
        // Daemons that ended by themselves: no host explains them.
        let complaints = self.rig.complaints();
        if !complaints.is_empty() {
            return Err(Stop::Wrong(complaints.join("\n")));
        }
        let twice = self.rig.accepted_twice().map_err(Stop::Missing)?;
        if !twice.is_empty() {
            return Err(Stop::Wrong(twice.join("\n")));
        }
        let journal = self.rig.journal();
        let mut broken = self.beyond_budget(&journal)?;
        broken.extend(two_holders(&self.cluster, &journal, &self.splits));
        broken.extend(out_of_order(&self.cluster, &journal, self.rig.resolution()));
        broken.extend(restart_loop(&self.cluster, &journal, self.starts_allowed));
        broken.extend(self.client_saw_two());
        broken.extend(self.forbidden_lines()?);
        if broken.is_empty() { Ok(()) } else { Err(Stop::Failed(broken.join("\n"))) }
    }

    /// Moves that took longer than the story's settings allow. By the clock of the node that took over;
    /// and where it took its peer for dead, by the rig's own, from what ended the peer until the
    /// journal has the whole group on the node.
    fn beyond_budget(&mut self, journal: &[Entry]) -> Result<Vec<String>, Stop> {
        let mut broken = Vec::new();
        let lacked = |(_, verb): &(Instant, Verb)| takes_votes(verb);
        if self.cluster.arbiter.is_some() && self.verbs.iter().any(lacked) {
            // Which of the votes was there when is the story's own affair.
            return Ok(broken);
        }
        for machine in Machine::BOTH {
            for moved in self.rig.moves(machine).map_err(Stop::Missing)? {
                let group = moved.group;
                let (name, budget) = (self.cluster.groups[group].name, self.budget(group));
                if moved.took > budget {
                    broken.push(format!(
                        "{machine} took {name} over in {}, by its own clock; the settings allow {budget}",
                        moved.took
                    ));
                }
                let Some(blow) = blow(&self.verbs, machine, moved.at) else { continue };
                if !moved.peer_dead {
                    continue;
                }
                let count = self.cluster.groups[group].resources.len();
                let limit = budget + UNDER_WAY + self.rig.slack(blow);
                let held = held_since(journal, machine, group, count, blow);
                if held.is_none_or(|held| held.since(blow) > limit) {
                    let took = held.map(|held| held.since(blow).to_string());
                    broken.push(format!(
                        "{machine} had {name} {} after its peer's last sign; the settings allow {budget}",
                        took.unwrap_or_else(|| "never".into())
                    ));
                }
            }
        }
        Ok(broken)
    }

    fn client_saw_two(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for group in 0..self.cluster.groups.len() {
            let mut from = Instant::ZERO;
            while let Ok(Some(at)) = self.rig.overlap(group, from) {
                match self.splits.iter().find(|split| at >= split.0 && at <= split.1) {
                    Some(split) => from = split.1 + Duration::from_micros(1),
                    None => {
                        let name = self.cluster.groups[group].name;
                        found.push(format!(
                            "{} ms: the client saw two machines with {name}",
                            at.micros() / 1000
                        ));
                        break;
                    }
                }
            }
        }
        found
    }
}

/// A frame may be under way when its sender is struck: a few at 19200 baud, one delayed by weather.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// What silenced the peer of `machine` before it told of a death at `told`: the last verb that could.
/// None if the machine itself began to run only after that.
fn blow(verbs: &[(Instant, Verb)], machine: Machine, told: Instant) -> Option<Instant> {
    let peer = machine.other();
    let last = |is: &dyn Fn(&Verb) -> bool| {
        verbs.iter().rfind(|(at, verb)| *at <= told && is(verb)).map(|(at, _)| *at)
    };
    let silenced = last(&|verb| match verb {
        Verb::PowerOff(at)
        | Verb::Reset(at)
        | Verb::Freeze(at)
        | Verb::StopDaemon(at)
        | Verb::KillDaemon(at)
        | Verb::PanicKernel(at) => *at == peer,
        Verb::Cut(..) | Verb::Unplug(..) | Verb::CutHalf(_) => true,
        _ => false,
    });
    let began = last(&|verb| match verb {
        Verb::PowerOn(at)
        | Verb::Reset(at)
        | Verb::StartDaemon(at)
        | Verb::ContinueDaemon(at)
        | Verb::Thaw(at) => *at == machine,
        _ => false,
    });
    silenced.filter(|silenced| began.is_some_and(|began| began < *silenced))
}

/// Whether, with an arbiter, a takeover may lack a vote or a proof because of it: no budget then.
fn takes_votes(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Cut(..)
            | Verb::Unplug(..)
            | Verb::CutHalf(_)
            | Verb::DeafenPort(_)
            | Verb::MutePort(_)
            | Verb::HangDongle
            | Verb::ResetDongle
            | Verb::RemoveDongle
            | Verb::InsertDongle { .. }
            | Verb::WireReset(..)
    )
}

/// The first time from `since` on at which the machine had all of the group's `count` resources.
fn held_since(
    journal: &[Entry],
    machine: Machine,
    group: usize,
    count: usize,
    since: Instant,
) -> Option<Instant> {
    let mut holdings = Holdings::default();
    journal.iter().find_map(|entry| {
        holdings.note(entry);
        (entry.at >= since && holdings.all(machine, group, count)).then_some(entry.at)
    })
}

/// Two machines that had the same resource at once outside the allowed times.
fn two_holders(
    cluster: &Cluster,
    journal: &[Entry],
    splits: &[(Instant, Instant)],
) -> Option<String> {
    let mut holdings = Holdings::default();
    let mut since: Option<(Instant, &Entry)> = None;
    for entry in journal {
        if let Some((from, first)) = since.take() {
            let inside = splits.iter().any(|split| from >= split.0 && entry.at <= split.1);
            if entry.at > from && !inside {
                let name = cluster.groups[first.group].name;
                return Some(format!(
                    "both machines had resource {} of {name} from {} ms to {} ms",
                    first.resource,
                    from.micros() / 1000,
                    entry.at.micros() / 1000
                ));
            }
        }
        holdings.note(entry);
        let double = cluster.resources().find(|&(group, at, _)| {
            Machine::BOTH.iter().all(|machine| holdings.has(*machine, group, at))
        });
        if let Some((group, at, _)) = double {
            let first = journal.iter().find(|entry| entry.group == group && entry.resource == at);
            since = first.map(|first| (entry.at, first));
        }
    }
    None
}

/// A resource that was started before the one to its left, or stopped before the one to its
/// right. Addresses may always go: R10 drops them first.
fn out_of_order(cluster: &Cluster, journal: &[Entry], resolution: Duration) -> Option<String> {
    let mut holdings = Holdings::default();
    for entry in journal {
        let Entry { at, machine, group, resource, deed } = *entry;
        let resources = &cluster.groups[group].resources;
        let is_address = resources[resource] == Resource::Address;
        let soon = |other: usize, deed: Deed| {
            journal.iter().any(|later| {
                later.at >= at
                    && later.at.since(at) <= resolution
                    && (later.machine, later.group, later.resource, later.deed)
                        == (machine, group, other, deed)
            })
        };
        let begins = matches!(deed, Deed::Starting) || (is_address && deed == Deed::Held);
        if begins
            && let Some(left) = (0..resource)
                .find(|left| !holdings.has(machine, group, *left) && !soon(*left, Deed::Held))
        {
            return Some(format!(
                "{} ms: {machine} started resource {resource} of {} before resource {left}",
                at.micros() / 1000,
                cluster.groups[group].name
            ));
        }
        if deed == Deed::Stopping
            && let Some(right) = (resource + 1..resources.len())
                .find(|right| holdings.has(machine, group, *right) && !soon(*right, Deed::Released))
            && resources[right] != Resource::Address
        {
            return Some(format!(
                "{} ms: {machine} stopped resource {resource} of {} before resource {right}",
                at.micros() / 1000,
                cluster.groups[group].name
            ));
        }
        holdings.note(entry);
    }
    None
}

/// A resource that was started more often on one machine than the story's verbs explain.
fn restart_loop(cluster: &Cluster, journal: &[Entry], allowed: usize) -> Option<String> {
    for machine in Machine::BOTH {
        for (group, resource, kind) in cluster.resources() {
            let start = if *kind == Resource::Address { Deed::Held } else { Deed::Starting };
            let wanted = (machine, group, resource, start);
            let starts = journal
                .iter()
                .filter(|entry| (entry.machine, entry.group, entry.resource, entry.deed) == wanted)
                .count();
            if starts > allowed {
                return Some(format!(
                    "{machine} started resource {resource} of {} {starts} times; {allowed} are explained",
                    cluster.groups[group].name
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use Machine::{A, B};

    fn cluster() -> Cluster {
        Cluster::two_nodes().group_of(
            "web",
            A,
            &[Resource::Address, Resource::Script("one"), Resource::Script("two")],
        )
    }

    fn journal(entries: &[(u64, Machine, usize, Deed)]) -> Vec<Entry> {
        let entry = |&(ms, machine, resource, deed)| Entry {
            at: Instant::from_millis(ms),
            machine,
            group: 0,
            resource,
            deed,
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn two_holders_are_found_outside_allowed_times() {
        let journal =
            journal(&[(10, A, 0, Deed::Held), (20, B, 0, Deed::Held), (30, A, 0, Deed::Released)]);
        assert!(two_holders(&cluster(), &journal, &[]).is_some());
        let allowed = [(Instant::from_millis(15), Instant::from_millis(40))];
        assert_eq!(two_holders(&cluster(), &journal, &allowed), None);
        let early = [(Instant::from_millis(15), Instant::from_millis(25))];
        assert!(two_holders(&cluster(), &journal, &early).is_some());
    }

    #[test]
    fn a_handover_is_no_double() {
        let journal =
            journal(&[(10, A, 0, Deed::Held), (20, A, 0, Deed::Released), (21, B, 0, Deed::Held)]);
        assert_eq!(two_holders(&cluster(), &journal, &[]), None);
    }

    #[test]
    fn starts_go_left_to_right_and_stops_right_to_left() {
        let good = journal(&[
            (10, A, 0, Deed::Held),
            (11, A, 1, Deed::Starting),
            (12, A, 1, Deed::Held),
            (13, A, 2, Deed::Starting),
            (14, A, 2, Deed::Held),
            (20, A, 2, Deed::Stopping),
            (21, A, 2, Deed::Released),
            (22, A, 1, Deed::Stopping),
            (23, A, 1, Deed::Released),
            (24, A, 0, Deed::Released),
        ]);
        assert_eq!(out_of_order(&cluster(), &good, Duration::ZERO), None);
        let late_address =
            journal(&[(11, A, 1, Deed::Starting), (12, A, 1, Deed::Held), (13, A, 0, Deed::Held)]);
        assert!(out_of_order(&cluster(), &late_address, Duration::ZERO).is_some());
        assert_eq!(out_of_order(&cluster(), &late_address, Duration::from_millis(5)), None);
        let mut wrong = good[..5].to_vec();
        wrong.extend(journal(&[(20, A, 1, Deed::Stopping)]));
        assert!(out_of_order(&cluster(), &wrong, Duration::ZERO).is_some());
    }

    #[test]
    fn a_takeover_counts_from_the_last_blow_to_the_peer() {
        let ms = Instant::from_millis;
        let verbs = [
            (ms(1), Verb::PowerOn(A)),
            (ms(2), Verb::PowerOn(B)),
            (ms(10), Verb::PowerOff(A)),
            (ms(20), Verb::KillDaemon(B)),
            (ms(900), Verb::PowerOff(A)),
        ];
        assert_eq!(blow(&verbs, B, ms(600)), Some(ms(10)));
        assert_eq!(blow(&verbs, A, ms(600)), Some(ms(20)));
        assert_eq!(blow(&verbs, B, ms(5)), None);
        let late = [(ms(10), Verb::PowerOff(A)), (ms(20), Verb::PowerOn(B))];
        assert_eq!(blow(&late, B, ms(600)), None, "it heard nothing of A in this life");
        let journal =
            journal(&[(5, B, 0, Deed::Held), (30, B, 1, Deed::Held), (9, A, 0, Deed::Held)]);
        assert_eq!(held_since(&journal, B, 0, 2, ms(8)), Some(ms(30)));
        assert_eq!(held_since(&journal, B, 0, 3, ms(8)), None);
    }

    #[test]
    fn restart_loops_are_counted() {
        let many: Vec<_> = (0..5).map(|n| (n, A, 1, Deed::Starting)).collect();
        assert!(restart_loop(&cluster(), &journal(&many), 4).is_some());
        assert_eq!(restart_loop(&cluster(), &journal(&many), 5), None);
    }
}
