//! Stories that only real machines can tell: watchdogs, panics, full disks, kernels' own weather.

use hb_linux::rig::outlet::Cause;
use hb_proto::time::{Duration, Instant};

use self::Machine::{A, B};
use super::rig::{Guests, Special, WATCHDOG_S};
use crate::scenario::cluster::{Cluster, Machine};
use crate::scenario::expect::Holdings;
use crate::scenario::rig::{Cannot, Entry, Rig};
use crate::scenario::verb::Verb;

mod fencing;
mod machines;
mod software;
mod watchdogs;

/// Why a story ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// The rig lacks something: a skip.
    Missing(String),
    /// Something was not as it must be, or the rig broke.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Cannot> for Stop {
    fn from(cannot: Cannot) -> Self {
        Self::Failed(format!("{cannot:?}"))
    }
}

/// A story's outcome.
pub type Told = Result<(), Stop>;

/// A story of this rig.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// As the runner prints it.
    pub name: &'static str,
    /// The story.
    pub tell: fn(&mut Guests) -> Told,
}

macro_rules! stories {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$(Own { name: stringify!($name), tell: $module::$name }),+]
    };
}

/// All of them.
pub const ALL: &[Own] = stories![
    watchdogs::softdog_resets_the_machine_of_a_stopped_daemon,
    watchdogs::softdog_resets_the_machine_of_a_daemon_stopped_and_killed,
    watchdogs::softdog_lets_an_orderly_stop_pass_and_a_busy_one_is_named,
    watchdogs::softdog_with_nowayout_is_named_and_bites_after_a_stop,
    watchdogs::a_hung_stop_ends_in_a_reset_and_the_peer_waits_for_it,
    watchdogs::i6300esb_resets_a_stopped_daemon_s_machine_and_a_panicked_one,
    watchdogs::hb_watchdog_shows_and_tests,
    machines::the_guide_s_walk_through,
    machines::weather_in_the_guest_s_own_kernel,
    machines::clocks_that_run_fast_and_slow,
    machines::processors_and_disks_are_busy,
    machines::a_full_disk_under_the_log,
    machines::ppp_over_the_serial_line,
    machines::usb_adapters_are_unplugged_and_replugged,
    software::software_and_settings_change_one_node_after_the_other,
    software::keys_are_read_again_without_a_restart,
];

/// Those of the dongle's reset lines. The tests tell one of them.
pub const FENCING: &[Own] = stories![
    fencing::a_stopped_owner_is_fenced_and_comes_back_clean,
    fencing::a_hung_kernel_is_fenced_and_comes_back_clean,
    fencing::a_frozen_guest_is_fenced_and_comes_back_clean,
    fencing::a_broken_reset_line_confirms_nothing_and_ends_nothing_early,
    fencing::swapped_reset_lines_are_called_miswired_and_end_nothing_early,
];

/// The story of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Own> {
    ALL.iter().chain(FENCING).find(|story| story.name == name)
}

/// What any state may take to be reached.
const PATIENCE: Duration = Duration::from_secs(20);
/// What emulation adds to a watchdog's time: the guest's timers are late when the host is busy.
const LATE: Duration = Duration::from_millis(4000);

fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

impl Guests {
    /// Both machines on, all links up, the first group on its home.
    pub(super) fn begin(&mut self, cluster: &Cluster, special: &Special) -> Told {
        let cluster = self.fit(cluster.clone());
        self.build_special(&cluster, special)?;
        for machine in Machine::BOTH {
            self.act(Verb::PowerOn(machine))?;
        }
        self.until_served_by(A, PATIENCE)?;
        self.until_settled(PATIENCE)
    }

    /// Looks until `done`, for `patience` and what the host adds.
    pub(super) fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Told {
        let from = self.now();
        loop {
            if done(self) {
                return Ok(());
            }
            if self.now() >= from + patience + self.slack(from) {
                return fail(format!("not within {patience}: {what}"));
            }
            let step = self.poll_interval();
            self.run_for(step);
        }
    }

    pub(super) fn until_settled(&mut self, patience: Duration) -> Told {
        self.until("both alive, every link up", patience, |guests| {
            Machine::BOTH.iter().all(|machine| {
                guests.view(*machine).is_some_and(|view| {
                    view.peer == hb_proto::peer::PeerState::Alive
                        && view.links.iter().all(|link| *link == hb_proto::link::LinkState::Up)
                })
            })
        })
    }

    pub(super) fn until_served_by(&mut self, who: Machine, patience: Duration) -> Told {
        self.until(&format!("{who} serves"), patience, |guests| guests.serves() == Some(who))
    }

    /// Who answers the client of the first group.
    pub(super) fn serves(&mut self) -> Option<Machine> {
        self.answering(0).ok().flatten()
    }

    /// Runs a shell's words in a machine; its output.
    pub(super) fn shell(&mut self, machine: Machine, text: &str) -> Result<String, Stop> {
        let Some(bench) = self.bench() else { return fail("nothing is built yet") };
        Ok(bench.shell(machine, text)?)
    }

