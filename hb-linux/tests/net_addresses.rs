//! Service addresses on real kernel interfaces, in network namespaces of the tests' own.

#[path = "net_support/mod.rs"]
mod net_support;

use hb_linux::net::{AddressError, Addresses, interfaces, route::ChoiceError};
use net_support::{Lan, in_namespace, ip, spec};
use rustix::thread::CapabilitySet;

/// The guide's public network: eth0 with 192.168.85.1/24; eth1 is another LAN.
fn guide_lan() -> Lan {
    let mut lan = Lan::new();
    lan.veth("eth0", "peer0");
    lan.veth("eth1", "peer1");
    lan.address("eth0", "192.168.85.1/24");
    lan.address("eth1", "10.0.0.1/24");
    lan
}

#[test]
fn the_guide_s_address_gets_the_first_alias_netmask_and_broadcast() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let planned = addresses.plan(&spec("192.168.85.3")).unwrap();
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0"], "a plan changes nothing");
        let held = addresses.acquire(&spec("192.168.85.3")).unwrap();
        assert_eq!(held, planned);
        assert_eq!((held.interface.as_str(), held.prefix), ("eth0", 24));
        assert_eq!(held.label.as_deref(), Some("eth0:0"));
        assert_eq!(held.broadcast.map(Into::into), Some(ip("192.168.85.255")));
        assert_eq!(held.index, lan.index("eth0"));
        assert_eq!(held.mac, lan.netlink.link_named("eth0").unwrap().unwrap().mac);
        assert!(held.mac.is_some());
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0", "192.168.85.3/24 eth0:0"]);
        assert_eq!(lan.routes("eth0", "0.0.0.0"), ["192.168.85.0/24"]);

        assert!(addresses.release(ip("192.168.85.3")).unwrap());
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0"]);
    });
}

#[test]
fn labels_take_the_first_free_number() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let mut label = |text: &str| addresses.acquire(&spec(text)).unwrap().label;
        assert_eq!(label("192.168.85.3").as_deref(), Some("eth0:0"));
        assert_eq!(label("192.168.85.4").as_deref(), Some("eth0:1"));
        assert_eq!(label("192.168.85.5/24@eth0:web").as_deref(), Some("eth0:web"));
        assert_eq!(label("10.0.0.3").as_deref(), Some("eth1:0"), "each interface counts its own");
        for last in 6..16 {
            let n = last - 4;
            assert_eq!(label(&format!("192.168.85.{last}")), Some(format!("eth0:{n}")));
        }
        addresses.release(ip("192.168.85.4")).unwrap();
        let held = addresses.acquire(&spec("192.168.85.40")).unwrap();
        assert_eq!(held.label.as_deref(), Some("eth0:1"), "a gap is filled");

        let error = addresses.acquire(&spec("192.168.85.50/24@eth0:twelve-bytes")).unwrap_err();
        assert!(matches!(error, AddressError::LabelTooLong { .. }), "{error}");
        lan.veth("fifteen-letters", "peer2");
        let held = addresses.acquire(&spec("172.16.0.3/24@fifteen-letters")).unwrap();
        assert_eq!(held.label, None, "no room for an alias: none, rather than a failed takeover");
        assert_eq!(held.label_or_interface(), "fifteen-letters");
    });
}

#[test]
fn both_ways_idempotent() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let service = ip("192.168.85.3");
        assert!(!addresses.is_held(service).unwrap());
        assert!(!addresses.release(service).unwrap());
        let first = addresses.acquire(&spec("192.168.85.3")).unwrap();
        let again = addresses.acquire(&spec("192.168.85.3")).unwrap();
        assert_eq!(first, again);
        let elsewhere = Addresses::open().unwrap().acquire(&spec("192.168.85.3")).unwrap();
        assert_eq!(first, elsewhere, "another process sees it too");
        assert_eq!(addresses.held(), [first]);
        assert_eq!(lan.addresses("eth0").len(), 2);
        assert!(addresses.is_held(service).unwrap());
        assert!(addresses.release(service).unwrap());
        assert!(!addresses.release(service).unwrap());
        assert!(!addresses.is_held(service).unwrap());
        assert!(addresses.held().is_empty());
    });
}

