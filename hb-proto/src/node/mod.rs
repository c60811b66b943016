//! The cluster node: a sans-IO state machine, composed from ledger, peer, links and groups.
//!
//! Methods come in four kinds: getters (`&self`), inputs (`handle_*`), commands (`request_*`) and
//! outputs (`poll_*`). The crate's first page says what to call when.

mod carrier;
mod commands;
mod decisions;
#[cfg(feature = "explore")]
mod explore;
mod fence;
mod ground;
mod keys;
#[cfg(feature = "mutants")]
mod knobs;
mod policy;
mod receive;
mod report;
mod send;
mod third;

pub use commands::Refusal;
pub use decisions::Decisions;
use decisions::{PeerFacts, Plan, has};
pub use fence::FenceRefused;
pub use ground::Ground;
pub use keys::KeysRefused;
pub use receive::Accepted;
pub use report::{ArbiterReport, Authority, Obstacle};
pub use send::{FrameKind, Transmit};
pub use third::ArbiterState;

use heapless::{Deque, Vec};

use crate::action::{Action, Outcome, TicketId};
use crate::authority::{FrameName, Ledger, Promisee, Promises, Stance, Terms};
use crate::config::{Config, ConfigError, Digests, MAX_LINKS};
use crate::event::Event;
use crate::group::{Group, Phase};
use crate::id::{BootId, GroupId, LinkId, Voter};
use crate::link::{Link, LinkTimes};
use crate::mutant::Mutant;
use crate::peer::{Peer, PeerState};
use crate::statistics::{LinkStatistics, Statistics};
use crate::time::{Duration, Instant};
use crate::wire::Reject;
use crate::wire::auth::KeyRing;
use crate::wire::message::{GroupState, Life, Versions};

use send::Outbox;
use third::{ArbiterView, Relays};

/// Events kept for the driver: all that one bounded drain of frames on eight links can cause and more.
/// They are for people; beyond that they are counted as lost.
const MAX_EVENTS: usize = 64;

/// One node of the pair.
#[derive(Clone)]
pub struct Node {
    config: Config,
    keys: KeyRing,
    versions: Versions,
    d: Decisions,
    statistics: Statistics,
    link_statistics: Vec<LinkStatistics, MAX_LINKS>,
    events: Deque<Event, MAX_EVENTS>,
}

