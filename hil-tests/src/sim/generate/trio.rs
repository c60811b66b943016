//! The same with the third voter: soups with the dongle's faults, and topologies that change with it.

use super::super::dongle::faults::DongleFault;
use super::super::knobs::trio::{ArbiterKnobs, Stopped};
use super::{
    At, Command, Fault, Files, Kind, Knobs, Mood, Origin, Plan, Planned, Point, Rng, SECOND,
    Weather, lasts, plain, settled, sorted, span, stir, stir_lines,
};
use crate::scenario::ResetWire;

/// A random soup. Each seed switches kinds of faults on and off, the dongle's more often on.
#[must_use]
pub fn soup(seed: u64) -> Plan {
    let mut rng = Rng::new(super::super::rng::spread(seed) ^ 0x7210);
    let knobs = Knobs::drawn_trio(&mut rng);
    stirred(Kind::Soup, seed, rng, knobs)
}

/// A longer soup by the guide's own times: what users run.
#[must_use]
pub fn guide(seed: u64) -> Plan {
    let mut rng = Rng::new(super::super::rng::spread(seed) ^ 0x72_601D);
    let knobs = Knobs::drawn_trio(&mut rng).by_the_guide();
    stirred(Kind::Guide, seed, rng, knobs)
}

fn stirred(kind: Kind, seed: u64, mut rng: Rng, knobs: Knobs) -> Plan {
    let (classic, dongle) = (0..Fault::CLASSIC, Fault::CLASSIC..Fault::LINES);
    let mut allowed: Vec<usize> = classic.filter(|_| rng.coin()).collect();
    allowed.extend(dongle.filter(|_| rng.permille(600)));
    let later = rng.pick(&[0, 100_000, 3 * SECOND]);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(rng.between(0, 1) as usize) },
        Planned { at: later, fault: Fault::PowerOn(0) },
        Planned { at: later, fault: Fault::PowerOn(1) },
    ];
    let from = if rng.permille(200) { 0 } else { quiet(&knobs, later) };
    let full = knobs.timing.full().micros().min(30 * SECOND);
    let (shortest, most) = lasts(kind, &knobs);
    let length = shortest.max(3 * full);
    if !allowed.is_empty() {
        for _ in 0..rng.between(2, most) {
            let at = from + rng.between(0, length);
            let kind = rng.pick(&allowed);
            if kind < Fault::CLASSIC {
                stir(&mut rng, &knobs, kind, at, &mut faults);
            } else {
                stir_dongle(&mut rng, &knobs, kind, at, &mut faults);
            }
        }
    }
    if knobs.arbiter.is_some_and(|arbiter| arbiter.external_watchdog) && rng.coin() {
        let at = from + rng.between(0, length);
        unasked(&mut rng, at, &mut faults);
    }
    if kind == Kind::Guide {
        stir_lines(&mut rng, &knobs, from..from + length, &mut faults);
    }
    let mended_at = from + length;
    faults.retain(|planned| planned.at < mended_at);
    let origin = Origin { kind, arbiter: true, seed, case: 0 };
    let label = format!("{kind} {seed} with an arbiter");
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from: None }
}

/// A node hangs whose peer can't start anything, and so asks for no fence: only R13 resets it.
fn unasked(rng: &mut Rng, at: At, faults: &mut Vec<Planned>) {
    let who = rng.between(0, 1) as usize;
    for (after, fault) in [
        (0, Fault::Scripts(1 - who, Mood::StartFails)),
        (10_000, Fault::Operator(1 - who, Command::Takeover)),
        (2 * SECOND, Fault::Stop(who)),
        (6 * SECOND, Fault::Continue(who)),
        (6 * SECOND, Fault::Scripts(1 - who, Mood::Healthy)),
    ] {
        faults.push(Planned { at: at + after, fault });
    }
}

/// When three voters that were switched on at 0 and `later` run quietly, every promise renewed: what
/// nobody knows to be promised to whom ends after full at the latest, where it ends at all.
pub(in crate::sim) fn quiet(knobs: &Knobs, later: u64) -> At {
    let full = knobs.timing.full().micros();
    let unknown = if full > 60 * SECOND { 0 } else { full };
    settled(knobs, later) + unknown + knobs.arbiter.map_or(0, |arbiter| arbiter.boot_us.1)
}

fn stir_dongle(rng: &mut Rng, knobs: &Knobs, kind: usize, at: At, faults: &mut Vec<Planned>) {
    let who = rng.between(0, 1) as usize;
    let end = if rng.permille(125) { At::MAX } else { at + span(rng, knobs) };
    let lasting = |begin, end| (Fault::Dongle(begin), Some(Fault::Dongle(end)));
    let once = |fault| (Fault::Dongle(fault), None);
    let (begins, ends) = match Fault::KINDS[kind] {
        "dongle reset" => once(DongleFault::Reset),
        "dongle hang" => once(DongleFault::Hang),
        "dongle removed" => {
            let spare = rng.permille(200);
            lasting(DongleFault::Remove, DongleFault::Insert { spare })
        }
        "spare dongle" => once(DongleFault::Insert { spare: true }),
        "dongle line" => lasting(DongleFault::Half(who, true), DongleFault::Half(who, false)),
        "dongle port" if rng.coin() => {
            lasting(DongleFault::Deaf(who, true), DongleFault::Deaf(who, false))
        }
        "dongle port" => lasting(DongleFault::Mute(who, true), DongleFault::Mute(who, false)),
        "dongle feed" => lasting(DongleFault::Feed(who, false), DongleFault::Feed(who, true)),
        "reset line" => {
            let wire = rng.pick(&[ResetWire::Broken, ResetWire::Swapped]);
            lasting(DongleFault::Wire(who, wire), DongleFault::Wire(who, ResetWire::Sound))
        }
        "line test" => once(DongleFault::Test(who)),
        "peer is off" => (Fault::PeerIsOff(who), None),
        "terms" => {
            let files = rng.pick(&Files::TERMS);
            (Fault::Reload(who, files), Some(Fault::Reload(who, Files::Same)))
        }
        other => unreachable!("{other} is no kind of the dongle's"),
    };
    faults.push(Planned { at, fault: begins });
    faults.extend(ends.map(|fault| Planned { at: end, fault }));
}

