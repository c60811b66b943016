//! The helper with real scripts: what is run, how it is judged, how it ends.

mod resources_bench;

use std::fs;
use std::time::{Duration, Instant};

use hb_linux::resources::{Outcome, ToHelper, Verb};
use resources_bench::{Bench, alive, done, farewell, order, run, wait_until};

const OK: Outcome = Outcome::Exit(0);

#[test]
fn start_stop_and_status_of_a_script() {
    let mut bench = Bench::new("plain");
    let state = bench.dir.join("state");
    bench.script(
        "demo-web",
        &format!(
            "echo \"$*\" >>$EVENTS\ncase $2 in start) touch {0};; stop) rm -f {0};;\n\
             status) test -e {0} && echo running || echo stopped;; esac",
            state.display()
        ),
    );
    let mut helper = bench.group(&["demo-web::8080"]).helper();
    assert_eq!(run(&mut helper, 0, 0, Verb::Status), (OK, Some(false)));
    assert_eq!(run(&mut helper, 0, 0, Verb::Start), (OK, None));
    assert_eq!(run(&mut helper, 0, 0, Verb::Status), (OK, Some(true)));
    assert_eq!(run(&mut helper, 0, 0, Verb::Stop), (OK, None));
    assert_eq!(run(&mut helper, 0, 0, Verb::Status), (OK, Some(false)));
    farewell(helper);
    let expected = "8080 status\n8080 start\n8080 status\n8080 stop\n8080 status\n";
    assert_eq!(bench.events(), expected);
    let path = bench.dir.join("resource.d/demo-web");
    assert!(bench.log().contains(&format!(" INFO: Running {} 8080 start\n", path.display())));
}

