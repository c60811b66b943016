//! R14: keys that change while a node runs.

use core::fmt;

use super::Node;
use crate::id::Voter;
use crate::wire::auth::KeyRing;

/// Why new keys are not taken; the old ones stay. Two voters without a common key are two without a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeysRefused {
    /// They lack a key, or have another one of its number, that a voter needs as far as can be told.
    InUse {
        /// The key's number.
        id: u8,
        /// Its newest frame was signed with it, or it hasn't been heard in this life of the node.
        by: Voter,
    },
    /// The one that is to sign was not accepted before, so it may be unknown to the others, too.
    SignsAtOnce {
        /// The key's number.
        id: u8,
    },
}

impl fmt::Display for KeysRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { id, by } => write!(f, "key {id} is still needed by {by:?}"),
            Self::SignsAtOnce { id } => {
                write!(f, "key {id} would sign before it was accepted anywhere")
            }
        }
    }
}

impl core::error::Error for KeysRefused {}

impl Node {
    /// Signs and accepts by these keys from the next frame on.
    ///
    /// One step of a change at a time: first the new key is accepted by every voter, then it signs, and the old
    /// one goes when nobody signs with it any more ([`Node::key_user`]). A step that could leave this node alone
    /// is refused. A new life takes whatever keys it is given.
    ///
    /// # Errors
    /// Why the old keys stay.
    pub fn request_keys(&mut self, keys: KeyRing) -> Result<(), KeysRefused> {
        let signing = keys.signing();
        if !self.keys.has(signing) {
            return Err(KeysRefused::SignsAtOnce { id: signing.id() });
        }
        for gone in self.keys.keys().iter().filter(|key| !keys.has(key)) {
            if let Some(by) = self.other_key_user(gone.id()) {
                return Err(KeysRefused::InUse { id: gone.id(), by });
            }
        }
        self.keys = keys;
        Ok(())
    }

    /// Which other voter needs this key, as far as can be told.
    pub(super) fn other_key_user(&self, id: u8) -> Option<Voter> {
        let arbiter = self.config.arbiter.map(|_| (Voter::Arbiter, self.d.arbiter.key));
        let others = [Some((self.config.me.peer(), self.d.peer_key)), arbiter];
        let needs = |(_, key): &(Voter, Option<u8>)| key.is_none_or(|key| key == id);
        others.into_iter().flatten().find(needs).map(|(voter, _)| voter)
    }
}
