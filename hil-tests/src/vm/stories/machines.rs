//! The guide's test, and what only a machine of its own has: a kernel's weather, clocks, disks, pppd, adapters.

use hb_proto::time::{Duration, Instant};
use serde_json::json;

use super::super::rig::{Guests, Special};
use super::{PATIENCE, Stop, Told, fail, web};
use crate::scenario::cluster::Machine::{A, B};
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::rig::Rig;
use crate::scenario::verb::{Verb, Way};

/// The guide's check of the null-modem line, its softdog, and its test: pull the crossover cable, wait, look for `is
/// dead`. The machines have its files and addresses.
pub(super) fn the_guide_s_walk_through(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special { spare_lines: 1, ..Special::default() })?;
    guests.shell(
        B,
        "stty -F /dev/ttyS1 raw -echo; timeout 20 head -n 1 </dev/ttyS1 >/tmp/heard 2>&1 &",
    )?;
    guests.run_for(Duration::from_millis(500));
    guests.shell(A, "stty -F /dev/ttyS1 raw -echo; echo hello >/dev/ttyS1")?;
    guests.until("hello is heard", PATIENCE, |it| {
        it.shell(B, "cat /tmp/heard").is_ok_and(|heard| heard.trim() == "hello")
    })?;
    guests.shell(A, INSMOD_SOFTDOG)?;
    let since = guests.now();
    guests.act(Verb::Unplug(Link::Private, A))?;
    guests.run_for(Duration::from_secs(10));
    for machine in Machine::BOTH {
        if guests.log_has(machine, "is dead", since) {
            return fail(format!("the crossover cable is out, and {machine} says `is dead`"));
        }
        if !guests.log_has(machine, "eth1 dead.", since) {
            return fail(format!("the crossover cable is out, and {machine} doesn't say so"));
        }
    }
    guests.act(Verb::Replug(Link::Private, A))?;
    guests.until_settled(PATIENCE)?;
    guests.act(Verb::PowerOff(A))?;
    guests.until_served_by(B, PATIENCE)?;
    guests.until_log(B, "node linuxha1: is dead", since)?;
    guests.all_is_well(Instant::ZERO)
}

/// As the guide's rc.sysinit has it; what it needs first is in modules.dep, last to first.
const INSMOD_SOFTDOG: &str = "cd /lib/modules/$(uname -r); \
    for ko in $(sed -n 's/^[^ ]*softdog.ko: *//p' modules.dep) kernel/drivers/watchdog/softdog.ko; do insmod $ko; done; \
    ls /dev/watchdog";

/// netem in A's kernel, on what it sends to B: loss, delay, duplicates and frames out of order; the serial line is silent.
pub(super) fn weather_in_the_guest_s_own_kernel(guests: &mut Guests) -> Told {
    let modules = vec!["sch_netem".to_owned()];
    let cluster = web().serial_lines(0).times_ms(100, 1000, 3000);
    guests.begin(&cluster, &Special { modules, ..Special::default() })?;
    if guests.shell(A, "test -x /usr/sbin/tc").is_err() {
        return Err(Stop::Missing("netem: this host has no tc (Debian's iproute2) to lend".into()));
    }
    let since = guests.now();
    for machine in Machine::BOTH {
        guests.shell(
            machine,
            "/usr/sbin/tc qdisc add dev eth1 root netem delay 20ms 10ms loss 10% duplicate 20% reorder 20% 50%",
        )?;
    }
    guests.run_for(Duration::from_secs(6));
    for machine in Machine::BOTH {
        if guests.log_has(machine, "is dead", since) {
            return fail(format!("{machine} took its peer for dead"));
        }
    }
    let counts = guests.shell(A, "/usr/sbin/tc -s qdisc show dev eth1")?;
    let dropped = counts.split("dropped ").nth(1).and_then(|rest| rest.split(',').next());
    if dropped.is_none_or(|count| count == "0") {
        return fail(format!("netem dropped nothing: {counts}"));
    }
    // All of it, and the network is gone: that must be noticed, or the story proves nothing.
    for machine in Machine::BOTH {
        guests.shell(machine, "/usr/sbin/tc qdisc replace dev eth1 root netem loss 100%")?;
    }
    guests.until_log(A, "is dead", since)?;
    let complaints = guests.complaints();
    if complaints.is_empty() { Ok(()) } else { fail(complaints.join("\n")) }
}

