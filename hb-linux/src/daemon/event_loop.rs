//! One turn of the loop: wake up, take everything in, decide, carry out, sleep.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use hb_proto::action::Action;
use hb_proto::config::MAX_LINKS;
use hb_proto::id::{BootId, LinkId};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::port::CHUNK;
use hb_proto::wire::service::is_service;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::{error, info, warn};

use super::alerts::Alerts;
use super::carriers::Carriers;
use super::clock::Clock;
use super::dongle::Dongle;
use super::effects::{After, Effects};
use super::link::{Link, WireError};
use super::votes::Votes;
use super::watch::Watch;
use super::words::Words;
use super::{commands, notify, report};
use crate::config::Settings;
use crate::control::Command;
use crate::control::server::{Server, Ticket};
use crate::log::CRIT;
use crate::media::{self, Receive, Tended};

/// Frames taken from one link in one turn: a flood on one starves neither the others nor the timers.
const FRAMES_A_TURN: usize = 64;
/// Rounds of deciding and carrying out in one turn: as many as one address group can need.
const ROUNDS_A_TURN: usize = 64;
/// How often lost media are tried again, and the log catches up.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Descriptors that can be ready at once.
const EVENTS_MAX: usize = MAX_LINKS + 5;

const CONTROL: u64 = 100;
const HELPER: u64 = 101;
const LEAVE: u64 = 102;
const HANG_UP: u64 = 103;
const CARRIERS: u64 = 104;

/// What a turn ended in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Call [`Daemon::turn`] again.
    GoOn,
    /// Everything is stopped and said. A new life must begin above the id, if one is given.
    Depart(Option<BootId>),
}

/// What comes after carrying out: nothing is decided before what had arrived was taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Drain,
    Decide,
}

/// A running heartbeat.
pub struct Daemon {
    pub(super) node: Node,
    pub(super) settings: Settings,
    clock: Clock,
    pub(super) links: Vec<Link>,
    pub(super) server: Server,
    pub(super) effects: Effects,
    watch: Watch,
    words: Words,
    votes: Option<Votes>,
    alerts: Option<Alerts>,
    pub(super) dongle: Option<Dongle>,
    pub(super) carriers: Option<Carriers>,
    /// Who asked for authkeys to be read again.
    pub(super) reloader: Option<Ticket>,
    epoll: rustix::fd::OwnedFd,
    helper_writes: bool,
    leave: UnixStream,
    hang_up: UnixStream,
    tend_at: Instant,
    /// When there is something to do even if nothing arrives; `None` while that isn't known.
    due: Option<Instant>,
    /// The clock's newest reading, microseconds before the sleep.
    now: Instant,
    /// The last turn ended early because it had lost the processor.
    again: bool,
    /// The watchdog doesn't keep guard.
    unguarded: bool,
}

fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for &signal in signals {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

impl Daemon {
    pub(super) fn new(
        mut node: Node,
        settings: Settings,
        mut clock: Clock,
        links: Vec<Link>,
        server: Server,
        effects: Effects,
        watch: Watch,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (words, votes) = (Words::of(&settings), Votes::of(&settings));
        let (alerts, dongle) = (Alerts::of(&settings), Dongle::of(&settings));
        let carriers = Carriers::of(&settings)?;
        let now = clock.now();
        if let Some(carriers) = &carriers {
            carriers.begin(&mut node, now);
        }
        let (leave, hang_up) = (signal_pipe(&[SIGTERM, SIGINT])?, signal_pipe(&[SIGHUP])?);
        let daemon = Self {
            node,
            settings,
            clock,
            links,
            server,
            effects,
            watch,
            words,
            votes,
            alerts,
            dongle,
            carriers,
            reloader: None,
            epoll,
            helper_writes: false,
            leave,
            hang_up,
            tend_at: Instant::ZERO,
            due: None,
            now,
            again: false,
            unguarded: false,
        };
        for at in 0..daemon.links.len() {
            daemon.watch_link(at)?;
        }
        daemon.add(&daemon.server, CONTROL)?;
        daemon.add(daemon.effects.helper().fd(), HELPER)?;
        if let Some(carriers) = &daemon.carriers {
            daemon.add(carriers.fd(), CARRIERS)?;
        }
        daemon.add(&daemon.leave, LEAVE)?;
        daemon.add(&daemon.hang_up, HANG_UP)?;
        Ok(daemon)
    }

    fn add(&self, fd: impl AsFd, what: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(what), EventFlags::IN)?)
    }

    fn watch_link(&self, at: usize) -> io::Result<()> {
        self.links[at].fd().map_or(Ok(()), |fd| self.add(fd, at as u64))
    }

    /// The node, for whoever looks from outside.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Sleeps until something happens, then does all that is due.
    ///
    /// # Errors
    /// The kernel doesn't let the loop wait.
    pub fn turn(&mut self) -> Result<Turn, Errno> {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        let timeout = self.sleep();
        let ready = match epoll::wait(&self.epoll, &mut space, Some(&timeout)) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => {
                self.now = self.clock.now();
                return Ok(Turn::GoOn);
            }
            Err(errno) => return Err(errno),
        };
        let mut now = self.clock.now();
        let woken = now;
        let (mut server_ready, mut news) = (false, self.due.is_none_or(|due| due <= woken));
        // After a stall addresses go before anything that arrived is looked at (R10). Before anything is
        // due there can't have been one, and nothing has lost its ground.
        if news
            && self.node.handle_wakeup(now)
            && let Some(turn) = self.carry_out(now, Then::Drain)
        {
            return Ok(turn);
        }
        for event in ready.iter() {
            match event.data.u64() {
                CONTROL => server_ready = true,
                HELPER => self.hear_helper(event.flags, now),
                CARRIERS => self.hear_carriers(now),
                LEAVE => self.leave(),
                HANG_UP => {
                    drain(&self.hang_up);
                    self.reload(None);
                }
                link => {
                    news |= self.read_link(link as usize);
                    continue;
                }
            }
            news = true;
        }
        if !news {
            // A UART hands a frame over in pieces, and one of them came: nothing has changed. At the
            // fastest setting every other wake-up is one of these.
            self.now = woken;
            return Ok(Turn::GoOn);
        }
        self.due = None;
        now = self.clock.now();
        self.now = now;
        let late = now.since(woken) > self.node.config().timing.keepalive.percent(12);
        if late && !std::mem::replace(&mut self.again, late) {
            // Not scheduled for a while since the drain began: what arrived meanwhile is read before
            // timers expire, or a stalled reader kills a living peer. Once; a slow machine must get on.
            return Ok(Turn::GoOn);
        }
        self.again = false;
        self.serve(server_ready, now);
        self.tend(now);
        self.look_at_modem_lines(now);
        self.node.handle_timeout(now);
        if let Some(turn) = self.carry_out(now, Then::Decide) {
            return Ok(turn);
        }
        self.words.look(&self.node, now);
        if let Some(votes) = &mut self.votes {
            votes.look(&self.node, now);
        }
        self.alert(now);
        self.keep_watch();
        Ok(Turn::GoOn)
    }

    /// The watchdog is opened after the clean start and fed at the end of each turn, if it may be.
    fn keep_watch(&mut self) {
        // Read again: a turn that lost the processor must not feed on what was true when it began.
        let now = self.clock.now();
        if self.node.is_clean() {
            // R9: not before the clean start.
            self.watch.open();
            self.leave_if_unguarded();
        }
        self.watch.tend(self.node.may_feed_watchdog(now), now);
        self.now = now;
    }

    /// R10: where guard is the watchdog's time, the peer may take over because this machine is reset by then
    /// if it hangs. Without that it must not take part. Nothing runs yet: this follows the clean start.
    fn leave_if_unguarded(&mut self) {
        if self.unguarded || !self.settings.guard_by_watchdog {
            return;
        }
        let guard = self.settings.proto.timing.guard;
        let Some(why) = self.watch.shortfall(guard) else { return };
        error!(
            target: CRIT,
            "guard rests on the watchdog, and {why}: leaving, since the peer could not take over safely from a \
             node that hangs. Mend the watchdog, or write another `guard` on both nodes"
        );
        self.unguarded = true;
        self.node.request_leave();
    }

    /// This node left because nothing would reset it within guard.
    #[must_use]
    pub const fn is_unguarded(&self) -> bool {
        self.unguarded
    }

    /// Until when to sleep. What was due next is due still, unless something came.
    fn sleep(&mut self) -> Timespec {
        let due = self.due.unwrap_or_else(|| {
            let others = self.server.poll_timeout().min(self.effects.poll_timeout());
            let dongle = self.dongle.as_ref();
            let others = others.min(dongle.map_or(Instant::NEVER, |of| of.poll_timeout(self.now)));
            self.node.poll_timeout().min(others).min(self.tend_at)
        });
        self.due = Some(due);
        let span = due.since(self.now).micros();
        Timespec { tv_sec: (span / 1_000_000) as i64, tv_nsec: (span % 1_000_000 * 1000) as i64 }
    }

    /// Takes in what a link has; whether that was a frame, damage, or the loss of the port.
    fn read_link(&mut self, at: usize) -> bool {
        let Some(link) = self.links.get_mut(at) else { return false };
        let (id, mut news) = (LinkId(at as u8), false);
        let to_dongle = self.dongle.as_ref().is_some_and(|dongle| dongle.link() == id);
        let mut service = None;
        match link {
            Link::Datagram(port) => {
                let mut datagram = [0; media::MAX_FRAME];
                for _ in 0..FRAMES_A_TURN {
                    let Receive::Received(len) = port.receive(&mut datagram) else { break };
                    news = true;
                    // Read after the frame (protocol.md R6). A refusal is counted and told as an event.
                    let _ = self.node.handle_frame(self.clock.now(), id, &datagram[..len]);
                }
            }
            Link::Serial(framed) => {
                for _ in 0..FRAMES_A_TURN {
                    let Ok(bytes @ 1..) = framed.fill() else { break };
                    while let Some(frame) = framed.next_frame() {
                        news = true;
                        match frame {
                            // Of several in one turn the last: who asks again is told again.
                            Ok(frame) if to_dongle && is_service(frame) => {
                                service = heapless::Vec::<u8, MAX_FRAME>::from_slice(frame).ok();
                            }
                            // Refusals are counted and told as events.
                            Ok(frame) => drop(self.node.handle_frame(self.clock.now(), id, frame)),
                            Err(_) => self.node.handle_damage(id),
                        }
                    }
                    if bytes < CHUNK {
                        break;
                    }
                }
            }
        }
        if let Some(frame) = service {
            let now = self.clock.now();
            self.hear_service(&frame, now);
        }
        if let Some(failure) = self.links[at].port().failure() {
            warn!("{}: {failure}; trying again each second", self.links[at].port().name());
            news = true;
        }
        news
    }

    fn hear_helper(&mut self, flags: EventFlags, now: Instant) {
        if flags.contains(EventFlags::OUT) {
            self.effects.flush();
        }
        self.effects.receive(&mut self.node, now);
        self.take_keys();
        if self.effects.is_without_helper() {
            // Its end would be told again at every turn.
            let _ = epoll::delete(&self.epoll, self.effects.helper().fd());
        }
    }

    fn leave(&mut self) {
        drain(&self.leave);
        info!("told to stop: leaving the cluster");
        commands::warn_of_leaving(&self.node, &self.settings, self.clock.now());
        let _ = notify::stopping();
        self.node.request_leave();
    }

    fn serve(&mut self, ready: bool, now: Instant) {
        if ready {
            self.server.handle_ready(now);
        }
        self.server.handle_timeout(now);
        while let Some((ticket, command)) = self.server.poll_command() {
            if let Command::Dongle(frame) = &command {
                self.pass_on(ticket, frame, now);
                continue;
            }
            match commands::carry_out(&mut self.node, &self.settings, &command, now) {
                Some(reply) => self.server.reply(ticket, &reply),
                None => self.reload(Some(ticket)),
            }
        }
        if self.server.wants_snapshot() {
            let beside = (&self.watch, self.dongle.as_ref());
            let snapshot = report::snapshot(&self.node, &self.settings, beside, now);
            self.server.send_snapshot(&snapshot);
        }
    }

    fn tend(&mut self, now: Instant) {
        self.effects.tend(now);
        self.tend_dongle(now);
        if self.effects.replace_helper(now)
            && let Err(error) = self.add(self.effects.helper().fd(), HELPER)
        {
            warn!("the new helper process can't be watched: {error}");
        }
        if now < self.tend_at {
            return;
        }
        self.tend_at = now + TEND_EVERY;
        self.look_at_dongle(now);
        self.words.catch_up(now);
        if let Some(alerts) = &mut self.alerts {
            alerts.catch_up(now);
        }
        self.effects.tell_unlogged();
        for at in 0..self.links.len() {
            if self.links[at].tend() == Some(Tended::Reopened) {
                info!("{}", self.links[at].port().description());
                if let Err(error) = self.watch_link(at) {
                    warn!("{} can't be watched: {error}", self.links[at].port().name());
                }
            }
        }
    }

    /// Drains every output of the node. Orders that are answered on the spot (addresses) let it
    /// decide again, at once.
    fn carry_out(&mut self, now: Instant, then: Then) -> Option<Turn> {
        for _ in 0..ROUNDS_A_TURN {
            let mut decide = false;
            // R2: what has lost its authority by now does not leave, however long the one before it took.
            while let Some(action) = self.node.poll_action(self.clock.now()) {
                if !matches!(action, Action::DropAddresses { .. }) {
                    // In the log the reason comes before what is done about it.
                    self.tell(now);
                }
                match self.effects.carry_out(&mut self.node, &self.settings, action, now) {
                    After::GoOn => {}
                    After::Decide => decide = true,
                    After::Depart(restart_above) => return Some(Turn::Depart(restart_above)),
                }
            }
            if then == Then::Decide {
                // After a stall nothing leaves before what arrived was read: a frame from before echoes what is no
                // longer fresh, and the peer would take this node for deaf (protocol.md §4).
                self.transmit();
            }
            self.tell(now);
            if !decide {
                break;
            }
            if then == Then::Decide {
                self.node.handle_timeout(now);
            }
        }
        self.effects.keep_standing_order(&self.node, &self.settings);
        self.watch_helper_writes();
        None
    }

    /// All copies of a frame are made first and leave back to back: the peer, woken by the first, then
    /// finds the others there as well, instead of waking up for each.
    fn transmit(&mut self) {
        let mut frames = [[0; MAX_FRAME]; MAX_LINKS];
        loop {
            // Read before the writes (protocol.md R6).
            let now = self.clock.now();
            let mut made = 0;
            let mut transmits = [None; MAX_LINKS];
            for (transmit, frame) in transmits.iter_mut().zip(&mut frames) {
                *transmit = self.node.poll_transmit(now, frame);
                if transmit.is_none() {
                    break;
                }
                made += 1;
            }
            for (transmit, frame) in transmits.into_iter().flatten().zip(&frames) {
                self.send(now, transmit.link, &frame[..transmit.len]);
            }
            if made < MAX_LINKS {
                return;
            }
        }
    }

    fn send(&mut self, now: Instant, id: LinkId, frame: &[u8]) {
        let link = &mut self.links[id.index()];
        let was_open = link.fd().is_some();
        match link.send(frame) {
            Ok(()) => {}
            Err(WireError::Busy | WireError::Lost(_)) => self.node.handle_blocked(now, id),
        }
        if let Some(failure) = link.port().failure().filter(|_| was_open) {
            warn!("{}: {failure}; trying again each second", link.port().name());
        }
    }

    fn tell(&mut self, now: Instant) {
        while let Some(event) = self.node.poll_event() {
            self.words.tell(now, &event);
            if let Some(alerts) = &mut self.alerts {
                alerts.take(now, &event);
            }
        }
    }

    /// Hands what an operator should know at once to the helper process.
    fn alert(&mut self, now: Instant) {
        while let Some(news) = self.votes.as_mut().and_then(Votes::poll_news) {
            if let Some(alerts) = &mut self.alerts {
                alerts.take_news(now, news);
            }
        }
        while let Some(alert) = self.alerts.as_mut().and_then(Alerts::poll) {
            self.effects.alert(&alert.message());
        }
    }

    /// Waits for room in the helper's socket only while something waits for it.
    fn watch_helper_writes(&mut self) {
        let wants = self.effects.helper().wants_write();
        if wants != self.helper_writes {
            let flags = if wants { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let watched = epoll::modify(
                &self.epoll,
                self.effects.helper().fd(),
                EventData::new_u64(HELPER),
                flags,
            );
            self.helper_writes = wants && watched.is_ok();
        }
    }

    /// After [`Turn::Depart`]: disarms the watchdog and lets the helper go.
    pub fn close(mut self) {
        self.watch.close();
        self.effects.farewell();
    }
}

fn drain(signals: &UnixStream) {
    let mut bytes = [0; 64];
    while matches!(rustix::io::read(signals, &mut bytes), Ok(1..)) {}
}
