//! The three system calls of the rig that no safe crate offers: `unshare`, binding a packet
//! socket to an interface, and `SIOCETHTOOL`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::ioctl;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

/// Moves the calling thread into fresh namespaces (unshare(2)).
///
/// # Errors
/// What the kernel answered; `InvalidInput` when `flags` would unshare the table of descriptors.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the only hazard of unshare is a descriptor table that threads no longer share
    // (UnshareFlags::FILES), which is refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// struct sockaddr_ll, packet(7).
#[repr(C)]
struct LinkLayerAddress {
    family: u16,
    /// Big endian.
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

// SAFETY: the pointer handed to `f` points at a live, initialised sockaddr_ll of exactly the
// length that goes with it, for the duration of the call.
unsafe impl SocketAddrArg for LinkLayerAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

const AF_PACKET: u16 = 17;
/// if_ether.h: every protocol.
const ETH_P_ALL: u16 = 0x0003;

/// A non-blocking socket that receives and sends whole Ethernet frames of one interface.
///
/// # Errors
/// What the kernel answered.
pub fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0 receives nothing until bind() sets it: no frame of another interface slips in
    // between (packet(7)).
    let socket = rustix::net::socket_with(
        AddressFamily::from_raw(AF_PACKET),
        SocketType::RAW,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    let address = LinkLayerAddress {
        family: AF_PACKET,
        protocol: ETH_P_ALL.to_be(),
        index: i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        hardware: 0,
        kind: 0,
        length: 0,
        address: [0; 8],
    };
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// struct ethtool_value, linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// struct ifreq, netdevice(7): the name, then a union of which only the pointer is used; padded
/// to at least the kernel's own size on 32 and 64 bit.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    data: *mut c_void,
    rest: [u8; 16],
}

const SIOCETHTOOL: ioctl::Opcode = 0x8946;
/// linux/ethtool.h: switch transmit checksum offload (and with it segmentation offload).
const ETHTOOL_STXCSUM: u32 = 0x17;

/// Makes the kernel fill in the checksums of what it sends through `interface`.
///
/// veth leaves them to hardware that isn't there: frames carried by a user-space switch would
/// arrive with the pseudo-header sum only, and every UDP and TCP packet would be dropped.
///
/// # Errors
/// What the kernel answered; `InvalidInput` when the name is longer than 15 bytes.
pub fn checksums_in_software(interface: &str) -> io::Result<()> {
    let mut name = [0_u8; 16];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    name[..interface.len()].copy_from_slice(interface.as_bytes());
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut request =
        InterfaceRequest { name, data: std::ptr::from_mut(&mut value).cast(), rest: [0; 16] };
    // SAFETY: SIOCETHTOOL takes a struct ifreq whose data points at the structure that belongs to
    // its command; both live until the call returns, and ETHTOOL_STXCSUM reads an ethtool_value.
    unsafe {
        let update = ioctl::Updater::<SIOCETHTOOL, InterfaceRequest>::new(&mut request);
        ioctl::ioctl(socket.as_fd(), update)?;
    }
    Ok(())
}
