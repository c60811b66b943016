//! Consistent overhead byte stuffing: frames without a zero byte, so that zero can delimit them.
//!
//! Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999. A block of up to 254 bytes costs one
//! byte more; frames here are shorter than that, so the overhead is one byte and the delimiter.

/// Ends every frame on a serial line and occurs nowhere inside one.
pub const DELIMITER: u8 = 0;

/// Bytes that `len` bytes of frame take on the line at most, delimiter included.
#[must_use]
pub const fn encoded_len(len: usize) -> usize {
    len + len / 254 + 2
}

/// Encodes `frame` into `out` with its delimiter; `None` if `out` is too short.
#[must_use]
pub fn encode<'o>(frame: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    if out.len() < encoded_len(frame.len()) {
        return None;
    }
    let (mut code_at, mut at, mut code) = (0, 1, 1u8);
    for &byte in frame {
        if code == 0xFF {
            out[code_at] = code;
            (code_at, code) = (at, 1);
            at += 1;
        }
        if byte == DELIMITER {
            out[code_at] = code;
            (code_at, code) = (at, 1);
        } else {
            out[at] = byte;
            code += 1;
        }
        at += 1;
    }
    out[code_at] = code;
    out[at] = DELIMITER;
    Some(&out[..=at])
}

/// Decodes `bytes` (without delimiter) in place; the frame's length, or `None` if it was no encoding.
#[must_use]
pub fn decode_in_place(bytes: &mut [u8]) -> Option<usize> {
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        let code = usize::from(bytes[read]);
        let end = read + code;
        if code == 0 || end > bytes.len() {
            return None;
        }
        read += 1;
        while read < end {
            bytes[write] = bytes[read];
            read += 1;
            write += 1;
        }
        // A full block carries no zero of its own, and the last block's zero is the end itself.
        if code < 0xFF && read < bytes.len() {
            bytes[write] = 0;
            write += 1;
        }
    }
    Some(write)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn encoded(frame: &[u8]) -> Vec<u8> {
        let mut out = vec![0xAA; encoded_len(frame.len())];
        encode(frame, &mut out).expect("sized by encoded_len").to_vec()
    }

    #[test]
    fn published_examples() {
        assert_eq!(encoded(&[]), [1, 0]);
        assert_eq!(encoded(&[0]), [1, 1, 0]);
        assert_eq!(encoded(&[0x11, 0x22, 0x00, 0x33]), [3, 0x11, 0x22, 2, 0x33, 0]);
        assert_eq!(encoded(&[0x11, 0, 0, 0]), [2, 0x11, 1, 1, 1, 0]);
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert_eq!(decode_in_place(&mut [5, 1, 2]), None, "block longer than the input");
        assert_eq!(decode_in_place(&mut [2, 1, 0, 3]), None, "a zero inside");
    }

    #[test]
    fn output_too_short_is_refused() {
        assert_eq!(encode(&[1, 2, 3], &mut [0; 4]), None);
    }

    proptest! {
        #[test]
        fn round_trip_without_zero_inside(frame in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600)) {
            let mut line = encoded(&frame);
            prop_assert!(line.len() <= encoded_len(frame.len()));
            prop_assert_eq!(line.pop(), Some(DELIMITER));
            prop_assert!(!line.contains(&DELIMITER));
            let len = decode_in_place(&mut line).expect("own encoding");
            prop_assert_eq!(&line[..len], &frame[..]);
        }

        #[test]
        fn anything_decodes_without_panic(mut line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_in_place(&mut line);
        }
    }
}
