//! How it came to a state, told so that a person can follow.

use std::fmt::Write as _;

use hb_proto::id::Voter;
use stateright::Path;

use super::event::Event;
use super::world::{Broken, Power, State, World};

/// Each event, and after each step what everybody holds, promises and counts.
pub fn tell(world: &World, path: Path<State, Event>) -> String {
    let mut told = String::new();
    let mut step = 0;
    let mut last = String::new();
    let mut events: Vec<_> = path.into_vec();
    let states: Vec<State> = events.iter().map(|(state, _)| *state).skip(1).collect();
    events.retain(|(_, event)| event.is_some());
    for ((_, event), after) in events.into_iter().zip(states) {
        let Some(event) = event else { continue };
        if matches!(event, Event::Step { .. }) {
            step += 1;
        }
        let line = describe(world, &after);
        let same = if line == last { "as before".to_owned() } else { line.clone() };
        let _ = writeln!(told, "{step:>4}  {event:?}\n        {same}");
        last = line;
        match after.broken {
            Broken::Nothing => {}
            Broken::TwoRun => told.push_str("        BOTH MACHINES RUN THE GROUP\n"),
            Broken::FencedHeard => {
                told.push_str("        A NODE WAS RESET THAT THE DONGLE HEARS\n");
            }
        }
    }
    told
}

fn describe(world: &World, state: &State) -> String {
    let nodes = [Voter::A, Voter::B].map(|who| node(world, state, who));
    format!("{}; {}; {}", nodes[0], nodes[1], dongle(world, state))
}

fn node(world: &World, state: &State, who: Voter) -> String {
    let machine = &state.machines[who.index()];
    let mut words = format!("{who:?}{}", state.boots[who.index()]);
    let how = match machine.power {
        Power::Off => " is off",
        Power::On => "",
        Power::Frozen => " is frozen",
        Power::Killed => " has no daemon",
    };
    words.push_str(how);
    if machine.held {
        words.push_str(" RUNS");
    }
    let summary = world.summary(state, who);
    if let Some((_, left)) = summary.promised {
        let _ = write!(words, " bound {left}");
    }
    for by in Voter::ALL {
        let left = summary.counts[by.index()];
        if left.micros() > 0 {
            let _ = write!(words, " counts {} {left}", name(by));
        }
    }
    words
}

fn dongle(world: &World, state: &State) -> String {
    let boot = state.boots[Voter::Arbiter.index()];
    if !state.dongle {
        return format!("D{boot} is off");
    }
    match world.summary(state, Voter::Arbiter).promised {
        None => format!("D{boot} free"),
        Some((Some(to), left)) => format!("D{boot} bound to {to:?} {left}"),
        Some((None, left)) => format!("D{boot} bound to unknown {left}"),
    }
}

const fn name(voter: Voter) -> &'static str {
    match voter {
        Voter::A => "A",
        Voter::B => "B",
        Voter::Arbiter => "D",
    }
}
