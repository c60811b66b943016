//! Each figure of `hb status --json` has a test in which a fault moves it, and moves it where the
//! fault was. (`rejected`, reason by reason: tests/hostile.rs.)

mod hostile_support;

use std::time::Duration;

use hb_linux::rig::bench::{Network, Node};
use hb_linux::rig::faults::Faults;
use hb_linux::rig::machine::Verb;
use hb_linux::rig::switch::Way;
use hil_tests::inside::inside;
use hil_tests::netns::Pair;
use hostile_support::{Siege, link};
use serde_json::{Value, json};

const SERIAL: &str = "/dev/ttyS0";
const SOON: Duration = Duration::from_secs(10);

fn figure(status: &Value, name: &str, which: &str) -> f64 {
    link(status, name)[which].as_f64().unwrap_or_else(|| panic!("{name} {which}: {status:#}"))
}

fn rtt(status: &Value, name: &str, which: &str) -> f64 {
    link(status, name)["rtt_us"][which].as_f64().expect("measured")
}

#[test]
fn figures_of_a_link() {
    inside("figures_of_a_link", || {
        let pair = Pair::builder().start();
        pair.wait_for("every round trip is measured", SOON, |one, two| {
            let known = |status, name| link(status, name)["rtt_us"]["p50"].is_u64();
            [one, two].into_iter().all(|status| known(status, "eth1") && known(status, SERIAL))
        });
        let calm = Siege::begin_calm(&pair).before;
        let network = || pair.bench.network(Network::Private);

        // Round trip: 60 ms each way, on this link only. The worst sample at once, the median when
        // most samples have it; both nodes see it.
        let slow = Faults { delay: Duration::from_millis(60), ..Faults::default() };
        network().faults(slow);
        pair.wait_for("the round trip grows", SOON, |one, two| {
            [one, two].into_iter().all(|status| rtt(status, "eth1", "p99") > 120_000.0)
        });
        let slowed = pair.wait_for("its median too", Duration::from_secs(30), |one, two| {
            [one, two].into_iter().all(|status| rtt(status, "eth1", "p50") > 120_000.0)
        });
        for (calm, slowed) in calm.iter().zip(&slowed) {
            assert!(rtt(calm, "eth1", "p50") < 60_000.0, "{calm:#}");
            let grown = rtt(slowed, SERIAL, "p50") - rtt(calm, SERIAL, "p50");
            assert!(grown < 60_000.0, "the serial line is not slower: {calm:#}\n{slowed:#}");
        }

        // Jitter: frames come up to 80 ms late, from One to Two only.
        network().heal();
        let jitter = Duration::from_millis(80);
        network().faults_from(Node::One, Faults { seed: 1, jitter, ..Faults::default() });
        let [one, two] = pair.wait_for("Two sees jitter", SOON, |_, two| {
            figure(two, "eth1", "jitter_us") > 12_000.0
        });
        assert!(figure(&calm[1], "eth1", "jitter_us") < 8_000.0, "{:#}", calm[1]);
        assert!(figure(&one, "eth1", "jitter_us") < 12_000.0, "{one:#}\n{two:#}");

        // Loss: a third of what One sends.
        network().heal();
        network().faults_from(Node::One, Faults { seed: 2, loss: 0.33, ..Faults::default() });
        let [one, two] = pair.wait_for("Two sees loss", Duration::from_secs(20), |_, two| {
            (0.2..0.5).contains(&figure(two, "eth1", "loss"))
        });
        assert_eq!(figure(&one, "eth1", "loss"), 0.0, "the other way is whole: {one:#}");
        assert!(figure(&two, SERIAL, "loss") < 0.1, "{two:#}");
        network().heal();
        pair.wait_for("loss is forgotten", Duration::from_secs(25), |_, two| {
            figure(two, "eth1", "loss") == 0.0
        });

        // Copies are no news, a frame that was overtaken is none: both are replays, and no loss.
        let odd = Faults { seed: 3, duplicate: 0.3, reorder: 0.2, ..Faults::default() };
        network().faults_from(Node::One, odd);
        pair.wait_for("replays", SOON, |_, two| {
            link(two, "eth1")["rejected"]["replay"].as_u64() > Some(10)
        });
        network().heal();
    });
}

