//! How deep a program's stack can get, computed from its machine code.
//!
//! Every way through every function is walked with the depth of the stack on it ([`walk`]), from the reset handler and
//! from each interrupt's. The worst chain of calls of the program, an interrupt's frame with the worst of its handler
//! (all have one priority: none interrupts another), and a fault in that, add up.
//!
//! What can't be read is an error and never a guess: recursion, a stack that grows in a loop, an instruction that sets
//! the stack pointer in an unknown way. Calls through registers go to what the function itself loads there, as compilers
//! write several calls of one function; otherwise to any function whose address is a constant of the program, and in a
//! program that calls its chip's [`ROM`], to that: code that is not in the ELF, and is taken to need [`ROM_BYTES`].

mod elf;
#[cfg(test)]
mod tests;
mod thumb;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use elf::Elf;
use walk::{Callee, Function, Walk};

/// Functions that call the RP2040's ROM: by crate, and compilers' names for what the ROM does.
const ROM: [&str; 3] = ["rp2040_flash::", "rp2040_hal::rom_data::", "__aeabi_mem"];
/// What a ROM function is taken to need. Its code is not in the ELF: its source (pico-bootrom) saves at most nine
/// registers in each of at most three functions, and this is twice that.
const ROM_BYTES: u32 = 216;
/// Registers that an exception saves, and up to 4 bytes to align them (DDI 0403, B1.5.7).
const FRAME: u32 = 32 + 4;
/// The same with those of floating point.
const FLOAT_FRAME: u32 = 104 + 4;
/// Where `cortex-m-rt` puts the vectors.
const VECTORS: &str = ".vector_table";

/// The worst of a program, bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Depth {
    /// All of it.
    pub worst: u32,
    /// The program itself, without interrupts.
    pub program: u32,
    /// The deepest chain of calls, with what each takes.
    pub chain: Vec<(String, u32)>,
    /// Calls through a register whose target the caller does not load itself: who calls, and where that may go.
    pub through: Vec<(String, Vec<String>)>,
    /// Chains in it or elsewhere that end in the ROM: [`ROM_BYTES`] are assumed and not computed.
    pub rom: bool,
}

/// Analyses a program.
///
/// # Errors
/// What can't be followed.
pub fn depth(path: &Path) -> Result<Depth, String> {
    let told = |why: String| format!("{}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| told(error.to_string()))?;
    let elf = Elf::parse(&bytes).map_err(told)?;
    Program::read(&elf).and_then(|program| program.worst()).map_err(told)
}

struct Program<'a> {
    elf: &'a Elf,
    functions: BTreeMap<u32, Function>,
    /// Where a call through a register goes: by the instruction.
    through: BTreeMap<u32, BTreeSet<u32>>,
    /// Calls whose target the caller doesn't load: the instruction, and its function.
    anywhere: BTreeMap<u32, u32>,
    rom: BTreeSet<u32>,
    /// Reset, then the others.
    vectors: Vec<u32>,
}

impl<'a> Program<'a> {
    fn read(elf: &'a Elf) -> Result<Self, String> {
        // The first vector is the stack's top; an odd number is the address of a handler.
        let vectors: Vec<u32> = elf.words_of(VECTORS).into_iter().skip(1).collect();
        let vectors: Vec<u32> =
            vectors.into_iter().filter(|word| word & 1 == 1).map(|word| word & !1).collect();
        if vectors.is_empty() {
            return Err(format!("no {VECTORS}"));
        }
        let mut program = Self {
            elf,
            functions: BTreeMap::new(),
            through: BTreeMap::new(),
            anywhere: BTreeMap::new(),
            rom: BTreeSet::new(),
            vectors,
        };
        // What doesn't come back is known once all is read; then it is read again, until nothing new is found.
        let (mut lost, mut strict) = (BTreeSet::new(), false);
        loop {
            program.walk_all((&lost, strict))?;
            let found: BTreeSet<u32> =
                program.functions.iter().filter(|(_, f)| !f.returns).map(|(&at, _)| at).collect();
            if found == lost && strict {
                return Ok(program);
            }
            (strict, lost) = (found == lost, found);
        }
    }

    /// Everything that can be reached.
    fn walk_all(&mut self, lost: (&BTreeSet<u32>, bool)) -> Result<(), String> {
        (self.functions, self.through) = (BTreeMap::new(), BTreeMap::new());
        self.anywhere = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut own_constants = BTreeSet::new();
        let mut ahead = self.vectors.clone();
        loop {
            while let Some(start) = ahead.pop() {
                if self.functions.contains_key(&start) {
                    continue;
                }
                let mut walk = Walk::new(self.elf, lost, start);
                let mut function = walk.run()?;
                if let Some(target) = self.thunk(start) {
                    function.calls.insert(Callee::Known(target), function.own);
                }
                for &callee in function.calls.keys() {
                    match callee {
                        Callee::Known(target) => ahead.push(target),
                        Callee::Register(at, register) => {
                            let loaded = self.loaded(&walk, register);
                            if loaded.is_empty() {
                                unknown.push((start, at));
                            }
                            own_constants.extend(loaded.iter().map(|(from, _)| *from));
                            let targets: BTreeSet<_> = loaded.iter().map(|(_, to)| *to).collect();
                            ahead.extend(&targets);
                            self.through.insert(at, targets);
                        }
                    }
                }
                self.functions.insert(start, function);
            }
            // What is left may go to any function whose address is a constant that nobody else explained.
            let Some((start, at)) = unknown.pop() else { return Ok(()) };
            self.anywhere.insert(at, start);
            let mut targets = BTreeSet::new();
            if self.is_in_rom(start) {
                self.rom.insert(at);
            } else {
                for (from, word) in self.elf.constants(VECTORS) {
                    if !own_constants.contains(&from)
                        && let Some(target) = self.function(word)
                    {
                        targets.insert(target);
                    }
                }
            }
            ahead.extend(&targets);
            self.through.insert(at, targets);
        }
    }

