//! A state of the whole, and what one step or one fault makes of it.

use std::sync::{Arc, Mutex, PoisonError};

use hb_proto::arbiter::Memory;
use hb_proto::id::Voter;
use hb_proto::wire::message::arbiter::ResetReason;

use super::bounds::Bounds;
use super::event::{Event, wires_of};
use super::frame::Frame;
use super::intern::{Interner, Memo};
use super::party::{Ages, Did, Local, Parties, Sent, Summary, WATCHDOG_STEPS};

const D: usize = Voter::Arbiter.index();

/// A machine's daemon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Power {
    /// Off, or in its firmware.
    Off,
    On,
    /// The daemon doesn't run for a while.
    Frozen,
    /// The daemon is dead, what it started is not.
    Killed,
}

/// A node's machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    pub power: Power,
    /// The resource may run here.
    pub held: bool,
    /// Steps since the watchdog was last fed, once it is open.
    unfed: Option<u8>,
}

/// What is wrong with a state, beyond what can be seen from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    Nothing,
    TwoRun,
    FencedHeard,
}

/// Everything: what follows depends on nothing else. Parties and frames are numbers in [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub local: [u32; Voter::COUNT],
    /// Frames that were sent in the last step and arrive in the next.
    flying: u32,
    /// Frames that are late, and for how many steps.
    pub late: u32,
    pub late_for: u8,
    pub machines: [Machine; 2],
    pub boots: [u8; Voter::COUNT],
    /// The arbiter has power.
    pub dongle: bool,
    /// How often each party may still fail, each link be cut, and all together.
    pub(super) failures: [u8; Voter::COUNT],
    pub(super) cuts: [u8; 3],
    pub(super) faults: u8,
    pub(super) losses: u8,
    pub(super) lates: u8,
    /// Wires (bits) that are cut.
    pub cut: u8,
    /// Steps since the arbiter last processed a frame of each node; with reset lines only.
    heard: [u8; 2],
    pub broken: Broken,
}

type StepKey = (u32, u32, bool, Ages);
type StepResult = (u32, u32, Did);
/// A frame that arrives: at whom, by which link or port.
type Flying = (Voter, u8, Frame);

/// The bounds, and everything that was found while exploring.
pub struct World {
    pub bounds: Bounds,
    locals: Interner<Local>,
    summaries: [Memo<u32, Summary>; Voter::COUNT],
    flying: Interner<Vec<Flying>>,
    inboxes: Interner<Vec<(u8, Frame)>>,
    sent: Interner<Vec<Sent>>,
    steps: [Memo<StepKey, StepResult>; Voter::COUNT],
    aged: Memo<(u32, Ages), u32>,
    spare: Mutex<Vec<Parties>>,
    pub healed: Memo<State, bool>,
}

