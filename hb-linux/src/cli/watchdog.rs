//! `hb watchdog show` and `hb watchdog test`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{RunDir, fail};
use crate::control::client::{self, ClientError};
use crate::control::snapshot::GroupState;
use crate::watchdog::survey::{Seen, number_of, survey};
use crate::watchdog::trial::{InWords, Store, Survived};
use crate::watchdog::{Closed, Device, OpenError, Watchdog};

/// `hb watchdog test --result` before any test.
const NO_TEST: u8 = 3;

/// What to do with watchdogs.
#[derive(Subcommand)]
pub enum WatchdogTask {
    /// Every watchdog of this machine, without opening one. Exit 0: there is one, 1: there is none
    Show(Show),
    /// Prove that the watchdog resets this machine: arm it, stop feeding it. Exit 1: it didn't
    Test(Test),
}

/// Options of `hb watchdog show`.
#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    state_dir: StateDir,
    /// Another root directory (tests)
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

/// Options of `hb watchdog test`.
#[derive(Args)]
pub struct Test {
    /// Yes: reset this machine, now
    #[arg(long)]
    reset_this_machine: bool,
    /// How the last test ended. Exit 0: it bit, 1: it did not, or that is not known, 3: there was none
    #[arg(long, conflicts_with = "reset_this_machine")]
    result: bool,
    /// The device
    #[arg(long, value_name = "DEVICE", default_value = "/dev/watchdog")]
    device: PathBuf,
    /// The time-out to ask for
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
    #[command(flatten)]
    state_dir: StateDir,
    #[command(flatten)]
    run_dir: RunDir,
}

/// Where the test's result is kept.
#[derive(Args)]
struct StateDir {
    /// Directory of what must outlive the reset
    #[arg(long, value_name = "DIR", default_value = "/var/lib/heartbeat")]
    state_dir: PathBuf,
}

/// Runs one of them.
pub fn main(task: &WatchdogTask) -> ExitCode {
    match task {
        WatchdogTask::Show(args) => show(args),
        WatchdogTask::Test(args) if args.result => result(&args.state_dir.state_dir),
        WatchdogTask::Test(args) => test(args),
    }
}

fn show(args: &Show) -> ExitCode {
    let found = match survey(&args.root) {
        Ok(found) => found,
        Err(error) => return fail(&format!("/sys/class/watchdog: {error}")),
    };
    let _ = super::print(&picture(&found));
    match Store::new(&args.state_dir.state_dir).last() {
        Ok(None) => {}
        Ok(Some((trial, outcome))) => {
            let _ = super::print(&format!("\nlast test: {}\n", InWords(&trial, &outcome)));
        }
        Err(error) => eprintln!("hb: the last test's result can't be read: {error}"),
    }
    if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn picture(found: &[Seen]) -> String {
    if found.is_empty() {
        return "no watchdog: load the board's driver, or the kernel's own: modprobe softdog\n"
            .to_owned();
    }
    let mut text = String::new();
    for (at, watchdog) in found.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        let _ = write!(text, "{gap}watchdog{}\n{watchdog}", watchdog.number);
    }
    if found.iter().any(|watchdog| !watchdog.has_attributes()) {
        text.push_str(
            "\nThis kernel shows no attributes of watchdogs (it was built without CONFIG_WATCHDOG_SYSFS). Only\n\
             opening the device would tell more, and that would arm it: `hb watchdog test` does so.\n",
        );
    }
    text
}

fn result(state_dir: &Path) -> ExitCode {
    match Store::new(state_dir).last() {
        Ok(Some((trial, outcome))) => {
            let words = InWords(&trial, &outcome);
            let _ = super::print(&format!("{words}\n"));
            let recorded = bootstatus(&trial.device);
            if let Some(text) = recorded {
                let _ = super::print(&format!("{text}\n"));
            }
            if words.is_proof() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => {
            fail(&"no test was made here: hb watchdog test");
            ExitCode::from(NO_TEST)
        }
        Err(error) => fail(&format!("the last test's result in {}: {error}", state_dir.display())),
    }
}

/// What the driver itself says of this machine's last reset.
fn bootstatus(device: &Path) -> Option<&'static str> {
    let number = number_of(device)?;
    let seen = survey(Path::new("/")).ok()?.into_iter().find(|seen| seen.number == number)?;
    Some(match seen.reset_the_machine()? {
        true => "the driver says the same: the last reset of this machine was this watchdog's",
        false => {
            "the driver says that this machine's last reset was not this watchdog's; it was another one, or later"
        }
    })
}

