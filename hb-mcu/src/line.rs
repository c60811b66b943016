//! One port: frames out of its bytes, and bytes that wait until the UART takes them.

use embedded_io::{ErrorType, Read, Write};
use hb_proto::wire::MAX_LINE_FRAME;
use hb_proto::wire::port::{Damage, FramePort};
use heapless::Deque;

use crate::board::Port;

/// Frames that may wait for a UART, with their delimiters. The arbiter writes the next one when the line
/// should be idle; a UART that is a little slower than it should be is behind by less than one frame.
const WAITING: usize = 2 * (MAX_LINE_FRAME + 2);

/// A port whose writes never wait: they go into a queue.
#[derive(Debug)]
struct Queued<P> {
    port: P,
    waiting: Deque<u8, WAITING>,
}

impl<P: ErrorType> ErrorType for Queued<P> {
    type Error = P::Error;
}

impl<P: Read> Read for Queued<P> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.port.read(buf)
    }
}

impl<P: Write> Write for Queued<P> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        // [`Line::send`] made sure that there is room for a whole frame.
        Ok(buf.iter().take_while(|&&byte| self.waiting.push_back(byte).is_ok()).count())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A port with its frames.
#[derive(Debug)]
pub(crate) struct Line<P> {
    frames: FramePort<Queued<P>>,
    /// Frames that found no room: the UART takes nothing.
    pub(crate) overflows: u32,
    /// Times that the UART said that it failed.
    pub(crate) failures: u32,
}

impl<P: Port> Line<P> {
    pub(crate) const fn new(port: P) -> Self {
        let queued = Queued { port, waiting: Deque::new() };
        Self { frames: FramePort::new(queued), overflows: 0, failures: 0 }
    }

    /// Reads what is there, up to one chunk. False: nothing was there.
    pub(crate) fn fill(&mut self) -> bool {
        let port = &mut self.frames.port_mut().port;
        let filled = match port.read_ready() {
            Ok(false) => return false,
            Ok(true) => self.frames.fill(),
            Err(error) => Err(error),
        };
        match filled {
            Ok(count) => count > 0,
            Err(_) => {
                // An overrun or a framing error: the byte is lost, and the frame with it, which its tag
                // tells. There is nothing else to do about it.
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }

    /// The next frame among the bytes of the last [`Line::fill`].
    pub(crate) fn next_frame(&mut self) -> Option<Result<&[u8], Damage>> {
        self.frames.next_frame()
    }

    /// Queues a frame.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let waiting = &self.frames.port().waiting;
        if waiting.capacity() - waiting.len() < MAX_LINE_FRAME + 2 {
            self.overflows = self.overflows.saturating_add(1);
            return;
        }
        if self.frames.send(frame).is_err() {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Gives the UART what it takes now.
    pub(crate) fn pump(&mut self) {
        let Queued { port, waiting } = self.frames.port_mut();
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
        !self.frames.port().waiting.is_empty()
    }
}
