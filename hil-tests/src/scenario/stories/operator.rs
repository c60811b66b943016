//! What a person asks for.

use hb_proto::event::Cause;
use hb_proto::time::Duration;

use crate::scenario::Machine::{A, B};
use crate::scenario::{Cluster, Phrase, Scenario, Told, Verb};

/// SIGTERM: released, said, taken over; nobody waits for deadtime. Then it returns.
pub fn orderly_leave_is_taken_over_without_waiting(s: &mut Scenario<'_>) -> Told {
    // A deadtime that nobody would wait for.
    s.begin(Cluster::two_nodes().address_group("web", A).times_ms(100, 5000, 10_000))?;
    s.leave(A)?;
    s.expect_holder_within(0, B, s.planned_budget(0))?;
    s.expect_log(B, Phrase::PeerLeft)?;
    s.run_for_ms(300);
    s.expect_dark_at_most(0, s.planned_budget(0))?;
    s.expect_no_log(B, Phrase::PeerDead, s.mark())?;
    s.until("A's daemon is gone", Duration::from_secs(5), |s| !s.rig().daemon_runs(A))?;
    s.start_daemon(A)?;
    s.expect_holder(0, A)
}

/// The standby leaves and returns: nothing moves.
pub fn the_standby_leaves_and_returns(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.leave(B)?;
    s.expect_log(A, Phrase::PeerLeft)?;
    s.until("B's daemon is gone", Duration::from_secs(5), |s| !s.rig().daemon_runs(B))?;
    s.expect_no_takeover(Duration::from_millis(1000))?;
    s.start_daemon(B)?;
    s.settle()?;
    s.expect_no_takeover(Duration::from_millis(500))
}

/// `hb standby` gives it away, and it stays there; `hb takeover` brings it back.
pub fn standby_and_takeover(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.standby(A)?;
    s.expect_holder_within(0, B, s.planned_budget(0))?;
    s.expect_log(B, Phrase::StandbyDone)?;
    s.expect_view(B, "standby was the cause", |view| {
        view.last_failover.is_some_and(|failover| failover.cause == Cause::Standby)
    })?;
    // Failback is on; an operator's word is stronger.
    s.expect_holder_stays(0, B, Duration::from_secs(2))?;
    s.takeover(A)?;
    s.expect_holder_within(0, A, s.planned_budget(0))?;
    s.expect_holder_stays(0, A, Duration::from_secs(1))?;
    s.expect_dark_at_most(0, s.planned_budget(0))
}

/// `hb takeover` on the node that isn't home: no ping-pong.
pub fn takeover_from_the_other_node_stays(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().address_group("web", A))?;
    s.takeover(B)?;
    s.expect_holder_within(0, B, s.planned_budget(0))?;
    s.run_for_ms(300);
    s.expect_dark_at_most(0, s.planned_budget(0))?;
    s.expect_holder_stays(0, B, Duration::from_secs(2))
}

/// There is nobody to stand by for.
pub fn standby_without_a_peer_is_refused(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.power_off(B)?;
    s.expect_log(A, Phrase::PeerDead)?;
    s.expect_refused(Verb::Standby(A))?;
    s.expect_no_takeover(Duration::from_millis(500))
}

/// Two groups, two owners: each moves alone.
pub fn two_groups_live_with_their_owners(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A).group("mail", B))?;
    s.expect_holder(0, A)?;
    s.expect_holder(1, B)?;
    s.settle()?;
    s.power_off(B)?;
    s.expect_holder_within(1, A, s.budget(1))?;
    s.expect_holder_stays(0, A, Duration::from_millis(200))?;
    s.power_on(B)?;
    s.expect_holder(1, B)?;
    s.settle()?;
    s.standby(A)?;
    s.expect_holder_within(0, B, s.planned_budget(0))?;
    s.expect_holder_stays(1, B, Duration::from_millis(500))
}
