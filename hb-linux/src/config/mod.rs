//! ha.cf, haresources and authkeys: read, checked, explained.

pub mod check;
pub mod keygen;
pub mod ppp;
pub mod scripts;

mod address;
mod authkeys;
mod bounds;
mod diagnostic;
mod digest;
mod hacf;
mod haresources;
mod load;
mod media;
mod source;
mod third_voter;
mod times;
mod words;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use hb_proto::id::Voter;
use hb_proto::time::Duration;
use hb_proto::wire::service;
use serde::{Deserialize, Serialize};

pub use authkeys::AuthKeys;
pub use diagnostic::{Diagnostic, Severity};
pub use load::Loaded;

/// One heartbeat medium, as its line of ha.cf says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Medium {
    /// `serial DEVICE`.
    Serial { device: PathBuf, baud: u32 },
    /// `bcast IF` or `udp IF`.
    Broadcast { interface: String, port: u16 },
    /// `ucast IF PEER` (IPv4 or IPv6).
    Unicast { interface: String, peer: IpAddr, port: u16 },
    /// `mcast IF GROUP PORT TTL LOOP` (IPv4 or IPv6).
    Multicast { interface: String, group: IpAddr, port: u16, ttl: u8, loopback: bool },
    /// `ppp-udp DEVICE ADDRESS…`: UDP to the far end of a PPP link that pppd makes over the serial line.
    Ppp {
        device: PathBuf,
        baud: u32,
        /// What pppd is to call it.
        interface: String,
        /// This node's end.
        local: Ipv4Addr,
        /// The other node's.
        remote: Ipv4Addr,
        port: u16,
    },
}

/// The argument of IPaddr: `IP[/PREFIX[/IFACE[:LABEL]][/BROADCAST]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressSpec {
    /// The service address.
    pub ip: IpAddr,
    /// CIDR prefix length, when written.
    pub prefix: Option<u8>,
    /// Interface, when written.
    pub interface: Option<String>,
    /// Alias label behind the interface's colon, when written.
    pub label: Option<String>,
    /// Broadcast address, when written.
    pub broadcast: Option<Ipv4Addr>,
}

/// How an authkeys entry authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Method {
    /// CRC-32: finds damage, keeps nobody out.
    Crc,
    /// `md5`, `sha1` or `sha256`: each keys HMAC-SHA-256.
    Hmac,
}

/// One line of authkeys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthKey {
    /// 0–15.
    pub id: u8,
    /// How it authenticates.
    pub method: Method,
    /// Empty for crc.
    pub secret: Vec<u8>,
}

/// What a resource of haresources is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResourceLine {
    /// A bare address, or `IPaddr::…`: built in.
    Address { written: String, spec: AddressSpec },
    /// `SCRIPT::arg::arg`.
    Script { written: String, script: String, args: Vec<String> },
}

/// One logical line of haresources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupLine {
    /// Line number in haresources where it starts, from 1.
    pub line: usize,
    /// Preferred node, as written in ha.cf.
    pub node: String,
    /// In starting order.
    pub resources: Vec<ResourceLine>,
}

/// `fence dongle` and `dongle_watchdog`: what the dongle does with its reset lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DongleSettings {
    /// How long a line is pulled.
    pub pulse: Duration,
    /// It pulls one unasked after this long a silence (R13).
    pub watchdog: Option<Duration>,
}

impl DongleSettings {
    /// As the dongle is told.
    #[must_use]
    pub fn on_the_wire(&self) -> service::Settings {
        // Both were held against their bounds: a pulse is short, and a time of ha.cf is a day at most.
        service::Settings {
            pulse_ms: u16::try_from(self.pulse.millis()).unwrap_or(u16::MAX),
            watchdog_ms: self
                .watchdog
                .map_or(0, |silence| u32::try_from(silence.millis()).unwrap_or(u32::MAX)),
        }
    }

    /// Whether a dongle that says this of itself does what ha.cf says. What it says of a watchdog that nobody arms does
    /// no harm; what is shorter than `deadtime` counts as that.
    #[must_use]
    pub fn are_kept_by(&self, theirs: Option<service::Settings>, deadtime: Duration) -> bool {
        // An older program has no choice.
        let (ours, theirs) = (self.on_the_wire(), theirs.unwrap_or_default());
        let silence = |ms: u32| Duration::from_millis(ms.into()).max(deadtime);
        let armed = self.watchdog.is_some();
        ours.pulse_ms == theirs.pulse_ms
            && (!armed || silence(ours.watchdog_ms) == silence(theirs.watchdog_ms))
    }
}

/// All that ha.cf, haresources and authkeys say, resolved for this node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's name, as ha.cf writes it.
    pub node: String,
    /// The other node's name.
    pub peer: String,
    /// This node's place among the voters: the lower-cased names' order decides.
    pub me: Voter,
    /// For the state machine.
    pub proto: hb_proto::config::Config,
    /// One for each of `proto.links`, same order.
    pub media: Vec<Medium>,
    /// One for each of `proto.groups`, same order.
    pub groups: Vec<GroupLine>,
    /// Key that signs; one of `keys`.
    pub signing_key: u8,
    /// Every key that is accepted.
    pub keys: Vec<AuthKey>,
    /// A device without carrier shortens the wait for a silent peer (protocol.md §3).
    pub carrier_hints: bool,
    /// What a dongle with reset lines does.
    pub dongle: Option<DongleSettings>,
    /// What is run when an operator should know something at once, when configured.
    pub alert: Option<PathBuf>,
    /// The watchdog device, when configured.
    pub watchdog: Option<PathBuf>,
    /// Guard rests on the watchdog (R10): without it this node must not take part.
    pub guard_by_watchdog: bool,
    /// ha-log.
    pub logfile: PathBuf,
    /// ha-debug, when configured.
    pub debugfile: Option<PathBuf>,
}

impl Medium {
    /// The network interface that its frames leave by.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Serial { .. } => None,
            Self::Broadcast { interface, .. }
            | Self::Unicast { interface, .. }
            | Self::Multicast { interface, .. }
            | Self::Ppp { interface, .. } => Some(interface),
        }
    }

    /// The device or interface: a link's name in log and status.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Serial { device, .. } | Self::Ppp { device, .. } => device.display().to_string(),
            Self::Broadcast { interface, .. }
            | Self::Unicast { interface, .. }
            | Self::Multicast { interface, .. } => interface.clone(),
        }
    }
}
