//! A person's view of a snapshot: what is, then in plain words what is wrong.

use std::fmt::Write as _;

use super::figures::{micros, percent, span};
use super::table::{self, Cell, Paint};
use super::votes;
use crate::control::snapshot::{
    ArbiterState, Failover, Group, GroupState, KeyUse, Link, LinkState, NodeState, PeerState,
    RoundTrip, Snapshot,
};

/// Share of lost frames from which a link is worth a warning.
const LOSS_WORRIES: f64 = 0.05;

/// The whole picture, ending in a newline.
pub fn picture(snapshot: &Snapshot, colour: bool) -> String {
    let mut text = heads(snapshot, colour);
    if !snapshot.links.is_empty() {
        text.push('\n');
        text.push_str(&links(&snapshot.links, colour));
    }
    if !snapshot.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(snapshot, colour));
    }
    text.push('\n');
    text.push_str(&tail(snapshot));
    let warnings = warnings(snapshot);
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings {
        let _ = writeln!(text, "{}", Paint::Bad.apply(&format!("! {warning}"), colour));
    }
    text
}

fn heads(snapshot: &Snapshot, colour: bool) -> String {
    let peer = &snapshot.peer;
    let arbiter = snapshot.arbiter.as_ref();
    let names = [snapshot.node.as_str(), &peer.name, arbiter.map_or("", |_| votes::ARBITER)];
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let state = match snapshot.state {
        NodeState::Active => Paint::Good,
        NodeState::Standby => Paint::Plain,
        NodeState::Starting | NodeState::Leaving => Paint::Worry,
    };
    let health = match peer.state {
        PeerState::Alive => Paint::Good,
        PeerState::Left | PeerState::Unknown => Paint::Worry,
        PeerState::Late | PeerState::Dead => Paint::Bad,
    };
    let heard = match peer.last_heard_ms {
        Some(ms) => format!(", heard {} ago", span(ms)),
        None => ", never heard".to_owned(),
    };
    let arbiter = arbiter.map_or_else(String::new, |arbiter| {
        format!("{:width$}  {}\n", votes::ARBITER, votes::head(arbiter, colour))
    });
    format!(
        "{:width$}  {}  {}\n{:width$}  {}{heard}\n{arbiter}",
        snapshot.node,
        state.apply(&snapshot.state.to_string(), colour),
        Paint::Faint.apply(&format!("(this node, heartbeat {})", snapshot.version), colour),
        peer.name,
        health.apply(&peer.state.to_string(), colour),
    )
}

fn links(links: &[Link], colour: bool) -> String {
    let head = [
        "link", "kind", "state", "rtt p50", "p99", "jitter", "loss", "max gap", "sent", "received",
    ];
    let rows: Vec<_> = links
        .iter()
        .map(|link| {
            let health = match link.state {
                LinkState::Up => Paint::Good,
                LinkState::Down | LinkState::OneWay => Paint::Bad,
            };
            let RoundTrip { p50, p99 } = link.rtt_us;
            vec![
                Cell::word(&link.name, Paint::Plain),
                Cell::word(&link.kind, Paint::Plain),
                Cell::word(&link.state, health),
                Cell::figure(p50.map(micros)),
                Cell::figure(p99.map(micros)),
                Cell::figure(link.jitter_us.map(micros)),
                Cell::figure(link.loss.map(percent)),
                Cell::figure(link.longest_gap_ms.map(span)),
                Cell::figure(Some(link.sent.to_string())),
                Cell::figure(Some(link.received.to_string())),
            ]
        })
        .collect();
    table::draw(&head, &rows, colour)
}

fn groups(snapshot: &Snapshot, colour: bool) -> String {
    let rows: Vec<_> = snapshot
        .groups
        .iter()
        .map(|group| {
            let here = match group.state {
                GroupState::Running => Paint::Good,
                GroupState::Stopped => Paint::Plain,
                GroupState::Starting | GroupState::Stopping => Paint::Worry,
                GroupState::Failed => Paint::Bad,
            };
            let holder = group.holder.as_deref();
            let mut row = vec![
                Cell::word(&group.name, Paint::Plain),
                Cell::word(
                    &holder.unwrap_or("nobody"),
                    if holder.is_some() { Paint::Good } else { Paint::Bad },
                ),
                Cell::word(&group.state, here),
                Cell::word(&group.preferred, Paint::Plain),
            ];
            if snapshot.arbiter.is_some() {
                row.extend(votes::of(group, snapshot));
            }
            row
        })
        .collect();
    let here = format!("on {}", snapshot.node);
    let mut head = vec!["group", "runs on", here.as_str(), "preferred"];
    let voters = votes::voters(snapshot).map(|voter| format!("{voter}'s vote"));
    if snapshot.arbiter.is_some() {
        head.extend(voters.iter().map(String::as_str));
    }
    table::draw(&head, &rows, colour)
}

fn tail(snapshot: &Snapshot) -> String {
    let watchdog = snapshot.watchdog.as_ref().map_or_else(
        || "none".to_owned(),
        |dog| {
            let timeout = dog.timeout_s.map_or_else(String::new, |s| format!(", {s} s"));
            format!("{}{timeout}, {}", dog.device, if dog.armed { "armed" } else { "not armed" })
        },
    );
    let failover = snapshot.last_failover.as_ref().map_or_else(|| "none yet".to_owned(), moved);
    let stalls = match (snapshot.stalls.count, snapshot.stalls.longest_ms) {
        (0, _) => "none".to_owned(),
        (count, None) => count.to_string(),
        (count, Some(ms)) => format!("{count}, longest {}", span(ms)),
    };
    let (reset_lines, keys) = (votes::reset_lines(snapshot), keys(snapshot));
    format!(
        "{reset_lines}{keys}watchdog       {watchdog}\nlast failover  {failover}\nown stalls     {stalls}\n"
    )
}

