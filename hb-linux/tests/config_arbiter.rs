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
const PAIR: &str = "node linuxha1 linuxha2\nbcast eth9\nserial /dev/ttyS8 /dev/ttyS9\n";

static COUNTER: AtomicUsize = AtomicUsize::new(0);

struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(lines: &str) -> Files {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("hb-config-arbiter-{}-{number}", std::process::id());
    let dir = Files(std::env::temp_dir().join(name));
    fs::create_dir_all(&dir.0).expect("a directory");
    let hacf = format!("{PAIR}{lines}");
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
    assert_eq!(proto.timing.guard, Duration::from_millis(20_500), "2 × 10 s + 500 ms");
    assert_eq!(proto.timing.lease, Duration::from_millis(400));
    assert!(loaded.settings.needs_watchdog);
    // A slow pair's watchdog is slower: twice deadtime.
    let slow = "deadtime 30\narbiter serial /dev/ttyS9\nwatchdog /dev/watchdog\n";
    let timing = load(slow).expect("good files").settings.proto.timing;
    assert_eq!(timing.guard, Duration::from_millis(120_500), "2 × 60 s + 500 ms");
}

#[test]
fn guard_and_lease_can_be_written() {
    let lines = "arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\nguard 30\nlease 300ms\n";
    let timing = load(lines).expect("good files").settings.proto.timing;
    assert_eq!((timing.guard.millis(), timing.lease.millis()), (30_000, 300));
    let lines = "arbiter serial /dev/ttyS8\nguard_unsafe 2\n";
    let loaded = load(lines).expect("good files");
    assert_eq!(loaded.settings.proto.timing.guard, Duration::from_secs(2));
    assert!(!loaded.settings.needs_watchdog);
    let warned = loaded.diagnostics.iter().find(|one| one.severity == Severity::Warning);
    assert!(warned.is_some_and(|one| one.message.contains("nothing stops this node")));
}

/// Each mistake is one error, at its line, and says what would be right.
#[test]
fn what_does_not_fit_is_told() {
    for (lines, line, expected) in [
        ("arbiter serial /dev/ttyS8\n", 4, "add `watchdog /dev/watchdog`"),
        ("guard 30\n", 4, "belongs to `arbiter`"),
        ("guard_unsafe 30\n", 4, "belongs to `arbiter`"),
        ("watchdog /dev/watchdog\narbiter serial /dev/ttyS7\n", 5, "/dev/ttyS8, /dev/ttyS9"),
        ("watchdog /dev/watchdog\narbiter serial /dev/ttyS8\nguard 20\n", 6, "20500 ms"),
        ("arbiter serial /dev/ttyS8\nguard 30\n", 5, "nothing stops this node"),
        ("arbiter serial /dev/ttyS8\nguard 30\nguard_unsafe 30\n", 6, "keep one of the two"),
        ("watchdog /dev/watchdog\narbiter serial /dev/ttyS8\nguard_unsafe 3\n", 6, "this one has one"),
        ("lease 490ms\n", 4, "lease"),
        ("arbiter udp eth9\n", 4, "expected `serial DEVICE`"),
        ("arbiter serial\n", 4, "expected `serial DEVICE`"),
    ] {
        let error = only_error(lines);
        assert_eq!(error.line, Some(line), "{lines}: {error}");
        assert!(error.message.contains(expected), "{lines}: {error}");
    }
}

#[test]
fn an_arbiter_needs_a_network_beside_its_line() {
    let dir = files("arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n");
    let hacf = fs::read_to_string(dir.0.join("ha.cf")).expect("written");
    fs::write(dir.0.join("ha.cf"), hacf.replace("bcast eth9\n", "")).expect("a file");
    let found = Settings::load(&dir.0, Some("linuxha1"), &[]).expect_err("no network");
    assert!(found.iter().any(|one| one.message.contains("Add bcast, ucast or mcast")), "{found:#?}");
}

#[test]
fn check_does_the_sums() {
    let dir = files("arbiter serial /dev/ttyS8\nwatchdog /dev/watchdog\n");
    let around =
        Surroundings { interfaces: Ok(vec![]), script_directories: vec![], hypervisor: true };
    let text = check::run(&dir.0, Some("linuxha1"), &around).to_string();
    for expected in [
        "lease 400 ms × 1.05 = 420 ms ≤ deadtime 500 ms",
        "lease × 1.05 + guard 20500 ms = 20920 ms",
        "guard covers 2 × watchdog 10 s + 500 ms",
        "a `stop` may take 60000 ms, the watchdog 10 s",
        "warning: this machine is a hypervisor's guest",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
    assert!(!text.contains("no arbiter:"), "{text}");
    let around = Surroundings { hypervisor: false, ..around };
    let text = check::run(&dir.0, Some("linuxha1"), &around).to_string();
    assert!(!text.contains("hypervisor"), "{text}");
}
