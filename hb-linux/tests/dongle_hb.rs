//! Goal: a dongle is asked, tested and told of through heartbeatd and without it, and whatever is wrong with it is
//! named in log, `hb status`, `hb check` and `hb dongle status`.
//! Method: one real daemon and the firmware's library as a process (`hb rig-dongle`), joined by a modelled serial
//! line; where the test says so, a fake that answers by hand. That a commissioned machine is reset and comes back is
//! played on the namespace rig.

mod net_support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hb_linux::config::Medium;
use hb_linux::control::client;
use hb_linux::control::snapshot::{ArbiterState, Snapshot};
use hb_linux::control::{Command as Order, hex};
use hb_linux::daemon::ServiceLine;
use hb_linux::rig::dongle::Spec;
use hb_linux::rig::line::{Line, Port, Side};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::{LineShown, ResetReason};
use hb_proto::wire::service::{
    self, Answer, Ask, Board, Challenge, Identity, Refusal, Request, encode_request,
};
use hb_proto::wire::{MAX_FRAME, cobs};
use net_support::{Lan, in_namespace};
use rustix::process::{Pid, Signal, kill_process};

/// In the clear.
const NO_KEYS: Option<&KeyRing> = None;
const KEYS: &str = "auth 1\n1 sha256 the-keys-of-this-cluster\n";

