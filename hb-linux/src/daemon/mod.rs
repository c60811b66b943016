//! daemon

pub mod clock;
pub mod notify;
pub mod realtime;
