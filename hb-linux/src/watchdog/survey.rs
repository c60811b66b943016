//! This machine's watchdogs, looked at without opening one: opening arms it.
//!
//! /sys/class/watchdog (Linux, Documentation/ABI/testing/sysfs-class-watchdog) has a directory for each
//! device, and attributes in it if the kernel was built with CONFIG_WATCHDOG_SYSFS. Who has one open stands in
//! /proc/PID/fd (proc_pid_fd(5)).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The last reset was this watchdog's (linux/watchdog.h, WDIOF_CARDRESET), as option: the driver can tell.
const CARDRESET: u32 = 0x0020;
/// Names of the bits of watchdog_info.options (linux/watchdog.h), without their prefix WDIOF_.
const FLAGS: [(u32, &str); 12] = [
    (0x0001, "overheat"),
    (0x0002, "fanfault"),
    (0x0004, "extern1"),
    (0x0008, "extern2"),
    (0x0010, "powerunder"),
    (CARDRESET, "cardreset"),
    (0x0040, "powerover"),
    (0x0080, "settimeout"),
    (0x0100, "magicclose"),
    (0x0200, "pretimeout"),
    (0x0400, "alarmonly"),
    (0x8000, "keepaliveping"),
];

/// One watchdog, as far as the kernel tells. What it doesn't tell is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Number N of /dev/watchdogN.
    pub number: u32,
    /// The driver's name for itself.
    pub identity: Option<String>,
    /// Runs now: it resets this machine when nobody feeds it.
    pub active: Option<bool>,
    /// Time-out, seconds; without it being open, what the driver would begin with.
    pub timeout_s: Option<u32>,
    /// The shortest and the longest time-out that the driver takes, seconds; the longest is 0 where it has no
    /// such limit.
    pub limits_s: Option<(u32, u32)>,
    /// Seconds that are left now.
    pub timeleft_s: Option<u32>,
    /// Warns so many seconds before it resets.
    pub pretimeout_s: Option<u32>,
    /// What happens then: `noop`, `panic`.
    pub pretimeout_governor: Option<String>,
    /// Bits of watchdog_info.options.
    pub options: Option<u32>,
    /// Bits that the driver found set when it was loaded.
    pub bootstatus: Option<u32>,
    /// It can't be stopped once it is armed.
    pub nowayout: Option<bool>,
    /// Who has it open; `None` where /proc doesn't show all processes' files (who asks is not root).
    pub holders: Option<Vec<Holder>>,
}

/// A process that has a watchdog open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its name (proc_pid_comm(5)).
    pub name: String,
}

/// The watchdogs below `root` (`/`, but in tests), by number.
///
/// # Errors
/// /sys/class/watchdog can't be read; that it is not there is no error, but no watchdog.
pub fn survey(root: &Path) -> io::Result<Vec<Seen>> {
    let class = root.join("sys/class/watchdog");
    let entries = match fs::read_dir(&class) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("watchdog"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let mut seen: Vec<_> = numbers.into_iter().map(|number| look(&class, number)).collect();
    let open = holders(root);
    for watchdog in &mut seen {
        watchdog.holders = open.as_ref().map(|open| {
            let ours = open.iter().filter(|(number, _)| *number == watchdog.number);
            ours.map(|(_, holder)| holder.clone()).collect()
        });
    }
    Ok(seen)
}

fn look(class: &Path, number: u32) -> Seen {
    let directory = class.join(format!("watchdog{number}"));
    let text = |name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let figure = |name: &str| text(name).as_deref().and_then(parse_figure);
    Seen {
        number,
        identity: text("identity"),
        active: text("state").map(|state| state == "active"),
        timeout_s: figure("timeout"),
        limits_s: figure("min_timeout").zip(figure("max_timeout")),
        timeleft_s: figure("timeleft"),
        pretimeout_s: figure("pretimeout"),
        pretimeout_governor: text("pretimeout_governor"),
        options: figure("options"),
        bootstatus: figure("bootstatus"),
        nowayout: figure("nowayout").map(|on| on != 0),
        holders: None,
    }
}

/// The kernel writes some of these in decimal and some as 0x….
fn parse_figure(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Every open watchdog and who has it open; `None` if some process's files are not ours to see.
fn holders(root: &Path) -> Option<Vec<(u32, Holder)>> {
    let mut found = Vec::new();
    for process in fs::read_dir(root.join("proc")).ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let files = match fs::read_dir(process.path().join("fd")) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            // It has ended meanwhile.
            Err(_) => continue,
        };
        let paths = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        for number in paths.filter_map(|path| number_of(&path)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let holder = Holder { pid, name: name.trim().to_owned() };
            if !found.contains(&(number, holder.clone())) {
                found.push((number, holder));
            }
        }
    }
    Some(found)
}