#[test]
fn release_finds_the_address_on_any_interface() {
    in_namespace(|| {
        let mut lan = guide_lan();
        lan.address("eth1", "192.168.85.3/32");
        let mut addresses = Addresses::open().unwrap();
        let held = addresses.acquire(&spec("192.168.85.3")).unwrap();
        assert_eq!((held.interface.as_str(), held.prefix), ("eth1", 32), "left where it is");
        lan.address("eth0", "192.168.85.3/24");
        assert!(addresses.release(ip("192.168.85.3")).unwrap());
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0"]);
        assert_eq!(lan.addresses("eth1"), ["10.0.0.1/24 eth1"]);
    });
}

#[test]
fn the_kernel_s_routes_choose_the_interface() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let mut lands_on = |text: &str| -> Result<(String, u8), ChoiceError> {
            match addresses.acquire(&spec(text)) {
                Ok(held) => {
                    addresses.release(held.ip).unwrap();
                    Ok((held.interface, held.prefix))
                }
                Err(AddressError::Choice(error)) => Err(error),
                Err(other) => panic!("{other}"),
            }
        };
        let on = |name: &str, prefix| Ok((name.to_owned(), prefix));
        let foreign = ip("172.16.0.3");
        assert_eq!(lands_on("172.16.0.3"), Err(ChoiceError::NoRoute { ip: foreign }));
        assert_eq!(lands_on("172.16.0.3/24"), Err(ChoiceError::NoRoute { ip: foreign }));

        // Same metric as the connected route, and today's kernels list it first.
        lan.route("default", "eth1", 0);
        assert_eq!(lands_on("192.168.85.3"), on("eth0", 24));
        assert_eq!(lands_on("192.168.85.3/27"), on("eth0", 27));
        assert_eq!(lands_on("172.16.0.3"), Err(ChoiceError::DefaultRoute { ip: foreign }));
        assert_eq!(lands_on("172.16.0.3/24"), on("eth1", 24));
        assert_eq!(lands_on("172.16.0.3/24@eth0"), on("eth0", 24), "named: no scan");

        lan.route("172.16.0.0/12", "eth0", 50);
        assert_eq!(
            lands_on("172.16.0.3"),
            Err(ChoiceError::DefaultRoute { ip: foreign }),
            "metric 0 beats metric 50, however short the prefix"
        );
        lan.route("172.16.0.0/16", "eth1", 0);
        assert_eq!(lands_on("172.16.0.3"), on("eth1", 16));
        assert_eq!(lands_on("172.16.0.3/24@eth0"), on("eth0", 24));
    });
}

#[test]
fn a_smaller_subnet_is_added_as_written_and_a_giant_one_without_its_route() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let held = addresses.acquire(&spec("192.168.85.3/27")).unwrap();
        assert_eq!(held.broadcast.map(Into::into), Some(ip("192.168.85.31")));
        assert_eq!(lan.routes("eth0", "0.0.0.0"), ["192.168.85.0/27", "192.168.85.0/24"]);
        addresses.release(held.ip).unwrap();

        let mut giant = spec("192.168.85.3/5");
        giant.broadcast = Some("192.168.85.16".parse().unwrap());
        let held = addresses.acquire(&giant).unwrap();
        assert_eq!((held.prefix, held.connected_route), (5, false));
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0", "192.168.85.3/5 eth0:0"]);
        assert_eq!(lan.routes("eth0", "0.0.0.0"), ["192.168.85.0/24"], "no 192.0.0.0/5");
        let all = lan.netlink.addresses().unwrap();
        let service = all.iter().find(|address| address.ip == held.ip).unwrap();
        assert_eq!(service.broadcast.map(Into::into), Some(ip("192.168.85.16")));
        assert!(addresses.release(held.ip).unwrap());
    });
}

