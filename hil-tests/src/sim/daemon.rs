//! The driver: what `heartbeatd`'s event loop does with a node, in the same order (hb-linux,
//! daemon/event_loop.rs), with simulated system calls. Unlike there, a turn can lose the processor in
//! its middle.

use std::collections::VecDeque;

use hb_proto::action::{Action, Outcome, TicketId, Verb};
use hb_proto::authority::Stance;
use hb_proto::event::Event;
use hb_proto::group::Phase;
use hb_proto::id::{BootId, GroupId, LinkId};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;

use super::check::Handed;
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
        }
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
        match self.turn_of(who, &mut daemon) {
            Carried::All => {
                self.machines[who].daemon = Some(daemon);
                self.plan_turn(who);
            }
            Carried::LostProcessor => {
                self.machines[who].daemon = Some(daemon);
            }
            Carried::Departed(above) => self.depart(who, &daemon, above),
        }
        self.check_promises();
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
                    match self.carry_out(who, daemon) {
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
                    match self.carry_out(who, daemon) {
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
                                let intact = self.wires[1 - who][at].sent_lately(frame);
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
                Command::Leave => {
                    daemon.node.request_leave();
                    Ok(())
                }
                Command::Start => Ok(()),
            };
            self.tell(who, || format!("{command:?}: {answer:?}"));
        }
    }

    /// Drains every output of the node, as `Daemon::carry_out` does.
    fn carry_out(&mut self, who: Who, daemon: &mut Daemon) -> Carried {
        if let Some((link, frame)) = daemon.stamped.take() {
            self.write(who, daemon, link, frame.get());
        }
        for _ in 0..ROUNDS_A_TURN {
            let mut decide = false;
            while let Some(action) = daemon.node.poll_action(daemon.now) {
                match action {
                    Action::Run { ticket, group, resource, verb } => {
                        let what = What { group: group.0, resource };
                        decide |= self.run(who, daemon, ticket.id(), what, verb);
                    }
                    Action::Abort { ticket } => self.abort(who, ticket),
                    Action::DropAddresses { group } => self.drop_addresses(who, group),
                    Action::Announce { group } => {
                        self.announces(who, group.index());
                        self.tell(who, || format!("announces group {}", group.0));
                    }
                    Action::Depart { restart_above } => return Carried::Departed(restart_above),
                }
            }
            if self.transmit(who, daemon) {
                return Carried::LostProcessor;
            }
            self.hear_events(who, daemon);
            if !decide {
                break;
            }
            daemon.node.handle_timeout(daemon.now);
        }
        self.keep_standing_order(who, daemon);
        Carried::All
    }

    /// Whether the node may decide again at once.
    fn run(
        &mut self,
        who: Who,
        daemon: &mut Daemon,
        ticket: TicketId,
        what: What,
        verb: Verb,
    ) -> bool {
        self.keep_standing_order(who, daemon);
        self.note_order(who, daemon, ticket, what, verb);
        if self.knobs.is_address(what) {
            let machine = &mut self.machines[who];
            let outcome = match verb {
                Verb::Start => {
                    machine.hold(what, true);
                    self.announces(who, usize::from(what.group));
                    Outcome::Done
                }
                Verb::Stop => {
                    machine.hold(
                        what,
                        self.knobs.plant == Some(Plant::AddressesStay) && machine.holds(what),
                    );
                    Outcome::Done
                }
                Verb::Status if machine.holds(what) => Outcome::Held,
                Verb::Status => Outcome::NotHeld,
            };
            self.note_answer(who, daemon, ticket, outcome);
            daemon.node.handle_done(daemon.now, ticket, outcome);
            return true;
        }
        if daemon.helper_died {
            // The socket is broken: the order can't be given.
            daemon.node.handle_done(daemon.now, ticket, Outcome::Failed);
            return true;
        }
        daemon.under_way.push(ticket);
        self.machines[who].order(daemon.helper, Some(ticket), what, verb);
        self.start_jobs(who);
        false
    }

    fn drop_addresses(&mut self, who: Who, group: GroupId) {
        if self.knobs.plant == Some(Plant::AddressesStay) {
            return;
        }
        for resource in 0..self.knobs.groups[group.index()].resources.len() as u8 {
            let what = What { group: group.0, resource };
            if self.knobs.is_address(what) {
                self.machines[who].hold(what, false);
            }
        }
        self.tell(who, || format!("drops the addresses of group {}", group.0));
    }

    /// True if the processor was lost between stamp and write.
    fn transmit(&mut self, who: Who, daemon: &mut Daemon) -> bool {
        let mut frame = [0; MAX_FRAME];
        let mut now = self.local(who);
        while let Some(transmit) = daemon.node.poll_transmit(now, &mut frame) {
            let bytes = &frame[..transmit.len];
            if self.lost(who, daemon, Point::Stamped) {
                daemon.stamped = Some((transmit.link, Bytes::of(bytes)));
                return true;
            }
            self.write(who, daemon, transmit.link, bytes);
            now = self.local(who);
        }
        false
    }

    fn write(&mut self, who: Who, daemon: &mut Daemon, link: LinkId, frame: &[u8]) {
        let now = self.local(who);
        let at = link.index();
        match &mut daemon.ports[at] {
            Port::Datagram(_) => self.send_datagram(who, at, frame),
            Port::Serial(framed) => {
                framed.port_mut().busy = self.wires[who][at].is_busy(self.now);
                if framed.send(frame).is_err() {
                    daemon.node.handle_blocked(now, link);
                    return;
                }
                let line = std::mem::take(&mut framed.port_mut().written);
                self.send_on_line(who, at, frame, &line);
            }
        }
    }

    fn hear_events(&mut self, who: Who, daemon: &mut Daemon) {
        while let Some(event) = daemon.node.poll_event() {
            if event == Event::Clean {
                // R9: the watchdog is opened, and so armed, not before the clean start.
                daemon.watching = self.knobs.watchdog_s.is_some();
                if daemon.watching {
                    self.feed(who);
                    self.machines[who].watchdog.armed = true;
                }
            }
            self.note_event(who, event);
        }
    }

    fn keep_standing_order(&mut self, who: Who, daemon: &mut Daemon) {
        let mut standing = 0;
        for group in (0..self.knobs.groups.len() as u8).map(GroupId) {
            let Some(here) = daemon.node.group(group) else { continue };
            let stopped = here.phase() == Phase::Stopped;
            if daemon.node.stance(group) == Stance::Running && !stopped {
                standing |= 1 << group.0;
            }
        }
        if standing == daemon.standing || daemon.helper_died {
            return;
        }
        let helpers = &mut self.machines[who].helpers;
        if let Some(helper) = helpers.iter_mut().find(|helper| helper.id == daemon.helper) {
            helper.standing = standing;
            daemon.standing = standing;
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

    /// Everything is stopped and said; the watchdog is disarmed, the helper let go.
    fn depart(&mut self, who: Who, daemon: &Daemon, above: Option<BootId>) {
        self.tell(who, || format!("departs; to live above {above:?}"));
        let machine = &mut self.machines[who];
        machine.watchdog.armed = false;
        let helper = daemon.helper;
        machine.helpers.retain(|other| other.id != helper);
        match above {
            Some(above) => {
                machine.stored_boot = machine.stored_boot.max(above.value());
                self.queue.plan(self.now + 1_000, Happening::Respawn(who, machine.epoch));
            }
            None if std::mem::take(&mut machine.restarts) => {
                self.queue.plan(self.now + 1_000, Happening::Respawn(who, machine.epoch));
            }
            None => machine.left = true,
        }
    }
}
