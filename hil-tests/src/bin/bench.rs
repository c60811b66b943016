//! `cargo xtask bench failover`, once the release binaries are built.

use std::process::ExitCode;

fn main() -> ExitCode {
    hil_tests::bench::main()
}
