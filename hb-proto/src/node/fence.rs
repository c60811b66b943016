//! An operator's wish that the silent peer be reset (R12).

use core::fmt;

use super::Node;
use crate::id::Voter;
use crate::peer::PeerState;
use crate::time::Instant;

/// Why the arbiter is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FenceRefused {
    /// There is no arbiter.
    NoArbiter,
    /// Nobody said that its reset lines are wired.
    NotWired,
    /// It is not heard now.
    ArbiterAbsent,
    /// The peer was never heard: which of its lives should be reset?
    PeerUnknown,
    /// The peer said goodbye: its machine may be anywhere in its life, and nothing is promised to it.
    PeerLeft,
    /// The peer is heard. Who is heard is not reset.
    PeerHeard,
}

impl fmt::Display for FenceRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoArbiter => "there is no arbiter in ha.cf",
            Self::NotWired => "there is no `fence dongle` in ha.cf: its reset lines are not wired",
            Self::ArbiterAbsent => "the dongle is not heard now",
            Self::PeerUnknown => {
                "the peer was never heard since this node started, so nobody knows which of its lives to reset"
            }
            Self::PeerLeft => "the peer has left in good order: nothing hangs there that a reset would mend",
            Self::PeerHeard => "the peer is heard, and a node that is heard is never reset",
        })
    }
}

impl core::error::Error for FenceRefused {}

impl Node {
    /// Asks the arbiter to reset the silent peer, whether or not a promise to it stands in the way, until it is heard
    /// in another life. The arbiter decides by the same rules as ever (R12).
    ///
    /// # Errors
    /// Nothing is asked; the refusal says why.
    pub fn request_fence(&mut self, now: Instant) -> Result<(), FenceRefused> {
        let arbiter = self.config.arbiter.ok_or(FenceRefused::NoArbiter)?;
        if !arbiter.fences {
            return Err(FenceRefused::NotWired);
        }
        if !self.d.ledger.is_fresh(Voter::Arbiter, now) {
            return Err(FenceRefused::ArbiterAbsent);
        }
        let voice = self.d.ledger.voice(self.config.me.peer()).ok_or(FenceRefused::PeerUnknown)?;
        match self.d.peer.state() {
            PeerState::Dead => {}
            PeerState::Unknown => return Err(FenceRefused::PeerUnknown),
            PeerState::Left => return Err(FenceRefused::PeerLeft),
            PeerState::Alive | PeerState::Late => return Err(FenceRefused::PeerHeard),
        }
        self.d.fence_wanted = Some(voice.newest.boot);
        Ok(())
    }
}
