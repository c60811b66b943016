//! What leaves: one frame each keepalive on every link, and at once when something changed.

#[cfg(feature = "explore")]
mod explore;

use super::{ArbiterState, Node, Stance};
use crate::authority::Voice;
use crate::config::LinkKind;
use crate::event::Event;
use crate::group::Phase;
use crate::id::{BootId, LinkId, Voter};
use crate::link::LinkState;
use crate::peer::PeerState;
use crate::time::{Duration, Instant};
use crate::wire::message::{
    self, ForArbiter, GroupStates, Header, Hello, HelloEcho, Life, Message, Settings, Status,
    ms_of_duration,
};
use crate::wire::port::Deframer;
use crate::wire::{MAX_FRAME, cobs};

/// A hello replaces every tenth status …
const HELLO_EVERY: u64 = 10;
/// … but comes at least this often.
const HELLO_AT_LEAST: Duration = Duration::from_secs(5);
/// Frames off the schedule keep this part of a keepalive between them: enough for a handover's
/// three in 20 ms, too few to flood a line.
const OFF_SCHEDULE_PERCENT: u64 = 2;
/// … but need not keep more than this, or a handover would be slow just because keepalive is.
const OFF_SCHEDULE_AT_MOST: Duration = Duration::from_millis(2);

/// A life that has sent this frame leaves, with a million numbers to do it in.
const LAST_SEQ: u32 = u32::MAX - (1 << 20);

/// What a frame is, for byte counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameKind {
    /// A status.
    Status,
    /// A hello.
    Hello,
    /// Another voter's frame, relayed.
    Relay,
}

/// A frame to write to one link now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transmit {
    /// Which.
    pub link: LinkId,
    /// Bytes of the buffer that are the frame.
    pub len: usize,
    /// What it is.
    pub kind: FrameKind,
}

/// What a status says of links, groups, one's life, the request to fence, and the arbiter.
type Told = (u8, GroupStates, Life, Option<BootId>, bool);

/// The frame that is being sent, link by link.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Outbox {
    seq: u32,
    message: Option<Message>,
    /// Links that have not had it.
    pub(super) links: u8,
    /// What the newest frame said of states and links: a difference sends the next one at once.
    told: Told,
    told_sets: (u16, u16, u16, bool),
    sent_at: Instant,
    /// A change waits for its turn until then.
    pub(super) change_due: Option<Instant>,
    hello_sent_at: Option<Instant>,
}

impl Outbox {
    pub(super) fn rebased(mut self, by: Duration) -> Self {
        self.sent_at = self.sent_at.rebased(by);
        self.change_due = self.change_due.map(|at| at.rebased(by));
        self.hello_sent_at = self.hello_sent_at.map(|at| at.rebased(by));
        self
    }
}

impl Node {
    pub(super) const fn outbox_is_pending(&self) -> bool {
        self.d.outbox.links != 0
    }

    /// Prepares the next frame if one is due: by schedule, or because what it says has changed.
    pub(super) fn prepare_frame(&mut self, now: Instant) {
        let keepalive = self.config.timing.keepalive;
        if self.d.life == Life::Leaving
            && self.d.groups.iter().all(|group| group.phase() == Phase::Stopped)
        {
            self.d.life = Life::Left;
        }
        let scheduled = now >= self.d.keepalive_at;
        self.notice_hello_due(now, keepalive);
        let told = (
            self.hears(now),
            self.d.ledger.shown(now),
            self.d.life,
            self.fence_request(now),
            self.config.arbiter.is_some() && self.hears_arbiter_directly(now),
        );
        let changed = told != self.d.outbox.told || self.d.hello_due;
        let spacing = keepalive.percent(OFF_SCHEDULE_PERCENT).min(OFF_SCHEDULE_AT_MOST);
        let spaced_at = self.d.outbox.sent_at + spacing;
        self.d.outbox.change_due = None;
        let may_leave = scheduled || changed && spaced_at <= now;
        if !may_leave {
            self.d.outbox.change_due = changed.then_some(spaced_at);
            return;
        }
        let Some(seq) = self.d.ledger.stamp(now) else {
            // Unreachable: the life ended a million frames ago. Silence, on schedule.
            self.d.keepalive_at = now + keepalive;
            return;
        };
        if seq > LAST_SEQ {
            // R9: before the numbers of this life are used up (13 years at 100 ms) a new one begins.
            self.d.restart_above = self.d.restart_above.max(Some(self.boot()));
            self.begin_leaving();
        }
        if scheduled {
            // After a stall the schedule goes on from here: no burst of what was missed.
            let next = self.d.keepalive_at + keepalive;
            self.d.keepalive_at = if next > now { next } else { now + keepalive };
        }
        if self.d.life == Life::Left && self.d.left.is_none() {
            self.d.left = Some((seq, now));
        }
        self.fill_outbox(now, seq, told, scheduled);
    }

