//! Stories that only real machines can tell: watchdogs, panics, full disks, kernels' own weather.

use hb_linux::rig::outlet::Cause;
use hb_proto::time::{Duration, Instant};
use serde_json::json;

use super::rig::{Guests, Special, WATCHDOG_S};
use crate::scenario::cluster::{Cluster, Link, Machine};
use crate::scenario::expect::Holdings;
use crate::scenario::rig::{Cannot, Rig};
use crate::scenario::verb::{Conduct, Order, ResetWire, Verb, Way};
use Machine::{A, B};

/// Why a story ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// The rig lacks something: a skip.
    Missing(String),
    /// Something was not as it must be, or the rig broke.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Cannot> for Stop {
    fn from(cannot: Cannot) -> Self {
        Self::Failed(format!("{cannot:?}"))
    }
}

/// A story's outcome.
pub type Told = Result<(), Stop>;

/// A story of this rig.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// As the runner prints it.
    pub name: &'static str,
    /// The story.
    pub tell: fn(&mut Guests) -> Told,
}

macro_rules! stories {
    ($($name:ident),+ $(,)?) => {
        &[$(Own { name: stringify!($name), tell: $name }),+]
    };
}

/// All of them.
pub const ALL: &[Own] = stories![
    softdog_resets_the_machine_of_a_stopped_daemon,
    softdog_resets_the_machine_of_a_daemon_stopped_and_killed,
    softdog_lets_an_orderly_stop_pass_and_a_busy_one_is_named,
    softdog_with_nowayout_is_named_and_bites_after_a_stop,
    a_hung_stop_ends_in_a_reset_and_the_peer_waits_for_it,
    i6300esb_resets_a_stopped_daemon_s_machine_and_a_panicked_one,
    hb_watchdog_shows_and_tests,
    the_guide_s_walk_through,
    weather_in_the_guest_s_own_kernel,
    clocks_that_run_fast_and_slow,
    processors_and_disks_are_busy,
    a_full_disk_under_the_log,
    ppp_over_the_serial_line,
    usb_adapters_are_unplugged_and_replugged,
];

/// The story of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Own> {
    ALL.iter().find(|story| story.name == name)
}

/// What any state may take to be reached.
const PATIENCE: Duration = Duration::from_secs(20);
/// What emulation adds to a watchdog's time: the guest's timers are late when the host is busy.
const LATE: Duration = Duration::from_millis(4000);

fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

impl Guests {
    /// Both machines on, all links up, the first group on its home.
    pub(super) fn begin(&mut self, cluster: &Cluster, special: &Special) -> Told {
        let cluster = self.fit(cluster.clone());
        self.build_special(&cluster, special)?;
        for machine in Machine::BOTH {
            self.act(Verb::PowerOn(machine))?;
        }
        self.until_served_by(A, PATIENCE)?;
        self.until_settled(PATIENCE)
    }

    /// Looks until `done`, for `patience` and what the host adds.
    pub(super) fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Told {
        let from = self.now();
        loop {
            if done(self) {
                return Ok(());
            }
            if self.now() >= from + patience + self.slack(from) {
                return fail(format!("not within {patience}: {what}"));
            }
            let step = self.poll_interval();
            self.run_for(step);
        }
    }

    pub(super) fn until_settled(&mut self, patience: Duration) -> Told {
        self.until("both alive, every link up", patience, |guests| {
            Machine::BOTH.iter().all(|machine| {
                guests.view(*machine).is_some_and(|view| {
                    view.peer == hb_proto::peer::PeerState::Alive
                        && view.links.iter().all(|link| *link == hb_proto::link::LinkState::Up)
                })
            })
        })
    }

    pub(super) fn until_served_by(&mut self, who: Machine, patience: Duration) -> Told {
        self.until(&format!("{who} serves"), patience, |guests| guests.serves() == Some(who))
    }

    /// Who answers the client of the first group.
    pub(super) fn serves(&mut self) -> Option<Machine> {
        self.answering(0).ok().flatten()
    }

    /// Runs a shell's words in a machine; its output.
    pub(super) fn shell(&mut self, machine: Machine, text: &str) -> Result<String, Stop> {
        let Some(bench) = self.bench() else { return fail("nothing is built yet") };
        Ok(bench.shell(machine, text)?)
    }

