//! The dongle, apart from its board: [`hb_proto::arbiter::Arbiter`] between two UARTs, with its reset
//! outputs, its senses, its memory and its own watchdog (protocol.md §4).
//!
//! Whoever has a board hands over its parts ([`Parts`]) and calls [`Dongle::turn`] for ever, as often as it
//! says and whenever a byte arrives. The namespace rig's dongle is this same library on ptys.
//!
//! # One turn
//!
//! ```text
//! wake up ── both ports, a bounded number of bytes each: a flood on one starves neither
//!    │  ├─── sense inputs, power feeds, reset pulses that are under way
//!    │  ├─── the arbiter decides
//!    │  ├─── its actions: what it must remember is stored before a frame that follows from it leaves
//!    │  └─── frames to write: what is forwarded goes first
//!    └────── the dongle's own watchdog, fed in this one place, if every duty above was done
//! ```
//!
//! Nothing waits: bytes are read that are there, and written as the UARTs take them.
//!
//! # What the parts must be
//!
//! | part | is |
//! |---|---|
//! | a port | [`embedded_io`]'s `Read`, `ReadReady`, `Write` and `WriteReady`; after "ready" neither call waits |
//! | a reset output | [`embedded_hal::digital::OutputPin`]; high pulls the node's reset line low, through a transistor or an optocoupler, so that an output without power pulls nothing |
//! | inputs | [`embedded_hal::digital::InputPin`], high for "yes": the node's own pull-up on its reset line, a sign of life that falls with its power, its power feed |
//! | [`Clock`] | a crystal's; drift is for the arbiter's [`hb_proto::arbiter::Config`] |
//! | [`Store`] | flash for what outlives a loss of power, RAM that a reset leaves alone for promises |
//! | [`Watchdog`] | resets the chip |
//!
//! The first of the two ports and of the two [`Wires`] is for the node that is A: the one whose lower-cased
//! name sorts first. Ports may be swapped, frames say who sent them; wires may not, and their test finds out.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

mod blank;
mod board;
mod desk;
mod dongle;
mod flash;
mod keys;
mod lamps;
mod line;
mod line_test;
#[cfg(feature = "defmt")]
mod log;
pub mod pinout;
mod record;
mod ring;
mod room;
mod trace;
mod wires;

pub use blank::Blank;
pub use board::{Area, Clock, Parts, Port, Store, Watchdog};
pub use dongle::{Counters, Dongle, StartError};
pub use flash::{Kept, RETAINED, SLOT};
pub use keys::{KEYS_RECORD, erase_keys, is_provisioned};
pub use lamps::Lamps;
pub use line_test::{LineTest, TestRefused};
pub use record::{LONGEST_RECORD, Record, Retained};
pub use ring::{Lost, Ring, RingPort};
pub use room::Room;
pub use wires::{PULSE, RISE, SENSE_SETTLES, Wires};
