//! UDP media: broadcast, unicast and multicast on one named interface.
//!
//! Every socket is bound to its interface (SO_BINDTODEVICE, socket(7)), so that a link is a cable and
//! not whatever the routing table makes of it.
//!
//! *Broadcast* goes to 255.255.255.255 and not to the subnet's own broadcast address: out of a socket
//! that is bound to a device it needs no route and no address on the NIC, and it does not change when
//! the NIC is re-addressed. (A receiver with strict `rp_filter` still wants a route back to the source
//! through that NIC, so there both NICs need addresses of one subnet.) *Sockets are bound* to the destination (the broadcast address, the group)
//! where there is one, so that a datagram counts for the medium that it was sent on; unicast is bound
//! to the unspecified address, for the NIC's own may change, and so one interface carries one unicast
//! medium for each port and family. *Not connected*, because that would freeze our own address and
//! silently drop a peer that answers from its second one; authentication tells friends. *Not
//! SO_DONTROUTE*: broadcasts aren't routed anyway, and a unicast peer may be behind a router.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, netdevice, recv};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use super::filter::{self, Wanted};
use super::{Failure, Receive, Sending};
use crate::config::Medium;

/// Bytes asked for, which the kernel doubles: room for about 300 frames, more than a second's worth at
/// a keepalive of 10 ms.
const RECEIVE_BUFFER: usize = 128 * 1024;
/// CS6, "network control" (RFC 4594 §3.1): queues that know it let heartbeats pass bulk traffic.
const TRAFFIC_CLASS: u32 = 0xc0;

#[derive(Debug)]
pub(super) struct Udp {
    medium: Medium,
    interface: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    /// Of the interface at the time of binding: another one of the same name isn't ours.
    index: u32,
    to: SockAddr,
}

impl Udp {
    pub(super) fn new(medium: Medium, interface: String) -> Self {
        Self { medium, interface, open: None }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.medium {
            Medium::Unicast { .. } => "ucast",
            Medium::Multicast { .. } => "mcast",
            Medium::Ppp { .. } => "ppp-udp",
            Medium::Broadcast { .. } | Medium::Serial { .. } => "bcast",
        }
    }

