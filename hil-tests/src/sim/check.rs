//! What must be true, judged in true time from what machines do, never from what nodes believe.
//!
//! *The classics' split*, the one excuse for two holders with two voters: whoever takes a group while the
//! other machine still has something of it must not have been handed a single whole, new frame of the other's
//! for deadtime. That covers every cause alike: links cut, one way or both, a machine frozen, a daemon stopped or
//! killed together with its helper. And it is bounded: once whole, new frames flow both ways again (no gap of deadtime),
//! one holder is left within a second, plus what weather holds datagrams up. While the two haresources differ,
//! nothing says that group 0 is the same group on both: that second begins when they agree.

use hb_proto::action::{Outcome, TicketId, Verb};
use hb_proto::event::{Cause, Event};
use hb_proto::id::BootId;
use hb_proto::node::Accepted;
use hb_proto::time::Duration;
use hb_proto::wire::Reject;

use super::daemon::Daemon;
use super::fault::{NAMES, Who};
use super::machine::What;
use super::queue::At;
use super::world::World;

mod driver;
#[cfg(test)]
mod tests;
pub mod trio;

/// One second from contact to one holder.
const HEAL_US: u64 = 1_000_000;
/// The arbiter's number as a sender (protocol.md §5).
const ARBITER: u8 = 2;
/// Turns of one daemon in one simulated second, beyond which its loop spins.
const TURNS_A_SECOND: u32 = 20_000;

/// Which rule was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub at: At,
    pub text: String,
}

/// A frame that a node was handed.
#[derive(Clone, Copy, Debug)]
pub struct Handed {
    /// 0 for A, 1 for B, 2 for the arbiter.
    sender: u8,
    name: (u32, u32),
    whole: bool,
    clean: bool,
    result: Result<Accepted, Reject>,
}

impl Handed {
    /// What the checker keeps of it.
    #[must_use]
    pub fn of(frame: &[u8], whole: bool, clean: bool, result: Result<Accepted, Reject>) -> Self {
        // The header's boot id and number (protocol.md §5), read without the node's help.
        let name = match frame {
            [_, _, b0, b1, b2, s0, s1, s2, s3, ..] => {
                (u32::from_le_bytes([*b0, *b1, *b2, 0]), u32::from_le_bytes([*s0, *s1, *s2, *s3]))
            }
            _ => (0, 0),
        };
        let sender = frame.first().map_or(3, |byte| byte >> 3 & 3);
        Self { sender, name, whole, clean, result }
    }
}

/// Two machines have the same group's address.
#[derive(Clone, Copy, Debug)]
struct Double {
    since: At,
}

/// The state of the checks.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub violation: Option<Violation>,
    /// When each machine's daemon was last handed a whole, new frame of the other's.
    contact_at: [At; 2],
    /// Since when such frames have come without a gap of deadtime.
    flow_since: [At; 2],
    double: [Option<Double>; 16],
    /// Time during which two machines had one address, and the longest.
    pub split_us: u64,
    pub longest_split_us: u64,
    pub splits: u32,
    /// Longest split after frames flowed both ways.
    pub longest_heal_us: u64,
    /// Who had each group's address last, and how often that changed.
    last_holder: [Option<Who>; 16],
    pub moves: [u32; 16],
    /// A start sequence that began in a split: what it began, it may finish.
    split_start: [[bool; 16]; 2],
    held_before: [[u16; 16]; 2],
    /// The digest of the haresources that each machine's newest life has read.
    haresources: [u64; 2],
    /// Of any node's files so far, if longer than the knobs': the longer one of both counts.
    pub(super) longest_deadtime: Duration,
    turns: [(At, u32); 2],
    /// Until when something that happened to a node may delay what it does ([`super::budget`]).
    pub(super) disturbed_until: [At; 2],
    /// Whose files are not the knobs' now.
    pub(super) other_files: [bool; 2],
    /// The first takeover that took longer than its own budget, though nothing excuses it.
    pub beyond_budget: Option<String>,
    /// Groups (a bit each) that a machine has by a human's vote (R14).
    pub(super) human: [u16; 2],
    /// This life of the node was told that its peer is off.
    pub(super) human_word: [bool; 2],
    /// When it was first handed a frame of its peer after that.
    pub(super) human_met_at: [Option<At>; 2],
    /// When each machine's newest life began.
    pub(super) life_at: [At; 2],
    /// A machine was said to be down, and wasn't ([`trio::Excuse::FalseEvidence`]); until its next reset.
    pub(super) false_evidence: [bool; 2],
    /// What runs on the machine may be of a life whose files have no arbiter, though there is one: until a
    /// life that has it is clean.
    pub(super) classic: [bool; 2],
    /// The machine's newest life has read such files.
    classic_life: [bool; 2],
    /// The life of each node that its peer asked to fence last.
    pub(super) fence_asked: [u32; 2],
    /// Since when nobody serves a group, and from when on that counts; the longest.
    pub(super) dark_since: [Option<At>; 16],
    pub(super) dark_from: Option<At>,
    pub longest_dark_us: u64,
    /// From a thaw until the addresses of a machine that nothing had stopped were gone.
    pub longest_thaw_to_drop_us: u64,
}

