//! The stories: one table, run as a whole by each rig's runner.

use super::{Scenario, Told};

mod daemon;
mod dongle;
mod faults;
mod links;
mod operator;
mod power;
mod resources;
mod split;

/// A story: its name, and how it goes.
#[derive(Clone, Copy)]
pub struct Story {
    /// As runners print it.
    pub name: &'static str,
    /// The story.
    pub tell: fn(&mut Scenario<'_>) -> Told,
}

/// Names a list of functions as stories.
macro_rules! stories {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$(Story { name: stringify!($name), tell: $module::$name }),+]
    };
}

/// Every story. The longest come first: rigs in real time tell several at once.
pub const ALL: &[Story] = stories![
    resources::a_hanging_start_is_given_up_after_its_time,
    power::power_loss_of_the_holder,
    power::power_loss_of_the_standby,
    power::an_address_alone_is_served_again_within_its_budget,
    power::the_returning_home_gets_its_group_back,
    power::without_failback_the_group_stays,
    power::both_lose_power_and_return,
    power::a_reset_holder_is_taken_over,
    power::started_together_nobody_waits_for_initdead,
    power::started_apart_the_first_waits_for_initdead,
    power::started_within_initdead_the_group_starts_on_contact,
    daemon::a_killed_daemon_leaves_nothing_behind,
    daemon::a_killed_daemon_started_again_at_once,
    daemon::a_new_life_waits_for_the_end_of_the_last,
    daemon::a_helper_killed_during_a_start,
    daemon::a_stopped_daemon_drops_its_address_first,
    daemon::a_pause_shorter_than_deadtime_moves_nothing,
    daemon::a_stopped_standby_changes_nothing,
    daemon::a_standby_pauses_for_longer_than_a_lease,
    links::each_link_is_cut_and_healed,
    links::one_of_two_serial_lines_dies,
    links::one_way_links_are_named_and_harmless,
    links::an_unplugged_heartbeat_cable_changes_nothing,
    split::a_holder_that_is_not_heard_stops_before_the_other_starts,
    split::all_links_cut_and_healed,
    split::the_loser_releases_before_the_winner_announces,
    split::a_healed_split_of_two_groups_goes_home,
    operator::orderly_leave_is_taken_over_without_waiting,
    operator::the_standby_leaves_and_returns,
    operator::standby_and_takeover,
    operator::takeover_from_the_other_node_stays,
    operator::standby_without_a_peer_is_refused,
    operator::two_groups_live_with_their_owners,
    resources::a_failed_start_goes_to_the_peer,
    resources::both_starts_fail_and_a_person_mends,
    resources::a_failing_stop_keeps_the_peer_waiting,
    resources::a_slow_stop_keeps_the_peer_waiting,
    resources::a_group_starts_left_to_right_and_stops_right_to_left,
    resources::what_runs_already_is_stopped_first,
    resources::mismatching_files_start_and_stop_nothing,
    faults::busy_machines_stay_alive,
    faults::noise_on_the_only_line,
    faults::a_lossy_network,
    faults::bursts_of_losses_on_the_network,
    faults::bursts_of_noise_on_the_line,
    faults::corrupted_datagrams_are_dropped,
    faults::breaks_on_the_line,
    faults::a_wrong_speed_on_one_end_is_named_and_harmless,
    faults::wall_clocks_jump,
    faults::a_frozen_holder_thaws,
    faults::a_kernel_panic_is_a_death,
];

/// The stories of the third voter: protocol.md §1's table.
pub const DONGLE: &[Story] = stories![
    dongle::the_holder_dies_and_is_fenced,
    dongle::the_standby_dies_and_the_holder_stays,
    dongle::the_dongle_goes_and_comes_back,
    dongle::a_dongle_that_is_reset_or_hangs_moves_nothing,
    dongle::every_network_is_cut_and_the_holder_stays,
    dongle::a_half_of_the_line_is_cut,
    dongle::a_deaf_and_a_mute_port,
    dongle::an_isolated_holder_gives_way,
    dongle::an_isolated_standby_stays_passive,
    dongle::a_stopped_holder_is_fenced_before_the_other_starts,
    dongle::a_broken_reset_line_costs_guard,
    dongle::swapped_reset_lines_make_no_second_holder,
    dongle::without_the_dongle_a_death_needs_a_human,
    dongle::without_dongle_and_network_nobody_serves,
    dongle::a_spare_dongle_votes_again,
    dongle::one_power_feed_is_enough,
];

/// Stories that are not told again with a dongle, and why.
pub const WITHOUT_DONGLE: &[(&str, &str)] = &[
    ("all_links_cut_and_healed", SPLIT),
    ("the_loser_releases_before_the_winner_announces", SPLIT),
    ("a_healed_split_of_two_groups_goes_home", SPLIT),
    ("one_of_two_serial_lines_dies", "no network, which a dongle needs beside it"),
    ("noise_on_the_only_line", "no network, which a dongle needs beside it"),
    ("a_lossy_network", "no serial line for the dongle to sit in"),
    ("corrupted_datagrams_are_dropped", "no serial line for the dongle to sit in"),
    (
        "a_stopped_daemon_drops_its_address_first",
        "the dongle resets the machine of a daemon that stands still: it never continues",
    ),
];

const SPLIT: &str =
    "with a dongle there is no split: an_isolated_holder_gives_way tells what comes of it";

/// The story of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Story> {
    ALL.iter().chain(DONGLE).find(|story| story.name == name)
}
