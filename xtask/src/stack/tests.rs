//! Small programs, instruction by instruction.

use std::collections::BTreeSet;

use super::elf::Elf;
use super::thumb::{Flow, Instruction, Stack, decode};
use super::{FRAME, Program};

/// The vectors lie at 0, functions one behind the other from 0x100 on. The first one begins the program.
fn program(functions: &[(&str, &[u16])]) -> Elf {
    let (mut at, mut code, mut placed) = (0x100, Vec::new(), Vec::new());
    for (name, halves) in functions {
        placed.push((at, (*name).to_owned()));
        code.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
        at += 2 * halves.len() as u32;
    }
    Elf::of(&[0x2000_1000, 0x101], (0x100, code), &placed)
}

fn depth(functions: &[(&str, &[u16])]) -> Result<u32, String> {
    let elf = program(functions);
    // Nothing but an exception's two frames on top.
    Ok(Program::read(&elf)?.worst()?.worst - 2 * FRAME)
}

const PUSH_R4_LR: u16 = 0xB510;
const POP_R4_PC: u16 = 0xBD10;
const NOP: u16 = 0xBF00;
const HERE: u16 = 0xE7FE;

#[test]
fn frames_of_a_chain_add_up_and_the_worst_branch_counts() {
    // push {r4, lr}; sub sp, #8; beq +; bl shallow; b end; bl deep; add sp, #8; pop {r4, pc}
    let main: &[u16] =
        &[PUSH_R4_LR, 0xB082, 0xD002, 0xF000, 0xF806, 0xE001, 0xF000, 0xF805, 0xB002, POP_R4_PC];
    let shallow: &[u16] = &[0x4770];
    let deep: &[u16] = &[0xB5F0, 0xF5AD, 0x7D00, 0xF50D, 0x7D00, 0xBDF0];
    let all: &[(&str, &[u16])] = &[("main", main), ("shallow", shallow), ("deep", deep)];
    assert_eq!(main.len(), 10, "the calls count on it");
    assert_eq!(decode(0x106, 0xF000, 0xF806).flow, Flow::Call(0x116));
    assert_eq!(decode(0x10C, 0xF000, 0xF805).flow, Flow::Call(0x11A));
    let all = &[all[0], ("pad", &[NOP]), all[1], ("pad", &[NOP]), all[2]];
    // 8 + 8, then 5 registers and 512 bytes.
    assert_eq!(depth(all), Ok(16 + 20 + 512));
}

#[test]
fn recursion_is_an_error_that_names_the_circle() {
    let main: &[u16] = &[PUSH_R4_LR, 0xF7FF, 0xFFFD, POP_R4_PC];
    assert_eq!(decode(0x102, main[1], main[2]).flow, Flow::Call(0x100));
    let error = depth(&[("main", main)]).expect_err("it calls itself");
    assert!(error.contains("recursion") && error.contains("main"), "{error}");
}

#[test]
fn a_stack_that_grows_in_a_loop_is_an_error() {
    let error = depth(&[("main", &[NOP, 0xB410, 0xE7FD])]).expect_err("push without end");
    assert!(error.contains("loop"), "{error}");
}

#[test]
fn who_keeps_some_of_the_stack_is_an_error() {
    let error = depth(&[("main", &[0xB082, 0x4770])]).expect_err("sub sp, #8; bx lr");
    assert!(error.contains("keeps 8 bytes"), "{error}");
}

#[test]
fn a_stack_pointer_from_nowhere_is_an_error() {
    // mov sp, r0; msr msp, r0; ldr sp, [r0]; ldmdb sp!, {r0, r1}; rsb sp, sp, #4
    for code in [[0x4685, NOP], [0xF380, 0x8808], [0xF8D0, 0xD000], [0xE93D, 3], [0xF1CD, 0x0D04]] {
        let error = depth(&[("main", &[code[0], code[1], HERE])]).expect_err("unread");
        assert!(error.contains("at 0x100"), "{error}");
    }
}

#[test]
fn conditional_instructions_go_both_ways() {
    // push {r4, lr}; cmp r0, #0; it eq; popeq {r4, pc}; sub sp, #16; add sp, #16; pop {r4, pc}
    let main = [PUSH_R4_LR, 0x2800, 0xBF08, POP_R4_PC, 0xB084, 0xB004, POP_R4_PC];
    assert_eq!(depth(&[("main", &main)]), Ok(24));
    // ite eq; subeq sp, #8; subne sp, #64; then it can't know which to give back.
    let main = [PUSH_R4_LR, 0x2800, 0xBF0C, 0xB082, 0xB090, POP_R4_PC];
    assert_eq!(decode(0, 0xBF0C, 0).flow, Flow::If { count: 2, with_first: 1 });
    assert!(depth(&[("main", &main)]).is_err_and(|error| error.contains("keeps")));
}

