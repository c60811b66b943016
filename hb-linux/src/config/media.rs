//! The media lines of ha.cf, and `baud` and `udpport`, which apply to the media after them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::Medium;
use super::diagnostic::{Report, quoted};
use super::ppp;
use super::source::{is_interface_name, one};

/// The speeds that the classic takes. All of them exist on every UART worth its name.
const BAUDS: [u32; 7] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800];
const DEFAULT_BAUD: u32 = 19_200;
/// IANA "ha-cluster".
const DEFAULT_PORT: u16 = 694;

/// A medium and the line that names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MediumLine {
    pub(super) line: usize,
    pub(super) medium: Medium,
}

/// A `baud` or `udpport` line, until it is known which media it applies to.
#[derive(Clone, Copy, Debug)]
struct Knob<T> {
    value: T,
    line: usize,
}

/// Which knobs above a medium's line govern it already.
#[derive(Clone, Copy, Debug)]
struct Governed {
    baud: bool,
    port: bool,
}

/// Collects media lines; a knob that has been met applies to the media after it.
#[derive(Default, Debug)]
pub(super) struct MediaReader {
    media: Vec<(MediumLine, Governed)>,
    attempted: usize,
    baud: Option<Knob<u32>>,
    port: Option<Knob<u16>>,
    /// Line of the last medium that each knob could govern.
    last_serial: usize,
    last_udp: usize,
}

impl MediaReader {
    pub(super) fn attempted(&self) -> usize {
        self.attempted
    }

    pub(super) fn directive(
        &mut self,
        word: &str,
        values: &[&str],
        line: usize,
        report: &mut Report,
    ) -> Result<(), String> {
        match word {
            "baud" => {
                let value = parse_baud(values)?;
                Self::warn_unused(self.baud.map(|knob| knob.line), self.last_serial, word, report);
                self.baud = Some(Knob { value, line });
                return Ok(());
            }
            "udpport" => {
                let value = parse_port(one(values, "a UDP port, 1 to 65535")?)?;
                Self::warn_unused(self.port.map(|knob| knob.line), self.last_udp, word, report);
                self.port = Some(Knob { value, line });
                return Ok(());
            }
            _ => {}
        }
        self.attempted += 1;
        if matches!(word, "serial" | "ppp-udp") {
            self.last_serial = line;
        }
        if word != "serial" && !word.starts_with("mcast") {
            self.last_udp = line;
        }
        for medium in self.parse_media(word, values, line, report)? {
            self.add(medium, line)?;
        }
        Ok(())
    }

    /// A knob that another one of its kind replaces before any medium came.
    fn warn_unused(knob: Option<usize>, last_medium: usize, word: &str, report: &mut Report) {
        if let Some(line) = knob.filter(|&line| last_medium < line) {
            report.warning(
                line,
                format!("{word}: no effect, another {word} follows before any medium"),
            );
        }
    }

    fn parse_media(
        &self,
        word: &str,
        values: &[&str],
        line: usize,
        report: &mut Report,
    ) -> Result<Vec<Medium>, String> {
        let port = self.port.map_or(DEFAULT_PORT, |knob| knob.value);
        let baud = self.baud.map_or(DEFAULT_BAUD, |knob| knob.value);
        match word {
            "serial" => several(values, "a device such as /dev/ttyS0")?
                .iter()
                .map(|&device| Ok(Medium::Serial { device: parse_device(device)?, baud }))
                .collect(),
            "ppp-udp" => {
                let device = parse_device(values.first().copied().unwrap_or_default())?;
                let ends = ppp::ends(values, line, report)?;
                let is_ppp =
                    |(at, _): &&(MediumLine, Governed)| matches!(at.medium, Medium::Ppp { .. });
                let number = self.media.iter().filter(is_ppp).count();
                Ok(vec![ends.medium(device, baud, port, number)])
            }
            "bcast" | "udp" => several(values, "an interface such as eth1")?
                .iter()
                .map(|&name| Ok(Medium::Broadcast { interface: parse_interface(name)?, port }))
                .collect(),
            "ucast" | "ucast6" => {
                let [name, peer] = values else {
                    return Err(format!(
                        "read {} values, expected an interface and the other node's address, such \
                         as `{word} eth1 {}`",
                        values.len(),
                        if word == "ucast" { "10.0.0.2" } else { "fd00::2" }
                    ));
                };
                let interface = parse_interface(name)?;
                let peer = parse_peer(word, &interface, peer)?;
                Ok(vec![Medium::Unicast { interface, peer, port }])
            }
            _ => parse_multicast(word, values).map(|medium| vec![medium]),
        }
    }

