//! The daemon's end: starts the helper and speaks with it without ever waiting for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use super::HELPER_ARGUMENT;
use super::message::{FromHelper, MAX_MESSAGE, Setup, ToHelper, What, decode, encode};
use crate::config::{GroupLine, ResourceLine};

/// Orders that wait because the socket is full: 128 standing orders of a usual length, in bytes.
const BACKLOG_BYTES: usize = 8 * 1024;
/// How long [`Helper::configure`], which may wait, waits for a helper that doesn't read.
const SETUP_PATIENCE: Duration = Duration::from_secs(5);

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The helper's socket has it.
    Now,
    /// An order that goes out with [`Helper::flush`], before any later one.
    Queued,
    /// A log line that found no room; counted.
    Dropped,
}

/// An order that can't be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The helper process is gone: [`Helper::respawn`].
    #[error("the helper process is gone")]
    Gone,
    /// The helper hasn't read for so long that the queue is full.
    #[error("the helper process doesn't read its orders; {BACKLOG_BYTES} bytes of them wait")]
    Full,
    /// Longer than [`MAX_MESSAGE`].
    #[error("an order is longer than {MAX_MESSAGE} bytes")]
    TooLong,
}

/// A configuration that can't be handed to the helper.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A line of haresources is too long for one message.
    #[error(
        "haresources, line {line}: the group's scripts and arguments take more than {MAX_MESSAGE} \
         bytes; shorten them, or split the group in two"
    )]
    GroupTooLong {
        /// Where the group starts.
        line: usize,
    },
    /// A path that isn't UTF-8, or paths longer than a message.
    #[error(
        "the paths of configuration and logs must be UTF-8 and take less than {MAX_MESSAGE} bytes"
    )]
    Paths,
    /// The helper doesn't take it.
    #[error("can't hand the configuration to the helper process: {0}")]
    Io(#[from] io::Error),
}

/// What a look into the mailbox found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// One message; there may be more.
    Message(FromHelper),
    /// Nothing for now.
    Nothing,
    /// The helper process is gone. Orders without an answer never get one.
    Gone,
}

/// The helper process, seen from the daemon.
///
/// After set-up no method blocks or allocates but [`Helper::respawn`] and [`Helper::farewell`].
/// Dropping it without [`Helper::farewell`] sets off the dead man's order, as the daemon's death does.
#[derive(Debug)]
pub struct Helper {
    program: PathBuf,
    /// A lock that lasts as long as the helper, see [`Helper::spawn_holding`].
    lock: Option<OwnedFd>,
    child: Child,
    /// A predecessor that wasn't dead yet when it was replaced.
    retired: Option<Child>,
    socket: OwnedFd,
    gone: bool,
    /// What every new helper is told first.
    introduction: Vec<Vec<u8>>,
    /// The last standing order, encoded; empty before the first.
    standing: Vec<u8>,
    backlog: Backlog,
    dropped: u32,
    packet: Box<[u8; MAX_MESSAGE]>,
}

