//! A dongle's number and keys, as bytes: the record of [`crate::Area::Keys`]. Written by [`crate::desk`],
//! read when a life begins, and never sent anywhere.

use hb_proto::arbiter::MAX_ARBITER_KEYS;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::service::{MAX_SECRET, Refusal, Settings};
use heapless::Vec;

use crate::board::{Area, Store};
use crate::record::{opened, sealed};

/// Version, number, key that signs, settings; three keys; check sum.
const LENGTH: usize = 1 + HEAD + MAX_ARBITER_KEYS * KEY_BYTES + 4;
const HEAD: usize = 4 + 1 + 2 + 4;
const KEY_BYTES: usize = 2 + MAX_SECRET;
const VERSION: u8 = 2;

/// Bytes of the record of keys.
pub const KEYS_RECORD: usize = LENGTH;

/// How a slot is used.
const EMPTY: u8 = 0;
const HMAC: u8 = 1;
const CRC: u8 = 2;

/// One key. A secret shorter than a block is filled with zeros, which makes no other key (RFC 2104 §2).
#[derive(Clone)]
struct Slot {
    id: u8,
    method: u8,
    secret: [u8; MAX_SECRET],
}

/// Number, keys and settings.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The dongle's own; 0 while it has none.
    pub(crate) number: u32,
    signing: u8,
    pub(crate) settings: Settings,
    slots: Vec<Slot, MAX_ARBITER_KEYS>,
}

impl Keys {
    fn none() -> Self {
        Self { number: 0, signing: 0, settings: Settings::default(), slots: Vec::new() }
    }

    /// What the store has. A record that is not whole is none: a dongle then says that it has no key.
    pub(crate) fn load<S: Store>(store: &mut S) -> Result<Self, S::Error> {
        let mut bytes = [0; LENGTH];
        let len = store.read(Area::Keys, &mut bytes)?;
        Ok(Self::decode(&bytes[..len.min(LENGTH)]).unwrap_or_else(Self::none))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = opened(bytes, VERSION)?;
        let (&[a, b, c, d, signing, p, q, w, x, y, z], body) = body.split_first_chunk::<HEAD>()?;
        let pulse_ms = u16::from_le_bytes([p, q]);
        let watchdog_ms = u32::from_le_bytes([w, x, y, z]);
        let settings = Settings { pulse_ms, watchdog_ms };
        let number = u32::from_le_bytes([a, b, c, d]);
        let (slots, rest) = body.as_chunks::<KEY_BYTES>();
        let mut keys = Self { number, signing, settings, slots: Vec::new() };
        for &[id, method, secret @ ..] in slots {
            if method != EMPTY {
                keys.slots.push(Slot { id, method, secret }).ok()?;
            }
        }
        rest.is_empty().then_some(keys)
    }

    pub(crate) fn save<S: Store>(&self, store: &mut S) -> Result<(), S::Error> {
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&self.number.to_le_bytes());
        bytes[5] = self.signing;
        bytes[6..8].copy_from_slice(&self.settings.pulse_ms.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.settings.watchdog_ms.to_le_bytes());
        for (to, slot) in bytes[1 + HEAD..].chunks_exact_mut(KEY_BYTES).zip(&self.slots) {
            to[..2].copy_from_slice(&[slot.id, slot.method]);
            to[2..].copy_from_slice(&slot.secret);
        }
        sealed(&mut bytes);
        store.write(Area::Keys, &bytes)
    }

    /// Adds a key, or replaces the one of the same number.
    pub(crate) fn set(
        &mut self,
        id: u8,
        crc: bool,
        secret: &[u8],
        signs: bool,
    ) -> Result<(), Refusal> {
        let mut padded = [0; MAX_SECRET];
        padded.get_mut(..secret.len()).ok_or(Refusal::NoRoom)?.copy_from_slice(secret);
        let slot = Slot { id, method: if crc { CRC } else { HMAC }, secret: padded };
        if slot.key().is_none() {
            return Err(Refusal::WrongKey);
        }
        match self.slots.iter_mut().find(|slot| slot.id == id) {
            Some(old) => *old = slot,
            None => self.slots.push(slot).map_err(|_| Refusal::NoRoom)?,
        }
        if signs || self.slots.len() == 1 {
            self.signing = id;
        }
        Ok(())
    }

    /// Forgets a key.
    pub(crate) fn drop(&mut self, id: u8) -> Result<(), Refusal> {
        if id == self.signing || !self.slots.iter().any(|slot| slot.id == id) {
            return Err(Refusal::WrongKey);
        }
        for slot in core::mem::take(&mut self.slots) {
            if slot.id != id {
                // One less than there were.
                let _ = self.slots.push(slot);
            }
        }
        Ok(())
    }

    /// To be used; `None` while there are none.
    pub(crate) fn ring(&self) -> Option<KeyRing<MAX_ARBITER_KEYS>> {
        KeyRing::new(self.slots.iter().filter_map(Slot::key).collect(), self.signing)
    }
}