    fn add(&mut self, medium: Medium, line: usize) -> Result<(), String> {
        let known = self.media.iter().find(|(other, _)| same_path(&other.medium, &medium));
        if let Some((first, _)) = known {
            if let (Some(device), false) = (tty(&medium), is_same_kind(&first.medium, &medium)) {
                return Err(format!(
                    "{} is in `{}` in line {} already; a line is either `serial` or `ppp-udp`",
                    device.display(),
                    written(&first.medium),
                    first.line
                ));
            }
            return Err(format!(
                "{} stands in line {} already; a second copy would look like a second path and be \
                 none",
                written(&medium),
                first.line
            ));
        }
        let governed = Governed { baud: self.baud.is_some(), port: self.port.is_some() };
        self.media.push((MediumLine { line, medium }, governed));
        Ok(())
    }

    /// The media, after a `baud` or `udpport` behind the last medium has been applied to those that
    /// no earlier one governs: the guide's own ha.cf has them at its end.
    pub(super) fn finish(mut self, report: &mut Report) -> Vec<MediumLine> {
        if let Some(knob) = self.baud.filter(|knob| knob.line > self.last_serial) {
            let applied = self.apply(
                |governed| governed.baud,
                |medium| match medium {
                    Medium::Serial { baud, .. } | Medium::Ppp { baud, .. } => {
                        *baud = knob.value;
                        true
                    }
                    _ => false,
                },
            );
            let any = self.last_serial > 0;
            tell_late(knob.line, "baud", "serial", any, applied, report);
        }
        if let Some(knob) = self.port.filter(|knob| knob.line > self.last_udp) {
            let applied = self.apply(
                |governed| governed.port,
                |medium| match medium {
                    Medium::Broadcast { port, .. }
                    | Medium::Unicast { port, .. }
                    | Medium::Ppp { port, .. } => {
                        *port = knob.value;
                        true
                    }
                    _ => false,
                },
            );
            let any = self.last_udp > 0;
            tell_late(knob.line, "udpport", "bcast and ucast", any, applied, report);
        }
        self.media.into_iter().map(|(line, _)| line).collect()
    }

    /// Offers every ungoverned medium; returns how many took the value.
    fn apply(
        &mut self,
        is_governed: impl Fn(&Governed) -> bool,
        take: impl Fn(&mut Medium) -> bool,
    ) -> usize {
        self.media
            .iter_mut()
            .filter(|(_, governed)| !is_governed(governed))
            .map(|(line, _)| take(&mut line.medium))
            .filter(|&taken| taken)
            .count()
    }
}

fn tell_late(line: usize, word: &str, kinds: &str, any: bool, applied: usize, report: &mut Report) {
    if !any {
        report.note(line, format!("{word}: no effect, there are no {kinds} lines"));
    } else if applied == 0 {
        report.warning(
            line,
            format!(
                "{word}: no effect, an earlier {word} governs all {kinds} lines above; it applies \
                 to the lines behind it"
            ),
        );
    } else {
        report.note(
            line,
            format!(
                "{word}: stands behind all {kinds} lines, so it applies to all of them that no \
                 earlier {word} governs ({applied}); better write it above them"
            ),
        );
    }
}

/// How a person would name the medium.
pub(super) fn written(medium: &Medium) -> String {
    match medium {
        Medium::Serial { device, .. } => format!("serial {}", device.display()),
        Medium::Broadcast { interface, .. } => format!("bcast {interface}"),
        Medium::Unicast { interface, peer, .. } => format!("ucast {interface} {peer}"),
        Medium::Multicast { interface, group, port, .. } => {
            format!("mcast {interface} {group} {port}")
        }
        Medium::Ppp { device, .. } => format!("ppp-udp {}", device.display()),
    }
}

/// The serial device that a medium needs for itself.
fn tty(medium: &Medium) -> Option<&PathBuf> {
    match medium {
        Medium::Serial { device, .. } | Medium::Ppp { device, .. } => Some(device),
        _ => None,
    }
}

fn is_same_kind(one: &Medium, other: &Medium) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Whether two media are the same wire to the same peer.
fn same_path(one: &Medium, other: &Medium) -> bool {
    match (one, other) {
        (
            Medium::Serial { device: a, .. } | Medium::Ppp { device: a, .. },
            Medium::Serial { device: b, .. } | Medium::Ppp { device: b, .. },
        ) => a == b,
        (Medium::Broadcast { interface: a, .. }, Medium::Broadcast { interface: b, .. }) => a == b,
        (
            Medium::Unicast { interface: a, peer: c, .. },
            Medium::Unicast { interface: b, peer: d, .. },
        ) => a == b && c == d,
        (
            Medium::Multicast { interface: a, group: c, .. },
            Medium::Multicast { interface: b, group: d, .. },
        ) => a == b && c == d,
        _ => false,
    }
}

fn several<'a, 'b>(values: &'a [&'b str], expected: &str) -> Result<&'a [&'b str], String> {
    if values.is_empty() { Err(format!("no value, expected {expected}")) } else { Ok(values) }
}

