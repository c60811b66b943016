//! A test of the namespace rig is its rig's supervising process: it starts itself again in
//! namespaces of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use hb_linux::rig::machine::Programs;

/// Set in the process that runs inside.
const MARK: &str = "HB_RIG_INSIDE";
/// Where `hb` and `heartbeatd` lie, when they should not be built.
const PROGRAMS: &str = "HB_RIG_PROGRAMS";

/// Runs `test` in a process of its own, inside a rig's namespaces, as root or as the user that
/// runs the tests. A test that fails is told once more, and says so.
///
/// # Panics
/// The test fails inside twice, or namespaces are forbidden here.
pub fn inside(name: &str, test: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    let first = enter(name);
    if first.success() {
        return;
    }
    // These tests hold two machines to real time on one that has other work. Once more, and said: what
    // is broken fails twice.
    eprintln!("{name}: failed inside its rig ({first}); told again, the last verdict counts");
    let status = enter(name);
    assert!(status.success(), "{name}: failed inside its rig: {status}");
}

fn enter(name: &str) -> ExitStatus {
    let myself = std::env::current_exe().expect("this test has a path");
    Command::new(&programs().hb)
        .arg("rig-enter")
        .arg(myself)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .status()
        .expect("hb starts")
}

/// The executables under test, built by cargo when they are not given.
///
/// # Panics
/// They can't be built.
pub fn programs() -> &'static Programs {
    static PROGRAMS_ONCE: OnceLock<Programs> = OnceLock::new();
    PROGRAMS_ONCE.get_or_init(|| {
        let directory = std::env::var_os(PROGRAMS).map_or_else(build, PathBuf::from);
        Programs { hb: directory.join("hb"), heartbeatd: directory.join("heartbeatd") }
    })
}

/// The directory of this build: `target/debug` holds `deps/this-test`.
fn build() -> PathBuf {
    let myself = std::env::current_exe().expect("this test has a path");
    let directory =
        myself.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    if std::env::var_os(MARK).is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "hb-linux", "--bins"]);
        if directory.ends_with("release") {
            command.arg("--release");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(command.status().expect("cargo starts").success(), "hb and heartbeatd build");
    }
    directory.to_owned()
}
