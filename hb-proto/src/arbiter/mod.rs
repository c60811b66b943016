//! The third voter: a sans-IO state machine between two serial lines (protocol.md §2, §4).
//!
//! To the nodes it is a cable that also votes. It forwards their frames, promises groups by R1–R8 with the
//! same [`Ledger`] as the nodes, resets a node on request by R12 and R13, and remembers over its own reset
//! what R8 allows. It has no configuration but its key, its number and its clock's drift: the times, the
//! homes and the meaning of the group numbers come from the nodes' hellos.
//!
//! # The contract
//!
//! As [`crate::node`]'s: `handle_*` for what happened, `poll_*` for what to do, time passed in and never
//! going back, [`Arbiter::handle_wakeup`] first, then everything that arrived, then
//! [`Arbiter::handle_timeout`], then every output until it is empty. Actions come before frames: what
//! [`Action::Store`] holds must be stored before anything that is polled after it leaves.

mod config;
#[cfg(feature = "explore")]
mod explore;
mod fence;
mod forward;
mod memory;
mod send;
mod vote;

pub use config::{Config, ConfigError};
pub use fence::{CONFIRM_WINDOW, Hindrance};
pub use forward::{Accepted, Port};
pub use memory::{Memory, NodeMemory};
pub use send::Transmit;

use core::mem::MaybeUninit;

use heapless::Deque;

use crate::authority::{Ledger, Terms};
use crate::config::{MAX_GROUPS, full};
use crate::id::{BootId, Voter};
use crate::time::{Duration, Instant, Millis};
use crate::wire::Reject;
use crate::wire::auth::KeyRing;
use crate::wire::message::Versions;
use crate::wire::message::arbiter::{Promisees, ResetReason};

use fence::Fence;
use forward::PortState;
use send::Outbox;
use vote::NodeFacts;

/// Something to do outside. Do it at once, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Store this, so that it survives a reset, before any frame leaves.
    Store(Memory),
    /// Pull the node's reset line, once; answer with [`Arbiter::handle_pulsed`].
    Pulse {
        /// Whose.
        node: Voter,
    },
    /// Another arbiter's lives are ahead of this one's: begin a new life above this id (R9).
    Restart {
        /// That id.
        above: BootId,
    },
}

/// What a person, or a LED, should be told. Nothing is decided from events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A node was heard again, or fell silent for deadtime.
    Heard {
        /// Which.
        node: Voter,
        /// Whether it is heard.
        heard: bool,
    },
    /// Another arbiter was, or may have been, in this one's place: every group counts as promised to somebody
    /// unknown (R8).
    Forgot,
    /// A node's reset line is pulled.
    Pulsed {
        /// Which.
        node: Voter,
        /// In this life.
        boot: BootId,
    },
    /// There is evidence that the pulse stopped the node.
    Confirmed {
        /// Which.
        node: Voter,
    },
    /// A pulse hit the other node: both lines are out of use until they are tested.
    Miswired,
    /// This arbiter was not scheduled for so long.
    Stall {
        /// Beyond what was due.
        late: Duration,
    },
    /// A frame was dropped.
    Rejected {
        /// On this port.
        port: Port,
        /// For this reason.
        reason: Reject,
    },
}

/// Keys that an arbiter accepts at once: the old one, the new one, and one more. It has little memory.
pub const MAX_ARBITER_KEYS: usize = 3;
/// Events kept for the driver; beyond that they are lost.
const MAX_EVENTS: usize = 16;

/// One node, as the arbiter knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct NodeView {
    /// When a new frame of its came, by whatever way.
    heard_at: Option<Instant>,
    /// When one came by its own line.
    direct_at: Option<Instant>,
    /// The newest that came by its own line.
    direct_newest: Option<crate::authority::FrameName>,
    /// What its newest hello of its present life said.
    facts: Option<NodeFacts>,
    /// Its newest frame asks to reset its peer in this life.
    request: Option<BootId>,
    /// It hears its peer on some link.
    hears_peer: bool,
    /// Since when this life of its has heard this arbiter without a break: a witness for what came since.
    attentive_since: Option<Instant>,
    /// Its present life began after this arbiter began to listen: an earlier one has answered it. Nobody
    /// else can have promised it anything.
    young: bool,
    /// It armed the external watchdog.
    armed: bool,
    /// It feeds the arbiter with power.
    feeds: bool,
    /// Since when its machine gives no sign of being there.
    carrier_lost_at: Option<Instant>,
    /// Of which of the arbiter's lives its newest frame echoes one: the low byte.
    echoed_life: Option<u8>,
    /// In which version of the wire its newest frame was written.
    version: u8,
    /// As last told.
    told_heard: bool,
    fence: Fence,
}

