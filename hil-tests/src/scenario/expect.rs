//! What must be true now, soon, or for a while.

use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;
use hb_proto::time::{Duration, Instant};

use super::cluster::{Link, Machine, Resource};
use super::phrase::Phrase;
use super::rig::{Deed, Entry, View};
use super::tell::Scenario;
use super::{Stop, Told};

/// Within this any state that has no budget must be reached, on a busy host too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Who has which resource, after a part of a journal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Holdings {
    held: Vec<(Machine, usize, usize)>,
}

impl Holdings {
    pub(crate) fn of(journal: &[Entry]) -> Self {
        let mut holdings = Self::default();
        for entry in journal {
            holdings.note(entry);
        }
        holdings
    }

    pub(crate) fn note(&mut self, entry: &Entry) {
        let what = (entry.machine, entry.group, entry.resource);
        match entry.deed {
            Deed::Held | Deed::Outside if !self.held.contains(&what) => self.held.push(what),
            Deed::Released | Deed::StartFailed => self.held.retain(|held| *held != what),
            Deed::Held | Deed::Outside | Deed::Starting | Deed::Stopping => {}
        }
    }

    pub(crate) fn has(&self, machine: Machine, group: usize, resource: usize) -> bool {
        self.held.contains(&(machine, group, resource))
    }

    /// The machine has all of the group's `count` resources.
    pub(crate) fn all(&self, machine: Machine, group: usize, count: usize) -> bool {
        (0..count).all(|resource| self.has(machine, group, resource))
    }

    /// The machine has any of the group's resources.
    pub(super) fn any(&self, machine: Machine, group: usize) -> bool {
        self.held.iter().any(|held| held.0 == machine && held.1 == group)
    }
}

