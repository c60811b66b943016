//! The world: two machines, the links between them, and what happens when.

use hb_proto::config::Config;
use hb_proto::id::Voter;
use hb_proto::time::Instant;
use hb_proto::wire::Reject;
use hb_proto::wire::auth::{Key, KeyRing};
use hb_proto::wire::message::arbiter::ResetReason;

use super::budget::Spared;
use super::check::{Checks, Handed};
use super::dongle::{Dongle, LINE};
use super::fault::{Fault, NAMES, Planned, Who};
use super::knobs::Knobs;
use super::machine::{Machine, Power};
use super::queue::{At, Queue};
use super::record::Record;
use super::rng::Rng;
use super::trace::Trace;
use super::wire::{Bytes, Datagram, Wire};

/// Something that is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Turn(Who, u64),
    Datagram {
        to: Who,
        link: usize,
        slot: u32,
    },
    /// The last byte of a run arrives.
    Line {
        from: Who,
        link: usize,
    },
    JobEnds(Who, u32, u32),
    /// The kernel is up.
    Booted(Who, u32),
    /// The service manager starts the daemon.
    Respawn(Who, u32),
    /// The helper notices that its daemon is gone.
    DeadMan(Who, u32, u32),
    Bites(Who, u32, u64),
    /// A crash loop's next crash.
    Crash(Who, u32),
    Fault(usize),
    /// The dongle's loop comes round.
    DongleTurn(u64),
    /// The last byte of a run of the dongle's arrives at a machine.
    DongleLine(Who),
    DongleBoots(u32, ResetReason),
    /// Its own watchdog, if it still hangs.
    DongleBites(u32),
    /// A reset output of it goes up again, and what it read meanwhile.
    PulseEnds {
        epoch: u32,
        node: Voter,
        evidence: bool,
    },
    /// A machine's reset line goes up again.
    ResetEnds(Who, u32),
}

/// What a run with the third voter has seen besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrioCounts {
    pub arbiter_lives: u64,
    /// Lives that it began because another dongle's were ahead (R9).
    pub arbiter_restarts: u64,
    pub stores: u64,
    pub forwarded: u64,
    pub forgot: u64,
    pub pulses: u64,
    /// Machines that a reset line held down.
    pub fenced: u64,
    pub confirmed: u64,
    pub miswired: u64,
    pub false_evidence: u64,
    /// How often each of [`super::rules::RULES`] was reached.
    pub rules: [u64; 14],
    /// Two holders, by [`super::check::trio::Excuse`].
    pub excused: [u64; 4],
}

/// What a run has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub frames_sent: u64,
    pub bytes_sent: u64,
    pub frames_handed: u64,
    pub firsts: u64,
    pub damage: u64,
    pub rejected: [u64; Reject::COUNT],
    pub turns: u64,
    pub orders: u64,
    pub starts: u64,
    pub stops: u64,
    pub lives: u64,
    pub conflicts: u64,
    pub lost_authority: u64,
    pub stalls_seen: u64,
    pub starving: u64,
    pub watchdog_resets: u64,
    /// Resources that a split's winner started after contact, while the loser still had some of the group.
    pub late_starts: u64,
    /// Deaths judged while frames of the dead waited to be read: the processor was lost twice in a turn.
    pub false_deaths: u64,
    /// Scripts that changed something after their helper was killed.
    pub unheard: u64,
    pub lost: u64,
    /// How often one node counted a promise of the other, and lemma 1 was looked at.
    pub promises: u64,
    /// Takeovers after a death that were held against the node's own budget.
    pub takeovers_judged: u64,
    /// Those that were not, by [`super::budget::Spared`].
    pub takeovers_spared: [u64; Spared::ALL.len()],
    pub faults: [u64; Fault::KINDS.len()],
    pub trio: TrioCounts,
}

/// Two machines and what is between them.
pub struct World {
    pub now: At,
    pub knobs: Knobs,
    pub machines: [Machine; 2],
    /// `wires[from][link]`.
    pub wires: [Vec<Wire>; 2],
    /// In the first serial line; then `wires[from][0]` ends at it.
    pub dongle: Option<Box<Dongle>>,
    pub checks: Checks,
    pub counts: Counts,
    pub trace: Trace,
    pub(super) queue: Queue<Happening>,
    pub(super) rng: Rng,
    pub(super) tokens: u64,
    pub(super) handed: Vec<Handed>,
    pub(super) mended: bool,
    pub(super) record: Option<Record>,
    pub(super) configs: [Config; 2],
    pub(super) keys: KeyRing,
    plan: Vec<Planned>,
    flying: Vec<Option<Datagram>>,
    free: Vec<u32>,
}