#[test]
fn states_and_counters_of_a_link() {
    inside("states_and_counters_of_a_link", || {
        let pair = Pair::builder().start();
        pair.wait_for("every round trip is measured", SOON, |one, two| {
            let known = |status, name| link(status, name)["rtt_us"]["p50"].is_u64();
            [one, two].into_iter().all(|status| known(status, "eth1") && known(status, SERIAL))
        });
        let calm = Siege::begin_calm(&pair).before;

        // Longest gap, sent and received: nothing comes from One for 350 ms; Two goes on sending.
        pair.bench.cut_way(Network::Private, Node::One, Way::Out, true);
        std::thread::sleep(Duration::from_millis(350));
        pair.bench.cut_way(Network::Private, Node::One, Way::Out, false);
        let [_, two] =
            pair.wait_for("a gap", SOON, |_, two| figure(two, "eth1", "longest_gap_ms") >= 350.0);
        assert!(figure(&calm[1], "eth1", "longest_gap_ms") < 300.0, "{:#}", calm[1]);
        assert!(figure(&two, SERIAL, "longest_gap_ms") < 300.0, "{two:#}");

        // One-way: both say so, whichever of them does not hear.
        pair.bench.cut_way(Network::Private, Node::One, Way::Out, true);
        let state = |status: &Value| link(status, "eth1")["state"].clone();
        let cut = pair.wait_for("one-way", SOON, |one, two| {
            state(one) == "one-way" && state(two) == "one-way"
        });
        std::thread::sleep(Duration::from_secs(1));
        let later = pair.wait_for("answers", SOON, |_, _| true);
        let moved =
            |at: usize, which| figure(&later[at], "eth1", which) - figure(&cut[at], "eth1", which);
        assert!(moved(0, "sent") >= 8.0 && moved(0, "received") >= 8.0, "{:#}", later[0]);
        assert!(moved(1, "sent") >= 8.0, "{:#}", later[1]);
        assert_eq!(moved(1, "received"), 0.0, "{:#}", later[1]);

        // Down, and up again; the serial line never was.
        pair.bench.cut(Network::Private, true);
        pair.wait_for("down", SOON, |one, two| state(one) == "down" && state(two) == "down");
        let serial = pair.wait_for("answers", SOON, |_, _| true);
        assert!(serial.iter().all(|status| link(status, SERIAL)["state"] == "up"));
        pair.bench.cut(Network::Private, false);
        pair.wait_for("up", SOON, |one, two| state(one) == "up" && state(two) == "up");
    });
}

#[test]
fn the_peer_and_this_node() {
    inside("the_peer_and_this_node", || {
        let times = "warntime 300ms\ndeadtime 2\ninitdead 5\nwatchdog /dev/hb-no-watchdog";
        let mut pair = Pair::builder().ha_cf(times).build();
        pair.power_on(Node::One);
        let alone =
            pair.wait_for_one(Node::One, "starting", SOON, |one| one["state"] == "starting");
        assert_eq!(alone["peer"]["state"], "unknown");
        assert_eq!(alone["peer"]["last_heard_ms"], Value::Null);
        assert_eq!(alone["groups"][0]["holder"], Value::Null);
        assert_eq!(alone["last_failover"], Value::Null);
        assert_eq!(link(&alone, "eth1")["loss"], Value::Null);
        let none = json!({"device": "/dev/hb-no-watchdog", "timeout_s": null, "armed": false});
        assert_eq!(alone["watchdog"], none);
        pair.power_on(Node::Two);
        pair.wait_for("active and standby", SOON, |one, two| {
            one["state"] == "active" && two["state"] == "standby"
        });
        pair.bench.daemon(Node::Two, Verb::Stop).expect("stopped");
        let late = pair.wait_for_one(Node::One, "late", SOON, |one| one["peer"]["state"] == "late");
        assert!(late["peer"]["last_heard_ms"].as_u64() >= Some(300), "{late:#}");
        pair.bench.daemon(Node::Two, Verb::Continue).expect("continued");
        let alive = |one: &Value| one["peer"]["state"] == "alive";
        let back = pair.wait_for_one(Node::One, "alive", SOON, alive);
        let heard_ms = back["peer"]["last_heard_ms"].as_u64();
        assert!(heard_ms.is_some_and(|heard_ms| heard_ms < 300), "{back:#}");
        pair.bench.power_off(Node::Two);
        let dead = pair.wait_for_one(Node::One, "dead", SOON, |one| one["peer"]["state"] == "dead");
        assert!(dead["peer"]["last_heard_ms"].as_u64() >= Some(2000), "{dead:#}");
        pair.power_on(Node::Two);
        pair.wait_for_one(Node::One, "alive", SOON, alive);
        pair.hb(Node::Two, &["stop"]);
        pair.wait_for_one(Node::One, "left", SOON, |one| one["peer"]["state"] == "left");
    });
}

