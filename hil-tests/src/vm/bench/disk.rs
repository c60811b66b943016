//! The guests' disks: ext4 file systems in files of the host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::{Bench, PATIENCE, words};
use crate::scenario::cluster::Machine;

impl Bench {
    pub(super) fn tree(&self, machine: Machine) -> PathBuf {
        self.directory().join(format!("{machine}.tree"))
    }

    /// A machine's disk: an ext4 file system in a file.
    #[must_use]
    pub fn disk(&self, machine: Machine) -> PathBuf {
        self.directory().join(format!("{machine}.disk"))
    }

    pub(super) fn make_disk(
        &self,
        machine: Machine,
        files: &[(String, String, u32)],
    ) -> Result<(), String> {
        use std::os::unix::fs::PermissionsExt;

        let tree = self.tree(machine);
        for part in ["etc/resource.d", "state", "log"] {
            fs::create_dir_all(tree.join(part)).map_err(words)?;
        }
        for (name, text, mode) in files {
            let path = tree.join("etc").join(name);
            fs::write(&path, text).map_err(words)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).map_err(words)?;
        }
        let output = Command::new("mke2fs")
            .args([
                "-q",
                "-F",
                "-t",
                "ext4",
                "-m",
                "0",
                "-E",
                "root_owner=0:0,lazy_itable_init=0",
                "-d",
            ])
            .arg(&tree)
            .arg(self.disk(machine))
            .arg(format!("{}m", self.options.disk_mb))
            .output()
            .map_err(|error| format!("mke2fs: {error}; it is in Debian's e2fsprogs"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("mke2fs: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Writes a file of a machine that runs.
    ///
    /// # Errors
    /// The guest's own words.
    pub fn write(
        &mut self,
        machine: Machine,
        path: &str,
        text: &str,
        mode: u32,
    ) -> Result<(), String> {
        let order = json!({"do": "write", "path": path, "text": text, "mode": mode});
        self.power(machine)?.agent.order(order, PATIENCE).map(drop)
    }

    /// Writes a file into a machine's /var/log, whether it has power or not.
    ///
    /// # Errors
    /// The guest's own words, or debugfs(8)'s.
    pub fn write_log(&mut self, machine: Machine, name: &str, text: &str) -> Result<(), String> {
        if self.is_on(machine) {
            return self.write(machine, &format!("/var/log/{name}"), text, 0o644);
        }
        let file = self.directory().join("written");
        fs::write(&file, text).map_err(words)?;
        // The first may not be there; what fails is seen by what it leaves.
        for request in [format!("rm /log/{name}"), format!("write {} /log/{name}", file.display())]
        {
            let disk = self.disk(machine);
            let output = Command::new("debugfs").args(["-w", "-R", &request]).arg(disk).output();
            output.map_err(|error| format!("debugfs: {error}; it is in Debian's e2fsprogs"))?;
        }
        let disk = self.disk(machine);
        let mut cat = Command::new("debugfs");
        cat.args(["-R", &format!("cat /log/{name}")]).arg(disk);
        let read = cat.output().map_err(words)?.stdout;
        if read == text.as_bytes() {
            return Ok(());
        }
        Err(format!("debugfs could not write {name} to the disk of {machine}"))
    }
}
