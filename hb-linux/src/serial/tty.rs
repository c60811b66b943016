//! A port in the hands of `hb serial`: set up and locked as heartbeatd does it, read and written with
//! patience.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush, tcgetattr};
use serialport::SerialPort as _;

use super::modem::{Inputs, Outputs};
use crate::media::{Failure, Tty};

/// One end of a line, as a test uses it: real, or a fake of its tests.
pub trait Wire {
    /// Waits up to `patience` for bytes; 0 when none came.
    ///
    /// # Errors
    /// The device is gone.
    fn read(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<usize>;
    /// Hands over as many bytes as are taken at once.
    ///
    /// # Errors
    /// The device is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Changes the speed; what is still in the queues is thrown away.
    ///
    /// # Errors
    /// The device doesn't know this speed, or is gone.
    fn set_baud(&mut self, baud: u32) -> io::Result<()>;
    /// Drives the outputs.
    fn drive(&mut self, outputs: Outputs);
    /// Reads the inputs; `None` when the device has none.
    fn inputs(&mut self) -> Option<Inputs>;
}

/// A real one.
#[derive(Debug)]
pub struct Line {
    // The tty is closed before its lock is given back: fields are dropped in order.
    tty: Tty,
    _lock: crate::media::LockFile,
}

impl Line {
    /// Opens the port raw, 8N1, no flow control, and locks it in `lock_dir`.
    ///
    /// # Errors
    /// As heartbeatd's own links, in the same words.
    pub fn open(device: &Path, baud: u32, lock_dir: &Path) -> Result<Self, Failure> {
        let (lock, tty) = crate::media::claim(device, baud, lock_dir)?;
        Ok(Self { tty, _lock: lock })
    }

    /// Waits until `bytes` written bytes must have left, by the line's speed and the kernel's word.
    ///
    /// # Errors
    /// The device is gone.
    pub fn drain(&mut self, bytes: usize, baud: u32) -> io::Result<()> {
        rustix::termios::tcdrain(&self.tty.io)?;
        // An adapter's own buffer is behind the kernel's back.
        std::thread::sleep(super::time_of(bytes, baud));
        Ok(())
    }
}

impl Wire for Line {
    fn read(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
        let mut fds = [PollFd::from_borrowed_fd(self.tty.io.as_fd(), PollFlags::IN)];
        let patience = Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => return Ok(0),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        match rustix::io::read(&self.tty.io, buffer) {
            // Only a hang-up reads as end of file here (termios(3)).
            Ok(0) => Err(Errno::IO.into()),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.tty.io, bytes) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    fn set_baud(&mut self, baud: u32) -> io::Result<()> {
        self.tty.line.set_baud_rate(baud).map_err(io::Error::from)?;
        tcflush(&self.tty.io, QueueSelector::IOFlush)?;
        Ok(())
    }

    fn drive(&mut self, outputs: Outputs) {
        // Ptys refuse, and then `inputs` says that there are no lines.
        let _ = self.tty.line.write_data_terminal_ready(outputs.dtr);
        let _ = self.tty.line.write_request_to_send(outputs.rts);
    }

    fn inputs(&mut self) -> Option<Inputs> {
        let line = &mut self.tty.line;
        Some(Inputs {
            cts: line.read_clear_to_send().ok()?,
            dsr: line.read_data_set_ready().ok()?,
            dcd: line.read_carrier_detect().ok()?,
        })
    }
}

/// The speed that a port is set to, bit/s, as cat(1) and echo(1) would use it.
///
/// # Errors
/// It can't be opened, or is no tty.
pub fn present_baud(device: &Path) -> Result<u32, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(device, flags, Mode::empty()).map_err(crate::media::explain)?;
    let termios = tcgetattr(&fd).map_err(|_| Failure::NotATty)?;
    Ok(termios.output_speed())
}

impl Drop for Line {
    fn drop(&mut self) {
        // Closing waits for queued output, up to 30 s at a dead end (setserial(8), closing_wait).
        let _ = tcflush(&self.tty.io, QueueSelector::OFlush);
    }
}
