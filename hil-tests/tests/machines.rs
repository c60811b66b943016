//! The namespace rig's machines, networks and client keep what they promise.
//!
//! No cluster daemon runs here: where a daemon is needed, a shell script stands in for it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::{Bench, Network, Node, Options, SERVICE};
use hb_linux::rig::machine::{Programs, Verb};
use hb_linux::rig::switch::Way;
use hil_tests::inside::{inside, programs};

/// Stands in for heartbeatd: it only writes down that it was started, and sleeps.
const SLEEPER: &str = "#!/bin/sh\necho started >> /var/log/starts\nexec sleep 1000\n";

/// A directory of the test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-test-{name}.{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn executable(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A rig on which a script stands in for the daemon.
fn bench(name: &str, script: &str) -> (Bench, Directory) {
    let directory = Directory::new(name);
    fs::write(directory.0.join("heartbeatd"), script).unwrap();
    let heartbeatd = directory.executable("heartbeatd");
    let programs = Programs { hb: programs().hb.clone(), heartbeatd };
    (Bench::new(&Options::of_the_guide(programs)).unwrap(), directory)
}

/// Whether a datagram from one machine reaches the other.
fn reaches(bench: &Bench, network: Network, from: Node) -> bool {
    let to = SocketAddr::from((network.address(from.other()), 4000));
    let listener = bench.machine(from.other()).in_network(|| UdpSocket::bind(to).unwrap()).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    bench
        .machine(from)
        .in_network(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            // ENETUNREACH without a carrier.
            let _ = socket.send_to(b"ping", to);
        })
        .unwrap();
    matches!(listener.recv(&mut [0; 16]), Ok(4))
}

#[test]
fn machines_reach_each_other_on_both_networks_and_cuts_are_per_direction() {
    inside("machines_reach_each_other_on_both_networks_and_cuts_are_per_direction", || {
        let (mut bench, _script) = bench("net", SLEEPER);
        for node in Node::BOTH {
            bench.power_on_without_daemon(node).unwrap();
        }
        for network in [Network::Public, Network::Private] {
            for node in Node::BOTH {
                assert!(reaches(&bench, network, node), "{network:?} from {node:?}");
            }
            // TCP too: its checksums are left to hardware that isn't there.
            let address = SocketAddr::from((network.address(Node::Two), 4001));
            let listener = bench
                .machine(Node::Two)
                .in_network(|| TcpListener::bind(address).unwrap())
                .unwrap();
            let mut stream = bench
                .machine(Node::One)
                .in_network(|| {
                    TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap()
                })
                .unwrap();
            stream.write_all(&[7; 20_000]).unwrap();
            drop(stream);
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            assert_eq!(received.len(), 20_000);
        }
        let private = Network::Private;
        bench.cut_way(private, Node::One, Way::Out, true);
        assert!(!reaches(&bench, private, Node::One), "cut");
        assert!(reaches(&bench, private, Node::Two), "only the other way is cut");
        assert!(reaches(&bench, Network::Public, Node::One), "only the other network is cut");
        bench.cut(private, false);
        assert!(reaches(&bench, private, Node::One), "healed");
        bench.carrier(private, Node::One, false).unwrap();
        assert!(!reaches(&bench, private, Node::Two), "unplugged");
        let carrier = bench.machine(Node::One).run("cat", &["/sys/class/net/eth1/carrier"]);
        assert_eq!(String::from_utf8_lossy(&carrier.unwrap().stdout), "0\n");
        bench.carrier(private, Node::One, true).unwrap();
        assert!(
            bench.wait(Duration::from_secs(5), |bench| reaches(bench, private, Node::Two)),
            "plugged in again"
        );
    });
}

