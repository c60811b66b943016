//! Serial lines and UDP sockets: bytes in, bytes out.
//!
//! A [`Port`] is one medium of ha.cf. What the bytes mean is decided in `hb-proto`: a serial port moves
//! raw bytes in whatever pieces the line brings them, a UDP port moves one frame a datagram.
//!
//! A port is never fatal. One that can't be opened, or whose device goes away, says why
//! ([`Port::failure`]) and is tried again each time [`Port::tend`] is called; the node goes on with its
//! other media meanwhile. [`Port::receive`] and [`Port::transmit`] never block; they allocate nothing
//! either, except at the moment when they find the device gone.

mod failure;
mod filter;
mod modem;
mod serial;
mod udp;
mod uucp;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::config::Medium;
pub use failure::Failure;
pub(crate) use serial::{Tty, claim, explain};
pub use uucp::LOCK_DIR;
pub(crate) use uucp::LockFile;

/// What can't be a frame (protocol.md §5) is dropped by the kernel: shorter or longer datagrams.
pub use hb_proto::wire::{MAX_FRAME, MIN_FRAME};
/// The most bytes that a serial line is handed at once: the longest frame with COBS overhead (one byte
/// in 254, rounded up) and its delimiter.
pub const MAX_SERIAL: usize = MAX_FRAME + 2 + 1;

/// What one read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    /// So many bytes are in the buffer; there may be more to read.
    Received(usize),
    /// Nothing (more) to read now.
    Empty,
    /// The device is gone; the port is closed and waits for [`Port::tend`].
    Lost(Errno),
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transmit {
    /// The kernel took all of it.
    Sent,
    /// The frame did not leave and is forgotten: the line is still busy with an earlier one, or the
    /// network can't be reached now (cable out, interface down). The port stays open.
    Busy,
    /// The device is gone; the port is closed and waits for [`Port::tend`].
    Lost(Errno),
}

/// What tending a lost port achieved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tended {
    /// Open again, with a new file descriptor.
    Reopened,
    /// Not yet; [`Port::failure`] says why.
    StillLost,
}

/// What a port has seen since it was made. Figures only; nothing is decided by them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Reads that brought bytes.
    pub received: u64,
    /// Frames that the kernel took.
    pub sent: u64,
    /// Frames that were dropped because the line was busy.
    pub busy: u64,
    /// Frames that the network refused for now (no carrier, no route, no neighbour, a firewall).
    pub unreachable: u64,
    /// Times that the device was lost.
    pub lost: u64,
}

/// One medium of ha.cf, open or waiting to be opened again.
#[derive(Debug)]
pub struct Port {
    name: String,
    link: Link,
    failure: Option<Failure>,
    counters: Counters,
}

#[derive(Debug)]
enum Link {
    Serial(serial::Serial),
    Udp(udp::Udp),
}

/// What the two kinds of media answer with; private, the counters are kept in one place.
enum Sending {
    Sent,
    Busy,
    Unreachable,
    Lost(Errno),
}

impl Port {
    /// Opens `medium`. Whether that went well is told by [`failure`](Self::failure).
    ///
    /// Lock files of serial devices go to `/var/lock`, as FHS 3.0 §5.9 demands.
    #[must_use]
    pub fn open(medium: &Medium) -> Self {
        Self::open_locking_in(medium, uucp::LOCK_DIR.into())
    }

    /// Like [`open`](Self::open), with serial lock files in `lock_dir`.
    #[must_use]
    pub fn open_locking_in(medium: &Medium, lock_dir: PathBuf) -> Self {
        let (name, link) = match medium {
            Medium::Serial { device, baud } => (
                device.display().to_string(),
                Link::Serial(serial::Serial::new(device.clone(), *baud, lock_dir)),
            ),
            Medium::Broadcast { interface, .. }
            | Medium::Unicast { interface, .. }
            | Medium::Multicast { interface, .. }
            | Medium::Ppp { interface, .. } => {
                (medium.name(), Link::Udp(udp::Udp::new(medium.clone(), interface.clone())))
            }
        };
        let mut port = Self { name, link, failure: None, counters: Counters::default() };
        port.failure = port.try_open().err();
        port
    }

    fn try_open(&mut self) -> Result<(), Failure> {
        match &mut self.link {
            Link::Serial(serial) => serial.open(),
            Link::Udp(udp) => udp.open(),
        }
    }

