//! The cable: what comes in at one port leaves by the other, before anything of the arbiter's own (§4).

use heapless::Vec;

use super::{Arbiter, Event};
use crate::authority::FrameName;
use crate::id::{BootId, Voter};
use crate::mutant::Mutant;
use crate::time::{Duration, Instant};
use crate::wire::message::{self, Header, Hello, Message, Status};
use crate::wire::{MAX_FRAME, Reject};

/// One of the two serial lines. Which node is at its other end, frames tell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Port {
    /// The first.
    One = 0,
    /// The second.
    Two = 1,
}

impl Port {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// The other end of the cable.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }

    /// Position in tables that hold one entry a port.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Frames that wait for a port, the oldest first; an empty one is none. A node sends no faster than its line, which is
/// as fast as the other; one may wait for a frame of the arbiter's own to end, and one come in meanwhile.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Waiting([Vec<u8, MAX_FRAME>; 2]);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_empty()
    }

    /// The oldest waits no more.
    fn drop_oldest(&mut self) {
        self.0.swap(0, 1);
        self.0[1].clear();
    }

    /// Takes the oldest; how long it is, 0 for none.
    pub(super) fn take(&mut self, frame: &mut [u8; MAX_FRAME]) -> usize {
        let len = self.0[0].len();
        frame[..len].copy_from_slice(&self.0[0]);
        self.drop_oldest();
        len
    }

    /// Adds one that is no longer than the longest. True: the oldest had to make room.
    fn add(&mut self, frame: &[u8]) -> bool {
        let [oldest, newest] = &self.0;
        let full = !newest.is_empty();
        let at = usize::from(full || !oldest.is_empty());
        if full {
            self.drop_oldest();
        }
        let _ = self.0[at].extend_from_slice(frame);
        full
    }
}

const fn count(figure: &mut u32) {
    *figure = figure.wrapping_add(1);
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct PortState {
    pub(super) waiting: Waiting,
    /// The newest frame of the arbiter's own has not left by it.
    pub(super) own_waits: bool,
    /// Until when the line is busy with what was last written to it.
    pub(super) busy_until: Instant,
}

impl PortState {
    /// Nothing waits.
    #[inline(always)]
    pub(super) const fn idle() -> Self {
        Self {
            waiting: Waiting([Vec::new(), Vec::new()]),
            own_waits: false,
            busy_until: Instant::ZERO,
        }
    }

    /// When something that waits for the line can leave.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.own_waits || !self.waiting.is_empty()).then_some(self.busy_until)
    }

    pub(super) fn rebase(&mut self, by: Duration) {
        self.busy_until = self.busy_until.rebased(by);
    }
}

/// What a frame was good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Accepted {
    /// Processed.
    First,
    /// Known already: the node's own line, or a relay, brought it again.
    Copy,
}

impl Arbiter {
    /// One frame, as it came off a port (without line encoding). `now` was read after the frame.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        port: Port,
        frame: &[u8],
    ) -> Result<Accepted, Reject> {
        let result = self.take_frame(now, port, frame);
        match result {
            Ok(_) => count(&mut self.statistics[port.index()].received),
            Err(reason) => self.count_reject(port, reason),
        }
        result
    }

    /// A frame that the line damaged.
    pub fn handle_damage(&mut self, port: Port) {
        self.count_reject(port, Reject::Framing);
    }

    fn count_reject(&mut self, port: Port, reason: Reject) {
        count(&mut self.statistics[port.index()].rejected[reason.index()]);
        self.tell(Event::Rejected { port, reason });
    }

    #[inline(never)]
    fn take_frame(&mut self, now: Instant, port: Port, frame: &[u8]) -> Result<Accepted, Reject> {
        let opened = message::open_in(self.versions, frame, &self.keys)?;
        let header = opened.header;
        if header.sender == Voter::Arbiter {
            let newer = header.boot == self.boot() && header.seq > self.d.ledger.newest_seq();
            if newer || header.boot > self.boot() {
                // Its tag is the key's; what it says is of no interest.
                self.heard_oneself(now, header.boot);
            }
            return Err(Reject::Own);
        }
        let name = FrameName { boot: header.boot, seq: header.seq };
        let known = self.d.ledger.voice(header.sender).map(|voice| voice.newest);
        if known.is_some_and(|newest| newest.boot > header.boot) {
            return Err(Reject::Replay);
        }
        let direct_newest = self.d.nodes[header.sender.index()].direct_newest;
        let message = opened.message()?;
        // A relayed copy may overtake the direct one, which then is no replay: it proves the line, and the
        // node at the other end has not had it by the cable.
        let direct = message.status().direct && direct_newest.is_none_or(|newest| newest < name);
        if known.is_some_and(|newest| newest >= name) && !direct {
            return if known == Some(name) { Ok(Accepted::Copy) } else { Err(Reject::Replay) };
        }
        self.look_for_oneself(now, header.sender, &message);
        if direct {
            self.pass_on(now, port, header, frame);
        }
        if known.is_some_and(|newest| newest >= name) {
            return Ok(Accepted::Copy);
        }
        self.d.nodes[header.sender.index()].version = opened.version;
        self.process(now, &header, &message)?;
        Ok(Accepted::First)
    }

    /// To the other port. Frames that were relayed to here came from there.
    fn pass_on(&mut self, now: Instant, from: Port, header: Header, frame: &[u8]) {
        let view = &mut self.d.nodes[header.sender.index()];
        view.direct_at = Some(now);
        view.direct_newest = Some(FrameName { boot: header.boot, seq: header.seq });
        let statistics = &mut self.statistics[from.index()];
        if self.d.ports[from.other().index()].waiting.add(frame) {
            count(&mut statistics.dropped);
        }
        count(&mut statistics.forwarded);
    }

    /// The nodes may know a later life under this arbiter's name, or frames of this life that it never
    /// sent: that of the dongle which this one takes the place of. They take what it says for replays.
    fn look_for_oneself(&mut self, now: Instant, sender: Voter, message: &Message) {
        let echo = message.status().echoes[Status::echo_slot(sender, Voter::Arbiter)];
        let newest = self.d.ledger.newest_seq();
        if echo.is_some_and(|echo| echo.is_ahead_of(self.boot(), newest)) {
            self.heard_oneself(now, self.boot());
        }
        if let Message::Hello(Hello { for_arbiter: Some(tail), .. }) = message
            && let Some(life) = tail.knows.filter(|&life| life > self.boot())
        {
            self.heard_oneself(now, life);
        }
    }

    /// R9: whoever hears an id of its own, not below its present one, restarts above it. The driver does
    /// on [`Action::Restart`](super::Action::Restart). Somebody else lived under that id, and may have promised
    /// anything: what this life promised is no memory for the next one (R8).
    fn heard_oneself(&mut self, now: Instant, life: BootId) {
        if self.d.restart_above.is_none_or(|known| known < life) {
            self.d.restart_above = Some(life);
            if !self.is_broken(Mutant::R8Spare) {
                self.forget(now);
            }
        }
    }
}
