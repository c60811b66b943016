//! What the fuzzers drive, one function a target: each takes any bytes and panics when a rule is broken.
//!
//! `cargo xtask fuzz` runs them under libFuzzer; `tests/replay.rs` runs them on stable over the seeds
//! in `seeds/` and a few thousand pseudo-random inputs. docs/testing/fuzzing.md says how and how far.
#![forbid(unsafe_code)]

mod arbiter;
mod bytes;
mod config;
mod dongle;
mod machine;
mod node;
mod server;
mod sockets;
mod trio;

pub use arbiter::arbiter;
pub use bytes::{decoder, deframer};
pub use config::{authkeys, hacf, haresources};
pub use node::node;
pub use server::server;
pub use sockets::sockets;
pub use trio::trio;

#[cfg(feature = "mutants")]
thread_local! {
    /// A rule that every voter of the target `trio` breaks on this thread: to see that its oracle can fail.
    pub static BROKEN: std::cell::Cell<Option<hb_proto::mutant::Mutant>> =
        const { std::cell::Cell::new(None) };
}

/// A target: its name, its function, and how many pseudo-random inputs the short run gives it.
pub type Target = (&'static str, fn(&[u8]), u32);

/// All targets. `node` and `server` play a whole story for each input, the file readers write a file.
pub const TARGETS: [Target; 10] = [
    ("deframer", deframer, 20_000),
    ("decoder", decoder, 20_000),
    ("node", node, 5_000),
    ("arbiter", arbiter, 5_000),
    ("trio", trio, 3_000),
    ("hacf", hacf, 3_000),
    ("haresources", haresources, 3_000),
    ("authkeys", authkeys, 3_000),
    ("sockets", sockets, 20_000),
    ("server", server, 2_000),
];
