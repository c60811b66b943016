//! The argument of IPaddr, in every form of the guide.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::AddressSpec;
use super::diagnostic::quoted;
use super::source::is_interface_name;

const EXPECTED: &str = "expected ADDRESS, ADDRESS/PREFIX, ADDRESS/PREFIX/BROADCAST, \
                        ADDRESS/PREFIX/INTERFACE or ADDRESS/PREFIX/INTERFACE/BROADCAST, such as \
                        192.168.85.3/27/eth0";

/// IPv4 prefixes shorter than this are no network anybody serves: the first octet's worth.
const SHORTEST_PREFIX: u8 = 8;

/// Longest `IF:LABEL` the kernel takes (IFNAMSIZ − 1, netdevice(7)).
const LABEL_BYTES: usize = 15;

impl AddressSpec {
    /// Reads `IP[/PREFIX[/IFACE[:LABEL]][/BROADCAST]]`; a third field that starts with a digit is the
    /// broadcast address.
    ///
    /// The second value is a warning: the text is usable, but hardly meant so.
    ///
    /// # Errors
    /// What was read, what was expected and what to write instead.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), String> {
        let mut fields = text.split('/');
        let ip = parse_ip(text, fields.next().unwrap_or_default())?;
        let mut spec = Self { ip, prefix: None, interface: None, label: None, broadcast: None };
        if let Some(field) = fields.next() {
            spec.prefix = Some(parse_prefix(text, ip, field)?);
        }
        let mut third = fields.next();
        if let Some(field) = third
            && !field.starts_with(|c: char| c.is_ascii_digit())
        {
            let (interface, label) = parse_interface(text, field)?;
            spec.interface = Some(interface);
            spec.label = label;
            third = fields.next();
        }
        if let Some(field) = third {
            spec.broadcast = Some(parse_broadcast(text, ip, field)?);
        }
        if let Some(extra) = fields.next() {
            return Err(format!(
                "{}: {} is one field too many; {EXPECTED}",
                quoted(text),
                quoted(extra)
            ));
        }
        if spec.interface.is_none() && is_link_local(ip) {
            return Err(format!(
                "{}: a link-local address means nothing without its interface; write {ip}/64/eth0 \
                 with the interface's name",
                quoted(text)
            ));
        }
        let warning = spec.warning();
        Ok((spec, warning))
    }

    fn warning(&self) -> Option<String> {
        if self.ip.is_loopback() {
            return Some(format!("{self}: a loopback address is seen by no other machine"));
        }
        let (IpAddr::V4(ip), Some(prefix)) = (self.ip, self.prefix) else { return None };
        if prefix < SHORTEST_PREFIX {
            return Some(format!(
                "{self}: /{prefix} is a CIDR prefix and spans {} addresses. Before September 1999 \
                 this number counted host bits: if the line is from then, write /{}. Used as \
                 written, without a route to all of that network",
                1u64 << (32 - prefix),
                32 - prefix,
            ));
        }
        let host_mask = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let host = ip.to_bits() & host_mask;
        // RFC 3021: a /31 has neither a network address nor a broadcast address.
        if prefix < 31 && (host == 0 || host == host_mask) {
            let what = if host == 0 { "the network's own" } else { "the network's broadcast" };
            return Some(format!("{self}: {ip} is {what} address in a /{prefix}"));
        }
        None
    }
}

/// The text that [`AddressSpec::parse`] reads back as the same value.
impl fmt::Display for AddressSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if let Some(prefix) = self.prefix {
            write!(f, "/{prefix}")?;
        }
        if let Some(interface) = &self.interface {
            write!(f, "/{interface}")?;
        }
        if let Some(label) = &self.label {
            write!(f, ":{label}")?;
        }
        if let Some(broadcast) = self.broadcast {
            write!(f, "/{broadcast}")?;
        }
        Ok(())
    }
}

