//! Where random plans come from: soups of faults, and topology swaps.

pub mod trio;

use hb_proto::config::LinkKind;

use super::directed::{plain, settled};
use super::fault::{Command, Fault, Files, Mood, Planned, Point, Weather, Who};
use super::kind::{Kind, Origin};
use super::knobs::Knobs;
use super::queue::At;
use super::rng::Rng;

/// A run before it is run: everything follows from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// For a person.
    pub label: String,
    /// For a machine: brings it back.
    pub origin: Origin,
    pub knobs: Knobs,
    /// What happens, by time.
    pub faults: Vec<Planned>,
    /// When faults stop for good.
    pub mended_at: At,
    /// The claim of protocol.md §1 for one failure: from this moment on, when everything runs quietly,
    /// nobody is without the service for longer than a failover takes, and somebody serves in the end.
    pub served_from: Option<At>,
}

pub(super) const SECOND: u64 = 1_000_000;

pub(super) fn sorted(mut faults: Vec<Planned>) -> Vec<Planned> {
    faults.sort_by_key(|planned| planned.at);
    faults
}

/// A random soup: each seed switches kinds of faults on and off (swarm testing: Groce et al., 2012).
#[must_use]
pub fn soup(seed: u64) -> Plan {
    let mut rng = Rng::new(super::rng::spread(seed) ^ 0x50_0F);
    let knobs = Knobs::drawn(&mut rng);
    stirred(Kind::Soup, seed, rng, knobs)
}

/// A longer soup by the guide's own times: what users run.
#[must_use]
pub fn guide(seed: u64) -> Plan {
    let mut rng = Rng::new(super::rng::spread(seed) ^ 0x60_1DE5);
    let knobs = Knobs::drawn(&mut rng).by_the_guide();
    stirred(Kind::Guide, seed, rng, knobs)
}

/// For how long faults happen at least, and the most that do: as many a deadtime in both kinds.
fn lasts(kind: Kind, knobs: &Knobs) -> (At, u64) {
    let deadtime = knobs.timing.deadtime.micros();
    match kind {
        Kind::Guide => (100 * deadtime, 75),
        _ => ((40 * deadtime).clamp(10 * SECOND, 300 * SECOND), 30),
    }
}

fn stirred(kind: Kind, seed: u64, mut rng: Rng, knobs: Knobs) -> Plan {
    let allowed: Vec<usize> = (0..Fault::CLASSIC).filter(|_| rng.coin()).collect();
    let later = rng.pick(&[0, 100_000, 3 * SECOND]);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(rng.between(0, 1) as usize) },
        Planned { at: later, fault: Fault::PowerOn(0) },
        Planned { at: later, fault: Fault::PowerOn(1) },
    ];
    let from = if rng.permille(200) { 0 } else { settled(&knobs, later) };
    let (length, most) = lasts(kind, &knobs);
    if !allowed.is_empty() {
        for _ in 0..rng.between(2, most) {
            let at = from + rng.between(0, length);
            let kind = rng.pick(&allowed);
            stir(&mut rng, &knobs, kind, at, &mut faults);
        }
    }
    if kind == Kind::Guide {
        stir_lines(&mut rng, &knobs, from..from + length, &mut faults);
    }
    let mended_at = from + length;
    faults.retain(|planned| planned.at < mended_at);
    let origin = Origin { kind, arbiter: false, seed, case: 0 };
    let label = format!("{kind} {seed}");
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from: None }
}

/// How long something lasts: around the times that matter.
fn span(rng: &mut Rng, knobs: &Knobs) -> u64 {
    let timing = &knobs.timing;
    let (keepalive, lease) = (timing.keepalive.micros(), timing.lease.micros());
    let deadtime = timing.deadtime.micros();
    match rng.between(0, 5) {
        0 => rng.between(1_000, keepalive),
        1 => rng.between(keepalive, lease),
        2 => rng.between(lease - keepalive, deadtime + keepalive),
        3 => rng.between(deadtime, 2 * deadtime),
        4 => rng.between(deadtime, 6 * deadtime),
        _ => rng.between(SECOND, 15 * SECOND),
    }
}

