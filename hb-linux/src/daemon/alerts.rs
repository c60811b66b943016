//! What an operator is alerted of: chosen from events, limited, and handed to the helper process.

use std::fmt::{self, Write as _};

use hb_proto::event::Event;
use hb_proto::group::Change;
use hb_proto::id::GroupId;
use hb_proto::link::LinkState;
use hb_proto::peer::PeerState;
use hb_proto::time::Instant;
use heapless::{Deque, String};
use tracing::warn;

use super::votes::News;
use crate::config::Settings;
use crate::log::Limiter;
use crate::resources::{AlertKind, ToHelper};

/// Alerts of one kind in a minute; what is beyond is counted in the log.
const BURST: u32 = 5;
/// Alerts that one turn of the loop can raise: one a link and a group, and some of the dongle.
const MAX_WAITING: usize = 32;

/// One alert, of bounded length: what doesn't fit is cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    kind: AlertKind,
    subject: String<64>,
    text: String<240>,
}

/// Chooses and limits. Without a script in ha.cf there is none of it.
pub struct Alerts {
    peer: std::string::String,
    links: Vec<std::string::String>,
    groups: Vec<std::string::String>,
    waiting: Deque<Alert, MAX_WAITING>,
    limiter: Limiter<{ AlertKind::ALL.len() }>,
}

impl Alerts {
    /// `None` if ha.cf names no script.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Self> {
        settings.alert.as_ref()?;
        Some(Self {
            peer: settings.peer.clone(),
            links: settings.media.iter().map(crate::config::Medium::name).collect(),
            groups: settings.groups.iter().map(|line| line.name().to_owned()).collect(),
            waiting: Deque::new(),
            limiter: Limiter::new(BURST),
        })
    }

    /// An event of the node.
    pub fn take(&mut self, now: Instant, event: &Event) {
        if let Some(alert) = self.chosen(event) {
            self.raise(now, alert);
        }
    }

    fn chosen(&self, event: &Event) -> Option<Alert> {
        let peer = &self.peer;
        let group =
            |id: GroupId| self.groups.get(id.index()).map_or("?", std::string::String::as_str);
        Some(match *event {
            Event::Peer { state: PeerState::Dead, silent } => {
                let silent = silent.millis();
                Alert::new(
                    AlertKind::PeerDead,
                    peer,
                    format_args!("{peer} is dead: silent for {silent} ms"),
                )
            }
            Event::Link { link, state: LinkState::Down, .. } => {
                let name = self.links.get(link.index())?;
                Alert::new(AlertKind::LinkLost, name, format_args!("link {name} to {peer} is dead"))
            }
            Event::Fenced { boot } => Alert::new(
                AlertKind::Fenced,
                peer,
                format_args!("{peer} (life {boot}) was reset by the dongle, there is evidence"),
            ),
            Event::Group { group: id, change: Change::StartFailed { .. } } => {
                let name = group(id);
                let text = format_args!("resource group {name}: its start failed here");
                Alert::new(AlertKind::GroupFailed, name, text)
            }
            Event::Group { group: id, change: Change::StopFailed { .. } } => {
                let name = group(id);
                let text =
                    format_args!("resource group {name} can't be stopped here: reboot this node");
                Alert::new(AlertKind::GroupFailed, name, text)
            }
            Event::BothFailed { group: id } => {
                let name = group(id);
                let text = format_args!(
                    "nobody runs resource group {name}: its start failed on both nodes"
                );
                Alert::new(AlertKind::GroupFailed, name, text)
            }
            _ => return None,
        })
    }

    /// What became of the dongle.
    pub fn take_news(&mut self, now: Instant, news: News) {
        let peer = &self.peer;
        let alert = match news {
            News::Lost => Alert::new(
                AlertKind::DongleLost,
                "dongle",
                format_args!(
                    "the dongle is not heard: one more failure stops the service. Mend it"
                ),
            ),
            News::Unconfirmed => Alert::new(
                AlertKind::FenceUnconfirmed,
                peer,
                format_args!(
                    "no evidence that {peer} was reset: the takeover waits. Look at its reset line"
                ),
            ),
            News::Miswired => Alert::new(
                AlertKind::DongleMiswired,
                "dongle",
                format_args!("the reset lines are miswired: a pulse for one node hit the other"),
            ),
        };
        self.raise(now, alert);
    }

    fn raise(&mut self, now: Instant, alert: Alert) {
        let kind = alert.kind;
        if self.limiter.admit(kind as usize, now) && self.waiting.push_back(alert).is_err() {
            warn!("alert {}: too many at once, left out", kind.word());
        }
    }

    /// The next one to hand on.
    pub fn poll(&mut self) -> Option<Alert> {
        self.waiting.pop_front()
    }

    /// Tells what the limit held back. About once a second.
    pub fn catch_up(&mut self, now: Instant) {
        while let Some(held_back) = self.limiter.poll_suppressed(now) {
            let kind = AlertKind::ALL[held_back.reason].word();
            warn!("alerts {kind}: {held_back}, not sent");
        }
    }
}

