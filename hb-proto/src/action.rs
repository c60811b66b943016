//! What the driver is told to do, and how it answers.

use crate::id::{BootId, GroupId};

/// Number of an order, echoed in its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TicketId(pub u32);

/// An order that must be answered, exactly once: neither copied nor cloned.
///
/// Minted when the action is polled. The state machine keeps its number, so that an answer to an order
/// that it has given up is recognised and dropped.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an order that is not answered ends by its timeout"]
pub struct Ticket(TicketId);

impl Ticket {
    pub(crate) const fn mint(id: TicketId) -> Self {
        Self(id)
    }

    /// Its number, to be carried through a driver's own messages.
    #[must_use]
    pub const fn id(&self) -> TicketId {
        self.0
    }
}

/// What to do with a resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verb {
    /// Start it; succeeds if it runs already.
    Start,
    /// Stop it; succeeds if it doesn't run.
    Stop,
    /// Tell whether it runs.
    Status,
}

impl Verb {
    /// The word that scripts are called with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Status => "status",
        }
    }
}

/// How an order ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// Started, or stopped, as told.
    Done,
    /// The status is known: it runs.
    Held,
    /// The status is known: it doesn't run.
    NotHeld,
    /// It failed, could not be tried, or was aborted.
    Failed,
}

/// Something to do outside. Do it at once, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Run one resource's verb; answer with [`crate::node::Node::handle_done`].
    Run {
        /// To be answered.
        ticket: Ticket,
        /// Whose.
        group: GroupId,
        /// Which resource of the group, in starting order.
        resource: u8,
        /// What.
        verb: Verb,
    },
    /// The order took too long: end it, by force if need be; answer it as failed.
    Abort {
        /// Which order.
        ticket: TicketId,
    },
    /// Authority over the group is lost: remove its addresses now, by system calls, before anything
    /// else (R10). Orders to stop them follow all the same.
    DropAddresses {
        /// Whose.
        group: GroupId,
    },
    /// Tell the neighbours again where the group's addresses are.
    Announce {
        /// Whose.
        group: GroupId,
    },
    /// Everything is stopped and said: end this process.
    Depart {
        /// Another life of this node has been heard: the next one must begin above this id (R9).
        restart_above: Option<BootId>,
    },
}