#[test]
fn failures_are_reported_and_logged() {
    let mut bench = Bench::new("fail");
    bench.script("bad", "echo no disk >&2; exit 3").script("killed", "kill -9 $$");
    bench.file("plain", "echo hi\n", 0o755).file("notes", "#!/bin/sh\n", 0o644);
    let names = ["bad", "killed", "plain", "notes", "hb-nowhere", "../bad", "192.168.85.3"];
    let mut helper = bench.group(&names).helper();
    let outcomes: Vec<_> = (0..8).map(|i| run(&mut helper, 0, i, Verb::Start).0).collect();
    let (enoent, eacces, enoexec, einval) = (2, 13, 8, 22);
    assert_eq!(
        outcomes,
        [
            Outcome::Exit(3),
            Outcome::Signal(9),
            Outcome::SpawnFailed(enoexec),
            Outcome::SpawnFailed(eacces),
            Outcome::SpawnFailed(enoent),
            Outcome::SpawnFailed(einval),
            Outcome::SpawnFailed(einval),
            Outcome::SpawnFailed(einval),
        ]
    );
    farewell(helper);
    let log = bench.log();
    for part in [
        "INFO: bad: no disk",
        "ERROR: Return code 3 from ",
        "ERROR: Signal 9 ended ",
        "#!/bin/sh",
        "chmod 755",
        "'hb-nowhere' not found; searched ",
        "resource.d (not there), /etc/rc.d/init.d (not there), /etc/init.d (not there)",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
}

#[test]
fn status_is_judged_by_its_standard_output() {
    let mut bench = Bench::new("judge");
    bench
        .script("liar", "echo is not running; exit 0")
        .script("silent", "exit 3")
        .script("unsure", "exit 4")
        .script("noisy", "echo 'warning: not running as root' >&2; echo running; exit 1")
        .script("late", "head -c 5000 /dev/zero; echo running");
    let mut helper = bench.group(&["liar", "silent", "unsure", "noisy", "late"]).helper();
    let held: Vec<_> = (0..5).map(|i| run(&mut helper, 0, i, Verb::Status).1).collect();
    assert_eq!(held, [Some(false), Some(false), None, Some(true), Some(false)]);
    farewell(helper);
}

#[test]
fn a_script_gets_a_clean_and_ordinary_place() {
    let mut bench = Bench::new("place");
    bench.script(
        "look",
        "env | sort; echo pwd=$PWD; ls -l /proc/self/fd\n\
         grep -E 'Sig(Blk|Ign)|Threads' /proc/self/status; cat /proc/self/oom_score_adj\n\
         cut -d' ' -f5,6,18,19 /proc/$$/stat; echo $$; umask; readlink /proc/$$/fd/0",
    );
    let mut helper = bench.group(&["look"]).helper();
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, OK);
    let session = helper.pid();
    farewell(helper);
    let log = bench.log();
    let dir = bench.dir.display();
    for part in [
        &format!("look: HA_DIR={dir}\n"),
        &format!("look: HA_LOGFILE={dir}/ha-log\n"),
        "look: HA_CURHOST=linuxha1\n",
        "look: PATH=/usr/local/sbin:",
        "look: pwd=/\n",
        "look: SigBlk: 0000000000000000\n",
        "look: 0022\n",
        "look: /dev/null\n",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
    // Signals up to 31: whoever runs the test may ignore realtime ones for good.
    let ignored = log.split("SigIgn: ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7FFF_FFFF, 0, "{ignored}");
    for ours in ["socket:", "pidfd", "ha-log\n"] {
        assert!(!log.contains(&format!("-> {ours}")), "{ours} is inherited:\n{log}");
    }
    assert!(!log.contains("CARGO"), "the daemon's environment leaks:\n{log}");
    assert!(log.contains(&format!(" {session} 20 0\n")), "session, priority, nice:\n{log}");
}

#[test]
fn one_script_at_a_time_in_a_group_and_groups_side_by_side() {
    let mut bench = Bench::new("parallel");
    bench.script("slow", "echo begin $1 >>$EVENTS; sleep 0.5; echo end $1 >>$EVENTS");
    let mut helper = bench.group(&["slow::a", "slow::b"]).group(&["slow::c"]).helper();
    let started = Instant::now();
    order(&mut helper, 1, 0, 0, Verb::Start);
    order(&mut helper, 2, 0, 1, Verb::Start);
    order(&mut helper, 3, 1, 0, Verb::Start);
    let mut tickets: Vec<_> = (0..3).map(|_| done(&mut helper).0).collect();
    assert!(started.elapsed() < Duration::from_millis(1450), "{:?}", started.elapsed());
    assert_eq!(tickets.pop(), Some(2));
    farewell(helper);
    let events = bench.events();
    let at = |event: &str| events.find(event).unwrap_or_else(|| panic!("{event} in {events}"));
    assert!(at("end a") < at("begin b") && at("begin c") < at("end a"), "{events}");
}

#[test]
fn a_full_queue_refuses_and_a_waiting_order_can_be_aborted() {
    let mut bench = Bench::new("queue");
    bench.script("slow", "echo ran >>$EVENTS; exec sleep 60");
    let mut helper = bench.group(&["slow"]).helper();
    order(&mut helper, 1000, 0, 0, Verb::Start);
    wait_until("the first to run", || bench.events() == "ran\n");
    for ticket in 0..33 {
        order(&mut helper, ticket, 0, 0, Verb::Start);
    }
    let (ticket, outcome, ..) = done(&mut helper);
    assert_eq!((ticket, outcome), (32, Outcome::SpawnFailed(11)));
    for ticket in (0..32).chain([1000]) {
        helper.send(&ToHelper::Abort { ticket }).unwrap();
        let (answered, outcome, ..) = done(&mut helper);
        assert_eq!((answered, outcome), (ticket, Outcome::Aborted));
    }
    helper.send(&ToHelper::Abort { ticket: 5 }).unwrap();
    farewell(helper);
    assert_eq!(bench.events(), "ran\n");
}

#[test]
fn abort_ends_the_whole_process_group_with_grandchildren() {
    let mut bench = Bench::new("abort");
    bench.script("hang", "(sh -c 'sleep 600' & echo $! >>$EVENTS; wait) & wait");
    let mut helper = bench.group(&["hang"]).helper();
    order(&mut helper, 5, 0, 0, Verb::Start);
    wait_until("the grandchild", || bench.events().ends_with('\n'));
    let pid = bench.events();
    assert!(alive(&pid));
    let started = Instant::now();
    helper.send(&ToHelper::Abort { ticket: 5 }).unwrap();
    let (ticket, outcome, held, _) = done(&mut helper);
    assert_eq!((ticket, outcome, held), (5, Outcome::Aborted, None));
    assert!(!alive(&pid));
    assert!(started.elapsed() < Duration::from_millis(900), "SIGTERM should have been enough");
    farewell(helper);
}

#[test]
fn a_script_that_ignores_sigterm_is_killed_after_a_second() {
    let mut bench = Bench::new("stubborn");
    // The leader goes at once; the child, of the same group, must be waited for and killed.
    bench.script(
        "hang",
        "(trap '' TERM; sh -c 'echo $PPID' >>$EVENTS; while :; do sleep 0.1; done) & wait",
    );
    bench.script("deaf", "trap '' TERM; echo $$ >>$EVENTS; while :; do sleep 0.1; done");
    let mut helper = bench.group(&["hang", "deaf"]).helper();
    for (ticket, resource) in [(5, 0), (6, 1)] {
        let _ = fs::remove_file(bench.dir.join("events"));
        order(&mut helper, ticket, 0, resource, Verb::Stop);
        wait_until("the script", || bench.events().ends_with('\n'));
        let group = bench.events().trim().to_owned();
        let started = Instant::now();
        helper.send(&ToHelper::Abort { ticket }).unwrap();
        assert_eq!(done(&mut helper).1, Outcome::Aborted);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(2), "{took:?}");
        assert!(!alive(&group), "{group} lives on");
    }
    farewell(helper);
}

#[test]
fn a_service_that_keeps_the_output_open_delays_nothing_and_lives_on() {
    let mut bench = Bench::new("daemon");
    bench.script(
        "service",
        "setsid sh -c 'for i in 1 2 3 4 5 6; do sleep 0.2; echo beat $i; done; echo >>$0 through' \
         $EVENTS & echo started",
    );
    let mut helper = bench.group(&["service"]).helper();
    let started = Instant::now();
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, OK);
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    wait_until("the service to get through", || bench.events() == "through\n");
    bench.wait_for_log("INFO: service: beat 6\n");
    farewell(helper);
}

