//! What `hb status` is told: the node's state as a snapshot.

use std::borrow::Cow;

use hb_proto::authority::Stance;
use hb_proto::event::Cause as ProtoCause;
use hb_proto::event::Failover as ProtoFailover;
use hb_proto::group::Phase;
use hb_proto::id::{GroupId, LinkId, Voter};
use hb_proto::link::LinkState as ProtoLinkState;
use hb_proto::node::Node;
use hb_proto::peer::PeerState as ProtoPeerState;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::Reject;
use hb_proto::wire::message::Life;

use super::dongle::Dongle;
use super::third_voter;
use super::watch::Watch;
use crate::config::{Medium, Settings};
use crate::control::snapshot::{
    Cause, Configuration, Digest, Failover, Group, GroupState, KeyUse, Link, LinkKind, LinkState,
    NodeState, Peer, PeerState, RoundTrip, Snapshot, Stalls,
};

/// The whole snapshot. Allocates: made only when somebody asks.
pub fn snapshot(
    node: &Node,
    settings: &Settings,
    (watch, dongle): (&Watch, Option<&Dongle>),
    now: Instant,
) -> Snapshot {
    let statistics = node.statistics();
    Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: settings.node.clone(),
        state: state(node),
        peer: Peer {
            name: settings.peer.clone(),
            state: peer_state(node.peer().state()),
            last_heard_ms: node.peer().heard_at().map(|at| now.since(at).millis()),
        },
        links: (0..settings.media.len())
            .map(|at| link(node, settings, at, now))
            .zip(names(settings))
            .map(named)
            .collect(),
        groups: settings
            .groups
            .iter()
            .zip(0..)
            .map(|(line, id)| group(node, settings, line, GroupId(id), now))
            .collect(),
        arbiter: third_voter::arbiter(node, settings, now),
        watchdog: watch.snapshot(),
        last_failover: statistics.last_failover.as_ref().and_then(failover),
        stalls: Stalls {
            count: u64::from(statistics.stalls),
            longest_ms: (statistics.stalls > 0).then(|| statistics.longest_stall.millis()),
        },
        configuration: Some(configuration(node)),
        dongle: dongle.map(|dongle| dongle.snapshot(node, settings, now)),
        keys: settings.keys.iter().map(|key| key_use(node, settings, key.id)).collect(),
    }
}

fn key_use(node: &Node, settings: &Settings, id: u8) -> KeyUse {
    let name = |voter| match voter {
        Voter::Arbiter => "arbiter",
        node => third_voter::name_of(settings, node),
    };
    KeyUse { id, needed_by: node.key_user(id).map(|voter| name(voter).to_owned()) }
}

fn configuration(node: &Node) -> Configuration {
    let (ours, peers) = (node.config().digests, node.peer_digests());
    Configuration {
        haresources: Digest::new(ours.haresources, peers.map(|peers| peers.haresources)),
        settings: Digest::new(ours.settings, peers.map(|peers| peers.settings)),
    }
}

fn state(node: &Node) -> NodeState {
    let runs = |group| node.stance(GroupId(group)) == Stance::Running;
    let groups = 0..node.config().groups.len() as u8;
    if node.life() != Life::Up {
        NodeState::Leaving
    } else if !node.is_clean() || node.peer().state() == ProtoPeerState::Unknown {
        NodeState::Starting
    } else if groups.into_iter().any(runs) {
        NodeState::Active
    } else {
        NodeState::Standby
    }
}

const fn peer_state(state: ProtoPeerState) -> PeerState {
    match state {
        ProtoPeerState::Unknown => PeerState::Unknown,
        ProtoPeerState::Alive => PeerState::Alive,
        ProtoPeerState::Late => PeerState::Late,
        ProtoPeerState::Dead => PeerState::Dead,
        ProtoPeerState::Left => PeerState::Left,
    }
}

fn names(settings: &Settings) -> impl Iterator<Item = String> + '_ {
    settings.media.iter().map(Medium::name)
}

fn named((link, name): (Link, String)) -> Link {
    Link { name, ..link }
}