    /// The link's name in the log and in `hb status`: "eth1", "/dev/ttyS0".
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// "serial", "bcast", "ucast", "mcast" or "ppp-udp".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.link {
            Link::Serial(_) => "serial",
            Link::Udp(udp) => udp.kind(),
        }
    }

    /// The line that start-up logs for an open port.
    #[must_use]
    pub fn description(&self) -> String {
        match &self.link {
            Link::Serial(_) => format!("Starting serial heartbeat on tty {}", self.name),
            Link::Udp(udp) => udp.description(),
        }
    }

    /// Why the port is not open, in plain words without its name; `None` while it is open.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Figures since the port was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// To wait on for reading. It changes when the port is re-opened; a closed descriptor leaves an
    /// epoll set by itself.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Serial(serial) => serial.fd(),
            Link::Udp(udp) => udp.fd(),
        }
    }

    /// Whether a serial line's modem lines say that the far end is up; `None` where they say nothing: a socket, a cable
    /// of three wires, an adapter that has to be asked over USB.
    pub fn far_end_is_up(&mut self) -> Option<bool> {
        match &mut self.link {
            Link::Serial(serial) => serial.far_end_is_up(),
            Link::Udp(_) => None,
        }
    }

    /// Exactly one read. On UDP `buf` holds at least [`MAX_FRAME`] bytes, otherwise a datagram could
    /// be cut; the bytes of a serial line may come in any pieces.
    pub fn receive(&mut self, buf: &mut [u8]) -> Receive {
        debug_assert!(
            buf.len() >= MAX_FRAME || matches!(self.link, Link::Serial(_)),
            "a buffer of {} bytes would cut frames",
            buf.len()
        );
        let received = match &mut self.link {
            Link::Serial(serial) => serial.receive(buf),
            Link::Udp(udp) => udp.receive(buf),
        };
        match received {
            Receive::Received(_) => self.counters.received += 1,
            Receive::Empty => {}
            Receive::Lost(errno) => self.lose(errno),
        }
        received
    }

    /// Hands one frame to the kernel: for UDP the datagram, for serial its COBS bytes with the
    /// delimiter, at most [`MAX_SERIAL`].
    pub fn transmit(&mut self, bytes: &[u8]) -> Transmit {
        let sending = match &mut self.link {
            Link::Serial(serial) => serial.transmit(bytes),
            Link::Udp(udp) => udp.transmit(bytes),
        };
        match sending {
            Sending::Sent => {
                self.counters.sent += 1;
                Transmit::Sent
            }
            Sending::Busy => {
                self.counters.busy += 1;
                Transmit::Busy
            }
            Sending::Unreachable => {
                self.counters.unreachable += 1;
                Transmit::Busy
            }
            Sending::Lost(errno) => {
                self.lose(errno);
                Transmit::Lost(errno)
            }
        }
    }

    fn lose(&mut self, errno: Errno) {
        match &mut self.link {
            Link::Serial(serial) => serial.close(),
            Link::Udp(udp) => udp.close(),
        }
        // A port that is already lost keeps its first reason.
        if self.failure.is_none() {
            self.counters.lost += 1;
            self.failure = Some(Failure::Lost(errno));
        }
    }

    /// Tries to open a lost port again; `None` when it is open. Call it about once a second.
    ///
    /// It does not wait for anything, but it looks names up in /dev, which lives in memory, and
    /// allocates: it is for lost ports only, not for the steady state.
    pub fn tend(&mut self) -> Option<Tended> {
        self.failure.as_ref()?;
        match self.try_open() {
            Ok(()) => {
                self.failure = None;
                Some(Tended::Reopened)
            }
            Err(failure) => {
                self.failure = Some(failure);
                Some(Tended::StillLost)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_the_guide_s() {
        let eth = || "hb-no-such-if".to_owned();
        let cases = [
            (
                Medium::Serial { device: "/dev/hb-no-tty".into(), baud: 19200 },
                ("serial", "/dev/hb-no-tty", "Starting serial heartbeat on tty /dev/hb-no-tty"),
            ),
            (
                Medium::Broadcast { interface: eth(), port: 694 },
                (
                    "bcast",
                    "hb-no-such-if",
                    "UDP heartbeat started on port 694 interface hb-no-such-if",
                ),
            ),
        ];
        for (medium, (kind, name, description)) in cases {
            let mut port = Port::open_locking_in(&medium, std::env::temp_dir());
            assert_eq!((port.kind(), port.name()), (kind, name));
            assert_eq!(port.description(), description);
            // Neither exists: not fatal, said in words, and still so after tending.
            let said = port.failure().expect("must not open").to_string();
            assert!(said.contains("no such"), "{said}");
            assert_eq!(port.tend(), Some(Tended::StillLost));
            assert_eq!(port.transmit(&[0; 32]), Transmit::Lost(Errno::NODEV));
            assert_eq!(port.receive(&mut [0; MAX_FRAME]), Receive::Lost(Errno::NODEV));
            assert_eq!(port.counters().lost, 0, "never open, so never lost");
        }
    }
}
