//! The serial ports of this machine: which are really there, by which names, and who has them.
//!
//! USB vendor, product and serial number are serialport's; the rest is read from where the kernel shows
//! it: /sys/class/tty, /dev/serial, /proc/consoles, and the open files in /proc.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serialport::SerialPortType;

/// Where the kernel and udev show what they know. Other places in tests only.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// Of UUCP lock files.
    pub locks: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            dev: "/dev".into(),
            proc: "/proc".into(),
            locks: crate::media::LOCK_DIR.into(),
        }
    }
}

/// A serial port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// `/dev/ttyUSB0`: today's name.
    pub device: PathBuf,
    /// `/dev/serial/by-path/…`: where it is plugged in; stays over restarts and replugging.
    pub by_path: Option<PathBuf>,
    /// `/dev/serial/by-id/…`: which adapter it is; needs one with a serial number of its own.
    pub by_id: Option<PathBuf>,
    /// What it is.
    pub hardware: Hardware,
    /// FTDI's and some others': how long the adapter keeps a few received bytes for itself.
    pub latency_timer_ms: Option<u32>,
    /// Who has it.
    pub holders: Vec<Holder>,
}

/// What a port is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hardware {
    /// A USB adapter.
    Usb {
        /// USB vendor id.
        vendor: u16,
        /// USB product id.
        product: u16,
        /// Of this very adapter, where it has one.
        serial_number: Option<String>,
        /// In its own words.
        manufacturer: Option<String>,
        /// In its own words.
        name: Option<String>,
    },
    /// A UART on the board or on a card; its type as in linux/serial_core.h, 4 is the 16550A.
    Uart {
        /// None where only root may read it.
        kind: Option<u32>,
        /// On PCI.
        pci: bool,
    },
}

/// Who has a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// By its lock file alone.
    Lock {
        /// Whose.
        pid: i32,
        /// Where.
        file: PathBuf,
    },
    /// A process that has the device open.
    Process {
        /// Its id.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// The kernel writes its messages there.
    Console,
}

impl Holder {
    /// Whether it is our own daemon.
    #[must_use]
    pub fn is_heartbeatd(&self) -> bool {
        matches!(self, Self::Process { name, .. } if name == "heartbeatd")
    }

    /// Whether a test or a hello would take it something away, or it them.
    #[must_use]
    pub fn excludes(&self) -> bool {
        *self != Self::Console
    }

    /// What to do about it, for a person.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            holder if holder.is_heartbeatd() => {
                "`hb status` shows how this line does; `hb stop` lets go of it".into()
            }
            Self::Process { name, .. } if name.contains("getty") || name == "login" => {
                "a login waits there: systemctl disable --now serial-getty@PORT.service".into()
            }
            Self::Process { name, .. } if name == "ModemManager" => {
                "keep it away: docs/hardware/usb-adapters.md has the udev rule".into()
            }
            Self::Process { pid, .. } => format!("end process {pid} first"),
            Self::Lock { pid, file } => {
                format!("end process {pid}, or remove {} if it isn't its own", file.display())
            }
            Self::Console => {
                "remove console= of this port from the kernel's command line (/proc/cmdline)".into()
            }
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock { pid, file } => write!(f, "locked by process {pid} ({})", file.display()),
            Self::Process { pid, name } => write!(f, "{name} (process {pid})"),
            Self::Console => f.write_str("the kernel's console"),
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usb { vendor, product, serial_number, manufacturer, name } => {
                write!(f, "USB {vendor:04x}:{product:04x}")?;
                for words in [manufacturer, name].into_iter().flatten() {
                    write!(f, " {words}")?;
                }
                match serial_number {
                    Some(number) => write!(f, ", serial number {number}"),
                    None => f.write_str(", no serial number"),
                }
            }
            Self::Uart { kind, pci } => {
                f.write_str(match kind {
                    Some(4) => "16550A",
                    Some(_) => "UART",
                    None => "UART (only root sees whether it is there)",
                })?;
                f.write_str(if *pci { " on PCI" } else { "" })
            }
        }
    }
}

