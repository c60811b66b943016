//! The model for stateright, and what must hold in every state.

use std::sync::Arc;

use hb_proto::id::Voter;
use stateright::{Model, Property};

use super::event::Event;
use super::party::{GUARD, LEASE};
use super::world::{Broken, Power, State, World};

/// Steps after which a mended cluster must have come to rest.
const REST_STEPS: usize = 60;

/// A world to explore.
#[derive(Clone)]
pub struct Exhaustive(pub Arc<World>);

impl Model for Exhaustive {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![self.0.first()]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        self.0.events(state, events);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        Some(self.0.after(state, event))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWO, |_, state: &State| state.broken != Broken::TwoRun),
            Property::always(FENCED, |_, state: &State| state.broken != Broken::FencedHeard),
            Property::always(LEMMA, |model: &Self, state| model.0.lemma_holds(state)),
            Property::always(PROMISED, |model: &Self, state| model.0.who_promised_is_still(state)),
            Property::always(HEALS, |model: &Self, state| {
                !model.0.bounds.heals || model.0.heals(state)
            }),
            Property::sometimes(A_SERVES, |model: &Self, state| model.0.serves(state, Voter::A)),
            Property::sometimes(B_SERVES, |model: &Self, state| model.0.serves(state, Voter::B)),
            Property::sometimes(BY_D_ALONE, |model: &Self, state| {
                model.0.runs_by(state, Voter::Arbiter)
            }),
            Property::sometimes(BY_PEER_ALONE, |model: &Self, state| {
                model.0.runs_by(state, Voter::B)
            }),
            Property::sometimes(BEYOND, |model: &Self, state| model.0.runs_beyond(state)),
        ]
    }
}

pub const TWO: &str = "never do two machines run the group";
pub const FENCED: &str = "the dongle fences no node that it hears";
pub const LEMMA: &str = "lemma 1: who is counted on is bound for guard longer";
pub const PROMISED: &str = "who has promised does not run";
pub const HEALS: &str = "mended, it comes to rest and one node serves";
pub const A_SERVES: &str = "A serves";
pub const B_SERVES: &str = "B serves";
pub const BY_D_ALONE: &str = "a node runs by the dongle's promise alone";
pub const BY_PEER_ALONE: &str = "A runs by B's promise alone";
pub const BEYOND: &str = "a machine runs it without authority";

/// What must hold.
pub const ALWAYS: [&str; 5] = [TWO, FENCED, LEMMA, PROMISED, HEALS];

impl World {
    /// For what the model counts on: times that are forgotten can't matter any more.
    pub fn check_bounds(&self) {
        let full = LEASE.percent(105) + GUARD;
        let (full_steps, horizon) = (full.micros().div_ceil(1_000_000), self.bounds.horizon());
        assert!(full_steps < u64::from(horizon), "a promise may be forgotten before it ends");
        let late = self.bounds.late == 0 || self.bounds.late_steps + 2 < horizon;
        assert!(late, "late frames lose their order");
    }

    fn lives(&self, state: &State, who: Voter) -> bool {
        match who {
            Voter::Arbiter => state.dongle,
            _ => matches!(state.machines[who.index()].power, Power::On | Power::Frozen),
        }
    }

    /// Lemma 1, on the giver's clock: whatever X counts for so long at most lasts longer, by guard.
    pub fn lemma_holds(&self, state: &State) -> bool {
        let rates = self.bounds.rates.map(u128::from);
        [Voter::A, Voter::B].into_iter().filter(|&x| self.lives(state, x)).all(|x| {
            let counts = self.summary(state, x).counts;
            Voter::ALL.into_iter().filter(|&v| v != x && self.lives(state, v)).all(|v| {
                let counted = u128::from(counts[v.index()].micros());
                if counted == 0 {
                    return true;
                }
                let Some((to, bound)) = self.summary(state, v).promised else { return false };
                let to_x = to.is_none_or(|to| to == x);
                let needed = counted * rates[v.index()] / rates[x.index()];
                to_x && u128::from(bound.micros()) >= needed + u128::from(GUARD.micros())
            })
        })
    }

    pub fn who_promised_is_still(&self, state: &State) -> bool {
        [Voter::A, Voter::B].into_iter().filter(|&x| self.lives(state, x)).all(|x| {
            let summary = self.summary(state, x);
            !(summary.runs && summary.promised.is_some())
        })
    }

    pub fn serves(&self, state: &State, who: Voter) -> bool {
        self.lives(state, who)
            && state.machines[who.index()].held
            && self.summary(state, who).serves
    }

    /// One node runs it, and of the others' promises counts this one's only.
    fn runs_by(&self, state: &State, by: Voter) -> bool {
        [Voter::A, Voter::B].into_iter().any(|x| {
            let counts = self.summary(state, x).counts;
            let only =
                Voter::ALL.into_iter().all(|v| (counts[v.index()].micros() > 0) == (v == by));
            only && self.serves(state, x)
        })
    }

    fn runs_beyond(&self, state: &State) -> bool {
        [Voter::A, Voter::B].into_iter().any(|x| {
            let machine = &state.machines[x.index()];
            machine.held && !(self.lives(state, x) && self.summary(state, x).grounded)
        })
    }

    /// Everything mended and on, and nothing more goes wrong.
    fn mended(&self, state: &State) -> State {
        let mut state = self.without_budget(state);
        for link in 0..3 {
            state = self.after(&state, Event::Mend { link });
        }
        for who in [Voter::A, Voter::B] {
            match state.machines[who.index()].power {
                Power::Off | Power::Killed => {
                    state = self.after(&state, Event::Begin { who, kept_power: false });
                }
                Power::Frozen => state = self.after(&state, Event::Thaw(who)),
                Power::On => {}
            }
        }
        if !state.dongle {
            let who = Voter::Arbiter;
            state = self.after(&state, Event::Begin { who, kept_power: false });
        }
        state
    }

    /// Liveness: from here, once nothing more goes wrong, one node serves before long and goes on so.
    pub fn heals(&self, state: &State) -> bool {
        if state.broken != Broken::Nothing {
            // Told by another property.
            return true;
        }
        let mut at = self.mended(state);
        let mut way = Vec::new();
        let healed = loop {
            if let Some(known) = self.healed.known(&at) {
                break known;
            }
            let next = self.after(&at, Event::Step { lost: 0, late: None });
            let next = self.switched_on(next);
            if next == at {
                way.push(at);
                let serving = [Voter::A, Voter::B].map(|who| self.serves(&at, who));
                let held = at.machines.map(|machine| machine.held);
                break serving[0] != serving[1] && held == serving;
            }
            if way.len() > REST_STEPS || next.broken != Broken::Nothing {
                break false;
            }
            way.push(at);
            at = next;
        };
        for passed in way {
            self.healed.learn(passed, healed);
        }
        healed
    }

    /// A machine that was reset meanwhile boots.
    fn switched_on(&self, state: State) -> State {
        let off =
            |who: &Voter| matches!(state.machines[who.index()].power, Power::Off | Power::Killed);
        let begin =
            |state: State, who: Voter| self.after(&state, Event::Begin { who, kept_power: false });
        [Voter::A, Voter::B].into_iter().filter(off).fold(state, begin)
    }
}
