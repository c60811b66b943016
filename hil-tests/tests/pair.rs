//! Real daemons on the namespace rig.

use std::time::{Duration, Instant};

use hb_linux::rig::bench::{Network, Node};
use hil_tests::inside::inside;
use hil_tests::netns::{ALLOWANCE, Pair};

#[test]
fn the_standby_serves_when_the_active_node_loses_power() {
    inside("the_standby_serves_when_the_active_node_loses_power", || {
        let mut pair = Pair::builder().start();
        pair.expect_holder(Node::One);
        pair.settle();
        let event = Instant::now();
        pair.bench.power_off(Node::One);
        pair.expect_holder_within(Node::Two, pair.budget());
        assert!(pair.log_contains(Node::Two, "node linuxha1: is dead"), "{}", pair.story());
        let outage = pair.outage(event, Instant::now());
        let limit = pair.budget() + ALLOWANCE + pair.slack(event);
        assert!(outage <= limit, "an outage of {outage:?}\n{}", pair.story());

        pair.power_on(Node::One);
        pair.expect_holder(Node::One);
        pair.expect_never_two_holders();
    });
}

#[test]
fn without_eth1_the_serial_line_carries_the_heartbeat() {
    inside("without_eth1_the_serial_line_carries_the_heartbeat", || {
        let pair = Pair::builder().start();
        pair.expect_holder(Node::One);
        pair.settle();
        pair.bench.cut(Network::Private, true);
        let link = |name: &'static str, state: &'static str| {
            move |status: &serde_json::Value| {
                let links = status["links"].as_array().into_iter().flatten();
                links.filter(|link| link["name"] == name).any(|link| link["state"] == state)
            }
        };
        let patience = Duration::from_secs(5);
        pair.wait_for("eth1 down, ttyS0 up", patience, |one, two| {
            [one, two]
                .into_iter()
                .all(|status| link("eth1", "down")(status) && link("/dev/ttyS0", "up")(status))
        });
        pair.expect_holder_stays(Node::One, Duration::from_secs(2));
        pair.expect_never_two_holders();
    });
}
