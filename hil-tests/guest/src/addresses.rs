//! IPv4 addresses as the kernel announces them (rtnetlink(7)), whoever adds or removes them.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use serde_json::json;

use super::Host;

/// linux/rtnetlink.h: changes of IPv4 addresses.
const RTMGRP_IPV4_IFADDR: u32 = 0x10;

/// Tells of each change from now on.
pub fn follow(host: &Host) {
    let host = host.clone();
    std::thread::spawn(move || {
        let opened = Socket::new(NETLINK_ROUTE).and_then(|mut socket| {
            socket.bind(&SocketAddr::new(0, RTMGRP_IPV4_IFADDR))?;
            Ok(socket)
        });
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => return host.tell(json!({"broken": format!("netlink: {error}")})),
        };
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            buffer.clear();
            if let Ok(length) = socket.recv(&mut buffer, 0) {
                read(&buffer[..length], &host);
            }
        }
    });
}

fn read(mut rest: &[u8], host: &Host) {
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        let change = match &message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(it)) => Some((it, true)),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(it)) => Some((it, false)),
            _ => None,
        };
        if let Some((address, held)) = change.and_then(|(it, held)| Some((local(it)?, held))) {
            host.tell(json!({"address": address, "held": held}));
        }
        // Messages are aligned to 4 bytes (netlink(7)).
        let length = (message.header.length as usize).next_multiple_of(4);
        if length == 0 || length >= rest.len() {
            break;
        }
        rest = &rest[length..];
    }
}

fn local(address: &AddressMessage) -> Option<String> {
    address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(ip.to_string()),
        _ => None,
    })
}
