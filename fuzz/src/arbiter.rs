//! An arbiter under any sequence of inputs that its contract allows: two real nodes, strangers, people with
//! the key who lost their minds, memories of any time.
//!
//! It lives twice, in two epochs, as the node of the target `node` does.

use arbitrary::{Result, Unstructured};
use hb_proto::arbiter::{self, Memory, NodeMemory, Port};
use hb_proto::config::Config;
use hb_proto::id::{BootId, GroupId, Voter};
use hb_proto::time::{Duration, Instant, Millis};
use hb_proto::wire::MAX_FRAME;
use hb_proto::wire::message::arbiter::{LineShown, Promisees, ResetReason, Shown};
use hb_proto::wire::message::{
    self, Echo, ForArbiter, GroupState, GroupStates, Header, Hello, Life, Message, Settings, Status,
};

use crate::bytes::KEYS;
use crate::dongle::{Dongle, Input};
use crate::machine::{self, Machine};
use crate::trio::trio_config;

/// Frames that a line may still deliver, late or again.
const POOL: usize = 24;

/// Any bytes as a story of one arbiter.
pub fn arbiter(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok(mut story) = Story::begin(&mut choices) else { return };
    while !choices.is_empty() && story.step(&mut choices).is_ok() {}
}

struct Story {
    /// Time since the beginning.
    now: Duration,
    boot: u32,
    epochs: [Instant; 2],
    twins: [Dongle; 2],
    nodes: [Machine; 2],
    configs: [Config; 2],
    /// Frames for the arbiter, by the port that they would come by, and for the nodes.
    to_dongle: Vec<(Port, Vec<u8>)>,
    to_node: [Vec<Vec<u8>>; 2],
}

impl Story {
    fn begin(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut configs = [trio_config(Voter::A), trio_config(Voter::B)];
        if u.ratio(1, 8)? {
            configs[1].digests.haresources += 1;
        }
        if u.ratio(1, 8)? {
            configs[0].timing.guard = Duration::MAX;
        }
        let memory = memory(u)?;
        let reset = reset_reason(u)?;
        let boot = u.int_in_range(1..=300)?;
        let epochs = [Instant::from_micros(*u.choose(&[0, 1, 1_000_000_000])?), far()];
        let twin = |epoch| {
            let boot = BootId::new(boot).expect("not 0");
            Dongle::new(arbiter::Config::new(7, 115_200), boot, memory, reset, epoch)
        };
        let life = BootId::new(1).expect("not 0");
        Ok(Self {
            now: Duration::ZERO,
            boot,
            twins: epochs.map(twin),
            epochs,
            nodes: [0, 1].map(|at: usize| Machine::new(&configs[at], life, Instant::ZERO)),
            configs,
            to_dongle: Vec::new(),
            to_node: [Vec::new(), Vec::new()],
        })
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.pass_time(u)?;
        match u.int_in_range(0..=15)? {
            0..=4 => return self.node_turn(u),
            5 if u.ratio(1, 4)? => return self.restart(u),
            6 => {
                self.turn(&Input::default())?;
                for (twin, epoch) in self.twins.iter_mut().zip(self.epochs) {
                    twin.spurious_timeout(epoch + self.now);
                }
                return Ok(());
            }
            _ => {}
        }
        let input = self.input(u)?;
        self.turn(&input)
    }

    fn pass_time(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let due = self.twins[0].arbiter.poll_timeout();
        let until_due = due.since(self.epochs[0] + self.now).min(Duration::from_secs(100));
        let ms = Duration::from_millis;
        self.now = self.now
            + match u.int_in_range(0..=9)? {
                0 => Duration::ZERO,
                1 => Duration::from_micros(u.int_in_range(0..=20_000)?),
                2 | 3 => ms(50),
                4 => ms(100),
                5 => ms(500),
                6 => ms(u.int_in_range(0..=12_000)?),
                _ => until_due,
            };
        Ok(())
    }

    fn turn(&mut self, input: &Input) -> Result<()> {
        let outputs = [0, 1].map(|at| {
            let now = self.epochs[at] + self.now;
            self.twins[at].settle(now, input)
        });
        let [first, second] = outputs;
        assert_eq!(first, second, "the same, whenever time began");
        let apart = self.epochs[1].since(self.epochs[0]);
        let rebased = self.twins[1].arbiter.decisions().clone().rebased(apart);
        assert!(rebased == *self.twins[0].arbiter.decisions(), "rebasing commutes with deciding");
        for (port, bytes, _) in first.frames {
            let pool = &mut self.to_node[port.index()];
            pool.push(bytes);
            let surplus = pool.len().saturating_sub(POOL);
            pool.drain(..surplus);
        }
        if let Some(above) = first.restart {
            self.boot = above.value();
            self.begin_life(ResetReason::Software, self.twins[0].stored);
        }
        Ok(())
    }

