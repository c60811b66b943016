//! What is remembered of the arbiter for people only, for an explorer.

use super::ArbiterView;
use crate::authority::explore::{Renumber, lately, rename};
use crate::id::Voter;
use crate::time::{Duration, Instant};

impl ArbiterView {
    /// Renumbers its newest frame; its uptime, its figures of silence and its echoes decide nothing here
    /// once the frame is processed.
    pub(in crate::node) fn level(
        &mut self,
        now: Instant,
        deadtime: Duration,
        number: &Renumber<'_>,
    ) {
        let times = [&mut self.heard_at, &mut self.direct_at, &mut self.peer_deaf_since];
        for at in times.into_iter().flatten() {
            *at = lately(*at, now, deadtime);
        }
        rename(&mut self.direct_newest, Voter::Arbiter, number);
        if let Some(status) = &mut self.status {
            status.echoes = [None; 2];
            status.uptime_s = 0;
            status.nodes.iter_mut().for_each(|node| node.silent_10ms = 0);
        }
    }
}
