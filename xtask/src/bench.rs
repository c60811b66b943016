//! `cargo xtask bench …`: release binaries, then the measuring program itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::{Place, fail};

/// Builds, and becomes `bench ARGS`: its exit code is this one's (0: all promises kept, 1: not, 2: could
/// not be measured).
pub fn run(args: &[OsString]) -> ExitCode {
    let place = Place::here();
    let build = ["build", "--release", "--locked", "-p", "hb-linux", "-p", "hil-tests", "--bins"];
    match place.cargo().args(build).status() {
        Ok(status) if status.success() => {}
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => return fail(&place.cargo, &error),
    }
    let bench = place.release_binaries().join("bench");
    // The results go into the workspace, wherever this was called.
    let error = Command::new(&bench).args(args).current_dir(&place.root).exec();
    fail(&bench, &error)
}
