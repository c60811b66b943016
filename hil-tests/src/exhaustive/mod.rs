//! Every history within bounds: stateright explores the same `Node` and `Arbiter` that heartbeatd and the
//! dongle run, until there is no state left that it has not seen (docs/testing/exhaustive.md).
//!
//! A state is all that three real state machines have decided, the frames between them, and what their
//! machines do. Time is in steps: in each, everybody that runs wakes up once, reads what arrived, decides,
//! acts and sends. Faults come between steps. States that differ only in what can't matter any more are
//! one: clocks start anew at every step, frames are numbered by age (`hb_proto`'s `canonical`).

pub mod bounds;
pub mod catalogue;
pub mod event;
mod frame;
mod intern;
pub mod model;
mod party;
pub mod run;
mod story;
pub mod world;

#[cfg(test)]
mod tests;
