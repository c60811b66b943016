//! The dongle beside its votes: who it says that it is (`hb_proto::wire::service`), what is wrong with it in plain
//! words, and the requests of `hb dongle`, which are passed on as they are.

use hb_proto::id::{LinkId, Voter};
use hb_proto::node::Node;
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::service::{self, Answer, Ask, Identity, Request};
use tracing::{info, warn};

use super::Daemon;
use super::keys::key_ring;
use crate::config::Settings;
use crate::control::server::Ticket;
use crate::control::snapshot;
use crate::control::{Reply, hex};
use crate::dongle::{Expected, InWords, Problem, Problems, judge};

/// It is asked who it is this often, signed and in the clear by turns: about 20 bytes each on the line.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// What was heard longer ago says nothing: five questions in a row have been lost.
const STALE: Duration = Duration::from_secs(16);
/// An answer to `hb` must have come by then: the control socket's clients have 500 ms.
const PATIENCE: Duration = Duration::from_millis(450);
/// How long the answer to a question of one's own may take: nothing else is asked meanwhile.
const OWN_PATIENCE: Duration = Duration::from_millis(150);
/// While the line is busy with heartbeats.
const AGAIN: Duration = Duration::from_millis(5);
type Frame = heapless::Vec<u8, MAX_FRAME>;

/// Whose request is on the line. Answers don't say what they answer, so there is one at a time.
#[derive(Debug)]
enum Asker {
    /// heartbeatd: who is it?
    Own,
    /// An `hb dongle`.
    Caller(Ticket),
}

/// A request that an answer may come to.
#[derive(Debug)]
struct Asked {
    by: Asker,
    until: Instant,
    /// Its frame, while the line was too busy for it.
    unsent: Option<Frame>,
}

/// A request of `hb dongle` that waits for its turn.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    frame: Frame,
    until: Instant,
}

/// What is known of it.
pub struct Dongle {
    link: LinkId,
    line: String,
    me: Voter,
    /// Of A and B.
    names: [String; 2],
    asked: Option<Asked>,
    waiting: Option<Waiting>,
    identity: Option<(Identity, Instant)>,
    signed_at: Option<Instant>,
    cable_at: Option<Instant>,
    began: Option<Instant>,
    ask_at: Instant,
    asks: u32,
    seen: Problems,
    told: Problems,
}

impl Dongle {
    /// `None` without an arbiter in ha.cf.
    #[must_use]
    pub fn of(settings: &Settings) -> Option<Self> {
        let link = settings.proto.arbiter?.link;
        let mut names = [settings.node.clone(), settings.peer.clone()];
        if settings.me == Voter::B {
            names.reverse();
        }
        Some(Self {
            link,
            line: settings.media[link.index()].name(),
            me: settings.me,
            names,
            asked: None,
            waiting: None,
            identity: None,
            signed_at: None,
            cable_at: None,
            began: None,
            ask_at: Instant::ZERO,
            asks: 0,
            seen: Problems::new(),
            told: Problems::new(),
        })
    }

    /// The link that it sits in.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// When there is something to do.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let Some(asked) = &self.asked else { return Instant::NEVER };
        if asked.unsent.is_some() { asked.until.min(now + AGAIN) } else { asked.until }
    }

    fn has_caller(&self) -> bool {
        let asked = self.asked.as_ref().is_some_and(|of| matches!(of.by, Asker::Caller(_)));
        asked || self.waiting.is_some()
    }

    /// Whose answer this is; a late one is nobody's.
    fn take_asker(&mut self) -> Option<Asker> {
        // What has not left can't have been answered.
        self.asked.take_if(|asked| asked.unsent.is_none()).map(|asked| asked.by)
    }

    /// What is wrong, most telling first.
    fn problems(&self, node: &Node, settings: &Settings, now: Instant) -> Problems {
        let mut found = Problems::new();
        let recent = |at: Option<Instant>| at.is_some_and(|at| now.since(at) < STALE);
        let waited = self.began.is_some_and(|at| now.since(at) >= STALE);
        let direct = node.arbiter(now).is_some_and(|arbiter| arbiter.direct);
        let identity = self.identity.filter(|(_, at)| now.since(*at) < STALE).map(|(of, _)| of);
        if recent(self.cable_at) {
            let _ = found.push(Problem::NoDongle);
            return found;
        }
        let Some(identity) = identity else {
            if waited && !direct {
                let _ = found.push(Problem::Silent);
            }
            return found;
        };
        let answers = (direct || recent(self.signed_at)).then_some(true);
        judge(&identity, answers.or(waited.then_some(false)), &Expected::of(settings))
    }

    fn in_words(&self, problem: Problem) -> InWords<'_> {
        InWords { problem, line: &self.line, me: self.me, names: &self.names }
    }

    /// Tells what has begun and what has ended, once it was so at two looks.
    fn tell(&mut self, problems: &Problems) {
        if std::mem::replace(&mut self.seen, problems.clone()) != *problems
            || self.told == *problems
        {
            return;
        }
        for problem in problems.iter().filter(|problem| !self.told.contains(problem)) {
            warn!("{}", self.in_words(*problem));
        }
        if problems.is_empty() {
            info!("the dongle in {} is as it should be", self.line);
        }
        self.told.clone_from(problems);
    }

    /// For `hb status`.
    #[must_use]
    pub fn snapshot(&self, node: &Node, settings: &Settings, now: Instant) -> snapshot::Dongle {
        let problems = self.problems(node, settings, now);
        let words = problems.iter().map(|&problem| self.in_words(problem).to_string());
        let identity = self.identity.filter(|(_, at)| now.since(*at) < STALE);
        let [major, minor, patch] = identity.map_or([0; 3], |(of, _)| of.firmware);
        snapshot::Dongle {
            problems: words.collect(),
            firmware: identity.map(|_| format!("{major}.{minor}.{patch}")),
            port: identity.map(|(of, _)| of.port + 1),
            signing_key: identity.and_then(|(of, _)| of.signing),
        }
    }
}