/// Everything that decides what this arbiter does next.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decisions {
    ledger: Ledger<()>,
    nodes: [NodeView; 2],
    /// As it should be stored, and as it was last given to the driver.
    memory: Memory,
    stored: Option<Memory>,
    reset: ResetReason,
    started_at: Instant,
    /// End of its own last stall.
    attentive_since: Instant,
    /// When the promises began that somebody else may have given (R8), and the longest terms on which
    /// these are known to be.
    forgot_at: Instant,
    forgot_full: Duration,
    /// Both nodes have answered since, in lives whose terms are known: what is left of those promises is
    /// on these terms.
    settled: bool,
    /// When any node was last heard; at first the start, if power stayed. `None`: another arbiter may have
    /// been in this one's place since.
    heard_at: Option<Instant>,
    decided_at: Instant,
    keepalive: Duration,
    keepalive_at: Instant,
    hello_at: Instant,
    hello_due: bool,
    /// A pulse to be given.
    pulse: Option<Voter>,
    restart_above: Option<BootId>,
    restarted: bool,
    outbox: Outbox,
    ports: [PortState; 2],
}

/// Figures of one port; they wrap.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortStatistics {
    /// Frames accepted.
    pub received: u32,
    /// Frames passed on to the other port.
    pub forwarded: u32,
    /// Frames that found the way to the other port blocked by newer ones.
    pub dropped: u32,
    /// Frames dropped, by reason.
    pub rejected: [u32; Reject::COUNT],
}

/// The dongle's decisions.
#[derive(Clone)]
pub struct Arbiter {
    config: Config,
    keys: KeyRing<MAX_ARBITER_KEYS>,
    versions: Versions,
    d: Decisions,
    statistics: [PortStatistics; 2],
    events: Deque<Event, MAX_EVENTS>,
}

impl Arbiter {
    /// A life of the arbiter, beginning now. `boot` was stored before; `memory` is what the last life
    /// stored, if it can be read; `reset` is why this life begins. Of more keys than [`MAX_ARBITER_KEYS`] it
    /// takes the one that signs and the first others.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    #[allow(clippy::needless_pass_by_value)] // They are its own from here on.
    pub fn new<const N: usize>(
        config: Config,
        keys: KeyRing<N>,
        boot: BootId,
        memory: Option<Memory>,
        reset: ResetReason,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut arbiter = Self::without_groups(config, boot, reset, now);
        keys.narrow_into(&mut arbiter.keys);
        arbiter.begin(memory.as_ref(), now);
        Ok(arbiter)
    }

