//! The dongle: a board of its own in the null-modem line, with the real [`hb_proto::arbiter::Arbiter`].
//!
//! ```text
//! A ttyS0 ── wires[A][0] ──▶ port One ┐         ┌ port Two ◀── wires[B][0] ── B ttyS0
//!    ▲────── dongle.wires[0] ◀────────┤ arbiter ├─────────▶ dongle.wires[1] ──────▲
//! A's header ◀──── reset output A ────┘         └──── reset output B ────▶ B's header
//! ```
//!
//! Its clock, its power, its storage and the wires that end at it are modelled here; what it does with
//! them is in [`driver`], what happens to it in [`faults`].

pub mod driver;
pub mod faults;
mod pulse;

use hb_proto::arbiter::{Arbiter, Memory};
use hb_proto::config::LinkKind;
use hb_proto::id::Voter;
use hb_proto::wire::message::arbiter::{Promisees, ResetReason};

use super::clock::Clock;
use super::fault::Who;
use super::knobs::trio::{ArbiterKnobs, Keeps};
use super::queue::At;
use super::rng::Rng;
use super::wire::{Port, Wire};
use crate::scenario::ResetWire;

/// The nodes' link that it sits in.
pub const LINE: usize = 0;

/// A dongle as a thing: what it carries along to the shelf and back.
pub struct Unit {
    /// Its number, by which the nodes tell it from another one.
    pub id: u32,
    /// The last life in its flash.
    pub boot: u32,
    pub memory: Option<Memory>,
    /// An operator tested its reset outputs on these machines.
    pub tested: bool,
    pub arbiter: Option<Box<Arbiter>>,
    pub clock: Clock,
    /// When it was put on the shelf, or the world began.
    pub(super) shelved_at: At,
    /// What the checks knew of its life when it was taken out.
    pub(super) known: (At, [Heard; 2]),
    /// The newest life of each node that it has pulsed, for the checks.
    pub(super) pulsed: [u32; 2],
}

impl Unit {
    fn new(id: u32, boot: u32, tested: bool, ppm: i64, rng: &mut Rng) -> Self {
        let clock = Clock::new(0, 1 + rng.between(0, 1 << 40), ppm);
        Self {
            id,
            boot,
            memory: None,
            tested,
            arbiter: None,
            clock,
            shelved_at: 0,
            known: Default::default(),
            pulsed: [0; 2],
        }
    }

    /// What is left of what it stored when its power goes.
    fn lose_power(&mut self, keeps: Keeps) {
        self.arbiter = None;
        match keeps {
            Keeps::Flash => {}
            Keeps::Ram => {
                if let Some(memory) = &mut self.memory {
                    (memory.promisees, memory.haresources) = (Promisees::default(), None);
                }
            }
        }
    }
}

/// What comes to the arbiter by other ways than its ports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// The pulse is over; whether the line itself proved it.
    Pulsed {
        node: Voter,
        evidence: bool,
    },
    SenseFell(Voter),
    Feed(Voter, bool),
    Commissioned(Voter, bool),
}

/// Where its firmware's loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Asleep, or about to look at what arrived.
    Loop,
    /// Writing to its flash: what follows leaves afterwards.
    Storing,
}

/// Why a half of the line carries nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Half {
    /// The cable is cut.
    pub cut: bool,
    /// The dongle's receiver there is dead.
    pub deaf: bool,
    /// Its driver there is dead.
    pub mute: bool,
    /// What the machine sends by that link is lost, as on any link.
    pub lost: bool,
}

/// What the checks know of what the dongle heard of a node, in true time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// When it was last handed a whole, new frame of the node's, by either port.
    pub(super) at: At,
    /// The newest that it was handed, and the newest that it took as new.
    pub(super) handed: (u32, u32),
    pub(super) first: (u32, u32),
}