/// A's clocks run a tenth too fast and B's a tenth too slow, as far as adjtimex(2) goes.
pub(super) fn clocks_that_run_fast_and_slow(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special::default())?;
    guests.shell(A, "adjtimex -t 11000 >/dev/null")?;
    guests.shell(B, "adjtimex -t 9000 >/dev/null")?;
    let since = guests.now();
    let before = [guests.uptime(A)?, guests.uptime(B)?];
    guests.run_for(Duration::from_secs(8));
    let ran = [guests.uptime(A)? - before[0], guests.uptime(B)? - before[1]];
    // A guest that the host let stand says so when it goes on.
    guests.run_for(Duration::from_millis(500));
    if ran[0] < ran[1] * 1.1 {
        return fail(format!("the clocks ran {} s and {} s: not apart", ran[0], ran[1]));
    }
    for machine in Machine::BOTH {
        if guests.log_has(machine, "is dead", since) {
            return fail(format!("{machine} took its peer for dead"));
        }
    }
    guests.act(Verb::PowerOff(A))?;
    guests.until_served_by(B, PATIENCE)?;
    guests.all_is_well_for_the_client(Instant::ZERO)
}

impl Guests {
    fn uptime(&mut self, machine: Machine) -> Result<f64, Stop> {
        let text = self.shell(machine, "cat /proc/uptime")?;
        let first = text.split(' ').next().and_then(|word| word.parse().ok());
        first.ok_or_else(|| Stop::Failed(format!("/proc/uptime of {machine}: {text}")))
    }
}

/// A machine's processor and disk are kept busy by others: nobody is taken for dead. One machine after the other, since
/// both at once are all the processors that a host of two has: the rig's own threads would wait.
pub(super) fn processors_and_disks_are_busy(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special::default())?;
    let since = guests.now();
    for machine in Machine::BOTH {
        guests.act(Verb::FillCpu(machine))?;
        guests.shell(
            machine,
            "(while [ ! -e /run/free-cpu ]; do dd if=/dev/zero of=/disk/busy bs=64k count=64 conv=fsync; done) \
             </dev/null >/dev/null 2>&1 &",
        )?;
        guests.run_for(Duration::from_secs(5));
        guests.act(Verb::FreeCpu(machine))?;
        for one in Machine::BOTH {
            if guests.log_has(one, "is dead", since) {
                return fail(format!("{one} took its peer for dead while {machine} was busy"));
            }
        }
    }
    if guests.serves() != Some(A) {
        return fail("linuxha1 no longer serves");
    }
    guests.all_is_well(Instant::ZERO)
}

/// The survivor's disk is full: it takes over all the same, and its log goes on when there is room.
pub(super) fn a_full_disk_under_the_log(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special::default())?;
    guests.shell(B, "dd if=/dev/zero of=/disk/full bs=64k 2>/dev/null; dd if=/dev/zero of=/disk/fuller bs=1k 2>/dev/null; true")?;
    let left = guests.shell(B, "echo a >/var/log/probe 2>/dev/null && cat /var/log/probe; true")?;
    if left.trim() == "a" {
        return fail("the disk of linuxha2 still has room");
    }
    guests.act(Verb::PowerOff(A))?;
    guests.until_served_by(B, PATIENCE)?;
    guests.shell(B, "rm /disk/full /disk/fuller")?;
    let since = guests.now();
    guests.act(Verb::PowerOn(A))?;
    guests.until_log(B, "linuxha1", since)?;
    guests.all_is_well(Instant::ZERO)
}