#[test]
fn errors_name_the_remedy() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let error = addresses.acquire(&spec("192.168.85.3/24@eth7")).unwrap_err().to_string();
        let start = "192.168.85.3: there is no interface eth7: there are lo, ";
        assert!(error.starts_with(start) && error.contains("eth0"), "{error}");
        lan.down("eth1");
        let error = addresses.acquire(&spec("10.0.0.3/24@eth1")).unwrap_err().to_string();
        let remedy = "interface eth1 is down: bring it up with `ip link set eth1 up`";
        assert!(error.ends_with(remedy), "{error}");
        assert!(addresses.held().is_empty());
    });
}

#[test]
fn ipv6_answers_at_once_and_takes_the_route_s_prefix() {
    in_namespace(|| {
        let mut lan = guide_lan();
        lan.address("eth0", "fd00:85::1/64");
        lan.route("default6", "eth1", 0);
        let mut addresses = Addresses::open().unwrap();
        let held = addresses.acquire(&spec("fd00:85::3")).unwrap();
        assert_eq!((held.interface.as_str(), held.prefix), ("eth0", 64));
        assert_eq!((&held.label, held.broadcast), (&None, None));
        // A tentative address can't be bound (EADDRNOTAVAIL): this one must be usable in the same
        // instant.
        std::net::UdpSocket::bind((held.ip, 0)).unwrap();
        assert_eq!(addresses.acquire(&spec("fd00:85::3")).unwrap(), held);
        assert!(addresses.release(held.ip).unwrap());
        assert!(!addresses.is_held(held.ip).unwrap());

        let short = addresses.acquire(&spec("fd00:85::3/16")).unwrap();
        assert!(!short.connected_route);
        assert!(!lan.routes("eth0", "::").contains(&"fd00::/16".to_owned()));
        assert!(addresses.drop_addresses(&[short]).is_empty());
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0", "fd00:85::1/64 -"]);
        let error = addresses.acquire(&spec("fd00:86::3")).unwrap_err().to_string();
        assert!(error.ends_with("write fd00:86::3/64"), "{error}");
    });
}

#[test]
fn dropping_takes_all_at_once_and_reports_what_stays() {
    in_namespace(|| {
        let mut lan = guide_lan();
        lan.address("eth0", "fd00:85::1/64");
        let mut addresses = Addresses::open().unwrap();
        let wanted = ["192.168.85.3", "192.168.85.4", "fd00:85::3", "10.0.0.3"];
        let doomed: Vec<_> =
            wanted.iter().map(|text| addresses.acquire(&spec(text)).unwrap()).collect();
        // Gone already, by another hand: as good as dropped.
        Addresses::open().unwrap().release(ip("192.168.85.4")).unwrap();
        assert!(addresses.drop_addresses(&doomed[..3]).is_empty());
        assert_eq!(lan.addresses("eth0"), ["192.168.85.1/24 eth0", "fd00:85::1/64 -"]);
        assert_eq!(addresses.held(), &doomed[3..]);
        assert!(addresses.is_held(ip("10.0.0.3")).unwrap());
        assert!(addresses.drop_addresses(&doomed).is_empty(), "twice is fine");
        assert!(addresses.held().is_empty());
    });
}

