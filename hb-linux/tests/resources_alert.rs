//! The operator's alert script: what it is told, what becomes of one that hangs or fails, and that nothing waits
//! for it.

mod resources_bench;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hb_linux::resources::{AlertKind, Helper, Outcome, ToHelper, Verb};
use resources_bench::{Bench, alive, farewell, run, wait_until};

/// A bench whose alert script has this body.
fn bench(name: &str, body: &str) -> Bench {
    let mut bench = Bench::new(name);
    bench.script("alert", body).script("maid", "exit 0");
    bench.alert = Some(bench.dir.join("resource.d/alert"));
    bench.group(&["maid"]);
    bench
}

fn raise(helper: &mut Helper, kind: AlertKind, subject: &str) {
    let text = format!("something about {subject}; $(touch /tmp/never)");
    helper.send(&ToHelper::Alert { kind, subject, text: &text }).unwrap();
}

#[test]
fn a_script_is_told_what_happened_by_arguments_and_environment() {
    let body = r#"printf '%s|' "$@" "$HA_ALERT" "$HA_SUBJECT" "$HA_CURHOST" "$HA_PEER" >>$EVENTS
echo "$HA_TEXT" >>$EVENTS; echo sent"#;
    let bench = bench("alert-told", body);
    let mut helper = bench.helper();
    raise(&mut helper, AlertKind::LinkLost, "eth1");
    wait_until("the script has run", || bench.events().ends_with('\n'));
    assert_eq!(
        bench.events(),
        "link-lost|eth1|something about eth1; $(touch /tmp/never)|link-lost|eth1|linuxha1|linuxha2|\
         something about eth1; $(touch /tmp/never)\n"
    );
    bench.wait_for_log("INFO: alert link-lost: sent");
    assert!(!Path::new("/tmp/never").exists(), "nobody expands it");
    farewell(helper);
}

#[test]
fn alerts_run_one_after_the_other_and_a_failure_is_told() {
    // What it prints wakes the helper while it runs.
    let body = "echo \"begin $2\" >>$EVENTS; echo said; sleep 0.2; echo \"end $2\" >>$EVENTS; test $2 != a";
    let bench = bench("alert-order", body);
    let mut helper = bench.helper();
    for subject in ["a", "b", "c"] {
        raise(&mut helper, AlertKind::GroupFailed, subject);
    }
    wait_until("all three have run", || bench.events().contains("end c"));
    assert_eq!(bench.events(), "begin a\nend a\nbegin b\nend b\nbegin c\nend c\n");
    bench.wait_for_log("ERROR: alert group-failed: its script failed (exit status: 1)");
    farewell(helper);
}

/// One that hangs costs nobody else anything, and is killed with all that it started.
#[test]
fn one_that_hangs_is_killed_and_keeps_nobody_waiting() {
    let body = "trap '' TERM; sleep 300 & echo $! >>$EVENTS; echo $$ >>$EVENTS; wait; sleep 300";
    let bench = bench("alert-hangs", body);
    let mut helper = bench.helper();
    raise(&mut helper, AlertKind::Fenced, "linuxha2");
    wait_until("it hangs", || bench.events().lines().count() == 2);
    let began = Instant::now();
    assert_eq!(run(&mut helper, 0, 0, Verb::Start), (Outcome::Exit(0), None), "resources go on");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // More than can wait are left out, and told.
    for _ in 0..20 {
        raise(&mut helper, AlertKind::LinkLost, "eth1");
    }
    bench.wait_for_log("alert link-lost is not sent: 16 others wait");
    bench.wait_for_log("alert fenced: its script takes longer than 10 s, being killed");
    let child = bench.events().lines().next().unwrap().to_owned();
    wait_until("what it started is gone", || !alive(&child));
    let script = Path::new("/proc").join(bench.events().lines().nth(1).unwrap());
    wait_until("no zombie is left", || !script.exists());
    let running = "alert link-lost: running";
    wait_until("the next one runs", || bench.log().contains(running));
    farewell(helper);
}

#[test]
fn a_script_that_can_not_be_run_is_told() {
    let mut bench = bench("alert-missing", "exit 0");
    bench.alert = Some(bench.dir.join("nowhere"));
    let mut helper = bench.helper();
    raise(&mut helper, AlertKind::DongleLost, "dongle");
    bench.wait_for_log("nowhere can't be run: No such file or directory");
    farewell(helper);
}

/// The example of the book, with stand-ins for the programs that it calls.
#[test]
fn the_example_mails_and_posts() {
    let bench = Bench::new("alert-example");
    let note = |name: &str| {
        bench.script(name, &format!("echo \"{name} $*\" >>$EVENTS; cat >>$EVENTS; exit 0"));
    };
    ["mail", "curl", "logger"].into_iter().for_each(note);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkg/examples/alert");
    let text = fs::read_to_string(example).unwrap();
    let with_hook = text.replace("# WEBHOOK=", "WEBHOOK=");
    assert_ne!(text, with_hook);
    bench.file("alert", &with_hook, 0o755);
    let path = format!("{}:/usr/bin:/bin", bench.dir.join("resource.d").display());
    let status = Command::new(bench.dir.join("resource.d/alert"))
        .args(["fenced", "linuxha2", "linuxha2 was reset"])
        .env("PATH", path)
        .envs([
            ("HA_ALERT", "fenced"),
            ("HA_SUBJECT", "linuxha2"),
            ("HA_TEXT", "linuxha2 was reset"),
        ])
        .envs([("HA_CURHOST", "linuxha1"), ("HA_LOGFILE", "/var/log/ha-log")])
        .stdin(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    for part in [
        "mail -s heartbeat on linuxha1: fenced linuxha2 root\n",
        "linuxha2 was reset\n",
        "curl --silent",
        "https://example.org/hooks/heartbeat",
        "logger -p daemon.crit -t heartbeat fenced linuxha2: linuxha2 was reset",
    ] {
        assert!(bench.events().contains(part), "{part:?} in:\n{}", bench.events());
    }
}
