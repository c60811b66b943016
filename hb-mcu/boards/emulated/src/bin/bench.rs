//! `cargo xtask bench dongle`: what the dongle adds to a wire, and what a frame costs.
//!
//! Two measures on the emulated board, for two questions:
//!
//! - *Latency*: frames pass the dongle and, by turns, a plain wire: a pair of sockets, read the same way. Emulated
//!   UARTs have no speed, so a frame's own time on the line is in neither; both contain what this host takes to wake
//!   somebody. The difference is the dongle's, with QEMU's own time on top.
//! - *Instructions* ([`emulated::frames`]): from the interrupt that takes a frame's last byte until all that follows from
//!   it is done and the program sleeps, for every kind of frame; and a life's start apart from that.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use emulated::frames::{self, Costs};
use emulated::{Board, Firmware, Line, Pair, Supply, firmware, provision};

/// Frames that are measured in each direction, and on the plain wire.
const FRAMES: usize = 400;
/// Between two of them: longer than a frame takes at 115200 bit/s, so that the output is idle.
const EVERY: Duration = Duration::from_millis(23);
/// What forwarding may add where the output is idle (protocol.md, "The arbiter").
const ALLOWED: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    let elf = match firmware(Firmware::Shipped) {
        Ok(elf) => elf,
        Err(reason) => {
            eprintln!("bench dongle: {reason}");
            return ExitCode::from(2);
        }
    };
    let (mut plain, mut passed, lost) = latency(&elf);
    let costs = match firmware(Firmware::Faults) {
        Ok(elf) => frames::measure(&elf),
        Err(reason) => {
            eprintln!("bench dongle: {reason}");
            return ExitCode::from(2);
        }
    };
    plain.sort_unstable();
    passed.sort_unstable();
    let added = at(&passed, 50).saturating_sub(at(&plain, 50));
    let kept = added <= ALLOWED && lost == 0;
    let report = report(&plain, &passed, lost, added, &costs, kept);
    print!("{report}");
    let file =
        format!("docs/validation/runs/{}-dongle.md", said("date", &["-u", "+%Y-%m-%d-%H%M"]));
    if let Err(error) = fs::write(&file, &report) {
        eprintln!("bench dongle: {file}: {error}");
        return ExitCode::from(2);
    }
    println!("\nwritten to {file}");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Times on the plain wire, and through the dongle; frames that did not come out.
fn latency(elf: &Path) -> (Vec<Duration>, Vec<Duration>, usize) {
    let supply = Supply::new("bench");
    let mut board = Board::on(elf, &supply);
    provision(&mut board.lines[0]);
    let mut pair = Pair::new();
    pair.run(&mut board, Duration::from_secs(2));
    let mut wire = Line::pair();
    let (mut plain, mut passed, mut lost) = (Vec::new(), Vec::new(), 0);
    for number in 0..FRAMES {
        for from in [0, 1] {
            let frame = pair.nodes[from].frame(number % 10 == 0);
            match transit(&mut wire, 0, 1, &frame) {
                Some(time) => plain.push(time),
                None => lost += 1,
            }
            match transit(&mut board.lines, from, 1 - from, &frame) {
                Some(time) => passed.push(time),
                None => lost += 1,
            }
            for which in [0, 1] {
                let frames = board.lines[which].frames();
                pair.nodes[which].hear(&frames);
            }
            board.wait(EVERY);
        }
    }
    (plain, passed, lost)
}

/// How long this frame takes from one end to the other.
fn transit(lines: &mut [Line; 2], from: usize, to: usize, frame: &[u8]) -> Option<Duration> {
    lines[to].frames();
    let sent = Instant::now();
    lines[from].send(frame);
    while sent.elapsed() < Duration::from_millis(500) {
        let came = lines[to].frames().into_iter().find(|(_, found)| found == frame);
        if let Some((at, _)) = came {
            return Some(at.saturating_duration_since(sent));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    None
}

fn report(
    plain: &[Duration],
    passed: &[Duration],
    lost: usize,
    added: Duration,
    costs: &Costs,
    kept: bool,
) -> String {
    let mut text = String::new();
    let mut line = |words: String| text.write_str(&(words + "\n")).expect("a String takes all");
    line("# Forwarding through the dongle, and what a frame costs\n".into());
    let commit = said("git", &["describe", "--always", "--dirty", "--abbrev=12"]);
    let qemu = said("qemu-system-arm", &["--version"]);
    line(format!("{}. commit {commit}.", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])));
    line(format!("lm3s6965evb on {}", qemu.lines().next().unwrap_or_default()));
    line(format!("Load of the host: {}.\n", said("cat", &["/proc/loadavg"])));
    line("Milliseconds from a frame's first byte into one end until its last is out of the other; emulated UARTs".into());
    line(
        "have no speed, so without the frame's own time on a line (2.9 ms at 115200 bit/s).\n"
            .into(),
    );
    line("| | frames | median | 90 % | 99 % | longest |".into());
    line("|---|--:|--:|--:|--:|--:|".into());
    for (what, times) in [("plain wire", plain), ("through the dongle", passed)] {
        let [half, most, nearly, all] = [50, 90, 99, 100].map(|part| ms(at(times, part)));
        line(format!("| {what} | {} | {half} | {most} | {nearly} | {all} |", times.len()));
    }
    line(format!(
        "\nLost: {lost}. Added at the median: {} ms; 1 ms is allowed where the output is idle: {}.\n",
        ms(added),
        if kept { "kept" } else { "NOT KEPT" }
    ));
    line("Instructions (Cortex-M3, counted by QEMU) from the interrupt that takes a frame's last byte until what follows".into());
    line("from it is decided, stored, handed over, and the program sleeps; the worst of each kind:\n".into());
    line("| frame | instructions | at 50 MHz, one each cycle |".into());
    line("|---|--:|--:|".into());
    let mut row = |what: &str, count: u64| {
        line(format!("| {what} | {count} | {} ms |", ms(Duration::from_nanos(count * 20))));
    };
    for cost in &costs.frames {
        let memory = if cost.stores { ", with the board's EEPROM" } else { "" };
        row(&format!("{}{memory}", cost.kind), cost.instructions);
    }
    for (stores, what) in [(false, "**worst frame**"), (true, "**worst with the EEPROM**")] {
        if let Some(worst) = costs.worst(stores) {
            row(&format!("{what}: {}", worst.kind), worst.instructions);
        }
    }
    row("**start of a life**, until it first sleeps", costs.start);
    text
}

/// The value below which so many percent are.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |error| format!("({program}: {error})"),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
