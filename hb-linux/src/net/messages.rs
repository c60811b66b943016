//! The rtnetlink messages that a service address needs (rtnetlink(7)), and no others.
//!
//! The library's own sum of all messages knows each kind of link, tunnel and traffic filter: a fifth of the
//! daemon's memory, resident because the daemon's memory is locked. Of a link only its header, name and
//! hardware address are read here.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    NlasIterator, Parseable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkLayerType};
use netlink_packet_route::route::RouteMessage;

use super::tables::Link;

/// Octets of `struct ifinfomsg`, which opens every message about a link.
const LINK_HEADER: usize = 16;

/// What the kernel is asked for or told to change.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// RTM_GETLINK: by index, by name, or all for a dump.
    GetLink { index: u32, name: Option<String> },
    /// RTM_GETADDR
    GetAddress(AddressMessage),
    /// RTM_NEWADDR
    NewAddress(AddressMessage),
    /// RTM_DELADDR
    DelAddress(AddressMessage),
    /// RTM_GETROUTE
    GetRoute(RouteMessage),
}

fn link_header(index: u32) -> LinkHeader {
    LinkHeader { index, ..LinkHeader::default() }
}

/// What narrows a request for links.
fn link_attributes(name: Option<&str>) -> Vec<DefaultNla> {
    // Interface statistics are most of a link's answer and nobody reads them here.
    let mask = libc::RTEXT_FILTER_SKIP_STATS as u32;
    let mut attributes = vec![DefaultNla::new(libc::IFLA_EXT_MASK, mask.to_ne_bytes().to_vec())];
    attributes.extend(name.map(|name| {
        let bytes = [name.as_bytes(), &[0]].concat();
        DefaultNla::new(libc::IFLA_IFNAME, bytes)
    }));
    attributes
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::GetLink { .. } => libc::RTM_GETLINK,
            Self::GetAddress(_) => libc::RTM_GETADDR,
            Self::NewAddress(_) => libc::RTM_NEWADDR,
            Self::DelAddress(_) => libc::RTM_DELADDR,
            Self::GetRoute(_) => libc::RTM_GETROUTE,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::GetLink { name, .. } => {
                LINK_HEADER + link_attributes(name.as_deref()).as_slice().buffer_len()
            }
            Self::GetAddress(message) | Self::NewAddress(message) | Self::DelAddress(message) => {
                message.buffer_len()
            }
            Self::GetRoute(message) => message.buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::GetLink { index, name } => {
                let (header, attributes) = buffer.split_at_mut(LINK_HEADER);
                link_header(*index).emit(header);
                link_attributes(name.as_deref()).as_slice().emit(attributes);
            }
            Self::GetAddress(message) | Self::NewAddress(message) | Self::DelAddress(message) => {
                message.emit(buffer);
            }
            Self::GetRoute(message) => message.emit(buffer),
        }
    }
}

/// What the kernel answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// RTM_NEWLINK
    Link(Link),
    /// RTM_NEWADDR
    Address(AddressMessage),
    /// RTM_NEWROUTE
    Route(RouteMessage),
    /// A message of a kind that nobody here asks for.
    Other(u16),
}

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(match header.message_type {
            libc::RTM_NEWLINK => Self::Link(read_link(payload)?),
            libc::RTM_NEWADDR => Self::Address(AddressMessage::parse(payload)?),
            libc::RTM_NEWROUTE => Self::Route(RouteMessage::parse(payload)?),
            other => Self::Other(other),
        })
    }
}

fn read_link(payload: &[u8]) -> Result<Link, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        up: header.flags.contains(LinkFlags::Up),
        running: header.flags.contains(LinkFlags::LowerUp),
        mac: None,
    };
    for attribute in NlasIterator::new(&payload[LINK_HEADER..]) {
        let attribute = attribute?;
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                let name = attribute.value().split(|&octet| octet == 0).next().unwrap_or(&[]);
                // The kernel takes any octets but '/', ':' and white space; those that no file can name
                // can't be in a configuration.
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = attribute.value().try_into().ok();
            }
            _ => {}
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};

    use super::*;

    fn octets(message: &impl NetlinkSerializable) -> Vec<u8> {
        let mut octets = vec![0xAA; message.buffer_len()];
        message.serialize(&mut octets);
        octets
    }

    /// The library's complete messages are the reference.
    #[test]
    fn a_request_for_a_link_has_the_librarys_octets() {
        for name in [None, Some("eth1"), Some("enp0s31f6")] {
            let mut reference = LinkMessage::default();
            reference.header.index = 7;
            reference.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
            reference.attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_owned())));
            let reference = RouteNetlinkMessage::GetLink(reference);
            let request = Request::GetLink { index: 7, name: name.map(str::to_owned) };
            assert_eq!(octets(&request), octets(&reference), "{name:?}");
            assert_eq!(request.message_type(), reference.message_type());
        }
    }

    fn link(layer: LinkLayerType, flags: LinkFlags) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = 3;
        message.header.link_layer_type = layer;
        message.header.flags = flags;
        message.attributes = vec![
            LinkAttribute::Mtu(1500),
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
        ];
        octets(&RouteNetlinkMessage::NewLink(message))
    }

    #[test]
    fn of_a_link_name_flags_and_ethernet_address_are_read() {
        let read = read_link(&link(LinkLayerType::Ether, LinkFlags::Up)).expect("a link");
        let expected = Link {
            index: 3,
            name: "eth0".into(),
            up: true,
            running: false,
            mac: Some([2, 0, 0, 0, 0, 9]),
        };
        assert_eq!(read, expected);
        let tunnel = read_link(&link(LinkLayerType::Ipgre, LinkFlags::LowerUp)).expect("a link");
        assert_eq!((tunnel.mac, tunnel.up, tunnel.running), (None, false, true));
    }

    #[test]
    fn a_torn_link_is_an_error() {
        let whole = link(LinkLayerType::Ether, LinkFlags::Up);
        for length in 0..whole.len() {
            let torn = read_link(&whole[..length]);
            assert!(torn.is_err() || length >= LINK_HEADER, "{length}: {torn:?}");
        }
        assert!(read_link(&whole[..whole.len() - 6]).is_err());
    }
}
