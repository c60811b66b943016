//! daemon

pub mod clock;
pub mod realtime;
