//! Plans that leave nothing to chance but times: every single failure, every ordered pair of failures.

pub mod trio;

use super::fault::{Command, Fault, Files, Mood, Planned, Point, Weather, Who};
use super::generate::{Plan, SECOND, sorted};
use super::kind::{Kind, Origin};
use super::knobs::Knobs;
use super::queue::At;
use super::rng::Rng;

/// When a pair that was switched on at 0 and `later` runs quietly.
pub(super) fn settled(knobs: &Knobs, later: u64) -> At {
    let scripts = 8 * knobs.script_us.1;
    later + knobs.boot_us.1 + knobs.timing.deadtime.micros() * 6 + scripts + SECOND
}

/// A failure of the tables.
struct Failure {
    label: String,
    /// By time after the pair has settled.
    events: Vec<(At, Fault)>,
    /// Part of the table of pairs: all but a pair already, and what nobody reads.
    in_pairs: bool,
    /// Lasts until everything is mended.
    for_ever: bool,
    /// One failure: with an arbiter it must not stop the service.
    is_one: bool,
}

impl Failure {
    fn once(fault: Fault) -> Self {
        Self {
            label: fault.to_string(),
            events: vec![(0, fault)],
            in_pairs: true,
            for_ever: false,
            is_one: true,
        }
    }

    /// Begins, and after `span` ends.
    fn lasting(word: &str, span: At, begin: &[Fault], end: &[Fault]) -> Self {
        let begins = begin.iter().map(|&fault| (0, fault));
        let events = begins.chain(end.iter().map(|&fault| (span, fault))).collect();
        let label = format!("{} ({word})", begin[0]);
        Self { label, events, in_pairs: true, for_ever: span == At::MAX, is_one: true }
    }
}

/// Every kind of failure on either machine and link; what can last: briefly, long, and for ever.
fn failures(knobs: &Knobs) -> Vec<Failure> {
    let mut all = Vec::new();
    for who in 0..2 {
        all.extend(of_programs(knobs, who));
        all.extend(of_machines(knobs, who));
        all.extend(of_scripts(knobs, who));
        all.extend(of_weather(knobs, who));
    }
    for (word, span) in spans(knobs) {
        all.push(Failure::lasting(word, span, &[Fault::CutAll], &[Fault::MendAll]));
    }
    all
}

