//! The simulator: the real [`hb_proto::node::Node`] twice, with real bytes and real tags, in a world whose
//! time, links, machines, scripts and operators are decided by one number.
//!
//! ```text
//! seed ── rng ── generate ── Plan: knobs and faults ── run ── World: events in true time ── Outcome
//!                                                              │  machine  power, disk, clock, scripts
//!                                                              │  daemon   the driver's turn
//!                                                              │  wire     serial bytes, datagrams
//!                                                              └─ check    rules, in true time
//! ```
//!
//! Nothing here reads a clock, starts a thread or iterates over a hash table: the same seed is the same
//! run, byte for byte, which [`trace::Trace::hash`] shows.

mod apply;
pub mod budget;
pub mod check;
pub mod clock;
pub mod daemon;
pub mod day;
pub mod directed;
pub mod dongle;
pub mod evidence;
pub mod fault;
pub mod fingerprints;
pub mod generate;
pub mod kind;
pub mod knobs;
mod lemma;
mod line;
pub mod machine;
pub mod mutants;
pub mod plant;
mod programs;
pub mod queue;
#[cfg(test)]
mod quiet;
pub mod record;
pub mod rig;
pub mod rng;
pub mod rules;
pub mod run;
pub mod shrink;
pub mod soak;
pub mod total;
pub mod trace;
pub mod wire;
pub mod world;
