//! `hb serial` on two machines of the namespace rig: the guide's hello test against real cat(1) and
//! echo(1), the guided test between two real processes, and a port that heartbeatd holds.

use std::process::{Child, Output, Stdio};
use std::time::Duration;

use hb_linux::rig::bench::Node;
use hb_linux::rig::machine::Verb;
use hil_tests::inside::inside;
use hil_tests::netns::{PATIENCE, Pair};
use serde_json::Value;

fn spawn(pair: &Pair, node: Node, program: &str, arguments: &[&str]) -> Child {
    let mut command = pair.bench.machine(node).command(program, arguments).expect("it is on");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

fn hb(pair: &Pair, node: Node, arguments: &[&str]) -> Output {
    let words = [&["serial"], arguments].concat();
    pair.bench.machine(node).hb(&words).expect("hb runs")
}

fn spawn_hb(pair: &Pair, node: Node, arguments: &[&str]) -> Child {
    let hb = hb_linux::rig::init::inside(&hil_tests::inside::programs().hb);
    let words = [&["serial"], arguments].concat();
    spawn(pair, node, &hb.to_string_lossy(), &words)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both machines on, and no daemon on either: the line is free.
fn without_daemons() -> Pair {
    let mut pair = Pair::builder().start();
    pair.settle();
    for node in Node::BOTH {
        pair.bench.daemon(node, Verb::Terminate).expect("it runs");
        let begun = std::time::Instant::now();
        while pair.bench.machine(node).daemon_runs() {
            assert!(begun.elapsed() < PATIENCE, "heartbeatd doesn't end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    pair
}

#[test]
fn hello_passes_between_hb_and_the_guide_s_cat_and_echo() {
    inside("hello_passes_between_hb_and_the_guide_s_cat_and_echo", || {
        let pair = without_daemons();
        let settle = || std::thread::sleep(Duration::from_millis(700));
        // The guide's commands, one of each pair exchanged for hb's. Speeds are left as they are.
        let sane = "stty -F /dev/ttyS0 19200 sane -echo; ";
        for node in Node::BOTH {
            let stty = spawn(&pair, node, "/bin/sh", &["-c", sane]);
            assert!(ended(stty).status.success());
        }
        let cat = spawn(&pair, Node::Two, "/bin/sh", &["-c", "head -n 1 </dev/ttyS0"]);
        settle();
        let sent = hb(&pair, Node::One, &["send", "/dev/ttyS0", "hello"]);
        assert!(sent.status.success(), "{}", text(&sent.stderr));
        assert!(text(&sent.stderr).contains("at 19200 baud"), "{}", text(&sent.stderr));
        assert_eq!(text(&ended(cat).stdout), "hello\n");

        let listen = ["listen", "/dev/ttyS0", "--once", "--seconds", "20"];
        let listen = spawn_hb(&pair, Node::One, &listen);
        settle();
        let echo = spawn(&pair, Node::Two, "/bin/sh", &["-c", "echo hello >/dev/ttyS0; sleep 1"]);
        let heard = ended(listen);
        assert!(heard.status.success(), "{}", text(&heard.stderr));
        assert_eq!(text(&heard.stdout).trim_end(), "hello");
        ended(echo);
    });
}

#[test]
fn a_guided_test_at_both_ends_finds_the_line_sound_and_a_cut_one_dead() {
    inside("a_guided_test_at_both_ends_finds_the_line_sound_and_a_cut_one_dead", || {
        let pair = without_daemons();
        let both = |wait: &str| {
            let words =
                ["test", "/dev/ttyS0", "--json", "--speeds", "19200,115200", "--wait", wait];
            let children = Node::BOTH.map(|node| spawn_hb(&pair, node, &words));
            children.map(|child| {
                let output = ended(child);
                let said = text(&output.stdout);
                let json: Value = serde_json::from_str(&said)
                    .unwrap_or_else(|error| panic!("{error}: {said}{}", text(&output.stderr)));
                (output.status.code(), json)
            })
        };
        for (code, json) in both("20") {
            assert_eq!((code, &json["verdict"]["matter"]), (Some(0), &"sound".into()), "{json:#}");
        }
        pair.bench.cut_serial(0, true);
        for (code, json) in both("4") {
            assert_eq!((code, &json["verdict"]["matter"]), (Some(1), &"dead".into()), "{json:#}");
        }
    });
}

#[test]
fn a_line_that_heartbeatd_holds_is_left_alone() {
    inside("a_line_that_heartbeatd_holds_is_left_alone", || {
        let pair = Pair::builder().private_network(false).start();
        pair.settle();
        let rejected =
            |node| pair.status(node).expect("it answers")["links"][0]["rejected"].clone();
        let before = Node::BOTH.map(rejected);
        for words in
            [&["send", "/dev/ttyS0", "x"][..], &["listen", "/dev/ttyS0"], &["test", "/dev/ttyS0"]]
        {
            let output = hb(&pair, Node::One, words);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            assert!(said.contains("in use by heartbeatd") && said.contains("left alone"), "{said}");
        }
        // The only link: had it been touched, frames would have been lost or damaged.
        std::thread::sleep(Duration::from_secs(1));
        for (node, before) in Node::BOTH.into_iter().zip(before) {
            let status = pair.status(node).expect("it answers");
            assert_eq!(status["peer"]["state"], "alive", "{status:#}");
            assert_eq!(status["links"][0]["rejected"], before, "{status:#}");
        }
    });
}
