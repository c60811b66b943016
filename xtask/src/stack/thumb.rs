//! Thumb instructions, as far as they move the stack pointer or leave the straight path.
//!
//! Encodings are those of ARM's Architecture Reference Manuals: DDI 0419 for ARMv6-M, DDI 0403 for ARMv7-M, chapters
//! A5 to A7. Whatever writes the stack pointer in a way that is not read here is [`Stack::Unknown`], and an error.

/// What an instruction does to the stack pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stack {
    Same,
    /// By so many bytes.
    Down(u32),
    Up(u32),
    /// R7 points so many bytes above it from now on.
    Frame(u32),
    /// It is what another register was: that register, and what is added to it.
    From(u8, i32),
    /// A register is added to it.
    Plus(u8),
    Unknown,
}

/// Where it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Next,
    Jump(u32),
    /// There, or on.
    Branch(u32),
    Call(u32),
    /// To what a register has.
    CallRegister(u8),
    JumpRegister(u8),
    /// By a table behind it; bytes or halfwords.
    Table {
        wide: bool,
    },
    /// ARMv6-M has it in three instructions, the last adds a register to the program counter.
    AddToPc,
    Return,
    /// The program ends here.
    Stop,
    /// The next instructions are conditional: how many, and those that go with the first one, from bit 0 up.
    If {
        count: u8,
        with_first: u8,
    },
}

/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    pub len: u32,
    pub stack: Stack,
    pub flow: Flow,
    /// A constant is loaded: into this register, from this address.
    pub literal: Option<(u8, u32)>,
    /// Sets the flags that conditions look at.
    pub compares: bool,
    /// Floating point: an interrupt then saves its registers, too.
    pub float: bool,
}

const SP: u8 = 13;
const LR: u8 = 14;
const PC: u8 = 15;

impl Instruction {
    const fn plain(len: u32) -> Self {
        Self {
            len,
            stack: Stack::Same,
            flow: Flow::Next,
            literal: None,
            compares: false,
            float: false,
        }
    }

    const fn stack(self, stack: Stack) -> Self {
        Self { stack, ..self }
    }

    const fn flow(self, flow: Flow) -> Self {
        Self { flow, ..self }
    }
}

/// The instruction at `at`; `second` is the halfword behind `first`.
pub fn decode(at: u32, first: u16, second: u16) -> Instruction {
    if first >> 11 >= 0b11101 { wide(at, first.into(), second.into()) } else { narrow(at, first) }
}

fn narrow(at: u32, code: u16) -> Instruction {
    let plain = Instruction::plain(2);
    let pc = at.wrapping_add(4);
    let word = u32::from(code);
    let low_register = (code >> 8 & 7) as u8;
    // High registers: Rd is split.
    let (rd, rm) = ((code & 7 | code >> 4 & 8) as u8, (code >> 3 & 15) as u8);
    match code {
        0x4400..=0x44FF if rd == SP => plain.stack(Stack::Plus(rm)),
        0x4400..=0x44FF if rd == PC => plain.flow(Flow::AddToPc),
        0x4600..=0x46FF if rd == SP => plain.stack(Stack::From(rm, 0)),
        0x4600..=0x46FF if rd == PC => plain.flow(return_or_jump(rm)),
        0x466F => plain.stack(Stack::Frame(0)),
        0x4700..=0x477F => plain.flow(return_or_jump(rm)),
        0x4780..=0x47FF => plain.flow(Flow::CallRegister(rm)),
        0x4800..=0x4FFF => {
            let address = (pc & !3) + (word & 0xFF) * 4;
            Instruction { literal: Some((low_register, address)), ..plain }
        }
        0xAF00..=0xAFFF => plain.stack(Stack::Frame((word & 0xFF) * 4)),
        0xB000..=0xB07F => plain.stack(Stack::Up((word & 0x7F) * 4)),
        0xB080..=0xB0FF => plain.stack(Stack::Down((word & 0x7F) * 4)),
        0xB400..=0xB5FF => plain.stack(Stack::Down((word & 0x1FF).count_ones() * 4)),
        0xBC00..=0xBDFF => {
            let flow = if code & 0x100 != 0 { Flow::Return } else { Flow::Next };
            plain.stack(Stack::Up((word & 0x1FF).count_ones() * 4)).flow(flow)
        }
        // CBZ, CBNZ.
        _ if code & 0xF500 == 0xB100 => {
            let offset = (word >> 3 & 0x1F) << 1 | (word >> 9 & 1) << 6;
            plain.flow(Flow::Branch(pc + offset))
        }
        0xBF00..=0xBFFF if code & 0xF != 0 => {
            let count = 4 - (code & 0xF).trailing_zeros() as u8;
            let with_first = (1..count).filter(|n| code >> (4 - n) & 1 == code >> 4 & 1);
            let with_first = with_first.fold(1, |bits, n| bits | 1 << n);
            plain.flow(Flow::If { count, with_first })
        }
        0xDE00..=0xDEFF => plain.flow(Flow::Stop),
        0xD000..=0xDDFF => plain.flow(Flow::Branch(moved(pc, (word & 0xFF) << 1, 9))),
        0xE000..=0xE7FF => plain.flow(Flow::Jump(moved(pc, (word & 0x7FF) << 1, 12))),
        0x2800..=0x2FFF | 0x4500..=0x45FF | 0x4200..=0x423F | 0x4280..=0x42FF => {
            Instruction { compares: true, ..plain }
        }
        _ => plain,
    }
}

