//! The one place where actions become effects: addresses here, scripts in the helper process.

use std::time::Duration as StdDuration;

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::authority::Stance;
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use rustix::process::{Pid, Signal, kill_process_group};
use tracing::{debug, error, info, warn};

use crate::config::{AddressSpec, AuthKeys, ResourceLine, Settings};
use crate::log::{CRIT, Sink};
use crate::net::ipaddr::{acquired_line, announcing_line};
use crate::net::{Addresses, Announcer, Held};
use crate::resources::{self, FromHelper, Helper, Received, Step, Steps, ToHelper};

/// Orders that can be under way: one a group.
const MAX_ORDERS: usize = hb_proto::config::MAX_GROUPS;
/// A helper that died is replaced after this: its sockets and scripts get a moment to be gone.
const RESPAWN_AFTER: Duration = Duration::from_millis(20);
/// … and one that can't be started is tried again after this.
const RESPAWN_EVERY: Duration = Duration::from_secs(1);
/// How long the helper may take to end after everything is said.
const FAREWELL: StdDuration = StdDuration::from_secs(2);

/// What the loop is to do after an action.
pub enum After {
    /// Go on.
    GoOn,
    /// An order was answered already: let the node decide again.
    Decide,
    /// End this process; begin a new life above the id, if one is given.
    Depart(Option<BootId>),
}

/// An order that the helper has not answered.
#[derive(Clone, Copy)]
struct UnderWay {
    ticket: TicketId,
    /// The script's process group, once it runs.
    group: Option<Pid>,
}

/// Hands that carry out what the node decides.
pub struct Effects {
    helper: Helper,
    sink: Sink,
    addresses: Addresses,
    announcer: Announcer,
    /// Orders that the helper has not answered: answered as failed should it die.
    under_way: heapless::Vec<UnderWay, MAX_ORDERS>,
    /// When a helper that is gone is replaced.
    respawn_at: Option<Instant>,
    /// Groups (one bit each) that the standing order covers.
    standing: u16,
    /// Log lines that found no room on their way to the helper, and were not told of yet.
    unlogged: u32,
    /// What the helper was asked to read of authkeys.
    keys: Keys,
}

/// authkeys on its way through the helper.
enum Keys {
    NotAsked,
    Asked,
    Read(Result<AuthKeys, Unread>),
}

/// Why there are no keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// So many errors, which the helper has logged.
    Errors(u32),
    /// There is no helper, or it doesn't read its orders.
    NoHelper,
}

impl Effects {
    /// Hands for a helper that is configured.
    #[must_use]
    pub const fn new(
        helper: Helper,
        sink: Sink,
        addresses: Addresses,
        announcer: Announcer,
    ) -> Self {
        let under_way = heapless::Vec::new();
        Self {
            helper,
            sink,
            addresses,
            announcer,
            under_way,
            respawn_at: None,
            standing: 0,
            unlogged: 0,
            keys: Keys::NotAsked,
        }
    }

    /// The helper's socket, and whether to wait for room in it.
    #[must_use]
    pub const fn helper(&self) -> &Helper {
        &self.helper
    }

