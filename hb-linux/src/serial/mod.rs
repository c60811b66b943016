//! `hb serial`: the serial ports of this machine, the guide's hello test, and a guided test of the line
//! behind a port.
//!
//! Nothing here runs in the daemon. A port that somebody holds is left alone, heartbeatd's above all
//! ([`ports::Holder`]); a port in use by the test carries the same lock file as one in use by heartbeatd.
//!
//! The test runs at each end of a line ([`end`]) and needs nobody else: the ends find each other by lines
//! of text ([`beacon`]), which a person with cat(1) can read as well. What both ends found is judged in
//! one place ([`verdict`]).

pub mod beacon;
pub mod blocks;
pub mod end;
pub mod hearing;
pub mod modem;
pub mod ports;
pub mod report;
pub mod tty;
pub mod verdict;

/// The speeds that are tried, bit/s: those of ha.cf's `baud`, which every 16550 and adapter knows.
pub const BAUDS: [u32; 7] = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800];

/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u32 = 10;

/// How long `bytes` are on the wire, rounded up.
#[must_use]
pub fn time_of(bytes: usize, baud: u32) -> std::time::Duration {
    let bits = bytes as u64 * u64::from(BITS_PER_BYTE);
    std::time::Duration::from_micros((bits * 1_000_000).div_ceil(u64::from(baud.max(1))))
}
