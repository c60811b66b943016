//! heartbeat on Linux: executes what `hb-proto` decides.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dongle;
pub mod log;
pub mod media;
pub mod net;
pub mod resources;
pub mod rig;
pub mod serial;
pub mod watchdog;
