//! What the model forgets doesn't matter: at random, it is compared with one that forgets nothing.

use hb_proto::id::Voter;

use super::bounds::{Bounds, ResetLines};
use super::event::Event;
use super::world::{State, World};

const STEPS: usize = 120;

/// What of a state can be seen from outside, or is judged.
fn seen(world: &World, state: &State) -> String {
    let parties = Voter::ALL.map(|who| {
        let summary = world.summary(state, who);
        (
            summary.promised,
            summary.counts,
            summary.asks,
            summary.runs,
            summary.grounded,
            summary.serves,
        )
    });
    format!("{:?} {:?} {:?}", state.machines, state.dongle, parties)
}

#[test]
fn nothing_that_matters_is_forgotten() {
    let mut random = 1_u64;
    let mut below = |bound: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let mut events_of_each = [0; 3];
    for walk in 0..1500 {
        let bounds = Bounds {
            failures: [3; 3],
            cuts: [3; 3],
            one_way: true,
            losses: 254,
            late: 8,
            rates: [[100; 3], [105, 100, 100], [100, 105, 105]][walk % 3],
            reset_lines: [ResetLines::None, ResetLines::Supervised][walk / 3 % 2],
            ..Bounds::quiet("a walk")
        };
        let plain = World::new(Bounds { plain: true, ..bounds.clone() });
        let model = World::new(bounds);
        let mut at = [model.first(), plain.first()];
        let mut way = Vec::new();
        for step in 0..STEPS {
            let mut events = Vec::new();
            model.events(&at[0], &mut events);
            if events.is_empty() {
                break;
            }
            // Two of three are steps in which nothing is lost: otherwise nobody ever serves.
            let event = if below(3) > 0 { events[0] } else { events[below(events.len())] };
            events_of_each[match event {
                Event::Step { lost: 0, late: None } => 0,
                Event::Step { .. } | Event::Arrive => 1,
                _ => 2,
            }] += 1;
            at = [model.after(&at[0], event), plain.after(&at[1], event)];
            let [forgetful, whole] = [seen(&model, &at[0]), seen(&plain, &at[1])];
            way.push(event);
            assert_eq!(forgetful, whole, "walk {walk}, step {step}, after: {way:?}");
        }
    }
    assert!(events_of_each.iter().all(|&count| count > 2000), "{events_of_each:?} prove little");
}
