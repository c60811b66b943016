//! `hb dongle commission`: the test of a reset line that R12 demands, and its record.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hb_proto::id::Voter;
use hb_proto::wire::service::{Answer, Ask, Refusal, TestState};
use serde::{Deserialize, Serialize};

use super::line::Line;
use super::tell::{refused, say};

/// In the state directory.
const RECORD: &str = "commissioned.json";
/// The dongle itself waits for ten minutes; a machine that boots for longer is looked for by a person.
const PATIENCE: Duration = Duration::from_secs(615);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The last test of a line that was made from this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commissioned {
    /// Seconds since 1970.
    pub at: i64,
    /// The pulse ended the node's life, and no other's.
    pub proved: bool,
    /// The dongle's number.
    pub dongle: u32,
    /// From the pulse until the node was heard again.
    pub seconds: u64,
}

/// The records of both lines, by the nodes' names.
///
/// # Errors
/// The file can't be read, or is none.
pub fn records(state_dir: &Path) -> io::Result<BTreeMap<String, Commissioned>> {
    match fs::read_to_string(state_dir.join(RECORD)) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn store(state_dir: &Path, node: &str, result: Commissioned) -> io::Result<()> {
    let mut all = records(state_dir).unwrap_or_default();
    all.insert(node.to_owned(), result);
    fs::create_dir_all(state_dir)?;
    let (path, new) = (state_dir.join(RECORD), state_dir.join("commissioned.new"));
    fs::write(&new, serde_json::to_vec(&all)?)?;
    fs::rename(new, path)
}

/// Has the line pulled, and waits until it is known whose life that ended.
///
/// # Errors
/// Nothing was pulled, or nothing is known; in words.
pub fn commission(line: &mut Line, target: &str, state_dir: &Path) -> Result<bool, String> {
    let names = line.names();
    let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(target)) else {
        return Err(format!(
            "there is no node {target}; ha.cf names {} and {}",
            names[0], names[1]
        ));
    };
    let name = &names[index];
    if *name == line.settings.node {
        return Err(format!(
            "this is {name}: it would be reset under this command. Run it on {}",
            line.settings.peer
        ));
    }
    let node = if index == 0 { Voter::A } else { Voter::B };
    let dongle = line.identify(true)?.challenge.id;
    match line.ask(&Ask::TestLine { node })? {
        Answer::Done { .. } => {}
        Answer::Refused { why: Refusal::InUse, .. } => {
            return Err(format!(
                "{name} may be running something, so it is not reset. On {name}: `hb standby`, then try again"
            ));
        }
        Answer::Refused { why, .. } => return Err(refused(why)),
        other => return Err(format!("the dongle answered something else: {other:?}")),
    }
    say(&format!(
        "{name}'s reset line is pulled. Waiting until {name} is back (heartbeat must start at its boot)"
    ));
    let began = Instant::now();
    let proved = outcome(line, node, PATIENCE)?;
    let seconds = began.elapsed().as_secs();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let result =
        Commissioned { at: i64::try_from(at).unwrap_or(i64::MAX), proved, dongle, seconds };
    store(state_dir, name, result).map_err(|error| format!("{}: {error}", state_dir.display()))?;
    if proved {
        say(&format!(
            "proved: {name} began a new life after {seconds} s, and the other node did not"
        ));
    } else {
        say(&format!(
            "NOT proved: the pulse did not end {name}'s life, or ended the other's. Look at the line, and whether the two \
             are swapped"
        ));
    }
    Ok(proved)
}

/// Whether the pulse ended that node's life and no other's, once the dongle knows.
///
/// # Errors
/// It does not know by then, or never will.
pub fn outcome(line: &mut Line, node: Voter, patience: Duration) -> Result<bool, String> {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < patience {
        thread::sleep(LOOK_EVERY);
        // One that isn't answered is asked again: the machine that was reset may feed the dongle.
        let Ok(identity) = line.identify(true) else { continue };
        match identity.test.filter(|test| test.node == node).map(|test| test.state) {
            Some(TestState::Proved) => return Ok(true),
            Some(TestState::Failed) => return Ok(false),
            Some(TestState::UnderWay) => last = Some(identity.challenge.boot),
            None if last.is_some_and(|boot| boot != identity.challenge.boot) => {
                return Err("the dongle itself was reset meanwhile, so nothing is known: is it fed by that machine \
                            alone? Try again"
                    .to_owned());
            }
            None => {}
        }
    }
    Err(format!("nothing is known after {} s: look at that machine", patience.as_secs()))
}
