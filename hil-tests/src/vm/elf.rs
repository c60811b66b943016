//! `vm rig-dongle SPEC`: a dongle whose brain is the firmware's ELF, run by QEMU's lm3s6965evb.
//!
//! Speaks the lines of [`hb_linux::rig::dongle::process`]. The rig's line model ends in ptys, the chip's UARTs in
//! sockets, and bytes go from one to the other ([`port`]). Levels of the reset outputs are the emulated pins', which
//! QEMU tells; inputs are set on its pins. The chip has its own watchdog: what hangs is never this process. Ending this
//! process is the loss of the dongle's power, and what is left is its EEPROM ([`memory`]).
//!
//! Beside the pins' levels, QEMU writes every access to the chip's pin registers into a file of each power-on
//! ([`super::pins`]): by this the rig knows for each reset of a guest which write of the firmware caused it.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use emulated::{Begin, Chip, Firmware, GpioPort, PORT_C, PORT_E, Supply};
use hb_linux::rig::dongle::Spec;

mod memory;
mod port;

/// The word that makes a program the dongle's brain.
pub const WORD: &str = "rig-dongle";
/// Of the firmware's UARTs, bit/s.
pub const BAUD: u32 = 115_200;
/// The chip's own resets are looked for this often, and the rig is told this often that this process lives.
const LOOK: Duration = Duration::from_millis(20);
const TELL: Duration = Duration::from_millis(200);
/// Traces of former power-ons are kept: `trace.N`.
const TRACES: u32 = 10_000;

/// The ELF as it is shipped, or why there is none.
///
/// # Errors
/// As said.
pub fn firmware() -> Result<PathBuf, String> {
    emulated::firmware(Firmware::Shipped)
}

/// The arguments behind [`WORD`]. Ends with the rig.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    // Where the harness can't go on it says why, and the rig hears it, too.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |why| {
        say(&format!("broken {}", why.to_string().replace('\n', " ")));
        usual(why);
    }));
    let outcome = match arguments {
        [spec] => serde_json::from_str(spec).map_err(|error| error.to_string()),
        _ => Err("for the rig only: rig-dongle SPEC".to_owned()),
    };
    match outcome.and_then(|spec| live(&spec)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("broken {}", why.replace('\n', " ")));
            eprintln!("rig-dongle: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Says a line to the rig.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody hears it: the rig is gone, and ends this process.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A's reset line on port E, and B's on the next bit.
const LINE: u8 = 2;

/// A pin that the rig sets, for each of the nodes.
fn input(word: &str) -> Option<(GpioPort, u8)> {
    match word {
        "line" => Some((PORT_E, LINE)),
        "sense" => Some((PORT_C, 4)),
        "feed" => Some((PORT_C, 6)),
        _ => None,
    }
}

fn live(spec: &Spec) -> Result<(), String> {
    say("chip");
    if spec.baud != BAUD {
        return Err(format!("the line has {} bit/s, and the firmware's UARTs {BAUD}", spec.baud));
    }
    let elf = firmware()?;
    let supply = Supply::at(spec.memory.clone());
    let keys = memory::keys(spec)?;
    memory::prepare(spec, &elf, &supply, &keys)?;
    let orders = orders();
    // Its parent's end is its own, and with it the power of the board.
    let begin = Begin {
        by: &["setpriv", "--pdeathsig", "KILL"],
        more: &["-msg", "timestamp=on", "-trace", "pl061_write"],
        debugger: true,
        ..Begin::default()
    };
    keep_trace(&spec.memory)?;
    let (chip, uarts) = Chip::on(&elf, &supply, begin);
    for (path, uart) in spec.ports.iter().zip(uarts) {
        port::join(path, BAUD, uart, &keys.1)?;
    }
    let mut board = Board { chip, spec, high: [false; 2], inputs: Vec::new() };
    board.serve(&orders)
}

/// What QEMU wrote at a former power-on isn't written over.
fn keep_trace(memory: &Path) -> Result<(), String> {
    let trace = memory.join("trace");
    if !trace.exists() {
        return Ok(());
    }
    let free = (0..TRACES).map(|number| memory.join(format!("trace.{number}")));
    let free = free.into_iter().find(|path| !path.exists()).ok_or("too many power-ons")?;
    std::fs::rename(&trace, &free).map_err(|error| format!("{}: {error}", trace.display()))
}

/// The rig's lines; the end of them is the end of the rig.
fn orders() -> Receiver<Option<String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(Some(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(None);
    });
    receiver
}

/// The board under power.
struct Board<'s> {
    chip: Chip,
    spec: &'s Spec,
    /// The reset outputs, as last told.
    high: [bool; 2],
    /// Levels that the rig has set: a reset of the chip forgets them in QEMU, and no wire does.
    inputs: Vec<(GpioPort, u8, bool)>,
}

impl Board<'_> {
    fn serve(&mut self, orders: &Receiver<Option<String>>) -> Result<(), String> {
        let (mut looked, mut told) = (Instant::now(), None::<Instant>);
        loop {
            for pin in self.chip.pins() {
                self.output(usize::from(pin.node), pin.high);
            }
            for order in orders.try_iter() {
                let Some(order) = order else { return Ok(()) };
                self.obey(&order);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.chip.alive()?;
                self.look_for_resets();
            }
            if told.is_none_or(|at| at.elapsed() >= TELL) {
                told = Some(Instant::now());
                say("fed");
            }
        }
    }

    /// The wire that an output pulls is the one whose level is felt: it falls and rises at once, as on a table, and not
    /// when the rig has heard of it. A wire that ends nowhere is low already, by the rig's word.
    fn output(&mut self, node: usize, high: bool) {
        if std::mem::replace(&mut self.high[node], high) == high {
            return;
        }
        let (port, bit) = (PORT_E, LINE + u8::from(node == 1));
        if self.inputs.contains(&(port, bit, true)) {
            self.chip.set_input(port, bit, !high);
        }
        say(&format!("reset {node} {}", u8::from(high)));
    }

    /// A chip in reset drives no pin; QEMU's keep what they had.
    fn look_for_resets(&mut self) {
        if self.chip.resets() == 0 {
            return;
        }
        say("event the chip was reset");
        for node in [0, 1] {
            self.output(node, false);
        }
        for &(port, bit, high) in &self.inputs {
            self.chip.set_input(port, bit, high);
        }
    }

    fn obey(&mut self, order: &str) {
        match order.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["reset"] => self.chip.reset(),
            ["hang"] => self.chip.hang(),
            ["test", node] => {
                say(&format!("tested {node} refused: a node asks for it (`hb dongle commission`)"));
            }
            [word, node, level] => self.set(word, node, *level == "1"),
            _ => say(&format!("broken the rig said {order:?}")),
        }
    }

    /// The board has every input; one that isn't wired rests where it proves nothing.
    fn set(&mut self, word: &str, node: &str, high: bool) {
        let (Some((port, first)), Ok(node @ 0..=1)) = (input(word), node.parse::<u8>()) else {
            return say(&format!("broken the rig said {word} {node}"));
        };
        let high = match word {
            "line" => high && self.spec.supervised,
            "sense" => high && self.spec.sensed,
            _ => high,
        };
        let bit = first + node;
        if word == "line" && self.high[usize::from(node)] {
            // That this output pulls it is felt already.
            return;
        }
        self.inputs.retain(|one| (one.0, one.1) != (port, bit));
        self.inputs.push((port, bit, high));
        self.chip.set_input(port, bit, high);
    }
}
