//! The operator's tool; see `hb_linux::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hb_linux::cli::main(std::env::args_os().collect())
}