#[test]
fn a_machine_is_complete_and_its_disk_survives() {
    inside("a_machine_is_complete_and_its_disk_survives", || {
        let (mut bench, _script) = bench("disk", SLEEPER);
        bench.install(Node::One, "ha.cf", "node linuxha1\n", 0o644).unwrap();
        bench.power_on(Node::One).unwrap();
        let shell = |bench: &Bench, script: &str| {
            let output = bench.machine(Node::One).run("/bin/sh", &["-c", script]).unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {errors}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!(shell(&bench, "uname -n"), "linuxha1");
        assert_eq!(shell(&bench, "cat /etc/ha.d/ha.cf"), "node linuxha1");
        assert_eq!(shell(&bench, "test -c /dev/ttyS0 && echo yes"), "yes");
        assert_eq!(shell(&bench, "cat /proc/1/comm"), "hb");
        shell(&bench, "echo 17 > /var/lib/heartbeat/boot; mkdir -p /run/heartbeat");
        shell(&bench, "touch /run/heartbeat/x /var/lock/LCK..ttyS0");
        assert!(bench.machine(Node::One).run_dir().join("x").exists());
        assert!(!std::path::Path::new("/run/lock/LCK..ttyS0").exists(), "the host's own /run/lock");
        let started = |times: usize| {
            move |bench: &Bench| {
                let log = bench.machine(Node::One).log_file("starts");
                fs::read_to_string(log).unwrap_or_default().lines().count() == times
            }
        };
        assert!(bench.wait(Duration::from_secs(2), started(1)));
        bench.power_off(Node::One);
        assert!(bench.machine(Node::One).run("true", &[]).is_err(), "it has no power");
        bench.power_on(Node::One).unwrap();
        assert_eq!(shell(&bench, "cat /var/lib/heartbeat/boot"), "17");
        assert!(bench.wait(Duration::from_secs(2), started(2)), "its log survived");
        assert_eq!(shell(&bench, "ls /run/heartbeat 2>/dev/null || echo gone"), "gone");
    });
}

#[test]
fn the_daemon_can_be_killed_stopped_continued_and_ended() {
    inside("the_daemon_can_be_killed_stopped_continued_and_ended", || {
        let script = "#!/bin/sh\ntrap 'exit 7' TERM\nwhile :; do sleep 0.02; done\n";
        let (mut bench, _script) = bench("verbs", script);
        let patience = Duration::from_secs(5);
        let exits = |count: usize| {
            move |bench: &Bench| bench.machine(Node::One).daemon_exits().len() == count
        };
        bench.power_on(Node::One).unwrap();
        assert!(bench.daemon(Node::One, Verb::Start).is_err(), "it runs already");
        bench.daemon(Node::One, Verb::Kill).unwrap();
        assert!(bench.wait(patience, exits(1)));
        assert!(!bench.machine(Node::One).daemon_runs());
        bench.daemon(Node::One, Verb::Start).unwrap();
        assert!(bench.machine(Node::One).daemon_runs());
        std::thread::sleep(Duration::from_millis(100));
        bench.daemon(Node::One, Verb::Stop).unwrap();
        bench.daemon(Node::One, Verb::Terminate).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(exits(1)(&bench), "stopped: it can't see the signal");
        bench.daemon(Node::One, Verb::Continue).unwrap();
        assert!(bench.wait(patience, exits(2)));
        assert_eq!(bench.machine(Node::One).daemon_exits(), ["signal 9", "code 7"]);
        let refused = bench.daemon(Node::One, Verb::Stop).unwrap_err().to_string();
        assert!(refused.contains("not running"), "{refused}");
    });
}

/// Stands in for heartbeatd: takes the service address and serves, as root with iproute2.
const HOLDER: &str = "#!/bin/sh
[ -e /etc/ha.d/hold ] || exec sleep 1000
ip addr add 192.168.85.3/24 dev eth0
exec HB rig-web 192.168.85.3:80
";

fn has_iproute2() -> bool {
    Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok()
}

#[test]
fn the_client_tells_who_answers_for_how_long_nobody_did_and_when_two_do() {
    inside("the_client_tells_who_answers_for_how_long_nobody_did_and_when_two_do", || {
        assert!(
            has_iproute2(),
            "this test's stand-in daemon needs iproute2 (apt install iproute2)"
        );
        let hb = hb_linux::rig::init::inside(&programs().hb);
        let (mut bench, _script) = bench("holder", &HOLDER.replace("HB", &hb.to_string_lossy()));
        for node in Node::BOTH {
            bench.install(node, "hold", "", 0o644).unwrap();
        }
        let mac = |node| Network::Public.mac(node);
        let answered_by = |since: Instant, node: Node| {
            move |bench: &Bench| {
                bench.client().unwrap().read(|record| {
                    record.answered_by(since, Instant::now()).last() == Some(&mac(node))
                })
            }
        };
        let start = Instant::now();
        bench.start_client(SERVICE).unwrap();
        bench.power_on(Node::One).unwrap();
        assert!(bench.wait(Duration::from_secs(10), answered_by(start, Node::One)));
        std::thread::sleep(Duration::from_millis(200));

        let cut = Instant::now();
        bench.power_off(Node::One);
        std::thread::sleep(Duration::from_millis(300));
        bench.power_on(Node::Two).unwrap();
        // The stand-in announces nothing: the client finds the new holder by its own ARP.
        assert!(bench.wait(Duration::from_secs(10), answered_by(cut, Node::Two)));
        let outage = bench
            .client()
            .unwrap()
            .read(|record| record.outage(cut, Instant::now()))
            .expect("there were good answers");
        assert_eq!(outage.last_good.mac, Some(mac(Node::One)));
        assert_eq!(outage.first_good.unwrap().mac, Some(mac(Node::Two)));
        assert!(outage.lasted >= Duration::from_millis(290), "{outage:?}");
        assert!(outage.lasted < Duration::from_secs(8), "{outage:?}");
        assert_eq!(bench.client().unwrap().read(|record| record.overlap(start)), None);

        bench.power_on(Node::One).unwrap();
        let both =
            |bench: &Bench| bench.client().unwrap().read(|record| record.overlap(cut)).is_some();
        assert!(bench.wait(Duration::from_secs(10), both), "two machines have the address");
    });
}

#[test]
fn a_killed_rig_leaves_no_process() {
    inside("a_killed_rig_leaves_no_process", || {
        if std::env::var_os("HB_RIG_TO_KILL").is_some() {
            let (mut bench, _script) = bench("killed", SLEEPER);
            for node in Node::BOTH {
                bench.power_on(node).unwrap();
                println!("pid {}", bench.machine(node).pid().unwrap());
            }
            // A machine that can't notice must die too.
            let init = bench.machine(Node::Two).pid().unwrap().cast_signed();
            let init = rustix::process::Pid::from_raw(init).unwrap();
            rustix::process::kill_process(init, rustix::process::Signal::STOP).unwrap();
            println!("ready");
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let directory = Directory::new("to-kill");
        // In namespaces of its own, as every rig: its mounts go with it.
        let mut rig = Command::new(&programs().hb)
            .arg("rig-enter")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_rig_leaves_no_process", "--nocapture"])
            // The killed one can't tidy up.
            .env("TMPDIR", &directory.0)
            .env("HB_RIG_TO_KILL", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pids = Vec::new();
        for line in std::io::BufRead::lines(std::io::BufReader::new(rig.stdout.take().unwrap())) {
            let line = line.unwrap();
            if let Some((_, pid)) = line.split_once("pid ") {
                pids.push(pid.to_owned());
            } else if line == "ready" {
                break;
            }
        }
        assert_eq!(pids.len(), 2);
        rig.kill().unwrap();
        rig.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while pids.iter().any(|pid| std::path::Path::new("/proc").join(pid).exists()) {
            assert!(Instant::now() < deadline, "processes {pids:?} are left");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Run as root, the other tests show nothing of user namespaces: one of them again as nobody.
/// Run as an ordinary user, they all have shown it already.
#[test]
fn an_ordinary_user_may_do_all_this() {
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Copies, because nobody may not be able to read the place of this build.
    let directory = Directory::new("nobody");
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(&programs().hb, directory.0.join("hb")).unwrap();
    fs::copy(std::env::current_exe().unwrap(), directory.0.join("machines")).unwrap();
    directory.executable("hb");
    for test in [
        "machines_reach_each_other_on_both_networks_and_cuts_are_per_direction",
        "a_machine_is_complete_and_its_disk_survives",
        "a_killed_rig_leaves_no_process",
    ] {
        let output = Command::new(directory.executable("machines"))
            .args(["--exact", test, "--nocapture"])
            .env("HB_RIG_PROGRAMS", &directory.0)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{test}: {text}{errors}");
    }
}

/// A second user namespace limit, set inside a user namespace: the host's settings stay alone.
#[test]
fn forbidden_namespaces_name_the_setting_to_change() {
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" demo --plain";
    let output = Command::new(&programs().hb)
        .args(["rig-enter", "unshare", "--user", "--map-root-user", "sh", "-c", script])
        .arg(&programs().hb)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("sysctl -w user.max_net_namespaces="), "{errors}");
}
