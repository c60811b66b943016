//! One end of a test: hails the other one, listens, and when both hear each other compares bits speed by
//! speed. It only finds; [`super::verdict`] judges.
//!
//! Both ends run the same. While they hail, each steps its modem lines and says in every line of text how
//! they stand, so that the other one sees what follows what. Then the end with the greater id leads: it
//! names a speed, both go there, both send blocks at once, both come back to the first speed and tell.

use std::io;
use std::time::{Duration, Instant};

use super::beacon::{Beacon, Say};
use super::blocks::{BLOCK, Count, Counter, block};
use super::hearing::{FEW, Hearing};
use super::modem::{Data, Outputs, Sample, Wiring};
use super::report::{Others, Peer, Report, Speed, Way};
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
/// An answer to an order takes at most this long, beside its time on the line.
const ANSWER: Duration = Duration::from_millis(1500);
const ATTEMPTS: usize = 4;
/// How long one speed's blocks are on the line.
const STRETCH: Duration = Duration::from_millis(500);
/// Between a change of speed and the first block: the other end changes a moment later.
const SETTLE: Duration = Duration::from_millis(400);
/// How much later than expected the last block may come.
const LATE: Duration = Duration::from_millis(1000);
/// The other end comes back to the first speed a moment later than this one.
const BACK: Duration = Duration::from_millis(150);
/// The one that follows gives up when the leader says nothing for this long.
const LEADERLESS: Duration = Duration::from_secs(6);
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

