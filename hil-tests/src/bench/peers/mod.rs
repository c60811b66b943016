//! The peers: Debian's heartbeat and keepalived on the same machines, asked by the same client.
//!
//! Their packages are downloaded and unpacked into a cache below the target directory; nothing is
//! installed, and nothing of them runs outside of the rig's machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Node};

use super::stack::{into_log, succeed};

pub mod heartbeat;
pub mod keepalived;

/// Unpacked packages.
#[derive(Clone, Debug)]
pub struct Packages {
    root: PathBuf,
    /// `NAME VERSION` of the one that all this is for.
    pub version: String,
}

impl Packages {
    /// Downloads what the cache doesn't have, and unpacks it. The first of `names` is what the others
    /// are for.
    ///
    /// # Errors
    /// No apt, no network, no such package: in words.
    pub fn fetch(names: &[&str]) -> Result<Self, String> {
        let name = names[0];
        let myself = std::env::current_exe().map_err(|error| error.to_string())?;
        let target = myself.ancestors().nth(2).unwrap_or(Path::new("target"));
        let cache = target.join("peers").join(name);
        let (archives, root) = (cache.join("archives"), cache.join("root"));
        fs::create_dir_all(&archives)
            .map_err(|error| format!("{}: {error}", archives.display()))?;
        for package in names {
            if archive_of(&archives, package).is_none() {
                run(Command::new("apt-get")
                    .args(["--quiet", "download", package])
                    .current_dir(&archives))?;
            }
            let archive = archive_of(&archives, package)
                .ok_or_else(|| format!("apt-get downloaded no archive of {package}"))?;
            let done = cache.join(format!("{package}.unpacked"));
            if !done.exists() {
                run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&root))?;
                fs::write(&done, "").map_err(|error| error.to_string())?;
            }
        }
        let archive = archive_of(&archives, name).unwrap_or_default();
        let version = run(Command::new("dpkg-deb").arg("-f").arg(&archive).arg("Version"))?;
        Ok(Self { root, version: format!("{name} {} (Debian)", version.trim()) })
    }

    /// A path below the packages' root, as host and machines see it.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// For LD_LIBRARY_PATH.
    #[must_use]
    pub fn libraries(&self) -> String {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let (lib, usr_lib) = (format!("lib/{triplet}"), format!("usr/lib/{triplet}"));
        format!("{}:{}", self.path(&lib).display(), self.path(&usr_lib).display())
    }
}

fn archive_of(archives: &Path, package: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(archives).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".deb")
            && name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_'))
    })
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(format!("{command:?}: {}: {words}", output.status))
}

/// Runs a shell script in a machine, and waits for it.
fn shell(bench: &Bench, node: Node, script: &str) -> Result<(), RigError> {
    let machine = bench.machine(node);
    succeed(machine.name(), script, machine.run("sh", &["-ec", script]))
}

/// Starts a shell script in a machine; what it prints goes into stack.out.
fn spawn(bench: &Bench, node: Node, script: &str) -> Result<(), RigError> {
    let mut command = bench.machine(node).command("sh", &["-ec", script])?;
    into_log(bench, node, &mut command)?;
    let started = command.spawn();
    started.map(drop).map_err(|source| RigError::Io { what: format!("running {script}"), source })
}
