//! The memory that a dongle takes.

use core::mem::MaybeUninit;

use hb_proto::arbiter::Arbiter;

use crate::desk::Desk;
use crate::line::Bytes;
use crate::trace::Trace;

/// Room for a dongle, nine tenths of what it is. Apart from it, so that a board can set it aside: on a stack it
/// would be copied from frame to frame while a life begins.
pub struct Room {
    pub(crate) arbiter: MaybeUninit<Arbiter>,
    pub(crate) lines: [MaybeUninit<Bytes>; 2],
    pub(crate) desk: MaybeUninit<Desk>,
    pub(crate) trace: MaybeUninit<Trace>,
}

impl Room {
    /// Empty, and no byte of a program's image.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            arbiter: MaybeUninit::uninit(),
            lines: [const { MaybeUninit::uninit() }; 2],
            desk: MaybeUninit::uninit(),
            trace: MaybeUninit::uninit(),
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}
