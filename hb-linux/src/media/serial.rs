//! A serial line: raw bytes over a tty, 8N1, no flow control.
//!
//! Two descriptors of the same tty: `serialport`'s, which sets the line up and holds it (TIOCEXCL and
//! flock), and one of our own for reading and writing. `serialport` switches its descriptor to blocking
//! mode; O_NONBLOCK belongs to an open file description (fcntl(2)), so ours keeps it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, isatty, tcflush};
use serialport::SerialPort as _;

use super::modem::{self, FarEnd};
use super::uucp::LockFile;
use super::{Failure, MAX_SERIAL, Receive, Sending};

#[derive(Debug)]
pub(super) struct Serial {
    device: PathBuf,
    baud: u32,
    lock_dir: PathBuf,
    /// Kept while the device is away: the line is still ours, and re-opening it stays off the disk
    /// that the lock directory may be on.
    lock: Option<LockFile>,
    tty: Option<Tty>,
    /// `None` where asking could wait.
    far_end: Option<FarEnd>,
    /// What the kernel did not take of the last frame.
    rest: heapless::Vec<u8, MAX_SERIAL>,
}

/// A tty set up as a serial line.
#[derive(Debug)]
pub(crate) struct Tty {
    /// Reads and writes without waiting.
    pub(crate) io: OwnedFd,
    /// Holds the line, and sets it up.
    pub(crate) line: serialport::TTYPort,
}

impl Serial {
    pub(super) fn new(device: PathBuf, baud: u32, lock_dir: PathBuf) -> Self {
        Self {
            device,
            baud,
            lock_dir,
            lock: None,
            tty: None,
            far_end: None,
            rest: heapless::Vec::new(),
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tty.as_ref().map(|tty| tty.io.as_fd())
    }

    pub(super) fn open(&mut self) -> Result<(), Failure> {
        let (device, lock) = resolve(&self.device, &self.lock_dir)?;
        if self.lock.as_ref().is_none_or(|held| held.path() != lock) {
            self.lock = None;
            self.lock = Some(LockFile::acquire(lock)?);
        }
        let tty = Tty::open(&device, self.baud)?;
        self.far_end = modem::answers_at_once(&tty.io).then(FarEnd::default);
        self.tty = Some(tty);
        self.rest.clear();
        Ok(())
    }

    /// Closing a tty waits until its output is sent, for up to 30 s by default (setserial(8),
    /// closing_wait): what is queued is thrown away first.
    pub(super) fn close(&mut self) {
        if let Some(tty) = self.tty.take() {
            // A device that has gone refuses, and then has nothing to wait for either.
            let _ = tcflush(&tty.io, QueueSelector::OFlush);
        }
        self.rest.clear();
    }

    pub(super) fn far_end_is_up(&mut self) -> Option<bool> {
        let (tty, far_end) = (self.tty.as_mut()?, self.far_end.as_mut()?);
        let Some(up) = modem::is_up(&mut tty.line) else {
            // It has none, which `serialport` tells each time with a text of its own: asked once.
            self.far_end = None;
            return None;
        };
        far_end.look(up)
    }

    pub(super) fn receive(&mut self, buf: &mut [u8]) -> Receive {
        let Some(tty) = &self.tty else { return Receive::Lost(Errno::NODEV) };
        match rustix::io::read(&tty.io, buf) {
            // In raw mode with VMIN 1 only a hang-up reads as end of file (termios(3)).
            Ok(0) => Receive::Lost(Errno::IO),
            Ok(n) => Receive::Received(n),
            Err(errno) if errno == Errno::AGAIN || errno == Errno::INTR => Receive::Empty,
            Err(errno) => Receive::Lost(errno),
        }
    }

    /// A frame that the kernel takes only a part of counts as sent: its rest goes before anything else.
    /// (A pseudo-terminal has no output queue to look at, so there only that rest shows a busy line.)
    pub(super) fn transmit(&mut self, bytes: &[u8]) -> Sending {
        let Some(tty) = &self.tty else { return Sending::Lost(Errno::NODEV) };
        if !self.rest.is_empty() {
            match write(tty, &self.rest) {
                Ok(n) => drop_front(&mut self.rest, n),
                Err(errno) => return Sending::Lost(errno),
            }
        }
        // TIOCOUTQ (ioctl_tty(2)); should it fail, then so does the write, with a better reason.
        let queued = tty.line.bytes_to_write().unwrap_or(0);
        if !self.rest.is_empty() || queued > 0 {
            return Sending::Busy;
        }
        debug_assert!(bytes.len() <= MAX_SERIAL, "{} bytes are no frame", bytes.len());
        if bytes.len() > MAX_SERIAL {
            return Sending::Busy;
        }
        match write(tty, bytes) {
            Ok(0) => Sending::Busy,
            Ok(n) => {
                // Fits: no longer than the capacity, as checked above.
                let _ = self.rest.extend_from_slice(&bytes[n..]);
                Sending::Sent
            }
            Err(errno) => Sending::Lost(errno),
        }
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        // The device before its lock, and without waiting for the line.
        self.close();
    }
}

/// The device behind its links, and its lock file.
fn resolve(device: &Path, lock_dir: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    // /dev/serial/by-path/… may lead to another ttyUSB each time the adapter is plugged in; the
    // lock goes by the name that the device has now.
    let device = fs::canonicalize(device).map_err(|error| explain(errno_of(&error)))?;
    let lock = LockFile::path_for(lock_dir, &device).ok_or(Failure::NotATty)?;
    let kind = rustix::fs::stat(&device).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::CharacterDevice) {
        return Err(Failure::NotATty);
    }
    Ok((device, lock))
}

