//! What was on a rig's wires, as evidence: each frame of a serial line with its time and its fate, each byte, and for the
//! merged timeline what a person wants to know of it: who fell silent, and what began to be lost.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hb_linux::rig::line::{Line, Side};
use hb_linux::rig::trace::{Chunk, Fate};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::{Message, open};
use hb_proto::wire::port::Deframer;

use crate::chronicle::Clock;
use crate::netns::files::AUTHKEYS;
use crate::scenario::rig::{Moment, Source};

/// Damage is worth a line of the timeline this often.
const DAMAGE_AGAIN: Duration = Duration::from_secs(1);

/// One stretch of cable with a line model on it.
#[derive(Clone, Debug)]
pub struct Wire {
    /// `ttyS0`, or `ttyS0.linuxha1` for that machine's half of it.
    pub name: String,
    /// Who is at [`Side::A`] and at [`Side::B`].
    pub ends: [&'static str; 2],
    /// By time.
    chunks: Vec<(Instant, Chunk)>,
}

impl Wire {
    /// What was on a line since it was recorded.
    #[must_use]
    pub fn of(name: String, ends: [&'static str; 2], line: &Line, clock: Clock) -> Self {
        let chunks = line.trace().into_iter().map(|chunk| (clock.at(chunk.at), chunk)).collect();
        Self { name, ends, chunks }
    }

    fn ends_of(&self, from: Side) -> (&'static str, &'static str) {
        match from {
            Side::A => (self.ends[0], self.ends[1]),
            Side::B => (self.ends[1], self.ends[0]),
        }
    }

    /// One line a frame, sent and heard, and one for whatever didn't arrive. What is no frame of a heartbeat is only in
    /// [`Self::bytes`].
    #[must_use]
    pub fn frames(&self) -> String {
        let keys = keys();
        let mut text = String::new();
        let mut ports = [const { Deframer::new() }; 4];
        for (at, chunk) in &self.chunks {
            let (from, to) = self.ends_of(chunk.from);
            let mut line = |words: String| {
                let _ = writeln!(text, "{} {words}", seconds(*at));
            };
            let (who, did, port) = match chunk.fate {
                Fate::Sent => (from, "sends", 0),
                Fate::Arrived => (to, "hears", 1),
                lost => {
                    line(format!("{} bytes of {from} are {}", chunk.bytes.len(), why(lost)));
                    continue;
                }
            };
            let port = &mut ports[port + if chunk.from == Side::A { 0 } else { 2 }];
            for &byte in &chunk.bytes {
                match port.push(byte) {
                    Some(Ok(frame)) => line(format!("{who} {did} {}", described(frame, &keys))),
                    Some(Err(damage)) => line(format!("{who} {did} no frame: {damage:?}")),
                    None => {}
                }
            }
        }
        text
    }

    /// Every byte, in hexadecimal.
    #[must_use]
    pub fn bytes(&self) -> String {
        let mut text = String::new();
        for (at, chunk) in &self.chunks {
            let (from, to) = self.ends_of(chunk.from);
            let spoilt = if chunk.spoilt { " spoilt" } else { "" };
            let _ = write!(text, "{} {from}-{to} {:?}{spoilt}", seconds(*at), chunk.fate);
            for byte in &chunk.bytes {
                let _ = write!(text, " {byte:02x}");
            }
            text.push('\n');
        }
        text
    }

    /// For the merged timeline, up to `end`: silences of `gap` and longer, and what begins to be lost.
    #[must_use]
    pub fn moments(&self, gap: Duration, end: Instant) -> Vec<Moment> {
        let mut moments = Vec::new();
        for from in [Side::A, Side::B] {
            self.one_way(from, gap, end, &mut moments);
        }
        moments
    }

    fn one_way(&self, from: Side, gap: Duration, end: Instant, into: &mut Vec<Moment>) {
        let (name, (from_name, to_name)) = (&self.name, self.ends_of(from));
        let mine = || self.chunks.iter().filter(|(_, chunk)| chunk.from == from);
        let sent = mine().filter(|(_, chunk)| chunk.fate == Fate::Sent).map(|(at, _)| *at);
        into.extend(silences(sent, gap, end, &format!("{name}: {from_name} sends nothing")));
        let mut say = |at, text| into.push(Moment { at, source: Source::Wire, text });
        let mut before: Option<Fate> = None;
        let mut damage: Option<Instant> = None;
        for (at, chunk) in mine().filter(|(_, chunk)| chunk.fate != Fate::Sent) {
            if before != Some(chunk.fate) {
                match chunk.fate {
                    Fate::Arrived => say(*at, format!("{name}: {to_name} hears {from_name}")),
                    lost => say(*at, format!("{name}: what {from_name} sends is {}", why(lost))),
                }
                before = Some(chunk.fate);
            }
            if chunk.spoilt && damage.is_none_or(|last| at.since(last) >= DAMAGE_AGAIN) {
                say(*at, format!("{name}: what {to_name} hears of {from_name} is damaged"));
                damage = Some(*at);
            }
        }
    }
}

/// Silences of `gap` and longer between these times and until `end`, each said at its beginning.
pub fn silences(
    times: impl Iterator<Item = Instant>,
    gap: Duration,
    end: Instant,
    words: &str,
) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut last: Option<Instant> = None;
    for at in times.chain([end]) {
        if let Some(last) = last
            && at.since(last) >= gap
        {
            let text = format!("{words} for {} ms", at.since(last).millis());
            moments.push(Moment { at: last, source: Source::Wire, text });
        }
        last = Some(at);
    }
    moments
}

/// Writes `NAME.frames` and `NAME.bytes` for each.
///
/// # Errors
/// What the file system answered.
pub fn keep(wires: &[Wire], directory: &Path) -> std::io::Result<()> {
    for wire in wires {
        fs::write(directory.join(format!("{}.frames", wire.name)), wire.frames())?;
        fs::write(directory.join(format!("{}.bytes", wire.name)), wire.bytes())?;
    }
    Ok(())
}

fn seconds(at: Instant) -> String {
    format!("{:>4}.{:06}", at.micros() / 1_000_000, at.micros() % 1_000_000)
}

const fn why(fate: Fate) -> &'static str {
    match fate {
        Fate::Sent | Fate::Arrived => "",
        Fate::Lost => "lost: the wire is cut, or no power at the other end",
        Fate::Overrun => "lost: nobody reads there",
        Fate::Broken => "lost in a break",
    }
}

