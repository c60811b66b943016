//! Every way through a function, with the depth of the stack on each.

use std::collections::{BTreeMap, BTreeSet};

use super::elf::Elf;
use super::thumb::{Flow, Instruction, Stack, decode};

/// States in which one instruction is met: a few, by depth and by condition. More: the function moves its stack pointer
/// in a loop.
const DEPTHS: usize = 128;

/// What one function does.
#[derive(Clone, Default, Debug)]
pub struct Function {
    /// Bytes that it takes at most, without what it calls.
    pub own: u32,
    /// What it calls, how deep it is then, at most.
    pub calls: BTreeMap<Callee, u32>,
    /// It comes back.
    pub returns: bool,
    pub float: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Callee {
    Known(u32),
    /// What a register has, at this instruction.
    Register(u32, u8),
}

/// One moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct State {
    at: u32,
    depth: u32,
    /// How much less deep R7 points.
    frame: Option<u32>,
    /// Conditional instructions ahead, and which of them are carried out.
    conditional: u8,
    carried_out: u8,
    /// Behind a BL into the middle of a function. ARMv6-M's long jump is one, and what follows it is not met; in
    /// assembly it is a call, which returns with more on the stack than its function began with. Both are walked.
    either: bool,
}

impl State {
    const fn at(at: u32) -> Self {
        Self { at, depth: 0, frame: None, conditional: 0, carried_out: 0, either: false }
    }
}

/// A walk through one function.
pub struct Walk<'a> {
    elf: &'a Elf,
    /// Functions that don't come back. While these are still being found, a way that can't be is one behind a call of
    /// such a function, and ends; after that it is an error.
    lost: &'a BTreeSet<u32>,
    strict: bool,
    start: u32,
    found: Function,
    ahead: Vec<State>,
    seen: BTreeMap<u32, BTreeSet<State>>,
    /// Constants that it loads: into which register, and from where.
    pub literals: BTreeSet<(u8, u32)>,
}

