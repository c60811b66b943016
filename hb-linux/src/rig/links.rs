//! The few netlink requests that build the rig's networks (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Mac;
use crate::net::netlink::Netlink;

/// Asks the kernel for a change in the calling thread's network namespace.
fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    Netlink::open()?.change(message, flags)
}

/// A veth pair: `ours` in this network namespace, `theirs` in the one that `namespace` is open on.
///
/// # Errors
/// What the kernel answered.
pub fn veth(ours: &str, theirs: &str, mac: Mac, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(theirs.into()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(ours.into()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// The kernel's number for an interface of this network namespace.
///
/// # Errors
/// `NotFound` and what else the kernel answers.
pub fn index(name: &str) -> io::Result<u32> {
    let link = Netlink::open()?.link_named(name)?;
    link.map(|link| link.index).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// An interface's hardware address.
///
/// # Errors
/// `NotFound`: there is no such interface, or it has none; and what else the kernel answers.
pub fn mac(name: &str) -> io::Result<Mac> {
    let link = Netlink::open()?.link_named(name)?;
    link.and_then(|link| link.mac).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn set_flags(name: &str, flags: LinkFlags) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index(name)?;
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Brings an interface up.
///
/// # Errors
/// What the kernel answered.
pub fn up(name: &str) -> io::Result<()> {
    set_flags(name, LinkFlags::Up)
}

/// Takes an interface down: the other end of a veth loses its carrier.
///
/// # Errors
/// What the kernel answered.
pub fn down(name: &str) -> io::Result<()> {
    set_flags(name, LinkFlags::empty())
}

/// Removes an interface; a veth's other end goes with it.
///
/// # Errors
/// What the kernel answered.
pub fn delete(name: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index(name)?;
    change(RouteNetlinkMessage::DelLink(message), 0)
}

/// Adds an address, with the connected route and the broadcast address that go with its prefix.
///
/// # Errors
/// What the kernel answered.
pub fn add_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index(name)?;
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    message.attributes = vec![
        AddressAttribute::Local(address.into()),
        AddressAttribute::Address(address.into()),
        AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host_bits)),
    ];
    change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// Keeps an interface free of IPv6: no router solicitations or duplicate address detection of
/// the rig's own on a wire that belongs to the machines. Nothing to do where IPv6 is absent.
///
/// # Errors
/// What writing the setting answered.
pub fn without_ipv6(name: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