#[test]
fn a_script_that_prints_for_ever_fills_neither_memory_nor_the_log() {
    let mut bench = Bench::new("flood");
    bench.script("yes", "exec yes the same line again");
    bench.script("wide", "exec tr '\\0' x </dev/zero");
    bench.script("talk", "yes is running | head -c 100000000");
    let mut helper = bench.group(&["yes", "wide", "talk"]).helper();
    for resource in [0, 1] {
        order(&mut helper, 9, 0, resource, Verb::Start);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(memory_kib(helper.pid()) < 16_000, "{} KiB", memory_kib(helper.pid()));
        helper.send(&ToHelper::Abort { ticket: 9 }).unwrap();
        assert_eq!(done(&mut helper).1, Outcome::Aborted);
    }
    assert_eq!(run(&mut helper, 0, 2, Verb::Status), (OK, Some(true)));
    farewell(helper);
    let log = bench.log();
    assert!(log.len() < 30_000, "{} bytes", log.len());
    assert_eq!(log.matches("yes: the same line again").count(), 100);
    assert!(log.contains("more lines, not logged"), "{log}");
}

#[test]
fn a_script_may_close_its_output_and_go_on() {
    let mut bench = Bench::new("closed");
    bench.script("quiet", "exec >&- 2>&-; sleep 0.5; exit 5");
    let mut helper = bench.group(&["quiet"]).helper();
    order(&mut helper, 3, 0, 0, Verb::Start);
    let before = cpu_ticks(helper.pid());
    let (_, outcome, _, duration_ms) = done(&mut helper);
    assert_eq!(outcome, Outcome::Exit(5));
    // Counted from when the helper knows of it: a moment after the script began to sleep.
    assert!((450..3000).contains(&duration_ms), "{duration_ms}");
    assert!(cpu_ticks(helper.pid()) - before < 10, "the helper spins on a closed pipe");
    farewell(helper);
}

#[test]
fn the_helper_is_small_single_threaded_and_survives_the_signals_of_a_service_manager() {
    let mut bench = Bench::new("small");
    bench.script("true", "exit 0");
    let mut helper = bench.group(&["true"]).helper();
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, OK);
    let status = fs::read_to_string(format!("/proc/{}/status", helper.pid())).unwrap();
    assert!(status.contains("Threads:\t1\n"), "{status}");
    let pid = rustix::process::Pid::from_raw(helper.pid().cast_signed()).unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert_eq!(run(&mut helper, 0, 0, Verb::Stop).0, OK);
    let kib = memory_kib(helper.pid());
    println!("the helper's resident memory: {kib} KiB, {} private", private_kib(helper.pid()));
    assert!(private_kib(helper.pid()) < 2048 && kib < 8192);
    farewell(helper);
}

fn memory_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn private_kib(pid: u32) -> u64 {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
