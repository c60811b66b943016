//! What a run with the third voter is made of besides its faults.

use std::fmt;

use hb_proto::config::{ArbiterConfig, BITS_PER_BYTE, LinkKind, STATUS_SERIAL_BYTES};
use hb_proto::id::LinkId;
use hb_proto::time::Duration;

use super::{DRIFT_PPM, Knobs, millis, timing};
use crate::scenario::{Evidence, Machine, ResetWire, Supply};
use crate::sim::rng::Rng;

/// What of the arbiter's memory is left after a loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// All of it.
    Flash,
    /// All but whom it has promised what, which only a reset survives.
    Ram,
}

/// What stops a machine that hangs, and so what guard is (protocol.md R10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Its own watchdog, in this many seconds: guard is twice that and half a second.
    ByWatchdog(u32),
    /// Nothing in any time: it has no watchdog, or can be paused as a whole, clock and watchdog
    /// included. Guard is unbounded.
    ByNothing,
    /// Nothing either, and an operator wrote `guard_unsafe` all the same.
    Unsafe(Duration),
}

/// Everything about the dongle that is no fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArbiterKnobs {
    pub stopped: Stopped,
    /// Reset outputs go to both machines.
    pub reset_lines: bool,
    pub evidence: Evidence,
    /// Where the outputs end when the run begins; they were sound when they were tested.
    pub reset_wires: [ResetWire; 2],
    /// A reset header's pull-up has power though its machine has none (ATX: 5VSB).
    pub standby_power: bool,
    /// The sense inputs read the modem lines of the machines' ports, which fall with the daemon, too.
    pub modem_lines: bool,
    pub supply: Supply,
    pub external_watchdog: bool,
    pub keeps: Keeps,
    /// The other dongle has been on a charger all the time.
    pub spare_charged: bool,
    pub drift_ppm: i64,
    /// How late its loop comes round, µs, at most.
    pub sched_us: u64,
    /// A write to its flash, µs.
    pub store_us: u64,
    pub boot_us: (u64, u64),
    /// Its own watchdog, µs.
    pub own_watchdog_us: u64,
    /// How long a reset output is low, µs.
    pub pulse_us: u64,
    /// A machine that was held in reset takes so much longer than one that gets power, µs.
    pub reboot_us: u64,
    /// A's cable is in the second port, B's in the first: frames tell who is where, no port does.
    pub crossed: bool,
}

impl ArbiterKnobs {
    /// Watchdogs of 1 s, two supervised reset lines, power from both machines.
    #[must_use]
    pub const fn plain() -> Self {
        Self {
            stopped: Stopped::ByWatchdog(1),
            reset_lines: true,
            evidence: Evidence::Supervised,
            reset_wires: [ResetWire::Sound; 2],
            standby_power: true,
            modem_lines: false,
            supply: Supply::Both,
            external_watchdog: false,
            keeps: Keeps::Flash,
            spare_charged: false,
            drift_ppm: 0,
            sched_us: 100,
            store_us: 0,
            boot_us: (5_000, 20_000),
            own_watchdog_us: 500_000,
            pulse_us: 100_000,
            reboot_us: 0,
            crossed: false,
        }
    }

    /// How long a fence may take from the request to the evidence; none without a line that proves it.
    fn fence(&self, links: &[LinkKind]) -> Option<Duration> {
        let proves = self.reset_lines && self.evidence != Evidence::NewLife;
        let LinkKind::Serial { baud } = links[0] else { return None };
        let frame = Duration::from_micros(48 * BITS_PER_BYTE * 1_000_000 / u64::from(baud));
        // The request behind a frame under way, the arbiter's word behind two; then the vote's own way
        // there and back. Twice the arbiter stores first.
        let frames = frame.times(6);
        let loops = 4 * self.sched_us + 2 * self.store_us;
        proves.then(|| Duration::from_micros(self.pulse_us + 20_000 + loops) + frames)
    }

    /// As ha.cf would say it.
    #[must_use]
    pub fn config(&self, links: &[LinkKind]) -> ArbiterConfig {
        ArbiterConfig {
            link: LinkId(0),
            external_watchdog: self.external_watchdog,
            fences: true,
            fence: self.fence(links),
        }
    }

