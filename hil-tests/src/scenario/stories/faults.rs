//! Bad weather: what may hurt, and must not kill.

use hb_proto::time::Duration;

use crate::scenario::Machine::{self, A, B};
use crate::scenario::{Cluster, Link, Noise, Phrase, Scenario, Told, Verb, Weather};

/// Every core is busy with something else: nobody is taken for dead.
pub fn busy_machines_stay_alive(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    let since = s.now();
    s.act(Verb::FillCpu(A))?;
    s.expect_no_takeover(Duration::from_secs(3))?;
    s.act(Verb::FreeCpu(A))?;
    for machine in Machine::BOTH {
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    Ok(())
}

/// A serial line with a bad plug, and no network: frames are lost, nobody dies, nothing is
/// believed that wasn't sent. One frame in twelve is lost. At 100 ms three in a row, which end a lease,
/// would come once in thirty tellings; at 50 ms it takes seven.
pub fn noise_on_the_only_line(s: &mut Scenario<'_>) -> Told {
    let cluster = Cluster::two_nodes().group("web", A).private_heartbeat(false);
    s.begin(cluster.times_ms(50, 500, 3000))?;
    let since = s.now();
    let noise = Noise { flipped: 1000, lost: 500, repeated: 500, merged: 500 };
    s.act(Verb::Noise(0, noise))?;
    s.expect_no_takeover(Duration::from_secs(4))?;
    s.expect_log_since(A, Phrase::FrameDropped, since)?;
    s.act(Verb::Noise(0, Noise::default()))?;
    s.settle()?;
    for machine in Machine::BOTH {
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    Ok(())
}

/// A network that loses, repeats and reorders, and no serial line.
pub fn a_lossy_network(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).serial_lines(0))?;
    let weather = Weather {
        lost: 50_000,
        duplicated: 100_000,
        reordered: 100_000,
        delay: Duration::from_millis(20),
    };
    let since = s.now();
    s.act(Verb::Disturb(Link::Private, weather))?;
    s.expect_no_takeover(Duration::from_secs(4))?;
    // What arrives twice is taken once.
    s.expect_log_since(A, Phrase::FrameDropped, since)?;
    s.act(Verb::Disturb(Link::Private, Weather::default()))?;
    s.settle()
}

/// Somebody sets the clocks: heartbeat's own doesn't move.
pub fn wall_clocks_jump(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    for (machine, by) in [(A, 3_600_000), (B, -3_600_000)] {
        s.act(Verb::StepClock(machine, by))?;
        s.expect_no_takeover(Duration::from_secs(1))?;
    }
    s.settle()
}

/// A hypervisor pauses the holder for seconds: without an arbiter that is the classics' split;
/// thawed, its address goes first.
pub fn a_frozen_holder_thaws(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).auto_failback(false))?;
    s.allow_split();
    s.freeze(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(2000);
    s.thaw(A)?;
    s.expect_address_gone_within(0, A, Duration::from_millis(100))?;
    s.expect_released_within(0, A, Duration::from_secs(2))?;
    s.forbid_split();
    s.settle()?;
    s.expect_holder_stays(0, B, Duration::from_millis(500))
}

/// A panicked kernel answers nobody.
pub fn a_kernel_panic_is_a_death(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.panic_kernel(A)?;
    s.expect_holder_within(0, B, s.budget(0))
}
