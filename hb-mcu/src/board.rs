//! What a board has to offer, and what it is asked for.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use hb_proto::time::Instant;
use hb_proto::wire::service::Board;

use crate::wires::Wires;

/// Time since an arbitrary epoch; never goes back, stands still only while the chip has no power.
pub trait Clock {
    /// The time now.
    fn now(&mut self) -> Instant;
}

/// Where a record is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Area {
    /// Outlives a loss of power. Written when a life begins and when settings or lines change: some times a
    /// day at most, on any pair that works.
    Flash,
    /// Outlives a reset, and need not outlive a loss of power: RAM that the start-up code leaves alone, or
    /// flash. Written whenever a group changes hands.
    Retained,
    /// Number and keys: outlives a loss of power, written on request.
    Keys,
}

/// Keeps one short record in each [`Area`]. What it says of a record's soundness is not relied on: records
/// have a check sum of their own.
pub trait Store {
    /// What can go wrong.
    type Error: core::fmt::Debug;

    /// Reads the area's record into `record`; how many of its bytes were ever written, 0 for none.
    ///
    /// # Errors
    /// The memory can't be read.
    fn read(&mut self, area: Area, record: &mut [u8]) -> Result<usize, Self::Error>;

    /// Replaces the area's record. When this returns, it is stored; power may go at any moment before, and
    /// then the former record, or none, is read later.
    ///
    /// # Errors
    /// It is not stored.
    fn write(&mut self, area: Area, record: &[u8]) -> Result<(), Self::Error>;
}

/// Resets the chip unless it is fed. Its time should be between 1 and 2 s: longer than a write to flash.
pub trait Watchdog {
    /// Starts its time anew.
    fn feed(&mut self);
}

/// A UART: raw bytes both ways. Implemented for whatever has the four traits of embedded-io.
pub trait Port: Read + ReadReady + Write + WriteReady {}

impl<P: Read + ReadReady + Write + WriteReady> Port for P {}

/// All that a dongle is made of.
#[derive(Debug)]
pub struct Parts<P1, P2, O, I, C, S, W> {
    /// Which one it is, for people.
    pub board: Board,
    /// The UART of [`hb_proto::arbiter::Port::One`].
    pub one: P1,
    /// The UART of [`hb_proto::arbiter::Port::Two`].
    pub two: P2,
    /// To node A, to node B.
    pub wires: [Wires<O, I>; 2],
    /// The clock.
    pub clock: C,
    /// The memory.
    pub store: S,
    /// Its own watchdog.
    pub watchdog: W,
}
