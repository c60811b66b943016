//! Hints that shorten a wait: where no wire is left, nobody need be listened for until deadtime (protocol.md §3).

use super::Node;
use crate::config::{LAST_WORDS, shortest_silence};
use crate::id::LinkId;
use crate::link::Link;
use crate::time::{Duration, Instant};

impl Node {
    /// The device under a link says whether there is a signal from its other end: a NIC's carrier, a serial line's
    /// DSR or DCD. Call at each change, and once at the start where it is missing.
    ///
    /// A hint and no evidence: it makes the peer's silence count sooner, never before lease × (1 + drift), and
    /// nothing else follows from it. A driver that reports nothing waits for deadtime.
    pub fn handle_carrier(&mut self, now: Instant, link: LinkId, present: bool) {
        if let Some(link) = self.d.links.get_mut(link.index()) {
            link.carrier_lost_at = if present { None } else { link.carrier_lost_at.or(Some(now)) };
        }
        self.heed_carriers(now);
    }

    /// Whether the peer's silence counts sooner: every wire by which it was heard lately has lost its carrier. The
    /// arbiter's line shows the arbiter's carrier, whatever becomes of the peer.
    pub(super) fn heed_carriers(&mut self, now: Instant) {
        let deadtime = self.d.peer.deadtime(&self.config.timing);
        let arbiters = self.arbiter_link();
        let wires = (0..).map(LinkId).zip(&self.d.links).filter(|&(id, _)| Some(id) != arbiters);
        let mut lately =
            wires.map(|(_, link)| link).filter(|link| link.heard_lately(now, deadtime));
        let hinted = lately.clone().next().is_some() && lately.all(Link::has_lost_its_carrier);
        let shortest = self.shortest_silence().filter(|_| hinted);
        self.d.peer.shorten_silence(shortest);
    }

    /// As short as a configuration could make deadtime (§3): whoever counts a promise of ours, and hears us no
    /// more than we hear it, has stopped by then. `None` while the peer's times aren't known.
    fn shortest_silence(&self) -> Option<Duration> {
        let timing = &self.config.timing;
        let facts = self.d.facts.as_ref()?;
        Some(shortest_silence(
            timing.lease.max(facts.lease),
            timing.drift_percent,
            timing.keepalive.max(facts.keepalive),
        ))
    }
}

impl Link {
    /// It has no carrier, and nothing was heard on it since, but for what was under way: then the carrier is no
    /// sign of what the link carries.
    fn has_lost_its_carrier(&self) -> bool {
        self.carrier_lost_at
            .is_some_and(|lost| self.heard_at.is_none_or(|heard| heard <= lost + LAST_WORDS))
    }
}
