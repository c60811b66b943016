//! The two kinds of frames that say who has the service address: ARP (RFC 826) and TCP answers.

use std::net::Ipv4Addr;

use super::super::Mac;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const TCP: u8 = 6;
const BROADCAST: Mac = [0xff; 6];

/// What a frame says of the service address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// This hardware address claims it, by an ARP answer or announcement.
    Claim(Mac),
    /// This hardware address sent a TCP segment from its port 80 to the client's `port`.
    Segment {
        /// Who.
        mac: Mac,
        /// The client's port.
        port: u16,
    },
}

/// Reads a frame that isn't the client's own.
#[must_use]
pub fn read(frame: &[u8], own: Mac, service: Ipv4Addr) -> Option<Said> {
    let mac: Mac = frame.get(6..12)?.try_into().ok()?;
    if mac == own {
        return None;
    }
    let body = frame.get(14..)?;
    match frame.get(12..14)?.try_into().ok()? {
        // Sender's protocol address at 14, operation at 6 (RFC 826); a request with the sender's
        // own address as its target is an announcement (RFC 5227 §1.1).
        ETHERTYPE_ARP => {
            let sender = body.get(14..18)? == service.octets();
            let announces = body.get(24..28)? == service.octets();
            let reply = body.get(6..8)? == [0, 2];
            let claimed: Mac = body.get(8..14)?.try_into().ok()?;
            (sender && (reply || announces)).then_some(Said::Claim(claimed))
        }
        ETHERTYPE_IPV4 => {
            let header = usize::from(body.first()? & 0x0f) * 4;
            let ours = body.get(9)? == &TCP && body.get(12..16)? == service.octets();
            let tcp = body.get(header..)?;
            let from = u16::from_be_bytes(tcp.get(0..2)?.try_into().ok()?);
            let port = u16::from_be_bytes(tcp.get(2..4)?.try_into().ok()?);
            (ours && from == 80).then_some(Said::Segment { mac, port })
        }
        _ => None,
    }
}

/// An ARP request to everybody: who has `service`?
#[must_use]
pub fn who_has(mac: Mac, own: Ipv4Addr, service: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ETHERTYPE_ARP);
    // Ethernet, IPv4, lengths 6 and 4, operation 1 = request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(service.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::CLIENT_MAC;

    const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 168, 85, 3);
    const MACHINE: Mac = [2, 0, 0, 0, 1, 1];

    fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = who_has(CLIENT_MAC, sender, target);
        frame[6..12].copy_from_slice(&MACHINE);
        frame[21] = operation;
        frame[22..28].copy_from_slice(&MACHINE);
        frame
    }

    #[test]
    fn arp_answers_and_announcements_claim_the_address() {
        let client = Ipv4Addr::new(192, 168, 85, 100);
        assert_eq!(read(&arp(2, SERVICE, client), CLIENT_MAC, SERVICE), Some(Said::Claim(MACHINE)));
        assert_eq!(
            read(&arp(1, SERVICE, SERVICE), CLIENT_MAC, SERVICE),
            Some(Said::Claim(MACHINE))
        );
        assert_eq!(
            read(&arp(1, SERVICE, client), CLIENT_MAC, SERVICE),
            None,
            "a question is no claim"
        );
        assert_eq!(read(&arp(2, client, SERVICE), CLIENT_MAC, SERVICE), None, "another address");
    }

    #[test]
    fn our_own_question_is_not_read() {
        assert_eq!(read(&who_has(CLIENT_MAC, SERVICE, SERVICE), CLIENT_MAC, SERVICE), None);
    }

    #[test]
    fn short_frames_are_nothing() {
        let frame = arp(2, SERVICE, SERVICE);
        for length in 0..frame.len() {
            assert_eq!(read(&frame[..length], CLIENT_MAC, SERVICE), None, "{length} bytes");
        }
    }
}
