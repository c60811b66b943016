//! The number of this life: only grows, stored and synced before its first use (protocol.md R9).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hb_proto::id::BootId;
use hb_proto::time::Duration;

/// Why no new life can be numbered.
#[derive(Debug, thiserror::Error)]
pub enum BootIdError {
    /// The file holds something else than a number.
    #[error(
        "{path}: read {read:?}, expected the number of this node's last life (1 to {max}); delete the \
         file: the node then begins at 1 and restarts above what its peer remembers",
        path = .path.display(), max = BootId::MAX
    )]
    Corrupt { path: PathBuf, read: String },
    /// The file holds something else than a time.
    #[error(
        "{path}: read {read:?}, expected the longest time in microseconds that a promise of this node bound it; \
         delete the file once this node has been off for longer than its longest lease and guard together",
        path = .path.display()
    )]
    CorruptPromise { path: PathBuf, read: String },
    /// The numbers are used up.
    #[error(
        "{path}: all {max} life numbers are used; stop both nodes, delete the file on both, start again",
        path = .path.display(), max = BootId::MAX
    )]
    Exhausted { path: PathBuf },
    /// The disk refused.
    #[error("{path}: the number of this life can't be stored ({source}); nothing is started without it", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Numbers a new life: above the last one stored in `state_dir`, and above `floor`.
///
/// The file is replaced and synced with its directory before this returns: a number that a power cut
/// could undo would be used twice.
///
/// # Errors
/// See [`BootIdError`]; nothing may be sent then.
pub fn next(state_dir: &Path, floor: Option<BootId>) -> Result<BootId, BootIdError> {
    let path = state_dir.join("boot_id");
    let io = |source| BootIdError::Io { path: path.clone(), source };
    fs::create_dir_all(state_dir).map_err(io)?;
    let last = match fs::read_to_string(&path) {
        Ok(text) => {
            let corrupt = || BootIdError::Corrupt {
                path: path.clone(),
                read: text.chars().take(40).collect(),
            };
            Some(text.trim().parse().ok().and_then(BootId::new).ok_or_else(corrupt)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(error)),
    };
    let next = last.max(floor).map_or(BootId::new(1), BootId::next);
    let next = next.ok_or_else(|| BootIdError::Exhausted { path: path.clone() })?;
    store(state_dir, &path, next).map_err(io)?;
    Ok(next)
}

/// The longest that a promise of any life of this node may bind it, this life's `full` included; stored
/// and synced (protocol.md R8).
///
/// # Errors
/// The disk refused, or the file holds something else: what earlier lives promised is not guessed.
pub fn longest_promise(state_dir: &Path, full: Duration) -> Result<Duration, BootIdError> {
    let stored = stored_promise(state_dir)?;
    if full > stored {
        store_promise(state_dir, full)?;
    }
    Ok(stored.max(full))
}

/// The longest promise as a life knows it at its end: less than what is stored, once everything that earlier
/// lives promised on longer terms is over (protocol.md R8).
///
/// # Errors
/// As [`longest_promise`]; what is stored then still binds the next life, which is the safe side.
pub fn shorten_longest_promise(state_dir: &Path, longest: Duration) -> Result<(), BootIdError> {
    if longest < stored_promise(state_dir)? { store_promise(state_dir, longest) } else { Ok(()) }
}

fn promise_path(state_dir: &Path) -> PathBuf {
    state_dir.join("longest_promise_us")
}

fn stored_promise(state_dir: &Path) -> Result<Duration, BootIdError> {
    let path = promise_path(state_dir);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Duration::from_micros).map_err(|_| {
            let read = text.chars().take(40).collect();
            BootIdError::CorruptPromise { path, read }
        }),
        // The first life, or the first of a version that stores it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Duration::ZERO),
        Err(source) => Err(BootIdError::Io { path, source }),
    }
}

fn store_promise(state_dir: &Path, longest: Duration) -> Result<(), BootIdError> {
    let path = promise_path(state_dir);
    store(state_dir, &path, longest.micros()).map_err(|source| BootIdError::Io { path, source })
}

fn store(state_dir: &Path, path: &Path, number: impl std::fmt::Display) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hb-boot-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn only_grows() {
        let dir = scratch("grows");
        let ids: Vec<u32> = (0..3).map(|_| next(&dir, None).expect("storable").value()).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(next(&dir, BootId::new(40)).expect("storable").value(), 41);
        assert_eq!(next(&dir, BootId::new(7)).expect("storable").value(), 42);
    }

    #[test]
    fn the_longest_promise_is_kept() {
        let dir = scratch("promise");
        fs::create_dir_all(&dir).expect("temporary");
        let (short, long) = (Duration::from_millis(420), Duration::from_millis(8400));
        assert_eq!(longest_promise(&dir, short).expect("storable"), short);
        assert_eq!(longest_promise(&dir, long).expect("storable"), long);
        assert_eq!(
            longest_promise(&dir, short).expect("storable"),
            long,
            "what was in force counts"
        );
        assert_eq!(longest_promise(&dir, Duration::MAX).expect("storable"), Duration::MAX);
        assert_eq!(longest_promise(&dir, short).expect("storable"), Duration::MAX, "unbounded");
        shorten_longest_promise(&dir, long).expect("storable");
        shorten_longest_promise(&dir, Duration::MAX).expect("only ever shortens");
        assert_eq!(longest_promise(&dir, short).expect("storable"), long, "what it shrank to");
        fs::write(dir.join("longest_promise_us"), "long\n").expect("temporary");
        let error = longest_promise(&dir, short).expect_err("not a number").to_string();
        assert!(error.contains("\"long\\n\""), "{error}");
    }

    #[test]
    fn a_file_that_is_no_number_is_told_and_kept() {
        let dir = scratch("corrupt");
        fs::create_dir_all(&dir).expect("temporary");
        fs::write(dir.join("boot_id"), "seven\n").expect("temporary");
        let error = next(&dir, None).expect_err("not a number").to_string();
        assert!(error.contains("\"seven\\n\"") && error.contains("delete the file"), "{error}");
        assert_eq!(fs::read_to_string(dir.join("boot_id")).expect("kept"), "seven\n");
    }

    #[test]
    fn the_last_number_is_the_last() {
        let dir = scratch("last");
        assert!(matches!(next(&dir, BootId::new(BootId::MAX)), Err(BootIdError::Exhausted { .. })));
    }
}
