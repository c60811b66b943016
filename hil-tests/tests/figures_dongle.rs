//! Each figure that `hb status --json` has with an arbiter: a fault moves it, where the fault was.

use hil_tests::inside::inside;
use hil_tests::netns::watch::{Watch, from};
use hil_tests::scenario::verb::Verb;
use hil_tests::scenario::{Dongle, Evidence, Machine, ResetWire};
use serde_json::{Value, json};

const A: Machine = Machine::A;
const B: Machine = Machine::B;
const GROUP: &str = "192.168.85.3";
fn millis(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn what_is_shown_of_the_arbiter() {
    inside("what_is_shown_of_the_arbiter", || {
        let mut watch = Watch::begin(Dongle::default());
        let calm = watch.until(A, "well", |a| {
            a["arbiter"]["uptime_s"].as_u64() >= Some(3) && a["arbiter"]["agreed"] == true
        });
        let arbiter = &calm["arbiter"];
        assert_eq!(arbiter["state"], "present", "{arbiter:#}");
        assert_eq!(arbiter["promises"], json!({GROUP: "linuxha1"}));
        assert_eq!(arbiter["power_from"], json!(["linuxha1", "linuxha2"]));
        assert_eq!(arbiter["reset_lines"], json!({"linuxha1": "tested", "linuxha2": "tested"}));
        assert!(
            millis(&arbiter["last_heard_ms"]) < 500 && arbiter["direct"] == true,
            "{arbiter:#}"
        );
        for name in ["linuxha1", "linuxha2"] {
            assert!(millis(&arbiter["hears"][name]) < 500, "{arbiter:#}");
        }

        // Its life and its uptime begin anew with a reset.
        watch.act(Verb::ResetDongle);
        let boot = arbiter["boot"].as_u64();
        let young = watch.until(A, "another life", |a| a["arbiter"]["boot"].as_u64() > boot);
        assert!(millis(&young["arbiter"]["uptime_s"]) < 3, "{young:#}");
        assert_eq!(young["arbiter"]["id"], arbiter["id"], "the same device");

        // The half of its line to B: B hears it by relay alone, A as before.
        watch.act(Verb::CutHalf(B));
        watch.until(B, "by relay", |b| {
            b["arbiter"]["state"] == "present" && b["arbiter"]["direct"] == false
        });
        assert_eq!(watch.status(A).expect("it runs")["arbiter"]["direct"], true);
        watch.act(Verb::HealHalf(B));
        watch.until(B, "direct", |b| b["arbiter"]["direct"] == true);

        // What it lives on; whom it hears; what it promises.
        watch.act(Verb::CutFeed(B));
        watch.until(A, "one feed", |a| a["arbiter"]["power_from"] == json!(["linuxha1"]));
        watch.act(Verb::HealFeed(B));
        watch.act(Verb::Standby(A));
        watch.until(A, "promised to B", |a| a["arbiter"]["promises"] == json!({GROUP: "linuxha2"}));
        watch.until(B, "both vote for B", |b| from(b) == json!(["peer", "arbiter"]));
        watch.act(Verb::PowerOff(A));
        watch.until(B, "A is not heard", |b| b["arbiter"]["hears"]["linuxha1"].is_null());

        // Taken out: it is lost, its age grows, and nothing old is quoted.
        watch.act(Verb::PowerOn(A));
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        watch.act(Verb::RemoveDongle);
        let lost = watch.until(A, "lost", |a| a["arbiter"]["state"] == "lost");
        assert_eq!(lost["arbiter"]["promises"], json!({GROUP: null}), "{lost:#}");
        let age = millis(&lost["arbiter"]["last_heard_ms"]);
        watch.until(A, "older", |a| a["arbiter"]["last_heard_ms"].as_u64() > Some(age + 1000));
        watch.act(Verb::InsertDongle { spare: false });
        watch.until(A, "present", |a| a["arbiter"]["state"] == "present");
    });
}

#[test]
fn an_arbiter_that_was_never_there_and_then_a_spare() {
    inside("an_arbiter_that_was_never_there_and_then_a_spare", || {
        let mut watch = Watch::build(Dongle::default());
        watch.act(Verb::RemoveDongle);
        watch.act(Verb::PowerOn(A));
        watch.act(Verb::PowerOn(B));
        let absent = watch.until(A, "absent", |a| a["groups"][0]["holder"] == "linuxha1");
        assert_eq!(absent["arbiter"]["state"], "absent", "{absent:#}");
        assert_eq!(absent["arbiter"]["last_heard_ms"], Value::Null);
        assert_eq!(from(&absent), json!(["peer"]), "{absent:#}");
        watch.act(Verb::InsertDongle { spare: true });
        watch.until(A, "untested", |a| {
            a["arbiter"]["reset_lines"] == json!({"linuxha1": "untested", "linuxha2": "untested"})
        });
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        watch.act(Verb::TestReset(B));
        watch.until(A, "one is tested", |a| {
            a["arbiter"]["reset_lines"] == json!({"linuxha1": "untested", "linuxha2": "tested"})
        });
    });
}

/// The pulse for A hits B, which asked for it.
#[test]
fn swapped_reset_lines_are_shown() {
    inside("swapped_reset_lines_are_shown", || {
        let sensed = Dongle { evidence: Evidence::Sensed, ..Dongle::default() };
        let mut watch = Watch::begin(sensed);
        for machine in [A, B] {
            watch.act(Verb::WireReset(machine, ResetWire::Swapped));
        }
        watch.act(Verb::StopDaemon(A));
        watch.until(B, "miswired", |b| {
            b["arbiter"]["reset_lines"] == json!({"linuxha1": "miswired", "linuxha2": "miswired"})
        });
    });
}

#[test]
fn on_whose_word_a_group_runs_and_what_is_in_the_way() {
    inside("on_whose_word_a_group_runs_and_what_is_in_the_way", || {
        let mut watch = Watch::begin(Dongle { reset_lines: false, ..Dongle::default() });
        let a = watch.until(A, "well", |a| a["groups"][0]["obstacle"].is_null());
        assert!(millis(&a["groups"][0]["authority"]["expires_in_ms"]) <= 400, "{a:#}");
        let watchdog = json!({"device": "/run/rig-watchdog", "timeout_s": 1, "armed": true});
        assert_eq!(a["watchdog"], watchdog);
        let log = watch.log(A);
        assert!(log.contains("INFO: Using watchdog device: /run/rig-watchdog\n"), "{log}");
        let b = watch
            .until(B, "promised to A", |b| b["groups"][0]["votes"]["linuxha2"]["to"] == "linuxha1");
        assert_eq!(b["groups"][0]["authority"]["expires_in_ms"], Value::Null, "{b:#}");

        watch.act(Verb::PowerOff(B));
        watch.until(A, "the arbiter's alone", |a| from(a) == json!(["arbiter"]));
        watch.act(Verb::PowerOn(B));
        watch.until(A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));

        // No reset line: what was promised to A ends by time, which B shows, and how long it takes.
        watch.act(Verb::PowerOff(A));
        let in_the_way = |b: &Value| b["groups"][0]["obstacle"]["ends_in_ms"].as_u64();
        let waits = watch.until(B, "in the way", |b| in_the_way(b).is_some());
        let first = in_the_way(&waits).expect("just seen");
        assert!((1..=2920).contains(&first), "{waits:#}");
        watch.until(B, "less", |b| in_the_way(b).is_some_and(|left| left + 300 < first));
        let serves = watch.until(B, "served", |b| b["groups"][0]["holder"] == "linuxha2");
        assert_eq!(serves["groups"][0]["obstacle"], Value::Null, "{serves:#}");
        assert_eq!(from(&serves), json!(["arbiter"]), "{serves:#}");

        // The arbiter goes as well: nobody's word is left, without end, until a human gives his.
        watch.act(Verb::RemoveDongle);
        let alone = watch.until(B, "stopped", |b| from(b) == json!([]));
        assert_eq!(alone["groups"][0]["obstacle"]["ends_in_ms"], Value::Null, "{alone:#}");
        watch.act(Verb::TakeoverPeerIsOff(B));
        watch.until(B, "a human's", |b| from(b) == json!(["human"]));
        watch.act(Verb::PowerOn(A));
        watch.until(B, "the peer's", |b| from(b) != json!(["human"]));
    });
}
