//! Lines that no log may have, unless what the story did explains them.
//!
//! Not in the list is what a busy host may bring about by itself (`this process was not scheduled`), or the
//! start of a line (`frame dropped`), and what the state of a link says: stories ask for those themselves.

use hb_proto::time::Instant;

use super::cluster::{Cluster, Machine};
use super::phrase::Phrase;
use super::tell::Scenario;
use super::{Stop, Verb};

/// Each is a line that an admin would be woken up for.
const FORBIDDEN: [Phrase; 11] = [
    Phrase::BothOwn,
    Phrase::PeerDead,
    Phrase::TakeoverComplete,
    Phrase::ReturningAfterPartition,
    Phrase::AuthorityLost,
    Phrase::PeerLeft,
    Phrase::StartFailed,
    Phrase::TimedOut,
    Phrase::NobodyOwns,
    Phrase::FoundRunning,
    Phrase::Mismatch,
];

impl Scenario<'_> {
    /// What is in a log without an explanation.
    ///
    /// # Errors
    /// This rig keeps no log.
    pub(super) fn forbidden_lines(&mut self) -> Result<Vec<String>, Stop> {
        let split = !self.splits.is_empty();
        let mut found = Vec::new();
        for phrase in FORBIDDEN {
            if is_explained(phrase, &self.cluster, &self.verbs, split) {
                continue;
            }
            for machine in Machine::BOTH {
                let times =
                    self.rig.told(machine, &phrase, Instant::ZERO).map_err(Stop::Missing)?;
                if times > 0 {
                    found.push(format!(
                        "{machine} logged {phrase:?} {times} times, and nothing in the story explains it"
                    ));
                }
            }
        }
        Ok(found)
    }
}

/// Whether the cluster's files or something that happened can bring the phrase into a log. Weather and noise
/// explain a lost lease, no death: every story with weather has links or times that bear it.
fn is_explained(phrase: Phrase, cluster: &Cluster, verbs: &[(Instant, Verb)], split: bool) -> bool {
    let any = |is: fn(&Verb) -> bool| verbs.iter().any(|(_, verb)| is(verb));
    match phrase {
        Phrase::BothOwn => split,
        Phrase::PeerDead | Phrase::TakeoverComplete => any(silences) || one_alone(cluster, verbs),
        Phrase::ReturningAfterPartition => any(silences),
        Phrase::AuthorityLost => {
            any(silences) || any(|verb| matches!(verb, Verb::Noise(..) | Verb::Disturb(..)))
        }
        Phrase::PeerLeft => {
            any(|verb| matches!(verb, Verb::Leave(_) | Verb::Reload(_) | Verb::Upgrade(_)))
        }
        Phrase::StartFailed | Phrase::TimedOut | Phrase::NobodyOwns => {
            any(|verb| matches!(verb, Verb::Script(..) | Verb::KillHelper(_)))
        }
        // A daemon that was killed may leave behind what its helper is still stopping.
        Phrase::FoundRunning => any(|verb| {
            matches!(verb, Verb::StartOutside(..) | Verb::KillDaemon(_) | Verb::KillHelper(_))
        }),
        Phrase::Mismatch => cluster.mismatch.is_some(),
        _ => true,
    }
}

/// Whether one machine waited for the other's first sign for initdead, and so takes it for dead.
fn one_alone(cluster: &Cluster, verbs: &[(Instant, Verb)]) -> bool {
    let first_on = |machine| {
        let on = verbs.iter().find(|(_, verb)| *verb == Verb::PowerOn(machine));
        on.map(|(at, _)| *at)
    };
    match Machine::BOTH.map(first_on) {
        [Some(one), Some(other)] => {
            one.since(other).max(other.since(one)) >= cluster.timing.initdead
        }
        ons => ons != [None, None],
    }
}

/// Whether somebody may be taken for dead because of it.
fn silences(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::PowerOff(_)
            | Verb::Reset(_)
            | Verb::Freeze(_)
            | Verb::StopDaemon(_)
            | Verb::KillDaemon(_)
            | Verb::PanicKernel(_)
            | Verb::Cut(..)
            | Verb::Unplug(..)
            | Verb::CutHalf(_)
            | Verb::DeafenPort(_)
            | Verb::MutePort(_)
            | Verb::RemoveDongle
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Machine::{A, B};
    use crate::scenario::verb::{Conduct, Order};

    /// What is left of the list when the story did this.
    fn unexplained(cluster: &Cluster, verbs: &[Verb], split: bool) -> Vec<Phrase> {
        let verbs: Vec<_> = verbs.iter().map(|verb| (Instant::ZERO, *verb)).collect();
        let left = |phrase: &Phrase| !is_explained(*phrase, cluster, &verbs, split);
        FORBIDDEN.into_iter().filter(left).collect()
    }

    #[test]
    fn a_story_in_which_nothing_happens_has_none_of_them() {
        let pair = Cluster::two_nodes();
        let verbs = [Verb::PowerOn(A), Verb::PowerOn(B), Verb::FillCpu(A)];
        assert_eq!(unexplained(&pair, &verbs, false), FORBIDDEN);
    }

    #[test]
    fn each_is_explained_by_what_brings_it_about_and_by_nothing_else() {
        let pair = Cluster::two_nodes();
        let explains = |verbs: &[Verb], split| {
            let left = unexplained(&pair, verbs, split);
            FORBIDDEN.into_iter().filter(|phrase| !left.contains(phrase)).collect::<Vec<_>>()
        };
        assert_eq!(explains(&[], true), [Phrase::BothOwn]);
        assert_eq!(
            explains(&[Verb::PowerOff(B)], false),
            [
                Phrase::PeerDead,
                Phrase::TakeoverComplete,
                Phrase::ReturningAfterPartition,
                Phrase::AuthorityLost
            ]
        );
        assert_eq!(explains(&[Verb::Leave(A)], false), [Phrase::PeerLeft]);
        let fails = Verb::Script(A, "web", Conduct::Fails(Order::Start));
        assert_eq!(
            explains(&[fails], false),
            [Phrase::StartFailed, Phrase::TimedOut, Phrase::NobodyOwns]
        );
        assert_eq!(explains(&[Verb::StartOutside(A, "web")], false), [Phrase::FoundRunning]);
        let odd = Cluster::two_nodes().mismatch_on(B);
        assert!(!unexplained(&odd, &[], false).contains(&Phrase::Mismatch));
    }

    #[test]
    fn who_is_alone_for_initdead_may_take_the_other_for_dead() {
        let pair = Cluster::two_nodes().initdead_ms(2000);
        let on = |machine, ms| (Instant::from_millis(ms), Verb::PowerOn(machine));
        let explained =
            |verbs: &[(Instant, Verb)]| is_explained(Phrase::PeerDead, &pair, verbs, false);
        assert!(explained(&[on(A, 0)]), "the other never gets power");
        assert!(explained(&[on(B, 100), on(A, 2100)]));
        assert!(!explained(&[on(B, 100), on(A, 2099)]));
        assert!(!explained(&[on(B, 0), on(A, 100), on(B, 9000)]), "its first power counts");
    }
}
