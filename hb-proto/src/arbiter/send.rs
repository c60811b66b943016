//! What leaves the arbiter: forwarded frames first, then its own, one each keepalive and at once when
//! something changed.

#[cfg(feature = "explore")]
mod explore;

use super::{Arbiter, Port};
use crate::config::LinkKind;
use crate::id::{LinkId, Voter};
use crate::time::{Duration, Instant, Millis};
use crate::wire::message::Header;
use crate::wire::message::arbiter::{ArbiterSettings, ArbiterStatus, Body, NodeSeen, Promisees};
use crate::wire::{MAX_FRAME, cobs};

/// A hello replaces every tenth status …
const HELLO_EVERY: u64 = 10;
/// … but comes at least this often.
const HELLO_AT_LEAST: Duration = Duration::from_secs(5);
/// A node that has none of this life and asks for one gets it with the next scheduled frame; off the schedule
/// only after so many keepalives without, so that one that asks for ever costs a slow line no frame more.
const HELLO_AT_ONCE: u64 = 3;
/// Frames off the schedule keep this between them.
const SPACING: Duration = Duration::from_millis(2);

/// A frame to write to one port now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transmit {
    /// Which.
    pub port: Port,
    /// Bytes of the buffer that are the frame.
    pub len: usize,
    /// A node's frame that came in at the other port.
    pub forwarded: bool,
}

/// Of each node what [`NodeSeen::news`] has.
type Told = (Promisees, [u8; 2]);

/// The frame that is being sent, port by port.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Outbox {
    seq: u32,
    body: Option<Body>,
    /// What the newest frame said: a difference sends the next one at once.
    told: Option<Told>,
    sent_at: Instant,
    change_due: Option<Instant>,
    hello_sent_at: Option<Instant>,
}

impl Outbox {
    pub(super) const fn change_due(&self) -> Option<Instant> {
        self.change_due
    }

    pub(super) fn rebased(mut self, by: Duration) -> Self {
        self.sent_at = self.sent_at.rebased(by);
        self.change_due = self.change_due.map(|at| at.rebased(by));
        self.hello_sent_at = self.hello_sent_at.map(|at| at.rebased(by));
        self
    }
}

impl Arbiter {
    /// Prepares the next frame of its own if one is due.
    pub(super) fn prepare_frame(&mut self, now: Instant) {
        if self.d.restart_above.is_some() {
            // The nodes take what this life says for replays.
            self.d.outbox.change_due = None;
            self.d.keepalive_at = now + self.d.keepalive;
            return;
        }
        let scheduled = now >= self.d.keepalive_at;
        self.notice_hello_asked(now, scheduled);
        let promisees = self.d.ledger.shown_promisees(now);
        // A loop: what is mapped over an array of two is there twice.
        let (mut nodes, mut wants_hello) = ([NodeSeen::default(); 2], [false; 2]);
        let mut told = (promisees, [0; 2]);
        for &node in &Voter::NODES {
            let (at, seen) = (node.index(), self.seen(node, now));
            wants_hello[at] = seen.heard && self.d.nodes[at].facts.is_none();
            told.1[at] = seen.news();
            nodes[at] = seen;
        }
        let changed = self.d.outbox.told != Some(told) || self.d.hello_due;
        let spaced_at = self.d.outbox.sent_at + SPACING;
        self.d.outbox.change_due = None;
        let may_leave = scheduled || changed && spaced_at <= now;
        if !may_leave {
            self.d.outbox.change_due = changed.then_some(spaced_at);
            return;
        }
        if scheduled {
            let next = self.d.keepalive_at + self.d.keepalive;
            self.d.keepalive_at = if next > now { next } else { now + self.d.keepalive };
        }
        let Some(seq) = self.d.ledger.stamp(now) else {
            // At the end of the numbers a new life begins (R9).
            self.d.restart_above = Some(self.boot());
            return;
        };
        let status = ArbiterStatus {
            echoes: self.d.ledger.echoes(),
            promisees,
            nodes,
            uptime_s: now.since(self.d.started_at).whole_secs(),
            reset: self.d.reset,
            off_schedule: !scheduled,
            wants_hello,
        };
        let hello = self.d.hello_due || scheduled && now >= self.d.hello_at;
        if hello {
            let every = self.d.keepalive.times(HELLO_EVERY).min(HELLO_AT_LEAST);
            (self.d.hello_due, self.d.hello_at) = (false, now + every);
            self.d.outbox.hello_sent_at = Some(now);
        }
        let settings = hello.then(|| self.settings());
        self.d.outbox.seq = seq;
        self.d.outbox.body = Some(Body::new(&status, settings.as_ref()));
        (self.d.outbox.told, self.d.outbox.sent_at) = (Some(told), now);
        self.d.ports.iter_mut().for_each(|port| port.own_waits = true);
    }

