//! Two nodes' files, as the running daemons tell of them: `hb check --peer`, and what `hb status` warns of.

use std::fmt::Write as _;

use hb_proto::config::Digests;

use crate::control::snapshot::{Digest, PeerState, Snapshot};

/// Exit code of `hb check` for warnings.
const WARNING: u8 = 1;
/// Exit code of `hb check` for errors.
pub const ERROR: u8 = 2;

/// What each part is called, its fingerprints, how bad a difference is, and what it means.
fn parts(snapshot: &Snapshot) -> Vec<(&'static str, &Digest, u8, &'static str)> {
    let Some(configuration) = &snapshot.configuration else { return Vec::new() };
    vec![
        (
            "haresources",
            &configuration.haresources,
            ERROR,
            "what runs goes on, nothing new is started and nothing moves until both files are the same",
        ),
        (
            "ha.cf (times, auto_failback, nodes, arbiter)",
            &configuration.settings,
            WARNING,
            "each node goes by its own file; make both the same",
        ),
    ]
}

/// A sentence for each part that is known to differ.
pub fn differences(snapshot: &Snapshot) -> Vec<String> {
    let differs = parts(snapshot).into_iter().filter(|part| part.1.agrees() == Some(false));
    let peer = &snapshot.peer.name;
    differs.map(|(what, _, _, means)| format!("{what} differs from {peer}'s: {means}")).collect()
}

/// Compares the daemon's files with the peer's, and with those on disk now; the text and the exit code.
pub fn with_peer(snapshot: &Snapshot, on_disk: Option<Digests>) -> (String, u8) {
    let mut text = String::new();
    let mut code = 0;
    let mut say = |severity: u8, line: String| {
        code = code.max(severity);
        let word = ["", "warning: ", "error: "][usize::from(severity)];
        let _ = writeln!(text, "{word}{line}");
    };
    if snapshot.configuration.is_none() {
        say(
            ERROR,
            format!("heartbeatd {} here tells no fingerprints: restart it", snapshot.version),
        );
    }
    let peer = &snapshot.peer;
    if matches!(peer.state, PeerState::Dead | PeerState::Left) {
        let state = peer.state;
        say(WARNING, format!("{} is {state}: compared with what it told last", peer.name));
    }
    let now = on_disk.map(|now| [now.haresources, now.settings].map(Digest::text));
    for (at, (what, digest, severity, means)) in parts(snapshot).into_iter().enumerate() {
        let (severity, line) = match (digest.agrees(), &digest.peers) {
            (Some(true), _) => (0, format!("{what}: the same on {}, {}", peer.name, digest.ours)),
            (_, Some(theirs)) => (
                severity,
                format!("{what} differs: {} here, {theirs} on {}; {means}", digest.ours, peer.name),
            ),
            (_, None) => (ERROR, format!("{what}: {} has not told its fingerprint yet", peer.name)),
        };
        say(severity, line);
        match &now {
            Some(now) if now[at] != digest.ours => say(
                WARNING,
                format!(
                    "{what} was changed since heartbeatd started here: it takes effect at a restart"
                ),
            ),
            _ => {}
        }
    }
    (text, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::snapshot::{Configuration, NodeState, Peer, Stalls};

    fn snapshot(haresources: Option<u64>, settings: Option<u64>, state: PeerState) -> Snapshot {
        Snapshot {
            version: "0.1.0".into(),
            node: "linuxha1".into(),
            state: NodeState::Active,
            peer: Peer { name: "linuxha2".into(), state, last_heard_ms: Some(20) },
            links: Vec::new(),
            groups: Vec::new(),
            arbiter: None,
            watchdog: None,
            last_failover: None,
            stalls: Stalls::default(),
            configuration: Some(Configuration {
                haresources: Digest::new(1, haresources),
                settings: Digest::new(2, settings),
            }),
            dongle: None,
            keys: Vec::new(),
        }
    }

    const SAME: Digests = Digests { haresources: 1, settings: 2 };

    #[test]
    fn the_same_files_are_clean() {
        let (text, code) = with_peer(&snapshot(Some(1), Some(2), PeerState::Alive), Some(SAME));
        assert_eq!(code, 0, "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(differences(&snapshot(Some(1), Some(2), PeerState::Alive)).is_empty());
    }

    #[test]
    fn each_difference_is_named_and_weighed() {
        let (text, code) = with_peer(&snapshot(Some(9), Some(2), PeerState::Alive), Some(SAME));
        assert_eq!(code, ERROR);
        assert!(text.starts_with("error: haresources differs: 0000000000000001 here"), "{text}");
        let (text, code) = with_peer(&snapshot(Some(1), Some(9), PeerState::Alive), Some(SAME));
        assert_eq!(code, WARNING);
        assert!(text.contains("warning: ha.cf (times"), "{text}");
        assert_eq!(differences(&snapshot(Some(9), Some(9), PeerState::Alive)).len(), 2);
    }

    #[test]
    fn what_is_not_known_is_no_agreement() {
        let (text, code) = with_peer(&snapshot(None, None, PeerState::Unknown), Some(SAME));
        assert_eq!(code, ERROR, "{text}");
        assert!(differences(&snapshot(None, None, PeerState::Unknown)).is_empty());
        let (text, code) = with_peer(&snapshot(Some(1), Some(2), PeerState::Dead), Some(SAME));
        assert_eq!(code, WARNING, "{text}");
    }

    #[test]
    fn files_that_changed_since_the_start_are_told() {
        let changed = Digests { settings: 3, ..SAME };
        let (text, code) = with_peer(&snapshot(Some(1), Some(2), PeerState::Alive), Some(changed));
        assert_eq!(code, WARNING);
        assert!(
            text.contains("ha.cf (times, auto_failback, nodes, arbiter) was changed"),
            "{text}"
        );
    }
}
