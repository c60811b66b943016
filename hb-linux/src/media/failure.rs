//! Why a medium is not open, in words that tell what to do.

use std::path::PathBuf;

use rustix::io::Errno;

/// Why a port is not open. The text goes behind the port's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// It was open.
    #[error("lost ({0}); it is re-opened when it comes back")]
    Lost(Errno),
    /// The path leads nowhere.
    #[error("no such device; check the name in ha.cf, and that the adapter is plugged in")]
    NoDevice,
    /// The path leads to something else.
    #[error("not a serial device; ha.cf's `serial` wants a tty such as /dev/ttyS0 or /dev/ttyUSB0")]
    NotATty,
    /// The path can't be handed to the serial library.
    #[error("the device's path is not valid UTF-8; link it to a plain name")]
    PathNotText,
    /// By its lock file.
    #[error("in use by process {pid} (lock file {})", .file.display())]
    LockedBy { pid: i32, file: PathBuf },
    /// A lock file that names nobody.
    #[error(
        "lock file {} holds {found:?} instead of a process id; remove it if no program uses the line",
        .file.display()
    )]
    LockUnreadable { file: PathBuf, found: String },
    /// The lock file can't be written.
    #[error("can't lock the device: {}: {errno}; the directory must exist and be writable", .path.display())]
    LockNotWritable { path: PathBuf, errno: Errno },
    /// By the kernel's or flock's exclusive lock.
    #[error("in use by another program (it holds the tty's exclusive lock)")]
    InUse,
    /// Wrong user.
    #[error("permission denied; run as root or as a member of the device's group")]
    DeviceDenied,
    /// Opening or setting up a tty failed otherwise.
    #[error("can't set up the serial line, {step}: {reason}")]
    Serial { step: &'static str, reason: String },
    /// No such NIC.
    #[error("no such interface; `ip link` lists those that exist")]
    NoInterface,
    /// pppd has not made it.
    #[error(
        "the PPP link is not up (no interface {interface} yet); the log has what pppd says, and both ends must run"
    )]
    NoPpp { interface: String },
    /// Binding to the interface was refused.
    #[error(
        "binding to the interface was refused; it takes Linux 5.7 or the capability CAP_NET_RAW"
    )]
    BindToDeviceDenied,
    /// A port below 1024 without the right.
    #[error("UDP port {0} is privileged; run as root, or use a `udpport` of 1024 or above")]
    PortDenied(u16),
    /// Somebody else has the port.
    #[error("UDP port {0} is in use on this interface by another program (`ss -lup` shows it)")]
    PortInUse(u16),
    /// A socket call failed otherwise.
    #[error("can't set up the socket, {step}: {errno}")]
    Socket { step: &'static str, errno: Errno },
}
