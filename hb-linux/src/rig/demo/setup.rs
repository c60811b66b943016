//! The guide's three files and the demo's web service, as they lie in /etc/ha.d of both machines.

use super::super::RigError;
use super::super::bench::{Bench, Node};
use super::super::init;
use super::super::machine::Programs;

/// The guide's ha.cf; times are the defaults.
const HA_CF: &str = "\
# The guide's configuration; keepalive, deadtime and initdead have their defaults.
logfile /var/log/ha-log
baud 19200
serial /dev/ttyS0
udpport 694
udp eth1
auto_failback on
node linuxha1
node linuxha2
";

/// The lowest usual speed at which the frames of both nodes and the dongle fit (protocol.md §3) is 38400.
pub const DONGLE_BAUD: u32 = 115_200;
/// The machines' watchdogs, fakes of the rig: what makes guard short enough to be watched.
pub const WATCHDOG_S: u32 = 1;

/// What ha.cf has for the dongle. Guard is twice the watchdogs' time-out and half a second; it is `_unsafe`
/// because ha.cf can't name those watchdogs.
const ARBITER: &str = "arbiter serial /dev/ttyS0\nfence dongle\nguard_unsafe 2500ms\n";

const HARESOURCES: &str = "linuxha1 192.168.85.3 demo-web\n";

/// The two machines are nobody else's: a secret that everybody may read protects nothing here.
const AUTHKEYS: &str = "auth 1\n1 sha256 the-two-machines-of-the-demo\n";

/// A resource script as the guide asks for: start, stop, status.
const DEMO_WEB: &str = r#"#!/bin/sh
# The demo's web service: one page that says which machine serves it.
pidfile=/run/demo-web.pid
running() { [ -s $pidfile ] && kill -0 "$(cat $pidfile)" 2>/dev/null; }
case "$1" in
start)
    running && exit 0
    @HB@ rig-web 192.168.85.3:80 </dev/null >/dev/null 2>&1 &
    echo $! >$pidfile
    ;;
stop)
    if running; then
        kill "$(cat $pidfile)"
        while running; do sleep 0.01; done
    fi
    rm -f $pidfile
    ;;
status)
    if running; then echo running; else echo stopped; fi
    ;;
*)
    echo "usage: demo-web start|stop|status" >&2
    exit 2
    ;;
esac
"#;

/// Writes ha.cf of a pair with a dongle; without the `arbiter` line when nobody shall need its vote.
///
/// # Errors
/// What the file system answered.
pub fn install_arbiter(bench: &Bench, named: bool) -> Result<(), RigError> {
    let mut text = HA_CF.replace("baud 19200", &format!("baud {DONGLE_BAUD}"));
    if named {
        text.push_str(ARBITER);
    }
    Node::BOTH.into_iter().try_for_each(|node| bench.install(node, "ha.cf", &text, 0o644))
}

/// Writes the configuration of both machines.
///
/// # Errors
/// What the file system answered.
pub fn install(bench: &Bench, programs: &Programs) -> Result<(), RigError> {
    let hb = init::inside(&programs.hb);
    let script = DEMO_WEB.replace("@HB@", &format!("'{}'", hb.display()));
    for node in Node::BOTH {
        bench.install(node, "ha.cf", HA_CF, 0o644)?;
        bench.install(node, "haresources", HARESOURCES, 0o644)?;
        bench.install(node, "authkeys", AUTHKEYS, 0o600)?;
        bench.install(node, "resource.d/demo-web", &script, 0o755)?;
    }
    Ok(())
}
