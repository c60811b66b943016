//! Two real daemons with `arbiter` in ha.cf, and no arbiter in the line: they serve by each other's promise,
//! a node that is left alone stops, and an operator's word takes the place of the vote that is missing (R14).
//!
//! Each daemon has a network namespace of its own; a veth pair and a modelled serial line join them.

mod net_support;

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hb_linux::config::check;
use hb_linux::control::client;
use hb_linux::control::snapshot::{
    Arbiter, ArbiterState, Authority, Group, GroupState, PeerState, Snapshot, Voter,
};
use hb_linux::rig::line::{Line, Port, Side};
use net_support::{Lan, in_namespace};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::UnshareFlags;

const SERVICE: &str = "10.78.0.100/24";
const LEASE: u64 = 400;

/// One node: its files, its sockets, its process.
struct Node {
    name: &'static str,
    home: PathBuf,
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

impl Node {
    fn new(base: &Path, name: &'static str, tty: &Path) -> Self {
        let home = base.join(name);
        fs::create_dir_all(home.join("etc")).unwrap();
        let tty = tty.display();
        let ha_cf = format!(
            "logfile {}\nbaud 115200\nserial {tty}\nudp eth1\nkeepalive 50ms\ndeadtime 500ms\ninitdead 2\n\
             node alpha beta\narbiter serial {tty}\nguard_unsafe 1\n",
            home.join("ha-log").display(),
        );
        fs::write(home.join("etc/ha.cf"), ha_cf).unwrap();
        fs::write(home.join("etc/haresources"), format!("alpha {SERVICE}\n")).unwrap();
        let authkeys = home.join("etc/authkeys");
        fs::write(&authkeys, "auth 1\n1 sha256 nobody-in-the-line\n").unwrap();
        fs::set_permissions(&authkeys, fs::Permissions::from_mode(0o600)).unwrap();
        Self { name, home, daemon: None }
    }

    /// In the namespace of the thread that calls.
    fn start(&mut self) {
        self.start_with(Stdio::inherit());
    }

    fn start_with(&mut self, stderr: Stdio) {
        let daemon = Command::new(env!("CARGO_BIN_EXE_heartbeatd"))
            .arg("--config-dir")
            .arg(self.home.join("etc"))
            .arg("--state-dir")
            .arg(self.home.join("state"))
            .arg("--run-dir")
            .arg(self.run_dir())
            .args(["--node", self.name])
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    fn signal(&mut self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("started");
        kill_process(Pid::from_child(daemon), signal).unwrap();
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.daemon.take().unwrap().wait().unwrap();
    }

    fn run_dir(&self) -> PathBuf {
        self.home.join("run")
    }

    fn hb(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
        command.args(args).arg("--run-dir").arg(self.run_dir()).output().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("ha-log")).unwrap_or_default()
    }

