//! How deep the stack gets: cortex-m-rt paints it before the program begins.

use std::time::Duration;

use emulated::{Board, Firmware, Pair, Supply, firmware, provision};
use hb_proto::wire::service::{Answer, Ask, Settings};

/// Static RAM and the deepest stack together, bytes: 8 KiB.
const CEILING: usize = 8192;
const RAM: u32 = 0x2000_0000;
const RAM_SIZE: u32 = 64 * 1024;
/// cortex-m-rt's `paint-stack`.
const PAINT: [u8; 4] = [0xCC; 4];

#[test]
fn static_ram_and_the_deepest_stack_stay_below_their_ceiling() {
    let Ok(elf) = firmware(Firmware::Shipped).map_err(|reason| println!("SKIP: {reason}")) else {
        return;
    };
    let supply = Supply::new("stack");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.commission_b(&mut board);
    // What goes deepest: a request that is signed, read, stored, answered.
    let settings = Ask::Settings(Settings { pulse_ms: 250, watchdog_ms: 1000 });
    let answer = pair.ask(&mut board, 0, &settings);
    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    assert!(matches!(pair.ask(&mut board, 0, &Ask::SelfTest), Answer::SelfTest(_)));
    pair.a_asks_to_fence(2);
    pair.run(&mut board, Duration::from_secs(3));
    let memory = board.memory(RAM, RAM_SIZE);
    let words: Vec<_> = memory.chunks_exact(4).collect();
    // Statics lie at the bottom, the stack at the top, paint between: the longest run of it.
    let (mut longest, mut from) = (0..0, None);
    for (at, word) in words.iter().enumerate() {
        if **word == PAINT {
            let start = *from.get_or_insert(at);
            if at + 1 - start > longest.len() {
                longest = start..at + 1;
            }
        } else {
            from = None;
        }
    }
    assert!(longest.len() > 100, "the stack was not painted");
    let (statics, stack) = (longest.start * 4, memory.len() - longest.end * 4);
    let computed = std::fs::read_to_string(elf.with_extension("stack"));
    let computed = computed.ok().and_then(|text| text.parse::<usize>().ok());
    let computed = computed.expect("`cargo xtask firmware` writes it beside the program");
    println!("static RAM {statics}, deepest stack {stack}, together {} bytes", statics + stack);
    println!("computed from the program: {computed} bytes of stack");
    // The other boards have nothing but what is computed: here it must not be less than what is measured.
    assert!(stack <= computed, "measured {stack}, computed {computed}");
    // Nor far more: an analysis that adds up what never happens is no measure.
    assert!(computed <= stack + stack / 4, "measured {stack}, computed {computed}");
    assert!(statics + stack <= CEILING, "{} bytes", statics + stack);
}
