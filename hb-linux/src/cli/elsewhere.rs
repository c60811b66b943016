//! The commands whose work other rooms do: the only place where `hb` calls into them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

// TODO wire these five when the branches meet (`cargo xtask test` is red until then); nothing else in
// cli/ waits for them.

/// `IPaddr ADDRESS start|stop|status`.
pub fn ipaddr(_args: Vec<OsString>) -> ExitCode {
    unwired("IPaddr")
}

/// `hb check`.
pub fn check(_config_dir: &Path) -> ExitCode {
    unwired("check")
}

/// `hb demo`.
pub fn demo(_args: Vec<OsString>) -> ExitCode {
    unwired("demo")
}

/// First process of a rig's node.
pub fn rig_init(_args: Vec<OsString>) -> ExitCode {
    unwired("rig-init")
}

/// The demo's web service.
pub fn rig_web(_args: Vec<OsString>) -> ExitCode {
    unwired("rig-web")
}

fn unwired(what: &str) -> ExitCode {
    eprintln!("hb: {what} is not built into this hb yet");
    ExitCode::FAILURE
}
