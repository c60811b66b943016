//! Goal: `hb watchdog` tells what is there without touching it, and resets nothing unasked.
//! Method: the real binary. `show` looks at a fake /sys and /proc; `test` is driven up to where a real device
//! would be opened. That one bites is proved in guests with real drivers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hb_linux::control::OBSERVE_SOCKET;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("hb-watchdog-hb-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("run")).unwrap();
        Self(path)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn hb(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hb"));
        command.arg("watchdog").args(args).arg("--state-dir").arg(self.0.join("state"));
        if args[0] == "test" {
            command.arg("--run-dir").arg(self.0.join("run"));
        }
        command.output().unwrap()
    }

    /// A fake heartbeatd that shows one group in this state.
    fn daemon(&self, state: &str, watchdog: &str) {
        let listener = UnixListener::bind(self.0.join("run").join(OBSERVE_SOCKET)).unwrap();
        let snapshot = format!(
            r#"{{"version":"0.1.0","node":"linuxha1","state":"active",
            "peer":{{"name":"linuxha2","state":"alive","last_heard_ms":43}},"links":[],
            "groups":[{{"name":"192.168.85.3","preferred":"linuxha1","holder":"linuxha1","state":"{state}"}}],
            "arbiter":null,"watchdog":{watchdog},"last_failover":null,"stalls":{{"count":0,"longest_ms":null}}}}"#
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(snapshot.as_bytes()).unwrap();
            }
        });
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn show(scratch: &Scratch) -> Output {
    scratch.hb(&["show", "--root", scratch.0.to_str().unwrap()])
}

#[test]
fn show_tells_each_watchdog_of_a_fake_sysfs() {
    let scratch = Scratch::new("show");
    for (name, value) in [
        ("identity", "i6300ESB timer"),
        ("state", "active"),
        ("timeout", "10"),
        ("options", "0x8180"),
        ("nowayout", "1"),
        ("bootstatus", "0"),
    ] {
        scratch.file(&format!("sys/class/watchdog/watchdog0/{name}"), &format!("{value}\n"));
    }
    scratch.file("sys/class/watchdog/watchdog1/dev", "247:1\n");
    scratch.file("proc/77/comm", "heartbeatd\n");
    fs::create_dir_all(scratch.0.join("proc/77/fd")).unwrap();
    symlink("/dev/watchdog", scratch.0.join("proc/77/fd/9")).unwrap();
    let output = show(&scratch);
    let text = stdout(&output);
    for part in [
        "watchdog0\n",
        "i6300ESB timer",
        "armed: resets this machine",
        "10 s",
        "yes: once armed, only a reset ends it",
        "heartbeatd (process 77)",
        "watchdog1\n",
        "built without CONFIG_WATCHDOG_SYSFS",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn show_says_plainly_that_there_is_none() {
    let output = show(&Scratch::new("none"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("modprobe softdog"), "{}", stdout(&output));
}

#[test]
fn test_asks_for_consent_and_touches_nothing_without() {
    let scratch = Scratch::new("consent");
    let output = scratch.hb(&["test"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--reset-this-machine"), "{}", stderr(&output));
    assert!(!scratch.0.join("state").exists());
    assert_eq!(scratch.hb(&["test", "--result"]).status.code(), Some(3), "no test was made");
}

/// /dev/null is a character device and no watchdog: the refusals come before it is opened.
const ARMED: [&str; 4] = ["test", "--reset-this-machine", "--device", "/dev/null"];

#[test]
fn test_is_refused_on_a_node_that_serves_or_may_serve() {
    for (name, state, watchdog, said) in [
        ("serves", "running", "null", "`hb stop` gives it to linuxha2 first"),
        ("stops", "stopping", "null", "192.168.85.3 (stopping)"),
        (
            "holds",
            "stopped",
            r#"{"device":"/dev/watchdog","timeout_s":10,"armed":true}"#,
            "heartbeatd has the watchdog",
        ),
    ] {
        let scratch = Scratch::new(name);
        scratch.daemon(state, watchdog);
        let output = scratch.hb(&ARMED);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(said), "{name}: {}", stderr(&output));
        assert!(!scratch.0.join("state").exists(), "{name}: nothing was stored");
    }
    let mute = Scratch::new("mute");
    let _listener = UnixListener::bind(mute.0.join("run").join(OBSERVE_SOCKET)).unwrap();
    let output = mute.hb(&ARMED);
    assert!(stderr(&output).contains("is not known"), "{}", stderr(&output));
}

#[test]
fn what_is_no_watchdog_is_told_and_remembered_as_no_proof() {
    let scratch = Scratch::new("null");
    scratch.daemon("stopped", "null");
    let output = scratch.hb(&ARMED);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a watchdog device"), "{}", stderr(&output));
    let output = scratch.hb(&["test", "--result"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("nothing was tested"), "{}", stdout(&output));
    let missing = ["test", "--reset-this-machine", "--device", "/dev/hb-no-watchdog"];
    let output = scratch.hb(&missing);
    assert!(stderr(&output).contains("modprobe softdog"), "{}", stderr(&output));
    assert!(Path::new("/dev/null").exists());
}

/// A record of another boot of the kernel is what a reset leaves: its writing is what is faked here.
#[test]
fn after_a_reset_result_and_show_say_when_it_bit() {
    let scratch = Scratch::new("bitten");
    scratch.file(
        "state/watchdog_test.json",
        r#"{"device":"/dev/watchdog9","identity":"Software Watchdog","timeout_s":10,"fed_at":1,
        "kernel_boot":"another","survived":null}"#,
    );
    scratch.file("state/watchdog_test.alive", "     10100\n");
    let output = scratch.hb(&["test", "--result"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("it bit, 10.1 s after"), "{}", stdout(&output));
    let text = stdout(&show(&scratch)).to_owned();
    assert!(text.contains("last test: /dev/watchdog9 (Software Watchdog)"), "{text}");
}