    /// A node's turn: its scripts work, its own network is cut, its line delivers what it likes.
    fn node_turn(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let at = u.choose_index(2)?;
        let mut frames = Vec::new();
        for frame in self.to_node[at].drain(..) {
            if !u.ratio(1, 8)? {
                frames.push((hb_proto::id::LinkId(0), frame));
            }
        }
        let node = &mut self.nodes[at];
        let works = |order: &machine::Order| (order.ticket, machine::works(order.verb));
        let answers = node.orders.iter().map(works).collect();
        let input = machine::Input { frames, answers, ..machine::Input::default() };
        let output = node.settle(Instant::ZERO + self.now, &input);
        let line = output.frames.into_iter().filter(|(link, _)| link.0 == 0);
        self.to_dongle.extend(line.map(|(_, bytes)| (Port::ALL[at], bytes)));
        let surplus = self.to_dongle.len().saturating_sub(POOL);
        self.to_dongle.drain(..surplus);
        if u.ratio(1, 64)? {
            let boot = self.nodes[at].node.boot().next().expect("few lives");
            self.nodes[at] = Machine::new(&self.configs[at], boot, Instant::ZERO + self.now);
        }
        Ok(())
    }

    /// A reset, a loss of power, or another dongle with another memory.
    fn restart(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let kept = self.twins[0].stored;
        let memory = if u.ratio(1, 3)? { memory(u)? } else { kept };
        self.boot = if u.ratio(1, 4)? { u.int_in_range(1..=300)? } else { self.boot + 1 };
        let reset = reset_reason(u)?;
        self.begin_life(reset, memory);
        Ok(())
    }

    fn begin_life(&mut self, reset: ResetReason, memory: Option<Memory>) {
        self.boot += 1;
        let boot = BootId::new(self.boot).expect("not 0");
        let config = arbiter::Config::new(7, 115_200);
        self.twins = self
            .epochs
            .map(|epoch| Dongle::new(config.clone(), boot, memory, reset, epoch + self.now));
    }

    fn input(&mut self, u: &mut Unstructured<'_>) -> Result<Input> {
        let mut input = Input::default();
        while !self.to_dongle.is_empty() && input.frames.len() < POOL {
            let at = u.choose_index(self.to_dongle.len())?;
            match u.int_in_range(0..=9)? {
                0 => break,
                1 => drop(self.to_dongle.remove(at)),
                2 => input.frames.push(self.to_dongle[at].clone()),
                _ => input.frames.push(self.to_dongle.remove(0)),
            }
        }
        for (port, frame) in &mut input.frames {
            if u.ratio(1, 16)? {
                *port = port.other();
            }
            if u.ratio(1, 8)? {
                let at = u.choose_index(frame.len())?;
                frame[at] ^= u.arbitrary::<u8>()?;
            }
        }
        if u.ratio(1, 4)? {
            input.frames.push((*u.choose(&Port::ALL)?, self.forged(u)?));
        }
        let node = *u.choose(&[Voter::A, Voter::B])?;
        match u.int_in_range(0..=15)? {
            0 => input.damage = Some(*u.choose(&Port::ALL)?),
            1 => input.fell = Some(*u.choose(&Voter::ALL)?),
            2..=4 => input.commissioned = Some((node, u.ratio(7, 8)?)),
            5 => input.feeds = Some((node, u.arbitrary()?)),
            _ => {}
        }
        input.evidence = u.arbitrary()?;
        Ok(input)
    }

