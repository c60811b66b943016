//! A board's parts on this host: the UARTs are ptys, pins are lines of text to and from the rig, memory is files.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant as HostInstant};

use embedded_hal::digital::{ErrorKind, ErrorType as PinError, InputPin, OutputPin};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use hb_mcu::{Area, Store, Watchdog};
use hb_proto::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::daemon::clock::Clock;

/// A feeding is told this often: the rig's watchdog for the dongle has 1.5 s.
const TELL_FED: Duration = Duration::from_millis(100);

/// A UART: the slave of one of the line model's ptys.
#[derive(Debug)]
pub struct Tty(OwnedFd);

impl Tty {
    /// Opens it, raw, at `baud` bit/s.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let mut termios = tcgetattr(&fd)?;
        termios.make_raw();
        termios.set_speed(baud)?;
        tcsetattr(&fd, OptionalActions::Now, &termios)?;
        Ok(Self(fd))
    }

    /// For poll(2), in the loop that wakes the dongle.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    fn is_ready(&self, flags: PollFlags) -> io::Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), flags)];
        poll(&mut fds, Some(&Timespec::default()))?;
        Ok(fds[0].revents().intersects(flags))
    }
}

impl ErrorType for Tty {
    type Error = io::Error;
}

impl ReadReady for Tty {
    fn read_ready(&mut self) -> io::Result<bool> {
        self.is_ready(PollFlags::IN)
    }
}

impl Read for Tty {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buf)?)
    }
}

impl WriteReady for Tty {
    fn write_ready(&mut self) -> io::Result<bool> {
        self.is_ready(PollFlags::OUT)
    }
}

impl Write for Tty {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, buf)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says a line to the rig.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())
}

/// What a pin answers when the rig is gone.
#[derive(Debug)]
pub struct Unplugged;

impl embedded_hal::digital::Error for Unplugged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A reset output: each change is told to the rig.
#[derive(Debug)]
pub struct ResetOutput {
    /// 0 for A's, 1 for B's.
    pub number: usize,
    /// As last told.
    pub high: Option<bool>,
}

impl ResetOutput {
    fn set(&mut self, high: bool) -> Result<(), Unplugged> {
        if self.high != Some(high) {
            say(&format!("reset {} {}", self.number, u8::from(high))).map_err(|_| Unplugged)?;
            self.high = Some(high);
        }
        Ok(())
    }
}

impl PinError for ResetOutput {
    type Error = Unplugged;
}

impl OutputPin for ResetOutput {
    fn set_low(&mut self) -> Result<(), Unplugged> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), Unplugged> {
        self.set(true)
    }
}

/// An input: the rig sets its level.
#[derive(Clone, Debug, Default)]
pub struct Input(pub Rc<Cell<bool>>);

impl PinError for Input {
    type Error = Unplugged;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, Unplugged> {
        Ok(self.0.get())
    }

    fn is_low(&mut self) -> Result<bool, Unplugged> {
        Ok(!self.0.get())
    }
}

/// The daemon's clock, which is as good as any board's.
#[derive(Clone, Debug)]
pub struct HostClock(pub Rc<RefCell<Clock>>);

impl hb_mcu::Clock for HostClock {
    fn now(&mut self) -> Instant {
        self.0.borrow_mut().now()
    }
}

/// Two files in a directory of the dongle's own: `flash`, and `ram`, which the rig deletes with its power.
#[derive(Debug)]
pub struct Files(pub PathBuf);

impl Files {
    fn path(&self, area: Area) -> PathBuf {
        self.0.join(match area {
            Area::Flash => "flash",
            Area::Retained => "ram",
            Area::Keys => "keys",
        })
    }
}

impl Store for Files {
    type Error = io::Error;

    fn read(&mut self, area: Area, record: &mut [u8]) -> io::Result<usize> {
        let bytes = match fs::read(self.path(area)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            read => read?,
        };
        let len = bytes.len().min(record.len());
        record[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    /// In one step (rename(2)): a process that is killed leaves the former record. What is to survive here is
    /// a process, not this host.
    fn write(&mut self, area: Area, record: &[u8]) -> io::Result<()> {
        let path = self.path(area);
        let new = path.with_extension("new");
        fs::write(&new, record)?;
        fs::rename(new, path)
    }
}

/// Its own watchdog: the rig's timer, told of the feedings.
#[derive(Debug, Default)]
pub struct Feeder {
    told: Option<HostInstant>,
}

impl Watchdog for Feeder {
    fn feed(&mut self) {
        if self.told.is_none_or(|at| at.elapsed() >= TELL_FED) {
            self.told = Some(HostInstant::now());
            // Nobody listens any more: the rig is gone, and ends this process.
            let _ = say("fed");
        }
    }
}

/// Tells the rig what the arbiter told.
pub fn tell(event: &hb_proto::arbiter::Event) {
    let _ = say(&format!("event {event:?}"));
}

/// Tells the rig that a life began.
pub fn up(boot: hb_proto::id::BootId) {
    let _ = say(&format!("up {boot}"));
}

/// Tells the rig how a line test began or ended.
pub fn tested(node: usize, how: &str) {
    let _ = say(&format!("tested {node} {how}"));
}

/// Standard input, as a descriptor for poll(2).
#[must_use]
pub fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}