fn spans(knobs: &Knobs) -> [(&'static str, At); 3] {
    let deadtime = knobs.timing.deadtime.micros();
    [("brief", deadtime / 2), ("long", 3 * deadtime), ("for ever", At::MAX)]
}

fn of_programs(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let once = [
        Fault::KillDaemon(who),
        Fault::KillHelper(who),
        Fault::KillBoth(who),
        Fault::CrashLoop(who, 5),
        Fault::Operator(who, Command::Standby),
        Fault::Operator(who, Command::Takeover),
        Fault::Operator(who, Command::Leave),
        Fault::Reload(who, Files::Same),
        Fault::Reload(who, Files::OtherHaresources),
        Fault::Reload(who, Files::TwiceAsSlow),
    ];
    let mut all: Vec<Failure> = once.map(Failure::once).into();
    for days in [1, -1] {
        // Nobody reads wall time, so no failure can be worse with such a step: `wall_time_may_jump` in
        // tests/sim.rs holds that a run with steps is the same run.
        let fault = Fault::WallStep(who, days * 86_400_000);
        all.push(Failure { in_pairs: false, ..Failure::once(fault) });
    }
    let stall = 3 * knobs.timing.deadtime.micros();
    all.extend(Point::ALL.map(|point| Failure::once(Fault::Stall(who, point, stall))));
    all
}

fn of_machines(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let mut all = vec![Failure::once(Fault::Reset(who))];
    let links = 0..knobs.links.len();
    for (word, span) in spans(knobs) {
        let lasting = |begin: &[Fault], end: &[Fault]| Failure::lasting(word, span, begin, end);
        all.push(lasting(&[Fault::PowerOff(who)], &[Fault::PowerOn(who)]));
        all.push(lasting(&[Fault::PanicKernel(who)], &[Fault::Reset(who)]));
        all.push(lasting(&[Fault::Freeze(who)], &[Fault::Thaw(who)]));
        all.push(lasting(&[Fault::Stop(who)], &[Fault::Continue(who)]));
        let cut = |link| Fault::Cut { from: who, link };
        let mend = |link| Fault::Mend { from: who, link };
        all.extend(links.clone().map(|link| lasting(&[cut(link)], &[mend(link)])));
        let (cuts, mends): (Vec<_>, Vec<_>) = links.clone().map(|l| (cut(l), mend(l))).unzip();
        all.push(lasting(&cuts, &mends));
    }
    all
}

/// Scripts that hang, lie, fail. Alone nothing would call them, so an operator moves the group.
fn of_scripts(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let span = 8 * knobs.timing.deadtime.micros();
    let move_it = |mood| {
        // The group is A's: it stops on A and starts on B whichever of them is told to.
        let command = if who == 0 { Command::Standby } else { Command::Takeover };
        let label = format!("{}, {command:?} (long)", Fault::Scripts(who, mood));
        let events = vec![
            (0, Fault::Scripts(who, mood)),
            (1_000, Fault::Operator(who, command)),
            (span, Fault::Scripts(who, Mood::Healthy)),
        ];
        // The two failures that it is made of are in the table of pairs.
        Failure { label, events, in_pairs: false, for_ever: false, is_one: true }
    };
    let ill = |mood| {
        let healthy = Fault::Scripts(who, Mood::Healthy);
        Failure::lasting("long", span, &[Fault::Scripts(who, mood)], &[healthy])
    };
    Mood::ILL.into_iter().flat_map(|mood| [ill(mood), move_it(mood)]).collect()
}

/// What `who` sends, on each link: lost in bursts, damaged, overtaken, doubled, and all of that.
fn of_weather(knobs: &Knobs, who: Who) -> Vec<Failure> {
    let deadtime = knobs.timing.deadtime.micros();
    let fair = Weather::default();
    let bursts = Weather { bursts: 50_000, burst_us: deadtime / 2, ..fair };
    // On a serial line the figures are of bytes: one in a hundred hits every third frame.
    let damage = Weather { flips: 10_000, merges: 5_000, ..fair };
    let overtaken = Weather { overtaken: 300_000, ..fair };
    let twice = Weather { twice: 300_000, ..fair };
    let all = Weather { loss: 5_000, flips: 5_000, overtaken: 100_000, ..bursts };
    let weathers = [bursts, damage, overtaken, twice, all];
    let span = 6 * deadtime;
    let of = |weather| {
        let on = |weather| {
            let links = 0..knobs.links.len();
            links.map(|link| Fault::Weather { from: who, link, weather }).collect::<Vec<_>>()
        };
        Failure::lasting("long", span, &on(weather), &on(fair))
    };
    weathers.map(of).into()
}

/// A run of `knobs`' pair in which `events` happen.
fn directed(label: String, origin: Origin, knobs: Knobs, events: &[(At, Fault)]) -> Plan {
    let later = origin.dice() % 7 * 50_000;
    let from = settled(&knobs, later);
    let mut faults = vec![
        Planned { at: 0, fault: Fault::PowerOn(0) },
        Planned { at: later, fault: Fault::PowerOn(1) },
    ];
    let length = 12 * knobs.timing.deadtime.micros() + 2 * knobs.boot_us.1;
    let mended_at = from + length;
    faults.extend(
        events
            .iter()
            .map(|&(at, fault)| Planned { at: from.saturating_add(at), fault })
            .filter(|planned| planned.at < mended_at),
    );
    Plan { label, origin, knobs, faults: sorted(faults), mended_at, served_from: None }
}

/// Knobs of directed runs: the plain pair, with what changes the outcome varied by the seed.
pub(super) fn plain(seed: u64) -> Knobs {
    let mut knobs = Knobs::plain();
    let mut rng = Rng::new(seed ^ 0xD1EC);
    knobs.auto_failback = rng.coin();
    knobs.clock_freezes = rng.coin();
    knobs.frozen_buffers = rng.coin();
    knobs.watchdog_s = rng.pick(&[None, Some(2)]);
    knobs.respawn_us = rng.pick(&[Some(20_000), Some(200_000), Some(2 * SECOND)]);
    knobs.boot_us = rng.pick(&[(100_000, 200_000), (2 * SECOND, 3 * SECOND)]);
    knobs.drift_ppm = rng.pick(&[[0, 0], [24_000, -24_000], [-24_000, 24_000]]);
    knobs.respawn_waits = true;
    knobs
}

/// Every single failure, on the pair that the seed draws.
#[must_use]
pub fn singles(seed: u64) -> Vec<Plan> {
    let knobs = plain(seed);
    let cases = failures(&knobs).into_iter().enumerate();
    cases
        .map(|(case, Failure { label, events, .. })| {
            let origin = Origin { kind: Kind::Singles, arbiter: false, seed, case };
            directed(label, origin, knobs.clone(), &events)
        })
        .collect()
}

/// Every ordered pair of failures, the second some time after the first, which the seed picks.
#[must_use]
pub fn pairs(seed: u64) -> Vec<Plan> {
    let knobs = plain(seed);
    let mut failures = failures(&knobs);
    failures.retain(|failure| failure.in_pairs);
    let timing = &knobs.timing;
    let gaps = [
        0,
        timing.keepalive.micros() / 3,
        timing.lease.micros(),
        timing.deadtime.micros() + 60_000,
        3 * timing.deadtime.micros(),
    ];
    let rng = Rng::new(seed ^ 0x9A12);
    paired(&failures, &gaps, rng, |case, label, events| {
        let origin = Origin { kind: Kind::Pairs, arbiter: false, seed, case };
        directed(label, origin, knobs.clone(), events)
    })
}

/// A plan of each ordered pair: the second begins one of `gaps` after the first, and up to 30 ms.
fn paired(
    failures: &[Failure],
    gaps: &[At],
    mut rng: Rng,
    plan: impl Fn(usize, String, &[(At, Fault)]) -> Plan,
) -> Vec<Plan> {
    let pairs = ordered_pairs(failures).into_iter().enumerate();
    pairs
        .map(|(case, (first, second))| {
            let gap = rng.pick(gaps) + rng.between(0, 30_000);
            let shifted = second.events.iter().map(|&(at, fault)| (at.saturating_add(gap), fault));
            let events: Vec<_> = first.events.iter().copied().chain(shifted).collect();
            plan(case, format!("{}, then after {gap} µs {}", first.label, second.label), &events)
        })
        .collect()
}

/// Every one before every one, itself included; those with a part that lasts for ever come last.
fn ordered_pairs(failures: &[Failure]) -> Vec<(&Failure, &Failure)> {
    let before_each = |first| failures.iter().map(move |second| (first, second));
    let mut pairs: Vec<_> = failures.iter().flat_map(before_each).collect();
    pairs.sort_by_key(|(first, second)| first.for_ever || second.for_ever);
    pairs
}