    /// Guard as R10 has it: shorter than heartbeatd's own, which leaves room for drift.
    #[must_use]
    pub fn guard(&self) -> Duration {
        match self.stopped {
            Stopped::ByWatchdog(s) => Duration::from_secs(2 * u64::from(s)) + millis(500),
            Stopped::ByNothing => Duration::MAX,
            Stopped::Unsafe(guard) => guard,
        }
    }

    /// Its machines' watchdogs have the time-out that heartbeatd asks for at the guide's deadtime.
    pub(super) fn by_the_guide(mut self) -> Self {
        if let Stopped::ByWatchdog(s) = &mut self.stopped {
            *s = hb_linux::watchdog::timeout_s(Duration::from_secs(10));
        }
        self
    }

    fn drawn(rng: &mut Rng, wild: bool) -> Self {
        let (stopped, reset_lines) = match rng.between(0, 19) {
            0..=7 => (Stopped::ByWatchdog(rng.pick(&[1, 1, 2, 10])), true),
            8..=12 => (Stopped::ByWatchdog(rng.pick(&[1, 1, 2])), false),
            13..=15 => (Stopped::ByNothing, true),
            16..=17 => (Stopped::ByNothing, false),
            _ => (Stopped::Unsafe(millis(rng.pick(&[1_000, 3_000]))), rng.coin()),
        };
        let wires = [ResetWire::Sound, ResetWire::Broken, ResetWire::Swapped];
        let latent = rng.permille(150);
        let wire = |rng: &mut Rng| if latent { rng.pick(&wires) } else { ResetWire::Sound };
        let evidence = [Evidence::Supervised, Evidence::Supervised, Evidence::Sensed];
        let most = if wild { DRIFT_PPM } else { 50 };
        Self {
            stopped,
            reset_lines,
            evidence: if rng.permille(100) { Evidence::NewLife } else { rng.pick(&evidence) },
            reset_wires: if reset_lines { [wire(rng), wire(rng)] } else { [ResetWire::Broken; 2] },
            standby_power: rng.permille(700),
            modem_lines: rng.permille(300),
            supply: match rng.between(0, 9) {
                0 => Supply::One(rng.pick(&Machine::BOTH)),
                1..=3 => Supply::External,
                _ => Supply::Both,
            },
            external_watchdog: reset_lines && rng.permille(400),
            keeps: if rng.coin() { Keeps::Flash } else { Keeps::Ram },
            spare_charged: rng.coin(),
            drift_ppm: rng.between(0, 2 * most) as i64 - most as i64,
            sched_us: rng.pick(&[1, 100, 1_000]),
            store_us: rng.pick(&[0, 200, 5_000]),
            boot_us: rng.pick(&[(1_000, 2_000), (5_000, 20_000), (200_000, 1_500_000)]),
            own_watchdog_us: rng.pick(&[100_000, 500_000, 4_000_000]),
            pulse_us: rng.pick(&[50_000, 100_000, 500_000]),
            reboot_us: 0,
            // Looked at, not drawn: what follows stays what it was.
            crossed: rng.clone().permille(300),
        }
    }
}

/// The lowest usual speed of a line that carries three voters' frames each keepalive (protocol.md §3).
fn lowest_baud(keepalive: Duration) -> u32 {
    let bits = (2 * STATUS_SERIAL_BYTES as u64 + 48) * BITS_PER_BYTE;
    let needed = bits * 2_000_000 / keepalive.micros();
    let usual = [9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800];
    usual.into_iter().find(|&baud| u64::from(baud) >= needed).unwrap_or(460_800)
}

impl Knobs {
    /// The plain pair with a plain dongle.
    #[must_use]
    pub fn plain_trio() -> Self {
        Self::plain().with_dongle(ArbiterKnobs::plain())
    }

