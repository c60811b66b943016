//! What comes over the two sockets: a line for the daemon, a snapshot or a reply for `hb`.

use hb_linux::control::snapshot::Snapshot;
use hb_linux::control::{Command, Reply};

/// Any bytes as a command line, as a snapshot and as a reply.
pub fn sockets(data: &[u8]) {
    match Command::parse(data) {
        Ok(command) => {
            assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command), "one meaning");
        }
        Err(error) => assert!(
            !error.to_string().contains(|c: char| c.is_control()),
            "what goes back to a terminal is plain text: {error:?}"
        ),
    }
    if let Ok(snapshot) = serde_json::from_slice::<Snapshot>(data) {
        let text = serde_json::to_vec(&snapshot).expect("a snapshot is always JSON");
        let again: Snapshot = serde_json::from_slice(&text).expect("own text");
        // Figures may lose their last digit on the way; who runs what may not.
        assert_eq!(again.groups, snapshot.groups);
        assert_eq!(again.state, snapshot.state);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(data) {
        let text = serde_json::to_vec(&reply).expect("a reply is always JSON");
        assert_eq!(serde_json::from_slice::<Reply>(&text).expect("own text"), reply);
    }
}