fn link(node: &Node, settings: &Settings, at: usize, now: Instant) -> Link {
    use hb_proto::config::LinkKind as Kind;
    let id = LinkId(at as u8);
    let statistics = node.link_statistics(id).cloned().unwrap_or_default();
    let state = node.link(id).map(hb_proto::link::Link::state).unwrap_or_default();
    let heard = statistics.received > 0;
    let rejected = Reject::ALL.iter().filter(|&&reason| reason != Reject::Own);
    let rejected = rejected.filter_map(|reason| {
        let count = statistics.rejected[reason.index()];
        (count > 0).then_some((Cow::Borrowed(reason.name()), count))
    });
    Link {
        name: String::new(),
        kind: match node.config().links[at] {
            Kind::Serial { .. } => LinkKind::Serial,
            Kind::Broadcast => LinkKind::Bcast,
            Kind::Unicast if matches!(settings.media[at], Medium::Ppp { .. }) => LinkKind::PppUdp,
            Kind::Unicast => LinkKind::Ucast,
            Kind::Multicast => LinkKind::Mcast,
        },
        state: match state {
            ProtoLinkState::Up => LinkState::Up,
            ProtoLinkState::OneWay => LinkState::OneWay,
            ProtoLinkState::Down => LinkState::Down,
        },
        rtt_us: RoundTrip {
            p50: statistics.rtt(50).map(Duration::micros),
            p99: statistics.rtt(99).map(Duration::micros),
        },
        jitter_us: statistics.jitter.map(Duration::micros),
        longest_gap_ms: heard.then(|| statistics.longest_gap.millis()),
        // Four digits: a share of at most 128 frames has no more to say.
        loss: statistics
            .loss(now, node.peer_keepalive())
            .map(|loss| (f64::from(loss) * 1e4).round() / 1e4),
        sent: statistics.sent,
        received: statistics.received,
        rejected: rejected.collect(),
    }
}

fn group(
    node: &Node,
    settings: &Settings,
    line: &crate::config::GroupLine,
    id: GroupId,
    now: Instant,
) -> Group {
    let holder = node.holder(id);
    let name_of = |voter: Voter| if voter == settings.me { &settings.node } else { &settings.peer };
    let here = node.group(id);
    let failed = here.is_some_and(|group| group.has_failed() || group.is_overdue());
    let state = match here.map(hb_proto::group::Group::phase) {
        _ if holder.is_some_and(|voter| voter != settings.me) => GroupState::Running,
        Some(Phase::Starting(_)) => GroupState::Starting,
        Some(Phase::Running) => GroupState::Running,
        Some(Phase::Stopping(_)) if !failed => GroupState::Stopping,
        _ if failed => GroupState::Failed,
        _ => GroupState::Stopped,
    };
    Group {
        name: line.name().to_owned(),
        preferred: line.node.clone(),
        holder: holder.map(|voter| name_of(voter).clone()),
        state,
        authority: third_voter::authority(node, id, now),
        obstacle: third_voter::obstacle(node, settings, id, now),
        votes: third_voter::votes(node, settings, id, now),
    }
}

fn failover(failover: &ProtoFailover) -> Option<Failover> {
    let cause = match failover.cause {
        // Deaf is dead, for whoever waits for the service: the arbiter's votes decided either way.
        ProtoCause::PeerDead | ProtoCause::PeerDeaf => Cause::PeerDead,
        ProtoCause::PeerLeft => Cause::PeerLeft,
        // Either way the peer gives it up and stays.
        ProtoCause::Standby | ProtoCause::PeerFailed => Cause::Standby,
        ProtoCause::Takeover => Cause::Takeover,
        ProtoCause::Failback => Cause::Failback,
        // Neither is a group's move to this node.
        ProtoCause::Startup
        | ProtoCause::PeerWants
        | ProtoCause::Leave
        | ProtoCause::AuthorityLost => return None,
    };
    Some(Failover {
        cause,
        detection_ms: failover.detection.map(Duration::millis),
        takeover_ms: Some(failover.takeover.millis()),
        // Nothing was promised where guard is unbounded and nobody can be fenced.
        budget_ms: (failover.budget < Duration::MAX).then(|| failover.budget.millis()),
    })
}