/// `keys           1 needed by nobody, 2 needed by linuxha1`, while there is more than one.
fn keys(snapshot: &Snapshot) -> String {
    if snapshot.keys.len() < 2 {
        return String::new();
    }
    let needed = |key: &KeyUse| {
        format!("{} needed by {}", key.id, key.needed_by.as_deref().unwrap_or("nobody"))
    };
    let keys: Vec<_> = snapshot.keys.iter().map(needed).collect();
    format!("keys           {}\n", keys.join(", "))
}

fn moved(failover: &Failover) -> String {
    let mut text = failover.cause.to_string();
    if let Some(ms) = failover.detection_ms {
        let _ = write!(text, ", noticed after {}", span(ms));
    }
    if let Some(ms) = failover.takeover_ms {
        let _ = write!(text, ", taken over in {}", span(ms));
    }
    if let (Some(total), Some(budget)) = (total_ms(failover), failover.budget_ms) {
        let _ = write!(text, ": {} of the promised {}", span(total), span(budget));
    }
    text
}

/// Null when the part that ends it is unknown; detection counts only where something was detected.
fn total_ms(failover: &Failover) -> Option<u64> {
    failover.takeover_ms.map(|takeover| takeover + failover.detection_ms.unwrap_or(0))
}

/// What a person should do something about, worst first.
fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    group_warnings(snapshot, &mut found);
    found.extend(super::compare::differences(snapshot));
    peer_warnings(snapshot, &mut found);
    votes::warnings(snapshot, &mut found);
    for link in &snapshot.links {
        link_warnings(link, snapshot, &mut found);
    }
    if let Some(dog) = snapshot.watchdog.as_ref().filter(|dog| !dog.armed) {
        found.push(format!(
            "watchdog {} is not armed: if this node hangs, nothing resets it",
            dog.device
        ));
    }
    if let Some(failover) = &snapshot.last_failover
        && let (Some(total), Some(budget)) = (total_ms(failover), failover.budget_ms)
        && total > budget
    {
        found.push(format!(
            "the last failover took {}, longer than the promised {}",
            span(total),
            span(budget)
        ));
    }
    found
}

fn group_warnings(snapshot: &Snapshot, found: &mut Vec<String>) {
    for group in &snapshot.groups {
        let Group { name, holder, state, .. } = group;
        if *state == GroupState::Failed {
            found.push(format!(
                "group {name} failed on {}: /var/log/ha-log has the script's words",
                snapshot.node
            ));
        }
        let settled = snapshot.state != NodeState::Starting && *state == GroupState::Stopped;
        if holder.is_none() && settled {
            found.push(format!("nobody runs group {name}{}", votes::waits(group)));
        }
    }
}

fn peer_warnings(snapshot: &Snapshot, found: &mut Vec<String>) {
    let peer = &snapshot.peer.name;
    let alone = format!("if {} fails now, nobody takes over", snapshot.node);
    let since =
        snapshot.peer.last_heard_ms.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
    match snapshot.peer.state {
        PeerState::Alive => {}
        PeerState::Unknown if snapshot.state == NodeState::Starting => {}
        PeerState::Unknown => {
            found.push(format!("{peer} was never heard since heartbeat started here; {alone}"));
        }
        PeerState::Late => found.push(format!("{peer} is late: not heard{since}")),
        PeerState::Dead => {
            found.push(format!("{peer} is dead: not heard on any link{since}; {alone}"));
        }
        PeerState::Left => found.push(format!("{peer} left in order; {alone}")),
    }
}

fn link_warnings(link: &Link, snapshot: &Snapshot, found: &mut Vec<String>) {
    let Link { name, .. } = link;
    let peer = &snapshot.peer.name;
    let peer_heard = matches!(snapshot.peer.state, PeerState::Alive | PeerState::Late);
    match link.state {
        LinkState::OneWay => {
            found.push(format!("link {name} is one-way: {peer} does not hear us on it"));
        }
        // A dead peer's links are all down: one warning says it.
        LinkState::Down if peer_heard => {
            found.push(format!("link {name} is down: we do not hear {peer} on it"));
        }
        LinkState::Up if snapshot.links.len() > 1 => {
            let others_up = snapshot.links.iter().filter(|l| l.state == LinkState::Up).count() - 1;
            let then = match snapshot.arbiter.as_ref().map(|arbiter| arbiter.state) {
                None => Some("each node takes the other for dead"),
                Some(ArbiterState::Present) => Some("only the arbiter's vote is left"),
                // The arbiter's own warning says so.
                Some(ArbiterState::Absent | ArbiterState::Lost) => None,
            };
            if let (0, Some(then)) = (others_up, then) {
                found.push(format!("only one link left, {name}: when it fails too, {then}"));
            }
        }
        LinkState::Up | LinkState::Down => {}
    }
    // That a link which is down loses frames is no news.
    let worries = peer_heard && link.state != LinkState::Down;
    if let Some(loss) = link.loss.filter(|&loss| loss >= LOSS_WORRIES && worries) {
        found.push(format!("link {name} loses {} of {peer}'s frames", percent(loss)));
    }
    if link.rejected.values().any(|&count| count > 0) {
        let reasons: Vec<_> =
            link.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        found.push(format!("link {name} rejected frames: {}", reasons.join(", ")));
    }
}
