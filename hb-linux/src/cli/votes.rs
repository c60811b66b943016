//! The third voter's part of the picture: who votes for whom, for how long, and what is in the way.

use std::fmt::Write as _;

use super::figures::span;
use super::table::{Cell, Paint};
use crate::control::snapshot::{
    Arbiter, ArbiterState, Group, PeerState, ResetLine, Snapshot, Vote, Voter,
};

/// What the arbiter is called, among the nodes' names.
pub const ARBITER: &str = "arbiter";

/// `present, heard 31 ms ago, hears linuxha1 and linuxha2  (number 7, life 3, up 24 h)`
pub fn head(arbiter: &Arbiter, colour: bool) -> String {
    let health = match arbiter.state {
        ArbiterState::Present => Paint::Good,
        ArbiterState::Absent | ArbiterState::Lost => Paint::Bad,
    };
    let mut text = health.apply(&arbiter.state.to_string(), colour);
    match arbiter.last_heard_ms {
        Some(ms) => _ = write!(text, ", heard {} ago", span(ms)),
        None => text.push_str(", never heard"),
    }
    if arbiter.state == ArbiterState::Present {
        let hears = arbiter.hears.iter().filter(|(_, heard)| heard.is_some());
        let hears: Vec<_> = hears.map(|(node, _)| node.as_str()).collect();
        let hears = if hears.is_empty() { "nobody".to_owned() } else { hears.join(" and ") };
        let _ = write!(text, ", hears {hears}");
    }
    let known = [
        arbiter.id.map(|id| format!("number {id}")),
        arbiter.boot.map(|boot| format!("life {boot}")),
        arbiter.uptime_s.map(|s| format!("up {}", span(u64::from(s) * 1000))),
    ];
    let known: Vec<_> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        text.push_str("  ");
        text.push_str(&Paint::Faint.apply(&format!("({})", known.join(", ")), colour));
    }
    text
}

/// This node, its peer and the arbiter: the columns of votes.
pub fn voters(snapshot: &Snapshot) -> [&str; 3] {
    [&snapshot.node, &snapshot.peer.name, ARBITER]
}

/// A cell for each of [`voters`].
pub fn of(group: &Group, snapshot: &Snapshot) -> [Cell; 3] {
    voters(snapshot).map(|voter| {
        let human = voter == snapshot.peer.name
            && group.authority.as_ref().is_some_and(|a| a.from.contains(&Voter::Human));
        match group.votes.get(voter) {
            _ if human => Cell::word(&"an operator's word", Paint::Worry),
            None => Cell::word(&"-", Paint::Plain),
            Some(Vote { to, ends_in_ms }) => {
                let mine = *to == snapshot.node;
                let paint = if mine { Paint::Good } else { Paint::Plain };
                let left = ends_in_ms.map_or_else(String::new, |ms| format!(", {}", span(ms)));
                Cell::word(&format!("{to}{left}"), paint)
            }
        }
    })
}

/// `reset lines    linuxha1 tested, linuxha2 untested`, where ha.cf has them.
pub fn reset_lines(snapshot: &Snapshot) -> String {
    let lines = snapshot.arbiter.iter().flat_map(|arbiter| &arbiter.reset_lines);
    let lines: Vec<_> = lines
        .map(|(node, line)| match line {
            Some(line) => format!("{node} {line}"),
            None => format!("{node} unknown"),
        })
        .collect();
    if lines.is_empty() { String::new() } else { format!("reset lines    {}\n", lines.join(", ")) }
}

const fn is_gone(snapshot: &Snapshot) -> bool {
    matches!(snapshot.peer.state, PeerState::Dead | PeerState::Left)
}

/// What keeps a group that nobody runs: the end of the sentence.
pub fn waits(group: &Group) -> String {
    match &group.obstacle {
        Some(obstacle) => match obstacle.ends_in_ms {
            Some(ms) => format!(" for another {} at most: {}", span(ms), obstacle.what),
            None => format!(": {}", obstacle.what),
        },
        None => String::new(),
    }
}

/// What a person should do something about.
pub fn warnings(snapshot: &Snapshot, found: &mut Vec<String>) {
    let Some(arbiter) = &snapshot.arbiter else { return };
    let peer = &snapshot.peer.name;
    let peer_is_gone = is_gone(snapshot);
    let by_word = |group: &Group| {
        group.authority.as_ref().is_some_and(|authority| authority.from == [Voter::Human])
    };
    match arbiter.state {
        ArbiterState::Absent | ArbiterState::Lost if peer_is_gone => {
            if snapshot.groups.iter().any(by_word) {
                found.push(format!(
                    "the arbiter is {}: nothing but an operator's word says that {peer} is off",
                    arbiter.state
                ));
            }
        }
        ArbiterState::Absent | ArbiterState::Lost => found.push(format!(
            "the arbiter is {}: if {peer}, this node or every link between them fails now, the service stops",
            arbiter.state
        )),
        ArbiterState::Present if !arbiter.direct => found.push(format!(
            "the arbiter is heard through {peer} only: look at this node's line to it"
        )),
        ArbiterState::Present if !arbiter.agreed && !peer_is_gone => found.push(format!(
            "{peer} does not announce the same arbiter: until it does, the rules of a pair without one apply as well"
        )),
        ArbiterState::Present => {}
    }
    found.extend(snapshot.dongle.iter().flat_map(|dongle| dongle.problems.iter().cloned()));
    for (node, heard) in &arbiter.hears {
        let silent = arbiter.state == ArbiterState::Present && heard.is_none();
        if silent && (node != peer || !peer_is_gone) {
            found.push(format!("the arbiter does not hear {node}: look at the line between them"));
        }
    }
    for (node, line) in &arbiter.reset_lines {
        match line {
            Some(ResetLine::Untested) => found.push(format!(
                "the reset line to {node} is not proved by a test: the arbiter does not pull it"
            )),
            Some(ResetLine::Miswired) => found.push(format!(
                "the reset line to {node} is miswired, a pulse hit the other machine: out of use until tested"
            )),
            Some(ResetLine::Tested) | None => {}
        }
    }
}
