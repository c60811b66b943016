//! What was sent and is over, for an explorer.

use super::Outbox;
use crate::time::Instant;

impl Outbox {
    /// Forgets the frame that has left by both ports. Call when nothing waits, a while after it left.
    pub(in crate::arbiter) fn level(&mut self) {
        (self.seq, self.body, self.sent_at) = (0, None, Instant::ZERO);
        self.hello_sent_at = None;
    }
}
