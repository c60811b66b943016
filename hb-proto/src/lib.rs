//! heartbeat's decisions, sans-IO.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod action;
pub mod authority;
pub mod config;
pub mod event;
pub mod group;
pub mod id;
pub mod link;
pub mod node;
pub mod peer;
pub mod statistics;
pub mod time;
pub mod wire;
