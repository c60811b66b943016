//! Three voters and a bad network in true time: nothing but promises (protocol.md R1–R8) between them.

#![allow(dead_code)] // Two test programs use it, each its part.

use std::collections::BTreeMap;

use hb_proto::authority::{FrameName, Ledger, Promisee, Sender, Stance, Terms};
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::{GroupState, GroupStates, Header, Status};

pub const G: GroupId = GroupId(0);
pub const LEASE: Duration = Duration::from_millis(400);

/// Knuth's MMIX generator.
pub struct Lcg(u64);

impl Lcg {
    pub fn new(seed: u64) -> Self {
        let mut lcg = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
        lcg.next();
        lcg
    }

    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// The terms of a soup: a guard of zero leaves promises alone to be checked.
pub const fn terms(guard: Duration) -> Terms {
    let stretched = LEASE.percent(105);
    Terms { lease: LEASE, full: Duration::from_micros(stretched.micros() + guard.micros()) }
}

/// All three have the same terms and haresources.
pub const fn sender(terms: Terms) -> Sender {
    Sender { lease: LEASE, full: terms.full, may_promise: true }
}

/// A clock that runs at its own rate from its own epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub epoch: u64,
    /// Of its microseconds a million true ones make.
    pub rate: u64,
}

impl Clock {
    /// 5 % between the fastest and the slowest: ±2.4 % (√1.05 each way), as lease × 1.05 allows for.
    pub const SLOWEST: u64 = 975_910;
    pub const FASTEST: u64 = 1_024_690;

    pub fn at(self, true_us: u64) -> Instant {
        Instant::from_micros(self.epoch + true_us * self.rate / 1_000_000)
    }

    /// The first true microsecond at which this clock shows `instant` or more.
    fn shows(self, instant: Instant) -> u64 {
        let own = instant.micros().saturating_sub(self.epoch);
        (own * 1_000_000).div_ceil(self.rate)
    }
}

/// One voter's machine: what a restart takes away, and what it leaves.
pub struct Machine {
    pub ledger: Option<Ledger>,
    pub clock: Clock,
    boot: u32,
    /// True time of the next heartbeat.
    pub heartbeat_at: u64,
    /// True time of the next start, when down.
    start_at: u64,
    /// Policy: wants the group.
    pub wants: bool,
    /// True time until which the service is up although authority is over, or the daemon is gone.
    runs_until: Option<u64>,
    /// Stopped (SIGSTOP) until this true time; what arrives is kept.
    frozen_until: u64,
    /// True time at which the watchdog resets a frozen machine.
    reset_at: Option<u64>,
    buffered: Vec<(Header, Status)>,
    /// An arbiter's memory of its promisee, kept over a reset (R8).
    remembers: Promisee,
}

/// What a voter's frame says to `to`: a node's as it stands, an arbiter's by the promisee that it shows.
pub fn status_for(ledger: &Ledger, to: Voter, now: Instant) -> Status {
    let groups = if ledger.me().is_node() {
        ledger.shown(now)
    } else {
        let echoed: Option<FrameName> = ledger.voice(to).map(|voice| voice.newest);
        let mut groups = GroupStates::default();
        if ledger.promises(G).shows_to(to, echoed, now) {
            groups.set(G, GroupState::Promised);
        }
        groups
    };
    Status { echoes: ledger.echoes(), groups, ..Status::default() }
}

/// A frame on its way.
pub type Frame = (usize, Header, Status);

pub struct Soup {
    pub random: Lcg,
    pub now: u64,
    pub machines: [Machine; 3],
    pub flying: BTreeMap<(u64, u64), Frame>,
    frames: u64,
    pub terms: Terms,
    guard: Duration,
    pub home: Voter,
    /// `cut[from][to]`: frames are lost.
    pub cut: [[bool; 3]; 3],
    pub loss: u64,
    pub repeated: u64,
    /// Longest delay of a late frame, and how many are late.
    pub late: (u64, u64),
    /// An arbiter that remembers over its reset.
    memory: bool,
    pub steps: u64,
    /// What happened, so that a soup that never boils is noticed.
    pub grants: u64,
}

impl Soup {
    pub fn new(seed: u64, guard: Duration) -> Self {
        let mut random = Lcg::new(seed);
        let machines = [0, 1, 2].map(|_| Machine {
            ledger: None,
            clock: Clock {
                epoch: random.below(1_000_000_000_000),
                // Half of them as far off as is allowed.
                rate: match random.below(4) {
                    0 => Clock::SLOWEST,
                    1 => Clock::FASTEST,
                    _ => random.between(Clock::SLOWEST, Clock::FASTEST),
                },
            },
            boot: 0,
            heartbeat_at: 0,
            start_at: random.below(300_000),
            wants: random.percent(70),
            runs_until: None,
            frozen_until: 0,
            reset_at: None,
            buffered: Vec::new(),
            remembers: Promisee::Unknown,
        });
        let home = if random.percent(50) { Voter::A } else { Voter::B };
        let memory = random.percent(50);
        let (loss, repeated) = (random.below(30), random.below(6));
        let late = (random.between(1, 1_400_000), random.below(12));
        Self {
            random,
            now: 0,
            machines,
            flying: BTreeMap::new(),
            frames: 0,
            terms: terms(guard),
            guard,
            home,
            cut: [[false; 3]; 3],
            loss,
            repeated,
            late,
            memory,
            steps: 0,
            grants: 0,
        }
    }

