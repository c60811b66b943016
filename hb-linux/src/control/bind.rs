//! One daemon a run directory: the lock, and two sockets that replace a dead daemon's.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{CONTROL_SOCKET, OBSERVE_SOCKET, PID_FILE};

/// Connections that the kernel queues before the server accepts them; clients beyond wait or fail.
const BACKLOG: i32 = 16;

/// Why the run directory can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon holds the lock or answers on a socket.
    #[error(
        "heartbeatd is already running ({}) with run directory {}; stop it with `hb stop`, or give \
         this one another --run-dir",
        pid_text(*.pid), .run_dir.display()
    )]
    AlreadyRunning { pid: Option<u32>, run_dir: PathBuf },
    /// A system call failed.
    #[error("can't {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl BindError {
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "its pid is unknown".to_owned(), |pid| format!("pid {pid}"))
}

/// What [`bind`] hands over.
pub(super) struct Bound {
    pub observe: OwnedFd,
    pub control: OwnedFd,
    pub files: Files,
}

/// The lock and the names of the sockets; gone when dropped.
pub(super) struct Files {
    lock: File,
    sockets: Vec<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // Left behind, a socket of ours is replaced by the next daemon.
            let _ = std::fs::remove_file(socket);
        }
        // Emptied, not removed: who removes a lock file lets two others lock two files of that name.
        let _ = self.lock.set_len(0);
    }
}

pub(super) fn bind(run_dir: &Path) -> Result<Bound, BindError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(run_dir)
        .map_err(|e| BindError::io("create the run directory", run_dir, e))?;
    let mut files = Files { lock: lock(run_dir)?, sockets: Vec::new() };
    let observe = listen(run_dir, OBSERVE_SOCKET, 0o666, &mut files)?;
    let control = listen(run_dir, CONTROL_SOCKET, 0o600, &mut files)?;
    Ok(Bound { observe, control, files })
}

/// Locks the pid file and writes this process's id into it.
fn lock(run_dir: &Path) -> Result<File, BindError> {
    let path = run_dir.join(PID_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(|e| BindError::io("open", &path, e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(BindError::AlreadyRunning { pid, run_dir: run_dir.to_owned() });
        }
        Err(e) => return Err(BindError::io("lock", &path, e)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| BindError::io("write", &path, e))?;
    Ok(file)
}

/// A listening socket with this mode from its first connection on: mode before listen(2).
fn listen(run_dir: &Path, name: &str, mode: u32, files: &mut Files) -> Result<OwnedFd, BindError> {
    let path = run_dir.join(name);
    // The lock is ours, so a living socket means that somebody removed the lock file under a daemon.
    match UnixStream::connect(&path) {
        Ok(stream) => {
            let peer = sockopt::socket_peercred(&stream).ok();
            let pid = peer.and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok());
            return Err(BindError::AlreadyRunning { pid, run_dir: run_dir.to_owned() });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&path)
                .map_err(|e| BindError::io("remove the stale socket", &path, e))?;
        }
        Err(e) => return Err(BindError::io("look for a daemon behind", &path, e)),
    }
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| BindError::io("make a socket for", &path, e))?;
    let address = SocketAddrUnix::new(&path).map_err(|e| BindError::io("bind", &path, e))?;
    rustix::net::bind(&socket, &address).map_err(|e| BindError::io("bind", &path, e))?;
    files.sockets.push(path.clone());
    std::fs::set_permissions(&path, Permissions::from_mode(mode))
        .map_err(|e| BindError::io("set the mode of", &path, e))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|e| BindError::io("listen on", &path, e))?;
    Ok(socket)
}
