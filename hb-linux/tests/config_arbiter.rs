//! `arbiter`, `lease`, `guard`, `guard_unsafe`: what fits together, what doesn't, and what `hb check` says of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use hb_linux::config::check::{self, Surroundings};
use hb_linux::config::{Diagnostic, Loaded, Settings, Severity};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;

/// Two links, one of them a line that a dongle can sit in.
const PAIR: &str =
    "node linuxha1 linuxha2\nbcast eth9\nbaud 115200\nserial /dev/ttyS8 /dev/ttyS9\n";

static COUNTER: AtomicUsize = AtomicUsize::new(0);

struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(lines: &str) -> Files {
    files_of(PAIR, lines)
}

fn files_of(pair: &str, lines: &str) -> Files {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("hb-config-arbiter-{}-{number}", std::process::id());
    let dir = Files(std::env::temp_dir().join(name));
    fs::create_dir_all(&dir.0).expect("a directory");
    let hacf = format!("{pair}{lines}");
    let texts = [
        ("ha.cf", hacf.as_str()),
        ("haresources", "linuxha1 192.168.85.3 httpd\n"),
        ("authkeys", "auth 1\n1 sha256 a-secret-of-some-length\n"),
    ];
    for (name, text) in texts {
        let path = dir.0.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    dir
}

fn load(lines: &str) -> Result<Loaded, Vec<Diagnostic>> {
    Settings::load(&files(lines).0, Some("linuxha1"), &[])
}

fn warned(loaded: &Loaded) -> String {
    let found = loaded.diagnostics.iter().find(|one| one.severity == Severity::Warning);
    found.map(|one| one.message.clone()).unwrap_or_default()
}

fn only_error(lines: &str) -> Diagnostic {
    let found = load(lines).err().unwrap_or_else(|| panic!("{lines}: loads"));
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{lines}: {found:#?}");
    errors[0].clone()
}

#[test]
fn guard_follows_from_the_watchdog() {
    let loaded = load("arbiter serial /dev/ttyS9\nwatchdog /dev/watchdog\n").expect("good files");
    let proto = &loaded.settings.proto;
    let arbiter = proto.arbiter.expect("configured");
    assert_eq!(arbiter.link, LinkId(2), "the second serial line");
    assert_eq!((arbiter.fence, arbiter.external_watchdog), (None, false));
    assert_eq!(proto.timing.guard, Duration::from_millis(21_500), "2 × 10 s × 1.05 + 500 ms");
    assert_eq!(proto.timing.lease, Duration::from_millis(400));
    assert!(loaded.settings.guard_by_watchdog);
    assert_eq!((loaded.arbiter_line, loaded.watchdog_line), (Some(5), Some(6)));
    // A slow pair's watchdog is slower: twice deadtime.
    let slow = "deadtime 30\narbiter serial /dev/ttyS9\nwatchdog /dev/watchdog\n";
    let timing = load(slow).expect("good files").settings.proto.timing;
    assert_eq!(timing.guard, Duration::from_millis(126_500), "2 × 60 s × 1.05 + 500 ms");
}

#[test]
fn guard_and_lease_can_be_written() {
    let lines = "arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\nguard 30\nlease 350ms\n";
    let timing = load(lines).expect("good files").settings.proto.timing;
    assert_eq!((timing.guard.millis(), timing.lease.millis()), (30_000, 350));
    let lines = "arbiter serial /dev/ttyS8\nguard_unsafe 2\n";
    let loaded = load(lines).expect("good files");
    assert_eq!(loaded.settings.proto.timing.guard, Duration::from_secs(2));
    assert!(!loaded.settings.guard_by_watchdog);
    assert!(warned(&loaded).contains("both nodes run the same groups"), "{:?}", loaded.diagnostics);
    assert_eq!(
        load("lease 300ms\n").expect("two voters").settings.proto.timing.lease.millis(),
        300
    );
}

/// R10: what nothing stops within a known time is bound without end.
#[test]
fn guard_is_unbounded_where_only_a_reset_line_stops_a_node() {
    for lines in [
        "arbiter serial /dev/ttyS8\nfence dongle\n",
        "arbiter serial /dev/ttyS8\nfence dongle\ndongle_watchdog 500ms\nguard unbounded\n",
        "arbiter serial /dev/ttyS8\nfence dongle\nwatchdog /dev/watchdog\nguard unbounded\n",
    ] {
        let loaded = load(lines).unwrap_or_else(|error| panic!("{lines}: {error:?}"));
        let proto = &loaded.settings.proto;
        assert_eq!(proto.timing.guard, Duration::MAX, "{lines}");
        assert!(proto.arbiter.expect("configured").fence.is_some(), "{lines}");
        assert!(!loaded.settings.guard_by_watchdog, "{lines}");
        assert_eq!(loaded.diagnostics, [], "{lines}");
        assert_eq!(loaded.refusal_on_guest(), None, "{lines}");
    }
    let both =
        "arbiter serial /dev/ttyS8\nfence dongle\ndongle_watchdog 500ms\nwatchdog /dev/watchdog\n";
    let proto = load(both).expect("good files").settings.proto;
    assert!(proto.arbiter.expect("configured").external_watchdog);
    assert_eq!(proto.timing.guard.millis(), 21_500, "the watchdog still gives one");
    let alone = load("arbiter serial /dev/ttyS8\nguard unbounded\n").expect("usable");
    assert!(warned(&alone).contains("nobody takes over"), "{:?}", alone.diagnostics);
    let budget = alone.settings.proto.budget(0).expect("a group");
    assert_eq!(budget.total(), Duration::MAX, "nothing is promised, no figure is made up");
}

/// Both nodes must see that they differ: whether there is an arbiter, what it may do, lease and guard.
#[test]
fn whatever_changes_the_votes_changes_the_digest() {
    let mut seen = Vec::new();
    for lines in [
        "",
        "lease 390ms\n",
        "arbiter serial /dev/ttyS8\nguard_unsafe 2\n",
        "arbiter serial /dev/ttyS8\nguard_unsafe 3\n",
        "arbiter serial /dev/ttyS8\nguard_unsafe 2\nlease 390ms\n",
        "arbiter serial /dev/ttyS8\nfence dongle\nguard_unsafe 2\n",
        "arbiter serial /dev/ttyS8\nfence dongle\ndongle_watchdog 500ms\nguard_unsafe 2\n",
        "arbiter serial /dev/ttyS8\nfence dongle\n",
        "arbiter serial /dev/ttyS8\nfence dongle pulse 200ms\ndongle_watchdog 500ms\n",
    ] {
        let digest = load(lines).expect("good files").settings.proto.digests.settings;
        assert!(!seen.contains(&digest), "{lines:?} has the digest of another");
        seen.push(digest);
    }
    let other = load("arbiter serial /dev/ttyS9\nguard_unsafe 2\n").expect("good files");
    assert_eq!(other.settings.proto.digests.settings, seen[2], "cables may differ");
}

/// Each mistake is one error, at its line, and says what would be right.
/// `hb check --peer`, `hb status` and the log go by this number.
#[test]
fn other_times_of_the_dongle_are_another_digest() {
    let digest = |lines: &str| {
        let lines = format!("arbiter serial /dev/ttyS9\nguard_unsafe 3\n{lines}");
        load(&lines).expect("good files").settings.proto.digests.settings
    };
    let plain = digest("fence dongle\n");
    assert_eq!(plain, digest("fence dongle pulse 200ms\n"), "what it is without");
    let watched = digest("fence dongle\ndongle_watchdog 1\n");
    let all = [
        plain,
        digest(""),
        digest("fence dongle pulse 300ms\n"),
        watched,
        digest("fence dongle\ndongle_watchdog 2\n"),
    ];
    assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:x?}");
    assert_eq!(watched, digest("fence dongle\ndongle_watchdog 1000ms\n"));
}

#[test]
fn what_does_not_fit_is_told() {
    for (lines, line, expected) in [
        ("arbiter serial /dev/ttyS8\n", 5, "add `watchdog /dev/watchdog`"),
        ("guard 30\n", 5, "belongs to `arbiter`"),
        ("guard_unsafe 30\n", 5, "belongs to `arbiter`"),
        ("watchdog /dev/watchdog\narbiter serial /dev/ttyS7\n", 6, "/dev/ttyS8, /dev/ttyS9"),
        ("watchdog /dev/watchdog\narbiter serial /dev/ttyS8\nguard 20\n", 7, "21500 ms"),
        ("arbiter serial /dev/ttyS8\nguard 30\n", 6, "or `guard_unsafe 30`"),
        ("arbiter serial /dev/ttyS8\nguard 30\nguard_unsafe 30\n", 7, "keep one of the two"),
        ("arbiter serial /dev/ttyS8\nguard_unsafe 0\n", 6, "positive"),
        ("arbiter serial /dev/ttyS8\nguard_unsafe unbounded\n", 6, "expected a time"),
        ("lease 490ms\n", 5, "514.500 ms"),
        ("lease 0\n", 5, "lease is 0"),
        ("lease unbounded\n", 5, "expected a time"),
        ("arbiter serial /dev/ttyS8\nguard_unsafe 2\nlease 200ms\n", 7, "between two heartbeats"),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\ndeadtime 250ms\nkeepalive 100ms\n",
            7,
            "lease",
        ),
        ("arbiter udp eth9\n", 5, "expected `serial DEVICE`"),
        ("arbiter serial\n", 5, "expected `serial DEVICE`"),
        ("arbiter serial ttyS8\n", 5, "full path"),
        ("arbiter serial /dev/ttyS8 reset_lines\n", 5, "`fence dongle`"),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\nfence dongle\nfence dongle\n",
            8,
            "line 7 already",
        ),
        ("arbiter serial /dev/ttyS8\nguard_unsafe 2\nfence ipmi\n", 7, "expected `fence dongle`"),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\nfence dongle pulse\n",
            7,
            "no time behind `pulse`",
        ),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\nfence dongle pulse 20ms\n",
            7,
            "expected 50ms to 1500ms",
        ),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\nfence dongle pulse 2\n",
            7,
            "expected 50ms to 1500ms",
        ),
        ("fence dongle\n", 5, "belongs to `arbiter`"),
        ("dongle_watchdog 1\n", 5, "belongs to `arbiter`"),
        (
            "arbiter serial /dev/ttyS8\nfence dongle\ndongle_watchdog 400ms\n",
            7,
            "read 400 ms, expected deadtime, 500 ms, or more",
        ),
        (
            "arbiter serial /dev/ttyS8\nguard_unsafe 2\ndongle_watchdog 1\n",
            7,
            "needs `fence dongle`",
        ),
        (
            "arbiter serial /dev/ttyS8\nfence dongle\narbiter serial /dev/ttyS9\n",
            7,
            "line 5 already",
        ),
    ] {
        let error = only_error(lines);
        assert_eq!(error.line, Some(line), "{lines}: {error}");
        assert!(error.message.contains(expected), "{lines}: {error}");
    }
}

