//! Bad weather: what may hurt, and must not kill.

use hb_proto::link::LinkState;
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
    let noise = Noise { flipped: 1000, lost: 500, repeated: 500, merged: 500, ..Noise::default() };
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
        ..Weather::default()
    };
    let since = s.now();
    s.act(Verb::Disturb(Link::Private, weather))?;
    s.expect_no_takeover(Duration::from_secs(4))?;
    // What arrives twice is taken once.
    s.expect_log_since(A, Phrase::FrameDropped, since)?;
    s.act(Verb::Disturb(Link::Private, Weather::default()))?;
    s.settle()
}

/// A network that loses many datagrams in a row, for longer than deadtime: the line carries the pair.
pub fn bursts_of_losses_on_the_network(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    let since = s.now();
    let weather = Weather { bursts: 200_000, burst_datagrams: 12, ..Weather::default() };
    s.act(Verb::Disturb(Link::Private, weather))?;
    s.expect_no_takeover(Duration::from_secs(5))?;
    s.act(Verb::Disturb(Link::Private, Weather::default()))?;
    s.settle()?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::LinkDown(Link::Private), since)?;
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    Ok(())
}

/// Sparks on the line spoil many bytes in a row: they cost frames, and the network carries the pair.
pub fn bursts_of_noise_on_the_line(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    let since = s.now();
    let noise = Noise { bursts: 5000, burst_bytes: 100, ..Noise::default() };
    s.act(Verb::Noise(0, noise))?;
    s.expect_no_takeover(Duration::from_secs(5))?;
    s.act(Verb::Noise(0, Noise::default()))?;
    s.settle()?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::FrameDropped, since)?;
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    Ok(())
}

/// A network card that inverts bits and computes good checksums over them, and no serial line: the
/// tag sees what no checksum does.
pub fn corrupted_datagrams_are_dropped(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).serial_lines(0).times_ms(100, 1000, 3000))?;
    let since = s.now();
    let weather = Weather { corrupted: 200_000, ..Weather::default() };
    s.act(Verb::Disturb(Link::Private, weather))?;
    s.expect_no_takeover(Duration::from_secs(4))?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::FrameDropped, since)?;
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    s.act(Verb::Disturb(Link::Private, Weather::default()))?;
    s.settle()
}

/// Break conditions of either end, short ones as of a line that is switched on, and one longer than
/// deadtime: the link is one-way for that time, nothing else happens.
pub fn breaks_on_the_line(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    let since = s.now();
    for round in 0..20 {
        let machine = Machine::BOTH[round % 2];
        s.act(Verb::Break(0, machine, Duration::from_millis(5)))?;
        s.expect_no_takeover(Duration::from_millis(70))?;
    }
    s.expect_link(Link::Serial(0), LinkState::Up)?;
    s.act(Verb::Break(0, A, Duration::from_secs(2)))?;
    s.expect_link(Link::Serial(0), LinkState::OneWay)?;
    s.expect_no_takeover(Duration::from_millis(1000))?;
    s.expect_link(Link::Serial(0), LinkState::Up)?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::LinkOneWay(Link::Serial(0)), since)?;
        s.expect_no_log(machine, Phrase::PeerDead, since)?;
    }
    s.settle()
}

/// One end of the line is set to another speed, faster or slower: both hear garbage, say so, and take
/// nothing of it for a frame; set right again, the link is there.
pub fn a_wrong_speed_on_one_end_is_named_and_harmless(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    let (right, begin) = (s.cluster().baud, s.now());
    for (machine, wrong) in [(A, right / 2), (B, 2 * right)] {
        let since = s.now();
        s.act(Verb::SetBaud(0, machine, wrong))?;
        s.expect_link(Link::Serial(0), LinkState::Down)?;
        s.expect_no_takeover(Duration::from_millis(1500))?;
        for machine in Machine::BOTH {
            s.expect_log_since(machine, Phrase::LinkDown(Link::Serial(0)), since)?;
            s.expect_no_log(machine, Phrase::PeerDead, since)?;
        }
        s.act(Verb::SetBaud(0, machine, right))?;
        s.expect_link(Link::Serial(0), LinkState::Up)?;
    }
    for machine in Machine::BOTH {
        // Said once in a while, not at each round.
        s.expect_log_since(machine, Phrase::FrameDropped, begin)?;
    }
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
