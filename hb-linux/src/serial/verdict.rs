//! What the findings of one end, or of both, mean; and what to do about it.

use std::fmt;

use serde::Serialize;

use super::report::{Others, Peer, Report, Speed, Way};

/// Whom the operator expects at the other end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// `uname -n` there.
    pub node: Option<String>,
    /// The port there.
    pub device: Option<String>,
}

/// What is the matter with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matter {
    /// Nothing: both ends hear each other, and every speed that was tried is clean.
    Sound,
    /// Both ends hear each other; some speeds lose or damage bytes.
    Errors,
    /// Nothing arrives.
    Dead,
    /// One end hears the other, which doesn't hear it.
    OneWay,
    /// The ends are set to different speeds.
    WrongBaud,
    /// The cable leads to another port of the right machine, or from another port of this one.
    Swapped,
    /// The cable leads to another machine.
    WrongPeer,
    /// A console, a shell or a login is at the other end.
    Console,
    /// Something at the other end sends back what it gets.
    Echo,
    /// This port hears itself.
    Loopback,
    /// heartbeatd is at the other end.
    Heartbeat,
    /// Bytes arrive that make no sense at any speed.
    Garbage,
    /// The test broke off.
    BrokeOff,
}

/// What a test comes to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// In one word.
    pub matter: Matter,
    /// In a sentence.
    pub text: String,
    /// What to do; empty when all is well.
    pub advice: String,
}

impl Verdict {
    fn new(matter: Matter, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { matter, text: text.into(), advice: advice.into() }
    }

    /// Nothing has to be done.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.matter == Matter::Sound
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n    {}", self.advice) }
    }
}

/// Judges what this end found, with the other end's own report where there is one.
#[must_use]
pub fn judge(ours: &Report, theirs: Option<&Report>, expected: &Expected) -> Verdict {
    if let Some(why) = &ours.broke_off {
        let text = format!("{}: the test broke off: {why}", ours.device);
        return Verdict::new(Matter::BrokeOff, text, "look at the adapter, and run it again");
    }
    if ours.peers.is_empty() {
        return unheard(ours, theirs);
    }
    if let Some(wrong) = wrong_end(ours, theirs, expected) {
        return wrong;
    }
    let peer = &ours.peers[0];
    let heard = ours.heard_by_peer || theirs.is_some_and(|theirs| hears(theirs, ours.id));
    if !heard {
        return one_way(&ours.device, &name(peer));
    }
    errors(ours, peer)
}

fn hears(report: &Report, id: u32) -> bool {
    report.peers.iter().any(|peer| peer.id == id)
}

fn name(peer: &Peer) -> String {
    format!("{} on {}", peer.node, peer.device)
}

fn one_way(deaf_to: &str, heard: &str) -> Verdict {
    Verdict::new(
        Matter::OneWay,
        format!("{deaf_to} hears {heard}, but nothing that {deaf_to} sends arrives there"),
        format!(
            "the wire from TxD of {deaf_to} (pin 3 of 9, pin 2 of 25) to RxD at the other end is broken, or \
             that port's receiver or this one's driver is dead: try another cable, then another port"
        ),
    )
}

/// Somebody is heard: is it whom the operator meant?
fn wrong_end(ours: &Report, theirs: Option<&Report>, expected: &Expected) -> Option<Verdict> {
    let peer = &ours.peers[0];
    let node = theirs.map(|theirs| &theirs.node).or(expected.node.as_ref());
    let device = theirs.map(|theirs| &theirs.device).or(expected.device.as_ref());
    if node.is_some_and(|node| *node != peer.node) {
        let text = format!(
            "the wrong machine: {} hears {}, not {}",
            ours.device,
            name(peer),
            node.map_or("", |node| node)
        );
        return Some(Verdict::new(
            Matter::WrongPeer,
            text,
            "follow the cable: it ends at a machine that you didn't mean",
        ));
    }
    let other_run = theirs.is_some_and(|theirs| theirs.id != peer.id);
    if device.is_some_and(|device| *device != peer.device) || other_run {
        let meant = device.map_or("", |device| device);
        let text = format!("swapped: {} leads to {}, not to {meant}", ours.device, name(peer));
        return Some(Verdict::new(
            Matter::Swapped,
            text,
            "swap the cables at one end, or the names in ha.cf of one node",
        ));
    }
    None
}

/// Nobody's test was heard on this port at its own speed.
fn unheard(ours: &Report, theirs: Option<&Report>) -> Verdict {
    let device = &ours.device;
    if let Some((port, peer)) = ours.on_other_ports.first() {
        return Verdict::new(
            Matter::Swapped,
            format!("swapped: {} is at the other end of {port}, not of {device}", name(peer)),
            "swap the cables at one end, or the names in ha.cf of one node",
        );
    }
    if let Some((baud, others)) = &ours.elsewhere_in_speed {
        let who = match others {
            Others::Heartbeat => "heartbeatd speaks there",
            Others::Text { .. } => "a console speaks there",
            _ => "the other end's test speaks there",
        };
        return Verdict::new(
            Matter::WrongBaud,
            format!(
                "different speeds: {device} is set to {}, the other end to {baud}: {who}",
                ours.baud
            ),
            format!("set both to the same: `baud` in ha.cf of both nodes, or `--baud {baud}` here"),
        );
    }
    if ours.echoes > 0 {
        return echoed(ours);
    }
    if let Some(theirs) = theirs.filter(|theirs| hears(theirs, ours.id)) {
        return one_way(&theirs.device, &format!("{} on {device}", ours.node)).turned();
    }
    match &ours.others {
        Others::Text { sample, login } => console(device, sample, *login),
        Others::Heartbeat => Verdict::new(
            Matter::Heartbeat,
            format!("heartbeatd is at the other end of {device}, at this speed"),
            "the wire towards here works; `hb stop` on the other node, then run the test at both ends",
        ),
        Others::Garbage => Verdict::new(
            Matter::Garbage,
            format!(
                "{} bytes arrive at {device} that make sense at no usual speed",
                ours.other_bytes
            ),
            "the other end is set to an unusual speed, or the cable picks up noise: check its shield and \
             signal ground (pin 5 of 9, pin 7 of 25)",
        ),
        Others::Nothing | Others::Test => dead(ours, theirs),
    }
}

