//! What an operator reads of a pair whose two nodes' files differ.

use std::process::Output;
use std::time::Duration;

use hb_linux::rig::bench::Node;
use hil_tests::inside::inside;
use hil_tests::netns::Pair;

fn check_peer(pair: &Pair, node: Node) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } =
        pair.bench.machine(node).hb(&["check", "--peer"]).expect("hb runs in the machine");
    let text = [stdout, stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), status.code())
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn check_peer_compares_files_that_run_and_files_that_lie_there() {
    inside("check_peer_compares_files_that_run_and_files_that_lie_there", || {
        let mut pair = Pair::builder().build();
        let (text, exit) = {
            pair.power_on(Node::One);
            pair.wait_for_one(Node::One, "it answers", Duration::from_secs(10), |_| true);
            check_peer(&pair, Node::One)
        };
        assert!(text.contains("haresources: linuxha2 has not told its fingerprint yet"), "{text}");
        assert_eq!(exit, Some(2), "{text}");

        pair.power_on(Node::Two);
        pair.settle();
        let (text, _) = check_peer(&pair, Node::One);
        assert!(text.contains("haresources: the same on linuxha2"), "{text}");
        assert!(
            text.contains("ha.cf (times, auto_failback, nodes, arbiter): the same on linuxha2"),
            "{text}"
        );
        assert!(!without_spaces(&text).contains("since heartbeatd started"), "{text}");

        // Another deadtime lies on node Two's disk; it runs on the old one until it starts again.
        let changed = pair_ha_cf().replace("deadtime", "#deadtime") + "deadtime 700ms\n";
        pair.bench.install(Node::Two, "ha.cf", &changed, 0o644).expect("ha.cf can be written");
        let (text, exit) = check_peer(&pair, Node::Two);
        assert!(text.contains("was changed since heartbeatd started here"), "{text}");
        assert!(exit >= Some(1), "{text}");

        pair.bench.power_off(Node::Two);
        pair.power_on(Node::Two);
        pair.settle();
        for node in Node::BOTH {
            let (text, exit) = check_peer(&pair, node);
            assert!(
                text.contains("warning: ha.cf (times, auto_failback, nodes, arbiter) differs"),
                "{text}"
            );
            assert!(text.contains("haresources: the same"), "{text}");
            assert!(exit >= Some(1), "{text}");
            let status = pair.hb(node, &["status"]);
            assert!(
                status.contains("! ha.cf (times, auto_failback, nodes, arbiter) differs from"),
                "{status}"
            );
        }
        // It is told, no more: the service runs.
        pair.expect_holder(Node::One);
        pair.expect_never_two_holders();
    });
}

fn pair_ha_cf() -> String {
    Pair::builder().ha_cf_text()
}