impl Node {
    /// A life of this node, beginning now. `boot` was stored and synced before.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        config: Config,
        keys: KeyRing,
        boot: BootId,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let terms = Terms { lease: config.timing.lease, full: config.timing.full() };
        let homes = config.groups.iter().map(|group| group.home).collect();
        let peer = config.me.peer();
        let groups = config.groups.iter().zip(0..).map(|(group, id)| {
            Group::unclean(GroupId(id), u8::try_from(group.resources.len()).unwrap_or(u8::MAX))
        });
        let d = Decisions {
            ledger: Ledger::new(config.me, boot, homes, terms, Promisee::To(peer), now),
            peer: Peer::new(now),
            longest: terms.full,
            facts: None,
            mismatch_told: false,
            links: config.links.iter().map(|_| Link::default()).collect(),
            groups: groups.collect(),
            plans: config.groups.iter().map(|_| Plan::default()).collect(),
            life: Life::Up,
            clean: false,
            decided_at: now,
            keepalive_at: now,
            hello_at: now,
            hello_due: true,
            tickets: 0,
            left: None,
            departed: false,
            restart_above: None,
            self_checked_at: None,
            outbox: Outbox::default(),
            arbiter: ArbiterView::default(),
            peer_hears_arbiter: false,
            peer_key: None,
            peer_version: 0,
            human: 0,
            human_until: None,
            fence_wanted: None,
            relays: Relays::default(),
        };
        let link_statistics = config.links.iter().map(|_| LinkStatistics::default()).collect();
        let mut node = Self {
            config,
            keys,
            versions: Versions::OURS,
            d,
            statistics: Statistics::default(),
            link_statistics,
            events: Deque::new(),
        };
        node.note_clean(now);
        Ok(node)
    }

    /// R8: `full` is the longest that a promise of any earlier life of this node may bind it (stored by
    /// the driver); the promises that this life begins with last as long. Call right after [`Node::new`].
    pub fn remember_longest_promise(&mut self, now: Instant, full: Duration) {
        self.d.longest = self.d.longest.max(full);
        self.d.ledger.starting_promises_last_until(now + full);
    }

    // ---- getters

    /// R8: what the driver stores for [`Node::remember_longest_promise`] of the next life: at the start, synced
    /// before the first frame; later it only shrinks, so that storing it late, or not at all, is safe.
    #[must_use]
    pub const fn longest_promise(&self) -> Duration {
        self.d.longest
    }

    /// What it was configured with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Its decision state.
    #[must_use]
    pub const fn decisions(&self) -> &Decisions {
        &self.d
    }

    /// Its figures.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// One link's figures.
    #[must_use]
    pub fn link_statistics(&self, link: LinkId) -> Option<&LinkStatistics> {
        self.link_statistics.get(link.index())
    }

    /// One link's health.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<&Link> {
        self.d.links.get(link.index())
    }

    /// The peer's liveness.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.d.peer
    }

    /// The peer's keepalive, as it announced it; ours until then.
    #[must_use]
    pub fn peer_keepalive(&self) -> Duration {
        self.d.facts.map_or(self.config.timing.keepalive, |facts| facts.keepalive)
    }

    /// This life's id.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.d.ledger.boot()
    }

    /// What this life says of itself.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.d.life
    }

    /// Number of the key that the peer signs with: an old key may go when all voters show the new one (R14).
    #[must_use]
    pub const fn peer_key(&self) -> Option<u8> {
        self.d.peer_key
    }

    /// Whether every group was confirmed stopped since the start (R9): the watchdog may be opened.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.d.clean
    }

    /// Whether the group's resources are this node's affair, and since when it may call it its own.
    #[must_use]
    pub fn stance(&self, group: GroupId) -> Stance {
        self.d.ledger.stance(group)
    }

    /// When what this node promised about the group ends by its time; `None` when nothing is promised.
    #[must_use]
    pub fn promise_ends(&self, group: GroupId) -> Option<Instant> {
        self.d.ledger.promises(group).promise_ends()
    }

    /// What this node has promised about the group, and until when it counts others' promises: what
    /// protocol.md §7 speaks of. For tests that judge two nodes together. Panics for a group that
    /// doesn't exist.
    #[must_use]
    pub fn promises(&self, group: GroupId) -> &Promises {
        self.d.ledger.promises(group)
    }

    /// What the group does here.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&Group> {
        self.d.groups.get(group.index())
    }

    /// Who runs the group, as far as this node knows.
    #[must_use]
    pub fn holder(&self, group: GroupId) -> Option<Voter> {
        let (me, peer) = (self.config.me, self.config.me.peer());
        if self.stance(group) == Stance::Running {
            return Some(me);
        }
        let shown = self.d.ledger.voice(peer)?.groups.state(group);
        (shown == GroupState::Running && !self.d.peer.state().is_gone()).then_some(peer)
    }

    /// The fingerprints of the peer's files, as its newest hello had them; `None` before the first.
    #[must_use]
    pub fn peer_digests(&self) -> Option<Digests> {
        self.d
            .facts
            .map(|facts| Digests { haresources: facts.haresources, settings: facts.settings })
    }

    /// Whether the peer's haresources is known to be the same as ours.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.d.facts.is_some_and(|facts| facts.haresources == self.config.digests.haresources)
    }

    /// Whether some of the peer's files are known to differ from ours.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.d.facts.is_some_and(|facts| {
            (facts.haresources, facts.settings)
                != (self.config.digests.haresources, self.config.digests.settings)
        })
    }

    /// The one boolean that the watchdog is fed by (R10): clean, a frame of its own passed the whole way
    /// lately, every group allowed to run or confirmed stopped, no stop beyond its time.
    ///
    /// Never the state of a cable or of the peer.
    #[must_use]
    pub fn may_feed_watchdog(&self, now: Instant) -> bool {
        let lately = self.config.timing.keepalive.times(3);
        self.d.clean
            && self.d.self_checked_at.is_some_and(|at| now.since(at) <= lately)
            && self.d.ledger.groups().zip(&self.d.groups).all(|(id, group)| {
                !group.is_overdue()
                    && (group.phase() == Phase::Stopped || self.ground(id, now).is_some())
            })
    }

    /// Goes on as if its epoch lay `by` later: explorers compare states apart from their histories.
    pub fn rebase(&mut self, by: Duration) {
        self.d = self.d.clone().rebased(by);
        for statistics in &mut self.link_statistics {
            statistics.rebase(by);
        }
    }

    // ---- inputs

    /// First call after waking up, before anything that arrived is looked at.
    ///
    /// Records a stall of one's own, and ends what authority no longer covers: after a stall the
    /// addresses go before anything else is done (architecture, rule 6). Whether there is something to
    /// drain before that.
    pub fn handle_wakeup(&mut self, now: Instant) -> bool {
        let late = now.since(self.poll_timeout());
        let stalled = late > self.config.timing.keepalive.times(2);
        if stalled {
            self.statistics.stalls += 1;
            self.statistics.longest_stall = self.statistics.longest_stall.max(late);
            self.tell(Event::Stall { late });
            if !self.d.ledger.is_broken(Mutant::R11Stalled) {
                self.d.peer.stalled_until(now);
            }
            if late < self.config.timing.deadtime {
                // The peer can't have missed us yet.
                if self.mismatches() {
                    // Nobody promises across different files.
                    self.bridge(now);
                }
                self.bridge_won_conflicts(now);
            }
        }
        self.end_what_lost_authority(now) || stalled
    }

    /// An order was answered.
    pub fn handle_done(&mut self, now: Instant, ticket: TicketId, outcome: Outcome) {
        for at in 0..self.d.groups.len() {
            let group = &mut self.d.groups[at];
            if let Some(change) = group.handle_done(now, ticket, outcome, &self.config.patience) {
                self.changed(now, GroupId(at as u8), change);
            }
        }
        self.note_clean(now);
    }

    /// Lets time pass and decides. Call after everything that had arrived was handed in.
    /// A call that was not due changes nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.d.decided_at = now;
        self.d.ledger.expire(now);
        for at in 0..self.d.groups.len() {
            if let Some(change) = self.d.groups[at].handle_timeout(now, &self.config.patience) {
                self.changed(now, GroupId(at as u8), change);
            }
        }
        if !self.d.clean || self.d.departed {
            return;
        }
        self.judge_peer(now);
        self.judge_links(now);
        if self.config.arbiter.is_some() {
            self.judge_arbiter(now);
        }
        self.decide(now);
        self.prepare_frame(now);
    }

    // ---- outputs

    /// The next thing to do outside. Poll until `None` after any input.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        // R2: authority is checked again just before a start leaves. Where it is gone the addresses go
        // first, those of groups before it too.
        let baseless = |group: GroupId| {
            self.d.groups[group.index()].is_about_to_start() && self.ground(group, now).is_none()
        };
        if self.d.ledger.groups().any(baseless) {
            self.end_what_lost_authority(now);
        }
        for at in 0..self.d.groups.len() {
            let group = GroupId(at as u8);
            if core::mem::take(&mut self.d.plans[at].drop_pending) {
                return Some(Action::DropAddresses { group });
            }
            let waits = self.d.groups[at].is_about_to_start() && self.is_contested(group);
            let d = &mut self.d;
            if !waits
                && let Some(action) =
                    d.groups[at].poll_action(now, &self.config.patience, &mut d.tickets)
            {
                return Some(action);
            }
            if core::mem::take(&mut d.plans[at].announce_pending) {
                return Some(Action::Announce { group });
            }
        }
        self.poll_departure(now)
    }

    /// The next event to tell a person. Poll until `None` after any input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Node::handle_timeout`] is due at the latest. Ask again after any input.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let groups = self.d.groups.iter().filter_map(Group::due).min();
        if !self.d.clean {
            return groups.unwrap_or(Instant::NEVER);
        }
        let timing = &self.config.timing;
        let owed = self.d.links.iter().filter(|link| link.owed).map(|link| link.busy_until).min();
        [
            Some(self.d.keepalive_at),
            self.d.peer.due(timing),
            groups,
            owed,
            self.link_due(),
            self.d.outbox.change_due,
            self.ground_due(),
            self.arbiter_due(),
            self.relay_due(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Instant::NEVER)
    }

    fn tell(&mut self, event: Event) {
        if self.events.push_back(event).is_err() {
            self.statistics.events_lost = self.statistics.events_lost.saturating_add(1);
        }
    }

    /// R9: the first frame waits until every group is confirmed stopped.
    fn note_clean(&mut self, now: Instant) {
        if self.d.clean || self.d.groups.iter().any(|group| group.phase() != Phase::Stopped) {
            return;
        }
        self.d.clean = true;
        // Silence counts from the end of one's own start (R11).
        self.d.peer = Peer::new(now);
        (self.d.keepalive_at, self.d.hello_at) = (now, now);
        self.tell(Event::Clean);
    }

    fn judge_peer(&mut self, now: Instant) {
        self.heed_carriers(now);
        while let Some(state) = self.d.peer.judge(now, &self.config.timing) {
            let heard_at = self.d.peer.heard_at();
            let silent = heard_at.map_or(self.config.timing.initdead, |at| now.since(at));
            self.tell(Event::Peer { state, silent });
            if state == PeerState::Dead {
                self.peer_is_gone();
            }
        }
    }

    /// Classic mode: the peer's death voids what was promised to it (R2). With an arbiter it voids nothing.
    fn peer_is_gone(&mut self) {
        if self.config.arbiter.is_none() {
            self.d.ledger.void_promises_to(self.config.me.peer());
        }
        for plan in &mut self.d.plans {
            plan.yielded = false;
            plan.peer_idle_since = None;
        }
    }

    fn link_times(&self) -> LinkTimes {
        let timing = &self.config.timing;
        LinkTimes { deadtime: self.d.peer.deadtime(timing), grace: timing.warntime }
    }

    fn judge_links(&mut self, now: Instant) {
        let times = self.link_times();
        let audible = matches!(self.d.peer.state(), PeerState::Alive | PeerState::Late);
        let hears = self.d.ledger.voice(self.config.me.peer()).map_or(0, |voice| voice.hears);
        for at in 0..self.d.links.len() {
            let id = LinkId(at as u8);
            let link = &mut self.d.links[at];
            // A peer that is dead or gone is on no link, whatever was heard of it just before.
            let heard = audible && link.heard_lately(now, times.deadtime);
            if link.judge(now, times, heard, audible && hears & id.bit() != 0) {
                let (state, heard) = (link.state, link.heard_lately(now, times.deadtime));
                self.tell(Event::Link { link: id, state, heard });
            }
        }
    }

    fn link_due(&self) -> Option<Instant> {
        let times = self.link_times();
        let due = self.d.links.iter().flat_map(|link| link.due(times));
        due.filter(|&at| at > self.d.decided_at).min()
    }

    fn newest_of_peer(&self) -> Option<FrameName> {
        self.d.ledger.voice(self.config.me.peer()).map(|voice| voice.newest)
    }

    /// A frame that the line damaged, counted for its link.
    pub fn handle_damage(&mut self, link: LinkId) {
        self.count_reject(link, Reject::Framing);
    }

    fn count_reject(&mut self, link: LinkId, reason: Reject) {
        if let Some(statistics) = self.link_statistics.get_mut(link.index()) {
            statistics.rejected[reason.index()] += 1;
        }
        // Half of the room: what strangers cause must not displace what the node itself has to tell.
        if reason != Reject::Own && self.events.len() < MAX_EVENTS / 2 {
            self.tell(Event::Rejected { link, reason });
        }
    }
}