impl Verdict {
    /// The same seen from the other end: what it sends doesn't arrive here.
    fn turned(mut self) -> Self {
        self.text.push_str("; this end hears nothing");
        self
    }
}

fn echoed(ours: &Report) -> Verdict {
    let device = &ours.device;
    if let Others::Text { sample, login } = &ours.others {
        return console(device, sample, *login);
    }
    if ours.echoes_at_any_speed {
        return Verdict::new(
            Matter::Loopback,
            format!("{device} hears itself at every speed: a loop-back plug, or TxD touches RxD"),
            "port and driver work; take the plug off and put the null-modem cable on",
        );
    }
    Verdict::new(
        Matter::Echo,
        format!(
            "something at the other end of {device} sends back what it gets, at this speed only"
        ),
        "a terminal with echo (cat without `stty raw -echo`, say) or a login: end it, and start \
         `hb serial test` there",
    )
}

fn console(device: &str, sample: &str, login: bool) -> Verdict {
    let what = if login { "a login" } else { "a console or shell" };
    Verdict::new(
        Matter::Console,
        format!("{what} is at the other end of {device}; it says: {sample:?}"),
        "there: systemctl disable --now serial-getty@PORT.service, and take console=PORT off the kernel's \
         command line; `hb serial ports` there shows who has the port",
    )
}

fn dead(ours: &Report, theirs: Option<&Report>) -> Verdict {
    let device = &ours.device;
    let lines = ours.samples.iter().any(|s| s.seen.dsr || s.seen.cts || s.seen.dcd);
    if theirs.is_some() {
        let advice = if lines {
            "the modem lines are alive, so the cable is plugged in: its data wires are broken, or not crossed"
        } else {
            "no cable, a broken one, or a straight one (not a null modem); or one end is in another port: \
             run it again with --also and the other free ports of `hb serial ports`"
        };
        let text = format!("dead: nothing arrives at either end of {device}");
        return Verdict::new(Matter::Dead, text, advice);
    }
    Verdict::new(
        Matter::Dead,
        format!("dead: nothing arrives at {device}"),
        format!(
            "is `hb serial test` running at the other end? Its verdict tells whether it hears {device}. If \
             neither hears the other: no cable, a broken one, a straight one (not a null modem), or one end \
             is in another port (--also listens at more)"
        ),
    )
}

fn errors(ours: &Report, peer: &Peer) -> Verdict {
    let here = &ours.device;
    let tried = || ours.speeds.iter().filter(|speed| speed.not_tried.is_none());
    let is_clean =
        |speed: &&Speed| speed.back.is_clean() && speed.out.is_some_and(|out| out.is_clean());
    let clean: Vec<_> = tried().filter(is_clean).map(|speed| speed.baud).collect();
    let bad: Vec<_> =
        tried().filter(|s| !is_clean(s)).map(|speed| speed.baud.to_string()).collect();
    let both = format!("{here} and {} hear each other", name(peer));
    if bad.is_empty() {
        return Verdict::new(Matter::Sound, both, "");
    }
    let advice = match clean.iter().max() {
        Some(best) => format!("`baud {best}` in ha.cf of both nodes, or a better cable"),
        None => "no speed is clean: another cable, then another port or adapter".to_owned(),
    };
    Verdict::new(Matter::Errors, format!("{both}; with errors at {} baud", bad.join(", ")), advice)
}

/// One speed in one line.
#[must_use]
pub fn speed_line(speed: &Speed) -> String {
    let baud = speed.baud;
    if let Some(why) = &speed.not_tried {
        return format!("{baud:>7} baud: not tried: {why}");
    }
    let out = speed.out.map_or_else(|| "not told".to_owned(), |out| way_words(&out));
    format!("{baud:>7} baud: sent: {out}; received: {}", way_words(&speed.back))
}

fn way_words(way: &Way) -> String {
    let lost = way.sent.saturating_sub(way.arrived);
    let Some(rate) = way.bit_error_rate() else { return format!("nothing of {} blocks", way.sent) };
    if way.is_clean() {
        return format!("{} bits, no error (rate below {rate:.1e})", way.bits());
    }
    let mut text = format!("{} of {} bits wrong (rate {rate:.1e})", way.bits_wrong, way.bits());
    if way.bits_wrong == 0 {
        text = format!("{} bits, none wrong", way.bits());
    }
    if lost > 0 {
        text.push_str(&format!(", {lost} of {} blocks lost", way.sent));
    }
    if way.strays > 0 {
        text.push_str(&format!(", {} stray bytes", way.strays));
    }
    text
}