    /// As [`Arbiter::new`], made where it stays: an arbiter is too large for a small stack to pass it on. Its
    /// keys, too, are put in place by `keys`, which says whether there are any.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new_in(
        place: &mut MaybeUninit<Self>,
        config: Config,
        keys: impl FnOnce(&mut KeyRing<MAX_ARBITER_KEYS>) -> bool,
        (boot, memory, reset): (BootId, Option<Memory>, ResetReason),
        now: Instant,
    ) -> Result<&mut Self, ConfigError> {
        config.check()?;
        let arbiter = Self::put(place, config, boot, reset, now);
        if !keys(&mut arbiter.keys) {
            return Err(ConfigError::NoKey);
        }
        arbiter.begin(memory.as_ref(), now);
        Ok(arbiter)
    }

    #[inline(never)] // What it takes of the stack is free again before keys are made.
    fn put(
        place: &mut MaybeUninit<Self>,
        config: Config,
        boot: BootId,
        reset: ResetReason,
        now: Instant,
    ) -> &mut Self {
        place.write(Self::without_groups(config, boot, reset, now))
    }

    /// Without what is large, and without memory: what is not there is not copied.
    #[inline(always)]
    fn without_groups(config: Config, boot: BootId, reset: ResetReason, now: Instant) -> Self {
        let terms = Terms { lease: Duration::ZERO, full: Duration::ZERO };
        let keepalive = config.keepalive;
        let d = Decisions {
            ledger: Ledger::without_groups(Voter::Arbiter, boot, terms),
            nodes: [NodeView::default(); 2],
            memory: Memory::default(),
            stored: None,
            reset,
            started_at: now,
            attentive_since: now,
            forgot_at: now,
            forgot_full: terms.full,
            settled: false,
            heard_at: reset.kept_power().then_some(now),
            decided_at: now,
            keepalive,
            keepalive_at: now,
            hello_at: now,
            hello_due: true,
            pulse: None,
            restart_above: None,
            restarted: false,
            outbox: Outbox::default(),
            ports: [PortState::idle(), PortState::idle()],
        };
        Self {
            config,
            keys: KeyRing::empty(),
            versions: Versions::OURS,
            d,
            statistics: [PortStatistics::default(); 2],
            events: Deque::new(),
        }
    }

    /// R8: every group is promised to whom the last life remembers, or to *unknown*.
    fn begin(&mut self, stored: Option<&Memory>, now: Instant) {
        if let Some(memory) = stored {
            self.d.memory = *memory;
            self.d.stored = Some(*memory);
        }
        let terms = terms_of(&self.config, &self.d.memory);
        self.d.forgot_full = terms.full;
        self.d.ledger.set_terms(terms);
        let (ledger, memory, reset) = (&mut self.d.ledger, &self.d.memory, self.d.reset);
        ledger.begin_with(&[Voter::A; MAX_GROUPS], now, |group| {
            memory.starting_promisee(group, reset)
        });
    }

    // ---- getters

    /// What it was configured with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The keys that it accepts.
    #[must_use]
    pub const fn keys(&self) -> &KeyRing<MAX_ARBITER_KEYS> {
        &self.keys
    }

    /// Why this life began.
    #[must_use]
    pub const fn reset_reason(&self) -> ResetReason {
        self.d.reset
    }

    /// Its decision state.
    #[must_use]
    pub const fn decisions(&self) -> &Decisions {
        &self.d
    }

    /// This life's id.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.d.ledger.boot()
    }

    /// Its promises.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger<()> {
        &self.d.ledger
    }

    /// What it remembers.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.d.memory
    }

    /// One port's figures.
    #[must_use]
    pub const fn statistics(&self, port: Port) -> &PortStatistics {
        &self.statistics[port.index()]
    }

    /// The silence after which it would fence: the longest that nodes announced, its own until one did.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn deadtime(&self) -> Duration {
        let announced = self.d.memory.deadtime;
        if announced > Millis(0) { announced.span() } else { self.config.deadtime }
    }

    /// Goes on as if its epoch lay `by` later: explorers compare states apart from their histories.
    pub fn rebase(&mut self, by: Duration) {
        self.d = self.d.clone().rebased(by);
    }

    // ---- inputs

    /// First call after waking up. After a stall of its own it can't say who was silent (R11).
    pub fn handle_wakeup(&mut self, now: Instant) {
        let late = now.since(self.poll_timeout());
        if late > self.d.keepalive.times(2) {
            self.d.attentive_since = now;
            self.tell(Event::Stall { late });
        }
    }

    /// R13: another [`Config::external_watchdog`], from now on.
    pub const fn set_external_watchdog(&mut self, silence: Duration) {
        self.config.external_watchdog = silence;
    }

    /// Whether a node feeds the arbiter with power.
    pub fn handle_feed(&mut self, node: Voter, feeds: bool) {
        if let Some(view) = self.d.nodes.get_mut(node.index()) {
            view.feeds = feeds;
        }
    }

    /// Lets time pass and decides. Call after everything that had arrived was handed in.
    #[inline(never)] // What it takes of the stack is free again when its driver goes on.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.d.decided_at = now;
        self.d.ledger.expire(now);
        self.watch_nodes(now);
        self.decide_fences(now);
        self.give_what_is_free(now);
        // A reset must not bring back what an absence has made worthless.
        let absent = self.is_absent(now);
        let unknown = Promisees::from_bytes([u8::MAX; MAX_GROUPS / 4]);
        self.d.memory.promisees = if absent { unknown } else { self.d.ledger.promisees(now) };
        self.prepare_frame(now);
    }

    // ---- outputs

    /// The next thing to do outside. Poll until `None` after any input, before any frame.
    pub fn poll_action(&mut self, _now: Instant) -> Option<Action> {
        if self.must_store() {
            self.d.stored = Some(self.d.memory);
            return Some(Action::Store(self.d.memory));
        }
        if let Some(node) = self.d.pulse.take() {
            return Some(Action::Pulse { node });
        }
        let above = self.d.restart_above.filter(|_| !self.d.restarted)?;
        self.d.restarted = true;
        Some(Action::Restart { above })
    }

    fn must_store(&self) -> bool {
        self.d.stored != Some(self.d.memory)
    }

    /// The next event. Poll until `None` after any input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Arbiter::handle_timeout`] is due at the latest. Ask again after any input.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        // What is due already was decided; what isn't is due when it is. A loop and no iterators: a third of
        // their size.
        let mut due = Due { decided: self.d.decided_at, at: self.d.keepalive_at };
        for &node in &Voter::NODES {
            let silent = self.silent_since(node);
            let fence = &self.d.nodes[node.index()].fence;
            due.later(silent + self.patience(node));
            due.later(silent + self.deadtime());
            due.later(silent + self.config.external_watchdog);
            due.later_if(fence.due(self.d.attentive_since, self.deadtime()));
        }
        for group in self.d.ledger.groups() {
            due.later_if(self.d.ledger.promises(group).promise_ends());
        }
        let mut due = due.at;
        for port in &self.d.ports {
            due = port.due().map_or(due, |at| at.min(due));
        }
        self.d.outbox.change_due().map_or(due, |at| at.min(due))
    }

    /// For a test that wants to see who notices.
    #[cfg(feature = "mutants")]
    pub fn break_rule(&mut self, rule: Option<crate::mutant::Mutant>) {
        self.d.ledger.break_rule(rule);
    }

    /// For a test of what happens when there are more versions of the wire.
    #[cfg(feature = "mutants")]
    pub const fn understand(&mut self, versions: Versions) {
        self.versions = versions;
    }

    /// For a test that can't wait 13 years: the next frame is numbered after `seq`.
    #[cfg(feature = "mutants")]
    pub const fn skip_to(&mut self, seq: u32) {
        self.d.ledger.skip_to(seq);
    }

    fn is_broken(&self, rule: crate::mutant::Mutant) -> bool {
        self.d.ledger.is_broken(rule)
    }

    fn tell(&mut self, event: Event) {
        // For people and LEDs: what finds no room is not told.
        let _ = self.events.push_back(event);
    }

    /// Since when a node has been silent, as far as this life and its attention reach.
    fn silent_since(&self, node: Voter) -> Instant {
        let heard = self.d.nodes[node.index()].heard_at.unwrap_or(self.d.started_at);
        heard.max(self.d.attentive_since)
    }

    /// Whether a node was heard within deadtime, by whatever way.
    #[must_use]
    pub fn is_heard(&self, node: Voter, now: Instant) -> bool {
        self.was_lately(self.d.nodes[node.index()].heard_at, now)
    }

    /// Whether a node was heard within deadtime on its own line.
    #[must_use]
    pub fn hears_directly(&self, node: Voter, now: Instant) -> bool {
        self.was_lately(self.d.nodes[node.index()].direct_at, now)
    }

    /// Within deadtime.
    fn was_lately(&self, at: Option<Instant>, now: Instant) -> bool {
        at.is_some_and(|at| now.since(at) < self.deadtime())
    }

    fn watch_nodes(&mut self, now: Instant) {
        for &node in &Voter::NODES {
            let heard = self.is_heard(node, now);
            if core::mem::replace(&mut self.d.nodes[node.index()].told_heard, heard) != heard {
                self.tell(Event::Heard { node, heard });
            }
        }
    }
}