impl Slot {
    fn key(&self) -> Option<Key> {
        if self.method == CRC { Key::crc(self.id) } else { Key::hmac(self.id, &self.secret) }
    }
}

/// The dongle's number and keys, if it was ever given any and they are whole.
///
/// # Errors
/// The store can't be read.
pub fn provisioned<S: Store>(
    store: &mut S,
) -> Result<Option<(u32, KeyRing<MAX_ARBITER_KEYS>)>, S::Error> {
    let keys = Keys::load(store)?;
    Ok(keys.ring().map(|ring| (keys.number, ring)))
}

/// Forgets number, keys and settings: for the button that is held while power comes.
///
/// # Errors
/// They are still there.
pub fn erase_keys<S: Store>(store: &mut S) -> Result<(), S::Error> {
    Keys::none().save(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One area, in memory.
    struct Memory(std::vec::Vec<u8>);

    impl Store for Memory {
        type Error = ();

        fn read(&mut self, area: Area, record: &mut [u8]) -> Result<usize, ()> {
            assert_eq!(area, Area::Keys);
            let len = self.0.len().min(record.len());
            record[..len].copy_from_slice(&self.0[..len]);
            Ok(len)
        }

        fn write(&mut self, _: Area, record: &[u8]) -> Result<(), ()> {
            self.0 = record.to_vec();
            Ok(())
        }
    }

    fn tag(ring: &KeyRing<MAX_ARBITER_KEYS>) -> [u8; 12] {
        let mut buf = [7; 12];
        assert_eq!(ring.seal(&mut buf, 4), Some(12));
        buf
    }

    #[test]
    fn keys_are_kept_replaced_and_forgotten() {
        let mut store = Memory(std::vec::Vec::new());
        assert!(provisioned(&mut store).expect("read").is_none(), "a blank one");
        let mut keys = Keys { number: 9, ..Keys::none() };
        assert_eq!(keys.set(1, false, b"a secret", false), Ok(()));
        assert_eq!(keys.set(2, false, &[5; MAX_SECRET], true), Ok(()));
        assert_eq!(keys.set(3, true, &[], false), Ok(()));
        assert_eq!(keys.set(4, false, b"one more", false), Err(Refusal::NoRoom));
        assert_eq!(keys.set(2, false, &[6; MAX_SECRET], false), Ok(()), "replaced, signs still");
        assert_eq!(keys.drop(2), Err(Refusal::WrongKey), "it signs");
        assert_eq!(keys.drop(3), Ok(()));
        assert_eq!(keys.set(16, false, b"x", false), Err(Refusal::WrongKey), "authkeys ends at 15");
        keys.save(&mut store).expect("stored");
        let (number, ring) = provisioned(&mut store).expect("read").expect("there");
        assert_eq!(
            (number, ring.signing_id(), ring.accepts(1), ring.accepts(3)),
            (9, 2, true, false)
        );
        let direct = KeyRing::new(Key::hmac(2, &[6; MAX_SECRET]).into_iter().collect(), 2);
        assert_eq!(tag(&ring), tag(&direct.expect("listed")));
        erase_keys(&mut store).expect("stored");
        assert!(provisioned(&mut store).expect("read").is_none());
    }

    #[test]
    fn a_damaged_record_is_no_key() {
        let mut store = Memory(std::vec::Vec::new());
        let mut keys = Keys { number: 9, ..Keys::none() };
        keys.set(1, false, b"a secret", true).expect("room");
        keys.save(&mut store).expect("stored");
        for bit in 0..store.0.len() * 8 {
            store.0[bit / 8] ^= 1 << (bit % 8);
            assert!(provisioned(&mut store).expect("read").is_none(), "bit {bit}");
            store.0[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
