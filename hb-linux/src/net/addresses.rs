//! Service addresses on this machine's interfaces: taken, given up, looked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use rustix::io::Errno;
use thiserror::Error;

use super::INTERFACE_NAME_MAX;
use super::messages::Request;
use super::netlink::{Netlink, errno_is};
use super::route::{self, ChoiceError};
use super::tables::{Address, Link, family};
use crate::config::AddressSpec;

/// An address that this machine has, and all that announcing and deleting it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The service address.
    pub ip: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// Index of its interface.
    pub index: u32,
    /// Name of its interface.
    pub interface: String,
    /// IPv4 alias, like `eth0:0`; `None` for IPv6 and where the interface's name leaves no room.
    pub label: Option<String>,
    /// IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether its prefix has a connected route.
    pub connected_route: bool,
    /// Ethernet address of its interface; `None` when it has none, and then nothing can be
    /// announced.
    pub mac: Option<[u8; 6]>,
}

impl Held {
    /// The alias, or the interface's name where there is no alias.
    #[must_use]
    pub fn label_or_interface(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.interface)
    }

    fn same_subnet(&self, other: &Self) -> bool {
        self.index == other.index
            && self.prefix == other.prefix
            && route::covers(self.ip, self.prefix, other.ip)
    }
}

/// Why an address could not be taken, given up or looked for.
#[derive(Error, Debug)]
pub enum AddressError {
    /// The routing table doesn't tell where it belongs.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The named interface doesn't exist.
    #[error("{ip}: there is no interface {interface}: {}", known_interfaces(.known))]
    NoInterface { ip: IpAddr, interface: String, known: Vec<String> },
    /// The interface is administratively down.
    #[error("{ip}: interface {interface} is down: bring it up with `ip link set {interface} up`")]
    InterfaceDown { ip: IpAddr, interface: String },
    /// The written label doesn't fit.
    #[error(
        "{ip}: label {label} has {} bytes, at most {INTERFACE_NAME_MAX} fit: \
         write a shorter one, or none", .label.len()
    )]
    LabelTooLong { ip: IpAddr, label: String },
    /// The process may not.
    #[error("{doing}: not permitted: this needs root or CAP_NET_ADMIN")]
    NotPermitted { doing: String },
    /// The kernel refused or failed.
    #[error("{doing}: {source}")]
    Kernel { doing: String, source: io::Error },
}

impl AddressError {
    fn kernel(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| {
            if errno_is(&source, Errno::PERM) {
                Self::NotPermitted { doing }
            } else {
                Self::Kernel { doing, source }
            }
        }
    }
}

fn known_interfaces(known: &[String]) -> String {
    if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    }
}

/// The service addresses of this machine. Holds one netlink socket, opened once.
///
/// Releasing never touches what isn't the given address, with one exception that puts back: IPv4
/// addresses that the kernel deletes along with the first of their subnet ("secondary" ones, unless
/// the sysctl `promote_secondaries` is set) are added again.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
    held: Vec<Held>,
}

