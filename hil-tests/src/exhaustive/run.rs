//! Explores one model to its end, and says what was found.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::Bounds;
use super::model::{ALWAYS, Exhaustive};
use super::story;
use super::world::World;

/// What exploring a model gave.
pub struct Found {
    pub name: String,
    /// Different states; all that can be reached unless something is broken.
    pub states: usize,
    /// Transitions taken.
    pub transitions: usize,
    /// Longest shortest way to a state, events and steps.
    pub depth: usize,
    /// Different states of one party, and different steps that one took.
    pub locals: usize,
    pub steps: usize,
    pub took: Duration,
    /// What does not hold, and how it came about.
    pub broken: Vec<(&'static str, String)>,
    /// What was reached.
    pub reached: Vec<&'static str>,
    /// Nothing is left to be seen, and nothing is broken.
    pub exhausted: bool,
}

/// Explores until no state is left, or every property is decided.
#[must_use]
pub fn explore(bounds: &Bounds, threads: usize) -> Found {
    let world = Arc::new(World::new(bounds.clone()));
    world.check_bounds();
    let began = Instant::now();
    let checker = Exhaustive(Arc::clone(&world))
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let took = began.elapsed();
    let mut discoveries: Vec<_> = checker.discoveries().into_iter().collect();
    discoveries.sort_by_key(|(name, _)| *name);
    let (broken, reached): (Vec<_>, Vec<_>) =
        discoveries.into_iter().partition(|(name, _)| ALWAYS.contains(name));
    let broken: Vec<_> =
        broken.into_iter().map(|(name, path)| (name, story::tell(&world, path))).collect();
    let (locals, steps) = world.sizes();
    Found {
        name: bounds.name.clone(),
        states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth(),
        locals,
        steps,
        took,
        exhausted: checker.is_done() && broken.is_empty(),
        broken,
        reached: reached.into_iter().map(|(name, _)| name).collect(),
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.exhausted { "exhausted" } else { "BROKEN" };
        writeln!(
            f,
            "{}: {how}: {} states, {} transitions, depth {}, {:.1} s ({} party states, {} party steps)",
            self.name,
            self.states,
            self.transitions,
            self.depth,
            self.took.as_secs_f64(),
            self.locals,
            self.steps
        )?;
        writeln!(f, "    reached: {}", self.reached.join("; "))?;
        for (what, story) in &self.broken {
            writeln!(f, "    BROKEN: {what}\n{story}")?;
        }
        Ok(())
    }
}
