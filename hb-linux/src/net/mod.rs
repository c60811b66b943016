//! The network side of a service address: netlink addresses and routes, gratuitous ARP, unsolicited
//! neighbour advertisements.
//!
//! Order of use: [`Addresses::acquire`] puts an address on the interface that [`route::choose`]
//! picks and answers with [`Held`]; [`Announcer::announce`] tells the neighbours at once and,
//! driven by the caller's timer, again later; [`Announcer::cancel`] and [`Addresses::release`] end
//! it.

pub mod addresses;
pub mod announce;
mod carriers;
pub mod ipaddr;
mod messages;
pub mod netlink;
pub mod packet;
pub mod route;
pub mod tables;

use std::io;
use std::net::IpAddr;

pub use addresses::{AddressError, Addresses, Held};
pub use announce::{AnnounceError, Announcement, Announcer};
pub use carriers::{Carriers, Notice};
pub use netlink::Netlink;

/// Longest name of an interface or label, in bytes: `IFNAMSIZ` less its NUL (netdevice(7)).
pub const INTERFACE_NAME_MAX: usize = 15;

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
    let mut netlink = Netlink::open()?;
    let mut interfaces: Vec<Interface> = netlink
        .links()?
        .into_iter()
        .map(|link| Interface {
            index: link.index,
            name: link.name,
            up: link.up,
            running: link.running,
            mac: link.mac,
            addresses: Vec::new(),
        })
        .collect();
    for address in netlink.addresses()? {
        if let Some(on) = interfaces.iter_mut().find(|on| on.index == address.index) {
            on.addresses.push((address.ip, address.prefix));
        }
    }
    Ok(interfaces)
}