#[test]
fn tables_lead_to_every_case() {
    // tbb [pc, r0]; table: case 0 at +4, case 1 at +8, two more of the same.
    let main =
        [0xE8DF, 0xF000, 0x0402, 0x0402, 0xB082, 0xB002, 0x4770, NOP, 0xB0A0, 0xB020, 0x4770];
    let targets = |main: &[u16]| depth(&[("main", main)]);
    assert_eq!(targets(&main), Ok(8), "case 1 is at 0x10c, before the deep code");
    let main =
        [0xE8DF, 0xF000, 0x0602, 0x0602, 0xB082, 0xB002, 0x4770, NOP, 0xB0A0, 0xB020, 0x4770];
    assert_eq!(targets(&main), Ok(128));
    // ARMv6-M: add r0, pc; ldrb r0, [r0, #4]; lsls r0, #1; add pc, r0, and the table behind it.
    let main = [
        0x4478, 0x7900, 0x0040, 0x4487, 0x0400, 0xB082, 0xB002, 0x4770, NOP, 0xB0A0, 0xB020, 0x4770,
    ];
    assert_eq!(targets(&main), Ok(128));
    // adr r1, table; ldrb r0, [r1, r0]; lsls r0, #1; add pc, r0; nop, and the table.
    let main = [
        0xA102, 0x5C08, 0x0040, 0x4487, NOP, NOP, 0x0502, 0xB082, 0xB002, 0x4770, 0xB0A0, 0xB020,
        0x4770,
    ];
    assert_eq!(targets(&main), Ok(128));
}

#[test]
fn a_frame_pointer_gives_back_what_was_taken() {
    // push {r4-r7, lr}; add r7, sp, #12; sub sp, #508; subs r6, r7, #7; subs r6, #5; mov sp, r6; pop {r4-r7, pc}
    let main = [0xB5F0, 0xAF03, 0xB0FF, 0x1FFE, 0x3E05, 0x46B5, 0xBDF0];
    assert_eq!(depth(&[("main", &main)]), Ok(528));
    // A byte less: it would return with four bytes kept.
    let main = [0xB5F0, 0xAF03, 0xB0FF, 0x1FFE, 0x3E09, 0x46B5, 0xBDF0];
    assert!(depth(&[("main", &main)]).is_err_and(|error| error.contains("keeps 4 bytes")));
}

#[test]
fn calls_through_a_register_go_where_it_was_loaded_from() {
    // push {r4, lr}; ldr r4, [pc, #4]; blx r4; pop {r4, pc}; (address of deep)
    let word = 0x0110_u32 | 1;
    let main = [PUSH_R4_LR, 0x4C01, 0x47A0, POP_R4_PC, word as u16, (word >> 16) as u16, NOP, NOP];
    let deep: &[u16] = &[0xB0A0, 0xB020, 0x4770];
    let elf = program(&[("main", &main), ("deep", deep)]);
    let walked = Program::read(&elf).expect("it can be read");
    assert_eq!(walked.worst().expect("it ends").program, 8 + 128);
    assert_eq!(walked.through.values().next(), Some(&BTreeSet::from([0x110])));
    // Loaded from RAM: whatever has its address somewhere.
    let main = [PUSH_R4_LR, 0x6804, 0x47A0, POP_R4_PC, word as u16, (word >> 16) as u16, NOP, NOP];
    let elf = Elf::of(
        &[0x2000_1000, 0x101],
        (0x100, main.iter().chain(deep).flat_map(|half| half.to_le_bytes()).collect()),
        &[(0x100, "main".to_owned()), (0x110, "deep".to_owned())],
    );
    let elf = elf.with_constants(0x108..0x110);
    assert_eq!(Program::read(&elf).and_then(|p| p.worst()).map(|d| d.program), Ok(8 + 128));
}

#[test]
fn encodings_are_read_as_the_manual_has_them() {
    let stack = |first, second| decode(0x100, first, second).stack;
    assert_eq!(stack(0xE92D, 0x4FF0), Stack::Down(36), "push.w");
    assert_eq!(stack(0xE8BD, 0x8FF0), Stack::Up(36), "pop.w");
    assert_eq!(stack(0xF6AD, 0x7DBC), Stack::Down(0xFBC), "subw sp, sp, #4028");
    assert_eq!(stack(0xF5AD, 0x5D96), Stack::Down(4800), "sub.w sp, sp, #4800");
    assert_eq!(stack(0xED2D, 0x8B04), Stack::Down(16), "vpush {{d8, d9}}");
    assert_eq!(stack(0xF84D, 0xED08), Stack::Down(8), "str lr, [sp, #-8]!");
    assert_eq!(stack(0xF85D, 0xEB08), Stack::Up(8), "ldr lr, [sp], #8");
    assert_eq!(stack(0xE96D, 0x4502), Stack::Down(8), "strd r4, r5, [sp, #-8]!");
    assert_eq!(stack(0xE9CD, 0x4502), Stack::Same, "strd r4, r5, [sp, #8]");
    assert_eq!(stack(0xF1A7, 0x0D10), Stack::From(7, -16), "sub.w sp, r7, #16");
    let popped = decode(0x100, 0xF85D, 0xFB04);
    assert_eq!((popped.stack, popped.flow), (Stack::Up(4), Flow::Return), "ldr pc, [sp], #4");
    let Instruction { literal, .. } = decode(0x102, 0xF8DF, 0x8010);
    assert_eq!(literal, Some((8, 0x114)), "ldr.w r8, [pc, #16]");
    assert_eq!(decode(0x100, 0xF43F, 0xAFFE).flow, Flow::Branch(0x100), "beq.w, to itself");
    assert_eq!(decode(0x100, 0xF7FF, 0xBFFE).flow, Flow::Jump(0x100), "b.w, to itself");
    assert_eq!(decode(0x100, 0xB108, 0).flow, Flow::Branch(0x106), "cbz r0");
}
