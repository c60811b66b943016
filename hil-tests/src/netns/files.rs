//! The files of a scenario's cluster as they lie in /etc/ha.d, and the resource script that keeps
//! a journal.

use std::net::Ipv4Addr;

use hb_proto::time::Duration;

use crate::scenario::cluster::{Cluster, Machine, Resource};
use crate::scenario::verb::{Conduct, Order};

/// Where the script writes what it does, in the machine's /var/log: `NANOSECONDS NAME DEED`.
pub const JOURNAL: &str = "rec";
/// Everybody may read it: the two machines are nobody else's.
pub const AUTHKEYS: &str = "auth 1\n1 sha256 the-two-machines-of-a-scenario\n";

/// The service address of a group: 192.168.85.3, .4, …
///
/// # Panics
/// More groups than a cluster can have.
#[must_use]
pub fn address(group: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 85, 3 + u8::try_from(group).expect("at most 16 groups"))
}

/// The text of ha.cf.
#[must_use]
pub fn ha_cf(cluster: &Cluster) -> String {
    let timing = &cluster.timing;
    let mut text = format!(
        "logfile /var/log/ha-log\ndebugfile /var/log/ha-debug\nkeepalive {}ms\nwarntime {}ms\n\
         deadtime {}ms\ninitdead {}ms\nbaud {}\nudpport 694\n",
        timing.keepalive.millis(),
        timing.warntime.millis(),
        timing.deadtime.millis(),
        timing.initdead.millis(),
        cluster.baud,
    );
    for line in 0..cluster.serial_lines {
        text.push_str(&format!("serial /dev/ttyS{line}\n"));
    }
    if let Some(dongle) = cluster.arbiter {
        text.push_str("arbiter serial /dev/ttyS0\n");
        if dongle.reset_lines {
            text.push_str("fence dongle\n");
        }
        if dongle.external_watchdog {
            let silence = timing.deadtime.millis();
            text.push_str(&format!("dongle_watchdog {silence}ms\n"));
        }
        // The machines' watchdogs are the rig's, and ha.cf can't name those: guard is given.
        match timing.guard {
            Duration::MAX => text.push_str("guard unbounded\n"),
            guard => text.push_str(&format!("guard_unsafe {}ms\n", guard.millis())),
        }
    }
    for (used, interface) in
        [(cluster.private_heartbeat, "eth1"), (cluster.public_heartbeat, "eth0")]
    {
        if used {
            text.push_str(&format!("udp {interface}\n"));
        }
    }
    let failback = if cluster.auto_failback { "on" } else { "off" };
    text.push_str(&format!("auto_failback {failback}\n"));
    for machine in Machine::BOTH {
        text.push_str(&format!("node {machine}\n"));
    }
    text
}

/// A group's line of haresources, which is also what the daemon calls the group.
#[must_use]
pub fn group_line(cluster: &Cluster, number: usize) -> String {
    let group = &cluster.groups[number];
    let mut text = group.home.name().to_owned();
    for resource in &group.resources {
        match resource {
            Resource::Address => text.push_str(&format!(" {}", address(number))),
            Resource::Script(name) => text.push_str(&format!(" rec::{name}")),
        }
    }
    text
}

/// The text of a machine's haresources.
#[must_use]
pub fn haresources(cluster: &Cluster, machine: Machine) -> String {
    let mut text = String::new();
    for number in 0..cluster.groups.len() {
        text.push_str(&group_line(cluster, number));
        text.push('\n');
    }
    if cluster.mismatch == Some(machine) {
        text.push_str(&format!("{machine} 192.168.85.200\n"));
    }
    text
}

/// A resource script that writes down what happens to it, and does as its conduct says.
///
/// What it holds lies in /run and goes with the power; its conduct and its journal lie on the
/// disk, where the rig reads and writes them.
pub const SCRIPT: &str = r#"#!/bin/sh
# rec NAME start|stop|status: a resource of the scenarios.
name=$1 word=$2 state=/run/rec.$1
how=obeys what=
[ -r /var/log/conduct.$name ] && read -r how what </var/log/conduct.$name
note() { echo "$(date +%s%N) $name $1" >>/var/log/rec; }
is() { [ "$how" = "$1" ] && [ "$what" = "$word" ]; }
odd() {
    if is hangs; then while :; do sleep 1000; done; fi
    [ "$how" = slow ] && sleep "$what"
    is fails && exit 1
    is lies && exit 0
}
release() {
    if [ -e $state ]; then rm -f $state; note released; fi
}
case $word in
start)
    note starting
    if is fails || is lies; then note failed; fi
    odd
    : >$state
    note held
    ;;
outside)
    # Started, but not by heartbeat.
    : >$state
    note outside
    ;;
stop)
    [ -e $state ] && note stopping
    odd
    release
    if [ "$how" = lingers ]; then
        sleep "$what"
        release
    fi
    ;;
status)
    if is lies; then
        if [ -e $state ]; then echo stopped; else echo running; fi
        exit 0
    fi
    odd
    if [ -e $state ]; then echo running; else echo stopped; fi
    ;;
*)
    echo "usage: rec NAME start|stop|status" >&2
    exit 2
    ;;
esac
exit 0
"#;

/// The file in /var/log by which the script learns its conduct.
#[must_use]
pub fn conduct_file(name: &str) -> String {
    format!("conduct.{name}")
}

fn seconds(span: Duration) -> String {
    format!("{}.{:03}", span.millis() / 1000, span.millis() % 1000)
}

/// Its text.
#[must_use]
pub fn conduct(conduct: Conduct) -> String {
    let word = |order| match order {
        Order::Start => "start",
        Order::Stop => "stop",
        Order::Status => "status",
    };
    match conduct {
        Conduct::Obeys => "obeys\n".into(),
        Conduct::Slow(by) => format!("slow {}\n", seconds(by)),
        Conduct::Lingers(by) => format!("lingers {}\n", seconds(by)),
        Conduct::Hangs(order) => format!("hangs {}\n", word(order)),
        Conduct::Fails(order) => format!("fails {}\n", word(order)),
        Conduct::Lies(order) => format!("lies {}\n", word(order)),
    }
}
