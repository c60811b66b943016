//! One port: frames out of its bytes, and bytes that wait until the UART takes them.

use core::mem::MaybeUninit;

use hb_proto::wire::port::{Damage, Deframer};
use hb_proto::wire::{MAX_LINE_FRAME, cobs};
use heapless::Deque;

use crate::board::Port;

/// Frames that may wait for a UART, with their delimiters. The arbiter writes the next one when the line
/// should be idle; a UART that is a little slower than it should be is behind by less than one frame.
const WAITING: usize = 2 * (MAX_LINE_FRAME + 2);
/// Bytes that are read at once.
pub(crate) const CHUNK: usize = 32;

/// The bytes of one port, apart from the port.
#[derive(Debug)]
pub(crate) struct Bytes {
    deframer: Deframer,
    chunk: [u8; CHUNK],
    /// What was read and not looked at yet.
    at: usize,
    len: usize,
    waiting: Deque<u8, WAITING>,
    /// Something was sent.
    spoke: bool,
}

impl Bytes {
    #[inline(never)]
    fn new_in(place: &mut MaybeUninit<Self>) -> &mut Self {
        place.write(Self {
            deframer: Deframer::new(),
            chunk: [0; CHUNK],
            at: 0,
            len: 0,
            waiting: Deque::new(),
            spoke: false,
        })
    }

    /// The next frame among those that were read.
    fn next_frame(&mut self) -> Option<Result<&[u8], Damage>> {
        while let Some(&byte) = self.chunk[..self.len].get(self.at) {
            self.at += 1;
            // A frame that is handed out keeps the deframer borrowed, so it is asked beforehand.
            if self.deframer.ends_with(byte) {
                return self.deframer.push(byte);
            }
            self.deframer.push(byte);
        }
        None
    }

    /// Queues a frame; false if there is no room for the longest one.
    fn send(&mut self, frame: &[u8]) -> bool {
        let mut line = [cobs::DELIMITER; MAX_LINE_FRAME + 1];
        let room = self.waiting.capacity() - self.waiting.len();
        let Some(bytes) = cobs::encode(frame, &mut line) else { return false };
        if room < MAX_LINE_FRAME + 2 {
            return false;
        }
        // The first frame has a delimiter before it too: whoever listens already finds its start.
        if !core::mem::replace(&mut self.spoke, true) {
            let _ = self.waiting.push_back(cobs::DELIMITER);
        }
        for &byte in bytes {
            // There is room.
            let _ = self.waiting.push_back(byte);
        }
        true
    }
}

/// A port with its frames.
#[derive(Debug)]
pub(crate) struct Line<'r, P> {
    port: P,
    bytes: &'r mut Bytes,
    /// Frames that found no room: the UART takes nothing.
    pub(crate) overflows: u32,
    /// Times that the UART said that it failed.
    pub(crate) failures: u32,
}

impl<'r, P: Port> Line<'r, P> {
    pub(crate) fn new(port: P, place: &'r mut MaybeUninit<Bytes>) -> Self {
        Self { port, bytes: Bytes::new_in(place), overflows: 0, failures: 0 }
    }

    /// Reads what is there, up to one chunk. False: nothing was there.
    pub(crate) fn fill(&mut self) -> bool {
        (self.bytes.at, self.bytes.len) = (0, 0);
        let filled = match self.port.read_ready() {
            Ok(false) => return false,
            Ok(true) => self.port.read(&mut self.bytes.chunk),
            Err(error) => Err(error),
        };
        if let Ok(count) = filled {
            self.bytes.len = count;
            count > 0
        } else {
            // An overrun or a framing error: the byte is lost, and the frame with it, which its tag tells.
            // There is nothing else to do about it.
            self.failures = self.failures.saturating_add(1);
            false
        }
    }

    /// The next frame among the bytes of the last [`Line::fill`].
    pub(crate) fn next_frame(&mut self) -> Option<Result<&[u8], Damage>> {
        self.bytes.next_frame()
    }

    /// Queues a frame.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        if !self.bytes.send(frame) {
            self.overflows = self.overflows.saturating_add(1);
        }
    }

    /// Gives the UART what it takes now.
    pub(crate) fn pump(&mut self) {
        let (port, waiting) = (&mut self.port, &mut self.bytes.waiting);
        while !waiting.is_empty() {
            let (bytes, _) = waiting.as_slices();
            let taken = match port.write_ready() {
                Ok(false) | Err(_) => return,
                Ok(true) => port.write(bytes),
            };
            let Ok(taken @ 1..) = taken else {
                self.failures = self.failures.saturating_add(1);
                return;
            };
            for _ in 0..taken {
                waiting.pop_front();
            }
        }
    }

    /// Whether something waits for the UART.
    pub(crate) fn is_sending(&self) -> bool {
        !self.bytes.waiting.is_empty()
    }
}
