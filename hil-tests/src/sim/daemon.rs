//! The driver: what `heartbeatd`'s event loop does with a node, in the same order (hb-linux,
//! daemon/event_loop.rs), with simulated system calls. Unlike there, a turn can lose the processor in
//! its middle.

mod act;

use std::collections::VecDeque;

use hb_proto::action::{Outcome, TicketId, Verb};
use hb_proto::id::{BootId, LinkId};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};

use super::check::Handed;
use super::dongle::LINE;
use super::fault::{Command, Point, Who};
use super::machine::What;
use super::plant::{self, Plant};
use super::queue::At;
use super::wire::{Bytes, Datagram, Port};
use super::world::{Happening, World};

/// As in the event loop.
const FRAMES_A_TURN: usize = 64;
const ROUNDS_A_TURN: usize = 64;
const TEND_EVERY: Duration = Duration::from_secs(1);
const FEED_EVERY: Duration = Duration::from_millis(250);

/// Where a turn goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Asleep,
    Woken,
    Read,
    Drained,
    Decided,
    Feed,
}

/// A running `heartbeatd`.
pub struct Daemon {
    pub node: Node,
    pub ports: Vec<Port>,
    pub helper: u32,
    /// SIGSTOPped.
    pub stopped: bool,
    /// Orders answered by the helper, to be read.
    pub answers: VecDeque<(TicketId, Outcome)>,
    pub helper_died: bool,
    pub commands: VecDeque<Command>,
    /// When the next turn is planned, and which plan is the valid one.
    pub turn_at: At,
    pub token: u64,
    /// To lose the processor once: where, for how long.
    pub stall: Option<(Point, u64)>,
    /// Until when it has no processor.
    pub stalled_until: At,
    stage: Stage,
    /// The turn began again because it had lost the processor.
    pub again: bool,
    now: Instant,
    stamped: Option<(LinkId, Bytes)>,
    under_way: Vec<TicketId>,
    standing: u16,
    tend_at: Instant,
    fed_at: Instant,
    watching: bool,
    /// For [`super::check`]: orders not answered, and resources confirmed started in this life.
    pub asked: Vec<(TicketId, What, Verb)>,
    pub confirmed: [u16; 16],
    /// Newest frame handed to this life whole, after its clean start: boot id and number.
    pub newest_handed: (u32, u32),
    /// Newest frame that it accepted as new.
    pub newest_first: (u32, u32),
    /// The same of the arbiter's.
    pub first_of_arbiter: (u32, u32),
}

/// What comes after carrying out, as in the daemon: nothing is decided, and nothing leaves, before what had
/// arrived was taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Drain,
    Decide,
}

/// How a round of carrying out ended.
enum Carried {
    All,
    LostProcessor,
    Departed(Option<BootId>),
}

impl Daemon {
    /// A life that begins now.
    pub fn new(node: Node, ports: Vec<Port>, helper: u32) -> Self {
        Self {
            node,
            ports,
            helper,
            stopped: false,
            answers: VecDeque::new(),
            helper_died: false,
            commands: VecDeque::new(),
            turn_at: At::MAX,
            token: 0,
            stall: None,
            stalled_until: 0,
            stage: Stage::Asleep,
            again: false,
            now: Instant::ZERO,
            stamped: None,
            under_way: Vec::new(),
            standing: 0,
            tend_at: Instant::ZERO,
            fed_at: Instant::ZERO,
            watching: false,
            asked: Vec::new(),
            confirmed: [0; 16],
            newest_handed: (0, 0),
            newest_first: (0, 0),
            first_of_arbiter: (0, 0),
        }
    }

    /// Whether this life has opened its machine's watchdog: after its clean start (R9).
    #[must_use]
    pub const fn has_watchdog_open(&self) -> bool {
        self.watching
    }

    fn is_ready(&self) -> bool {
        self.helper_died
            || !self.answers.is_empty()
            || !self.commands.is_empty()
            || self.ports.iter().any(Port::is_ready)
    }

    fn loses_processor(&mut self, at: Point) -> Option<u64> {
        let (_, span) = self.stall.filter(|&(point, _)| point == at)?;
        self.stall = None;
        Some(span)
    }
}

