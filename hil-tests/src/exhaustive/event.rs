//! What may happen in a state.

use std::fmt;

use hb_proto::id::Voter;

use super::world::{Broken, Power, State, World};

/// The directed wires, by which losses, cuts and late frames are chosen.
pub const WIRES: [&str; 6] = ["A→B", "B→A", "A→dongle", "dongle→A", "B→dongle", "dongle→B"];
/// The links: their two wires.
pub const LINKS: [&str; 3] = ["the network", "A's line", "B's line"];
const ALL_WIRES: u8 = 0b11_1111;

/// What happens. All but a step takes no time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Everybody that runs wakes up once. What these wires (bits) carry is lost; what this one does is late.
    Step {
        lost: u8,
        late: Option<u8>,
    },
    /// What was late arrives in the next step.
    Arrive,
    PowerLoss(Voter),
    Kill(Voter),
    Freeze(Voter),
    Thaw(Voter),
    /// A life begins; for the arbiter, after a reset that kept power or after none.
    Begin {
        who: Voter,
        kept_power: bool,
    },
    /// These wires (bits), of this link.
    Cut {
        link: u8,
        wires: u8,
    },
    Mend {
        link: u8,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wires = |set: u8| {
            let named = WIRES.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
            named.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
        };
        match *self {
            Self::Step { lost: 0, late: None } => write!(f, "a step"),
            Self::Step { lost, late: None } => write!(f, "a step; lost: {}", wires(lost)),
            Self::Step { late: Some(wire), .. } => {
                write!(f, "a step; late: {}", WIRES[usize::from(wire)])
            }
            Self::Arrive => write!(f, "what was late arrives"),
            Self::PowerLoss(Voter::Arbiter) => write!(f, "the dongle stops"),
            Self::PowerLoss(who) => write!(f, "{who:?} loses power"),
            Self::Kill(who) => write!(f, "{who:?}'s daemon is killed"),
            Self::Freeze(who) => write!(f, "{who:?}'s daemon stops running"),
            Self::Thaw(who) => write!(f, "{who:?}'s daemon runs again"),
            Self::Begin { who: Voter::Arbiter, kept_power: true } => {
                write!(f, "the dongle starts, its memory kept")
            }
            Self::Begin { who: Voter::Arbiter, .. } => write!(f, "the dongle gets power"),
            Self::Begin { who, .. } => write!(f, "{who:?} starts"),
            Self::Cut { link, wires: set } => {
                write!(f, "{} is cut: {}", LINKS[usize::from(link)], wires(set))
            }
            Self::Mend { link } => write!(f, "{} is mended", LINKS[usize::from(link)]),
        }
    }
}

impl World {
    pub fn events(&self, state: &State, events: &mut Vec<Event>) {
        if state.broken != Broken::Nothing {
            return;
        }
        self.steps_of(state, events);
        self.faults_of(state, events);
        for who in [Voter::A, Voter::B] {
            match state.machines[who.index()].power {
                Power::Off | Power::Killed => events.push(Event::Begin { who, kept_power: false }),
                Power::Frozen => events.push(Event::Thaw(who)),
                Power::On => {}
            }
        }
        if !state.dongle {
            let who = Voter::Arbiter;
            events.extend([true, false].map(|kept_power| Event::Begin { who, kept_power }));
        }
        for link in 0..3 {
            if state.cut & wires_of(link) != 0 {
                events.push(Event::Mend { link });
            }
        }
        if self.is_something_late(state) {
            events.push(Event::Arrive);
        }
    }

    fn steps_of(&self, state: &State, events: &mut Vec<Event>) {
        events.push(Event::Step { lost: 0, late: None });
        let open = ALL_WIRES & !state.cut;
        let none_late = !self.is_something_late(state);
        for wire in (0..6).filter(|wire| open >> wire & 1 == 1) {
            if state.lates > 0 && none_late {
                events.push(Event::Step { lost: 0, late: Some(wire) });
            }
            if state.losses > 0 && state.losses < 255 {
                events.push(Event::Step { lost: 1 << wire, late: None });
            }
        }
        if state.losses == 255 {
            let sets = (1..=ALL_WIRES).filter(|set| set & state.cut == 0);
            events.extend(sets.map(|lost| Event::Step { lost, late: None }));
        }
    }

    fn faults_of(&self, state: &State, events: &mut Vec<Event>) {
        if state.faults == 0 {
            return;
        }
        let bounds = &self.bounds;
        for who in [Voter::A, Voter::B] {
            let machine = &state.machines[who.index()];
            if state.failures[who.index()] == 0 || machine.power == Power::Off {
                continue;
            }
            if bounds.power {
                events.push(Event::PowerLoss(who));
            }
            if bounds.kill && machine.power == Power::On {
                events.push(Event::Kill(who));
            }
            if bounds.freeze && machine.power == Power::On {
                events.push(Event::Freeze(who));
            }
        }
        if state.failures[Voter::Arbiter.index()] > 0 && state.dongle {
            events.push(Event::PowerLoss(Voter::Arbiter));
        }
        for link in 0..3 {
            let all = wires_of(link);
            if state.cuts[usize::from(link)] == 0 || state.cut & all != 0 {
                continue;
            }
            events.push(Event::Cut { link, wires: all });
            if bounds.one_way {
                events.extend(
                    [0b01_0101, 0b10_1010].map(|way| Event::Cut { link, wires: all & way }),
                );
            }
        }
    }
}

/// The two wires of a link.
pub(super) fn wires_of(link: u8) -> u8 {
    0b11 << (2 * link)
}