    pub fn local(&self, who: usize) -> Instant {
        self.machines[who].clock.at(self.now)
    }

    /// Kills a voter; it is back, with a higher boot id, `after` µs of true time later.
    pub fn kill(&mut self, who: usize, after: u64) {
        let now = self.local(who);
        let stop_by = self.stops_by(who);
        let machine = &mut self.machines[who];
        let Some(ledger) = machine.ledger.take() else { return };
        machine.remembers = match ledger.promises(G).promised_to(now) {
            Some(promisee) if self.memory => promisee,
            _ => Promisee::Unknown,
        };
        machine.start_at = self.now + after;
        machine.buffered.clear();
        (machine.frozen_until, machine.reset_at) = (0, None);
        if ledger.stance(G) == Stance::Running {
            // The service outlives its daemon: until the clean start (R9) or the watchdog (R10).
            machine.runs_until = Some(stop_by.min(machine.start_at));
        }
    }

    /// Stops a voter's daemon for `span` µs of true time; its watchdog goes on.
    pub fn freeze(&mut self, who: usize, span: u64) {
        let stop_by = self.stops_by(who);
        let machine = &mut self.machines[who];
        let Some(ledger) = &machine.ledger else { return };
        machine.reset_at = (ledger.stance(G) == Stance::Running).then_some(stop_by);
        machine.frozen_until = self.now + span;
    }

    /// True time by which the watchdog has stopped what runs beyond its authority.
    fn stops_by(&mut self, who: usize) -> u64 {
        let machine = &self.machines[who];
        let Some(ledger) = &machine.ledger else { return self.now };
        let ends = [Voter::A, Voter::B, Voter::Arbiter]
            .into_iter()
            .map(|by| ledger.promises(G).counted_until(by))
            .max()
            .unwrap_or(Instant::ZERO);
        // The guard isn't stretched by drift, so a slow clock's stop must be a little quicker.
        let span = Duration::from_micros(self.random.between(0, self.guard.micros() * 95 / 100));
        machine.clock.shows(ends + span).max(self.now)
    }

    fn start(&mut self, who: usize) {
        let now = self.local(who);
        let machine = &mut self.machines[who];
        machine.boot += 1;
        machine.runs_until = None;
        let voter = Voter::ALL[who];
        let to = if voter.is_node() { Promisee::To(voter.peer()) } else { machine.remembers };
        let homes = std::iter::once(self.home).collect();
        let boot = BootId::new(machine.boot).expect("not 0");
        machine.ledger = Some(Ledger::new(voter, boot, homes, self.terms, to, now));
        machine.heartbeat_at = self.now;
    }

    /// What a voter's frame shows to `to`.
    pub fn status(&self, who: usize, to: Voter) -> Option<Status> {
        self.machines[who].ledger.as_ref().map(|ledger| status_for(ledger, to, self.local(who)))
    }

    /// Sends one frame to the two others; to each by its own way.
    pub fn send(&mut self, who: usize) {
        let now = self.local(who);
        let Some(ledger) = &mut self.machines[who].ledger else { return };
        let (me, boot) = (ledger.me(), ledger.boot());
        let Some(seq) = ledger.stamp(now) else { return };
        let header = Header { sender: me, link: LinkId(0), boot, seq };
        for to in Voter::ALL {
            if to == me || self.cut[who][to.index()] || self.random.percent(self.loss) {
                continue;
            }
            let Some(status) = self.status(who, to) else { return };
            for _ in 0..if self.random.percent(self.repeated) { 2 } else { 1 } {
                let late = self.random.percent(self.late.1);
                let most = if late { self.late.0 } else { 20_000 };
                let arrives = self.now + self.random.between(10, most.max(10));
                self.frames += 1;
                self.flying.insert((arrives, self.frames), (to.index(), header, status));
            }
        }
    }

    /// R2 and R11 in their simplest form: who wants, asks; who may, runs; who may no longer, stops.
    pub fn decide(&mut self, who: usize) {
        let now = self.local(who);
        let machine = &mut self.machines[who];
        let Some(ledger) = &mut machine.ledger else { return };
        if !ledger.me().is_node() {
            return;
        }
        ledger.expire(now);
        let before = ledger.stance(G);
        match before {
            Stance::Idle if machine.wants && ledger.promises(G).promised_to(now).is_none() => {
                ledger.set_stance(G, Stance::Asking);
            }
            Stance::Asking if !machine.wants => ledger.set_stance(G, Stance::Idle),
            Stance::Asking if ledger.authorised(G, now) => {
                ledger.set_stance(G, Stance::Running);
                self.grants += 1;
            }
            Stance::Running => self.decide_running(who),
            _ => {}
        }
    }