    pub(super) fn description(&self) -> String {
        let base =
            |port| format!("UDP heartbeat started on port {port} interface {}", self.interface);
        match &self.medium {
            Medium::Unicast { peer, port, .. } => format!("{} to {peer}", base(*port)),
            Medium::Multicast { group, port, ttl, loopback, .. } => {
                format!("{} group {group} ttl {ttl} loop {}", base(*port), u8::from(*loopback))
            }
            Medium::Broadcast { port, .. } => base(*port),
            Medium::Ppp { device, local, remote, port, .. } => {
                format!("{} over ppp on tty {}: {local} to {remote}", base(*port), device.display())
            }
            Medium::Serial { .. } => unreachable!("made from UDP media only"),
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }

    pub(super) fn open(&mut self) -> Result<(), Failure> {
        let opened = Plan::of(&self.medium).open(&self.interface);
        self.open = Some(opened.map_err(|failure| match (failure, &self.medium) {
            // pppd makes it when both ends have found each other.
            (Failure::NoInterface, Medium::Ppp { interface, .. }) => {
                Failure::NoPpp { interface: interface.clone() }
            }
            (failure, _) => failure,
        })?);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    pub(super) fn receive(&mut self, buf: &mut [u8]) -> Receive {
        let Some(open) = &self.open else { return Receive::Lost(Errno::NODEV) };
        match recv(&open.socket, buf, RecvFlags::empty()) {
            Ok((n, _)) => Receive::Received(n),
            Err(errno) if errno == Errno::AGAIN || errno == Errno::INTR => Receive::Empty,
            // Reading such an error clears it; the socket lives on.
            Err(errno) if passes(errno) => Receive::Empty,
            Err(errno) => Receive::Lost(errno),
        }
    }

    pub(super) fn transmit(&mut self, bytes: &[u8]) -> Sending {
        let Some(open) = &self.open else { return Sending::Lost(Errno::NODEV) };
        let Err(error) = open.socket.send_to(bytes, &open.to) else { return Sending::Sent };
        let errno = errno_of(&error);
        if errno == Errno::AGAIN || errno == Errno::INTR {
            return Sending::Busy;
        }
        if !passes(errno) {
            return Sending::Lost(errno);
        }
        // IPv6 says "unreachable" also when the interface has gone or was made anew: ask. One ioctl
        // (netdevice(7)), no allocation.
        match netdevice::name_to_index(&open.socket, &self.interface) {
            Ok(index) if index == open.index => Sending::Unreachable,
            _ => Sending::Lost(Errno::NODEV),
        }
    }
}

/// Errors that pass when the cable, the route, the neighbour, memory or the firewall's rule is back.
fn passes(errno: Errno) -> bool {
    [
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::CONNREFUSED,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::MSGSIZE,
        Errno::PERM,
        Errno::ACCESS,
    ]
    .contains(&errno)
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// A medium in the terms of socket calls.
struct Plan {
    bind: IpAddr,
    to: IpAddr,
    port: u16,
    wanted: Wanted,
    /// TTL and whether to hear oneself.
    multicast: Option<(u8, bool)>,
}

impl Plan {
    fn of(medium: &Medium) -> Self {
        match *medium {
            Medium::Broadcast { port, .. } => Self {
                bind: Ipv4Addr::BROADCAST.into(),
                to: Ipv4Addr::BROADCAST.into(),
                port,
                wanted: Wanted::Others,
                multicast: None,
            },
            Medium::Unicast { peer, port, .. } => Self {
                bind: match peer {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                },
                to: peer,
                port,
                wanted: Wanted::Unicast,
                multicast: None,
            },
            Medium::Ppp { remote, port, .. } => Self {
                bind: Ipv4Addr::UNSPECIFIED.into(),
                to: remote.into(),
                port,
                wanted: Wanted::Unicast,
                multicast: None,
            },
            Medium::Multicast { group, port, ttl, loopback, .. } => Self {
                bind: group,
                to: group,
                port,
                wanted: if loopback { Wanted::Everything } else { Wanted::Others },
                multicast: Some((ttl, loopback)),
            },
            Medium::Serial { .. } => unreachable!("made from UDP media only"),
        }
    }

    /// The filter and the interface come before the port is bound: from then on datagrams queue up.
    fn open(&self, interface: &str) -> Result<Open, Failure> {
        let step = |step| move |error: io::Error| Failure::Socket { step, errno: errno_of(&error) };
        let domain = if self.to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket =
            Socket::new_raw(domain, kind, Some(Protocol::UDP)).map_err(step("opening it"))?;
        let index = netdevice::name_to_index(&socket, interface).map_err(|errno| match errno {
            Errno::NODEV => Failure::NoInterface,
            errno => Failure::Socket { step: "finding the interface", errno },
        })?;
        socket.bind_device(Some(interface.as_bytes())).map_err(|error| match errno_of(&error) {
            Errno::NODEV => Failure::NoInterface,
            Errno::PERM => Failure::BindToDeviceDenied,
            errno => Failure::Socket { step: "binding it to the interface", errno },
        })?;
        socket
            .attach_filter(&filter::program(self.wanted))
            .map_err(step("attaching the filter"))?;
        socket.set_reuse_address(true).map_err(step("setting SO_REUSEADDR"))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(step("setting SO_RCVBUF"))?;
        match self.to {
            IpAddr::V4(to) => {
                socket.set_tos_v4(TRAFFIC_CLASS).map_err(step("setting IP_TOS"))?;
                if to.is_broadcast() {
                    socket.set_broadcast(true).map_err(step("setting SO_BROADCAST"))?;
                }
            }
            IpAddr::V6(_) => {
                socket.set_only_v6(true).map_err(step("setting IPV6_V6ONLY"))?;
                socket.set_tclass_v6(TRAFFIC_CLASS).map_err(step("setting IPV6_TCLASS"))?;
            }
        }
        if let Some((ttl, loopback)) = self.multicast {
            self.join(&socket, index, ttl, loopback).map_err(step("joining the group"))?;
        }
        socket.bind(&self.address(self.bind, index)).map_err(|error| match errno_of(&error) {
            Errno::ADDRINUSE => Failure::PortInUse(self.port),
            Errno::ACCESS => Failure::PortDenied(self.port),
            errno => Failure::Socket { step: "binding it to its port", errno },
        })?;
        Ok(Open { socket, index, to: self.address(self.to, index) })
    }

    /// Outgoing multicast follows the device that the socket is bound to (ip(7), ipv6(7)).
    fn join(&self, socket: &Socket, index: u32, ttl: u8, loopback: bool) -> io::Result<()> {
        match self.to {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
                socket.set_multicast_ttl_v4(ttl.into())?;
                socket.set_multicast_loop_v4(loopback)
            }
            IpAddr::V6(group) => {
                socket.join_multicast_v6(&group, index)?;
                socket.set_multicast_if_v6(index)?;
                socket.set_multicast_hops_v6(ttl.into())?;
                socket.set_multicast_loop_v6(loopback)
            }
        }
    }

    /// With the interface as the scope where the address has one (RFC 4007 §6).
    fn address(&self, ip: IpAddr, index: u32) -> SockAddr {
        match ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.port)).into(),
            IpAddr::V6(ip) => {
                let scoped = ip.is_unicast_link_local() || ip.is_multicast();
                SocketAddrV6::new(ip, self.port, 0, if scoped { index } else { 0 }).into()
            }
        }
    }
}