fn return_or_jump(register: u8) -> Flow {
    if register == LR { Flow::Return } else { Flow::JumpRegister(register) }
}

/// `offset` has so many bits, the highest of which is its sign.
fn moved(pc: u32, offset: u32, bits: u32) -> u32 {
    let shift = 32 - bits;
    pc.wrapping_add_signed((offset << shift).cast_signed() >> shift)
}

fn wide(at: u32, first: u32, second: u32) -> Instruction {
    let plain = Instruction::plain(4);
    let rn = (first & 15) as u8;
    let writes_back = first & 0x20 != 0;
    if first & 0xF800 == 0xF000 && second & 0x8000 != 0 {
        return branch(at, first, second);
    }
    if first & 0xF800 == 0xF000 {
        return with_immediate(first, second);
    }
    if first & 0xFFF0 == 0xE8D0 && second & 0xFFE0 == 0xF000 {
        return plain.flow(Flow::Table { wide: second & 0x10 != 0 });
    }
    match first & 0xFE40 {
        // Several registers.
        0xE800 if rn == SP && writes_back => {
            let bytes = second.count_ones() * 4;
            return match first {
                0xE92D => plain.stack(Stack::Down(bytes)),
                0xE8BD if second & 0x8000 != 0 => plain.stack(Stack::Up(bytes)).flow(Flow::Return),
                0xE8BD => plain.stack(Stack::Up(bytes)),
                _ => plain.stack(Stack::Unknown),
            };
        }
        // Two registers.
        0xE840 if rn == SP && writes_back => {
            return plain.stack(by(first & 0x80 != 0, (second & 0xFF) * 4));
        }
        _ => {}
    }
    match first & 0xFE00 {
        0xEA00 => shifted_register(first, second),
        0xF800 => load_or_store(at, first, second),
        0xEC00 | 0xEE00 => {
            let float = second >> 9 & 0b111 == 0b101;
            let stack = match first & 0xFFBF {
                0xED2D => Stack::Down((second & 0xFF) * 4),
                0xECBD => Stack::Up((second & 0xFF) * 4),
                _ if first & 0xFE00 == 0xEC00 && rn == SP && writes_back => Stack::Unknown,
                _ => Stack::Same,
            };
            Instruction { float, ..plain.stack(stack) }
        }
        _ => plain,
    }
}

fn by(up: bool, bytes: u32) -> Stack {
    if up { Stack::Up(bytes) } else { Stack::Down(bytes) }
}

