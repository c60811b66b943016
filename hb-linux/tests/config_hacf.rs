//! ha.cf line by line: what each wrong line is told, and where.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use hb_linux::config::{Diagnostic, Loaded, Medium, Settings, Severity};
use hb_linux::net::Interface;
use hb_proto::time::Duration;

const NODES: &str = "node linuxha1 linuxha2\n";
const HARESOURCES: &str = "linuxha1 192.168.85.3 httpd\n";
const AUTHKEYS: &str = "auth 1\n1 sha256 a-secret-of-some-length\n";

static COUNTER: AtomicUsize = AtomicUsize::new(0);

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load_files(
    files: [&str; 3],
    node: Option<&str>,
    interfaces: &[Interface],
) -> Result<Loaded, Vec<Diagnostic>> {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let dir = Scratch(
        std::env::temp_dir().join(format!("hb-config-hacf-{}-{number}", std::process::id())),
    );
    fs::create_dir_all(&dir.0).unwrap();
    for (name, text) in ["ha.cf", "haresources", "authkeys"].into_iter().zip(files) {
        let path = dir.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Settings::load(&dir.0, node, interfaces)
}

fn load(hacf: &str) -> Result<Loaded, Vec<Diagnostic>> {
    load_files([hacf, HARESOURCES, AUTHKEYS], Some("linuxha1"), &[])
}

fn good(hacf: &str) -> Loaded {
    load(hacf).unwrap_or_else(|found| panic!("{hacf}: {found:#?}"))
}

fn errors(found: &[Diagnostic]) -> Vec<&Diagnostic> {
    found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect()
}

/// The one error of a file.
fn only_error(hacf: &str) -> Diagnostic {
    let found = load(hacf).err().unwrap_or_else(|| panic!("{hacf}: loads"));
    let errors = errors(&found);
    assert_eq!(errors.len(), 1, "{hacf}: {found:#?}");
    errors[0].clone()
}

fn local(name: &str, addresses: &[&str]) -> Interface {
    Interface {
        index: 2,
        name: name.to_owned(),
        up: true,
        running: true,
        mac: None,
        addresses: addresses.iter().map(|ip| (ip.parse().unwrap(), 24)).collect(),
    }
}

/// The guide's ha.cf of 1999, line for line: times, and `baud` and `udpport` behind the media.
#[test]
fn the_guides_file_loads() {
    let loaded = good(
        "serial /dev/ttyS0\nwatchdog /dev/watchdog\nudp eth1\nkeepalive 2\ndeadtime 10\nhopfudge 1\n\
         baud 19200\nudpport 1001\nnode linuxha1\nnode linuxha2\n",
    );
    let timing = loaded.settings.proto.timing;
    assert_eq!(
        [timing.keepalive, timing.warntime, timing.deadtime, timing.initdead].map(Duration::millis),
        [2000, 6000, 10_000, 10_000]
    );
    assert_eq!(timing.lease, Duration::from_secs(8));
    assert_eq!(
        loaded.settings.media,
        [
            Medium::Serial { device: "/dev/ttyS0".into(), baud: 19_200 },
            Medium::Broadcast { interface: "eth1".to_owned(), port: 1001 },
        ]
    );
    let told: Vec<_> = loaded.diagnostics.iter().map(|d| (d.severity, d.line)).collect();
    let note = Severity::Note;
    assert_eq!(told, [(note, Some(5)), (note, Some(6)), (note, Some(7)), (note, Some(8))]);
}

#[test]
fn baud_and_udpport_apply_to_the_media_after_them() {
    let loaded = good(&format!(
        "{NODES}serial /dev/ttyS0\nbaud 38400\nserial /dev/ttyS1,/dev/ttyS2\nudpport 1001\nbcast eth0 \
         eth1\nudpport 1002\nucast eth2 10.0.0.2\n"
    ));
    let speeds: Vec<_> = loaded
        .settings
        .media
        .iter()
        .map(|medium| match medium {
            Medium::Serial { baud, .. } => *baud,
            Medium::Broadcast { port, .. }
            | Medium::Unicast { port, .. }
            | Medium::Multicast { port, .. }
            | Medium::Ppp { port, .. } => u32::from(*port),
        })
        .collect();
    assert_eq!(speeds, [19_200, 38_400, 38_400, 1001, 1001, 1002]);
    assert_eq!(loaded.diagnostics, []);

    // Behind all media: governs those that nothing governs yet, and says so.
    let loaded = good(&format!("{NODES}bcast eth0\nudpport 1001\n"));
    assert!(matches!(loaded.settings.media[0], Medium::Broadcast { port: 1001, .. }));
    assert_eq!(loaded.diagnostics[0].severity, Severity::Note);
    let loaded = good(&format!("{NODES}serial /dev/ttyS0\nbcast eth0\nbaud 115200\n"));
    assert!(matches!(loaded.settings.media[0], Medium::Serial { baud: 115_200, .. }));
    assert_eq!(loaded.diagnostics[0].severity, Severity::Note);
    let loaded = good(&format!("{NODES}udpport 1001\nbcast eth0\nudpport 1002\n"));
    assert!(matches!(loaded.settings.media[0], Medium::Broadcast { port: 1001, .. }));
    assert_eq!(
        (loaded.diagnostics[0].severity, loaded.diagnostics[0].line),
        (Severity::Warning, Some(4))
    );
}

#[test]
fn every_medium_in_both_families() {
    let loaded = good(&format!(
        "{NODES}ucast eth0 10.0.0.2\nucast eth0 fd00::2\nucast6 eth1 fe80::2%eth1\nucast6 eth2 fe80::2\n\
         mcast eth0 239.0.0.42 1001 1 0\nmcast6 eth1 ff02::42%eth1 694 1 1\nmcast eth2 239.0.0.42 694 4\n"
    ));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(loaded.settings.media.len(), 7);
    assert!(matches!(&loaded.settings.media[2], Medium::Unicast { interface, peer, port: 694 }
        if interface == "eth1" && *peer == ip("fe80::2")));
    assert_eq!(
        loaded.settings.media[4],
        Medium::Multicast {
            interface: "eth0".to_owned(),
            group: ip("239.0.0.42"),
            port: 1001,
            ttl: 1,
            loopback: false,
        }
    );
    assert!(matches!(&loaded.settings.media[5], Medium::Multicast { loopback: true, .. }));
}

#[test]
fn ucast_lines_that_name_this_node_are_for_the_other() {
    let hacf = format!("{NODES}ucast eth1 10.0.0.1\nucast eth1 10.0.0.2\nucast6 eth1 fe80::1\n");
    let here = [local("eth1", &["10.0.0.1"]), local("eth0", &["fe80::1"])];
    let files = [hacf.as_str(), HARESOURCES, AUTHKEYS];
    let loaded = load_files(files, Some("linuxha1"), &here).ok().unwrap();
    // fe80::1 is ours on eth0 only; on eth1 it may well be the peer's.
    let peers = loaded.settings.media.iter().map(|medium| match medium {
        Medium::Unicast { peer, .. } => peer.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(peers.collect::<Vec<_>>(), ["10.0.0.2", "fe80::1"]);
    assert_eq!(loaded.media_lines, [3, 4]);
    assert_eq!(loaded.diagnostics[0].line, Some(2));

    let all_ours = format!("{NODES}ucast eth1 10.0.0.1\n");
    let found =
        load_files([&all_ours, HARESOURCES, AUTHKEYS], Some("linuxha1"), &here).err().unwrap();
    assert!(errors(&found)[0].message.contains("names this node's own address"), "{found:#?}");
}

/// (line, what its error must say); each stands behind a good file and is the only error.
const WRONG_LINES: &[(&str, &str)] = &[
    ("keepalive abc", r#"keepalive: read "abc", expected a time such as 2, 1.5, 500ms or 1s"#),
    ("deadtime", "no value, expected a time"),
    ("deadtime 500 ms", "write 500ms without a blank"),
    ("deadtime 1 2", "read 2 values"),
    ("warntime -1", "expected a time"),
    ("initdead 5m", "expected a time"),
    ("keepalive 0", "keepalive is 0"),
    ("deadtime 0", "deadtime"),
    ("serial ttyS0", "full path"),
    ("serial", "no value"),
    ("baud 19201", "expected one of 9600, 19200"),
    ("baud", "no value, expected one of"),
    ("udpport 0", "1 to 65535"),
    ("udpport 65536", "1 to 65535"),
    ("udpport +5", "1 to 65535"),
    ("bcast eth0:1", "which is an alias"),
    ("bcast interface-too-long", "15 characters"),
    ("bcast eth9", "stands in line 2 already"),
    ("udp eth9", "stands in line 2 already"),
    ("ucast eth0", "expected an interface and the other node's address"),
    ("ucast eth0 linuxha2", "DNS"),
    ("ucast eth0 127.0.0.1", "each node itself"),
    ("ucast eth0 239.0.0.1", "write `mcast`"),
    ("ucast eth0 255.255.255.255", "write `bcast`"),
    ("ucast eth0 0.0.0.0", "nobody's"),
    ("ucast6 eth0 10.0.0.2", "write `ucast`"),
    ("ucast6 eth0 ::ffff:10.0.0.2", "IPv4-mapped"),
    ("ucast6 eth0 fe80::2%eth1", "the line's interface is eth0"),
    ("ucast eth0 10.0.0.2%eth0", "IPv4 addresses have no zone"),
    ("mcast eth0 10.0.0.2 694 1 0", "no multicast group"),
    ("mcast eth0 239.0.0.42", "expected interface, group, port"),
    ("mcast eth0 239.0.0.42 x 1 0", "1 to 65535"),
    ("mcast eth0 239.0.0.42 694 0 0", "1 to 255"),
    ("mcast eth0 239.0.0.42 694 256 0", "1 to 255"),
    ("mcast eth0 239.0.0.42 694 1 2", "0 or 1"),
    ("mcast6 eth0 239.0.0.42 694 1 0", "write `mcast`"),
    ("auto_failback maybe", "on, off or legacy"),
    ("nice_failback legacy", "on or off"),
    ("watchdog dog", "full path"),
    ("logfile ha-log", "full path"),
    ("debugfile", "full path"),
    ("node", "no name"),
    ("node a/b", "letters, digits"),
    ("node LINUXHA1", "named in line 1 already"),
    ("node linuxha3", "3 nodes named, linuxha3 the third"),
    ("keepalve 2", "did you mean `keepalive`?"),
    ("deadtime=10", "with a blank"),
    ("ppp-udp", "full path of a serial device"),
    ("ppp-udp /dev/ttyS1", "private addresses of both ends"),
    ("ppp-udp ttyS1 10.0.0.3", "full path of a serial device"),
    ("ppp-udp /dev/ttyS1 10.0.0.3 10.0.0.3", "both ends are 10.0.0.3"),
    ("ppp-udp /dev/ttyS1 172.32.0.1 172.16.0.2", "expected a private IPv4 address"),
    ("ppp-udp /dev/ttyS1 linuxha1", r#"read "linuxha1", expected a private"#),
    ("ppp-udp /dev/ttyS1 10.255.255.255", "no private address behind it"),
    ("ppp-udp /dev/ttyS1 fd00::1 fd00::2", "expected a private IPv4 address"),
    ("stonith baytech /etc/b", "less safe"),
    ("stonith_host * null a b", "less safe"),
    ("respawn root /usr/lib/heartbeat/dopd", "may protect data"),
    ("crm yes", "haresources"),
    ("pacemaker on", "haresources"),
    ("autojoin any", "autojoin none"),
    ("arbiter 7", "expected `serial DEVICE`"),
    ("arbiter serial ttyS0", "full path"),
    ("arbiter serial /dev/ttyS0 reset_lines", "`fence dongle`"),
    ("alert mail-root", "full path"),
    ("guard 30", "belongs to `arbiter`"),
];

#[test]
fn every_wrong_line_is_one_error_at_its_line() {
    for (line, expected) in WRONG_LINES {
        let error = only_error(&format!("{NODES}bcast eth9\n\n{line}\n# end\n"));
        let shown = error.to_string();
        assert_eq!(error.line, Some(4), "{line}: {shown}");
        assert!(shown.contains("ha.cf:4: error: "), "{shown}");
        assert!(error.message.replace("Write", "write").contains(expected), "{line}: {shown}");
    }
}

/// Every word of 0.4.5 to 3.0.6 that heartbeat doesn't use itself, with a usual value, and its fate.
#[test]
fn every_word_of_the_classics_has_its_fate() {
    use Severity::{Error, Note, Warning};
    for (line, severity, words) in [
        ("hopfudge 1", Note, "no ring"),
        ("ping 10.0.0.254", Warning, "not yet"),
        ("ping6 fd00::1", Warning, "not yet"),
        ("ping_group g 10.0.0.254 10.0.0.253", Warning, "not yet"),
        ("deadping 10", Warning, "not yet"),
        ("hbaping fc", Error, "refused"),
        ("cluster web", Note, "authkeys"),
        ("autojoin none", Note, "named"),
        ("uuidfrom nodename", Note, "names"),
        ("hbgenmethod time", Note, "number"),
        ("respawn hacluster /usr/lib/heartbeat/ipfail", Warning, "not yet"),
        ("failfast x", Error, "refused"),
        ("apiauth ipfail uid=hacluster", Note, "root"),
        ("crm off", Note, "haresources"),
        ("pacemaker no", Note, "haresources"),
        ("debug 1", Note, "log"),
        ("realtime on", Note, "realtime"),
        ("realtime off", Warning, "realtime"),
        ("rtprio 5", Note, "priority"),
        ("use_logd yes", Note, "log"),
        ("conn_logd_time 60", Note, "log"),
        ("logfacility local0", Warning, "syslog"),
        ("logfacility none", Note, "logfile"),
        ("coredumps true", Note, "core"),
        ("msgfmt netstring", Note, "format"),
        ("compression bz2", Note, "compress"),
        ("compression_threshold 2", Note, "compress"),
        ("traditional_compression off", Note, "compress"),
        ("max_rexmit_delay 250", Note, "again"),
        ("env A=B", Error, "script"),
        ("syslogmsgfmt on", Note, "format"),
        ("memreserve 6500", Note, "memory"),
        ("quorum_server q", Error, "less safe"),
        ("log_badpack on", Note, "hb status"),
        ("guard_unsafe 5", Error, "arbiter"),
        ("auto_failback legacy", Warning, "taken as `on`"),
        ("nice_failback on", Note, "auto_failback off"),
        ("keepalive 100", Warning, "100ms"),
        ("deadtime 500", Warning, "500ms"),
        ("initdead 10000", Warning, "10000ms"),
    ] {
        let found = match load(&format!("{NODES}bcast eth9\n{line}\n")) {
            Ok(loaded) => loaded.diagnostics,
            Err(found) => found,
        };
        let hit = found.iter().find(|d| d.message.contains(words));
        let hit = hit.unwrap_or_else(|| panic!("{line}: no {words:?} in {found:#?}"));
        assert_eq!((hit.severity, hit.line), (severity, Some(3)), "{line}: {hit}");
    }
    assert!(
        good(&format!("{NODES}bcast e\nkeepalive 100s\ndeadtime 300s\n"))
            .diagnostics
            .iter()
            .all(|d| d.severity == Note)
    );
    assert!(!good(&format!("{NODES}bcast eth9\nnice_failback on\n")).settings.proto.auto_failback);
    assert!(good(&format!("{NODES}bcast eth9\nnice_failback off\n")).settings.proto.auto_failback);
    assert!(!good(&format!("{NODES}bcast eth9\nauto_failback No\n")).settings.proto.auto_failback);
}

#[test]
fn rules_between_lines_come_with_numbers_and_a_line() {
    for (hacf, line, expected) in [
        ("bcast e\nkeepalive 1\ndeadtime 2\n", 4, "2 × keepalive = 2000 ms"),
        ("bcast e\ndeadtime 2\nkeepalive 1\n", 3, "deadtime 2000 ms must be more"),
        ("bcast e\ndeadtime 10\nkeepalive 2\nwarntime 1\n", 5, "between keepalive 2000 ms"),
        ("bcast e\ndeadtime 10\ninitdead 5\n", 4, "initdead 5000 ms must be at least"),
        (
            "bcast e\nbaud 9600\nserial /dev/ttyS0\nkeepalive 50ms\n",
            4,
            "33.333 ms on the line; half of keepalive, 25 ms",
        ),
        ("bcast e\ndeadtime 1\ndeadtime 2\n", 4, "line 3 already"),
        ("bcast e\nauto_failback on\nnice_failback on\n", 4, "line 3 already"),
        ("bcast e\nserial /dev/ttyS0 /dev/ttyS1\nserial /dev/ttyS1\n", 4, "line 3 already"),
        ("bcast a b c d e f g h\nucast a 10.0.0.2\n", 3, "9 heartbeat media; 8 at most"),
    ] {
        let error = only_error(&format!("{NODES}{hacf}"));
        assert_eq!(error.line, Some(line), "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
    assert_eq!(good(&format!("{NODES}bcast a b c d e f g h\n")).settings.media.len(), 8);
    let error = only_error(NODES);
    assert_eq!(
        (error.line, error.message.contains("no heartbeat medium")),
        (None, true),
        "{error}"
    );
}

#[test]
fn the_nodes_are_two_and_this_machine_is_one_of_them() {
    let hacf = format!("{NODES}bcast eth0\n");
    let with = |node: Option<&str>| load_files([&hacf, HARESOURCES, AUTHKEYS], node, &[]);
    assert_eq!(with(Some("LINUXHA2")).ok().unwrap().settings.node, "linuxha2");
    let uname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let uname = uname.trim();
    for (node, expected) in
        [(Some("linuxha9"), "\"linuxha9\""), (None, "neither linuxha1 nor linuxha2")]
    {
        let found = with(node).expect_err("neither");
        let found = errors(&found);
        assert_eq!((found.len(), found[0].line), (1, Some(1)), "{found:#?}");
        assert!(found[0].message.contains(expected), "{}", found[0]);
        assert!(found[0].message.contains(&format!("`uname -n` says {uname:?}")), "{}", found[0]);
    }
    // And without --node this machine's own name does.
    let own = format!("node other-{} {uname}\nbcast eth0\n", &uname[..1]);
    let haresources = format!("{uname} httpd\n");
    let loaded = load_files([&own, &haresources, AUTHKEYS], None, &[]).ok().unwrap();
    assert_eq!(loaded.settings.node, uname);

    assert!(only_error("node linuxha1\nbcast e\n").message.contains("only linuxha1 is named"));
    assert!(only_error("bcast e\n").message.contains("no node is named"));
    let four = only_error("node a b\nbcast e\nnode c\nnode d\n");
    assert!(four.line == Some(3) && four.message.contains("4 nodes named, c the third"), "{four}");
}

#[test]
fn all_errors_of_all_files_come_at_once() {
    let found = load_files(
        ["node linuxha1 linuxha2\nbaud 5\nkeepalve 2\n", "linuxha3 httpd\n", "1 sha256\n"],
        Some("linuxha1"),
        &[],
    )
    .err()
    .unwrap();
    let places: Vec<_> = errors(&found)
        .iter()
        .map(|d| (d.file.file_name().unwrap().to_str().unwrap().to_owned(), d.line))
        .collect();
    let expected = [
        ("ha.cf", None),
        ("ha.cf", Some(2)),
        ("ha.cf", Some(3)),
        ("haresources", Some(1)),
        ("authkeys", None),
        ("authkeys", Some(1)),
    ];
    assert_eq!(places, expected.map(|(file, line)| (file.to_owned(), line)), "{found:#?}");
}

#[test]
fn missing_and_unreadable_files_are_told_together() {
    let dir = Scratch(std::env::temp_dir().join(format!("hb-config-none-{}", std::process::id())));
    fs::create_dir_all(dir.0.join("haresources")).unwrap();
    fs::write(dir.0.join("authkeys"), b"auth 1\n1 sha256 \xff\xfe\n").unwrap();
    fs::set_permissions(dir.0.join("authkeys"), fs::Permissions::from_mode(0o600)).unwrap();
    let found = Settings::load(&dir.0, None, &[]).err().unwrap();
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 3, "{text:#?}");
    assert!(text[0].contains("/ha.cf: error: the file is missing"), "{}", text[0]);
    assert!(text[1].contains("/haresources: error: is not a regular file"), "{}", text[1]);
    assert!(text[2].contains("/authkeys:2: error: holds bytes that are not UTF-8"), "{}", text[2]);
}
