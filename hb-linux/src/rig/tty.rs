//! One end of the line model: a pty whose slave a machine sees as its serial port.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr,
};

/// What Linux keeps of a serial port that is open and isn't read: the line discipline's buffer of
/// 4096 bytes, up to where it would throttle the sender, which a three-wire line can't
/// (TTY_THRESHOLD_THROTTLE = 128). A bare pty keeps about 19 kB, ten seconds of stale frames at
/// 19200 baud; FIONREAD sees only the first 4095 of them, so the limit must lie below.
pub const RECEIVE_BUFFER: usize = 4096 - 128;

/// A closed port is looked at again this often: an open that slipped past the watch is seen then.
const RECHECK: Duration = Duration::from_millis(100);

/// A machine's serial port, as the rig holds it.
#[derive(Debug)]
pub struct Port {
    master: OwnedFd,
    /// Held open for counting unread bytes. None while the port is exclusively somebody else's
    /// and could not be reopened.
    slave: Option<OwnedFd>,
    device: PathBuf,
    /// Tells when a program opens or closes the device: bytes for a closed port are lost, as
    /// nothing takes them from the UART then.
    watch: OwnedFd,
    open: bool,
    checked: Instant,
    /// Its reader is an emulated UART, which takes bytes as they come, or never.
    shallow: bool,
}

/// What an emulated UART may leave unread, as time on the line: it takes bytes when its process gets a processor. More
/// are a machine's that doesn't read, and lost as in a UART's FIFO.
const SHALLOW: u32 = 20;
/// The least of that, in bytes.
const SHALLOW_LEAST: usize = 64;

impl Port {
    /// A new pty, raw, with no program on it.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn new() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let mut termios = tcgetattr(&slave)?;
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios)?;
        let name = ptsname(&master, Vec::new())?;
        let device =
            PathBuf::from(name.to_str().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?);
        let watch = watch(&device)?;
        let checked = Instant::now();
        Ok(Self { master, slave: Some(slave), device, watch, open: false, checked, shallow: false })
    }

    /// For a reader that is an emulated UART: what it leaves unread isn't a driver's buffer, and is lost soon.
    #[must_use]
    pub fn shallow(mut self) -> Self {
        self.shallow = true;
        self
    }

    /// The slave's path on the host, `/dev/pts/N`.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// The descriptors that become readable when there is something to do.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.master.as_fd(), self.watch.as_fd()]
    }

    /// The speed that the program set, bit/s; 0 when it hung up. The kernel answers for the
    /// slave when the master is asked, with TCGETS2 and so with any speed (tty_ioctl(4)).
    pub fn baud(&self) -> u32 {
        tcgetattr(&self.master).map_or(0, |termios| termios.output_speed())
    }

    /// Sets another speed than the program did, as stty(1) of another program would.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn set_baud(&self, baud: u32) -> io::Result<()> {
        let mut termios = tcgetattr(&self.master)?;
        termios.set_speed(baud)?;
        Ok(tcsetattr(&self.master, OptionalActions::Now, &termios)?)
    }

    /// Takes at most `buffer.len()` bytes of what the program has written; 0 when there are none.
    pub fn take(&self, buffer: &mut [u8]) -> usize {
        // Errors are EAGAIN, and EIO while no slave is open at all: nothing was written.
        rustix::io::read(&self.master, buffer).unwrap_or(0)
    }

    fn buffer(&self) -> usize {
        if self.shallow {
            // Ten bits a byte.
            (self.baud() / 10 / SHALLOW).max(SHALLOW_LEAST as u32) as usize
        } else {
            RECEIVE_BUFFER
        }
    }

    /// Hands received bytes to the program; returns how many were lost because the port is
    /// closed or because its buffer is full.
    pub fn give(&self, bytes: &[u8]) -> usize {
        if !self.open {
            return bytes.len();
        }
        let unread = self.slave.as_ref().and_then(|fd| rustix::io::ioctl_fionread(fd).ok());
        let room = self.buffer().saturating_sub(unread.unwrap_or(0) as usize);
        let fitting = &bytes[..bytes.len().min(room)];
        bytes.len() - rustix::io::write(&self.master, fitting).unwrap_or(0)
    }

    /// Looks whether a program has opened or closed the port since.
    pub fn refresh(&mut self, now: Instant) {
        let (opened, closed) = self.events();
        if closed || (!self.open && now >= self.checked + RECHECK) {
            self.recheck(now);
        } else if opened {
            self.open = true;
        }
    }

    /// Whether a program has the port open, as far as [`Self::refresh`] saw.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// False in the rare time without a slave of our own: the master then hangs up at once.
    #[must_use]
    pub fn has_slave(&self) -> bool {
        self.slave.is_some()
    }

    fn events(&self) -> (bool, bool) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        let (mut opened, mut closed) = (false, false);
        while let Ok(event) = reader.next() {
            opened |= event.events().contains(inotify::ReadFlags::OPEN);
            closed |= event
                .events()
                .intersects(inotify::ReadFlags::CLOSE_WRITE | inotify::ReadFlags::CLOSE_NOWRITE);
        }
        (opened, closed)
    }

    /// Lets go of the slave for a moment: a hang-up on the master then says that nobody has it.
    fn recheck(&mut self, now: Instant) {
        self.checked = now;
        if let Some(slave) = self.slave.take() {
            // A killed program leaves TIOCEXCL set; on a real port it ends with the last close,
            // on a pty it would keep an ordinary user out for ever (tty_reopen wants
            // CAP_SYS_ADMIN of the host).
            let _ = ioctl_tiocnxcl(&slave);
        }
        let mut fds = [PollFd::new(&self.master, PollFlags::empty())];
        let hung_up = poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().contains(PollFlags::HUP);
        self.open = !hung_up;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        self.slave = ioctl_tiocgptpeer(&self.master, flags).ok();
        if let (false, Some(slave)) = (self.open, &self.slave) {
            // The last close discards what was received and never read.
            let _ = tcflush(slave, QueueSelector::IFlush);
        }
        // A new watch: the old one would report our own opening.
        if let Ok(watch) = watch(&self.device) {
            self.watch = watch;
        }
    }
}

fn watch(device: &Path) -> io::Result<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let events = inotify::WatchFlags::OPEN
        | inotify::WatchFlags::CLOSE_WRITE
        | inotify::WatchFlags::CLOSE_NOWRITE;
    inotify::add_watch(&fd, device, events)?;
    Ok(fd)
}
