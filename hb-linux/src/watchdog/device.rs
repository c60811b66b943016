//! /dev/watchdog (Linux, Documentation/watchdog/watchdog-api.rst and linux/watchdog.h).

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Closed, Watchdog};
use ioctls::Info;

// Bits of watchdog_info.options.
const WDIOF_SETTIMEOUT: u32 = 0x0080;
const WDIOF_MAGICCLOSE: u32 = 0x0100;
const WDIOF_KEEPALIVEPING: u32 = 0x8000;

/// Why the watchdog can't be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such path.
    #[error(
        "watchdog {}: no such device; load the board's driver, or `insmod softdog` \
         (`modprobe softdog`) for the kernel's own", .0.display()
    )]
    Missing(PathBuf),
    /// A FIFO, a socket, a file, or a device of another kind.
    #[error("watchdog {}: not a watchdog device; ha.cf wants /dev/watchdog or /dev/watchdogN", .0.display())]
    NotAWatchdog(PathBuf),
    /// Only one process may have it open.
    #[error(
        "watchdog {}: already in use; it can have one user only: systemd (RuntimeWatchdogSec= in \
         system.conf), the watchdog daemon, sbd or another heartbeat", .0.display()
    )]
    Busy(PathBuf),
    /// Wrong user.
    #[error("watchdog {}: permission denied; only root may open it", .0.display())]
    Denied(PathBuf),
    /// It would switch itself off when this process crashes (protocol.md R10).
    #[error(
        "watchdog {} ({identity}): its driver knows no magic close and is not loaded with nowayout, so \
         a crash of heartbeat would switch it off; load the driver with nowayout=1", .device.display()
    )]
    Unsafe { device: PathBuf, identity: String },
    /// Anything else.
    #[error("watchdog {}: {step}: {source}", .device.display())]
    Io { device: PathBuf, step: &'static str, source: io::Error },
}

/// An open, armed watchdog device.
///
/// Dropped without [`close_orderly`](Watchdog::close_orderly) it stays armed and resets the machine
/// after its time-out: the kernel feeds it once at the close and nobody does so afterwards. That is what
/// a crash is to lead to.
#[derive(Debug)]
pub struct Device {
    file: File,
    identity: String,
    timeout_s: u32,
    ping_ioctl: bool,
    magic_close: bool,
    nowayout: Option<bool>,
}