impl Scenario<'_> {
    /// Looks until `done`, at most until `limit` after the last verb and the rig's slack.
    ///
    /// # Errors
    /// It isn't by then.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Told {
        loop {
            let deadline = self.mark + limit + self.slack();
            if done(self) {
                let (now, took) = (self.now(), self.now().since(self.mark));
                self.say(now, format!("{what}: after {} ms", took.millis()));
                return Ok(());
            }
            if self.now() >= deadline {
                return Err(self.failed(&format!("not within {limit}: {what}")));
            }
            let step = self.rig.poll_interval();
            self.rig.run_for(step);
        }
    }

    /// `done` must be true now and all the time for `span`.
    ///
    /// # Errors
    /// It isn't.
    pub fn all_the_time(
        &mut self,
        what: &str,
        span: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Told {
        let end = self.now() + span;
        while self.now() < end {
            if !done(self) {
                return Err(self.failed(&format!("not for all of {span}: {what}")));
            }
            let step = self.rig.poll_interval();
            self.rig.run_for(step);
        }
        let now = self.now();
        self.say(now, format!("{what}: for all of {span}"));
        Ok(())
    }

    /// Fails with what was seen unless `is`.
    ///
    /// # Errors
    /// It isn't.
    pub fn expect(&mut self, what: &str, is: impl FnOnce() -> bool) -> Told {
        if is() { Ok(()) } else { Err(self.failed(&format!("not so: {what}"))) }
    }

    fn failed(&mut self, why: &str) -> Stop {
        let now = self.now();
        self.say(now, format!("FAILED: {why}"));
        Stop::Failed(format!("{why}\n{}", self.who_has_what()))
    }

    fn who_has_what(&mut self) -> String {
        let holdings = Holdings::of(&self.rig.journal());
        let mut text = String::new();
        for machine in Machine::BOTH {
            let held = holdings.held.iter().filter(|held| held.0 == machine);
            let held: Vec<_> = held.map(|&(_, group, at)| (group, at)).collect();
            let view = self.rig.view(machine);
            text.push_str(&format!("{machine} has (group, resource) {held:?}; says {view:?}\n"));
        }
        for group in 0..self.cluster.groups.len() {
            if let Ok(who) = self.rig.answering(group) {
                text.push_str(&format!("the client of group {group} is answered by {who:?}\n"));
            }
        }
        text
    }

    /// Whether `who` has all of the group, the other machine nothing of it (unless a split is
    /// allowed now), and the client, where there is one, is answered by it.
    pub fn holds(&mut self, group: usize, who: Machine) -> bool {
        let holdings = Holdings::of(&self.rig.journal());
        let count = self.cluster.groups[group].resources.len();
        let split = self.split_allowed(self.now());
        // A rig without a client leaves it to the journal; in a split the client hears either.
        let client = match self.rig.answering(group) {
            Ok(answering) => split || answering == Some(who),
            Err(_) => true,
        };
        holdings.all(who, group, count) && client && (split || !holdings.any(who.other(), group))
    }

    /// Whether the machine has anything of the group.
    pub fn holds_any(&mut self, group: usize, who: Machine) -> bool {
        Holdings::of(&self.rig.journal()).any(who, group)
    }

    pub(super) fn split_allowed(&self, at: Instant) -> bool {
        self.splits.iter().any(|split| at >= split.0 && at <= split.1)
    }

    /// `who` gets the group within [`PATIENCE`].
    ///
    /// # Errors
    /// It doesn't.
    pub fn expect_holder(&mut self, group: usize, who: Machine) -> Told {
        self.expect_holder_within(group, who, PATIENCE)
    }

    /// `who` gets the group within `limit` of the last verb.
    ///
    /// # Errors
    /// It doesn't.
    pub fn expect_holder_within(&mut self, group: usize, who: Machine, limit: Duration) -> Told {
        let name = self.cluster.groups[group].name;
        self.until(&format!("{who} holds {name}"), limit, |s| s.holds(group, who))
    }

    /// For all of `span` `who` holds the group.
    ///
    /// # Errors
    /// It doesn't.
    pub fn expect_holder_stays(&mut self, group: usize, who: Machine, span: Duration) -> Told {
        let name = self.cluster.groups[group].name;
        let count = self.cluster.groups[group].resources.len();
        self.all_the_time(&format!("{who} holds {name}"), span, |s| {
            let holdings = Holdings::of(&s.rig.journal());
            let alone = s.split_allowed(s.now()) || !holdings.any(who.other(), group);
            holdings.all(who, group, count) && alone
        })
    }

    /// Nothing is started or stopped anywhere for `span`, nor was since the last verb.
    ///
    /// # Errors
    /// Something is.
    pub fn expect_no_takeover(&mut self, span: Duration) -> Told {
        self.run_for(span);
        let mark = self.mark;
        let moved = self.rig.journal().into_iter().find(|entry| entry.at >= mark);
        match moved {
            Some(entry) => Err(self.failed(&format!("expected no takeover; saw {entry:?}"))),
            None => {
                let now = self.now();
                self.say(now, format!("nothing moved for {span}"));
                Ok(())
            }
        }
    }

    /// As [`Self::expect_no_takeover`], whatever moved before now.
    ///
    /// # Errors
    /// Something is started or stopped.
    pub fn expect_no_takeover_from_now(&mut self, span: Duration) -> Told {
        self.mark = self.now();
        self.expect_no_takeover(span)
    }

    /// Nothing was started anywhere since `since`: who holds something has held it all along.
    ///
    /// # Errors
    /// Something was.
    pub fn expect_no_starts_since(&mut self, since: Instant) -> Told {
        let started =
            self.rig.journal().into_iter().find(|entry| {
                entry.at >= since && matches!(entry.deed, Deed::Starting | Deed::Held)
            });
        match started {
            Some(entry) => Err(self.failed(&format!("expected no start; saw {entry:?}"))),
            None => Ok(()),
        }
    }

    /// The machine has tried to start a resource this often, from the beginning of the story.
    ///
    /// # Errors
    /// More or less often.
    pub fn expect_starts(
        &mut self,
        group: usize,
        resource: usize,
        who: Machine,
        times: usize,
    ) -> Told {
        let wanted = (who, group, resource, Deed::Starting);
        let journal = self.rig.journal();
        let starts = journal
            .iter()
            .filter(|entry| (entry.machine, entry.group, entry.resource, entry.deed) == wanted)
            .count();
        self.expect(
            &format!("{who} started resource {resource} {times} times, saw {starts}"),
            || starts == times,
        )
    }

    /// Within `limit` of the last verb the machine's service address of the group is gone.
    ///
    /// # Errors
    /// It isn't.
    pub fn expect_address_gone_within(
        &mut self,
        group: usize,
        who: Machine,
        limit: Duration,
    ) -> Told {
        let name = self.cluster.groups[group].name;
        let addresses: Vec<usize> = self
            .cluster
            .resources()
            .filter(|(of, _, kind)| *of == group && **kind == Resource::Address)
            .map(|(_, at, _)| at)
            .collect();
        self.until(&format!("the address of {name} is gone from {who}"), limit, |s| {
            let holdings = Holdings::of(&s.rig.journal());
            addresses.iter().all(|at| !holdings.has(who, group, *at))
        })?;
        // A busy host may have looked late; the journal knows when it was.
        let (mark, gone) = (self.mark, self.released_at(group, who));
        let took = gone.map_or(Duration::ZERO, |gone| gone.since(mark));
        let within = took <= limit + self.slack();
        self.expect(&format!("gone within {limit}, took {took}"), || within)
    }

    /// When the machine lost the group's first resource last.
    pub fn released_at(&mut self, group: usize, who: Machine) -> Option<Instant> {
        let wanted = (who, group, 0, Deed::Released);
        let journal = self.rig.journal();
        journal
            .iter()
            .rfind(|entry| (entry.machine, entry.group, entry.resource, entry.deed) == wanted)
            .map(|entry| entry.at)
    }

    /// When the machine announced the group's address on the wire, since `since`.
    ///
    /// # Errors
    /// The rig doesn't see that.
    pub fn announced_since(
        &mut self,
        group: usize,
        who: Machine,
        since: Instant,
    ) -> Result<Vec<Instant>, Stop> {
        let mut times = self.rig.announcements(who, group).map_err(Stop::Missing)?;
        times.retain(|at| *at >= since);
        Ok(times)
    }

    /// Within `limit` of the last verb nobody has anything of the group.
    ///
    /// # Errors
    /// Somebody has.
    pub fn expect_nobody_within(&mut self, group: usize, limit: Duration) -> Told {
        let name = self.cluster.groups[group].name;
        self.until(&format!("nobody holds {name}"), limit, |s| {
            let holdings = Holdings::of(&s.rig.journal());
            Machine::BOTH.iter().all(|machine| !holdings.any(*machine, group))
        })
    }

    /// Within `limit` of the last verb the machine has nothing of the group.
    ///
    /// # Errors
    /// It has.
    pub fn expect_released_within(&mut self, group: usize, who: Machine, limit: Duration) -> Told {
        let name = self.cluster.groups[group].name;
        self.until(&format!("{who} has released {name}"), limit, |s| {
            !Holdings::of(&s.rig.journal()).any(who, group)
        })
    }

    /// Both daemons see each other alive, and every link up.
    ///
    /// # Errors
    /// They don't within [`PATIENCE`].
    pub fn settle(&mut self) -> Told {
        self.until("both alive, every link up", PATIENCE, |s| {
            Machine::BOTH.into_iter().all(|machine| s.rig.view(machine).is_some_and(|v| calm(&v)))
        })
    }

    /// Both see each other alive and this link in this state within [`PATIENCE`].
    ///
    /// # Errors
    /// They don't.
    pub fn expect_link(&mut self, link: Link, state: LinkState) -> Told {
        let at = self.cluster.links().iter().position(|other| *other == link);
        self.until(&format!("{link} is {state:?}"), PATIENCE, |s| {
            Machine::BOTH.into_iter().all(|machine| {
                s.rig.view(machine).is_some_and(|view| {
                    at.and_then(|at| view.links.get(at)) == Some(&state)
                        && view.peer == PeerState::Alive
                })
            })
        })
    }

    /// The machine's own view comes to satisfy `is` within [`PATIENCE`].
    ///
    /// # Errors
    /// It doesn't.
    pub fn expect_view(
        &mut self,
        machine: Machine,
        what: &str,
        is: impl Fn(&View) -> bool,
    ) -> Told {
        self.until(&format!("{machine} says: {what}"), PATIENCE, |s| {
            s.rig.view(machine).is_some_and(|view| is(&view))
        })
    }

    /// The machine's log has the phrase, since the last verb, within [`PATIENCE`].
    ///
    /// # Errors
    /// It hasn't, or the rig keeps no log.
    pub fn expect_log(&mut self, machine: Machine, phrase: Phrase) -> Told {
        let mark = self.mark;
        self.expect_log_since(machine, phrase, mark)
    }

    /// The machine's log has the phrase, since `since`, within [`PATIENCE`].
    ///
    /// # Errors
    /// It hasn't, or the rig keeps no log.
    pub fn expect_log_since(&mut self, machine: Machine, phrase: Phrase, since: Instant) -> Told {
        // A rig without a log is a skip, not a wait.
        self.rig.told(machine, &phrase, since).map_err(Stop::Missing)?;
        self.until(&format!("{machine} logs {phrase:?}"), PATIENCE, |s| {
            s.rig.told(machine, &phrase, since).is_ok_and(|times| times > 0)
        })
    }

    /// The machine's log hasn't the phrase since `since`.
    ///
    /// # Errors
    /// It has, or the rig keeps no log.
    pub fn expect_no_log(&mut self, machine: Machine, phrase: Phrase, since: Instant) -> Told {
        match self.rig.told(machine, &phrase, since).map_err(Stop::Missing)? {
            0 => Ok(()),
            times => Err(self.failed(&format!("{machine} logged {phrase:?} {times} times"))),
        }
    }

    /// The client's longest time without service since the last verb is at most `limit`.
    ///
    /// # Errors
    /// It was longer, or this rig has no client for the group.
    pub fn expect_dark_at_most(&mut self, group: usize, limit: Duration) -> Told {
        let mark = self.mark;
        let dark = self.rig.dark(group, mark).map_err(Stop::Missing)?;
        let now = self.now();
        let name = self.cluster.groups[group].name;
        self.say(now, format!("{name}: longest time without an answer {} ms", dark.millis()));
        if dark > limit + self.slack() {
            return Err(self.failed(&format!(
                "the client of {name} was without service for {dark}, expected {limit} at most"
            )));
        }
        Ok(())
    }
}

fn calm(view: &View) -> bool {
    view.peer == PeerState::Alive && view.links.iter().all(|link| *link == LinkState::Up)
}