#[test]
fn a_lease_of_less_than_three_heartbeats_is_warned_about() {
    let lines = "arbiter serial /dev/ttyS8\nguard_unsafe 2\nlease 250ms\n";
    let loaded = load(lines).expect("usable");
    let found = loaded.diagnostics.iter().find(|one| one.line == Some(7)).expect("a warning");
    assert!(found.message.contains("one lost heartbeat"), "{found}");
}

#[test]
fn an_arbiter_needs_a_network_beside_its_line() {
    let dir = files("arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n");
    let hacf = fs::read_to_string(dir.0.join("ha.cf")).expect("written");
    fs::write(dir.0.join("ha.cf"), hacf.replace("bcast eth9\n", "")).expect("a file");
    let found = Settings::load(&dir.0, Some("linuxha1"), &[]).expect_err("no network");
    let alone = found.iter().find(|one| one.message.contains("Add bcast, ucast or mcast"));
    assert_eq!(alone.and_then(|one| one.line), Some(4), "{found:#?}");
}

/// Its line carries three voters' frames; another serial line only this node's.
#[test]
fn a_slow_line_is_refused_with_its_numbers() {
    let slow = "node linuxha1 linuxha2\nbcast eth9\nserial /dev/ttyS8\nserial /dev/ttyS9\n";
    let dir = files_of(slow, "arbiter serial /dev/ttyS9\nguard_unsafe 2\n");
    let found = Settings::load(&dir.0, Some("linuxha1"), &[]).expect_err("112 bytes at 19200");
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "the other line is fast enough: {errors:#?}");
    assert_eq!(errors[0].line, Some(4));
    assert!(errors[0].message.contains("58.333 ms"), "{}", errors[0]);
}

