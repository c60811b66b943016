//! How often each rule of protocol.md §2 was reached: a rule that no run comes to is one that no run
//! tests. Read off the voters' states before and after each turn; what is counted stands at [`RULES`].

use hb_proto::arbiter::Arbiter;
use hb_proto::authority::{Ledger, Part, Promisee, Stance};
use hb_proto::event::{Cause, Event};
use hb_proto::id::{GroupId, Voter};
use hb_proto::node::Node;
use hb_proto::time::Instant;

use super::fault::Who;
use super::knobs::voter;
use super::world::World;

/// What is counted, for R1 to R14.
pub const RULES: [&str; 14] = [
    "a voter that was asked was bound to another",
    "a ground to run was got",
    "a node changed its state",
    "a promise was given",
    "a promise ended before its time, by release or a new life",
    "a promise stood and could not be shown",
    "a shown promise was no answer to the present request",
    "a life began bound, or an absence was noticed",
    "a clean start, or a restart above a life of one's own",
    "authority was lost, or a watchdog bit",
    "a node asked because its peer was silent, deaf or gone, or handed over",
    "a reset line was pulled on request, or a fence was proved or disproved",
    "a reset line was pulled without request",
    "a human voted, or an arbiter's terms changed",
];

/// One group at one voter.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    given: Option<Promisee>,
    until: Instant,
    stance: Stance,
    ground: bool,
    bound: bool,
    withheld: bool,
    unanswered: bool,
}

/// All groups at one voter, before a turn.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    groups: [Mark; 16],
    full: u64,
}

fn asks<P: Part>(ledger: &Ledger<P>, node: Voter, group: GroupId) -> bool {
    ledger.voice(node).is_some_and(|voice| voice.groups.state(group).asks())
}

fn mark_promise<P: Part>(ledger: &Ledger<P>, group: GroupId, now: Instant, mark: &mut Mark) {
    let promises = ledger.promises(group);
    mark.given = promises.promised_to(now);
    mark.until = promises.promise_ends().unwrap_or(Instant::ZERO);
    if let Some(Promisee::To(to)) = mark.given {
        let echoed = ledger.voice(to).map(|voice| voice.newest);
        mark.withheld = !promises.shows_to(to, echoed, now);
    }
    let others = [Voter::A, Voter::B].into_iter().filter(|&node| node != ledger.me());
    mark.bound = others
        .filter(|&node| asks(ledger, node, group))
        .any(|node| mark.given.is_some_and(|to| to != Promisee::To(node)));
}

impl World {
    fn groups(&self) -> usize {
        self.knobs.groups.len().min(16)
    }

    pub(super) fn rules_of_arbiter(&self, arbiter: &Arbiter) -> Marks {
        let now = self.dongle.as_deref().map_or(Instant::ZERO, |d| d.unit.clock.local(self.now));
        let mut groups = [Mark::default(); 16];
        for (at, mark) in groups.iter_mut().enumerate().take(self.groups()) {
            mark_promise(arbiter.ledger(), GroupId(at as u8), now, mark);
        }
        Marks { groups, full: arbiter.terms().full.micros() }
    }

    pub(super) fn rules_of_node(&self, who: Who, node: &Node) -> Option<Marks> {
        self.knobs.arbiter?;
        let now = self.local_of(who);
        let mut groups = [Mark::default(); 16];
        for (at, mark) in groups.iter_mut().enumerate().take(self.groups()) {
            let id = GroupId(at as u8);
            if node.group(id).is_none() {
                continue;
            }
            let promises = node.promises(id);
            mark.given = promises.promised_to(now);
            mark.until = promises.promise_ends().unwrap_or(Instant::ZERO);
            mark.stance = node.stance(id);
            mark.ground = node.ground(id, now).is_some();
            let report = node.arbiter(now);
            let shown = report.and_then(|one| one.status).map(|one| one.promisees.shown(id));
            let mine = shown.is_some_and(|one| one.promisee() == Some(voter(who)));
            let lately = report
                .and_then(|one| one.silent)
                .is_some_and(|silent| silent < self.knobs.timing.lease.percent(50));
            mark.unanswered = mine
                && lately
                && mark.stance != Stance::Idle
                && promises.counted_until(Voter::Arbiter) <= now;
        }
        Some(Marks { groups, full: 0 })
    }

    pub(super) fn count_arbiter_rules(&mut self, before: Marks, arbiter: &Arbiter) {
        let after = self.rules_of_arbiter(arbiter);
        self.counts.trio.rules[13] += u64::from(before.full != after.full);
        let now = self.dongle.as_deref().map_or(Instant::ZERO, |d| d.unit.clock.local(self.now));
        self.count_rules(&before, &after, now);
    }

    pub(super) fn count_node_rules(&mut self, who: Who, before: Option<Marks>, node: &Node) {
        if let (Some(before), Some(after)) = (before, self.rules_of_node(who, node)) {
            self.count_rules(&before, &after, self.local_of(who));
        }
    }

    fn count_rules(&mut self, before: &Marks, after: &Marks, now: Instant) {
        let rules = &mut self.counts.trio.rules;
        for (was, is) in before.groups.iter().zip(&after.groups) {
            let rose = |was: bool, is: bool| u64::from(is && !was);
            rules[0] += rose(was.bound, is.bound);
            rules[1] += rose(was.ground, is.ground);
            rules[2] += u64::from(was.stance != is.stance);
            let given = is.given.is_some_and(|to| to != Promisee::Unknown);
            rules[3] += u64::from(given && was.given != is.given);
            rules[4] += u64::from(was.given.is_some() && is.given.is_none() && was.until > now);
            rules[5] += rose(was.withheld, is.withheld);
            rules[6] += rose(was.unanswered, is.unanswered);
        }
    }

    /// What nodes tell of themselves.
    pub(super) fn count_rules_of_event(&mut self, who: Who, event: &Event) {
        let rule = match event {
            Event::Clean | Event::BootIdTaken { .. } => 9,
            Event::Releasing { cause: Cause::AuthorityLost, .. } => 10,
            Event::Acquiring {
                cause: Cause::PeerDead | Cause::PeerDeaf | Cause::PeerLeft, ..
            }
            | Event::Releasing { .. } => 11,
            Event::Fenced { .. } => 12,
            Event::FenceAsked { boot } => {
                self.checks.fence_asked[1 - who] = boot.value();
                return;
            }
            _ => return,
        };
        self.counts.trio.rules[rule - 1] += 1;
    }
}
