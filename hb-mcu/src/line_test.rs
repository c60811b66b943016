//! The test that makes a reset line count as wired (R12): a pulse that ends this node's life, and no other's.

use hb_proto::arbiter::Arbiter;
use hb_proto::authority::Promisee;
use hb_proto::id::{BootId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::GroupState;

/// A machine that has not come back by then is looked for by a person.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a reset line is not tested now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestRefused {
    /// It is no node's.
    NotANode,
    /// Another test is under way.
    UnderWay,
    /// This node is not heard, so nobody could see that the pulse reached it.
    NotHeard,
    /// This node may be running something. Standby first.
    InUse,
}

/// A test under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineTest {
    node: Voter,
    began: Instant,
    /// The lives of A and B when it began.
    lives: [Option<BootId>; 2],
}

impl LineTest {
    /// Whether it may begin, and its beginning.
    pub(crate) fn begin(arbiter: &Arbiter, now: Instant, node: Voter) -> Result<Self, TestRefused> {
        if !node.is_node() {
            return Err(TestRefused::NotANode);
        }
        let ledger = arbiter.ledger();
        if !ledger.is_fresh(node, now) {
            return Err(TestRefused::NotHeard);
        }
        let to_it = Some(Promisee::To(node));
        if ledger.groups().any(|group| ledger.promises(group).promised_to(now) == to_it) {
            return Err(TestRefused::InUse);
        }
        // By its own word: while the arbiter is bound to *unknown*, its peer's promise lets it run.
        let groups = ledger.voice(node).map(|voice| voice.groups);
        let in_use = |group| {
            groups.is_none_or(|groups| {
                matches!(groups.state(group), GroupState::Asking | GroupState::Running)
            })
        };
        if ledger.groups().any(in_use) {
            return Err(TestRefused::InUse);
        }
        Ok(Self { node, began: now, lives: lives(arbiter) })
    }

    /// Whose line.
    #[must_use]
    pub const fn node(&self) -> Voter {
        self.node
    }

    /// Whether the line is proved, once that is known.
    pub(crate) fn outcome(&self, arbiter: &Arbiter, now: Instant) -> Option<bool> {
        let lives = lives(arbiter);
        let restarted = |node: Voter| lives[node.index()] > self.lives[node.index()];
        if restarted(self.node.peer()) {
            // It hit the other one, or that one restarted by itself: try again.
            return Some(false);
        }
        if restarted(self.node) {
            return Some(true);
        }
        (now.since(self.began) >= PATIENCE).then_some(false)
    }
}

fn lives(arbiter: &Arbiter) -> [Option<BootId>; 2] {
    [Voter::A, Voter::B].map(|node| arbiter.ledger().voice(node).map(|voice| voice.newest.boot))
}
