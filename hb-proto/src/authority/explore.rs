//! What an exhaustive explorer needs: numbers of frames that don't grow for ever.
//!
//! Time is brought back by `rebased`; the numbers of frames by this. Nothing else of the crate uses it.

use super::FrameName;
use crate::id::Voter;
use crate::time::{Duration, Instant};

/// The number that frame `name` of a voter has from now on. It must keep the order and the equality of
/// all frames of one life that can still matter; an explorer lets those that can't become one.
pub type Renumber<'a> = dyn Fn(Voter, FrameName) -> u32 + 'a;

pub(crate) fn rename(name: &mut Option<FrameName>, of: Voter, number: &Renumber<'_>) {
    *name = name.map(|name| FrameName { seq: number(of, name), ..name });
}

/// When something was, if that is less than `span` ago; longer ago is all the same.
pub(crate) fn lately(at: Instant, now: Instant, span: Duration) -> Instant {
    if now.since(at) >= span { Instant::ZERO } else { at }
}
