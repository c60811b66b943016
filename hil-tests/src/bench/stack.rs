//! What is measured: this heartbeat, or one of its peers, on the same two machines.

use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hb_linux::rig::RigError;
use hb_linux::rig::bench::{Bench, Network, Node, Options, SERVICE};
use hb_linux::rig::machine::Programs;

use super::client::Client;

/// What any state may take to be reached.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The timing of one set of runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// For the command line.
    pub name: &'static str,
    /// As the tables show it.
    pub label: &'static str,
    /// A heartbeat leaves this often.
    pub keepalive_ms: u64,
    /// Silence after which the other node is dead.
    pub deadtime_ms: u64,
    /// Of the null-modem line.
    pub baud: u32,
}

/// The guide's times.
pub const GUIDE: Timing = Timing {
    name: "guide",
    label: "2 s / 10 s",
    keepalive_ms: 2000,
    deadtime_ms: 10_000,
    baud: 19200,
};
/// The defaults.
pub const DEFAULT: Timing = Timing {
    name: "default",
    label: "100 / 500 ms",
    keepalive_ms: 100,
    deadtime_ms: 500,
    baud: 19200,
};
/// The fastest.
pub const FASTEST: Timing = Timing {
    name: "fastest",
    label: "10 / 40 ms",
    keepalive_ms: 10,
    deadtime_ms: 40,
    baud: 115_200,
};

/// A cluster that keeps the service address on one of two machines.
pub trait Stack {
    /// As the tables show it.
    fn name(&self) -> &str;

    /// Its settings.
    fn timing(&self) -> Timing;

    /// How the settings differ from [`Self::timing`]'s words, where they do.
    fn remark(&self) -> &str {
        ""
    }

    /// What the two machines need for it beside themselves.
    fn equip(&self, _options: &mut Options) {}

    /// Starts it on a machine that has just got power.
    ///
    /// # Errors
    /// It can't be started.
    fn start(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError>;

    /// Whether both machines run it, and each would notice the other's end.
    fn settled(&self, bench: &Bench) -> bool;

    /// Tells the active machine to hand over.
    ///
    /// # Errors
    /// It refuses.
    fn hand_over(&mut self, bench: &mut Bench, from: Node) -> Result<(), RigError>;

    /// After a handover: brings the machine that gave up back as a standby.
    ///
    /// # Errors
    /// It can't be.
    fn rejoin(&mut self, _bench: &mut Bench, _node: Node) -> Result<(), RigError> {
        Ok(())
    }
}

/// Two machines with power, a stack on them, and the client.
pub struct Pair {
    /// The client; before the rig, which it is plugged into.
    pub client: Client,
    /// The rig.
    pub bench: Bench,
    /// What runs on it.
    pub stack: Box<dyn Stack>,
}

impl Pair {
    /// Builds the rig and powers both machines on; returns when the first serves and both settled.
    ///
    /// # Errors
    /// What couldn't be made, or was not reached.
    pub fn start(
        programs: &Programs,
        stack: Box<dyn Stack>,
        install: impl FnOnce(&Bench) -> Result<(), RigError>,
    ) -> Result<Self, RigError> {
        // The second line is the bare loop's, beside the daemon.
        let mut options = Options { serial_lines: 2, ..Options::of_the_guide(programs.clone()) };
        stack.equip(&mut options);
        // The wires' threads inherit realtime priority from the thread that makes them.
        let bench = std::thread::scope(|scope| {
            let maker = scope.spawn(|| {
                super::machine::real_time();
                Bench::new(&options)
            });
            maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        install(&bench)?;
        let client = Client::start(&bench)?;
        let mut pair = Self { client, bench, stack };
        for node in Node::BOTH {
            pair.power_on(node)?;
        }
        pair.expect_served_by(Node::One)?;
        pair.settle()?;
        Ok(pair)
    }

    /// Power on, stack started.
    ///
    /// # Errors
    /// The machine doesn't come up.
    pub fn power_on(&mut self, node: Node) -> Result<(), RigError> {
        self.bench.power_on_without_daemon(node)?;
        self.stack.start(&mut self.bench, node)
    }

    /// Waits until both machines run the stack and see each other.
    ///
    /// # Errors
    /// They don't in [`PATIENCE`].
    pub fn settle(&self) -> Result<(), RigError> {
        if self.bench.wait(PATIENCE, |bench| self.stack.settled(bench)) {
            return Ok(());
        }
        Err(self.not_reached("both machines see each other"))
    }

    /// Waits until the client is answered by a machine.
    ///
    /// # Errors
    /// It isn't in [`PATIENCE`].
    pub fn expect_served_by(&self, node: Node) -> Result<(), RigError> {
        if self.bench.wait(PATIENCE, |_| self.client.served_by() == Some(node)) {
            return Ok(());
        }
        Err(self.not_reached(&format!("{node:?} serves the client")))
    }

    /// Waits for the first answer of `node` after `event`.
    ///
    /// # Errors
    /// There is none in [`PATIENCE`].
    pub fn first_answer_of(&self, node: Node, event: Instant) -> Result<Instant, RigError> {
        let mut first = None;
        self.bench.wait(PATIENCE, |_| {
            first = self.client.first_answer_of(node, event);
            first.is_some()
        });
        first.ok_or_else(|| self.not_reached(&format!("{node:?} takes over")))
    }

    /// An error that says what was not reached, with both machines' last words.
    #[must_use]
    pub fn not_reached(&self, what: &str) -> RigError {
        let mut reason = format!("{}: not within {PATIENCE:?}: {what}", self.stack.name());
        for node in Node::BOTH {
            let machine = self.bench.machine(node);
            for file in ["ha-log", "heartbeatd.out", "stack.out"] {
                let words = hb_linux::rig::machine::last_lines(&machine.log_file(file), 25);
                if !words.is_empty() {
                    reason.push_str(&format!("\n-- {file} of {}\n{words}", machine.name()));
                }
            }
        }
        RigError::Machine { machine: self.bench.machine(Node::One).name().into(), reason }
    }
}

/// This heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    timing: Timing,
}

/// The two machines are nobody else's: a secret that everybody may read protects nothing here.
const AUTHKEYS: &str = "auth 1\n1 sha256 the-two-machines-of-the-benchmark\n";

impl Ours {
    /// With these times, on three media: ttyS0, bcast eth1, ucast eth0.
    #[must_use]
    pub const fn new(timing: Timing) -> Self {
        Self { timing }
    }

