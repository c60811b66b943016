//! A daemon that was killed leaves its helper behind, which gives the resources up. A new life that
//! began meanwhile would see them stopped, start them, and have them stopped under it: so it waits.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tracing::info;

use crate::control::OBSERVE_SOCKET;

/// How often the lock is tried while it is waited for.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Waits until no helper of an earlier life is at work in `run_dir`, and holds that place: the lock goes
/// to this life's helper. Blocks, as long as the stop scripts of the last life take; nothing is heard of
/// this node meanwhile, as before any clean start (protocol.md R9).
///
/// Returns the lock without having it if a daemon lives there: whoever binds the sockets next says so.
///
/// # Errors
/// The directory or the lock file can't be had.
pub fn wait(run_dir: &Path) -> io::Result<OwnedFd> {
    fs::create_dir_all(run_dir)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(run_dir.join("resources.lock"))?;
    let mut told = false;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock.into()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if UnixStream::connect(run_dir.join(OBSERVE_SOCKET)).is_ok() {
            return Ok(lock.into());
        }
        if !std::mem::replace(&mut told, true) {
            info!(
                "the resources of this node's last life are still being given up: waiting for that"
            );
        }
        std::thread::sleep(TRY_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("hb-pred-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn the_lock_is_waited_for() {
        let dir = scratch("wait");
        let last_life = wait(&dir).expect("free");
        let waiting = std::thread::spawn({
            let dir = dir.clone();
            move || wait(&dir).map(drop)
        });
        std::thread::sleep(TRY_EVERY * 8);
        assert!(!waiting.is_finished(), "the last life is not over");
        drop(last_life);
        waiting.join().expect("no panic").expect("free by then");
    }

    #[test]
    fn a_living_daemon_is_not_waited_for() {
        let dir = scratch("alive");
        let _lock = wait(&dir).expect("free");
        let _alive = UnixListener::bind(dir.join(OBSERVE_SOCKET)).expect("bound");
        wait(&dir).expect("at once");
    }
}