impl Helper {
    /// Starts this very binary again as the helper. First thing in `main`: before threads, realtime
    /// priority, locked memory.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn spawn() -> io::Result<Self> {
        Self::launched(Path::new("/proc/self/exe"), None)
    }

    /// The same, and the helper keeps `lock` open until it ends: a lock of flock(2) on it lasts until the
    /// dead man's order is carried out too.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn spawn_holding(lock: OwnedFd) -> io::Result<Self> {
        Self::launched(Path::new("/proc/self/exe"), Some(lock))
    }

    /// Starts `program`, whose `main` must know [`HELPER_ARGUMENT`].
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn spawn_program(program: &Path) -> io::Result<Self> {
        Self::launched(program, None)
    }

    fn launched(program: &Path, lock: Option<OwnedFd>) -> io::Result<Self> {
        let (child, socket) = launch(program, lock.as_ref())?;
        Ok(Self {
            program: program.to_owned(),
            lock,
            child,
            retired: None,
            socket,
            gone: false,
            introduction: Vec::new(),
            standing: Vec::with_capacity(MAX_MESSAGE),
            backlog: Backlog::new(),
            dropped: 0,
            packet: Box::new([0; MAX_MESSAGE]),
        })
    }

    /// Tells the helper what it works with: before the first order. May wait for it, 5 s at most.
    ///
    /// # Errors
    /// The configuration doesn't fit a message, or the helper doesn't take it.
    pub fn configure(
        &mut self,
        setup: &Setup<'_>,
        groups: &[GroupLine],
    ) -> Result<(), ConfigureError> {
        let mut introduction = Vec::with_capacity(1 + groups.len());
        let encoded =
            |message: &ToHelper<'_>| encode(message, &mut [0; MAX_MESSAGE]).map(<[u8]>::to_vec);
        let setup = encoded(&ToHelper::Setup(setup.clone()));
        introduction.push(setup.map_err(|_| ConfigureError::Paths)?);
        for (number, line) in (0..).zip(groups) {
            let resources = line.resources.iter().map(What::from).collect();
            let group = encoded(&ToHelper::Group { group: number, resources });
            introduction.push(group.map_err(|_| ConfigureError::GroupTooLong { line: line.line })?);
        }
        rustix::net::sockopt::set_socket_timeout(
            &self.socket,
            rustix::net::sockopt::Timeout::Send,
            Some(SETUP_PATIENCE),
        )
        .map_err(io::Error::from)?;
        for bytes in &introduction {
            send(&self.socket, bytes, SendFlags::NOSIGNAL).map_err(io::Error::from)?;
        }
        self.introduction = introduction;
        Ok(())
    }

    /// Readable when [`Helper::receive`] has something to say; wait for writability too while
    /// [`Helper::wants_write`]. Another one after [`Helper::respawn`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The helper's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A second handle on the socket, for [`crate::log::Sink::divert`]. A new one is needed after
    /// [`Helper::respawn`].
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn log_socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Sends a message, never waiting: what finds no room is queued (orders) or dropped (log lines).
    ///
    /// # Errors
    /// The order was neither sent nor queued.
    pub fn send(&mut self, message: &ToHelper<'_>) -> Result<Sent, SendError> {
        let bytes = encode(message, &mut self.packet[..]).map_err(|_| SendError::TooLong)?;
        if matches!(message, ToHelper::StandingOrder(_)) {
            self.standing.clear();
            self.standing.extend_from_slice(bytes);
        }
        if self.gone {
            return Err(SendError::Gone);
        }
        self.backlog.flush(&self.socket)?;
        if self.backlog.is_empty() {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(Sent::Now),
                Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => {}
                Err(_) => return Err(SendError::Gone),
            }
        }
        if message.may_be_dropped() {
            self.dropped = self.dropped.saturating_add(1);
            return Ok(Sent::Dropped);
        }
        self.backlog.push(bytes)?;
        Ok(Sent::Queued)
    }

    /// Are orders waiting for room in the socket?
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.gone && !self.backlog.is_empty()
    }

    /// Sends waiting orders as far as there is room.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn flush(&mut self) -> Result<(), SendError> {
        if self.gone { Err(SendError::Gone) } else { self.backlog.flush(&self.socket) }
    }

    /// The next message. Once it says [`Received::Gone`] it goes on saying so until
    /// [`Helper::respawn`].
    pub fn receive(&mut self) -> Received {
        while !self.gone {
            match recv(&self.socket, &mut self.packet[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.gone = true,
                Ok((n, _)) => match decode(&self.packet[..n]) {
                    Ok(message) => return Received::Message(message),
                    // The same build encoded it: only a damaged helper says such a thing.
                    Err(_) => self.gone = true,
                },
                // CONNRESET: it died with orders unread; what it had said before still comes.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => self.gone = true,
            }
        }
        Received::Gone
    }

    /// Log lines dropped by [`Helper::send`] since the last call. [`crate::log::Sink`] counts its own.
    #[must_use]
    pub fn take_dropped(&mut self) -> u32 {
        std::mem::take(&mut self.dropped)
    }

    /// How the helper ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Replaces the helper; the new one knows the configuration and the last standing order.
    ///
    /// Answers to orders given before never come, and a script of the old helper may still run: ask
    /// for `status` before trusting anything. Starting a process takes a millisecond or so and
    /// allocates. Realtime priority must have been raised with SCHED_RESET_ON_FORK (sched(7)), or
    /// the new helper and its scripts inherit it.
    ///
    /// # Errors
    /// What the kernel answered; the old helper is finished in any case.
    pub fn respawn(&mut self) -> io::Result<()> {
        self.gone = true;
        self.backlog.clear();
        // It may live on if it was only its socket that broke: two helpers must not be.
        let _ = self.child.kill();
        if let Some(retired) = &mut self.retired {
            let _ = retired.try_wait();
        }
        let (child, socket) = launch(&self.program, self.lock.as_ref())?;
        let old = std::mem::replace(&mut self.child, child);
        self.retired = Some(old);
        self.socket = socket;
        self.gone = false;
        let standing = (!self.standing.is_empty()).then_some(&self.standing);
        for bytes in self.introduction.iter().chain(standing) {
            // 17 messages of 4 KiB at most fit an empty socket (net.core.wmem_default: 208 KiB).
            send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Leaves in good order: the standing order is void, and the helper ends. Waits for it, `patience`
    /// at most; true if it has ended.
    ///
    /// # Errors
    /// The farewell couldn't be delivered, so the standing order will be carried out.
    pub fn farewell(mut self, patience: Duration) -> io::Result<bool> {
        let end = Instant::now() + patience;
        self.send(&ToHelper::Farewell).map_err(io::Error::other)?;
        while self.wants_write() && Instant::now() < end {
            self.flush().map_err(io::Error::other)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.wants_write() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let Self { socket, mut child, .. } = self;
        drop(socket);
        while Instant::now() < end {
            if child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }
}

/// A helper process and the daemon's end of the socket pair.
/// The lock becomes the helper's standard output, which nothing is written to: so it is inherited by
/// the helper and not by the scripts, which get an output of their own.
fn launch(program: &Path, lock: Option<&OwnedFd>) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = Command::new(program)
        .arg(HELPER_ARGUMENT)
        .stdin(Stdio::from(theirs))
        .stdout(match lock {
            Some(lock) => Stdio::from(lock.try_clone()?),
            None => Stdio::null(),
        })
        .spawn()?;
    Ok((child, ours))
}

impl<'a> From<&'a ResourceLine> for What<'a> {
    fn from(line: &'a ResourceLine) -> Self {
        match line {
            ResourceLine::Address { spec, .. } => Self::Address(spec.ip),
            ResourceLine::Script { script, args, .. } => {
                Self::Script { script, args: args.iter().map(String::as_str).collect() }
            }
        }
    }
}

/// Encoded orders in their order, each behind its length (two bytes, little endian).
#[derive(Debug)]
struct Backlog {
    bytes: Vec<u8>,
}

impl Backlog {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(BACKLOG_BYTES) }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }

    fn push(&mut self, order: &[u8]) -> Result<(), SendError> {
        // Never beyond the capacity reserved: no allocation here.
        if self.bytes.len() + 2 + order.len() > BACKLOG_BYTES {
            return Err(SendError::Full);
        }
        let length = u16::try_from(order.len()).map_err(|_| SendError::TooLong)?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(order);
        Ok(())
    }

    fn flush(&mut self, socket: &OwnedFd) -> Result<(), SendError> {
        while let Some((&[low, high], rest)) = self.bytes.split_first_chunk::<2>() {
            let order = &rest[..usize::from(u16::from_le_bytes([low, high]))];
            match send(socket, order, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => return Ok(()),
                Err(_) => return Err(SendError::Gone),
            }
            let end = 2 + order.len();
            self.bytes.drain(..end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_orders_leave_in_order_and_the_backlog_is_bounded() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let mut backlog = Backlog::new();
        let capacity = backlog.bytes.capacity();
        let mut pushed = 0_u32;
        while backlog.push(&pushed.to_le_bytes()).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed as usize, BACKLOG_BYTES / 6);
        assert_eq!(backlog.push(b"1234"), Err(SendError::Full));
        assert_eq!(backlog.bytes.capacity(), capacity);
        let mut received = 0;
        while received < pushed {
            backlog.flush(&ours).unwrap();
            let mut packet = [0; 4];
            let (n, _) = recv(&theirs, &mut packet, RecvFlags::empty()).unwrap();
            assert_eq!((n, u32::from_le_bytes(packet)), (4, received));
            received += 1;
        }
        assert!(backlog.is_empty());
        drop(theirs);
        backlog.push(b"late").unwrap();
        assert_eq!(backlog.flush(&ours), Err(SendError::Gone));
    }
}
