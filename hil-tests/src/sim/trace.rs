//! What a run leaves behind: a number that two equal runs share, and, on demand, its story.

/// A run's fingerprint and, if wanted, its timeline.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps lines only if it `talks`.
    #[must_use]
    pub fn new(talks: bool) -> Self {
        Self { hash: 0, lines: talks.then(Vec::new) }
    }

    /// Takes a number in.
    pub const fn number(&mut self, number: u64) {
        // Multiply and rotate: order matters, and it is cheap enough for every byte of a simulated day.
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    /// Takes every byte in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Takes a line in, if anybody wants to read it.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// The fingerprint: every byte sent, every turn, every event and every change of a resource is in it.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The timeline; empty unless it was wanted.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