impl World {
    /// Plans the daemon's next turn: at once if something waits for it, else by its own timers.
    pub(super) fn plan_turn(&mut self, who: Who) {
        let machine = &self.machines[who];
        let Some(daemon) = machine.daemon.as_deref() else { return };
        if daemon.stopped || !machine.is_running() {
            return;
        }
        let due = if daemon.stage != Stage::Asleep {
            self.now.max(daemon.stalled_until)
        } else if daemon.is_ready() {
            self.now
        } else {
            let due = daemon.node.poll_timeout().min(daemon.tend_at);
            machine.clock.when(due).max(self.now)
        };
        if due >= daemon.turn_at {
            return;
        }
        let late = if machine.sched_us > 1 { self.rng.between(1, machine.sched_us) } else { 1 };
        self.plan_turn_at(who, due.saturating_add(late));
    }

    fn plan_turn_at(&mut self, who: Who, at: At) {
        if let Some(daemon) = self.machines[who].daemon.as_deref_mut() {
            if at >= daemon.turn_at {
                return;
            }
            self.tokens += 1;
            (daemon.turn_at, daemon.token) = (at, self.tokens);
            self.queue.plan(at, Happening::Turn(who, self.tokens));
        }
    }

    /// One turn, or what is left of one.
    pub(super) fn turn(&mut self, who: Who) {
        let Some(mut daemon) = self.machines[who].daemon.take() else { return };
        daemon.turn_at = At::MAX;
        if self.knobs.plant == Some(Plant::Panic) {
            assert!(self.now < plant::PANIC_AT, "planted");
        }
        let rules = self.rules_of_node(who, &daemon.node);
        let carried = self.turn_of(who, &mut daemon);
        self.count_node_rules(who, rules, &daemon.node);
        // It only shrinks, so that its store may be late (R8).
        self.machines[who].longest_promise = daemon.node.longest_promise();
        match carried {
            Carried::All => {
                self.check_turn(who, &daemon);
                self.machines[who].daemon = Some(daemon);
                self.plan_turn(who);
            }
            Carried::LostProcessor => {
                self.machines[who].daemon = Some(daemon);
            }
            Carried::Departed(above) => self.depart(who, &daemon, above),
        }
        self.check_promises();
        self.check_authority();
        self.check_holders();
    }

    fn lost(&mut self, who: Who, daemon: &mut Daemon, point: Point) -> bool {
        let Some(span) = daemon.loses_processor(point) else { return false };
        self.tokens += 1;
        let at = self.now + span;
        (daemon.turn_at, daemon.token, daemon.stalled_until) = (at, self.tokens, at);
        self.queue.plan(at, Happening::Turn(who, self.tokens));
        true
    }

    fn local(&self, who: Who) -> Instant {
        self.machines[who].clock.local(self.now)
    }

    fn turn_of(&mut self, who: Who, daemon: &mut Daemon) -> Carried {
        loop {
            match daemon.stage {
                Stage::Asleep => {
                    daemon.now = self.local(who);
                    daemon.stage = Stage::Woken;
                    if self.lost(who, daemon, Point::Woken) {
                        return Carried::LostProcessor;
                    }
                }
                Stage::Woken => {
                    let before = self.before_wakeup(daemon);
                    if daemon.stamped.is_none() {
                        daemon.node.handle_wakeup(daemon.now);
                    }
                    match self.carry_out(who, daemon, Then::Drain) {
                        Carried::All => {}
                        other => return other,
                    }
                    if !daemon.again {
                        self.after_wakeup(who, daemon, before);
                    }
                    daemon.stage = Stage::Read;
                }
                Stage::Read => {
                    self.read_everything(who, daemon);
                    daemon.stage = Stage::Drained;
                    if self.lost(who, daemon, Point::Drained) {
                        return Carried::LostProcessor;
                    }
                }
                Stage::Drained => {
                    let now = self.local(who);
                    let late = now.since(daemon.now) > self.knobs.timing.keepalive.percent(12);
                    daemon.now = now;
                    if late && !std::mem::replace(&mut daemon.again, late) {
                        // What arrived meanwhile is read before timers expire.
                        daemon.stage = Stage::Woken;
                        continue;
                    }
                    self.serve(who, daemon);
                    if daemon.now >= daemon.tend_at {
                        daemon.tend_at = daemon.now + TEND_EVERY;
                    }
                    let gone = daemon.node.peer().state().is_gone();
                    daemon.node.handle_timeout(daemon.now);
                    self.note_judgement(who, daemon, gone, late);
                    daemon.again = false;
                    daemon.stage = Stage::Decided;
                    if self.lost(who, daemon, Point::Decided) {
                        return Carried::LostProcessor;
                    }
                }
                Stage::Decided => {
                    match self.carry_out(who, daemon, Then::Decide) {
                        Carried::All => {}
                        other => return other,
                    }
                    daemon.stage = Stage::Feed;
                    if self.lost(who, daemon, Point::Feeding) {
                        return Carried::LostProcessor;
                    }
                }
                Stage::Feed => {
                    self.tend_watchdog(who, daemon);
                    daemon.stage = Stage::Asleep;
                    return Carried::All;
                }
            }
        }
    }

