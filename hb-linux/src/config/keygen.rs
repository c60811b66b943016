//! `hb keygen`: a key that nobody can guess.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes in a key: as many as HMAC-SHA-256 can make use of (RFC 2104 §3).
const KEY_BYTES: usize = 32;

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// The kernel gave no randomness.
    #[error("the kernel gives no random bytes: {0}")]
    Random(#[source] io::Error),
    /// The file is there; its key may be in use.
    #[error(
        "{} exists and may be in use; it is left as it is. Choose another name, or move it away first",
        .0.display()
    )]
    Exists(PathBuf),
    /// The file or the standard output can't be written.
    #[error("{target} can't be written: {source}")]
    Write {
        /// What was to be written.
        target: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Prints a new authkeys file, or writes it to `path` with mode 0600; an existing file is never
/// touched.
///
/// # Errors
/// No randomness, the file exists, or it can't be written.
pub fn keygen(path: Option<&Path>) -> Result<(), KeygenError> {
    let text = authkeys_text().map_err(KeygenError::Random)?;
    match path {
        None => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|source| {
                KeygenError::Write { target: "standard output".to_owned(), source }
            })
        }
        Some(path) => write_new(path, &text).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeygenError::Exists(path.to_owned()),
            _ => KeygenError::Write { target: path.display().to_string(), source },
        }),
    }
}

/// A complete authkeys file with one random sha256 key.
///
/// # Errors
/// What getrandom(2) answered.
pub fn authkeys_text() -> io::Result<String> {
    let mut key = [0; KEY_BYTES];
    let mut filled = 0;
    // Blocks until the pool is initialised; a signal may cut it short (getrandom(2)).
    while filled < key.len() {
        match getrandom(&mut key[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "# The key of this cluster. The same file on both nodes, mode 0600, owner root.\n\
         auth 1\n1 sha256 {hex}\n"
    ))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // create_new is O_EXCL, which doesn't follow a symbolic link either (open(2)).
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
