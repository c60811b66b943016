//! authkeys read again while real daemons run: on SIGHUP and by `hb reload`.

use std::time::Duration;

use hb_linux::rig::bench::Node;
use hil_tests::inside::inside;
use hil_tests::netns::Pair;
use serde_json::Value;

const OLD: &str = "1 sha256 the-key-of-the-years-before";
const NEW: &str = "2 sha256 the-key-of-the-years-to-come";
/// A reload is over.
const SOON: Duration = Duration::from_secs(5);
/// Longer than a promise lasts, and than silence before death.
const A_WHILE: Duration = Duration::from_secs(2);

fn authkeys(signing: u8, keys: &[&str]) -> String {
    format!("auth {signing}\n{}\n", keys.join("\n"))
}

fn write(pair: &Pair, node: Node, text: &str, mode: u32) {
    pair.bench.install(node, "authkeys", text, mode).expect("authkeys can be written");
}

/// Both machines on, by the old key alone.
fn pair() -> Pair {
    let mut pair = Pair::builder().build();
    for node in Node::BOTH {
        write(&pair, node, &authkeys(1, &[OLD]), 0o600);
        pair.power_on(node);
    }
    pair.expect_holder(Node::One);
    pair.settle();
    pair
}

fn reload(pair: &Pair, node: Node) -> (Option<i32>, String) {
    let output = pair.bench.machine(node).hb(&["reload"]).expect("hb runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn hang_up(pair: &Pair, node: Node) {
    let script = "kill -HUP $(cat /run/heartbeat/heartbeatd.pid)";
    let output = pair.bench.machine(node).run("/bin/sh", &["-c", script]).expect("a shell");
    assert!(output.status.success(), "{output:?}");
}

/// By turns with `hb reload` and with SIGHUP, whose outcome the log tells.
fn take(pair: &Pair, node: Node, text: &str, told: &str) {
    write(pair, node, text, 0o600);
    match node {
        Node::One => {
            let (exit, said) = reload(pair, node);
            assert_eq!(exit, Some(0), "{said}");
            assert!(said.contains(told), "{said}");
        }
        Node::Two => hang_up(pair, node),
    }
    let logged = |_: &Value| pair.log_contains(node, told);
    pair.wait_for_one(node, told, SOON, logged);
}

fn needs(status: &Value, key: u8) -> Option<&Value> {
    let keys = status["keys"].as_array()?;
    keys.iter().find(|entry| entry["id"] == key).map(|entry| &entry["needed_by"])
}

fn expect_undisturbed(pair: &Pair) {
    pair.expect_holder_stays(Node::One, A_WHILE);
    for node in Node::BOTH {
        let status = pair.status(node).expect("it answers");
        assert_eq!(status["peer"]["state"], "alive", "{status:#}");
        let log = pair.bench.machine(node).ha_log();
        assert_eq!(log.matches("heartbeat starting.").count(), 1, "{log}");
        assert!(!log.contains("is dead"), "{log}");
        assert!(!log.contains("not signed with our key"), "{log}");
    }
}

#[test]
fn keys_change_in_three_rounds_without_a_restart() {
    inside("keys_change_in_three_rounds_without_a_restart", || {
        let pair = pair();
        for node in Node::BOTH {
            take(&pair, node, &authkeys(1, &[OLD, NEW]), "key 1 signs, accepted: 1, 2");
        }
        expect_undisturbed(&pair);
        take(&pair, Node::One, &authkeys(2, &[OLD, NEW]), "key 2 signs, accepted: 1, 2");

        // Node Two still signs with it: gone, it would be a stranger.
        write(&pair, Node::One, &authkeys(2, &[NEW]), 0o600);
        let (exit, said) = reload(&pair, Node::One);
        assert_eq!(exit, Some(1), "{said}");
        assert!(
            said.contains("linuxha2 signs with it") && said.contains("old keys stay"),
            "{said}"
        );
        expect_undisturbed(&pair);

        take(&pair, Node::Two, &authkeys(2, &[OLD, NEW]), "key 2 signs, accepted: 1, 2");
        pair.wait_for("nobody needs the old key", SOON, |one, two| {
            [one, two].into_iter().all(|status| needs(status, 1) == Some(&Value::Null))
        });
        for node in Node::BOTH {
            take(&pair, node, &authkeys(2, &[NEW]), "key 2 signs, accepted: 2.");
        }
        expect_undisturbed(&pair);
        let [one, _] = pair.wait_for("the old key is gone", SOON, |one, two| {
            [one, two].into_iter().all(|status| needs(status, 1).is_none())
        });
        assert_eq!(needs(&one, 2), Some(&Value::from("linuxha1")), "{one:#}");
        let (exit, said) = reload(&pair, Node::Two);
        assert_eq!((exit, said.contains("nothing has changed")), (Some(0), true), "{said}");
        pair.expect_never_two_holders();
    });
}

/// The classics ended themselves over a broken file.
#[test]
fn of_authkeys_that_can_not_be_used_the_old_ones_stay() {
    inside("of_authkeys_that_can_not_be_used_the_old_ones_stay", || {
        let pair = pair();
        let refused = |text: &str, mode: u32, logged: &str| {
            write(&pair, Node::One, text, mode);
            let (exit, said) = reload(&pair, Node::One);
            assert_eq!(exit, Some(1), "{said}");
            assert!(said.contains("the old keys stay"), "{said}");
            let told = |_: &Value| pair.log_contains(Node::One, logged);
            pair.wait_for_one(Node::One, logged, SOON, told);
        };
        refused(
            "auth 1\n1 sha256\n",
            0o600,
            "/etc/ha.d/authkeys:2: error: key 1: the secret is missing",
        );
        refused(&authkeys(1, &[OLD]), 0o644, "/etc/ha.d/authkeys: error: its mode is 0644");
        refused("", 0o600, "no line `auth N`");
        // In one step: the peer has never heard of it.
        refused(
            &authkeys(2, &[OLD, NEW]),
            0o600,
            "key 2 would sign, and was not accepted here until now",
        );
        refused(
            &authkeys(2, &[NEW]),
            0o600,
            "key 2 would sign, and was not accepted here until now",
        );
        refused(&authkeys(1, &["1 sha256 another-one-of-its-number"]), 0o600, "key 1 would sign");
        let file = pair.bench.machine(Node::One).config_file("authkeys");
        std::fs::remove_file(file).expect("it was there");
        let (exit, said) = reload(&pair, Node::One);
        assert_eq!(exit, Some(1), "{said}");
        assert!(pair.log_contains(Node::One, "the file is missing"), "{}", pair.story());

        // SIGHUP says the same, in the log alone.
        let before = pair.bench.machine(Node::One).ha_log().matches("can't be used").count();
        hang_up(&pair, Node::One);
        pair.wait_for_one(Node::One, "told", SOON, |_| {
            pair.bench.machine(Node::One).ha_log().matches("can't be used").count() > before
        });
        expect_undisturbed(&pair);
        assert!(!pair.story().contains("the-key-of-the-years"), "{}", pair.story());

        take(&pair, Node::One, &authkeys(1, &[OLD, NEW]), "key 1 signs, accepted: 1, 2");
        expect_undisturbed(&pair);
        pair.expect_never_two_holders();
    });
}

/// The process that reads files is killed: a reload says so, or goes to the next one.
#[test]
fn a_reload_outlives_the_helper() {
    inside("a_reload_outlives_the_helper", || {
        let pair = pair();
        write(&pair, Node::One, &authkeys(1, &[OLD, NEW]), 0o600);
        let helper =
            hil_tests::netns::host::helper(pair.bench.machine(Node::One)).expect("it runs");
        rustix::process::kill_process(helper, rustix::process::Signal::KILL).expect("it can be");
        let (exit, said) = reload(&pair, Node::One);
        assert!(exit == Some(0) || said.contains("helper process"), "{exit:?} {said}");
        pair.wait_for_one(Node::One, "it is read", SOON, |_| reload(&pair, Node::One).0 == Some(0));
        assert!(pair.log_contains(Node::One, "accepted: 1, 2"), "{}", pair.story());
        expect_undisturbed(&pair);
    });
}