    pub(super) fn write(&mut self, machine: Machine, path: &str, text: &str, mode: u32) -> Told {
        let Some(bench) = self.bench() else { return fail("nothing is built yet") };
        Ok(bench.write(machine, path, text, mode)?)
    }

    fn until_log(&mut self, machine: Machine, text: &str, since: Instant) -> Told {
        let what = format!("the log of {machine} says \"{text}\"");
        self.until(&what, PATIENCE, |guests| guests.log_has(machine, text, since))
    }

    /// The machine's watchdog resets it, not before it may, and not after it must.
    fn until_bitten(&mut self, machine: Machine, since: Instant) -> Result<Instant, Stop> {
        let time = Duration::from_secs(u64::from(WATCHDOG_S));
        let bite = |guests: &Self| guests.resets(machine).into_iter().find(|(at, _)| *at >= since);
        self.until(&format!("the watchdog resets {machine}"), time + LATE, |guests| {
            bite(guests).is_some()
        })?;
        let Some((at, cause)) = bite(self) else { return fail("a reset that is gone") };
        let took = at.since(since);
        // It was fed at most a second before.
        if cause != Cause::Watchdog || took + Duration::from_secs(1) < time {
            return fail(format!("{machine} was reset after {took} by {}", cause.name()));
        }
        Ok(at)
    }

    fn never_reset(&mut self, machine: Machine, span: Duration) -> Told {
        self.run_for(span);
        match self.resets(machine).first() {
            None => Ok(()),
            Some((at, cause)) => fail(format!("{machine} was reset at {at:?} by {}", cause.name())),
        }
    }

    /// What must be true of every story: from `since` on neither the client nor the guests' own records saw two holders;
    /// no daemon ended unasked, and none took a frame twice.
    pub(super) fn all_is_well(&mut self, since: Instant) -> Told {
        let count = self.resources(0);
        if let Some((from, to)) = two_holders(&self.journal(), since, self.resolution(), count) {
            return fail(format!(
                "by the guests' own records both had the group from {} ms to {} ms",
                from.micros() / 1000,
                to.micros() / 1000
            ));
        }
        self.all_is_well_for_the_client(since)
    }

    /// The same without the times of the guests' own records: where their clocks run wrong on purpose.
    pub(super) fn all_is_well_for_the_client(&mut self, since: Instant) -> Told {
        let mut complaints = self.complaints();
        complaints.extend(self.accepted_twice().map_err(|missing| missing.to_string())?);
        if !complaints.is_empty() {
            return fail(complaints.join("\n"));
        }
        match self.overlap(0, since).map_err(|missing| missing.to_string())? {
            Some(at) => fail(format!("{at:?}: the client saw two machines with the address")),
            None => Ok(()),
        }
    }
}
fn web() -> Cluster {
    Cluster::two_nodes().group("web", A)
}

fn guarded() -> Cluster {
    web().watchdog_s(Some(WATCHDOG_S))
}

/// From `after` on both machines have one of the first group's `count` resources, by the guests' own records, for longer than two guests'
/// records may be apart: from, to (`NEVER` while it lasts).
pub(super) fn two_holders(
    journal: &[Entry],
    after: Instant,
    resolution: Duration,
    count: usize,
) -> Option<(Instant, Instant)> {
    let mut holdings = Holdings::default();
    let mut since = None;
    for entry in journal {
        holdings.note(entry);
        let both = (0..count).any(|at| holdings.has(A, 0, at) && holdings.has(B, 0, at));
        match (both, since) {
            (true, None) => since = Some(entry.at),
            (false, Some(from)) if entry.at.since(from.max(after)) > resolution => {
                return Some((from, entry.at));
            }
            (false, _) => since = None,
            _ => {}
        }
    }
    since.map(|from| (from, Instant::NEVER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::rig::Deed;

    #[test]
    fn two_records_of_a_holder_are_one_too_many_beyond_the_resolution() {
        let entry = |ms: u64, machine, deed| {
            let at = Instant::from_micros(ms * 1000);
            Entry { at, machine, group: 0, resource: 1, deed }
        };
        let resolution = Duration::from_millis(150);
        let story = |released: u64| {
            let journal = [
                entry(0, A, Deed::Held),
                entry(1000, B, Deed::Held),
                entry(released, A, Deed::Released),
            ];
            two_holders(&journal, Instant::ZERO, resolution, 2)
                .map(|(from, to)| (from.micros() / 1000, to.micros() / 1000))
        };
        assert_eq!(story(1100), None, "the guests' clocks are not that exact");
        assert_eq!(story(1200), Some((1000, 1200)));
        let early =
            [entry(0, A, Deed::Held), entry(1000, B, Deed::Held), entry(3000, A, Deed::Released)];
        let after = |ms: u64| two_holders(&early, Instant::from_micros(ms * 1000), resolution, 2);
        assert!(
            after(2800).is_some() && after(2900).is_none(),
            "what was over by then may be a split"
        );
        let lasting = [entry(0, A, Deed::Held), entry(1000, B, Deed::Held)];
        assert_eq!(
            two_holders(&lasting, Instant::ZERO, resolution, 2),
            Some((Instant::from_micros(1_000_000), Instant::NEVER))
        );
    }
}
