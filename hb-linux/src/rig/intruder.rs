//! Somebody else on a network of the rig: another port of the same switch, another machine's address.
//!
//! What it can do is what any stranger on the same Ethernet can: hear every broadcast, send whatever
//! it likes to anybody. It has no key.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::switch::{PortId, Switch};
use super::{Doing, Mac, RigError, init, links, sys};

/// The intruder's hardware address.
pub const INTRUDER_MAC: Mac = [2, 0, 0, 0, 0x66, 1];
/// The intruder's name for its interface.
pub const INTERFACE: &str = "eth0";

const OURS: &str = "intruder";

/// A network namespace with one interface, plugged into a switch. The switch keeps the port when this
/// is dropped; the interface goes with the namespace.
#[derive(Debug)]
pub struct Intruder {
    namespace: File,
    port: PortId,
}

impl Intruder {
    /// Plugs it in, with an address of its own on that network.
    ///
    /// # Errors
    /// What couldn't be made.
    pub fn plug(switch: &Switch, address: Ipv4Addr) -> Result<Self, RigError> {
        let doing = || "making the intruder's network namespace".to_owned();
        let namespace = on_a_thread(|| {
            sys::unshare(UnshareFlags::NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })
        .doing(doing)?;
        let _ = links::delete(OURS);
        links::veth(OURS, INTERFACE, INTRUDER_MAC, namespace.as_fd())
            .doing(|| "making the intruder's interface".into())?;
        let port = switch.plug(OURS)?;
        let intruder = Self { namespace, port };
        intruder.inside(|| {
            let doing = || "configuring the intruder's interface".to_owned();
            links::up("lo").doing(doing)?;
            sys::checksums_in_software(INTERFACE).doing(doing)?;
            links::add_address(INTERFACE, address, init::PREFIX).doing(doing)?;
            links::up(INTERFACE).doing(doing)
        })??;
        Ok(intruder)
    }

    /// Its port, to cut it off.
    #[must_use]
    pub const fn port(&self) -> PortId {
        self.port
    }

    /// Runs `work` on a thread inside its network.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, RigError> {
        on_a_thread(|| {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok::<T, rustix::io::Errno>(work())
        })
        .doing(|| "entering the intruder's network".into())
    }
}

/// Network namespaces belong to threads (setns(2)): none that lives on may enter one.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let outcome = std::thread::scope(|scope| scope.spawn(work).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
