//! Machines without power, and their return.

use hb_proto::event::Cause;
use hb_proto::time::Duration;

use crate::scenario::Machine::{A, B};
use crate::scenario::{Cluster, Phrase, Scenario, Told};

/// The holder's power is cut: the peer serves within the budget.
pub fn power_loss_of_the_holder(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.expect_log(B, Phrase::PeerDead)?;
    s.expect_log(B, Phrase::TakeoverComplete)?;
    s.expect_view(B, "the failover, and it was within its budget", |view| {
        view.last_failover.is_some_and(|failover| {
            failover.cause == Cause::PeerDead
                && failover.detection.unwrap_or_default()
                    + failover.takeover.unwrap_or(Duration::MAX)
                    <= failover.budget.unwrap_or_default()
        })
    })
}

/// The standby's power is cut: nothing moves, and it returns to being the standby.
pub fn power_loss_of_the_standby(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.power_off(B)?;
    s.expect_no_takeover(Duration::from_millis(1500))?;
    s.expect_log(A, Phrase::PeerDead)?;
    s.power_on(B)?;
    s.settle()?;
    s.expect_no_takeover(Duration::from_millis(500))
}

/// An address alone: what the client sees is deadtime, and little more.
pub fn an_address_alone_is_served_again_within_its_budget(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().address_group("web", A))?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(300);
    s.expect_dark_at_most(0, s.budget(0))
}

/// With failback on, the home node that returns gets its group: a planned move.
pub fn the_returning_home_gets_its_group_back(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().address_group("web", A))?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(500);
    s.power_on(A)?;
    s.expect_holder(0, A)?;
    s.run_for_ms(300);
    s.expect_dark_at_most(0, s.planned_budget(0))?;
    s.expect_no_log(A, Phrase::BothOwn, s.mark())
}

/// With failback off, it stays where it is.
pub fn without_failback_the_group_stays(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.power_on(A)?;
    s.settle()?;
    s.expect_no_takeover(Duration::from_secs(2))?;
    s.expect_holder_stays(0, B, Duration::from_millis(100))
}

/// Power comes back for both at once.
pub fn both_lose_power_and_return(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.power_off(B)?;
    s.power_off(A)?;
    s.run_for_ms(300);
    s.power_on(B)?;
    s.power_on(A)?;
    s.expect_holder(0, A)?;
    s.settle()
}

/// Reset: its machine is back soon, after the peer has taken over.
pub fn a_reset_holder_is_taken_over(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    s.reset(A)?;
    // Whether A is heard again before deadtime is the machine's affair; a new life of it is proof
    // enough that the old one is gone.
    s.until("somebody holds web", Duration::from_secs(10), |s| s.holds(0, A) || s.holds(0, B))?;
    s.settle()?;
    s.expect_no_takeover_from_now(Duration::from_secs(1))
}

/// Both start: contact decides, not a timer.
pub fn started_together_nobody_waits_for_initdead(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A).initdead_ms(30_000))?;
    s.expect_holder_within(0, A, Duration::from_secs(5))
}

/// One alone waits for initdead, then serves; home comes later and gets its group.
pub fn started_apart_the_first_waits_for_initdead(s: &mut Scenario<'_>) -> Told {
    s.build(Cluster::two_nodes().group("web", A).initdead_ms(2000))?;
    s.power_on(B)?;
    s.all_the_time("nobody serves before initdead", Duration::from_millis(1500), |s| {
        !s.holds_any(0, A) && !s.holds_any(0, B)
    })?;
    s.expect_holder_within(0, B, Duration::from_secs(2) + s.budget(0))?;
    s.power_on(A)?;
    s.expect_holder(0, A)
}

/// The second comes while the first still waits.
pub fn started_within_initdead_the_group_starts_on_contact(s: &mut Scenario<'_>) -> Told {
    s.build(Cluster::two_nodes().group("web", B).initdead_ms(30_000))?;
    s.power_on(A)?;
    s.run_for_ms(1000);
    s.power_on(B)?;
    s.expect_holder_within(0, B, Duration::from_secs(5))
}
