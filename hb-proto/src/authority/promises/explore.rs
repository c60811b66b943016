//! Numbers of frames and times that are over, for an explorer.

use super::{Promisee, Promises};
use crate::authority::explore::{Renumber, rename};
use crate::time::Instant;

impl Promises {
    pub(crate) fn renumber(&mut self, number: &Renumber<'_>, own: &dyn Fn(u32) -> u32) {
        if let Some(given) = &mut self.given
            && let Promisee::To(to) = given.to
        {
            rename(&mut given.renewed_by, to, number);
        }
        self.request_from = self.request_from.map(own);
    }

    pub(crate) fn level(&mut self, now: Instant) {
        for until in &mut self.counted_until {
            if *until <= now {
                *until = Instant::ZERO;
            }
        }
    }
}
