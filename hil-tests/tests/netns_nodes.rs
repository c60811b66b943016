//! What nodes do beside their votes, with two real daemons: they heed carriers, alert an operator, and let other
//! cluster managers reset a machine.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use hb_linux::rig::bench::Node;
use hb_linux::rig::init;
use hb_linux::rig::outlet::Cause;
use hb_proto::time::Duration;
use hil_tests::inside::{inside, programs};
use hil_tests::netns::rig::Namespaces;
use hil_tests::netns::watch::{Watch, from};
use hil_tests::scenario::verb::{Conduct, Order, Verb};
use hil_tests::scenario::{Cluster, Dongle, Link, Machine, ResetWire, Rig};
use serde_json::json;

const A: Machine = Machine::A;
const B: Machine = Machine::B;

fn node(machine: Machine) -> Node {
    Node::BOTH[machine.index()]
}

/// A rig without power.
fn built(cluster: Cluster) -> Watch {
    let mut watch = Watch { rig: Namespaces::new(programs().clone()), cluster };
    watch.rig.build(&watch.cluster).expect("a rig");
    watch
}

/// More lines of ha.cf, on both machines.
fn add_to_ha_cf(watch: &Watch, lines: &str) {
    for machine in Machine::BOTH {
        let path = watch.bench().machine(node(machine)).config_file("ha.cf");
        let file = OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("ha.cf");
    }
}

fn power_on(watch: &mut Watch) {
    Machine::BOTH.into_iter().for_each(|machine| watch.act(Verb::PowerOn(machine)));
}

/// How long linuxha2 waited for linuxha1, whose power was cut: by its own figures.
fn detection_ms(hints: &str, carrier_goes: bool) -> u64 {
    let pair = Cluster::two_nodes().serial_lines(0).times_ms(100, 2000, 3000);
    let mut watch = built(pair.address_group("web", A));
    // Deadtime is long because the wires are bad, the lease is not.
    add_to_ha_cf(&watch, &format!("lease 400ms\ncarrier_hints {hints}\n"));
    power_on(&mut watch);
    watch.until(B, "in peace", |b| {
        b["peer"]["state"] == "alive" && b["groups"][0]["holder"] == "linuxha1"
    });
    watch.run_for(Duration::from_millis(1500));
    watch.act(Verb::PowerOff(A));
    if carrier_goes {
        // A crossover cable: its other end has no power.
        watch.act(Verb::Unplug(Link::Private, B));
    }
    let over = watch.until(B, "taken over", |b| b["groups"][0]["holder"] == "linuxha2");
    assert_eq!(watch.log(B).contains("eth1: no carrier"), carrier_goes && hints == "on");
    over["last_failover"]["detection_ms"].as_u64().unwrap_or_else(|| panic!("no figure: {over:#}"))
}

#[test]
fn a_carrier_that_is_gone_shortens_the_wait_for_a_dead_peer() {
    inside("a_carrier_that_is_gone_shortens_the_wait_for_a_dead_peer", || {
        let with = detection_ms("on", true);
        let without = detection_ms("off", true);
        let switch = detection_ms("on", false);
        println!(
            "detection: {with} ms with the hint, {without} ms without, {switch} ms behind a switch"
        );
        // lease × 1.05, two keepalives at least; and deadtime.
        assert!((400..1200).contains(&with), "with the hint: {with} ms");
        assert!(without >= 1900, "switched off: {without} ms");
        assert!(switch >= 1900, "a switch keeps the carrier: {switch} ms");
    });
}

/// Both machines alert by `body`, which has the words in `$@`.
fn with_alerts(watch: &Watch, body: &str) {
    for machine in Machine::BOTH {
        let path = watch.bench().machine(node(machine)).config_file("alert");
        let said = r#"echo "$@" >>/var/log/alerts"#;
        fs::write(&path, format!("#!/bin/sh\n{said}\n{body}\n")).expect("the script");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("its mode");
    }
    add_to_ha_cf(watch, "alert /etc/ha.d/alert\n");
}

