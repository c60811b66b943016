//! R14: lease, guard, keys and the arbiter itself change in a pair that goes on serving, as docs/operations.md
//! says it: the files on both nodes, then one node after the other.

use std::fs;

use hb_linux::rig::bench::Node;
use hb_proto::time::{Duration, Instant};
use hil_tests::inside::inside;
use hil_tests::netns::watch::{Watch, from};
use hil_tests::scenario::verb::Verb;
use hil_tests::scenario::{Dongle, Machine, Rig};
use serde_json::{Value, json};

const A: Machine = Machine::A;
const B: Machine = Machine::B;
const GROUP: &str = "192.168.85.3";
/// A planned move of an address, and what a busy host adds to it. Death would take deadtime.
const MOVE: Duration = Duration::from_millis(400);

/// The same change to both machines' ha.cf.
fn edit(watch: &Watch, change: impl Fn(&str) -> String) {
    for node in Node::BOTH {
        let file = watch.bench().machine(node).config_file("ha.cf");
        let text = fs::read_to_string(file).expect("it is there");
        let changed = change(&text);
        assert_ne!(text, changed, "nothing was changed");
        watch.bench().install(node, "ha.cf", &changed, 0o644).expect("ha.cf can be written");
    }
}

/// `systemctl restart heartbeat`, until what `well` says of its status.
fn restart(watch: &mut Watch, machine: Machine, well: impl Fn(&Value) -> bool) {
    let began = watch.rig.now();
    watch.act(Verb::Leave(machine));
    while watch.rig.daemon_runs(machine) {
        assert!(watch.rig.now().since(began) < Duration::from_secs(20), "{machine} doesn't leave");
        watch.run_for(Duration::from_millis(5));
    }
    // An address that comes back within 300 ms the client can't tell from two holders.
    watch.run_for(Duration::from_millis(500));
    watch.act(Verb::StartDaemon(machine));
    watch.until(machine, "well after its restart", well);
}

/// What an operator waits for: the peer, the arbiter, and that it knows to whom it has promised what. Until then it
/// votes for nobody, and whoever is left behind doesn't serve.
fn sees_all(status: &Value) -> bool {
    let arbiter = &status["arbiter"];
    status["peer"]["state"] == "alive"
        && arbiter["state"] == "present"
        && arbiter["promises"][GROUP] != "unknown"
}

/// First the standby, then A, which takes its group back. Nobody serves beside another, and nobody is missed.
fn one_after_the_other(
    watch: &mut Watch,
    what: &str,
    well: impl Fn(&Value) -> bool,
    votes: &Value,
) {
    let from_here = watch.rig.now();
    restart(watch, B, &well);
    let a = watch.status(A).expect("it runs");
    assert_eq!(a["groups"][0]["holder"], "linuxha1", "{what}: {a:#}");
    restart(watch, A, &well);
    watch.until(A, "everybody votes for it", |a| from(a) == *votes);
    expect_served(watch, what, from_here);
}

fn expect_served(watch: &mut Watch, what: &str, since: Instant) {
    let dark = watch.rig.dark(0, since).expect("a client");
    let limit = MOVE + watch.rig.slack(since);
    assert!(dark <= limit, "{what}: dark for {dark}, at most {limit}");
    let overlap = watch.rig.overlap(0, Instant::ZERO).expect("a client");
    assert_eq!(overlap, None, "{what}: two holders");
}

#[test]
fn lease_and_guard_change_one_node_after_the_other() {
    inside("lease_and_guard_change_one_node_after_the_other", || {
        let mut watch = Watch::begin(Dongle::default());
        let all = json!(["peer", "arbiter"]);
        for (old, new) in [
            ("guard_unsafe 2500ms\n", "guard_unsafe 4000ms\n"),
            ("guard_unsafe 4000ms\n", "guard_unsafe 2500ms\nlease 300ms\n"),
            ("lease 300ms\n", ""),
        ] {
            edit(&watch, |text| text.replace(old, new));
            one_after_the_other(&mut watch, new, sees_all, &all);
        }
        for machine in [A, B] {
            let same = |status: &Value| {
                let settings = &status["configuration"]["settings"];
                settings["ours"] == settings["peers"]
            };
            watch.until(machine, "the files are the same", same);
        }
    });
}

