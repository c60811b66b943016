//! Scenarios and rigs.

pub mod bench;
pub mod capture;
pub mod chronicle;
pub mod exhaustive;
pub mod inside;
pub mod metal;
pub mod netns;
pub mod scenario;
pub mod sim;
pub mod table;
pub mod vm;
pub mod wires;
