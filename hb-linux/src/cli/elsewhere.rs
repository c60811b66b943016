//! The commands whose work other rooms do: the only place where `hb` calls into them.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::fail;
use crate::config::check::{self, Surroundings};
use crate::config::keygen as config_keygen;
use crate::net;

/// `IPaddr ADDRESS start|stop|status`; `args` without the program's name.
pub fn ipaddr(args: &[OsString]) -> ExitCode {
    // Text that isn't UTF-8 is no address: the script says so and shows it.
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    net::ipaddr::main(&args)
}

/// `hb check`.
pub fn check(config_dir: &Path, node: Option<&str>) -> ExitCode {
    let report = check::run(config_dir, node, &Surroundings::here(config_dir));
    let _ = super::print(&report.to_string());
    ExitCode::from(report.exit_code())
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