    fn until_log(&mut self, machine: Machine, text: &str, since: Instant) -> Told {
        let what = format!("the log of {machine} says \"{text}\"");
        self.until(&what, PATIENCE, |guests| guests.log_has(machine, text, since))
    }

    /// The machine's watchdog resets it, not before it may, and not after it must.
    fn until_bitten(&mut self, machine: Machine, since: Instant) -> Result<Instant, Stop> {
        let time = Duration::from_secs(u64::from(WATCHDOG_S));
        let bite = |guests: &Self| guests.resets(machine).into_iter().find(|(at, _)| *at >= since);
        self.until(&format!("the watchdog resets {machine}"), time + LATE, |guests| {
            bite(guests).is_some()
        })?;
        let Some((at, cause)) = bite(self) else { return fail("a reset that is gone") };
        let took = at.since(since);
        // It was fed at most a second before.
        if cause != Cause::Watchdog || took + Duration::from_secs(1) < time {
            return fail(format!("{machine} was reset after {took} by {}", cause.name()));
        }
        Ok(at)
    }

    fn never_reset(&mut self, machine: Machine, span: Duration) -> Told {
        self.run_for(span);
        match self.resets(machine).first() {
            None => Ok(()),
            Some((at, cause)) => fail(format!("{machine} was reset at {at:?} by {}", cause.name())),
        }
    }

    /// What must be true of every story: nobody saw two holders from `since` on, no daemon ended unasked.
    pub(super) fn all_is_well(&mut self, since: Instant) -> Told {
        let complaints = self.complaints();
        if !complaints.is_empty() {
            return fail(complaints.join("\n"));
        }
        match self.overlap(0, since).map_err(|missing| missing.to_string())? {
            Some(at) => fail(format!("{at:?}: the client saw two machines with the address")),
            None => Ok(()),
        }
    }
}

fn web() -> Cluster {
    Cluster::two_nodes().group("web", A)
}

fn guarded() -> Cluster {
    web().watchdog_s(Some(WATCHDOG_S))
}

/// The time-out that the driver really has, as the kernel tells it.
fn time_out(guests: &mut Guests) -> Told {
    let said = guests.shell(A, "cat /sys/class/watchdog/watchdog0/timeout")?;
    if said.trim() == WATCHDOG_S.to_string() {
        return Ok(());
    }
    fail(format!("the driver's time-out is {} s, and not {WATCHDOG_S}", said.trim()))
}

/// What the client's own look at two holders may lag behind: an answer that was under way.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// SIGSTOP for the daemon that serves: its machine is gone within the watchdog's time. Until then this is the classics'
/// split: without an arbiter the peer doesn't wait for it (docs/protocol.md §1).
fn softdog_resets_the_machine_of_a_stopped_daemon(guests: &mut Guests) -> Told {
    guests.begin(&guarded().auto_failback(false), &Special::default())?;
    if !guests.log_has(A, "Using watchdog device", Instant::ZERO) {
        return fail("the log of linuxha1 names no watchdog");
    }
    time_out(guests)?;
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    guests.until_served_by(B, PATIENCE)?;
    let bitten = guests.until_bitten(A, since)?;
    // It boots, and is the standby.
    guests.until_settled(PATIENCE)?;
    if guests.serves() != Some(B) {
        return fail("linuxha2 no longer serves");
    }
    guests.all_is_well(bitten + UNDER_WAY)
}

/// The kernel feeds once when the device is closed without the magic letter; then it is over.
fn softdog_resets_the_machine_of_a_daemon_stopped_and_killed(guests: &mut Guests) -> Told {
    guests.begin(&guarded().auto_failback(false), &Special::default())?;
    guests.act(Verb::StopDaemon(A))?;
    guests.run_for(Duration::from_millis(2500));
    let since = guests.now();
    guests.act(Verb::KillDaemon(A))?;
    let bitten = guests.until_bitten(A, since)?;
    guests.until_settled(PATIENCE)?;
    guests.all_is_well(bitten + UNDER_WAY)
}

