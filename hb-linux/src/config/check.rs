//! `hb check`: would this configuration work on this machine, and what does it promise?

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use hb_proto::config::{Config, Digests, ResourceKind, STATUS_SERIAL_BYTES};
use hb_proto::time::Duration;

use super::diagnostic::OneLine;
use super::media::written;
use super::scripts::{self, Found};
use super::third_voter;
use super::{Diagnostic, GroupLine, Loaded, Medium, ResourceLine, Settings, Severity};
use crate::net::{self, Interface};

/// What the check looks at beside the three files.
#[derive(Debug)]
pub struct Surroundings {
    /// This machine's interfaces, or why they can't be read.
    pub interfaces: io::Result<Vec<Interface>>,
    /// Where scripts are looked for, in this order.
    pub script_directories: Vec<PathBuf>,
    /// This machine is somebody's guest: it can be paused, its watchdog with it.
    pub hypervisor: bool,
}

impl Surroundings {
    /// Those of this machine.
    #[must_use]
    pub fn here(config_dir: &Path) -> Self {
        Self {
            interfaces: net::interfaces(),
            script_directories: scripts::directories(config_dir).to_vec(),
            hypervisor: under_hypervisor(),
        }
    }
}

/// Whether the processor or the firmware says that this is a guest: CPUID leaf 1, ECX bit 31 as the
/// kernel shows it; Xen's /sys/hypervisor; the device tree's node of KVM and Xen on ARM.
fn under_hypervisor() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let says = |line: &str| line.starts_with("flags") && line.split(' ').any(|word| word == "hypervisor");
    flags.lines().any(says)
        || ["/sys/hypervisor/type", "/proc/device-tree/hypervisor"]
            .iter()
            .any(|path| Path::new(path).exists())
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Something is worth a remark.
    Remark(Diagnostic),
    /// Something is as it should be, or is computed from the files.
    Fact(String),
}

/// What `hb check` prints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// In the order of printing.
    pub findings: Vec<Finding>,
    /// Fingerprints of the files, when they could be read: what a daemon started now would run on.
    pub digests: Option<Digests>,
}

impl CheckReport {
    /// 0 clean (notes may be there), 1 warnings, 2 errors.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.remarks().map(|remark| remark.severity).max() {
            Some(Severity::Error) => 2,
            Some(Severity::Warning) => 1,
            Some(Severity::Note) | None => 0,
        }
    }

    /// The remarks among the findings.
    pub fn remarks(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.iter().filter_map(|finding| match finding {
            Finding::Remark(diagnostic) => Some(diagnostic),
            Finding::Fact(_) => None,
        })
    }

    fn fact(&mut self, text: String) {
        self.findings.push(Finding::Fact(text));
    }

    fn remark(&mut self, severity: Severity, place: &Place<'_>, message: String) {
        self.findings.push(Finding::Remark(Diagnostic {
            severity,
            file: place.file.to_owned(),
            line: place.line,
            message,
        }));
    }
}

/// One finding a line, then a line that counts them.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            match finding {
                Finding::Remark(diagnostic) => writeln!(f, "{diagnostic}")?,
                Finding::Fact(text) => writeln!(f, "{}", OneLine(text))?,
            }
        }
        let count = |severity| self.remarks().filter(|remark| remark.severity == severity).count();
        writeln!(
            f,
            "{}, {}, {}",
            counted(count(Severity::Error), "error"),
            counted(count(Severity::Warning), "warning"),
            counted(count(Severity::Note), "note")
        )
    }
}

/// Where a remark belongs.
struct Place<'a> {
    file: &'a Path,
    line: Option<usize>,
}

/// Checks CONFIG_DIR's files, and what they name, against this machine. `node` is `--node`.
///
/// Only looks: it opens no serial line and no watchdog, and runs no script.
#[must_use]
pub fn run(config_dir: &Path, node: Option<&str>, surroundings: &Surroundings) -> CheckReport {
    let mut report = CheckReport::default();
    let none = Vec::new();
    let interfaces = surroundings.interfaces.as_ref().unwrap_or(&none);
    let loaded = match Settings::load(config_dir, node, interfaces) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            report.findings.extend(diagnostics.into_iter().map(Finding::Remark));
            return report;
        }
    };
    report.findings.extend(loaded.diagnostics.iter().cloned().map(Finding::Remark));
    let settings = &loaded.settings;
    report.digests = Some(settings.proto.digests);
    report.fact(format!("node {} (this machine), peer {}", settings.node, settings.peer));
    let hacf = config_dir.join("ha.cf");
    let haresources = config_dir.join("haresources");
    match &surroundings.interfaces {
        Ok(interfaces) => check_interfaces(&loaded, &hacf, &haresources, interfaces, &mut report),
        Err(error) => report.remark(
            Severity::Warning,
            &Place { file: &hacf, line: None },
            format!("the kernel doesn't tell its interfaces, so they are not checked: {error}"),
        ),
    }
    check_serial_lines(&loaded, &hacf, &mut report);
    check_watchdog(settings, &hacf, &mut report);
    check_scripts(&settings.groups, &haresources, &surroundings.script_directories, &mut report);
    for group in 0..settings.groups.len() {
        report.findings.extend(budget_line(settings, group).map(Finding::Fact));
    }
    check_independence(settings, &hacf, &mut report);
    for (severity, sentence) in third_voter::judge(settings, surroundings.hypervisor) {
        match severity {
            None => report.fact(sentence),
            Some(severity) => {
                report.remark(severity, &Place { file: &hacf, line: None }, sentence);
            }
        }
    }
    report
}