/// Whether a bare word of haresources is an address, well written or not.
///
/// `db::1` is a script with an argument *and* a valid IPv6 address: only what can be a host's address
/// (RFC 4291: global 2000::/3, fc00::/7, fe80::/10) counts as one, so words like `cafe` stay scripts.
pub(super) fn looks_like_address(word: &str) -> bool {
    let head = word.split('/').next().unwrap_or_default();
    if head.starts_with(|c: char| c.is_ascii_digit())
        && head.contains('.')
        && head.chars().all(|c| c.is_ascii_digit() || c == '.')
    {
        return true;
    }
    let head = head.split('%').next().unwrap_or_default();
    head.parse::<Ipv6Addr>().is_ok_and(is_host_address)
}

pub(super) fn is_host_address(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    first & 0xe000 == 0x2000 || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
}

pub(super) fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn parse_ip(text: &str, field: &str) -> Result<IpAddr, String> {
    if let Some((ip, zone)) = field.split_once('%') {
        return Err(format!(
            "{}: read the zone {}; write the interface as third field: {ip}/64/{zone}",
            quoted(text),
            quoted(zone)
        ));
    }
    let ip: IpAddr = field.parse().map_err(|_| {
        format!(
            "{}: read {} where an IP address is expected; {EXPECTED}",
            quoted(text),
            quoted(field)
        )
    })?;
    let unfit = if ip.is_multicast() {
        "a multicast address"
    } else if ip.is_unspecified() {
        "the unspecified address"
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "the broadcast address"
    } else if matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        "an IPv4-mapped address"
    } else {
        return Ok(ip);
    };
    Err(format!("{}: {ip} is {unfit}; a service address belongs to one host", quoted(text)))
}

fn parse_prefix(text: &str, ip: IpAddr, field: &str) -> Result<u8, String> {
    let (most, family) = if ip.is_ipv4() { (32, "IPv4") } else { (128, "IPv6") };
    // Ipv4Addr would read `255.255.255.224` well; tell what it is in today's notation.
    if let Ok(mask) = field.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        if bits.leading_ones() + bits.trailing_zeros() == 32 && ip.is_ipv4() {
            return Err(format!(
                "{}: read the netmask {mask}; write its prefix length, /{}",
                quoted(text),
                bits.leading_ones()
            ));
        }
    }
    let digits = !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit());
    match field.parse::<u8>() {
        Ok(prefix) if digits && (1..=most).contains(&prefix) => Ok(prefix),
        _ => Err(format!(
            "{}: read {} as prefix length; expected 1 to {most} for {family}",
            quoted(text),
            quoted(field)
        )),
    }
}

fn parse_interface(text: &str, field: &str) -> Result<(String, Option<String>), String> {
    let (name, label) = match field.split_once(':') {
        Some((name, label)) => (name, Some(label)),
        None => (field, None),
    };
    if !is_interface_name(name) {
        return Err(format!(
            "{}: read {} as interface; expected a name such as eth0, 15 characters at most",
            quoted(text),
            quoted(name)
        ));
    }
    if let Some(label) = label
        && (!is_interface_name(label) || field.len() > LABEL_BYTES)
    {
        return Err(format!(
            "{}: read {} as interface with label; expected a form such as eth0:0, {LABEL_BYTES} \
             characters at most in all",
            quoted(text),
            quoted(field)
        ));
    }
    Ok((name.to_owned(), label.map(ToOwned::to_owned)))
}