/// The keys of a scenario's pair.
fn keys() -> KeyRing {
    let secret = AUTHKEYS.split_whitespace().last().unwrap_or_default();
    let key = Key::hmac(1, secret.as_bytes()).expect("1 is a key's number");
    KeyRing::new([key].into_iter().collect(), 1).expect("it is there")
}

/// A frame in a few words.
fn described(frame: &[u8], keys: &KeyRing) -> String {
    let opened = match open(frame, keys) {
        Ok(opened) => opened,
        Err(reject) => {
            return format!("{} bytes that are no frame of ours: {}", frame.len(), reject.name());
        }
    };
    let what = match (opened.message(), opened.arbiter_message()) {
        (Ok(message), _) => {
            let kind = if matches!(message, Message::Hello(_)) { "hello" } else { "status" };
            let status = message.status();
            let fence = status.fence.map_or_else(String::new, |boot| {
                format!(", asks for a reset of life {}", boot.value())
            });
            let life = format!("{:?}", status.life).to_lowercase();
            format!("{kind}, {life}, hears by links {:#010b}{fence}", status.hears)
        }
        (_, Ok(_)) => "the arbiter's".to_owned(),
        (Err(reject), _) => format!("of an unreadable kind ({})", reject.name()),
    };
    let header = opened.header;
    let (sender, boot, seq) = (header.sender, header.boot.value(), header.seq);
    format!("frame {seq} of {sender:?}'s life {boot}: {what}, {} bytes", frame.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(chunks: &[(u64, Side, Fate, &[u8])]) -> Wire {
        let host = std::time::Instant::now();
        let chunk = |&(ms, from, fate, bytes): &(u64, Side, Fate, &[u8])| {
            let chunk = Chunk { at: host, from, fate, spoilt: false, bytes: bytes.into() };
            (Instant::from_micros(ms * 1000), chunk)
        };
        let ends = ["linuxha1", "linuxha2"];
        Wire { name: "ttyS0".into(), ends, chunks: chunks.iter().map(chunk).collect() }
    }

    #[test]
    fn a_silence_and_a_cut_wire_are_in_the_timeline_and_a_steady_line_says_one_word() {
        let told = |wire: &Wire| -> Vec<(u64, String)> {
            let end = Instant::from_micros(2_000_000);
            let moments = wire.moments(Duration::from_millis(500), end);
            moments.into_iter().map(|one| (one.at.micros() / 1000, one.text)).collect()
        };
        let mut steady = Vec::new();
        for ms in (0..=2000).step_by(100) {
            steady.push((ms, Side::A, Fate::Sent, &b"x\0"[..]));
            steady.push((ms, Side::A, Fate::Arrived, b"x\0"));
        }
        assert_eq!(told(&wire(&steady)), [(0, "ttyS0: linuxha2 hears linuxha1".into())]);
        for (ms, _, fate, _) in &mut steady {
            if *fate == Fate::Arrived && (300..1000).contains(ms) {
                *fate = Fate::Lost;
            }
        }
        steady.retain(|one| one.0 < 1300 || one.0 > 1900);
        let expected = [
            (1200, "ttyS0: linuxha1 sends nothing for 800 ms".into()),
            (0, "ttyS0: linuxha2 hears linuxha1".into()),
            (
                300,
                "ttyS0: what linuxha1 sends is lost: the wire is cut, or no power at the other end"
                    .into(),
            ),
            (1000, "ttyS0: linuxha2 hears linuxha1".into()),
        ];
        assert_eq!(told(&wire(&steady)), expected);
    }

    #[test]
    fn frames_are_named_and_what_is_none_is_said_to_be_none() {
        let wire = wire(&[
            (1, Side::B, Fate::Sent, b"\0\x03hi\0"),
            (2, Side::B, Fate::Arrived, b"\0\x09hi\0"),
            (3, Side::B, Fate::Lost, b"abc"),
        ]);
        let frames = wire.frames();
        assert!(
            frames.contains("0.001000 linuxha2 sends 2 bytes that are no frame of ours: length")
        );
        assert!(frames.contains("0.002000 linuxha1 hears no frame: Stuffing"), "{frames}");
        assert!(frames.contains("0.003000 3 bytes of linuxha2 are lost"), "{frames}");
        assert!(wire.bytes().contains("0.003000 linuxha2-linuxha1 Lost 61 62 63"));
    }
}
