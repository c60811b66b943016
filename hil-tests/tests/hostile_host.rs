//! Hostile input inside the machine: floods on both sockets, a full disk, a log writer that stalls,
//! scripts that misbehave, a daemon that is held up.

mod hostile_support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::Node;
use hb_linux::rig::machine::Verb;
use hil_tests::inside::inside;
use hil_tests::netns::{
    PATIENCE, Pair,
    host::{helper, processes},
};
use hostile_support::{Busy, Host, Siege, lines, link};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// What a client may see of a host that is busy: the web service is an ordinary process, and when it
/// gets no time connections are retried after seconds. Who has the address is judged otherwise: who
/// answered, what failed over, what the logs say.
const DARK: Duration = Duration::from_secs(5);
const LINKS: [&str; 2] = ["/dev/ttyS0", "eth1"];

/// What one flood has done to its socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Pestered {
    /// Connections that were asked for. The daemon takes 80 a second (docs/threat-model.md), and the kernel
    /// refuses what finds no room in the queue.
    attempts: usize,
    /// Of them, those that got in.
    connections: usize,
    /// What was written into those.
    bytes: usize,
}

/// All that a hostile local process can do to a socket it may open: one round. It does not wait for
/// its turn: where the queue is full, that was the attempt.
fn pester(socket: &Path, done: &mut Pestered, held: &mut Vec<Socket>) {
    let round = done.attempts;
    done.attempts += 1;
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    stream.set_nonblocking(true).expect("non-blocking");
    if stream.connect(&SockAddr::unix(socket).expect("a short path")).is_err() {
        return;
    }
    done.connections += 1;
    // Errors: the daemon has closed it, which is its right.
    let sent = match round % 5 {
        // Gone at once; garbage; half a line; a line without end; no command of ours.
        0 => Ok(0),
        1 => stream.send(&[0xFF; 64]),
        2 => stream.send(b"stand"),
        3 => stream.send(&[b'x'; 4096]),
        _ => stream.send(b"reboot now\n"),
    };
    // Readers that never read.
    if round.is_multiple_of(3) {
        held.push(stream);
    }
    if held.len() > 200 {
        held.clear();
    }
    done.bytes += sent.unwrap_or(0);
}

/// Connections that each flood asks for; two floods a socket.
const ATTEMPTS: usize = 500_000;
/// Bytes that each flood writes.
const PESTER_BYTES: usize = 1_000_000;

#[test]
fn floods_on_both_sockets() {
    inside("floods_on_both_sockets", || {
        let pair = Pair::builder().start();
        let siege = Siege::begin(&pair);
        let run_dir = pair.bench.machine(Node::One).run_dir();
        let busy = Busy::cpus();
        let done = AtomicBool::new(false);
        // Whatever fails here, the floods end.
        let end = Instant::now() + Duration::from_secs(120);
        let sent = std::thread::scope(|scope| {
            let floods = ["observe.sock", "control.sock", "observe.sock", "control.sock"];
            let floods = floods.map(|name| {
                let (socket, done) = (run_dir.join(name), &done);
                scope.spawn(move || {
                    let (mut sent, mut held) = (Pestered::default(), Vec::new());
                    let enough =
                        |sent: &Pestered| sent.attempts >= ATTEMPTS && sent.bytes >= PESTER_BYTES;
                    while Instant::now() < end && !(done.load(Ordering::Relaxed) && enough(&sent)) {
                        pester(&socket, &mut sent, &mut held);
                    }
                    (name, sent)
                })
            });
            // The machine under attack may have no time for `hb status`; its peer judges it.
            // The line's model is an ordinary thread, too, and may be late: its link is judged at the
            // end, by what was lost.
            siege.look_until(&LINKS[1..], Duration::from_secs(20), waited(10_000));
            done.store(true, Ordering::Relaxed);
            let flooded = || floods.iter().all(std::thread::ScopedJoinHandle::is_finished);
            siege.look_until(&LINKS[1..], Duration::from_secs(120), flooded);
            floods.map(|flood| flood.join().expect("a flood"))
        });
        drop(busy);
        println!("{sent:?}");
        for socket in ["observe.sock", "control.sock"] {
            let floods = || sent.iter().filter(|(name, _)| *name == socket).map(|(_, sent)| sent);
            let attempts: usize = floods().map(|sent| sent.attempts).sum();
            assert!(
                attempts >= 1_000_000,
                "{socket}: {attempts} connections are no flood: {sent:?}"
            );
            // A daemon that takes nobody any more would pass all else.
            let connections: usize = floods().map(|sent| sent.connections).sum();
            assert!(connections >= 500, "{socket}: {connections} got in: {sent:?}");
            assert!(floods().all(|sent| sent.bytes >= PESTER_BYTES), "{socket}: {sent:?}");
        }
        // Six busy threads beside them: the client and the web service wait for the CPU, too.
        let before = siege.before[0]["stalls"].clone();
        let judged = siege.host.judges_stalls(&pair, "floods_on_both_sockets");
        let [one, two] = siege.end(&LINKS, DARK);
        if judged {
            assert_eq!(one["stalls"], before, "the sockets held the loop up");
        }
        for status in [&one, &two] {
            let loss = link(status, "eth1")["loss"].as_f64();
            assert!(loss.is_some_and(|loss| loss < 0.5), "{status:#}");
        }
        // Both sockets serve honest people again.
        pair.hb(Node::One, &["standby"]);
        pair.expect_holder(Node::Two);
        pair.expect_never_two_holders();
    });
}

