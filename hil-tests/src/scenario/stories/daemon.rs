//! The machine lives, its daemon doesn't, or stands still.

use hb_proto::time::Duration;

use crate::scenario::Machine::{A, B};
use crate::scenario::{Cluster, Conduct, Deed, Entry, Phrase, Scenario, Told};

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

/// The helper dies while a start is under way: what it ran dies with it, or it would end its start on
/// a node that has given the group away. The peer gets the group; a new helper serves the next order.
pub fn a_helper_killed_during_a_start(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    s.standby(A)?;
    s.expect_holder(0, B)?;
    // An address that comes back within 300 ms the client can't tell from two holders.
    s.run_for_ms(500);
    s.script(A, "web", Conduct::Slow(Duration::from_millis(2500)))?;
    s.takeover(A)?;
    let since = s.mark();
    let of_a = |s: &mut Scenario<'_>, deed: Deed| {
        let journal = s.rig().journal();
        let its = |entry: &Entry| entry.at >= since && (entry.machine, entry.resource) == (A, 1);
        journal.iter().any(|entry| its(entry) && entry.deed == deed)
    };
    s.until("A starts it", Duration::from_secs(5), |s| of_a(s, Deed::Starting))?;
    s.run_for_ms(500);
    s.kill_helper(A)?;
    s.script(A, "web", Conduct::Obeys)?;
    s.expect_holder(0, B)?;
    // The start would have ended by now.
    s.run_for_ms(3000);
    let held = of_a(s, Deed::Held);
    s.expect("the start that was under way on A never ended", || !held)?;
    s.expect_holder_stays(0, B, Duration::from_millis(300))?;
    s.takeover(A)?;
    s.expect_holder(0, A)
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

/// The same for longer than a lease, at the standby: what it says first promises nothing, and yet it hears the
/// runner and leaves it alone.
pub fn a_standby_pauses_for_longer_than_a_lease(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).times_ms(100, 3000, 6000))?;
    s.stop_daemon(B)?;
    // The lease is 4.8 s.
    s.run_for_ms(5300);
    s.continue_daemon(B)?;
    s.expect_no_takeover(Duration::from_millis(500))?;
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
