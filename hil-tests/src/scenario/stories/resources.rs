//! Scripts that misbehave, and files that differ.

use hb_proto::time::Duration;

use crate::scenario::Machine::{self, A, B};
use crate::scenario::{Cluster, Conduct, Deed, Order, Phrase, Resource, Scenario, Told, Verb};

/// A start that fails: the group goes to the peer after one try; a person mends it and takes it
/// back.
pub fn a_failed_start_goes_to_the_peer(s: &mut Scenario<'_>) -> Told {
    s.build(Cluster::two_nodes().group("web", A))?;
    s.script(A, "web", Conduct::Fails(Order::Start))?;
    s.power_on(A)?;
    s.power_on(B)?;
    s.expect_holder(0, B)?;
    s.expect_log_since(A, Phrase::StartFailed, s.start_of_time())?;
    s.expect_holder_stays(0, B, Duration::from_secs(2))?;
    s.expect_starts(0, 1, A, 1)?;
    s.script(A, "web", Conduct::Obeys)?;
    s.takeover(A)?;
    s.expect_holder(0, A)
}

/// It fails on both: told once, loudly; nobody loops; a person mends it.
pub fn both_starts_fail_and_a_person_mends(s: &mut Scenario<'_>) -> Told {
    s.build(Cluster::two_nodes().group("web", A))?;
    for machine in Machine::BOTH {
        s.script(machine, "web", Conduct::Fails(Order::Start))?;
    }
    s.power_on(A)?;
    s.power_on(B)?;
    s.expect_log_since(A, Phrase::NobodyOwns, s.start_of_time())?;
    s.run_for_ms(2000);
    s.expect_nobody_within(0, Duration::ZERO)?;
    s.expect_starts(0, 1, A, 1)?;
    s.expect_starts(0, 1, B, 1)?;
    s.script(B, "web", Conduct::Obeys)?;
    s.takeover(B)?;
    s.expect_holder(0, B)
}

/// A start that never returns is killed after its 60 s; meanwhile the node is alive, the peer
/// waits, and then gets it.
pub fn a_hanging_start_is_given_up_after_its_time(s: &mut Scenario<'_>) -> Told {
    s.build(Cluster::two_nodes().group("web", A))?;
    s.script(A, "web", Conduct::Hangs(Order::Start))?;
    s.power_on(A)?;
    s.power_on(B)?;
    s.settle()?;
    s.all_the_time("B leaves it to A", Duration::from_secs(50), |s| !s.holds_any(0, B))?;
    s.expect_no_log(B, Phrase::PeerDead, s.start_of_time())?;
    s.expect_holder_within(0, B, Duration::from_secs(80))?;
    s.expect_log_since(A, Phrase::TimedOut, s.start_of_time())
}

/// A stop that fails: while it may run here, it doesn't start there.
pub fn a_failing_stop_keeps_the_peer_waiting(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.script(A, "web", Conduct::Fails(Order::Stop))?;
    s.standby(A)?;
    s.all_the_time("B waits", Duration::from_secs(3), |s| !s.holds_any(0, B))?;
    s.script(A, "web", Conduct::Obeys)?;
    s.expect_holder_within(0, B, Duration::from_secs(5))
}

/// A stop that takes its time.
pub fn a_slow_stop_keeps_the_peer_waiting(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.script(A, "web", Conduct::Slow(Duration::from_millis(1500)))?;
    s.standby(A)?;
    s.all_the_time("B waits", Duration::from_millis(1200), |s| !s.holds_any(0, B))?;
    s.expect_holder_within(0, B, Duration::from_millis(1500) + s.planned_budget(0))
}

/// Three scripts beside the address: [`Scenario::finish`] looks at the order.
pub fn a_group_starts_left_to_right_and_stops_right_to_left(s: &mut Scenario<'_>) -> Told {
    let scripts = ["one", "two", "three"].map(Resource::Script);
    let resources = [&[Resource::Address][..], &scripts].concat();
    s.begin(Cluster::two_nodes().group_of("web", A, &resources))?;
    s.standby(A)?;
    s.expect_holder_within(0, B, s.planned_budget(0))?;
    let order = |deed: Deed, entries: &[crate::scenario::Entry], machine: Machine| {
        let its = entries.iter().filter(|entry| entry.machine == machine && entry.deed == deed);
        its.map(|entry| entry.resource).collect::<Vec<_>>()
    };
    let journal = s.rig().journal();
    let seen = [
        order(Deed::Starting, &journal, A),
        order(Deed::Stopping, &journal, A),
        order(Deed::Starting, &journal, B),
    ];
    s.expect(&format!("starts and stops in order: {seen:?}"), || {
        seen == [vec![1, 2, 3], vec![3, 2, 1], vec![1, 2, 3]]
    })
}

/// The operating system has started it too: it is stopped before heartbeat says a word.
pub fn what_runs_already_is_stopped_first(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    s.leave(A)?;
    s.expect_holder(0, B)?;
    s.until("A's daemon is gone", Duration::from_secs(5), |s| !s.rig().daemon_runs(A))?;
    // Two of them run now; that is the story.
    s.allow_split();
    s.start_outside(A, "web")?;
    s.start_daemon(A)?;
    s.expect_released_within(0, A, Duration::from_secs(2))?;
    s.forbid_split();
    s.expect_log(A, Phrase::FoundRunning)?;
    s.settle()?;
    s.expect_holder_stays(0, B, Duration::from_millis(500))
}

/// haresources differs: told on both, nothing is started, a standby is refused.
pub fn mismatching_files_start_and_stop_nothing(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A).mismatch_on(B).initdead_ms(1500))?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::Mismatch, s.start_of_time())?;
    }
    s.all_the_time("nobody starts anything", Duration::from_secs(3), |s| {
        !s.holds_any(0, A) && !s.holds_any(0, B)
    })?;
    s.expect_refused(Verb::Standby(A))
}