/// The pair that the seed draws, with a dongle in one of the modes of R10.
pub(in crate::sim) fn plain_trio(seed: u64) -> Knobs {
    let knobs = plain(seed);
    let mut rng = Rng::new(seed ^ 0x7210_D1EC);
    let mut arbiter = ArbiterKnobs::plain();
    // A machine that can be paused as a whole has an unbounded guard; else its watchdog gives one.
    arbiter.stopped = if knobs.clock_freezes { Stopped::ByNothing } else { Stopped::ByWatchdog(1) };
    arbiter.reset_lines = knobs.clock_freezes || rng.coin();
    if !arbiter.reset_lines {
        arbiter.reset_wires = [ResetWire::Broken; 2];
    }
    arbiter.drift_ppm = knobs.drift_ppm[1];
    arbiter.store_us = rng.pick(&[0, 2_000]);
    knobs.with_dongle(arbiter)
}

/// Arbitrary topologies of three voters, swapped every few tens of milliseconds, with restarts of nodes
/// and dongle, spares, and handovers in between.
#[must_use]
pub fn swaps(seed: u64) -> Plan {
    let mut rng = Rng::new(super::super::rng::spread(seed) ^ 0x5A_A97);
    let mut knobs = plain_trio(seed);
    knobs.respawn_us = Some(rng.pick(&[1_000, 20_000, 200_000]));
    knobs.boot_us = rng.pick(&[(20_000, 40_000), (300_000, 900_000)]);
    knobs.script_us = (100, 3_000);
    knobs.timing.initdead = knobs.timing.deadtime;
    knobs.delay_us = knobs.timing.lease.micros() * rng.pick(&[0, 1, 3]);
    let from = quiet(&knobs, 0);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(0) },
        Planned { at: 0, fault: Fault::PowerOn(1) },
    ];
    let delay_us = knobs.delay_us;
    for at in (0..2 * knobs.links.len()).filter(|_| delay_us > 0) {
        let weather = Weather { delay_us, ..Weather::default() };
        let fault = Fault::Weather { from: at % 2, link: at / 2, weather };
        faults.push(Planned { at: from, fault });
    }
    let longest = rng.pick(&[60_000, 200_000, 600_000]);
    let open = rng.pick(&[300, 500, 800]);
    let restarts = rng.pick(&[100, 400]);
    let mut at = from;
    for _ in 0..rng.between(10, 60) {
        at += rng.between(5_000, longest);
        swap(&mut rng, &knobs, open, at, &mut faults);
        if let Some(fault) = restart(&mut rng, restarts) {
            faults.push(Planned { at: at + rng.between(0, 5_000), fault });
        }
    }
    let mended_at = at + rng.between(0, longest);
    faults.retain(|planned| planned.at < mended_at);
    let origin = Origin { kind: Kind::Swaps, arbiter: true, seed, case: 0 };
    let label = format!("swaps {seed} with an arbiter");
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from: None }
}

/// Every direction of every wire, open or cut by chance.
fn swap(rng: &mut Rng, knobs: &Knobs, open: u32, at: At, faults: &mut Vec<Planned>) {
    for who in 0..2 {
        for link in 1..knobs.links.len() {
            let mended = rng.permille(open);
            let from = who;
            let fault = if mended { Fault::Mend { from, link } } else { Fault::Cut { from, link } };
            faults.push(Planned { at, fault });
        }
        for half in [
            DongleFault::Deaf(who, !rng.permille(open)),
            DongleFault::Mute(who, !rng.permille(open)),
        ] {
            faults.push(Planned { at, fault: Fault::Dongle(half) });
        }
    }
}

fn restart(rng: &mut Rng, permille: u32) -> Option<Fault> {
    let who = rng.between(0, 1) as usize;
    if rng.permille(permille) {
        return Some(match rng.between(0, 5) {
            0 | 1 => Fault::Dongle(DongleFault::Reset),
            2 => Fault::Dongle(DongleFault::Hang),
            3 => Fault::Dongle(DongleFault::Insert { spare: true }),
            4 => Fault::Dongle(DongleFault::Remove),
            _ => Fault::Dongle(DongleFault::Insert { spare: false }),
        });
    }
    Some(match rng.between(0, 9) {
        0..=1 => Fault::KillDaemon(who),
        2 => Fault::Reset(who),
        3 => Fault::Operator(who, Command::Standby),
        4 => Fault::Operator(who, Command::Takeover),
        5 => Fault::Stall(who, rng.pick(&Point::ALL), rng.between(1_000, 700_000)),
        6 => Fault::KillBoth(who),
        _ => return None,
    })
}
