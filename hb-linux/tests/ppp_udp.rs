//! Goal: a `ppp-udp` line brings its PPP link up, runs heartbeats through it, and brings it up again.
//! Method: real daemons in namespaces of their own with a *fake* pppd, a script that lends them one end of a veth
//! pair by the name that it was asked for: the kernel here need not have PPP. The options file is read by the real
//! pppd, where there is one. The real link is brought up in guests.

mod net_support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hb_linux::config::check::{self, Surroundings};
use hb_linux::config::{Loaded, Medium, Settings, Severity, ppp};
use hb_linux::control::client;
use hb_linux::control::snapshot::{LinkKind, LinkState, PeerState, Snapshot};
use net_support::{Lan, in_namespace};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use rustix::thread::UnshareFlags;

/// Files of one node.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str, media: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-ppp-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let files = Self(path);
        let log = files.0.join("ha-log");
        let times = "keepalive 50ms\ndeadtime 500ms\ninitdead 2\n";
        files.write(
            "ha.cf",
            &format!("node alpha beta\nlogfile {}\n{times}{media}", log.display()),
            0o644,
        );
        files.write("haresources", "alpha 10.99.0.1/32/lo\n", 0o644);
        files.write("authkeys", "auth 1\n1 sha256 over-the-point-to-point\n", 0o600);
        files
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn load(&self, node: &str) -> Result<Loaded, String> {
        let lines =
            |found: Vec<_>| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Settings::load(&self.0, Some(node), &[]).map_err(lines)
    }
}

#[test]
fn each_node_has_its_own_end_of_the_same_file() {
    let files = Files::new(
        "ends",
        "baud 38400\nudpport 1001\nppp-udp /dev/ttyS1 10.0.0.4 10.0.0.3\nbcast eth0\n",
    );
    for (node, local, remote) in
        [("alpha", "10.0.0.4", "10.0.0.3"), ("beta", "10.0.0.3", "10.0.0.4")]
    {
        let loaded = files.load(node).unwrap();
        let medium = &loaded.settings.media[0];
        let expected = Medium::Ppp {
            device: "/dev/ttyS1".into(),
            baud: 38_400,
            interface: "hbppp0".to_owned(),
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            port: 1001,
        };
        assert_eq!((medium, medium.name().as_str()), (&expected, "/dev/ttyS1"));
        let arguments = ppp::arguments(medium, Path::new("/etc/ha.d")).expect("it is one");
        let line = format!(
            "/dev/ttyS1 38400 {local}:{remote} file /etc/ha.d/ppp-options ifname hbppp0 nodetach"
        );
        assert_eq!(arguments.join(" "), line);
    }
}