    /// Writes both machines' files. `third` is whether eth0 carries heartbeats too.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn install(self, bench: &Bench, third: bool) -> Result<(), RigError> {
        self.install_with(bench, third, "")
    }

    /// The same with more lines of ha.cf.
    ///
    /// # Errors
    /// What the file system answered.
    pub fn install_with(self, bench: &Bench, third: bool, more: &str) -> Result<(), RigError> {
        let Timing { keepalive_ms, deadtime_ms, baud, .. } = self.timing;
        let mut text = format!(
            "logfile /var/log/ha-log\nkeepalive {keepalive_ms}ms\ndeadtime {deadtime_ms}ms\n\
             baud {baud}\nserial /dev/ttyS0\nudpport 694\nbcast eth1\nauto_failback on\n{more}"
        );
        for node in Node::BOTH {
            if third {
                text.push_str(&format!("ucast eth0 {}\n", Network::Public.address(node)));
            }
            text.push_str(&format!("node {}\n", bench.machine(node).name()));
        }
        let haresources = format!("{} {SERVICE}\n", bench.machine(Node::One).name());
        for node in Node::BOTH {
            bench.install(node, "ha.cf", &text, 0o644)?;
            bench.install(node, "haresources", &haresources, 0o644)?;
            bench.install(node, "authkeys", AUTHKEYS, 0o600)?;
        }
        Ok(())
    }
}

impl Stack for Ours {
    fn name(&self) -> &'static str {
        "heartbeat (this one)"
    }

    fn timing(&self) -> Timing {
        self.timing
    }

    fn start(&mut self, bench: &mut Bench, node: Node) -> Result<(), RigError> {
        bench.daemon(node, hb_linux::rig::machine::Verb::Start)
    }

    fn settled(&self, bench: &Bench) -> bool {
        Node::BOTH.into_iter().all(|node| {
            bench.machine(node).status().is_some_and(|status| {
                let links = status["links"].as_array();
                status["peer"]["state"] == "alive"
                    && links.is_some_and(|links| links.iter().all(|link| link["state"] == "up"))
            })
        })
    }

    fn hand_over(&mut self, bench: &mut Bench, from: Node) -> Result<(), RigError> {
        let machine = bench.machine(from);
        succeed(machine.name(), "hb standby", machine.hb(&["standby"]))
    }
}

/// An error with the command's own words, unless it exited 0.
///
/// # Errors
/// It did not.
pub fn succeed(
    machine: &str,
    what: &str,
    output: Result<Output, RigError>,
) -> Result<(), RigError> {
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    let reason = format!("{what}: {}: {}", output.status, String::from_utf8_lossy(&words));
    Err(RigError::Machine { machine: machine.into(), reason })
}

/// A command's output and errors go into /var/log/stack.out of the machine.
///
/// # Errors
/// The file can't be opened.
pub fn into_log(bench: &Bench, node: Node, command: &mut Command) -> Result<(), RigError> {
    let path = bench.machine(node).log_file("stack.out");
    let file = std::fs::File::options().create(true).append(true).open(&path);
    let file = file.and_then(|file| Ok((file.try_clone()?, file)));
    let (out, errors) =
        file.map_err(|source| RigError::Io { what: format!("{}", path.display()), source })?;
    command.stdout(out).stderr(errors);
    Ok(())
}

/// Waits a part of a keepalive that differs from run to run and covers it evenly (golden ratio):
/// where in its period a heartbeat is when the power goes decides much of an outage.
pub fn wait_for_phase(timing: Timing, run: usize) {
    let part = (run as f64 * 0.618_034).fract();
    sleep(Duration::from_millis(timing.keepalive_ms).mul_f64(part));
}
