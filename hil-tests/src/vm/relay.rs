//! A guest's network cable: frames between QEMU, which speaks them by a socket pair, and the rig's interface.
//!
//! QEMU takes no packet socket, and a TAP device isn't to be had everywhere that namespaces are.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hb_linux::net::packet::PacketSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use crate::capture::ETH_P_ALL;

/// Larger than any frame of an interface with the usual MTU of 1500.
const LARGEST_FRAME: usize = 2048;
/// The end is seen this soon.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Frames taken from one side before the other gets a turn.
const BATCH: usize = 32;

/// With its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Relay {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Between the interface with this index and the socket that is returned: QEMU inherits it.
    ///
    /// # Errors
    /// No descriptor or no thread could be had.
    pub fn start(index: u32) -> io::Result<(Self, OwnedFd)> {
        let packets = PacketSocket::listen(index, ETH_P_ALL)?;
        // Without SOCK_CLOEXEC: QEMU's end outlives an exec. Neither waits: a full queue loses frames.
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::NONBLOCK, None)?;
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC)?;
        let end = Arc::new(AtomicBool::new(false));
        let its_end = end.clone();
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || run(&packets, index, &ours, &its_end))?;
        Ok((Self { end, thread: Some(thread) }, theirs))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(packets: &PacketSocket, index: u32, guest: &OwnedFd, end: &AtomicBool) {
    let mut frame = [0; LARGEST_FRAME];
    while !end.load(Ordering::Relaxed) {
        let mut fds = [
            PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(guest.as_fd(), PollFlags::IN),
        ];
        // EINTR only makes the turn come early.
        let _ = poll(&mut fds, Some(&LOOK_EVERY));
        for _ in 0..BATCH {
            let Ok(length) = packets.receive(&mut frame) else { break };
            let _ = send(guest, &frame[..length], SendFlags::empty());
        }
        for _ in 0..BATCH {
            let Ok((length, _)) = recv(guest, &mut frame, RecvFlags::empty()) else { break };
            let _ = packets.send(index, ETH_P_ALL, &frame[..length]);
        }
    }
}
