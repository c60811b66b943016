//! What comes out of a serial line, sorted: the other end's beacons, our own echo, somebody's text, a
//! heartbeat, or nothing that makes sense.

use hb_proto::wire::cobs;

use super::beacon::{Beacon, MAX_LINE};
use super::report::Others;

/// Bytes of text that are kept to be shown.
const KEPT: usize = 512;
/// Fewer bytes than these are no evidence of anything: plugging in makes a few.
pub const FEW: usize = 16;

/// Everything that was heard in one stretch of listening.
#[derive(Debug)]
pub struct Hearing {
    me: u32,
    line: Vec<u8>,
    frame: Frames,
    /// Of our own beacons that came back.
    pub echoes: u32,
    /// Bytes that were part of no beacon.
    pub others: usize,
    /// Of these, printable ones and line ends.
    printable: usize,
    /// The last of these.
    kept: Vec<u8>,
}

impl Hearing {
    /// Nothing heard yet; `me` is this end's own id.
    #[must_use]
    pub fn new(me: u32) -> Self {
        Self {
            me,
            line: Vec::new(),
            frame: Frames::default(),
            echoes: 0,
            others: 0,
            printable: 0,
            kept: Vec::new(),
        }
    }

    /// More bytes; returns the beacons of others that end in them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Beacon> {
        let mut beacons = Vec::new();
        self.frame.feed(bytes);
        for &byte in bytes {
            if byte != b'\r' && byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > MAX_LINE {
                    self.end_line();
                }
                continue;
            }
            match Beacon::read(&self.line) {
                Some(beacon) if beacon.id == self.me => self.echoes += 1,
                Some(beacon) => beacons.push(beacon),
                None => {
                    self.end_line();
                    continue;
                }
            }
            self.line.clear();
        }
        beacons
    }

    /// A line that is no beacon.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // A beacon that was damaged on its way is no text of anybody's.
        let damaged = line.windows(14).any(|part| part == b"hb-serial-test");
        if damaged || line.is_empty() {
            return;
        }
        self.others += line.len();
        let is_text = |byte: &&u8| matches!(byte, b' '..=b'~' | b'\t' | 0x1b | 0x08);
        self.printable += line.iter().filter(is_text).count();
        self.kept.extend_from_slice(&line);
        self.kept.push(b'\n');
        let over = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..over);
    }

    /// What was heard beside beacons.
    #[must_use]
    pub fn others(&mut self) -> Others {
        self.end_line();
        if self.frame.are_heartbeats() {
            return Others::Heartbeat;
        }
        let login = login(&self.kept);
        if self.others < FEW && !login {
            return Others::Nothing;
        }
        // A UART at the wrong speed makes printable bytes, too, but not nine in ten.
        if self.printable * 10 < self.others * 9 {
            return Others::Garbage;
        }
        Others::Text { sample: readable(&self.kept), login }
    }
}

/// getty(8) and login(1) ask so in every language that they speak on a serial line by default.
fn login(text: &[u8]) -> bool {
    ["ogin:", "assword:"].iter().any(|ask| text.windows(ask.len()).any(|w| w == ask.as_bytes()))
}

/// On one line, without what a terminal would obey.
fn readable(text: &[u8]) -> String {
    let text: String =
        text.iter().map(|&b| if (b' '..=b'~').contains(&b) { b as char } else { ' ' }).collect();
    let words: Vec<_> = text.split_whitespace().collect();
    let tail = words.join(" ");
    let from = tail.len().saturating_sub(120);
    tail[from..].to_owned()
}

/// Frames between zeros whose bytes are valid COBS (docs/protocol.md §5): heartbeatd at the other end.
#[derive(Debug, Default)]
struct Frames {
    frame: Vec<u8>,
    good: u32,
    bad: u32,
    began: bool,
}

impl Frames {
    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != 0 {
                if self.frame.len() <= crate::media::MAX_SERIAL {
                    self.frame.push(byte);
                }
                continue;
            }
            // What came before the first zero may be the rest of a frame.
            if self.began && !self.frame.is_empty() {
                if is_cobs(&self.frame) {
                    self.good += 1;
                } else {
                    self.bad += 1;
                }
            }
            self.began = true;
            self.frame.clear();
        }
    }

    /// Enough of them, and few that are none: random bytes seldom end where COBS says.
    fn are_heartbeats(&self) -> bool {
        self.good >= 3 && self.good >= 4 * self.bad
    }
}

/// A whole frame's bytes, as hb-proto reads them; its tag takes the key, which isn't known here.
fn is_cobs(frame: &[u8]) -> bool {
    let mut bytes = [0; crate::media::MAX_SERIAL];
    let Some(bytes) = bytes.get_mut(..frame.len()) else { return false };
    bytes.copy_from_slice(frame);
    let frames = crate::media::MIN_FRAME..=crate::media::MAX_FRAME;
    cobs::decode_in_place(bytes).is_some_and(|length| frames.contains(&length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::beacon::Say;

    fn beacon(id: u32) -> Beacon {
        Beacon {
            id,
            node: "linuxha2".into(),
            device: "/dev/ttyS0".into(),
            baud: 19_200,
            out: (true, true),
            heard: None,
            say: Say::Hail,
        }
    }

    #[test]
    fn beacons_echo_and_text_are_told_apart() {
        let mut hearing = Hearing::new(1);
        let mut bytes = beacon(1).line();
        bytes.extend(beacon(2).line());
        bytes.extend(b"Debian GNU/Linux 13 linuxha2 ttyS0\r\n\r\nlinuxha2 login: ");
        let heard: Vec<_> = bytes.chunks(5).flat_map(|piece| hearing.feed(piece)).collect();
        assert_eq!(heard, [beacon(2)]);
        assert_eq!(hearing.echoes, 1);
        let Others::Text { sample, login } = hearing.others() else { panic!("text") };
        assert!(login && sample.ends_with("linuxha2 login:"), "{sample}");
    }

    #[test]
    fn a_damaged_beacon_is_no_text() {
        let mut hearing = Hearing::new(1);
        let mut line = beacon(2).line();
        line[90] ^= 1;
        assert!(hearing.feed(&line).is_empty());
        assert_eq!(hearing.others(), Others::Nothing);
    }

    #[test]
    fn frames_of_heartbeat_are_recognised_and_random_bytes_are_not() {
        let mut hearing = Hearing::new(1);
        // A zero-free frame of 32 bytes under COBS: one code byte, then the bytes.
        let mut frame = vec![33];
        frame.extend([0xC3; 32]);
        frame.push(0);
        hearing.feed(&frame.repeat(5));
        assert_eq!(hearing.others(), Others::Heartbeat);
        let mut hearing = Hearing::new(1);
        let mut state = 7_u32;
        for _ in 0..4000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            hearing.feed(&[(state >> 24) as u8]);
        }
        assert_eq!(hearing.others(), Others::Garbage);
    }
}