impl World {
    pub(super) fn violate(&mut self, text: String) {
        if self.checks.violation.is_none() {
            let at = self.now;
            self.tell_all(|| format!("VIOLATION {text}"));
            self.checks.violation = Some(Violation { at, text });
        }
    }

    fn whole_group(&self, group: usize) -> u16 {
        ((1_u32 << self.knobs.groups[group].resources.len()) - 1) as u16
    }

    fn addresses(&self, group: usize) -> u16 {
        let resources = 0..self.knobs.groups[group].resources.len() as u8;
        resources
            .filter(|&resource| self.knobs.is_address(What { group: group as u8, resource }))
            .fold(0, |set, resource| set | 1 << resource)
    }

    /// Whether `who` has every resource of the group.
    #[must_use]
    pub fn serves(&self, who: Who, group: usize) -> bool {
        self.machines[who].held[group] == self.whole_group(group)
    }

    /// Whether `who` has an address of the group.
    #[must_use]
    pub fn has_address(&self, who: Who, group: usize) -> bool {
        self.machines[who].held[group] & self.addresses(group) != 0
    }

    /// `who`'s deadtime in true time, as its own clock counts it.
    fn deadtime_us(&self, who: Who) -> u64 {
        let deadtime = self.knobs.timing.deadtime.micros();
        // Two microseconds for rounding to the machine's own.
        deadtime * 1_000_000 / (1_000_000 + self.knobs.drift_ppm[who]) as u64 - 2
    }

    fn silence(&self, who: Who) -> u64 {
        self.now - self.checks.contact_at[who]
    }

    /// The excuse above, for `who` taking a group now.
    fn is_split(&self, who: Who) -> bool {
        self.silence(who) >= self.deadtime_us(who)
    }

    /// A frame was handed to `who`'s node.
    pub(super) fn note_handed(&mut self, who: Who, daemon: &mut Daemon, frame: Handed) {
        self.counts.frames_handed += 1;
        if let Err(reason) = frame.result {
            self.counts.rejected[reason.index()] += 1;
        }
        self.trace.number(frame.name.1.into());
        if frame.sender == ARBITER {
            self.note_handed_of_arbiter(who, daemon, frame);
            return;
        }
        if frame.result == Ok(Accepted::First) {
            self.counts.firsts += 1;
            if frame.name <= daemon.newest_first {
                let (name, newest) = (frame.name, daemon.newest_first);
                self.violate(format!(
                    "{} took frame {name:?} as new after {newest:?}: accepted twice, or out of order",
                    NAMES[who]
                ));
            }
            daemon.newest_first = frame.name;
        }
        if !frame.whole || !frame.clean || frame.name <= daemon.newest_handed {
            return;
        }
        daemon.newest_handed = frame.name;
        self.note_contact(who);
    }

    fn note_handed_of_arbiter(&mut self, who: Who, daemon: &mut Daemon, frame: Handed) {
        if frame.result != Ok(Accepted::First) {
            return;
        }
        self.counts.firsts += 1;
        let newest = std::mem::replace(&mut daemon.first_of_arbiter, frame.name);
        if frame.name <= newest {
            self.violate(format!(
                "{} took frame {:?} of the arbiter as new after {newest:?}",
                NAMES[who], frame.name
            ));
        }
    }

