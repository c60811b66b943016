//! Carriers of the links' devices, for the node's hints (protocol.md §3): what the kernel tells of interfaces, and
//! what serial lines say of their far end.

use std::io;
use std::os::fd::BorrowedFd;

use hb_proto::config::MAX_LINKS;
use hb_proto::id::LinkId;
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use tracing::{info, warn};

use super::Daemon;
use super::link::Link;
use crate::config::Settings;
use crate::log::Limiter;
use crate::net::{self, Notice};

/// Lines a minute about one link's carrier.
const BURST: u32 = 6;
/// Datagrams taken at one turn: whoever plugs and unplugs all day starves nobody.
const READS_A_TURN: usize = 16;

/// What is known of each link's carrier.
pub struct Carriers {
    monitor: net::Carriers,
    interfaces: Vec<Option<String>>,
    present: [Option<bool>; MAX_LINKS],
    told: Limiter<MAX_LINKS>,
    look_every: Duration,
    look_at: Instant,
}

impl Carriers {
    /// `None` if ha.cf switches it off.
    ///
    /// # Errors
    /// The kernel gives no socket, or no list of interfaces.
    pub fn of(settings: &Settings) -> io::Result<Option<Self>> {
        if !settings.carrier_hints {
            return Ok(None);
        }
        // First the ear, then the look: nothing happens in between unheard.
        let monitor = net::Carriers::open()?;
        let known = net::interfaces()?;
        let interfaces: Vec<_> =
            settings.media.iter().map(|medium| medium.interface().map(str::to_owned)).collect();
        let mut present = [None; MAX_LINKS];
        for (present, name) in present.iter_mut().zip(&interfaces) {
            let running = |name: &String| known.iter().any(|of| of.name == *name && of.running);
            *present = name.as_ref().map(running);
        }
        Ok(Some(Self {
            monitor,
            interfaces,
            present,
            told: Limiter::new(BURST),
            look_every: settings.proto.timing.keepalive,
            look_at: Instant::ZERO,
        }))
    }

    /// To wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.monitor)
    }

    /// Tells the node what was missing at the start.
    pub fn begin(&self, node: &mut Node, now: Instant) {
        for (link, present) in (0..).map(LinkId).zip(&self.present) {
            if *present == Some(false) {
                node.handle_carrier(now, link, false);
            }
        }
    }

    /// Takes in what the kernel told.
    pub fn hear(&mut self, node: &mut Node, links: &[Link], now: Instant) {
        let Self { monitor, interfaces, present, told, .. } = self;
        for _ in 0..READS_A_TURN {
            let more = monitor.read(|notice| {
                for (at, name) in interfaces.iter().enumerate() {
                    let Some(name) = name else { continue };
                    let now_present = match notice {
                        Notice::Carrier { interface, present } if interface == name.as_bytes() => {
                            present
                        }
                        Notice::Carrier { .. } => continue,
                        // A hint is given up rather than guessed.
                        Notice::Lost => true,
                    };
                    let changed = present[at].replace(now_present) != Some(now_present);
                    if changed {
                        change(node, links, told, at, now_present, now);
                    }
                }
            });
            if !more {
                break;
            }
        }
    }

    /// Looks at the modem lines of serial links, once a keepalive.
    pub fn look(&mut self, node: &mut Node, links: &mut [Link], now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + self.look_every;
        for at in 0..links.len() {
            let Some(found) = links[at].far_end_is_up() else { continue };
            if self.present[at].replace(found).unwrap_or(true) != found {
                change(node, links, &mut self.told, at, found, now);
            }
        }
    }
}

impl Daemon {
    /// The kernel tells of interfaces.
    pub(super) fn hear_carriers(&mut self, now: Instant) {
        if let Some(carriers) = &mut self.carriers {
            carriers.hear(&mut self.node, &self.links, now);
        }
    }

    /// At every turn.
    pub(super) fn look_at_modem_lines(&mut self, now: Instant) {
        if let Some(carriers) = &mut self.carriers {
            carriers.look(&mut self.node, &mut self.links, now);
        }
    }
}

fn change(
    node: &mut Node,
    links: &[Link],
    told: &mut Limiter<MAX_LINKS>,
    at: usize,
    present: bool,
    now: Instant,
) {
    node.handle_carrier(now, LinkId(at as u8), present);
    let Some(port) = links.get(at).map(Link::port) else { return };
    // What is held back here is a link that flaps, which the log hears of by its own words.
    if !told.admit(at, now) {
        return;
    }
    let name = port.name();
    match (present, port.kind()) {
        (true, _) => info!("{name}: there is a signal again"),
        (false, "serial") => {
            warn!("{name}: DSR and DCD fell: the other end's machine, or the cable");
        }
        (false, _) => warn!("{name}: no carrier: the cable, or what is at its other end"),
    }
}
