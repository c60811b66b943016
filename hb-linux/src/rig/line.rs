//! The null-modem line: two ptys and, between them, a model of two UARTs and a cable.
//!
//! A pty is no serial line: it carries any amount at once and keeps 19 kB for a reader that
//! sleeps. The model takes bytes from the sender only as its UART would, ten bits each at the
//! speed that the sending program set; keeps at most a FIFO of them under way; loses what is
//! under way when either machine loses power or the wire is cut; loses what comes to a closed
//! port or a full buffer; and delivers garbage when the two programs set different speeds. Beyond
//! that it can be made noisy ([`Noise`]), held in a break, and spoken into by somebody else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::faults::{Noise, Noisy};
use super::trace::{Chunk, Fate, Trace};
pub use super::tty::{Port, RECEIVE_BUFFER};

/// What a 16550A holds.
pub const FIFO: usize = 16;
/// A 16550A interrupts at this many received bytes (FCR trigger level 8), or when the line falls
/// silent: bytes are handed over in such bursts.
const TRIGGER: usize = 8;
/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u32 = 10;
/// A receiver re-synchronises on each start bit: it tolerates less than half a bit over ten.
const TOLERANCE_PERCENT: u32 = 4;
/// Without any event the ports are looked at this often.
const IDLE: Duration = Duration::from_millis(50);

/// One end of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The first machine's end.
    A,
    /// The second machine's end.
    B,
}

impl Side {
    fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// What became of the bytes that one side sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Taken from the sending program.
    pub sent: u64,
    /// Handed to the receiving program, garbled or not.
    pub delivered: u64,
    /// Lost: wire cut, or a machine without power.
    pub lost: u64,
    /// Lost: port closed, or buffer full.
    pub overrun: u64,
    /// Sent at a speed that the receiver didn't listen at.
    pub garbled: u64,
    /// Hit by noise, or lost in a break.
    pub spoilt: u64,
    /// Put on the wire by somebody else ([`Line::inject`]).
    pub injected: u64,
    /// Runs of bytes between zeros that the program sent: frames, in COBS (docs/protocol.md §5). One
    /// that is not complete counts.
    pub frames: u64,
}

/// One direction: the sending UART and its half of the cable.
#[derive(Debug)]
struct Direction {
    fifo: VecDeque<(Instant, u8)>,
    free_at: Instant,
    cut: bool,
    noisy: Option<Noisy>,
    /// The wire is held at "space" until then.
    break_until: Option<Instant>,
    /// Of somebody else, not yet on the wire.
    injected: VecDeque<u8>,
    /// The last byte that the program sent wasn't zero.
    in_frame: bool,
    carried: Carried,
}

#[derive(Debug)]
struct Wire {
    ports: [Option<Port>; 2],
    /// `directions[i]` carries what side i sends.
    directions: [Direction; 2],
    trace: Trace,
}

