//! The log, as a probe at the debug port reads it: RTT's buffer is found in RAM, and decoded by the ELF's own table.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use defmt_decoder::{DecodeError, Table};
use emulated::{Board, Firmware, PORT_C, Pair, Supply, firmware, provision};
use hb_proto::wire::service::{Answer, Ask, Settings};

const RAM: u32 = 0x2000_0000;
const RAM_SIZE: u32 = 64 * 1024;
/// "Segger RTT", as probe-rs and other readers look for it; the first channel's fields follow.
const MARK: &[u8; 16] = b"SEGGER RTT\0\0\0\0\0\0";
/// Of the control block: buffer's address, its size, where the chip writes next, flags.
const BUFFER: usize = 28;
const SIZE: usize = 32;
const WRITE: usize = 36;
const FLAGS: usize = 44;
/// RTT's flag "wait while the buffer is full": what probe-rs asks for.
const BLOCKING: u32 = 2;

fn elf() -> Option<PathBuf> {
    firmware(Firmware::Logging).map_err(|reason| println!("SKIP: {reason}")).ok()
}

/// What a probe knows.
struct Probe {
    table: Table,
    /// Where the control block is.
    block: u32,
    read: u32,
    bytes: Vec<u8>,
}

impl Probe {
    /// Looks for the control block in RAM.
    fn attach(board: &mut Board, elf: &PathBuf) -> Self {
        let elf = fs::read(elf).expect("it was found");
        let table = Table::parse(&elf).expect("a table of this version").expect("a table");
        let memory = board.memory(RAM, RAM_SIZE);
        let at = memory.windows(16).position(|bytes| bytes == MARK).expect("RTT's control block");
        Self { table, block: RAM + at as u32, read: 0, bytes: Vec::new() }
    }

    fn field(&self, board: &mut Board, offset: usize) -> u32 {
        let bytes = board.memory(self.block + offset as u32, 4);
        u32::from_le_bytes(bytes.try_into().expect("four"))
    }

    /// Takes what was written since the last call. A chip that was reset writes from the start again.
    fn read(&mut self, board: &mut Board) {
        let (buffer, size) = (self.field(board, BUFFER), self.field(board, SIZE));
        let write = self.field(board, WRITE);
        let all = board.memory(buffer, size);
        while self.read != write {
            self.bytes.push(all[self.read as usize]);
            self.read = (self.read + 1) % size;
        }
    }

    /// Every record so far: time, level, text.
    fn records(&self) -> Vec<String> {
        let mut decoder = self.table.new_stream_decoder();
        decoder.received(&self.bytes);
        let mut records = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => {
                    let level = frame.level().map_or("", |level| level.as_str());
                    records.push(format!("{level} {}", frame.display_message()));
                }
                Err(DecodeError::UnexpectedEof) => return records,
                Err(DecodeError::Malformed) => records.push("malformed".to_owned()),
            }
        }
    }
}

/// Where each of these is first among the records after the one before it; in this order.
#[track_caller]
fn in_order(records: &[String], wanted: &[&str]) {
    let mut rest = records.iter();
    for text in wanted {
        assert!(rest.any(|record| record == text), "{text:?} is not next in {records:#?}");
    }
}

#[test]
fn a_fence_is_in_the_log_from_the_request_to_its_evidence() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("log");
    let mut board = Board::on(&elf, &supply);
    board.wait(Duration::from_secs(1));
    let mut blank = Probe::attach(&mut board, &elf);
    provision(&mut board.lines[0]);
    // Its life ends 100 ms after its answer.
    board.monitor("stop");
    blank.read(&mut board);
    board.monitor("cont");
    in_order(
        &blank.records(),
        &["info no key yet; reset by PowerOn", "info key 1 is set; signs: true"],
    );
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(1));
    let mut probe = Probe::attach(&mut board, &elf);
    let times = Ask::Settings(Settings { pulse_ms: 250, watchdog_ms: 1000 });
    assert!(matches!(pair.ask(&mut board, 0, &times), Answer::Done { .. }));
    // Refused while its line is untested.
    pair.a_asks_to_fence(1);
    pair.run(&mut board, Duration::from_secs(2));
    pair.nodes[0].fence = None;
    (pair.nodes[0].hears_peer, pair.silent) = (true, [false; 2]);
    pair.nodes[0].state = hb_proto::wire::message::GroupState::Idle;
    pair.commission_b(&mut board);
    probe.read(&mut board);
    board.set_input(PORT_C, 5, true);
    pair.run(&mut board, Duration::from_millis(300));
    pair.a_asks_to_fence(2);
    let over = |pair: &mut Pair, _: &mut Board| pair.pins.len() >= 2;
    assert!(pair.until(&mut board, Duration::from_secs(10), over), "{:?}", pair.status(0));
    // B's sign of life falls.
    board.set_input(PORT_C, 5, false);
    pair.run(&mut board, Duration::from_secs(1));
    probe.read(&mut board);
    in_order(
        &probe.records(),
        &[
            "info life 1 began; reset by Software",
            "info A is heard",
            "info pulse 250 ms, watchdog 1000 ms",
            "info request 0 was served",
            "info fence of B, life 1: asked",
            "info fence of B: refused: LineUntested",
            "info request 1 was served",
            "info the line of B is proved",
            "info fence of B, life 2: asked",
            "info fence of B, life 2: due",
            "warn fence of B: pulsed",
            "info fence of B: confirmed",
        ],
    );
    assert!(probe.records().iter().all(|record| record != "malformed"), "{:#?}", probe.records());
}

/// Nobody reads, the buffer is full several times over, and a probe that went away had asked to be waited for.
#[test]
fn it_never_waits_for_a_reader() {
    let Some(elf) = elf() else { return };
    let supply = Supply::new("unread");
    let mut board = Board::on(&elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(1));
    let probe = Probe::attach(&mut board, &elf);
    board.poke(probe.block + FLAGS as u32, BLOCKING);
    board.resets();
    let (size, mut wraps, mut before) = (probe.field(&mut board, SIZE), 0, 0);
    for round in 0..1500 {
        // By turns, as the ring notes no event twice in a row.
        board.lines[round % 2].send_bytes(&[3, 1, 2, 0]);
        pair.run(&mut board, Duration::from_millis(2));
        if round % 50 == 49 {
            let write = probe.field(&mut board, WRITE);
            (wraps, before) = (wraps + u32::from(write < before), write);
        }
    }
    assert!(wraps >= 2, "{wraps} times {size} bytes: too few to say anything");
    assert_eq!(probe.field(&mut board, FLAGS), BLOCKING);
    assert_eq!(board.resets(), 0, "it waited, until its watchdog ended that");
    pair.got = [Vec::new(), Vec::new()];
    pair.run(&mut board, Duration::from_secs(1));
    assert!(pair.status(0).is_some_and(|said| said.nodes[0].heard), "it is gone");
}
