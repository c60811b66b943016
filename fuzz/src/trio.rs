//! Two whole nodes and the arbiter under any sequence of deliveries, losses, cuts, crashes, restarts and
//! commands, with safety as the oracle.
//!
//! True time runs here, and each party's clock by its own rate. A machine whose watchdog isn't fed is
//! reset; what it ran, runs until then.

mod host;
mod oracle;

use arbitrary::{Result, Unstructured};
use hb_proto::arbiter::{self, Port};
use hb_proto::config::{
    ArbiterConfig, Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing,
};
use hb_proto::id::{BootId, LinkId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::message::arbiter::{LineShown, ResetReason};

use crate::dongle::{self, Dongle};
use crate::machine::{Input, Request};
use host::Host;

/// Frames that are under way at most; the oldest are lost.
const POOL: usize = 64;
/// The machines' watchdogs; guard is twice that and a margin (R10).
const WATCHDOG: Duration = Duration::from_millis(2000);
const GUARD: Duration = Duration::from_millis(4500);
const BAUD: u32 = 115_200;
/// Directed wires: network A to B and B to A, then each node's line to the dongle and back.
const WIRES: usize = 6;
/// Clocks within 5 % of each other, per mille.
const RATES: [u64; 5] = [976, 1000, 1024, 990, 1010];

/// `HB_FUZZ_TRACE=1` prints what everybody holds, promises and counts after each choice of the input.
fn trace() -> bool {
    std::env::var_os("HB_FUZZ_TRACE").is_some()
}

/// Any bytes as a story of three.
pub fn trio(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(mut story) = Story::begin(&mut choices) else { return };
    while !choices.is_empty() && story.step(&mut choices).is_ok() {}
}

/// A node of a pair with a dongle on its first link and a network on its second.
pub fn trio_config(me: Voter) -> Config {
    let group = |home, count| GroupConfig {
        home,
        resources: [ResourceKind::Address, ResourceKind::Script].into_iter().take(count).collect(),
    };
    let config = Config {
        me,
        timing: Timing { guard: GUARD, ..Timing::classic_defaults() },
        links: [LinkKind::Serial { baud: BAUD }, LinkKind::Broadcast].into_iter().collect(),
        groups: [group(Voter::A, 2), group(Voter::B, 1)].into_iter().collect(),
        auto_failback: true,
        arbiter: Some(ArbiterConfig {
            link: LinkId(0),
            external_watchdog: false,
            fences: true,
            fence: None,
        }),
        patience: Patience {
            start: Duration::from_millis(500),
            stop: Duration::from_millis(500),
            status: Duration::from_millis(500),
            stop_retries: 1,
            ..Patience::default()
        },
        digests: Digests { haresources: 1, settings: 1 },
    };
    config.check().expect("a configuration that is allowed");
    config
}

/// Reset lines, as they are and not as anybody believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lines {
    None,
    Supervised,
    /// Tested once, broken since.
    Broken,
}

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Host(usize, LinkId),
    Dongle(Port),
}

struct Story {
    /// True time.
    now: Duration,
    rates: [u64; 3],
    hosts: [Host; 2],
    dongle: Option<Dongle>,
    dongle_boot: u32,
    memory: Option<arbiter::Memory>,
    lines: Lines,
    cut: [bool; WIRES],
    flying: Vec<(To, Vec<u8>)>,
    /// An operator once said of a machine that it is off. R14: from then on two may run, if they were wrong
    /// or it came back unseen.
    human: bool,
    #[cfg(feature = "mutants")]
    broken: Option<hb_proto::mutant::Mutant>,
}

impl Story {
    fn begin(u: &mut Unstructured<'_>) -> Result<Self> {
        let rates = if u.ratio(1, 2)? {
            [1000; 3]
        } else {
            [*u.choose(&RATES)?, *u.choose(&RATES)?, *u.choose(&RATES)?]
        };
        let mut story = Self {
            // Everybody's clock is far from its beginning.
            now: Duration::from_secs(1000),
            rates,
            hosts: [Host::new(trio_config(Voter::A)), Host::new(trio_config(Voter::B))],
            dongle: None,
            dongle_boot: 0,
            memory: None,
            lines: *u.choose(&[
                Lines::None,
                Lines::Supervised,
                Lines::Supervised,
                Lines::Broken,
            ])?,
            cut: [false; WIRES],
            flying: Vec::new(),
            human: false,
            #[cfg(feature = "mutants")]
            broken: oracle::broken(),
        };
        story.plug_in(ResetReason::PowerOn);
        story.start(0);
        story.start(1);
        // Most stories begin where one serves.
        if u.ratio(7, 8)? {
            story.calm(40);
        }
        Ok(story)
    }

