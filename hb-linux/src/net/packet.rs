//! Packet sockets (packet(7)): whole Ethernet frames out of, and into, one interface.
#![allow(unsafe_code)]

use std::io;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// EtherType of ARP (RFC 826).
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6 (RFC 2464 §3).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A non-blocking packet socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// A socket that sends and never receives.
    ///
    /// # Errors
    /// What the kernel answered; `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: the kernel queues no incoming frames on it.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        Ok(Self { socket })
    }

    /// A socket that also receives the frames of one type on one interface.
    ///
    /// # Errors
    /// What the kernel answered; `EPERM` without `CAP_NET_RAW`, `ENODEV` without the interface.
    pub fn listen(index: u32, ethertype: u16) -> io::Result<Self> {
        let listener = Self::open()?;
        rustix::net::bind(&listener.socket, &LinkAddress::new(index, ethertype))?;
        Ok(listener)
    }

    /// Sends one whole frame out of the interface; never waits, never allocates.
    ///
    /// # Errors
    /// What the kernel answered: `EAGAIN` or `ENOBUFS` when the queue is full, `ENETDOWN` when the
    /// interface is down.
    pub fn send(&self, index: u32, ethertype: u16, frame: &[u8]) -> io::Result<()> {
        let to = LinkAddress::new(index, ethertype);
        rustix::net::sendto(&self.socket, frame, SendFlags::DONTWAIT, &to)?;
        Ok(())
    }

    /// The next received frame's length; what exceeds `buffer` is cut off.
    ///
    /// # Errors
    /// `EAGAIN` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, _) = rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(length)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `struct sockaddr_ll` of `<linux/if_packet.h>`: of the socket libraries none has it as a safe
/// type.
#[repr(C)]
struct LinkAddress {
    family: u16,
    /// In network byte order.
    protocol: u16,
    index: u32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

/// What the kernel expects as the address length, and a guard against padding.
const _: () = assert!(size_of::<LinkAddress>() == 20);

impl LinkAddress {
    const fn new(index: u32, ethertype: u16) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: ethertype.to_be(),
            index,
            hardware_type: 0,
            packet_type: 0,
            address_length: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the pointer comes from a live reference to a `repr(C)` value without padding, laid out as
// the kernel's `sockaddr_ll`, and the length is that value's size; both are used only during the
// call.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}