impl Addresses {
    /// Opens the netlink socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, held: Vec::new() })
    }

    /// What was acquired here and not given up since.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Puts the address on the interface that the specification or the routing table names. An
    /// address that this machine has already is left as it is, on whatever interface, and counts as
    /// acquired.
    ///
    /// # Errors
    /// See [`AddressError`]. Nothing was changed then, unless the kernel's answer was lost
    /// ([`AddressError::Kernel`]): who fails to acquire releases.
    pub fn acquire(&mut self, spec: &AddressSpec) -> Result<Held, AddressError> {
        let ip = spec.ip;
        let present = self.present()?;
        let held = match present.iter().find(|address| address.ip == ip) {
            Some(address) => self.describe(address)?,
            None => self.add(spec, &present)?,
        };
        if let Some(wanted) = spec.interface.as_ref().filter(|wanted| **wanted != held.interface) {
            tracing::warn!("{ip} is already on {}, not on {wanted}: left there", held.interface);
        }
        self.held.retain(|other| other.ip != ip);
        self.held.push(held.clone());
        Ok(held)
    }

    /// What [`Addresses::acquire`] would answer now; changes nothing.
    ///
    /// # Errors
    /// What it would refuse for; whether the kernel permits the change shows only when it is made.
    pub fn plan(&mut self, spec: &AddressSpec) -> Result<Held, AddressError> {
        let present = self.present()?;
        match present.iter().find(|address| address.ip == spec.ip) {
            Some(address) => self.describe(address),
            None => self.place(spec, &present),
        }
    }

    /// Deletes the address from whatever interface has it; `false` when none had it.
    ///
    /// # Errors
    /// The address may still be there.
    pub fn release(&mut self, ip: IpAddr) -> Result<bool, AddressError> {
        let present = self.present()?;
        let mut was_there = false;
        for address in present.iter().filter(|address| address.ip == ip) {
            was_there = true;
            let request = delete_request(address.ip, address.prefix, address.index);
            match self.netlink.change(request, 0) {
                Err(error) if !is_gone(&error) => {
                    return Err(AddressError::kernel(format!("deleting {ip}"))(error));
                }
                _ => {}
            }
            self.restore_secondaries(address, &present);
        }
        self.held.retain(|held| held.ip != ip);
        Ok(was_there)
    }

    /// Whether any interface has the address.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn is_held(&mut self, ip: IpAddr) -> Result<bool, AddressError> {
        Ok(self.present()?.iter().any(|address| address.ip == ip))
    }

    /// The address as it stands on whatever interface has it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn find(&mut self, ip: IpAddr) -> Result<Option<Held>, AddressError> {
        let present = self.present()?;
        present
            .iter()
            .find(|address| address.ip == ip)
            .map(|found| self.describe(found))
            .transpose()
    }

    /// Deletes addresses as fast as can be, for the moment in which the authority to have them is
    /// lost (protocol.md R10): one system call each and nothing else before all are gone. Answers
    /// those that are still there, with the reason; empty is success.
    ///
    /// Other addresses of [`Addresses::held`] that the kernel deletes along with the first of their
    /// subnet are put back afterwards; addresses that others added to such a subnet are not
    /// ([`Addresses::release`] does that).
    pub fn drop_addresses(&mut self, doomed: &[Held]) -> Vec<(IpAddr, io::Error)> {
        let mut failed = Vec::new();
        let mut posted = Vec::with_capacity(doomed.len());
        for held in doomed {
            match self.netlink.post(delete_request(held.ip, held.prefix, held.index), 0) {
                Ok(sequence) => posted.push((sequence, held.ip)),
                Err(error) => failed.push((held.ip, error)),
            }
        }
        match self.netlink.refusals(posted.len()) {
            Ok(refusals) => {
                for (sequence, error) in refusals.into_iter().filter(|(_, error)| !is_gone(error)) {
                    let refused = posted.iter().find(|(number, _)| *number == sequence);
                    failed.extend(refused.map(|&(_, ip)| (ip, error)));
                }
            }
            // Any of them may have been refused: none counts as gone.
            Err(error) => {
                let unsure = || io::Error::new(error.kind(), error.to_string());
                failed.extend(posted.iter().map(|&(_, ip)| (ip, unsure())));
            }
        }
        let still_there = |ip| failed.iter().any(|(failed, _)| *failed == ip);
        self.held.retain(|held| {
            still_there(held.ip) || !doomed.iter().any(|doomed| doomed.ip == held.ip)
        });
        for held in &self.held {
            if held.ip.is_ipv4() && doomed.iter().any(|doomed| doomed.same_subnet(held)) {
                let put_back = self.netlink.change(add_request(held), NLM_F_CREATE | NLM_F_EXCL);
                report_restored(held.ip, put_back);
            }
        }
        failed
    }

    fn present(&mut self) -> Result<Vec<Address>, AddressError> {
        self.netlink.addresses().map_err(AddressError::kernel("listing addresses"))
    }

    fn describe(&mut self, address: &Address) -> Result<Held, AddressError> {
        let link = self.link_of(address.ip, address.index)?;
        Ok(Held {
            ip: address.ip,
            prefix: address.prefix,
            index: address.index,
            label: address.label.clone().filter(|label| *label != link.name),
            interface: link.name,
            broadcast: address.broadcast,
            connected_route: address.connected_route,
            mac: link.mac,
        })
    }

    fn add(&mut self, spec: &AddressSpec, present: &[Address]) -> Result<Held, AddressError> {
        let held = self.place(spec, present)?;
        match self.netlink.change(add_request(&held), NLM_F_CREATE | NLM_F_EXCL) {
            // Someone was faster by a hair; it is there, and that was asked for.
            Err(error) if !errno_is(&error, Errno::EXIST) => {
                let doing = format!("adding {}/{} to {}", held.ip, held.prefix, held.interface);
                Err(AddressError::kernel(doing)(error))
            }
            _ => Ok(held),
        }
    }

    fn place(&mut self, spec: &AddressSpec, present: &[Address]) -> Result<Held, AddressError> {
        let ip = spec.ip;
        let named = match &spec.interface {
            Some(name) => Some(self.link_named(ip, name)?),
            None => None,
        };
        let routes = self
            .netlink
            .routes(ip)
            .map_err(AddressError::kernel(format!("choosing the interface for {ip}")))?;
        let choice = route::choose(spec, &routes, named.as_ref().map(|link| link.index))?;
        let link = match named {
            Some(link) => link,
            None => self.link_of(ip, choice.index)?,
        };
        if !link.up {
            return Err(AddressError::InterfaceDown { ip, interface: link.name });
        }
        Ok(Held {
            ip,
            prefix: choice.prefix,
            index: link.index,
            label: label_for(spec, &link, present)?,
            interface: link.name,
            broadcast: match ip {
                IpAddr::V4(ip) => spec.broadcast.or_else(|| route::broadcast(ip, choice.prefix)),
                IpAddr::V6(_) => None,
            },
            connected_route: choice.connected_route,
            mac: link.mac,
        })
    }

    fn link_named(&mut self, ip: IpAddr, name: &str) -> Result<Link, AddressError> {
        let doing = || format!("looking for interface {name}");
        if let Some(link) = self.netlink.link_named(name).map_err(AddressError::kernel(doing()))? {
            return Ok(link);
        }
        let links = self.netlink.links().map_err(AddressError::kernel(doing()))?;
        let known = links.into_iter().map(|link| link.name).collect();
        Err(AddressError::NoInterface { ip, interface: name.to_owned(), known })
    }

    fn link_of(&mut self, ip: IpAddr, index: u32) -> Result<Link, AddressError> {
        let doing = format!("looking for the interface of {ip}");
        self.netlink
            .link(index)
            .and_then(|link| link.ok_or_else(|| Errno::NODEV.into()))
            .map_err(AddressError::kernel(doing))
    }

    /// Puts back what the kernel deleted along with `first`, unchanged.
    fn restore_secondaries(&mut self, first: &Address, before: &[Address]) {
        if first.secondary || first.ip.is_ipv6() {
            return;
        }
        for other in before.iter().filter(|other| {
            other.secondary
                && other.index == first.index
                && other.prefix == first.prefix
                && route::covers(first.ip, first.prefix, other.ip)
        }) {
            let mut message = other.message.clone();
            message.header.flags.remove(AddressHeaderFlags::Secondary);
            for attribute in &mut message.attributes {
                if let AddressAttribute::Flags(flags) = attribute {
                    flags.remove(AddressFlags::Secondary);
                }
            }
            let request = Request::NewAddress(message);
            report_restored(other.ip, self.netlink.change(request, NLM_F_CREATE | NLM_F_EXCL));
        }
    }
}

