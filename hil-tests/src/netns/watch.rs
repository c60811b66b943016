//! A pair with a dongle that is asked what it says of itself: for tests of what `hb status` shows.

use std::time::{Duration as StdDuration, Instant};

use hb_linux::rig::bench::{Bench, Node};
use hb_proto::time::Duration;
use serde_json::{Value, json};

use super::rig::Namespaces;
use crate::inside::{evidence, programs};
use crate::scenario::runner::merged;
use crate::scenario::verb::Verb;
use crate::scenario::{Cluster, Dongle, Machine, Rig};

/// Whatever a busy host does: the dongle's own watchdog, two promises, a machine's start.
const PATIENCE: StdDuration = StdDuration::from_secs(40);

/// The rig, and questions to its daemons. Make it inside [`crate::inside::inside`].
#[derive(Debug)]
pub struct Watch {
    /// For verbs, and what they can't say.
    pub rig: Namespaces,
    /// What it was built of: one address at home on A, watchdogs of 1 s, the dongle.
    pub cluster: Cluster,
}

/// A test that panics leaves what the rig knows.
impl Drop for Watch {
    fn drop(&mut self) {
        let Some(place) = std::thread::panicking().then(evidence).flatten() else { return };
        let timeline = merged(self.rig.timeline());
        let kept = std::fs::create_dir_all(&place)
            .and_then(|()| std::fs::write(place.join("timeline"), timeline))
            .map_err(|error| error.to_string());
        if let Err(problem) = kept.and_then(|()| self.rig.keep(&place)) {
            eprintln!("{}: not all evidence could be kept: {problem}", place.display());
        }
    }
}

impl Watch {
    /// Configured, without power.
    ///
    /// # Panics
    /// The rig can't be made.
    #[must_use]
    pub fn build(dongle: Dongle) -> Self {
        let pair = Cluster::two_nodes().address_group("web", Machine::A).watchdog_s(Some(1));
        let cluster = pair.dongle(dongle);
        let mut watch = Self { rig: Namespaces::new(programs().clone()), cluster };
        watch.rig.build(&watch.cluster).expect("a rig");
        watch
    }

    /// Both machines on; A serves, and both others vote for it.
    ///
    /// # Panics
    /// It doesn't come to that.
    #[must_use]
    pub fn begin(dongle: Dongle) -> Self {
        let mut watch = Self::build(dongle);
        watch.act(Verb::PowerOn(Machine::A));
        watch.act(Verb::PowerOn(Machine::B));
        watch.until(Machine::A, "both vote", |a| from(a) == json!(["peer", "arbiter"]));
        watch
    }

    /// The rig under it.
    ///
    /// # Panics
    /// Never: it is built.
    #[must_use]
    pub fn bench(&self) -> &Bench {
        self.rig.bench().expect("built")
    }

    /// Lets something happen.
    ///
    /// # Panics
    /// The rig can't, or the cluster refuses.
    pub fn act(&mut self, verb: Verb) {
        self.rig.act(verb).unwrap_or_else(|cannot| panic!("{verb}: {cannot:?}"));
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) {
        self.rig.run_for(span);
    }

    /// What `hb status --json` says on a machine; none while it says nothing.
    #[must_use]
    pub fn status(&self, machine: Machine) -> Option<Value> {
        self.bench().machine(Node::BOTH[machine.index()]).status()
    }

    /// What a machine's log says, over all its lives.
    #[must_use]
    pub fn log(&self, machine: Machine) -> String {
        self.bench().machine(Node::BOTH[machine.index()]).ha_log()
    }

    /// Waits until the machine's status is so.
    ///
    /// # Panics
    /// It isn't within 40 s; shows the last one.
    pub fn until(&mut self, machine: Machine, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status(machine);
            match status {
                Some(status) if is(&status) => return status,
                other => assert!(Instant::now() < end, "{machine}: not {what}: {other:#?}"),
            }
            self.run_for(Duration::from_millis(20));
        }
    }
}

/// Whose votes count for the first group.
#[must_use]
pub fn from(status: &Value) -> Value {
    status["groups"][0]["authority"]["from"].clone()
}
