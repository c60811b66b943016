//! Goal: what `hb` prints and how it exits is what an operator was promised.
//! Method: the real binary against a fake daemon: a Unix socket that hands out a literal snapshot, or
//! the real server that answers a command. Pictures are compared with tests/golden/*.txt; after a
//! wanted change `HB_BLESS=1 cargo test -p hb-linux --test control_hb` rewrites them.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hb_linux::control::server::Server;
use hb_linux::control::snapshot::Snapshot;
use hb_linux::control::{CONTROL_SOCKET, OBSERVE_SOCKET, Reply};

/// Two nodes in health, the guide's names and media.
const HEALTHY: &str = r#"{"version":"0.1.0","node":"linuxha1","state":"active",
"peer":{"name":"linuxha2","state":"alive","last_heard_ms":43},
"links":[
{"name":"/dev/ttyS0","kind":"serial","state":"up","rtt_us":{"p50":34120,"p99":35990},"jitter_us":210,
 "longest_gap_ms":104,"loss":0.0,"sent":36000,"received":35998,"rejected":{}},
{"name":"eth1","kind":"bcast","state":"up","rtt_us":{"p50":270,"p99":910},"jitter_us":55,
 "longest_gap_ms":101,"loss":0.0,"sent":36000,"received":36000,"rejected":{}}],
"groups":[{"name":"192.168.85.3","preferred":"linuxha1","holder":"linuxha1","state":"running"}],
"arbiter":null,"watchdog":{"device":"/dev/watchdog","timeout_s":10,"armed":true},
"last_failover":{"cause":"peer-dead","detection_ms":512,"takeover_ms":61,"budget_ms":1100},
"stalls":{"count":0,"longest_ms":null}}"#;

/// What a third voter adds to it: the arbiter, and each group's votes.
const ARBITER: &str = r#"{"state":"present","id":7,"boot":3,"uptime_s":86400,
"hears":{"linuxha1":20,"linuxha2":40},"promises":{"192.168.85.3":"linuxha1"},"last_heard_ms":31,"direct":true,
"agreed":true,"power_from":["linuxha1","linuxha2"],"reset_lines":{"linuxha1":"tested","linuxha2":"tested"}}"#;
const VOTES: &str = r#""authority":{"from":["peer","arbiter"],"expires_in_ms":380},"obstacle":null,
"votes":{"linuxha2":{"to":"linuxha1","ends_in_ms":380},"arbiter":{"to":"linuxha1","ends_in_ms":371}}"#;