fn check_interfaces(
    loaded: &Loaded,
    hacf: &Path,
    haresources: &Path,
    interfaces: &[Interface],
    report: &mut CheckReport,
) {
    let mut told = BTreeSet::new();
    for (medium, &line) in loaded.settings.media.iter().zip(&loaded.media_lines) {
        let place = Place { file: hacf, line: Some(line) };
        let (name, needs_ipv4) = match medium {
            Medium::Serial { .. } => continue,
            Medium::Broadcast { interface, .. } => (interface, true),
            Medium::Unicast { interface, peer: ip, .. }
            | Medium::Multicast { interface, group: ip, .. } => (interface, ip.is_ipv4()),
        };
        let Some(interface) = find_interface(name, interfaces, &place, &mut told, report) else {
            continue;
        };
        if !interface.addresses.iter().any(|(ip, _)| ip.is_ipv4() == needs_ipv4) {
            let family = if needs_ipv4 { "IPv4" } else { "IPv6" };
            report.remark(
                Severity::Warning,
                &place,
                format!(
                    "{}: interface {name} has no {family} address to send from",
                    written(medium)
                ),
            );
        }
    }
    for group in &loaded.settings.groups {
        let place = Place { file: haresources, line: Some(group.line) };
        for resource in &group.resources {
            if let ResourceLine::Address { spec, .. } = resource
                && let Some(name) = &spec.interface
            {
                find_interface(name, interfaces, &place, &mut told, report);
            }
        }
    }
}

/// The interface, having told about its state once; `None` and an error when there is none.
fn find_interface<'a>(
    name: &str,
    interfaces: &'a [Interface],
    place: &Place<'_>,
    told: &mut BTreeSet<String>,
    report: &mut CheckReport,
) -> Option<&'a Interface> {
    let first_time = told.insert(name.to_owned());
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        let known: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        report.remark(
            Severity::Error,
            place,
            format!("there is no interface {name}; this machine has {}", known.join(", ")),
        );
        return None;
    };
    if first_time {
        if !interface.up {
            let advice = format!("interface {name} is down: `ip link set {name} up`");
            report.remark(Severity::Warning, place, advice);
        } else if !interface.running {
            let advice = format!("interface {name} has no carrier: cable, switch or the other end");
            report.remark(Severity::Warning, place, advice);
        } else {
            let addresses: Vec<String> =
                interface.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
            let addresses =
                if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
            report.fact(format!("interface {name}: up, has carrier, {addresses}"));
        }
    }
    Some(interface)
}

fn check_serial_lines(loaded: &Loaded, hacf: &Path, report: &mut CheckReport) {
    let proto = &loaded.settings.proto;
    for (medium, &line) in loaded.settings.media.iter().zip(&loaded.media_lines) {
        let Medium::Serial { device, baud } = medium else { continue };
        let place = Place { file: hacf, line: Some(line) };
        check_character_device(
            device,
            &place,
            Severity::Error,
            "name the device that your null-modem cable is in (`ls /dev/ttyS* /dev/ttyUSB*`)",
            report,
        );
        report.fact(serial_load_line(proto, device, *baud));
    }
}

/// What one keepalive's frames need of a serial line, with the numbers (protocol.md §3).
fn serial_load_line(proto: &Config, device: &Path, baud: u32) -> String {
    let (needed, allowed) = proto.serial_load(baud);
    format!(
        "load of {}: {STATUS_SERIAL_BYTES} bytes × 10 bits / {baud} baud = {needed} of each \
         keepalive of {}; at most half of it, {allowed}, is allowed",
        device.display(),
        proto.timing.keepalive
    )
}

