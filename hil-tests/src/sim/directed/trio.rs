//! With the third voter: every single failure, every ordered pair of failures of protocol.md §1.
//!
//! What one machine does to its own daemon is in the two voters' tables, all of it; here stands what the
//! third voter must be right about: each failure of a machine, a daemon, a wire, an operator and the dongle.

use super::super::dongle::faults::DongleFault;
use super::super::generate::trio::{plain_trio, quiet};
use super::{
    At, Command, Failure, Fault, Files, Kind, Knobs, Mood, Origin, Plan, Planned, Point, Rng, Who,
    of_weather, paired, sorted, spans,
};
use crate::scenario::ResetWire;

/// Every kind of failure on either side.
fn failures(knobs: &Knobs) -> Vec<Failure> {
    let mut all = Vec::new();
    for who in 0..2 {
        all.extend(of_node(knobs, who));
        all.extend(of_wires(knobs, who));
        all.extend(
            of_weather(knobs, who)
                .into_iter()
                .map(|failure| Failure { in_pairs: false, ..failure }),
        );
    }
    all.extend(of_dongle(knobs));
    all
}

/// A lasting failure: brief ones in the singles alone, long ones and for ever in the pairs, too.
fn lasting(knobs: &Knobs, begin: &[Fault], end: &[Fault]) -> Vec<Failure> {
    let of = |(word, span)| {
        let failure = Failure::lasting(word, span, begin, end);
        Failure { in_pairs: word == "for ever", ..failure }
    };
    spans(knobs).map(of).into()
}

fn of_node(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let mut all: Vec<Failure> = [
        Fault::KillDaemon(who),
        Fault::KillBoth(who),
        Fault::Reset(who),
        Fault::Operator(who, Command::Standby),
        Fault::Operator(who, Command::Takeover),
        Fault::Operator(who, Command::Leave),
        Fault::Stall(who, Point::Decided, 3 * knobs.timing.deadtime.micros()),
    ]
    .map(Failure::once)
    .into();
    let alone = [
        Fault::KillHelper(who),
        Fault::CrashLoop(who, 5),
        Fault::PeerIsOff(who),
        Fault::Reload(who, Files::Same),
        Fault::Reload(who, Files::OtherHaresources),
        Fault::Reload(who, Files::TwiceAsSlow),
        Fault::Reload(who, Files::MoreGuard),
        Fault::Reload(who, Files::LessLease),
    ];
    all.extend(alone.map(|fault| Failure { in_pairs: false, ..Failure::once(fault) }));
    let stalls =
        Point::ALL.map(|point| Fault::Stall(who, point, 3 * knobs.timing.deadtime.micros()));
    all.extend(stalls.map(|fault| Failure { in_pairs: false, ..Failure::once(fault) }));
    all.extend(lasting(knobs, &[Fault::PowerOff(who)], &[Fault::PowerOn(who)]));
    all.extend(lasting(knobs, &[Fault::PanicKernel(who)], &[Fault::Reset(who)]));
    all.extend(lasting(knobs, &[Fault::Freeze(who)], &[Fault::Thaw(who)]));
    all.extend(lasting(knobs, &[Fault::Stop(who)], &[Fault::Continue(who)]));
    for mood in [Mood::StartHangs, Mood::StartFails, Mood::StopHangs, Mood::StopFails] {
        let ill = Failure::lasting(
            "long",
            8 * knobs.timing.deadtime.micros(),
            &[Fault::Scripts(who, mood)],
            &[Fault::Scripts(who, Mood::Healthy)],
        );
        all.push(Failure { in_pairs: mood == Mood::StopHangs, ..ill });
    }
    all
}

