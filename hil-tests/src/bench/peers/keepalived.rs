//! keepalived: VRRP version 3 on eth0, its own configuration format, no serial line.

use std::fs;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Node, SERVICE};

use super::super::stack::{Stack, Timing};
use super::{Packages, shell, spawn};

/// Debian 12's package and the libraries of its that a small system lacks.
pub const PACKAGES: [&str; 9] = [
    "keepalived",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libsnmp40",
    "libmnl0",
    "libnftnl11",
    "libglib2.0-0",
    "libpci3",
    "libwrap0",
];

/// keepalived on both machines.
#[derive(Debug)]
pub struct Keepalived {
    packages: Packages,
    timing: Timing,
    remark: String,
    started: Instant,
}

impl Keepalived {
    /// With our keepalive as its advertisement interval.
    #[must_use]
    pub fn new(packages: Packages, timing: Timing) -> Self {
        let advert = timing.keepalive_ms;
        let remark =
            format!("advert_int {advert} ms; dead after 3 of them and a skew; handover by SIGTERM");
        Self { packages, timing, remark, started: Instant::now() }
    }

    fn write_configuration(&self, bench: &Bench, node: Node) -> Result<(), RigError> {
        let priority = if node == Node::One { 150 } else { 100 };
        let advert = self.timing.keepalive_ms as f64 / 1e3;
        let text = format!(
            "global_defs {{\n  router_id {name}\n  vrrp_version 3\n}}\nvrrp_instance bench {{\n  \
             state BACKUP\n  interface eth0\n  virtual_router_id 85\n  priority {priority}\n  \
             advert_int {advert}\n  virtual_ipaddress {{\n    {SERVICE}/24\n  }}\n}}\n",
            name = bench.machine(node).name(),
        );
        let path = bench.machine(node).config_file("keepalived.conf");
        fs::write(&path, text)
            .map_err(|source| RigError::Io { what: format!("writing {}", path.display()), source })
    }
}

impl Stack for Keepalived {
    fn name(&self) -> &str {
        &self.packages.version
    }

    fn timing(&self) -> Timing {
        self.timing
    }

    fn remark(&self) -> &str {
        &self.remark
    }

    fn start(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError> {
        self.write_configuration(bench, node)?;
        self.started = Instant::now();
        let script = format!(
            "LD_LIBRARY_PATH={} exec {} --dont-fork --vrrp --log-console --log-detail \
             --use-file /etc/ha.d/keepalived.conf --pid /run/keepalived.pid",
            self.packages.libraries(),
            self.packages.path("usr/sbin/keepalived").display(),
        );
        spawn(bench, node, &script)
    }

    fn settled(&self, _bench: &Bench) -> bool {
        // It has no command that tells; whoever is BACKUP after this time hears the other.
        let patience = Duration::from_millis(5 * self.timing.keepalive_ms);
        self.started.elapsed() > patience.max(Duration::from_secs(3))
    }

    fn hand_over(&mut self, bench: &mut Bench, from: Node) -> Result<(), RigError> {
        shell(bench, from, "kill -TERM $(cat /run/keepalived.pid)")
    }

    fn rejoin(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError> {
        shell(bench, node, "while [ -e /run/keepalived.pid ]; do sleep 0.05; done")?;
        self.start(bench, node)
    }
}
