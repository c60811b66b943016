//! Numbers of tickets, for an explorer.

use super::Group;
use crate::action::TicketId;

impl Group {
    /// Numbers the order under way, if there is one, after `tickets`.
    pub(crate) fn renumber_ticket(&mut self, tickets: &mut u32) {
        if let Some((id, _)) = self.order.as_mut().and_then(|order| order.issued.as_mut()) {
            *tickets += 1;
            *id = TicketId(*tickets);
        }
    }
}
