//! Bytes ↔ values: framing, authentication, messages (protocol.md §5).
//!
//! A received frame passes, in this order: tag, version, replay, decode, nothing left over, meaning.
//! Each step has a [`Reject`] reason of its own and each reason has a counter; what fails is dropped.

pub mod auth;
pub mod cobs;
pub mod fields;
pub mod message;
pub mod port;
pub mod service;

/// Longest frame, tag included, before line encoding. Asserted against the real encoder.
pub const MAX_FRAME: usize = 112;
/// Longest frame on a serial line, without its delimiter.
pub const MAX_LINE_FRAME: usize = cobs::encoded_len(MAX_FRAME) - 1;
/// Shortest thing that can be a frame: a status with a CRC tag.
pub const MIN_FRAME: usize = message::HEADER_LEN + message::STATUS_LEN + auth::CRC_TAG;

/// Why a frame was dropped. One counter each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reject {
    /// The line damaged it: no COBS encoding, or too long for one.
    Framing,
    /// Too short or too long for any frame.
    Length,
    /// Signed with a key number that authkeys doesn't list.
    Key,
    /// The tag is not the key's.
    Tag,
    /// A protocol version that this program doesn't speak.
    Version,
    /// Not newer than what was already taken from this sender on this link.
    Replay,
    /// The body is not the encoding of its kind.
    Decode,
    /// Bytes after the body.
    Trailing,
    /// A value that can't be: an unknown sender, a life without number.
    Meaning,
    /// One's own frame, heard back.
    Own,
}

impl Reject {
    /// How many reasons there are.
    pub const COUNT: usize = 10;
    /// All reasons, in the order of the checks.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Framing,
        Self::Length,
        Self::Key,
        Self::Tag,
        Self::Version,
        Self::Replay,
        Self::Decode,
        Self::Trailing,
        Self::Meaning,
        Self::Own,
    ];

    /// The word that status output and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Length => "length",
            Self::Key => "key",
            Self::Tag => "tag",
            Self::Version => "version",
            Self::Replay => "replay",
            Self::Decode => "decode",
            Self::Trailing => "trailing",
            Self::Meaning => "meaning",
            Self::Own => "own",
        }
    }

    /// Position in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
