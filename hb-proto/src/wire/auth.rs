//! Who may speak: keys, tags, and which key a frame was signed with.
//!
//! The tag is HMAC-SHA-256 (RFC 2104, FIPS 180-4) truncated to 64 bits. RFC 2104 §5 asks for at least
//! half the hash so that a forger gains nothing offline; here every guess must travel over the wire and
//! is counted, and at 10,000 guesses a second the first forgery is due after 29 million years.
//! Longer tags would cost the serial line a quarter of its heartbeat rate.

use crc::{CRC_32_CKSUM, Crc};
use heapless::Vec;
use hmac::block_api::HmacCore;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Reject;

/// Keys that can be accepted at once: authkeys numbers them 0–15.
pub const MAX_KEYS: usize = 16;
/// Bytes of an HMAC tag on the wire.
pub const HMAC_TAG: usize = 8;
/// Bytes of a CRC tag on the wire.
pub const CRC_TAG: usize = 4;

/// Bit by bit on a microcontroller: a table takes 1 KiB of its flash, and it has time.
#[cfg(target_pointer_width = "32")]
const CRC32: Crc<u32, crc::NoTable> = Crc::<u32, crc::NoTable>::new(&CRC_32_CKSUM);
#[cfg(not(target_pointer_width = "32"))]
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);

/// The CRC-32 of POSIX' `cksum`, little-endian: finds damage.
#[must_use]
#[inline(never)]
pub fn check_sum(bytes: &[u8]) -> [u8; CRC_TAG] {
    CRC32.checksum(bytes).to_le_bytes()
}

/// One entry of authkeys.
#[derive(Clone)]
pub struct Key {
    id: u8,
    method: Method,
}

#[derive(Clone)]
enum Method {
    /// Finds damage, keeps nobody out; shown as insecure wherever it is shown.
    Crc,
    /// Keyed once, cloned for every frame: saves two of four compressions. Without the buffer that [`Hmac`] has beside
    /// it, which is empty then.
    Hmac(HmacCore<Sha256>),
}

impl Key {
    /// A key that authenticates: HMAC-SHA-256 with `secret`, any length. `None` for an id beyond 15.
    #[must_use]
    pub fn hmac(id: u8, secret: &[u8]) -> Option<Self> {
        let keyed = HmacCore::new_from_slice(secret).ok()?;
        (usize::from(id) < MAX_KEYS).then_some(Self { id, method: Method::Hmac(keyed) })
    }

    /// The classics' `crc`: no secret, no authentication. `None` for an id beyond 15.
    #[must_use]
    pub fn crc(id: u8) -> Option<Self> {
        (usize::from(id) < MAX_KEYS).then_some(Self { id, method: Method::Crc })
    }

    /// Its number in authkeys.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// Whether `other` is this key: the same number, method and secret.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            && match (&self.method, &other.method) {
                (Method::Crc, Method::Crc) => true,
                // Two secrets with the same tag over nothing are one secret, by the strength of SHA-256.
                (Method::Hmac(one), Method::Hmac(other)) => {
                    begun(one).finalize() == begun(other).finalize()
                }
                _ => false,
            }
    }

    /// Appends the tag to the `len` bytes of frame in `buf`; the whole length, `None` if it doesn't fit.
    #[must_use]
    pub fn seal(&self, buf: &mut [u8], len: usize) -> Option<usize> {
        let (frame, room) = buf.split_at_mut_checked(len)?;
        let tag = room.get_mut(..self.tag_len())?;
        match &self.method {
            Method::Crc => tag.copy_from_slice(&check_sum(frame)),
            Method::Hmac(keyed) => {
                let full = begun(keyed).chain_update(frame).finalize().into_bytes();
                tag.copy_from_slice(&full[..HMAC_TAG]);
            }
        }
        Some(len + tag.len())
    }

    /// The frame without its tag, if that is this key's.
    ///
    /// # Errors
    /// [`Reject::Length`] or [`Reject::Tag`]. The comparison takes constant time.
    pub fn open<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], Reject> {
        let body = frame.len().checked_sub(self.tag_len()).ok_or(Reject::Length)?;
        let (frame, found) = frame.split_at_checked(body).ok_or(Reject::Length)?;
        let genuine = match &self.method {
            Method::Crc => check_sum(frame) == found,
            Method::Hmac(keyed) => {
                begun(keyed).chain_update(frame).verify_truncated_left(found).is_ok()
            }
        };
        if genuine { Ok(frame) } else { Err(Reject::Tag) }
    }

    const fn tag_len(&self) -> usize {
        match self.method {
            Method::Crc => CRC_TAG,
            Method::Hmac(_) => HMAC_TAG,
        }
    }
}

/// With nothing but the key taken.
fn begun(keyed: &HmacCore<Sha256>) -> Hmac<Sha256> {
    Hmac::compose(keyed.clone(), Buffer::<HmacCore<Sha256>>::default())
}

/// For frames that everybody may read and write.
pub(crate) static IN_THE_CLEAR: Key = Key { id: 0, method: Method::Crc };

/// All accepted keys, up to `N`, and the one that signs.
#[derive(Clone)]
pub struct KeyRing<const N: usize = MAX_KEYS> {
    keys: Vec<Key, N>,
    signing: usize,
}

impl<const N: usize> KeyRing<N> {
    /// Keys to accept, and the number of the one that signs; `None` unless that one is among them.
    #[must_use]
    pub fn new(keys: Vec<Key, N>, signing: u8) -> Option<Self> {
        let signing = keys.iter().position(|key| key.id == signing)?;
        Some(Self { keys, signing })
    }

