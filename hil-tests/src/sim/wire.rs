//! Links: serial lines byte by byte, and datagrams.

use std::collections::VecDeque;

use embedded_io::{Error, ErrorKind, ErrorType, Read, Write};
use hb_proto::config::{BITS_PER_BYTE, LinkKind};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::cobs;
use hb_proto::wire::port::FramePort;

use super::fault::Weather;
use super::queue::At;
use super::rng::Rng;

#[cfg(test)]
mod tests;

/// N_TTY's input buffer (Linux, drivers/tty/n_tty.c): what comes beyond it is lost.
const TTY_BUFFER: usize = 4096;
/// Datagrams that a socket's default receive buffer (212,992 bytes) holds at the kernel's own
/// accounting of about 768 bytes for a small one.
const SOCKET_BUFFER: usize = 256;
/// A 16550A's FIFO: all that a UART keeps of what comes while its machine stands still.
const FIFO: usize = 16;
/// Longest frame as it travels on a line.
const LINE_FRAME: usize = cobs::encoded_len(MAX_FRAME);

/// The line would not take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl Error for Busy {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl core::fmt::Display for Busy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the line is busy")
    }
}

impl core::error::Error for Busy {}

/// A serial port as the daemon sees it: the kernel's two buffers.
#[derive(Debug, Default)]
pub struct SerialPort {
    pub received: VecDeque<u8>,
    pub busy: bool,
    pub written: Vec<u8>,
}

impl ErrorType for SerialPort {
    type Error = Busy;
}

impl Read for SerialPort {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Busy> {
        let len = buf.len().min(self.received.len());
        for (to, byte) in buf.iter_mut().zip(self.received.drain(..len)) {
            *to = byte;
        }
        Ok(len)
    }
}

impl Write for SerialPort {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Busy> {
        if self.busy {
            return Err(Busy);
        }
        self.written.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> Result<(), Busy> {
        Ok(())
    }
}

/// Bytes of a frame, with room for the longest.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    len: u8,
    bytes: [u8; LINE_FRAME],
}