/// The earliest of what is still to come.
struct Due {
    decided: Instant,
    at: Instant,
}

impl Due {
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn later(&mut self, at: Instant) {
        if at > self.decided && at < self.at {
            self.at = at;
        }
    }

    fn later_if(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.later(at);
        }
    }
}

/// The terms that a memory calls for. A lease of zero, nothing known yet, promises nothing.
fn terms_of(config: &Config, memory: &Memory) -> Terms {
    let lease = memory.lease.span();
    Terms { lease, full: full(lease, config.drift_percent, memory.guard.span()) }
}

impl Decisions {
    /// The same as seen from an epoch that lies `by` later.
    #[must_use]
    pub fn rebased(mut self, by: Duration) -> Self {
        self.ledger = self.ledger.rebased(by);
        for node in &mut self.nodes {
            node.heard_at = node.heard_at.map(|at| at.rebased(by));
            node.direct_at = node.direct_at.map(|at| at.rebased(by));
            node.carrier_lost_at = node.carrier_lost_at.map(|at| at.rebased(by));
            node.attentive_since = node.attentive_since.map(|at| at.rebased(by));
            node.fence = node.fence.rebased(by);
        }
        self.started_at = self.started_at.rebased(by);
        self.attentive_since = self.attentive_since.rebased(by);
        self.forgot_at = self.forgot_at.rebased(by);
        self.heard_at = self.heard_at.map(|at| at.rebased(by));
        self.decided_at = self.decided_at.rebased(by);
        self.keepalive_at = self.keepalive_at.rebased(by);
        self.hello_at = self.hello_at.rebased(by);
        self.outbox = self.outbox.rebased(by);
        for port in &mut self.ports {
            port.rebase(by);
        }
        self
    }
}