    /// This pair with such a dongle in its first serial line: what follows from it follows.
    #[must_use]
    pub fn with_dongle(mut self, arbiter: ArbiterKnobs) -> Self {
        let floor = lowest_baud(self.timing.keepalive);
        for link in &mut self.links {
            if let LinkKind::Serial { baud } = link {
                *baud = floor.max(*baud);
            }
        }
        self.timing.guard = arbiter.guard();
        let pauses = self.clock_freezes;
        match arbiter.stopped {
            // A clock that can stand still beside a finite guard is a wrong configuration: `hb check`
            // refuses it where it can know.
            Stopped::ByWatchdog(s) => (self.watchdog_s, self.clock_freezes) = (Some(s), false),
            Stopped::ByNothing if pauses => {}
            Stopped::ByNothing | Stopped::Unsafe(_) => self.watchdog_s = None,
        }
        self.arbiter = Some(arbiter);
        self
    }

    /// A random pair with a dongle.
    #[must_use]
    pub fn drawn_trio(rng: &mut Rng) -> Self {
        let mut knobs = Self::drawn(rng);
        if rng.permille(700) {
            knobs.timing = timing(100, 300, 500, rng.pick(&[1_000, 10_000]));
        }
        let network = |rng: &mut Rng| {
            if rng.coin() { LinkKind::Broadcast } else { LinkKind::Unicast }
        };
        knobs.links = vec![LinkKind::Serial { baud: 9_600 }, network(rng)];
        match rng.between(0, 4) {
            0 => knobs.links.push(LinkKind::Serial { baud: 9_600 }),
            1 => knobs.links.push(network(rng)),
            _ => {}
        }
        // The loop comes round each second at least, and a frame of its own each keepalive (R10).
        let slow = knobs.timing.keepalive > millis(300);
        let wild = knobs.drift_ppm.iter().any(|ppm| ppm.abs() > 50);
        let mut arbiter = ArbiterKnobs::drawn(rng, wild);
        if slow && matches!(arbiter.stopped, Stopped::ByWatchdog(_)) {
            arbiter.stopped = Stopped::ByWatchdog(10);
        }
        knobs.with_dongle(arbiter)
    }
}

impl fmt::Display for ArbiterKnobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  dongle: a machine that hangs is stopped {:?}; reset lines {} ({:?}), pulses of {}, confirmed by {:?}{}{}",
            self.stopped,
            if self.reset_lines { "to both" } else { "to none" },
            self.reset_wires,
            Duration::from_micros(self.pulse_us),
            self.evidence,
            if self.modem_lines { " (modem lines)" } else { "" },
            if self.standby_power { ", headers on standby power" } else { "" },
        )?;
        writeln!(
            f,
            "  dongle: power {:?}, external watchdog {}, memory in {:?}, cables {}, the other one {}, clock {:+} ppm, loop within {}, a store takes {}, boot {}, own watchdog {}",
            self.supply,
            if self.external_watchdog { "armed" } else { "off" },
            self.keeps,
            if self.crossed { "crossed" } else { "straight" },
            if self.spare_charged { "on a charger" } else { "in a drawer" },
            self.drift_ppm,
            Duration::from_micros(self.sched_us),
            Duration::from_micros(self.store_us),
            super::span(self.boot_us),
            Duration::from_micros(self.own_watchdog_us),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fault::Files;

    /// Whatever is drawn, hb-proto's own check lets it pass, and guard is what stops a machine.
    #[test]
    fn drawn_configurations_are_valid() {
        for seed in 0..2_000 {
            let knobs = Knobs::drawn_trio(&mut Rng::new(seed));
            let guide = knobs.clone().by_the_guide();
            for (knobs, who) in [(&knobs, 0), (&knobs, 1), (&guide, 0), (&guide, 1)] {
                for files in Files::CLASSIC.into_iter().chain(Files::TERMS) {
                    let config = knobs.config_with(who, files);
                    config.check().unwrap_or_else(|why| panic!("seed {seed}, {files:?}: {why}"));
                    let timing = config.timing;
                    assert!(timing.lease > timing.keepalive.times(2), "seed {seed}, {files:?}");
                }
            }
            let arbiter = knobs.arbiter.expect("a trio");
            if let Stopped::ByWatchdog(s) = arbiter.stopped {
                assert_eq!(knobs.watchdog_s, Some(s));
                assert!(!knobs.clock_freezes, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_line_has_room_for_three() {
        assert_eq!(lowest_baud(millis(100)), 38_400);
        assert_eq!(lowest_baud(millis(10)), 230_400);
    }
}
