//! Frames over a byte port: a null-modem line, a pty, a UART.

use embedded_io::{Read, Write};

use super::{MAX_FRAME, MAX_LINE_FRAME, cobs};

/// Why bytes between two delimiters were no frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Damage {
    /// More bytes than the longest frame takes: everything up to the next delimiter was skipped.
    Overlong,
    /// Not a COBS encoding: bytes were lost, repeated or changed on the line.
    Stuffing,
}

/// Finds frames in a stream of bytes.
///
/// After any damage it skips to the next delimiter: no tail of a broken frame is ever taken for a
/// frame (the trap of accumulators that start over in the middle of an overlong one).
#[derive(Clone, Debug)]
pub struct Deframer {
    line: [u8; MAX_LINE_FRAME],
    len: usize,
    sync: Sync,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sync {
    /// Nobody knows where in a frame the line was opened: silent until the first delimiter.
    Opened,
    /// Between delimiters.
    Framed,
    /// In a frame that is too long.
    Overlong,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// A deframer for a line that was just opened: what comes before the first delimiter may be the
    /// tail of a frame, and is neither a frame nor damage.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: [0; MAX_LINE_FRAME], len: 0, sync: Sync::Opened }
    }

    /// Whether a delimiter now would end a frame, or damage.
    const fn holds_something(&self) -> bool {
        self.len > 0 && !matches!(self.sync, Sync::Opened)
    }

    /// Whether this byte would end a frame, or damage.
    #[must_use]
    pub const fn ends_with(&self, byte: u8) -> bool {
        byte == cobs::DELIMITER && self.holds_something()
    }

    /// Takes one byte; at a delimiter, the frame that it ended.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], Damage>> {
        if byte != cobs::DELIMITER {
            if self.len < self.line.len() {
                self.line[self.len] = byte;
                self.len += 1;
            } else if self.sync == Sync::Framed {
                self.sync = Sync::Overlong;
            }
            return None;
        }
        let len = core::mem::take(&mut self.len);
        match core::mem::replace(&mut self.sync, Sync::Framed) {
            Sync::Opened => None,
            Sync::Overlong => Some(Err(Damage::Overlong)),
            // Two delimiters in a row: an idle line's noise, or a sender that starts afresh.
            Sync::Framed if len == 0 => None,
            Sync::Framed => match cobs::decode_in_place(&mut self.line[..len]) {
                Some(frame) if frame <= MAX_FRAME => Some(Ok(&self.line[..frame])),
                Some(_) => Some(Err(Damage::Overlong)),
                None => Some(Err(Damage::Stuffing)),
            },
        }
    }
}

/// Bytes taken from the port in one read. More than one frame, so that a drained line needs few calls.
pub const CHUNK: usize = 128;

/// Frames over an [`embedded_io`] byte port.
///
/// Reading is split in two so that the caller stays in charge of time: [`FramePort::fill`] makes one
/// read, [`FramePort::next_frame`] hands out what that brought, frame by frame. A read of 0 bytes
/// means that nothing has arrived.
#[derive(Debug)]
pub struct FramePort<P> {
    port: P,
    deframer: Deframer,
    chunk: [u8; CHUNK],
    at: usize,
    len: usize,
    /// Nothing was sent since the port was opened.
    silent: bool,
}

impl<P> FramePort<P> {
    /// Frames over `port`, just opened.
    pub const fn new(port: P) -> Self {
        let deframer = Deframer::new();
        Self { port, deframer, chunk: [0; CHUNK], at: 0, len: 0, silent: true }
    }

    /// The port was opened again: nobody knows where in a frame.
    pub fn reopened(&mut self) {
        self.deframer = Deframer::new();
        (self.at, self.len, self.silent) = (0, 0, true);
    }

    /// The port itself.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// The port itself, to re-open or configure it.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// The next frame, or damage, among the bytes of the last [`FramePort::fill`].
    pub fn next_frame(&mut self) -> Option<Result<&[u8], Damage>> {
        while self.at < self.len {
            let byte = self.chunk[self.at];
            self.at += 1;
            // A frame that is handed out keeps the deframer borrowed, so it is asked beforehand.
            if self.deframer.ends_with(byte) {
                return self.deframer.push(byte);
            }
            self.deframer.push(byte);
        }
        None
    }
}

