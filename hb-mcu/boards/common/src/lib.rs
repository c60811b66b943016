//! What all boards of the dongle share: what a reset leaves behind, and the loop around [`hb_mcu`].
#![no_std]
#![deny(missing_docs)]

#[cfg(feature = "memory")]
mod memory;
pub mod pl011;
mod register;
mod remains;
mod serve;

pub use register::Register;
pub use remains::{Remains, begin, leave};
pub use serve::{Board, run};
