//! Things a log must say, once for every rig: as text of ha-log, and as hb-proto's event.

use hb_proto::event::{Cause, Event};
use hb_proto::group::Change;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;

use super::cluster::{Cluster, Link, Machine};

/// A thing worth telling. The words are the classics' where they had any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phrase {
    /// `node X: is dead`.
    PeerDead,
    /// `node X: has left in good order`.
    PeerLeft,
    /// `Cluster node X returning after partition.`
    ReturningAfterPartition,
    /// `Link X:L dead.`
    LinkDown(Link),
    /// `Link X:L up.`
    LinkUp(Link),
    /// `Link X:L one-way`.
    LinkOneWay(Link),
    /// `Acquiring resource group`.
    Acquiring,
    /// `Releasing resource group`.
    Releasing,
    /// `Both machines own our resources!`
    BothOwn,
    /// `mach_down takeover complete`.
    TakeoverComplete,
    /// `Standby resource acquisition done`.
    StandbyDone,
    /// `haresources differs`.
    Mismatch,
    /// `X runs already`.
    FoundRunning,
    /// `start failed`.
    StartFailed,
    /// `took too long`.
    TimedOut,
    /// `No one owns resource group`.
    NobodyOwns,
    /// `this process was not scheduled`.
    Stalled,
    /// `authority over X is lost`.
    AuthorityLost,
    /// `frame dropped`.
    FrameDropped,
}

impl Phrase {
    /// Whether a line of `machine`'s ha-log says it.
    #[must_use]
    pub fn is_in(&self, line: &str, machine: Machine) -> bool {
        let peer = machine.other();
        let link = |link: &Link, how: &str| {
            let name = match link {
                Link::Serial(number) => format!("/dev/ttyS{number}"),
                Link::Private | Link::Public => link.to_string(),
            };
            line.contains(&format!("Link {peer}:{name} {how}"))
        };
        match self {
            Self::PeerDead => line.contains(&format!("node {peer}: is dead")),
            Self::PeerLeft => line.contains(&format!("node {peer}: has left")),
            Self::ReturningAfterPartition => line.contains("returning after partition"),
            Self::LinkDown(which) => link(which, "dead."),
            Self::LinkUp(which) => link(which, "up."),
            Self::LinkOneWay(which) => link(which, "one-way"),
            Self::Acquiring => line.contains("Acquiring resource group"),
            Self::Releasing => line.contains("Releasing resource group"),
            Self::BothOwn => line.contains("Both machines own our resources!"),
            Self::TakeoverComplete => line.contains("mach_down takeover complete"),
            Self::StandbyDone => line.contains("Standby resource acquisition done"),
            Self::Mismatch => line.contains("haresources differs"),
            Self::FoundRunning => line.contains("runs already"),
            Self::StartFailed => line.contains("start failed"),
            Self::TimedOut => line.contains("took too long"),
            Self::NobodyOwns => line.contains("No one owns resource group"),
            Self::Stalled => line.contains("was not scheduled for"),
            Self::AuthorityLost => line.contains("authority over"),
            Self::FrameDropped => line.contains("frame dropped"),
        }
    }

    /// Whether hb-proto's event says it.
    #[must_use]
    pub fn is(&self, event: &Event, cluster: &Cluster) -> bool {
        let link_state = |which: &Link, wanted: LinkState| match event {
            Event::Link { link, state, .. } => {
                *state == wanted && cluster.links().get(link.index()) == Some(which)
            }
            _ => false,
        };
        let change = |is: fn(&Change) -> bool| match event {
            Event::Group { change, .. } => is(change),
            _ => false,
        };
        match self {
            Self::PeerDead => matches!(event, Event::Peer { state: PeerState::Dead, .. }),
            Self::PeerLeft => matches!(event, Event::Peer { state: PeerState::Left, .. }),
            Self::ReturningAfterPartition => matches!(event, Event::ReturnedAfterPartition),
            Self::LinkDown(which) => link_state(which, LinkState::Down),
            Self::LinkUp(which) => link_state(which, LinkState::Up),
            Self::LinkOneWay(which) => link_state(which, LinkState::OneWay),
            Self::Acquiring => matches!(event, Event::Acquiring { .. }),
            Self::Releasing => matches!(event, Event::Releasing { .. }),
            Self::BothOwn => matches!(event, Event::Conflict { .. }),
            Self::TakeoverComplete => {
                matches!(event, Event::Failover { failover, .. } if failover.cause == Cause::PeerDead)
            }
            Self::StandbyDone => {
                matches!(event, Event::Failover { failover, .. } if failover.cause == Cause::Standby)
            }
            Self::Mismatch => {
                matches!(event, Event::Mismatch { ours, theirs } if ours.haresources != theirs.haresources)
            }
            Self::FoundRunning => change(|change| matches!(change, Change::FoundRunning { .. })),
            Self::StartFailed => change(|change| matches!(change, Change::StartFailed { .. })),
            Self::TimedOut => change(|change| matches!(change, Change::TimedOut { .. })),
            Self::NobodyOwns => matches!(event, Event::BothFailed { .. }),
            Self::Stalled => matches!(event, Event::Stall { .. }),
            Self::AuthorityLost => {
                matches!(event, Event::Releasing { cause: Cause::AuthorityLost, .. })
            }
            Self::FrameDropped => matches!(event, Event::Rejected { .. }),
        }
    }
}