fn test(args: &Test) -> ExitCode {
    let (device, timeout_s) = (args.device.display(), args.timeout);
    if !args.reset_this_machine {
        eprintln!(
            "hb: this resets this machine, as a power cut would: everything that runs here is lost.\n    \
             {device} is armed with {timeout_s} s and then not fed. After the boot, `hb watchdog test --result` says\n    \
             whether it bit and when. If that is what you want:\n    \
             hb watchdog test --reset-this-machine"
        );
        return ExitCode::FAILURE;
    }
    if let Some(reason) = in_service(&args.run_dir.run_dir) {
        return fail(&reason);
    }
    let store = Store::new(&args.state_dir.state_dir);
    let state_dir = args.state_dir.state_dir.display();
    let mut trial = match store.expect(&args.device, timeout_s, wall()) {
        Ok(trial) => trial,
        Err(error) => {
            return fail(&format!(
                "{state_dir}: the expectation can't be stored ({error}), so nothing is tested"
            ));
        }
    };
    rustix::fs::sync();
    let watchdog = match Device::open(&args.device, timeout_s) {
        Ok(watchdog) => watchdog,
        Err(error) => {
            let said = store.survived(&mut trial, Survived::NotOpened);
            if let Err(error) = said {
                eprintln!("hb: {state_dir}: {error}");
            }
            return fail(&with_holder(&error));
        }
    };
    announce(&watchdog, timeout_s);
    match stop_flag().and_then(|stopped| {
        let stopped = || stopped.load(Ordering::Relaxed);
        store.starve(&mut trial, Box::new(watchdog), wall(), &stopped)
    }) {
        Ok((survived, closed)) => tell_survival(survived, closed),
        Err(error) => {
            fail(&format!("{state_dir}: {error}; the watchdog stays armed and resets this machine"))
        }
    }
}

fn announce(watchdog: &Device, asked_s: u32) {
    let timeout_s = watchdog.timeout_s();
    println!("{}: armed, {timeout_s} s, and not fed from now on", watchdog.identity());
    if timeout_s != asked_s {
        println!("    ({asked_s} s was asked for; the driver has its own idea)");
    }
    if watchdog.nowayout() == Some(true) {
        println!("    nowayout: nothing can stop it any more");
    } else {
        println!("    Ctrl-C disarms it");
    }
    println!("    after the boot:  hb watchdog test --result");
}

fn tell_survival(survived: Survived, closed: Closed) -> ExitCode {
    let armed = match closed {
        Closed::Disarmed => "it is disarmed",
        Closed::StillArmed => {
            "it is still armed (nowayout): this machine may be reset at any moment"
        }
        Closed::Unknown => "it was told to disarm",
    };
    match survived {
        Survived::Interrupted => fail(&format!("interrupted; {armed}. Nothing is proved")),
        Survived::NotBitten | Survived::NotOpened => fail(&format!(
            "the watchdog did NOT reset this machine, after more than twice its time-out; {armed}. Don't rely on it"
        )),
    }
}

/// Set by Ctrl-C and SIGTERM.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    Ok(stopped)
}

/// Why this machine must not be reset now, by what heartbeatd says.
fn in_service(run_dir: &Path) -> Option<String> {
    let snapshot = match client::observe(run_dir) {
        Ok(snapshot) => snapshot,
        Err(ClientError::NotRunning { .. }) => return None,
        Err(error) => {
            return Some(format!(
                "{error}. Whether this node serves is not known: stop heartbeatd first"
            ));
        }
    };
    let busy: Vec<_> =
        snapshot.groups.iter().filter(|group| group.state != GroupState::Stopped).collect();
    if let Some(group) = busy.first() {
        return Some(format!(
            "this node has the group {} ({}): it must not be reset now. `hb stop` gives it to {} first",
            group.name, group.state, snapshot.peer.name
        ));
    }
    let armed = snapshot.watchdog.is_some_and(|watchdog| watchdog.armed);
    armed.then(|| {
        "heartbeatd has the watchdog, and it can have one user only: `hb stop` first".to_owned()
    })
}

/// A busy watchdog, with the one who has it, where that can be told.
fn with_holder(error: &OpenError) -> String {
    let holder = match error {
        OpenError::Busy(device) => number_of(device).and_then(|number| {
            let found = survey(Path::new("/")).ok()?;
            let seen = found.into_iter().find(|seen| seen.number == number)?;
            seen.holders.as_ref().is_some_and(|holders| !holders.is_empty()).then(|| seen.held_by())
        }),
        _ => None,
    };
    holder
        .map_or_else(|| error.to_string(), |holder| format!("{error}. Now it is held by {holder}"))
}

/// Seconds since 1970.
fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
