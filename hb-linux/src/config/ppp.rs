//! `ppp-udp`: UDP heartbeats through a PPP link over a serial line, as in the classics' first versions.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use hb_proto::id::Voter;
use hb_proto::time::Duration;

use super::Medium;
use super::diagnostic::{Report, quoted};

/// The options file that pppd is given, in the configuration directory.
pub const OPTIONS_FILE: &str = "ppp-options";
/// Where Debian has it.
pub const PPPD: &str = "/usr/sbin/pppd";

/// What IP, UDP and PPP add to a frame on the line, in bytes: 20 (RFC 791) + 8 (RFC 768) + 8 (RFC 1662 §3.1, with
/// a flag at both ends), and as much again as one byte in sixteen for escapes (§4.2), of 31 + 36.
pub const OVERHEAD_BYTES: u64 = 20 + 8 + 8 + 4;

/// One `ppp-udp` line's ends, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends {
    /// Of the node whose lower-cased name comes first.
    first: Ipv4Addr,
    /// Of the other one.
    second: Ipv4Addr,
}

/// The addresses behind the device; a note where the second one is ours to choose.
pub(super) fn ends(values: &[&str], line: usize, report: &mut Report) -> Result<Ends, String> {
    const EXPECTED: &str = "a device and the private addresses of both ends, such as `ppp-udp \
                            /dev/ttyS1 10.0.0.3 10.0.0.4`";
    let (first, second) = match values {
        [_, first] => (parse_end(first)?, None),
        [_, first, second] => (parse_end(first)?, Some(parse_end(second)?)),
        _ => return Err(format!("read {} values, expected {EXPECTED}", values.len())),
    };
    let second = match second {
        Some(second) if second == first => {
            return Err(format!("both ends are {first}, expected {EXPECTED}"));
        }
        Some(second) => second,
        None => {
            let next = Ipv4Addr::from_bits(first.to_bits().wrapping_add(1));
            if !next.is_private() {
                return Err(format!(
                    "{first} has no private address behind it, expected {EXPECTED}"
                ));
            }
            report.note(
                line,
                format!(
                    "ppp-udp: one address, so the ends are {first} and {next}: the node whose name comes first in \
                     the alphabet has {first}. Write both to choose"
                ),
            );
            next
        }
    };
    Ok(Ends { first, second })
}

/// An address that belongs to nobody else (RFC 1918 §3): the classics demand it, too.
fn parse_end(text: &str) -> Result<Ipv4Addr, String> {
    let expected = "expected a private IPv4 address (10/8, 172.16/12, 192.168/16) that no network of this \
                    machine uses, such as 10.0.0.3";
    let ip: Ipv4Addr = text.parse().map_err(|_| format!("read {}, {expected}", quoted(text)))?;
    if ip.is_private() { Ok(ip) } else { Err(format!("read {ip}, {expected}")) }
}

impl Ends {
    /// The medium, as the first of the nodes sees it; see [`seen_by`].
    pub(super) fn medium(self, device: PathBuf, baud: u32, port: u16, number: usize) -> Medium {
        // 15 characters at most, whatever the device is called (linux/if.h, IFNAMSIZ).
        let interface = format!("hbppp{number}");
        Medium::Ppp { device, baud, interface, local: self.first, remote: self.second, port }
    }
}

/// Turns a `ppp-udp` medium round for the second of the nodes.
pub(super) fn seen_by(me: Voter, medium: &mut Medium) {
    if let Medium::Ppp { local, remote, .. } = medium
        && me == Voter::B
    {
        std::mem::swap(local, remote);
    }
}

/// What pppd is called with: device, speed, both ends, the name of the interface, and the options file.
#[must_use]
pub fn arguments(medium: &Medium, config_dir: &std::path::Path) -> Option<Vec<String>> {
    let Medium::Ppp { device, baud, interface, local, remote, .. } = medium else { return None };
    Some(vec![
        device.display().to_string(),
        baud.to_string(),
        format!("{local}:{remote}"),
        "file".to_owned(),
        config_dir.join(OPTIONS_FILE).display().to_string(),
        "ifname".to_owned(),
        interface.clone(),
        // It is our child, and the helper process waits for its end.
        "nodetach".to_owned(),
    ])
}

/// How much of each keepalive one status frame takes on the line.
pub(super) fn time_on_line(frame_bytes: usize, baud: u32) -> Duration {
    let bits = (frame_bytes as u64 + OVERHEAD_BYTES) * 10;
    Duration::from_micros(bits * 1_000_000 / u64::from(baud))
}