/// 64 KiB for /var/log, and soon nothing of it: the pair does all that it did before.
#[test]
fn a_full_disk_under_the_log() {
    inside("a_full_disk_under_the_log", || {
        let mut pair = Pair::builder().build();
        for node in Node::BOTH {
            let log = pair.bench.machine(node).log_file("");
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
                .arg(&log)
                .status()
                .expect("mount(8) runs");
            assert!(mounted.success());
            pair.power_on(node);
        }
        let siege = Siege::begin(&pair);
        for node in Node::BOTH {
            fill(&pair.bench.machine(node).log_file("filler"));
            // And the page that the log itself has begun.
            fill(&pair.bench.machine(node).log_file("ha-log"));
        }
        // Much to say, and no room for it.
        for _ in 0..3 {
            pair.bench.cut_serial(0, true);
            siege.look_until(&LINKS[1..], Duration::from_secs(3), waited(1200));
            pair.bench.cut_serial(0, false);
            siege.look_until(&LINKS[1..], Duration::from_secs(3), waited(1200));
        }
        let size = lines(&pair, Node::One);
        siege.end(&LINKS[1..], DARK);
        pair.hb(Node::One, &["standby"]);
        pair.expect_holder(Node::Two);
        pair.bench.power_off(Node::Two);
        pair.expect_holder(Node::One);
        pair.expect_never_two_holders();
        assert_eq!(lines(&pair, Node::One), size, "the disk was full");
        fs::remove_file(pair.bench.machine(Node::One).log_file("filler")).expect("the filler");
        pair.power_on(Node::Two);
        let told = pair.bench.wait(Duration::from_secs(20), |bench| {
            // The log is tried again once in a while, by the next line: there must be one.
            bench.machine(Node::One).hb(&["standby", "nobody"]).expect("hb runs");
            pair.log_contains(Node::One, "lines are missing before the last one")
        });
        assert!(told, "that lines were lost is told\n{}", pair.story());
    });
}

/// That lines are lost must not become a line a second for as long as they are.
#[test]
fn a_log_that_takes_nothing_is_no_endless_topic() {
    inside("a_log_that_takes_nothing_is_no_endless_topic", || {
        let builder = Pair::builder();
        let text = builder.ha_cf_text().replace("/var/log/ha-log", "/dev/full");
        let mut pair = builder.build();
        for node in Node::BOTH {
            pair.bench.install(node, "ha.cf", &text, 0o644).expect("ha.cf");
            pair.power_on(node);
        }
        pair.settle();
        pair.expect_holder(Node::One);
        std::thread::sleep(Duration::from_secs(3));
        let said = || {
            let words =
                fs::read_to_string(pair.bench.machine(Node::One).log_file("heartbeatd.out"));
            words.expect("what the daemon says to its manager")
        };
        let before = said();
        assert!(before.contains("/dev/full"), "the trouble is named: {before}");
        std::thread::sleep(Duration::from_secs(5));
        let after = said();
        let more = &after[before.len()..];
        // On a busy host a link may go and come meanwhile; what is said of the log is the point.
        let of_the_log = more.lines().filter(|line| line.contains("log") || line.contains("lines"));
        assert!(of_the_log.count() <= 1, "nothing happened to the log, and this was said:\n{more}");
    });
}

fn waited(millis: u64) -> impl Fn() -> bool {
    let until = Instant::now() + Duration::from_millis(millis);
    move || Instant::now() >= until
}

fn fill(path: &Path) {
    let mut filler = fs::File::options().create(true).append(true).open(path).expect("a filler");
    while filler.write(&[b'x'; 512]).is_ok_and(|written| written > 0) {}
    while filler.write(b"x").is_ok_and(|written| written > 0) {}
}