    /// The same, put into a smaller ring: the key that signs, and of the others the first that find room.
    pub fn narrow_into<const M: usize>(&self, to: &mut KeyRing<M>) {
        let signing = self.signing_id();
        let keys = &mut to.keys;
        keys.clear();
        let (first, others) = (self.signing, self.keys.len());
        for at in core::iter::once(first).chain((0..others).filter(|&at| at != first)) {
            // What finds no room is not accepted.
            let _ = keys.push(self.keys[at].clone());
        }
        debug_assert!(M > 0 && keys.first().is_some_and(|key: &Key| key.id == signing));
        to.signing = 0;
    }

    /// These keys in place of those that it had; false, and none, unless `signing` is among them.
    pub fn fill(&mut self, keys: impl Iterator<Item = Key>, signing: u8) -> bool {
        self.keys.clear();
        for key in keys {
            // What finds no room is not accepted.
            let _ = self.keys.push(key);
        }
        let found = self.keys.iter().position(|key| key.id == signing);
        if found.is_none() {
            self.keys.clear();
        }
        self.signing = found.unwrap_or(0);
        found.is_some()
    }

    /// Nobody is believed. Only to be filled.
    #[inline(always)]
    pub(crate) const fn empty() -> Self {
        Self { keys: Vec::new(), signing: 0 }
    }

    /// Whether key `id` is accepted.
    #[must_use]
    pub fn accepts(&self, id: u8) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// All of them.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The one that signs.
    #[must_use]
    pub fn signing(&self) -> &Key {
        &self.keys[self.signing]
    }

    /// Whether this very key is among them: not another one of the same number.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| known.is_same(key))
    }

    /// Number of the signing key: goes into every header.
    #[must_use]
    pub fn signing_id(&self) -> u8 {
        self.keys[self.signing].id
    }

    /// Appends the tag to the `len` bytes of frame in `buf`; the whole length, `None` if it doesn't fit.
    #[must_use]
    pub fn seal(&self, buf: &mut [u8], len: usize) -> Option<usize> {
        self.keys[self.signing].seal(buf, len)
    }

    /// The frame without its tag, if key `id` is accepted and the tag is its own.
    ///
    /// # Errors
    /// [`Reject::Length`], [`Reject::Key`] or [`Reject::Tag`]. The comparison takes constant time.
    pub fn open<'f>(&self, frame: &'f [u8], id: u8) -> Result<&'f [u8], Reject> {
        self.keys.iter().find(|key| key.id == id).ok_or(Reject::Key)?.open(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[Key], signing: u8) -> KeyRing {
        KeyRing::new(keys.iter().cloned().collect(), signing).expect("signing key is listed")
    }

    #[test]
    fn tag_is_the_head_of_rfc4231_case_2() {
        // RFC 4231 §4.3: key "Jefe", data "what do ya want for nothing?".
        let ring = ring(&[Key::hmac(1, b"Jefe").expect("id in range")], 1);
        let mut buf = [0; 64];
        let data = b"what do ya want for nothing?";
        buf[..data.len()].copy_from_slice(data);
        let len = ring.seal(&mut buf, data.len()).expect("fits");
        assert_eq!(&buf[data.len()..len], &[0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn crc_is_cksum_and_opens_only_as_crc() {
        let keys = [Key::crc(1).expect("id"), Key::hmac(2, b"secret").expect("id")];
        let ring = ring(&keys, 1);
        let mut buf = [0; 16];
        buf[..9].copy_from_slice(b"123456789");
        let len = ring.seal(&mut buf, 9).expect("fits");
        assert_eq!(&buf[9..len], &0x765e_7680_u32.to_le_bytes());
        assert_eq!(ring.open(&buf[..len], 1), Ok(&b"123456789"[..]));
        assert_eq!(ring.open(&buf[..len], 2), Err(Reject::Tag));
        assert_eq!(ring.open(&buf[..len], 3), Err(Reject::Key));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let ring = ring(&[Key::hmac(1, b"secret").expect("id")], 1);
        let mut buf = [7; 30];
        let len = ring.seal(&mut buf, 22).expect("fits");
        for bit in 0..len * 8 {
            let mut frame = buf;
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring.open(&frame[..len], 1), Err(Reject::Tag), "bit {bit}");
        }
        assert_eq!(ring.open(&buf[..7], 1), Err(Reject::Length));
    }

    #[test]
    fn a_key_is_its_number_its_method_and_its_secret() {
        let key = |id, secret: &[u8]| Key::hmac(id, secret).expect("id in range");
        let crc = |id| Key::crc(id).expect("id in range");
        let known = ring(&[key(1, b"secret"), crc(2)], 1);
        assert!(known.has(&key(1, b"secret")) && known.has(&crc(2)));
        for other in [key(1, b"Secret"), key(2, b"secret"), crc(1)] {
            assert!(!known.has(&other));
        }
        assert!(known.signing().is_same(&known.keys()[0]));
    }

    #[test]
    fn a_rolled_over_key_is_still_accepted() {
        let (old, new) = (Key::hmac(1, b"old").expect("id"), Key::hmac(2, b"new").expect("id"));
        let (before, after) = (ring(&[old.clone(), new.clone()], 1), ring(&[old, new], 2));
        let mut buf = [1; 16];
        let len = before.seal(&mut buf, 4).expect("fits");
        assert!(after.open(&buf[..len], before.signing_id()).is_ok());
    }
}