fn stir(rng: &mut Rng, knobs: &Knobs, kind: usize, at: At, faults: &mut Vec<Planned>) {
    let who = rng.between(0, 1) as usize;
    let links = knobs.links.len();
    let link = rng.between(0, links as u64 - 1) as usize;
    // Every eighth thing that could be undone stays until everything is mended.
    let end = if rng.permille(125) { At::MAX } else { at + span(rng, knobs) };
    let mut plan = |at, fault| faults.push(Planned { at, fault });
    match Fault::KINDS[kind] {
        "power off" => {
            plan(at, Fault::PowerOff(who));
            plan(end, Fault::PowerOn(who));
        }
        "reset" => plan(at, Fault::Reset(who)),
        "freeze" => {
            plan(at, Fault::Freeze(who));
            plan(end, Fault::Thaw(who));
        }
        "stop" => {
            plan(at, Fault::Stop(who));
            if rng.permille(100) {
                // Somebody loses patience with it.
                plan(end, Fault::KillDaemon(who));
            } else {
                plan(end, Fault::Continue(who));
            }
        }
        "stall" => {
            let point = rng.pick(&Point::ALL);
            plan(at, Fault::Stall(who, point, span(rng, knobs)));
        }
        "kill daemon" => plan(at, Fault::KillDaemon(who)),
        "kill helper" => plan(at, Fault::KillHelper(who)),
        "kill both" => plan(at, Fault::KillBoth(who)),
        "crash loop" => plan(at, Fault::CrashLoop(who, rng.between(2, 12) as u32)),
        "cut" => {
            for (cut, mend) in cuts(rng, links, who, link) {
                plan(at, cut);
                plan(end, mend);
            }
        }
        "weather" => {
            let weather = weather(rng, knobs);
            plan(at, Fault::Weather { from: who, link, weather });
            plan(end, Fault::Weather { from: who, link, weather: Weather::default() });
        }
        "scripts" => {
            plan(at, Fault::Scripts(who, rng.pick(&Mood::ILL)));
            plan(end, Fault::Scripts(who, Mood::Healthy));
        }
        "operator" => {
            let command = rng.pick(&[Command::Standby, Command::Takeover, Command::Leave]);
            plan(at, Fault::Operator(who, command));
            if command == Command::Leave {
                plan(end, Fault::Operator(who, Command::Start));
            }
        }
        "kernel panic" => {
            plan(at, Fault::PanicKernel(who));
            // Somebody presses the button, unless the watchdog does.
            plan(end, Fault::Reset(who));
        }
        "reload" => {
            plan(at, Fault::Reload(who, rng.pick(&Files::CLASSIC)));
            plan(end, Fault::Reload(who, Files::Same));
        }
        _ => plan(at, Fault::WallStep(who, rng.between(0, 200_000_000) as i64 - 100_000_000)),
    }
}

/// Now and then what happens to serial lines alone: a break, bursts of noise, an end of another speed.
fn stir_lines(
    rng: &mut Rng,
    knobs: &Knobs,
    within: std::ops::Range<At>,
    faults: &mut Vec<Planned>,
) {
    let serial = |kind: &LinkKind| match kind {
        LinkKind::Serial { baud } => Some(*baud),
        _ => None,
    };
    let lines = knobs.links.iter().map(serial).enumerate();
    let lines: Vec<_> = lines.filter_map(|(link, baud)| Some((link, baud?))).collect();
    if lines.is_empty() || rng.coin() {
        return;
    }
    for _ in 0..rng.between(1, 5) {
        let at = rng.between(within.start, within.end - 1);
        let (link, right) = rng.pick(&lines);
        let (who, end) = (rng.between(0, 1) as usize, at + span(rng, knobs));
        let weather = |weather| Fault::Weather { from: who, link, weather };
        let (begins, ends) = match rng.between(0, 2) {
            0 => (Fault::Break { from: who, link, us: rng.between(100, 2_000_000) }, None),
            1 => {
                let burst_bytes = rng.between(1, 200) as u32;
                let noise = Weather { bursts: 5_000, burst_bytes, ..Weather::default() };
                (weather(noise), Some(weather(Weather::default())))
            }
            _ => {
                let wrong = rng.pick(&[right / 2, right * 2]);
                let speed = |baud| Fault::Speed { who, link, baud };
                (speed(Some(wrong)), Some(speed(None)))
            }
        };
        faults.push(Planned { at, fault: begins });
        faults.extend(ends.map(|fault| Planned { at: end, fault }));
    }
}