    /// What a party's clock shows.
    fn clock(&self, of: usize) -> Instant {
        Instant::from_micros(self.now.micros() / 1000 * self.rates[of])
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=23)? {
            0..=4 => self.pass_some_time(u)?,
            5..=8 => {
                let at = u.choose_index(2)?;
                self.host_turn(at, u)?;
            }
            9..=11 => self.dongle_turn(u)?,
            12..=14 => {
                let rounds = u.int_in_range(1..=30)?;
                self.calm(rounds);
            }
            15 | 16 => {
                let wire = u.choose_index(WIRES)?;
                self.cut[wire] ^= true;
            }
            17 => {
                // Both ways of a link, or all of them.
                let up = u.arbitrary()?;
                match u.choose_index(4)? {
                    3 => self.cut = [up; WIRES],
                    link => self.cut[2 * link..2 * link + 2].fill(up),
                }
            }
            18 => self.fault(u)?,
            19 => self.dongle_fault(u)?,
            20 | 21 => self.command(u)?,
            22 => self.flying.reverse(),
            _ => self.flying.clear(),
        }
        if trace() {
            eprintln!("{}", self.tell());
        }
        self.judge();
        Ok(())
    }

    fn pass_some_time(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let ms = Duration::from_millis;
        let span = match u.int_in_range(0..=9)? {
            0 => Duration::from_micros(u.int_in_range(0..=20_000)?),
            1 => ms(400),
            2 => ms(500),
            3 => ms(u.int_in_range(0..=6000)?),
            4 => ms(5000),
            _ => ms(u.int_in_range(1..=120)?),
        };
        self.pass(span);
        Ok(())
    }

    /// True time passes; watchdogs bite in it.
    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        for host in &mut self.hosts {
            if host.fed_at.is_some_and(|at| self.now.saturating_sub(at) >= WATCHDOG) {
                host.lose_power();
            }
        }
    }

    /// Rounds of 20 ms in which everything arrives and everybody wakes up. Cut wires stay cut.
    fn calm(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.pass(Duration::from_millis(20));
            for at in [0, 1] {
                let frames = self.take_all(|to| matches!(to, To::Host(host, _) if *host == at));
                self.wake(at, frames, None);
            }
            let frames = self.take_all(|to| matches!(to, To::Dongle(_)));
            self.wake_dongle(frames);
            self.judge();
        }
    }

    fn take_all(&mut self, wanted: impl Fn(&To) -> bool) -> Vec<(To, Vec<u8>)> {
        let (taken, left) =
            std::mem::take(&mut self.flying).into_iter().partition(|f| wanted(&f.0));
        self.flying = left;
        taken
    }

    /// Some of the frames for a party, in any order, lost or doubled.
    fn deliveries(
        &mut self,
        u: &mut Unstructured<'_>,
        wanted: impl Fn(&To) -> bool,
    ) -> Result<Vec<(To, Vec<u8>)>> {
        let mut taken = Vec::new();
        let mut at = 0;
        while at < self.flying.len() {
            if !wanted(&self.flying[at].0) {
                at += 1;
                continue;
            }
            match u.int_in_range(0..=9)? {
                0 => drop(self.flying.remove(at)),
                1 => {
                    taken.push(self.flying[at].clone());
                    at += 1;
                }
                2 => at += 1,
                _ => taken.push(self.flying.remove(at)),
            }
        }
        Ok(taken)
    }

    // ---- nodes

    fn start(&mut self, at: usize) {
        let now = self.clock(at);
        #[cfg(feature = "mutants")]
        self.hosts[at].start(now, self.broken);
        #[cfg(not(feature = "mutants"))]
        self.hosts[at].start(now);
        self.wake(at, Vec::new(), None);
    }

    fn host_turn(&mut self, at: usize, u: &mut Unstructured<'_>) -> Result<()> {
        let frames = self.deliveries(u, |to| matches!(to, To::Host(host, _) if *host == at))?;
        if u.ratio(1, 16)? {
            self.hosts[at].scripts_fail ^= true;
        }
        self.wake(at, frames, None);
        Ok(())
    }

    fn wake(&mut self, at: usize, frames: Vec<(To, Vec<u8>)>, request: Option<Request>) {
        let now = self.clock(at);
        let link = |to| match to {
            To::Host(_, link) => link,
            To::Dongle(_) => unreachable!("filtered"),
        };
        let frames = frames.into_iter().map(|(to, bytes)| (link(to), bytes)).collect();
        let input = Input { frames, request, ..Input::default() };
        for (link, bytes) in self.hosts[at].turn(now, self.now, input) {
            let (wire, to) = match link.0 {
                0 => (2 + 2 * at, To::Dongle(Port::ALL[at])),
                _ => (at, To::Host(1 - at, link)),
            };
            self.fly(wire, to, bytes);
        }
    }

    fn fly(&mut self, wire: usize, to: To, bytes: Vec<u8>) {
        if self.cut[wire] {
            return;
        }
        self.flying.push((to, bytes));
        if self.flying.len() > POOL {
            self.flying.remove(0);
        }
    }

    fn fault(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let at = u.choose_index(2)?;
        match u.int_in_range(0..=4)? {
            0 => self.hosts[at].lose_power(),
            1 => self.hosts[at].kill(self.now),
            2 => self.hosts[at].frozen ^= true,
            _ => self.start(at),
        }
        Ok(())
    }

    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let at = u.choose_index(2)?;
        let request = match u.int_in_range(0..=9)? {
            0..=3 => Request::Standby(None),
            4..=7 => Request::Takeover(None),
            8 if self.hosts[1 - at].is_off() => Request::PeerIsOff,
            8 => return Ok(()),
            _ => Request::Leave,
        };
        let counts = matches!(request, Request::PeerIsOff) && self.hosts[at].runs();
        self.human |= counts;
        self.wake(at, Vec::new(), Some(request));
        Ok(())
    }

    // ---- the dongle

    fn plug_in(&mut self, reset: ResetReason) {
        self.dongle_boot += 1;
        let boot = BootId::new(self.dongle_boot).expect("small");
        let config = arbiter::Config::new(7, BAUD);
        let mut dongle = Dongle::new(config, boot, self.memory, reset, self.clock(2));
        for node in [Voter::A, Voter::B] {
            let untested = dongle.arbiter.memory().nodes[node.index()].line == LineShown::Untested;
            if self.lines != Lines::None && untested {
                dongle.arbiter.handle_commissioned(node, true);
            }
        }
        #[cfg(feature = "mutants")]
        dongle.arbiter.break_rule(self.broken);
        self.dongle = Some(dongle);
    }

    fn dongle_turn(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let frames = self.deliveries(u, |to| matches!(to, To::Dongle(_)))?;
        self.wake_dongle(frames);
        Ok(())
    }

    fn wake_dongle(&mut self, frames: Vec<(To, Vec<u8>)>) {
        let now = self.clock(2);
        let evidence = self.lines == Lines::Supervised;
        let Some(dongle) = &mut self.dongle else { return };
        let port = |to| match to {
            To::Dongle(port) => port,
            To::Host(..) => unreachable!("filtered"),
        };
        let frames = frames.into_iter().map(|(to, bytes)| (port(to), bytes)).collect();
        let input = dongle::Input { frames, evidence, ..dongle::Input::default() };
        let output = dongle.settle(now, &input);
        self.memory = dongle.stored;
        if evidence {
            output.pulses.iter().for_each(|node| self.hosts[node.index()].lose_power());
        }
        for (port, bytes, _) in output.frames {
            let wire = 3 + 2 * port.index();
            self.fly(wire, To::Host(port.index(), LinkId(0)), bytes);
        }
        if let Some(above) = output.restart {
            self.dongle_boot = self.dongle_boot.max(above.value());
            self.plug_in(ResetReason::Software);
        }
    }

    fn dongle_fault(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=3)? {
            0 => self.dongle = None,
            1 => self.plug_in(ResetReason::Watchdog),
            2 => self.plug_in(ResetReason::PowerOn),
            // A spare: it knows nothing, or something of another time.
            _ => {
                self.dongle_boot = u.int_in_range(0..=self.dongle_boot)?;
                if u.arbitrary()? {
                    self.memory = None;
                }
                self.plug_in(ResetReason::PowerOn);
            }
        }
        Ok(())
    }
}
