//! heartbeat's decisions, sans-IO: who is alive, who may run which resource group, and what follows.
//!
//! This crate has no clock, no randomness, no I/O and no allocator. Whoever drives it (the Linux
//! daemon, the dongle's firmware, the simulator) brings time and bytes in and carries actions out, so
//! that all of them run the same state machines.
//!
//! # The contract
//!
//! [`node::Node`] has four kinds of methods:
//!
//! * **getters** take `&self` and change nothing;
//! * **inputs**, `handle_*`: something happened;
//! * **commands**, `request_*`: an operator wants something;
//! * **outputs**, `poll_*`: what to do about it.
//!
//! Rules for the driver:
//!
//! 1. *Time never goes back.* Every input takes `now`, read after what it reports: after a frame was
//!    read, before a frame is written (protocol.md R6). Any epoch will do.
//! 2. *On waking up, [`handle_wakeup`](node::Node::handle_wakeup) comes first*, then its actions are
//!    carried out: after a stall of one's own the addresses go before anything else is looked at.
//! 3. *Drain before deciding.* Everything that had arrived goes in (a bounded number of frames a
//!    link), then [`handle_timeout`](node::Node::handle_timeout), which lets time pass and decides.
//!    A call that was not due changes nothing.
//! 4. *After any input or command, poll every output until it is empty*: actions, frames, events.
//!    Then sleep until [`poll_timeout`](node::Node::poll_timeout) or until something arrives.
//! 5. *Every [`Ticket`](action::Ticket) is answered once*, by
//!    [`handle_done`](node::Node::handle_done); it may take as long as it takes, the node has patience
//!    of its own.
//!
//! In return: no queue of decisions can overflow, nothing that comes from the wire or the clock panics, nothing is decided
//! from figures in [`statistics`], and [`node::Decisions`] is all that decides: it can be cloned,
//! hashed, compared and [rebased in time](node::Decisions::rebased).
//!
//! # A complete driver
//!
//! ```
//! use hb_proto::action::{Action, Outcome};
//! use hb_proto::config::{Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing};
//! use hb_proto::id::{BootId, GroupId, LinkId, Voter};
//! use hb_proto::group::Phase;
//! use hb_proto::node::Node;
//! use hb_proto::time::{Duration, Instant};
//! use hb_proto::wire::MAX_FRAME;
//! use hb_proto::wire::auth::{Key, KeyRing};
//!
//! /// What a driver has to its left and right: an inbox of frames, a way to send, a way to act.
//! struct Driver {
//!     node: Node,
//!     inbox: Vec<(LinkId, Vec<u8>)>,
//! }
//!
//! impl Driver {
//!     /// One turn of the loop at `now`: returns what it sent, and when it wants to be woken.
//!     fn turn(&mut self, now: Instant) -> (Vec<(LinkId, Vec<u8>)>, Instant) {
//!         self.node.handle_wakeup(now);
//!         let mut sent = self.drain(now);
//!         for (link, frame) in std::mem::take(&mut self.inbox) {
//!             // What is refused was counted and becomes an event.
//!             let _ = self.node.handle_frame(now, link, &frame);
//!         }
//!         self.node.handle_timeout(now);
//!         sent.extend(self.drain(now));
//!         (sent, self.node.poll_timeout())
//!     }
//!
//!     fn drain(&mut self, now: Instant) -> Vec<(LinkId, Vec<u8>)> {
//!         let (mut frame, mut sent) = ([0; MAX_FRAME], Vec::new());
//!         loop {
//!             let mut answered = false;
//!             while let Some(action) = self.node.poll_action(now) {
//!                 if let Action::Run { ticket, verb, .. } = action {
//!                     // A real driver starts the script here and answers when it has ended.
//!                     println!("{} …", verb.name());
//!                     self.node.handle_done(now, ticket.id(), Outcome::Done);
//!                     answered = true;
//!                 }
//!             }
//!             while let Some(transmit) = self.node.poll_transmit(now, &mut frame) {
//!                 sent.push((transmit.link, frame[..transmit.len].to_vec()));
//!             }
//!             while let Some(event) = self.node.poll_event() {
//!                 println!("{event:?}");
//!             }
//!             if !answered {
//!                 return sent;
//!             }
//!             self.node.handle_timeout(now);
//!         }
//!     }
//! }
//!
//! let web = GroupConfig { home: Voter::A, resources: [ResourceKind::Address].into_iter().collect() };
//! let config = |me| Config {
//!     me,
//!     timing: Timing::classic_defaults(),
//!     links: [LinkKind::Broadcast].into_iter().collect(),
//!     groups: [web.clone()].into_iter().collect(),
//!     auto_failback: true,
//!     arbiter: None,
//!     patience: Patience::default(),
//!     digests: Digests::default(),
//! };
//! let key = Key::hmac(1, b"a secret").expect("numbers go to 15");
//! let keys = KeyRing::new([key].into_iter().collect(), 1).expect("it is listed");
//! let boot = BootId::new(1).expect("not 0; stored and synced before use");
//! let mut now = Instant::ZERO;
//! let mut pair = [Voter::A, Voter::B].map(|me| {
//!     let node = Node::new(config(me), keys.clone(), boot, now).expect("a valid configuration");
//!     Driver { node, inbox: Vec::new() }
//! });
//!
//! let web = GroupId(0);
//! while pair[0].node.group(web).expect("configured").phase() != Phase::Running {
//!     let (from_a, wake_a) = pair[0].turn(now);
//!     let (from_b, wake_b) = pair[1].turn(now);
//!     pair[0].inbox = from_b;
//!     pair[1].inbox = from_a;
//!     // Frames fly for a tenth of a millisecond here; otherwise sleep until a deadline.
//!     let quiet = pair.iter().all(|driver| driver.inbox.is_empty());
//!     now = if quiet { wake_a.min(wake_b) } else { now + Duration::from_micros(100) };
//! }
//! assert_eq!(pair[1].node.holder(web), None, "B learns it with A's next frame");
//! assert!(now < Instant::from_millis(100), "nobody waits for initdead when the peer is heard");
//! ```
//!
//! # Rooms
//!
//! [`wire`] turns bytes into values and back; [`link`] and [`peer`] judge health; [`authority`] keeps
//! promises; [`group`] starts and stops in order; [`node`] and [`arbiter`] are composed of them. The protocol is
//! described in docs/protocol.md, whose rules (R1–R14) the code cites.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod action;
pub mod arbiter;
pub mod authority;
pub mod config;
pub mod event;
pub mod group;
pub mod id;
pub mod link;
#[cfg(feature = "mutants")]
pub mod mutant;
#[cfg(not(feature = "mutants"))]
mod mutant;
pub mod node;
pub mod peer;
pub mod statistics;
pub mod time;
pub mod wire;
