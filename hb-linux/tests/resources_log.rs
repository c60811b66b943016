//! The log as the helper keeps it: form, rotation, full disk; and the daemon's side without an
//! allocation.

mod resources_bench;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use hb_linux::log::{CRIT, Level, Sink};
use hb_linux::resources::{FromHelper, Outcome, Received, Step, Steps, ToHelper, Verb};
use resources_bench::{Bench, farewell, run, wait_until};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything on to the system's allocator; the counter is a plain thread-local cell
// without a destructor, so it can't allocate itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn say(helper: &mut hb_linux::resources::Helper, text: &str) {
    let at = hb_linux::log::wall_time();
    helper.send(&ToHelper::Log { level: Level::Info, at, text }).unwrap();
}

/// `1999/09/16_09:13:25 INFO: text`: digits where the guide has digits, and a level.
fn has_the_guides_form(line: &str) -> bool {
    let Some((stamp, rest)) = line.split_at_checked(19) else { return false };
    let pattern = "dddd/dd/dd_dd:dd:dd";
    let digits = stamp
        .chars()
        .zip(pattern.chars())
        .all(|(c, p)| if p == 'd' { c.is_ascii_digit() } else { c == p });
    let level = rest.trim_start().split(':').next().unwrap_or_default();
    digits && rest.starts_with(' ') && ["INFO", "WARN", "ERROR", "CRIT"].contains(&level)
}

#[test]
fn lines_of_the_daemon_and_of_scripts_have_the_guides_form() {
    let mut bench = Bench::new("form");
    bench.script("a", "printf 'one\\033[31m\\ntwo\\r\\n\\nthree'; exit 1");
    let mut helper = bench.group(&["a"]).helper();
    let sink = Sink::new(false);
    sink.divert(Some(helper.log_socket().unwrap()));
    tracing::subscriber::with_default(sink.clone(), || {
        tracing::info!(target: "heartbeatd", "heartbeat starting.");
        tracing::warn!(target: "heartbeatd", "node {}: is late", "linuxha2");
        tracing::error!(target: CRIT, "no\nforged line");
    });
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, Outcome::Exit(1));
    sink.divert(None);
    farewell(helper);
    let log = bench.log();
    for line in log.lines() {
        assert!(has_the_guides_form(line), "{line:?}");
    }
    for part in [
        "INFO: heartbeat starting.\n",
        "WARN: node linuxha2: is late\n",
        "CRIT: no?forged line\n",
        "INFO: a: one?[31m\n",
        "INFO: a: two\n",
        "INFO: a: three\n",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
    assert_eq!(sink.take_dropped(), 0);
}

#[test]
fn a_rotated_log_is_begun_anew() {
    let bench = Bench::new("rotated");
    let mut helper = bench.helper();
    say(&mut helper, "before");
    bench.wait_for_log("before");
    fs::rename(&bench.logfile, bench.dir.join("ha-log.1")).unwrap();
    // SIGHUP is what logrotate's postrotate sends; without it the helper looks once a second.
    let pid = rustix::process::Pid::from_raw(helper.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    say(&mut helper, "after");
    bench.wait_for_log("after");
    fs::remove_file(&bench.logfile).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    say(&mut helper, "removed");
    bench.wait_for_log("removed");
    farewell(helper);
    let old = fs::read_to_string(bench.dir.join("ha-log.1")).unwrap();
    assert!(old.ends_with("before\n") && !bench.log().contains("after"), "{old}");
}

#[test]
fn a_full_disk_stops_no_script_and_is_reported() {
    let mut bench = Bench::new("full");
    bench.logfile = PathBuf::from("/dev/full");
    bench.script("a", "echo $1; echo a $1 >>$EVENTS");
    let mut helper = bench.group(&["a"]).helper();
    say(&mut helper, "lost");
    let mut lost = 0;
    wait_until("the report of lost lines", || {
        match helper.receive() {
            Received::Message(FromHelper::LogDropped { lines }) => lost += lines,
            Received::Nothing => {}
            other => panic!("{other:?}"),
        }
        lost > 0
    });
    assert_eq!(run(&mut helper, 0, 0, Verb::Start).0, Outcome::Exit(0));
    farewell(helper);
    assert_eq!(bench.events(), "a start\n");
}

#[test]
fn the_daemons_side_allocates_nothing_once_it_runs() {
    let mut bench = Bench::new("alloc");
    bench.script("a", "echo running");
    let mut helper = bench.group(&["a"]).helper();
    let sink = Sink::new(false);
    sink.divert(Some(helper.log_socket().unwrap()));
    let steps = Steps::from_slice(&[Step { group: 0, resource: 0 }]).unwrap();
    let mut answers = 0;
    let mut round = |n: u64| {
        let before = ALLOCATIONS.get();
        tracing::info!(target: "heartbeatd", n, text = "x", "heartbeat round");
        tracing::debug!(target: "heartbeatd", "not wanted");
        let step = Step { group: 0, resource: 0 };
        helper.send(&ToHelper::Run { ticket: 1, step, verb: Verb::Status }).unwrap();
        helper.send(&ToHelper::StandingOrder(steps.clone())).unwrap();
        helper.flush().unwrap();
        let mut allocated = ALLOCATIONS.get() - before;
        loop {
            let before = ALLOCATIONS.get();
            let received = helper.receive();
            allocated += ALLOCATIONS.get() - before;
            match received {
                Received::Message(FromHelper::Started { .. }) => {}
                Received::Message(FromHelper::Done { held, .. }) => {
                    assert_eq!(held, Some(true));
                    answers += 1;
                    return allocated;
                }
                Received::Nothing => std::thread::sleep(std::time::Duration::from_millis(1)),
                other => panic!("{other:?}"),
            }
        }
    };
    tracing::subscriber::with_default(sink.clone(), || {
        // tracing makes itself known to its subscriber at each line's first event.
        round(0);
        let allocated: u64 = (1..20).map(&mut round).sum();
        assert_eq!(allocated, 0);
    });
    assert_eq!(answers, 20);
    sink.divert(None);
    farewell(helper);
    assert_eq!(bench.log().matches("INFO: heartbeat round n=").count(), 20, "{}", bench.log());
}
