//! The third voter: protocol.md §1's table, told on every rig that has a dongle.

use hb_proto::time::Duration;

use crate::scenario::Machine::{self, A, B};
use crate::scenario::{Cluster, Link, ResetWire, Scenario, Told};

/// What a rig's scripts, frames and looks may take beyond a time of the configuration.
const SLACK: Duration = Duration::from_millis(300);

/// One group at home on A, with the dongle; begun, and every promise of the dongle's own start over.
fn begin(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A).arbiter())?;
    let full = s.cluster().timing.full();
    s.run_for(full + SLACK);
    Ok(())
}

/// What a takeover may take where no reset line proves anything: the promises to the dead must end.
fn by_time(s: &Scenario<'_>) -> Duration {
    let config = s.cluster().config(B);
    let budget = config.budget(0).expect("the group exists");
    config.timing.deadtime.max(config.timing.full()) + budget.start + budget.announce
}

/// The other machine, or the same one after its reset.
fn one_serves_within(s: &mut Scenario<'_>, limit: Duration) -> Told {
    s.until("one serves", limit, |s| s.holds(0, A) != s.holds(0, B))
}

/// No machine runs it for so long, whoever tries.
fn expect_nobody(s: &mut Scenario<'_>, span: Duration) -> Told {
    s.all_the_time("nobody holds web", span, |s| !s.holds(0, A) && !s.holds(0, B))
}

/// The holder loses its power: the dongle pulls its reset line, and the peer serves within the budget.
pub fn the_holder_dies_and_is_fenced(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.power_on(A)?;
    s.expect_holder(0, A)
}

/// The standby dies: the dongle's promise carries the holder.
pub fn the_standby_dies_and_the_holder_stays(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.power_off(B)?;
    let span = s.cluster().timing.full() + s.cluster().timing.deadtime;
    s.expect_no_takeover(span)?;
    s.expect_holder(0, A)
}

/// A dongle that is taken out takes nothing down, nor does its return.
pub fn the_dongle_goes_and_comes_back(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.remove_dongle()?;
    s.expect_no_takeover(Duration::from_millis(2000))?;
    s.insert_dongle()?;
    let span = s.cluster().timing.full() + s.cluster().timing.deadtime;
    s.expect_no_takeover(span)?;
    s.expect_holder(0, A)?;
    s.settle()
}

/// The same of a reset that keeps its power, and of firmware that hangs until its watchdog bites.
pub fn a_dongle_that_is_reset_or_hangs_moves_nothing(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.reset_dongle()?;
    s.expect_no_takeover(Duration::from_millis(2000))?;
    s.hang_dongle()?;
    let span = s.cluster().timing.full() + s.cluster().timing.deadtime;
    s.expect_no_takeover(span)?;
    s.expect_holder(0, A)
}

/// Every network between the nodes is cut: the peer's promise comes through the line, and the dongle's.
pub fn every_network_is_cut_and_the_holder_stays(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.cut(Link::Private)?;
    s.expect_no_takeover(Duration::from_millis(3000))?;
    s.heal(Link::Private)?;
    s.settle()
}

/// One half of the line is cut: the other node relays.
pub fn a_half_of_the_line_is_cut(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    for machine in Machine::BOTH {
        s.cut_half(machine)?;
        s.expect_no_takeover(Duration::from_millis(2000))?;
        s.heal_half(machine)?;
        s.run_for_ms(1000);
    }
    s.expect_holder(0, A)
}

/// A port of the dongle that doesn't hear, or doesn't speak, moves nothing.
pub fn a_deaf_and_a_mute_port(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    for machine in Machine::BOTH {
        s.deafen_port(machine)?;
        s.expect_no_takeover(Duration::from_millis(1500))?;
        s.heal_port(machine)?;
        s.run_for_ms(1000);
        s.mute_port(machine)?;
        s.expect_no_takeover(Duration::from_millis(1500))?;
        s.heal_port(machine)?;
        s.run_for_ms(1000);
    }
    s.expect_holder(0, A)
}

