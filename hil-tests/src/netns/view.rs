//! What a node says of itself, from its snapshot.

use hb_linux::control::snapshot::{self, GroupState, Snapshot};
use hb_proto::event::Cause;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;
use hb_proto::time::Duration;

use crate::scenario::cluster::Machine;
use crate::scenario::rig::{Failover, Part, View};

fn named(name: &str) -> Option<Machine> {
    Machine::BOTH.into_iter().find(|machine| machine.name() == name)
}

/// A snapshot in the language's words.
pub(crate) fn view(snapshot: &Snapshot) -> View {
    let peer = match snapshot.peer.state {
        snapshot::PeerState::Unknown => PeerState::Unknown,
        snapshot::PeerState::Alive => PeerState::Alive,
        snapshot::PeerState::Late => PeerState::Late,
        snapshot::PeerState::Dead => PeerState::Dead,
        snapshot::PeerState::Left => PeerState::Left,
    };
    let link = |link: &snapshot::Link| match link.state {
        snapshot::LinkState::Up => LinkState::Up,
        snapshot::LinkState::Down => LinkState::Down,
        snapshot::LinkState::OneWay => LinkState::OneWay,
    };
    let part = |group: &snapshot::Group| match group.state {
        GroupState::Stopped => Part::Stopped,
        GroupState::Starting => Part::Starting,
        GroupState::Running => Part::Running,
        GroupState::Stopping => Part::Stopping,
        GroupState::Failed => Part::Failed,
    };
    let cause = |cause| match cause {
        snapshot::Cause::PeerDead => Cause::PeerDead,
        snapshot::Cause::PeerLeft => Cause::PeerLeft,
        snapshot::Cause::Standby => Cause::Standby,
        snapshot::Cause::Takeover => Cause::Takeover,
        snapshot::Cause::Failback => Cause::Failback,
    };
    View {
        peer,
        links: snapshot.links.iter().map(link).collect(),
        parts: snapshot.groups.iter().map(part).collect(),
        holders: snapshot
            .groups
            .iter()
            .map(|group| group.holder.as_deref().and_then(named))
            .collect(),
        stalls: snapshot.stalls.count,
        last_failover: snapshot.last_failover.as_ref().map(|failover| Failover {
            cause: cause(failover.cause),
            detection: failover.detection_ms.map(Duration::from_millis),
            takeover: failover.takeover_ms.map(Duration::from_millis),
            budget: failover.budget_ms.map(Duration::from_millis),
        }),
    }
}
