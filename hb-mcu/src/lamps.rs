//! What the LEDs say. Somebody stands in front of the rack and has no terminal.

use hb_proto::arbiter::Arbiter;
use hb_proto::id::Voter;
use hb_proto::time::Instant;
use hb_proto::wire::message::arbiter::LineShown;

/// Four lamps; a board without one of them leaves it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lamps {
    /// Blinks once a second while its program goes round; quickly while it has no key.
    pub alive: bool,
    /// A and B: on while heard by the node's own line, blinking while heard only by its peer's relay.
    pub nodes: [bool; 2],
    /// On: a reset line is miswired. Blinking: a reset line is untested.
    pub alarm: bool,
}

/// On for the first half of every second; `now` is in microseconds, and 2²⁰ of these are nearly one.
const fn second(now: Instant) -> bool {
    now.micros() >> 19 & 1 == 0
}

const fn quickly(now: Instant) -> bool {
    now.micros() >> 17 & 1 == 0
}

impl Lamps {
    /// Of a dongle that has no key.
    #[must_use]
    pub const fn blank(now: Instant) -> Self {
        Self { alive: quickly(now), nodes: [false; 2], alarm: false }
    }

    /// Of a dongle that votes.
    #[must_use]
    pub fn of(arbiter: &Arbiter, now: Instant) -> Self {
        let lines = arbiter.memory().nodes.map(|node| node.line);
        let alarm = if lines.contains(&LineShown::Miswired) {
            true
        } else {
            lines.contains(&LineShown::Untested) && second(now)
        };
        let node =
            |node| arbiter.hears_directly(node, now) || arbiter.is_heard(node, now) && quickly(now);
        Self { alive: second(now), nodes: [node(Voter::A), node(Voter::B)], alarm }
    }
}
