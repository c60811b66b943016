//! What becomes of the third voter and of the votes, told to the log once when it changes. Looks only.

use hb_proto::arbiter::CONFIRM_WINDOW;
use hb_proto::authority::Stance;
use hb_proto::config::MAX_GROUPS;
use hb_proto::id::{BootId, GroupId, Voter};
use hb_proto::node::{ArbiterReport, ArbiterState, Node, Obstacle};
use hb_proto::peer::PeerState;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{FenceShown, LineShown, ResetReason};
use tracing::{error, info, warn};

use super::third_voter::{InWords, ends_in};
use crate::config::Settings;
use crate::log::{CRIT, Limiter};

/// What comes and goes at every contact is told if it is the same after this long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Lines a minute about an arbiter that comes and goes.
const BURST: u32 = 20;

/// What the log has been told.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The life in which the arbiter is known to be there.
    present: Option<BootId>,
    absent: bool,
    pulse: Option<(BootId, FenceShown)>,
    unconfirmed: bool,
    miswired: bool,
    human: u16,
    untested: Option<BootId>,
}

/// Something that must last before it is told.
#[derive(Clone, Copy)]
struct Lasting<T> {
    told: T,
    seen: T,
}

impl<T: Copy + PartialEq> Lasting<T> {
    const fn new(of: T) -> Self {
        Self { told: of, seen: of }
    }

    /// The new value, if it is the second look that finds it and it was not told.
    fn look(&mut self, at: T) -> Option<T> {
        let lasts = std::mem::replace(&mut self.seen, at) == at;
        if !lasts || self.told == at {
            return None;
        }
        self.told = at;
        Some(at)
    }
}

/// What an operator should know at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It is not heard any more, or never was.
    Lost,
    /// A pulse left no evidence.
    Unconfirmed,
    /// A pulse hit the wrong machine.
    Miswired,
}

/// News that one look can bring.
const MAX_NEWS: usize = 4;

/// Watches a node that has an arbiter.
pub struct Votes {
    me: Voter,
    peer: String,
    /// The arbiter's serial line.
    line: String,
    groups: Vec<String>,
    told: Told,
    pulsed_at: Instant,
    direct: Lasting<bool>,
    agreed: Lasting<bool>,
    obstacles: [Lasting<Option<Obstacle>>; MAX_GROUPS],
    look_at: Instant,
    started_at: Option<Instant>,
    comes_and_goes: Limiter<1>,
    news: heapless::Vec<News, MAX_NEWS>,
}

