//! Every link cut at once, and healed.

use hb_proto::time::Duration;

use crate::scenario::Machine::{self, A, B};
use crate::scenario::{Cluster, Conduct, Phrase, Scenario, Stop, Told};

/// Within this a healed split must have one holder again.
const CONTACT: Duration = Duration::from_secs(1);

/// B doesn't hear A, A hears B. B can't know and takes over; A knows that it isn't heard, and
/// stops before.
pub fn a_holder_that_is_not_heard_stops_before_the_other_starts(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().address_group("web", A))?;
    for link in s.cluster().links() {
        s.cut_from(link, A)?;
    }
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(1000);
    for link in s.cluster().links() {
        s.heal_from(link, A)?;
    }
    s.settle()?;
    s.until("one holds web", Duration::from_secs(5), |s| s.holds(0, A) || s.holds(0, B))
}

/// Two voters split. After contact home goes on, the other lets go; nobody starts anything again.
pub fn all_links_cut_and_healed(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().group("web", A))?;
    s.allow_split();
    s.cut_all()?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.expect_holder_stays(0, A, Duration::from_millis(1500))?;
    // A stop that takes longer than contact may: addresses go first.
    s.script(B, "web", Conduct::Slow(Duration::from_millis(2000)))?;
    let healed = s.now();
    s.heal_all()?;
    s.expect_address_gone_within(0, B, CONTACT)?;
    s.expect_released_within(0, B, Duration::from_secs(4))?;
    s.forbid_split();
    s.expect_holder_within(0, A, Duration::from_secs(4))?;
    s.run_for_ms(1500);
    s.expect_holder_stays(0, A, Duration::from_millis(200))?;
    s.expect_no_starts_since(healed)?;
    s.expect_dark_at_most(0, Duration::from_millis(500))?;
    for machine in Machine::BOTH {
        s.expect_log_since(machine, Phrase::ReturningAfterPartition, healed)?;
        s.expect_log_since(machine, Phrase::BothOwn, healed)?;
    }
    s.settle()
}

/// The neighbours learn the winner's address after the loser's is gone, not before.
pub fn the_loser_releases_before_the_winner_announces(s: &mut Scenario<'_>) -> Told {
    s.begin(Cluster::two_nodes().address_group("web", A))?;
    // The announcements of the first start end meanwhile.
    s.run_for_ms(6000);
    s.allow_split();
    s.cut_all()?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.run_for_ms(500);
    let healed = s.now();
    s.heal_all()?;
    s.expect_address_gone_within(0, B, CONTACT)?;
    s.forbid_split();
    let released = s.released_at(0, B).unwrap_or(healed);
    s.until("the winner announces", CONTACT, |s| {
        s.announced_since(0, A, healed).is_ok_and(|times| !times.is_empty())
    })?;
    let announced = s.announced_since(0, A, healed)?;
    match announced.first() {
        Some(first) if *first < released => Err(Stop::Failed(format!(
            "the winner announced at {} ms, the loser released at {} ms",
            first.micros() / 1000,
            released.micros() / 1000
        ))),
        _ => Ok(()),
    }
}

/// Two groups with different homes: after a split each goes to its own.
pub fn a_healed_split_of_two_groups_goes_home(s: &mut Scenario<'_>) -> Told {
    s.start(Cluster::two_nodes().group("web", A).group("mail", B))?;
    s.expect_holder(0, A)?;
    s.expect_holder(1, B)?;
    s.settle()?;
    s.allow_split();
    s.cut_all()?;
    s.expect_holder_within(0, B, s.budget(0))?;
    s.expect_holder_within(1, A, s.budget(1))?;
    let healed = s.now();
    s.heal_all()?;
    s.expect_address_gone_within(0, B, CONTACT)?;
    s.expect_address_gone_within(1, A, CONTACT)?;
    s.expect_released_within(0, B, CONTACT)?;
    s.expect_released_within(1, A, CONTACT)?;
    s.forbid_split();
    s.expect_holder_within(0, A, CONTACT)?;
    s.expect_holder_within(1, B, CONTACT)?;
    s.run_for_ms(1000);
    s.expect_no_starts_since(healed)?;
    s.settle()
}