/// The number of the watchdog behind a path; /dev/watchdog is the first one (watchdog-api.rst).
#[must_use]
pub fn number_of(path: &Path) -> Option<u32> {
    match path.to_str()?.strip_prefix("/dev/watchdog")? {
        "" => Some(0),
        number => number.parse().ok(),
    }
}

impl Seen {
    /// Its device.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        format!("/dev/watchdog{}", self.number).into()
    }

    /// Whether this kernel shows attributes at all (CONFIG_WATCHDOG_SYSFS).
    #[must_use]
    pub const fn has_attributes(&self) -> bool {
        self.identity.is_some() || self.timeout_s.is_some() || self.active.is_some()
    }

    /// Whether this machine's last reset was this watchdog's; `None` if the driver doesn't tell, and most of
    /// them don't.
    #[must_use]
    pub fn reset_the_machine(&self) -> Option<bool> {
        let can_tell = self.options.is_some_and(|options| options & CARDRESET != 0);
        let set = self.bootstatus.map(|status| status & CARDRESET != 0)?;
        // Some drivers report it without announcing that they would.
        (can_tell || set).then_some(set)
    }

    fn flags(&self) -> Option<String> {
        let options = self.options?;
        let names = FLAGS.iter().filter(|(bit, _)| options & bit != 0).map(|&(_, name)| name);
        let names = names.collect::<Vec<_>>().join(" ");
        Some(if names.is_empty() { "none".to_owned() } else { names })
    }

    fn limits(&self) -> String {
        match self.limits_s {
            Some((least, 0)) => format!(" (the driver takes {least} s and more)"),
            Some((least, most)) => format!(" (the driver takes {least} to {most} s)"),
            None => String::new(),
        }
    }
}

const UNKNOWN: &str = "this kernel doesn't tell";

/// Some lines for a person, the last one ending in a newline.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "  {name:<10}  {value}");
        let also = if self.number == 0 { ", which is /dev/watchdog" } else { "" };
        line("device", &format!("{}{also}", self.device().display()))?;
        line("identity", self.identity.as_deref().unwrap_or(UNKNOWN))?;
        line(
            "state",
            match self.active {
                Some(true) => "armed: resets this machine when nobody feeds it",
                Some(false) => "not armed",
                None => UNKNOWN,
            },
        )?;
        let left = self.timeleft_s.filter(|_| self.active == Some(true));
        let left = left.map_or_else(String::new, |left| format!(", {left} s left"));
        let timeout = self.timeout_s.map(|s| format!("{s} s{left}{}", self.limits()));
        line("time-out", timeout.as_deref().unwrap_or(UNKNOWN))?;
        line("pretimeout", &self.pretimeout())?;
        line("flags", self.flags().as_deref().unwrap_or(UNKNOWN))?;
        line(
            "nowayout",
            match self.nowayout {
                Some(true) => {
                    "yes: once armed, only a reset ends it; stopping heartbeat resets this machine"
                }
                Some(false) => "no: an orderly stop disarms it",
                None => UNKNOWN,
            },
        )?;
        line(
            "bootstatus",
            match (self.reset_the_machine(), self.bootstatus) {
                (Some(true), _) => "the last reset of this machine was this watchdog's",
                (Some(false), _) => "the last reset of this machine was not this watchdog's",
                (None, Some(_)) => "this driver doesn't record what reset the machine",
                (None, None) => UNKNOWN,
            },
        )?;
        line("held by", &self.held_by())
    }
}

impl Seen {
    fn pretimeout(&self) -> String {
        match (self.pretimeout_s, self.pretimeout_governor.as_deref()) {
            (Some(0), _) => "none".to_owned(),
            (Some(s), Some(governor)) => format!("{s} s before the reset ({governor})"),
            (Some(s), None) => format!("{s} s before the reset"),
            // The attribute is hidden where the driver has no such thing.
            (None, _) if self.options.is_some() => "none".to_owned(),
            (None, _) => UNKNOWN.to_owned(),
        }
    }

    /// The processes that have it open, in words.
    #[must_use]
    pub fn held_by(&self) -> String {
        match self.holders.as_deref() {
            None => "can't be told: only root sees all processes' files".to_owned(),
            // The kernel feeds one that was armed before any program came (watchdog_core's handle_boot_enabled).
            Some([]) if self.active == Some(true) => {
                "nobody; it was armed before, and the kernel may feed it until it is opened"
                    .to_owned()
            }
            Some([]) => "nobody".to_owned(),
            Some(holders) => {
                let names = holders.iter().map(|h| format!("{} (process {})", h.name, h.pid));
                names.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests;
