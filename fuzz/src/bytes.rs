//! Bytes from the wire: the deframer and the decoder.

use std::sync::LazyLock;

use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::{self, HEADER_LEN};
use hb_proto::wire::port::{Damage, Deframer, FramePort};
use hb_proto::wire::{MAX_FRAME, MAX_LINE_FRAME, Reject, cobs};

/// Two keys, as in authkeys: the one that signs is 1, and 2 is `crc`.
pub static KEYS: LazyLock<KeyRing> = LazyLock::new(|| ring(1));
static CRC_SIGNS: LazyLock<KeyRing> = LazyLock::new(|| ring(2));

fn ring(signing: u8) -> KeyRing {
    let keys = [Key::hmac(1, b"a secret"), Key::crc(2)];
    KeyRing::new(keys.into_iter().flatten().collect(), signing).expect("listed")
}

/// Any bytes on a serial line: what is found doesn't depend on how reads split them, no tail of a
/// broken frame is a frame, and the line is in step again after one delimiter.
pub fn deframer(data: &[u8]) {
    let Some((&split, line)) = data.split_first() else { return };
    let mut deframer = Deframer::new();
    let whole: Vec<_> = line
        .iter()
        .filter_map(|&byte| deframer.push(byte).map(|found| found.map(<[u8]>::to_vec)))
        .collect();
    assert_eq!(whole, expected(line), "every stretch between delimiters is judged for itself");

    let port = Chunks { rest: line, size: usize::from(split).max(1) };
    let mut port = FramePort::new(port);
    let mut split = Vec::new();
    while port.fill().expect("a slice can be read") > 0 {
        while let Some(found) = port.next_frame() {
            split.push(found.map(<[u8]>::to_vec));
        }
    }
    assert_eq!(split, whole, "reads may split a line anywhere");

    deframer.push(cobs::DELIMITER);
    let frame = &line[..line.len().min(MAX_FRAME)];
    let mut out = [0; MAX_LINE_FRAME + 1];
    let sent = cobs::encode(frame, &mut out).expect("the longest frame fits");
    let found = sent.iter().filter_map(|&byte| deframer.push(byte).map(|f| f.map(<[u8]>::to_vec)));
    assert_eq!(found.collect::<Vec<_>>(), [Ok(frame.to_vec())], "back in step");
}

/// What each delimited stretch is, by the plain reading of COBS.
fn expected(line: &[u8]) -> Vec<Result<Vec<u8>, Damage>> {
    let mut stretches: std::collections::VecDeque<_> =
        line.split(|&byte| byte == cobs::DELIMITER).collect();
    // A line that was just opened may begin inside a frame; its end may be one that goes on.
    stretches.pop_front();
    stretches.pop_back();
    let judge = |stretch: &[u8]| {
        if stretch.len() > MAX_LINE_FRAME {
            return Err(Damage::Overlong);
        }
        let mut frame = Vec::new();
        let mut rest = stretch;
        while let Some((&code, after)) = rest.split_first() {
            let block = usize::from(code) - 1;
            frame.extend_from_slice(after.get(..block).ok_or(Damage::Stuffing)?);
            rest = &after[block..];
            if code < 0xFF && !rest.is_empty() {
                frame.push(0);
            }
        }
        if frame.len() > MAX_FRAME { Err(Damage::Overlong) } else { Ok(frame) }
    };
    stretches.into_iter().filter(|stretch| !stretch.is_empty()).map(judge).collect()
}

struct Chunks<'a> {
    rest: &'a [u8],
    size: usize,
}

impl embedded_io::ErrorType for Chunks<'_> {
    type Error = core::convert::Infallible;
}

impl embedded_io::Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let len = self.size.min(buf.len()).min(self.rest.len());
        let (now, rest) = self.rest.split_at(len);
        buf[..len].copy_from_slice(now);
        self.rest = rest;
        Ok(len)
    }
}

/// Any bytes as a frame: as they came, and with a genuine tag, so that nonsense reaches the decoder.
pub fn decoder(data: &[u8]) {
    let _ = message::open(data, &KEYS).and_then(|opened| opened.message());
    for (keys, id) in [(&*KEYS, 1), (&*CRC_SIGNS, 2)] {
        let mut frame = [0; MAX_FRAME];
        let body = data.len().min(MAX_FRAME - 8);
        frame[..body].copy_from_slice(&data[..body]);
        if body > 1 {
            frame[1] = frame[1] & 0xF0 | id;
        }
        let len = keys.seal(&mut frame, body).expect("room was left");
        signed(&frame[..len], keys);
    }
}

/// What is read from a genuine frame says the same when it is written and read again.
fn signed(frame: &[u8], keys: &KeyRing) {
    let opened = match message::open(frame, keys) {
        Ok(opened) => opened,
        Err(reason) => {
            let early = [Reject::Length, Reject::Version, Reject::Meaning];
            let short = frame.len() < HEADER_LEN + 4;
            assert!(early.contains(&reason) || short, "{reason:?}: the tag is genuine");
            return;
        }
    };
    let Ok(message) = opened.message() else { return };
    let mut again = [0; MAX_FRAME];
    let len = message::encode(&opened.header, &message, keys, &mut again);
    let reopened = message::open(&again[..len], keys).expect("own frame");
    assert_eq!(reopened.header, opened.header);
    assert_eq!(reopened.message(), Ok(message));
}
