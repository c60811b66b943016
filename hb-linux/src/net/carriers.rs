//! Carriers of network interfaces, as the kernel tells of their changes (rtnetlink(7), RTNLGRP_LINK).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// Octets of `struct nlmsghdr` and of `struct ifinfomsg` behind it.
const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
/// The kernel's own size for one such message is a page or two; with hundreds of virtual functions it is more.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// Something that the kernel told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice<'a> {
    /// An interface, and whether there is a signal on its wire now (IFF_LOWER_UP). One that is gone has none.
    Carrier { interface: &'a [u8], present: bool },
    /// Changes were lost, or can't be read: nothing is known any more.
    Lost,
}

/// A socket that hears of changes. Never waits, and allocates nothing once it is open.
#[derive(Debug)]
pub struct Carriers {
    socket: Socket,
    datagram: Box<[u8]>,
}

impl Carriers {
    /// Hears of the interfaces of the calling thread's network namespace from now on.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, libc::RTMGRP_LINK as u32))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, datagram: vec![0; DATAGRAM_BYTES].into_boxed_slice() })
    }

    /// Reads what came at once, and tells of it; false when nothing (more) is there.
    pub fn read(&mut self, tell: impl FnMut(Notice<'_>)) -> bool {
        let mut tell = tell;
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match rustix::net::recv(&self.socket, &mut self.datagram[..], flags) {
            Ok((length, size)) if size <= length => notices(&self.datagram[..length], tell),
            // Cut off, or ENOBUFS: more came than the socket holds (netlink(7)).
            Ok(_) | Err(Errno::NOBUFS) => tell(Notice::Lost),
            Err(_) => return false,
        }
        true
    }
}

impl AsFd for Carriers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The links of one datagram.
fn notices(datagram: &[u8], mut tell: impl FnMut(Notice<'_>)) {
    let mut rest = datagram;
    while !rest.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(rest) else { return tell(Notice::Lost) };
        let length = message.length() as usize;
        let payload = rest.get(MESSAGE_HEADER..length).unwrap_or(&[]);
        match message.message_type() {
            libc::RTM_NEWLINK => tell(link(payload, true).unwrap_or(Notice::Lost)),
            libc::RTM_DELLINK => tell(link(payload, false).unwrap_or(Notice::Lost)),
            _ => {}
        }
        // Messages start at multiples of four bytes (NLMSG_ALIGN).
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
}

fn link(payload: &[u8], exists: bool) -> Option<Notice<'_>> {
    let header = LinkHeader::parse(payload).ok()?;
    let mut attributes = NlasIterator::new(payload.get(LINK_HEADER..)?).map_while(Result::ok);
    let name = attributes.find(|attribute| attribute.kind() == libc::IFLA_IFNAME)?;
    // `value` would borrow from the attribute, which is a copy of the range only.
    let interface = name.into_inner().get(4..)?;
    let interface = interface.split(|&octet| octet == 0).next()?;
    let present = exists && header.flags.contains(LinkFlags::LowerUp);
    Some(Notice::Carrier { interface, present })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn message(
        make: fn(LinkMessage) -> RouteNetlinkMessage,
        name: &str,
        flags: LinkFlags,
    ) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.flags = flags;
        link.attributes = vec![LinkAttribute::Mtu(1500), LinkAttribute::IfName(name.to_owned())];
        let payload = NetlinkPayload::InnerMessage(make(link));
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut octets = vec![0; message.buffer_len().next_multiple_of(4)];
        message.serialize(&mut octets);
        octets
    }

    fn told(datagram: &[u8]) -> Vec<(String, bool)> {
        let mut told = Vec::new();
        notices(datagram, |notice| match notice {
            Notice::Carrier { interface, present } => {
                told.push((String::from_utf8_lossy(interface).into_owned(), present));
            }
            Notice::Lost => told.push(("lost".to_owned(), false)),
        });
        told
    }

    #[test]
    fn carriers_are_read_from_what_the_kernel_tells() {
        use RouteNetlinkMessage::{DelLink, NewLink};
        let up = LinkFlags::Up | LinkFlags::LowerUp;
        let datagram = [
            message(NewLink, "eth1", up),
            message(NewLink, "enp0s31f6", LinkFlags::Up),
            message(DelLink, "usb0", up),
        ]
        .concat();
        let expected = [("eth1", true), ("enp0s31f6", false), ("usb0", false)];
        assert_eq!(told(&datagram), expected.map(|(name, present)| (name.to_owned(), present)));
    }

    #[test]
    fn what_is_cut_off_is_lost_and_never_a_panic() {
        let whole = message(RouteNetlinkMessage::NewLink, "eth1", LinkFlags::Up);
        for length in 1..whole.len() {
            let told = told(&whole[..length]);
            assert!(
                told.iter().all(|(name, _)| name == "lost" || name == "eth1"),
                "{length}: {told:?}"
            );
        }
        assert_eq!(told(&whole[..20]), [("lost".to_owned(), false)]);
    }
}
