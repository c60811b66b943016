//! Times that are over, for an explorer.

use super::Peer;
use crate::authority::explore::lately;
use crate::time::{Duration, Instant};

impl Peer {
    /// `patience` is the longer of deadtime and initdead.
    pub(crate) fn level(&mut self, now: Instant, patience: Duration) {
        if !self.state.is_gone() {
            // How late its death is noticed tells a stall of one's own.
            return;
        }
        self.started_at = lately(self.started_at, now, patience);
        self.attentive_since = lately(self.attentive_since, now, patience);
        self.heard_at = self.heard_at.map(|at| lately(at, now, patience));
    }
}
