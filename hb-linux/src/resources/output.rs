//! What scripts print: into the log, within limits, and for `status` to the judge.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::pipe::{PipeFlags, pipe_with};

use super::judge::STATUS_BYTES;
use crate::log::Level;
use crate::log::file::Logs;

/// Lines of one script run that reach the log; a script that prints for ever must not fill it.
const MAX_LINES: u32 = 100;
/// Longest part of a line that is kept, in bytes.
const MAX_LINE: usize = 400;
/// Reads of one pipe before the others get their turn.
const READS_A_TURN: usize = 16;

/// A pipe whose reading end doesn't block: (reading end, the script's end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    ioctl_fionbio(&reader, true)?;
    Ok((reader, writer))
}

/// Reads what is there and hands it on; false once the other end is closed.
fn drain(pipe: &OwnedFd, mut take: impl FnMut(&[u8])) -> bool {
    let mut chunk = [0; 4096];
    for _ in 0..READS_A_TURN {
        match read(pipe, &mut chunk) {
            Ok(0) => return false,
            Ok(n) => take(&chunk[..n]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
    true
}

/// Output on its way to the log, line by line.
#[derive(Debug)]
pub struct Output {
    pipe: Option<OwnedFd>,
    /// Stands before each line: who speaks.
    speaker: String,
    level: Level,
    line: Vec<u8>,
    lines: u32,
    unlogged: u64,
}

impl Output {
    /// Lines of `speaker` from `pipe`.
    pub fn new(pipe: OwnedFd, speaker: String, level: Level) -> Self {
        Self { pipe: Some(pipe), speaker, level, line: Vec::new(), lines: 0, unlogged: 0 }
    }

    /// To wait for; `None` when everybody has closed the other end.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Logs what is there to read, up to 64 KiB.
    pub fn pump(&mut self, logs: &mut Logs) {
        let Some(pipe) = self.pipe.take() else { return };
        if drain(&pipe, |bytes| self.take(bytes, logs)) {
            self.pipe = Some(pipe);
        } else {
            self.end_line(logs);
        }
    }

    /// The script itself has ended: logs the line that has no end yet, and what was left out.
    pub fn finish(&mut self, logs: &mut Logs) {
        self.pump(logs);
        self.end_line(logs);
        if self.unlogged > 0 {
            let text = format!("{}: … and {} more lines, not logged", self.speaker, self.unlogged);
            logs.say(Level::Warn, &text);
            self.unlogged = 0;
        }
    }

    fn take(&mut self, bytes: &[u8], logs: &mut Logs) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line(logs);
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
    }

    fn end_line(&mut self, logs: &mut Logs) {
        if self.line.is_empty() {
            return;
        }
        if self.lines < MAX_LINES {
            self.lines += 1;
            let text = format!("{}: {}", self.speaker, String::from_utf8_lossy(&self.line));
            logs.say(self.level, text.trim_end());
        } else {
            self.unlogged += 1;
        }
        self.line.clear();
    }
}

/// What a `status` prints, as much of it as the judge wants to see.
#[derive(Debug)]
pub struct Capture {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Capture {
    /// From `pipe`.
    pub fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new() }
    }

    /// To wait for; `None` when everybody has closed the other end.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there to read; beyond [`STATUS_BYTES`] it is read, so that the script can go
    /// on, and forgotten.
    pub fn pump(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let bytes = &mut self.bytes;
        let open = drain(&pipe, |more| {
            let room = STATUS_BYTES - bytes.len();
            bytes.extend_from_slice(&more[..more.len().min(room)]);
        });
        if open {
            self.pipe = Some(pipe);
        }
    }

    /// What has been captured.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
