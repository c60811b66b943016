//! Whatever stands in the files: reading them ends, every error has a place, secrets stay secret.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use hb_linux::config::{AddressSpec, Settings, Severity};
use proptest::prelude::*;

static COUNTER: AtomicUsize = AtomicUsize::new(0);

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loads the three texts and checks every remark's place.
fn load_and_check(texts: &[String; 3]) {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = Scratch(
        std::env::temp_dir().join(format!("hb-config-prop-{}-{number}", std::process::id())),
    );
    fs::create_dir_all(&dir.0).unwrap();
    let names = ["ha.cf", "haresources", "authkeys"];
    for (name, text) in names.iter().zip(texts) {
        let path = dir.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let diagnostics = match Settings::load(&dir.0, Some("linuxha1"), &[]) {
        Ok(loaded) => {
            assert_eq!(loaded.settings.proto.check(), Ok(()), "what loads obeys the rules");
            assert_eq!(loaded.settings.media.len(), loaded.settings.proto.links.len());
            assert_eq!(loaded.settings.groups.len(), loaded.settings.proto.groups.len());
            loaded.diagnostics
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(|d| d.severity == Severity::Error));
            diagnostics
        }
    };
    for diagnostic in diagnostics {
        let name = diagnostic.file.file_name().unwrap().to_str().unwrap();
        let index = names.iter().position(|known| *known == name).unwrap();
        let lines = texts[index].lines().count();
        match diagnostic.line {
            Some(line) => assert!((1..=lines).contains(&line), "{diagnostic}: {lines} lines"),
            // Only what a file lacks has no line.
            None => assert!(
                [
                    "no node is named",
                    "no heartbeat medium",
                    "no line `auth N`",
                    "no resource group"
                ]
                .iter()
                .any(|lack| diagnostic.message.starts_with(lack)),
                "{diagnostic}"
            ),
        }
        assert!(!diagnostic.to_string().contains(['\n', '\r', '\u{1b}']), "{diagnostic:?}");
        assert!(!diagnostic.to_string().contains("S3CRET"), "{diagnostic}");
    }
}

/// Words that reach deep into the readers.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "node",
        "linuxha1",
        "LINUXHA2",
        "serial",
        "/dev/ttyS0",
        "baud",
        "9600",
        "19200",
        "bcast",
        "udp",
        "eth0",
        "eth1",
        "ucast",
        "ucast6",
        "10.0.0.2",
        "fe80::2%eth0",
        "mcast",
        "mcast6",
        "239.0.0.1",
        "694",
        "1",
        "0",
        "udpport",
        "keepalive",
        "warntime",
        "deadtime",
        "initdead",
        "lease",
        "guard",
        "guard_unsafe",
        "unbounded",
        "arbiter",
        "fence",
        "dongle",
        "pulse",
        "dongle_watchdog",
        "alert",
        "2",
        "1.5",
        "500ms",
        "1s",
        "auto_failback",
        "on",
        "legacy",
        "watchdog",
        "/dev/watchdog",
        "logfile",
        "respawn",
        "stonith",
        "crm",
        "192.168.85.3",
        "192.168.85.3/27",
        "192.168.85.3/5/192.168.85.16",
        "IPaddr::10.0.0.9/24/eth0:1",
        "httpd",
        "maid::vacuum",
        "fd00::3/64",
        "\\",
        "#",
        "::",
        ",",
        "auth",
        "sha256",
        "md5",
        "crc",
    ]);
    prop_oneof![9 => known.prop_map(ToOwned::to_owned), 1 => any::<String>()]
}

fn text() -> impl Strategy<Value = String> {
    let separator =
        prop::sample::select(vec![" ", " ", " ", "\n", "\n", "\t", ",", "\r\n", "\\\n"]);
    prop::collection::vec((word(), separator), 0..60)
        .prop_map(|words| words.into_iter().map(|(word, separator)| word + separator).collect())
}

fn any_spec() -> impl Strategy<Value = AddressSpec> {
    let v4 = (0x0100_0000u32..0xe000_0000).prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = (0u128..1 << 124).prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits | 0x2 << 124)));
    let interface = prop::option::of("[a-z][a-z0-9-]{0,8}");
    (
        prop_oneof![v4, v6],
        1u8..=128,
        interface,
        prop::option::of("[0-9a-z]{1,4}"),
        any::<u32>(),
        0u8..4,
    )
        .prop_map(|(ip, prefix, interface, label, broadcast, fields)| {
            let v4 = ip.is_ipv4();
            let long = fields >= 1;
            let interface = interface.filter(|_| long);
            AddressSpec {
                ip,
                prefix: long.then(|| if v4 { 1 + prefix % 32 } else { prefix }),
                label: label.filter(|_| interface.is_some()),
                interface,
                broadcast: (v4 && fields >= 2).then(|| Ipv4Addr::from_bits(broadcast)),
            }
        })
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(texts in any::<[String; 3]>()) {
        load_and_check(&texts);
    }

    #[test]
    fn likely_text_is_read_without_panic(hacf in text(), haresources in text(), keys in text()) {
        load_and_check(&[hacf, haresources, keys]);
    }

    /// Whole files in which some lines are good: reaches the rules between lines.
    #[test]
    fn broken_good_files(hacf in text(), haresources in text(), keys in text()) {
        load_and_check(&[
            format!("node linuxha1 linuxha2\nbcast eth7\n{hacf}"),
            format!("linuxha1 first\nlinuxha2 {haresources}"),
            format!("auth 1\n1 sha256 S3CRET-S3CRET-S3CRET\n2 S3CRET\nS3CRET 3\n{keys}"),
        ]);
    }

    #[test]
    fn address_specs_survive_being_written(spec in any_spec()) {
        let text = spec.to_string();
        let (read, _) = AddressSpec::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(read, spec);
    }

    /// What is read at all is read as the same again: one text form, one meaning.
    #[test]
    fn address_texts_have_one_meaning(text in "[0-9a-f.:%]{1,20}(/[0-9]{0,3}(/[a-z0-9:.]{0,8}){0,2})?") {
        if let Ok((spec, _)) = AddressSpec::parse(&text) {
            let (again, _) = AddressSpec::parse(&spec.to_string()).unwrap();
            prop_assert_eq!(again, spec);
        }
    }

    #[test]
    fn any_address_text_is_read_without_panic(text in any::<String>()) {
        let _ = AddressSpec::parse(&text);
    }
}
