//! Two real daemons on two machines of the namespace rig, for scenarios.
//!
//! ```no_run
//! use hb_linux::rig::bench::Node;
//! use hil_tests::netns::Pair;
//!
//! let mut pair = Pair::builder().serial_lines(2).auto_failback(false).start();
//! pair.expect_holder(Node::One);
//! pair.bench.power_off(Node::One);
//! pair.expect_holder_within(Node::Two, pair.budget());
//! pair.expect_never_two_holders();
//! ```

pub(crate) mod dongle;
pub mod files;
pub mod host;
pub mod observer;
pub mod rig;
pub(crate) mod verbs;
pub(crate) mod view;
pub mod watch;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hb_linux::rig::bench::{Bench, Network, Node, Options, SERVICE};
use hb_linux::rig::demo;
use hb_linux::rig::mac_text;
use hb_linux::rig::machine::{Programs, last_lines};
use serde_json::Value;

use self::host::Stalls;
use crate::chronicle::Clock;
use crate::inside::{commit_line, evidence, programs};

/// What any state may take to be reached on a busy host, when no budget says less.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// What a client that asks every 5 ms, and a host that runs other tests, add to a budget.
pub const ALLOWANCE: Duration = Duration::from_millis(100);

/// A wait of the host is waited for by several, one after the other: a thread of the rig, a process that
/// is to start, and what that starts.
const TURNS: u32 = 3;

/// A gap that a busy host alone may make; shorter than deadtime (500 ms), so no takeover's.
pub const HICCUP: Duration = Duration::from_millis(400);

/// The machines' names, the guide's.
pub const NAMES: [&str; 2] = ["linuxha1", "linuxha2"];

/// What a pair is made of.
#[derive(Clone, Debug)]
pub struct Builder {
    groups: Vec<(Node, String)>,
    serial_lines: usize,
    private_network: bool,
    auto_failback: bool,
    extra: String,
    programs: Option<Programs>,
}

impl Builder {
    /// Another group in haresources: `linuxha1 RESOURCES`. The first call replaces the guide's.
    #[must_use]
    pub fn group(mut self, preferred: Node, resources: &str) -> Self {
        self.groups.push((preferred, resources.to_owned()));
        self
    }

    /// Null-modem lines, ttyS0, ttyS1, …; one by default.
    #[must_use]
    pub fn serial_lines(mut self, count: usize) -> Self {
        self.serial_lines = count;
        self
    }

    /// Whether ha.cf has `udp eth1`; it has by default.
    #[must_use]
    pub fn private_network(mut self, used: bool) -> Self {
        self.private_network = used;
        self
    }

    /// `auto_failback on` or `off`; on by default, as in the guide's test.
    #[must_use]
    pub fn auto_failback(mut self, on: bool) -> Self {
        self.auto_failback = on;
        self
    }

    /// More lines of ha.cf, before the nodes.
    #[must_use]
    pub fn ha_cf(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Other executables than those under test.
    #[must_use]
    pub fn programs(mut self, programs: Programs) -> Self {
        self.programs = Some(programs);
        self
    }

    /// The text of ha.cf.
    #[must_use]
    pub fn ha_cf_text(&self) -> String {
        let mut text = String::from("logfile /var/log/ha-log\nbaud 19200\nudpport 694\n");
        for line in 0..self.serial_lines {
            text.push_str(&format!("serial /dev/ttyS{line}\n"));
        }
        if self.private_network {
            text.push_str("udp eth1\n");
        }
        let word = if self.auto_failback { "on" } else { "off" };
        text.push_str(&format!("auto_failback {word}\n{}", self.extra));
        for name in NAMES {
            text.push_str(&format!("node {name}\n"));
        }
        text
    }

    /// Both machines configured and without power, the client asking. Call it inside
    /// [`crate::inside::inside`].
    ///
    /// # Panics
    /// The rig can't be made.
    #[must_use]
    pub fn build(self) -> Pair {
        let programs = self.programs.clone().unwrap_or_else(|| programs().clone());
        let options =
            Options { serial_lines: self.serial_lines, ..Options::of_the_guide(programs.clone()) };
        let mut bench = Bench::new(&options).expect("the rig can be made");
        demo::install(&bench, &programs).expect("the guide's files can be written");
        let mut haresources = String::new();
        for (preferred, resources) in &self.groups {
            haresources.push_str(&format!("{} {resources}\n", NAMES[preferred.index()]));
        }
        for node in Node::BOTH {
            bench.install(node, "ha.cf", &self.ha_cf_text(), 0o644).expect("ha.cf can be written");
            if !haresources.is_empty() {
                bench
                    .install(node, "haresources", &haresources, 0o644)
                    .expect("haresources can be written");
            }
        }
        bench.start_client(SERVICE).expect("the client starts");
        let clock = Clock::start();
        let stalls = Stalls::record(clock).expect("a thread can be had");
        host::prefer_wires();
        Pair { bench, clock, stalls, began: Instant::now() }
    }

    /// [`Self::build`], and power on both machines at once.
    ///
    /// # Panics
    /// The rig can't be made, or a machine doesn't come up.
    #[must_use]
    pub fn start(self) -> Pair {
        let mut pair = self.build();
        for node in Node::BOTH {
            pair.power_on(node);
        }
        pair
    }
}

/// Two machines with real daemons, and what the client sees of them.
#[derive(Debug)]
pub struct Pair {
    /// The rig itself, for its verbs.
    pub bench: Bench,
    clock: Clock,
    stalls: Stalls,
    began: Instant,
}

/// A test that panics leaves both machines' logs, whole: a failure itself repeats only their ends.
impl Drop for Pair {
    fn drop(&mut self) {
        let Some(place) = std::thread::panicking().then(evidence).flatten() else { return };
        if let Err(error) = self.keep(&place) {
            eprintln!("{}: the logs could not be kept: {error}", place.display());
        }
    }
}

impl Pair {
    fn keep(&self, place: &Path) -> std::io::Result<()> {
        fs::create_dir_all(place)?;
        fs::write(place.join("run"), format!("rig netns\n{}", commit_line()))?;
        for (node, name) in Node::BOTH.into_iter().zip(NAMES) {
            observer::copy_all(&self.bench.machine(node).log_file(""), &place.join(name))?;
        }
        Ok(())
    }

