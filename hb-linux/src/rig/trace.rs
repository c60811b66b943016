//! What was on a line, for a person who asks afterwards: every byte, when, and what became of it.

use std::collections::VecDeque;
use std::time::Instant;

use super::line::Side;

/// Bytes kept, the newest: some minutes of two ends that speak at 115,200 bit/s all the time.
const KEPT: usize = 4 << 20;

/// What became of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// The sending program's UART has taken them.
    Sent,
    /// The receiving program can read them, as they are here: noise and a wrong speed have done theirs.
    Arrived,
    /// The wire is cut, a machine has no power, or the port has no speed.
    Lost,
    /// The receiving port is closed, or its buffer full.
    Overrun,
    /// A break held the wire.
    Broken,
}

/// Some bytes on their way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// When.
    pub at: Instant,
    /// Whose bytes.
    pub from: Side,
    /// What became of them.
    pub fate: Fate,
    /// For [`Fate::Arrived`]: noise has changed some, or the receiver listened at another speed.
    pub spoilt: bool,
    /// At least one.
    pub bytes: Box<[u8]>,
}

/// A line's recorder.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    held: usize,
    chunks: VecDeque<Chunk>,
}

impl Trace {
    pub(super) fn begin(&mut self) {
        self.on = true;
    }

    pub(super) fn note(&mut self, from: usize, fate: Fate, bytes: &[u8], spoilt: bool) {
        if !self.on || bytes.is_empty() {
            return;
        }
        self.held += bytes.len();
        while self.held > KEPT
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.held -= oldest.bytes.len();
        }
        let from = if from == 0 { Side::A } else { Side::B };
        self.chunks.push_back(Chunk {
            at: Instant::now(),
            from,
            fate,
            spoilt,
            bytes: bytes.into(),
        });
    }

    pub(super) fn chunks(&self) -> Vec<Chunk> {
        self.chunks.iter().cloned().collect()
    }
}
