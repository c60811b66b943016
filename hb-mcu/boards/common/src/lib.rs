//! What all boards of the dongle share: what a reset leaves behind, and a life of [`hb_mcu`].
#![no_std]
#![deny(missing_docs)]

#[cfg(feature = "memory")]
mod memory;
pub mod pl011;
mod register;
mod remains;
mod rings;
mod serve;

pub use register::Register;
pub use rings::{Rings, UartPort, are_idle};
pub use serve::{Board, start, stop};
