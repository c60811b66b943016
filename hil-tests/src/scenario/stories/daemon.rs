//! The machine lives, its daemon doesn't, or stands still.

use hb_proto::time::Duration;

use crate::scenario::Machine::{A, B};
use crate::scenario::{Cluster, Conduct, Phrase, Scenario, Told};

/// SIGKILL: the dead man's order frees everything before the peer may take over.
pub fn a_killed_daemon_leaves_nothing_behind(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.kill_daemon(A)?;
    s.expect_released_within(0, A, Duration::from_millis(200))?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.start_daemon(A)?;
    s.expect_holder(0, A)?;
    s.settle()
}

/// A service manager starts it again at once: it stops what may still run, then serves.
pub fn a_killed_daemon_started_again_at_once(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.kill_daemon(A)?;
    // Its end is noticed a moment after the signal.
    s.run_for_ms(50);
    s.start_daemon(A)?;
    s.settle()?;
    s.expect_holder(0, A)?;
    s.expect_holder_stays(0, A, Duration::from_millis(500))
}

/// The same while a stop of its last life still cleans up: the new life must wait for its end, or
/// what it starts is swept away.
pub fn a_new_life_waits_for_the_end_of_the_last(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.script(A, "web", Conduct::Lingers(Duration::from_millis(1500)))?;
    s.kill_daemon(A)?;
    s.run_for_ms(300);
    s.start_daemon(A)?;
    s.settle()?;
    s.expect_holder(0, A)?;
    s.expect_holder_stays(0, A, Duration::from_millis(2500))
}

/// SIGSTOP for longer than deadtime: the kernel keeps its address, which is the classics' split.
/// Continued, it drops the address before it does anything else, and leaves the peer alone.
pub fn a_stopped_daemon_drops_its_address_first(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    // A stop that takes long: what goes before it goes first.
    s.script(A, "web", Conduct::Slow(Duration::from_millis(800)))?;
    s.allow_split();
    s.stop_daemon(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(2000);
    let since = s.now();
    s.continue_daemon(A)?;
    s.expect_address_gone_within(0, A, Duration::from_millis(100))?;
    s.expect_released_within(0, A, Duration::from_secs(2))?;
    s.forbid_split();
    s.settle()?;
    s.run_for_ms(1000);
    // From the moment of waking up on: nobody but B, without a gap worth the name.
    s.expect_dark_at_most(0, Duration::from_millis(500))?;
    s.expect_holder_stays(0, B, Duration::from_millis(200))?;
    s.expect_log_since(A, Phrase::Stalled, since)?;
    s.expect_view(A, "the stall was counted", |view| view.stalls > 0)
}

/// SIGSTOP for longer than warntime and less than deadtime and lease: everybody keeps what he has.
pub fn a_pause_shorter_than_deadtime_moves_nothing(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).times_ms(100, 3000, 6000))?;
    for machine in [A, B] {
        s.stop_daemon(machine)?;
        s.run_for_ms(2000);
        s.continue_daemon(machine)?;
        s.expect_no_takeover(Duration::from_millis(500))?;
    }
    s.expect_holder_stays(0, A, Duration::from_millis(100))
}

/// The standby's daemon stands still and goes on: it never had anything to drop.
pub fn a_stopped_standby_changes_nothing(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.stop_daemon(B)?;
    s.expect_log(A, Phrase::PeerDead)?;
    s.expect_no_takeover(Duration::from_millis(1000))?;
    s.continue_daemon(B)?;
    s.settle()?;
    s.expect_no_takeover(Duration::from_millis(1000))
}
