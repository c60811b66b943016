//! What was sent and is over, for an explorer.

use super::Outbox;
use crate::time::Instant;

impl Outbox {
    /// Forgets the frame that has left by every link. Call when nothing waits, a while after it left.
    pub(in crate::node) fn level(&mut self) {
        debug_assert_eq!(self.links, 0, "drain before");
        (self.seq, self.message) = (0, None);
        (self.sent_at, self.hello_sent_at) = (Instant::ZERO, None);
    }
}
