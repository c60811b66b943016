//! The example files that are shipped load, and mean the guide's cluster.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hb_linux::config::check::{self, Finding, Surroundings};
use hb_linux::config::keygen::{KeygenError, keygen};
use hb_linux::config::{Medium, ResourceLine, Settings, Severity};
use hb_linux::net::Interface;
use hb_proto::config::Timing;
use hb_proto::id::Voter;

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn examples(name: &str) -> Self {
        let scratch = Self::new(name);
        for file in ["ha.cf", "haresources", "authkeys"] {
            scratch.write(file, &example(file), 0o600);
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pkg/examples").join(name))
        .unwrap()
}

fn interface(index: u32, name: &str, address: [u8; 4]) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        up: true,
        running: true,
        mac: None,
        addresses: vec![(IpAddr::from(address), 24)],
    }
}

#[test]
fn the_examples_are_the_guides_cluster() {
    let dir = Scratch::examples("examples");
    let loaded = Settings::load(&dir.0, Some("LinuxHA1"), &[]).expect("the examples load");
    assert_eq!(loaded.diagnostics, [], "the examples raise no remark");
    let settings = loaded.settings;
    assert_eq!((settings.node.as_str(), settings.peer.as_str()), ("linuxha1", "linuxha2"));
    assert_eq!(settings.me, Voter::A);
    assert_eq!(settings.proto.timing, Timing::classic_defaults());
    assert_eq!(settings.proto.check(), Ok(()));
    assert!(settings.proto.auto_failback);
    assert_eq!(
        settings.media,
        [
            Medium::Serial { device: "/dev/ttyS0".into(), baud: 19_200 },
            Medium::Broadcast { interface: "eth1".to_owned(), port: 694 },
        ]
    );
    assert_eq!(settings.proto.links.len(), 2);
    assert_eq!(settings.groups.len(), 1);
    assert_eq!(settings.groups[0].name(), "192.168.85.3");
    assert_eq!(settings.proto.groups[0].home, Voter::A);
    assert!(matches!(&settings.groups[0].resources[0], ResourceLine::Address { spec, .. }
        if spec.ip == IpAddr::V4(Ipv4Addr::new(192, 168, 85, 3)) && spec.prefix.is_none()));
    assert_eq!((settings.signing_key, settings.keys.len()), (1, 1));
    assert_eq!(settings.logfile, Path::new("/var/log/ha-log"));

    // The other node reads the same files the other way round, and finds the same fingerprints.
    let other = Settings::load(&dir.0, Some("linuxha2"), &[]).ok().unwrap().settings;
    assert_eq!((other.me, other.node.as_str()), (Voter::B, "linuxha2"));
    assert_eq!(other.proto.groups[0].home, Voter::A);
    assert_eq!(other.proto.digests, settings.proto.digests);
}

#[test]
fn every_commented_out_directive_of_the_example_is_valid_too() {
    let dir = Scratch::examples("uncommented");
    let text: String = example("ha.cf")
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    dir.write("ha.cf", &text, 0o644);
    let here = [interface(2, "eth0", [192, 168, 85, 1]), interface(3, "eth1", [10, 0, 0, 1])];
    let loaded = Settings::load(&dir.0, Some("linuxha1"), &here).expect("loads");
    assert_eq!(loaded.settings.media.len(), 4, "the ucast line with our own address is ignored");
    assert_eq!(loaded.diagnostics.len(), 1, "and a note says so: {:?}", loaded.diagnostics);
    assert_eq!(loaded.diagnostics[0].severity, Severity::Note);
    assert_eq!(loaded.settings.watchdog.as_deref(), Some(Path::new("/dev/watchdog")));
    assert_eq!(loaded.settings.debugfile.as_deref(), Some(Path::new("/var/log/ha-debug")));
}

