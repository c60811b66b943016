//! Which interface a service address goes to, as heartbeat has always decided it: the routing table
//! is scanned for routes that cover the address, the lowest metric wins, a tie goes to the first
//! route found.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::tables::Route;
use crate::config::AddressSpec;

/// Prefixes shorter than this never get a connected route: no LAN is that large, so the number is a
/// slip (`/5` once meant five host bits) and the route would take a part of the Internet away.
const SHORTEST_CONNECTED_V4: u8 = 8;
/// The same for IPv6; /32 is what a whole provider is given (RFC 6177 §2 hands sites /48 to /64).
const SHORTEST_CONNECTED_V6: u8 = 32;

/// Where and how an address is to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Interface index.
    pub index: u32,
    /// Prefix length to add it with.
    pub prefix: u8,
    /// Whether the kernel may add the prefix's connected route.
    pub connected_route: bool,
}

/// Why no interface or no prefix length could be chosen.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum ChoiceError {
    /// No candidate at all.
    #[error(
        "no route of the main table leads to {ip}, so no interface can be chosen: \
         name it, like {ip}/{}/eth0, or add the network's route", example_prefix(*.ip)
    )]
    NoRoute { ip: IpAddr },
    /// The default route won and has no netmask to lend.
    #[error(
        "only the default route leads to {ip}; cannot use the default route without a netmask: \
         write {ip}/{}", example_prefix(*.ip)
    )]
    DefaultRoute { ip: IpAddr },
    /// An interface was named, a prefix length was not, and no route of the interface can lend one.
    #[error(
        "no route through {interface} covers {ip}, so its netmask is unknown: \
         write {ip}/{}/{interface}", example_prefix(*.ip)
    )]
    NoRouteOnInterface { ip: IpAddr, interface: String },
    /// More bits than the address has.
    #[error("{ip}/{prefix}: a prefix length of {} has 1 to {} bits", family_name(*.ip), bits(*.ip))]
    PrefixOutOfRange { ip: IpAddr, prefix: u8 },
}

/// Chooses interface, prefix length and whether a connected route is added.
///
/// `routes`: as [`super::Netlink::routes`] lists them. `interface`: index of the interface that the
/// specification names; it is then used whatever the metrics say.
///
/// # Errors
/// See [`ChoiceError`]; each says what to write instead.
pub fn choose(
    spec: &AddressSpec,
    routes: &[Route],
    interface: Option<u32>,
) -> Result<Choice, ChoiceError> {
    let ip = spec.ip;
    if let Some(prefix) = spec.prefix.filter(|&prefix| prefix == 0 || prefix > bits(ip)) {
        return Err(ChoiceError::PrefixOutOfRange { ip, prefix });
    }
    let covering = |route: &&Route| covers(route.destination, route.prefix, ip);
    let candidates = routes.iter().filter(covering);
    let best = match interface {
        None => lowest_metric(candidates),
        Some(index) => lowest_metric(candidates.filter(|route| route.index == index)),
    };
    let index = interface.or(best.map(|route| route.index)).ok_or(ChoiceError::NoRoute { ip })?;
    let prefix = match (spec.prefix, best) {
        (Some(prefix), _) => prefix,
        (None, Some(route)) if route.prefix > 0 => route.prefix,
        (None, _) => {
            return Err(match &spec.interface {
                Some(name) => ChoiceError::NoRouteOnInterface { ip, interface: name.clone() },
                None => ChoiceError::DefaultRoute { ip },
            });
        }
    };
    let shortest = if ip.is_ipv4() { SHORTEST_CONNECTED_V4 } else { SHORTEST_CONNECTED_V6 };
    // A prefix shorter than that of the network in which the address lies would pull foreign
    // networks onto this wire.
    let connected_route = prefix >= shortest && best.is_none_or(|route| prefix >= route.prefix);
    Ok(Choice { index, prefix, connected_route })
}

/// Strictly the lowest metric; of equals the first.
fn lowest_metric<'a>(candidates: impl Iterator<Item = &'a Route>) -> Option<&'a Route> {
    candidates.reduce(|best, route| if route.metric < best.metric { route } else { best })
}

/// Whether `ip` lies in `network`/`prefix`.
#[must_use]
pub fn covers(network: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = mask_v4(prefix);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

/// The netmask of an IPv4 prefix length.
#[must_use]
pub fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(mask_v4(prefix))
}

/// The highest address of the subnet; `None` for /31 and /32, which have no broadcast address (RFC
/// 3021 §2.1).
#[must_use]
pub fn broadcast(ip: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    (prefix < 31).then(|| Ipv4Addr::from_bits(ip.to_bits() | !mask_v4(prefix)))
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn example_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 24 } else { 64 }
}