/// The dongle in its place, or its place without one.
pub struct Dongle {
    pub unit: Unit,
    pub(super) shelf: Unit,
    pub plugged: bool,
    pub powered: bool,
    pub hung: bool,
    pub(super) started_at: At,
    /// What the machines send arrives here, by machine.
    pub(super) ports: [Port; 2],
    /// To each machine.
    pub wires: [Wire; 2],
    pub(super) halves: [Half; 2],
    /// Whether the feed's wire to each machine is whole.
    pub(super) feeds: [bool; 2],
    /// Where each reset output ends.
    pub(super) reset_wires: [ResetWire; 2],
    pub(super) inputs: Vec<Input>,
    pub(super) turn_at: At,
    pub(super) token: u64,
    pub(super) stage: Stage,
    /// Counts what ends a life: plans of an earlier one are void.
    pub(super) epoch: u32,
    pub(super) heard: [Heard; 2],
    /// Last pulse for each node, whether it hit that node's machine, and whether it could be proved: a
    /// header without power has no pull-up to read, and a sense input doesn't fall twice.
    pub(super) pulsed: [Option<(At, bool)>; 2],
    pub(super) provable: [bool; 2],
    /// When it was put back in, if it never lost its power, and which nodes know a lower life of another one only:
    /// its frames are news to them.
    pub(in crate::sim) put_back: Option<(At, [bool; 2])>,
    /// When what it is bound to began: its life, or an absence that it noticed (R8).
    pub(super) bound_at: At,
    pub(super) turns: (At, u32),
}

impl Dongle {
    pub(super) fn new(knobs: &ArbiterKnobs, line: LinkKind, rng: &mut Rng) -> Self {
        let unit = Unit::new(7, rng.between(0, 40) as u32, true, knobs.drift_ppm, rng);
        let tested = rng.coin();
        let shelf = Unit::new(8, rng.between(0, 40) as u32, tested, knobs.drift_ppm, rng);
        Self {
            unit,
            shelf,
            plugged: true,
            powered: false,
            hung: false,
            started_at: 0,
            ports: [Port::open(line), Port::open(line)],
            wires: [Wire::new(line), Wire::new(line)],
            halves: [Half::default(); 2],
            feeds: [true; 2],
            reset_wires: knobs.reset_wires,
            inputs: Vec::new(),
            turn_at: At::MAX,
            token: 0,
            stage: Stage::Loop,
            epoch: 0,
            heard: [Heard::default(); 2],
            pulsed: [None; 2],
            provable: [true; 2],
            put_back: None,
            bound_at: 0,
            turns: (0, 0),
        }
    }

    /// Whether everything about it is as it was built, and it votes: what a budget presumes.
    #[must_use]
    pub fn is_sound(&self, now: At) -> bool {
        self.is_running()
            && self.halves == [Half::default(); 2]
            && self.feeds == [true; 2]
            && !self.wires.iter().any(|wire| wire.is_troubled(now))
    }

    /// Whether its firmware runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.plugged && self.powered && !self.hung && self.unit.arbiter.is_some()
    }

    /// The machine at whose header the reset output for a node ends.
    #[must_use]
    pub const fn wired_to(&self, node: Who) -> Option<Who> {
        match self.reset_wires[node] {
            ResetWire::Sound => Some(node),
            ResetWire::Broken => None,
            ResetWire::Swapped => Some(1 - node),
        }
    }

    /// What its loop, its buffers and the frames under way were.
    pub(super) fn lose_loop(&mut self, now: At, line: LinkKind) {
        self.ports = [Port::open(line), Port::open(line)];
        self.wires.iter_mut().for_each(|wire| wire.go_dead(now));
        self.inputs.clear();
        (self.turn_at, self.stage, self.hung) = (At::MAX, Stage::Loop, false);
        self.epoch += 1;
    }
}

/// Which machine a node is.
#[must_use]
pub const fn who_of(node: Voter) -> Who {
    match node {
        Voter::B => 1,
        Voter::A | Voter::Arbiter => 0,
    }
}

/// A reset that keeps what a chip's memory holds.
pub(super) const KEPT: [ResetReason; 3] =
    [ResetReason::Watchdog, ResetReason::Software, ResetReason::Pin];