    fn note_contact(&mut self, who: Who) {
        if self.silence(who) >= self.deadtime_us(who) {
            self.checks.flow_since[who] = self.now;
        }
        self.checks.contact_at[who] = self.now;
        if self.checks.human_word[who] {
            self.checks.human_met_at[who].get_or_insert(self.now);
        }
        let [ours, theirs] = self.checks.haresources;
        if ours != theirs {
            // Group numbers mean different things to the two: what runs goes on (protocol.md §1). The
            // second begins when they agree again.
            self.checks.flow_since[who] = self.now;
            return;
        }
        let flowing = self.silence(1 - who) < self.deadtime_us(1 - who);
        if !flowing {
            return;
        }
        for group in 0..self.knobs.groups.len() {
            let Some(Double { since }) = self.checks.double[group] else { continue };
            let flow = self.checks.flow_since;
            let healing = self.now - since.max(flow[0]).max(flow[1]);
            self.checks.longest_heal_us = self.checks.longest_heal_us.max(healing);
            // With an arbiter two holders are judged as such (`trio`), not by how soon they heal.
            let judged = self.knobs.arbiter.is_none();
            if judged && healing > HEAL_US + 2 * self.knobs.delay_us {
                self.violate(format!(
                    "group {group} has two holders {healing} µs after frames flow both ways again"
                ));
            }
        }
    }

    /// The machines' resources may have changed.
    pub(super) fn check_holders(&mut self) {
        for group in 0..self.knobs.groups.len() {
            for who in 0..2 {
                let held = self.machines[who].held[group];
                let before = std::mem::replace(&mut self.checks.held_before[who][group], held);
                if held == before {
                    continue;
                }
                self.trace.number(u64::from(held) << 8 | (group << 1 | who) as u64);
                self.tell(who, || format!("has {held:b} of group {group}"));
                self.note_held(who, group, before, held);
                if before & !held & self.addresses(group) != 0 {
                    self.note_dropped(who, group);
                }
                let gained = held & !before & self.addresses(group);
                if gained != 0 {
                    self.note_taken(who, group);
                }
            }
            self.check_double(group);
        }
    }

    fn note_taken(&mut self, who: Who, group: usize) {
        if self.checks.last_holder[group].replace(who) != Some(who) {
            self.checks.moves[group] += 1;
        }
        if self.has_address(1 - who, group) && !self.is_excused(who, group) {
            let silence = self.silence(who);
            self.violate(format!(
                "{} takes the address of group {group}, which {} has; it was handed a frame {silence} µs ago",
                NAMES[who],
                NAMES[1 - who]
            ));
        }
    }

    fn check_dark(&mut self, group: usize) {
        let Some(from) = self.checks.dark_from else { return };
        let dark = !self.serves(0, group) && !self.serves(1, group);
        let since = &mut self.checks.dark_since[group];
        if let Some(began) = *since {
            let span = self.now.saturating_sub(began.max(from));
            self.checks.longest_dark_us = self.checks.longest_dark_us.max(span);
        }
        *since = if dark { since.or(Some(self.now)) } else { None };
    }

    fn check_double(&mut self, group: usize) {
        self.check_dark(group);
        let both = self.has_address(0, group) && self.has_address(1, group);
        match (both, self.checks.double[group]) {
            (true, None) => {
                self.checks.double[group] = Some(Double { since: self.now });
                self.checks.splits += 1;
                self.tell_all(|| format!("group {group} has two holders"));
            }
            (false, Some(Double { since })) => {
                let span = self.now - since;
                self.checks.double[group] = None;
                self.checks.split_us += span;
                self.checks.longest_split_us = self.checks.longest_split_us.max(span);
                self.tell_all(|| format!("group {group} had two holders for {span} µs"));
            }
            _ => {}
        }
    }

    /// A node gives an order: starts and stops in order, and none before the other has let go.
    pub(super) fn note_order(
        &mut self,
        who: Who,
        daemon: &mut Daemon,
        ticket: TicketId,
        what: What,
        verb: Verb,
    ) {
        self.counts.orders += 1;
        self.tell(who, || {
            format!("orders {verb:?} {}/{} ({})", what.group, what.resource, ticket.0)
        });
        let group = usize::from(what.group);
        let confirmed = daemon.confirmed[group];
        let bit = 1_u16 << what.resource;
        match verb {
            Verb::Start => {
                self.counts.starts += 1;
                self.note_vote(who, daemon, group);
                if confirmed != bit - 1 {
                    self.violate(format!(
                        "{} starts {what:?} while {confirmed:b} is confirmed started",
                        NAMES[who]
                    ));
                }
                let other = &self.machines[1 - who];
                let left = other.held[group];
                let honest = !other.lied_to && !self.orphans_work(1 - who, what.group);
                let split = self.is_split(who);
                if what.resource == 0 {
                    self.checks.split_start[who][group] = split;
                } else if left != 0 && honest && !split {
                    self.counts.late_starts += 1;
                }
                if left != 0 && honest && !self.is_excused(who, group) {
                    let silence = self.silence(who);
                    self.violate(format!(
                        "{} starts {what:?} while {} still has {left:b} of it; it was handed a frame {silence} µs ago",
                        NAMES[who],
                        NAMES[1 - who]
                    ));
                }
            }
            Verb::Stop => {
                self.counts.stops += 1;
                if confirmed & !(bit | (bit - 1)) != 0 {
                    self.violate(format!(
                        "{} stops {what:?} while {confirmed:b} is confirmed started",
                        NAMES[who]
                    ));
                }
                // Whatever the answer: it is not confirmed started any more.
                daemon.confirmed[group] &= !bit;
            }
            Verb::Status => {}
        }
        daemon.asked.push((ticket, what, verb));
    }