/// `ppp-udp`: Debian's pppd brings a link up over the null-modem line, heartbeats go through it, and it is back after
/// its pppd was killed.
pub(super) fn ppp_over_the_serial_line(guests: &mut Guests) -> Told {
    const OPTIONS: &str = include_str!("../../../../hb-linux/pkg/ppp-options");
    let special = Special {
        ha_cf: "baud 115200\nppp-udp /dev/ttyS0 10.0.1.1 10.0.1.2\n".into(),
        modules: ["ppp_generic", "ppp_async"].map(str::to_owned).to_vec(),
        spare_lines: 1,
        files: vec![("ppp-options".into(), OPTIONS.into(), 0o644)],
        ..Special::default()
    };
    if !std::path::Path::new("/usr/sbin/pppd").exists() {
        return Err(Stop::Missing("ppp-udp: this host has no pppd (Debian's ppp) to lend".into()));
    }
    guests.begin_slowly(&web().serial_lines(0), &special)?;
    let up = |it: &mut Guests| {
        Machine::BOTH.iter().all(|machine| {
            it.bench().and_then(|bench| bench.observe(*machine)).is_some_and(|text| {
                let status = serde_json::from_str::<serde_json::Value>(&text).unwrap_or(json!({}));
                let links = status["links"].as_array().cloned().unwrap_or_default();
                links.iter().any(|link| link["name"] == "/dev/ttyS0" && link["state"] == "up")
            })
        })
    };
    guests.until("heartbeats go through the PPP link", Duration::from_secs(40), up)?;
    let addresses = guests.shell(A, "ip addr show dev hbppp0")?;
    if !addresses.contains("10.0.1.1") {
        return fail(format!("hbppp0 has not its address: {addresses}"));
    }
    // The link carries the pair alone.
    let since = guests.now();
    guests.act(Verb::Cut(Link::Private, Way::Both))?;
    guests.run_for(Duration::from_secs(3));
    if Machine::BOTH.iter().any(|machine| guests.log_has(*machine, "is dead", since)) {
        return fail("without the network, and with the PPP link, somebody is taken for dead");
    }
    guests.act(Verb::Heal(Link::Private, Way::Both))?;
    guests.run_for(Duration::from_secs(1));
    guests.shell(A, "kill $(pidof pppd)")?;
    guests.until("the link is noticed to be down", PATIENCE, |it| !up(it))?;
    guests.until("heartbeats go through the PPP link again", Duration::from_secs(60), up)?;
    guests.all_is_well(Instant::ZERO)
}

impl Guests {
    /// As [`Self::begin`], for links that take seconds to come up.
    fn begin_slowly(&mut self, cluster: &Cluster, special: &Special) -> Told {
        self.build_special(cluster, special)?;
        for machine in Machine::BOTH {
            self.act(Verb::PowerOn(machine))?;
        }
        self.until_served_by(A, PATIENCE)
    }
}

/// Emulated FTDI adapters at both ends of the first line: one is pulled and put back while heartbeats run.
pub(super) fn usb_adapters_are_unplugged_and_replugged(guests: &mut Guests) -> Told {
    let special = Special {
        ha_cf: "serial /dev/ttyUSB0\n".into(),
        devices: ["-device", "piix3-usb-uhci,id=usb"].map(str::to_owned).to_vec(),
        modules: ["uhci_hcd", "ftdi_sio"].map(str::to_owned).to_vec(),
        spare_lines: 1,
        usb: true,
        ..Special::default()
    };
    guests.begin_slowly(&web().serial_lines(0).initdead_ms(20_000), &special)?;
    let state = |it: &mut Guests, wanted: &str| {
        Machine::BOTH.iter().all(|machine| {
            it.bench().and_then(|bench| bench.observe(*machine)).is_some_and(|text| {
                let status = serde_json::from_str::<serde_json::Value>(&text).unwrap_or(json!({}));
                let links = status["links"].as_array().cloned().unwrap_or_default();
                links.iter().any(|link| link["name"] == "/dev/ttyUSB0" && link["state"] == wanted)
            })
        })
    };
    guests.until("the adapters carry heartbeats", PATIENCE, |it| state(it, "up"))?;
    let since = guests.now();
    let Some(bench) = guests.bench() else { return fail("nothing is built") };
    bench.usb(B, false)?;
    guests.until("the link is down", PATIENCE, |it| state(it, "down"))?;
    guests.run_for(Duration::from_secs(2));
    let Some(bench) = guests.bench() else { return fail("nothing is built") };
    bench.usb(B, true)?;
    guests.until("the adapters carry heartbeats again", PATIENCE, |it| state(it, "up"))?;
    if Machine::BOTH.iter().any(|machine| guests.log_has(*machine, "is dead", since)) {
        return fail(
            "an adapter was pulled, the network was there, and somebody was taken for dead",
        );
    }
    guests.all_is_well(Instant::ZERO)
}