    /// A hello is due by time, by a change of what it says, or because the peer asks for one.
    fn notice_hello_due(&mut self, now: Instant, keepalive: Duration) {
        let asks =
            |voter| self.d.ledger.voice(voter).is_some_and(|voice: &Voice| voice.wants_hello);
        let asked = asks(self.config.me.peer()) || asks(Voter::Arbiter);
        let lately = self.d.outbox.hello_sent_at.is_some_and(|at| now.since(at) < keepalive);
        let sets = self.told_sets(now);
        self.d.hello_due |= sets != self.d.outbox.told_sets || asked && !lately;
    }

    fn fill_outbox(&mut self, now: Instant, seq: u32, told: Told, scheduled: bool) {
        let (hears, groups, life, fence, hears_arbiter) = told;
        if let Some(boot) = fence.filter(|_| self.d.outbox.told.3 != fence) {
            self.tell(Event::FenceAsked { boot });
        }
        let [peer, arbiter] = self.d.ledger.echoes();
        let lacks_hello = self.d.facts.is_none() && self.newest_of_peer().is_some()
            || self.d.arbiter.settings.is_none() && self.d.arbiter.status.is_some();
        let status = Status {
            hears,
            // A request travels in the place of the echo of the peer, which is silent (§5).
            echoes: [peer.filter(|_| fence.is_none()), arbiter],
            groups,
            life,
            off_schedule: !scheduled,
            wants_hello: lacks_hello,
            fence,
            armed: self.arms_external_watchdog(),
            direct: false,
            hears_arbiter,
        };
        // Who gives a running group up says so in every frame until it has, for contact may be made with any
        // of them; and while both run it, so does who goes on (see `wins_conflict`).
        let at_stake = |group| {
            self.d.ledger.stance(group) == Stance::Running
                && (self.gives_up(group) || self.is_contested(group))
        };
        let giving_up = self.d.ledger.groups().any(at_stake);
        let hello = self.d.hello_due || giving_up || scheduled && now >= self.d.hello_at;
        let message =
            if hello { Message::Hello(self.hello(now, status)) } else { Message::Status(status) };
        if hello {
            let every = self.config.timing.keepalive.times(HELLO_EVERY).min(HELLO_AT_LEAST);
            (self.d.hello_due, self.d.hello_at) = (false, now + every);
            self.d.outbox.hello_sent_at = Some(now);
            self.d.outbox.told_sets = self.told_sets(now);
        }
        self.d.outbox.seq = seq;
        self.d.outbox.message = Some(message);
        self.d.outbox.links = ((1_u16 << self.d.links.len()) - 1) as u8;
        self.d.outbox.told = told;
        self.d.outbox.sent_at = now;
        for link in &mut self.d.links {
            link.owed = false;
        }
        if self.check_oneself(message) {
            self.d.self_checked_at = Some(now);
        }
    }

    /// Bits, by the peer's own numbers, of its links on which it is heard.
    fn hears(&self, now: Instant) -> u8 {
        if self.d.peer.state() == PeerState::Dead {
            // Its silence may have counted sooner (R12: who asks says that it hears nothing).
            return 0;
        }
        let deadtime = self.d.peer.deadtime(&self.config.timing);
        let heard = self.d.links.iter().filter(|link| link.heard_lately(now, deadtime));
        heard.fold(0, |set, link| set | 1 << (link.peer_link & 7))
    }