#[test]
fn a_log_writer_that_stalls() {
    inside("a_log_writer_that_stalls", || {
        let pair = Pair::builder().start();
        let siege = Siege::begin(&pair);
        let helper = helper(pair.bench.machine(Node::One)).expect("a helper process");
        let written = lines(&pair, Node::One);
        kill_process(helper, Signal::STOP).expect("stopped");
        let stopped = Instant::now();
        // Much to say, and nobody who writes it.
        while stopped.elapsed() < Duration::from_secs(8) {
            pair.bench.cut_serial(0, true);
            siege.look_until(&LINKS[1..], Duration::from_secs(3), waited(900));
            pair.bench.cut_serial(0, false);
            siege.look_until(&LINKS[1..], Duration::from_secs(3), waited(700));
        }
        // More than the socket to the writer holds: refused commands, a line each.
        for _ in 0..60 {
            let order = "for i in 1 2 3 4 5 6 7 8 9 10; do HB standby nobody; done; true";
            let hb = inside_path();
            let ran = pair.bench.machine(Node::One).run("sh", &["-c", &order.replace("HB", &hb)]);
            assert!(ran.expect("a shell").status.success());
        }
        assert_eq!(lines(&pair, Node::One), written, "nobody writes");
        let before = siege.before[0]["stalls"].clone();
        let judged = siege.host.judges_stalls(&pair, "a_log_writer_that_stalls");
        let [one, _] = siege.end(&LINKS[1..], DARK);
        if judged {
            assert_eq!(one["stalls"], before, "the loop waited for its helper: {one:#}");
        }
        // A script that is ordered now waits for the helper, and heartbeats go on.
        pair.hb(Node::One, &["standby"]);
        std::thread::sleep(Duration::from_secs(2));
        let [one, two] = pair.wait_for("both answer", Duration::from_secs(5), |_, _| true);
        assert_eq!(one["groups"][0]["state"], "stopping", "{one:#}");
        assert_eq!(two["peer"]["state"], "alive", "{two:#}");
        kill_process(helper, Signal::CONT).expect("continued");
        pair.expect_holder(Node::Two);
        pair.expect_never_two_holders();
        let caught_up = pair
            .bench
            .wait(Duration::from_secs(5), |_| pair.log_contains(Node::One, "log lines were lost"));
        assert!(caught_up, "what found no room is counted and told\n{}", pair.story());
    });
}

/// `hb`, as the machine sees it.
fn inside_path() -> String {
    hb_linux::rig::init::inside(&hil_tests::inside::programs().hb).display().to_string()
}

/// A script of the guide's kind whose start goes wrong in one way and still leaves a service.
fn script(start: &str, stop: &str) -> String {
    format!(
        "#!/bin/sh\nflag=/run/${{0##*/}}.up\ncase \"$1\" in\nstart) {start}\ntouch $flag ;;\n\
         stop) {stop}\nrm -f $flag ;;\n\
         status) if [ -e $flag ]; then echo running; else echo stopped; fi ;;\nesac\n"
    )
}

#[test]
fn scripts_that_misbehave() {
    inside("scripts_that_misbehave", || {
        let kept = "echo $! >/run/${0##*/}.pid";
        let kill = "kill $(cat /run/${0##*/}.pid)";
        let misfits = [
            // Its service keeps the script's output open and writes to it for ever.
            ("prints-for-ever", script(&format!("yes I am still here & {kept}"), kill)),
            ("forks-away", script(&format!("setsid sleep 600 & {kept}"), kill)),
            ("closes-output", script("exec >&- 2>&- <&-; sleep 0.2", "exec >&- 2>&-")),
            ("ignores-sigterm", script("trap '' TERM; sleep 0.3", "trap '' TERM; sleep 0.3")),
            ("floods", script("head -c 3000000 /dev/urandom | base64", "true")),
        ];
        let mut resources = String::from("192.168.85.3 demo-web");
        for (name, _) in &misfits {
            resources.push_str(&format!(" {name}"));
        }
        let mut pair = Pair::builder().group(Node::One, &resources).build();
        for node in Node::BOTH {
            for (name, text) in &misfits {
                let name = format!("resource.d/{name}");
                pair.bench.install(node, &name, text, 0o755).expect("a script");
            }
            pair.power_on(node);
        }
        let running = |status: &Value| status["groups"][0]["state"] == "running";
        // Scripts take what time they take on a busy host; heartbeats don't wait for them.
        let patience = Duration::from_secs(60);
        pair.wait_for("the group runs", patience, |one, _| running(one));
        let siege = Siege::begin(&pair);
        let _busy = Busy::cpus();
        siege.look_until(&LINKS[1..], Duration::from_secs(20), waited(5000));
        // 100 lines of each talkative run, and what is said of every step.
        assert!(lines(&pair, Node::One) < 400, "{} lines", lines(&pair, Node::One));
        pair.hb(Node::One, &["standby"]);
        siege.look_until(&LINKS[1..], patience, || {
            pair.status(Node::Two)
                .is_some_and(|two| two["groups"][0]["holder"] == "linuxha2" && running(&two))
        });
        pair.expect_holder(Node::Two);
        pair.hb(Node::Two, &["standby"]);
        siege.look_until(&LINKS[1..], patience, || {
            pair.status(Node::One).is_some_and(|one| running(&one))
        });
        pair.expect_holder(Node::One);
        pair.expect_never_two_holders();
        siege.heartbeats(&LINKS);
        assert!(lines(&pair, Node::One) < 800, "{} lines", lines(&pair, Node::One));
        // And a takeover with nobody's help.
        pair.bench.power_off(Node::One);
        pair.expect_holder_within(Node::Two, pair.budget() + patience);
        pair.wait_for_one(Node::Two, "all of the group runs", patience, running);
    });
}

