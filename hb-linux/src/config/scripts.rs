//! Where resource scripts live.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What looking for a script came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A regular file that somebody may execute.
    Executable(PathBuf),
    /// There is such a file, but its mode lets nobody execute it.
    NotExecutable(PathBuf),
    /// None of the directories has it.
    Missing,
}

/// The directories, in the order in which they are searched: CONFIG_DIR/resource.d, then the system's
/// init scripts in the place of 1999 and in today's.
#[must_use]
pub fn directories(config_dir: &Path) -> [PathBuf; 3] {
    [config_dir.join("resource.d"), "/etc/rc.d/init.d".into(), "/etc/init.d".into()]
}

/// The first executable file of this name; failing that, the first file.
#[must_use]
pub fn find(directories: &[PathBuf], script: &str) -> Found {
    let mut found = Found::Missing;
    for directory in directories {
        let path = directory.join(script);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if !metadata.is_file() {
            continue;
        }
        if metadata.permissions().mode() & 0o111 != 0 {
            return Found::Executable(path);
        }
        if found == Found::Missing {
            found = Found::NotExecutable(path);
        }
    }
    found
}
