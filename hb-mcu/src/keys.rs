//! A dongle's number and keys, as bytes: the record of [`crate::Area::Keys`]. Written by [`crate::desk`],
//! read when a life begins, and never sent anywhere.

use hb_proto::arbiter::MAX_ARBITER_KEYS;
use hb_proto::wire::auth::{Key, KeyRing, MAX_KEYS};
use hb_proto::wire::service::{MAX_SECRET, Refusal, Settings};

use crate::board::{Area, Store};
use crate::record::{opened, sealed};

/// Version, number, key that signs, settings; three keys; check sum.
const LENGTH: usize = HEAD + MAX_ARBITER_KEYS * SLOT + 4;
const HEAD: usize = 1 + 4 + 1 + 2 + 4;
/// Number and method of a key, and its secret. A shorter secret is filled with zeros, which makes no other key
/// (RFC 2104 §2).
const SLOT: usize = 2 + MAX_SECRET;
const VERSION: u8 = 2;

/// Bytes of the record of keys.
pub const KEYS_RECORD: usize = LENGTH;

/// How a slot is used.
const EMPTY: u8 = 0;
const HMAC: u8 = 1;
const CRC: u8 = 2;

/// Number, settings and keys, as they are stored: nothing of them lies on the stack twice.
pub(crate) struct Keys([u8; LENGTH]);

impl Keys {
    /// None yet: to be loaded in place.
    pub(crate) const fn none() -> Self {
        Self([0; LENGTH])
    }

    fn clear(&mut self) {
        self.0.fill(0);
        self.0[0] = VERSION;
        self.set_settings(&Settings::default());
    }

    /// What the store has. A record that is not whole is none: a dongle then says that it has no key.
    pub(crate) fn load<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        let len = store.read(Area::Keys, &mut self.0)?;
        if len != LENGTH || opened(&self.0, VERSION).is_none() {
            self.clear();
        }
        Ok(())
    }

    pub(crate) fn save<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        sealed(&mut self.0);
        store.write(Area::Keys, &self.0)
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    /// The dongle's own; 0 while it has none.
    pub(crate) fn number(&self) -> u32 {
        u32::from_le_bytes(self.field(1))
    }

    pub(crate) fn set_number(&mut self, number: u32) {
        self.0[1..5].copy_from_slice(&number.to_le_bytes());
    }

    const fn signing(&self) -> u8 {
        self.0[5]
    }

    pub(crate) fn settings(&self) -> Settings {
        let pulse_ms = u16::from_le_bytes(self.field(6));
        Settings { pulse_ms, watchdog_ms: u32::from_le_bytes(self.field(8)) }
    }

    pub(crate) fn set_settings(&mut self, settings: &Settings) {
        self.0[6..8].copy_from_slice(&settings.pulse_ms.to_le_bytes());
        self.0[8..12].copy_from_slice(&settings.watchdog_ms.to_le_bytes());
    }

    fn slots(&self) -> impl Iterator<Item = &[u8; SLOT]> {
        let (slots, _sum) = self.0[HEAD..].as_chunks();
        slots.iter().filter(|slot| slot[1] != EMPTY)
    }

    /// The slot of this key, or a free one.
    fn slot(&mut self, id: u8, method: Option<u8>) -> Option<&mut [u8; SLOT]> {
        let (slots, _sum) = self.0[HEAD..].as_chunks_mut();
        slots.iter_mut().find(|slot| match method {
            Some(method) => slot[1] == method,
            None => slot[0] == id && slot[1] != EMPTY,
        })
    }

    /// Adds a key, or replaces the one of the same number.
    pub(crate) fn set(
        &mut self,
        id: u8,
        crc: bool,
        secret: &[u8],
        signs: bool,
    ) -> Result<(), Refusal> {
        if usize::from(id) >= MAX_KEYS {
            return Err(Refusal::WrongKey);
        }
        if secret.len() > MAX_SECRET {
            return Err(Refusal::NoRoom);
        }
        let method = if self.slot(id, None).is_some() { None } else { Some(EMPTY) };
        let slot = self.slot(id, method).ok_or(Refusal::NoRoom)?;
        *slot = [0; SLOT];
        (slot[0], slot[1]) = (id, if crc { CRC } else { HMAC });
        slot[2..2 + secret.len()].copy_from_slice(secret);
        if signs || self.slots().count() == 1 {
            self.0[5] = id;
        }
        Ok(())
    }

    /// Forgets a key.
    pub(crate) fn drop(&mut self, id: u8) -> Result<(), Refusal> {
        let signing = self.signing();
        let slot = self.slot(id, None).filter(|_| id != signing).ok_or(Refusal::WrongKey)?;
        *slot = [0; SLOT];
        Ok(())
    }

    /// Puts them where they are used; false while there are none.
    pub(crate) fn fill(&self, ring: &mut KeyRing<MAX_ARBITER_KEYS>) -> bool {
        let key = |&[id, method, ref secret @ ..]: &[u8; SLOT]| {
            if method == CRC { Key::crc(id) } else { Key::hmac(id, secret) }
        };
        ring.fill(self.slots().filter_map(key), self.signing())
    }

    /// Whether a life can begin with them.
    fn are_usable(&self) -> bool {
        self.number() != 0 && self.slots().any(|slot| slot[0] == self.signing())
    }
}

