//! A UART of the chip and an end of the rig's line, joined.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use hb_proto::id::Voter;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::message::{self, arbiter::ArbiterMessage};
use hb_proto::wire::port::Deframer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// What the chip doesn't take for so long is lost, as in a FIFO that runs over; so much longer than a real one's
/// because the emulator is a process that may wait for a processor.
const FIFO: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The kernel's least: a handful of writes, so that a chip that hangs doesn't hear old bytes when it lives again.
const LEAST: usize = 1;

/// Joins them; both threads end with either end.
///
/// # Errors
/// The pty can't be had.
pub fn join(path: &Path, baud: u32, uart: UnixStream, keys: &KeyRing) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    let line = open(path, baud).map_err(told)?;
    sockopt::set_socket_send_buffer_size(&uart, LEAST).map_err(|error| told(error.into()))?;
    let (from, into) = (line.try_clone().map_err(told)?, uart.try_clone().map_err(told)?);
    into.set_nonblocking(true).map_err(told)?;
    let keys = keys.clone();
    std::thread::spawn(move || hear(from, &into));
    std::thread::spawn(move || speak(&uart, &line, Lives::new(keys)));
    Ok(())
}

/// The slave of one of the line model's ptys, raw: its speed is the line's.
fn open(path: &Path, baud: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let mut termios = tcgetattr(&fd)?;
    termios.make_raw();
    termios.set_speed(baud)?;
    tcsetattr(&fd, OptionalActions::Now, &termios)?;
    Ok(fd.into())
}

/// From the line into the chip.
fn hear(mut line: File, uart: &UnixStream) {
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = line.read(&mut bytes) {
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            match (&mut &*uart).write(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = poll(&mut [PollFd::new(uart, PollFlags::OUT)], Some(&FIFO));
                    if !waited.is_ok_and(|ready| ready > 0) {
                        break;
                    }
                }
                Err(_) => return,
            }
        }
    }
    let _ = uart.shutdown(Shutdown::Both);
}

/// From the chip onto the line. A UART that nobody reads stops all of QEMU, its watchdog too: what the line doesn't
/// take is lost.
fn speak(mut uart: &UnixStream, line: &File, mut lives: Lives) {
    let mut bytes = [0; 4096];
    loop {
        // The other half of this socket is set not to wait, and that is a property of both.
        let waited = poll(&mut [PollFd::new(uart, PollFlags::IN)], None);
        let count = match (waited, uart.read(&mut bytes)) {
            (Ok(_), Ok(count @ 1..)) => count,
            (Ok(_), Err(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
            _ => return,
        };
        lives.note(&bytes[..count]);
        let ready = poll(&mut [PollFd::new(&line.as_fd(), PollFlags::OUT)], Some(&FIFO));
        if ready.is_ok_and(|ready| ready > 0) {
            // The line model has gone with the rig: this process goes, too.
            let _ = (&mut &*line).write(&bytes[..count]);
        }
    }
}

/// Which life of the dongle speaks, by its own frames.
struct Lives {
    keys: KeyRing,
    deframer: Deframer,
    last: Option<u32>,
}

impl Lives {
    fn new(keys: KeyRing) -> Self {
        Self { keys, deframer: Deframer::new(), last: None }
    }

    fn note(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let Some(Ok(frame)) = self.deframer.push(byte) else { continue };
            let Ok(opened) = message::open(frame, &self.keys) else { continue };
            if opened.header.sender != Voter::Arbiter {
                continue;
            }
            let boot = opened.header.boot.value();
            if self.last.is_some_and(|last| last >= boot) {
                continue;
            }
            let Ok(ArbiterMessage::Hello(hello)) = opened.arbiter_message() else { continue };
            self.last = Some(boot);
            super::say(&format!(
                "up {boot} by its own frame on this port: {:?}",
                hello.status.reset
            ));
        }
    }
}