    fn function(&self, word: u32) -> Option<u32> {
        let target = word & !1;
        (word & 1 == 1 && self.elf.functions.contains_key(&target)).then_some(target)
    }

    /// Functions whose addresses this one loads into a register: from where, and which.
    fn loaded(&self, walk: &Walk<'_>, register: u8) -> Vec<(u32, u32)> {
        let into = walk.literals.iter().filter(|(to, _)| *to == register);
        into.filter_map(|&(_, from)| Some((from, self.function(self.elf.word(from)?)?))).collect()
    }

    /// LLD's bridges to far functions are named after them.
    fn thunk(&self, start: u32) -> Option<u32> {
        let names = self.elf.functions.get(&start)?;
        let to = names.iter().find_map(|name| name.split_once("Thunk_").map(|(_, to)| to))?;
        let wanted = |names: &Vec<String>| names.iter().any(|name| name == to);
        self.elf.functions.iter().find(|(_, names)| wanted(names)).map(|(&at, _)| at)
    }

    fn is_in_rom(&self, function: u32) -> bool {
        let names = self.elf.functions.get(&function).into_iter().flatten();
        names.map(|name| format!("{:#}", rustc_demangle::demangle(name))).any(|name| {
            ROM.iter().any(|of| name.starts_with(of) || name.contains(&format!("<{of}")))
        })
    }

    fn worst(&self) -> Result<Depth, String> {
        let mut known = BTreeMap::new();
        let [reset, handlers @ ..] = self.vectors.as_slice() else { unreachable!("not empty") };
        let program = self.below(*reset, &mut Vec::new(), &mut known)?;
        let mut handler = 0;
        for at in handlers {
            handler = handler.max(self.below(*at, &mut Vec::new(), &mut known)?);
        }
        let float = self.functions.values().any(|function| function.float);
        let frame = if float { FLOAT_FRAME } else { FRAME };
        // NMI and HardFault may interrupt a handler; what they take is no more than the worst of all.
        let worst = program + 2 * (frame + handler);
        let chain = self.chain(*reset, &known);
        let through = self.named();
        Ok(Depth { worst, program, chain, through, rom: !self.rom.is_empty() })
    }

    /// [`Depth::through`].
    fn named(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        for (&at, &caller) in self.anywhere.iter().filter(|(at, _)| !self.rom.contains(at)) {
            let targets = self.through[&at].iter().map(|to| self.elf.name(*to)).collect();
            found.push((self.elf.name(caller), targets));
        }
        found
    }

    /// Where a call leads to.
    fn targets(&self, callee: Callee) -> Vec<u32> {
        match callee {
            Callee::Known(target) => vec![target],
            Callee::Register(at, _) => self.through[&at].iter().copied().collect(),
        }
    }

    fn assumed(&self, callee: Callee) -> u32 {
        match callee {
            // Compilers write the call of a ROM function into its caller, too.
            Callee::Register(at, _) if self.anywhere.contains_key(&at) && !self.rom.is_empty() => {
                ROM_BYTES
            }
            _ => 0,
        }
    }

    /// What a function takes with all that it calls.
    fn below(
        &self,
        function: u32,
        above: &mut Vec<u32>,
        known: &mut BTreeMap<u32, u32>,
    ) -> Result<u32, String> {
        if let Some(&bytes) = known.get(&function) {
            return Ok(bytes);
        }
        if let Some(from) = above.iter().position(|at| *at == function) {
            let names: Vec<_> = above[from..].iter().map(|at| self.elf.name(*at)).collect();
            return Err(format!("recursion without a known end: {}", names.join(" -> ")));
        }
        above.push(function);
        let found = &self.functions[&function];
        let mut deepest = found.own;
        for (&callee, depth) in &found.calls {
            deepest = deepest.max(depth + self.assumed(callee));
            for target in self.targets(callee) {
                deepest = deepest.max(depth + self.below(target, above, known)?);
            }
        }
        above.pop();
        known.insert(function, deepest);
        Ok(deepest)
    }

    /// The deepest chain from a function, and what each takes until it calls the next.
    fn chain(&self, from: u32, known: &BTreeMap<u32, u32>) -> Vec<(String, u32)> {
        let (mut chain, mut at) = (Vec::new(), from);
        loop {
            let found = &self.functions[&at];
            let calls = found.calls.iter().flat_map(|(&callee, depth)| {
                self.targets(callee).into_iter().map(move |target| (depth, target))
            });
            let deepest = calls.max_by_key(|(depth, target)| **depth + known[target]);
            match deepest.filter(|(depth, target)| **depth + known[target] == known[&at]) {
                Some((depth, target)) => {
                    chain.push((self.elf.name(at), *depth));
                    at = target;
                }
                None => {
                    chain.push((self.elf.name(at), known[&at]));
                    return chain;
                }
            }
        }
    }
}
