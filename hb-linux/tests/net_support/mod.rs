//! Network namespaces of a test's own, and what to put into them.
// Each test binary compiles its own copy and uses its own part.
#![allow(dead_code)]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use hb_linux::config::AddressSpec;
use hb_linux::net::Netlink;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Set in the copy of the test binary that runs inside a user namespace.
const INSIDE: &str = "HB_NET_TEST_INSIDE";

/// Runs `body`, a test's own closure, on a thread with a network namespace of its own. Without
/// root, inside a user namespace as well; where the system forbids that too, says so and skips.
pub fn in_namespace<F: FnOnce() + Send + 'static>(body: F) {
    // "net_addresses::both_ways::{{closure}}" is test "both_ways".
    let test = std::any::type_name::<F>().split("::").nth(1).unwrap();
    let outcome = thread::spawn(move || {
        // SAFETY: a network namespace says nothing about file descriptors, which alone make unshare
        // unsafe.
        let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
        own.map(|()| body())
    })
    .join();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(Errno::PERM)) if std::env::var_os(INSIDE).is_none() => in_user_namespace(test),
        Ok(Err(error)) => panic!("no network namespace: {error}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs this one test again as root of a user namespace, through unshare(1): a user namespace can
/// be made by a process with one thread only, and a test binary has several.
fn in_user_namespace(test: &str) {
    match Command::new("unshare").args(["-Urn", "true"]).output() {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => {
            let why = String::from_utf8_lossy(&probe.stderr);
            eprintln!("SKIPPED {test}: user namespaces are forbidden here: {}", why.trim());
            return;
        }
        Err(error) => {
            eprintln!("SKIPPED {test}: not root, and unshare(1) can't be run: {error}");
            return;
        }
    }
    let inside = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    // A name that matches no test would be a success, too.
    assert!(inside.status.success() && said.contains("1 passed"), "in its user namespace: {said}");
}

/// Reads `IP[/PREFIX][@INTERFACE[:LABEL]]`, which is not the product's form: its parser has tests
/// of its own.
pub fn spec(text: &str) -> AddressSpec {
    let (address, place) = text.split_once('@').map_or((text, None), |(a, p)| (a, Some(p)));
    let (ip, prefix) = address.split_once('/').map_or((address, None), |(i, p)| (i, Some(p)));
    let is_v6 = ip.contains(':');
    let (interface, label) = match place.map(|place| place.split_once(':').ok_or(place)) {
        None => (None, None),
        Some(Err(interface)) => (Some(interface), None),
        Some(Ok((interface, label))) => (Some(interface), Some(label)),
    };
    assert!(!(is_v6 && label.is_some()));
    AddressSpec {
        ip: ip.parse().unwrap(),
        prefix: prefix.map(|prefix| prefix.parse().unwrap()),
        interface: interface.map(str::to_owned),
        label: label.map(str::to_owned),
        broadcast: None,
    }
}

/// Shorthand.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The administrator of the namespace: makes links, addresses and routes.
pub struct Lan {
    pub netlink: Netlink,
}

impl Lan {
    /// The loopback is up, nothing else is there.
    pub fn new() -> Self {
        let mut lan = Self { netlink: Netlink::open().unwrap() };
        lan.up("lo");
        lan
    }

    /// A cable with both ends in this namespace, both up.
    pub fn veth(&mut self, one: &str, other: &str) {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(other.to_owned()));
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(one.to_owned()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(link)).unwrap();
        self.up(one);
        self.up(other);
    }

    /// A cable from `name` here to the same name in the namespace that `far` is open on.
    pub fn cable(&mut self, name: &str, far: &File) {
        let mut peer = LinkMessage::default();
        peer.attributes =
            vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::NetNsFd(far.as_raw_fd())];
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(link)).unwrap();
    }

    pub fn up(&mut self, name: &str) {
        self.set_up(name, true);
    }

    pub fn down(&mut self, name: &str) {
        self.set_up(name, false);
    }

    fn set_up(&mut self, name: &str, up: bool) {
        let mut link = LinkMessage::default();
        link.header.index = self.index(name);
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        link.header.change_mask = LinkFlags::Up;
        self.netlink.change(RouteNetlinkMessage::SetLink(link), 0).unwrap();
    }

    pub fn index(&mut self, name: &str) -> u32 {
        self.netlink.link_named(name).unwrap().unwrap().index
    }

    /// An address of the administrator's own, as `192.168.85.1/24`.
    pub fn address(&mut self, name: &str, address: &str) {
        let (ip, prefix) = split(address);
        let mut message = AddressMessage::default();
        message.header.family = family(ip);
        message.header.prefix_len = prefix;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = self.index(name);
        message.attributes.extend([
            AddressAttribute::Local(ip),
            AddressAttribute::Address(ip),
            AddressAttribute::Flags(AddressFlags::Nodad),
        ]);
        self.create(RouteNetlinkMessage::NewAddress(message)).unwrap();
    }

    /// A route through an interface, as `default` or `10.0.0.0/8`; `metric` 0 is the family's
    /// default.
    pub fn route(&mut self, destination: &str, name: &str, metric: u32) {
        let (ip, prefix) = match destination {
            "default" => (Ipv4Addr::UNSPECIFIED.into(), 0),
            "default6" => (Ipv6Addr::UNSPECIFIED.into(), 0),
            written => split(written),
        };
        let mut message = RouteMessage::default();
        message.header.address_family = family(ip);
        message.header.destination_prefix_length = prefix;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Link;
        message.header.kind = RouteType::Unicast;
        if prefix > 0 {
            message.attributes.push(RouteAttribute::Destination(RouteAddress::from(ip)));
        }
        message.attributes.push(RouteAttribute::Oif(self.index(name)));
        if metric > 0 {
            message.attributes.push(RouteAttribute::Priority(metric));
        }
        self.create(RouteNetlinkMessage::NewRoute(message)).unwrap();
    }

    /// The main table's routes through an interface, as `192.168.85.0/24`.
    pub fn routes(&mut self, name: &str, of_family: &str) -> Vec<String> {
        let index = self.index(name);
        let routes = self.netlink.routes(ip(of_family)).unwrap();
        let here = routes.iter().filter(|route| route.index == index);
        here.map(|route| format!("{}/{}", route.destination, route.prefix)).collect()
    }

    /// The addresses of an interface, as `192.168.85.3/24 eth0:0`, without IPv6's own link-local
    /// ones.
    pub fn addresses(&mut self, name: &str) -> Vec<String> {
        let index = self.index(name);
        let all = self.netlink.addresses().unwrap();
        let here = all.iter().filter(|address| address.index == index);
        here.filter(|address| !address.ip.to_string().starts_with("fe80"))
            .map(|address| {
                let label = address.label.as_deref().unwrap_or("-");
                format!("{}/{} {label}", address.ip, address.prefix)
            })
            .collect()
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.netlink.change(message, NLM_F_CREATE | NLM_F_EXCL)
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn split(address: &str) -> (IpAddr, u8) {
    let (ip, prefix) = address.split_once('/').unwrap();
    (ip.parse().unwrap(), prefix.parse().unwrap())
}