fn alerts(watch: &Watch, machine: Machine) -> String {
    let path = watch.bench().machine(node(machine)).log_file("alerts");
    fs::read_to_string(path).unwrap_or_default()
}

#[track_caller]
fn until_alerted(watch: &mut Watch, machine: Machine, words: &str) {
    for _ in 0..400 {
        if alerts(watch, machine).lines().any(|line| line.starts_with(words)) {
            return;
        }
        watch.run_for(Duration::from_millis(50));
    }
    panic!("{machine}: no alert {words:?} in:\n{}", alerts(watch, machine));
}

#[test]
fn the_operator_is_alerted_of_each_thing_that_needs_one() {
    inside("the_operator_is_alerted_of_each_thing_that_needs_one", || {
        // No watchdogs: what the dongle's pulse doesn't reset stays as it is.
        let pair = Cluster::two_nodes().group("web", A);
        let mut watch = built(pair.dongle(Dongle::default()));
        with_alerts(&watch, "exit 0");
        power_on(&mut watch);
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        assert_eq!(alerts(&watch, A) + &alerts(&watch, B), "", "a good start alerts nobody");

        watch.act(Verb::RemoveDongle);
        for machine in Machine::BOTH {
            until_alerted(&mut watch, machine, "dongle-lost dongle the dongle is not heard");
            until_alerted(&mut watch, machine, "link-lost /dev/ttyS0 link /dev/ttyS0 to linuxha");
        }
        watch.act(Verb::InsertDongle { spare: false });
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));

        watch.act(Verb::PowerOff(A));
        until_alerted(&mut watch, B, "peer-dead linuxha1 linuxha1 is dead");
        until_alerted(&mut watch, B, "fenced linuxha1 linuxha1 (life");
        watch.act(Verb::PowerOn(A));
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));

        assert!(!alerts(&watch, B).contains("fence-unconfirmed"), "{}", alerts(&watch, B));
        watch.act(Verb::WireReset(A, ResetWire::Broken));
        watch.act(Verb::StopDaemon(A));
        let unconfirmed = "fence-unconfirmed linuxha1 no evidence that linuxha1 was reset";
        until_alerted(&mut watch, B, unconfirmed);
        watch.act(Verb::Reset(A));
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));

        watch.act(Verb::Standby(A));
        watch.until(B, "B holds", |b| b["groups"][0]["holder"] == "linuxha2");
        assert!(!alerts(&watch, A).contains("group-failed"), "{}", alerts(&watch, A));
        watch.act(Verb::Script(A, "web", Conduct::Fails(Order::Start)));
        watch.act(Verb::Takeover(A));
        let failed = "group-failed 192.168.85.3 resource group 192.168.85.3: its start failed here";
        until_alerted(&mut watch, A, failed);
    });
}

/// A script that never ends costs the service nothing, and is killed.
#[test]
fn an_alert_that_hangs_keeps_nobody_waiting() {
    inside("an_alert_that_hangs_keeps_nobody_waiting", || {
        let pair = Cluster::two_nodes().group("web", A).watchdog_s(Some(1));
        let mut watch = built(pair.dongle(Dongle::default()));
        with_alerts(&watch, "trap '' TERM; while :; do sleep 1; done");
        power_on(&mut watch);
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        watch.act(Verb::Cut(Link::Private, hil_tests::scenario::verb::Way::Both));
        until_alerted(&mut watch, B, "link-lost eth1");
        watch.act(Verb::PowerOff(A));
        let over = watch.until(B, "taken over", |b| b["last_failover"]["cause"] == "peer-dead");
        let figures = &over["last_failover"];
        let total = figures["detection_ms"].as_u64().zip(figures["takeover_ms"].as_u64());
        let (total, budget) = (total.map(|(a, b)| a + b), figures["budget_ms"].as_u64());
        assert!(total.is_some() && total <= budget, "{figures:#}");
        for _ in 0..300 {
            if watch.log(B).contains("alert peer-dead: running") {
                break;
            }
            watch.run_for(Duration::from_millis(50));
        }
        let log = watch.log(B);
        let killed = "alert link-lost: its script takes longer than 10 s, being killed";
        assert!(log.contains(killed) && log.contains("alert peer-dead: running"), "{log}");
    });
}

