//! The commands whose work other rooms do: the only place where `hb` calls into them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::{compare, fail};
use crate::config::check::{self, Surroundings};
use crate::config::keygen as config_keygen;
use crate::control::client;
use crate::net;
use crate::rig;

/// `IPaddr ADDRESS start|stop|status`; `args` without the program's name.
pub fn ipaddr(args: &[OsString]) -> ExitCode {
    // Text that isn't UTF-8 is no address: the script says so and shows it.
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    net::ipaddr::main(&args)
}

/// `hb check`; with `compare`, also against the daemon whose sockets are in `run_dir`.
pub fn check(config_dir: &Path, node: Option<&str>, run_dir: &Path, compare: bool) -> ExitCode {
    let report = check::run(config_dir, node, &Surroundings::here(config_dir));
    let _ = super::print(&report.to_string());
    let mut exit = report.exit_code().max(dongle(run_dir));
    if compare {
        let (text, code) = match client::observe(run_dir) {
            Ok(snapshot) => compare::with_peer(&snapshot, report.digests),
            Err(error) => (format!("error: not compared with the peer: {error}\n"), compare::ERROR),
        };
        let _ = super::print(&format!("\n{text}"));
        exit = exit.max(code);
    }
    ExitCode::from(exit)
}

/// What a running heartbeatd says of the dongle; the exit code.
fn dongle(run_dir: &Path) -> u8 {
    // Without a daemon nobody has asked it, and `hb check` opens no line.
    let Some(dongle) = client::observe(run_dir).ok().and_then(|snapshot| snapshot.dongle) else {
        return 0;
    };
    let warnings = dongle.problems.iter().map(|problem| format!("warning: {problem}\n"));
    let mut text: String = warnings.collect();
    if let (true, Some(firmware)) = (text.is_empty(), &dongle.firmware) {
        text = format!("the dongle answers (program {firmware}), and nothing is wrong with it\n");
    }
    let _ = super::print(&text);
    u8::from(!dongle.problems.is_empty())
}

/// `hb keygen`: CONFIG_DIR/authkeys, or stdout.
pub fn keygen(config_dir: &Path, to_stdout: bool) -> ExitCode {
    let path = config_dir.join("authkeys");
    match config_keygen::keygen((!to_stdout).then_some(&*path)) {
        Ok(()) if to_stdout => ExitCode::SUCCESS,
        Ok(()) => super::print(&format!(
            "wrote {path} (mode 0600). Both nodes need the same key:\n    \
             scp -p {path} root@OTHERNODE:{path}\n",
            path = path.display()
        )),
        Err(error) => fail(&error),
    }
}

/// `hb demo`.
pub fn demo(args: &[String]) -> ExitCode {
    rig::demo::main(args)
}

/// First process of a rig's machine.
pub fn rig_init(args: &[String]) -> ExitCode {
    rig::init::main(args)
}

/// A program in a rig's own namespaces.
pub fn rig_enter(args: &[String]) -> ExitCode {
    rig::run::enter_main(args)
}

/// A program inside a rig's machine.
pub fn rig_run(args: &[String]) -> ExitCode {
    rig::run::main(args)
}

/// The demo's web service.
pub fn rig_web(args: &[String]) -> ExitCode {
    rig::web::main(args)
}

/// The dongle of a rig.
pub fn rig_dongle(args: &[String]) -> ExitCode {
    rig::dongle::process::main(args)
}