    /// Waits for a snapshot that fits.
    #[track_caller]
    fn until(&self, what: &str, mut fits: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let snapshot = client::observe(&self.run_dir());
            match snapshot {
                Ok(snapshot) if fits(&snapshot) => return snapshot,
                found if Instant::now() >= deadline => {
                    panic!("{}: not within 20 s: {what}\n{found:#?}\n{}", self.name, self.log())
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    #[track_caller]
    fn until_log(&self, part: &str) {
        self.until(part, |_| self.log().contains(part));
    }
}

fn group(snapshot: &Snapshot) -> &Group {
    &snapshot.groups[0]
}

fn authority(snapshot: &Snapshot) -> &Authority {
    group(snapshot).authority.as_ref().expect("an arbiter is configured")
}

fn arbiter(snapshot: &Snapshot) -> &Arbiter {
    snapshot.arbiter.as_ref().expect("an arbiter is configured")
}

fn runs(snapshot: &Snapshot, name: &str) -> bool {
    group(snapshot).holder.as_deref() == Some(name) && group(snapshot).state == GroupState::Running
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn two_nodes_serve_by_each_others_promise() {
    in_namespace(|| {
        let base = std::env::temp_dir().join(format!("hb-arbiter-absent-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let line = Line::new().unwrap();
        let ports = [Port::new().unwrap(), Port::new().unwrap()];
        let ttys = [0, 1].map(|at: usize| ports[at].device().to_owned());
        let [one, two] = ports;
        line.attach(Side::A, one);
        line.attach(Side::B, two);
        let mut alpha = Node::new(&base, "alpha", &ttys[0]);
        let beta = Node::new(&base, "beta", &ttys[1]);
        let mut lan = Lan::new();
        let (namespace, its_namespace) = mpsc::channel();
        let (orders, told) = mpsc::channel::<Order>();
        let (done, answered) = mpsc::channel();
        let far = std::thread::spawn(move || far_side(beta, &namespace, &told, &done));
        lan.cable("eth1", &its_namespace.recv().unwrap());
        lan.address("eth1", "10.78.0.1/24");
        lan.up("eth1");
        let beta = Far { orders, answered };
        story(&mut lan, &mut alpha, &beta);
        drop(beta);
        far.join().unwrap();
        drop(alpha);
        fs::remove_dir_all(&base).unwrap();
    });
}

/// What the far side's thread is told: it alone is in beta's namespace.
type Order = Box<dyn FnOnce(&mut Node) + Send>;

struct Far {
    orders: mpsc::Sender<Order>,
    answered: mpsc::Receiver<()>,
}

impl Far {
    fn with(&self, order: impl FnOnce(&mut Node) + Send + 'static) {
        self.orders.send(Box::new(order)).unwrap();
        self.answered.recv().expect("beta's thread panicked");
    }
}

fn far_side(
    mut beta: Node,
    namespace: &mpsc::Sender<File>,
    told: &mpsc::Receiver<Order>,
    done: &mpsc::Sender<()>,
) {
    // SAFETY: a network namespace says nothing about file descriptors, which alone make unshare
    // unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    namespace.send(File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
    let mut ready = false;
    while let Ok(order) = told.recv() {
        if !std::mem::replace(&mut ready, true) {
            let mut lan = Lan::new();
            lan.address("eth1", "10.78.0.2/24");
            lan.up("eth1");
        }
        order(&mut beta);
        done.send(()).unwrap();
    }
}

/// A machine that can be paused, or whose watchdog can't be had, does not take part on the strength of it (R10):
/// `hb check` and heartbeatd say so alike, and systemd is not to try again.
#[test]
fn a_guard_that_nothing_keeps_is_no_ground_to_serve() {
    in_namespace(|| {
        let base = std::env::temp_dir().join(format!("hb-unguarded-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        let port = Port::new().unwrap();
        let mut lan = Lan::new();
        lan.veth("eth1", "far");
        lan.address("eth1", "10.78.1.1/24");
        let mut alpha = Node::new(&base, "alpha", port.device());
        let path = alpha.home.join("etc/ha.cf");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("guard_unsafe 1", "watchdog /dev/null")).unwrap();
        alpha.start_with(Stdio::piped());
        let ended = alpha.daemon.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &alpha.log();
        assert_eq!(ended.status.code(), Some(78), "{said}");
        let why = if check::is_guest() {
            "this machine is a hypervisor's guest"
        } else {
            "guard rests on the watchdog, and it is not armed: leaving"
        };
        assert!(said.contains(why), "{said}");
        assert_eq!(lan.addresses("eth1").len(), 1, "nothing was started");
        fs::remove_dir_all(&base).unwrap();
    });
}

fn story(lan: &mut Lan, alpha: &mut Node, beta: &Far) {
    beta.with(Node::start);
    alpha.start();

    // Nobody but the peer votes, and the group runs.
    let here = alpha.until("the group runs by the peer's promise", |snapshot| {
        runs(snapshot, "alpha") && authority(snapshot).from == [Voter::Peer]
    });
    assert!(authority(&here).expires_in_ms.is_some_and(|ms| ms <= LEASE), "{here:#?}");
    assert_eq!(arbiter(&here).state, ArbiterState::Absent);
    let known = (arbiter(&here).id, arbiter(&here).boot, arbiter(&here).uptime_s);
    assert_eq!(known, (None, None, None));
    assert!(arbiter(&here).hears.values().all(Option::is_none), "{here:#?}");
    assert!(arbiter(&here).promises.values().all(Option::is_none), "{here:#?}");
    assert_eq!(lan.addresses("eth1").len(), 2, "its own and the service's");
    beta.with(|beta| {
        let there = beta.until("beta is promised away", |there| {
            runs(there, "alpha") && group(there).votes.contains_key("beta")
        });
        let vote = &group(&there).votes["beta"];
        assert_eq!(vote.to, "alpha");
        assert!(vote.ends_in_ms.is_some_and(|ms| ms <= 1420), "lease × 1.05 + guard: {vote:?}");
        assert_eq!(authority(&there).from, []);
    });
    let picture = stdout(&alpha.hb(&["status"]));
    assert!(picture.contains("arbiter  absent, never heard\n"), "{picture}");
    assert!(
        picture.contains("! the arbiter is absent: if beta, this node or every link"),
        "{picture}"
    );
    alpha.until_log("no arbiter is heard on");

    // The arbiter first, then a node: a running survivor stops (protocol.md §1).
    beta.with(Node::kill);
    let alone = alpha.until("the survivor stops", |snapshot| {
        snapshot.peer.state == PeerState::Dead && group(snapshot).state == GroupState::Stopped
    });
    assert_eq!(group(&alone).holder, None);
    assert_eq!(lan.addresses("eth1").len(), 1, "the service's address went with authority");
    alpha.until_log("authority over alpha 10.78.0.100/24 is lost: its addresses are gone");
    alpha.until_log("waits: neither beta nor the arbiter (absent) votes");
    let picture = stdout(&alpha.hb(&["status"]));
    assert!(
        picture.contains("! nobody runs group 10.78.0.100/24: neither beta nor the arbiter"),
        "{picture}"
    );
    let plain = stdout(&alpha.hb(&["takeover"]));
    assert!(plain.contains("when it may. Now neither beta nor the arbiter"), "{plain}");

    // An operator has looked: beta is off.
    let word = alpha.hb(&["takeover", "--peer-is-off"]);
    assert_eq!(word.status.code(), Some(0), "{word:?}");
    assert!(stdout(&word).contains("on your word that beta is off, alpha takes over"), "{word:?}");
    let by_word = alpha.until("it runs by the operator's word", |snapshot| runs(snapshot, "alpha"));
    assert_eq!(authority(&by_word).from, [Voter::Human]);
    assert!(stdout(&alpha.hb(&["status"])).contains("an operator's word"));

    // The peer is back: its vote counts again, the operator's doesn't, and nothing stops in between.
    beta.with(Node::start);
    let back = alpha.until("the peer votes again", |snapshot| {
        assert!(runs(snapshot, "alpha"), "no interruption: {snapshot:#?}");
        authority(snapshot).from == [Voter::Peer]
    });
    assert_eq!(group(&back).state, GroupState::Running);
    alpha.until_log("the operator's vote for 10.78.0.100/24 has ended: beta is heard again");
    let refused = alpha.hb(&["takeover", "--peer-is-off"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    // In good order as well: the last vote goes with the peer, and `hb stop` says so before.
    beta.with(|beta| {
        let said = stdout(&beta.hb(&["stop"]));
        assert!(said.contains("alpha will not take over, and what it runs stops"), "{said}");
        beta.daemon.take().unwrap().wait().unwrap();
    });
    alpha.until("alone again", |snapshot| group(snapshot).state == GroupState::Stopped);
    alpha.signal(Signal::TERM);
    assert!(alpha.daemon.take().unwrap().wait().unwrap().success(), "{}", alpha.log());
}
