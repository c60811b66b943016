//! What lines of logs and of resource scripts say.

use hb_proto::time::Duration;

use crate::netns::files;
use crate::scenario::cluster::Cluster;
use crate::scenario::rig::{Deed, Entry, Moment, Moved, Source};

/// `NANOSECONDS NAME DEED`.
pub(crate) fn script_line(line: &str) -> Option<(u64, &str, Deed)> {
    let mut words = line.split(' ');
    let (at, name, deed) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let deed = match deed {
        "starting" => Deed::Starting,
        "held" => Deed::Held,
        "outside" => Deed::Outside,
        "failed" => Deed::StartFailed,
        "stopping" => Deed::Stopping,
        "released" => Deed::Released,
        _ => return None,
    };
    Some((at, name, deed))
}

/// `1999/09/16_09:13:25 INFO: text`.
pub(crate) fn is_log_line(line: &str) -> bool {
    line.as_bytes().get(10) == Some(&b'_') && line.starts_with(|first: char| first.is_ascii_digit())
}

/// What every line about a finished move has.
pub(super) const MOVED: &str = " taken over (";

/// What a line of ha-log says of a finished move: `GROUP taken over (CAUSE): detection N ms + takeover
/// M ms, …`, or `GROUP taken over (CAUSE) in N ms, …`.
pub(super) fn moved(cluster: &Cluster, moment: &Moment) -> Option<Moved> {
    let (before, after) = moment.text.split_once(MOVED)?;
    let (cause, figures) = after.split_once(')')?;
    let millis = |text: &str| text.split(' ').next().and_then(|number| number.parse().ok());
    let behind = |word: &str| figures.split_once(word).and_then(|(_, rest)| millis(rest));
    let took: u64 = match behind("in ") {
        Some(took) if figures.starts_with(" in ") => took,
        _ => behind("detection ")? + behind("takeover ")?,
    };
    let mut groups = 0..cluster.groups.len();
    let group = groups.find(|&group| before.ends_with(&files::group_line(cluster, group)))?;
    let peer_dead = cause == hb_proto::event::Cause::PeerDead.name();
    Some(Moved { at: moment.at, group, peer_dead, took: Duration::from_millis(took) })
}

pub(super) fn resource_line(cluster: &Cluster, entry: &Entry) -> Moment {
    let group = &cluster.groups[entry.group];
    let what = match entry.deed {
        Deed::Starting => "is being started",
        Deed::Held => "is here",
        Deed::Outside => "is here, started by something else",
        Deed::StartFailed => "did not start",
        Deed::Stopping => "is being stopped",
        Deed::Released => "is gone",
    };
    let text = format!("{} {:?}: {what}", group.name, group.resources[entry.resource]);
    Moment { at: entry.at, source: Source::Resources(entry.machine), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::cluster::Machine;
    use hb_proto::time::Instant;

    #[test]
    fn a_move_is_read_from_its_line() {
        let cluster =
            Cluster::two_nodes().group("web", Machine::A).address_group("two", Machine::B);
        let read = |text: &str| {
            let (at, source) = (Instant::ZERO, Source::Log(Machine::A));
            moved(&cluster, &Moment { at, source, text: text.into() })
                .map(|moved| (moved.group, moved.peer_dead, moved.took.millis()))
        };
        let dead = "1999/09/16_09:13:25 INFO: linuxha1 192.168.85.3 rec::web taken over (peer-dead): detection 502 ms + \
                    takeover 61 ms, within the budget of 1100 ms";
        assert_eq!(read(dead), Some((0, true, 563)));
        let standby = "1999/09/16_09:13:25 INFO: linuxha2 192.168.85.4 taken over (standby) in 12 ms, within the \
                       budget of 1100 ms";
        assert_eq!(read(standby), Some((1, false, 12)));
        assert_eq!(read("1999/09/16_09:13:25 INFO: something else"), None);
    }
}
