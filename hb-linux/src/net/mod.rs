//! Netlink addresses and routes, gratuitous ARP, unsolicited neighbour advertisements.

use std::io;
use std::net::IpAddr;

/// What `hb check` and interface selection need to know of a NIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// Carrier present.
    pub running: bool,
    pub mac: Option<[u8; 6]>,
    /// With their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// All interfaces of this network namespace.
///
/// # Errors
/// What the kernel answered.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
