//! The stories: one table, run as a whole by each rig's runner.

use super::{Scenario, Told};

mod power;

/// A story: its name, and how it goes.
#[derive(Clone, Copy)]
pub struct Story {
    /// As runners print it.
    pub name: &'static str,
    /// The story.
    pub tell: fn(&mut Scenario<'_>) -> Told,
}

/// Names a list of functions as stories.
macro_rules! stories {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$(Story { name: stringify!($name), tell: $module::$name }),+]
    };
}

/// Every story.
pub const ALL: &[Story] =
    stories![power::power_loss_of_the_holder, power::power_loss_of_the_standby,];

/// The story of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Story> {
    ALL.iter().find(|story| story.name == name)
}
