//! Blocks of known bytes for the bit error rate: what arrives is compared bit by bit with what was sent.
//!
//! A block is a mark, its number, and 28 bytes that follow from the number. The receiver expects the next
//! block where the last one ended, and takes it for that one while most of its bits agree; so a flipped bit
//! is counted wherever it strikes. When bytes are lost or added the blocks shift: then it looks for the
//! next mark and counts what it skipped.

/// Bytes of a block.
pub const BLOCK: usize = 32;
const MARK: [u8; 2] = [0xA5, 0x5A];
/// A block of which more bits are wrong is not taken for that block: random bytes differ in half of them.
const TOO_MANY_WRONG: u32 = 8 * BLOCK as u32 / 4;

/// Block `number`.
#[must_use]
pub fn block(number: u16) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..2].copy_from_slice(&MARK);
    block[2..4].copy_from_slice(&number.to_be_bytes());
    // xorshift32 (Marsaglia 2003); the seed is never zero.
    let mut state = u32::from(number) | 0x5EED_0000;
    for byte in &mut block[4..] {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = (state >> 24) as u8;
    }
    block
}

/// What arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Blocks that were recognised, damaged ones among them.
    pub blocks: u32,
    /// Wrong bits in these.
    pub bits_wrong: u32,
    /// Bytes that belong to no block.
    pub strays: u32,
}

/// Recognises blocks in a stream.
#[derive(Debug, Default)]
pub struct Counter {
    buffer: Vec<u8>,
    next: u16,
    count: Count,
}

impl Counter {
    /// More of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut from = 0;
        while self.buffer.len() - from >= BLOCK {
            let window = &self.buffer[from..from + BLOCK];
            let number = self.number_of(window);
            match number {
                Some((number, wrong)) => {
                    self.count.blocks += 1;
                    self.count.bits_wrong += wrong;
                    self.next = number.wrapping_add(1);
                    from += BLOCK;
                }
                None => {
                    self.count.strays += 1;
                    from += 1;
                }
            }
        }
        self.buffer.drain(..from);
    }

    /// Which block this is, and how many of its bits are wrong: the expected one, or one after it.
    fn number_of(&self, window: &[u8]) -> Option<(u16, u32)> {
        let wrong = |number: u16| {
            let expected = block(number);
            let pairs = window.iter().zip(expected);
            pairs.map(|(got, sent)| (got ^ sent).count_ones()).sum::<u32>()
        };
        if wrong(self.next) <= TOO_MANY_WRONG {
            return Some((self.next, wrong(self.next)));
        }
        let number = u16::from_be_bytes([window[2], window[3]]);
        let later = number.wrapping_sub(self.next) < u16::MAX / 2;
        (window[..2] == MARK && later && wrong(number) <= TOO_MANY_WRONG)
            .then(|| (number, wrong(number)))
    }

    /// Whether the last of so many blocks has come.
    #[must_use]
    pub fn has_seen(&self, blocks: u32) -> bool {
        self.count.blocks > 0 && u32::from(self.next) == blocks % (u32::from(u16::MAX) + 1)
    }

    /// So far; what waits for the rest of a block counts as stray.
    #[must_use]
    pub fn count(&self) -> Count {
        Count { strays: self.count.strays + self.buffer.len() as u32, ..self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(blocks: u16) -> Vec<u8> {
        (0..blocks).flat_map(block).collect()
    }

    fn count(bytes: &[u8]) -> Count {
        let mut counter = Counter::default();
        // In uneven pieces, as a line brings them.
        bytes.chunks(7).for_each(|piece| counter.feed(piece));
        counter.count()
    }

    #[test]
    fn a_clean_stream_has_no_errors() {
        assert_eq!(count(&stream(50)), Count { blocks: 50, bits_wrong: 0, strays: 0 });
    }

    #[test]
    fn each_flipped_bit_is_counted_wherever_it_strikes() {
        for at in 0..2 * BLOCK {
            let mut bytes = stream(3);
            bytes[at] ^= 0x10;
            assert_eq!(count(&bytes), Count { blocks: 3, bits_wrong: 1, strays: 0 }, "byte {at}");
        }
    }

    #[test]
    fn lost_and_added_bytes_cost_their_block_and_no_other() {
        let mut bytes = stream(10);
        bytes.remove(40);
        let lost = count(&bytes);
        assert_eq!((lost.blocks, lost.bits_wrong), (9, 0));
        let mut bytes = stream(10);
        bytes.insert(64, 0x77);
        let added = count(&bytes);
        assert_eq!((added.blocks, added.bits_wrong, added.strays), (10, 0, 1));
    }

    #[test]
    fn garbage_is_no_block() {
        let mut bytes = stream(100);
        for byte in &mut bytes {
            *byte = byte.rotate_left(3) ^ 0x5A;
        }
        let garbage = count(&bytes);
        assert_eq!(garbage.blocks, 0);
        assert_eq!(garbage.strays as usize, bytes.len());
    }
}
