//! The third voter in the snapshot: who votes for whom, until when, and what is in the way.

use std::collections::BTreeMap;
use std::fmt;

use hb_proto::authority::Promisee;
use hb_proto::id::{GroupId, Voter};
use hb_proto::node::{ArbiterReport, ArbiterState as ProtoState, Node, Obstacle as ProtoObstacle};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{ArbiterStatus, FenceShown, LineShown, NodeSeen, Shown};

use crate::config::Settings;
use crate::control::snapshot::{self, Arbiter, ArbiterState, Authority, Obstacle, ResetLine, Vote};

/// Who is meant by a promise that its giver has forgotten (R8).
const UNKNOWN: &str = "unknown";
/// Whose vote it is in the list of votes, beside the nodes' names.
const ARBITER: &str = "arbiter";

pub(super) fn name_of(settings: &Settings, voter: Voter) -> &str {
    if voter == settings.me { &settings.node } else { &settings.peer }
}

/// What the arbiter said, unless it is too old to be true.
fn present_status(report: &ArbiterReport) -> Option<ArbiterStatus> {
    report.status.filter(|_| report.state == ProtoState::Present)
}

/// The arbiter's part of the snapshot; `None` without one configured.
pub(super) fn arbiter(node: &Node, settings: &Settings, now: Instant) -> Option<Arbiter> {
    let report = node.arbiter(now)?;
    let status = present_status(&report);
    let per_node = |voter: Voter| status.map(|status| status.nodes[voter.index()]);
    let nodes =
        [Voter::A, Voter::B].map(|voter| (name_of(settings, voter).to_owned(), per_node(voter)));
    let promises = settings.groups.iter().zip(0..).map(|(line, id)| {
        let shown = status.map(|status| status.promisees.shown(GroupId(id)));
        (line.name().to_owned(), shown.and_then(|shown| promisee(settings, shown)))
    });
    let fed = |(name, seen): &(String, Option<NodeSeen>)| {
        seen.is_some_and(|seen| seen.feeds).then(|| name.clone())
    };
    Some(Arbiter {
        state: match report.state {
            ProtoState::Absent => ArbiterState::Absent,
            ProtoState::Present => ArbiterState::Present,
            ProtoState::Lost => ArbiterState::Lost,
        },
        id: report.settings.map(|settings| settings.id),
        boot: report.boot.map(hb_proto::id::BootId::value),
        uptime_s: status.map(|status| status.uptime_s),
        hears: nodes.iter().map(|(name, seen)| (name.clone(), seen.and_then(silence))).collect(),
        promises: promises.collect(),
        last_heard_ms: report.silent.map(Duration::millis),
        direct: report.direct,
        agreed: report.agreed,
        power_from: nodes.iter().filter_map(fed).collect(),
        reset_lines: reset_lines(node, &nodes),
        fences: nodes
            .iter()
            .map(|(name, seen)| (name.clone(), seen.and_then(fence_in_a_word)))
            .collect(),
    })
}

/// What is known of the lines that `reset_lines` announces; empty where ha.cf has none.
fn reset_lines(
    node: &Node,
    nodes: &[(String, Option<NodeSeen>); 2],
) -> BTreeMap<String, Option<ResetLine>> {
    let wired = node.config().arbiter.is_some_and(|arbiter| arbiter.fence.is_some());
    let line = |seen: NodeSeen| match seen.line {
        LineShown::Untested => ResetLine::Untested,
        LineShown::Commissioned => ResetLine::Tested,
        LineShown::Miswired => ResetLine::Miswired,
    };
    nodes.iter().filter(|_| wired).map(|(name, seen)| (name.clone(), seen.map(line))).collect()
}

fn fence_in_a_word(seen: NodeSeen) -> Option<String> {
    match seen.fence {
        FenceShown::None => None,
        FenceShown::Sent => Some("sent".to_owned()),
        FenceShown::Confirmed => Some("confirmed".to_owned()),
    }
}

fn promisee(settings: &Settings, shown: Shown) -> Option<String> {
    match shown {
        Shown::Nobody => None,
        Shown::Withheld => Some(UNKNOWN.to_owned()),
        shown => shown.promisee().map(|voter| name_of(settings, voter).to_owned()),
    }
}

/// Milliseconds since the arbiter heard a node, by its own word.
fn silence(seen: NodeSeen) -> Option<u64> {
    seen.heard.then(|| u64::from(seen.silent_10ms) * 10)
}

/// Whose votes allow a group here; `None` without an arbiter.
pub(super) fn authority(node: &Node, group: GroupId, now: Instant) -> Option<Authority> {
    node.config().arbiter?;
    let authority = node.authority(group, now);
    let votes = [
        (authority.peer.is_some(), snapshot::Voter::Peer),
        (authority.arbiter.is_some(), snapshot::Voter::Arbiter),
        (authority.human, snapshot::Voter::Human),
    ];
    Some(Authority {
        from: votes.into_iter().filter_map(|(counts, voter)| counts.then_some(voter)).collect(),
        expires_in_ms: authority.expires_in.map(Duration::millis),
    })
}

