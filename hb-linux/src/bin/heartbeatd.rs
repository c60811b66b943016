//! The daemon; see `hb_linux::daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hb_linux::daemon::main()
}
