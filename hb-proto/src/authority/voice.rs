//! What is known of another voter: by its newest frame, and by its hellos.

use super::promises::FrameName;
use crate::time::{Duration, Instant};
use crate::wire::message::{GroupStates, Life};

/// What is known of a frame's sender beyond the frame: what it promises, and what it could use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// What a promise of its is good for, from the sending of the frame that it answers; zero if it isn't
    /// bound for as long as this voter could run on (R14).
    pub lease: Duration,
    /// What a promise to it lasts: its own lease, stretched by drift, and its own guard. Whatever it was ever
    /// promised, this life of its can't run on for longer after a frame of its was processed.
    pub full: Duration,
    /// Whether group numbers are known to mean the same to it as in the promises that stand (§5).
    pub may_promise: bool,
}

/// What is known of another voter: its newest frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Voice {
    /// The frame's name.
    pub newest: FrameName,
    /// When it was processed.
    pub at: Instant,
    /// Until when it is fresh: one lease after the sending of what it echoes.
    pub fresh_until: Instant,
    /// Group states as it shows them.
    pub groups: GroupStates,
    /// Its life.
    pub life: Life,
    /// This voter's links on which it hears us.
    pub hears: u8,
    /// Our newest frame that it echoed in its present life.
    pub echoed: Option<u32>,
    /// It asks for a hello.
    pub wants_hello: bool,
}

/// What a frame was, beyond its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processed {
    /// The first frame of a life that was not known.
    pub new_life: bool,
    /// It echoes a frame that this life sent no longer than lease ago.
    pub fresh: bool,
}
