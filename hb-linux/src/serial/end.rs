//! One end of a test: hails the other one, listens, and when both hear each other compares bits speed by
//! speed. It only finds; [`super::verdict`] judges.
//!
//! Both ends run the same. While they hail, each steps its modem lines and says in every line of text how
//! they stand, so that the other one sees what follows what. Then the end with the greater id leads: it
//! names a speed, both go there, both send blocks at once, both come back to the first speed and tell.

mod compare;

use std::io;
use std::time::{Duration, Instant};

use super::beacon::{Beacon, Say};
use super::hearing::{FEW, Hearing};
use super::modem::{Data, Outputs, Sample, Wiring};
use super::report::{Others, Peer, Report};
use super::tty::Wire;
use super::{BAUDS, time_of};

/// How this end is to test.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this is, at random.
    pub id: u32,
    /// `uname -n`.
    pub node: String,
    /// The port, as the operator names it.
    pub device: String,
    /// The speed that the ends meet at.
    pub baud: u32,
    /// How long to hail an end that isn't heard.
    pub patience: Duration,
    /// Speeds for the bit error rate; none: only hail.
    pub speeds: Vec<u32>,
}

/// A line of text is said this often, or as often as it fits twice.
const HAIL_EVERY: Duration = Duration::from_millis(150);
/// One turn of listening.
const TURN: Duration = Duration::from_millis(20);
/// Lines of the other end that are waited for once both hear each other: enough for each to see every
/// level of the other's modem lines.
const HAILS: usize = 8;
/// Without modem lines fewer will do.
const HAILS_WITHOUT_LINES: usize = 3;
/// A port that takes no byte for this long is held by something; a starved host isn't that slow.
const TAKES_NOTHING: Duration = Duration::from_secs(5);
/// With something wrong and nothing better to come, the rest of the patience is spared.
const ENOUGH: Duration = Duration::from_secs(4);

const LEVELS: [Outputs; 4] = [
    Outputs { dtr: true, rts: true },
    Outputs { dtr: false, rts: true },
    Outputs { dtr: true, rts: false },
    Outputs { dtr: false, rts: false },
];

/// Other ports of this machine that listen meanwhile, by name.
pub type Also<'a> = &'a mut [(String, Box<dyn Wire>)];

/// Runs the test at this end.
pub fn run(
    wire: &mut dyn Wire,
    also: Also<'_>,
    settings: &Settings,
    tell: &mut dyn FnMut(&str),
) -> Report {
    let report = Report {
        id: settings.id,
        node: settings.node.clone(),
        device: settings.device.clone(),
        baud: settings.baud,
        ..Report::default()
    };
    let hearing = Hearing::new(settings.id);
    let ears = also.iter().map(|_| Hearing::new(settings.id)).collect();
    let chance = settings.id;
    let outputs = LEVELS[0];
    let pending = None;
    let mut end =
        End { wire, also, ears, settings, tell, hearing, report, outputs, chance, pending };
    if let Err(error) = end.test() {
        end.report.broke_off = Some(error.to_string());
    }
    end.report.wiring = Some(end.wiring());
    end.report
}

struct End<'a> {
    wire: &'a mut dyn Wire,
    also: Also<'a>,
    ears: Vec<Hearing>,
    settings: &'a Settings,
    tell: &'a mut dyn FnMut(&str),
    hearing: Hearing,
    report: Report,
    outputs: Outputs,
    chance: u32,
    /// An order that came while this end was still hailing.
    pending: Option<Say>,
}

