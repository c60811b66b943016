//! What decides: a node's state without figures and bytes.

use heapless::Vec;

use super::send::Outbox;
use super::third::{ArbiterView, Relays};
use crate::authority::Ledger;
use crate::config::{MAX_GROUPS, MAX_LINKS, full};
use crate::event::Cause;
use crate::group::Group;
use crate::id::{BootId, GroupId};
use crate::link::Link;
use crate::peer::Peer;
use crate::time::{Duration, Instant};
use crate::wire::message::{Hello, Life, Settings, duration_of_ms};

/// What the peer's last hello said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PeerFacts {
    pub(super) haresources: u64,
    pub(super) settings: u64,
    pub(super) lease: Duration,
    pub(super) guard: Duration,
    pub(super) keepalive: Duration,
    pub(super) arbiter: Option<u32>,
    pub(super) declines: u16,
    pub(super) failed: u16,
    pub(super) wants: u16,
    pub(super) voteless: bool,
    /// The newest version of the wire that it understands.
    pub(super) version: u8,
}

impl PeerFacts {
    pub(super) fn of(hello: &Hello) -> Self {
        let Settings { keepalive_ms, lease_ms, guard_ms, arbiter, .. } = hello.settings;
        let digests = hello.settings.digests();
        Self {
            haresources: digests.haresources,
            settings: digests.settings,
            lease: Duration::from_millis(u64::from(lease_ms)),
            guard: duration_of_ms(guard_ms),
            keepalive: Duration::from_millis(u64::from(keepalive_ms)),
            arbiter,
            declines: hello.declines,
            failed: hello.failed,
            wants: hello.wants,
            voteless: hello.for_arbiter.is_some_and(|tail| tail.voteless),
            version: hello.settings.current_version,
        }
    }

    /// How long after a frame of its this life of the peer could run on by promises that it counted.
    pub(super) fn full(&self, drift_percent: u8) -> Duration {
        full(self.lease, drift_percent, self.guard)
    }
}

pub(super) const fn has(set: u16, group: GroupId) -> bool {
    set >> group.0 & 1 == 1
}

/// What this node intends with one group, beyond its stance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Plan {
    /// Addresses must go before anything else is done.
    pub(super) drop_pending: bool,
    /// The neighbours must be told again.
    pub(super) announce_pending: bool,
    /// Authority was lost; told once, until the group is stopped.
    pub(super) lost: bool,
    /// An operator wants it to go to the peer.
    pub(super) standby: bool,
    /// An operator wants it here.
    pub(super) wanted: bool,
    /// It is being stopped for the peer.
    pub(super) handing_over: bool,
    /// It was given to the peer on purpose: don't ask for it back while the peer is there.
    pub(super) yielded: bool,
    /// A handover gets this long before this node looks whether the peer took it.
    pub(super) yield_until: Instant,
    /// Since when the peer, fresh, leaves it alone.
    pub(super) peer_idle_since: Option<Instant>,
    /// Contact was made while this node ran it without the peer's promise: until then it may go on.
    pub(super) bridge_until: Instant,
    /// Both nodes were seen running it.
    pub(super) conflict: bool,
    /// That both nodes failed was told.
    pub(super) both_failed: bool,
    /// Why it is asked for, since when, and how long the peer had been silent then.
    pub(super) acquiring: Option<(Cause, Instant, Option<Duration>)>,
}

/// Everything that decides what this node does next: no figures for people, no bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decisions {
    pub(super) ledger: Ledger,
    pub(super) peer: Peer,
    /// R8: how long from its start the next life of this node must be bound.
    pub(super) longest: Duration,
    pub(super) facts: Option<PeerFacts>,
    pub(super) mismatch_told: bool,
    pub(super) links: Vec<Link, MAX_LINKS>,
    pub(super) groups: Vec<Group, MAX_GROUPS>,
    pub(super) plans: Vec<Plan, MAX_GROUPS>,
    pub(super) life: Life,
    /// Every group was confirmed stopped: this node is heard and hears (R9).
    pub(super) clean: bool,
    /// When time was last let pass: nothing before it is still due.
    pub(super) decided_at: Instant,
    pub(super) keepalive_at: Instant,
    pub(super) hello_at: Instant,
    pub(super) hello_due: bool,
    pub(super) tickets: u32,
    /// First frame that said `left`, and when.
    pub(super) left: Option<(u32, Instant)>,
    pub(super) departed: bool,
    pub(super) restart_above: Option<BootId>,
    /// When a frame of its own last passed encoding, framing and decoding (R10).
    pub(super) self_checked_at: Option<Instant>,
    pub(super) outbox: Outbox,
    pub(super) arbiter: ArbiterView,
    /// The peer says that it hears the arbiter on its own line.
    pub(super) peer_hears_arbiter: bool,
    /// Number of the key that the peer signs with.
    pub(super) peer_key: Option<u8>,
    /// In which version its newest frame was written.
    pub(super) peer_version: u8,
    /// Groups (one bit each) for which an operator votes in the peer's place (R14).
    pub(super) human: u16,
    /// The peer was heard after that vote: until when it may still stand.
    pub(super) human_until: Option<Instant>,
    /// The life of the peer that an operator wants reset (R12).
    pub(super) fence_wanted: Option<BootId>,
    pub(super) relays: Relays,
}

impl Decisions {
    /// The same as seen from an epoch that lies `by` later.
    #[must_use]
    pub fn rebased(mut self, by: Duration) -> Self {
        self.ledger = self.ledger.rebased(by);
        self.peer = self.peer.rebased(by);
        for link in &mut self.links {
            *link = link.rebased(by);
        }
        for group in &mut self.groups {
            *group = group.clone().rebased(by);
        }
        for plan in &mut self.plans {
            plan.yield_until = plan.yield_until.rebased(by);
            plan.bridge_until = plan.bridge_until.rebased(by);
            plan.peer_idle_since = plan.peer_idle_since.map(|at| at.rebased(by));
            plan.acquiring =
                plan.acquiring.map(|(cause, at, silent)| (cause, at.rebased(by), silent));
        }
        self.decided_at = self.decided_at.rebased(by);
        self.keepalive_at = self.keepalive_at.rebased(by);
        self.hello_at = self.hello_at.rebased(by);
        self.left = self.left.map(|(seq, at)| (seq, at.rebased(by)));
        self.self_checked_at = self.self_checked_at.map(|at| at.rebased(by));
        self.outbox = self.outbox.rebased(by);
        self.arbiter = self.arbiter.rebased(by);
        self.human_until = self.human_until.map(|at| at.rebased(by));
        self
    }
}
