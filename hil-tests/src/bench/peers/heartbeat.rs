//! heartbeat 3.0.6: the same three media and the same files, as far as it knows them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Network, Node, SERVICE};

use super::super::stack::{Stack, Timing};
use super::{Packages, shell, spawn};

/// Debian 12's package and what of its dependencies a small system lacks.
pub const PACKAGES: [&str; 17] = [
    "heartbeat",
    "libheartbeat2",
    "cluster-glue",
    "libplumb2",
    "libplumbgpl2",
    "libpils2",
    "liblrm2",
    "libstonith1",
    "resource-agents",
    "libglib2.0-0",
    "gawk",
    "libsigsegv2",
    "libltdl7",
    "libnet1",
    "iputils-ping",
    "net-tools",
    "iproute2",
];

/// It acquires about 10 s after a start (its own rc_notify and hold timers).
const SETTLES: Duration = Duration::from_secs(15);

/// A machine's /usr becomes the host's with the packages' files over it, and the machine knows the
/// user that heartbeat runs as. Nothing of this is seen outside of the machine.
const PREPARE: &str = "\
rm /usr && mkdir /usr && mount -t overlay overlay -o lowerdir=@ROOT@/usr:/.host/usr /usr
for name in bin sbin lib; do
    test ! -d @ROOT@/$name || mount -t overlay overlay -o lowerdir=@ROOT@/$name:/usr/$name /usr/$name
done
for name in bin sbin lib lib64; do
    ln -sfn usr/$name /$name
done
for file in passwd group; do
    rm -f /etc/$file && cp /.host/etc/$file /etc/$file
done
grep -q ^hacluster: /etc/passwd || echo 'hacluster:x:990:990::/var/lib/heartbeat:/bin/false' >> /etc/passwd
grep -q ^haclient: /etc/group || echo 'haclient:x:990:' >> /etc/group
mkdir -p /var/run/heartbeat/ccm /var/run/heartbeat/crm /var/run/heartbeat/rsctmp \\
    /var/run/resource-agents /var/lib/heartbeat/cores/root /var/lib/heartbeat/cores/hacluster
chown -R 990:990 /var/run/heartbeat /var/lib/heartbeat
";

/// heartbeat 3.0.6 on both machines.
#[derive(Debug)]
pub struct Heartbeat {
    packages: Packages,
    timing: Timing,
    started: Instant,
}

impl Heartbeat {
    /// With our times.
    #[must_use]
    pub fn new(packages: Packages, timing: Timing) -> Self {
        Self { packages, timing, started: Instant::now() }
    }

    /// Writes both machines' files.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn install(&self, bench: &Bench) -> Result<(), RigError> {
        let Timing { keepalive_ms, deadtime_ms, baud, .. } = self.timing;
        let warntime_ms = deadtime_ms * 3 / 5;
        let initdead_ms = (2 * deadtime_ms).max(10_000);
        let mut text = format!(
            "logfile /var/log/ha-log\nkeepalive {keepalive_ms}ms\nwarntime {warntime_ms}ms\n\
             deadtime {deadtime_ms}ms\ninitdead {initdead_ms}ms\nudpport 694\nbaud {baud}\n\
             serial /dev/ttyS0\nbcast eth1\nauto_failback on\ncrm no\n"
        );
        for node in Node::BOTH {
            let address = Network::Public.address(node);
            text.push_str(&format!("ucast eth0 {address}\n"));
        }
        for node in Node::BOTH {
            text.push_str(&format!("node {}\n", bench.machine(node).name()));
        }
        let resources = format!("{} IPaddr::{SERVICE}/24/eth0\n", bench.machine(Node::One).name());
        for node in Node::BOTH {
            copy(&self.packages.path("etc/ha.d"), &bench.machine(node).config_file(""))?;
            bench.install(node, "ha.cf", &text, 0o644)?;
            bench.install(node, "haresources", &resources, 0o644)?;
            bench.install(node, "authkeys", "auth 1\n1 sha1 the-two-machines\n", 0o600)?;
        }
        Ok(())
    }

    /// A command of the packages, with their libraries.
    fn command(&self, program: &str) -> String {
        format!("LD_LIBRARY_PATH={} {program}", self.packages.libraries())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), RigError> {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(RigError::Io {
            what: format!("cp -a {}: {status}", from.display()),
            source: std::io::ErrorKind::Other.into(),
        }),
        Err(source) => Err(RigError::Io { what: "cp".into(), source }),
    }
}

impl Stack for Heartbeat {
    fn name(&self) -> &str {
        &self.packages.version
    }

    fn timing(&self) -> Timing {
        self.timing
    }

    fn start(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError> {
        let root = self.packages.path("");
        let root = root.to_string_lossy();
        shell(bench, node, &PREPARE.replace("@ROOT@", root.trim_end_matches('/')))?;
        self.started = Instant::now();
        let heartbeat = self.command("/usr/libexec/heartbeat/heartbeat");
        spawn(bench, node, &format!("ulimit -l unlimited || true; {heartbeat}"))
    }

    fn settled(&self, _bench: &Bench) -> bool {
        self.started.elapsed() > SETTLES
    }

    fn hand_over(&mut self, bench: &mut Bench, from: Node) -> Result<(), RigError> {
        shell(bench, from, &self.command("/usr/share/heartbeat/hb_standby all"))
    }

    fn rejoin(&mut self, _bench: &mut Bench, _node: Node) -> Result<(), RigError> {
        // It refuses a second hb_standby within a while after the first.
        std::thread::sleep(Duration::from_secs(10));
        Ok(())
    }
}
