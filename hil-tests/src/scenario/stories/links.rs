//! Wires that fail one at a time: nothing may move.

use hb_proto::link::LinkState;
use hb_proto::time::Duration;

use crate::scenario::Machine::{self, A, B};
use crate::scenario::{Cluster, Link, Phrase, Scenario, Told};

/// Several deadtimes.
const WHILE: Duration = Duration::from_millis(1500);

/// Each link alone is cut and healed: the other keeps the pair together.
pub fn each_link_is_cut_and_healed(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    for link in s.cluster().links() {
        let since = s.now();
        s.cut(link)?;
        s.expect_link(link, LinkState::Down)?;
        s.expect_no_takeover(WHILE)?;
        for machine in Machine::BOTH {
            s.expect_log_since(machine, Phrase::LinkDown(link), since)?;
            s.expect_no_log(machine, Phrase::PeerDead, since)?;
        }
        s.heal(link)?;
        s.expect_link(link, LinkState::Up)?;
        s.expect_no_takeover(Duration::from_millis(300))?;
    }
    Ok(())
}

/// Two null-modem lines and no network: one of them dies.
pub fn one_of_two_serial_lines_dies(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).serial_lines(2).private_heartbeat(false))?;
    for line in [Link::Serial(0), Link::Serial(1)] {
        s.cut(line)?;
        s.expect_link(line, LinkState::Down)?;
        s.expect_no_takeover(WHILE)?;
        s.heal(line)?;
        s.expect_link(line, LinkState::Up)?;
    }
    s.expect_no_takeover(Duration::from_millis(500))?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))
}

/// One way of one link: both nodes call it one-way, nobody moves.
pub fn one_way_links_are_named_and_harmless(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    for (link, from) in [(Link::Private, A), (Link::Private, B), (Link::Serial(0), A)] {
        let since = s.now();
        s.cut_from(link, from)?;
        s.expect_link(link, LinkState::OneWay)?;
        s.expect_no_takeover(Duration::from_millis(1000))?;
        for machine in Machine::BOTH {
            s.expect_log_since(machine, Phrase::LinkOneWay(link), since)?;
        }
        s.heal_from(link, from)?;
        s.expect_link(link, LinkState::Up)?;
    }
    s.expect_no_takeover(Duration::from_millis(300))
}

/// The crossover cable is pulled out on one side: the carrier goes with it.
pub fn an_unplugged_heartbeat_cable_changes_nothing(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    for machine in Machine::BOTH {
        s.unplug(Link::Private, machine)?;
        s.expect_link(Link::Private, LinkState::Down)?;
        s.expect_no_takeover(WHILE)?;
        s.replug(Link::Private, machine)?;
        s.expect_link(Link::Private, LinkState::Up)?;
    }
    s.expect_no_takeover(Duration::from_millis(300))
}
