//! `cargo xtask firmware`: every board's program, with its sizes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Place;
use crate::stack::{self, Depth};
use crate::test::output::capture;

/// A board and its target.
pub const BOARDS: [(&str, &str); 3] = [
    ("lm3s6965evb", "thumbv7m-none-eabi"),
    ("rp2040-pico", "thumbv6m-none-eabi"),
    ("nucleo-l476rg", "thumbv7em-none-eabihf"),
];
/// What the program of each of [`BOARDS`] may take of its flash, bytes. 24 KiB are wanted: decision 12 says what is
/// in the way. Lowered whenever a program gets smaller.
const FLASH_CEILINGS: [u32; BOARDS.len()] = [29_900, 32_600, 30_300];
/// The same for static RAM, in which a dongle's whole state lies.
const STATIC_CEILING: u32 = 5120;
/// What static RAM and the deepest stack take together, at most: 8 KiB.
const RAM_CEILINGS: [u32; BOARDS.len()] = [8192; BOARDS.len()];

/// One program's sizes, bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sizes {
    pub flash: u32,
    pub static_ram: u32,
    /// As [`stack`] computes it.
    pub stack: Depth,
}

impl Sizes {
    /// Static, and the stack.
    pub const fn ram(&self) -> u32 {
        self.static_ram + self.stack.worst
    }
}

/// Builds all boards, and the emulated one twice more for the tests: with faults on demand, and with its log.
///
/// # Errors
/// What a compiler said.
pub fn build(place: &Place) -> Result<Vec<(&'static str, Sizes)>, String> {
    let mut sizes = Vec::new();
    for (board, target) in BOARDS {
        compile(place, board, target, None)?;
        let elf = directory(place).join(target).join("release").join(board);
        let found = sizes_of(&elf)?;
        // For the test on the emulated board, which measures what is computed here.
        let beside = elf.with_extension("stack");
        fs::write(&beside, found.stack.worst.to_string())
            .map_err(|error| format!("{}: {error}", beside.display()))?;
        sizes.push((board, found));
    }
    for feature in ["faults", "defmt"] {
        compile(place, BOARDS[0].0, BOARDS[0].1, Some(feature))?;
    }
    Ok(sizes)
}

/// Builds the emulated board's program as it is shipped.
///
/// # Errors
/// What a compiler said.
pub fn build_emulated(place: &Place) -> Result<(), String> {
    compile(place, BOARDS[0].0, BOARDS[0].1, None)
}

/// Told where it is so.
const ROM: &str = " (calls of the chip's ROM: assumed, not computed)";

/// Where programs come to lie: tests find them there.
pub fn directory(place: &Place) -> PathBuf {
    place.target.join("firmware")
}

fn compile(place: &Place, board: &str, target: &str, feature: Option<&str>) -> Result<(), String> {
    let mut command = place.cargo();
    // Its own configuration counts, which cargo looks for from where it is called.
    command.current_dir(place.root.join("hb-mcu/boards"));
    command.args(["build", "--release", "--locked", "-p", board, "--target", target]);
    let into = feature.map_or_else(|| directory(place), |name| directory(place).join(name));
    command.arg("--target-dir").arg(into);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    match capture(&mut command) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, text)) => Err(format!("{text}{command:?}: {status}")),
        Err(error) => Err(format!("can't run {command:?}: {error}")),
    }
}

/// Which of the sizes are beyond their ceilings.
pub fn beyond(sizes: &[(&str, Sizes)]) -> Vec<String> {
    let mut found = Vec::new();
    for (((board, sizes), ceiling), ram_ceiling) in
        sizes.iter().zip(FLASH_CEILINGS).zip(RAM_CEILINGS)
    {
        if sizes.flash > ceiling {
            found.push(format!("{board}: {} bytes of flash, at most {ceiling}", sizes.flash));
        }
        if sizes.static_ram > STATIC_CEILING {
            let ram = sizes.static_ram;
            found.push(format!("{board}: {ram} bytes of static RAM, at most {STATIC_CEILING}"));
        }
        if sizes.ram() > ram_ceiling {
            let (ram, stack) = (sizes.ram(), sizes.stack.worst);
            found.push(format!(
                "{board}: {ram} bytes of RAM, {stack} of them stack, at most {ram_ceiling}"
            ));
        }
    }
    found
}