    /// What only hellos say: a difference sends one at once.
    fn told_sets(&self, now: Instant) -> (u16, u16, u16, bool) {
        (self.declines(now), self.failed(), self.wants(), !self.has_vote(now))
    }

    fn hello(&self, now: Instant, status: Status) -> Hello {
        let timing = &self.config.timing;
        let millis = |span: Duration| u32::try_from(span.millis()).unwrap_or(u32::MAX);
        let settings = Settings {
            keepalive_ms: millis(timing.keepalive),
            deadtime_ms: millis(timing.deadtime),
            lease_ms: ms_of_duration(timing.lease),
            guard_ms: ms_of_duration(timing.guard),
            arbiter: self.config.arbiter.map(|_| self.d.arbiter.id),
            min_version: self.versions.oldest,
            current_version: self.versions.newest,
            ..Settings::new(self.config.digests)
        };
        let (declines, failed, wants, voteless) = self.told_sets(now);
        let knows = self.newest_of_peer().map(|newest| newest.boot);
        let for_arbiter = self.config.arbiter.map(|_| {
            let groups = self.config.groups.iter().enumerate();
            let at_b = groups.filter(|(_, group)| group.home == Voter::B);
            ForArbiter {
                homes_b: at_b.fold(0, |set, (at, _)| set | 1 << at),
                knows: self.d.ledger.voice(Voter::Arbiter).map(|voice| voice.newest.boot),
                voteless,
                longest: self.longest_of_anybody(),
            }
        });
        Hello { status, settings, declines, failed, wants, knows, echo: None, for_arbiter }
    }

    /// R8: for how long anybody's promise may last, as far as this node can tell: for an arbiter that has
    /// taken another one's place.
    fn longest_of_anybody(&self) -> Duration {
        let drift = self.config.timing.drift_percent;
        self.d.longest.max(self.d.facts.map_or(Duration::ZERO, |facts| facts.full(drift)))
    }

    /// The version of the wire that it speaks now: the newest that everybody understands whom it hears, the
    /// oldest while somebody isn't heard who may be of that (§5).
    #[must_use]
    pub fn speaks(&self) -> u8 {
        let announced = self.d.facts.map_or(0, |facts| facts.version).max(self.d.peer_version);
        let heard = matches!(self.d.peer.state(), PeerState::Alive | PeerState::Late);
        let peer = heard.then_some(announced);
        let arbiter = self.config.arbiter.map(|_| self.arbiter_understands());
        self.versions.to_speak([Some(peer), arbiter].into_iter().flatten())
    }

    fn header(&self, link: LinkId) -> Header {
        Header { sender: self.config.me, link, boot: self.boot(), seq: self.d.outbox.seq }
    }

    /// R10: a frame of one's own passes encoding, framing, deframing, tag and decoding.
    fn check_oneself(&self, message: Message) -> bool {
        let (mut frame, mut line) = ([0; MAX_FRAME], [0; MAX_FRAME + 2]);
        let header = self.header(LinkId(0));
        let len = message::encode_in(self.speaks(), &header, &message, &self.keys, &mut frame);
        let Some(line) = cobs::encode(&frame[..len], &mut line) else { return false };
        let mut deframer = Deframer::new();
        deframer.push(cobs::DELIMITER);
        let (delimiter, bytes) = line.split_last().unwrap_or((&0, &[]));
        bytes.iter().for_each(|&byte| {
            deframer.push(byte);
        });
        let Some(Ok(back)) = deframer.push(*delimiter) else { return false };
        message::open_in(self.versions, back, &self.keys)
            .is_ok_and(|opened| opened.header == header && opened.message() == Ok(message))
    }

