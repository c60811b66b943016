//! What is kept of a story on two hosts.

use std::fs;
use std::path::Path;

use super::{TwoHosts, cables};
use crate::inside::commit_line;
use crate::scenario::cluster::Machine;
use crate::scenario::rig::Rig as _;

/// What a machine is asked for. The drivers' counters are all that is to be had of a real line: bytes each way, and
/// framing, parity and overrun errors (Documentation/admin-guide/serial-console.rst has none of it; drivers/tty/serial).
const ASKED: [(&str, &str); 5] = [
    ("log", "cat /var/log/ha-log /var/log/heartbeatd.out 2>/dev/null; true"),
    ("rec", "cat /var/log/rec 2>/dev/null; true"),
    ("kernel", "uname -a; dmesg | tail -n 200"),
    ("lines", "cat /proc/tty/driver/serial /proc/tty/driver/usbserial 2>/dev/null; true"),
    ("addresses", "ip addr"),
];

impl TwoHosts {
    pub(super) fn keep_all(&mut self, directory: &Path) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let mut run = format!("rig {} of two hosts\n{}", self.name(), commit_line());
        for remote in &self.remotes {
            run.push_str(&format!("host {}\n", remote.host.ssh));
        }
        fs::write(directory.join("run"), run).map_err(told)?;
        fs::write(directory.join("lines"), cables(&self.config.lines)).map_err(told)?;
        let journal: String = self.journal().iter().map(|entry| format!("{entry:?}\n")).collect();
        fs::write(directory.join("journal"), journal).map_err(told)?;
        if let Some(up) = &self.up {
            up.capture.keep(directory).map_err(told)?;
        }
        for machine in Machine::BOTH {
            let remote = &self.remotes[machine.index()];
            if !remote.is_on() {
                continue;
            }
            let place = directory.join(machine.name());
            fs::create_dir_all(&place).map_err(told)?;
            if let Some(status) = remote.observe() {
                fs::write(place.join("status.json"), status).map_err(told)?;
            }
            for (name, script) in ASKED {
                let text = remote.shell(script).unwrap_or_else(|why| why);
                fs::write(place.join(name), text).map_err(told)?;
            }
        }
        Ok(())
    }
}
