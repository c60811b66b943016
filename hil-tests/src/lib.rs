//! Scenarios and rigs.

pub mod inside;
pub mod netns;
pub mod sim;
