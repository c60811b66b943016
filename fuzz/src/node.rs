//! A node under any sequence of inputs that its contract allows, with a second real node to talk to.
//!
//! The node under test lives twice, in two epochs: what it does may not depend on where its time
//! begins, and its decisions, rebased, are its twin's.

use arbitrary::{Result, Unstructured};
use hb_proto::action::{Outcome, TicketId};
use hb_proto::config::{Config, Digests, GroupConfig, LinkKind, Patience, ResourceKind, Timing};
use hb_proto::id::{BootId, GroupId, LinkId, Voter};
use hb_proto::time::{Duration, Instant};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message::{
    self, Echo, GroupState, GroupStates, HEADER_LEN, Header, Hello, HelloEcho, Life, Message,
    Settings, Status,
};

use crate::bytes::KEYS;
use crate::machine::{Input, Machine, Output, Request, works};

/// Frames that the network may still deliver, late or again.
const POOL: usize = 24;
/// Epochs of the node under test; the first is the one that its peer lives in as well.
const EPOCHS: [u64; 4] = [0, 1, 1_000_000_000_000, u64::MAX / 2];

/// Any bytes as a story of one node.
pub fn node(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(mut story) = Story::begin(&mut choices) else { return };
    // Bytes that run out end the story.
    while !choices.is_empty() && story.step(&mut choices).is_ok() {}
}

struct Story {
    /// Time since both machines' beginning.
    now: Duration,
    config: Config,
    boot: u32,
    epochs: [Instant; 2],
    twins: [Machine; 2],
    peer: Machine,
    to_node: Vec<(LinkId, Vec<u8>)>,
    to_peer: Vec<(LinkId, Vec<u8>)>,
}

impl Story {
    fn begin(u: &mut Unstructured<'_>) -> Result<Self> {
        let config = config(u)?;
        let mut others = config.clone();
        others.me = config.me.peer();
        if u.ratio(1, 8)? {
            others.digests.haresources += 1;
        }
        let epochs =
            [Instant::from_micros(EPOCHS[u.choose_index(3)?]), Instant::from_micros(EPOCHS[3])];
        let boot = BootId::new(u.int_in_range(1..=300)?).expect("not 0");
        let story = Self {
            now: Duration::ZERO,
            boot: boot.value(),
            twins: epochs.map(|epoch| Machine::new(&config, boot, epoch)),
            epochs,
            config,
            peer: Machine::new(&others, boot, Instant::ZERO),
            to_node: Vec::new(),
            to_peer: Vec::new(),
        };
        Ok(story)
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.pass_time(u)?;
        match u.int_in_range(0..=15)? {
            0..=3 => self.peer_turn(u)?,
            4 if u.ratio(1, 4)? => return self.restart(),
            5 => {
                self.node_turn(&Input::default());
                for (twin, epoch) in self.twins.iter_mut().zip(self.epochs) {
                    twin.spurious_timeout(epoch + self.now);
                }
                return Ok(());
            }
            _ => {}
        }
        let input = self.input(u)?;
        self.node_turn(&input);
        self.now = self.now + input.late;
        if self.twins[0].departed { self.restart() } else { Ok(()) }
    }

    fn pass_time(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let timing = &self.config.timing;
        let due = self.twins[0].node.poll_timeout();
        let until_due = due.since(self.epochs[0] + self.now).min(Duration::from_secs(1000));
        let micro = Duration::from_micros(1);
        self.now = self.now
            + match u.int_in_range(0..=11)? {
                0 => Duration::ZERO,
                1 => micro,
                2 => Duration::from_micros(u.int_in_range(0..=20_000)?),
                3 => timing.keepalive.percent(50),
                4 => timing.keepalive,
                5 => timing.lease,
                6 => timing.deadtime,
                7 => Duration::from_millis(u.int_in_range(0..=120_000)?),
                8 => until_due.saturating_sub(micro),
                9 => until_due + micro,
                _ => until_due,
            };
        Ok(())
    }

    fn node_turn(&mut self, input: &Input) {
        let [mut first, second] = [0, 1].map(|at| {
            let now = self.epochs[at] + self.now;
            self.twins[at].settle(now, input)
        });
        assert_eq!(first, second, "the same, whenever time began");
        let apart = self.epochs[1].since(self.epochs[0]);
        let rebased = self.twins[1].node.decisions().clone().rebased(apart);
        assert!(rebased == *self.twins[0].node.decisions(), "rebasing commutes with deciding");
        keep(&mut self.to_peer, &mut first);
    }

    fn peer_turn(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut input = Input { frames: deliveries(u, &mut self.to_peer)?, ..Input::default() };
        // Its scripts work: the trouble is the node's.
        input.answers =
            self.peer.orders.iter().map(|order| (order.ticket, works(order.verb))).collect();
        let mut output = self.peer.settle(Instant::ZERO + self.now, &input);
        keep(&mut self.to_node, &mut output);
        Ok(())
    }

