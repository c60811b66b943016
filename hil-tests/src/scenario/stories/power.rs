//! Machines without power, and their return.

use hb_proto::time::Duration;

use crate::scenario::Machine::{A, B};
use crate::scenario::{Cluster, Phrase, Scenario, Told};

/// The holder's power is cut: the peer serves within the budget.
pub fn power_loss_of_the_holder(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A))?;
    s.expect_holder(0, A)?;
    s.settle()?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.expect_log(B, Phrase::PeerDead)?;
    s.expect_log(B, Phrase::TakeoverComplete)
}

/// The standby's power is cut: nothing moves.
pub fn power_loss_of_the_standby(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A))?;
    s.expect_holder(0, A)?;
    s.settle()?;
    s.power_off(B)?;
    s.expect_no_takeover(Duration::from_millis(1500))?;
    s.expect_log(A, Phrase::PeerDead)
}
