//! What heartbeatd and `hb dongle` both know of the dongle: what can be wrong with it, in plain words.

use std::fmt;

use hb_proto::id::Voter;
use hb_proto::time::Duration;
use hb_proto::wire::service::Identity;

use crate::config::{DongleSettings, Settings};

/// Things that can be wrong at once.
const MAX_PROBLEMS: usize = 4;

/// Something that is wrong with the dongle, or with how it is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The peer's own questions arrive: a plain cable.
    NoDongle,
    /// Nothing answers.
    Silent,
    /// It was never provisioned.
    NoKey,
    /// It has no key of the number that signs here.
    KeyNumber,
    /// It has another key of that number.
    WrongKey,
    /// This node is plugged into the other node's port.
    SwappedPorts,
    /// Only this node feeds it.
    FedBy(Voter),
    /// It pulls for another time, or waits for another one, than ha.cf says.
    Times,
}

/// All that is wrong, most telling first.
pub type Problems = heapless::Vec<Problem, MAX_PROBLEMS>;

/// What this node's files want of a dongle.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// In whose port this node should be.
    pub me: Voter,
    /// The key that signs here.
    pub signing_key: u8,
    /// What it should do with its reset lines.
    pub dongle: Option<DongleSettings>,
    /// Silence that counts.
    pub deadtime: Duration,
}

impl Expected {
    /// By ha.cf and authkeys.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            me: settings.me,
            signing_key: settings.signing_key,
            dongle: settings.dongle,
            deadtime: settings.proto.timing.deadtime,
        }
    }
}

/// What is wrong with a dongle that says this of itself, by this node's files. `answers_our_key`: whether it answers what
/// this node signs, if that was tried for long enough to tell.
#[must_use]
pub fn judge(identity: &Identity, answers_our_key: Option<bool>, expected: &Expected) -> Problems {
    let mut found = Problems::new();
    let Expected { me, signing_key, deadtime, .. } = *expected;
    // One of each group: four at most.
    if identity.signing.is_none() {
        let _ = found.push(Problem::NoKey);
    } else if identity.keys >> signing_key & 1 == 0 {
        let _ = found.push(Problem::KeyNumber);
    } else if answers_our_key == Some(false) {
        let _ = found.push(Problem::WrongKey);
    }
    if usize::from(identity.port) != me.index() {
        let _ = found.push(Problem::SwappedPorts);
    }
    match identity.feeds {
        [Some(true), Some(false)] => _ = found.push(Problem::FedBy(Voter::A)),
        [Some(false), Some(true)] => _ = found.push(Problem::FedBy(Voter::B)),
        _ => {}
    }
    let kept = |of: &DongleSettings| of.are_kept_by(identity.settings, deadtime);
    if identity.signing.is_some() && !expected.dongle.as_ref().is_none_or(kept) {
        let _ = found.push(Problem::Times);
    }
    found
}