    /// The daemon is gone and comes back; what ran goes on running.
    fn restart(&mut self) -> Result<()> {
        self.boot += 1;
        let boot = BootId::new(self.boot).expect("far from the end");
        for (twin, epoch) in self.twins.iter_mut().zip(self.epochs) {
            *twin = Machine::new(&self.config, boot, epoch + self.now);
            // R8: as if every second life's predecessor had promised by longer terms.
            let full = self.config.timing.full().times(1 + u64::from(self.boot % 2));
            twin.node.remember_longest_promise(epoch + self.now, full);
        }
        self.node_turn(&Input::default());
        Ok(())
    }

    fn input(&mut self, u: &mut Unstructured<'_>) -> Result<Input> {
        let mut input = Input::default();
        if u.ratio(3, 4)? {
            input.frames = deliveries(u, &mut self.to_node)?;
            for (link, frame) in &mut input.frames {
                self.spoil(u, frame)?;
                if u.ratio(1, 32)? {
                    *link = LinkId(u.arbitrary()?);
                }
            }
        }
        let any_link = LinkId(u.int_in_range(0..=8)?);
        input.damage = u.ratio(1, 16)?.then_some(any_link);
        for order in &self.twins[0].orders {
            match u.int_in_range(0..=7)? {
                0 => {}
                1 => input.answers.push((order.ticket, Outcome::Failed)),
                2 => input.answers.push((order.ticket, Outcome::Held)),
                3 => input.answers.push((order.ticket, Outcome::NotHeld)),
                _ => input.answers.push((order.ticket, works(order.verb))),
            }
        }
        if u.ratio(1, 32)? {
            input.answers.push((TicketId(u.int_in_range(0..=99)?), Outcome::Done));
        }
        if u.ratio(1, 16)? {
            let group = u.ratio(1, 2)?.then_some(GroupId(u.int_in_range(0..=3)?));
            input.request = Some(match u.int_in_range(0..=8)? {
                0 => Request::Leave,
                1..=4 => Request::Standby(group),
                _ => Request::Takeover(group),
            });
        }
        if u.ratio(1, 8)? {
            input.blocked = u.arbitrary()?;
        }
        if u.ratio(1, 8)? {
            input.late = Duration::from_micros(u.int_in_range(1..=600_000)?);
        }
        Ok(input)
    }

    /// Most frames arrive as they were sent.
    fn spoil(&self, u: &mut Unstructured<'_>, frame: &mut Vec<u8>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0 => {
                let at = u.choose_index(frame.len())?;
                frame[at] ^= 1 << u.int_in_range(0..=7)?;
            }
            1 => frame.truncate(u.choose_index(frame.len() + 1)?),
            2 => {
                // Signed by somebody who has the key and lost his mind.
                let len = frame.len().saturating_sub(8);
                for _ in 0..u.int_in_range(1..=4)? {
                    let at = u.choose_index(len)?;
                    frame[at] = u.arbitrary()?;
                }
                frame[1] = frame[1] & 0xF0 | 1;
                let mut buf = [0; MAX_FRAME];
                buf[..len].copy_from_slice(&frame[..len]);
                let sealed = KEYS.seal(&mut buf, len).expect("as long as it was");
                *frame = buf[..sealed].to_vec();
            }
            3 | 4 => *frame = self.forged(u)?,
            _ => {}
        }
        Ok(())
    }

    /// A well-formed status or hello of the peer that says anything.
    fn forged(&self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let me = self.config.me;
        let sender = if u.ratio(1, 8)? { *u.choose(&Voter::ALL)? } else { me.peer() };
        let boot = self.peer.node.boot().value() + u.int_in_range(0..=2)?;
        let mut status = Status {
            hears: u.arbitrary()?,
            life: *u.choose(&[Life::Up, Life::Up, Life::Up, Life::Leaving, Life::Left])?,
            off_schedule: u.arbitrary()?,
            wants_hello: u.arbitrary()?,
            ..Status::default()
        };
        let mut states = GroupStates::default();
        for group in 0..4 {
            use GroupState::{Asking, Idle, Promised, Running};
            states.set(GroupId(group), *u.choose(&[Idle, Asking, Running, Promised])?);
        }
        status.groups = states;
        if u.ratio(3, 4)? && sender != me {
            let seq = u.int_in_range(1..=200)?;
            let boot = self.twins[0].node.boot();
            status.echoes[Status::echo_slot(sender, me)] = Some(Echo::of(boot, seq));
        }
        let header = Header {
            sender,
            link: LinkId(u.int_in_range(0..=7)?),
            boot: BootId::new(boot).expect("small"),
            seq: u.int_in_range(1..=2000)?,
        };
        let message = if u.arbitrary()? { Message::Status(status) } else { self.hello(u, status)? };
        let mut frame = [0; MAX_FRAME];
        let len = message::encode(&header, &message, &KEYS, &mut frame);
        debug_assert!(len > HEADER_LEN);
        Ok(frame[..len].to_vec())
    }

    /// The status as a hello: other files, other times, other versions, lives that never were.
    fn hello(&self, u: &mut Unstructured<'_>, status: Status) -> Result<Message> {
        let mut digests = self.config.digests;
        digests.haresources += u64::from(u.ratio(1, 4)?);
        digests.settings += u64::from(u.ratio(1, 4)?);
        let timing = &self.config.timing;
        let mut ms = |usual: Duration| {
            let usual = usual.millis().try_into().unwrap_or(u32::MAX);
            Ok(match u.int_in_range(0..=5)? {
                0 => u.arbitrary()?,
                1 => 0,
                _ => usual,
            })
        };
        let settings = Settings {
            keepalive_ms: ms(timing.keepalive)?,
            deadtime_ms: ms(timing.deadtime)?,
            lease_ms: ms(timing.lease)?,
            guard_ms: ms(timing.guard)?,
            arbiter: self.config.arbiter.map(|_| 1),
            ..Settings::new(digests)
        };
        // Which groups: often none, as in most hellos.
        let mut groups = || if u.arbitrary()? { u.arbitrary() } else { Ok(0) };
        let (declines, failed, wants) = (groups()?, groups()?, groups()?);
        let knows = BootId::new(self.twins[0].node.boot().value() + u.int_in_range(0..=1)?);
        let echo = HelloEcho { seq: u.int_in_range(1..=200)?, held_us: u.arbitrary()? };
        Ok(Message::Hello(Hello {
            status,
            settings,
            declines,
            failed,
            wants,
            knows: knows.filter(|_| status.wants_hello),
            echo: Some(echo).filter(|_| !status.off_schedule),
            for_arbiter: None,
        }))
    }
}

