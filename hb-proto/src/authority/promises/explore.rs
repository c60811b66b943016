//! Numbers of frames and times that are over, for an explorer.

use super::{Promisee, Promises};
use crate::authority::Part;
use crate::authority::explore::{Renumber, rename};
use crate::time::Instant;

impl<P: Part> Promises<P> {
    pub(crate) fn renumber(&mut self, number: &Renumber<'_>, own: &dyn Fn(u32) -> u32) {
        if let Some(given) = &mut self.given
            && let Promisee::To(to) = given.to
        {
            rename(&mut given.renewed_by, to, number);
        }
        self.own.simplify(Some(own), Instant::ZERO);
    }

    pub(crate) fn level(&mut self, now: Instant) {
        self.own.simplify(None, now);
    }
}
