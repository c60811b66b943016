//! What the two ends of a test say to each other: lines of text.
//!
//! ```text
//! # hb-serial-test 1 id=3f9a01c2 node=linuxha1 device=/dev/ttyS0 baud=19200 out=dr heard=- say=hail crc=5d1e
//! ```
//!
//! A line begins with `#`, so that a shell at the other end takes it for a comment, and holds only
//! printable ASCII, so that a person with cat(1) can read it. It ends with a CRC, so that one which was
//! damaged on its way counts for nothing.

use std::fmt::Write as _;

use crc::{CRC_16_XMODEM, Crc};

/// How a line begins; the number is this language's version.
pub const MARK: &str = "# hb-serial-test 1 ";
/// Longer lines are none of ours: bounds what a hearer keeps.
pub const MAX_LINE: usize = 256;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// What an end wants of the other one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// "Here I am"; said over and over.
    Hail,
    /// "Let us both send blocks at this speed now."
    Go { baud: u32, blocks: u32 },
    /// "I do", to [`Say::Go`]. What it counted follows in a [`Say::Counted`].
    Ready { baud: u32 },
    /// "Tell me what you counted at this speed."
    Ask { baud: u32 },
    /// What arrived at this speed.
    Counted { baud: u32, blocks: u32, bits_wrong: u32, strays: u32 },
    /// "That was all."
    Bye,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// Of this run of the test at this end, at random.
    pub id: u32,
    /// `uname -n`.
    pub node: String,
    /// The port as this end was told it.
    pub device: String,
    /// The speed that the ends meet at.
    pub baud: u32,
    /// This end's own outputs: DTR, RTS. They stay so until the next line.
    pub out: (bool, bool),
    /// Whom this end hears.
    pub heard: Option<u32>,
    /// What it wants.
    pub say: Say,
}

impl Beacon {
    /// As bytes for the wire: a line of its own, whatever stood before it.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let heard = self.heard.map_or_else(|| "-".to_owned(), |id| format!("{id:08x}"));
        let mut out = String::new();
        for (letter, on) in [('d', self.out.0), ('r', self.out.1)] {
            out.push(if on { letter } else { '-' });
        }
        let (node, device) = (word(&self.node), word(&self.device));
        let mut text = format!(
            "{MARK}id={:08x} node={node} device={device} baud={} out={out} heard={heard} say=",
            self.id, self.baud
        );
        // Writing to a String can't fail.
        let _ = match self.say {
            Say::Hail => write!(text, "hail"),
            Say::Go { baud, blocks } => write!(text, "go:{baud}:{blocks}"),
            Say::Ready { baud } => write!(text, "ready:{baud}"),
            Say::Ask { baud } => write!(text, "ask:{baud}"),
            Say::Counted { baud, blocks, bits_wrong, strays } => {
                write!(text, "counted:{baud}:{blocks}:{bits_wrong}:{strays}")
            }
            Say::Bye => write!(text, "bye"),
        };
        let crc = CRC.checksum(text.as_bytes());
        format!("\r\n{text} crc={crc:04x}\r\n").into_bytes()
    }

    /// Reads one line without its end; `None` when it is not ours, or damaged.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (text, crc) = line.rsplit_once(" crc=")?;
        if u16::from_str_radix(crc, 16).ok()? != CRC.checksum(text.as_bytes()) {
            return None;
        }
        let fields = text.strip_prefix(MARK)?;
        let field = |name: &str| {
            fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        Some(Self {
            id: hex(field("id")?)?,
            node: field("node")?.to_owned(),
            device: field("device")?.to_owned(),
            baud: field("baud")?.parse().ok()?,
            out: (field("out")?.contains('d'), field("out")?.contains('r')),
            heard: match field("heard")? {
                "-" => None,
                id => Some(hex(id)?),
            },
            say: Say::read(field("say")?)?,
        })
    }
}

impl Say {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let word = parts.next()?;
        let numbers: Vec<u32> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(match (word, &numbers[..]) {
            ("hail", []) => Self::Hail,
            ("go", &[baud, blocks]) => Self::Go { baud, blocks },
            ("ready", &[baud]) => Self::Ready { baud },
            ("ask", &[baud]) => Self::Ask { baud },
            ("counted", &[baud, blocks, bits_wrong, strays]) => {
                Self::Counted { baud, blocks, bits_wrong, strays }
            }
            ("bye", []) => Self::Bye,
            _ => return None,
        })
    }
}

/// A name as one word of printable ASCII, cut to what a line has room for.
fn word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon(say: Say) -> Beacon {
        Beacon {
            id: 0x3f9a_01c2,
            node: "linuxha1".into(),
            device: "/dev/ttyS0".into(),
            baud: 19_200,
            out: (true, false),
            heard: Some(7),
            say,
        }
    }

    #[test]
    fn every_line_is_read_as_it_was_written_and_is_printable() {
        let says = [
            Say::Hail,
            Say::Go { baud: 9600, blocks: 30 },
            Say::Ready { baud: 9600 },
            Say::Ask { baud: 9600 },
            Say::Counted { baud: 9600, blocks: 29, bits_wrong: 3, strays: 1 },
            Say::Bye,
        ];
        for say in says {
            let line = beacon(say).line();
            let text = &line[2..line.len() - 2];
            assert!(text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
            assert!(text.len() <= MAX_LINE && text.starts_with(b"#"));
            assert_eq!(Beacon::read(text), Some(beacon(say)));
        }
    }

    #[test]
    fn a_damaged_line_counts_for_nothing() {
        let line = beacon(Say::Hail).line();
        let text = &line[2..line.len() - 2];
        for at in 0..text.len() {
            let mut damaged = text.to_vec();
            damaged[at] ^= 0x04;
            assert_eq!(Beacon::read(&damaged), None, "byte {at}");
        }
        assert_eq!(Beacon::read(b"hello"), None);
    }

    #[test]
    fn names_with_blanks_stay_one_word() {
        let odd = Beacon { node: "my node\n".into(), ..beacon(Say::Hail) };
        let line = odd.line();
        let read = Beacon::read(&line[2..line.len() - 2]).expect("readable");
        assert_eq!(read.node, "my_node_");
    }
}
