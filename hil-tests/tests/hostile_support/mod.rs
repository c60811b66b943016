//! What the tests with hostile input share: who watches, and what must hold all the while.
// Each test binary compiles its own copy and uses its own part.
#![allow(dead_code)]

use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hb_linux::rig::bench::Node;
use hb_linux::rig::line::{Carried, Side};
use hil_tests::bench::machine::StallRecorder;
use hil_tests::netns::{NAMES, Pair};
use serde_json::Value;

/// The demo's key, as its authkeys has it.
pub const SECRET: &[u8] = b"the-two-machines-of-the-demo";
/// The guide's line.
pub const SERIAL: &str = "/dev/ttyS0";
/// Every time-out of a loop that only waits.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Log lines that an hour-long attack of any kind may cost on top of what a pair says anyway.
pub const LOG_LINES: usize = 120;
/// The default keepalive.
const KEEPALIVE: Duration = Duration::from_millis(100);
/// Frames of a link that have left one node and are not counted by the other yet.
const UNDER_WAY: u64 = 3;
/// `loss` tells of the last 128 frames.
const LOSS_WINDOW: Duration = Duration::from_millis(12_800);
/// How far `loss` may be from what counters say of about the same time.
const LOSS_TOLERANCE: f64 = 0.15;

/// A daemon counts a stall from 200 ms on. A host that let nobody run for this long may have held it up,
/// too.
const EXPLAINS_A_STALL: Duration = Duration::from_millis(150);

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

fn counted(status: &Value, name: &str, what: &str) -> u64 {
    link(status, name)[what].as_u64().expect("a number")
}

/// Both CPUs of the machine kept busy by ordinary processes until dropped. They are a session of their
/// own: with autogroups (sched(7)) they compete with the rig, not inside it.
pub struct Busy(Vec<Child>);