impl<'a> Walk<'a> {
    pub fn new(elf: &'a Elf, (lost, strict): (&'a BTreeSet<u32>, bool), start: u32) -> Self {
        Self {
            elf,
            lost,
            strict,
            start,
            found: Function::default(),
            ahead: Vec::new(),
            seen: BTreeMap::new(),
            literals: BTreeSet::new(),
        }
    }

    /// # Errors
    /// The instruction that can't be followed.
    pub fn run(&mut self) -> Result<Function, String> {
        let (start, name) = (self.start, self.elf.name(self.start));
        self.ahead.push(State::at(start));
        while let Some(state) = self.ahead.pop() {
            let known = self.seen.entry(state.at).or_default();
            if !known.insert(state) {
                continue;
            }
            let stepped = match known.len() {
                0..=DEPTHS => self.step(state),
                _ => Err("the stack grows in a loop".to_owned()),
            };
            match stepped {
                Err(why) if self.strict => return Err(format!("{name} at {:#x}: {why}", state.at)),
                _ => {}
            }
        }
        Ok(std::mem::take(&mut self.found))
    }

    fn instruction(&self, at: u32) -> Result<Instruction, String> {
        let first = self.elf.half(at).filter(|_| self.elf.is_code(at)).ok_or("no code")?;
        Ok(decode(at, first, self.elf.half(at + 2).unwrap_or(0)))
    }

    fn step(&mut self, mut state: State) -> Result<(), String> {
        if state.either && !self.elf.is_code(state.at) {
            return Ok(());
        }
        let code = self.instruction(state.at)?;
        let next = state.at + code.len;
        if state.conditional > 0 {
            let skipped = state.carried_out & 1 == 0;
            state = State {
                conditional: state.conditional - 1,
                carried_out: state.carried_out >> 1,
                ..state
            };
            if skipped {
                self.go(State { at: next, ..state });
                return Ok(());
            }
            // From here on other flags decide, either way.
            if code.compares && state.conditional > 0 {
                for carried_out in 0..1 << state.conditional {
                    self.go(State { at: next, carried_out, ..state });
                }
                return Ok(());
            }
        }
        self.literals.extend(code.literal);
        self.found.float |= code.float;
        self.move_stack(&mut state, code.stack)?;
        self.found.own = self.found.own.max(state.depth);
        self.flow(State { at: next, ..state }, code.flow)
    }

    fn move_stack(&self, state: &mut State, stack: Stack) -> Result<(), String> {
        let depth = state.depth;
        // Up beyond its own frame: a path that a condition excludes, or one behind a call that doesn't come back.
        state.depth = match stack {
            Stack::Same => depth,
            Stack::Down(bytes) => depth + bytes,
            Stack::Up(bytes) => depth.saturating_sub(bytes),
            Stack::Frame(bytes) => {
                state.frame = Some(depth.saturating_sub(bytes));
                depth
            }
            Stack::From(7, more) => {
                let frame = state.frame.ok_or("R7 is no frame")?;
                frame.checked_add_signed(-more).ok_or("above its frame")?
            }
            Stack::From(register, more) => {
                let less = self.below_frame(state.at, register).ok_or("SP from a register")?;
                let frame = state.frame.ok_or("R7 is no frame")?;
                frame.checked_add_signed(less - more).ok_or("above its frame")?
            }
            Stack::Plus(register) => {
                let before = decode(state.at - 2, self.elf.half(state.at - 2).unwrap_or(0), 0);
                let (_, address) = before.literal.filter(|l| l.0 == register).ok_or("SP + ?")?;
                let more = self.elf.word(address).ok_or("no constant")?.cast_signed();
                depth.checked_add_signed(-more).ok_or("above its frame")?
            }
            Stack::Unknown => return Err("SP in a way that is not read".to_owned()),
        };
        Ok(())
    }

    /// ARMv6-M: `subs rN, r7, #a`, `subs rN, #b`, `mov sp, rN`. How far below R7.
    fn below_frame(&self, at: u32, register: u8) -> Option<i32> {
        let mut less = 0;
        for back in 1..=3 {
            let code = u32::from(self.elf.half(at - 2 * back)?);
            let rn = u32::from(register);
            if code & 0xFF00 == 0x3800 | rn << 8 {
                less += (code & 0xFF).cast_signed();
            } else if code & 0xFE3F == 0x1E00 | 7 << 3 | rn {
                return Some(less + (code >> 6 & 7).cast_signed());
            } else if code == 0x4600 | 7 << 3 | rn {
                return Some(less);
            } else {
                return None;
            }
        }
        None
    }

    /// `state` is behind the instruction.
    fn flow(&mut self, state: State, flow: Flow) -> Result<(), String> {
        let at = state.at;
        match flow {
            Flow::Next => self.go(state),
            Flow::Jump(target) => self.go(State { at: target, ..state }),
            Flow::Branch(target) => {
                self.go(state);
                self.go(State { at: target, ..state });
            }
            Flow::Call(target) if !self.elf.functions.contains_key(&target) => {
                self.go(State { either: true, ..state });
                self.go(State { at: target, either: true, ..state });
            }
            Flow::Call(target) => {
                self.call(Callee::Known(target), state.depth);
                if !self.lost.contains(&target) {
                    self.go(state);
                }
            }
            Flow::CallRegister(register) => {
                self.call(Callee::Register(at - 2, register), state.depth);
                self.go(state);
            }
            Flow::JumpRegister(register) => {
                self.call(Callee::Register(at - 2, register), state.depth);
                self.found.returns = true;
            }
            // An outlined end of a function gives back what its caller took: more than its own, never less.
            Flow::Return if state.depth > 0 && !state.either => {
                return Err(format!("it returns and keeps {} bytes", state.depth));
            }
            Flow::Return => self.found.returns = true,
            Flow::Stop => {}
            Flow::Table { wide } => self.table(state, at, at, wide)?,
            Flow::AddToPc => {
                let (table, wide) = self.before(at).ok_or("a table of an unknown shape")?;
                self.table(state, table, at + 2, wide)?;
            }
            Flow::If { count, with_first } => {
                for carried_out in [with_first, !with_first & ((1 << count) - 1)] {
                    self.go(State { conditional: count, carried_out, ..state });
                }
            }
        }
        Ok(())
    }

    /// ARMv6-M's table jump ends at `at`: where its table is, and whether of halfwords. Either `add rN, pc`,
    /// `ldrb rN, [rN, #4]`, or `adr rM, table`, `ldrb rN, [rM, rN]`; then `lsls rN, #1`, `add pc, rN`.
    fn before(&self, at: u32) -> Option<(u32, bool)> {
        let (first, load) = (u32::from(self.elf.half(at - 8)?), u32::from(self.elf.half(at - 6)?));
        match load >> 9 {
            0b011_1100 if load >> 6 & 0x1F == 4 => Some((at, false)),
            0b100_0100 if load >> 6 & 0x1F == 2 => Some((at, true)),
            0b010_1110 | 0b010_1101 if first >> 11 == 0b10100 => {
                let table = ((at - 4) & !3) + (first & 0xFF) * 4;
                Some((table, load >> 9 == 0b010_1101))
            }
            _ => None,
        }
    }

    /// A table of offsets at `table`; it ends where its lowest target begins, or a constant that the function loads.
    fn table(&mut self, state: State, table: u32, base: u32, wide: bool) -> Result<(), String> {
        let next = self.elf.functions.range(self.start + 1..).next().map_or(u32::MAX, |f| *f.0);
        let (mut at, mut end) = (table, self.constant_behind(table, next));
        while at < end {
            let half = u32::from(self.elf.half(at & !1).ok_or("a table without an end")?);
            let offset = match wide {
                true => half,
                false if at & 1 == 0 => half & 0xFF,
                false => half >> 8,
            };
            let target = base + 2 * offset;
            // What fills the table up is no target.
            if target > at && target < next && self.elf.is_code(target) {
                end = end.min(target);
                self.go(State { at: target, ..state });
            }
            at += if wide { 2 } else { 1 };
        }
        Ok(())
    }

    /// The first constant behind `table` that this function loads; it ends before `next`.
    fn constant_behind(&self, table: u32, next: u32) -> u32 {
        let (mut at, mut first) = (self.start, next);
        while at < next && self.elf.half(at).is_some() {
            let Ok(code) = self.instruction(at) else {
                at += 2;
                continue;
            };
            if let Some((_, from)) = code.literal.filter(|(_, from)| *from > table) {
                first = first.min(from);
            }
            at += code.len;
        }
        first
    }

    fn call(&mut self, callee: Callee, depth: u32) {
        let deepest = self.found.calls.entry(callee).or_default();
        *deepest = depth.max(*deepest);
    }

    /// A jump to where another function begins is a call that doesn't come back here.
    fn go(&mut self, state: State) {
        let elsewhere = state.at != self.start && self.elf.functions.contains_key(&state.at);
        if elsewhere || state.at == self.start && state.depth > 0 {
            self.call(Callee::Known(state.at), state.depth);
            self.found.returns |= !self.lost.contains(&state.at);
        } else {
            self.ahead.push(state);
        }
    }
}