/// All ports of this machine, by name.
///
/// # Errors
/// /sys can't be read.
pub fn list(places: &Places) -> io::Result<Vec<Port>> {
    let mut found = BTreeMap::new();
    // serialport would panic without this directory.
    let class = places.sys.join("class/tty");
    for entry in fs::read_dir(&class)? {
        let name = entry?.file_name();
        if let Some(hardware) = uart(&class.join(&name)) {
            found.insert(places.dev.join(name), hardware);
        }
    }
    for port in serialport::available_ports().map_err(io::Error::from)? {
        let SerialPortType::UsbPort(usb) = port.port_type else { continue };
        let hardware = Hardware::Usb {
            vendor: usb.vid,
            product: usb.pid,
            serial_number: usb.serial_number,
            manufacturer: usb.manufacturer,
            name: usb.product,
        };
        found.insert(port.port_name.into(), hardware);
    }
    let port = |(device, hardware): (PathBuf, Hardware)| describe(places, &device, hardware);
    Ok(found.into_iter().map(port).collect())
}

/// A UART that the kernel found. It keeps names for some that it didn't: their type is 0, unknown.
fn uart(class: &Path) -> Option<Hardware> {
    // Readable by root alone (drivers/tty/serial/serial_core.c); the name is there for everybody.
    class.join("type").symlink_metadata().ok()?;
    let kind =
        fs::read_to_string(class.join("type")).ok().and_then(|text| text.trim().parse().ok());
    if kind == Some(0) {
        return None;
    }
    let device = fs::canonicalize(class).unwrap_or_default();
    Some(Hardware::Uart { kind, pci: device.components().any(|part| part.as_os_str() == "pci") })
}

/// What else is known of a port.
fn describe(places: &Places, device: &Path, hardware: Hardware) -> Port {
    let name = device.file_name().unwrap_or_default();
    let link = |directory: &str| {
        let entries = fs::read_dir(places.dev.join("serial").join(directory)).ok()?;
        let mut links: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|link| fs::canonicalize(link).is_ok_and(|to| to == device))
            .collect();
        links.sort();
        links.into_iter().next()
    };
    let latency = places.sys.join("bus/usb-serial/devices").join(name).join("latency_timer");
    Port {
        device: device.to_owned(),
        by_path: link("by-path"),
        by_id: link("by-id"),
        hardware,
        latency_timer_ms: fs::read_to_string(latency).ok().and_then(|ms| ms.trim().parse().ok()),
        holders: holders(places, device),
    }
}

/// Who has a port, as far as this user may see. Our own process doesn't count.
#[must_use]
pub fn holders(places: &Places, device: &Path) -> Vec<Holder> {
    let device = fs::canonicalize(device).unwrap_or_else(|_| device.to_owned());
    let mut holders = Vec::new();
    let is_tty = |file: &fs::Metadata| file.file_type().is_char_device();
    if let Some(tty) = fs::metadata(&device).ok().filter(is_tty) {
        holders.extend(openers(&places.proc, tty.rdev()));
    }
    holders.extend(lock_of(places, &device).filter(|lock| {
        let Holder::Lock { pid: of, .. } = lock else { return true };
        !holders.iter().any(|holder| matches!(holder, Holder::Process { pid, .. } if pid == of))
    }));
    let consoles = fs::read_to_string(places.proc.join("consoles")).unwrap_or_default();
    let mut names = consoles.lines().filter_map(|line| line.split_whitespace().next());
    if names.any(|name| Some(name.as_ref()) == device.file_name()) {
        holders.push(Holder::Console);
    }
    holders
}

/// Processes that have the device of this number open.
fn openers(proc: &Path, rdev: u64) -> Vec<Holder> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(proc) else { return found };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id().cast_signed()) else {
            continue;
        };
        // Gone meanwhile, or somebody else's.
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        let is_it = |file: fs::DirEntry| {
            fs::metadata(file.path())
                .is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == rdev)
        };
        if files.flatten().any(is_it) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(Holder::Process { pid, name: name.trim().to_owned() });
        }
    }
    found.sort_by_key(|holder| if let Holder::Process { pid, .. } = holder { *pid } else { 0 });
    found
}

fn lock_of(places: &Places, device: &Path) -> Option<Holder> {
    let mut name = std::ffi::OsString::from("LCK..");
    name.push(device.file_name()?);
    let file = places.locks.join(name);
    let pid: i32 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
    let alive = places.proc.join(pid.to_string()).exists();
    (alive && pid != std::process::id().cast_signed()).then_some(Holder::Lock { pid, file })
}