impl Busy {
    pub fn cpus() -> Self {
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        // It ends by itself, too, should this process not live to end it.
        let script = format!(
            "while kill -0 {} 2>/dev/null; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done",
            std::process::id()
        );
        let start = |_| {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", &script]).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("setsid(1) of util-linux and a shell")
        };
        Self((0..count).map(start).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Both daemons' figures at about one moment: One's, Two's, and One's again, so that of either
/// direction the sender can be read on the far side of the receiver.
struct Figures([Value; 3]);

impl Figures {
    fn read(pair: &Pair) -> Self {
        let read = |node| pair.wait_for_one(node, "it answers", Duration::from_secs(5), |_| true);
        Self([Node::One, Node::Two, Node::One].map(read))
    }

    fn of(&self, node: Node) -> &Value {
        &self.0[node.index()]
    }

    /// What `to` should have got by a link between two readings, and what of it is missing: a delay
    /// is no loss. What was under way at either end is no loss, too.
    fn lost(before: &Self, after: &Self, to: Node, name: &str) -> (u64, u64) {
        // The sender is read last before and first after: all that it sent between was to arrive.
        let (sender, receiver) = match to {
            Node::Two => ([2, 0], [1, 1]),
            Node::One => ([1, 1], [0, 2]),
        };
        let more = |[from, until]: [usize; 2], what| {
            counted(&after.0[until], name, what) - counted(&before.0[from], name, what)
        };
        let sent = more(sender, "sent");
        (sent, sent.saturating_sub(more(receiver, "received") + UNDER_WAY))
    }
}

/// This host's own pauses, which a thread sees that runs before the daemons: what ordinary work makes
/// ordinary threads wait is no excuse for a daemon with realtime priority. Where that priority is
/// refused the daemons have none either, and every wait of an ordinary thread is theirs, too.
pub struct Host {
    recorder: Option<StallRecorder>,
    since: Instant,
}

impl Host {
    /// From now on.
    pub fn watch() -> Self {
        let recorder = StallRecorder::start_in_real_time();
        if let Err(error) = &recorder {
            println!("{error}: what an ordinary thread waits excuses the daemons");
        }
        Self { recorder: recorder.ok(), since: Instant::now() }
    }

    /// Whether stalls that a daemon counted since are its own. If this host paused, a line says that
    /// `test` leaves them unjudged.
    pub fn judges_stalls(&self, pair: &Pair, test: &str) -> bool {
        let ordinary = || pair.longest_stall(self.since);
        let real = |recorder: &StallRecorder| {
            Duration::from_secs_f64(recorder.longest_ms(self.since, Instant::now()) / 1e3)
        };
        let longest = self.recorder.as_ref().map_or_else(ordinary, real);
        let judges = longest < EXPLAINS_A_STALL;
        if !judges {
            println!(
                "SKIP: {test}: stalls of the daemons: this host let nobody run for {longest:?}"
            );
        }
        judges
    }

    /// How long nobody could run, in all.
    fn paused(&self, pair: &Pair) -> Duration {
        let ordinary = || pair.stalled(self.since);
        let real = |recorder: &StallRecorder| recorder.total(self.since, Instant::now());
        self.recorder.as_ref().map_or_else(ordinary, real)
    }
}

/// What became of the bytes that each side sent into the first serial line.
fn carried(pair: &Pair) -> [Carried; 2] {
    [Side::A, Side::B].map(|side| pair.bench.line(0).carried(side))
}

/// Bytes that did not come out of a line as they went in: it was cut or without power, its receiver's
/// port was closed or nobody read it in time, or they were no bytes of a frame any more.
fn line_losses(carried: &Carried) -> u64 {
    carried.lost + carried.overrun + carried.garbled + carried.spoilt
}

/// A pair under attack: what was true before, to be compared with what is true after.
pub struct Siege<'pair> {
    pair: &'pair Pair,
    pub before: [Value; 2],
    figures: Figures,
    carried: [Carried; 2],
    lines: [usize; 2],
    began: Instant,
    pub host: Host,
    /// What both said at each look.
    looks: RefCell<Vec<(Instant, [Value; 2])>>,
}

impl<'pair> Siege<'pair> {
    /// Node One holds the group, every link is up.
    pub fn begin(pair: &'pair Pair) -> Self {
        pair.settle();
        pair.expect_holder(Node::One);
        let figures = Figures::read(pair);
        Self {
            pair,
            before: Node::BOTH.map(|node| figures.of(node).clone()),
            figures,
            carried: carried(pair),
            lines: Node::BOTH.map(|node| lines(pair, node)),
            began: Instant::now(),
            host: Host::watch(),
            looks: RefCell::default(),
        }
    }

    /// The same, and no loss is told any more of what start-up lost. On a host that is busy all the
    /// time that may never come.
    pub fn begin_calm(pair: &'pair Pair) -> Self {
        pair.settle();
        pair.expect_holder(Node::One);
        pair.wait_for("no loss of start-up is left", Duration::from_secs(40), |a, b| {
            [a, b].into_iter().all(|status| {
                let links = status["links"].as_array().expect("links");
                links.iter().all(|link| link["loss"].as_f64() == Some(0.0))
            })
        });
        Self::begin(pair)
    }

    /// Since when.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What must be true whenever one looks: nobody is dead, the spared links are up. A daemon that
    /// is asked to death may be silent to `hb status`.
    pub fn look(&self, spared: &[&str]) {
        let seen = Node::BOTH.map(|node| self.pair.status(node));
        for (name, status) in NAMES.iter().zip(&seen) {
            let Some(status) = status else { continue };
            let peer = status["peer"]["state"].as_str().unwrap_or_default();
            assert!(
                matches!(peer, "alive" | "late"),
                "{name} takes its peer for {peer} ({})\n{status:#}\n{}",
                self.pair.waited(self.began),
                self.pair.story()
            );
            for link_name in spared {
                let state = link(status, link_name)["state"].as_str().unwrap_or_default();
                assert_eq!(state, "up", "{link_name} of {name}, spared\n{}", self.pair.story());
            }
        }
        if let [Some(one), Some(two)] = seen {
            self.looks.borrow_mut().push((Instant::now(), [one, two]));
        }
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

    /// While the attack went on, `loss` of an attacked link was what it lost: counters of both ends
    /// over the same time tell. Returns the larger one of both directions.
    pub fn loss_was_told(&self, name: &str) -> f64 {
        let looks = self.looks.borrow();
        let (end, last) = looks.last().expect("somebody looked");
        let (_, first) =
            looks.iter().rfind(|(at, _)| *end - *at >= LOSS_WINDOW).unwrap_or_else(|| &looks[0]);
        let mut largest = 0.0_f64;
        for to in Node::BOTH {
            let more = |node: Node, what| {
                let [before, after] =
                    [first, last].map(|both| counted(&both[node.index()], name, what));
                (after - before) as f64
            };
            let lost = 1.0 - more(to, "received") / more(to.other(), "sent").max(1.0);
            let told = link(&last[to.index()], name)["loss"].as_f64().expect("loss is told");
            let who = NAMES[to.index()];
            println!("{who}: {name} lost {lost:.3} of its frames, and tells {told:.3}");
            assert!(
                (told - lost).abs() <= LOSS_TOLERANCE,
                "{who}: {name} lost {lost:.3} of its frames, and tells {told:.3}\n{last:#?}"
            );
            largest = largest.max(told);
        }
        largest
    }

    /// Both daemons live, neither took the other for dead, and on the spared links no heartbeat was
    /// missed.
    pub fn heartbeats(&self, spared: &[&str]) {
        self.heartbeats_until(spared, &Figures::read(self.pair), Instant::now());
    }

    fn heartbeats_until(&self, spared: &[&str], after: &Figures, now: Instant) {
        let pair = self.pair;
        let waited = pair.waited(self.began);
        for (node, who) in Node::BOTH.into_iter().zip(NAMES) {
            assert_eq!(pair.bench.machine(node).daemon_exits(), [""; 0], "{}", pair.story());
            let log = pair.bench.machine(node).ha_log();
            assert!(!log.contains("is dead"), "{who}: a false death ({waited})\n{}", pair.story());
        }
        for name in spared {
            self.own_heartbeats(name, after, now);
            if *name == SERIAL {
                self.line_lost_nothing();
            }
        }
    }

    /// The spared line, by its own count: whatever a daemon got rid of came to the other.
    fn line_lost_nothing(&self) {
        for ((before, after), who) in self.carried.iter().zip(carried(self.pair)).zip(NAMES) {
            println!("{SERIAL}: {} bytes of {who} carried", after.sent - before.sent);
            assert!(after.sent > before.sent, "{who} sent nothing into {SERIAL}, spared");
            assert_eq!(
                line_losses(&after),
                line_losses(before),
                "bytes of {who} were lost on {SERIAL}, spared: {before:?}, {after:?} ({})",
                self.pair.waited(self.began)
            );
        }
    }

    /// What must be true at the end. Both statuses of then.
    pub fn end(self, spared: &[&str], dark_at_most: Duration) -> [Value; 2] {
        let pair = self.pair;
        let after = Figures::read(pair);
        let now = Instant::now();
        let waited = pair.waited(self.began);
        self.heartbeats_until(spared, &after, now);
        for (node, who) in Node::BOTH.into_iter().zip(NAMES) {
            let (before, after) = (&self.before[node.index()], after.of(node));
            let told = lines(pair, node) - self.lines[node.index()];
            assert!(told <= LOG_LINES, "{who}: {told} log lines\n{}", pair.story());
            assert_eq!(before["last_failover"], after["last_failover"], "{}", pair.story());
        }
        let macs = pair.bench.client().expect("the client runs");
        let macs = macs.read(|record| record.answered_by(self.began, now));
        assert_eq!(macs.len(), 1, "who answered\n{}", pair.story());
        let dark = pair.outage(self.began, now);
        assert!(
            dark <= dark_at_most + pair.slack(self.began),
            "the client was in the dark for {dark:?} ({waited})\n{}",
            pair.story()
        );
        let Figures([one, two, _]) = after;
        [one, two]
    }

    /// No heartbeat of one's own was missed on a spared link: as many left as keepalive asks for, less
    /// those of times in which this host let not even a realtime thread run; and all of them arrived.
    fn own_heartbeats(&self, name: &str, after: &Figures, now: Instant) {
        let awake = (now - self.began).saturating_sub(self.host.paused(self.pair));
        let due = (awake.as_millis() / KEEPALIVE.as_millis()) as u64;
        for node in Node::BOTH {
            let who = NAMES[node.index()];
            let status = after.of(node);
            let left =
                counted(status, name, "sent") - counted(&self.before[node.index()], name, "sent");
            assert!(
                left + 5 >= due,
                "{who}: {left} of {due} heartbeats left by {name}; this host let nobody run for {:?} \
                 ({})\n{status:#}",
                self.host.paused(self.pair),
                self.pair.waited(self.began)
            );
            // A frame that finds the line busy is not sent (and not counted as sent): it owes nothing.
            let (sent, lost) = Figures::lost(&self.figures, after, node, name);
            assert!(
                lost == 0,
                "{who}: {lost} of {sent} frames of its peer didn't come by {name}, spared ({})\n\
                 {status:#}",
                self.pair.waited(self.began)
            );
        }
    }
}

pub fn lines(pair: &Pair, node: Node) -> usize {
    pair.bench.machine(node).ha_log().lines().count()
}