fn report_restored(ip: IpAddr, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => tracing::info!("put back {ip}, which the kernel deleted with its subnet's first"),
        // It never went: promote_secondaries is set.
        Err(error) if errno_is(&error, Errno::EXIST) => {}
        Err(error) => tracing::error!("{ip} went with its subnet's first address: {error}"),
    }
}

/// Deleting says that it isn't there any more, or that its interface isn't.
fn is_gone(error: &io::Error) -> bool {
    errno_is(error, Errno::ADDRNOTAVAIL) || errno_is(error, Errno::NODEV)
}

/// The IPv4 alias: the written one, else the first free `IF:N`.
fn label_for(
    spec: &AddressSpec,
    link: &Link,
    present: &[Address],
) -> Result<Option<String>, AddressError> {
    if spec.ip.is_ipv6() {
        return Ok(None);
    }
    if let Some(written) = &spec.label {
        let label = format!("{}:{written}", link.name);
        if label.len() > INTERFACE_NAME_MAX {
            return Err(AddressError::LabelTooLong { ip: spec.ip, label });
        }
        return Ok(Some(label));
    }
    let taken = |label: &str| {
        present
            .iter()
            .any(|other| other.index == link.index && other.label.as_deref() == Some(label))
    };
    // One more number than there are addresses: one of them is free.
    let free =
        (0..=present.len()).map(|n| format!("{}:{n}", link.name)).find(|label| !taken(label));
    let label = free.filter(|label| label.len() <= INTERFACE_NAME_MAX);
    if label.is_none() {
        tracing::info!(
            "{}: no alias on {}: interface and number exceed {INTERFACE_NAME_MAX} bytes",
            spec.ip,
            link.name
        );
    }
    Ok(label)
}

fn add_request(held: &Held) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(held.ip);
    message.header.prefix_len = held.prefix;
    message.header.index = held.index;
    message.header.scope = AddressScope::Universe;
    let mut flags = AddressFlags::empty();
    if !held.connected_route {
        flags |= AddressFlags::Noprefixroute;
    }
    if held.ip.is_ipv6() {
        // Duplicate address detection (RFC 4862 §5.4) keeps an address mute for a second or more:
        // longer than a takeover.
        flags |= AddressFlags::Nodad;
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    message.attributes.extend([
        AddressAttribute::Local(held.ip),
        AddressAttribute::Address(held.ip),
        AddressAttribute::Flags(flags),
    ]);
    message.attributes.extend(held.broadcast.map(AddressAttribute::Broadcast));
    message.attributes.extend(held.label.clone().map(AddressAttribute::Label));
    Request::NewAddress(message)
}

fn delete_request(ip: IpAddr, prefix: u8, index: u32) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(ip);
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(ip));
    Request::DelAddress(message)
}