/// The guide's form has one address; knobs behind the last medium govern it as well.
#[test]
fn the_guides_form_gives_the_other_end_the_next_address() {
    let files = Files::new(
        "guide",
        "ppp-udp /dev/ttyS1 10.0.0.3\nppp-udp /dev/ttyS2 10.0.1.1\nbaud 9600\nudpport 1001\n",
    );
    let loaded = files.load("beta").unwrap();
    let ends: Vec<_> = loaded
        .settings
        .media
        .iter()
        .map(|medium| match medium {
            Medium::Ppp { local, remote, interface, baud: 9600, port: 1001, .. } => {
                format!("{interface} {local} {remote}")
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, ["hbppp0 10.0.0.4 10.0.0.3", "hbppp1 10.0.1.2 10.0.1.1"]);
    let notes = loaded
        .diagnostics
        .iter()
        .filter(|found| found.message.contains("one address, so the ends are"));
    assert_eq!(notes.count(), 2, "{:?}", loaded.diagnostics);
}

#[test]
fn a_line_is_either_serial_or_ppp() {
    for media in [
        "serial /dev/ttyS1\nppp-udp /dev/ttyS1 10.0.0.3\n",
        "ppp-udp /dev/ttyS1 10.0.0.3\nserial /dev/ttyS1\n",
    ] {
        let found = Files::new("either", media).load("alpha").unwrap_err();
        assert!(found.contains("a line is either `serial` or `ppp-udp`"), "{found}");
    }
}

/// What `hb check` finds with this pppd, below this root.
fn checked(files: &Files, pppd: &str, root: &str) -> (String, u8) {
    let around = Surroundings {
        interfaces: Ok(vec![]),
        guest: false,
        pppd: files.0.join(pppd),
        root: files.0.join(root),
        ..Surroundings::here(&files.0)
    };
    let report = check::run(&files.0, Some("alpha"), &around);
    (report.to_string(), report.exit_code())
}

#[test]
fn check_names_what_a_ppp_line_lacks() {
    let files = Files::new("check", "ppp-udp /dev/null 10.0.0.3 10.0.0.4\nserial /dev/zero\n");
    files.write("haresources", "alpha 10.99.0.1\n", 0o644);
    let (text, code) = checked(&files, "no-pppd", "bare");
    for part in [
        "no-pppd: `apt-get install ppp`",
        "ppp-options: No such file or directory",
        "this kernel has no PPP: `modprobe ppp_async` must work",
        "pppd will make the interface hbppp0, 10.0.0.3 here, 10.0.0.4 there",
        "(32 + 40 of UDP, IP and PPP) bytes × 10 bits / 19200 baud = 37.500 ms of each keepalive of 50 ms",
        "is more than half: raise `baud`",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    assert_eq!((code, text.matches(": error: ").count()), (2, 3), "{text}");

    // All of it there: a fake pppd, our own options, a fake list of the kernel's modules.
    files.write("pppd", "#!/bin/sh\n", 0o755);
    files.write("ppp-options", "", 0o644);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = files.0.join("root/lib/modules").join(release);
    fs::create_dir_all(&modules).unwrap();
    fs::write(
        modules.join("modules.dep"),
        "kernel/drivers/net/ppp/ppp_async.ko.xz: kernel/drivers/net/ppp/ppp_generic.ko.xz\n",
    )
    .unwrap();
    let (text, code) = checked(&files, "pppd", "root");
    assert!(
        text.contains("this kernel has PPP as a module") && !text.contains(": error: "),
        "{text}"
    );
    assert_eq!(code, 1, "the load is still a warning");
}

#[test]
fn addresses_that_a_network_uses_are_warned_about() {
    let files = Files::new("taken", "ppp-udp /dev/null 10.0.0.3\nbcast eth0\n");
    let eth0 = hb_linux::net::Interface {
        index: 2,
        name: "eth0".to_owned(),
        up: true,
        running: true,
        addresses: vec![("10.0.0.9".parse().unwrap(), 24)],
        mac: None,
    };
    let around =
        Surroundings { interfaces: Ok(vec![eth0]), guest: false, ..Surroundings::here(&files.0) };
    let report = check::run(&files.0, Some("alpha"), &around);
    let warned = report.remarks().filter(|found| found.severity == Severity::Warning);
    let warned =
        warned.filter(|found| found.message.contains("lies in 10.0.0.9/24 of interface eth0"));
    assert_eq!(warned.count(), 2, "{report}");
}

/// pppd(8) has a great many options, and refuses all of a file for one that it doesn't know: exit code 2. It says 4
/// where the kernel has no PPP, and 0 where it has.
#[test]
fn debians_pppd_knows_every_option_of_the_installed_file() {
    if !Path::new(ppp::PPPD).exists() {
        println!(
            "SKIP: debians_pppd_knows_every_option_of_the_installed_file: no {} here",
            ppp::PPPD
        );
        return;
    }
    let pppd = |options: &Path| {
        let mut command = Command::new(ppp::PPPD);
        command.args(["/dev/null", "19200", "10.0.0.3:10.0.0.4", "file"]).arg(options);
        command.args(["ifname", "hbppp0", "nodetach", "dryrun"]).output().unwrap()
    };
    let ours = pppd(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pkg/ppp-options"));
    if ours.status.code() == Some(3) {
        println!("SKIP: debians_pppd_knows_every_option_of_the_installed_file: pppd wants root");
        return;
    }
    assert!(matches!(ours.status.code(), Some(0 | 4)), "{ours:?}");
    let files = Files::new("options", "bcast eth0\n");
    files.write("wrong", "no-such-option\n", 0o644);
    assert_eq!(pppd(&files.0.join("wrong")).status.code(), Some(2), "it does look");
}

/// A helper that is killed while its companion starts: who has no helper any more becomes nothing.
#[test]
fn a_companion_whose_helper_has_ended_is_not_started() {
    let files = Files::new("companion", "");
    let started = |helper: u32| {
        let mark = files.0.join(format!("of-{helper}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeatd"));
        command.args(["--resource-companion", &helper.to_string(), "/bin/touch"]).arg(&mark);
        let output = command.output().unwrap();
        (mark.exists(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(started(std::process::id()), (true, String::new()));
    let (became, said) = started(1);
    assert!(!became && said.contains("the helper has ended"), "{said}");
}

/// One node with its fake pppd.
struct Node {
    name: &'static str,
    files: Files,
    daemon: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Takes the place of pppd: lends the veth end `line` the name that it was asked for, and ends as pppd does when
/// the file `drop` appears. It notes what it was called with, and its own end.
const FAKE_PPPD: &str = r#"#!/bin/sh
cd HOME || exit 1
echo "$*" >> called
[ "$6" = ifname ] || exit 2
down() {
    ip link set "$name" down; ip addr flush dev "$name"; ip link set "$name" name line
    echo "$1" >> ended
    exit "$1"
}
name=$7
ip link set line name "$name" && ip addr add "${3%:*}" peer "${3#*:}" dev "$name" || exit 7
ip link set "$name" up
echo "$$" > pid
echo "local  IP address ${3%:*}"
trap '[ -e stubborn ] || down 5' TERM
while [ ! -e drop ]; do sleep 0.05; done
rm drop
down 15
"#;

impl Node {
    fn new(name: &'static str) -> Self {
        let files = Files::new(&format!("node-{name}"), "ppp-udp /dev/ttyHB 10.0.0.3 10.0.0.4\n");
        let fake = FAKE_PPPD.replace("HOME", &files.0.display().to_string());
        files.write("fake-pppd", &fake, 0o755);
        Self { name, files, daemon: None }
    }

    /// In the namespace of the thread that calls.
    fn start(&mut self) {
        let home = &self.files.0;
        let daemon = Command::new(env!("CARGO_BIN_EXE_heartbeatd"))
            .arg("--config-dir")
            .arg(home)
            .arg("--state-dir")
            .arg(home.join("state"))
            .arg("--run-dir")
            .arg(home.join("run"))
            .arg("--pppd")
            .arg(home.join("fake-pppd"))
            .args(["--node", self.name])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.daemon.as_ref().expect("started"))
    }

    fn fake_pppd(&self) -> Pid {
        Pid::from_raw(self.files.read("pid").trim().parse().unwrap()).unwrap()
    }

    #[track_caller]
    fn until(&self, what: &str, mut fits: impl FnMut(&Snapshot) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = client::observe(&self.files.0.join("run"));
            if found.as_ref().is_ok_and(&mut fits) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{}: not within 20 s: {what}\n{found:#?}\n{}",
                self.name,
                self.files.read("ha-log")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn until_up(&self, what: &str) {
        self.until(what, |now| {
            now.links[0].state == LinkState::Up && now.peer.state == PeerState::Alive
        });
    }
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_ppp_link_is_brought_up_again_when_it_drops_and_goes_with_the_daemon() {
    in_namespace(|| {
        let mut lan = Lan::new();
        let (namespace, its_namespace) = mpsc::channel();
        let (go, told) = mpsc::channel::<()>();
        let (done, started) = mpsc::channel();
        let far = std::thread::spawn(move || {
            // SAFETY: a network namespace says nothing about file descriptors, which alone make unshare unsafe.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            namespace.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
            told.recv().unwrap();
            let _lan = Lan::new();
            let mut beta = Node::new("beta");
            beta.start();
            done.send(beta).unwrap();
        });
        lan.cable("line", &its_namespace.recv().unwrap());
        go.send(()).unwrap();
        let mut beta = started.recv().unwrap();
        far.join().unwrap();
        let mut alpha = Node::new("alpha");
        alpha.start();
        story(&mut alpha, &mut beta);
    });
}

fn story(alpha: &mut Node, beta: &mut Node) {
    alpha.until_up("heartbeats run through the link");
    alpha.until("it is a link of its own", |now| {
        now.links[0].name == "/dev/ttyHB" && now.links[0].kind == LinkKind::PppUdp
    });
    let says = |part: &str| until(part, || alpha.files.read("ha-log").contains(part));
    says("pppd on /dev/ttyHB: started (process ");
    says("fake-pppd: local  IP address 10.0.0.3");
    assert!(
        beta.files.read("called").contains(" 10.0.0.4:10.0.0.3 file "),
        "{}",
        beta.files.read("called")
    );

    // It drops: told, and started again after a second.
    alpha.files.write("drop", "", 0o644);
    alpha.until("the link is down", |now| now.links[0].state == LinkState::Down);
    alpha.until_up("and up again");
    says("15: the other end no longer answers); started again in 1 s");
    assert_eq!(alpha.files.read("called").lines().count(), 2);

    // The helper is killed: its pppd goes with it, and the next helper starts another.
    let daemon = alpha.pid();
    let children = format!("/proc/{0}/task/{0}/children", daemon.as_raw_pid());
    let helper = fs::read_to_string(children).unwrap();
    let helper = Pid::from_raw(helper.split_whitespace().next().unwrap().parse().unwrap()).unwrap();
    kill_process(helper, Signal::KILL).unwrap();
    until("pppd went with the helper", || alpha.files.read("ended").ends_with("5\n"));
    alpha.until_up("up once more");

    // An orderly end, and a daemon that is killed: no pppd is left, not even one that doesn't listen.
    for (node, signal) in [(alpha, Signal::TERM), (beta, Signal::KILL)] {
        let fake = node.fake_pppd();
        let stubborn = signal == Signal::KILL;
        if stubborn {
            node.files.write("stubborn", "", 0o644);
        }
        kill_process(node.pid(), signal).unwrap();
        node.daemon.take().unwrap().wait().unwrap();
        until("pppd is gone", || test_kill_process(fake).is_err());
        let asked = node.files.read("ended").ends_with("5\n");
        assert_eq!(asked, !stubborn, "{}", node.files.read("ended"));
    }
}