/// `cargo xtask firmware`, with `--defmt` for the programs that log to a probe. No ceiling holds those: nobody ships
/// them.
pub fn run(place: &Place, defmt: bool) -> Result<(), String> {
    if defmt {
        let mut sizes = Vec::new();
        for (board, target) in BOARDS {
            compile(place, board, target, Some("defmt"))?;
            let into = directory(place).join("defmt");
            sizes.push((board, sizes_of(&into.join(target).join("release").join(board))?));
        }
        print_sizes(&sizes);
        println!("\nprograms: {}", directory(place).join("defmt").display());
        return Ok(());
    }
    let sizes = build(place)?;
    print_sizes(&sizes);
    println!("\nwanted: 24576 of flash; 8192 of RAM with the stack (decision 12)");
    println!("programs: {}", directory(place).display());
    let beyond = beyond(&sizes);
    if beyond.is_empty() { Ok(()) } else { Err(beyond.join("\n")) }
}

fn print_sizes(sizes: &[(&str, Sizes)]) {
    let [flash, ram, stack, all] = ["flash", "static RAM", "worst stack", "RAM"];
    println!("{:<16} {flash:>8} {ram:>11} {stack:>12} {all:>8}", "board");
    for (board, sizes) in sizes {
        let Sizes { flash, static_ram, stack } = sizes;
        println!("{board:<16} {flash:>8} {static_ram:>11} {:>12} {:>8}", stack.worst, sizes.ram());
    }
    for (board, Sizes { stack, .. }) in sizes {
        let (interrupts, rom) = (stack.worst - stack.program, if stack.rom { ROM } else { "" });
        println!("\n{board}: {} bytes deep{rom}, {interrupts} more for interrupts", stack.program);
        for (name, bytes) in &stack.chain {
            println!("{bytes:>8}  {name}");
        }
        for (caller, targets) in &stack.through {
            println!("          {caller} may call {}", targets.join(", "));
        }
    }
}

/// `cargo xtask bench dongle`: the program of the emulated board, built and measured. Exit codes as of the other
/// benches.
pub fn bench(place: &Place) -> ExitCode {
    if let Err(problem) = build(place) {
        eprintln!("xtask: {problem}");
        return ExitCode::from(2);
    }
    let mut command = place.cargo();
    command.current_dir(&place.root).env("HB_FIRMWARE", directory(place));
    command.args(["run", "--release", "--locked", "--manifest-path", "hb-mcu/boards/Cargo.toml"]);
    command.args(["-p", "emulated", "--bin", "bench", "--target-dir"]);
    match command.arg(directory(place).join("host")).status() {
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::from(2), ExitCode::from),
        Err(error) => crate::fail(&place.cargo, &error),
    }
}

/// Sums the sections that are loaded or zeroed (ELF specification, 32 bits, little-endian).
fn sizes_of(elf: &Path) -> Result<Sizes, String> {
    const ALLOCATED: u32 = 2;
    const WRITABLE: u32 = 1;
    const NOTHING_IN_FILE: u32 = 8;
    let bytes = fs::read(elf).map_err(|error| format!("{}: {error}", elf.display()))?;
    let broken = || format!("{}: no ELF of 32 bits", elf.display());
    let word = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(four))
    };
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    if bytes.get(..6) != Some(&[0x7F, b'E', b'L', b'F', 1, 1]) {
        return Err(broken());
    }
    let headers = word(0x20).ok_or_else(broken)? as usize;
    let (size, count) = half(0x2E).zip(half(0x30)).ok_or_else(broken)?;
    let mut sizes = Sizes { flash: 0, static_ram: 0, stack: stack::depth(elf)? };
    for number in 0..usize::from(count) {
        let header = headers + number * usize::from(size);
        let (kind, flags) = word(header + 4).zip(word(header + 8)).ok_or_else(broken)?;
        let length = word(header + 0x14).ok_or_else(broken)?;
        if flags & ALLOCATED == 0 {
            continue;
        }
        if kind != NOTHING_IN_FILE {
            sizes.flash += length;
        }
        if flags & WRITABLE != 0 {
            sizes.static_ram += length;
        }
    }
    Ok(sizes)
}
