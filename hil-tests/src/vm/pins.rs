//! What caused each reset of a guest: a write of the firmware to the register behind a reset output, or nothing that is
//! allowed.
//!
//! Three records are held against each other: QEMU's own trace of the chip's pin registers, written by its model of the
//! PL061; the levels of the pins, as the dongle's process told the rig; and the guests' resets. A guest that the rig reset
//! by the dongle's word without a write that pulled that output, a write without a pulse at the rig, a guest that was hit
//! by an output that isn't wired to it: each is a complaint.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration as StdDuration, Instant as HostInstant, SystemTime, UNIX_EPOCH};

use emulated::TRACED_PORT_E;
use hb_linux::rig::bench::Node;
use hb_linux::rig::dongle::Pulled;
use hb_linux::rig::outlet::{Cause, Reset};

/// From the write in the chip until all of a guest is gone, and the same for two clocks and a busy host.
const AT_MOST: StdDuration = StdDuration::from_millis(2500);
/// The trace has another clock than the rig.
const CLOCKS: StdDuration = StdDuration::from_millis(20);
/// PL061's data registers end here; behind them are those of directions and interrupts.
const DATA_END: u32 = 0x400;

/// A write that set a reset output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// When, by the host's wall clock, since 1970.
    pub at: StdDuration,
    /// Whose output.
    pub output: Node,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, bit) = (self.at, self.output.index());
        write!(f, "pl061_write of port E, bit {bit}, at {}.{:06}", at.as_secs(), at.subsec_micros())
    }
}

/// The writes of a trace that pulled an output. One that repeats a level pulls nothing.
#[must_use]
pub fn writes(trace: &str) -> Vec<Write> {
    let (mut found, mut high) = (Vec::new(), [false; 2]);
    for line in trace.lines() {
        let Some((at, mask, value)) = write_of(line) else { continue };
        for output in Node::BOTH {
            let bit = 1 << output.index();
            if mask & bit == 0 {
                continue;
            }
            let is_high = value & bit != 0;
            if is_high && !std::mem::replace(&mut high[output.index()], is_high) {
                found.push(Write { at, output });
            }
            high[output.index()] = is_high;
        }
    }
    found
}

/// A write to the data registers of port E: its time, which bits it reaches (the address's own are a mask), and what.
fn write_of(line: &str) -> Option<(StdDuration, u32, u32)> {
    let (at, rest) = line.split_once(":pl061_write ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ["offset", offset, "value", value] = words.strip_prefix(&[TRACED_PORT_E])? else {
        return None;
    };
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let offset = number(offset).filter(|offset| *offset < DATA_END)?;
    let (seconds, micros) = at.split_once('@')?.1.split_once('.')?;
    let micros = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    Some((StdDuration::from_micros(micros), offset >> 2, number(value)?))
}

fn traces(dongles: &Path) -> impl Iterator<Item = PathBuf> {
    let inside = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_trace = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("trace")
    };
    inside(dongles).into_iter().flat_map(move |dongle| inside(&dongle)).filter(is_trace)
}

/// The pulses of all dongles of a rig.
#[must_use]
pub fn read(dongles: &Path) -> Vec<Write> {
    let texts = traces(dongles).filter_map(|path| std::fs::read_to_string(path).ok());
    let mut found: Vec<Write> = texts.flat_map(|text| writes(&text)).collect();
    found.sort_by_key(|write| write.at);
    found
}

/// Copies all traces into a directory: `DONGLE.trace…`.
///
/// # Errors
/// What the file system answered.
pub fn keep(dongles: &Path, into: &Path) -> std::io::Result<()> {
    for path in traces(dongles) {
        let words = path.iter().rev().take(2).map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        std::fs::copy(&path, into.join(format!("{}.{}", words[1], words[0])))?;
    }
    Ok(())
}

/// A moment of the host by its wall clock.
fn wall(at: HostInstant) -> StdDuration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(at.elapsed())
}

/// What a rig knows of pulses and resets.
#[derive(Debug)]
pub struct Records<'a> {
    /// Of the firmware.
    pub writes: &'a [Write],
    /// As the rig saw the outputs.
    pub pulled: &'a [Pulled],
    /// The guests'.
    pub resets: [&'a [Reset]; 2],
}

/// A reset of a guest, and the write that caused it.
pub type Caused = (Node, Reset, Write);

