//! One group's life on this node: order of starts and stops, patience, retries.
//!
//! Starts left to right, stops right to left. Knows nothing of authority: it is told to start and stop.

#[cfg(feature = "explore")]
mod explore;

use crate::action::{Action, Outcome, Ticket, TicketId, Verb};
use crate::config::Patience;
use crate::id::GroupId;
use crate::time::{Duration, Instant};

/// How long an aborted order may take to be answered before its answer is given up.
const ABORT_GRACE: Duration = Duration::from_secs(5);
/// After the retries are used up a failing stop goes on being tried, this many times more slowly.
const SLOW_RETRY: u64 = 30;

/// What the group does. From × to:
///
/// | from \ to | stopped | starting | running | stopping |
/// |---|---|---|---|---|
/// | stopped | – | told to start | – | – |
/// | starting | – | a start done, the next one's turn | last start done | told to stop, or a start failed |
/// | running | – | – | – | told to stop |
/// | stopping | every stop confirmed | – | – | a stop confirmed, the next one's turn |
///
/// A life begins in *stopping*, with a look at each resource before it is stopped (clean start, R9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// Every resource is confirmed stopped.
    Stopped,
    /// Resources before this one run; this one is being started.
    Starting(u8),
    /// All resources run.
    Running,
    /// Resources after this one are confirmed stopped; this one is being stopped.
    Stopping(u8),
}

impl Phase {
    /// The matrix above.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use Phase::{Running, Starting, Stopped, Stopping};
        matches!(
            (self, to),
            (Stopped | Starting(_), Starting(_))
                | (Starting(_), Running)
                | (Starting(_) | Running | Stopping(_), Stopping(_))
                | (Stopping(_), Stopped)
        )
    }

    /// The word that status output uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting(_) => "starting",
            Self::Running => "running",
            Self::Stopping(_) => "stopping",
        }
    }
}

/// What is being done about the resource that is stopped next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum StopStep {
    /// Clean start: does it run at all?
    Look,
    /// Stop it.
    Stop,
    /// Its stop failed: does it still run?
    Confirm,
    /// It does: wait, then stop it again.
    Wait(Instant),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Order {
    verb: Verb,
    resource: u8,
    /// Once polled: its number, and when patience ends.
    issued: Option<(TicketId, Instant)>,
    abort: Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Abort {
    No,
    /// To be told to the driver.
    Due,
    Told,
}

/// What a group tells its node about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Change {
    /// All resources run.
    Started,
    /// All resources are confirmed stopped.
    Stopped,
    /// A start failed or ran out of its time; the group is being stopped again.
    StartFailed {
        /// Which resource.
        resource: u8,
    },
    /// A resource ran before this life began; it is being stopped (R9).
    FoundRunning {
        /// Which resource.
        resource: u8,
    },
    /// A stop failed, but status says that the resource doesn't run: taken as stopped.
    StopUnclean {
        /// Which resource.
        resource: u8,
    },
    /// A stop failed and its retries are used up: the resource may run. Tried again, slowly.
    StopFailed {
        /// Which resource.
        resource: u8,
    },
    /// An order ran out of its time and is being aborted.
    TimedOut {
        /// Which resource.
        resource: u8,
        /// Doing what.
        verb: Verb,
    },
}

/// One group on this node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    id: GroupId,
    resources: u8,
    phase: Phase,
    step: StopStep,
    looking: bool,
    retries: u8,
    overdue: bool,
    start_timed_out: bool,
    order: Option<Order>,
    failed_until: Option<Instant>,
}

impl Group {
    /// A group at the start of a life: nothing is known of its resources, so each is looked at (R9).
    #[must_use]
    pub fn unclean(id: GroupId, resources: u8) -> Self {
        let mut group = Self {
            id,
            resources,
            phase: Phase::Stopping(resources.saturating_sub(1)),
            step: StopStep::Look,
            looking: true,
            retries: 0,
            overdue: false,
            start_timed_out: false,
            order: None,
            failed_until: None,
        };
        group.give_order();
        group
    }

