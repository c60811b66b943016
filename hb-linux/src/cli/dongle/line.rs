//! The way to the dongle: through heartbeatd, which has its line, or over the line itself.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hb_proto::id::Voter;
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::auth::KeyRing;
use hb_proto::wire::service::{self, Answer, Ask, Challenge, Identity, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Loaded, Medium, Settings};
use crate::control::client::{self, ClientError};
use crate::control::{Command, hex};
use crate::daemon::{ServiceLine, key_ring};
use crate::net;

/// For one answer. A request takes some 80 ms on the slowest line, its answer as long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two requests in the clear: a dongle answers five of them a second.
const CLEAR_EVERY: Duration = Duration::from_millis(230);
/// Questions that are asked again when nothing comes: one may meet a heartbeat, or a dongle that serves another.
const TRIES: u32 = 3;

/// Where requests go.
enum Way {
    Daemon(PathBuf),
    Line(Box<ServiceLine>),
}

/// A dongle that can be asked.
pub struct Line {
    way: Way,
    /// Its serial device.
    pub device: String,
    /// ha.cf and authkeys.
    pub settings: Settings,
    keys: KeyRing,
    clear_at: Option<Instant>,
}

/// Where to look for it.
pub struct Place<'a> {
    /// Of ha.cf and authkeys.
    pub config_dir: &'a Path,
    /// Of heartbeatd's sockets.
    pub run_dir: &'a Path,
    /// This node's name, unless `uname -n` says it.
    pub node: Option<&'a str>,
}

impl Line {
    /// # Errors
    /// A sentence for a person.
    pub fn open(place: &Place<'_>) -> Result<Self, String> {
        let interfaces = net::interfaces().unwrap_or_default();
        let Loaded { settings, .. } = Settings::load(place.config_dir, place.node, &interfaces)
            .map_err(|found| {
                found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            })?;
        let Some(arbiter) = settings.proto.arbiter else {
            return Err(
                "ha.cf has no `arbiter serial DEVICE`, so there is no dongle to ask".to_owned()
            );
        };
        let medium = &settings.media[arbiter.link.index()];
        let device = medium.name();
        let way = match client::observe(place.run_dir) {
            Ok(_) => Way::Daemon(place.run_dir.to_owned()),
            Err(ClientError::NotRunning { .. }) => Way::Line(Box::new(direct(medium)?)),
            Err(error) => return Err(error.to_string()),
        };
        let keys = key_ring(&settings.keys, settings.signing_key);
        Ok(Self { way, device, settings, keys, clear_at: None })
    }

    /// Whether heartbeatd passes the requests on.
    #[must_use]
    pub const fn is_through_daemon(&self) -> bool {
        matches!(self.way, Way::Daemon(_))
    }

    /// The names of A and B.
    #[must_use]
    pub fn names(&self) -> [String; 2] {
        let mut names = [self.settings.node.clone(), self.settings.peer.clone()];
        if self.settings.me == Voter::B {
            names.reverse();
        }
        names
    }

    /// Who it says that it is; `signed` with our key, which it answers only if it has that.
    ///
    /// # Errors
    /// Nothing came back, in words.
    pub fn identify(&mut self, signed: bool) -> Result<Identity, String> {
        match self.look(signed, &Ask::Identify)? {
            Answer::Identity(identity) => Ok(identity),
            Answer::Refused { why, .. } => Err(super::refused(why)),
            other => {
                Err(format!("the dongle in {} answered something else: {other:?}", self.device))
            }
        }
    }

    /// Asks for something that changes nothing; again if nothing comes back, for a question may meet a heartbeat, and in
    /// the clear a dongle answers five times a second at most.
    ///
    /// # Errors
    /// Nothing came back, in words.
    pub fn look(&mut self, signed: bool, ask: &Ask) -> Result<Answer, String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.exchange(signed, Challenge::default(), ask) {
                // One in the clear is the answer to somebody else, or says nothing to what was signed.
                Ok((answer, as_signed)) if as_signed == signed => return Ok(answer),
                Ok(_) => last = format!("the dongle in {} answered something else", self.device),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks for something that is signed and of this moment.
    ///
    /// # Errors
    /// Nothing came back, in words.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        let challenge = self.identify(true)?.challenge;
        self.exchange(true, challenge, ask).map(|(answer, _)| answer)
    }

    /// One request, one answer; and whether that was signed.
    ///
    /// # Errors
    /// Nothing came back, in words.
    pub fn exchange(
        &mut self,
        signed: bool,
        challenge: Challenge,
        ask: &Ask,
    ) -> Result<(Answer, bool), String> {
        if !signed {
            let last = self.clear_at.replace(Instant::now() + CLEAR_EVERY);
            let left = last.and_then(|at| at.checked_duration_since(Instant::now()));
            std::thread::sleep(left.unwrap_or_default());
        }
        let request = Request { challenge, ask: ask.clone() };
        let mut frame = [0; MAX_FRAME];
        let keys = Some(&self.keys).filter(|_| signed);
        let len = service::encode_request(&request, keys, &mut frame);
        let answer = match &mut self.way {
            Way::Daemon(run_dir) => through_daemon(run_dir, &frame[..len])?,
            Way::Line(line) => over_line(line, &frame[..len], &self.device)?,
        };
        service::open_answer(&answer, Some(&self.keys)).map_err(|why| {
            format!("the dongle in {}: its answer is dropped: {}", self.device, why.name())
        })
    }
}

fn direct(medium: &Medium) -> Result<ServiceLine, String> {
    let line = ServiceLine::open(medium);
    line.failure().map_or(Ok(()), |failure| Err(format!("{}: {failure}", medium.name())))?;
    Ok(line)
}

fn through_daemon(run_dir: &Path, frame: &[u8]) -> Result<Vec<u8>, String> {
    let reply = client::command(run_dir, &Command::Dongle(frame.to_vec()))
        .map_err(|error| error.to_string())?;
    if !reply.ok {
        return Err(reply.message);
    }
    hex::decode(&reply.message).ok_or_else(|| "heartbeatd's answer is no frame".to_owned())
}

fn over_line(line: &mut ServiceLine, frame: &[u8], device: &str) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{device}: {error}");
    line.send(frame).map_err(failed)?;
    let end = Instant::now() + PATIENCE;
    let mut cable = false;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        while let Some(found) = line.next_service_frame().map_err(failed)? {
            if !service::is_request(&found) {
                return Ok(found);
            }
            cable = true;
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(line.fd().map_err(failed)?, PollFlags::IN)];
        // EINTR only makes the turn come early.
        let _ = poll(&mut fds, Some(&timeout));
    }
    Err(if cable {
        format!("there is no dongle in {device}: the other node is at the other end of the cable")
    } else {
        format!(
            "nothing answers on {device}: no dongle, no power for it, the cable, or another key than ours"
        )
    })
}