    fn decide_running(&mut self, who: usize) {
        let now = self.local(who);
        let true_now = self.now;
        let stop_by = self.stops_by(who);
        let hands_over = self.random.percent(50);
        let stop_time = self.random.between(0, 30_000);
        let machine = &mut self.machines[who];
        let Some(ledger) = &mut machine.ledger else { return };
        match machine.runs_until {
            None if !ledger.authorised(G, now) => machine.runs_until = Some(stop_by),
            None if !machine.wants => {
                machine.runs_until = Some(stop_by.min(true_now + stop_time));
            }
            Some(until) if until <= true_now => {
                // Stopped, and confirmed: in a handover released and promised in one frame (R11).
                machine.runs_until = None;
                if hands_over && !machine.wants {
                    ledger.hand_over(G, now);
                } else {
                    ledger.set_stance(G, Stance::Idle);
                }
            }
            _ => {}
        }
    }

    fn deliver(&mut self, to: usize, header: &Header, status: &Status) {
        let now = self.local(to);
        let machine = &mut self.machines[to];
        if self.now < machine.frozen_until {
            if machine.buffered.len() < 64 {
                machine.buffered.push((*header, *status));
            }
            return;
        }
        if let Some(ledger) = &mut machine.ledger {
            let _ = ledger.process(now, header, status, &sender(self.terms));
            self.decide(to);
        }
    }

    /// The next true moment at which anything can change, time alone included.
    fn next(&self) -> u64 {
        let mut next = self.flying.keys().next().map_or(u64::MAX, |key| key.0);
        for machine in &self.machines {
            let Some(ledger) = &machine.ledger else {
                next = next.min(machine.start_at.max(self.now + 1));
                continue;
            };
            next = next.min(machine.heartbeat_at);
            next = next.min(machine.runs_until.filter(|&at| at > self.now).unwrap_or(u64::MAX));
            if machine.frozen_until > self.now {
                next = next.min(machine.frozen_until.min(machine.reset_at.unwrap_or(u64::MAX)));
            }
            let promises = ledger.promises(G);
            let given = promises.promise_ends().unwrap_or(Instant::ZERO);
            let edges = Voter::ALL.map(|by| promises.counted_until(by)).into_iter().chain([given]);
            for edge in edges.map(|at| machine.clock.shows(at)).filter(|&at| at > self.now) {
                next = next.min(edge);
            }
        }
        next.max(self.now)
    }

    /// Goes on to the next moment. Fails where two are authorised, or two run.
    pub fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        self.now = self.next();
        self.check()?;
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, header, status) = entry.remove();
            self.deliver(to, &header, &status);
            self.check()?;
        }
        for who in 0..3 {
            self.turn(who);
        }
        self.check()
    }

    fn turn(&mut self, who: usize) {
        let machine = &mut self.machines[who];
        if machine.ledger.is_none() {
            if machine.start_at <= self.now {
                self.start(who);
            }
            return;
        }
        if machine.reset_at.is_some_and(|at| at <= self.now) {
            machine.runs_until = None;
            let after = self.random.between(1, 900_000);
            self.kill(who, after);
            self.machines[who].runs_until = None;
            return;
        }
        if self.now < machine.frozen_until {
            machine.heartbeat_at = machine.heartbeat_at.max(machine.frozen_until);
            return;
        }
        machine.reset_at = None;
        for (header, status) in std::mem::take(&mut machine.buffered) {
            self.deliver(who, &header, &status);
        }
        self.decide(who);
        if self.machines[who].heartbeat_at <= self.now {
            self.send(who);
            self.machines[who].heartbeat_at = self.now + self.random.between(60_000, 100_000);
        }
    }

    pub fn authorised(&self, who: usize) -> bool {
        let ledger = self.machines[who].ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.authorised(G, self.local(who)))
    }

    /// Whether the service is up here, whoever keeps it up.
    pub fn runs(&self, who: usize) -> bool {
        let machine = &self.machines[who];
        let ends = machine.runs_until.into_iter().chain(machine.reset_at).min();
        let past = ends.is_some_and(|until| until <= self.now);
        match &machine.ledger {
            Some(ledger) => ledger.stance(G) == Stance::Running && !past,
            None => machine.runs_until.is_some() && !past,
        }
    }

    fn check(&self) -> Result<(), String> {
        let two = |what: &dyn Fn(usize) -> bool| what(0) && what(1);
        if two(&|who| self.authorised(who)) {
            return Err(format!("two authorised after {} steps, {} µs", self.steps, self.now));
        }
        if self.guard > Duration::ZERO && two(&|who| self.runs(who)) {
            return Err(format!("two run after {} steps, {} µs", self.steps, self.now));
        }
        Ok(())
    }
}