impl Alert {
    /// What doesn't fit is cut off: the log has all of it.
    fn new(kind: AlertKind, subject: &str, text: fmt::Arguments<'_>) -> Self {
        let mut alert = Self { kind, subject: String::new(), text: String::new() };
        for char in subject.chars() {
            let _ = alert.subject.push(char);
        }
        let _ = alert.text.write_fmt(text);
        alert
    }

    /// For the helper.
    #[must_use]
    pub fn message(&self) -> ToHelper<'_> {
        ToHelper::Alert { kind: self.kind, subject: &self.subject, text: &self.text }
    }
}

#[cfg(test)]
mod tests {
    use hb_proto::id::{BootId, LinkId};
    use hb_proto::time::Duration;

    use super::*;

    fn alerts() -> Alerts {
        Alerts {
            peer: "linuxha2".to_owned(),
            links: vec!["/dev/ttyS0".to_owned(), "x".repeat(100)],
            groups: vec!["192.168.85.3".to_owned()],
            waiting: Deque::new(),
            limiter: Limiter::new(BURST),
        }
    }

    fn told(alerts: &mut Alerts) -> Vec<(AlertKind, std::string::String, std::string::String)> {
        let each = std::iter::from_fn(|| alerts.poll());
        each.map(|alert| (alert.kind, alert.subject.to_string(), alert.text.to_string())).collect()
    }

    const AT: Instant = Instant::from_millis(10_000);

    #[test]
    fn each_kind_has_its_subject_and_its_sentence() {
        let mut alerts = alerts();
        let (link, group) = (LinkId(0), GroupId(0));
        let boot = BootId::new(7).expect("a life");
        for event in [
            Event::Link { link, state: LinkState::Down, heard: false },
            Event::Fenced { boot },
            Event::BothFailed { group },
            Event::Group { group, change: Change::StopFailed { resource: 0 } },
            Event::Peer { state: PeerState::Dead, silent: Duration::from_millis(500) },
        ] {
            alerts.take(AT, &event);
        }
        for news in [News::Lost, News::Unconfirmed, News::Miswired] {
            alerts.take_news(AT, news);
        }
        let told = told(&mut alerts);
        let kinds: Vec<_> =
            told.iter().map(|(kind, subject, _)| (kind.word(), subject.as_str())).collect();
        assert_eq!(
            kinds,
            [
                ("link-lost", "/dev/ttyS0"),
                ("fenced", "linuxha2"),
                ("group-failed", "192.168.85.3"),
                ("group-failed", "192.168.85.3"),
                ("peer-dead", "linuxha2"),
                ("dongle-lost", "dongle"),
                ("fence-unconfirmed", "linuxha2"),
                ("dongle-miswired", "dongle"),
            ]
        );
        assert!(told.iter().all(|(_, _, text)| text.len() > 20), "{told:#?}");
    }

    #[test]
    fn what_is_good_alerts_nobody() {
        let mut alerts = alerts();
        for event in [
            Event::Link { link: LinkId(0), state: LinkState::Up, heard: true },
            Event::Peer { state: PeerState::Left, silent: Duration::ZERO },
            Event::Group { group: GroupId(0), change: Change::Started },
            Event::Clean,
        ] {
            alerts.take(AT, &event);
        }
        assert_eq!(told(&mut alerts), []);
    }

    #[test]
    fn a_link_that_flaps_sends_five_a_minute_and_other_kinds_still_pass() {
        let mut alerts = alerts();
        let down = Event::Link { link: LinkId(0), state: LinkState::Down, heard: false };
        for _ in 0..100 {
            alerts.take(AT, &down);
        }
        alerts.take_news(AT, News::Lost);
        let told = told(&mut alerts);
        assert_eq!(told.len(), 6, "{told:#?}");
        assert_eq!(told[5].0, AlertKind::DongleLost);
    }

    #[test]
    fn long_names_are_cut_and_do_no_harm() {
        let mut alerts = alerts();
        alerts.take(AT, &Event::Link { link: LinkId(1), state: LinkState::Down, heard: false });
        let [(_, subject, text)] = &told(&mut alerts)[..] else { panic!("one alert") };
        assert!(subject.len() <= 64 && text.len() <= 240, "{subject} {text}");
    }
}