/// A line with its thread. Dropping it ends the thread and closes both ptys.
#[derive(Debug)]
pub struct Line {
    wire: Arc<Mutex<Wire>>,
    wake: Arc<OwnedFd>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// A line with nothing plugged in.
    ///
    /// # Errors
    /// No descriptor or no thread could be had.
    pub fn new() -> io::Result<Self> {
        let direction = || Direction {
            fifo: VecDeque::with_capacity(FIFO),
            free_at: Instant::now(),
            cut: false,
            noisy: None,
            break_until: None,
            injected: VecDeque::new(),
            in_frame: false,
            carried: Carried::default(),
        };
        let wire = Wire {
            ports: [None, None],
            directions: [direction(), direction()],
            trace: Trace::default(),
        };
        let wire = Arc::new(Mutex::new(wire));
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let end = Arc::new(AtomicBool::new(false));
        let (its_wire, its_wake, its_end) = (wire.clone(), wake.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("line".into())
            .spawn(move || run(&its_wire, &its_wake, &its_end))?;
        Ok(Self { wire, wake, end, thread: Some(thread) })
    }

    /// Plugs a machine's port in.
    pub fn attach(&self, side: Side, port: Port) {
        self.change(|wire| wire.ports[side.index()] = Some(port));
    }

    /// The machine at this side has lost power: what it was sending is lost with it.
    pub fn detach(&self, side: Side) {
        self.change(|wire| {
            wire.ports[side.index()] = None;
            let direction = &mut wire.directions[side.index()];
            direction.carried.lost += direction.fifo.len() as u64;
            let lost: Vec<u8> = direction.fifo.drain(..).map(|(_, byte)| byte).collect();
            wire.trace.note(side.index(), Fate::Lost, &lost, false);
        });
    }

    /// Cuts or heals the wire that carries what `from` sends.
    pub fn cut(&self, from: Side, cut: bool) {
        self.change(|wire| wire.directions[from.index()].cut = cut);
    }

    /// Makes the wire that carries what `from` sends noisy; `None` makes it clean again.
    pub fn noise(&self, from: Side, noise: Option<Noise>) {
        self.change(|wire| wire.directions[from.index()].noisy = noise.map(Noisy::new));
    }

    /// Holds the wire that carries what `from` sends in a break. The receiver reads one zero byte,
    /// as without PARMRK (termios(3)); what `from` sends meanwhile is lost.
    pub fn send_break(&self, from: Side, lasting: Duration) {
        self.change(|wire| {
            wire.directions[from.index()].break_until = Some(Instant::now() + lasting);
            if let Some(port) = &wire.ports[1 - from.index()] {
                port.give(&[0]);
            }
        });
    }

    /// Sets the speed of one side's port, whatever its program set: bit/s.
    ///
    /// # Errors
    /// What the kernel answered; nothing is plugged in.
    pub fn set_baud(&self, side: Side, baud: u32) -> io::Result<()> {
        let wire = lock(&self.wire);
        let port = wire.ports[side.index()].as_ref().ok_or(io::ErrorKind::NotFound)?;
        port.set_baud(baud)
    }

    /// Somebody with a clip on the wire sends these bytes to the other side of `from`, whenever
    /// `from` itself is silent. They take their time on the line: [`Line::injecting`] tells how many
    /// wait.
    pub fn inject(&self, from: Side, bytes: &[u8]) {
        self.change(|wire| wire.directions[from.index()].injected.extend(bytes));
    }

    /// Injected bytes that are not on the wire yet.
    #[must_use]
    pub fn injecting(&self, from: Side) -> usize {
        lock(&self.wire).directions[from.index()].injected.len()
    }

    /// Whether a program has this side's port open.
    #[must_use]
    pub fn is_open(&self, side: Side) -> bool {
        lock(&self.wire).ports[side.index()].as_ref().is_some_and(Port::is_open)
    }

    /// What became of the bytes that `from` sent so far.
    #[must_use]
    pub fn carried(&self, from: Side) -> Carried {
        lock(&self.wire).directions[from.index()].carried
    }

    /// From here on, what is on the line is kept for [`Self::trace`].
    pub fn record(&self) {
        lock(&self.wire).trace.begin();
    }

    /// What was on the line since [`Self::record`], by time.
    #[must_use]
    pub fn trace(&self) -> Vec<Chunk> {
        lock(&self.wire).trace.chunks()
    }

    fn change(&self, change: impl FnOnce(&mut Wire)) {
        change(&mut lock(&self.wire));
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(wire: &Mutex<Wire>, wake: &OwnedFd, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        let _ = rustix::io::read(wake, &mut [0_u8; 8]);
        let (watched, timeout) = {
            let mut wire = lock(wire);
            let now = Instant::now();
            wire.turn(now);
            (wire.watched(), wire.due().map_or(IDLE, |due| due.saturating_duration_since(now)))
        };
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        fds.extend(watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // EINTR and the like only make the turn come early.
        let _ = poll(&mut fds, Some(&timeout));
    }
}

impl Wire {
    fn turn(&mut self, now: Instant) {
        for port in self.ports.iter_mut().flatten() {
            port.refresh(now);
        }
        for from in 0..2 {
            self.deliver(from, now);
            self.take(from, now);
        }
    }

    /// The sending UART's FIFO is filled from what the program has written. What doesn't fit
    /// stays in the pty, where TCOFLUSH still finds it, as in a real port's transmit buffer.
    fn take(&mut self, from: usize, now: Instant) {
        let Some(port) = &self.ports[from] else { return };
        let direction = &mut self.directions[from];
        let mut bytes = [0_u8; FIFO];
        let mut taken = port.take(&mut bytes[..FIFO - direction.fifo.len()]);
        direction.carried.sent += taken as u64;
        direction.count_frames(&bytes[..taken]);
        self.trace.note(from, Fate::Sent, &bytes[..taken], false);
        if taken == 0 {
            taken = direction.take_injected(&mut bytes);
        }
        if taken == 0 {
            return;
        }
        let baud = port.baud();
        if baud == 0 {
            direction.carried.lost += taken as u64;
            self.trace.note(from, Fate::Lost, &bytes[..taken], false);
            return;
        }
        let byte_time = Duration::from_secs(1) * BITS_PER_BYTE / baud;
        for &byte in &bytes[..taken] {
            direction.free_at = direction.free_at.max(now) + byte_time;
            direction.fifo.push_back((direction.free_at, byte));
        }
    }

    fn deliver(&mut self, from: usize, now: Instant) {
        let direction = &mut self.directions[from];
        let mut bytes = Vec::with_capacity(2 * FIFO);
        while let Some(&(due, byte)) = direction.fifo.front()
            && due <= now
        {
            direction.fifo.pop_front();
            bytes.push(byte);
        }
        if bytes.is_empty() {
            return;
        }
        let (Some(port), false) = (&self.ports[1 - from], direction.cut) else {
            direction.carried.lost += bytes.len() as u64;
            self.trace.note(from, Fate::Lost, &bytes, false);
            return;
        };
        if direction.break_until.is_some_and(|until| Instant::now() < until) {
            direction.carried.spoilt += bytes.len() as u64;
            self.trace.note(from, Fate::Broken, &bytes, false);
            return;
        }
        direction.break_until = None;
        let mut harmed = false;
        if let Some(noisy) = &mut direction.noisy {
            let (spoilt, hit) = noisy.spoil(&bytes);
            direction.carried.spoilt += hit;
            harmed = hit > 0;
            bytes = spoilt;
        }
        let sender = self.ports[from].as_ref().map_or(0, Port::baud);
        if let Some(garbage) = garbled(&bytes, sender, port.baud()) {
            direction.carried.garbled += bytes.len() as u64;
            harmed = true;
            bytes = garbage;
        }
        let lost = port.give(&bytes);
        direction.carried.overrun += lost as u64;
        direction.carried.delivered += (bytes.len() - lost) as u64;
        let (arrived, overrun) = bytes.split_at(bytes.len() - lost);
        self.trace.note(from, Fate::Arrived, arrived, harmed);
        self.trace.note(from, Fate::Overrun, overrun, harmed);
    }

    /// When the next burst is complete.
    fn due(&self) -> Option<Instant> {
        self.directions
            .iter()
            .filter_map(|direction| {
                let last = direction.fifo.len().checked_sub(1)?;
                Some(direction.fifo[last.min(TRIGGER - 1)].0)
            })
            .min()
    }

    /// Duplicates of what to wait for: a machine may lose power while the thread sleeps. A
    /// sender whose FIFO is full isn't waited for, nor is a port that nobody has open.
    fn watched(&self) -> Vec<OwnedFd> {
        let mut watched = Vec::with_capacity(4);
        for (port, direction) in self.ports.iter().zip(&self.directions) {
            let Some(port) = port else { continue };
            let [master, watch] = port.descriptors();
            let wanted = [(port.has_slave() && direction.fifo.len() < FIFO, master), (true, watch)];
            for (_, fd) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
                watched.extend(fd.try_clone_to_owned());
            }
        }
        watched
    }
}

impl Direction {
    fn count_frames(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.carried.frames += u64::from(byte != 0 && !self.in_frame);
            self.in_frame = byte != 0;
        }
    }

    /// What somebody else sends next; never more than a few bytes ahead of the wire.
    fn take_injected(&mut self, into: &mut [u8; FIFO]) -> usize {
        let room = FIFO - self.fifo.len();
        let count = room.min(self.injected.len());
        for (to, byte) in into.iter_mut().zip(self.injected.drain(..count)) {
            *to = byte;
        }
        self.carried.injected += count as u64;
        count
    }
}

/// What a receiver makes of bytes sent at another speed: it samples at the wrong places, sees
/// more bytes than were sent when it is faster and fewer when it is slower. None when the speeds
/// agree.
fn garbled(bytes: &[u8], sender: u32, receiver: u32) -> Option<Vec<u8>> {
    if sender.abs_diff(receiver) * 100 <= sender.max(receiver) * TOLERANCE_PERCENT {
        return None;
    }
    let count = bytes.len() as u64 * u64::from(receiver) / u64::from(sender.max(1));
    let count = usize::try_from(count).unwrap_or(usize::MAX).clamp(1, 4 * FIFO);
    Some(
        (0..count)
            .map(|i| {
                let byte = bytes[i * bytes.len() / count];
                byte.rotate_left(3) ^ (0x5a_u8.wrapping_add((i as u8).wrapping_mul(29)))
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_nearly_equal_speeds_are_heard() {
        assert_eq!(garbled(b"frame", 19200, 19200), None);
        assert_eq!(garbled(b"frame", 115_200, 113_000), None);
    }

    #[test]
    fn different_speeds_give_garbage_of_another_length() {
        let faster = garbled(b"a frame of bytes", 9600, 19200).unwrap();
        assert_eq!(faster.len(), 32);
        let slower = garbled(b"a frame of bytes", 19200, 9600).unwrap();
        assert_eq!(slower.len(), 8);
        assert!(!faster.windows(5).any(|part| part == b"frame"));
    }
}
