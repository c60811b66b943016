//! What happened, in the log's words. Phrases that tools of the classics look for are kept.

use hb_proto::authority::Stance;
use hb_proto::config::ResourceKind;
use hb_proto::event::Failover;
use hb_proto::event::{Cause, Event};
use hb_proto::group::Change;
use hb_proto::id::{GroupId, LinkId};
use hb_proto::link::LinkState;
use hb_proto::node::Node;
use hb_proto::peer::PeerState;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::Reject;
use tracing::{debug, error, info, warn};

use crate::config::Settings;
use crate::log::{CRIT, Limiter};

/// Lines a minute for each reason for which frames are dropped.
const REJECT_BURST: u32 = 3;
/// Lines a minute about late heartbeats, our own stalls, and what comes and goes.
const REPEATED_BURST: u32 = 30;
const LATE: usize = 0;
const STALLED: usize = 1;
/// Late and alive again, by turns.
const FLAPPING: usize = 2;
const LINKS: usize = 3;
/// Groups asked for again and again.
const REQUESTS: usize = 4;

/// Tells events to the log.
pub struct Words {
    /// Lines that would be made anew for each event are made once: no allocation on the loop.
    groups: Vec<String>,
    resources: Vec<Vec<String>>,
    links: Vec<String>,
    peer: String,
    /// A third voter decides who takes over from a silent peer.
    third_voter: bool,
    rejected: Limiter<{ Reject::COUNT }>,
    /// Late heartbeats and stalls of our own, which a busy machine may have many a second of.
    repeated: Limiter<5>,
    /// Groups (one bit each) that this node was asking for when it was last looked at.
    asking: u16,
    /// The first group after the start is being acquired.
    acquiring_first: bool,
    initialised: bool,
}