/// Takes frames from the network: the oldest, or any, lost, late or again.
fn deliveries(
    u: &mut Unstructured<'_>,
    pool: &mut Vec<(LinkId, Vec<u8>)>,
) -> Result<Vec<(LinkId, Vec<u8>)>> {
    let mut taken = Vec::new();
    while !pool.is_empty() && taken.len() < POOL {
        match u.int_in_range(0..=11)? {
            0 => {
                let at = u.choose_index(pool.len())?;
                taken.push(pool[at].clone());
            }
            1 => {
                let at = u.choose_index(pool.len())?;
                taken.push(pool.remove(at));
            }
            2 => drop(pool.remove(0)),
            3 => break,
            _ => taken.push(pool.remove(0)),
        }
    }
    Ok(taken)
}

fn keep(pool: &mut Vec<(LinkId, Vec<u8>)>, output: &mut Output) {
    pool.append(&mut output.frames);
    let surplus = pool.len().saturating_sub(POOL);
    pool.drain(..surplus);
}

fn config(u: &mut Unstructured<'_>) -> Result<Config> {
    let arbiter = u.ratio(1, 16)?.then_some(());
    // An arbiter's frames and the forwarded ones need a faster line.
    let baud = if arbiter.is_some() { 38_400 } else { 19_200 };
    let kinds = [
        LinkKind::Serial { baud },
        LinkKind::Broadcast,
        LinkKind::Unicast,
        LinkKind::Serial { baud: 115_200 },
    ];
    let links = u.int_in_range(1..=4)?;
    let ms = Duration::from_millis;
    let timing = match u.int_in_range(0..=3)? {
        0 => Timing { warntime: ms(500), initdead: ms(500), ..Timing::classic_defaults() },
        1 => Timing { guard: ms(20_500), ..Timing::classic_defaults() },
        2 => Timing {
            keepalive: ms(2000),
            warntime: ms(5000),
            deadtime: ms(10_000),
            lease: ms(8000),
            initdead: ms(20_000),
            ..Timing::classic_defaults()
        },
        _ => Timing::classic_defaults(),
    };
    let mut groups = heapless::Vec::new();
    for _ in 0..u.int_in_range(1..=3)? {
        let resources = [ResourceKind::Address, ResourceKind::Script, ResourceKind::Address];
        let resources = resources.into_iter().take(u.int_in_range(1..=3)?).collect();
        let home = *u.choose(&[Voter::A, Voter::B])?;
        let _ = groups.push(GroupConfig { home, resources });
    }
    let patience = if u.ratio(1, 2)? {
        Patience::default()
    } else {
        Patience {
            stop_retries: 1,
            start: ms(50),
            stop: ms(60),
            status: ms(10),
            ..Patience::default()
        }
    };
    // An arbiter needs a network link beside its line, and a guard.
    let arbiter = arbiter.filter(|_| links > 1).map(|()| hb_proto::config::ArbiterConfig {
        link: LinkId(0),
        external_watchdog: false,
        fences: true,
        fence: None,
    });
    let guard = if arbiter.is_some() { ms(1000) } else { timing.guard };
    let config = Config {
        me: *u.choose(&[Voter::A, Voter::B])?,
        timing: Timing { guard, ..timing },
        links: kinds.into_iter().take(links).collect(),
        groups,
        auto_failback: u.arbitrary()?,
        arbiter,
        patience,
        digests: Digests { haresources: 1, settings: 1 },
    };
    config.check().expect("a configuration that is allowed");
    Ok(config)
}