fn parse_broadcast(text: &str, ip: IpAddr, field: &str) -> Result<Ipv4Addr, String> {
    if ip.is_ipv6() {
        return Err(format!(
            "{}: read {} as broadcast address; IPv6 has none, remove it",
            quoted(text),
            quoted(field)
        ));
    }
    field.parse().map_err(|_| {
        format!(
            "{}: read {} as broadcast address; expected an IPv4 address such as 192.168.85.31",
            quoted(text),
            quoted(field)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> AddressSpec {
        AddressSpec::parse(text).unwrap().0
    }

    #[test]
    fn the_guides_forms() {
        let bare = spec("192.168.85.3");
        assert_eq!(bare.ip, IpAddr::from([192, 168, 85, 3]));
        assert_eq!((bare.prefix, &bare.interface, bare.broadcast), (None, &None, None));

        assert_eq!(spec("192.168.85.3/27").prefix, Some(27));

        let full = spec("192.168.85.3/27/eth0:1/192.168.85.16");
        assert_eq!(full.interface.as_deref(), Some("eth0"));
        assert_eq!(full.label.as_deref(), Some("1"));
        assert_eq!(full.broadcast, Some(Ipv4Addr::new(192, 168, 85, 16)));

        let six = spec("fd00::3/64/eth1");
        assert_eq!((six.prefix, six.interface.as_deref()), (Some(64), Some("eth1")));
    }

    #[test]
    fn the_number_of_1999_is_cidr_and_explained() {
        let (spec, warning) = AddressSpec::parse("192.168.85.3/5/192.168.85.16").unwrap();
        assert_eq!((spec.prefix, spec.interface), (Some(5), None));
        assert_eq!(spec.broadcast, Some(Ipv4Addr::new(192, 168, 85, 16)));
        let warning = warning.unwrap();
        assert!(warning.contains("host bits") && warning.contains("write /27"), "{warning}");
        // The shortest prefix that passes, and a long one.
        assert_eq!(AddressSpec::parse("10.1.2.3/8").unwrap().1, None);
        assert_eq!(AddressSpec::parse("10.1.2.3/32").unwrap().1, None);
        assert!(AddressSpec::parse("10.1.2.3/7").unwrap().1.is_some());
        assert!(AddressSpec::parse("10.1.2.0/24").unwrap().1.unwrap().contains("own address"));
        assert!(AddressSpec::parse("10.1.2.255/24").unwrap().1.unwrap().contains("broadcast"));
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        for (text, expected) in [
            ("", "expected ADDRESS"),
            ("192.168.85.300", "expected ADDRESS"),
            ("192.168.85.3/", "1 to 32"),
            ("192.168.85.3/0", "1 to 32"),
            ("192.168.85.3/33", "1 to 32"),
            ("192.168.85.3/+8", "1 to 32"),
            ("fd00::3/129", "1 to 128"),
            ("192.168.85.3/255.255.255.224", "/27"),
            ("192.168.85.3/eth0", "1 to 32"),
            ("192.168.85.3/24/", "15 characters"),
            ("192.168.85.3/24/eth0:", "eth0:0"),
            ("192.168.85.3/24/eth0:a-long-label", "15 characters"),
            ("192.168.85.3/24/eth0/1.2.3", "192.168.85.31"),
            ("192.168.85.3/24/eth0/1.2.3.4/x", "too many"),
            ("192.168.85.3/24/1.2.3.4/eth0", "too many"),
            ("fd00::3/64/eth0/1.2.3.4", "IPv6 has none"),
            ("fe80::3/64", "without its interface"),
            ("fe80::3%eth0/64", "fe80::3/64/eth0"),
            ("224.0.0.1", "multicast"),
            ("0.0.0.0", "unspecified"),
            ("255.255.255.255", "broadcast"),
            ("::ffff:1.2.3.4", "IPv4-mapped"),
        ] {
            let error = AddressSpec::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn scripts_with_hexadecimal_names_are_no_addresses() {
        for address in
            ["192.168.85.3", "192.168.85.300/3", "fd00::3", "2001:db8::1/64", "fe80::1%x"]
        {
            assert!(looks_like_address(address), "{address}");
        }
        for script in ["db::1", "cafe::1", "feed::2", "httpd", "maid::vacuum", "1.sh", "x.y"] {
            assert!(!looks_like_address(script), "{script}");
        }
    }
}