impl Words {
    /// Words for this configuration.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let resources = settings.groups.iter().map(|line| {
            line.resources.iter().map(|resource| resource.written().to_owned()).collect::<Vec<_>>()
        });
        let resources: Vec<_> = resources.collect();
        let lines = settings.groups.iter().zip(&resources);
        Self {
            groups: lines
                .map(|(line, words)| format!("{} {}", line.node, words.join(" ")))
                .collect(),
            resources,
            links: settings.media.iter().map(crate::config::Medium::name).collect(),
            peer: settings.peer.clone(),
            third_voter: settings.proto.arbiter.is_some(),
            rejected: Limiter::new(REJECT_BURST),
            repeated: Limiter::new(REPEATED_BURST),
            asking: 0,
            acquiring_first: false,
            initialised: false,
        }
    }

    /// What no event tells: this node has begun to ask a peer that is there for a group.
    pub fn look(&mut self, node: &Node, now: Instant) {
        let count = self.groups.len() as u8;
        let groups = || (0..count).map(GroupId);
        let asks = |group: &GroupId| node.stance(*group) == Stance::Asking;
        let asking = groups().filter(asks).fold(0, |set: u16, group| set | 1 << group.0);
        let before = std::mem::replace(&mut self.asking, asking);
        if asking & !before == 0 || node.peer().state().is_gone() {
            return;
        }
        for group in groups().filter(|group| (asking & !before) & 1 << group.0 != 0) {
            if self.repeated.admit(REQUESTS, now) {
                // As the classics have it: by the group's first resource.
                info!("Requesting resource group {}", self.resource(group, 0));
            }
        }
    }

    fn group(&self, group: GroupId) -> &str {
        self.groups.get(group.index()).map_or("?", String::as_str)
    }

    fn link(&self, link: LinkId) -> &str {
        self.links.get(link.index()).map_or("?", String::as_str)
    }

    fn resource(&self, group: GroupId, resource: u8) -> &str {
        let group = self.resources.get(group.index());
        group.and_then(|words| words.get(usize::from(resource))).map_or("?", String::as_str)
    }

    /// One event.
    pub fn tell(&mut self, now: Instant, event: &Event) {
        let peer = &self.peer;
        match *event {
            Event::Clean => info!("all resources are confirmed stopped: heartbeats begin"),
            Event::Peer { state, silent } => {
                let grave = matches!(state, PeerState::Dead | PeerState::Left);
                if grave || self.repeated.admit(FLAPPING, now) {
                    self.tell_peer(state, silent);
                }
            }
            Event::PeerLife { boot } => debug!("{peer} is heard in life {boot}"),
            Event::ReturnedAfterPartition => {
                error!(target: CRIT, "Cluster node {peer} returning after partition.");
            }
            Event::LateHeartbeat { interval } if self.repeated.admit(LATE, now) => {
                warn!("Late heartbeat: Node {peer}: interval {} ms", interval.millis());
            }
            Event::Link { link, state, heard } => {
                if self.repeated.admit(LINKS, now) {
                    self.tell_link(link, state, heard);
                }
            }
            Event::Mismatch { ours, theirs } if ours.haresources != theirs.haresources => {
                error!(
                    target: CRIT,
                    "haresources differs from {peer}'s: what runs goes on, nothing new is started and nothing moves \
                     until both files are the same"
                );
            }
            Event::Mismatch { .. } => {
                warn!(
                    "ha.cf's times, policy or arbiter differ from {peer}'s: make both files the same"
                );
            }
            Event::Match => info!("configuration agrees with {peer}'s"),
            Event::Acquiring { group, cause } => self.tell_acquiring(group, cause),
            Event::Releasing { group, cause } => self.tell_releasing(group, cause),
            Event::Group { group, change } => self.tell_change(group, change),
            Event::Failover { group, failover } => self.tell_failover(group, &failover),
            Event::BothFailed { group } => error!(
                target: CRIT,
                "No one owns resource group {}: its start failed on both nodes. Mend it, then run `hb takeover`",
                self.group(group)
            ),
            Event::Conflict { group, won } => error!(
                target: CRIT,
                "Both machines own our resources! {}: {}",
                self.group(group),
                if won { "it goes on here, the peer gives it up" } else { "it goes on at the peer, giving it up here" }
            ),
            Event::Stall { late } if self.repeated.admit(STALLED, now) => {
                warn!("this process was not scheduled for {} ms", late.millis());
            }
            // Beyond the limit: counted, and told once a minute.
            Event::LateHeartbeat { .. } | Event::Stall { .. } => {}
            // Told with its number and life, and with what it means, by `votes`.
            Event::Arbiter { state } => debug!("arbiter: {}", state.name()),
            Event::FenceAsked { boot } => {
                warn!(
                    "the arbiter is asked to reset {peer} (life {boot}): what was promised to it stands in the way"
                );
            }
            Event::Fenced { boot } => {
                warn!(
                    "{peer} (life {boot}) was reset, there is evidence: what was promised to it is void"
                );
            }
            Event::BootIdTaken { heard } => error!(
                target: CRIT,
                "a later life ({heard}) of this node is known: its life number was lost or copied; starting again above it"
            ),
            Event::Rejected { link, reason } => {
                if self.rejected.admit(reason.index(), now) {
                    warn!("{}: frame dropped: {}", self.link(link), explain(reason));
                }
            }
        }
    }

    /// Tells what the rate limit held back. About once a second.
    pub fn catch_up(&mut self, now: Instant) {
        while let Some(held_back) = self.rejected.poll_suppressed(now) {
            let reason = Reject::ALL[held_back.reason];
            warn!("frames dropped ({}): {held_back}", explain(reason));
        }
        while let Some(held_back) = self.repeated.poll_suppressed(now) {
            let what = match held_back.reason {
                LATE => "late heartbeats",
                STALLED => "stalls of this process",
                FLAPPING => "the peer, late and alive again",
                REQUESTS => "resource groups requested",
                _ => "links up and down",
            };
            warn!("{what}: {held_back}");
        }
    }

    fn tell_peer(&mut self, state: PeerState, silent: Duration) {
        let peer = &self.peer;
        match state {
            PeerState::Alive => info!("Status update for node {peer}: status active"),
            PeerState::Late => warn!("node {peer}: late, silent for {} ms", silent.millis()),
            PeerState::Dead => {
                warn!("node {peer}: is dead");
                debug!("{peer} was silent for {silent}");
            }
            PeerState::Left => info!("node {peer}: has left in good order"),
            PeerState::Unknown => {}
        }
        if !std::mem::replace(&mut self.initialised, true) {
            info!("heartbeat initialization complete.");
        }
    }

    fn tell_link(&self, link: LinkId, state: LinkState, heard: bool) {
        let (peer, link) = (&self.peer, self.link(link));
        match (state, heard) {
            (LinkState::Up, _) => info!("Link {peer}:{link} up."),
            (LinkState::Down, _) => warn!("Link {peer}:{link} dead."),
            (LinkState::OneWay, true) => {
                warn!("Link {peer}:{link} one-way: {peer} does not hear us on it.");
            }
            (LinkState::OneWay, false) => {
                warn!("Link {peer}:{link} one-way: we do not hear {peer} on it.");
            }
        }
    }

    fn tell_acquiring(&mut self, group: GroupId, cause: Cause) {
        let peer = &self.peer;
        match cause {
            Cause::PeerDead => {
                info!("Resources being acquired from {peer}.");
                if !self.third_voter {
                    warn!(
                        "no arbiter is configured: if {peer} lives and every link is cut, both nodes serve now"
                    );
                }
            }
            Cause::PeerLeft | Cause::Takeover => info!("Resources being acquired from {peer}."),
            Cause::Standby => info!("{peer} stands by: acquiring its resources"),
            Cause::PeerFailed => info!("its start failed on {peer}: acquiring it"),
            Cause::Failback => info!("{peer} gives our resources back"),
            Cause::Startup => self.acquiring_first = true,
            Cause::PeerDeaf => warn!("{peer} is heard and hears nobody: acquiring its resources"),
            Cause::PeerWants | Cause::Leave | Cause::AuthorityLost => {}
        }
        info!("Acquiring resource group: {}", self.group(group));
    }

    fn tell_releasing(&self, group: GroupId, cause: Cause) {
        if cause == Cause::AuthorityLost {
            warn!("authority over {} is lost: its addresses are gone", self.group(group));
        }
        info!("Releasing resource group: {} ({})", self.group(group), cause.name());
    }

    fn tell_change(&mut self, group: GroupId, change: Change) {
        match change {
            Change::Started => {
                info!("resource group {} is running", self.group(group));
                if std::mem::take(&mut self.acquiring_first) {
                    info!("Initial resource acquisition complete");
                }
            }
            Change::Stopped => debug!("resource group {} is stopped", self.group(group)),
            Change::StartFailed { resource } => error!(
                "{}: start failed; giving the whole group up: {}",
                self.resource(group, resource),
                self.group(group)
            ),
            Change::FoundRunning { resource } => error!(
                target: CRIT,
                "{} runs already: it is stopped first. Is it started by the operating system as well?",
                self.resource(group, resource)
            ),
            Change::StopUnclean { resource } => warn!(
                "{}: stop failed, but its status says that it does not run: probably not LSB-compliant",
                self.resource(group, resource)
            ),
            Change::StopFailed { resource } => error!(
                target: CRIT,
                "{}: can't be stopped. Reboot required: the peer does not take it over while it may run here",
                self.resource(group, resource)
            ),
            Change::TimedOut { resource, verb } => {
                error!(
                    "{} {}: took too long, being killed",
                    self.resource(group, resource),
                    verb.name()
                );
            }
        }
    }

    fn tell_failover(&self, group: GroupId, failover: &Failover) {
        let Failover { cause, detection, takeover, budget } = *failover;
        if cause == Cause::PeerDead {
            info!("mach_down takeover complete for node {}.", self.peer);
        }
        if cause == Cause::Standby {
            info!("Standby resource acquisition done.");
        }
        let total = detection.unwrap_or(Duration::ZERO) + takeover;
        let word = if total <= budget { "within" } else { "BEYOND" };
        let verdict = if budget == Duration::MAX {
            "without a budget (guard is unbounded, and nothing is fenced)".to_owned()
        } else {
            format!("{word} the budget of {} ms", budget.millis())
        };
        let (group, cause, takeover) = (self.group(group), cause.name(), takeover.millis());
        match detection.map(Duration::millis) {
            Some(detection) => info!(
                "{group} taken over ({cause}): detection {detection} ms + takeover {takeover} ms, {verdict}"
            ),
            None => info!("{group} taken over ({cause}) in {takeover} ms, {verdict}"),
        }
    }
}

/// Why a frame was dropped, and what that usually means.
const fn explain(reason: Reject) -> &'static str {
    match reason {
        Reject::Framing => {
            "damaged on the line (noise, a wrong baud rate, or something else that talks there)"
        }
        Reject::Length => "too short or too long for a heartbeat",
        Reject::Key => "signed with a key number that authkeys doesn't list",
        Reject::Tag => {
            "damaged, or not signed with our key (another cluster's, or authkeys differ)"
        }
        Reject::Version => "a protocol version that this heartbeat doesn't speak",
        Reject::Replay => "not newer than what was heard before",
        Reject::Decode => "its body is not what its kind says",
        Reject::Trailing => "bytes after its end",
        Reject::Meaning => "from a sender that can't be",
        Reject::Own => "our own",
    }
}

/// Lines that start-up tells once.
pub fn tell_built_in(settings: &Settings) {
    let addresses = settings.proto.groups.iter().flat_map(|group| &group.resources);
    if addresses.into_iter().any(|kind| *kind == ResourceKind::Address) {
        debug!(
            "IPaddr is built in: a script of that name in resource.d is not used for haresources"
        );
    }
}
