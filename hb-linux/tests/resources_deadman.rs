//! The daemon's end and the helper's: the dead man's order, orderly leave, a helper that dies.

mod resources_bench;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hb_linux::resources::{
    self, Helper, Outcome, Received, SendError, Step, Steps, ToHelper, Verb,
};
use resources_bench::{Bench, PATIENCE, alive, done, farewell, order, run, wait_until};

/// Says to this test program, started again, that it is the daemon of the bench in this directory.
const OWNER: &str = "HB_TEST_OWNER";
/// Says to it that it is the helper of the bench in this directory.
const HELPER: &str = "HB_TEST_HELPER";

/// Not a test when run as one: the helper whose `release` writes down what it is told.
#[test]
fn entry_helper() {
    let Some(dir) = std::env::var_os(HELPER) else { return };
    let mut release = |ip| {
        let mut events = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(Path::new(&dir).join("events"))?;
        writeln!(events, "release {ip}")
    };
    std::process::exit(i32::from(
        resources::helper_main(&mut release) != std::process::ExitCode::SUCCESS,
    ));
}

/// Not a test when run as one: a daemon that starts everything, gives its standing order, and waits.
#[test]
fn entry_owner() {
    let Some(dir) = std::env::var_os(OWNER) else { return };
    let bench = bench_of(Bench::at(Path::new(&dir)));
    let mut helper = bench.helper_by(&program(&bench));
    for (group, resource) in [(0, 1), (0, 2), (1, 0)] {
        assert_eq!(run(&mut helper, group, resource, Verb::Start).0, Outcome::Exit(0));
    }
    let steps = [(0, 2), (0, 1), (0, 0), (1, 0), (1, 1)];
    let steps = steps.map(|(group, resource)| Step { group, resource });
    helper.send(&ToHelper::StandingOrder(Steps::from_slice(&steps).unwrap())).unwrap();
    // A start that hangs must not hold up the end.
    order(&mut helper, 99, 2, 0, Verb::Start);
    order(&mut helper, 100, 2, 1, Verb::Start);
    wait_until("the hanging start", || bench.events().contains("hang start"));
    fs::write(bench.dir.join("ready"), helper.pid().to_string()).unwrap();
    // Until killed; or until told to leave.
    while !bench.dir.join("leave").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It would outlive us: a farewell touches nothing.
    for ticket in [100, 99] {
        helper.send(&ToHelper::Abort { ticket }).unwrap();
        assert_eq!(done(&mut helper).1, Outcome::Aborted);
    }
    helper.farewell(PATIENCE).unwrap();
    std::process::exit(0);
}

fn bench_of(mut bench: Bench) -> Bench {
    bench.group(&["192.168.85.3", "a", "b"]).group(&["c", "fd00::3"]).group(&["hang", "a"]);
    bench
}

fn prepared(name: &str) -> Bench {
    let bench = bench_of(Bench::new(name));
    for script in ["a", "b", "c"] {
        bench.script(script, &format!("echo {script} $1 >>$EVENTS"));
    }
    bench.script("hang", "echo hang $1 >>$EVENTS; [ $1 = stop ] || exec sleep 600");
    let program = program(&bench);
    let text = format!(
        "#!/bin/sh\n{HELPER}={} exec {} --exact entry_helper --nocapture --test-threads=1\n",
        bench.dir.display(),
        std::env::current_exe().unwrap().display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bench
}

/// libtest doesn't know the helper's argument: a script stands between.
fn program(bench: &Bench) -> PathBuf {
    bench.dir.join("helper")
}

fn owner(bench: &Bench) -> Child {
    let owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "entry_owner", "--nocapture"])
        .env(OWNER, &bench.dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the owner to be ready", || bench.dir.join("ready").exists());
    owner
}

const STARTED: &str = "a start\nb start\nc start\nhang start\n";

#[test]
fn the_dead_mans_order_is_carried_out_when_the_daemon_is_killed() {
    let bench = prepared("killed");
    let mut owner = owner(&bench);
    assert_eq!(bench.events(), STARTED);
    owner.kill().unwrap();
    owner.wait().unwrap();
    bench.wait_for_log("all resources are given up");
    let events = bench.events();
    let rest: Vec<_> = events.strip_prefix(STARTED).unwrap().lines().collect();
    assert_eq!(rest[..2], ["release 192.168.85.3", "release fd00::3"], "addresses first: {rest:?}");
    let at = |line: &str| rest.iter().position(|l| *l == line).unwrap_or_else(|| panic!("{line}"));
    assert!(at("b stop") < at("a stop") && at("c stop") > 1, "{rest:?}");
    assert_eq!(rest.len(), 5, "nothing else is touched: {rest:?}");
    assert!(bench.log().contains("CRIT: heartbeat is gone without a farewell"));
    let helper = fs::read_to_string(bench.dir.join("ready")).unwrap();
    wait_until("the helper to end", || !alive(&helper));
}