    /// Scripts whose helper was killed, or is carrying out a dead man's order, work on unheard.
    fn orphans_work(&self, who: Who, group: u8) -> bool {
        self.machines[who].jobs.iter().any(|job| job.ticket.is_none() && job.what.group == group)
    }

    pub(super) fn note_answer(
        &mut self,
        who: Who,
        daemon: &mut Daemon,
        ticket: TicketId,
        outcome: Outcome,
    ) {
        self.tell(who, || format!("order {} answered: {outcome:?}", ticket.0));
        let Some(at) = daemon.asked.iter().position(|asked| asked.0 == ticket) else { return };
        let (_, what, verb) = daemon.asked.remove(at);
        let bit = 1_u16 << what.resource;
        if (verb, outcome) == (Verb::Start, Outcome::Done) {
            daemon.confirmed[usize::from(what.group)] |= bit;
        }
    }

    pub(super) fn note_event(&mut self, who: Who, event: Event) {
        match event {
            // Counted already, and too many for the trace; stories ask for them all the same.
            Event::Rejected { .. } => return self.record_event(who, event),
            Event::Clean => self.checks.classic[who] = self.checks.classic_life[who],
            Event::Conflict { .. } => self.counts.conflicts += 1,
            Event::Failover { group, failover } => self.note_failover(who, group, &failover),
            Event::Stall { .. } => self.counts.stalls_seen += 1,
            Event::Releasing { cause: Cause::AuthorityLost, .. } => self.counts.lost_authority += 1,
            _ => {}
        }
        if self.knobs.arbiter.is_some() {
            self.count_rules_of_event(who, &event);
        }
        self.trace.number(event_code(&event));
        self.record_event(who, event);
        self.tell(who, || format!("{event:?}"));
    }

    /// A life begins: it must be above every earlier one.
    pub(super) fn note_life(&mut self, who: Who, boot: BootId) {
        self.counts.lives += 1;
        self.note_young_life(who);
        self.checks.haresources[who] = self.configs[who].digests.haresources;
        if self.knobs.arbiter.is_some() {
            let classic = self.configs[who].arbiter.is_none();
            self.checks.classic_life[who] = classic;
            self.checks.classic[who] |= classic;
            self.checks.human_word[who] = false;
            self.checks.life_at[who] = self.now;
            self.counts.trio.rules[7] += 1;
        }
        self.tell(who, || format!("life {boot} begins"));
    }

    /// Whether two machines have an address of one group now.
    #[must_use]
    pub fn is_double(&self) -> bool {
        self.checks.double.iter().any(Option::is_some)
    }
}

/// Enough of an event to tell two runs apart.
fn event_code(event: &Event) -> u64 {
    match event {
        Event::Clean => 1,
        Event::Peer { state, silent } => 2 | (*state as u64) << 8 | silent.micros() << 16,
        Event::PeerLife { boot } => 3 | u64::from(boot.value()) << 8,
        Event::ReturnedAfterPartition => 4,
        Event::LateHeartbeat { interval } => 5 | interval.micros() << 8,
        Event::Link { link, state, .. } => 6 | u64::from(link.0) << 8 | (*state as u64) << 16,
        Event::Acquiring { group, .. } => 7 | u64::from(group.0) << 8,
        Event::Releasing { group, .. } => 8 | u64::from(group.0) << 8,
        Event::Group { group, .. } => 9 | u64::from(group.0) << 8,
        Event::Failover { failover, .. } => 10 | failover.takeover.micros() << 8,
        Event::Conflict { group, won } => 11 | u64::from(group.0) << 8 | u64::from(*won) << 16,
        Event::Stall { late } => 12 | late.micros() << 8,
        _ => 0,
    }
}