impl Bytes {
    /// A copy; `from` must not be longer than the longest frame on a line.
    #[must_use]
    pub fn of(from: &[u8]) -> Self {
        let mut bytes = [0; LINE_FRAME];
        bytes[..from.len()].copy_from_slice(from);
        Self { len: from.len() as u8, bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes, to damage them.
    pub fn damage(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

/// A datagram under way or waiting to be read.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub bytes: Bytes,
    /// Untouched on its way.
    pub intact: bool,
}

/// One of the daemon's open links.
#[derive(Debug)]
pub enum Port {
    /// Framed by COBS.
    Serial(Box<FramePort<SerialPort>>),
    /// One frame each.
    Datagram(VecDeque<Datagram>),
}

impl Port {
    /// An open link with empty buffers.
    #[must_use]
    pub fn open(kind: LinkKind) -> Self {
        match kind {
            LinkKind::Serial { .. } => {
                Self::Serial(Box::new(FramePort::new(SerialPort::default())))
            }
            _ => Self::Datagram(VecDeque::new()),
        }
    }

    /// Whether epoll would call it ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Serial(framed) => !framed.port().received.is_empty(),
            Self::Datagram(queue) => !queue.is_empty(),
        }
    }

    /// A datagram arrives; false if the buffer was full.
    pub fn take_datagram(&mut self, datagram: Datagram) -> bool {
        match self {
            Self::Datagram(queue) if queue.len() < SOCKET_BUFFER => {
                queue.push_back(datagram);
                true
            }
            _ => false,
        }
    }

    fn take_byte(&mut self, byte: u8, frozen: bool) -> bool {
        let Self::Serial(framed) = self else { return false };
        let received = &mut framed.port_mut().received;
        let room = if frozen { FIFO } else { TTY_BUFFER };
        if received.len() >= room {
            return false;
        }
        received.push_back(byte);
        true
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> bool {
        let Self::Serial(framed) = self else { return false };
        let received = &mut framed.port_mut().received;
        let fits = received.len() + bytes.len() <= TTY_BUFFER;
        if fits {
            received.extend(bytes);
        }
        fits
    }
}

/// A frame on a serial line.
#[derive(Debug)]
struct Run {
    /// When its first start bit began, ns.
    start_ns: u64,
    done: usize,
    bytes: Bytes,
    /// Of one byte, at the speed that the sender had then.
    byte_ns: u64,
}

/// What a path has carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    pub frames: u64,
    pub bytes: u64,
    pub lost: u64,
    pub twice: u64,
    pub damaged: u64,
    pub overrun: u64,
}

/// One direction of one link.
#[derive(Debug)]
pub struct Wire {
    pub kind: LinkKind,
    pub cut: bool,
    pub weather: Weather,
    pub carried: Carried,
    /// Until when a burst loses everything, ns.
    pub lost_until_ns: u64,
    /// Bytes that a burst of noise has yet to spoil.
    spoils: u32,
    /// Until when the sender holds the line in a break, ns.
    break_until_ns: u64,
    byte_ns: u64,
    /// A byte's time at the speed that the receiver is set to.
    heard_ns: u64,
    free_ns: u64,
    runs: VecDeque<Run>,
    /// The last frames written, to tell what arrives whole from what doesn't.
    recent: VecDeque<Bytes>,
}

/// What becomes of one byte.
enum Fate {
    Arrives(u8),
    Lost,
    Twice(u8),
}

impl Wire {
    /// An undisturbed path.
    #[must_use]
    pub fn new(kind: LinkKind) -> Self {
        let byte_ns = match kind {
            LinkKind::Serial { baud } => byte_ns(baud),
            _ => 0,
        };
        Self {
            kind,
            cut: false,
            weather: Weather::default(),
            carried: Carried::default(),
            lost_until_ns: 0,
            spoils: 0,
            break_until_ns: 0,
            byte_ns,
            heard_ns: byte_ns,
            free_ns: 0,
            runs: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Whether the sender's output queue still holds something: all but what fits the FIFO.
    #[must_use]
    pub fn is_busy(&self, now: At) -> bool {
        self.free_ns > now * 1000 + FIFO as u64 * self.byte_ns
    }

    /// Bytes begin to leave; when the last one will have arrived, µs.
    pub fn send(&mut self, now: At, line: &[u8]) -> At {
        let bytes = Bytes::of(line);
        let start_ns = self.free_ns.max(now * 1000);
        self.free_ns = start_ns + line.len() as u64 * self.byte_ns;
        self.runs.push_back(Run { start_ns, done: 0, bytes, byte_ns: self.byte_ns });
        (self.free_ns).div_ceil(1000)
    }

    /// Remembers a frame as it was before the line.
    pub fn remember(&mut self, frame: &[u8]) {
        self.carried.frames += 1;
        if self.byte_ns > 0 {
            if self.recent.len() == 4 {
                self.recent.pop_front();
            }
            self.recent.push_back(Bytes::of(frame));
        }
    }

    /// Whether a frame off the line is one that was sent lately.
    #[must_use]
    pub fn sent_lately(&self, frame: &[u8]) -> bool {
        self.recent.iter().any(|sent| sent.get() == frame)
    }

    /// The sender lost its power: what it was sending ends in mid-byte.
    pub fn go_dead(&mut self, now: At) {
        self.runs.clear();
        self.free_ns = now * 1000;
    }

    /// Whether it carries anything else than what is sent.
    #[must_use]
    pub fn is_troubled(&self, now: At) -> bool {
        let speeds = are_alike(self.byte_ns.max(1), self.heard_ns.max(1));
        self.cut
            || self.weather != Weather::default()
            || !speeds
            || now * 1000 < self.break_until_ns
    }

    /// The sender's end is set to another speed; what is under way has left at the old one.
    pub fn send_at(&mut self, baud: u32) {
        self.byte_ns = byte_ns(baud);
    }

    /// The receiver's end is.
    pub fn hear_at(&mut self, baud: u32) {
        self.heard_ns = byte_ns(baud);
    }

    /// The sender holds the line in a break: the receiver reads one zero byte (termios(3), without PARMRK),
    /// and what is sent meanwhile is lost. Whether the receiver got it.
    pub fn hold_break(&mut self, now: At, us: u64, port: Option<&mut Port>, frozen: bool) -> bool {
        self.break_until_ns = (now + us) * 1000;
        !self.cut && port.is_some_and(|port| port.take_byte(0, frozen))
    }

    /// Brings what has arrived by `now` into `port` (none if nobody has it open); whether anything came.
    ///
    /// Called when a run ends, and before anything about the path changes.
    pub fn settle(
        &mut self,
        now: At,
        port: Option<&mut Port>,
        frozen: bool,
        rng: &mut Rng,
    ) -> bool {
        let mut port = port;
        let mut came = false;
        let now_ns = now * 1000;
        let calm = !self.cut && self.weather == Weather::default() && !frozen && self.spoils == 0;
        while let Some(run) = self.runs.front_mut() {
            let byte_ns = run.byte_ns.max(1);
            let readable = are_alike(byte_ns, self.heard_ns.max(1));
            let quiet = calm && readable && self.break_until_ns <= run.start_ns;
            let by_now = (now_ns.saturating_sub(run.start_ns) / byte_ns) as usize;
            let end = by_now.min(run.bytes.get().len());
            let fresh = &run.bytes.get()[run.done..end];
            let (cut, weather) = (self.cut, self.weather);
            self.carried.bytes += fresh.len() as u64;
            match &mut port {
                None => self.carried.lost += fresh.len() as u64,
                Some(port) if quiet => {
                    if !fresh.is_empty() && !port.take_bytes(fresh) {
                        self.carried.overrun += fresh.len() as u64;
                    }
                    came |= !fresh.is_empty();
                }
                Some(port) => {
                    for (at, &byte) in (run.done + 1..).zip(fresh) {
                        let arrives_ns = run.start_ns + at as u64 * byte_ns;
                        if rng.per_million(weather.bursts) {
                            self.lost_until_ns = arrives_ns + weather.burst_us * 1000;
                            self.spoils = weather.burst_bytes;
                        }
                        let lost_until_ns = self.lost_until_ns.max(self.break_until_ns);
                        let cut = cut || arrives_ns < lost_until_ns;
                        if !cut && !readable {
                            self.carried.damaged += 1;
                            let bytes = garbage(byte, at, byte_ns, self.heard_ns);
                            came |= bytes.fold(false, |_, byte| {
                                self.carried.overrun += u64::from(!port.take_byte(byte, frozen));
                                true
                            });
                            continue;
                        }
                        let spoilt = !cut && self.spoils > 0;
                        self.spoils -= u32::from(spoilt);
                        self.carried.damaged += u64::from(spoilt);
                        let byte = if spoilt { rng.bits() as u8 } else { byte };
                        came |= disturb(byte, cut, weather, frozen, port, &mut self.carried, rng);
                    }
                }
            }
            run.done = end;
            if end < run.bytes.get().len() {
                break;
            }
            self.runs.pop_front();
        }
        came
    }
}

/// A byte's time on a line, ns.
fn byte_ns(baud: u32) -> u64 {
    BITS_PER_BYTE * 1_000_000_000 / u64::from(baud)
}

/// A receiver finds its place anew at each start bit: it bears less than half a bit in ten.
const fn are_alike(sent_ns: u64, heard_ns: u64) -> bool {
    let most = if sent_ns > heard_ns { sent_ns } else { heard_ns };
    sent_ns.abs_diff(heard_ns) * 100 <= most * 4
}

/// What a receiver at another speed makes of a run's byte number `at`: it samples at the wrong places, and
/// reads more bytes than were sent if it is faster, fewer if it is slower.
fn garbage(byte: u8, at: usize, sent_ns: u64, heard_ns: u64) -> impl Iterator<Item = u8> {
    let read = |sent: usize| sent as u64 * sent_ns / heard_ns;
    (read(at - 1)..read(at))
        .map(move |nth| byte.rotate_left(3) ^ (nth as u8).wrapping_mul(29) ^ 0x5A)
}

fn disturb(
    byte: u8,
    cut: bool,
    weather: Weather,
    frozen: bool,
    port: &mut Port,
    carried: &mut Carried,
    rng: &mut Rng,
) -> bool {
    let fate = if cut || rng.per_million(weather.loss) {
        Fate::Lost
    } else if rng.per_million(weather.flips) {
        carried.damaged += 1;
        Fate::Arrives(byte ^ 1 << rng.between(0, 7))
    } else if rng.per_million(weather.merges) {
        // A lost start bit: this byte and the next become one that is neither.
        carried.damaged += 1;
        Fate::Arrives(byte.rotate_left(3) | 1)
    } else if rng.per_million(weather.twice) {
        carried.twice += 1;
        Fate::Twice(byte)
    } else {
        Fate::Arrives(byte)
    };
    let (byte, times) = match fate {
        Fate::Lost => {
            carried.lost += 1;
            return false;
        }
        Fate::Arrives(byte) => (byte, 1),
        Fate::Twice(byte) => (byte, 2),
    };
    for _ in 0..times {
        if !port.take_byte(byte, frozen) {
            carried.overrun += 1;
        }
    }
    true
}