fn family_name(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(ip: &str, prefix: Option<u8>, interface: Option<&str>) -> AddressSpec {
        AddressSpec {
            ip: ip.parse().unwrap(),
            prefix,
            interface: interface.map(str::to_owned),
            label: None,
            broadcast: None,
        }
    }

    fn route(network: &str, metric: u32, index: u32) -> Route {
        let (destination, prefix) = network.split_once('/').unwrap();
        Route {
            destination: destination.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            metric,
            index,
        }
    }

    const fn choice(index: u32, prefix: u8, connected_route: bool) -> Choice {
        Choice { index, prefix, connected_route }
    }

    #[test]
    fn lowest_metric_wins_and_a_tie_goes_to_the_first() {
        let service = spec("192.168.85.3", None, None);
        let table = |rows: &[(&str, u32, u32)]| {
            let routes: Vec<Route> = rows.iter().map(|&(n, m, i)| route(n, m, i)).collect();
            choose(&service, &routes, None)
        };
        for (rows, want) in [
            (&[("192.168.85.0/24", 0, 2)][..], Ok(choice(2, 24, true))),
            (&[("192.168.85.0/24", 0, 2), ("0.0.0.0/0", 0, 3)], Ok(choice(2, 24, true))),
            (&[("192.168.85.0/24", 0, 2), ("192.168.85.0/24", 0, 3)], Ok(choice(2, 24, true))),
            (&[("192.168.85.0/24", 9, 2), ("192.168.85.0/24", 5, 3)], Ok(choice(3, 24, true))),
            // Metric before prefix length: so it was in 1999, and so the guide tells it.
            (&[("192.168.85.0/24", 9, 2), ("192.168.0.0/16", 5, 3)], Ok(choice(3, 16, true))),
            (&[("192.168.86.0/24", 0, 2), ("192.168.0.0/16", 5, 3)], Ok(choice(3, 16, true))),
        ] {
            assert_eq!(table(rows), want, "{rows:?}");
        }
        let ip = service.ip;
        assert_eq!(table(&[]), Err(ChoiceError::NoRoute { ip }));
        assert_eq!(table(&[("10.0.0.0/8", 0, 2)]), Err(ChoiceError::NoRoute { ip }));
        assert_eq!(table(&[("0.0.0.0/0", 0, 2)]), Err(ChoiceError::DefaultRoute { ip }));
        assert_eq!(
            table(&[("192.168.85.0/24", 100, 2), ("0.0.0.0/0", 0, 3)]),
            Err(ChoiceError::DefaultRoute { ip })
        );
    }

    #[test]
    fn a_written_prefix_or_interface_overrides() {
        let routes = [route("192.168.85.0/24", 0, 2), route("0.0.0.0/0", 0, 3)];
        let ip = "192.168.85.3";
        assert_eq!(choose(&spec(ip, Some(27), None), &routes, None), Ok(choice(2, 27, true)));
        assert_eq!(
            choose(&spec(ip, Some(24), None), &routes[1..], None),
            Ok(choice(3, 24, true)),
            "the default route will do when the netmask is written"
        );
        assert_eq!(
            choose(&spec(ip, Some(24), Some("eth9")), &routes, Some(9)),
            Ok(choice(9, 24, true)),
            "a named interface needs no route"
        );
        assert_eq!(
            choose(&spec(ip, None, Some("eth0")), &routes, Some(2)),
            Ok(choice(2, 24, true))
        );
        assert_eq!(
            choose(&spec(ip, None, Some("eth1")), &routes, Some(3)),
            Err(ChoiceError::NoRouteOnInterface {
                ip: ip.parse().unwrap(),
                interface: "eth1".to_owned()
            })
        );
    }

    #[test]
    fn a_prefix_that_is_too_short_gets_no_connected_route() {
        let routes = [route("192.168.85.0/24", 0, 2), route("0.0.0.0/0", 0, 3)];
        let ip = "192.168.85.3";
        assert_eq!(choose(&spec(ip, Some(5), None), &routes, None), Ok(choice(2, 5, false)));
        assert_eq!(choose(&spec(ip, Some(23), None), &routes, None), Ok(choice(2, 23, false)));
        assert_eq!(choose(&spec(ip, Some(5), None), &routes[1..], None), Ok(choice(3, 5, false)));
        assert_eq!(choose(&spec(ip, Some(5), Some("eth9")), &[], Some(9)), Ok(choice(9, 5, false)));
        for prefix in [0, 33] {
            let outcome = choose(&spec(ip, Some(prefix), None), &routes, None);
            assert!(matches!(outcome, Err(ChoiceError::PrefixOutOfRange { .. })), "{outcome:?}");
        }
    }

    #[test]
    fn ipv6_takes_the_route_s_prefix() {
        let routes = [
            route("fe80::/64", 256, 2),
            route("fd00:85::/64", 256, 2),
            route("::/0", 1024, 3),
            route("192.168.85.0/24", 0, 4),
        ];
        assert_eq!(choose(&spec("fd00:85::3", None, None), &routes, None), Ok(choice(2, 64, true)));
        assert_eq!(
            choose(&spec("fd00:85::3", Some(16), None), &routes, None),
            Ok(choice(2, 16, false))
        );
        let outside = choose(&spec("fd00:86::3", None, None), &routes, None).unwrap_err();
        assert!(outside.to_string().ends_with("write fd00:86::3/64"), "{outside}");
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = choose(&spec("192.168.85.3", None, None), &[route("0.0.0.0/0", 0, 2)], None);
        assert_eq!(
            error.unwrap_err().to_string(),
            "only the default route leads to 192.168.85.3; cannot use the default route without a netmask: \
             write 192.168.85.3/24"
        );
        let error = choose(&spec("192.168.85.3", Some(24), None), &[], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no route of the main table leads to 192.168.85.3, so no interface can be chosen: \
             name it, like 192.168.85.3/24/eth0, or add the network's route"
        );
        let error = choose(&spec("192.168.85.3", Some(33), None), &[], None).unwrap_err();
        assert_eq!(error.to_string(), "192.168.85.3/33: a prefix length of IPv4 has 1 to 32 bits");
    }

    #[test]
    fn masks_and_broadcasts_of_the_guide() {
        let ip = Ipv4Addr::new(192, 168, 85, 3);
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(27), Ipv4Addr::new(255, 255, 255, 224));
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(broadcast(ip, 27), Some(Ipv4Addr::new(192, 168, 85, 31)));
        assert_eq!(broadcast(ip, 24), Some(Ipv4Addr::new(192, 168, 85, 255)));
        assert_eq!(broadcast(ip, 5), Some(Ipv4Addr::new(199, 255, 255, 255)));
        assert_eq!(broadcast(ip, 31), None);
    }
}
