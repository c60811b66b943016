//! Fingerprints by which two nodes notice that their files differ (protocol.md §5).
//!
//! They are taken over a canonical form, so that comments, blanks, line breaks, the case of node names
//! and the two ways to write an address make no difference. Every item is preceded by its length: no
//! text can pose as another one's end.

use hb_proto::config::{ArbiterConfig, Timing};
use hb_proto::time::Duration;
use sha2::{Digest, Sha256};

use super::{DongleSettings, GroupLine, ResourceLine};

struct Canon(Sha256);

impl Canon {
    fn new(what: &str) -> Self {
        let mut canon = Self(Sha256::new());
        canon.text(what);
        canon
    }

    fn number(&mut self, value: u64) {
        self.0.update(value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    /// The first eight bytes, big-endian.
    fn finish(self) -> u64 {
        let hash = self.0.finalize();
        hash.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
    }
}

/// Over the groups: order, homes, resources with their arguments.
pub(super) fn haresources(groups: &[GroupLine]) -> u64 {
    let mut canon = Canon::new("heartbeat haresources 1");
    canon.number(groups.len() as u64);
    for group in groups {
        canon.text(&group.node.to_ascii_lowercase());
        canon.number(group.resources.len() as u64);
        for resource in &group.resources {
            match resource {
                ResourceLine::Address { spec, .. } => {
                    canon.text("IPaddr");
                    canon.number(1);
                    canon.text(&spec.to_string());
                }
                ResourceLine::Script { script, args, .. } => {
                    canon.text(script);
                    canon.number(args.len() as u64);
                    for arg in args {
                        canon.text(arg);
                    }
                }
            }
        }
    }
    canon.finish()
}

/// Over what both nodes should agree on beside the groups: the times, the policy, who they are, and whether
/// there is an arbiter, what it may do, and by which times. Not its device: cables may differ.
pub(super) fn settings(
    timing: &Timing,
    auto_failback: bool,
    nodes: [&str; 2],
    arbiter: Option<&ArbiterConfig>,
    dongle: Option<&DongleSettings>,
) -> u64 {
    let mut canon = Canon::new("heartbeat settings 1");
    for time in [
        timing.keepalive,
        timing.warntime,
        timing.deadtime,
        timing.initdead,
        timing.lease,
        timing.guard,
    ] {
        canon.number(time.micros());
    }
    canon.number(u64::from(auto_failback));
    let mut nodes = nodes.map(str::to_ascii_lowercase);
    nodes.sort();
    for node in &nodes {
        canon.text(node);
    }
    if let Some(arbiter) = arbiter {
        canon.text("arbiter");
        canon.number(u64::from(arbiter.fence.is_some()));
        canon.number(u64::from(arbiter.external_watchdog));
    }
    if let Some(dongle) = dongle {
        canon.text("dongle");
        canon.number(dongle.pulse.micros());
        canon.number(dongle.watchdog.map_or(0, Duration::micros));
    }
    canon.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hb_proto::id::LinkId;

    use super::super::diagnostic::Report;
    use super::super::haresources::parse;
    use super::*;

    fn digest(text: &str) -> u64 {
        let mut report = Report::new(Path::new("haresources"));
        haresources(&parse(text, Some(["linuxha1", "linuxha2"]), &mut report))
    }

    #[test]
    fn only_meaning_counts() {
        let one = digest("linuxha1 192.168.85.3 httpd maid::vacuum\n");
        assert_eq!(one, digest("# x\nLINUXHA1\t192.168.85.3 \\\n httpd  maid::vacuum # y\n"));
        assert_eq!(one, digest("linuxha1 IPaddr::192.168.85.3 httpd maid::vacuum\n"));
        for other in [
            "linuxha2 192.168.85.3 httpd maid::vacuum\n",
            "linuxha1 192.168.85.3/24 httpd maid::vacuum\n",
            "linuxha1 192.168.85.3 maid::vacuum httpd\n",
            "linuxha1 192.168.85.3 httpd maid vacuum\n",
            "linuxha1 192.168.85.3 httpd maid::vacuuM\n",
            "linuxha1 192.168.85.3 httpd maid::va::cuum\n",
            "linuxha1 192.168.85.3 httpd\nlinuxha1 maid::vacuum\n",
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
        assert_ne!(digest("linuxha1 a\nlinuxha2 b\n"), digest("linuxha2 b\nlinuxha1 a\n"));
    }

    /// Both versions of a pair must compute the same: a change of the canonical form shows here.
    /// The numbers come from a second implementation (Python's hashlib over the same byte strings).
    #[test]
    fn the_canonical_form_is_fixed() {
        assert_eq!(digest("linuxha1 192.168.85.3 httpd smb\n"), 0xD737_6933_351A_33A0);
        assert_eq!(
            settings(&Timing::classic_defaults(), true, ["linuxha1", "linuxha2"], None, None),
            0xC2F4_CA34_67A3_C8A3
        );
    }

    #[test]
    fn every_setting_counts_and_the_order_of_the_nodes_does_not() {
        let base = Timing::classic_defaults();
        let names = ["linuxha1", "linuxha2"];
        let one = settings(&base, true, names, None, None);
        assert_eq!(one, settings(&base, true, ["LinuxHA2", "linuxha1"], None, None));
        assert_ne!(one, settings(&base, false, names, None, None));
        assert_ne!(one, settings(&base, true, ["linuxha1", "linuxha3"], None, None));
        let more = Duration::from_micros(1);
        for other in [
            Timing { keepalive: base.keepalive + more, ..base },
            Timing { warntime: base.warntime + more, ..base },
            Timing { deadtime: base.deadtime + more, ..base },
            Timing { initdead: base.initdead + more, ..base },
            Timing { lease: base.lease + more, ..base },
            Timing { guard: base.guard + more, ..base },
        ] {
            assert_ne!(one, settings(&other, true, names, None, None));
        }
        let plain =
            ArbiterConfig { link: LinkId(0), external_watchdog: false, fences: false, fence: None };
        let of = |arbiter: ArbiterConfig| settings(&base, true, names, Some(&arbiter), None);
        let fences = ArbiterConfig { fence: Some(more), ..plain };
        let all =
            [one, of(plain), of(fences), of(ArbiterConfig { external_watchdog: true, ..fences })];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:x?}");
        assert_eq!(of(plain), of(ArbiterConfig { link: LinkId(3), ..plain }), "cables may differ");
        let ms = Duration::from_millis;
        let by = |pulse, watchdog: Option<u64>| {
            let dongle = DongleSettings { pulse: ms(pulse), watchdog: watchdog.map(ms) };
            settings(&base, true, names, Some(&fences), Some(&dongle))
        };
        let all = [by(200, None), by(300, None), by(200, Some(500)), by(200, Some(900))];
        assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{all:x?}");
    }
}
