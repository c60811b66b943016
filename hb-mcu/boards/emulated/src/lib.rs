//! The real firmware on an emulated board.
//!
//! [`Board`] is a QEMU that runs the ELF of `lm3s6965evb`: both UARTs are sockets, pins are seen and set
//! through QEMU's qtest protocol (docs/devel/testing/qtest), memory through its monitor. Pulling the plug is
//! killing QEMU; what is left is the EEPROM's file. [`Chip`] is that QEMU without the tests' ends of its
//! lines. [`Line`] is a node's end of a line.
#![deny(missing_docs)]

mod board;
mod chip;
mod debugger;
pub mod frames;
mod line;
mod monitor;
mod pair;

pub use board::{Board, Firmware, GpioPort, PORT_C, PORT_E, Pin, Supply, firmware};
pub use chip::{Begin, Chip, TRACED_PORT_E};
pub use line::{Frames, Line, SECRET, Talker, keys, provision, provision_with};
pub use pair::Pair;