impl<P: Read> FramePort<P> {
    /// Reads once. Call only after [`FramePort::next_frame`] returned `None`: what was left is lost.
    ///
    /// # Errors
    /// The port's own.
    pub fn fill(&mut self) -> Result<usize, P::Error> {
        (self.at, self.len) = (0, 0);
        self.len = self.port.read(&mut self.chunk)?;
        Ok(self.len)
    }
}

impl<P: Write> FramePort<P> {
    /// Encodes and writes one frame; bytes that it took on the line, 0 for a frame beyond [`MAX_FRAME`].
    ///
    /// # Errors
    /// The port's own.
    pub fn send(&mut self, frame: &[u8]) -> Result<usize, P::Error> {
        let mut line = [cobs::DELIMITER; MAX_LINE_FRAME + 2];
        let Some(len) = cobs::encode(frame, &mut line[1..]).map(<[u8]>::len) else { return Ok(0) };
        // The first frame has a delimiter before it too: whoever listens already finds its start.
        let from = usize::from(!self.silent);
        self.port.write_all(&line[from..=len])?;
        self.silent = false;
        Ok(len + 1 - from)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn push_all(deframer: &mut Deframer, bytes: &[u8]) -> Vec<Result<Vec<u8>, Damage>> {
        bytes
            .iter()
            .filter_map(|&byte| deframer.push(byte).map(|found| found.map(<[u8]>::to_vec)))
            .collect()
    }

    fn line(frame: &[u8]) -> Vec<u8> {
        let mut out = [0; 512];
        cobs::encode(frame, &mut out).expect("long enough").to_vec()
    }

    #[test]
    fn what_comes_before_the_first_delimiter_is_nothing() {
        let mut bytes = line(&[7, 7]);
        bytes.extend(line(&[1, 2, 3]));
        assert_eq!(push_all(&mut Deframer::new(), &bytes), [Ok(vec![1, 2, 3])]);
    }

    #[test]
    fn tail_of_an_overlong_frame_is_never_a_frame() {
        let mut bytes = vec![9; MAX_LINE_FRAME + 5];
        bytes.insert(0, 0);
        bytes.push(0);
        bytes.extend(line(&[1, 2, 3]));
        let found = push_all(&mut Deframer::new(), &bytes);
        assert_eq!(found, [Err(Damage::Overlong), Ok(vec![1, 2, 3])]);
    }

    #[test]
    fn a_lost_byte_costs_one_frame() {
        let mut bytes = vec![0];
        bytes.extend(line(&[1, 0, 2]));
        bytes.remove(2);
        bytes.extend(line(&[7]));
        let found = push_all(&mut Deframer::new(), &bytes);
        assert_eq!(found.last(), Some(&Ok(vec![7])));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn frames_survive_any_split_into_reads() {
        let mut line = [0; 512];
        let mut used = 0;
        for frame in [&[1u8, 0, 2][..], &[], &[0, 0], &[5; 40]] {
            // Each from a port of its own, so each with the delimiter of a first frame.
            used += FramePort::new(&mut line[used..]).send(frame).expect("room");
        }
        let mut port = FramePort::new(&line[..used]);
        let mut found = Vec::new();
        while port.fill().expect("a slice can be read") > 0 {
            while let Some(frame) = port.next_frame() {
                found.push(frame.expect("undamaged").to_vec());
            }
        }
        assert_eq!(
            found,
            [vec![1, 0, 2], vec![], vec![0, 0], vec![5; 40]],
            "a frame of no bytes is one"
        );
    }

    proptest! {
        /// Whatever noise came before: after one delimiter the next frame is found.
        #[test]
        fn resynchronises_after_noise(
            noise in proptest::collection::vec(any::<u8>(), 0..400),
            frame in proptest::collection::vec(any::<u8>(), 1..MAX_FRAME),
        ) {
            let mut deframer = Deframer::new();
            push_all(&mut deframer, &noise);
            deframer.push(0);
            let found = push_all(&mut deframer, &line(&frame));
            prop_assert_eq!(found, vec![Ok(frame)]);
        }
    }
}