/// Locks and opens a port for `hb serial`.
pub(crate) fn claim(device: &Path, baud: u32, lock_dir: &Path) -> Result<(LockFile, Tty), Failure> {
    let (device, lock) = resolve(device, lock_dir)?;
    let lock = LockFile::acquire(lock)?;
    Ok((lock, Tty::open(&device, baud)?))
}

fn write(tty: &Tty, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::write(&tty.io, bytes) {
        Err(errno) if errno == Errno::AGAIN || errno == Errno::INTR => Ok(0),
        other => other,
    }
}

fn drop_front<const N: usize>(rest: &mut heapless::Vec<u8, N>, n: usize) {
    rest.rotate_left(n);
    rest.truncate(rest.len() - n);
}

impl Tty {
    fn open(device: &Path, baud: u32) -> Result<Self, Failure> {
        let name = device.to_str().ok_or(Failure::PathNotText)?;
        // Ours first: once `serialport` has claimed the tty nobody but root can open it.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let io = rustix::fs::open(device, flags, Mode::empty()).map_err(explain)?;
        if !isatty(&io) {
            return Err(Failure::NotATty);
        }
        let line = serialport::new(name, baud)
            .data_bits(serialport::DataBits::Eight)
            .parity(serialport::Parity::None)
            .stop_bits(serialport::StopBits::One)
            .flow_control(serialport::FlowControl::None)
            .timeout(Duration::ZERO)
            .open_native()
            .map_err(|error| match error.kind() {
                serialport::ErrorKind::NoDevice => Failure::InUse,
                _ => {
                    Failure::Serial { step: "setting 8N1 and its speed", reason: error.to_string() }
                }
            })?;
        // Both must be the same device, though it may have been plugged again between the two opens.
        let same = rustix::fs::fstat(&io).map(|stat| stat.st_rdev)
            == rustix::fs::stat(device).map(|stat| stat.st_rdev);
        if !same {
            return Err(Failure::NoDevice);
        }
        // What arrived before the speed was right, or was queued by an earlier user, is no frame.
        tcflush(&io, QueueSelector::IOFlush).map_err(|errno| Failure::Serial {
            step: "emptying its queues",
            reason: errno.to_string(),
        })?;
        Ok(Self { io, line })
    }
}

pub(crate) fn explain(errno: Errno) -> Failure {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => Failure::NoDevice,
        Errno::ACCESS | Errno::PERM => Failure::DeviceDenied,
        Errno::BUSY => Failure::InUse,
        errno => Failure::Serial { step: "opening it", reason: errno.to_string() },
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_frame_keeps_its_order() {
        let mut rest = heapless::Vec::<u8, MAX_SERIAL>::from_slice(b"abcdef").unwrap();
        drop_front(&mut rest, 0);
        assert_eq!(rest.as_slice(), b"abcdef");
        drop_front(&mut rest, 4);
        assert_eq!(rest.as_slice(), b"ef");
        drop_front(&mut rest, 2);
        assert!(rest.is_empty());
    }
}
