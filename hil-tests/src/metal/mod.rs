//! The rig of real serial ports: rig.toml, detection, and the stories on them.
//!
//! What a program can't do to real hardware is asked of a person, or skipped by name. Rig `netns` is what
//! this one is made of where both daemons run on one machine: its namespaces, networks, clients and
//! observers, with real ports where that one has its line model.

pub mod config;
pub mod detect;
pub mod guest;
pub mod one_host;
pub mod person;
pub mod remote;
pub mod two_hosts;
