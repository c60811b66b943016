//! What root asks for over the control socket.

use hb_proto::config::Config;
use hb_proto::id::GroupId;
use hb_proto::node::{ArbiterState, Node, Refusal};
use hb_proto::time::Instant;
use tracing::{info, warn};

use super::third_voter;
use crate::config::{GroupLine, Settings};
use crate::control::{Command, Reply};

/// Carries out one command; what becomes of it shows in the log and in `hb status`. `None` for a reload, whose
/// answer comes when the file is read.
pub fn carry_out(
    node: &mut Node,
    settings: &Settings,
    command: &Command,
    now: Instant,
) -> Option<Reply> {
    Some(match command {
        Command::Stop => {
            info!("hb stop: leaving the cluster");
            node.request_leave();
            let mut message = "leaving: every resource is stopped, then heartbeatd ends".to_owned();
            if warn_of_leaving(node, settings, now) {
                message.push_str(&format!(
                    ". The arbiter is not there to vote: {peer} will not take over, and what it runs stops, until \
                     this node is back or you run `hb takeover --peer-is-off` there",
                    peer = settings.peer
                ));
            }
            Reply::accepted(message)
        }
        // Answered when the file is read, and when the dongle has answered.
        Command::Reload | Command::Dongle(_) => return None,
        Command::Fence(name) => fence(node, settings, name, now),
        Command::Standby(word) => {
            let reply = for_each(node, settings, word.as_deref(), |node, group| {
                node.request_standby(now, group).inspect_err(|refusal| {
                    if matches!(refusal, Refusal::PeerAbsent { .. } | Refusal::PeerDeaf) {
                        warn!("No reply to standby request: {refusal}");
                    }
                })
            });
            answer(reply, |groups| format!("{} takes over {}", settings.peer, counted(groups)))
        }
        Command::Takeover(word) => {
            let reply = for_each(node, settings, word.as_deref(), |node, group| {
                node.request_takeover(now, group)
            });
            answer(reply, |groups| {
                let message = format!("{} takes over {}", settings.node, counted(groups));
                with_obstacle(message, node, settings, now)
            })
        }
        Command::TakeoverPeerIsOff => {
            let reply = node.request_takeover_peer_is_off(now).map_err(|error| error.to_string());
            answer(reply, |groups| {
                let message = format!(
                    "on your word that {} is off, {} takes over {}",
                    settings.peer,
                    settings.node,
                    counted(groups)
                );
                with_obstacle(message, node, settings, now)
            })
        }
    })
}

/// With an arbiter a node runs by votes alone: once this one has left, a peer without the arbiter's has none
/// (R2). Whether that is so; the log is told.
pub fn warn_of_leaving(node: &Node, settings: &Settings, now: Instant) -> bool {
    let absent = node.arbiter(now).is_some_and(|arbiter| arbiter.state != ArbiterState::Present);
    let alone = absent && !node.peer().state().is_gone();
    if alone {
        warn!("no arbiter votes: once this node is gone {} may run nothing", settings.peer);
    }
    alone
}

/// Says as well what a silent peer's groups have to wait for.
fn with_obstacle(message: String, node: &Node, settings: &Settings, now: Instant) -> String {
    let groups = (0..settings.groups.len() as u8).map(GroupId);
    let obstacles = groups.filter_map(|group| third_voter::obstacle(node, settings, group, now));
    let longest = obstacles.max_by_key(|obstacle| obstacle.ends_in_ms.unwrap_or(u64::MAX));
    let Some(obstacle) = longest.filter(|_| node.peer().state().is_gone()) else { return message };
    match obstacle.ends_in_ms {
        Some(ms) => format!("{message}, after {ms} ms at most: {}", obstacle.what),
        None => format!("{message} when it may. Now {}", obstacle.what),
    }
}

fn answer(result: Result<usize, String>, accepted: impl Fn(usize) -> String) -> Reply {
    match result {
        Ok(groups) => {
            let message = accepted(groups);
            info!("by command: {message}");
            Reply::accepted(message)
        }
        Err(message) => {
            info!("command refused: {message}");
            Reply::refused(message)
        }
    }
}

/// `hb dongle fence NODE`.
fn fence(node: &mut Node, settings: &Settings, name: &str, now: Instant) -> Reply {
    if !name.eq_ignore_ascii_case(&settings.peer) {
        let reason = format!("{name} is not this node's peer; it can have {} reset", settings.peer);
        return answer(Err(reason), |_| String::new());
    }
    if settings.dongle.is_none() {
        let reason =
            "there is no `fence dongle` in ha.cf: its reset lines are not wired".to_owned();
        return answer(Err(reason), |_| String::new());
    }
    let asked = node.request_fence(now).map_err(|refusal| refusal.to_string());
    answer(asked.map(|()| 1), |_| {
        format!(
            "the dongle is asked to reset {name}: it does so if it has not heard it for deadtime either"
        )
    })
}

fn counted(groups: usize) -> String {
    if groups == 1 { "1 resource group".to_owned() } else { format!("{groups} resource groups") }
}

/// Asks for each group that `word` names; refused only if none of them is accepted.
fn for_each(
    node: &mut Node,
    settings: &Settings,
    word: Option<&str>,
    request: impl Fn(&mut Node, Option<GroupId>) -> Result<usize, Refusal>,
) -> Result<usize, String> {
    let named = named_groups(settings, word)?;
    let mut accepted = 0;
    let mut refusal = None;
    for group in named.ids(&settings.proto) {
        match request(node, group) {
            Ok(groups) => accepted += groups,
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if accepted == 0 => Err(error.to_string()),
        None if accepted == 0 => Err("haresources has no such groups".to_owned()),
        _ => Ok(accepted),
    }
}

/// Groups that a command's argument names: a group's own name, or the classics' words for sets of them.
enum Named {
    /// Every group.
    All,
    /// This one.
    One(GroupId),
    /// Those at home here (`true`) or at the peer.
    Home(bool),
}

/// # Errors
/// The name is none; the text lists what is.
fn named_groups(settings: &Settings, word: Option<&str>) -> Result<Named, String> {
    match word {
        None | Some("all") => Ok(Named::All),
        Some("local") => Ok(Named::Home(true)),
        Some("foreign" | "failback") => Ok(Named::Home(false)),
        Some(word) => {
            let at = settings.groups.iter().position(|line| line.name() == word);
            at.map(|at| Named::One(GroupId(at as u8))).ok_or_else(|| {
                let known: Vec<_> = settings.groups.iter().map(GroupLine::name).collect();
                format!("no resource group {word:?} in haresources; there is {}", known.join(", "))
            })
        }
    }
}

impl Named {
    /// The ids, for `config`; `None` means all at once.
    fn ids(&self, config: &Config) -> Vec<Option<GroupId>> {
        let at_home = |here: bool| {
            let groups = config.groups.iter().zip(0..);
            groups
                .filter(move |(group, _)| (group.home == config.me) == here)
                .map(|(_, id)| Some(GroupId(id)))
        };
        match self {
            Self::All => vec![None],
            Self::One(group) => vec![Some(*group)],
            Self::Home(here) => at_home(*here).collect(),
        }
    }
}