/// The node that follows first waits for those that promise for too short a time, and says so.
#[test]
fn a_guard_that_grew_on_the_standby_alone_moves_nothing() {
    inside("a_guard_that_grew_on_the_standby_alone_moves_nothing", || {
        let mut watch = Watch::begin(Dongle::default());
        edit(&watch, |text| text.replace("guard_unsafe 2500ms", "guard_unsafe 4000ms"));
        let from_here = watch.rig.now();
        restart(&mut watch, B, sees_all);
        let differ = "ha.cf's times, policy or arbiter differ from";
        watch.until(A, "told", |_| true);
        watch.run_for(Duration::from_secs(3));
        for machine in [A, B] {
            let log = watch.log(machine);
            assert!(log.contains(differ), "{log}");
        }
        let a = watch.status(A).expect("it runs");
        assert_eq!(a["groups"][0]["holder"], "linuxha1", "{a:#}");
        expect_served(&mut watch, "a longer guard on B", from_here);
    });
}

#[test]
fn an_arbiter_is_put_in_and_taken_out() {
    inside("an_arbiter_is_put_in_and_taken_out", || {
        // It sits in the line, and no file names it.
        let mut watch = Watch::build(Dongle::default());
        let file = watch.bench().machine(Node::One).config_file("ha.cf");
        let with = fs::read_to_string(file).expect("it is there");
        let is_its =
            |line: &&str| ["arbiter ", "fence ", "guard"].iter().any(|word| line.starts_with(word));
        let without: String =
            with.lines().filter(|line| !is_its(line)).map(|line| format!("{line}\n")).collect();
        edit(&watch, |_| without.clone());
        watch.act(Verb::PowerOn(A));
        watch.act(Verb::PowerOn(B));
        // It passes on what is meant for it alone: until both files name it, the network is the pair's only link.
        let classic = |status: &Value| {
            status["peer"]["state"] == "alive"
                && status["arbiter"].is_null()
                && [&status["links"][0]["state"], &status["links"][1]["state"]] == ["down", "up"]
        };
        watch.until(A, "a classic pair", |a| classic(a) && a["groups"][0]["state"] == "running");

        edit(&watch, |_| with.clone());
        one_after_the_other(&mut watch, "put in", sees_all, &json!(["peer", "arbiter"]));
        watch.until(B, "agreed", |b| b["arbiter"]["agreed"] == true);
        edit(&watch, |_| without.clone());
        one_after_the_other(&mut watch, "taken out", classic, &Value::Null);
    });
}

/// The rig's dongle reads linuxha1's authkeys at each of its starts.
#[test]
fn keys_change_with_an_arbiter_that_signs_as_well() {
    inside("keys_change_with_an_arbiter_that_signs_as_well", || {
        const OLD: &str = "1 sha256 the-two-machines-of-a-scenario";
        const NEW: &str = "2 sha256 the-two-machines-of-a-scenario-and-more";
        let mut watch = Watch::begin(Dongle::default());
        let from_here = watch.rig.now();
        let reload = |watch: &Watch, node: Node, signing: u8, keys: &[&str]| {
            let text = format!("auth {signing}\n{}\n", keys.join("\n"));
            watch.bench().install(node, "authkeys", &text, 0o600).expect("it can be written");
            let output = watch.bench().machine(node).hb(&["reload"]).expect("hb runs");
            let said = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&said).into_owned())
        };
        let round = |watch: &mut Watch, signing: u8, keys: &[&str]| {
            for node in Node::BOTH {
                let (exit, said) = reload(watch, node, signing, keys);
                assert_eq!(exit, Some(0), "{said}");
            }
        };
        let reset = |watch: &mut Watch| {
            let boot = watch.status(A).expect("it runs")["arbiter"]["boot"].as_u64();
            watch.act(Verb::ResetDongle);
            for machine in [A, B] {
                watch.until(machine, "its next life", |status| {
                    status["arbiter"]["boot"].as_u64() > boot
                });
            }
            watch.until(A, "it votes", |a| from(a) == json!(["peer", "arbiter"]));
        };
        round(&mut watch, 1, &[OLD, NEW]);
        reset(&mut watch);
        round(&mut watch, 2, &[OLD, NEW]);
        watch.run_for(Duration::from_secs(1));
        let a = watch.status(A).expect("it runs");
        assert_eq!(a["keys"][0], json!({"id": 1, "needed_by": "arbiter"}), "{a:#}");
        let (exit, said) = reload(&watch, Node::One, 2, &[NEW]);
        assert_eq!((exit, said.contains("the arbiter signs with it")), (Some(1), true), "{said}");
        reload(&watch, Node::One, 2, &[OLD, NEW]);
        reset(&mut watch);
        for machine in [A, B] {
            watch.until(machine, "nobody needs it", |status| {
                status["keys"][0]["needed_by"].is_null()
            });
        }
        round(&mut watch, 2, &[NEW]);
        reset(&mut watch);
        expect_served(&mut watch, "keys", from_here);
    });
}
