//! `hb check`: would this configuration work on this machine, and what does it promise?

mod ppp;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hb_proto::config::{Digests, ResourceKind};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;

use super::bounds::{self, counted};
use super::diagnostic::OneLine;
use super::media::written;
use super::scripts::{self, Found};
use super::{Diagnostic, GroupLine, Loaded, Medium, ResourceLine, Settings, Severity};
use crate::net::{self, Interface};
use crate::watchdog;

/// What the check looks at beside the three files.
#[derive(Debug)]
pub struct Surroundings {
    /// This machine's interfaces, or why they can't be read.
    pub interfaces: io::Result<Vec<Interface>>,
    /// Where scripts are looked for, in this order.
    pub script_directories: Vec<PathBuf>,
    /// This machine is somebody's guest: it can be paused, its watchdog with it.
    pub guest: bool,
    /// pppd.
    pub pppd: PathBuf,
    /// `/`, but in tests: what the kernel has is looked up below it.
    pub root: PathBuf,
}

impl Surroundings {
    /// Those of this machine.
    #[must_use]
    pub fn here(config_dir: &Path) -> Self {
        Self {
            interfaces: net::interfaces(),
            script_directories: scripts::directories(config_dir).to_vec(),
            guest: is_guest(),
            pppd: super::ppp::PPPD.into(),
            root: "/".into(),
        }
    }
}

/// Whether the processor or the firmware says that this is a hypervisor's guest, which can be paused: CPUID
/// leaf 1, ECX bit 31 as the kernel shows it; Xen's /sys/hypervisor; on ARM the device tree's node of KVM and
/// Xen, or QEMU's name in DMI.
#[must_use]
pub fn is_guest() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let says =
        |line: &str| line.starts_with("flags") && line.split(' ').any(|word| word == "hypervisor");
    let vendor = fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    flags.lines().any(says)
        || vendor.starts_with("QEMU")
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
    let machine = (surroundings.pppd.as_path(), surroundings.root.as_path());
    ppp::check(&loaded, &hacf, config_dir, machine, interfaces, &mut report);
    check_watchdog(&loaded, &hacf, &mut report);
    check_alert(&loaded, &hacf, &mut report);
    check_scripts(&settings.groups, &haresources, &surroundings.script_directories, &mut report);
    bounds::times(settings).into_iter().for_each(|fact| report.fact(fact));
    for group in 0..settings.groups.len() {
        report.findings.extend(bounds::budget(settings, group).map(Finding::Fact));
    }
    report.findings.extend(bounds::without_evidence(settings).map(Finding::Fact));
    check_independence(settings, &hacf, &mut report);
    if surroundings.guest {
        check_guest(&loaded, &hacf, &mut report);
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
            Medium::Serial { .. } | Medium::Ppp { .. } => continue,
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
    for ((medium, &line), at) in loaded.settings.media.iter().zip(&loaded.media_lines).zip(0..) {
        let Medium::Serial { device, baud } = medium else { continue };
        let place = Place { file: hacf, line: Some(line) };
        check_character_device(
            device,
            &place,
            Severity::Error,
            "name the device that your null-modem cable is in (`ls /dev/ttyS* /dev/ttyUSB*`)",
            report,
        );
        report.fact(bounds::serial_load(proto, LinkId(at), device, *baud));
    }
}

fn check_watchdog(loaded: &Loaded, hacf: &Path, report: &mut CheckReport) {
    let settings = &loaded.settings;
    let Some(device) = &settings.watchdog else { return };
    let place = Place { file: hacf, line: loaded.watchdog_line };
    // Where guard is its time, heartbeatd leaves without it (R10).
    let severity = if settings.guard_by_watchdog { Severity::Error } else { Severity::Warning };
    let advice =
        "load the watchdog's driver (`modprobe softdog` when the machine has none of its own)";
    check_character_device(device, &place, severity, advice, report);
    let scripts =
        settings.proto.groups.iter().any(|group| group.resources.contains(&ResourceKind::Script));
    let (stop, timeout_s) =
        (settings.proto.patience.stop, watchdog::timeout_s(settings.proto.timing.deadtime));
    if scripts && stop > Duration::from_secs(u64::from(timeout_s)) {
        report.remark(
            Severity::Note,
            &place,
            format!(
                "a `stop` may take {} s and the watchdog waits {timeout_s} s: a script that stops more slowly \
                 than that, where authority was lost, ends in a reset of this machine",
                stop.millis() / 1000
            ),
        );
    }
}

/// The script that is run when an operator should know something at once.
fn check_alert(loaded: &Loaded, hacf: &Path, report: &mut CheckReport) {
    let Some(script) = &loaded.settings.alert else { return };
    let place = Place { file: hacf, line: loaded.alert_line };
    let name = script.display();
    match fs::metadata(script) {
        Ok(meta) if !meta.is_file() => {
            report.remark(Severity::Error, &place, format!("alert: {name} is no file"));
        }
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => report.remark(
            Severity::Error,
            &place,
            format!("alert: {name} is not executable: `chmod +x {name}`"),
        ),
        Ok(_) => report
            .fact(format!("alert: {name} is run when an operator should know something at once")),
        Err(error) => report.remark(Severity::Error, &place, format!("alert: {name}: {error}")),
    }
}

/// A machine that can be paused: its clocks and its watchdog stand still with it (R10).
fn check_guest(loaded: &Loaded, hacf: &Path, report: &mut CheckReport) {
    if let Some(refusal) = loaded.refusal_on_guest() {
        report.findings.push(Finding::Remark(refusal.clone()));
        return;
    }
    let place = Place { file: hacf, line: loaded.arbiter_line };
    let proto = &loaded.settings.proto;
    let paused = "this machine is a hypervisor's guest. When it goes on after a pause";
    match (proto.arbiter, proto.timing.guard == Duration::MAX) {
        (Some(_), true) => report.fact(
            "this machine is a hypervisor's guest: however long it is paused, nobody takes over without \
             evidence that it was reset"
                .to_owned(),
        ),
        (Some(_), false) => report.remark(
            Severity::Warning,
            &place,
            format!("{paused}, it may serve beside its peer until it looks at its clock or hears a frame"),
        ),
        (None, _) => report.remark(
            Severity::Note,
            &Place { file: hacf, line: None },
            format!("{paused}, it serves beside its peer until the first frame arrives"),
        ),
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

/// How many paths there really are, and what happens when all of them are cut.
fn check_independence(settings: &Settings, hacf: &Path, report: &mut CheckReport) {
    let ports: BTreeSet<String> = settings
        .media
        .iter()
        .map(|medium| match medium {
            Medium::Serial { device, .. } | Medium::Ppp { device, .. } => {
                device.display().to_string()
            }
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