    /// What it does.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether its start failed and that is not yet forgotten.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failed_until.is_some()
    }

    /// Whether a stop ran out of its time or its retries: a reset is due (R10).
    #[must_use]
    pub const fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Forgets a failed start.
    pub fn clear_failure(&mut self) {
        self.failed_until = None;
    }

    /// Starts, if stopped.
    pub fn start(&mut self) {
        if self.phase == Phase::Stopped {
            self.become_phase(Phase::Starting(0));
            self.give_order();
        }
    }

    /// Stops, if starting or running. A start under way is aborted first.
    pub fn stop(&mut self) {
        match self.phase {
            Phase::Starting(at) => match &mut self.order {
                Some(order) if order.issued.is_some() => {
                    if order.abort == Abort::No {
                        order.abort = Abort::Due;
                    }
                }
                _ => self.begin_stop(at),
            },
            Phase::Running => self.begin_stop(self.resources - 1),
            Phase::Stopped | Phase::Stopping(_) => {}
        }
    }

    /// Whether a start is being aborted in order to stop.
    fn is_aborting_start(&self) -> bool {
        matches!(self.phase, Phase::Starting(_))
            && self.order.is_some_and(|order| order.abort != Abort::No)
    }

    fn begin_stop(&mut self, from: u8) {
        self.become_phase(Phase::Stopping(from));
        (self.step, self.retries, self.looking) = (StopStep::Stop, 0, false);
        self.give_order();
    }

    /// The order that phase and step call for.
    fn give_order(&mut self) {
        let wanted = match (self.phase, self.step) {
            (Phase::Starting(resource), _) => Some((resource, Verb::Start)),
            (Phase::Stopping(resource), StopStep::Look | StopStep::Confirm) => {
                Some((resource, Verb::Status))
            }
            (Phase::Stopping(resource), StopStep::Stop) => Some((resource, Verb::Stop)),
            _ => None,
        };
        self.order =
            wanted.map(|(resource, verb)| Order { verb, resource, issued: None, abort: Abort::No });
    }

    /// Whether [`Group::poll_action`] would start something: authority is checked just before (R2).
    #[must_use]
    pub fn is_about_to_start(&self) -> bool {
        self.order.is_some_and(|order| order.verb == Verb::Start && order.issued.is_none())
    }

    /// The next thing to do outside.
    pub fn poll_action(
        &mut self,
        now: Instant,
        patience: &Patience,
        tickets: &mut u32,
    ) -> Option<Action> {
        let order = self.order.as_mut()?;
        match order.issued {
            None => {
                *tickets = tickets.wrapping_add(1);
                let id = TicketId(*tickets);
                order.issued = Some((id, now + patience_with(patience, order.verb)));
                let (group, resource, verb) = (self.id, order.resource, order.verb);
                Some(Action::Run { ticket: Ticket::mint(id), group, resource, verb })
            }
            Some((ticket, _)) if order.abort == Abort::Due => {
                order.abort = Abort::Told;
                order.issued = Some((ticket, now + ABORT_GRACE));
                Some(Action::Abort { ticket })
            }
            Some(_) => None,
        }
    }

    /// An order was answered. An answer to an order that was given up changes nothing.
    pub fn handle_done(
        &mut self,
        now: Instant,
        ticket: TicketId,
        outcome: Outcome,
        patience: &Patience,
    ) -> Option<Change> {
        let order = self.order.filter(|order| order.issued.is_some_and(|(id, _)| id == ticket))?;
        self.conclude(now, order, outcome, patience)
    }

    fn conclude(
        &mut self,
        now: Instant,
        order: Order,
        outcome: Outcome,
        patience: &Patience,
    ) -> Option<Change> {
        let told_to_stop = self.is_aborting_start();
        self.order = None;
        match (self.phase, order.verb) {
            (Phase::Starting(at), Verb::Start) if told_to_stop => {
                self.begin_stop(at);
                // Aborted by patience, or by the node: only the first is a failure of the start.
                self.overdue_start(order, now, patience)
            }
            (Phase::Starting(at), Verb::Start) => self.start_concluded(now, at, outcome, patience),
            (Phase::Stopping(at), Verb::Stop) => match outcome {
                Outcome::Done | Outcome::NotHeld => self.stopped_one(at),
                Outcome::Held | Outcome::Failed => {
                    self.step = StopStep::Confirm;
                    self.give_order();
                    None
                }
            },
            (Phase::Stopping(at), Verb::Status) => self.looked_at(now, at, outcome, patience),
            _ => None,
        }
    }

    /// A start that was aborted because its time ran out counts as failed.
    fn overdue_start(&mut self, order: Order, now: Instant, patience: &Patience) -> Option<Change> {
        if !core::mem::take(&mut self.start_timed_out) {
            return None;
        }
        self.failed_until = Some(now + patience.failed_start_retry);
        Some(Change::StartFailed { resource: order.resource })
    }

    fn start_concluded(
        &mut self,
        now: Instant,
        at: u8,
        outcome: Outcome,
        patience: &Patience,
    ) -> Option<Change> {
        if outcome != Outcome::Done {
            self.failed_until = Some(now + patience.failed_start_retry);
            self.begin_stop(at);
            return Some(Change::StartFailed { resource: at });
        }
        if at + 1 < self.resources {
            self.become_phase(Phase::Starting(at + 1));
            self.give_order();
            return None;
        }
        self.become_phase(Phase::Running);
        self.failed_until = None;
        Some(Change::Started)
    }

    /// Status was asked for: before a clean start's stop, or after a stop that failed.
    fn looked_at(
        &mut self,
        now: Instant,
        at: u8,
        outcome: Outcome,
        patience: &Patience,
    ) -> Option<Change> {
        let runs = outcome != Outcome::NotHeld;
        match (self.step, runs) {
            (StopStep::Look, true) => {
                self.step = StopStep::Stop;
                self.give_order();
                (outcome == Outcome::Held).then_some(Change::FoundRunning { resource: at })
            }
            (StopStep::Look, false) => self.stopped_one(at),
            (_, false) => {
                let change = Change::StopUnclean { resource: at };
                self.stopped_one(at);
                Some(change)
            }
            (_, true) => {
                let slow = self.retries >= patience.stop_retries;
                let wait = patience.stop_retry_wait.times(if slow { SLOW_RETRY } else { 1 });
                self.step = StopStep::Wait(now + wait);
                self.retries = self.retries.saturating_add(1);
                if slow && !core::mem::replace(&mut self.overdue, true) {
                    return Some(Change::StopFailed { resource: at });
                }
                None
            }
        }
    }

    fn stopped_one(&mut self, at: u8) -> Option<Change> {
        if at == 0 {
            self.become_phase(Phase::Stopped);
            (self.looking, self.overdue, self.retries) = (false, false, 0);
            return Some(Change::Stopped);
        }
        self.become_phase(Phase::Stopping(at - 1));
        (self.step, self.retries) = (if self.looking { StopStep::Look } else { StopStep::Stop }, 0);
        self.give_order();
        None
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant, patience: &Patience) -> Option<Change> {
        if self.failed_until.is_some_and(|until| until <= now) {
            self.failed_until = None;
        }
        if let StopStep::Wait(until) = self.step
            && until <= now
            && matches!(self.phase, Phase::Stopping(_))
        {
            self.step = StopStep::Stop;
            self.give_order();
        }
        let order = self.order?;
        let (_, deadline) = order.issued?;
        if deadline > now {
            return None;
        }
        if order.abort == Abort::Told {
            // Nobody answers: go on as if it had failed. A late answer is recognised by its ticket.
            return self.conclude(now, order, Outcome::Failed, patience);
        }
        match order.verb {
            Verb::Start => self.start_timed_out = true,
            Verb::Stop => self.overdue = true,
            Verb::Status => {}
        }
        if let Some(order) = &mut self.order {
            order.abort = Abort::Due;
        }
        Some(Change::TimedOut { resource: order.resource, verb: order.verb })
    }

    /// When [`Group::handle_timeout`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let order = self.order.and_then(|order| order.issued).map(|(_, deadline)| deadline);
        let wait = match (self.step, self.phase) {
            (StopStep::Wait(until), Phase::Stopping(_)) => Some(until),
            _ => None,
        };
        [order, wait, self.failed_until].into_iter().flatten().min()
    }

    fn become_phase(&mut self, to: Phase) {
        debug_assert!(self.phase.may_become(to), "{:?} to {to:?}", self.phase);
        self.phase = to;
    }

    pub(crate) fn rebased(mut self, by: Duration) -> Self {
        if let Some(Order { issued: Some((_, deadline)), .. }) = &mut self.order {
            *deadline = deadline.rebased(by);
        }
        if let StopStep::Wait(until) = &mut self.step {
            *until = until.rebased(by);
        }
        self.failed_until = self.failed_until.map(|until| until.rebased(by));
        self
    }
}

const fn patience_with(patience: &Patience, verb: Verb) -> Duration {
    match verb {
        Verb::Start => patience.start,
        Verb::Stop => patience.stop,
        Verb::Status => patience.status,
    }
}

#[cfg(test)]
mod tests;