/// What the one that follows has counted and not yet compared: speed, blocks, what arrived.
type Counts = Vec<(u32, u32, Result<Count, String>)>;

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
        let deadline = Instant::now() + ANSWER + time_of(line.len(), self.settings.baud);
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

    fn lead(&mut self) -> io::Result<()> {
        for baud in self.settings.speeds.clone() {
            let blocks = blocks_for(baud);
            (self.tell)(&format!("{}: bits at {baud} baud", self.settings.device));
            let ready = |say: &Say| *say == Say::Ready { baud };
            let speed = if self.order(Say::Go { baud, blocks }, ready)?.is_some() {
                let back = self.exchange(baud, blocks);
                self.settle_speed(baud, blocks, back)?
            } else {
                let not_tried = Some("the other end didn't answer".to_owned());
                Speed { baud, not_tried, out: None, back: Way::default() }
            };
            self.report.speeds.push(speed);
        }
        for _ in 0..2 {
            self.say(Say::Bye)?;
        }
        pause(time_of(2 * self.line(Say::Bye).len(), self.settings.baud));
        Ok(())
    }

    /// Asks what arrived there, and tells what arrived here.
    fn settle_speed(
        &mut self,
        baud: u32,
        blocks: u32,
        back: Result<Count, String>,
    ) -> io::Result<Speed> {
        pause(BACK);
        let counted = |say: &Say| matches!(say, Say::Counted { baud: of, .. } if *of == baud);
        let answer = self.order(Say::Ask { baud }, counted)?;
        if let Some((say, took)) = answer {
            let on_line = self.line(Say::Ask { baud }).len() + self.line(say).len();
            let beyond = took.saturating_sub(time_of(on_line, self.settings.baud));
            let millis = u64::try_from(beyond.as_millis()).unwrap_or(u64::MAX);
            let best = self.report.round_trip_ms.map_or(millis, |best| best.min(millis));
            self.report.round_trip_ms = Some(best);
        }
        let out = answer.and_then(|(say, _)| way_of(say, blocks));
        if let Ok(count) = &back {
            self.say(counted_here(baud, count))?;
        }
        Ok(speed_of(baud, blocks, back, out))
    }

    /// Says it until it is answered so; the answer, and how long after the last saying it came.
    fn order(
        &mut self,
        order: Say,
        answers: impl Fn(&Say) -> bool,
    ) -> io::Result<Option<(Say, Duration)>> {
        for _ in 0..ATTEMPTS {
            let said = Instant::now();
            self.say(order)?;
            let patience = ANSWER + time_of(512, self.settings.baud);
            while said.elapsed() < patience {
                let heard = self.listen(TURN)?;
                if let Some(beacon) = heard.into_iter().find(|beacon| answers(&beacon.say)) {
                    return Ok(Some((beacon.say, said.elapsed())));
                }
            }
        }
        Ok(None)
    }

    fn follow(&mut self) -> io::Result<()> {
        let mut last = Instant::now();
        let mut said = Instant::now();
        let mut counts = Counts::new();
        let mut orders: Vec<Say> = self.pending.take().into_iter().collect();
        while last.elapsed() < LEADERLESS {
            for order in std::mem::take(&mut orders) {
                if order == Say::Bye {
                    return Ok(());
                }
                self.obey(order, &mut counts)?;
                last = Instant::now();
            }
            if self.report.speeds.is_empty()
                && counts.is_empty()
                && said.elapsed() >= self.interval()
            {
                // The leader may not know yet that it is heard.
                self.say(Say::Hail)?;
                said = Instant::now();
            }
            orders.extend(self.listen(TURN)?.into_iter().map(|beacon| beacon.say));
        }
        Err(io::Error::other("the other end fell silent in the middle of the test"))
    }

    fn obey(&mut self, order: Say, counts: &mut Counts) -> io::Result<()> {
        match order {
            Say::Go { baud, blocks } => {
                self.say(Say::Ready { baud })?;
                let line = self.line(Say::Ready { baud }).len();
                pause(time_of(line, self.settings.baud) + TURN);
                let count = self.exchange(baud, blocks);
                counts.retain(|(of, ..)| *of != baud);
                counts.push((baud, blocks, count));
            }
            Say::Ask { baud } => {
                if let Some((_, _, Ok(count))) = counts.iter().find(|(of, ..)| *of == baud) {
                    self.say(counted_here(baud, count))?;
                }
            }
            Say::Counted { baud, .. } => {
                let at = counts.iter().position(|(of, ..)| *of == baud);
                if let Some((_, blocks, back)) = at.map(|at| counts.remove(at)) {
                    self.report.speeds.push(speed_of(baud, blocks, back, way_of(order, blocks)));
                }
            }
            Say::Hail | Say::Ready { .. } | Say::Bye => {}
        }
        Ok(())
    }

    /// Both ends send blocks at once; what arrived here. Comes back to the first speed.
    fn exchange(&mut self, baud: u32, blocks: u32) -> Result<Count, String> {
        let began = Instant::now();
        let end = SETTLE + time_of(blocks as usize * BLOCK, baud) + LATE;
        let outcome = match self.wire.set_baud(baud) {
            Ok(()) => self.send_and_count(baud, blocks, began, end).map_err(|e| e.to_string()),
            Err(error) => {
                pause(end);
                Err(format!("this port doesn't do {baud} baud: {error}"))
            }
        };
        if let Err(error) = self.wire.set_baud(self.settings.baud) {
            return Err(error.to_string());
        }
        self.hearing = Hearing::new(self.settings.id);
        outcome
    }

    fn send_and_count(
        &mut self,
        baud: u32,
        blocks: u32,
        began: Instant,
        end: Duration,
    ) -> io::Result<Count> {
        let mut counter = Counter::default();
        let bytes: Vec<u8> = (0..blocks).flat_map(|n| block(n as u16)).collect();
        let mut sent = 0;
        let mut buffer = [0; 512];
        while began.elapsed() < end && !(sent == bytes.len() && counter.has_seen(blocks)) {
            // No further ahead than the line is: a port's own queue is seconds long at 9600 baud.
            let on_line = began.elapsed().saturating_sub(SETTLE).as_micros() as u64;
            let due = (on_line * u64::from(baud) / 10_000_000) as usize;
            let due = if began.elapsed() < SETTLE { 0 } else { due + 2 * BLOCK };
            if sent < due.min(bytes.len()) {
                sent += self.wire.write(&bytes[sent..due.min(bytes.len())])?;
            }
            let count = self.wire.read(&mut buffer, Duration::from_millis(2))?;
            // A change of speed makes a few bytes of nothing; behind the last block comes text again.
            if began.elapsed() > SETTLE / 3 && !counter.has_seen(blocks) {
                counter.feed(&buffer[..count]);
            }
        }
        // What was just written is still on its way, and would be thrown away with the speed.
        pause(time_of(2 * BLOCK, baud) + TURN);
        Ok(counter.count())
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

fn counted_here(baud: u32, count: &Count) -> Say {
    Say::Counted { baud, blocks: count.blocks, bits_wrong: count.bits_wrong, strays: count.strays }
}

fn way_of(say: Say, sent: u32) -> Option<Way> {
    let Say::Counted { blocks, bits_wrong, strays, .. } = say else { return None };
    Some(Way { sent, arrived: blocks, bits_wrong, strays })
}

fn speed_of(baud: u32, sent: u32, back: Result<Count, String>, out: Option<Way>) -> Speed {
    let (count, not_tried) = match back {
        Ok(count) => (count, None),
        Err(why) => (Count::default(), Some(why)),
    };
    let Count { blocks, bits_wrong, strays } = count;
    Speed { baud, not_tried, out, back: Way { sent, arrived: blocks, bits_wrong, strays } }
}

/// As many as fit into one stretch.
fn blocks_for(baud: u32) -> u32 {
    let one = time_of(BLOCK, baud).as_micros().max(1);
    u32::try_from(STRETCH.as_micros() / one).unwrap_or(u32::MAX).clamp(8, u16::MAX.into())
}