/// A service that takes its time, and does not start while /run/broken lies there.
const SLOW: &str = "#!/bin/sh\ncase $1 in\n\
    start) sleep 1; [ -e /run/broken ] && exit 1; touch /run/slow.up ;;\n\
    stop) sleep 1; rm -f /run/slow.up ;;\n\
    status) if [ -e /run/slow.up ]; then echo running; else echo stopped; fi ;;\nesac\n";

#[test]
fn groups_and_failovers() {
    inside("groups_and_failovers", || {
        let mut pair = Pair::builder().group(Node::One, "192.168.85.3 demo-web slow").build();
        for node in Node::BOTH {
            pair.bench.install(node, "resource.d/slow", SLOW, 0o755).expect("a script");
            pair.power_on(node);
        }
        let group = |status: &Value| status["groups"][0]["state"].clone();
        let held = |node: &'static str| {
            move |one: &Value, two: &Value| {
                [one, two].into_iter().all(|status| {
                    status["groups"][0]["holder"] == node
                        && status["groups"][0]["state"] == "running"
                })
            }
        };
        let cause = |status: &Value, cause: &str| {
            let last = &status["last_failover"];
            assert_eq!(last["cause"], cause, "{status:#}");
            let number = |name: &str| last[name].as_u64().unwrap_or(0);
            let took = number("detection_ms") + number("takeover_ms");
            assert!(number("takeover_ms") >= 900, "a script takes a second: {status:#}");
            // The budget cannot know the script's second.
            assert!(took < 4000 && number("budget_ms") > 0, "{status:#}");
            assert_eq!(last["detection_ms"].is_null(), cause != "peer-dead", "{status:#}");
        };
        pair.wait_for("starting", SOON, |one, _| group(one) == "starting");
        let [one, two] = pair.wait_for("One runs it", SOON, held("linuxha1"));
        assert_eq!(one["watchdog"], Value::Null);
        assert_eq!(
            [&one, &two].map(|status| status["last_failover"].clone()),
            [Value::Null, Value::Null]
        );

        pair.hb(Node::One, &["standby"]);
        pair.wait_for_one(Node::One, "stopping", SOON, |one| group(one) == "stopping");
        let [_, two] = pair.wait_for("Two runs it", SOON, held("linuxha2"));
        cause(&two, "standby");
        pair.hb(Node::One, &["takeover"]);
        let [one, _] = pair.wait_for("One runs it", SOON, held("linuxha1"));
        cause(&one, "takeover");

        pair.bench.daemon(Node::One, Verb::Terminate).expect("told to leave");
        pair.wait_for_one(Node::One, "leaving", SOON, |one| one["state"] == "leaving");
        let two = pair.wait_for_one(Node::Two, "Two runs it", SOON, |two| {
            group(two) == "running" && two["groups"][0]["holder"] == "linuxha2"
        });
        cause(&two, "peer-left");
        pair.bench.wait(SOON, |bench| !bench.machine(Node::One).daemon_runs());
        pair.bench.daemon(Node::One, Verb::Start).expect("started");
        let [one, _] = pair.wait_for("back home", SOON, held("linuxha1"));
        cause(&one, "failback");

        pair.bench.power_off(Node::One);
        let two = pair.wait_for_one(Node::Two, "Two runs it", SOON, |two| {
            group(two) == "running" && two["groups"][0]["holder"] == "linuxha2"
        });
        cause(&two, "peer-dead");
        assert!(two["last_failover"]["detection_ms"].as_u64() >= Some(500), "{two:#}");

        for node in Node::BOTH {
            if node == Node::One {
                pair.power_on(node);
            }
            let made = pair.bench.machine(node).run("touch", &["/run/broken"]).expect("touch");
            assert!(made.status.success());
        }
        let [one, two] = pair.wait_for("failed everywhere", Duration::from_secs(20), |one, two| {
            group(one) == "failed" && group(two) == "failed"
        });
        for status in [one, two] {
            assert_eq!(status["groups"][0]["holder"], Value::Null, "{status:#}");
            assert_eq!(status["state"], "standby", "{status:#}");
        }
        pair.expect_never_two_holders();
    });
}