/// Node alpha, its line, and what is at the line's other end.
struct Bench {
    home: PathBuf,
    daemon: Option<Child>,
    dongle: Option<Child>,
    /// Of the dongle: where alpha's line ends, and one that leads nowhere.
    ports: [PathBuf; 2],
    _line: Line,
    _nowhere: Port,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for mut child in [self.daemon.take(), self.dongle.take()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn write_keys(dir: &Path, keys: &str) {
    let path = dir.join("authkeys");
    fs::write(&path, keys).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Bench {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("hb-dongle-hb-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        let (line, near, far, nowhere) = (
            Line::new().unwrap(),
            Port::new().unwrap(),
            Port::new().unwrap(),
            Port::new().unwrap(),
        );
        let tty = near.device().display().to_string();
        let ports = [far.device().to_owned(), nowhere.device().to_owned()];
        line.attach(Side::A, near);
        line.attach(Side::B, far);
        let text = format!(
            "logfile {}\nbaud 115200\nserial {tty}\nudp eth1\nkeepalive 50ms\ndeadtime 500ms\ninitdead 1\n\
             node alpha beta\narbiter serial {tty}\nfence dongle\nguard_unsafe 1\n",
            home.join("ha-log").display(),
        );
        for dir in ["etc", "dongle", "other"] {
            fs::create_dir_all(home.join(dir)).unwrap();
            fs::write(home.join(dir).join("ha.cf"), &text).unwrap();
            fs::write(home.join(dir).join("haresources"), "alpha 10.78.0.100/24\n").unwrap();
            write_keys(&home.join(dir), KEYS);
        }
        Self { home, daemon: None, dongle: None, ports, _line: line, _nowhere: nowhere }
    }

    fn start_daemon(&mut self) {
        let daemon = Command::new(env!("CARGO_BIN_EXE_heartbeatd"))
            .arg("--config-dir")
            .arg(self.home.join("etc"))
            .arg("--state-dir")
            .arg(self.home.join("state"))
            .arg("--run-dir")
            .arg(self.home.join("run"))
            .args(["--node", "alpha"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// Puts a dongle in, with the keys of `dir`; `swapped`: alpha is plugged into its second port.
    fn insert(&mut self, dir: &str, swapped: bool) {
        self.put_in(Some(dir), swapped);
        let levels = b"line 0 1\nline 1 1\nfeed 0 1\nfeed 1 1\n";
        let dongle = self.dongle.as_mut().expect("inserted");
        dongle.stdin.as_mut().unwrap().write_all(levels).unwrap();
    }

    fn put_in(&mut self, dir: Option<&str>, swapped: bool) {
        self.remove();
        // A dongle of its own, whose memory knows nothing of the last one's.
        let memory = self.home.join(format!("memory-{}-{swapped}", dir.unwrap_or("blank")));
        fs::create_dir_all(&memory).unwrap();
        let mut ports = self.ports.clone();
        if swapped {
            ports.reverse();
        }
        let spec = Spec {
            id: 7,
            baud: 115_200,
            ports,
            memory,
            config_dir: dir.map(|dir| self.home.join(dir)),
            node: "alpha".to_owned(),
            reset: "PowerOn".to_owned(),
            supervised: true,
            sensed: false,
        };
        let dongle = Command::new(env!("CARGO_BIN_EXE_hb"))
            .arg("rig-dongle")
            .arg(serde_json::to_string(&spec).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.dongle = Some(dongle);
    }

    fn remove(&mut self) {
        if let Some(mut dongle) = self.dongle.take() {
            dongle.kill().unwrap();
            dongle.wait().unwrap();
        }
    }

    fn level(&mut self, line: &str) {
        let dongle = self.dongle.as_mut().expect("inserted");
        writeln!(dongle.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hb(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
        command.args(args).args(["--node", "alpha", "--config-dir"]).arg(self.home.join("etc"));
        command.arg("--run-dir").arg(self.home.join("run"));
        if args[0] == "dongle" {
            command.arg("--state-dir").arg(self.home.join("state"));
        }
        command.output().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("ha-log")).unwrap_or_default()
    }

    #[track_caller]
    fn until(&self, what: &str, mut fits: impl FnMut(&Snapshot) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let found = client::observe(&self.home.join("run"));
            if found.as_ref().is_ok_and(&mut fits) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not within 40 s: {what}\n{found:#?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `part` is told in `hb status`, the log, `hb check` and, if it can be asked, `hb dongle status`.
    #[track_caller]
    fn until_named(&self, part: &str, answers: bool) {
        self.until(part, |now| problems(now).iter().any(|problem| problem.contains(part)));
        self.until(part, |_| self.log().contains(part));
        self.until_says(&["check"], |check| {
            let warned = format!("warning: {}", first_word(part, &text(check)));
            let code = check.status.code();
            text(check).contains(&warned) && text(check).contains(part) && code >= Some(1)
        });
        self.until_says(&["dongle", "status"], |status| {
            status.status.code() == Some(1) && (!answers || text(status).contains(part))
        });
    }

    /// On a busy machine an answer may come too late for one call, and be there for the next.
    #[track_caller]
    fn until_says(&self, args: &[&str], fits: impl Fn(&Output) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.hb(args);
            if fits(&output) {
                return;
            }
            assert!(Instant::now() < deadline, "hb {args:?}: {}", text(&output));
        }
    }
}

/// The word that begins the sentence around `part`.
fn first_word<'t>(part: &str, text: &'t str) -> &'t str {
    let line = text.lines().find(|line| line.contains(part)).unwrap_or_default();
    line.trim_start_matches("warning: ").split(' ').next().unwrap_or_default()
}

fn problems(snapshot: &Snapshot) -> &[String] {
    snapshot.dongle.as_ref().map_or(&[], |dongle| &dongle.problems)
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

fn network() -> Lan {
    let mut lan = Lan::new();
    lan.veth("eth1", "far");
    lan.address("eth1", "10.78.0.1/24");
    lan
}

#[test]
fn a_sound_dongle_is_asked_through_heartbeatd_and_without_it() {
    in_namespace(|| {
        let _lan = network();
        let mut bench = Bench::new("sound");
        bench.insert("dongle", false);
        bench.start_daemon();
        bench.until("it votes and answers", |now| {
            let votes = now.arbiter.as_ref().is_some_and(|of| of.state == ArbiterState::Present);
            let answers = now.dongle.as_ref().is_some_and(|of| of.firmware.is_some());
            votes && answers && problems(now).is_empty()
        });
        let status = bench.hb(&["dongle", "status"]);
        for part in [
            ", through heartbeatd\n",
            "  number       7; life 1, up ",
            "1 signs; accepted: 1\n",
            "1 is this node's\n",
            "from alpha, from beta\n",
            "alpha untested, beta untested\n",
        ] {
            assert!(text(&status).contains(part), "{part:?} in:\n{}", text(&status));
        }
        assert_eq!(status.status.code(), Some(0), "{}", text(&status));
        let check = text(&bench.hb(&["check"]));
        assert!(check.contains("the dongle answers (program "), "{check}");
        sound_answers(&bench);

        // Its peer's machine goes: one feed is left.
        bench.level("feed 1 0");
        bench.until_named("the dongle has power from alpha alone", true);
        bench.level("feed 1 1");
        bench.until("all is well again", |now| problems(now).is_empty());
        bench.until("and told", |_| bench.log().contains("is as it should be"));

        // Without heartbeatd: over the line itself.
        let daemon = bench.daemon.take().unwrap();
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        { daemon }.wait().unwrap();
        let status = bench.hb(&["dongle", "status"]);
        assert!(!text(&status).contains("through heartbeatd"), "{}", text(&status));
        assert!(text(&status).contains("  number       7; life 1, up "), "{}", text(&status));
        sound_answers(&bench);
    });
}

/// What it answers alike on both ways.
fn sound_answers(bench: &Bench) {
    let test = bench.hb(&["dongle", "self-test"]);
    assert!(text(&test).contains("ok     the reset output to beta is at rest"), "{}", text(&test));
    assert_eq!(test.status.code(), Some(0), "{}", text(&test));
    let trace = text(&bench.hb(&["dongle", "trace"]));
    assert!(trace.contains("life 1 began\n") && trace.contains("alpha is heard\n"), "{trace}");
    for (args, said) in [
        (&["dongle", "commission", "beta"][..], "hb dongle commission beta --confirm"),
        (&["dongle", "commission", "beta", "--confirm"], "it does not hear that node"),
        (&["dongle", "commission", "alpha", "--confirm"], "it would be reset under this command"),
        (&["dongle", "commission", "gamma", "--confirm"], "ha.cf names alpha and beta"),
        (&["dongle", "fence", "beta"], "hb dongle fence beta --confirm"),
    ] {
        let output = bench.hb(args);
        assert!(text(&output).contains(said), "{args:?}: {}", text(&output));
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    let pins = bench.hb(&["dongle", "pinout", "pico"]);
    assert!(text(&pins).contains("GP2     pin 4           A's reset line"), "{}", text(&pins));
    let none = bench.hb(&["dongle", "pinout"]);
    assert!(
        text(&none).contains("no pins are known here for a process of the test rig"),
        "{}",
        text(&none)
    );
    if bench.daemon.is_some() {
        let output = bench.hb(&["dongle", "fence", "beta", "--confirm"]);
        assert!(text(&output).contains("the peer was never heard"), "{}", text(&output));
    }
}

#[test]
fn a_dongle_of_another_cluster_swapped_ports_or_none_is_named() {
    in_namespace(|| {
        let _lan = network();
        let mut bench = Bench::new("wrong");
        bench.start_daemon();
        bench.until_named("nothing answers on ", false);

        write_keys(&bench.home.join("other"), "auth 1\n1 sha256 somebody-elses-keys\n");
        bench.insert("other", false);
        bench.until_named("it has another key under the same number", true);
        write_keys(&bench.home.join("other"), "auth 2\n2 sha256 somebody-elses-keys\n");
        fs::remove_dir_all(bench.home.join("memory-other-false")).unwrap();
        bench.insert("other", false);
        bench.until_named("lacks the key that signs here", true);
        let provision = bench.hb(&["dongle", "provision"]);
        assert!(text(&provision).contains("has keys of another cluster"), "{}", text(&provision));

        bench.insert("dongle", true);
        bench.until_named("ports are swapped: alpha is plugged into the port of beta", true);

        // A plain cable: the other node's question comes out of it.
        bench.remove();
        let request = Request { challenge: Challenge::default(), ask: Ask::Identify };
        let (mut frame, mut line) = ([0; MAX_FRAME], [0; MAX_FRAME + 4]);
        let len = encode_request(&request, None, &mut frame);
        let bytes = cobs::encode(&frame[..len], &mut line).unwrap().to_vec();
        let tty = OpenOptions::new().write(true).open(&bench.ports[0]);
        tty.unwrap().write_all(&[&[0], &bytes[..]].concat()).unwrap();
        bench.until_named("there is no dongle in ", false);
    });
}

#[test]
fn a_dongle_gets_its_keys_over_the_line_and_follows_their_change() {
    in_namespace(|| {
        let _lan = network();
        let mut bench = Bench::new("keys");
        bench.start_daemon();
        bench.put_in(None, false);
        bench.until_named("has no key yet, and neither forwards nor votes", true);

        let provision = |bench: &Bench, said: &[&str]| {
            let output = bench.hb(&["dongle", "provision"]);
            for part in said {
                assert!(text(&output).contains(part), "{part:?} in:\n{}", text(&output));
            }
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            assert!(!text(&output).contains("cluster"), "no secret is shown: {}", text(&output));
        };
        provision(&bench, &["it gets key 1", "provisioned: dongle number ", "keys 1, 1 signs"]);
        bench.until("it votes", |now| {
            now.arbiter.as_ref().is_some_and(|of| of.state == ArbiterState::Present)
        });
        bench.until("nothing is wrong", |now| problems(now).is_empty());
        provision(&bench, &["keys 1, 1 signs"]);

        // Round by round, as the book has it: added, signing, the old one gone.
        let (one, two) =
            ("1 sha256 the-keys-of-this-cluster", "2 sha256 the-next-keys-of-this-cluster");
        let etc = bench.home.join("etc");
        write_keys(&etc, &format!("auth 1\n{one}\n{two}\n"));
        provision(&bench, &["it gets key 2", "keys 1, 2, 1 signs"]);
        write_keys(&etc, &format!("auth 2\n{one}\n{two}\n"));
        provision(&bench, &["key 2 signs from now on", "keys 1, 2, 2 signs"]);
        write_keys(&etc, &format!("auth 2\n{two}\n"));
        provision(&bench, &["it forgets key 1", "keys 2, 2 signs"]);

        // Other times in ha.cf: a dongle that doesn't know them is named, and learns them the same way.
        let (ha_cf, more) = (etc.join("ha.cf"), "pulse 300ms\ndongle_watchdog 900ms");
        let written = fs::read_to_string(&ha_cf).unwrap();
        fs::write(&ha_cf, written.replace("fence dongle", &format!("fence dongle {more}")))
            .unwrap();
        let status = bench.hb(&["dongle", "status"]);
        assert!(text(&status).contains("a pulse of 200 ms; watchdog after deadtime"), "{status:?}");
        let other = "has another pulse or watchdog time than ha.cf";
        assert!(text(&status).contains(other) && status.status.code() == Some(1), "{status:?}");
        provision(&bench, &["its pulse is 300 ms, its watchdog waits for 900 ms", "2 signs"]);
        let status = bench.hb(&["dongle", "status"]);
        assert!(text(&status).contains("a pulse of 300 ms; watchdog after 900 ms"), "{status:?}");
        assert!(!text(&status).contains(other), "{status:?}");

        // Who has no key of it changes nothing.
        write_keys(&etc, "auth 3\n3 sha256 a-key-of-somebody-else-entirely\n");
        let stranger = bench.hb(&["dongle", "provision"]);
        assert!(text(&stranger).contains("has keys of another cluster"), "{}", text(&stranger));
        assert_eq!(stranger.status.code(), Some(1));
    });
}

/// The next request at the line's far end, where nobody else listens.
fn next_request(far: &mut ServiceLine) -> Request {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Some(frame) = far.next_service_frame().unwrap()
            && let Ok((request, _)) = service::open_request(&frame, NO_KEYS)
        {
            return request;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no request in the clear within 20 s");
}

/// heartbeatd asks by itself, too. A slow answer to that is not handed to an operator who asks for something else.
#[test]
fn an_answer_goes_to_who_asked() {
    in_namespace(|| {
        let _lan = network();
        let mut bench = Bench::new("whose");
        bench.start_daemon();
        let medium = Medium::Serial { device: bench.ports[0].clone(), baud: 115_200 };
        let mut far = ServiceLine::open(&medium);
        assert!(far.failure().is_none(), "{:?}", far.failure());
        // A fake dongle, that answers heartbeatd's question late: after the operator's request has come.
        assert_eq!(next_request(&mut far).ask, Ask::Identify);
        let request = Request { challenge: Challenge::default(), ask: Ask::Trace { after: 0 } };
        let mut frame = [0; MAX_FRAME];
        let len = encode_request(&request, NO_KEYS, &mut frame);
        let (run_dir, order) = (bench.home.join("run"), Order::Dongle(frame[..len].to_vec()));
        let operator = std::thread::spawn(move || client::command(&run_dir, &order));
        std::thread::sleep(Duration::from_millis(60));
        let answer = |answer: &Answer, far: &mut ServiceLine| {
            let mut frame = [0; MAX_FRAME];
            let len = service::encode_answer(answer, NO_KEYS, &mut frame);
            far.send(&frame[..len]).unwrap();
        };
        answer(&Answer::Done { token: 1 }, &mut far);
        assert_eq!(next_request(&mut far).ask, Ask::Trace { after: 0 });
        answer(&Answer::Trace { newest: 9, first: 10, entries: Default::default() }, &mut far);
        let reply = operator.join().unwrap().unwrap();
        assert!(reply.ok, "{}", reply.message);
        let (answer, _) =
            service::open_answer(&hex::decode(&reply.message).unwrap(), NO_KEYS).unwrap();
        assert!(matches!(answer, Answer::Trace { newest: 9, .. }), "{answer:?}");
    });
}

/// What a fake dongle says of itself: nothing is wrong with it.
fn identity(challenge: Challenge) -> Identity {
    Identity {
        challenge,
        firmware: [0, 9, 0],
        board: Board::Rp2040Pico,
        port: 0,
        keys: 0b10,
        signing: Some(1),
        reset: ResetReason::PowerOn,
        uptime_s: 10,
        feeds: [Some(true); 2],
        lines: [LineShown::Untested; 2],
        test: None,
        settings: None,
    }
}

/// An identity as the next version's program might send it: a board and a reason that today's programs don't know, and
/// more fields behind the last.
fn of_tomorrow(frame: &mut [u8; MAX_FRAME], len: usize, signed: bool, ring: &KeyRing) -> usize {
    /// Head, code of the answer, challenge, program (`hb_proto::wire::service`).
    const BOARD: usize = 2 + 1 + 12 + 3;
    /// Board, port, keys, key that signs.
    const RESET: usize = BOARD + 1 + 1 + 2 + 1;
    let end = len - if signed { 8 } else { 4 };
    assert_eq!((frame[BOARD], frame[RESET]), (Board::Rp2040Pico as u8, ResetReason::PowerOn as u8));
    (frame[BOARD], frame[RESET]) = (77, 14);
    frame[end..end + 3].fill(0xA5);
    if signed {
        return ring.seal(frame, end + 3).expect("room");
    }
    let clear = KeyRing::<1>::new(Key::crc(0).into_iter().collect(), 0).expect("listed");
    clear.seal(frame, end + 3).expect("room")
}

/// A fake dongle of another program than today's, for as long as `meanwhile` takes.
fn with_fake(bench: &Bench, newer: bool, meanwhile: impl FnOnce()) {
    let key = Key::hmac(1, b"the-keys-of-this-cluster");
    let ring: KeyRing = KeyRing::new(key.into_iter().collect(), 1).expect("listed");
    let medium = Medium::Serial { device: bench.ports[0].clone(), baud: 115_200 };
    let mut far = ServiceLine::open(&medium);
    assert!(far.failure().is_none(), "{:?}", far.failure());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let challenge = Challenge { id: 7, boot: 3, token: 5 };
            while !over.load(Ordering::Relaxed) {
                let Some(frame) = far.next_service_frame().unwrap() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let Ok((request, signed)) = service::open_request(&frame, Some(&ring)) else {
                    continue;
                };
                let answer = match request.ask {
                    Ask::Identify => Answer::Identity(identity(challenge)),
                    _ => Answer::Refused { token: 5, why: Refusal::Unknown },
                };
                let mut frame = [0; MAX_FRAME];
                let keys = Some(&ring).filter(|_| signed);
                let mut len = service::encode_answer(&answer, keys, &mut frame);
                if newer && request.ask == Ask::Identify {
                    len = of_tomorrow(&mut frame, len, signed, &ring);
                }
                far.send(&frame[..len]).unwrap();
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(meanwhile));
        over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

#[test]
fn a_dongle_whose_program_is_older_or_newer_is_understood() {
    in_namespace(|| {
        let _lan = network();
        let mut bench = Bench::new("versions");
        bench.start_daemon();
        let answers = |now: &Snapshot| {
            now.dongle.as_ref().is_some_and(|of| of.firmware.as_deref() == Some("0.9.0"))
        };
        let good = |bench: &Bench, said: &[&str]| {
            bench.until_says(&["dongle", "status"], |status| {
                let all = said.iter().all(|part| text(status).contains(part));
                all && status.status.code() == Some(0)
            });
        };
        with_fake(&bench, true, || {
            bench.until("it answers", |now| answers(now) && problems(now).is_empty());
            let unknown = "program      0.9.0 on a board that this program doesn't know";
            good(&bench, &[unknown, "began by: unknown"]);
        });
        with_fake(&bench, false, || {
            good(&bench, &["0.9.0 on Raspberry Pi Pico", "began by: power on"]);
            for asked in ["self-test", "trace"] {
                bench.until_says(&["dongle", asked], |output| {
                    let refused = text(output).contains("doesn't know that request");
                    refused && output.status.code() == Some(1)
                });
            }

            // It knows no other pulse than today's, and ha.cf wants one.
            let ha_cf = bench.home.join("etc/ha.cf");
            let written = fs::read_to_string(&ha_cf).unwrap();
            fs::write(&ha_cf, written.replace("fence dongle", "fence dongle pulse 300ms")).unwrap();
            bench.until_says(&["dongle", "status"], |status| {
                text(status).contains("another pulse or watchdog time")
            });
            bench.until_says(&["dongle", "provision"], |provision| {
                let told = text(provision).contains("its program knows no other pulse than 200 ms");
                told && provision.status.code() == Some(1)
            });
        });
    });
}