impl Daemon {
    /// A service frame on the dongle's line: its answer, or the peer's question, which only a plain cable brings.
    pub(super) fn hear_service(&mut self, frame: &[u8], now: Instant) {
        let Some(dongle) = &mut self.dongle else { return };
        if service::is_request(frame) {
            dongle.cable_at = Some(now);
            return;
        }
        // Whoever asked can read it, also with keys that this daemon has not read yet.
        if let Some(Asker::Caller(ticket)) = dongle.take_asker() {
            self.server.reply(ticket, &Reply::accepted(hex::encode(frame)));
        }
        let keys = key_ring(&self.settings.keys, self.settings.signing_key);
        let Ok((answer, signed)) = service::open_answer(frame, Some(&keys)) else { return };
        dongle.cable_at = None;
        if signed {
            dongle.signed_at = Some(now);
        }
        if let Answer::Identity(identity) = answer {
            dongle.identity = Some((identity, now));
        }
    }

    /// A request of `hb dongle`, signed there: sent as it is, and answered with what comes back.
    pub(super) fn pass_on(&mut self, ticket: Ticket, frame: &[u8], now: Instant) {
        let refusal = match &mut self.dongle {
            None => "ha.cf has no `arbiter`, so there is no dongle to ask",
            Some(dongle) if dongle.has_caller() => "another `hb dongle` waits for its answer",
            Some(_) if !service::is_request(frame) => "that is no request to a dongle",
            Some(dongle) => match Frame::from_slice(frame) {
                Ok(frame) => {
                    dongle.waiting = Some(Waiting { ticket, frame, until: now + PATIENCE });
                    return self.tend_dongle(now);
                }
                Err(_) => "that is too long for a request to a dongle",
            },
        };
        self.server.reply(ticket, &Reply::refused(refusal));
    }

    /// At every turn: what waits for its turn, for the line, and for an answer.
    pub(super) fn tend_dongle(&mut self, now: Instant) {
        let Some(dongle) = &mut self.dongle else { return };
        if let Some(asked) = dongle.asked.take_if(|asked| now >= asked.until)
            && let Asker::Caller(ticket) = asked.by
        {
            let text = format!(
                "the dongle in {} does not answer: another key than ours, no power, or no dongle there (`hb dongle \
                 status`)",
                dongle.line
            );
            self.server.reply(ticket, &Reply::refused(text));
        }
        if dongle.asked.is_none()
            && let Some(Waiting { ticket, frame, until }) = dongle.waiting.take()
        {
            dongle.asked = Some(Asked { by: Asker::Caller(ticket), until, unsent: Some(frame) });
        }
        self.send_service();
    }

    /// Once a second: asks who it is, and tells what is wrong.
    pub(super) fn look_at_dongle(&mut self, now: Instant) {
        let Some(dongle) = &mut self.dongle else { return };
        dongle.began.get_or_insert(now);
        if self.node.is_clean() {
            let problems = dongle.problems(&self.node, &self.settings, now);
            dongle.tell(&problems);
        }
        if now < dongle.ask_at || dongle.asked.is_some() || dongle.waiting.is_some() {
            return;
        }
        dongle.ask_at = now + ASK_EVERY;
        dongle.asks = dongle.asks.wrapping_add(1);
        let request = Request { challenge: service::Challenge::default(), ask: Ask::Identify };
        let keys = key_ring(&self.settings.keys, self.settings.signing_key);
        // By turns: who doesn't know our key still says who it is.
        let signs = Some(&keys).filter(|_| dongle.asks.is_multiple_of(2));
        let mut frame = [0; MAX_FRAME];
        let len = service::encode_request(&request, signs, &mut frame);
        let unsent = Frame::from_slice(&frame[..len]).ok();
        dongle.asked = Some(Asked { by: Asker::Own, until: now + OWN_PATIENCE, unsent });
        self.send_service();
    }

    fn send_service(&mut self) {
        let Some(dongle) = &mut self.dongle else { return };
        let Some(asked) = &mut dongle.asked else { return };
        let Some(frame) = &asked.unsent else { return };
        match self.links[dongle.link.index()].send(frame) {
            Err(super::link::WireError::Busy) => {}
            // A line that is gone is told by its link; who waits for an answer is told after its time.
            Ok(()) | Err(super::link::WireError::Lost(_)) => asked.unsent = None,
        }
    }
}
