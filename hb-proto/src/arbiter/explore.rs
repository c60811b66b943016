//! An arbiter for an exhaustive explorer, as [`crate::node::Node`] has it.

use super::{Arbiter, Decisions};
use crate::authority::explore::{Renumber, lately, rename};
use crate::id::Voter;
use crate::time::{Duration, Instant};

impl Arbiter {
    /// Goes on from `d`; what it had decided before.
    pub fn swap_decisions(&mut self, d: Decisions) -> Decisions {
        core::mem::replace(&mut self.d, d)
    }

    /// As [`crate::node::Node::coarsen`].
    pub fn coarsen(&mut self, now: Instant) {
        if self.d.keepalive_at > now {
            self.d.keepalive_at = now + self.d.keepalive;
        }
        self.d.hello_at = Instant::ZERO;
    }

    /// As [`crate::node::Node::canonical`].
    #[must_use]
    pub fn canonical(&self, now: Instant, by: Duration, number: &Renumber<'_>) -> Decisions {
        let mut d = self.d.clone();
        d.ledger.renumber(number);
        let (deadtime, lease) = (self.deadtime(), d.ledger.terms().lease);
        for (of, node) in Voter::ALL.into_iter().zip(&mut d.nodes) {
            rename(&mut node.direct_newest, of, number);
        }
        // Before any node told the times, nobody knows how long ago will matter.
        if lease > Duration::ZERO {
            d.level(now, deadtime, lease);
        }
        for port in &mut d.ports {
            debug_assert!(!port.own_waits && port.waiting.is_empty(), "drain before");
            if port.busy_until <= now {
                port.busy_until = Instant::ZERO;
            }
        }
        d.outbox.level();
        d.rebased(by)
    }
}

impl Decisions {
    /// Times that are over become one.
    fn level(&mut self, now: Instant, deadtime: Duration, lease: Duration) {
        self.ledger.level(now, deadtime);
        self.started_at = lately(self.started_at, now, deadtime);
        self.heard_at = self.heard_at.filter(|&at| now.since(at) < lease);
        // The watch after a pulse asks when exactly a node was last heard.
        let attentive = self.attentive_since;
        if self.nodes.iter().any(|node| node.fence.due(attentive, deadtime).is_some()) {
            return;
        }
        for node in &mut self.nodes {
            for at in [&mut node.heard_at, &mut node.direct_at].into_iter().flatten() {
                *at = lately(*at, now, deadtime);
            }
        }
    }
}