#[test]
fn check_reports_what_is_there_and_the_budget() {
    let dir = Scratch::examples("check");
    dir.write("ha.cf", &example("ha.cf").replace("/dev/ttyS0", "/dev/null"), 0o644);
    fs::create_dir(dir.0.join("resource.d")).unwrap();
    dir.write("resource.d/httpd", "#!/bin/sh\n", 0o755);
    dir.write("resource.d/smb", "#!/bin/sh\n", 0o755);
    let mut around = Surroundings {
        interfaces: Ok(vec![interface(3, "eth1", [10, 0, 0, 1])]),
        script_directories: vec![dir.0.join("resource.d")],
        guest: false,
        ..Surroundings::here(&dir.0)
    };
    let report = check::run(&dir.0, Some("linuxha1"), &around);
    let text = report.to_string();
    assert_eq!(report.exit_code(), 0, "{text}");
    for expected in [
        "interface eth1: up, has carrier, 10.0.0.1/24",
        "32 bytes × 10 bits / 19200 baud = 16.666 ms",
        "budget for 192.168.85.3: deadtime 500 ms + start 2020 ms (1 address at 20 ms, 2 scripts at \
         1 s assumed) + announce 20 ms = 2540 ms",
        "no arbiter: when every link (/dev/null, eth1) is cut",
        "0 errors, 0 warnings, 0 notes",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }

    // Each thing that can be wrong here is found, at its line, with its gravity.
    fs::set_permissions(dir.0.join("resource.d/smb"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(dir.0.join("resource.d/httpd")).unwrap();
    dir.write("ha.cf", &example("ha.cf").replace("/dev/ttyS0", "/etc/passwd"), 0o644);
    let mut down = interface(3, "eth1", [10, 0, 0, 1]);
    down.up = false;
    down.addresses.clear();
    around.interfaces = Ok(vec![down]);
    let report = check::run(&dir.0, Some("linuxha1"), &around);
    assert_eq!(report.exit_code(), 2);
    let remarks: Vec<String> = report.remarks().map(ToString::to_string).collect();
    let line_of =
        |word: &str| 1 + example("ha.cf").lines().position(|l| l.starts_with(word)).unwrap();
    for expected in [
        format!("ha.cf:{}: warning: interface eth1 is down", line_of("bcast")),
        format!("ha.cf:{}: warning: bcast eth1: interface eth1 has no IPv4", line_of("bcast")),
        format!("ha.cf:{}: error: /etc/passwd is not a character device", line_of("serial")),
        "error: script smb:".to_owned(),
        "error: script httpd is in none of".to_owned(),
    ] {
        assert!(
            remarks.iter().any(|remark| remark.contains(&expected)),
            "{expected}: {remarks:#?}"
        );
    }
    assert_eq!(remarks.len(), 5, "{remarks:#?}");

    let watchdog = example("ha.cf").replace("#watchdog /dev/watchdog", "watchdog /dev/no-such-dog");
    dir.write("ha.cf", &watchdog.replace("/dev/ttyS0", "/dev/null"), 0o644);
    around.interfaces = Ok(vec![]);
    let report = check::run(&dir.0, Some("linuxha1"), &around);
    assert!(report.to_string().contains("warning: /dev/no-such-dog: No such file"), "{report}");
    assert!(report.to_string().contains("there is no interface eth1"), "{report}");
}

#[test]
fn one_path_alone_is_a_warning() {
    let dir = Scratch::examples("one-path");
    dir.write(
        "ha.cf",
        "node linuxha1 linuxha2\nbcast eth1\nmcast eth1 239.0.0.42 694 1 0\n",
        0o644,
    );
    dir.write("haresources", "linuxha2 192.168.85.3\n", 0o644);
    let around = Surroundings {
        interfaces: Ok(vec![interface(3, "eth1", [10, 0, 0, 1])]),
        script_directories: vec![],
        guest: false,
        ..Surroundings::here(&dir.0)
    };
    let report = check::run(&dir.0, Some("linuxha1"), &around);
    assert_eq!(report.exit_code(), 1, "{report}");
    assert!(report.to_string().contains("every heartbeat goes through eth1"), "{report}");
    assert!(report.findings.iter().any(|finding| matches!(finding, Finding::Fact(_))));
}

#[test]
fn keys_from_keygen_load_and_are_never_overwritten() {
    let dir = Scratch::examples("keygen");
    let path = dir.0.join("authkeys");
    let old = fs::read(&path).unwrap();
    assert!(matches!(keygen(Some(&path)), Err(KeygenError::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), old);

    fs::remove_file(&path).unwrap();
    keygen(Some(&path)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let loaded = Settings::load(&dir.0, Some("linuxha1"), &[]).expect("loads");
    assert_eq!(loaded.diagnostics, []);
    let secret = loaded.settings.keys[0].secret.clone();
    assert_eq!(secret.len(), 64);
    assert!(secret.iter().all(u8::is_ascii_hexdigit));

    fs::remove_file(&path).unwrap();
    keygen(Some(&path)).unwrap();
    let again = Settings::load(&dir.0, Some("linuxha1"), &[]).ok().unwrap().settings;
    assert_ne!(again.keys[0].secret, secret, "two keys differ");
}

#[test]
fn authkeys_that_others_can_reach_are_refused() {
    let dir = Scratch::examples("mode");
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602] {
        dir.write("authkeys", &example("authkeys"), mode);
        let found = Settings::load(&dir.0, Some("linuxha1"), &[]).expect_err("refused");
        assert_eq!(found.len(), 1, "{found:?}");
        let text = found[0].to_string();
        assert!(text.contains(&format!("{mode:04o}")) && text.contains("chmod 600"), "{text}");
    }
    for mode in [0o600, 0o400] {
        dir.write("authkeys", &example("authkeys"), mode);
        assert!(Settings::load(&dir.0, Some("linuxha1"), &[]).is_ok(), "{mode:o}");
    }
}
