//! The other ends of the sockets: what `hb` and the tests speak with.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{PidfdFlags, pidfd_open};
use socket2::{Domain, SockAddr, Socket, Type};

use super::snapshot::Snapshot;
use super::{CONTROL_SOCKET, Command, OBSERVE_SOCKET, Reply};

/// How long a client waits for the daemon, four times as long as the daemon waits for a client.
const PATIENCE: Duration = Duration::from_secs(2);
/// No snapshot is that long; more means that something else listens there.
const SNAPSHOT_MAX: u64 = 1 << 20;

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or one that nobody listens on.
    #[error("heartbeatd is not running (nobody listens on {})", .socket.display())]
    NotRunning { socket: PathBuf },
    /// The control socket is root's.
    #[error("{}: permission denied; only root may command heartbeatd, try sudo", .socket.display())]
    Denied { socket: PathBuf },
    /// Connected, then no answer in time.
    #[error(
        "heartbeatd did not answer on {} within {} s: it is stopped or overloaded; look at \
         /var/log/ha-log", .socket.display(), PATIENCE.as_secs()
    )]
    Silent { socket: PathBuf },
    /// An answer that isn't the interface's.
    #[error("{} answered something that is no {expected}: {problem}", .socket.display())]
    Garbled { socket: PathBuf, expected: &'static str, problem: String },
    /// Any other failure of a system call.
    #[error("{}: {source}", .socket.display())]
    Io { socket: PathBuf, source: io::Error },
}

impl ClientError {
    fn from_io(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotRunning { socket }
            }
            io::ErrorKind::PermissionDenied => Self::Denied { socket },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent { socket },
            _ => Self::Io { socket, source },
        }
    }
}

/// Connects with [`PATIENCE`] for each step. The write timeout bounds connect(2) too, which would wait
/// without end for a stopped daemon whose queue is full (unix(7), socket(7): SO_SNDTIMEO).
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.connect(&SockAddr::unix(socket)?)?;
    Ok(UnixStream::from(OwnedFd::from(stream)))
}

/// The daemon's snapshot as it wrote it: one line of JSON without its newline.
///
/// # Errors
/// As [`ClientError`] says; the text is checked to be complete JSON, not to have known fields.
pub fn observe_text(run_dir: &Path) -> Result<String, ClientError> {
    let socket = run_dir.join(OBSERVE_SOCKET);
    let io = |e| ClientError::from_io(&socket, e);
    let stream = connect(&socket).map_err(io)?;
    let mut text = String::new();
    stream.take(SNAPSHOT_MAX).read_to_string(&mut text).map_err(io)?;
    if text.is_empty() {
        return Err(ClientError::Silent { socket });
    }
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
        return Err(garbled(&socket, "snapshot", &error));
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// The daemon's snapshot.
///
/// # Errors
/// As [`ClientError`] says.
pub fn observe(run_dir: &Path) -> Result<Snapshot, ClientError> {
    let text = observe_text(run_dir)?;
    serde_json::from_str(&text)
        .map_err(|error| garbled(&run_dir.join(OBSERVE_SOCKET), "snapshot", &error))
}

fn garbled(socket: &Path, expected: &'static str, error: &serde_json::Error) -> ClientError {
    ClientError::Garbled { socket: socket.to_owned(), expected, problem: error.to_string() }
}

/// Sends one command and waits for its reply.
///
/// # Errors
/// As [`ClientError`] says; a refusal by the daemon is a [`Reply`] that isn't ok.
pub fn command(run_dir: &Path, command: &Command) -> Result<Reply, ClientError> {
    Call::connect(run_dir)?.command(command)
}

/// A connection to the control socket, for one command.
pub struct Call {
    stream: UnixStream,
    socket: PathBuf,
}

impl Call {
    /// # Errors
    /// As [`ClientError`] says.
    pub fn connect(run_dir: &Path) -> Result<Self, ClientError> {
        let socket = run_dir.join(CONTROL_SOCKET);
        let stream = connect(&socket).map_err(|e| ClientError::from_io(&socket, e))?;
        Ok(Self { stream, socket })
    }

    /// A descriptor that becomes readable when the daemon exits (pidfd_open(2)): no process id is
    /// mistaken for another's, whatever happens meanwhile.
    ///
    /// # Errors
    /// When the kernel can't tell who listens, or is older than 5.3.
    pub fn daemon(&self) -> io::Result<OwnedFd> {
        let listener = rustix::net::sockopt::socket_peercred(&self.stream)?;
        Ok(pidfd_open(listener.pid, PidfdFlags::empty())?)
    }

    /// Sends the command and waits for its reply.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn command(mut self, command: &Command) -> Result<Reply, ClientError> {
        let io = |e| ClientError::from_io(&self.socket, e);
        self.stream.write_all(format!("{command}\n").as_bytes()).map_err(io)?;
        let mut line = String::new();
        BufReader::new((&self.stream).take(SNAPSHOT_MAX)).read_line(&mut line).map_err(io)?;
        serde_json::from_str(&line).map_err(|error| garbled(&self.socket, "reply", &error))
    }
}