impl Votes {
    /// For this configuration; `None` without an arbiter.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Self> {
        let arbiter = settings.proto.arbiter?;
        Some(Self {
            me: settings.me,
            peer: settings.peer.clone(),
            line: settings.media[arbiter.link.index()].name(),
            groups: settings.groups.iter().map(|line| line.name().to_owned()).collect(),
            told: Told::default(),
            pulsed_at: Instant::ZERO,
            direct: Lasting::new(true),
            agreed: Lasting::new(true),
            obstacles: [Lasting::new(None); MAX_GROUPS],
            look_at: Instant::ZERO,
            started_at: None,
            comes_and_goes: Limiter::new(BURST),
            news: heapless::Vec::new(),
        })
    }

    /// Looks at the node; at every turn of the loop.
    pub fn look(&mut self, node: &Node, now: Instant) {
        let Some(report) = node.arbiter(now).filter(|_| node.is_clean()) else { return };
        self.presence(node, &report, now);
        self.pulse(&report, now);
        self.human(node, now);
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        while let Some(held_back) = self.comes_and_goes.poll_suppressed(now) {
            warn!("the arbiter, heard and lost: {held_back}");
        }
        self.absence(node, &report, now);
        self.health(node, &report);
        self.obstacles(node, now);
    }

    /// What happened since the last call, in no particular order.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop()
    }

    /// A full list holds one of each kind already.
    fn report(&mut self, news: News) {
        if !self.news.contains(&news) {
            let _ = self.news.push(news);
        }
    }

    fn presence(&mut self, node: &Node, report: &ArbiterReport, now: Instant) {
        let known = self.told.present;
        let news = match report.state {
            ArbiterState::Present => report.settings.is_some() && known != report.boot,
            ArbiterState::Lost => known.is_some(),
            ArbiterState::Absent => false,
        };
        if !news {
            return;
        }
        self.told.present = report.boot.filter(|_| report.state == ArbiterState::Present);
        if report.state == ArbiterState::Lost {
            self.report(News::Lost);
        }
        if !self.comes_and_goes.admit(0, now) {
            return;
        }
        let peer = &self.peer;
        match (report.state, report.boot, report.settings) {
            (ArbiterState::Present, Some(boot), Some(settings)) => {
                let up_s = report.status.map_or(0, |status| status.uptime_s);
                let reset = report.status.map_or("", |status| in_words(status.reset));
                let id = settings.id;
                match known {
                    Some(former) => warn!(
                        "arbiter {id} began a new life: {boot} after {former}; its last reset: {reset}"
                    ),
                    None => info!(
                        "arbiter {id} is heard on {}: life {boot}, up {up_s} s; its last reset: {reset}",
                        self.line
                    ),
                }
            }
            (ArbiterState::Lost, ..) => {
                let silent = report.silent.unwrap_or(Duration::ZERO);
                if node.peer().state().is_gone() {
                    error!(
                        target: CRIT,
                        "the arbiter is lost, silent for {} ms, and {peer} does not vote either: nothing may \
                         run here. If {peer}'s machine is surely off: `hb takeover --peer-is-off`",
                        silent.millis()
                    );
                } else {
                    warn!(
                        "the arbiter is lost, silent for {} ms: if {peer}, this node or every link between \
                         them fails now, the service stops",
                        silent.millis()
                    );
                }
            }
            _ => {}
        }
    }

    /// R12: what became of a reset, as the arbiter tells.
    fn pulse(&mut self, report: &ArbiterReport, now: Instant) {
        let Some(status) = report.status.filter(|_| report.state == ArbiterState::Present) else {
            return;
        };
        let peer = &self.peer;
        let seen = &status.nodes[self.me.peer().index()];
        let pulse = seen.boot.zip(Some(seen.fence)).filter(|(_, fence)| *fence != FenceShown::None);
        if pulse != self.told.pulse {
            self.told.pulse = pulse;
            self.told.unconfirmed = false;
            self.pulsed_at = now;
            if let Some((boot, FenceShown::Sent)) = pulse {
                warn!(
                    "the arbiter has pulled {peer}'s reset line (life {boot}); evidence is awaited"
                );
            }
        }
        // The arbiter takes nothing for evidence that comes later.
        let waited = now.since(self.pulsed_at) > CONFIRM_WINDOW;
        if let Some((boot, FenceShown::Sent)) = pulse
            && waited
            && !std::mem::replace(&mut self.told.unconfirmed, true)
        {
            error!(
                target: CRIT,
                "no evidence that {peer} (life {boot}) was reset: nothing that was promised to it ends early. \
                 Look at its reset line"
            );
            self.report(News::Unconfirmed);
        }
        let miswired = status.nodes.iter().any(|node| node.line == LineShown::Miswired);
        if miswired != std::mem::replace(&mut self.told.miswired, miswired) {
            if miswired {
                error!(
                    target: CRIT,
                    "the arbiter's reset lines are miswired: a pulse for one node hit the other. It pulls \
                     neither until they are tested again"
                );
                self.report(News::Miswired);
            } else {
                info!("the arbiter's reset lines are no longer called miswired");
            }
        }
    }

    /// R14: the end of an operator's vote. Its beginning is told with the command.
    fn human(&mut self, node: &Node, now: Instant) {
        let groups = (0..self.groups.len() as u8).map(GroupId);
        let votes = groups
            .filter(|&group| node.authority(group, now).human)
            .fold(0, |set: u16, group| set | 1 << group.0);
        let ended = std::mem::replace(&mut self.told.human, votes) & !votes;
        for (group, _) in self.groups.iter().zip(0..).filter(|(_, at)| ended >> at & 1 == 1) {
            info!("the operator's vote for {group} has ended: {} is heard again", self.peer);
        }
    }

    fn absence(&mut self, node: &Node, report: &ArbiterReport, now: Instant) {
        let started_at = *self.started_at.get_or_insert(now);
        let waited = now.since(started_at) >= node.config().timing.initdead;
        if report.state == ArbiterState::Absent
            && waited
            && !std::mem::replace(&mut self.told.absent, true)
        {
            warn!(
                "no arbiter is heard on {}: only {}'s vote is left, so nobody takes over from a node that dies",
                self.line, self.peer
            );
            self.report(News::Lost);
        }
    }

    fn health(&mut self, node: &Node, report: &ArbiterReport) {
        if report.state != ArbiterState::Present {
            return;
        }
        let (peer, line) = (&self.peer, &self.line);
        match self.direct.look(report.direct) {
            Some(false) => {
                warn!("the arbiter is heard through {peer} only: look at {line} and its cable");
            }
            Some(true) => info!("the arbiter is heard on {line} again"),
            None => {}
        }
        if matches!(node.peer().state(), PeerState::Alive | PeerState::Late) {
            match self.agreed.look(report.agreed) {
                Some(false) => warn!(
                    "{peer} does not announce the same arbiter: a group runs here only while two voters alone \
                     would allow it too"
                ),
                Some(true) => info!("{peer} announces the same arbiter"),
                None => {}
            }
        }
        let wired = node.config().arbiter.is_some_and(|arbiter| arbiter.fence.is_some());
        let untested = |status: hb_proto::wire::message::arbiter::ArbiterStatus| {
            status.nodes.iter().any(|node| node.line == LineShown::Untested)
        };
        if wired && report.status.is_some_and(untested) && self.told.untested != report.boot {
            self.told.untested = report.boot;
            warn!("the arbiter's reset lines are not proved by a test: it pulls none that is not");
        }
    }

    /// What keeps this node from a group that nobody runs.
    fn obstacles(&mut self, node: &Node, now: Instant) {
        for ((name, last), at) in self.groups.iter().zip(&mut self.obstacles).zip(0..) {
            let group = GroupId(at);
            let nobody = node.holder(group).is_none() && node.stance(group) != Stance::Running;
            let gone = node.peer().state().is_gone();
            let found = node.obstacle(group, now).filter(|obstacle| {
                // A peer that is there takes what was promised to it, or gives the promise back.
                let promised = matches!(
                    obstacle,
                    Obstacle::OwnPromise { .. }
                        | Obstacle::ArbiterPromise { .. }
                        | Obstacle::PeerUnknown { .. }
                );
                nobody && (gone || !promised)
            });
            if let Some(Some(_)) = last.look(found.map(without_time))
                && let Some(obstacle) = found
            {
                let words = InWords::of(&obstacle, node, &self.peer);
                match ends_in(&obstacle) {
                    Some(left) => warn!("{name} waits for {} ms at most: {words}", left.millis()),
                    None => warn!("{name} waits: {words}"),
                }
            }
        }
    }
}

/// The same obstacle at any time.
const fn without_time(obstacle: Obstacle) -> Obstacle {
    match obstacle {
        Obstacle::OwnPromise { .. } => Obstacle::OwnPromise { ends_in: None },
        Obstacle::ArbiterPromise { to, .. } => Obstacle::ArbiterPromise { to, ends_in: None },
        Obstacle::PeerUnknown { .. } => Obstacle::PeerUnknown { ends_in: Duration::ZERO },
        other => other,
    }
}

const fn in_words(reset: ResetReason) -> &'static str {
    match reset {
        ResetReason::Unknown => "unknown",
        ResetReason::PowerOn => "power on",
        ResetReason::BrownOut => "power dipped",
        ResetReason::Watchdog => "its own watchdog",
        ResetReason::Software => "its program",
        ResetReason::Pin => "its reset pin",
    }
}
