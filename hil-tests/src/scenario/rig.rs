//! What a rig must be able to do, and what it must be able to tell.

use std::fmt;
use std::path::Path;

use hb_proto::event::Cause;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;
use hb_proto::time::{Duration, Instant};

use super::cluster::{Cluster, Machine};
use super::phrase::Phrase;
use super::verb::Verb;

/// A verb or an observer that a rig doesn't have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Its name.
    pub verb: &'static str,
    /// Why this rig can't.
    pub why: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs verb {}: {}", self.verb, self.why)
    }
}

/// Why a rig didn't do something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cannot {
    /// It never can.
    Missing(Missing),
    /// The cluster refused an operator's command; its own words.
    Refused(String),
    /// It broke.
    Broken(String),
}

impl From<Missing> for Cannot {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

/// The outcome of a verb.
pub type Done = Result<(), Cannot>;

/// What was seen of a resource on a machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Deed {
    /// A start began. Addresses have none.
    Starting,
    /// From here on the machine has it.
    Held,
    /// The same, and it wasn't heartbeat that started it.
    Outside,
    /// A start ended, and the machine doesn't have it.
    StartFailed,
    /// A stop began. Addresses have none.
    Stopping,
    /// From here on the machine doesn't have it, power loss included.
    Released,
}

/// A line of the rig's own journal of resources: the truth that holders are judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// In rig time.
    pub at: Instant,
    /// Where.
    pub machine: Machine,
    /// Number of the group.
    pub group: usize,
    /// Position in the group.
    pub resource: usize,
    /// What.
    pub deed: Deed,
}

/// A node's part in a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// Runs none of it.
    Stopped,
    /// Is starting it.
    Starting,
    /// Runs all of it.
    Running,
    /// Is stopping it.
    Stopping,
    /// Couldn't start it, or couldn't stop it.
    Failed,
}

/// What a node says of itself; none of it decides who holds a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Its peer, as it sees it.
    pub peer: PeerState,
    /// Its links, in the order of [`Cluster::links`].
    pub links: Vec<LinkState>,
    /// Its part in each group.
    pub parts: Vec<Part>,
    /// Who runs each group, as far as it knows.
    pub holders: Vec<Option<Machine>>,
    /// Stalls of its own that it noticed.
    pub stalls: u64,
    /// The newest move of a group to it.
    pub last_failover: Option<Failover>,
}

/// A node's own measurement of a move, against what was promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failover {
    /// Why it moved.
    pub cause: Cause,
    /// From the peer's last frame to the judgement, if something had to be detected.
    pub detection: Option<Duration>,
    /// From the judgement or the command until the group runs.
    pub takeover: Option<Duration>,
    /// What the configuration promises for both, for causes that have a promise.
    pub budget: Option<Duration>,
}

/// A group's move as a machine told it when it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// When it was told.
    pub at: Instant,
    /// Number of the group.
    pub group: usize,
    /// Whether the peer was taken for dead.
    pub peer_dead: bool,
    /// From the peer's last frame, or the command, until the group ran, by the node's own clock.
    pub took: Duration,
}

/// Where a line of the merged timeline comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// The story: verbs and expectations.
    Story,
    /// A machine's log.
    Log(Machine),
    /// A machine's resources, as the rig sees them.
    Resources(Machine),
    /// The client.
    Client,
    /// The dongle, and what its outputs did.
    Dongle,
    /// A machine's console: what its kernel says.
    Console(Machine),
    /// What was on the wires.
    Wire,
    /// The host that the rig runs on.
    Host,
}

/// A line of the merged timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// In rig time.
    pub at: Instant,
    /// Who says it.
    pub source: Source,
    /// What.
    pub text: String,
}

/// A place where a story can happen: two machines, their wires, a client.
///
/// Rig time is microseconds since the rig was made; it runs on its own on real machines, and in
/// [`Rig::run_for`] alone in a simulator.
pub trait Rig {
    /// `netns`, `sim`, …
    fn name(&self) -> &'static str;

    /// The cluster as this rig's machines can be: theirs may not have a watchdog as quick as a story asks for.
    fn fit(&self, cluster: Cluster) -> Cluster {
        cluster
    }

    /// Whether a story makes sense here at all. A rig whose verbs are there, but whose machines are not what the story
    /// is about, says so.
    ///
    /// # Errors
    /// Why it doesn't.
    fn tells(&self, story: &str) -> Result<(), Missing> {
        let _ = story;
        Ok(())
    }

