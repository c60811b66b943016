//! The snapshot's part of a third voter, from frames that a real arbiter would send.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hb_proto::action::{Action, Outcome, Verb};
use hb_proto::id::{BootId, LinkId};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::Header;
use hb_proto::wire::message::arbiter::{
    ArbiterHello, ArbiterMessage, ArbiterSettings, FenceShown, Promisees, encode,
};

use super::*;

const SECRET: &str = "three-voters-and-one-secret";
const WEB: GroupId = GroupId(0);

fn keys() -> KeyRing {
    let key = Key::hmac(1, SECRET.as_bytes()).expect("in range");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("listed")
}

fn settings(name: &str) -> Settings {
    let dir = std::env::temp_dir().join(format!("hb-third-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("temporary");
    let ha_cf = "node linuxha1 linuxha2\nbcast eth9\nbaud 115200\nserial /dev/ttyS0\n\
                 arbiter serial /dev/ttyS0\nfence dongle\nguard_unsafe 2\n";
    for (file, text) in [
        ("ha.cf", ha_cf),
        ("haresources", "linuxha1 192.168.85.3\n"),
        ("authkeys", &format!("auth 1\n1 sha256 {SECRET}\n")),
    ] {
        fs::write(dir.join(file), text).expect("temporary");
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("authkeys"), private).expect("own file");
    let loaded = Settings::load(&dir, Some("linuxha1"), &[]);
    fs::remove_dir_all(&dir).expect("temporary");
    loaded.expect("good files").settings
}

/// linuxha1, clean, in life 5.
fn node(settings: &Settings, now: Instant) -> Node {
    let boot = BootId::new(5).expect("a life");
    let mut node = Node::new(settings.proto.clone(), keys(), boot, now).expect("good settings");
    while let Some(action) = node.poll_action(now) {
        if let Action::Run { ticket, verb, .. } = action {
            let outcome = if verb == Verb::Status { Outcome::NotHeld } else { Outcome::Done };
            node.handle_done(now, ticket.id(), outcome);
        }
    }
    assert!(node.is_clean());
    node
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

/// The arbiter's hello: it hears linuxha1 only, and has promised the group to `shown`.
fn hear(node: &mut Node, seq: u32, shown: Shown, now: Instant) {
    let seen =
        NodeSeen { silent_10ms: 3, heard: true, direct: true, feeds: true, ..NodeSeen::default() };
    let gone = NodeSeen {
        boot: BootId::new(8),
        silent_10ms: u8::MAX,
        fence: FenceShown::Sent,
        line: LineShown::Commissioned,
        ..NodeSeen::default()
    };
    let mut promisees = Promisees::default();
    promisees.set(WEB, shown);
    let status = ArbiterStatus {
        promisees,
        nodes: [seen, gone],
        uptime_s: 86_400,
        ..ArbiterStatus::default()
    };
    let settings = ArbiterSettings { lease_ms: 400, guard_ms: 2000, ..ArbiterSettings::new(7) };
    let header = Header {
        sender: Voter::Arbiter,
        link: LinkId(0),
        boot: BootId::new(3).expect("a life"),
        seq,
    };
    let mut frame = [0; MAX_FRAME];
    let message = ArbiterMessage::Hello(ArbiterHello { status, settings });
    let len = encode(&header, &message, &keys(), &mut frame);
    node.handle_frame(now, LinkId(1), &frame[..len]).expect("genuine");
    node.handle_timeout(now);
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("a snapshot is JSON")
}

#[test]
fn absent_until_it_is_heard() {
    let settings = settings("absent");
    let node = node(&settings, at(0));
    let shown = arbiter(&node, &settings, at(100)).expect("configured");
    let expected = serde_json::json!({
        "state": "absent", "id": null, "boot": null, "uptime_s": null,
        "hears": {"linuxha1": null, "linuxha2": null}, "promises": {"192.168.85.3": null},
        "last_heard_ms": null, "direct": false, "agreed": false, "power_from": [],
        "reset_lines": {"linuxha1": null, "linuxha2": null},
        "fences": {"linuxha1": null, "linuxha2": null},
    });
    assert_eq!(json(&shown), expected);
}

#[test]
fn present_it_tells_whom_it_hears_and_what_it_has_promised() {
    let settings = settings("present");
    let mut node = node(&settings, at(0));
    hear(&mut node, 1, Shown::B, at(20));
    let shown = arbiter(&node, &settings, at(50)).expect("configured");
    let expected = serde_json::json!({
        "state": "present", "id": 7, "boot": 3, "uptime_s": 86400,
        "hears": {"linuxha1": 30, "linuxha2": null}, "promises": {"192.168.85.3": "linuxha2"},
        "last_heard_ms": 30, "direct": true, "agreed": false, "power_from": ["linuxha1"],
        "reset_lines": {"linuxha1": "untested", "linuxha2": "tested"},
        "fences": {"linuxha1": null, "linuxha2": "sent"},
    });
    assert_eq!(json(&shown), expected);
    // R8: this life began bound to its peer, for 420 ms + 2 s. Nobody votes for it.
    let votes = votes(&node, &settings, WEB, at(50));
    let expected = serde_json::json!({
        "arbiter": {"to": "linuxha2", "ends_in_ms": null},
        "linuxha1": {"to": "linuxha2", "ends_in_ms": 2370},
    });
    assert_eq!(json(&votes), expected);
    let none = serde_json::json!({"from": [], "expires_in_ms": null});
    assert_eq!(json(&authority(&node, WEB, at(50))), none);
    let obstacle = obstacle(&node, &settings, WEB, at(50)).expect("its own promise");
    assert_eq!(obstacle.ends_in_ms, Some(2370));
    assert!(obstacle.what.contains("this node has promised it to linuxha2"), "{obstacle:?}");

    hear(&mut node, 2, Shown::Withheld, at(100));
    let shown = arbiter(&node, &settings, at(100)).expect("configured");
    assert_eq!(shown.promises["192.168.85.3"].as_deref(), Some("unknown"));
    hear(&mut node, 3, Shown::Nobody, at(200));
    let shown = arbiter(&node, &settings, at(200)).expect("configured");
    assert_eq!(shown.promises["192.168.85.3"], None);
}

/// What a voter said that is gone is not what it says.
#[test]
fn lost_it_is_not_quoted_any_more() {
    let settings = settings("lost");
    let mut node = node(&settings, at(0));
    hear(&mut node, 1, Shown::B, at(0));
    node.handle_wakeup(at(500));
    node.handle_timeout(at(500));
    let shown = arbiter(&node, &settings, at(700)).expect("configured");
    let expected = serde_json::json!({
        "state": "lost", "id": 7, "boot": 3, "uptime_s": null,
        "hears": {"linuxha1": null, "linuxha2": null}, "promises": {"192.168.85.3": null},
        "last_heard_ms": 700, "direct": false, "agreed": false, "power_from": [],
        "reset_lines": {"linuxha1": null, "linuxha2": null},
        "fences": {"linuxha1": null, "linuxha2": null},
    });
    assert_eq!(json(&shown), expected);
    assert!(!votes(&node, &settings, WEB, at(700)).contains_key("arbiter"));
}
