//! Goal: `make install` puts everything where the guide and systemd look for it and destroys nothing.
//! Method: the real Makefile into a directory of the test's own, with the binaries under test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hb-install-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn make(&self, target: &str, more: &[&str]) -> (bool, String) {
        let built = Path::new(env!("CARGO_BIN_EXE_hb")).parent().unwrap();
        let output = Command::new("make")
            .current_dir(workspace())
            .arg(target)
            .arg(format!("DESTDIR={}", self.0.display()))
            .arg(format!("BUILT={}", built.display()))
            .args(more)
            // As from a plain shell, also when the tests run below another make.
            .env_remove("MAKEFLAGS")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o7777
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Everything below the root that isn't a directory.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn everything_is_where_it_belongs_and_goes_again() {
    let root = Root::new("all");
    let (ok, text) = root.make("install", &[]);
    assert!(ok, "{text}");
    assert_eq!(
        files(&root.0),
        [
            "etc/ha.d/ppp-options",
            "etc/ha.d/resource.d/IPaddr",
            "usr/bin/hb",
            "usr/bin/hb_standby",
            "usr/bin/hb_takeover",
            "usr/lib/systemd/system/heartbeat.service",
            "usr/sbin/fence_heartbeat_dongle",
            "usr/sbin/heartbeatd",
            "usr/share/doc/heartbeat/LICENSE-APACHE",
            "usr/share/doc/heartbeat/LICENSE-MIT",
            "usr/share/doc/heartbeat/examples/alert",
            "usr/share/doc/heartbeat/examples/authkeys",
            "usr/share/doc/heartbeat/examples/ha.cf",
            "usr/share/doc/heartbeat/examples/haresources",
            "usr/share/doc/heartbeat/examples/ppp-options",
        ]
    );
    assert_eq!(root.mode("usr/sbin/heartbeatd"), 0o755);
    assert_eq!(root.mode("usr/lib/systemd/system/heartbeat.service"), 0o644);
    let link = fs::read_link(root.at("etc/ha.d/resource.d/IPaddr")).unwrap();
    assert_eq!(link, Path::new("/usr/bin/hb"));
    let link = fs::read_link(root.at("usr/sbin/fence_heartbeat_dongle")).unwrap();
    assert_eq!(link, Path::new("/usr/bin/hb"));
    let run = |name: &str| Command::new(root.at(name)).arg("--help").output().unwrap();
    assert!(run("usr/bin/hb").status.success());
    let help = String::from_utf8(run("usr/bin/hb_standby").stdout).unwrap();
    assert!(help.contains("Give this node's groups to the peer"), "{help}");

    assert!(root.make("install", &[]).0, "twice is as good as once");
    assert!(root.make("uninstall", &[]).0);
    assert_eq!(files(&root.0), Vec::<String>::new());
}

#[test]
fn what_is_in_ha_d_stays() {
    let root = Root::new("kept");
    let ours =
        ["etc/ha.d/ha.cf", "etc/ha.d/haresources", "etc/ha.d/authkeys", "etc/ha.d/ppp-options"];
    fs::create_dir_all(root.at("etc/ha.d/resource.d")).unwrap();
    for path in ours {
        fs::write(root.at(path), "mine").unwrap();
    }
    let ipaddr = root.at("etc/ha.d/resource.d/IPaddr");
    // A link into nowhere is somebody's file, too.
    symlink("/nowhere", &ipaddr).unwrap();
    for target in ["install", "uninstall"] {
        let (ok, text) = root.make(target, &[]);
        assert!(ok, "{text}");
        for path in ours {
            assert_eq!(fs::read_to_string(root.at(path)).unwrap(), "mine");
        }
        assert_eq!(fs::read_link(&ipaddr).unwrap(), Path::new("/nowhere"), "after {target}");
    }
}

#[test]
fn a_prefix_moves_the_unit_and_what_it_starts() {
    let root = Root::new("prefix");
    let (ok, text) = root.make("install", &["PREFIX=/usr/local"]);
    assert!(ok, "{text}");
    let unit =
        fs::read_to_string(root.at("usr/local/lib/systemd/system/heartbeat.service")).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/sbin/heartbeatd\n"), "{unit}");
    assert!(unit.contains("\nExecReload=/usr/local/bin/hb reload\n"), "{unit}");
    assert!(root.at("usr/local/sbin/heartbeatd").exists());
}

#[test]
fn without_binaries_it_says_what_to_do() {
    let root = Root::new("unbuilt");
    let (ok, text) = root.make("install", &["BUILT=/nonexistent"]);
    assert!(!ok && text.contains("run `make` first"), "{text}");
    assert_eq!(files(&root.0), Vec::<String>::new());
}

#[test]
fn systemd_understands_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("SKIP: systemd_understands_the_unit: no systemd-analyze here");
        return;
    }
    let root = Root::new("unit");
    let unit = fs::read_to_string(workspace().join("hb-linux/pkg/heartbeat.service")).unwrap();
    let here = unit.replace("/usr/sbin/heartbeatd", env!("CARGO_BIN_EXE_heartbeatd"));
    assert_ne!(unit, here);
    let here = here.replace("/usr/bin/hb ", concat!(env!("CARGO_BIN_EXE_hb"), " "));
    let path = root.at("heartbeat.service");
    fs::write(&path, here).unwrap();
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    // Complaints about other units of this machine are not ours.
    let ours: Vec<_> = text.lines().filter(|line| line.contains("heartbeat.service")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
