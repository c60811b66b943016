//! What an administrator does to a running machine's software: other keys, another program.

use std::path::PathBuf;

use super::super::image::Image;
use super::Up;
use crate::chronicle::Clock;
use crate::netns::verbs::broken;
use crate::scenario::cluster::Machine;
use crate::scenario::rig::{Cannot, Done};

/// The directory of the next version's programs, built for the guests.
const NEXT: &str = "HB_RIG_NEXT";
/// Where a guest keeps it: on its disk, from where every boot takes it.
pub const PLACE: &str = "/disk/sbin/heartbeatd";
/// On its way into the guest.
const LUGGAGE: &str = "/tmp/next.hex";

/// The next version of heartbeatd. There is none yet but the one under test: unless somebody names another build, it is
/// the same program with a byte behind its end, so another file.
fn next(image: &Image) -> Result<Vec<u8>, String> {
    let given = std::env::var_os(NEXT).map(PathBuf::from);
    let path = given.as_ref().unwrap_or(&image.programs).join("heartbeatd");
    let mut bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if given.is_none() {
        bytes.push(0);
    }
    Ok(bytes)
}

impl Up {
    /// `hb reload`: authkeys is read again.
    pub(super) fn reload(&mut self, at: Machine) -> Done {
        self.hb(at, &["reload"])
    }

    /// Leave, exchange, start. Returns when the daemon is started.
    pub(super) fn upgrade(&mut self, clock: Clock, at: Machine) -> Done {
        let bytes = next(self.bench.image()).map_err(Cannot::Broken)?;
        self.ends.expect(at, "code 0");
        self.daemon(at, "terminate")?;
        let deadline = clock.now() + super::super::bench::PATIENCE.into();
        while self.daemon_runs(at) {
            if clock.now() >= deadline {
                return Err(Cannot::Broken(format!("{at} does not leave")));
            }
            std::thread::sleep(super::super::bench::ASK_EVERY);
        }
        self.exchange(at, &bytes).map_err(broken)?;
        self.daemon(at, "start")
    }

    fn exchange(&mut self, at: Machine, bytes: &[u8]) -> Result<(), String> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.bench.write(at, LUGGAGE, &hex, 0o600)?;
        // As a package manager does it: whole, and then by its name.
        let script = format!(
            "set -e\nmkdir -p $(dirname {PLACE})\nxxd -r -p {LUGGAGE} >{PLACE}.new\nrm {LUGGAGE}\n\
             test $(stat -c %s {PLACE}.new) = {}\nchmod 755 {PLACE}.new\n\
             while umount /usr/sbin/heartbeatd 2>/dev/null; do :; done\n\
             mv {PLACE}.new {PLACE}\nsync\nmount --bind {PLACE} /usr/sbin/heartbeatd\n",
            bytes.len()
        );
        self.bench.shell(at, &script).map(drop)
    }
}