impl Device {
    /// Opens and thereby arms the watchdog, and sets its time-out to `timeout_s`. From here on it wants
    /// to be fed. After the clean start of protocol.md R9.
    ///
    /// The driver may round the time-out or have a fixed one: [`timeout_s`](Watchdog::timeout_s) is what
    /// was read back, possibly more than asked for, and the only figure to compute a guard from.
    ///
    /// # Errors
    /// Each case of [`OpenError`]. In case of `Unsafe` the driver has stopped the watchdog again; after
    /// `Io` it may be armed.
    pub fn open(path: &Path, timeout_s: u32) -> Result<Self, OpenError> {
        let failed = |step| {
            move |errno: Errno| OpenError::Io { device: path.into(), step, source: errno.into() }
        };
        // Looked at before it is opened: opening already arms a watchdog, and does other things to
        // other files.
        let meta = fs::metadata(path).map_err(|error| explain(path, error))?;
        if !meta.file_type().is_char_device() {
            return Err(OpenError::NotAWatchdog(path.into()));
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .custom_flags(
                (OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed(),
            )
            .open(path)
            .map_err(|error| explain(path, error))?;
        let info = ioctls::support(&file).map_err(|_| OpenError::NotAWatchdog(path.into()))?;
        let mut device = Self {
            file,
            identity: info.identity(),
            timeout_s: 0,
            ping_ioctl: info.options & WDIOF_KEEPALIVEPING != 0,
            magic_close: info.options & WDIOF_MAGICCLOSE != 0,
            nowayout: nowayout(meta.rdev()),
        };
        if !survives_a_crash(device.magic_close, device.nowayout) {
            // Closing it is all that it takes to stop it: that is the complaint.
            return Err(OpenError::Unsafe { device: path.into(), identity: device.identity });
        }
        if info.options & WDIOF_SETTIMEOUT != 0 {
            ioctls::set_timeout(&device.file, timeout_s).map_err(failed("setting its time-out"))?;
        }
        device.timeout_s =
            ioctls::timeout(&device.file).map_err(failed("reading its time-out back"))?;
        Ok(device)
    }
}

impl Watchdog for Device {
    fn feed(&mut self) -> io::Result<()> {
        if self.ping_ioctl {
            Ok(ioctls::keep_alive(&self.file)?)
        } else {
            // Any byte feeds; this one is not the magic one.
            self.file.write_all(b"\0")
        }
    }

    fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn nowayout(&self) -> Option<bool> {
        self.nowayout
    }

    fn close_orderly(mut self: Box<Self>) -> io::Result<Closed> {
        if self.magic_close {
            // 'V' right before the close means "on purpose".
            self.file.write_all(b"V")?;
        }
        Ok(match self.nowayout {
            Some(true) => Closed::StillArmed,
            Some(false) => Closed::Disarmed,
            None => Closed::Unknown,
        })
    }
}

fn survives_a_crash(magic_close: bool, nowayout: Option<bool>) -> bool {
    magic_close || nowayout == Some(true)
}

/// Whether the driver refuses to be stopped, by sysfs
/// (Documentation/ABI/testing/sysfs-class-watchdog); `None` where sysfs doesn't tell.
fn nowayout(rdev: u64) -> Option<bool> {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    // /dev/watchdog is the misc device 10:130 and the same as watchdog0.
    let directory = if (major, minor) == (10, 130) {
        "/sys/class/watchdog/watchdog0".to_owned()
    } else {
        format!("/sys/dev/char/{major}:{minor}")
    };
    let text = fs::read_to_string(format!("{directory}/nowayout")).ok()?;
    match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn explain(path: &Path, source: io::Error) -> OpenError {
    match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => OpenError::Missing(path.into()),
        Some(Errno::BUSY) => OpenError::Busy(path.into()),
        Some(Errno::ACCESS | Errno::PERM) => OpenError::Denied(path.into()),
        _ => OpenError::Io { device: path.into(), step: "opening it", source },
    }
}

impl Info {
    fn identity(&self) -> String {
        // The kernel ends it with a zero byte; a driver that fills all 32 bytes has none.
        let bytes = CStr::from_bytes_until_nul(&self.identity)
            .map_or(self.identity.as_slice(), CStr::to_bytes);
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// The watchdog's ioctls.
#[allow(unsafe_code)]
mod ioctls {
    use std::os::fd::AsFd;

    use rustix::io::Result;
    use rustix::ioctl::{Getter, NoArg, Opcode, Updater, ioctl, opcode};

    /// struct watchdog_info
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(super) struct Info {
        pub(super) options: u32,
        pub(super) firmware_version: u32,
        pub(super) identity: [u8; 32],
    }

    pub(super) const GETSUPPORT: Opcode = opcode::read::<Info>(b'W', 0);
    pub(super) const KEEPALIVE: Opcode = opcode::read::<i32>(b'W', 5);
    pub(super) const SETTIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);
    pub(super) const GETTIMEOUT: Opcode = opcode::read::<i32>(b'W', 7);

    pub(super) fn support(fd: impl AsFd) -> Result<Info> {
        // SAFETY: for this opcode the kernel writes one struct watchdog_info, whose layout Info has;
        // the opcode carries its size.
        unsafe { ioctl(fd, Getter::<GETSUPPORT, Info>::new()) }
    }

    /// The kernel ignores the argument, though the opcode announces one.
    pub(super) fn keep_alive(fd: impl AsFd) -> Result<()> {
        // SAFETY: for this opcode the kernel neither reads nor writes memory of ours.
        unsafe { ioctl(fd, NoArg::<KEEPALIVE>::new()) }
    }

    /// Seconds.
    pub(super) fn set_timeout(fd: impl AsFd, seconds: u32) -> Result<()> {
        let mut seconds = i32::try_from(seconds).map_err(|_| rustix::io::Errno::INVAL)?;
        // SAFETY: for this opcode the kernel reads an int and writes back what it chose.
        unsafe { ioctl(fd, Updater::<SETTIMEOUT, i32>::new(&mut seconds)) }
    }

    /// Seconds.
    pub(super) fn timeout(fd: impl AsFd) -> Result<u32> {
        // SAFETY: for this opcode the kernel writes an int.
        let seconds = unsafe { ioctl(fd, Getter::<GETTIMEOUT, i32>::new()) }?;
        u32::try_from(seconds).map_err(|_| rustix::io::Errno::RANGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As linux/watchdog.h gives them on x86 and Arm, where _IOC(READ) is 2 and sizes have 14 bits.
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm"
    ))]
    #[test]
    fn ioctl_numbers_are_the_kernel_s() {
        assert_eq!(std::mem::size_of::<Info>(), 40);
        assert_eq!(ioctls::GETSUPPORT, 0x8028_5700);
        assert_eq!(ioctls::KEEPALIVE, 0x8004_5705);
        assert_eq!(ioctls::SETTIMEOUT, 0xc004_5706);
        assert_eq!(ioctls::GETTIMEOUT, 0x8004_5707);
    }

    #[test]
    fn what_is_no_watchdog_is_refused_with_the_way_out() {
        let missing = Device::open(Path::new("/dev/hb-no-watchdog"), 10).unwrap_err().to_string();
        assert!(
            missing.contains("no such device") && missing.contains("insmod softdog"),
            "{missing}"
        );
        for path in ["/dev/null", "/dev/zero", "/etc/hostname", "/tmp"] {
            let refused = Device::open(Path::new(path), 10).unwrap_err();
            assert!(matches!(refused, OpenError::NotAWatchdog(_)), "{path}: {refused}");
        }
    }

    #[test]
    fn a_fifo_or_socket_is_never_taken_for_a_watchdog() {
        let dir = std::env::temp_dir().join(format!("hb-watchdog-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (fifo, socket) = (dir.join("fifo"), dir.join("socket"));
        let _ = (fs::remove_file(&fifo), fs::remove_file(&socket));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&fifo, &socket] {
            let refused = Device::open(path, 10).unwrap_err();
            assert!(matches!(refused, OpenError::NotAWatchdog(_)), "{refused}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn kernel_s_answers_become_sentences() {
        let say = |errno: Errno| explain(Path::new("/dev/watchdog"), errno.into()).to_string();
        assert!(say(Errno::BUSY).contains("RuntimeWatchdogSec"), "{}", say(Errno::BUSY));
        assert!(say(Errno::ACCESS).contains("root"));
        assert!(say(Errno::IO).contains("opening it"));
    }

    #[test]
    fn a_watchdog_that_a_crash_would_switch_off_is_unsafe() {
        assert!(survives_a_crash(true, None));
        assert!(survives_a_crash(true, Some(false)));
        assert!(survives_a_crash(false, Some(true)));
        assert!(!survives_a_crash(false, Some(false)));
        assert!(!survives_a_crash(false, None), "unknown is not good enough");
    }

    #[test]
    fn identities_end_where_the_driver_says() {
        let mut info = Info { options: 0, firmware_version: 0, identity: [0; 32] };
        info.identity[..17].copy_from_slice(b"Software Watchdog");
        assert_eq!(info.identity(), "Software Watchdog");
        info.identity = [b'x'; 32];
        assert_eq!(info.identity().len(), 32);
    }
}