fn branch(at: u32, first: u32, second: u32) -> Instruction {
    let plain = Instruction::plain(4);
    let pc = at.wrapping_add(4);
    let sign = first >> 10 & 1;
    let (j1, j2) = (second >> 13 & 1, second >> 11 & 1);
    let far = || {
        let (i1, i2) = (j1 ^ sign ^ 1, j2 ^ sign ^ 1);
        let high = sign << 24 | i1 << 23 | i2 << 22;
        moved(pc, high | (first & 0x3FF) << 12 | (second & 0x7FF) << 1, 25)
    };
    match second & 0xD000 {
        0xD000 => plain.flow(Flow::Call(far())),
        0x9000 => plain.flow(Flow::Jump(far())),
        0x8000 if first >> 6 & 0xF < 0xE => {
            let high = sign << 20 | j2 << 19 | j1 << 18;
            let offset = high | (first & 0x3F) << 12 | (second & 0x7FF) << 1;
            plain.flow(Flow::Branch(moved(pc, offset, 21)))
        }
        0x8000 if first & 0xFFF0 == 0xF7F0 && second & 0xF000 == 0xA000 => plain.flow(Flow::Stop),
        // MSR to either stack pointer.
        0x8000 if first & 0xFFE0 == 0xF380 && matches!(second & 0xFF, 8 | 9) => {
            plain.stack(Stack::Unknown)
        }
        _ => plain,
    }
}

fn with_immediate(first: u32, second: u32) -> Instruction {
    let plain = Instruction::plain(4);
    let (rn, rd) = ((first & 15) as u8, (second >> 8 & 15) as u8);
    let twelve = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF;
    let (adds, subtracts, value) = if first & 0x200 == 0 {
        (first >> 5 & 15 == 8, first >> 5 & 15 == 13, expanded(twelve))
    } else {
        (first >> 4 & 0x1F == 0, first >> 4 & 0x1F == 0xA, twelve)
    };
    if rd == PC && first & 0x210 == 0x10 {
        return Instruction { compares: true, ..plain };
    }
    match (rd, rn) {
        (SP, SP) if adds || subtracts => plain.stack(by(adds, value)),
        (7, SP) if adds => plain.stack(Stack::Frame(value)),
        (SP, _) if adds => plain.stack(Stack::From(rn, value.cast_signed())),
        (SP, _) if subtracts => plain.stack(Stack::From(rn, -value.cast_signed())),
        (SP, _) => plain.stack(Stack::Unknown),
        _ => plain,
    }
}

/// ThumbExpandImm (DDI 0403, A5.3.2).
fn expanded(twelve: u32) -> u32 {
    let byte = twelve & 0xFF;
    match twelve >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte << 24 | byte << 16 | byte << 8 | byte,
        _ => (0x80 | byte & 0x7F).rotate_right(twelve >> 7),
    }
}

fn shifted_register(first: u32, second: u32) -> Instruction {
    let plain = Instruction::plain(4);
    let (operation, rn) = (first >> 5 & 15, (first & 15) as u8);
    let (rd, rm, shift) = ((second >> 8 & 15) as u8, (second & 15) as u8, second & 0x70F0);
    match (operation, rn) {
        _ if rd == PC && first & 0x10 != 0 => Instruction { compares: true, ..plain },
        _ if rd != SP => plain,
        (2, PC) if shift == 0 => plain.stack(Stack::From(rm, 0)),
        (8, SP) if shift == 0 => plain.stack(Stack::Plus(rm)),
        _ => plain.stack(Stack::Unknown),
    }
}

fn load_or_store(at: u32, first: u32, second: u32) -> Instruction {
    let plain = Instruction::plain(4);
    let (rn, rt) = ((first & 15) as u8, (second >> 12) as u8);
    let loads_word = first & 0xFF70 == 0xF850;
    if loads_word && rn == PC {
        let base = at.wrapping_add(4) & !3;
        let offset = second & 0xFFF;
        let address = if first & 0x80 != 0 { base + offset } else { base - offset };
        let flow = if rt == PC { Flow::JumpRegister(PC) } else { Flow::Next };
        return Instruction { literal: Some((rt, address)), ..plain }.flow(flow);
    }
    // Eight bits of offset, and the base written back.
    let moves_base = first & 0x80 == 0 && second & 0x900 == 0x900 && second & 0xF00 != 0xE00;
    let stack = if rn == SP && moves_base {
        by(second & 0x200 != 0, second & 0xFF)
    } else if loads_word && rt == SP {
        Stack::Unknown
    } else {
        Stack::Same
    };
    let flow = match rt {
        PC if loads_word && rn == SP => Flow::Return,
        PC if loads_word => Flow::JumpRegister(PC),
        _ => Flow::Next,
    };
    plain.stack(stack).flow(flow)
}