    /// A well-formed status or hello of a node that says anything.
    fn forged(&self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        use GroupState::{Asking, Idle, Promised, Running};
        let sender = *u.choose(&[Voter::A, Voter::B])?;
        let known = self.nodes[sender.index()].node.boot().value();
        let mut states = GroupStates::default();
        for group in 0..4 {
            states.set(GroupId(group), *u.choose(&[Idle, Asking, Running, Promised])?);
        }
        let mut status = Status {
            hears: u.arbitrary()?,
            groups: states,
            life: *u.choose(&[Life::Up, Life::Up, Life::Leaving, Life::Left])?,
            armed: u.arbitrary()?,
            direct: u.arbitrary()?,
            fence: if u.ratio(1, 4)? { BootId::new(u.int_in_range(1..=4)?) } else { None },
            ..Status::default()
        };
        if u.ratio(7, 8)? {
            let newest = self.twins[0].arbiter.ledger().newest_seq();
            let seq = newest.saturating_sub(u.int_in_range(0..=3)?).max(1);
            let echo = Echo::of(self.twins[0].arbiter.boot(), seq);
            status.echoes[Status::echo_slot(sender, Voter::Arbiter)] = Some(echo);
        }
        let header = Header {
            sender,
            link: hb_proto::id::LinkId(u.int_in_range(0..=7)?),
            boot: BootId::new(known + u.int_in_range(0..=1)?).expect("small"),
            seq: u.int_in_range(1..=2000)?,
        };
        let message = if u.arbitrary()? { Message::Status(status) } else { hello(u, status)? };
        let mut frame = [0; MAX_FRAME];
        let len = message::encode(&header, &message, &KEYS, &mut frame);
        Ok(frame[..len].to_vec())
    }
}

/// The status as a hello: other files, other times, lives of the arbiter that never were.
fn hello(u: &mut Unstructured<'_>, status: Status) -> Result<Message> {
    let config = trio_config(Voter::A);
    let mut digests = config.digests;
    digests.haresources += u64::from(u.ratio(1, 4)?);
    let mut ms = |usual: Duration| {
        Ok(match u.int_in_range(0..=7)? {
            0 => u.arbitrary()?,
            1 => 0,
            2 => u32::MAX,
            _ => u32::try_from(usual.millis()).unwrap_or(u32::MAX),
        })
    };
    let settings = Settings {
        keepalive_ms: ms(config.timing.keepalive)?,
        deadtime_ms: ms(config.timing.deadtime)?,
        lease_ms: ms(config.timing.lease)?,
        guard_ms: ms(config.timing.guard)?,
        arbiter: Some(7),
        ..Settings::new(digests)
    };
    let knows = if u.ratio(1, 16)? { BootId::new(u.int_in_range(1..=400)?) } else { None };
    let longest = Duration::from_millis(u.int_in_range(0..=20_000)?);
    let voteless = u.ratio(1, 8)?;
    let for_arbiter = ForArbiter { homes_b: u.arbitrary()?, knows, voteless, longest };
    let for_arbiter = Some(for_arbiter).filter(|_| !status.armed);
    Ok(Message::Hello(Hello {
        status,
        settings,
        declines: 0,
        failed: 0,
        wants: 0,
        knows: None,
        echo: None,
        for_arbiter,
    }))
}

/// What a dongle may remember: nothing, or anything at all.
fn memory(u: &mut Unstructured<'_>) -> Result<Option<Memory>> {
    if u.ratio(1, 3)? {
        return Ok(None);
    }
    let mut promisees = Promisees::default();
    for group in 0..16 {
        let shown = [Shown::Nobody, Shown::A, Shown::B, Shown::Withheld];
        promisees.set(GroupId(group), *u.choose(&shown)?);
    }
    let mut span = || {
        Ok(match u.int_in_range(0..=3)? {
            0 => Millis(0),
            1 => Millis::MAX,
            _ => Millis(u.int_in_range(0..=10_000)?),
        })
    };
    let (lease, guard, deadtime) = (span()?, span()?, span()?);
    let mut node = || {
        let lines = [LineShown::Untested, LineShown::Commissioned, LineShown::Miswired];
        Ok(NodeMemory { pulsed: BootId::new(u.int_in_range(0..=3)?), line: *u.choose(&lines)? })
    };
    let nodes = [node()?, node()?];
    let haresources = u.ratio(1, 2)?.then_some(1);
    Ok(Some(Memory { promisees, haresources, lease, guard, deadtime, nodes }))
}

fn reset_reason(u: &mut Unstructured<'_>) -> Result<ResetReason> {
    Ok(*u.choose(&[
        ResetReason::Unknown,
        ResetReason::PowerOn,
        ResetReason::BrownOut,
        ResetReason::Watchdog,
        ResetReason::Software,
        ResetReason::Pin,
    ])?)
}

const fn far() -> Instant {
    Instant::from_micros(u64::MAX / 2)
}
