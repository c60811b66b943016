//! Chance, decided by one number.

/// xoshiro256** seeded by SplitMix64 (Blackman and Vigna, "Scrambled linear pseudorandom number
/// generators", 2021). Ours, so that a seed means the same run whatever crate versions are built in.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// One step of SplitMix64: spreads neighbouring numbers over the whole range.
#[must_use]
pub const fn spread(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// The sequence that `seed` names.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let mut state = [0; 4];
        let mut at = 0;
        let mut z = seed;
        while at < 4 {
            z = spread(z);
            state[at] = z;
            at += 1;
        }
        Self { state }
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        if to <= from {
            return from;
        }
        let span = u128::from(to - from) + 1;
        from + ((u128::from(self.bits()) * span) >> 64) as u64
    }

    /// True this often in a thousand.
    pub fn permille(&mut self, permille: u32) -> bool {
        permille > 0 && self.between(0, 999) < u64::from(permille)
    }

    /// True this often in a million.
    pub fn per_million(&mut self, times: u32) -> bool {
        times > 0 && self.between(0, 999_999) < u64::from(times)
    }

    /// True every other time.
    pub fn coin(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// One of them; the slice must not be empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// A sequence of its own, so that one consumer's draws don't shift another's.
    pub const fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }
}

/// The seed that a word names: a decimal or 0x number, or a commit's 40 hex digits.
#[must_use]
pub fn seed_of(word: &str) -> Option<u64> {
    let is_commit = word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit {
        // FNV-1a over the digits.
        return Some(word.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01B3)
        }));
    }
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_sequence() {
        let mut rng = Rng::new(1);
        let first: Vec<u64> = (0..4).map(|_| rng.bits()).collect();
        let mut again = Rng::new(1);
        assert_eq!(first, (0..4).map(|_| again.bits()).collect::<Vec<_>>());
        assert_ne!(Rng::new(2).bits(), first[0]);
    }

    #[test]
    fn a_commit_is_a_seed() {
        let commit = "e36c279000000000000000000000000000000000";
        assert_eq!(seed_of(commit), seed_of(&commit.to_uppercase()));
        assert_eq!(seed_of("17"), Some(17));
        assert_eq!(seed_of("0x11"), Some(17));
        assert_eq!(seed_of("soup"), None);
    }
}
