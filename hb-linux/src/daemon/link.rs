//! A medium and the frames on it: what the node's links are made of.

use std::io;
use std::os::fd::BorrowedFd;

use hb_proto::wire::port::FramePort;
use hb_proto::wire::service::is_service;
use rustix::io::Errno;

use crate::config::Medium;
use crate::media::{MAX_SERIAL, Port, Receive, Tended, Transmit};

/// A port as `embedded_io` sees it; reading nothing is 0 bytes.
#[derive(Debug)]
pub struct Wire(Port);

/// Why a wire did not carry bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// The line is still busy with an earlier frame.
    #[error("the line is busy")]
    Busy,
    /// The device is gone.
    #[error("the device is gone")]
    Lost(Errno),
}

impl embedded_io::Error for WireError {
    fn kind(&self) -> embedded_io::ErrorKind {
        match self {
            Self::Busy => embedded_io::ErrorKind::Other,
            Self::Lost(_) => embedded_io::ErrorKind::NotConnected,
        }
    }
}

impl embedded_io::ErrorType for Wire {
    type Error = WireError;
}

impl embedded_io::Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, WireError> {
        match self.0.receive(buf) {
            Receive::Received(n) => Ok(n),
            Receive::Empty => Ok(0),
            Receive::Lost(errno) => Err(WireError::Lost(errno)),
        }
    }
}

impl embedded_io::Write for Wire {
    fn write(&mut self, buf: &[u8]) -> Result<usize, WireError> {
        match self.0.transmit(buf) {
            Transmit::Sent => Ok(buf.len()),
            Transmit::Busy => Err(WireError::Busy),
            Transmit::Lost(errno) => Err(WireError::Lost(errno)),
        }
    }

    fn flush(&mut self) -> Result<(), WireError> {
        Ok(())
    }
}

/// Frames over a serial line, or datagrams.
#[derive(Debug)]
pub enum Link {
    /// Framed by COBS.
    Serial(Box<FramePort<Wire>>),
    /// One frame each.
    Datagram(Box<Port>),
}

impl Link {
    /// Opens `medium`; [`Port::failure`] tells whether that went well.
    #[must_use]
    pub fn open(medium: &Medium) -> Self {
        let port = Port::open(medium);
        match medium {
            Medium::Serial { .. } => Self::Serial(Box::new(FramePort::new(Wire(port)))),
            _ => Self::Datagram(Box::new(port)),
        }
    }

    /// The port below.
    #[must_use]
    pub fn port(&self) -> &Port {
        match self {
            Self::Serial(framed) => &framed.port().0,
            Self::Datagram(port) => port,
        }
    }

    fn port_mut(&mut self) -> &mut Port {
        match self {
            Self::Serial(framed) => &mut framed.port_mut().0,
            Self::Datagram(port) => port,
        }
    }

    /// See [`Port::far_end_is_up`].
    pub fn far_end_is_up(&mut self) -> Option<bool> {
        self.port_mut().far_end_is_up()
    }

    /// To wait on for reading, while open.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.port().fd()
    }

    /// Tries to open a lost port again; see [`Port::tend`].
    pub fn tend(&mut self) -> Option<Tended> {
        let tended = self.port_mut().tend();
        if let (Some(Tended::Reopened), Self::Serial(framed)) = (tended, &mut *self) {
            framed.reopened();
        }
        tended
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// It did not leave.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        match self {
            Self::Serial(framed) => framed.send(frame).map(drop),
            Self::Datagram(port) => match port.transmit(frame) {
                Transmit::Sent => Ok(()),
                Transmit::Busy => Err(WireError::Busy),
                Transmit::Lost(errno) => Err(WireError::Lost(errno)),
            },
        }
    }
}

/// A serial line on which only service frames matter: `hb dongle` without heartbeatd.
#[derive(Debug)]
pub struct ServiceLine(FramePort<Wire>);

impl ServiceLine {
    /// Opens it; [`ServiceLine::failure`] tells whether that went well.
    #[must_use]
    pub fn open(medium: &Medium) -> Self {
        Self(FramePort::new(Wire(Port::open(medium))))
    }

    /// Why it is not open.
    #[must_use]
    pub fn failure(&self) -> Option<&crate::media::Failure> {
        self.0.port().0.failure()
    }

    /// To wait on for reading.
    ///
    /// # Errors
    /// The device is gone.
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.0.port().0.fd().ok_or_else(|| Errno::NODEV.into())
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// It did not leave.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop).map_err(io::Error::other)
    }

    /// The next service frame among what has arrived; others are left out.
    ///
    /// # Errors
    /// The device is gone.
    pub fn next_service_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            while let Some(found) = self.0.next_frame() {
                match found {
                    Ok(frame) if is_service(frame) => return Ok(Some(frame.to_vec())),
                    _ => {}
                }
            }
            if self.0.fill().map_err(io::Error::other)? == 0 {
                return Ok(None);
            }
        }
    }
}

const _: () = assert!(hb_proto::wire::MAX_LINE_FRAME < MAX_SERIAL, "a frame fits one write");