fn check_watchdog(settings: &Settings, hacf: &Path, report: &mut CheckReport) {
    if let Some(device) = &settings.watchdog {
        check_character_device(
            device,
            &Place { file: hacf, line: None },
            Severity::Warning,
            "load the watchdog's driver (`modprobe softdog` when the machine has none of its own)",
            report,
        );
    }
}

fn check_character_device(
    device: &Path,
    place: &Place<'_>,
    severity: Severity,
    advice: &str,
    report: &mut CheckReport,
) {
    let name = device.display();
    match fs::metadata(device) {
        Ok(metadata) if metadata.file_type().is_char_device() => {}
        Ok(_) => report.remark(
            Severity::Error,
            place,
            format!("{name} is not a character device; {advice}"),
        ),
        Err(error) => report.remark(severity, place, format!("{name}: {error}; {advice}")),
    }
}

fn check_scripts(
    groups: &[GroupLine],
    haresources: &Path,
    directories: &[PathBuf],
    report: &mut CheckReport,
) {
    let mut told = BTreeSet::new();
    for group in groups {
        let place = Place { file: haresources, line: Some(group.line) };
        for resource in &group.resources {
            let ResourceLine::Script { script, .. } = resource else { continue };
            if !told.insert(script) {
                continue;
            }
            match scripts::find(directories, script) {
                Found::Executable(path) => {
                    report.fact(format!("script {script}: {}", path.display()));
                }
                Found::NotExecutable(path) => {
                    let path = path.display();
                    let message =
                        format!("script {script}: {path} is not executable: `chmod +x {path}`");
                    report.remark(Severity::Error, &place, message);
                }
                Found::Missing => {
                    let places: Vec<String> =
                        directories.iter().map(|path| path.display().to_string()).collect();
                    let hint = match script.as_str() {
                        "IPaddr2" | "IPv6addr" => "; for a service address write just the address",
                        _ => "",
                    };
                    let message =
                        format!("script {script} is in none of {}{hint}", places.join(", "));
                    report.remark(Severity::Error, &place, message);
                }
            }
        }
    }
}

/// The failover budget of a group with its arithmetic (protocol.md §3); `None` for a group that
/// doesn't exist.
///
/// `budget for 192.168.85.3: deadtime 500 ms + start 1020 ms (1 address at 20 ms, 1 script at 1 s
/// assumed) + announce 20 ms = 1540 ms`
#[must_use]
pub fn budget_line(settings: &Settings, group: usize) -> Option<String> {
    let proto = &settings.proto;
    let budget = proto.budget(group)?;
    let name = settings.groups.get(group)?.name();
    let count = |kind| proto.groups[group].resources.iter().filter(|&&known| known == kind).count();
    let mut parts = Vec::new();
    for (kind, noun, each, assumed) in [
        (ResourceKind::Address, "address", proto.patience.address_allowance, ""),
        (ResourceKind::Script, "script", proto.patience.script_allowance, " assumed"),
    ] {
        match count(kind) {
            0 => {}
            some => parts.push(format!("{} at {}{assumed}", counted(some, noun), brief(each))),
        }
    }
    Some(format!(
        "budget for {name}: deadtime {} + start {} ({}) + announce {} = {}",
        budget.detection,
        budget.start,
        parts.join(", "),
        budget.announce,
        budget.total()
    ))
}

/// How many paths there really are, and what happens when all of them are cut.
fn check_independence(settings: &Settings, hacf: &Path, report: &mut CheckReport) {
    let ports: BTreeSet<String> = settings
        .media
        .iter()
        .map(|medium| match medium {
            Medium::Serial { device, .. } => device.display().to_string(),
            Medium::Broadcast { interface, .. }
            | Medium::Unicast { interface, .. }
            | Medium::Multicast { interface, .. } => interface.clone(),
        })
        .collect();
    if let (1, Some(port)) = (ports.len(), ports.first()) {
        report.remark(
            Severity::Warning,
            &Place { file: hacf, line: None },
            format!(
                "every heartbeat goes through {port}: when that one path fails, both nodes run \
                 everything. Add a medium on another wire, best a null-modem line"
            ),
        );
    }
    if settings.proto.arbiter.is_none() {
        report.fact(format!(
            "no arbiter: when every link ({}) is cut while both nodes run, each takes the other for \
             dead and both run every resource group, with the same addresses, until a link returns; \
             then one node keeps each group and the other one stops it",
            ports.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
}

/// `1 address`, `2 addresses`.
fn counted(count: usize, noun: &str) -> String {
    let ending = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{ending}")
}

/// Whole seconds as such, everything else in milliseconds.
fn brief(time: Duration) -> String {
    match time.micros() {
        micros if micros > 0 && micros % 1_000_000 == 0 => format!("{} s", micros / 1_000_000),
        _ => time.to_string(),
    }
}