/// Whether the dongle was ever given a number and keys, and they are whole: [`crate::Dongle::start_stored`].
///
/// # Errors
/// The store can't be read.
#[inline(never)] // Keys take room on the stack.
pub fn is_provisioned<S: Store>(store: &mut S) -> Result<bool, S::Error> {
    let mut keys = Keys::none();
    keys.load(store)?;
    Ok(keys.are_usable())
}

/// Forgets number, keys and settings: for the button that is held while power comes.
///
/// # Errors
/// They are still there.
#[inline(never)]
pub fn erase_keys<S: Store>(store: &mut S) -> Result<(), S::Error> {
    let mut keys = Keys::none();
    keys.clear();
    keys.save(store)
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

    fn provisioned(store: &mut Memory) -> Option<(u32, KeyRing<MAX_ARBITER_KEYS>)> {
        let mut keys = Keys::none();
        keys.load(store).expect("read");
        let crc = Key::crc(0).into_iter().collect();
        let mut ring = KeyRing::new(crc, 0).expect("listed");
        let filled = keys.fill(&mut ring);
        assert_eq!(is_provisioned(store), Ok(filled));
        filled.then_some((keys.number(), ring))
    }

    fn tag(ring: &KeyRing<MAX_ARBITER_KEYS>) -> [u8; 12] {
        let mut buf = [7; 12];
        assert_eq!(ring.seal(&mut buf, 4), Some(12));
        buf
    }

    #[test]
    fn keys_are_kept_replaced_and_forgotten() {
        let mut store = Memory(std::vec::Vec::new());
        assert!(provisioned(&mut store).is_none(), "a blank one");
        let mut keys = Keys::none();
        keys.clear();
        keys.set_number(9);
        assert_eq!(keys.set(1, false, b"a secret", false), Ok(()));
        assert_eq!(keys.set(2, false, &[5; MAX_SECRET], true), Ok(()));
        assert_eq!(keys.set(3, true, &[], false), Ok(()));
        assert_eq!(keys.set(4, false, b"one more", false), Err(Refusal::NoRoom));
        assert_eq!(keys.set(2, false, &[6; MAX_SECRET], false), Ok(()), "replaced, signs still");
        assert_eq!(keys.drop(2), Err(Refusal::WrongKey), "it signs");
        assert_eq!(keys.drop(3), Ok(()));
        assert_eq!(keys.set(16, false, b"x", false), Err(Refusal::WrongKey), "authkeys ends at 15");
        keys.save(&mut store).expect("stored");
        let (number, ring) = provisioned(&mut store).expect("there");
        assert_eq!(
            (number, ring.signing_id(), ring.accepts(1), ring.accepts(3)),
            (9, 2, true, false)
        );
        let direct = KeyRing::new(Key::hmac(2, &[6; MAX_SECRET]).into_iter().collect(), 2);
        assert_eq!(tag(&ring), tag(&direct.expect("listed")));
        erase_keys(&mut store).expect("stored");
        assert!(provisioned(&mut store).is_none());
    }

    #[test]
    fn a_damaged_record_is_no_key() {
        let mut store = Memory(std::vec::Vec::new());
        let mut keys = Keys::none();
        keys.clear();
        keys.set_number(9);
        keys.set(1, false, b"a secret", true).expect("room");
        keys.save(&mut store).expect("stored");
        for bit in 0..store.0.len() * 8 {
            store.0[bit / 8] ^= 1 << (bit % 8);
            assert!(provisioned(&mut store).is_none(), "bit {bit}");
            store.0[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