/// A start that neither ends nor heeds SIGTERM is killed after its minute; the peer takes the group.
#[test]
fn a_start_that_hangs_and_ignores_sigterm() {
    inside("a_start_that_hangs_and_ignores_sigterm", || {
        let stubborn = "#!/bin/sh\ncase \"$1:$(uname -n)\" in\n\
            start:linuxha1) trap '' TERM INT HUP; while :; do sleep 1; done ;;\n\
            status:*) echo stopped ;;\nesac\n";
        let mut pair = Pair::builder().group(Node::One, "192.168.85.3 demo-web stubborn").build();
        for node in Node::BOTH {
            pair.bench.install(node, "resource.d/stubborn", stubborn, 0o755).expect("a script");
            pair.power_on(node);
        }
        pair.expect_holder(Node::One);
        let status = pair.wait_for("One gives up", Duration::from_secs(90), |one, two| {
            one["groups"][0]["state"] != "starting" && two["groups"][0]["holder"] == "linuxha2"
        });
        println!("{:#}", status[0]["groups"]);
        pair.expect_holder(Node::Two);
        let told = pair.bench.wait(PATIENCE, |_| pair.log_contains(Node::One, "took too long"));
        assert!(told, "the log doesn't say that it took too long\n{}", pair.story());
        pair.expect_never_two_holders();
        let mut left = processes(pair.bench.machine(Node::One)).expect("power is on");
        left.retain(|(_, line)| line.contains("resource.d/stubborn"));
        assert!(left.is_empty(), "the script is still there: {left:?}");
    });
}

/// A daemon that is held up for less than deadtime: it says so, and nobody dies.
#[test]
fn a_stall_of_one_s_own() {
    inside("a_stall_of_one_s_own", || {
        // Far from deadtime, so that what a busy host adds to the stall doesn't matter.
        let mut pair = Pair::builder().ha_cf("deadtime 5s\nwarntime 3s").start();
        pair.settle();
        pair.expect_holder(Node::One);
        let before = Node::BOTH.map(|node| {
            let status = pair.wait_for_one(node, "it answers", Duration::from_secs(5), |_| true);
            status["stalls"]["count"].as_u64().expect("a number")
        });
        let host = Host::watch();
        let began = Instant::now();
        pair.bench.daemon(Node::One, Verb::Stop).expect("stopped");
        std::thread::sleep(Duration::from_millis(800));
        pair.bench.daemon(Node::One, Verb::Continue).expect("continued");
        let held_up = began.elapsed();
        let [one, two] = pair.wait_for("both alive", Duration::from_secs(5), |one, two| {
            let alive = |status: &Value| status["peer"]["state"] == "alive";
            alive(one) && alive(two) && one["stalls"]["count"].as_u64() > Some(before[0])
        });
        let counts = [&one, &two].map(|status| status["stalls"]["count"].as_u64());
        if host.judges_stalls(&pair, "a_stall_of_one_s_own") {
            assert_eq!(counts, [Some(before[0] + 1), Some(before[1])], "{one:#}\n{two:#}");
        }
        // Of the last keepalive before the stop, a part had passed.
        let longest = one["stalls"]["longest_ms"].as_u64().expect("a number");
        let most = (held_up + pair.slack(began)).as_millis() as u64;
        assert!((600..=most).contains(&longest), "{longest} ms of {most}: {one:#}");
        for node in Node::BOTH {
            assert!(!pair.log_contains(node, "is dead"), "a false death\n{}", pair.story());
        }
        // Its helper writes it, when it gets the time.
        let told = pair.bench.wait(PATIENCE, |_| pair.log_contains(Node::One, "was not scheduled"));
        assert!(told, "the stall is not in the log\n{}", pair.story());
        pair.expect_holder(Node::One);
        assert_eq!(two["last_failover"], Value::Null, "{two:#}");
        pair.expect_never_two_holders();
    });
}