/// The list for a person.
#[must_use]
pub fn picture(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "no serial port: no UART on the board, no adapter plugged in\n".into();
    }
    let mut text = String::new();
    for port in ports {
        text.push_str(&format!("{}  {}\n", port.device.display(), port.hardware));
        for name in [&port.by_path, &port.by_id].into_iter().flatten() {
            text.push_str(&format!("    {}\n", name.display()));
        }
        if matches!(port.hardware, Hardware::Usb { .. }) && port.by_path.is_none() {
            text.push_str("    no name in /dev/serial/by-path: udev doesn't run here\n");
        }
        if let Some(ms) = port.latency_timer_ms {
            let advice = if ms > 1 { "; 1 is better: docs/hardware/usb-adapters.md" } else { "" };
            text.push_str(&format!("    latency timer {ms} ms{advice}\n"));
        }
        if port.holders.is_empty() {
            text.push_str("    free\n");
        }
        for holder in &port.holders {
            text.push_str(&format!("    in use by {holder}: {}\n", holder.advice()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A made-up machine's files.
    fn places(name: &str) -> Places {
        let root = std::env::temp_dir().join(format!("hb-ports-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for directory in ["sys/class/tty/ttyS0", "dev/serial/by-path", "proc/41/fd", "lock"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Places {
            sys: root.join("sys"),
            dev: root.join("dev"),
            proc: root.join("proc"),
            locks: root.join("lock"),
        }
    }

    #[test]
    fn uarts_that_the_kernel_only_has_a_name_for_are_not_there() {
        let places = places("uart");
        let class = places.sys.join("class/tty/ttyS0");
        assert_eq!(uart(&class), None, "no UART at all");
        fs::write(class.join("type"), "0\n").unwrap();
        assert_eq!(uart(&class), None, "type unknown");
        fs::write(class.join("type"), "4\n").unwrap();
        assert_eq!(uart(&class), Some(Hardware::Uart { kind: Some(4), pci: false }));
    }

    #[test]
    fn holders_are_found_by_open_file_lock_and_console() {
        let places = places("holders");
        // Any character device will do for its number.
        let device = Path::new("/dev/null");
        symlink(device, places.proc.join("41/fd/7")).unwrap();
        fs::write(places.proc.join("41/comm"), "heartbeatd\n").unwrap();
        fs::write(places.proc.join("consoles"), "null  -W- (EC  p a)    4:64\n").unwrap();
        fs::write(places.locks.join("LCK..null"), "        41\n").unwrap();
        let daemon = Holder::Process { pid: 41, name: "heartbeatd".into() };
        assert_eq!(holders(&places, device), [daemon.clone(), Holder::Console]);
        assert!(daemon.is_heartbeatd() && daemon.excludes() && !Holder::Console.excludes());
        // Another process's lock counts by itself; a dead one's doesn't.
        fs::remove_file(places.proc.join("41/fd/7")).unwrap();
        let lock = Holder::Lock { pid: 41, file: places.locks.join("LCK..null") };
        assert_eq!(holders(&places, device), [lock, Holder::Console]);
        fs::write(places.locks.join("LCK..null"), "        42\n").unwrap();
        assert_eq!(holders(&places, device), [Holder::Console]);
    }

    #[test]
    fn the_stable_name_and_the_latency_timer_are_found() {
        let places = places("names");
        let device = places.dev.join("ttyUSB3");
        fs::write(&device, "").unwrap();
        let link = places.dev.join("serial/by-path/pci-0000:00:1d.0-usb-0:1.2:1.0-port0");
        symlink("../../ttyUSB3", &link).unwrap();
        let sys = places.sys.join("bus/usb-serial/devices/ttyUSB3");
        fs::create_dir_all(&sys).unwrap();
        fs::write(sys.join("latency_timer"), "16\n").unwrap();
        let hardware = Hardware::Usb {
            vendor: 0x0403,
            product: 0x6001,
            serial_number: Some("A50285BI".into()),
            manufacturer: Some("FTDI".into()),
            name: Some("FT232R USB UART".into()),
        };
        let port = describe(&places, &fs::canonicalize(&device).unwrap(), hardware);
        assert_eq!(port.by_path, Some(link));
        assert_eq!(port.latency_timer_ms, Some(16));
        let picture = picture(&[port]);
        assert!(picture.contains("USB 0403:6001 FTDI FT232R USB UART, serial number A50285BI"));
        assert!(picture.contains("latency timer 16 ms; 1 is better"), "{picture}");
        assert!(picture.contains("free"), "{picture}");
    }
}
