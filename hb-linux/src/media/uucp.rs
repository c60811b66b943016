//! UUCP lock files: `LCK..ttyS0`, which every program that dials, flashes or logs in over a serial line
//! respects, root's included. (TIOCEXCL does not stop root: ioctl_tty(2).)
//!
//! Format by FHS 3.0 §5.9: the process id in ten columns and a newline, the "HDB" form.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use super::Failure;

/// Where lock files live (FHS 3.0 §5.9).
pub const LOCK_DIR: &str = "/var/lock";

/// A held lock; the file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: PathBuf,
    /// Of our file: one that somebody else put in its place is not ours to remove.
    inode: u64,
}

impl LockFile {
    /// The lock file of `device`, its links resolved.
    pub(super) fn path_for(dir: &Path, device: &Path) -> Option<PathBuf> {
        let base = device.file_name()?;
        let mut name = std::ffi::OsString::from("LCK..");
        name.push(base);
        Some(dir.join(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// Takes the lock. A file of a process that is gone is removed first; so is one that bears our own
    /// process id, left by an earlier life of ours: ids repeat after a restart of the machine.
    pub(super) fn acquire(file: PathBuf) -> Result<Self, Failure> {
        // A complete file is linked into place, so that nobody ever reads an empty one.
        let draft = Draft::write(&file)?;
        for _ in 0..2 {
            match fs::hard_link(&draft.path, &file) {
                Ok(()) => return Ok(Self { file, inode: draft.inode }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => remove_if_stale(&file)?,
                Err(error) => return Err(not_writable(&file, &error)),
            }
        }
        // Somebody took it between our removing the old one and linking ours.
        Err(Failure::InUse)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.file).is_ok_and(|meta| meta.ino() == self.inode) {
            // Best effort: what remains is recognised as stale by its dead process id.
            let _ = fs::remove_file(&self.file);
        }
    }
}

struct Draft {
    path: PathBuf,
    inode: u64,
}

impl Draft {
    fn write(lock: &Path) -> Result<Self, Failure> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let pid = getpid().as_raw_nonzero();
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = lock.with_file_name(format!("LTMP.heartbeat.{pid}.{n}"));
        // One that a crash left behind has our id and counts for nothing.
        let _ = fs::remove_file(&path);
        let written =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path).and_then(
                |mut file| {
                    file.write_all(format!("{pid:>10}\n").as_bytes())?;
                    file.metadata()
                },
            );
        match written {
            Ok(meta) => Ok(Self { path, inode: meta.ino() }),
            Err(error) => Err(not_writable(&path, &error)),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_if_stale(file: &Path) -> Result<(), Failure> {
    let mut found = String::new();
    let read = fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed())
        .open(file)
        .and_then(|opened| opened.take(64).read_to_string(&mut found));
    match read {
        // Its owner has removed it just now.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() != ErrorKind::InvalidData => {
            return Err(not_writable(file, &error));
        }
        _ => {}
    }
    let pid = found.trim().parse::<i32>().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let Some(pid) = pid else {
        return Err(Failure::LockUnreadable { file: file.into(), found });
    };
    // EPERM would mean: alive, and somebody else's.
    if pid != getpid() && test_kill_process(pid) != Err(Errno::SRCH) {
        return Err(Failure::LockedBy { pid: pid.as_raw_nonzero().get(), file: file.into() });
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(not_writable(file, &error)),
        _ => Ok(()),
    }
}

fn not_writable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::LockNotWritable {
        path: path.into(),
        errno: Errno::from_io_error(error).unwrap_or(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("hb-uucp-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn lock(&self) -> PathBuf {
            LockFile::path_for(&self.0, Path::new("/dev/ttyS7")).unwrap()
        }

        fn entries(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// The id of a process that has just ended and was waited for.
    fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn lock_file_is_hdb_form_and_goes_with_its_holder() {
        let dir = Dir::new("form");
        let lock = LockFile::acquire(dir.lock()).unwrap();
        assert!(dir.lock().ends_with("LCK..ttyS7"));
        let text = fs::read_to_string(dir.lock()).unwrap();
        assert_eq!(text, format!("{:>10}\n", std::process::id()));
        assert_eq!(text.len(), 11);
        assert_eq!(dir.entries(), 1, "the draft is gone");
        drop(lock);
        assert_eq!(dir.entries(), 0);
    }

    #[test]
    fn a_living_holder_is_respected_and_named() {
        let dir = Dir::new("live");
        // Process 1 always lives.
        fs::write(dir.lock(), "         1\n").unwrap();
        let refused = LockFile::acquire(dir.lock()).unwrap_err();
        assert_eq!(refused, Failure::LockedBy { pid: 1, file: dir.lock() });
        assert_eq!(fs::read_to_string(dir.lock()).unwrap(), "         1\n", "untouched");
        assert_eq!(dir.entries(), 1);
    }

    #[test]
    fn locks_of_the_dead_and_of_an_earlier_life_are_taken_over() {
        let dir = Dir::new("stale");
        for pid in [dead_pid(), std::process::id()] {
            fs::write(dir.lock(), format!("{pid:>10}\n")).unwrap();
            let lock = LockFile::acquire(dir.lock()).unwrap();
            let text = fs::read_to_string(dir.lock()).unwrap();
            assert_eq!(text.trim(), std::process::id().to_string());
            drop(lock);
        }
    }

    #[test]
    fn a_lock_that_names_nobody_is_reported_and_left() {
        let dir = Dir::new("garbage");
        for text in ["", "me\n", "        -1\n", "         0\n"] {
            fs::write(dir.lock(), text).unwrap();
            let refused = LockFile::acquire(dir.lock()).unwrap_err();
            assert_eq!(refused, Failure::LockUnreadable { file: dir.lock(), found: text.into() });
            assert!(dir.lock().exists());
        }
    }

    #[test]
    fn a_lock_that_somebody_replaced_is_not_removed() {
        let dir = Dir::new("replaced");
        let lock = LockFile::acquire(dir.lock()).unwrap();
        let other = dir.0.join("other");
        fs::write(&other, "         1\n").unwrap();
        fs::rename(&other, dir.lock()).unwrap();
        drop(lock);
        assert!(dir.lock().exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refused = LockFile::acquire("/no/such/dir/LCK..ttyS7".into()).unwrap_err();
        assert!(refused.to_string().contains("/no/such/dir/"), "{refused}");
    }
}
