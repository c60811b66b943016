//! The third voter in the snapshot: who votes, until when, and what is in the way.

use hb_proto::id::{GroupId, Voter};
use hb_proto::node::{ArbiterState as ProtoState, Node, Obstacle as ProtoObstacle};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{NodeSeen, Shown};

use crate::config::Settings;
use crate::control::snapshot::{self, Arbiter, ArbiterState, Authority, Obstacle};

/// The arbiter's part of the snapshot; `None` without one configured.
pub(super) fn arbiter(node: &Node, settings: &Settings, now: Instant) -> Option<Arbiter> {
    let report = node.arbiter(now)?;
    let hears = [Voter::A, Voter::B].map(|voter| {
        let seen = report.status.map(|status| status.nodes[voter.index()]);
        (name_of(settings, voter).to_owned(), seen.and_then(|seen| silence(&seen)))
    });
    let promises = settings.groups.iter().zip(0..).map(|(line, id)| {
        let shown = report.status.map(|status| status.promisees.shown(GroupId(id)));
        let to = match shown {
            None | Some(Shown::Nobody) => None,
            Some(Shown::Withheld) => Some("unknown".to_owned()),
            Some(shown) => shown.promisee().map(|voter| name_of(settings, voter).to_owned()),
        };
        (line.name().to_owned(), to)
    });
    Some(Arbiter {
        state: match report.state {
            ProtoState::Absent => ArbiterState::Absent,
            ProtoState::Present => ArbiterState::Present,
            ProtoState::Lost => ArbiterState::Lost,
        },
        id: report.settings.map(|settings| settings.id),
        boot: report.boot.map(hb_proto::id::BootId::value),
        uptime_s: report.status.map(|status| status.uptime_s),
        hears: hears.into_iter().collect(),
        promises: promises.collect(),
        last_heard_ms: report.silent.map(Duration::millis),
        direct: report.direct,
        agreed: report.agreed,
    })
}

fn name_of(settings: &Settings, voter: Voter) -> &str {
    if voter == settings.me { &settings.node } else { &settings.peer }
}

/// Milliseconds since the arbiter heard a node, by its own word.
fn silence(seen: &NodeSeen) -> Option<u64> {
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

/// What keeps this node from a group, in plain words.
pub(super) fn obstacle(
    node: &Node,
    settings: &Settings,
    group: GroupId,
    now: Instant,
) -> Option<Obstacle> {
    let peer = &settings.peer;
    let (what, ends_in) = match node.obstacle(group, now)? {
        ProtoObstacle::OwnPromise { ends_in } => {
            (format!("this node has promised it to {peer}"), ends_in)
        }
        ProtoObstacle::ArbiterPromise { to: Some(_), ends_in } => {
            (format!("the arbiter has promised it to {peer}"), ends_in)
        }
        ProtoObstacle::ArbiterPromise { to: None, ends_in } => (
            "the arbiter has lost its memory and may have promised it to either node".to_owned(),
            ends_in,
        ),
        ProtoObstacle::ArbiterAbsent { state } => (
            format!(
                "the arbiter is {} and {peer} does not vote: if {peer} is surely off, \
                 `hb takeover --peer-is-off`",
                state.name()
            ),
            None,
        ),
        ProtoObstacle::ArbiterGuard => (
            "the arbiter still goes by a shorter guard than this node's; it learns it when it hears us"
                .to_owned(),
            None,
        ),
        ProtoObstacle::NoAgreement => {
            (format!("{peer} does not announce the same arbiter, and may run it as well"), None)
        }
    };
    Some(Obstacle { what, ends_in_ms: ends_in.map(Duration::millis) })
}