/// The agent on a machine, told on stdin what a cluster manager tells it: its exit code, and what it said.
fn agent(watch: &mut Watch, machine: Machine, told: &str) -> (Option<i32>, String) {
    let place = watch.bench().machine(node(machine));
    let link = place.config_file("fence_heartbeat_dongle");
    if fs::symlink_metadata(&link).is_err() {
        symlink(init::inside(&programs().hb), &link).expect("the agent's name");
    }
    let mut command = place.command("/etc/ha.d/fence_heartbeat_dongle", &[]).expect("has power");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(told.as_bytes()).expect("it reads");
    drop(stdin);
    for _ in 0..600 {
        if child.try_wait().expect("ours").is_some() {
            break;
        }
        watch.run_for(Duration::from_millis(50));
    }
    let output = child.wait_with_output().expect("ours");
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    (output.status.code(), text)
}

#[test]
fn a_fence_agent_resets_a_machine_that_hangs_and_one_that_is_heard() {
    inside("a_fence_agent_resets_a_machine_that_hangs_and_one_that_is_heard", || {
        // No watchdogs: what the dongle's pulse doesn't reset stays as it is.
        let pair = Cluster::two_nodes().address_group("web", A);
        let mut watch = built(pair.dongle(Dongle::default()));
        power_on(&mut watch);
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        let resets = |watch: &Watch, of: Machine| -> Vec<Cause> {
            let all = watch.bench().resets_of(node(of));
            all.into_iter().map(|reset| reset.cause).collect()
        };
        let alive = |watch: &mut Watch| {
            watch.until(A, "B is back", |a| a["peer"]["state"] == "alive");
            watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        };
        let told =
            |action: &str, plug: &str| format!("action={action}\nplug={plug}\nnodename={plug}\n");
        let ask = |watch: &mut Watch, action: &str| agent(watch, A, &told(action, "linuxha2"));
        assert_eq!(ask(&mut watch, "monitor").0, Some(0));
        assert_eq!(ask(&mut watch, "list"), (Some(0), "linuxha2,\n".to_owned()));
        assert_eq!(ask(&mut watch, "status"), (Some(0), "Status: ON\n".to_owned()));

        // It is heard, and nothing is promised to it.
        let (code, text) = ask(&mut watch, "reboot");
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(resets(&watch, B), [Cause::Dongle], "{text}");
        alive(&mut watch);

        // It hangs.
        watch.act(Verb::StopDaemon(B));
        watch.until(A, "B is dead", |a| a["peer"]["state"] == "dead");
        let (code, text) = ask(&mut watch, "off");
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(resets(&watch, B), [Cause::Dongle; 2], "{text}");
        alive(&mut watch);

        // A serves: heartbeat's own services are not reset away, and nobody resets himself.
        let (code, text) = agent(&mut watch, B, &told("off", "linuxha1"));
        assert!(code == Some(1) && text.contains("may run something for heartbeat"), "{text}");
        let (code, text) = agent(&mut watch, A, &told("off", "linuxha1"));
        assert!(code == Some(1) && text.contains("nobody resets himself"), "{text}");
        assert_eq!(resets(&watch, A), []);

        // Evidence or nothing: a wire that broke since its test.
        watch.act(Verb::WireReset(B, ResetWire::Broken));
        watch.act(Verb::StopDaemon(B));
        watch.until(A, "B is dead", |a| a["peer"]["state"] == "dead");
        let (code, text) = ask(&mut watch, "reboot");
        assert!(code == Some(1) && text.contains("no evidence that it was reset"), "{text}");
        assert_eq!(ask(&mut watch, "status").0, Some(1), "neither on nor off for certain");
        watch.act(Verb::RemoveDongle);
        watch.until(A, "lost", |a| a["arbiter"]["state"] == "lost");
        let (code, text) = ask(&mut watch, "monitor");
        assert!(code == Some(1) && text.contains("the dongle is not heard"), "{text}");
    });
}
