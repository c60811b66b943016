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
        d.ledger.level(now, deadtime);
        d.started_at = lately(d.started_at, now, deadtime);
        d.heard_at = lately(d.heard_at, now, lease);
        // The watch after a pulse asks when exactly a node was last heard.
        let attentive = d.attentive_since;
        let watches = d.nodes.iter().any(|node| node.fence.due(attentive, deadtime).is_some());
        for (of, node) in Voter::ALL.into_iter().zip(&mut d.nodes) {
            for at in [&mut node.heard_at, &mut node.direct_at].into_iter().flatten() {
                if !watches {
                    *at = lately(*at, now, deadtime);
                }
            }
            rename(&mut node.direct_newest, of, number);
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
