//! The lines of ha-log that tools of the classics look for, from real daemons, each where it belongs.

use std::time::Duration;

use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::machine::Verb;
use hil_tests::inside::inside;
use hil_tests::netns::Pair;

const SOON: Duration = Duration::from_secs(15);

/// Waits until a machine's log has the text.
fn told(pair: &Pair, node: Node, text: &str) {
    pair.wait_for_one(node, text, SOON, |_| pair.log_contains(node, text));
}

/// A word of the guide's form: `1999/09/16_09:13:25 INFO: text`.
fn has_the_guides_form(line: &str) -> bool {
    let Some((stamp, rest)) = line.split_once(' ') else { return false };
    let pattern = "0000/00/00_00:00:00";
    let digits = |(have, want): (char, char)| match want {
        '0' => have.is_ascii_digit(),
        other => have == other,
    };
    let level = rest.split_once(": ").map(|(level, _)| level);
    stamp.len() == pattern.len()
        && stamp.chars().zip(pattern.chars()).all(digits)
        && level.is_some_and(|level| ["DEBUG", "INFO", "WARN", "ERROR", "CRIT"].contains(&level))
}

#[test]
fn the_log_has_the_classics_phrases() {
    inside("the_log_has_the_classics_phrases", || {
        let (one, two) = (Node::One, Node::Two);
        let mut pair = Pair::builder().start();
        pair.expect_holder(one);
        pair.settle();
        for text in [
            "INFO: heartbeat starting.",
            "Starting serial heartbeat on tty /dev/ttyS0",
            "UDP heartbeat started on port 694 interface eth1",
            "INFO: Status update for node linuxha2: status active",
            "INFO: heartbeat initialization complete.",
            "INFO: Link linuxha2:eth1 up.",
            "INFO: Link linuxha2:/dev/ttyS0 up.",
            "INFO: Requesting resource group 192.168.85.3",
            "INFO: Acquiring resource group: linuxha1 192.168.85.3",
            "INFO: ifconfig eth0:0 192.168.85.3 netmask 255.255.255.0 broadcast 192.168.85.255",
            "INFO: Sending Gratuitous Arp for 192.168.85.3 on eth0:0 [eth0]",
            "INFO: Initial resource acquisition complete",
        ] {
            told(&pair, one, text);
        }
        assert!(!pair.log_contains(two, "Requesting resource group"), "{}", pair.story());

        pair.bench.cut(Network::Private, true);
        told(&pair, one, "Link linuxha2:eth1 dead.");
        pair.bench.cut(Network::Private, false);
        pair.settle();
        pair.bench.daemon(two, Verb::Stop).expect("stopped");
        std::thread::sleep(Duration::from_millis(330));
        pair.bench.daemon(two, Verb::Continue).expect("continued");
        told(&pair, one, "WARN: Late heartbeat: Node linuxha2: interval ");
        pair.settle();

        pair.hb(one, &["standby"]);
        pair.expect_holder(two);
        told(&pair, one, "INFO: Releasing resource group: linuxha1 192.168.85.3");
        told(&pair, two, "INFO: Standby resource acquisition done");
        pair.hb(one, &["takeover"]);
        pair.expect_holder(one);

        pair.bench.power_off(one);
        pair.expect_holder(two);
        told(&pair, two, "WARN: node linuxha1: is dead");
        told(&pair, two, "INFO: Resources being acquired from linuxha1.");
        told(&pair, two, "INFO: mach_down takeover complete for node linuxha1.");
        let refused = pair.bench.machine(two).hb(&["standby"]).expect("hb runs");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        told(&pair, two, "WARN: No reply to standby request: ");
        pair.power_on(one);
        pair.expect_holder(one);
        pair.settle();

        // A split, and its end.
        pair.bench.cut(Network::Private, true);
        pair.bench.cut_serial(0, true);
        told(&pair, two, "Acquiring resource group: linuxha1 192.168.85.3");
        pair.wait_for("both serve", SOON, |one, two| {
            [one, two].into_iter().all(|status| status["groups"][0]["state"] == "running")
        });
        pair.bench.cut(Network::Private, false);
        pair.bench.cut_serial(0, false);
        told(&pair, two, "CRIT: Cluster node linuxha1 returning after partition.");
        told(&pair, two, "CRIT: Both machines own our resources!");
        pair.settle();

        pair.hb(one, &["stop"]);
        let log = || pair.bench.machine(one).ha_log();
        let gone = || log().trim_end().ends_with("INFO: Heartbeat shutdown complete.");
        pair.bench.wait(SOON, |_| gone());
        assert!(gone(), "{}", log());
        told(&pair, two, "INFO: node linuxha1: has left in good order");

        for line in log().lines() {
            assert!(has_the_guides_form(line), "{line}");
        }
    });
}