#[test]
fn a_stopped_daemon_is_not_a_dead_one() {
    let bench = prepared("stopped");
    let mut owner = owner(&bench);
    let pid = rustix::process::Pid::from_child(&owner);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bench.events(), STARTED);
    owner.kill().unwrap();
    owner.wait().unwrap();
    bench.wait_for_log("all resources are given up");
}

#[test]
fn after_a_farewell_nothing_is_touched() {
    let bench = prepared("orderly");
    let mut owner = owner(&bench);
    fs::write(bench.dir.join("leave"), "").unwrap();
    assert!(owner.wait().unwrap().success());
    let helper = fs::read_to_string(bench.dir.join("ready")).unwrap();
    wait_until("the helper to end", || !alive(&helper));
    assert_eq!(bench.events(), STARTED);
    assert!(!bench.log().contains("farewell"), "{}", bench.log());
}

#[test]
fn a_stop_that_hangs_is_given_up_and_the_rest_goes_on() {
    let mut bench = Bench::new("hanging");
    bench.script("a", "echo a $1 >>$EVENTS").script("b", "echo b $1 >>$EVENTS; exec sleep 600");
    let mut helper = bench.group(&["a", "b"]).helper();
    let steps = [Step { group: 0, resource: 1 }, Step { group: 0, resource: 0 }];
    helper.send(&ToHelper::StandingOrder(Steps::from_slice(&steps).unwrap())).unwrap();
    let started = Instant::now();
    drop(helper);
    bench.wait_for_log("CRIT: something could not be given up: reboot this node");
    assert_eq!(bench.events(), "b stop\na stop\n");
    let took = started.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_helper_that_dies_is_noticed_and_its_successor_knows_everything() {
    let mut bench = Bench::new("respawn");
    bench.script("a", "echo a $1 >>$EVENTS");
    let mut helper = bench.group(&["a"]).helper();
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, Outcome::Exit(0));
    let steps = Steps::from_slice(&[Step { group: 0, resource: 0 }]).unwrap();
    helper.send(&ToHelper::StandingOrder(steps)).unwrap();

    let first = helper.pid();
    let pid = rustix::process::Pid::from_raw(first.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until("the end of the helper", || helper.receive() == Received::Gone);
    assert_eq!(helper.send(&ToHelper::Abort { ticket: 1 }), Err(SendError::Gone));
    wait_until("its status", || helper.exit_status().is_some());

    helper.respawn().unwrap();
    assert_ne!(helper.pid(), first);
    assert_eq!(run(&mut helper, 0, 0, Verb::Stop).0, Outcome::Exit(0));
    assert_eq!(bench.events(), "a start\na stop\n");
    drop(helper);
    bench.wait_for_log("all resources are given up");
    assert_eq!(bench.events(), "a start\na stop\na stop\n");
}

#[test]
fn orders_survive_a_helper_that_does_not_read_and_log_lines_do_not() {
    let mut bench = Bench::new("stalled");
    bench.script("a", "echo a $1 >>$EVENTS");
    let mut helper: Helper = bench.group(&["a"]).helper();
    let pid = rustix::process::Pid::from_raw(helper.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let line = ToHelper::Log { level: hb_linux::log::Level::Info, at: 0, text: "flood" };
    let started = Instant::now();
    for _ in 0..5000 {
        helper.send(&line).unwrap();
    }
    let dropped = helper.take_dropped();
    assert!(dropped > 100, "the socket took everything: {dropped}");
    order(&mut helper, 1, 0, 0, Verb::Start);
    order(&mut helper, 2, 0, 0, Verb::Stop);
    assert!(helper.wants_write(), "the orders wait");
    assert!(started.elapsed() < Duration::from_secs(3), "sending waited for the helper");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    wait_until("room for the orders", || {
        helper.flush().unwrap();
        !helper.wants_write()
    });
    assert_eq!((done(&mut helper).0, done(&mut helper).0), (1, 2));
    farewell(helper);
    assert_eq!(bench.events(), "a start\na stop\n");
    assert_eq!(bench.log().matches("INFO: flood").count(), 5000 - dropped as usize);
}

#[test]
fn the_helper_refuses_to_be_started_by_hand() {
    let program = env!("CARGO_BIN_EXE_heartbeatd");
    let mut command = Command::new(program);
    let output = command.arg(resources::HELPER_ARGUMENT).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("heartbeatd's own use"));
}