/// A problem, and what to do.
#[derive(Clone, Copy, Debug)]
pub struct InWords<'a> {
    /// What is wrong.
    pub problem: Problem,
    /// The serial line.
    pub line: &'a str,
    /// Who tells.
    pub me: Voter,
    /// The names of A and B.
    pub names: &'a [String; 2],
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        let name = |voter: Voter| self.names.get(voter.index()).map_or("?", String::as_str);
        let (me, peer) = (name(self.me), name(self.me.peer()));
        match self.problem {
            Problem::NoDongle => write!(
                f,
                "there is no dongle in {line}: {peer} itself is at the other end of the cable. Put the dongle between \
                 them, or take `arbiter` out of ha.cf"
            ),
            Problem::Silent => write!(
                f,
                "nothing answers on {line}: no dongle, no power for it, or the cable to it"
            ),
            Problem::NoKey => write!(
                f,
                "the dongle in {line} has no key yet, and neither forwards nor votes: `hb dongle provision`"
            ),
            Problem::KeyNumber => write!(
                f,
                "the dongle in {line} lacks the key that signs here: it is of another cluster, or was not provisioned \
                 since the keys changed (`hb dongle provision`)"
            ),
            Problem::WrongKey => write!(
                f,
                "the dongle in {line} doesn't take what this node signs: it has another key under the same number, so \
                 it is of another cluster, or was not provisioned since the keys changed"
            ),
            Problem::SwappedPorts => write!(
                f,
                "the dongle's ports are swapped: {me} is plugged into the port of {peer}. Are its reset lines swapped, \
                 too?"
            ),
            Problem::FedBy(voter) => write!(
                f,
                "the dongle has power from {} alone: when that machine goes, so does its vote",
                name(voter)
            ),
            Problem::Times => write!(
                f,
                "the dongle in {line} has another pulse or watchdog time than ha.cf: `hb dongle provision` on either node, \
                 if both have the same ha.cf"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use hb_proto::wire::message::arbiter::{LineShown, ResetReason};
    use hb_proto::wire::service::{self, Board, Challenge};

    use super::*;

    fn identity() -> Identity {
        Identity {
            challenge: Challenge { id: 7, boot: 3, token: 0 },
            firmware: [0, 1, 0],
            board: Board::Host,
            port: 0,
            keys: 0b10,
            signing: Some(1),
            reset: ResetReason::PowerOn,
            uptime_s: 10,
            feeds: [Some(true); 2],
            lines: [LineShown::Untested; 2],
            test: None,
            settings: None,
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        let sound = identity();
        let expected = Expected {
            me: Voter::A,
            signing_key: 1,
            dongle: None,
            deadtime: Duration::from_millis(500),
        };
        let of = |identity: &Identity, answers| judge(identity, answers, &expected).to_vec();
        assert_eq!(of(&sound, Some(true)), []);
        assert_eq!(of(&sound, None), [], "not tried for long enough to tell");
        assert_eq!(of(&sound, Some(false)), [Problem::WrongKey]);
        let blank = Identity { signing: None, keys: 0, ..sound };
        assert_eq!(of(&blank, Some(false)), [Problem::NoKey]);
        let other = Identity { signing: Some(2), keys: 0b100, ..sound };
        assert_eq!(of(&other, Some(false)), [Problem::KeyNumber]);
        assert_eq!(of(&Identity { port: 1, ..sound }, None), [Problem::SwappedPorts]);
        let fed = |feeds| of(&Identity { feeds, ..sound }, None);
        assert_eq!(fed([Some(true), Some(false)]), [Problem::FedBy(Voter::A)]);
        assert_eq!(fed([Some(false), Some(true)]), [Problem::FedBy(Voter::B)]);
        assert_eq!((fed([None, None]), fed([None, Some(false)])), (vec![], vec![]), "not wired");
    }

    #[test]
    fn other_times_than_ha_cf_has_are_named() {
        let ms = Duration::from_millis;
        let wrong = |pulse, watchdog: Option<u64>, theirs| {
            let dongle = Some(DongleSettings { pulse: ms(pulse), watchdog: watchdog.map(ms) });
            let expected = Expected { me: Voter::A, signing_key: 1, dongle, deadtime: ms(500) };
            let found = judge(&Identity { settings: theirs, ..identity() }, None, &expected);
            assert!(found.iter().all(|problem| *problem == Problem::Times), "{found:?}");
            !found.is_empty()
        };
        let says = |pulse_ms, watchdog_ms| Some(service::Settings { pulse_ms, watchdog_ms });
        assert!(!wrong(200, None, None), "an older program does this and nothing else");
        assert!(wrong(300, None, None) && wrong(200, Some(900), None));
        assert!(!wrong(200, Some(500), None), "deadtime");
        assert!(!wrong(300, Some(900), says(300, 900)));
        assert!(wrong(300, Some(900), says(200, 900)) && wrong(300, Some(900), says(300, 901)));
        assert!(!wrong(300, None, says(300, 7000)), "nobody arms it");
        assert!(!wrong(300, Some(500), says(300, 20)), "shorter than deadtime is deadtime");
    }

    #[test]
    fn words_name_line_and_nodes() {
        let names = ["linuxha1".to_owned(), "linuxha2".to_owned()];
        let say = |problem| {
            InWords { problem, line: "/dev/ttyS0", me: Voter::B, names: &names }.to_string()
        };
        assert!(
            say(Problem::SwappedPorts).contains("linuxha2 is plugged into the port of linuxha1")
        );
        assert!(say(Problem::FedBy(Voter::A)).contains("power from linuxha1 alone"));
        assert!(say(Problem::NoDongle).contains("linuxha1 itself is at the other end"));
        for problem in
            [Problem::Silent, Problem::NoKey, Problem::KeyNumber, Problem::WrongKey, Problem::Times]
        {
            assert!(say(problem).contains("/dev/ttyS0"), "{problem:?}");
        }
    }
}
