//! heartbeat's decisions, sans-IO.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod id;
pub mod time;
pub mod wire;