    fn read_everything(&mut self, who: Who, daemon: &mut Daemon) {
        let now = daemon.now;
        if std::mem::take(&mut daemon.helper_died) {
            // Whose scripts are killed by the daemon: nobody else knows of them any more.
            self.machines[who].kill_scripts(daemon.helper);
            daemon.helper = self.machines[who].spawn_helper();
            // It is told the standing order first.
            if let Some(helper) = self.machines[who].helpers.last_mut() {
                helper.standing = daemon.standing;
            }
            for ticket in std::mem::take(&mut daemon.under_way) {
                daemon.node.handle_done(now, ticket, Outcome::Failed);
            }
        }
        while let Some((ticket, outcome)) = daemon.answers.pop_front() {
            daemon.under_way.retain(|other| *other != ticket);
            self.note_answer(who, daemon, ticket, outcome);
            daemon.node.handle_done(now, ticket, outcome);
        }
        for at in 0..daemon.ports.len() {
            self.read_link(who, daemon, at);
        }
    }

    fn read_link(&mut self, who: Who, daemon: &mut Daemon, at: usize) {
        let id = LinkId(at as u8);
        let now = self.local(who);
        let Daemon { ports, node, .. } = daemon;
        // Which frames came is looked at after the port is done with: a frame borrows it.
        let mut handed: Vec<Handed> = std::mem::take(&mut self.handed);
        match &mut ports[at] {
            Port::Datagram(queue) => {
                for _ in 0..FRAMES_A_TURN {
                    let Some(Datagram { bytes, intact }) = queue.pop_front() else { break };
                    let clean = node.is_clean();
                    let result = node.handle_frame(now, id, bytes.get());
                    handed.push(Handed::of(bytes.get(), intact, clean, result));
                }
            }
            Port::Serial(framed) => {
                for _ in 0..FRAMES_A_TURN {
                    if !matches!(framed.fill(), Ok(1..)) {
                        break;
                    }
                    while let Some(frame) = framed.next_frame() {
                        match frame {
                            Ok(frame) => {
                                let clean = node.is_clean();
                                let wire = match self.dongle.as_deref() {
                                    Some(dongle) if at == LINE => &dongle.wires[who],
                                    _ => &self.wires[1 - who][at],
                                };
                                let intact = wire.sent_lately(frame);
                                let result = node.handle_frame(now, id, frame);
                                handed.push(Handed::of(frame, intact, clean, result));
                            }
                            Err(_) => {
                                self.counts.damage += 1;
                                node.handle_damage(id);
                            }
                        }
                    }
                }
            }
        }
        for frame in handed.drain(..) {
            self.note_handed(who, daemon, frame);
        }
        self.handed = handed;
    }

    fn serve(&mut self, who: Who, daemon: &mut Daemon) {
        while let Some(command) = daemon.commands.pop_front() {
            let answer = match command {
                Command::Standby => daemon.node.request_standby(daemon.now, None).map(drop),
                Command::Takeover => daemon.node.request_takeover(daemon.now, None).map(drop),
                Command::PeerIsOff => {
                    let answer = daemon.node.request_takeover_peer_is_off(daemon.now).map(drop);
                    self.counts.trio.rules[13] += u64::from(answer.is_ok());
                    if answer.is_ok() {
                        self.checks.human_word[who] = true;
                        self.checks.human_met_at[who] = None;
                    }
                    answer
                }
                Command::Leave => {
                    daemon.node.request_leave();
                    Ok(())
                }
                Command::Start => Ok(()),
            };
            self.tell(who, || format!("{command:?}: {answer:?}"));
        }
    }

    fn tend_watchdog(&mut self, who: Who, daemon: &mut Daemon) {
        // Read again: what was allowed when the turn began may have ended since the turn lost the processor.
        daemon.now = self.local(who);
        let may = daemon.node.may_feed_watchdog(daemon.now);
        self.note_feeding(who, daemon, may);
        if daemon.watching && may && daemon.now.since(daemon.fed_at) >= FEED_EVERY {
            daemon.fed_at = daemon.now;
            self.feed(who);
        }
    }

    fn before_wakeup(&self, daemon: &Daemon) -> (Duration, bool) {
        let late = daemon.now.since(daemon.node.poll_timeout());
        (late, daemon.node.peer().state().is_gone())
    }
}