fn softdog_lets_an_orderly_stop_pass_and_a_busy_one_is_named(guests: &mut Guests) -> Told {
    guests.begin(&guarded(), &Special::default())?;
    guests.act(Verb::Leave(A))?;
    guests.until_served_by(B, PATIENCE)?;
    let state = guests.shell(A, "cat /sys/class/watchdog/watchdog0/state")?;
    if state.trim() != "inactive" {
        return fail(format!("after an orderly stop the watchdog is {}", state.trim()));
    }
    guests.never_reset(A, Duration::from_secs(u64::from(WATCHDOG_S) + 3))?;
    // Somebody else takes it; an untouched softdog waits for a minute.
    guests.shell(A, "sleep 1000 >/dev/watchdog </dev/null 2>/dev/null &")?;
    let since = guests.now();
    guests.act(Verb::StartDaemon(A))?;
    guests.until_log(A, "already in use", since)?;
    guests.all_is_well(Instant::ZERO)
}

fn softdog_with_nowayout_is_named_and_bites_after_a_stop(guests: &mut Guests) -> Told {
    let modules = vec!["softdog nowayout=1".to_owned()];
    guests.begin(&guarded().auto_failback(false), &Special { modules, ..Special::default() })?;
    guests.until_log(A, "nowayout", Instant::ZERO)?;
    let since = guests.now();
    guests.act(Verb::Leave(A))?;
    guests.until_served_by(B, PATIENCE)?;
    guests.until_bitten(A, since)?;
    guests.all_is_well(Instant::ZERO)
}

/// A holder that neither the peer nor the dongle hears must stop, and its script hangs: its watchdog resets it, as its reset
/// line is broken. The peer starts after that, and not before.
fn a_hung_stop_ends_in_a_reset_and_the_peer_waits_for_it(guests: &mut Guests) -> Told {
    guests.begin(&web().arbiter().auto_failback(false), &Special::default())?;
    guests.until("linuxha1 has all votes", Duration::from_secs(60), |it| it.has_all_votes(A, 0))?;
    guests.act(Verb::WireReset(A, ResetWire::Broken))?;
    guests.act(Verb::Script(A, "web", Conduct::Hangs(Order::Stop)))?;
    let since = guests.now();
    guests.act(Verb::Cut(Link::Private, Way::Both))?;
    guests.act(Verb::CutHalf(A))?;
    guests.until_log(A, "the watchdog is not fed any more", since)?;
    let reset = guests.until_bitten_after_neglect(since)?;
    guests.until_served_by(B, Duration::from_secs(40))?;
    let journal = guests.journal();
    let early = journal.iter().find(|one| one.machine == B && one.at > since && one.at < reset);
    if let Some(early) = early {
        return fail(format!("linuxha2 began before linuxha1 was reset: {early:?}"));
    }
    guests.all_is_well(Instant::ZERO)
}

impl Guests {
    /// The watchdog of A is no longer fed some time after `since`; its bite.
    fn until_bitten_after_neglect(&mut self, since: Instant) -> Result<Instant, Stop> {
        let limit = Duration::from_secs(u64::from(WATCHDOG_S) + 12);
        self.until("the watchdog resets linuxha1", limit, |guests| !guests.resets(A).is_empty())?;
        match self.resets(A).first() {
            Some((at, Cause::Watchdog)) if *at > since => Ok(*at),
            other => fail(format!("what reset linuxha1: {other:?}")),
        }
    }
}

/// An emulated chip, not a timer of the kernel: it bites a kernel that is gone, too.
fn i6300esb_resets_a_stopped_daemon_s_machine_and_a_panicked_one(guests: &mut Guests) -> Told {
    let devices = ["-device", "i6300esb"].map(str::to_owned).to_vec();
    let modules = vec!["i6300esb".to_owned()];
    let special = Special {
        devices,
        modules,
        ha_cf: "watchdog /dev/watchdog\n".into(),
        ..Special::default()
    };
    // Its guests boot, and the second waits for the first.
    guests.begin(&web().initdead_ms(20_000).auto_failback(false), &special)?;
    let identity = guests.shell(A, "cat /sys/class/watchdog/watchdog0/identity")?;
    if !identity.contains("i6300ESB") {
        return fail(format!("the watchdog is a {}", identity.trim()));
    }
    time_out(guests)?;
    let since = guests.now();
    guests.act(Verb::StopDaemon(A))?;
    let bitten = guests.until_bitten(A, since)?;
    guests.until_settled(Duration::from_secs(40))?;
    let since = guests.now();
    guests.act(Verb::PanicKernel(B))?;
    guests.until_served_by(A, PATIENCE)?;
    guests.until_bitten(B, since)?;
    guests.all_is_well(bitten + UNDER_WAY)
}

