//! One life's helper after the other's: a killed daemon's helper still stops what that life ran
//! while a service manager starts the next. What the next life starts meanwhile would be swept
//! away by the stops of the last, so it waits for their end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// In the run directory; locked by the helper as long as it lives (flock(2): the kernel unlocks it
/// at its end, whatever that is).
const LOCK: &str = "helper.lock";

fn open(run_dir: &Path) -> io::Result<File> {
    // A script must not keep it (open(2), O_CLOEXEC, which the standard library sets).
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(run_dir.join(LOCK))
}

/// Waits until no helper of an earlier life is left; `told` is called when there is one.
///
/// Blocks for as long as that helper's stops take: each has its own timeout.
///
/// # Errors
/// The file can't be opened or locked.
pub fn wait_for_last_helper(run_dir: &Path, told: impl FnOnce()) -> io::Result<()> {
    let lock = open(run_dir)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(()),
        Err(Errno::AGAIN) => told(),
        Err(errno) => return Err(errno.into()),
    }
    loop {
        match flock(&lock, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Taken by a helper: the next life waits until the file is closed.
///
/// # Errors
/// The file can't be opened, or another helper has it.
pub(super) fn hold(run_dir: &Path) -> io::Result<File> {
    let lock = open(run_dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_next_life_waits_for_the_helper_of_the_last() {
        let run_dir = std::env::temp_dir().join(format!("hb-succession.{}", std::process::id()));
        std::fs::create_dir_all(&run_dir).unwrap();
        let helper = hold(&run_dir).unwrap();
        assert!(hold(&run_dir).is_err(), "one at a time");
        let (waits, its_word) = mpsc::channel();
        let next = {
            let run_dir = run_dir.clone();
            std::thread::spawn(move || {
                wait_for_last_helper(&run_dir, || waits.send(()).unwrap()).unwrap();
            })
        };
        its_word.recv_timeout(Duration::from_secs(5)).expect("it says that it waits");
        assert!(!next.is_finished());
        drop(helper);
        next.join().unwrap();
        wait_for_last_helper(&run_dir, || panic!("nobody is left")).unwrap();
        std::fs::remove_dir_all(&run_dir).unwrap();
    }
}