impl Records<'_> {
    /// Each reset of a guest by the dongle with its cause; and what has none.
    #[must_use]
    pub fn judge(&self) -> (Vec<Caused>, Vec<String>) {
        let (mut caused, mut wrong) = (Vec::new(), Vec::new());
        let mut writes = self.writes.to_vec();
        let mut of_pulses = Vec::new();
        for pulled in self.pulled {
            let at = wall(pulled.at);
            let its = writes.iter().position(|write| {
                write.output == pulled.output
                    && write.at <= at + CLOCKS
                    && at.saturating_sub(write.at) <= AT_MOST
            });
            let Some(its) = its else {
                wrong.push(format!(
                    "the output of {:?} was pulled, and no write of the firmware did it",
                    pulled.output
                ));
                continue;
            };
            of_pulses.push((pulled, writes.remove(its)));
        }
        let lost = |write: &Write| format!("{write}, and the rig saw no pulse");
        wrong.extend(writes.iter().map(lost));
        for (node, resets) in Node::BOTH.into_iter().zip(self.resets) {
            for reset in resets.iter().filter(|reset| reset.cause == Cause::Dongle) {
                let its = of_pulses.iter().position(|(pulled, _)| {
                    pulled.hit == Some(node)
                        && pulled.at + CLOCKS >= reset.at
                        && pulled.at.saturating_duration_since(reset.at) <= AT_MOST
                });
                match its {
                    Some(its) => caused.push((node, *reset, of_pulses.remove(its).1)),
                    None => wrong.push(format!("{node:?} was reset by the dongle without a pulse")),
                }
            }
        }
        let nobody = of_pulses.iter().filter(|(pulled, _)| pulled.hit.is_some());
        wrong.extend(nobody.map(|(_, write)| format!("{write}, and the guest was not reset")));
        (caused, wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULSE: &str = "\
        26457@1795415072.414319:pl061_write /machine/unattached/device[5] offset 0xc value 0x0\n\
        26457@1795415072.414379:pl061_write /machine/unattached/device[5] offset 0x400 value 0x3\n\
        26457@1795415072.414734:pl061_write /machine/unattached/device[6] offset 0x4 value 0x1\n\
        26457@1795415080.000001:pl061_write /machine/unattached/device[5] offset 0x8 value 0x2\n\
        26457@1795415080.000002:pl061_write /machine/unattached/device[5] offset 0x8 value 0x2\n\
        26457@1795415080.200000:pl061_write /machine/unattached/device[5] offset 0x8 value 0x0\n";

    #[test]
    fn a_trace_s_pulses_are_the_writes_that_raise_an_output() {
        let at = StdDuration::new(1_795_415_080, 1000);
        assert_eq!(writes(PULSE), [Write { at, output: Node::Two }]);
        assert_eq!(writes(&PULSE.replace("value 0x2", "value 0x1")), []);
        assert_eq!(writes(&PULSE.replace("device[5]", "device[4]")), []);
    }

    /// A pulse of the second output that hits its machine, half a second ago.
    fn well() -> (Vec<Write>, Vec<Pulled>, Vec<Reset>) {
        let at = HostInstant::now().checked_sub(StdDuration::from_millis(500)).expect("up so long");
        let write = Write { at: wall(at), output: Node::Two };
        let later = at + StdDuration::from_millis(30);
        let pulled = Pulled { at: later, output: Node::Two, hit: Some(Node::Two) };
        (vec![write], vec![pulled], vec![Reset { at: later, cause: Cause::Dongle }])
    }

    fn wrong(writes: &[Write], pulled: &[Pulled], resets: [&[Reset]; 2]) -> Vec<String> {
        Records { writes, pulled, resets }.judge().1
    }

    #[test]
    fn a_reset_has_its_write_and_what_has_none_is_told() {
        let (writes, pulled, resets) = well();
        let records = Records { writes: &writes, pulled: &pulled, resets: [&[], &resets] };
        let (caused, none) = records.judge();
        assert_eq!((caused.len(), none), (1, Vec::<String>::new()));
        assert_eq!(caused[0].2, writes[0]);
        // Its own watchdog's is not the dongle's.
        let own = Reset { cause: Cause::Watchdog, ..resets[0] };
        assert!(wrong(&[], &[], [&[own], &[]]).is_empty());
        // The dongle's process lies.
        assert_eq!(wrong(&[], &pulled, [&[], &resets]).len(), 2);
        // Another output, an old write, one write for two pulses.
        let other = [Write { output: Node::One, ..writes[0] }];
        assert!(wrong(&other, &pulled, [&[], &resets])[0].contains("no write of the firmware"));
        let old = [Write { at: writes[0].at.saturating_sub(AT_MOST), ..writes[0] }];
        assert!(!wrong(&old, &pulled, [&[], &resets]).is_empty());
        let twice = [pulled[0], pulled[0]];
        assert!(!wrong(&writes, &twice, [&[], &[resets[0], resets[0]]]).is_empty());
        // A guest that nothing pulled, one that survived, a pulse that got lost.
        assert!(wrong(&[], &[], [&resets, &[]])[0].contains("without a pulse"));
        assert!(wrong(&writes, &pulled, [&[], &[]])[0].contains("was not reset"));
        assert!(wrong(&writes, &[], [&[], &[]])[0].contains("saw no pulse"));
        // It hit nobody: the wire is broken.
        let nowhere = [Pulled { hit: None, ..pulled[0] }];
        assert!(wrong(&writes, &nowhere, [&[], &[]]).is_empty());
    }
}
