//! The rig of virtual machines, as far as the tests go: see `hil_tests::vm` and docs/testing/vm.md.

fn main() -> std::process::ExitCode {
    hil_tests::vm::run::quick()
}