/// One direction of one link, one link, everything one way, everything.
fn cuts(rng: &mut Rng, links: usize, who: Who, link: usize) -> Vec<(Fault, Fault)> {
    let both = |from, link| (Fault::Cut { from, link }, Fault::Mend { from, link });
    match rng.between(0, 3) {
        0 => vec![both(who, link)],
        1 => vec![both(0, link), both(1, link)],
        2 => (0..links).map(|link| both(who, link)).collect(),
        _ => vec![(Fault::CutAll, Fault::MendAll)],
    }
}

fn weather(rng: &mut Rng, knobs: &Knobs) -> Weather {
    let some =
        |rng: &mut Rng, most| if rng.coin() { rng.between(1, most) as u32 * 1000 } else { 0 };
    Weather {
        loss: some(rng, 400),
        twice: some(rng, 300),
        flips: some(rng, 30),
        merges: some(rng, 30),
        delay_us: if rng.coin() { rng.between(0, knobs.delay_us) } else { 0 },
        overtaken: some(rng, 300),
        bursts: some(rng, 30),
        burst_us: rng.between(1_000, 2 * knobs.timing.deadtime.micros()),
        ..Weather::default()
    }
}

/// Arbitrary topologies, swapped every few tens of milliseconds, with restarts in between: what finds holes
/// that need one frame to get through at the right moment.
#[must_use]
pub fn swaps(seed: u64) -> Plan {
    let mut rng = Rng::new(super::rng::spread(seed) ^ 0x5A_A9);
    let mut knobs = plain(seed);
    knobs.respawn_us = Some(rng.pick(&[1_000, 20_000, 200_000]));
    knobs.boot_us = rng.pick(&[(20_000, 40_000), (300_000, 900_000)]);
    knobs.script_us = (100, 3_000);
    knobs.timing.initdead = knobs.timing.deadtime;
    knobs.delay_us = knobs.timing.lease.micros() * rng.pick(&[0, 1, 3]);
    let links = knobs.links.len();
    let from = settled(&knobs, 0);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(0) },
        Planned { at: 0, fault: Fault::PowerOn(1) },
    ];
    let delay_us = knobs.delay_us;
    if delay_us > 0 {
        for at in 0..2 * links {
            let weather = Weather { delay_us, ..Weather::default() };
            let fault = Fault::Weather { from: at % 2, link: at / 2, weather };
            faults.push(Planned { at: from, fault });
        }
    }
    let longest = rng.pick(&[60_000, 200_000, 600_000]);
    let open = rng.pick(&[300, 500, 800]);
    let mut at = from;
    for _ in 0..rng.between(10, 60) {
        at += rng.between(5_000, longest);
        for each in 0..2 * links {
            let (from, link) = (each % 2, each / 2);
            let mended = rng.permille(open);
            let fault = if mended { Fault::Mend { from, link } } else { Fault::Cut { from, link } };
            faults.push(Planned { at, fault });
        }
        let who = rng.between(0, 1) as usize;
        let fault = match rng.between(0, 9) {
            0..=1 => Fault::KillDaemon(who),
            2 => Fault::Reset(who),
            3 => Fault::Operator(who, Command::Standby),
            4 => Fault::Operator(who, Command::Takeover),
            5 => Fault::Stall(who, rng.pick(&Point::ALL), rng.between(1_000, 700_000)),
            _ => continue,
        };
        faults.push(Planned { at: at + rng.between(0, 5_000), fault });
    }
    let mended_at = at + rng.between(0, longest);
    faults.retain(|planned| planned.at < mended_at);
    let origin = Origin { kind: Kind::Swaps, arbiter: false, seed, case: 0 };
    let label = format!("swaps {seed}");
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from: None }
}