    /// The guide's pair: one group, one serial line, `udp eth1`, failback on.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            groups: Vec::new(),
            serial_lines: 1,
            private_network: true,
            auto_failback: true,
            extra: String::new(),
            programs: None,
        }
    }

    /// Power on, daemon started.
    ///
    /// # Panics
    /// The machine doesn't come up.
    pub fn power_on(&mut self, node: Node) {
        self.bench.power_on(node).unwrap_or_else(|error| panic!("power on {node:?}: {error}"));
    }

    /// What `hb status --json` says on a machine; None while it says nothing.
    #[must_use]
    pub fn status(&self, node: Node) -> Option<Value> {
        self.bench.machine(node).status()
    }

    /// Whether a machine's ha-log has the text.
    #[must_use]
    pub fn log_contains(&self, node: Node, text: &str) -> bool {
        self.bench.machine(node).ha_log().contains(text)
    }

    /// Who answered the client last, if that was within the last 50 ms: ten questions.
    #[must_use]
    pub fn holder(&self) -> Option<Node> {
        let last = self.bench.client()?.read(|record| record.last_good().copied())?;
        (last.done.elapsed() < Duration::from_millis(50)).then_some(())?;
        Node::BOTH.into_iter().find(|node| Some(Network::Public.mac(*node)) == last.mac)
    }

    /// How long this host kept a thread of the rig waiting since `since`, in all.
    #[must_use]
    pub fn stalled(&self, since: Instant) -> Duration {
        self.stalls.since(self.clock.at(since)).into()
    }

    /// What this host adds to a limit that counts from `since`.
    #[must_use]
    pub fn slack(&self, since: Instant) -> Duration {
        self.stalled(since) * TURNS
    }

    /// The longest wait that this host imposed since `since`, and all of them, for a message.
    #[must_use]
    pub fn waited(&self, since: Instant) -> String {
        let longest = self.stalls.longest_since(self.clock.at(since)).millis();
        let all = self.stalled(since).as_millis();
        format!("this host kept the rig waiting for {all} ms since, {longest} ms at worst")
    }

    /// The longest wait alone.
    #[must_use]
    pub fn longest_stall(&self, since: Instant) -> Duration {
        self.stalls.longest_since(self.clock.at(since)).into()
    }

    /// Looks until `done`, for `patience` and what the host adds to it.
    fn until(&self, patience: Duration, mut done: impl FnMut() -> bool) -> bool {
        let from = Instant::now();
        loop {
            let deadline = from + patience + self.slack(from);
            if done() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until both daemons answer and `done` is true of both statuses.
    ///
    /// # Panics
    /// It isn't within `patience`; shows both statuses and logs.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        done: impl Fn(&Value, &Value) -> bool,
    ) -> [Value; 2] {
        let mut last = [None, None];
        let met = self.until(patience, || {
            last = Node::BOTH.map(|node| self.status(node));
            matches!(&last, [Some(one), Some(two)] if done(one, two))
        });
        match last {
            [Some(one), Some(two)] if met => [one, two],
            other => panic!("not within {patience:?}: {what}\n{other:#?}\n{}", self.story()),
        }
    }

    /// Waits until one daemon answers and `done` is true of its status.
    ///
    /// # Panics
    /// As [`Self::wait_for`].
    pub fn wait_for_one(
        &self,
        node: Node,
        what: &str,
        patience: Duration,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = None;
        let met = self.until(patience, || {
            last = self.status(node);
            last.as_ref().is_some_and(&done)
        });
        match last {
            Some(status) if met => status,
            other => panic!("not within {patience:?}: {what}\n{other:#?}\n{}", self.story()),
        }
    }

    /// Waits until every link of both nodes is up, and each sees the other alive.
    ///
    /// # Panics
    /// As [`Self::wait_for`].
    pub fn settle(&self) {
        self.wait_for("every link up, both alive", PATIENCE, |one, two| {
            [one, two].into_iter().all(|status| {
                let links = status["links"].as_array();
                status["peer"]["state"] == "alive"
                    && links.is_some_and(|links| links.iter().all(|link| link["state"] == "up"))
            })
        });
    }

    /// Waits until a machine answers the client.
    ///
    /// # Panics
    /// It doesn't within [`PATIENCE`].
    pub fn expect_holder(&self, node: Node) {
        self.expect_holder_within(node, PATIENCE);
    }

    /// Waits until a machine answers the client.
    ///
    /// # Panics
    /// It doesn't within `patience`, [`ALLOWANCE`] and what the host adds.
    pub fn expect_holder_within(&self, node: Node, patience: Duration) {
        let met = self.until(patience + ALLOWANCE, || self.holder() == Some(node));
        assert!(
            met,
            "{node:?} does not serve within {patience:?}; the client sees {:?}\n{}",
            self.holder(),
            self.story()
        );
    }

    /// For all of `time`, this machine and no other answers the client, without an outage longer
    /// than [`HICCUP`].
    ///
    /// # Panics
    /// Another does, or it doesn't.
    pub fn expect_holder_stays(&self, node: Node, time: Duration) {
        let from = Instant::now();
        std::thread::sleep(time);
        let to = Instant::now();
        let client = self.bench.client().expect("the client runs");
        let macs = client.read(|record| record.answered_by(from, to));
        assert_eq!(macs, [Network::Public.mac(node)], "who answered\n{}", self.story());
        let outage = self.outage(from, to);
        assert!(outage <= HICCUP + self.slack(from), "an outage of {outage:?}\n{}", self.story());
    }

    /// The longest time without a good answer around `event`.
    ///
    /// # Panics
    /// There never was a good answer.
    #[must_use]
    pub fn outage(&self, event: Instant, to: Instant) -> Duration {
        let client = self.bench.client().expect("the client runs");
        client
            .read(|record| record.outage(event, to))
            .unwrap_or_else(|| panic!("the client never got an answer\n{}", self.story()))
            .lasted
    }

    /// What the configuration promises for a failover of the first group.
    ///
    /// # Panics
    /// The configuration is wrong.
    #[must_use]
    pub fn budget(&self) -> Duration {
        match self.bench.budget(0) {
            Ok(budget) => Duration::from_micros(budget.total().micros()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The client never saw two machines with the service address at once.
    ///
    /// # Panics
    /// It did.
    pub fn expect_never_two_holders(&self) {
        let client = self.bench.client().expect("the client runs");
        if let Some(overlap) = client.read(|record| record.overlap(self.began)) {
            let [one, two] = overlap.macs.map(mac_text);
            let at = overlap.at - self.began;
            panic!("{one} and {two} had the address at once, {at:?} in\n{}", self.story());
        }
    }

    /// Runs `hb` inside a machine.
    ///
    /// # Panics
    /// It can't be run, or fails.
    pub fn hb(&self, node: Node, arguments: &[&str]) -> String {
        let output = self.bench.machine(node).hb(arguments).expect("hb runs");
        assert!(
            output.status.success(),
            "hb {arguments:?} on {node:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.story()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Both machines' logs, and how their daemons ended, for a failed expectation.
    #[must_use]
    pub fn story(&self) -> String {
        let mut text = String::new();
        for node in Node::BOTH {
            let machine = self.bench.machine(node);
            let exits = machine.daemon_exits();
            text.push_str(&format!(
                "== {} (power {}, daemon {}, ended before: {exits:?})\n",
                machine.name(),
                if machine.is_on() { "on" } else { "off" },
                if machine.daemon_runs() { "runs" } else { "does not run" },
            ));
            for file in ["ha-log", "ha-debug", "heartbeatd.out"] {
                let path = machine.log_file(file);
                if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
                    text.push_str(&format!("-- {file}\n{}\n", last_lines(&path, 60)));
                }
            }
        }
        text
    }
}