fn checked(lines: &str, guest: bool) -> String {
    let dir = files(lines);
    let around = Surroundings {
        interfaces: Ok(vec![]),
        script_directories: vec![],
        guest,
        ..Surroundings::here(&dir.0)
    };
    check::run(&dir.0, Some("linuxha1"), &around).to_string()
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    for part in expected {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn check_does_the_sums_for_its_mode() {
    let classic = checked("", false);
    says(
        &classic,
        &[
            "deadtime 500 ms > 2 × keepalive 100 ms",
            "lease 400 ms × 1.05 = 420 ms ≤ deadtime 500 ms",
            "budget for 192.168.85.3: deadtime 500 ms + start 1020 ms",
            "no arbiter: when every link",
        ],
    );
    assert!(!classic.contains("guard"), "{classic}");

    let dog = checked("arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n", false);
    says(
        &dog,
        &[
            "guard 21500 ms ≥ 2 × watchdog 10 s × 1.05 + 500 ms",
            "lease × 1.05 + guard = 420 ms + 21500 ms = 21920 ms",
            "(32 own + 32 of the peer + 48 of the arbiter) bytes × 10 bits / 115200 baud = 9.722 ms",
            "load of /dev/ttyS9: 32 bytes",
            "budget for 192.168.85.3 (arbiter, no reset lines): the longer of deadtime 500 ms and (lease × 1.05 \
             + guard) × 1.05 = 23016 ms + a request and its answer 6.944 ms + start 1020 ms",
            "= 24062.944 ms",
            "ha.cf:6: note: a `stop` may take 60 s and the watchdog waits 10 s",
        ],
    );
    assert!(!dog.contains("no arbiter:"), "{dog}");

    let reset = checked("arbiter serial /dev/ttyS8\nfence dongle\nwatchdog /dev/watchdog\n", false);
    says(
        &reset,
        &[
            "budget for 192.168.85.3 (arbiter, reset lines): deadtime 500 ms × 1.05 + fence 300 ms assumed + start",
            "= 1865 ms",
            "leaves no evidence ends no promise: then the takeover waits for (lease × 1.05 + guard) × 1.05 = 23016 ms",
        ],
    );
    let unbounded = checked("arbiter serial /dev/ttyS8\nfence dongle\n", false);
    says(
        &unbounded,
        &["guard unbounded:", "lease × 1.05 + guard = 420 ms + unbounded = unbounded"],
    );
    let by_hand = checked("arbiter serial /dev/ttyS8\nguard unbounded\n", false);
    says(&by_hand, &["(arbiter, guard unbounded, no reset lines): none."]);
}

/// R10: where the machine can be paused, its watchdog's time is no guard.
#[test]
fn a_guest_needs_more_than_a_watchdog() {
    let refused = checked("arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n", true);
    says(
        &refused,
        &["ha.cf:5: error: guard: this machine is a hypervisor's guest", "`guard_unsafe 21500ms`"],
    );
    let unsafe_guard = checked("arbiter serial /dev/ttyS8\nguard_unsafe 2\n", true);
    says(&unsafe_guard, &["ha.cf:5: warning: this machine is a hypervisor's guest"]);
    let reset = checked("arbiter serial /dev/ttyS8\nfence dongle\n", true);
    says(&reset, &["\nthis machine is a hypervisor's guest: however long it is paused"]);
    says(&checked("", true), &["ha.cf: note: this machine is a hypervisor's guest"]);
    for lines in ["", "arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n"] {
        let metal = checked(lines, false);
        assert!(!metal.contains("hypervisor"), "{metal}");
    }
}

/// heartbeatd leaves without the watchdog that guard is made of; `hb check` must not call that a warning.
#[test]
fn a_missing_watchdog_is_an_error_where_guard_rests_on_it() {
    let dog = "watchdog /dev/hb-no-such-dog\n";
    let needed = checked(&format!("arbiter serial /dev/ttyS8\n{dog}"), false);
    says(&needed, &["ha.cf:6: error: /dev/hb-no-such-dog: No such file"]);
    let spare = checked(&format!("arbiter serial /dev/ttyS8\nguard_unsafe 2\n{dog}"), false);
    says(&spare, &["ha.cf:7: warning: /dev/hb-no-such-dog: No such file"]);
}