#[test]
fn what_the_kernel_refuses_to_drop_is_reported_and_stays_held() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        let wanted = ["192.168.85.3", "10.0.0.3"];
        let doomed: Vec<_> =
            wanted.iter().map(|text| addresses.acquire(&spec(text)).unwrap()).collect();
        let mut rights = rustix::thread::capabilities(None).unwrap();
        rights.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, rights).unwrap();

        let failed = addresses.drop_addresses(&doomed);
        let why: Vec<_> = failed.iter().map(|(ip, error)| (*ip, error.raw_os_error())).collect();
        let refused = Some(rustix::io::Errno::PERM.raw_os_error());
        assert_eq!(why, wanted.map(|text| (ip(text), refused)));
        assert_eq!(addresses.held(), doomed);
        assert!(addresses.is_held(ip("10.0.0.3")).unwrap());
        assert_eq!(lan.addresses("eth1"), ["10.0.0.1/24 eth1", "10.0.0.3/24 eth1:0"]);
        let error = addresses.release(ip("10.0.0.3")).unwrap_err().to_string();
        assert_eq!(error, "deleting 10.0.0.3: not permitted: this needs root or CAP_NET_ADMIN");
        let error = addresses.acquire(&spec("10.0.0.4")).unwrap_err();
        assert!(matches!(error, AddressError::NotPermitted { .. }), "{error}");
    });
}

/// One read takes some hundred entries.
#[test]
fn tables_longer_than_one_read_are_read_to_their_end() {
    in_namespace(|| {
        let mut lan = guide_lan();
        for n in 0..600 {
            lan.address("eth1", &format!("10.1.{}.{}/32", n / 200, n % 200 + 1));
            lan.route(&format!("172.16.{}.{}/32", n / 200, n % 200 + 1), "eth1", 7);
        }
        let mut addresses = Addresses::open().unwrap();
        assert_eq!(lan.addresses("eth1").len(), 601);
        assert!(addresses.is_held(ip("10.1.2.200")).unwrap());
        assert_eq!(lan.routes("eth1", "0.0.0.0").len(), 601);
        assert_eq!(addresses.acquire(&spec("172.16.2.200")).unwrap().prefix, 32);
        assert_eq!(addresses.acquire(&spec("192.168.85.3")).unwrap().interface, "eth0");
    });
}

/// Without promote_secondaries the kernel deletes a subnet's other addresses together with its
/// first.
#[test]
fn giving_up_one_address_keeps_its_neighbours() {
    in_namespace(|| {
        let mut lan = guide_lan();
        let mut addresses = Addresses::open().unwrap();
        // In 192.168.85.0/27 the first service address is the first of all.
        let first = addresses.acquire(&spec("192.168.85.3/27")).unwrap();
        let second = addresses.acquire(&spec("192.168.85.4/27")).unwrap();
        assert!(addresses.release(first.ip).unwrap());
        let stays = ["192.168.85.1/24 eth0", "192.168.85.4/27 eth0:1"];
        assert_eq!(lan.addresses("eth0"), stays, "after release");

        let first = addresses.acquire(&spec("192.168.85.3/27")).unwrap();
        assert!(addresses.drop_addresses(&[second]).is_empty());
        let stays = ["192.168.85.1/24 eth0", "192.168.85.3/27 eth0:0"];
        assert_eq!(lan.addresses("eth0"), stays, "after a drop");
        assert_eq!(addresses.held(), [first]);
    });
}

#[test]
fn interfaces_tell_state_mac_and_addresses() {
    in_namespace(|| {
        let mut lan = guide_lan();
        lan.address("eth0", "fd00:85::1/64");
        lan.down("peer1");
        let found = interfaces().unwrap();
        let named = |name: &str| found.iter().find(|found| found.name == name).unwrap();
        assert!(named("eth0").up && named("eth0").running);
        assert!(named("eth1").up && !named("eth1").running, "no carrier: the far end is down");
        assert!(!named("peer1").up);
        assert_eq!(named("lo").mac, None);
        assert!(named("eth0").mac.is_some());
        assert!(named("eth0").addresses.contains(&(ip("192.168.85.1"), 24)));
        assert!(named("eth0").addresses.contains(&(ip("fd00:85::1"), 64)));
        assert_eq!(named("lo").addresses[0], (ip("127.0.0.1"), 8));
    });
}