/// A hears neither the other node nor the dongle: it stops within a lease, and B takes over.
pub fn an_isolated_holder_gives_way(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.cut(Link::Private)?;
    s.cut_half(A)?;
    s.expect_address_gone_within(0, A, s.cluster().timing.lease + SLACK)?;
    s.expect_holder_within(0, B, by_time(s))?;
    s.heal_half(A)?;
    s.heal(Link::Private)?;
    s.expect_holder(0, A)
}

/// B hears neither: A stays, and B starts nothing.
pub fn an_isolated_standby_stays_passive(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.cut(Link::Private)?;
    s.cut_half(B)?;
    let span = s.cluster().timing.full() + s.cluster().timing.deadtime;
    s.expect_no_takeover(span)?;
    s.heal_half(B)?;
    s.heal(Link::Private)?;
    s.expect_holder(0, A)
}

/// The holder's daemon stands still, its address with it: it is reset before the other starts.
pub fn a_stopped_holder_is_fenced_before_the_other_starts(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.stop_daemon(A)?;
    let limit = s.budget(0);
    s.until("A is reset", limit, |s| !s.holds_any(0, A))?;
    one_serves_within(s, limit)?;
    s.expect_holder(0, A)
}

/// The same with a reset line that ends nowhere: guard is waited for, in which the watchdog stops it.
pub fn a_broken_reset_line_costs_guard(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.wire_reset(A, ResetWire::Broken)?;
    s.stop_daemon(A)?;
    let limit = by_time(s) + SLACK;
    s.until("A's own watchdog resets it", limit, |s| !s.holds_any(0, A))?;
    one_serves_within(s, limit)
}

/// Each reset line ends at the other machine: what the pulse hits is the asker. Never two holders.
pub fn swapped_reset_lines_make_no_second_holder(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    for machine in Machine::BOTH {
        s.wire_reset(machine, ResetWire::Swapped)?;
    }
    s.stop_daemon(A)?;
    let full = s.cluster().timing.full();
    s.until("A is reset, or let go", full + full, |s| !s.holds_any(0, A))?;
    one_serves_within(s, full + Duration::from_secs(20))
}

/// The dongle, and then the holder: the survivor starts nothing until a human votes (R14).
pub fn without_the_dongle_a_death_needs_a_human(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.remove_dongle()?;
    s.run_for_ms(1000);
    s.power_off(A)?;
    let full = s.cluster().timing.full();
    expect_nobody(s, full + full)?;
    s.takeover_peer_is_off(B)?;
    s.expect_holder_within(0, B, s.planned_budget(0) + SLACK)?;
    s.insert_dongle()?;
    s.power_on(A)?;
    s.expect_holder(0, A)
}

/// The dongle, and then the network: nobody has a vote, nobody serves, until one is back.
pub fn without_dongle_and_network_nobody_serves(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.remove_dongle()?;
    s.run_for_ms(1000);
    s.cut(Link::Private)?;
    s.expect_nobody_within(0, Duration::from_millis(2000))?;
    let full = s.cluster().timing.full();
    expect_nobody(s, full + full)?;
    s.heal(Link::Private)?;
    s.expect_holder(0, A)
}

/// Another dongle in its place knows nothing, moves nothing, and then carries the pair as the first did.
pub fn a_spare_dongle_votes_again(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.insert_spare_dongle()?;
    let full = s.cluster().timing.full();
    s.expect_no_takeover(full + full + SLACK)?;
    s.power_off(B)?;
    s.expect_no_takeover(full)?;
    s.expect_holder(0, A)
}

/// One machine's feed keeps it alive; it lives on what the survivor gives it.
pub fn one_power_feed_is_enough(s: &mut Scenario<'_>) -> Told {
    begin(s)?;
    s.cut_feed(B)?;
    s.expect_no_takeover(Duration::from_millis(1000))?;
    s.heal_feed(B)?;
    s.run_for_ms(500);
    s.power_off(A)?;
    s.expect_holder_within(0, B, s.budget(0))
}