    /// When [`Effects::tend`] has something to send.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let announcement = self.announcer.poll_timeout().unwrap_or(Instant::NEVER);
        announcement.min(self.respawn_at.unwrap_or(Instant::NEVER))
    }

    /// Sends repeats of announcements that are due.
    pub fn tend(&mut self, now: Instant) {
        self.announcer.poll(now);
        if let Some(failure) = self.announcer.take_last_failure() {
            warn!("announcing an address failed: {failure}");
        }
    }

    /// Carries out one action. Every kind has its arm, here and nowhere else.
    pub fn carry_out(
        &mut self,
        node: &mut Node,
        settings: &Settings,
        action: Action,
        now: Instant,
    ) -> After {
        match action {
            Action::Run { ticket, group, resource, verb } => {
                // Before the start: what no standing order covers would outlive this process.
                self.keep_standing_order(node, settings);
                match &settings.groups[group.index()].resources[usize::from(resource)] {
                    ResourceLine::Address { written, spec } => {
                        let outcome = self.address(written, spec, verb, now);
                        node.handle_done(now, ticket.id(), outcome);
                        After::Decide
                    }
                    ResourceLine::Script { written, .. } => self.script(
                        node,
                        written,
                        ticket.id(),
                        Step { group: group.0, resource },
                        verb,
                        now,
                    ),
                }
            }
            Action::Abort { ticket } => {
                self.order(&ToHelper::Abort { ticket: ticket.0 });
                After::GoOn
            }
            Action::DropAddresses { group } => {
                self.drop_addresses(settings, group);
                After::GoOn
            }
            Action::Announce { group } => {
                self.announce(settings, group, now);
                After::GoOn
            }
            Action::Depart { restart_above } => After::Depart(restart_above),
        }
    }

    fn address(&mut self, written: &str, spec: &AddressSpec, verb: Verb, now: Instant) -> Outcome {
        if verb != Verb::Status {
            info!("Running IPaddr {written} {} (built in)", verb.name());
        }
        match verb {
            Verb::Start => match self.addresses.acquire(spec) {
                Ok(held) => {
                    info!("{}", acquired_line(&held));
                    self.announce_one(&held, now);
                    Outcome::Done
                }
                Err(error) => {
                    error!("IPaddr {written} start: {error}");
                    Outcome::Failed
                }
            },
            Verb::Stop => {
                self.announcer.cancel(spec.ip);
                match self.addresses.release(spec.ip) {
                    Ok(_) => Outcome::Done,
                    Err(error) => {
                        error!("IPaddr {written} stop: {error}");
                        Outcome::Failed
                    }
                }
            }
            Verb::Status => match self.addresses.is_held(spec.ip) {
                Ok(true) => Outcome::Held,
                Ok(false) => Outcome::NotHeld,
                Err(error) => {
                    error!("IPaddr {written} status: {error}");
                    Outcome::Failed
                }
            },
        }
    }

    fn announce_one(&mut self, held: &Held, now: Instant) {
        info!("{}", announcing_line(held));
        if let Err(error) = self.announcer.announce(held, now) {
            warn!("{error}");
        }
    }

    fn script(
        &mut self,
        node: &mut Node,
        written: &str,
        ticket: TicketId,
        step: Step,
        verb: Verb,
        now: Instant,
    ) -> After {
        let verb = match verb {
            Verb::Start => resources::Verb::Start,
            Verb::Stop => resources::Verb::Stop,
            Verb::Status => resources::Verb::Status,
        };
        if self.under_way.push(UnderWay { ticket, group: None }).is_ok()
            && self.order(&ToHelper::Run { ticket: ticket.0, step, verb })
        {
            return After::GoOn;
        }
        error!("{written}: could not be ordered from the helper process");
        self.under_way.retain(|order| order.ticket != ticket);
        node.handle_done(now, ticket, Outcome::Failed);
        After::Decide
    }

    /// An alert for the operator; one that the helper can't take is told in the log.
    pub fn alert(&mut self, message: &ToHelper<'_>) {
        if !self.order(message) {
            warn!("an alert could not be handed to the helper process");
        }
    }

    fn order(&mut self, message: &ToHelper<'_>) -> bool {
        self.helper.send(message).is_ok()
    }

    /// R10: authority is lost, so the addresses go now. What is refused is tried again by the stop
    /// that follows.
    fn drop_addresses(&mut self, settings: &Settings, group: GroupId) {
        let ours = |held: &&Held| {
            settings.groups[group.index()].resources.iter().any(|resource| {
                matches!(resource, ResourceLine::Address { spec, .. } if spec.ip == held.ip)
            })
        };
        let doomed: Vec<Held> = self.addresses.held().iter().filter(ours).cloned().collect();
        for held in &doomed {
            self.announcer.cancel(held.ip);
        }
        for (ip, error) in self.addresses.drop_addresses(&doomed) {
            error!(target: CRIT, "{ip} could not be removed: {error}");
        }
    }

    /// After a conflict: the neighbours may have learnt the other machine's address.
    fn announce(&mut self, settings: &Settings, group: GroupId, now: Instant) {
        for resource in &settings.groups[group.index()].resources {
            let ResourceLine::Address { spec, .. } = resource else { continue };
            match self.addresses.find(spec.ip) {
                Ok(Some(held)) => self.announce_one(&held, now),
                Ok(None) => warn!("{} should be here and is not", spec.ip),
                Err(error) => warn!("{}: {error}", spec.ip),
            }
        }
    }

    /// What the helper has to say, a bounded number of messages; whether an order was answered.
    pub fn receive(&mut self, node: &mut Node, now: Instant) -> bool {
        let mut answered = false;
        for _ in 0..MAX_ORDERS {
            match self.helper.receive() {
                Received::Message(FromHelper::Done { ticket, outcome, held, duration_ms }) => {
                    let ticket = TicketId(ticket);
                    self.under_way.retain(|order| order.ticket != ticket);
                    debug!("script answered after {duration_ms} ms: {outcome:?}");
                    node.handle_done(now, ticket, judged(outcome, held));
                    answered = true;
                }
                Received::Message(FromHelper::Started { ticket, group }) => {
                    let order = self.under_way.iter_mut().find(|order| order.ticket.0 == ticket);
                    if let Some(order) = order {
                        order.group = Pid::from_raw(group);
                    }
                }
                // The line that tells of a loss is the next one to be lost: without end.
                Received::Message(FromHelper::LogDropped { lines: 1 }) => {}
                Received::Message(FromHelper::LogDropped { lines }) => {
                    warn!("{lines} log lines were lost");
                }
                Received::Message(FromHelper::Keys(keys)) => {
                    self.keys = Keys::Read(keys.map_err(Unread::Errors));
                }
                Received::Nothing => return answered,
                Received::Gone => {
                    self.mourn_helper(node, now);
                    return true;
                }
            }
        }
        answered
    }

    /// Has the helper read authkeys.
    pub fn ask_for_keys(&mut self) {
        let asked = self.order(&ToHelper::ReadKeys);
        self.keys = if asked { Keys::Asked } else { Keys::Read(Err(Unread::NoHelper)) };
    }

    /// What came of that, once.
    pub fn take_keys(&mut self) -> Option<Result<AuthKeys, Unread>> {
        match std::mem::replace(&mut self.keys, Keys::NotAsked) {
            Keys::Read(read) => return Some(read),
            waiting => self.keys = waiting,
        }
        None
    }

    /// The helper died. What it ran goes with it, or a start would finish after its group was given up;
    /// then it counts as failed.
    fn mourn_helper(&mut self, node: &mut Node, now: Instant) {
        if self.respawn_at.is_some() {
            return;
        }
        self.sink.divert(None);
        let status = self.helper.exit_status();
        error!(target: CRIT, "the helper process is gone ({status:?}); starting another");
        self.respawn_at = Some(now + RESPAWN_AFTER);
        if matches!(self.keys, Keys::Asked) {
            self.keys = Keys::Read(Err(Unread::NoHelper));
        }
        for order in std::mem::take(&mut self.under_way) {
            if let Some(group) = order.group {
                // It may have ended by itself meanwhile.
                let _ = kill_process_group(group, Signal::KILL);
            }
            node.handle_done(now, order.ticket, Outcome::Failed);
        }
    }

    /// Whether the helper is gone and its socket is not worth watching.
    #[must_use]
    pub const fn is_without_helper(&self) -> bool {
        self.respawn_at.is_some()
    }

    /// Starts another helper when it is time; `true` if there is one with a socket to watch.
    pub fn replace_helper(&mut self, now: Instant) -> bool {
        if self.respawn_at.is_none_or(|at| now < at) {
            return false;
        }
        match self.helper.respawn() {
            Ok(()) => {
                self.respawn_at = None;
                self.sink.divert(self.helper.log_socket().ok());
                true
            }
            Err(error) => {
                error!(target: CRIT, "no helper process: {error}; trying again");
                self.respawn_at = Some(now + RESPAWN_EVERY);
                false
            }
        }
    }

    /// Tells how many lines the log lacks, as soon as there is room for that line. About once a second.
    pub fn tell_unlogged(&mut self) {
        self.unlogged = self.unlogged.saturating_add(self.sink.take_dropped());
        if self.unlogged > 0 {
            warn!("{} log lines were lost", self.unlogged);
            if self.sink.take_dropped() == 0 {
                self.unlogged = 0;
            }
        }
    }

    /// Sends what waits for room.
    pub fn flush(&mut self) {
        // A helper that is gone is noticed by receive.
        let _ = self.helper.flush();
    }

    /// Keeps the dead man's order current: what the helper gives up should this process vanish.
    pub fn keep_standing_order(&mut self, node: &Node, settings: &Settings) {
        let ours = |group: &GroupId| {
            let stopped = node.group(*group).is_none_or(|here| here.phase() == Phase::Stopped);
            node.stance(*group) == Stance::Running && !stopped
        };
        let groups = || (0..settings.groups.len() as u8).map(GroupId).filter(ours);
        let standing = groups().fold(0, |set: u16, group| set | 1 << group.0);
        if standing == self.standing {
            return;
        }
        let mut steps = Steps::new();
        for group in groups() {
            let resources = settings.groups[group.index()].resources.len() as u8;
            for resource in (0..resources).rev() {
                // 16 groups of 16 resources at most, which is its capacity.
                let _ = steps.push(Step { group: group.0, resource });
            }
        }
        if self.order(&ToHelper::StandingOrder(steps)) {
            self.standing = standing;
        }
    }

    /// Everything is stopped: the helper may go.
    pub fn farewell(self) {
        self.sink.divert(None);
        if let Err(error) = self.helper.farewell(FAREWELL) {
            warn!("the helper process did not take its leave: {error}");
        }
    }
}

fn judged(outcome: resources::Outcome, held: Option<bool>) -> Outcome {
    match (held, outcome) {
        (Some(true), _) => Outcome::Held,
        (Some(false), _) => Outcome::NotHeld,
        (None, resources::Outcome::Exit(0)) => Outcome::Done,
        (None, _) => Outcome::Failed,
    }
}
