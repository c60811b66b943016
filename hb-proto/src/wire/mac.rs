//! HMAC (RFC 2104) over SHA-256's compression (FIPS 180-4), keyed once.
//!
//! The hashing itself is the `sha2` crate's. What the `hmac` crate does around it for any hash and any way of feeding it
//! is done here for whole frames alone, in a third of the flash and of a key's RAM; tests hold it against that crate
//! and RFC 4231.

use sha2::block_api::compress256;

/// Bytes that SHA-256 takes at once.
const BLOCK: usize = 64;
/// FIPS 180-4 §5.3.3.
const START: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

type State = [u32; 8];

/// Both hashes of a key, each with its first block taken: saves two of four compressions a frame.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Mac {
    inner: State,
    outer: State,
}

impl Mac {
    /// Of a secret of any length.
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut padded = [0; BLOCK];
        if let Some(room) = padded.get_mut(..secret.len()) {
            room.copy_from_slice(secret);
        } else {
            padded[..32].copy_from_slice(&finish(START, 0, secret));
        }
        Self { inner: begun(padded, 0x36), outer: begun(padded, 0x5C) }
    }

    /// The whole tag of a message.
    #[inline(never)]
    pub(super) fn tag(&self, message: &[u8]) -> [u8; 32] {
        let inner = finish(self.inner, 1, message);
        finish(self.outer, 1, &inner)
    }
}

/// RFC 2104 §2: the key, exclusive or with a byte repeated, is the first block.
#[inline(never)]
fn begun(mut padded: [u8; BLOCK], pad: u8) -> State {
    let mut state = START;
    padded.iter_mut().for_each(|byte| *byte ^= pad);
    compress256(&mut state, &[padded]);
    state
}

/// The hash of what `state` has taken, `blocks` of it, and of `rest`, the message's end (FIPS 180-4 §5.1.1).
#[inline(never)]
fn finish(mut state: State, blocks: usize, rest: &[u8]) -> [u8; 32] {
    let bits = ((blocks * BLOCK + rest.len()) * 8) as u32;
    let (whole, rest) = rest.as_chunks();
    compress256(&mut state, whole);
    let mut last = [0; BLOCK];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    if let Some(end) = last.get_mut(rest.len()) {
        *end = 0x80;
    }
    if rest.len() >= BLOCK - 8 {
        compress256(&mut state, &[last]);
        last = [0; BLOCK];
    }
    // A message beyond 2³² bits is none of ours.
    last[BLOCK - 4..].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &[last]);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    /// RFC 4231 §4: all cases for SHA-256 but 5, which is a truncation of one like them.
    #[test]
    fn tags_are_those_of_rfc4231() {
        let long = "This is a test using a larger than block-size key and a larger than block-size data. The key \
                    needs to be hashed before being used by the HMAC algorithm.";
        let count: Vec<u8> = (1..=25).collect();
        for (secret, data, tag) in [
            (
                &[0x0B; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xAA; 20],
                &[0xDD; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &count,
                &[0xCD; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                &[0xAA; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xAA; 131],
                long.as_bytes(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            assert_eq!(Mac::new(secret).tag(data)[..], bytes(tag), "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn tags_are_those_of_the_hmac_crate(
            secret in proptest::collection::vec(any::<u8>(), 0..200),
            message in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let theirs = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
            let theirs = theirs.chain_update(&message).finalize().into_bytes();
            prop_assert_eq!(&Mac::new(&secret).tag(&message)[..], &theirs[..]);
        }
    }
}