impl End<'_> {
    fn test(&mut self) -> io::Result<()> {
        let met = self.hail()?;
        self.report.echoes = self.hearing.echoes;
        self.report.others = self.hearing.others();
        self.report.other_bytes = self.hearing.others as u64;
        self.hold(LEVELS[0]);
        let Some(peer) = self.report.peers.first().filter(|_| met).cloned() else { return Ok(()) };
        if self.settings.speeds.is_empty() {
            return self.part();
        }
        if self.settings.id > peer.id { self.lead() } else { self.follow() }
    }

    /// Until both ends hear each other, or patience ends.
    fn hail(&mut self) -> io::Result<bool> {
        (self.tell)(&format!("{}: hailing at {} baud", self.settings.device, self.settings.baud));
        let began = Instant::now();
        let mut said: Option<Instant> = None;
        let (mut heard, mut hunted, mut looped) = (0, false, false);
        while began.elapsed() < self.settings.patience {
            if said.is_none_or(|at| at.elapsed() >= self.interval()) {
                self.hold(LEVELS[self.report.hailed as usize % LEVELS.len()]);
                self.say(Say::Hail)?;
                self.report.hailed += 1;
                said = Some(Instant::now());
            }
            for beacon in self.listen(TURN)? {
                heard += 1;
                if beacon.say != Say::Hail {
                    self.pending = Some(beacon.say);
                    return Ok(true);
                }
            }
            self.listen_elsewhere()?;
            let wanted = if self.report.samples.is_empty() { HAILS_WITHOUT_LINES } else { HAILS };
            if self.report.heard_by_peer && heard >= wanted {
                return Ok(true);
            }
            if !self.report.peers.is_empty() {
                continue;
            }
            if !looped && self.hearing.echoes >= 3 {
                looped = true;
                self.echo_elsewhere()?;
            }
            let late = began.elapsed() > ENOUGH.min(self.settings.patience / 2);
            if !hunted && late && self.hearing.others >= FEW {
                hunted = true;
                self.hunt()?;
            }
            if began.elapsed() > ENOUGH && (looped || self.asks_for_login()) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn asks_for_login(&mut self) -> bool {
        matches!(self.hearing.others(), Others::Text { login: true, .. })
    }

    fn interval(&self) -> Duration {
        HAIL_EVERY.max(2 * time_of(self.line(Say::Hail).len(), self.settings.baud))
    }

    fn line(&self, say: Say) -> Vec<u8> {
        let beacon = Beacon {
            id: self.settings.id,
            node: self.settings.node.clone(),
            device: self.settings.device.clone(),
            baud: self.settings.baud,
            out: (self.outputs.dtr, self.outputs.rts),
            heard: self.report.peers.first().map(|peer| peer.id),
            say,
        };
        beacon.line()
    }

    fn say(&mut self, say: Say) -> io::Result<()> {
        let line = self.line(say);
        let mut rest = &line[..];
        let deadline = Instant::now() + TAKES_NOTHING;
        while !rest.is_empty() {
            let taken = self.wire.write(rest)?;
            rest = &rest[taken..];
            if taken == 0 {
                if Instant::now() > deadline {
                    return Err(io::Error::other(
                        "the port takes no bytes: it is held by flow control",
                    ));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Drives the outputs, and notes what our own inputs make of it.
    fn hold(&mut self, outputs: Outputs) {
        self.outputs = outputs;
        self.wire.drive(outputs);
        std::thread::sleep(Duration::from_millis(5));
        self.sample(None);
    }

    /// Listens for so long, or until somebody else's line of text is complete.
    fn listen(&mut self, span: Duration) -> io::Result<Vec<Beacon>> {
        let deadline = Instant::now() + span;
        let mut buffer = [0; 512];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let count = self.wire.read(&mut buffer, left)?;
            let beacons = self.hearing.feed(&buffer[..count]);
            for beacon in &beacons {
                self.note(beacon);
            }
            if !beacons.is_empty() || Instant::now() >= deadline {
                return Ok(beacons);
            }
        }
    }

    fn note(&mut self, beacon: &Beacon) {
        let peer = peer_of(beacon);
        if !self.report.peers.contains(&peer) {
            (self.tell)(&format!(
                "{}: hears {} on {}",
                self.settings.device, peer.node, peer.device
            ));
            self.report.peers.push(peer);
        }
        self.report.heard_by_peer |= beacon.heard == Some(self.settings.id);
        self.sample(Some(Outputs { dtr: beacon.out.0, rts: beacon.out.1 }));
    }

    /// What our inputs show now. The same sight twice proves no more than once.
    fn sample(&mut self, theirs: Option<Outputs>) {
        let Some(seen) = self.wire.inputs() else { return };
        let sample = Sample { ours: self.outputs, theirs, seen };
        if !self.report.samples.contains(&sample) {
            self.report.samples.push(sample);
        }
    }

    fn listen_elsewhere(&mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        for ((name, wire), ears) in self.also.iter_mut().zip(&mut self.ears) {
            let count = wire.read(&mut buffer, Duration::ZERO)?;
            for beacon in ears.feed(&buffer[..count]) {
                let heard = (name.clone(), peer_of(&beacon));
                if !self.report.on_other_ports.contains(&heard) {
                    self.report.on_other_ports.push(heard);
                }
            }
        }
        Ok(())
    }

    /// Whether our own lines come back at another speed as well.
    fn echo_elsewhere(&mut self) -> io::Result<()> {
        let base = self.settings.baud;
        let other = BAUDS.into_iter().find(|baud| *baud != base).unwrap_or(base);
        let sent = self.line(Say::Hail).len();
        pause(time_of(sent, base));
        self.wire.set_baud(other)?;
        let kept = std::mem::replace(&mut self.hearing, Hearing::new(self.settings.id));
        self.say(Say::Hail)?;
        self.listen(time_of(2 * sent, other) + HAIL_EVERY)?;
        self.report.echoes_at_any_speed = self.hearing.echoes > 0;
        self.hearing = kept;
        self.wire.set_baud(base)
    }

    /// Something is heard that makes no sense at this speed: does it at another one? Between two tries this
    /// end hails at its own speed for a while, as the other one may be looking for it in the same way.
    fn hunt(&mut self) -> io::Result<()> {
        let base = self.settings.baud;
        (self.tell)(&format!("{}: garbage at {base} baud; trying others", self.settings.device));
        let kept = std::mem::replace(&mut self.hearing, Hearing::new(self.settings.id));
        for baud in BAUDS.into_iter().cycle().take(3 * BAUDS.len()).filter(|baud| *baud != base) {
            self.wire.set_baud(baud)?;
            self.hearing = Hearing::new(self.settings.id);
            let beacons = self.listen(self.some_time())?;
            let found = match self.hearing.others() {
                _ if !beacons.is_empty() => Others::Test,
                Others::Garbage => Others::Nothing,
                others => others,
            };
            self.wire.set_baud(base)?;
            if found != Others::Nothing {
                self.report.elsewhere_in_speed = Some((baud, found));
                break;
            }
            for _ in 0..2 {
                self.say(Say::Hail)?;
                pause(self.some_time() / 2);
                self.chance = self.chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            }
        }
        self.hearing = kept;
        // A peer that was heard only at another speed is not one that this end can talk to.
        self.report.peers.clear();
        self.report.heard_by_peer = false;
        self.wire.set_baud(base)
    }

    /// 300 to 600 ms; two ends that look for each other must not do it in step.
    fn some_time(&self) -> Duration {
        Duration::from_millis(300 + u64::from(self.chance >> 16) % 300)
    }

    /// Says often enough that this end hears the other one, and leaves.
    fn part(&mut self) -> io::Result<()> {
        for _ in 0..HAILS {
            self.say(Say::Hail)?;
            self.listen(self.interval())?;
        }
        Ok(())
    }

    fn wiring(&self) -> Wiring {
        let data = if !self.report.peers.is_empty() {
            Data::Cross
        } else if self.report.echoes > 0 {
            Data::ComeBack
        } else {
            Data::None
        };
        Wiring::of(&self.report.samples, data)
    }
}

fn pause(span: Duration) {
    std::thread::sleep(span);
}

fn peer_of(beacon: &Beacon) -> Peer {
    Peer {
        id: beacon.id,
        node: beacon.node.clone(),
        device: beacon.device.clone(),
        baud: beacon.baud,
    }
}