fn keys() -> KeyRing {
    let key = Key::hmac(1, b"the simulator's secret").expect("15 is the last id");
    KeyRing::new(std::iter::once(key).collect(), 1).expect("it is listed")
}

impl World {
    /// Both machines without power; `plan` will happen.
    #[must_use]
    pub fn new(seed: u64, knobs: Knobs, plan: Vec<Planned>, talks: bool) -> Self {
        let mut rng = Rng::new(seed);
        let wires = || knobs.links.iter().map(|&kind| Wire::new(kind)).collect();
        let mut queue = Queue::default();
        for (at, planned) in plan.iter().enumerate() {
            queue.plan(planned.at, Happening::Fault(at));
        }
        let machines = [0, 1].map(|who| {
            let ppm = knobs.drift_ppm[who];
            Machine::new(ppm, knobs.sched_us, &mut rng)
        });
        let dongle = knobs
            .arbiter
            .map(|arbiter| Box::new(Dongle::new(&arbiter, knobs.links[LINE], &mut rng)));
        let mut world = Self {
            now: 0,
            machines,
            dongle,
            wires: [wires(), wires()],
            checks: Checks::default(),
            counts: Counts::default(),
            trace: Trace::new(talks),
            queue,
            rng,
            tokens: 0,
            handed: Vec::new(),
            mended: false,
            record: None,
            configs: [0, 1].map(|who| knobs.config(who)),
            keys: keys(),
            plan,
            flying: Vec::new(),
            free: Vec::new(),
            knobs,
        };
        world.look_at_feeds();
        world
    }

    /// A line of the merged timeline, in true time.
    pub(super) fn tell(&mut self, who: Who, what: impl FnOnce() -> String) {
        let now = self.now;
        self.trace.line(|| {
            format!("{:>6}.{:06} {}  {}", now / 1_000_000, now % 1_000_000, NAMES[who], what())
        });
    }

    /// The same for what is no machine's own.
    pub(super) fn tell_all(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        self.trace.line(|| format!("{:>6}.{:06} -  {}", now / 1_000_000, now % 1_000_000, what()));
    }

    pub(super) fn local_of(&self, who: Who) -> Instant {
        self.machines[who].clock.local(self.now)
    }

    /// Runs until `until`, or until a rule is broken.
    pub fn run_until(&mut self, until: At) {
        while self.checks.violation.is_none() {
            let Some((at, happening)) = self.queue.next_by(until) else { break };
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(who, token) => {
                let machine = &mut self.machines[who];
                let running = machine.is_running();
                let Some(daemon) = machine.daemon.as_deref_mut() else { return };
                if daemon.token != token || daemon.turn_at != self.now {
                    return;
                }
                if daemon.stopped || !running {
                    daemon.turn_at = At::MAX;
                    return;
                }
                self.trace.number(self.now << 1 | who as u64);
                self.turn(who);
            }
            Happening::Datagram { to, link, slot } => self.datagram_arrives(to, link, slot),
            Happening::Line { from, link } => self.settle(from, link),
            Happening::JobEnds(who, epoch, id) => {
                if self.is_now(who, epoch, Happening::JobEnds(who, epoch, id)) {
                    self.job_ends(who, id);
                }
            }
            Happening::Booted(who, epoch) => {
                if self.machines[who].epoch == epoch {
                    self.machines[who].power = Power::On;
                    self.tell(who, || "is up".into());
                    self.start_daemon(who);
                }
            }
            Happening::Respawn(who, epoch) => {
                if self.is_now(who, epoch, Happening::Respawn(who, epoch)) {
                    self.respawn(who);
                }
            }
            Happening::DeadMan(who, epoch, helper) => {
                if self.is_now(who, epoch, Happening::DeadMan(who, epoch, helper)) {
                    self.dead_man(who, helper);
                }
            }
            Happening::Bites(who, epoch, feedings) => self.watchdog_bites(who, epoch, feedings),
            Happening::Crash(who, epoch) => {
                if self.is_now(who, epoch, Happening::Crash(who, epoch)) && !self.mended {
                    self.kill_daemon(who);
                }
            }
            Happening::Fault(at) => {
                let Planned { fault, .. } = self.plan[at];
                self.apply(fault);
            }
            Happening::DongleTurn(token) => self.dongle_turn(token),
            Happening::DongleLine(to) => self.settle_from_dongle(to),
            Happening::DongleBoots(epoch, reason) => self.dongle_boots(epoch, reason),
            Happening::DongleBites(epoch) => self.dongle_bites(epoch),
            Happening::PulseEnds { epoch, node, evidence } => {
                self.pulse_ends(epoch, node, evidence);
            }
            Happening::ResetEnds(who, epoch) => self.reset_ends(who, epoch),
        }
    }

