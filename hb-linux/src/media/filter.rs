//! The kernel's filter on a UDP medium: what can't be a frame never wakes the daemon.
//!
//! A classic BPF program (Linux, Documentation/networking/filter.rst). On a UDP socket it runs over the
//! datagram from its UDP header on; IP options, fragments and the padding of short Ethernet frames are
//! gone by then. Authentication stays with `hb-proto`: this only sheds floods cheaply.

use socket2::SockFilter;

use super::{MAX_FRAME, MIN_FRAME};

const UDP_HEADER: usize = 8;

/// Which of the arriving packets a medium wants, told by where the kernel got them from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Addressed to this machine alone; a socket bound to the unspecified address also gets the
    /// broadcasts and multicasts of other media on its port, which must not count for this one.
    Unicast,
    /// Anything but our own transmission, which the kernel loops back to us for every broadcast.
    Others,
    /// Anything (`mcast … LOOP` 1).
    Everything,
}

// linux/bpf_common.h and linux/filter.h
const LD_LEN: u16 = 0x80; // BPF_LD | BPF_W | BPF_LEN
const LD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JGT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RET: u16 = 0x06; // BPF_RET | BPF_K
const AD_PKTTYPE: u32 = (-0x1000_i32 + 4).cast_unsigned(); // SKF_AD_OFF + SKF_AD_PKTTYPE
// linux/if_packet.h
const PACKET_HOST: u32 = 0;
const PACKET_LOOPBACK: u32 = 5;

/// Jumps count instructions from the next one on. A check of the frame's first byte (version and kind)
/// would go before `ACCEPT`: `LD_BYTE` at `UDP_HEADER`.
pub(super) fn program(wanted: Wanted) -> [SockFilter; 7] {
    let least = (UDP_HEADER + MIN_FRAME) as u32;
    let most = (UDP_HEADER + MAX_FRAME) as u32;
    let origin = match wanted {
        Wanted::Unicast => SockFilter::new(JEQ, 0, 1, PACKET_HOST),
        Wanted::Others => SockFilter::new(JEQ, 1, 0, PACKET_LOOPBACK),
        Wanted::Everything => SockFilter::new(JEQ, 0, 0, 0),
    };
    [
        SockFilter::new(LD_LEN, 0, 0, 0),
        SockFilter::new(JGE, 0, 4, least),
        SockFilter::new(JGT, 3, 0, most),
        SockFilter::new(LD_BYTE, 0, 0, AD_PKTTYPE),
        origin,
        SockFilter::new(RET, 0, 0, u32::MAX), // accept, whole
        SockFilter::new(RET, 0, 0, 0),        // drop
    ]
}
