//! What the tests with hostile input share: who watches, and what must hold all the while.
// Each test binary compiles its own copy and uses its own part.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::Node;
use hil_tests::netns::Pair;
use serde_json::Value;

/// The demo's key, as its authkeys has it.
pub const SECRET: &[u8] = b"the-two-machines-of-the-demo";
/// Every time-out of a loop that only waits.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Log lines that an hour-long attack of any kind may cost on top of what a pair says anyway.
pub const LOG_LINES: usize = 120;

/// A link's part of a status, by its name.
pub fn link<'v>(status: &'v Value, name: &str) -> &'v Value {
    let links = status["links"].as_array().expect("links");
    links.iter().find(|link| link["name"] == name).unwrap_or_else(|| panic!("{name}: {status}"))
}

/// Frames that a link has thrown away, for a reason.
pub fn rejected(status: &Value, name: &str, reason: &str) -> u64 {
    link(status, name)["rejected"][reason].as_u64().unwrap_or(0)
}

/// Frames that a link has thrown away.
pub fn all_rejected(status: &Value, name: &str) -> u64 {
    let rejected = link(status, name)["rejected"].as_object().expect("an object");
    rejected.values().filter_map(Value::as_u64).sum()
}

/// Both CPUs of the machine, and more, kept busy by ordinary processes' threads until dropped.
pub struct Busy {
    end: std::sync::Arc<AtomicBool>,
}

impl Busy {
    pub fn cpus() -> Self {
        let end = std::sync::Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let end = end.clone();
            std::thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    std::hint::black_box((0..10_000_u64).sum::<u64>());
                }
            });
        }
        Self { end }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

/// A pair under attack: what was true before, to be compared with what is true after.
pub struct Siege<'pair> {
    pair: &'pair Pair,
    pub before: [Value; 2],
    lines: [usize; 2],
    began: Instant,
}

impl<'pair> Siege<'pair> {
    /// Node One holds the group, every link is up.
    pub fn begin(pair: &'pair Pair) -> Self {
        pair.settle();
        pair.expect_holder(Node::One);
        // Loss is told over the last 128 frames: what start-up lost is over by then.
        let before =
            pair.wait_for("no loss of start-up is left", Duration::from_secs(40), |a, b| {
                [a, b].into_iter().all(|status| {
                    let links = status["links"].as_array().expect("links");
                    links.iter().all(|link| link["loss"].as_f64() == Some(0.0))
                })
            });
        Self {
            pair,
            before,
            lines: Node::BOTH.map(|node| lines(pair, node)),
            began: Instant::now(),
        }
    }

    /// What must be true whenever one looks. `answers`: a daemon that is asked to death may be
    /// silent to `hb status`.
    pub fn look(&self, spared: &[&str]) -> [Option<Value>; 2] {
        let seen = Node::BOTH.map(|node| self.pair.status(node));
        for status in seen.iter().flatten() {
            let peer = status["peer"]["state"].as_str();
            assert!(matches!(peer, Some("alive" | "late")), "{status:#}\n{}", self.pair.story());
            for name in spared {
                let loss = link(status, name)["loss"].as_f64();
                assert_eq!(loss, Some(0.0), "{name}: {status:#}\n{}", self.pair.story());
            }
        }
        seen
    }

    /// Looks again and again until `done`.
    pub fn look_until(&self, spared: &[&str], patience: Duration, done: impl Fn() -> bool) {
        let deadline = Instant::now() + patience;
        while !done() {
            assert!(Instant::now() < deadline, "the attack does not end within {patience:?}");
            self.look(spared);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What must be true at the end. Both statuses of then.
    pub fn end(self, spared: &[&str], dark_at_most: Duration) -> [Value; 2] {
        let pair = self.pair;
        let after = pair.wait_for("both daemons answer", Duration::from_secs(5), |_, _| true);
        let now = Instant::now();
        for (node, (before, after)) in
            Node::BOTH.into_iter().zip(self.before.iter().zip(after.iter()))
        {
            assert_eq!(pair.bench.machine(node).daemon_exits(), [""; 0], "{}", pair.story());
            let log = pair.bench.machine(node).ha_log();
            assert!(!log.contains("is dead"), "a false death\n{}", pair.story());
            let told = lines(pair, node) - self.lines[node.index()];
            assert!(told <= LOG_LINES, "{told} log lines\n{}", pair.story());
            assert_eq!(before["last_failover"], after["last_failover"], "{}", pair.story());
            self.own_heartbeats(spared, before, after, now);
        }
        let macs = pair.bench.client().expect("the client runs");
        let macs = macs.read(|record| record.answered_by(self.began, now));
        assert_eq!(macs.len(), 1, "who answered\n{}", pair.story());
        let dark = pair.outage(self.began, now);
        assert!(dark <= dark_at_most, "the client was in the dark for {dark:?}\n{}", pair.story());
        after
    }

    /// No heartbeat of one's own was missed: as many left by each spared link as keepalive asks for.
    fn own_heartbeats(&self, spared: &[&str], before: &Value, after: &Value, now: Instant) {
        let due = (now - self.began).as_millis() as u64 / 100;
        for name in spared {
            let sent = |status| link(status, name)["sent"].as_u64().expect("a number");
            let left = sent(after) - sent(before);
            assert!(left + 5 >= due, "{name}: {left} of {due} heartbeats left\n{after:#}");
        }
    }
}

pub fn lines(pair: &Pair, node: Node) -> usize {
    pair.bench.machine(node).ha_log().lines().count()
}