/// What the machine sends on each network; its half of the line; all that reaches it, or that it sends.
fn of_wires(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let dongle = |fault| Fault::Dongle(fault);
    let (half, whole) =
        (dongle(DongleFault::Half(who, true)), dongle(DongleFault::Half(who, false)));
    let (deaf, hears) =
        (dongle(DongleFault::Deaf(who, true)), dongle(DongleFault::Deaf(who, false)));
    let (mute, speaks) =
        (dongle(DongleFault::Mute(who, true)), dongle(DongleFault::Mute(who, false)));
    let networks = 1..knobs.links.len();
    let cuts = |from: Who| networks.clone().map(move |link| Fault::Cut { from, link });
    let mends = |from: Who| networks.clone().map(move |link| Fault::Mend { from, link });
    let with = |first: &[Fault], rest: &mut dyn Iterator<Item = Fault>| {
        first.iter().copied().chain(rest).collect::<Vec<_>>()
    };
    let mut all = lasting(knobs, &with(&[], &mut cuts(who)), &with(&[], &mut mends(who)));
    all.extend(lasting(knobs, &[half], &[whole]));
    all.extend(lasting(knobs, &[deaf], &[hears]));
    all.extend(lasting(knobs, &[mute], &[speaks]));
    // Isolated from both; deaf; mute.
    let both_cut = &mut cuts(0).chain(cuts(1));
    let both_mended = &mut mends(0).chain(mends(1));
    all.extend(lasting(knobs, &with(&[half], both_cut), &with(&[whole], both_mended)));
    let (others_cut, others_mended) = (&mut cuts(1 - who), &mut mends(1 - who));
    all.extend(lasting(knobs, &with(&[mute], others_cut), &with(&[speaks], others_mended)));
    all.extend(lasting(knobs, &with(&[deaf], &mut cuts(who)), &with(&[hears], &mut mends(who))));
    if who == 0 {
        // The networks, both ways; everything.
        let (cut, mended) = (&mut cuts(0).chain(cuts(1)), &mut mends(0).chain(mends(1)));
        all.extend(lasting(knobs, &with(&[], cut), &with(&[], mended)));
        // As many failures as there are wires: never two holders, and none.
        let everything = lasting(knobs, &[Fault::CutAll], &[Fault::MendAll]);
        all.extend(everything.into_iter().map(|failure| Failure { is_one: false, ..failure }));
    }
    all
}

fn of_dongle(knobs: &Knobs) -> Vec<Failure> {
    let fault = |fault| Fault::Dongle(fault);
    let mut all: Vec<Failure> =
        [DongleFault::Reset, DongleFault::Hang, DongleFault::Insert { spare: true }]
            .map(|one| Failure::once(fault(one)))
            .into();
    let (out, put) = (fault(DongleFault::Remove), fault(DongleFault::Insert { spare: false }));
    all.extend(lasting(knobs, &[out], &[put]));
    for who in 0..2 {
        let feed = |feeds| fault(DongleFault::Feed(who, feeds));
        all.extend(lasting(knobs, &[feed(false)], &[feed(true)]));
        let wire = |wire| fault(DongleFault::Wire(who, wire));
        all.extend(lasting(knobs, &[wire(ResetWire::Broken)], &[wire(ResetWire::Sound)]));
    }
    let swapped = |wire| [0, 1].map(|who| fault(DongleFault::Wire(who, wire)));
    all.extend(lasting(knobs, &swapped(ResetWire::Swapped), &swapped(ResetWire::Sound)));
    all
}

fn directed(label: String, origin: Origin, knobs: Knobs, events: &[(At, Fault)]) -> Plan {
    let later = origin.dice() % 7 * 50_000;
    let from = quiet(&knobs, later);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(0) },
        Planned { at: later, fault: Fault::PowerOn(1) },
    ];
    let full = knobs.timing.full().micros().min(10_000_000);
    let length = 12 * knobs.timing.deadtime.micros() + 2 * knobs.boot_us.1 + 2 * full;
    let mended_at = from + length;
    faults.extend(
        events
            .iter()
            .map(|&(at, fault)| Planned { at: from.saturating_add(at), fault })
            .filter(|planned| planned.at < mended_at),
    );
    let served_from = (origin.kind == Kind::Singles).then_some(from);
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from }
}

/// Every single failure, with the dongle that the seed draws.
#[must_use]
pub fn singles(seed: u64) -> Vec<Plan> {
    let knobs = plain_trio(seed);
    let cases = failures(&knobs).into_iter().enumerate();
    cases
        .map(|(case, Failure { label, events, is_one, .. })| {
            let origin = Origin { kind: Kind::Singles, arbiter: true, seed, case };
            let plan = directed(label, origin, knobs.clone(), &events);
            Plan { served_from: plan.served_from.filter(|_| is_one), ..plan }
        })
        .collect()
}

/// Every ordered pair of failures, the second some time after the first, which the seed picks.
#[must_use]
pub fn pairs(seed: u64) -> Vec<Plan> {
    let knobs = plain_trio(seed);
    let mut failures = failures(&knobs);
    failures.retain(|failure| failure.in_pairs);
    let timing = &knobs.timing;
    let gaps = [
        0,
        timing.keepalive.micros() / 3,
        timing.lease.micros(),
        timing.deadtime.micros() + 60_000,
        3 * timing.deadtime.micros(),
        timing.full().micros().min(4_000_000),
    ];
    let rng = Rng::new(seed ^ 0x9A12_7210);
    paired(&failures, &gaps, rng, |case, label, events| {
        let origin = Origin { kind: Kind::Pairs, arbiter: true, seed, case };
        directed(label, origin, knobs.clone(), events)
    })
}
