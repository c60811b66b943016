//! `cargo xtask rig netns --failure-table`, once the release binaries are built.

use std::process::ExitCode;

fn main() -> ExitCode {
    hil_tests::table::on_namespaces()
}
