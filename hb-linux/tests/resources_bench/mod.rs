//! A temporary /etc/ha.d with scripts, and a helper that works on it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hb_linux::config::{AddressSpec, GroupLine, ResourceLine};
use hb_linux::resources::{
    FromHelper, Helper, Outcome, Received, Setup, Step, ToHelper, Verb, script_dirs,
};

/// Longer than anything here should take, even on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Bench {
    pub dir: PathBuf,
    pub groups: Vec<GroupLine>,
    pub logfile: PathBuf,
    /// The operator's alert script.
    pub alert: Option<PathBuf>,
}

impl Bench {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hb-res-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("resource.d")).unwrap();
        Self::at(&dir)
    }

    /// On a directory that another process prepared.
    pub fn at(dir: &Path) -> Self {
        let logfile = dir.join("ha-log");
        Self { dir: dir.to_owned(), groups: Vec::new(), logfile, alert: None }
    }

    /// A shell script; `$EVENTS` is a file for its notes.
    pub fn script(&self, name: &str, body: &str) -> &Self {
        let events = self.dir.join("events");
        let text = format!("#!/bin/sh\nEVENTS={}\n{body}\n", events.display());
        self.file(name, &text, 0o755)
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) -> &Self {
        let path = self.dir.join("resource.d").join(name);
        // Another test's fork may hold a file that is written in place (ETXTBSY): rename it there.
        let draft = self.dir.join(format!("{name}.draft"));
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&draft, &path).unwrap();
        self
    }

    /// Adds a group: `SCRIPT::arg::arg` or an address, as in haresources.
    pub fn group(&mut self, resources: &[&str]) -> &mut Self {
        let resources = resources.iter().map(|&written| line(written)).collect();
        let node = "linuxha1".to_owned();
        self.groups.push(GroupLine { line: self.groups.len() + 1, node, resources });
        self
    }

    pub fn helper(&self) -> Helper {
        self.helper_by(Path::new(env!("CARGO_BIN_EXE_heartbeatd")))
    }

    pub fn helper_by(&self, program: &Path) -> Helper {
        let mut helper = Helper::spawn_program(program).unwrap();
        self.configure(&mut helper);
        helper
    }

    pub fn configure(&self, helper: &mut Helper) {
        let dirs = script_dirs(&self.dir);
        let setup = Setup {
            node: "linuxha1",
            config_dir: &self.dir,
            script_dirs: dirs.iter().map(PathBuf::as_path).collect(),
            logfile: &self.logfile,
            debugfile: None,
            stop_timeout_ms: 3000,
            companions: Vec::new(),
            alert: self.alert.as_deref(),
            peer: "linuxha2",
        };
        helper.configure(&setup, &self.groups).unwrap();
    }

    pub fn events(&self) -> String {
        fs::read_to_string(self.dir.join("events")).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.logfile).unwrap_or_default()
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_until(&format!("{part:?} in the log"), || self.log().contains(part));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn line(written: &str) -> ResourceLine {
    let written = written.to_owned();
    if let Ok(ip) = written.parse() {
        let spec = AddressSpec { ip, prefix: None, interface: None, label: None, broadcast: None };
        return ResourceLine::Address { written, spec };
    }
    let mut words = written.split("::").map(str::to_owned);
    let script = words.next().unwrap();
    let args = words.collect();
    ResourceLine::Script { written, script, args }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn order(helper: &mut Helper, ticket: u32, group: u8, resource: u8, verb: Verb) {
    let step = Step { group, resource };
    helper.send(&ToHelper::Run { ticket, step, verb }).unwrap();
}

/// The next `Done`: ticket, outcome, held, milliseconds.
pub fn done(helper: &mut Helper) -> (u32, Outcome, Option<bool>, u32) {
    let end = Instant::now() + PATIENCE;
    loop {
        match helper.receive() {
            Received::Message(FromHelper::Done { ticket, outcome, held, duration_ms }) => {
                return (ticket, outcome, held, duration_ms);
            }
            Received::Message(
                FromHelper::LogDropped { .. } | FromHelper::Started { .. } | FromHelper::Keys(_),
            ) => {}
            Received::Nothing => std::thread::sleep(Duration::from_millis(5)),
            Received::Gone => panic!("the helper is gone"),
        }
        assert!(Instant::now() < end, "no answer from the helper");
    }
}

pub fn run(helper: &mut Helper, group: u8, resource: u8, verb: Verb) -> (Outcome, Option<bool>) {
    order(helper, 7, group, resource, verb);
    let (ticket, outcome, held, _) = done(helper);
    assert_eq!(ticket, 7);
    (outcome, held)
}

pub fn farewell(helper: Helper) {
    assert!(helper.farewell(PATIENCE).unwrap(), "the helper didn't end");
}

/// Is there a process of this number that isn't a zombie?
pub fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}