fn parse_baud(values: &[&str]) -> Result<u32, String> {
    let list = BAUDS.map(|baud| baud.to_string()).join(", ");
    let text = one(values, &format!("one of {list}"))?;
    text.parse()
        .ok()
        .filter(|baud| BAUDS.contains(baud))
        .ok_or_else(|| format!("read {}, expected one of {list}", quoted(text)))
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|&port| port > 0 && digits)
        .ok_or_else(|| format!("read {}, expected a UDP port, 1 to 65535", quoted(text)))
}

fn parse_device(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') && text.len() > 1 {
        return Ok(text.into());
    }
    Err(format!(
        "read {}, expected the full path of a serial device such as /dev/ttyS0",
        quoted(text)
    ))
}

fn parse_interface(text: &str) -> Result<String, String> {
    if let Some((name, _)) = text.split_once(':').filter(|(name, _)| is_interface_name(name)) {
        return Err(format!(
            "read {}, which is an alias, that is an address; expected the interface itself, {name}",
            quoted(text)
        ));
    }
    if is_interface_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("read {}, expected an interface such as eth1, 15 characters at most", quoted(text)))
}

/// An IP address; a zone (`fe80::2%eth1`) must be the medium's own interface.
fn parse_ip(interface: &str, text: &str) -> Result<IpAddr, String> {
    let (bare, zone) = match text.split_once('%') {
        Some((bare, zone)) => (bare, Some(zone)),
        None => (text, None),
    };
    let ip: IpAddr = bare.parse().map_err(|_| {
        format!(
            "read {}, expected an IP address (a name would need DNS, which may be down when it is \
             needed)",
            quoted(text)
        )
    })?;
    match zone {
        Some(zone) if zone != interface => Err(format!(
            "read the zone {}, but the line's interface is {interface}; write {ip}%{interface} or \
             just {ip}",
            quoted(zone)
        )),
        Some(_) if ip.is_ipv4() => {
            Err(format!("read {}, but IPv4 addresses have no zone; write {ip}", quoted(text)))
        }
        _ => Ok(ip),
    }
}

fn check_family(word: &str, ip: IpAddr) -> Result<(), String> {
    match word.strip_suffix('6') {
        Some(four) if ip.is_ipv4() => {
            Err(format!("{ip} is an IPv4 address; write `{four}` for it"))
        }
        _ => Ok(()),
    }
}

fn parse_peer(word: &str, interface: &str, text: &str) -> Result<IpAddr, String> {
    let ip = parse_ip(interface, text)?;
    check_family(word, ip)?;
    let unfit = if ip.is_multicast() {
        "a multicast group; write `mcast` for it"
    } else if ip.is_unspecified() {
        "nobody's address"
    } else if ip.is_loopback() {
        "each node itself"
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "everybody; write `bcast` for it"
    } else if matches!(ip, IpAddr::V6(ip) if is_mapped(ip)) {
        "an IPv4-mapped address; write it as IPv4"
    } else {
        return Ok(ip);
    };
    Err(format!("{ip} is {unfit}; expected the other node's address"))
}

fn is_mapped(ip: Ipv6Addr) -> bool {
    ip.to_ipv4_mapped().is_some()
}

/// `mcast IF GROUP PORT TTL [LOOP]`.
fn parse_multicast(word: &str, values: &[&str]) -> Result<Medium, String> {
    let (name, group, port, ttl, loopback) = match values {
        [name, group, port, ttl] => (name, group, port, ttl, &"0"),
        [name, group, port, ttl, loopback] => (name, group, port, ttl, loopback),
        _ => {
            return Err(format!(
                "read {} values, expected interface, group, port, hop limit and 0 or 1 for \
                 loopback, such as `{word} eth1 {} 694 1 0`",
                values.len(),
                if word == "mcast" { "239.0.0.42" } else { "ff02::42" }
            ));
        }
    };
    let interface = parse_interface(name)?;
    let group = parse_ip(&interface, group)?;
    check_family(word, group)?;
    if !group.is_multicast() {
        return Err(format!(
            "{group} is no multicast group; expected 224.0.0.0 to 239.255.255.255 or ff00::/8, or \
             `ucast` for one host"
        ));
    }
    let port = parse_port(port)?;
    let digits = ttl.bytes().all(|byte| byte.is_ascii_digit());
    let ttl = ttl.parse().ok().filter(|&ttl: &u8| ttl > 0 && digits).ok_or_else(|| {
        format!("read {} as hop limit, expected 1 to 255; 1 stays on the wire", quoted(ttl))
    })?;
    let loopback = match *loopback {
        "0" => false,
        "1" => true,
        _ => return Err(format!("read {} for loopback, expected 0 or 1", quoted(loopback))),
    };
    Ok(Medium::Multicast { interface, group, port, ttl, loopback })
}
