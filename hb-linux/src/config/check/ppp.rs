//! `ppp-udp` lines: pppd, its options, the kernel's PPP, both ends' addresses, the load of the line.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hb_proto::time::Duration;

use super::{CheckReport, Place, check_character_device};
use crate::config::media::written;
use crate::config::ppp::{self, OPTIONS_FILE, OVERHEAD_BYTES};
use crate::config::{Loaded, Medium, Severity};
use crate::net::Interface;
use hb_proto::config::STATUS_SERIAL_BYTES;

/// What a PPP line needs of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kernel {
    /// It is there.
    Ready,
    /// Its modules are there and will be loaded.
    Loadable,
    /// Neither.
    Missing,
}

/// Whether this kernel has PPP over serial lines (modules ppp_generic and ppp_async).
pub(super) fn kernel(root: &Path) -> Kernel {
    if root.join("dev/ppp").exists() && root.join("sys/class/ppp").exists() {
        return Kernel::Ready;
    }
    let release = rustix::system::uname();
    let modules = root.join("lib/modules").join(release.release().to_string_lossy().as_ref());
    let listed = ["modules.builtin", "modules.dep"].iter().any(|list| {
        let text = fs::read_to_string(modules.join(list)).unwrap_or_default();
        text.lines().any(|line| line.contains("/ppp_async.ko"))
    });
    if listed { Kernel::Loadable } else { Kernel::Missing }
}

/// Every `ppp-udp` line, if there are any.
pub(super) fn check(
    loaded: &Loaded,
    hacf: &Path,
    config_dir: &Path,
    (pppd, root): (&Path, &Path),
    interfaces: &[Interface],
    report: &mut CheckReport,
) {
    let lines = loaded.settings.media.iter().zip(&loaded.media_lines);
    let mut lines = lines.filter(|(medium, _)| matches!(medium, Medium::Ppp { .. })).peekable();
    if let Some(&(medium, &line)) = lines.peek() {
        check_machine(
            &written(medium),
            &Place { file: hacf, line: Some(line) },
            config_dir,
            (pppd, root),
            report,
        );
    }
    for (medium, &line) in lines {
        let Medium::Ppp { device, baud, interface, local, remote, .. } = medium else { continue };
        let place = Place { file: hacf, line: Some(line) };
        let advice =
            "name the device that your null-modem cable is in (`ls /dev/ttyS* /dev/ttyUSB*`)";
        check_character_device(device, &place, Severity::Error, advice, report);
        check_ends(medium, [*local, *remote], interface, interfaces, &place, report);
        check_load(loaded, medium, *baud, &place, report);
    }
}

/// pppd, its options file, and the kernel: the same for every line.
fn check_machine(
    what: &str,
    place: &Place<'_>,
    config_dir: &Path,
    (pppd, root): (&Path, &Path),
    report: &mut CheckReport,
) {
    let executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let mut error =
        |message: String| report.remark(Severity::Error, place, format!("{what}: {message}"));
    if !executable(pppd) {
        error(format!("there is no program {}: `apt-get install ppp`", pppd.display()));
    }
    let options = config_dir.join(OPTIONS_FILE);
    if let Err(problem) = fs::File::open(&options) {
        error(format!(
            "{}: {problem}; pppd reads its options there, and `make install` installs it (the original is \
             hb-linux/pkg/{OPTIONS_FILE})",
            options.display()
        ));
    }
    match kernel(root) {
        Kernel::Ready => report.fact("this kernel has PPP".to_owned()),
        Kernel::Loadable => report.fact("this kernel has PPP as a module, ppp_async".to_owned()),
        Kernel::Missing => report.remark(
            Severity::Error,
            place,
            format!("{what}: this kernel has no PPP: `modprobe ppp_async` must work (Debian's kernel has it)"),
        ),
    }
}

fn check_ends(
    medium: &Medium,
    ends: [Ipv4Addr; 2],
    ours: &str,
    interfaces: &[Interface],
    place: &Place<'_>,
    report: &mut CheckReport,
) {
    let [local, remote] = ends;
    let what = written(medium);
    for interface in interfaces.iter().filter(|interface| interface.name != ours) {
        for end in ends {
            if let Some((ip, prefix)) =
                interface.addresses.iter().find(|(ip, prefix)| covers(*ip, *prefix, end))
            {
                report.remark(
                    Severity::Warning,
                    place,
                    format!(
                        "{what}: {end} lies in {ip}/{prefix} of interface {}; take addresses that no network of \
                         this machine uses",
                        interface.name
                    ),
                );
            }
        }
    }
    match interfaces.iter().find(|interface| interface.name == ours) {
        Some(link) if link.addresses.iter().any(|&(ip, _)| ip == local) => {
            report.fact(format!("{what}: up, interface {ours}, {local} here, {remote} there"));
        }
        Some(link) => {
            let addresses: Vec<_> = link.addresses.iter().map(|(ip, _)| ip.to_string()).collect();
            report.remark(
                Severity::Warning,
                place,
                format!("{what}: interface {ours} has {} instead of {local}", addresses.join(", ")),
            );
        }
        None => report.fact(format!(
            "{what}: pppd will make the interface {ours}, {local} here, {remote} there"
        )),
    }
}

fn covers(network: std::net::IpAddr, prefix: u8, ip: Ipv4Addr) -> bool {
    let std::net::IpAddr::V4(network) = network else { return false };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    network.to_bits() & mask == ip.to_bits() & mask
}

/// The node doesn't pace what goes through IP: here it is only told.
fn check_load(
    loaded: &Loaded,
    medium: &Medium,
    baud: u32,
    place: &Place<'_>,
    report: &mut CheckReport,
) {
    let keepalive = loaded.settings.proto.timing.keepalive;
    let needed = ppp::time_on_line(STATUS_SERIAL_BYTES, baud);
    let allowed = Duration::from_micros(keepalive.micros() / 2);
    let what = written(medium);
    report.fact(format!(
        "load of {what}: ({STATUS_SERIAL_BYTES} + {OVERHEAD_BYTES} of UDP, IP and PPP) bytes × 10 bits / {baud} baud = \
         {needed} of each keepalive of {keepalive}; at most half of it, {allowed}, is good"
    ));
    if needed > allowed {
        report.remark(
            Severity::Warning,
            place,
            format!("{what}: {needed} of each keepalive of {keepalive} is more than half: raise `baud`, or lengthen keepalive"),
        );
    }
}