/// Every vote for a group that this node knows of: its own promise, and those that it may count. Where it
/// may count none, what the arbiter shows to others, whose end is theirs to know.
pub(super) fn votes(
    node: &Node,
    settings: &Settings,
    group: GroupId,
    now: Instant,
) -> BTreeMap<String, Vote> {
    let mut votes = BTreeMap::new();
    let Some(report) = node.arbiter(now) else { return votes };
    let me = settings.node.as_str();
    let authority = node.authority(group, now);
    let counted = |left: Duration| Vote { to: me.to_owned(), ends_in_ms: Some(left.millis()) };
    if let Some(left) = authority.peer {
        votes.insert(settings.peer.clone(), counted(left));
    }
    let shown = present_status(&report).map(|status| status.promisees.shown(group));
    let other = shown.and_then(|shown| promisee(settings, shown));
    let other = other.filter(|to| to != me).map(|to| Vote { to, ends_in_ms: None });
    if let Some(vote) = authority.arbiter.map(counted).or(other) {
        votes.insert(ARBITER.to_owned(), vote);
    }
    let promises = node.promises(group);
    if let Some(to) = promises.promised_to(now) {
        let to = match to {
            Promisee::To(voter) => name_of(settings, voter),
            Promisee::Unknown => UNKNOWN,
        };
        let ends = promises.promise_ends().filter(|&ends| ends < Instant::NEVER);
        let ends_in_ms = ends.map(|ends| ends.since(now).millis());
        votes.insert(me.to_owned(), Vote { to: to.to_owned(), ends_in_ms });
    }
    votes
}

/// What keeps this node from a group, in plain words.
pub(super) fn obstacle(
    node: &Node,
    settings: &Settings,
    group: GroupId,
    now: Instant,
) -> Option<Obstacle> {
    let obstacle = node.obstacle(group, now)?;
    let ends_in = ends_in(&obstacle);
    let what = InWords::of(&obstacle, node, &settings.peer).to_string();
    Some(Obstacle { what, ends_in_ms: ends_in.map(Duration::millis) })
}

/// When an obstacle goes by itself; `None` when it doesn't, or nobody can tell.
pub(super) const fn ends_in(obstacle: &ProtoObstacle) -> Option<Duration> {
    match *obstacle {
        ProtoObstacle::OwnPromise { ends_in } | ProtoObstacle::ArbiterPromise { ends_in, .. } => {
            ends_in
        }
        ProtoObstacle::PeerUnknown { ends_in } => Some(ends_in),
        ProtoObstacle::ArbiterAbsent { .. }
        | ProtoObstacle::ArbiterGuard
        | ProtoObstacle::NoAgreement => None,
    }
}

/// An obstacle as log and status say it, without its time.
pub(super) struct InWords<'a> {
    obstacle: &'a ProtoObstacle,
    peer: &'a str,
    peer_is_gone: bool,
}

impl<'a> InWords<'a> {
    pub(super) fn of(obstacle: &'a ProtoObstacle, node: &Node, peer: &'a str) -> Self {
        Self { obstacle, peer, peer_is_gone: node.peer().state().is_gone() }
    }
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer;
        match self.obstacle {
            ProtoObstacle::OwnPromise { .. } => write!(f, "this node has promised it to {peer}"),
            ProtoObstacle::PeerUnknown { .. } => {
                write!(f, "{peer} was never heard: it may be starting, and is waited for (initdead)")
            }
            ProtoObstacle::ArbiterPromise { to: Some(_), .. } => {
                write!(f, "the arbiter has promised it to {peer}")
            }
            ProtoObstacle::ArbiterPromise { to: None, .. } => {
                f.write_str("the arbiter may have promised it to either node, and no longer knows")
            }
            ProtoObstacle::ArbiterAbsent { state } if !self.peer_is_gone => write!(
                f,
                "the arbiter is {}, and {peer}'s vote does not count here: its guard is shorter, or it does not \
                 hear us",
                state.name()
            ),
            ProtoObstacle::ArbiterAbsent { state } => write!(
                f,
                "neither {peer} nor the arbiter ({}) votes. If {peer}'s machine is surely off: \
                 `hb takeover --peer-is-off`",
                state.name()
            ),
            ProtoObstacle::ArbiterGuard => f.write_str(
                "the arbiter goes by a shorter guard than this node; it learns ours when it hears us",
            ),
            ProtoObstacle::NoAgreement => {
                write!(f, "{peer} does not announce the same arbiter, and may run it as well")
            }
        }
    }
}

#[cfg(test)]
mod tests;