fn hb_watchdog_shows_and_tests(guests: &mut Guests) -> Told {
    let modules = vec!["softdog".to_owned()];
    guests.begin(&web(), &Special { modules, ..Special::default() })?;
    let shown = guests.shell(B, "hb watchdog show")?;
    for words in ["watchdog0", "Software Watchdog", "nobody"] {
        if !shown.contains(words) {
            return fail(format!("hb watchdog show says nothing of {words}:\n{shown}"));
        }
    }
    guests.act(Verb::Leave(B))?;
    let since = guests.now();
    guests.shell(B, "hb watchdog test --reset-this-machine </dev/null >/tmp/test 2>&1 &")?;
    guests.until_bitten(B, since)?;
    guests.until_settled(PATIENCE)?;
    let result = guests.shell(B, "hb watchdog test --result")?;
    if !result.contains("it bit") {
        return fail(format!("hb watchdog test --result: {result}"));
    }
    guests.all_is_well(Instant::ZERO)
}

/// The guide's check of the null-modem line, its softdog, and its test: pull the crossover cable, wait, look for `is
/// dead`. The machines have its files and addresses.
fn the_guide_s_walk_through(guests: &mut Guests) -> Told {
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
fn weather_in_the_guest_s_own_kernel(guests: &mut Guests) -> Told {
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
fn clocks_that_run_fast_and_slow(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special::default())?;
    guests.shell(A, "adjtimex -t 11000 >/dev/null")?;
    guests.shell(B, "adjtimex -t 9000 >/dev/null")?;
    let since = guests.now();
    let before = [guests.uptime(A)?, guests.uptime(B)?];
    guests.run_for(Duration::from_secs(8));
    let ran = [guests.uptime(A)? - before[0], guests.uptime(B)? - before[1]];
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
    guests.all_is_well(Instant::ZERO)
}

impl Guests {
    fn uptime(&mut self, machine: Machine) -> Result<f64, Stop> {
        let text = self.shell(machine, "cat /proc/uptime")?;
        let first = text.split(' ').next().and_then(|word| word.parse().ok());
        first.ok_or_else(|| Stop::Failed(format!("/proc/uptime of {machine}: {text}")))
    }
}

/// Every processor and the disk are kept busy by others: nobody is taken for dead.
fn processors_and_disks_are_busy(guests: &mut Guests) -> Told {
    guests.begin(&web(), &Special::default())?;
    let since = guests.now();
    for machine in Machine::BOTH {
        guests.act(Verb::FillCpu(machine))?;
        guests.shell(
            machine,
            "(while [ ! -e /run/free-cpu ]; do dd if=/dev/zero of=/disk/busy bs=64k count=64 conv=fsync; done) \
             </dev/null >/dev/null 2>&1 &",
        )?;
    }
    guests.run_for(Duration::from_secs(5));
    for machine in Machine::BOTH {
        guests.act(Verb::FreeCpu(machine))?;
        if guests.log_has(machine, "is dead", since) {
            return fail(format!("{machine} took its peer for dead"));
        }
    }
    if guests.serves() != Some(A) {
        return fail("linuxha1 no longer serves");
    }
    guests.all_is_well(Instant::ZERO)
}

/// The survivor's disk is full: it takes over all the same, and its log goes on when there is room.
fn a_full_disk_under_the_log(guests: &mut Guests) -> Told {
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
fn ppp_over_the_serial_line(guests: &mut Guests) -> Told {
    const OPTIONS: &str = include_str!("../../../hb-linux/pkg/ppp-options");
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
fn usb_adapters_are_unplugged_and_replugged(guests: &mut Guests) -> Told {
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

/// Both machines have all of the first group, by the guests' own records, for longer than what two guests' records may
/// be apart: from, to.
pub(super) fn two_holders(guests: &mut Guests, count: usize) -> Option<(Instant, Instant)> {
    let resolution = guests.resolution();
    let journal = guests.journal();
    let mut holdings = Holdings::default();
    let mut since = None;
    for entry in &journal {
        holdings.note(entry);
        let both = (0..count).any(|at| holdings.has(A, 0, at) && holdings.has(B, 0, at));
        match (both, since) {
            (true, None) => since = Some(entry.at),
            (false, Some(from)) if entry.at.since(from) > resolution => {
                return Some((from, entry.at));
            }
            (false, _) => since = None,
            _ => {}
        }
    }
    since.map(|from| (from, Instant::NEVER))
}