    /// Whether something planned in an earlier power-up still counts, and the machine can do it now. On a
    /// frozen one it waits for the thaw.
    fn is_now(&mut self, who: Who, epoch: u32, happening: Happening) -> bool {
        let machine = &self.machines[who];
        if machine.epoch != epoch {
            return false;
        }
        if machine.frozen {
            // Looked at again each 10 ms: nobody can tell when within a thaw it happens.
            self.queue.plan(self.now + 10_000, happening);
            return false;
        }
        true
    }

    // ---- links

    pub(super) fn send_datagram(&mut self, who: Who, link: usize, frame: &[u8]) {
        self.counts.frames_sent += 1;
        self.counts.bytes_sent += frame.len() as u64;
        self.trace.bytes(frame);
        let wire = &mut self.wires[who][link];
        wire.remember(frame);
        wire.carried.bytes += frame.len() as u64;
        let weather = wire.weather;
        if self.rng.per_million(weather.bursts) {
            wire.lost_until_ns = (self.now + weather.burst_us) * 1000;
        }
        let in_burst = self.now * 1000 < wire.lost_until_ns;
        if wire.cut || in_burst || self.rng.per_million(weather.loss) {
            self.counts.lost += 1;
            wire.carried.lost += 1;
            return;
        }
        let mut datagram = Datagram { bytes: Bytes::of(frame), intact: true };
        if self.rng.per_million(weather.flips) {
            let at = self.rng.between(0, frame.len() as u64 * 8 - 1) as usize;
            datagram.bytes.damage()[at / 8] ^= 1 << (at % 8);
            datagram.intact = false;
            wire.carried.damaged += 1;
        }
        let twice = self.rng.per_million(weather.twice);
        wire.carried.twice += u64::from(twice);
        for _ in 0..=u8::from(twice) {
            let (from, to) = self.knobs.latency_us;
            let mut way = self.rng.between(from, to) + self.rng.between(0, weather.delay_us);
            way += weather.late_us;
            if self.rng.per_million(weather.overtaken) {
                way += self.knobs.timing.keepalive.micros() * 3 / 2;
            }
            let slot = self.keep(datagram);
            self.queue.plan(self.now + way, Happening::Datagram { to: 1 - who, link, slot });
        }
    }

    fn keep(&mut self, datagram: Datagram) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.flying[slot as usize] = Some(datagram);
            return slot;
        }
        self.flying.push(Some(datagram));
        self.flying.len() as u32 - 1
    }

    fn datagram_arrives(&mut self, to: Who, link: usize, slot: u32) {
        let Some(datagram) = self.flying[slot as usize].take() else { return };
        self.free.push(slot);
        let machine = &mut self.machines[to];
        let reachable =
            machine.power == Power::On && (!machine.frozen || self.knobs.frozen_buffers);
        let taken = reachable
            && machine
                .daemon
                .as_deref_mut()
                .is_some_and(|daemon| daemon.ports[link].take_datagram(datagram));
        if taken {
            self.plan_turn(to);
        } else {
            self.counts.lost += 1;
        }
    }

    pub(super) fn send_on_line(&mut self, who: Who, link: usize, frame: &[u8], line: &[u8]) {
        self.counts.frames_sent += 1;
        self.counts.bytes_sent += line.len() as u64;
        self.trace.bytes(line);
        let wire = &mut self.wires[who][link];
        wire.remember(frame);
        let end = wire.send(self.now, line);
        self.queue.plan(end, Happening::Line { from: who, link });
    }

    fn settle(&mut self, from: Who, link: usize) {
        if link == LINE && self.dongle.is_some() {
            self.settle_at_dongle(from);
            return;
        }
        let to = 1 - from;
        let machine = &mut self.machines[to];
        let (frozen, on) = (machine.frozen, machine.power == Power::On);
        let port =
            machine.daemon.as_deref_mut().filter(|_| on).map(|daemon| &mut daemon.ports[link]);
        if self.wires[from][link].settle(self.now, port, frozen, &mut self.rng) {
            self.plan_turn(to);
        }
    }

    /// Before anything about a machine or its links changes: what has arrived by now has arrived.
    pub(super) fn settle_lines(&mut self) {
        for from in 0..2 {
            for link in 0..self.wires[from].len() {
                self.settle(from, link);
            }
            self.settle_from_dongle(from);
        }
    }
}