    /// The next frame to write. Poll until `None` after any input; `now` is read before the write (R6).
    pub fn poll_transmit(&mut self, now: Instant, frame: &mut [u8; MAX_FRAME]) -> Option<Transmit> {
        if let Some((link, len)) = self.poll_relay(now, frame) {
            return Some(self.wrote(now, link, len, FrameKind::Relay));
        }
        let message = self.d.outbox.message?;
        for at in 0..self.d.links.len() {
            let link = LinkId(at as u8);
            let waits = self.d.outbox.links & link.bit() != 0;
            if !waits && !self.d.links[at].owed {
                continue;
            }
            self.d.outbox.links &= !link.bit();
            if self.d.links[at].busy_until > now {
                // No second frame is queued on a busy line (§3): the newest follows when it is free.
                if waits {
                    self.link_statistics[at].skipped += 1;
                }
                self.d.links[at].owed = true;
                continue;
            }
            self.d.links[at].owed = false;
            return Some(self.write(now, link, message, frame));
        }
        None
    }

    fn write(
        &mut self,
        now: Instant,
        link: LinkId,
        message: Message,
        frame: &mut [u8; MAX_FRAME],
    ) -> Transmit {
        let at = link.index();
        let statistics = &mut self.link_statistics[at];
        let (message, kind) = match message {
            Message::Hello(hello) => {
                let echo = statistics.hello_heard.map(|(seq, heard_at)| HelloEcho {
                    seq,
                    held_us: u32::try_from(now.since(heard_at).micros()).unwrap_or(u32::MAX),
                });
                statistics.hello_left(self.d.outbox.seq, now);
                (Message::Hello(Hello { echo, ..hello }), FrameKind::Hello)
            }
            Message::Status(_) => (message, FrameKind::Status),
        };
        let message = message.leaving_by(self.arbiter_link() == Some(link));
        let header = self.header(link);
        let len = message::encode_in(self.speaks(), &header, &message, &self.keys, frame);
        self.wrote(now, link, len, kind)
    }

    fn wrote(&mut self, now: Instant, link: LinkId, len: usize, kind: FrameKind) -> Transmit {
        let at = link.index();
        let kind_of_link = self.config.links[at];
        let on_line = match kind_of_link {
            LinkKind::Serial { .. } => cobs::encoded_len(len),
            _ => len,
        };
        let statistics = &mut self.link_statistics[at];
        statistics.sent += 1;
        statistics.sent_bytes += on_line as u64;
        self.d.links[at].busy_until = now + kind_of_link.time_on_line(on_line);
        Transmit { link, len, kind }
    }

    /// The link would not take the frame just polled for it: still busy, or gone. It is owed the newest
    /// one, after as long as a frame takes or a quarter of a keepalive.
    pub fn handle_blocked(&mut self, now: Instant, link: LinkId) {
        let Some(at) = (link.index() < self.d.links.len()).then_some(link.index()) else { return };
        let statistics = &mut self.link_statistics[at];
        statistics.sent = statistics.sent.saturating_sub(1);
        statistics.skipped += 1;
        let part = self.config.timing.keepalive.percent(25);
        let again = self.config.links[at].time_on_line(MAX_FRAME).max(part);
        self.d.links[at].owed = true;
        self.d.links[at].busy_until = now + again;
    }

    /// What is not yet as it should be; `None` once everything is: for tests that wait.
    #[must_use]
    pub fn pending(&self) -> Option<&'static str> {
        if !self.d.clean {
            return Some("a clean start: some resource is not confirmed stopped");
        }
        if self.d.peer.state() == PeerState::Unknown {
            return Some("the peer was never heard and initdead is not over");
        }
        if self.d.links.iter().any(|link| link.state() != LinkState::Up) {
            return Some("a link is not up");
        }
        if self.config.arbiter.is_some() && self.d.arbiter.state != ArbiterState::Present {
            return Some("the arbiter is not heard");
        }
        if self.config.arbiter.is_some() && !self.agrees_on_arbiter() {
            return Some("the two nodes do not announce the same arbiter");
        }
        let settled = self.d.ledger.groups().all(|group| {
            let running = self.d.groups[group.index()].phase() == Phase::Running;
            running
                || self.holder(group) == Some(Voter::peer(self.config.me))
                    && self.stance(group) == Stance::Idle
        });
        if settled { None } else { Some("a group is run by nobody, or is changing hands") }
    }
}