    /// Makes the cluster: configured, without power, with the client asking. Called once.
    ///
    /// # Errors
    /// Something the story asks for is missing here, or the rig broke.
    fn build(&mut self, cluster: &Cluster) -> Done;

    /// Lets something happen; returns as soon as it has.
    ///
    /// # Errors
    /// This rig lacks the verb, or broke.
    fn act(&mut self, verb: Verb) -> Done;

    /// Rig time.
    fn now(&self) -> Instant;

    /// Lets time pass. Ends early for nothing.
    fn run_for(&mut self, span: Duration);

    /// How often a story looks whether what it waits for has come about.
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(10)
    }

    /// What the host of this rig adds to a limit that counts from `since`: nothing in a simulator.
    /// Time in which a busy host let nobody run is no verdict on the cluster.
    fn slack(&self, since: Instant) -> Duration {
        let _ = since;
        Duration::ZERO
    }

    /// Why what was missed since `since` may say nothing of the cluster, for a person: the host under
    /// the rig let it wait meanwhile. Never in a simulator.
    fn doubts(&self, since: Instant) -> Option<String> {
        let _ = since;
        None
    }

    /// Two journal entries of different sources closer than this may be in either order.
    fn resolution(&self) -> Duration {
        Duration::ZERO
    }

    /// The journal so far, by time. Only grows; not even power loss takes a line away.
    fn journal(&mut self) -> Vec<Entry>;

    /// Whether the machine has power and its daemon runs.
    fn daemon_runs(&mut self, machine: Machine) -> bool;

    /// What the node says of itself; None while it says nothing.
    fn view(&mut self, machine: Machine) -> Option<View>;

    /// Whether every voter's promise of the group counts for the machine now, the dongle's too where there is
    /// one, as far as the node says. Where a rig can't ask, it is taken for true.
    fn has_all_votes(&mut self, machine: Machine, group: usize) -> bool {
        let _ = (machine, group);
        true
    }

    /// Who answers a client that asks for this group's address now. `Err` when this rig has no
    /// client for this group: [`Rig::journal`] decides alone then.
    ///
    /// # Errors
    /// As said.
    fn answering(&mut self, group: usize) -> Result<Option<Machine>, Missing>;

    /// The longest time between `from` and now in which a client of this group wasn't served.
    ///
    /// # Errors
    /// There is no client for this group.
    fn dark(&mut self, group: usize, from: Instant) -> Result<Duration, Missing>;

    /// The first time at or after `from` at which a client could tell that two machines had this
    /// group's address at once.
    ///
    /// # Errors
    /// There is no client for this group.
    fn overlap(&mut self, group: usize, from: Instant) -> Result<Option<Instant>, Missing>;

    /// When the machine told its neighbours, unasked, that it has the group's address: gratuitous
    /// ARP on the wire.
    ///
    /// # Errors
    /// This rig doesn't see that.
    fn announcements(&mut self, machine: Machine, group: usize) -> Result<Vec<Instant>, Missing>;

    /// How often the machine's log had this phrase at or after `since`.
    ///
    /// # Errors
    /// This rig keeps no log of this.
    fn told(&mut self, machine: Machine, phrase: &Phrase, since: Instant)
    -> Result<usize, Missing>;

    /// The moves of groups to this machine, as it told them.
    ///
    /// # Errors
    /// This rig doesn't hear of that.
    fn moves(&mut self, machine: Machine) -> Result<Vec<Moved>, Missing>;

    /// Frames that a node took twice, for a person: none, if all is well.
    ///
    /// # Errors
    /// This rig can't tell.
    fn accepted_twice(&mut self) -> Result<Vec<String>, Missing>;

    /// What went wrong unasked: daemons that ended though no verb ended them, panics, lines that
    /// must never be in a log. For a person.
    fn complaints(&mut self) -> Vec<String>;

    /// How many resets of machines since `since` had a pin of an emulated dongle as their cause, by the trace of that pin,
    /// and how many the machines' own watchdogs. `None` where there is no such trace. A reset with neither is among
    /// [`Rig::complaints`].
    fn resets_by_pin(&mut self, since: Instant) -> Option<(usize, usize)> {
        let _ = since;
        None
    }

    /// Everything this rig knows, for the merged timeline, in any order; the story's own lines
    /// are not the rig's.
    fn timeline(&mut self) -> Vec<Moment>;

    /// Writes all evidence into a directory: logs, statuses, traces.
    ///
    /// # Errors
    /// What the file system answered, in words.
    fn keep(&mut self, directory: &Path) -> Result<(), String>;
}