impl World {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            locals: Interner::new(),
            summaries: [Memo::new(), Memo::new(), Memo::new()],
            flying: Interner::new(),
            inboxes: Interner::new(),
            sent: Interner::new(),
            steps: [Memo::new(), Memo::new(), Memo::new()],
            aged: Memo::new(),
            spare: Mutex::new(Vec::new()),
            healed: Memo::new(),
        }
    }

    /// How many different states of one party, and how many different steps of one.
    pub fn sizes(&self) -> (usize, usize) {
        (self.locals.len(), self.steps.iter().map(Memo::len).sum())
    }

    /// Borrows state machines to work with: each thread its own.
    fn with<T>(&self, work: impl FnOnce(&mut Parties) -> T) -> T {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = spare().pop();
        let mut parties = taken.unwrap_or_else(|| Parties::new(&self.bounds));
        let result = work(&mut parties);
        spare().push(parties);
        result
    }

    fn local(&self, state: &State, who: Voter) -> Arc<Local> {
        self.locals.value(state.local[who.index()])
    }

    pub fn summary(&self, state: &State, who: Voter) -> Summary {
        let number = state.local[who.index()];
        self.summaries[who.index()].get(number, || {
            let local = self.locals.value(number);
            self.with(|parties| parties.summary(who, &local))
        })
    }

    // ---- the beginning

    /// All three were switched on just now, for the first time.
    pub fn first(&self) -> State {
        let off = self.locals.number(Local::Off);
        let machine = Machine { power: Power::Off, held: false, unfed: None };
        let bounds = &self.bounds;
        let mut state = State {
            local: [off, off, self.locals.number(Local::Unplugged(None))],
            flying: self.flying.number(Vec::new()),
            late: self.flying.number(Vec::new()),
            late_for: 0,
            machines: [machine; 2],
            boots: [0; Voter::COUNT],
            dongle: false,
            failures: bounds.failures,
            cuts: bounds.cuts,
            faults: bounds.faults,
            losses: bounds.losses,
            lates: bounds.late,
            cut: 0,
            heard: [0; 2],
            broken: Broken::Nothing,
        };
        for who in Voter::ALL {
            state = self.begin(&state, who, false);
        }
        state
    }

    /// The same with nothing left to go wrong.
    pub fn without_budget(&self, state: &State) -> State {
        let mut next = *state;
        (next.failures, next.cuts) = ([0; Voter::COUNT], [0; 3]);
        (next.faults, next.losses, next.lates) = (0, 0, 0);
        self.no_longer_late(&mut next);
        next
    }

    /// Whether some frames are late.
    pub(super) fn is_something_late(&self, state: &State) -> bool {
        !self.flying.value(state.late).is_empty()
    }

    /// What an event makes of a state.
    pub fn after(&self, state: &State, event: Event) -> State {
        let mut next = *state;
        match event {
            Event::Step { lost, late } => return self.step(state, lost, late),
            Event::Arrive => {
                let mut flying = self.flying.value(state.flying).to_vec();
                flying.extend(self.flying.value(state.late).iter().copied());
                next.flying = self.flying.number(flying);
                self.no_longer_late(&mut next);
            }
            Event::PowerLoss(Voter::Arbiter) => {
                next.faults -= 1;
                next.failures[D] -= 1;
                next.dongle = false;
                let local = self.local(state, Voter::Arbiter);
                let unplugged = self.with(|parties| parties.unplug(&local));
                next.local[D] = self.locals.number(unplugged);
            }
            Event::PowerLoss(who) => {
                next.faults -= 1;
                next.failures[who.index()] -= 1;
                self.reset(&mut next, who);
            }
            Event::Kill(who) => {
                next.faults -= 1;
                next.failures[who.index()] -= 1;
                next.machines[who.index()].power = Power::Killed;
                next.local[who.index()] = self.locals.number(Local::Off);
            }
            Event::Freeze(who) => {
                next.faults -= 1;
                next.failures[who.index()] -= 1;
                next.machines[who.index()].power = Power::Frozen;
            }
            Event::Thaw(who) => next.machines[who.index()].power = Power::On,
            Event::Begin { who, kept_power } => return self.begin(state, who, kept_power),
            Event::Cut { link, wires } => {
                next.faults -= 1;
                next.cuts[usize::from(link)] -= 1;
                next.cut |= wires;
            }
            Event::Mend { link } => next.cut &= !wires_of(link),
        }
        next
    }

    fn no_longer_late(&self, next: &mut State) {
        next.late = self.flying.number(Vec::new());
        next.late_for = 0;
    }

    /// A machine goes down, whatever it did.
    fn reset(&self, next: &mut State, who: Voter) {
        next.machines[who.index()] = Machine { power: Power::Off, held: false, unfed: None };
        next.local[who.index()] = self.locals.number(Local::Off);
    }

    fn begin(&self, state: &State, who: Voter, kept_power: bool) -> State {
        let mut next = *state;
        next.boots[who.index()] += 1;
        let ages = Ages { boots: next.boots, shifts: 0 };
        let boot = next.boots[who.index()];
        let local = if who == Voter::Arbiter {
            let memory: Option<Memory> = match &*self.local(state, who) {
                Local::Unplugged(memory) => *memory,
                _ => None,
            };
            let reset = if kept_power { ResetReason::Watchdog } else { ResetReason::PowerOn };
            next.dongle = true;
            self.with(|parties| parties.begin_arbiter(boot, memory, reset, &ages))
        } else {
            let machine = &mut next.machines[who.index()];
            machine.power = Power::On;
            self.with(|parties| parties.begin_node(who, boot, machine.held, &ages)).0
        };
        next.local[who.index()] = self.locals.number(local);
        next
    }

    // ---- a step

    fn step(&self, state: &State, lost: u8, late: Option<u8>) -> State {
        let mut next = *state;
        if lost != 0 && state.losses < 255 {
            next.losses -= 1;
        }
        for machine in &mut next.machines {
            machine.unfed = machine.unfed.map(|steps| steps + 1);
        }
        let ages = self.ages(state);
        let mut under_way = self.flying.value(state.flying).to_vec();
        let mut late_frames = Vec::new();
        for who in self.bounds.order {
            let mut inbox = Vec::new();
            under_way.retain(|&(to, via, frame)| {
                if to == who {
                    inbox.push((via, frame));
                }
                to != who
            });
            let Some(sent) = self.wake(&mut next, who, inbox, &ages) else { continue };
            for Sent { wire, to, via, frame } in sent.iter().copied() {
                if late == Some(wire) {
                    late_frames.push((to, via, frame));
                } else if (lost | state.cut) >> wire & 1 == 0 {
                    under_way.push((to, via, frame));
                }
            }
            if next.machines.iter().all(|machine| machine.held) {
                next.broken = Broken::TwoRun;
            }
        }
        self.watchdogs(&mut next);
        if self.bounds.plain {
            next.flying = self.flying.number(under_way);
            self.keep_late(&mut next, late_frames, &|frames| frames);
            return next;
        }
        let number = |of, name| ages.number(of, name);
        let newest = self.bounds.newest();
        let renumber = |frames: Vec<Flying>| -> Vec<Flying> {
            let again =
                |(to, via, frame): Flying| (to, via, frame.renumbered(&number, ages.boots, newest));
            frames.into_iter().map(again).collect()
        };
        next.flying = self.flying.number(renumber(under_way));
        self.keep_late(&mut next, late_frames, &renumber);
        next
    }

    fn keep_late(
        &self,
        next: &mut State,
        new: Vec<Flying>,
        renumber: &dyn Fn(Vec<Flying>) -> Vec<Flying>,
    ) {
        let known = self.flying.value(next.late).to_vec();
        if !new.is_empty() {
            next.lates -= 1;
            next.late = self.flying.number(renumber(new));
            next.late_for = 0;
        } else if !known.is_empty() && next.late_for < self.bounds.late_steps {
            next.late = self.flying.number(renumber(known));
            next.late_for += 1;
        } else {
            self.no_longer_late(next);
        }
    }

    fn ages(&self, state: &State) -> Ages {
        let running = |who: Voter| match who {
            Voter::Arbiter => state.dongle,
            _ => state.machines[who.index()].power == Power::On,
        };
        let shifts = |who: &Voter| {
            running(*who) && self.summary(state, *who).newest_seq == self.bounds.newest()
        };
        let shifts = Voter::ALL.iter().filter(|who| shifts(who));
        Ages { boots: state.boots, shifts: shifts.fold(0, |set, who| set | 1 << who.index()) }
    }

    /// One party's part of a step; what it sent, if it runs.
    fn wake(
        &self,
        next: &mut State,
        who: Voter,
        inbox: Vec<(u8, Frame)>,
        ages: &Ages,
    ) -> Option<Arc<Vec<Sent>>> {
        let number = next.local[who.index()];
        if who == Voter::Arbiter {
            if !next.dongle {
                return None;
            }
            let (local, sent, did) = self.party_step(who, number, inbox, false, ages);
            next.local[D] = local;
            self.fences(next, did);
            return Some(self.sent.value(sent));
        }
        match next.machines[who.index()].power {
            Power::Off | Power::Killed => None,
            Power::Frozen => {
                next.local[who.index()] = self.aged.get((number, *ages), || {
                    let local = self.locals.value(number);
                    let Local::Node(d, order) = &*local else { unreachable!("it is frozen") };
                    self.locals.number(self.with(|parties| parties.pass_node(who, d, *order, ages)))
                });
                None
            }
            Power::On => {
                let held = next.machines[who.index()].held;
                let (local, sent, did) = self.party_step(who, number, inbox, held, ages);
                next.local[who.index()] = local;
                let machine = &mut next.machines[who.index()];
                machine.held = did.held;
                if did.fed {
                    machine.unfed = Some(0);
                }
                Some(self.sent.value(sent))
            }
        }
    }

    fn party_step(
        &self,
        who: Voter,
        number: u32,
        inbox: Vec<(u8, Frame)>,
        held: bool,
        ages: &Ages,
    ) -> StepResult {
        let inbox = self.inboxes.number(inbox);
        let key = (number, inbox, held, *ages);
        self.steps[who.index()].get(key, || {
            let (local, inbox) = (self.locals.value(number), self.inboxes.value(inbox));
            let (after, sent, did) = self.with(|parties| match &*local {
                Local::Node(d, order) => parties.step_node(who, d, *order, &inbox, held, ages),
                Local::Arbiter(d) => parties.step_arbiter(d, &inbox, ages),
                Local::Off | Local::Unplugged(_) => unreachable!("it runs"),
            });
            (self.locals.number(after), self.sent.number(sent), did)
        })
    }

    /// Reset lines, and what the arbiter heard.
    fn fences(&self, next: &mut State, did: Did) {
        if !self.bounds.reset_lines.are_there() {
            return;
        }
        for node in [Voter::A, Voter::B] {
            let at = node.index();
            next.heard[at] = next.heard[at].saturating_add(1).min(super::party::DEADTIME_STEPS);
            if did.heard >> at & 1 == 1 {
                next.heard[at] = 0;
            }
            if did.pulsed >> at & 1 == 0 {
                continue;
            }
            if next.heard[at] < super::party::DEADTIME_STEPS {
                next.broken = Broken::FencedHeard;
            }
            if self.bounds.reset_lines.have_evidence() {
                self.reset(next, node);
            }
        }
    }

    /// A machine whose watchdog wasn't fed for long enough goes down.
    fn watchdogs(&self, next: &mut State) {
        for who in [Voter::A, Voter::B] {
            if next.machines[who.index()].unfed >= Some(WATCHDOG_STEPS) {
                self.reset(next, who);
            }
        }
    }
}