    /// A node lacks a hello: of this arbiter, or of its peer, which its frame doesn't tell apart. The first one
    /// after a node has opened its line is lost if the line was silent meanwhile (§5).
    fn notice_hello_asked(&mut self, now: Instant, scheduled: bool) {
        let keepalive = self.d.keepalive;
        let wait = if scheduled { keepalive.percent(50) } else { keepalive.times(HELLO_AT_ONCE) };
        let lately = self.d.outbox.hello_sent_at.is_some_and(|at| now.since(at) < wait);
        let asks = |node| {
            self.is_heard(node, now) && self.d.ledger.voice(node).is_some_and(|v| v.wants_hello)
        };
        self.d.hello_due |= !lately && (asks(Voter::A) || asks(Voter::B));
    }

    fn seen(&self, node: Voter, now: Instant) -> NodeSeen {
        let view = &self.d.nodes[node.index()];
        NodeSeen {
            boot: self.known_boot(node),
            silent_10ms: NodeSeen::silence(view.heard_at.map(|at| now.since(at))),
            heard: self.is_heard(node, now),
            direct: self.hears_directly(node, now),
            armed: view.armed,
            feeds: view.feeds,
            fence: self.fence_shown(node),
            line: self.d.memory.nodes[node.index()].line,
        }
    }

    fn settings(&self) -> ArbiterSettings {
        let memory = &self.d.memory;
        ArbiterSettings {
            lease_ms: memory.lease.0,
            guard_ms: memory.guard.0,
            deadtime_ms: Millis::of(self.deadtime()).0,
            drift_percent: self.config.drift_percent,
            key: self.keys.signing_id(),
            haresources: memory.haresources.unwrap_or(0).to_le_bytes(),
            min_version: self.versions.oldest,
            current_version: self.versions.newest,
            ..ArbiterSettings::new(self.config.id)
        }
    }

    /// The next frame to write. Poll until `None` after any input, after every action was carried out.
    pub fn poll_transmit(&mut self, now: Instant, frame: &mut [u8; MAX_FRAME]) -> Option<Transmit> {
        let version = self.speaks(now);
        for port in Port::ALL {
            let state = &mut self.d.ports[port.index()];
            if state.busy_until > now {
                continue;
            }
            if !state.waiting.is_empty() {
                let len = state.waiting.take(frame);
                return Some(self.write(now, port, len, true));
            }
            let stored = self.d.stored == Some(self.d.memory);
            let Some(body) = self.d.outbox.body.as_ref().filter(|_| state.own_waits && stored)
            else {
                continue;
            };
            state.own_waits = false;
            let header = Header {
                sender: Voter::Arbiter,
                link: LinkId(port as u8),
                boot: self.boot(),
                seq: self.d.outbox.seq,
            };
            let len = body.encode_in(version, &header, self.keys.signing(), frame);
            return Some(self.write(now, port, len, false));
        }
        None
    }

    fn write(&mut self, now: Instant, port: Port, len: usize, forwarded: bool) -> Transmit {
        let line = LinkKind::Serial { baud: self.config.baud };
        let busy = line.time_on_line(cobs::encoded_len(len));
        self.d.ports[port.index()].busy_until = now + busy;
        Transmit { port, len, forwarded }
    }
}
