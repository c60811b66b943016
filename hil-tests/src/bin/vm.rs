//! The rig of virtual machines: `cargo xtask rig vm`.

fn main() -> std::process::ExitCode {
    hil_tests::vm::run::main()
}
