//! Links, addresses and routes, as rtnetlink(7) tells them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};

/// One network interface, without its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The kernel's interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// Carrier present.
    pub running: bool,
    /// Ethernet address; `None` for links of another kind (loopback, tunnels).
    pub mac: Option<[u8; 6]>,
}

/// One address of one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Interface index.
    pub index: u32,
    /// The local address (of a point-to-point pair: this end).
    pub ip: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// IPv4 label: the interface's name or `NAME:ALIAS`.
    pub label: Option<String>,
    /// IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv4: not the first address of its subnet on this interface.
    pub secondary: bool,
    /// Its prefix has a connected route.
    pub connected_route: bool,
    /// As the kernel told it, for putting it back unchanged.
    pub(super) message: AddressMessage,
}

/// One unicast route of the main table that leaves through an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Network address; unspecified for the default route.
    pub destination: IpAddr,
    /// Prefix length in bits; 0 for the default route.
    pub prefix: u8,
    /// Lower is preferred.
    pub metric: u32,
    /// Index of the interface it leaves through (of several next hops: the first).
    pub index: u32,
}

pub(super) fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(super) fn read_address(message: AddressMessage) -> Option<Address> {
    let (mut local, mut remote, mut label, mut broadcast) = (None, None, None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => remote = Some(*ip),
            AddressAttribute::Label(name) => label = Some(name.clone()),
            AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
            // The header has room for eight flags only; the attribute repeats them and has the
            // rest.
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        ip: local.or(remote)?,
        prefix: message.header.prefix_len,
        label,
        broadcast,
        secondary: message.header.family == AddressFamily::Inet
            && message.header.flags.contains(AddressHeaderFlags::Secondary),
        connected_route: !flags.contains(AddressFlags::Noprefixroute),
        message,
    })
}

pub(super) fn read_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut route = Route {
        destination: match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        },
        prefix: header.destination_prefix_length,
        metric: 0,
        index: 0,
    };
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => route.destination = (*ip).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => {
                route.destination = (*ip).into();
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Oif(index) => route.index = *index,
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::MultiPath(hops) if route.index == 0 => {
                route.index = hops.first().map_or(0, |hop| hop.interface_index);
            }
            _ => {}
        }
    }
    let usable = header.kind == RouteType::Unicast
        && table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && route.index != 0;
    usable.then_some(route)
}
