//! A node for an exhaustive explorer: it goes on from any decision state, and states that can't be told
//! apart by what follows become equal.

use super::{Decisions, Node};
use crate::authority::explore::{Renumber, lately, rename};
use crate::time::{Duration, Instant};

impl Node {
    /// Goes on from `d`; what it had decided before.
    pub fn swap_decisions(&mut self, d: Decisions) -> Decisions {
        core::mem::replace(&mut self.d, d)
    }

    /// Number of the newest frame of this life; 0 before the first.
    #[must_use]
    pub const fn newest_seq(&self) -> u32 {
        self.d.ledger.newest_seq()
    }

    /// Makes the schedule one that an explorer's steps fit: after `now`, the next frame is due a keepalive
    /// later, and is a hello.
    pub fn coarsen(&mut self, now: Instant) {
        if self.d.keepalive_at > now {
            self.d.keepalive_at = now + self.config.timing.keepalive;
        }
        self.d.hello_at = Instant::ZERO;
    }

    /// Its decisions in a form that is the same for all histories which lead to the same future: seen
    /// from an epoch `by` later, frames renumbered, what is over forgotten. `now` is when it was last
    /// woken or passed over; everything was drained, and it isn't woken again within a keepalive.
    #[must_use]
    pub fn canonical(&self, now: Instant, by: Duration, number: &Renumber<'_>) -> Decisions {
        let mut d = self.d.clone();
        let (me, peer) = (self.config.me, self.config.me.peer());
        d.ledger.renumber(number);
        let timing = &self.config.timing;
        let deadtime = d.peer.deadtime(timing);
        d.ledger.level(now, deadtime);
        d.peer.level(now, deadtime.max(timing.initdead));
        for link in &mut d.links {
            for at in [&mut link.heard_at, &mut link.lopsided_since].into_iter().flatten() {
                *at = lately(*at, now, deadtime);
            }
            rename(&mut link.newest, peer, number);
            link.busy_until = over(link.busy_until, now);
        }
        let mut tickets = 0;
        d.groups.iter_mut().for_each(|group| group.renumber_ticket(&mut tickets));
        d.tickets = tickets;
        for plan in &mut d.plans {
            plan.bridge_until = over(plan.bridge_until, now);
            plan.yield_until = over(plan.yield_until, now);
            plan.peer_idle_since = plan.peer_idle_since.map(|at| lately(at, now, deadtime));
            plan.acquiring = plan.acquiring.map(|(cause, ..)| (cause, Instant::ZERO, None));
        }
        let boot = d.ledger.boot();
        let own = |seq| number(me, crate::authority::FrameName { boot, seq });
        d.left = d.left.map(|(seq, at)| (own(seq), at));
        d.outbox.level();
        d.arbiter.level(now, timing.deadtime, number);
        d.rebased(by)
    }
}

fn over(at: Instant, now: Instant) -> Instant {
    if at <= now { Instant::ZERO } else { at }
}