/// The healthy pair with a third voter, and one thing changed.
fn with_arbiter(changes: &[(&str, &str)]) -> String {
    let running = r#""holder":"linuxha1","state":"running""#;
    let snapshot = changed(&[
        (r#""arbiter":null"#, &format!(r#""arbiter":{ARBITER}"#)),
        (running, &format!("{running},{VOTES}")),
    ]);
    apply(&snapshot, changes)
}

struct RunDir(PathBuf);

impl RunDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-hb-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Answers `times` observers with `text`.
    fn serve(&self, text: &str, times: usize) {
        let listener = UnixListener::bind(self.0.join(OBSERVE_SOCKET)).unwrap();
        let text = text.to_owned();
        std::thread::spawn(move || {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
    }

    fn hb(&self, args: &[&str]) -> Output {
        hb(args).arg("--run-dir").arg(&self.0).output().unwrap()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hb(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The healthy snapshot with one thing changed; a change that changes nothing fails.
fn changed(changes: &[(&str, &str)]) -> String {
    apply(HEALTHY, changes)
}

fn apply(snapshot: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(snapshot.to_owned(), |snapshot, (old, new)| {
        let next = snapshot.replacen(old, new, 1);
        assert_ne!(next, snapshot, "{old}");
        next
    })
}

fn golden(name: &str, picture: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("HB_BLESS").is_some() {
        std::fs::write(&path, picture).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(picture, expected, "{} (left: printed, right: expected)", path.display());
}

fn picture_of(name: &str, snapshot: &str, args: &[&str]) {
    let dir = RunDir::new(name);
    dir.serve(snapshot, 1);
    let output = dir.hb(&[&["status"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    golden(&format!("{name}.txt"), text(&output.stdout));
}

#[test]
fn a_healthy_pair() {
    picture_of("healthy", HEALTHY, &[]);
}

#[test]
fn in_colour() {
    picture_of("colour", HEALTHY, &["--color=always"]);
}

#[test]
fn a_dead_peer() {
    let snapshot = changed(&[
        (r#""state":"alive","last_heard_ms":43"#, r#""state":"dead","last_heard_ms":75300"#),
        (r#""serial","state":"up""#, r#""serial","state":"down""#),
        (r#""bcast","state":"up""#, r#""bcast","state":"down""#),
        (r#""takeover_ms":61"#, r#""takeover_ms":900"#),
        (r#""count":0,"longest_ms":null"#, r#""count":2,"longest_ms":230"#),
    ]);
    picture_of("dead-peer", &snapshot, &[]);
}

#[test]
fn a_one_way_link_and_a_stranger() {
    let snapshot = changed(&[
        (r#""serial","state":"up""#, r#""serial","state":"one-way""#),
        (r#""p50":34120,"p99":35990"#, r#""p50":null,"p99":null"#),
        (r#""loss":0.0"#, r#""loss":0.125"#),
        (r#""rejected":{}"#, r#""rejected":{"tag":12,"replay":1}"#),
        (r#""armed":true"#, r#""armed":false"#),
    ]);
    picture_of("one-way", &snapshot, &[]);
}

#[test]
fn a_link_down_and_a_failed_group() {
    let snapshot = changed(&[
        (r#""bcast","state":"up""#, r#""bcast","state":"down""#),
        (r#""holder":"linuxha1","state":"running""#, r#""holder":null,"state":"failed""#),
        (r#""state":"active""#, r#""state":"standby""#),
    ]);
    picture_of("link-down", &snapshot, &[]);
}

#[test]
fn a_node_that_has_just_started_knows_little() {
    let snapshot = r#"{"version":"0.1.0","node":"a","state":"starting",
        "peer":{"name":"b","state":"unknown","last_heard_ms":null},
        "links":[{"name":"eth1","kind":"ucast","state":"down","rtt_us":{"p50":null,"p99":null},
        "jitter_us":null,"longest_gap_ms":null,"loss":null,"sent":3,"received":0,"rejected":{}}],
        "groups":[{"name":"IPaddr::10.0.0.9","preferred":"b","holder":null,"state":"stopped"}],
        "arbiter":null,"watchdog":null,"last_failover":null,"stalls":{"count":0,"longest_ms":null}}"#;
    picture_of("starting", snapshot, &[]);
}

#[test]
fn a_pair_with_its_arbiter() {
    picture_of("arbiter", &with_arbiter(&[]), &[]);
}

/// The same pair, seen from the standby: its own promise is the third column's.
#[test]
fn the_standby_of_a_pair_with_its_arbiter() {
    let snapshot = with_arbiter(&[
        (r#""node":"linuxha1","state":"active""#, r#""node":"linuxha2","state":"standby""#),
        (r#""peer":{"name":"linuxha2""#, r#""peer":{"name":"linuxha1""#),
        (r#""from":["peer","arbiter"],"expires_in_ms":380"#, r#""from":[],"expires_in_ms":null"#),
        (
            r#""linuxha2":{"to":"linuxha1","ends_in_ms":380}"#,
            r#""linuxha2":{"to":"linuxha1","ends_in_ms":20903}"#,
        ),
        (r#""ends_in_ms":371"#, r#""ends_in_ms":null"#),
        (r#""linuxha2":"tested""#, r#""linuxha2":"untested""#),
    ]);
    picture_of("arbiter-standby", &snapshot, &[]);
}

/// The holder is gone, the fence left no evidence: what is in the way, and for how long.
#[test]
fn a_takeover_that_has_to_wait() {
    let snapshot = with_arbiter(&[
        (r#""node":"linuxha1","state":"active""#, r#""node":"linuxha2","state":"standby""#),
        (
            r#""peer":{"name":"linuxha2","state":"alive","last_heard_ms":43"#,
            r#""peer":{"name":"linuxha1","state":"dead","last_heard_ms":2300"#,
        ),
        (r#""serial","state":"up""#, r#""serial","state":"down""#),
        (r#""bcast","state":"up""#, r#""bcast","state":"down""#),
        (r#""holder":"linuxha1","state":"running""#, r#""holder":null,"state":"stopped""#),
        (r#""from":["peer","arbiter"],"expires_in_ms":380"#, r#""from":[],"expires_in_ms":null"#),
        (
            r#""obstacle":null"#,
            r#""obstacle":{"what":"the arbiter has promised it to linuxha1","ends_in_ms":18620}"#,
        ),
        (r#""linuxha2":{"to":"linuxha1","ends_in_ms":380},"#, ""),
        (r#""ends_in_ms":371"#, r#""ends_in_ms":null"#),
        (r#""linuxha1":20"#, r#""linuxha1":null"#),
    ]);
    picture_of("arbiter-waits", &snapshot, &[]);
}

#[test]
fn an_arbiter_that_is_lost() {
    let snapshot = with_arbiter(&[
        (r#""state":"present""#, r#""state":"lost""#),
        (r#""uptime_s":86400"#, r#""uptime_s":null"#),
        (r#""linuxha1":20,"linuxha2":40"#, r#""linuxha1":null,"linuxha2":null"#),
        (r#"{"192.168.85.3":"linuxha1"}"#, r#"{"192.168.85.3":null}"#),
        (r#""last_heard_ms":31"#, r#""last_heard_ms":75300"#),
        (r#""direct":true"#, r#""direct":false"#),
        (r#""power_from":["linuxha1","linuxha2"]"#, r#""power_from":[]"#),
        (r#"{"linuxha1":"tested","linuxha2":"tested"}"#, "{}"),
        (r#""from":["peer","arbiter"]"#, r#""from":["peer"]"#),
        (r#","arbiter":{"to":"linuxha1","ends_in_ms":371}"#, ""),
    ]);
    picture_of("arbiter-lost", &snapshot, &[]);
}

#[test]
fn an_operators_word_is_shown_in_the_peers_place() {
    let snapshot = with_arbiter(&[
        (
            r#""name":"linuxha2","state":"alive","last_heard_ms":43"#,
            r#""name":"linuxha2","state":"dead","last_heard_ms":300000"#,
        ),
        (r#""serial","state":"up""#, r#""serial","state":"down""#),
        (r#""bcast","state":"up""#, r#""bcast","state":"down""#),
        (
            r#""from":["peer","arbiter"],"expires_in_ms":380"#,
            r#""from":["human"],"expires_in_ms":null"#,
        ),
        (
            r#""linuxha2":{"to":"linuxha1","ends_in_ms":380},"arbiter":{"to":"linuxha1","ends_in_ms":371}"#,
            "",
        ),
        (r#""state":"present""#, r#""state":"absent""#),
        (r#""id":7,"boot":3,"uptime_s":86400"#, r#""id":null,"boot":null,"uptime_s":null"#),
        (r#""linuxha1":20,"linuxha2":40"#, r#""linuxha1":null,"linuxha2":null"#),
        (r#""last_heard_ms":31"#, r#""last_heard_ms":null"#),
        (r#"{"linuxha1":"tested","linuxha2":"tested"}"#, r#"{"linuxha1":null,"linuxha2":null}"#),
    ]);
    picture_of("operators-word", &snapshot, &[]);
}

#[test]
fn json_is_what_the_daemon_wrote() {
    let dir = RunDir::new("json");
    dir.serve(&format!("{HEALTHY}\n"), 1);
    let output = dir.hb(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), format!("{HEALTHY}\n"));
}

#[test]
fn no_daemon_is_exit_3_and_says_what_to_do() {
    let dir = RunDir::new("none");
    for task in ["status", "standby", "takeover"] {
        let output = dir.hb(&[task]);
        assert_eq!(output.status.code(), Some(3), "{task}");
        let said = text(&output.stderr);
        assert!(said.contains("systemctl start heartbeat") && said.contains("ha-log"), "{said}");
        assert_eq!(text(&output.stdout), "");
    }
    // A socket file that a dead daemon left is no daemon either.
    drop(UnixListener::bind(dir.0.join(OBSERVE_SOCKET)).unwrap());
    assert_eq!(dir.hb(&["status", "--json"]).status.code(), Some(3));
    let output = dir.hb(&["stop"]);
    assert_eq!(output.status.code(), Some(0), "stopped is what was asked for");
}

#[test]
fn half_a_snapshot_and_a_silent_daemon_are_failures() {
    let dir = RunDir::new("half");
    dir.serve(&HEALTHY[..100], 2);
    for args in [&["status"][..], &["status", "--json"]] {
        let output = dir.hb(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("no snapshot"), "{}", text(&output.stderr));
    }
    let dir = RunDir::new("wedged");
    let _listener = UnixListener::bind(dir.0.join(OBSERVE_SOCKET)).unwrap();
    let output = dir.hb(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did not answer"), "{}", text(&output.stderr));
}

/// Runs `client` against a real server that answers by `answer`; returns the lines of the commands.
fn against_server(dir: &RunDir, client: &mut Command, answer: &Reply) -> (Output, Vec<String>) {
    let mut server = Server::bind(&dir.0).unwrap();
    let snapshot: Snapshot = serde_json::from_str(HEALTHY).unwrap();
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.arg("--run-dir").arg(&dir.0).spawn().unwrap();
    let mut lines = Vec::new();
    let epoch = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(epoch.elapsed() < Duration::from_secs(10), "hb still waits");
        let now = hb_proto::time::Instant::ZERO + epoch.elapsed().into();
        server.handle_ready(now);
        server.handle_timeout(now);
        if server.wants_snapshot() {
            server.send_snapshot(&snapshot);
        }
        while let Some((ticket, command)) = server.poll_command() {
            lines.push(command.to_string());
            server.reply(ticket, answer);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (child.wait_with_output().unwrap(), lines)
}

#[test]
fn standby_and_takeover_send_what_was_meant() {
    let answer = Reply::accepted("linuxha2 takes over");
    for (args, expected) in [
        (&["standby"][..], "standby"),
        (&["standby", "all"], "standby"),
        (&["standby", "192.168.85.3"], "standby 192.168.85.3"),
        (&["standby", "local"], "standby 192.168.85.3"),
        (&["takeover"], "takeover"),
        (&["takeover", "--peer-is-off"], "takeover --peer-is-off"),
    ] {
        let dir = RunDir::new(&args.join("-"));
        let (output, lines) = against_server(&dir, &mut hb(args), &answer);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), "linuxha2 takes over\n");
        assert_eq!(lines, [expected]);
    }
    let usage = hb(&["takeover", "--peer-is-off", "192.168.85.3"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "a peer is off for all groups or for none");
    let dir = RunDir::new("foreign");
    let (output, lines) = against_server(&dir, &mut hb(&["standby", "foreign"]), &answer);
    assert_eq!((output.status.code(), lines.len()), (Some(1), 0), "the peer owns no group");
}

#[test]
fn a_refusal_is_exit_1_with_the_daemons_words() {
    let dir = RunDir::new("refused");
    let answer = Reply::refused("linuxha2 is dead: nobody could take over");
    let (output, _) = against_server(&dir, &mut hb(&["standby"]), &answer);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "hb: linuxha2 is dead: nobody could take over\n");
}

/// Where the process that [`stop_waits_until_the_process_is_gone`] starts plays the daemon.
const PLAY_DAEMON: &str = "HB_TEST_RUN_DIR";

/// Returns 300 ms after the command, as one that has work to do.
fn daemon_that_stops_slowly(run_dir: &Path) {
    let mut server = Server::bind(run_dir).unwrap();
    let epoch = Instant::now();
    loop {
        assert!(epoch.elapsed() < Duration::from_secs(10), "nobody stopped this daemon");
        server.handle_ready(hb_proto::time::Instant::ZERO + epoch.elapsed().into());
        if let Some((ticket, command)) = server.poll_command() {
            assert_eq!(command, hb_linux::control::Command::Stop);
            server.reply(ticket, &Reply::accepted("linuxha1 leaves"));
            std::thread::sleep(Duration::from_millis(300));
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts itself again as the daemon: `hb stop` must see a process of its own go.
#[test]
fn stop_waits_until_the_process_is_gone() {
    if let Some(run_dir) = std::env::var_os(PLAY_DAEMON) {
        return daemon_that_stops_slowly(Path::new(&run_dir));
    }
    let dir = RunDir::new("stop");
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stop_waits_until_the_process_is_gone"])
        .env(PLAY_DAEMON, &dir.0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !dir.0.join(CONTROL_SOCKET).exists() {
        assert!(started.elapsed() < Duration::from_secs(5), "no socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = dir.hb(&["stop"]);
    let gone = daemon.try_wait().unwrap();
    daemon.wait().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "linuxha1 leaves\nheartbeatd is gone\n");
    assert!(gone.is_some_and(|status| status.success()), "hb returned before its end: {gone:?}");
}

/// `hb` as a user who is nobody, from a place where nobody can reach it.
fn as_nobody(dir: &RunDir, args: &[&str]) -> Command {
    let copy = dir.0.join("hb");
    std::fs::copy(env!("CARGO_BIN_EXE_hb"), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(args).current_dir("/").uid(65534).gid(65534);
    command
}

#[test]
fn nobody_but_root_may_command() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: nobody_but_root_may_command: only root can become another user");
        return;
    }
    let answer = Reply::accepted("as you wish");
    let dir = RunDir::new("nobody");
    let (output, _) = against_server(&dir, &mut as_nobody(&dir, &["status"]), &answer);
    assert_eq!(output.status.code(), Some(0), "looking is free: {}", text(&output.stderr));

    let (output, lines) = against_server(&dir, &mut as_nobody(&dir, &["stop"]), &answer);
    assert_eq!((output.status.code(), lines.len()), (Some(1), 0));
    assert!(text(&output.stderr).contains("only root"), "{}", text(&output.stderr));

    // Somebody opened the socket's mode by mistake: the credentials still say who it is.
    let mut open = Command::new("sh");
    open.arg("-c")
        .arg("chmod 0666 $3/control.sock && exec setpriv --reuid 65534 --clear-groups $0 $1 $2 $3");
    open.arg(dir.0.join("hb")).arg("standby");
    let (output, lines) = against_server(&dir, &mut open, &answer);
    assert_eq!((output.status.code(), lines.len()), (Some(1), 0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "hb: only root may command heartbeatd\n");
}

#[test]
fn the_classics_names_are_the_same_tool() {
    let answer = Reply::accepted("done");
    for (name, expected) in [("hb_standby", "standby"), ("hb_takeover", "takeover")] {
        let dir = RunDir::new(name);
        let link = dir.0.join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hb"), &link).unwrap();
        let (_, lines) = against_server(&dir, &mut Command::new(&link), &answer);
        assert_eq!(lines, [expected]);
    }
}

#[test]
fn check_is_reachable_with_its_own_exit_codes() {
    let dir = RunDir::new("check");
    let check =
        || hb(&["check", "--node", "linuxha1", "--config-dir"]).arg(&dir.0).output().unwrap();
    assert_eq!(check().status.code(), Some(2), "no files at all");
    let said = check();
    assert!(text(&said.stdout).contains("ha.cf"), "{}", text(&said.stdout));
}

#[test]
fn called_as_ipaddr_it_is_the_resource_script() {
    let dir = RunDir::new("ipaddr");
    let link = dir.0.join("IPaddr");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hb"), &link).unwrap();
    // TEST-NET-3 (RFC 5737): on no machine.
    let output = Command::new(&link).args(["203.0.113.77", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn keygen_writes_a_private_file_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = RunDir::new("keygen");
    let path = dir.0.join("authkeys");
    let keygen = || hb(&["keygen", "--config-dir"]).arg(&dir.0).output().unwrap();
    assert_eq!(keygen().status.code(), Some(0));
    let first = std::fs::read_to_string(&path).unwrap();
    assert!(first.contains("\nauth 1\n1 sha256 "), "{first}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(keygen().status.code(), Some(1), "a key is never overwritten");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
}
